"""What an int8 graph answers on a CPU without VNNI, whose 16-bit sums saturate: predicted on any machine.

The graph runs by the letter of the standard, cut behind each operator that can saturate. What saturation takes off
that operator's sums is computed from its int8 input, bit by bit, and subtracted, so that later operators read what
they would read there. Knows no plan.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, TensorProto, helper

from edge_sdk.calibration import graphs
from edge_sdk.calibration.comparison import fidelity
from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.prepare import Prepared
from edge_sdk.calibration.report import SaturatedLayer, Saturation, Variant
from edge_sdk.calibration.saturation.layers import Layer, lost_sums, saturating
from edge_sdk.calibration.saturation.loss import pair_count
from edge_sdk.calibration.statistics.observe import Feeds, Reader
from edge_sdk.errors import EdgeError
from edge_sdk.runtimes import targets
from edge_sdk.runtimes.operators import is_product
from edge_sdk.tensors import Array

SATURATING = ("openvino", "onnxruntime")
"""Those with such kernels on x86."""
MOST_SAMPLES, MOST_S = 4, 20.0
"""Of one graph: no sample begins after that time, but for the first."""


@dataclass(slots=True, kw_only=True)
class _Seen:
    """Of one layer over samples. cut, pairs: numbers of pair sums. lost, exact: squared L2 of outputs."""

    cut: int = 0
    pairs: int = 0
    lost: float = 0.0
    exact: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predicted:
    """What `variant` answers in `runtime` on a CPU without VNNI. answers: on the first of the compared samples."""

    variant: str
    runtime: str
    answers: Sequence[Mapping[str, Array]]
    layers: tuple[SaturatedLayer, ...]

    def row(self, wanted: Sequence[Mapping[str, Array]]) -> Saturation:
        """Held against the float graph's answers on the compared samples."""
        errors, _ = fidelity.errors(wanted[: len(self.answers)], self.answers)
        return Saturation(
            variant=self.variant, runtime=self.runtime, samples=len(self.answers), errors=errors, layers=self.layers
        )


def predictions(prepared: Prepared, variants: Sequence[Variant]) -> tuple[Predicted, ...]:
    """For each int8 variant that can saturate, and each runtime with such kernels that has a graph of it: installed
    here or not. A graph that can't be followed has none."""
    found = []
    for name in prepared.options.int8_variants:
        for runtime in SATURATING:
            graph = targets.taken(variants, name, runtime)
            if graph is None:
                continue
            try:
                made = predicted(graph, runtime, prepared.compared, prepared.options.threads)
            except EdgeError:
                continue  # values that are not finite, or a runtime that can't load a part of the graph
            found += [made] if made else []
    return tuple(found)


def predicted(graph: Variant, runtime: str, samples: Sequence[Feeds], threads: int | None) -> Predicted | None:
    """Of one graph on a few of the samples; None where no pair of weights can saturate. Raises as `Reader.run`."""
    emulation = Emulation(graphs.parsed(graph.graph), runtime, threads)
    if not emulation.layers:
        return None
    began, answers = time.monotonic(), list[dict[str, Array]]()
    for feeds in samples[:MOST_SAMPLES]:
        if answers and time.monotonic() - began > MOST_S:
            break
        answers.append(emulation.run(feeds))
    return Predicted(variant=graph.variant, runtime=runtime, answers=answers, layers=emulation.rows())


