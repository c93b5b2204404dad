"""Mends what the linter finds, where the graph alone says how. Knows no samples and no single row.

Every row that can be mended names its menders (`rule_table`); here they run until nothing changes.
"""

from __future__ import annotations

from collections.abc import Sequence

from onnx import ModelProto

from edge_sdk.calibration import graphs
from edge_sdk.calibration.clean import tidy, with_names
from edge_sdk.calibration.draft import Draft, Mended
from edge_sdk.calibration.lint import known
from edge_sdk.calibration.mend_pairs import typed_by_zero_points
from edge_sdk.calibration.mend_pictures import exact_pictures
from edge_sdk.calibration.mend_weights import narrow_weights
from edge_sdk.calibration.rule_table import ROWS
from edge_sdk.calibration.rules import RUNTIMES
from edge_sdk.runtimes.variants import TOP

__all__ = ["Mended", "mend", "mend_quantized"]

_ROUNDS = 8
"""Mending one row may uncover another: an operator that becomes float leaves a pair behind that serves nobody."""


def mend(
    model: ModelProto, targets: Sequence[str] = (), *, exact: bool = True
) -> tuple[ModelProto, tuple[Mended, ...]]:
    """A copy without the breaches that can be mended for `targets` (none given: all runtimes), and what was done.

    exact: only what keeps every output, up to float32 rounding; False does what changes values, too, and says so in
    each line. Breaches of graphs inside others stay. Raises BadInput for tensors that can't be read, weights in another
    file, and nodes that lack inputs.
    """
    graphs.check_inside(model)
    graphs.check_values(model)
    graphs.check_arity(model)
    draft = Draft(with_names(model) if any(not node.name for node in model.graph.node) else model, exact=exact)
    if not exact:
        draft.rule = "C1"
        exact_pictures(draft)
    _until_done(draft, known(targets))
    return draft.model, tuple(draft.done)


def mend_quantized(
    model: ModelProto, targets: Sequence[str] = RUNTIMES, *, weight_limit: int = TOP
) -> tuple[ModelProto, tuple[str, ...]]:
    """A graph quantized by another tool (NNCF: uint8 activations, scales per channel) in the portable form, and what
    was done to it, a sentence each.

    targets: the runtimes it is for; what only others answer wrongly in int8 stays int8. weight_limit: 64 for CPUs whose
    16-bit sums saturate. Values change: what uint8 held in 255 steps symmetric int8 holds in 127 (specs/runtimes.md,
    L03). Raises BadInput if the graph can't be sorted.
    """
    draft = Draft(tidy(model))
    draft.rule = "C1"
    typed_by_zero_points(draft)
    exact_pictures(draft)
    _until_done(draft, targets)
    draft.rule = "C2"
    narrow_weights(draft, limit=weight_limit)
    return tidy(draft.model), tuple(map(str, draft.done))


def _until_done(draft: Draft, targets: Sequence[str]) -> None:
    """Run the menders of every row that holds for `targets` and is broken, again while there is something to do."""
    for _ in range(_ROUNDS):
        before = len(draft.done)
        for row in ROWS:
            for mender in row.menders if row.holds(targets) else ():
                found = {name for name, _ in row.find(draft.index)}
                if found:
                    draft.rule = row.number
                    mender(draft, found)
        if len(draft.done) == before:
            return
