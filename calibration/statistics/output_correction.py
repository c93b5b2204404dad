"""What quantization adds to a float tensor on average is taken off again: one gain and one shift. Knows no family.

Rounding adds its own energy to a squared difference, so every score of an int8 graph lies a little too high, and what
lay just under a threshold is turned. The gain and shift that bring the quantized graph's tensor nearest to the float
graph's (least squares over the samples) stand in the graph as two float constants: the same in every runtime.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from onnx import ModelProto, NodeProto, helper, numpy_helper

from edge_sdk.calibration import graphs
from edge_sdk.calibration.statistics.observe import Feeds, Reader
from edge_sdk.errors import BadUsage
from edge_sdk.runtimes.probe import default_threads
from edge_sdk.tensors import Array

Key = TypeVar("Key")
GAIN_LIMITS = (0.8, 1.25)
"""Beyond these a gain would hide a broken calibration instead of a rounding: then only the shift is corrected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputCorrection:
    """quantized * gain + shift is nearest to the float graph's output of `node` over all samples.

    error_before, error_after: relative L2 difference. After: each half of the samples (every other one) with the gain
    and shift of the other half, so that no sample is judged by what was fitted on it.
    """

    node: str
    gain: float
    shift: float
    error_before: float
    error_after: float


class _Sums:
    """Moments of pairs (quantized x, float y), sample by sample, in float64."""

    def __init__(self) -> None:
        self.n, self.x, self.y, self.xx, self.xy, self.yy = 0, 0.0, 0.0, 0.0, 0.0, 0.0

    def add(self, quantized: Array, real: Array) -> None:
        x, y = quantized.astype(np.float64).ravel(), real.astype(np.float64).ravel()
        self.n += x.size
        self.x, self.y = self.x + float(x.sum()), self.y + float(y.sum())
        self.xx, self.xy, self.yy = self.xx + float(x @ x), self.xy + float(x @ y), self.yy + float(y @ y)

    def __add__(self, other: _Sums) -> _Sums:
        out = _Sums()
        for name in ("n", "x", "y", "xx", "xy", "yy"):
            setattr(out, name, getattr(self, name) + getattr(other, name))
        return out

    def fit(self) -> tuple[float, float]:
        """(gain, shift); of nothing (1, 0)."""
        n = max(self.n, 1)
        spread = self.xx / n - (self.x / n) ** 2
        gain = (self.xy / n - self.x * self.y / n**2) / spread if spread > 1e-12 * max(self.xx / n, 1e-30) else 1.0
        if not GAIN_LIMITS[0] <= gain <= GAIN_LIMITS[1]:
            gain = 1.0
        return gain, (self.y - gain * self.x) / n

    def gap(self, gain: float, shift: float) -> float:
        """Sum of squares of what is left after that gain and shift."""
        gap = (
            gain**2 * self.xx + shift**2 * self.n + self.yy
            + 2.0 * (gain * shift * self.x - gain * self.xy - shift * self.y)
        )  # fmt: skip
        return max(gap, 0.0)


def _correction(node: str, even: _Sums, odd: _Sums) -> OutputCorrection:
    both = even + odd
    gain, shift = both.fit()
    before, after = both.gap(1.0, 0.0), even.gap(*odd.fit()) + odd.gap(*even.fit())
    before, after = (float(np.sqrt(gap / both.yy)) if both.yy > 0.0 else 0.0 for gap in (before, after))
    return OutputCorrection(node=node, gain=gain, shift=shift, error_before=before, error_after=after)


def fitted(
    real: ModelProto, quantized: Mapping[Key, ModelProto], samples: Iterable[Feeds], nodes: Sequence[str],
    *, threads: int | None,
) -> dict[Key, tuple[OutputCorrection, ...]]:  # fmt: skip
    """For each of `quantized` one correction per node, in one pass over the samples.

    Measured by the letter of the standard, so that no constant depends on the machine that it was found on. The graphs
    run side by side, with few threads each: without optimisation a graph is hundreds of small steps, and two threads
    that meet after each of them are slower than one: two graphs of EfficientAD-XS take less than half the time so.
    """
    total = threads or default_threads()
    each = max(1, total // max(1, len(quantized)))
    here = _outputs(real, nodes)
    float_reader = Reader(real, here, optimised=True, threads=each)
    there = {name: _outputs(model, nodes) for name, model in quantized.items()}
    readers = {name: Reader(model, there[name], optimised=False, threads=each) for name, model in quantized.items()}
    halves = {name: [(_Sums(), _Sums()) for _ in nodes] for name in quantized}
    with ThreadPoolExecutor(max_workers=total) as pool:
        for number, feeds in enumerate(samples):
            run = partial(_run, feeds=feeds, where=f"sample {number}")
            wanted, *answers = pool.map(run, (float_reader, *readers.values()))
            for name, got in zip(readers, answers, strict=True):
                for half, ours, theirs in zip(halves[name], here, there[name], strict=True):
                    half[number % 2].add(got[theirs], wanted[ours])
    return {
        name: tuple(_correction(node, *half) for half, node in zip(found, nodes, strict=True))
        for name, found in halves.items()
    }


def _run(reader: Reader, *, feeds: Feeds, where: str) -> dict[str, Array]:
    return reader.run(feeds, where=where)


def applied(model: ModelProto, corrections: Sequence[OutputCorrection]) -> ModelProto:
    """`model` with each correction behind its node's output."""
    index = graphs.Index.of(model)
    taken, names = {*index.producer, *index.constants, *index.inputs}, {n.name for n in model.graph.node}
    outputs = _outputs(model, [one.node for one in corrections])
    constants = list(model.graph.initializer)
    behind: dict[str, list[NodeProto]] = {}
    renamed: dict[str, str] = {}
    for one, tensor in zip(corrections, outputs, strict=True):
        gain, scaled, shift, out = (
            graphs.fresh(f"{one.node}/correction/{part}", taken) for part in ("gain", "scaled", "shift", "out")
        )
        for name, value in ((gain, one.gain), (shift, one.shift)):
            constants.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        behind[one.node] = [
            helper.make_node("Mul", [tensor, gain], [scaled], name=graphs.fresh(scaled, names)),
            helper.make_node("Add", [scaled, shift], [out], name=graphs.fresh(out, names)),
        ]
        renamed[tensor] = out
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        copy = NodeProto()
        copy.CopyFrom(node)
        for slot, name in enumerate(copy.input):
            copy.input[slot] = renamed.get(name, name)
        nodes += [copy, *behind.get(node.name, ())]
    return graphs.rebuilt(model, nodes, constants)


def _outputs(model: ModelProto, nodes: Sequence[str]) -> tuple[str, ...]:
    """What each node makes. BadUsage where that is an output of the graph: it could not keep its name."""
    made = {node.name: node.output[0] for node in model.graph.node}
    last = [name for name in nodes if made[name] in {o.name for o in model.graph.output}]
    if last:
        raise BadUsage(
            f"{last[0]} makes an output of the graph, which can't be corrected", hint="Name the node before it"
        )
    return tuple(made[name] for name in nodes)
