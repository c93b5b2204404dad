"""Mends what the linter finds, where the graph alone says how. Knows no samples and no single rule.

Every rule that can be mended names its menders (`rule_table`); here they run until nothing changes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from onnx import ModelProto

from edge_sdk.calibration import graphs
from edge_sdk.calibration.lint.checks import check_arity, check_values
from edge_sdk.calibration.lint.draft import Draft, Mended
from edge_sdk.calibration.lint.linter import known
from edge_sdk.calibration.lint.rule_table import RULES
from edge_sdk.calibration.rewrite.clean import with_names

__all__ = ["Mended", "mend"]

_ROUNDS = 8
"""Mending one violation may uncover another: an operator that becomes float leaves a pair behind that serves nobody."""


def mend(
    model: ModelProto, targets: Sequence[str] = (), *, exact: bool = True, without: Collection[str] = ()
) -> tuple[ModelProto, tuple[Mended, ...]]:
    """A copy without the violations that can be mended for `targets` (none given: all runtimes), and what was done.

    exact: only what keeps every output, up to float32 rounding; False does what changes values, too, and says so in
    each line. without: numbers of rules that stay. Violations in graphs inside others stay. Raises BadInput for tensors
    that can't be read, weights in another file, and nodes that lack inputs.
    """
    graphs.check_inside(model)
    check_values(model)
    check_arity(model)
    draft = Draft(with_names(model) if any(not node.name for node in model.graph.node) else model, exact=exact)
    _until_done(draft, known(targets), without)
    return draft.model, tuple(draft.done)


def _until_done(draft: Draft, targets: Sequence[str], without: Collection[str]) -> None:
    """Run the menders of every rule that holds for `targets` and is broken, again while there is something to do."""
    for _ in range(_ROUNDS):
        before = len(draft.done)
        for rule in RULES:
            for mender in rule.menders if rule.holds(targets) and rule.number not in without else ():
                found = {name for name, _ in rule.find(draft.index)}
                if found:
                    draft.rule = rule.number
                    mender(draft, found)
        if len(draft.done) == before:
            return
