"""One int8 graph in the canonical layout, and the variants to ship that it becomes. Knows no engine and no samples."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from onnx import ModelProto

from edge_sdk.calibration import graphs
from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.layout import for_onnxruntime
from edge_sdk.calibration.lint.linter import lint
from edge_sdk.calibration.lint.rules import RUNTIMES
from edge_sdk.calibration.ops import DEQUANTIZE, operator
from edge_sdk.calibration.report import LayoutName, Variant
from edge_sdk.calibration.statistics.observed_graph import Planned
from edge_sdk.calibration.statistics.ranges import Range
from edge_sdk.errors import CheckFailed
from edge_sdk.runtimes import targets

LAYOUTS: tuple[LayoutName, ...] = ("conv-relu-q", "conv-q-relu-q")
"""The canonical one first."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Int8Graph:
    """model: in the canonical layout. real: the float graph that its layers are held against, see `Source`. number: of
    the plan, among those of one candidate. steps: the scale of each point of the plan; ranges: what they were made of.
    """

    variant: str
    number: int
    planned: Planned
    model: ModelProto
    real: ModelProto
    steps: Mapping[str, np.float32]
    ranges: Mapping[str, Range]

    @property
    def key(self) -> tuple[str, int]:
        """Tells it from the other graphs of the same candidate."""
        return self.variant, self.number

    def corrected(self, model: ModelProto) -> Int8Graph:
        """The same plan with output corrections in the graph."""
        return replace(self, model=model)

    def variants(self) -> list[Variant]:
        """In the layouts that its runtimes want, equal bit by bit. Raises CheckFailed for what the linter rejects."""
        digest = hashlib.sha256(graphs.dump(self.model)).hexdigest()[:16]
        count = len(int8_operators(self.model))
        made = []
        for layout in LAYOUTS:
            runtimes = self.planned.for_layout(layout)
            if runtimes is None:
                continue
            written = self.model if layout == LAYOUTS[0] else for_onnxruntime(self.model)
            made.append(
                linted(
                    Variant(
                        variant=self.variant, layout=layout, graph=graphs.dump(written), runtimes=runtimes,
                        plan=digest, int8_convolutions=count, int8_planned=count,
                    )
                )
            )  # fmt: skip
        return made


def int8_operators(model: ModelProto) -> tuple[str, ...]:
    """Names of the matrix operators of a Q/DQ graph that read DequantizeLinear on both sides."""
    index = Index.of(model)

    def dequantized(name: str) -> bool:
        maker = index.producer.get(name)
        return maker is not None and maker.op_type == DEQUANTIZE

    nodes = (n for n in model.graph.node if operator(n).kind == "matrix")
    return tuple(n.name for n in nodes if all(dequantized(name) for name in n.input[:2]))


def float_variant(name: str, model: ModelProto, contracts: Sequence[str]) -> Variant:
    """A graph without Q/DQ, for the runtimes that take it. Raises as `linted`."""
    runtimes = () if set(contracts) == set(RUNTIMES) else tuple(contracts)
    return linted(
        Variant(variant=name, layout="plain", graph=graphs.dump(model), int8_convolutions=0, runtimes=runtimes)
    )


def linted(variant: Variant) -> Variant:
    """The last gate: what the linter rejects is not handed out, for no runtime that would take the graph.

    The layout is judged for ONNX Runtime alone, where the wrong one runs in float: to TensorRT it costs a step, which
    an excluded Relu may ask for.
    """
    takers = [runtime for runtime in RUNTIMES if targets.takes(runtime, variant)]
    found = lint(variant.graph, takers, layout="onnxruntime" in takers)
    if faults := [one for one in found if not one.depends]:
        first = faults[0]
        raise CheckFailed(
            f"{len(faults)} violations of the portable contract, the first is {first.rule}: {first.what}",
            where=f"{variant.variant}, {first.node}",
            hint=first.hint,
        )
    return variant
