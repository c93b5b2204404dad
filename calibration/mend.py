"""Mends what the linter finds, where the graph alone says how. Knows no samples and no single rule.

Every rule that can be mended names its menders (`rules_graph`, `rules_quant`); here they run until nothing changes.
"""

from __future__ import annotations

from collections.abc import Sequence

from onnx import ModelProto

from edge_sdk.calibration.clean import tidy
from edge_sdk.calibration.draft import Draft
from edge_sdk.calibration.mend_pairs import typed_by_zero_points
from edge_sdk.calibration.mend_pictures import exact_pictures
from edge_sdk.calibration.mend_weights import narrow_weights
from edge_sdk.calibration.ranges import TOP
from edge_sdk.calibration.rules import RUNTIMES, Rule
from edge_sdk.calibration.rules_quant import RULES as QUANT_RULES

_ROUNDS = 8
"""Mending one rule may uncover another: an operator that becomes float leaves a pair behind that serves nobody."""


def mend_quantized(
    model: ModelProto, targets: Sequence[str] = RUNTIMES, *, weight_limit: int = TOP
) -> tuple[ModelProto, tuple[str, ...]]:
    """A graph quantized by another tool (NNCF: uint8 activations, scales per channel) in the portable form, and what
    was done to it, a sentence each.

    targets: the runtimes it is for; what only others answer wrongly in int8 stays int8. weight_limit: 64 for CPUs whose
    16-bit sums saturate. Values change: what uint8 held
    in 255 steps symmetric int8 holds in 127 (specs/runtimes.md, L03). Raises BadInput if the graph can't be sorted.
    """
    draft = Draft(tidy(model))
    draft.rule = "C1"
    typed_by_zero_points(draft)
    exact_pictures(draft)
    _mend(draft, QUANT_RULES, targets)
    draft.rule = "C2"
    narrow_weights(draft, limit=weight_limit)
    return tidy(draft.model), tuple(map(str, draft.done))


def _mend(draft: Draft, rules: Sequence[Rule], targets: Sequence[str]) -> None:
    """Run the menders of every rule that holds for `targets` and is broken, again while there is something to do."""
    for _ in range(_ROUNDS):
        before = len(draft.done)
        for rule in rules:
            for mender in rule.menders if rule.holds(targets) else ():
                found = {name for name, _ in rule.find(draft.index)}
                if found:
                    draft.rule = rule.number
                    mender(draft, found)
        if len(draft.done) == before:
            return
