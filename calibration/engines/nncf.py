"""NNCF as an engine: its algorithms choose weights, biases and ranges; where Q/DQ stand is decided by our own plan.

NNCF's own graph is not portable: uint8 activations, scales per channel of activations, negative axes
(specs/runtimes.md, section 11). So its Q/DQ are taken out again, and what its algorithms found is written by the
portable contract: int8 weights as they are, corrected biases, smoothed activations, ranges.
"""

from __future__ import annotations

import importlib.util
import io
import logging
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto

from edge_sdk.calibration import graphs
from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.ops import DEQUANTIZE, operator
from edge_sdk.calibration.prepare import Prepared
from edge_sdk.calibration.rewrite.clean import tidy
from edge_sdk.calibration.source import Source
from edge_sdk.calibration.statistics.observed_graph import observed_graph
from edge_sdk.calibration.statistics.ranges import Weights
from edge_sdk.errors import CheckFailed
from edge_sdk.extras import how_to_install, need, vendor_errors
from edge_sdk.runtimes.operators import QUANTIZE
from edge_sdk.runtimes.variants import KINDS, TOP
from edge_sdk.tensors import Array

TRANSFORMER = "smoothed"
"""Mode in which NNCF takes the graph for a transformer: SmoothQuant first."""
FEWEST_SMOOTHED = 24
"""Samples from which it does so. It divides channels by the largest value that was seen there: with 8 samples of one
row, int8 answers to other samples were up to 18 times as far off as without, and to these samples nearer."""
OWN = "nncf's ranges"
MOST_SAMPLES = 300
"""NNCF's own default; its statistics hardly change beyond."""