class Emulation:
    """One Q/DQ graph as `runtime` computes it without VNNI. layers: those that can saturate; none = as the standard."""

    def __init__(self, model: ModelProto, runtime: str, threads: int | None = None) -> None:
        index = Index.of(model)
        self.layers, self._outputs = saturating(index, runtime), index.outputs
        self._seen = {layer.node.name: _Seen() for layer in self.layers}
        taken = graphs.tensor_names(model)
        outputs = [layer.node.output[0] for layer in self.layers]
        self._exact = {name: graphs.fresh(f"{name}_exact", taken) for name in outputs}
        opened = _opened(model, self._exact)
        self._steps = [
            (_Piece(opened, _tensors(layers, self._exact), threads), layers)
            for layers in _by_level(model, self.layers)
        ]  # fmt: skip
        self._last = _Piece(opened, [name for name in self._outputs if name not in self._exact], threads)

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """The graph's outputs for one sample. Raises as `Reader.run`."""
        known: dict[str, Array] = dict(feeds)
        for piece, layers in self._steps:
            got = piece.run(known)
            for layer in layers:
                name = layer.node.output[0]
                known[name] = self._saturated(layer, got[layer.quantized], got[self._exact[name]])
        known |= self._last.run(known)
        return {name: known[name] for name in self._outputs}

    def rows(self) -> tuple[SaturatedLayer, ...]:
        """What was lost in each layer over all samples that ran."""
        return tuple(
            SaturatedLayer(
                node=name, pairs_cut=seen.cut / max(seen.pairs, 1),
                error=float(np.sqrt(seen.lost / seen.exact)) if seen.exact else 0.0,
            )
            for name, seen in self._seen.items()
        )  # fmt: skip

    def _saturated(self, layer: Layer, quantized: Array, exact: Array) -> Array:
        """`exact`, the layer's float output, less what saturation takes off it."""
        seen = self._seen[layer.node.name]
        lost, cut = lost_sums(layer, quantized, exact.shape)
        channels = exact.ndim - 1 if is_product(layer.node.op_type) else 1
        off = lost * layer.scale.reshape([-1 if axis == channels else 1 for axis in range(exact.ndim)])
        _, _, inputs, taps = layer.weights.shape
        seen.cut += cut
        seen.pairs += exact.size * pair_count(inputs, taps, layer.order)
        seen.lost += float(np.sum(off**2))
        seen.exact += float(np.sum(exact.astype(np.float64) ** 2))
        return np.asarray(exact - off, dtype=exact.dtype)


class _Piece:
    """The part of a graph that makes `tensors` of what is known when it first runs."""

    def __init__(self, model: ModelProto, tensors: Sequence[str], threads: int | None) -> None:
        self._model, self._tensors, self._threads = model, tensors, threads
        self._reader: Reader | None = None

    def run(self, known: Mapping[str, Array]) -> dict[str, Array]:
        """The tensors. Raises as `Reader.run`."""
        there = {name: known[name] for name in self._tensors if name in known}
        wanted = tuple(name for name in self._tensors if name not in there)
        if not wanted:
            return there
        if self._reader is None:
            part = graphs.cut(self._model, wanted)
            self._reader = Reader(part, wanted, optimised=False, threads=self._threads)
        return there | self._reader.run({name: known[name] for name in self._reader.inputs})


def _opened(model: ModelProto, exact: Mapping[str, str]) -> ModelProto:
    """The graph with the outputs of layers as inputs; what the layers make of theirs is called by the `exact` names."""
    copy = ModelProto()
    copy.CopyFrom(model)
    for node in copy.graph.node:
        for at, name in enumerate(node.output):
            node.output[at] = exact.get(name, name)
    copy.graph.input.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in exact)
    return copy


def _tensors(layers: Sequence[Layer], exact: Mapping[str, str]) -> list[str]:
    """What is to be read of layers: what each reads, and what it makes of that."""
    names = (name for layer in layers for name in (layer.quantized, exact[layer.node.output[0]]))
    return list(dict.fromkeys(names))


def _by_level(model: ModelProto, layers: Sequence[Layer]) -> Iterator[list[Layer]]:
    """Layers in groups that need no other layer but those of the groups before."""
    by_name = {layer.node.name: layer for layer in layers}
    levels: dict[str, int] = {}
    groups: list[list[Layer]] = []
    for node in model.graph.node:
        level = max((levels.get(name, 0) for name in graphs.reads(node)), default=0)
        if node.name in by_name:
            groups += [[]] if level == len(groups) else []
            groups[level].append(by_name[node.name])
            level += 1
        levels |= dict.fromkeys(node.output, level)
    yield from groups
