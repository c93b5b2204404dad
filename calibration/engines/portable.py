"""The engine of this product: every range method, biases corrected by its own arithmetic.

The float graph is taken as it is, and with its channels equalised where int8 should gain by that.
"""

from __future__ import annotations

from collections.abc import Sequence

from edge_sdk.calibration.prepare import Prepared
from edge_sdk.calibration.rewrite.rescale import rescaled
from edge_sdk.calibration.source import Source
from edge_sdk.calibration.statistics.equalise import Equalisation, equalisations
from edge_sdk.calibration.statistics.observed_graph import ObservedGraph
from edge_sdk.runtimes.variants import KINDS, TOP

EQUALISED = "equalised"
"""Mode in which factors per channel move from activations into weights first."""


class Portable:
    """Needs no other package."""

    name = "portable"

    def missing(self) -> str:
        return ""

    def modes(self, prepared: Prepared) -> tuple[str, ...]:
        if prepared.options.trials.equalise and _equalisations(prepared, prepared.subject.exclude):
            return ("", EQUALISED)
        return ("",)

    def source(self, prepared: Prepared, mode: str, variant: str, exclude: Sequence[str]) -> Source | None:
        options = prepared.options
        base = _equalised(prepared, exclude) if mode == EQUALISED else prepared.base
        if base is None:
            return None
        return Source(
            observed=base, real=base.model, variant=variant, exclude=tuple(exclude), margin=options.margin,
            methods=options.trials.range_methods,
        )  # fmt: skip


def _equalisations(prepared: Prepared, exclude: Sequence[str]) -> list[Equalisation]:
    """By the narrowest weights of all int8 variants, which share the graph: one pass, and ranges that one of them was
    tuned to fit the others."""
    operators = {name for one in prepared.base.planned(exclude) for name in one.plan.operators}
    limit = min((KINDS[name].weight_limit for name in prepared.options.int8_variants), default=TOP)
    untouched = (*prepared.subject.keep_fp32, *exclude)
    return equalisations(prepared.model, prepared.base.seen, operators, untouched=untouched, weight_limit=limit)


def _equalised(prepared: Prepared, exclude: Sequence[str]) -> ObservedGraph | None:
    """The rescaled graph, observed anew where it changed; None where these nodes leave nothing to equalise."""
    key = (EQUALISED, tuple(exclude))
    if key not in prepared.rewritten:
        found = _equalisations(prepared, exclude)
        if not found:
            return None
        model = rescaled(prepared.model, [(one.fold, one.factors) for one in found])
        changed = frozenset[str]().union(*(one.fold.scaled for one in found))
        prepared.rewritten[key] = prepared.base.rewritten(model, prepared.samples, changed)
    return prepared.rewritten[key]