class Nncf:
    """With its own ranges, which are means over the samples and cut what goes beyond, and with each of ours."""

    name = "nncf"

    def missing(self) -> str:
        if importlib.util.find_spec("nncf") is None:
            return f"nncf is not installed: {how_to_install('nncf')}"
        return ""

    def modes(self, prepared: Prepared) -> tuple[str, ...]:
        transformer = any(operator(node).transformer for node in prepared.model.graph.node)
        return ("", TRANSFORMER) if transformer and prepared.passed >= FEWEST_SMOOTHED else ("",)

    def source(self, prepared: Prepared, mode: str, variant: str, exclude: Sequence[str]) -> Source | None:
        planned = {name for one in prepared.base.planned(exclude) for name in one.plan.operators}
        if not planned:
            return None
        stays = {*prepared.subject.keep_fp32, *exclude}
        ignored = [
            n.name for n in prepared.model.graph.node
            if n.name in stays or (operator(n).kind == "matrix" and n.name not in planned)
        ]  # fmt: skip
        found = taken_apart(_quantized(prepared, mode, variant, ignored), prepared.model)
        base = observed_graph(
            found.model, prepared.samples, replace(prepared.base.observing, sizes=False), exclude=exclude
        )
        whole = base.ranges("minmax")
        own = {name: replace(whole[name], top=top) for name, top in found.tops.items() if name in whole and top > 0.0}
        return Source(
            observed=base, real=prepared.model, variant=variant, exclude=tuple(exclude), margin=prepared.options.margin,
            methods=prepared.options.trials.range_methods, own={OWN: {**whole, **own}}, weights=found.weights,
            revertible=False,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TakenApart:
    """What NNCF found. model: its graph without Q/DQ, biases and smoothing as it left them. weights: by node. tops: by
    tensor, the largest magnitude that its activation scale holds."""

    model: ModelProto
    weights: Mapping[str, Weights]
    tops: Mapping[str, float]


def taken_apart(quantized: ModelProto, real: ModelProto) -> TakenApart:
    """NNCF's Q/DQ graph, and the float graph it was made of. Constants that are no weight become what they were."""
    index, before = Index.of(quantized), {n.name: n for n in real.graph.node}
    constants = {**index.constants, **Index.of(real).constants, **_changed(index)}
    weights: dict[str, Weights] = {}
    tops: dict[str, float] = {}
    nodes: list[NodeProto] = []
    for node in quantized.graph.node:
        if node.op_type == QUANTIZE:
            top = _top(*(index.constants[name] for name in node.input[1:3]))
            tops[node.input[0]] = max(tops.get(node.input[0], 0.0), top)
        if node.op_type in (QUANTIZE, DEQUANTIZE):
            continue
        copy = NodeProto()
        copy.CopyFrom(node)
        for slot, name in enumerate(node.input):
            source = index.producer.get(name)
            if source is None or source.op_type != DEQUANTIZE:
                continue
            stored = index.constants.get(source.input[0])
            if stored is None:  # an activation: what was before Q
                copy.input[slot] = index.producer[source.input[0]].input[0]
            elif slot == 1 and operator(node).kind == "matrix" and stored.dtype == np.int8:
                weights[node.name] = found = _weights(source, stored, index)
                copy.input[slot] = name
                constants[name] = _real(found)
            else:
                copy.input[slot] = before[node.name].input[slot]
        nodes.append(copy)
    used = {name for n in nodes for name in graphs.reads(n)} | set(index.outputs)
    tensors = [graphs.tensor(name, array) for name, array in constants.items() if name in used]
    return TakenApart(model=tidy(graphs.rebuilt(real, nodes, tensors)), weights=weights, tops=tops)


def _changed(index: Index) -> dict[str, Array]:
    """The constants that nodes of NNCF's graph read directly: corrected biases under the names of the old ones."""
    read = {name for n in index.model.graph.node if n.op_type not in (QUANTIZE, DEQUANTIZE) for name in graphs.reads(n)}
    return {name: array for name, array in index.constants.items() if name in read}


def _weights(source: NodeProto, stored: Array, index: Index) -> Weights:
    scale = np.asarray(index.constants[source.input[1]], np.float32)
    if scale.size == 1:
        return Weights(values=stored, scale=scale.reshape(()), axis=None)
    return Weights(values=stored, scale=scale, axis=graphs.integer(source, "axis", 1) % stored.ndim)


def _real(weights: Weights) -> Array:
    shape = [1] * weights.values.ndim
    if weights.axis is not None:
        shape[weights.axis] = -1
    return weights.values.astype(np.float32) * weights.scale.reshape(shape if weights.axis is not None else ())


def _top(scale: Array, zero: Array) -> float:
    """The largest magnitude that a scale and a zero point hold; of scales per channel, of the widest."""
    ends = (0.0, 255.0) if zero.dtype == np.uint8 else (-float(TOP), float(TOP))
    return float(np.max(scale * np.max([np.abs(end - zero.astype(np.float64)) for end in ends], axis=0)))


def _quantized(prepared: Prepared, mode: str, variant: str, ignored: Sequence[str]) -> ModelProto:
    """NNCF's own graph. Silent: it reports its progress on stdout, which belongs to the caller.

    Raises CheckFailed where values are too large for its arithmetic: NNCF 3.4 takes means in float32, and goes on with
    what has overflowed."""
    nncf = need("nncf", extra="nncf")
    advanced = need("nncf.quantization.advanced_parameters", extra="nncf")
    logging.getLogger("nncf").setLevel(logging.ERROR)
    fix = advanced.OverflowFix.ENABLE if KINDS[variant].weight_limit < TOP else advanced.OverflowFix.DISABLE
    parameters = advanced.AdvancedQuantizationParameters(overflow_fix=fix, disable_channel_alignment=False)
    copy = ModelProto()  # NNCF writes into what it is given
    copy.CopyFrom(prepared.model)
    refused = vendor_errors("nncf", where=variant, raises=CheckFailed)
    with refused, redirect_stdout(io.StringIO()), np.errstate(over="raise"):
        made: Any = nncf.quantize(
            copy, nncf.Dataset(prepared.samples), subset_size=min(prepared.passed, MOST_SAMPLES),
            model_type=nncf.ModelType.TRANSFORMER if mode == TRANSFORMER else None,
            ignored_scope=nncf.IgnoredScope(names=list(ignored), validate=False), advanced_parameters=parameters,
        )  # fmt: skip
    quantized: ModelProto = made
    return quantized
