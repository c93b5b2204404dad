"""Constant arithmetic around a convolution or product becomes part of its weight and bias. Knows no quantization.

Norms, scales and shifts that an exporter wrote as nodes of their own (BatchNormalization, Mul, Add, Sub, Div with
constants per output channel) would stand between the operator and its activation: Q/DQ could not fuse, and would round
twice. Computed in float64; what remains is the rounding of float32 weights.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto

from edge_sdk.calibration import graphs, ops
from edge_sdk.calibration.gelu import gelus
from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.ops import operator
from edge_sdk.calibration.statistics.weights import by_output, channels_in, channels_out, inputs_of, outputs_of
from edge_sdk.runtimes.operators import is_product
from edge_sdk.tensors import Array

Channels = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """x -> gain * x + shift, per channel: float64 (C,) or (1,)."""

    gain: Channels
    shift: Channels

    def then(self, other: Affine) -> Affine:
        """First this, then the other."""
        return Affine(self.gain * other.gain, self.shift * other.gain + other.shift)


NOTHING = Affine(np.ones(1), np.zeros(1))


def folded(model: ModelProto, keep: Collection[str] = ()) -> ModelProto:
    """A copy without the arithmetic that could be folded; node names of operators stay. keep: names of nodes that stay
    as they are, since the caller treats them by name."""
    return _Folder(Index.of(model), keep).model()


class _Folder:
    def __init__(self, index: Index, keep: Collection[str]) -> None:
        self._index, self._keep = index, keep
        self._names = graphs.tensor_names(index.model)
        self._gone: set[str] = set()  # outputs of nodes that are folded away
        # without its halving, no runtime knows a GELU again
        self._of_gelus = {node.output[0] for one in gelus(index) for node in one.nodes}
        self._new: dict[str, Array] = {}

    def model(self) -> ModelProto:
        made = {node.output[0]: self._operator(node) for node in self._index.model.graph.node if self._takes(node)}
        nodes = [
            made.get(node.output[0], node) for node in self._index.model.graph.node
            if node.output[0] not in self._gone or node.output[0] in made
        ]  # fmt: skip
        used = {name for node in nodes for name in graphs.reads(node)} | set(self._index.outputs)
        tensors = [t for t in self._index.model.graph.initializer if t.name in used]
        tensors += [graphs.tensor(name, array) for name, array in self._new.items()]
        return graphs.rebuilt(self._index.model, nodes, tensors)

    def _takes(self, node: NodeProto) -> bool:
        """Whether weight and bias can hold more: constants in float32, of the common shapes."""
        if operator(node).kind != "matrix" or len(node.output) != 1 or node.name in self._keep:
            return False
        weight = self._index.constants.get(node.input[1])
        if weight is None or weight.dtype != np.float32 or weight.ndim < 2 or node.input[0] in self._index.constants:
            return False
        if node.op_type == "MatMul" and weight.ndim != 2:
            return False
        plain = all(graphs.number(node, name, 1.0) == 1.0 for name in ("alpha", "beta"))
        if node.op_type == "Gemm" and (not plain or graphs.integer(node, "transA", 0)):
            return False
        if len(node.input) < 3 or not node.input[2]:
            return True
        bias = self._index.constants.get(node.input[2])
        return bias is not None and bias.shape == (channels_out(node, weight.shape),)

    def _operator(self, node: NodeProto) -> NodeProto:
        """The node with what stands before and behind it."""
        weight = self._index.constants[node.input[1]]
        has_bias = operator(node).bias is not None
        source, before = self._before(node, weight)
        end, behind = self._behind(node, channels_out(node, weight.shape), shifts=has_bias)
        copy = NodeProto()
        copy.CopyFrom(node)
        if before is NOTHING and behind is NOTHING:
            return copy
        w = weight.astype(np.float64)
        bias = np.zeros(channels_out(node, weight.shape))
        if len(node.input) > 2 and node.input[2]:
            bias = self._index.constants[node.input[2]].astype(np.float64)
        if before is not NOTHING:
            bias = bias + _summed(node, w, before.shift)
            w = w * _along_inputs(node, w, before.gain)
        w, bias = w * _along_outputs(node, w, behind.gain), bias * behind.gain + behind.shift
        with np.errstate(over="ignore"):
            new, added = w.astype(np.float32), bias.astype(np.float32)
        if not (np.isfinite(new).all() and np.isfinite(added).all()):
            return copy
        copy.input[0], copy.output[0] = source, end
        copy.input[1] = self._add(f"{node.name}_weight", new)
        if has_bias and (added.any() or len(node.input) > 2):
            del copy.input[2:]
            copy.input.append(self._add(f"{node.name}_bias", added))
        self._drop(node.output[0], end)
        self._drop_before(node.input[0], source)
        return copy

    def _behind(self, node: NodeProto, channels: int, *, shifts: bool) -> tuple[str, Affine]:
        """The tensor at the end of the arithmetic behind a node, and what it does. shifts: whether the operator has a
        bias to add to."""
        tensor, done = node.output[0], NOTHING
        axis_from_end = 1 if is_product(node.op_type) else self._index.constants[node.input[1]].ndim - 1
        while (reader := self._index.only_reader(tensor)) is not None and not self._index.captured(tensor):
            step = self._affine(reader, tensor, channels, axis_from_end, self._rank(node, tensor))
            if step is None or (not shifts and step.shift.any()):
                break
            tensor, done = reader.output[0], done.then(step)
        return tensor, done

    def _before(self, node: NodeProto, weight: Array) -> tuple[str, Affine]:
        """The tensor at the start of the arithmetic before a node, and what it does. A shift can't be folded where the
        convolution pads: zeros are put in behind it. What prepares a picture stays: its range follows from 0..255."""
        tensor, done = node.input[0], NOTHING
        conv = not is_product(node.op_type)
        if node.op_type == "ConvTranspose" or (conv and graphs.integer(node, "group", 1) not in (1, len(weight))):
            return tensor, done
        inputs = channels_in(node, weight.shape)
        shifts = operator(node).bias is not None and (not conv or ops.unpadded(node))
        while (maker := self._index.producer.get(tensor)) is not None and self._index.only_reader(tensor) is not None:
            varying = [name for name in maker.input if name not in self._index.constants]
            taken = tensor in self._gone or tensor in self._of_gelus  # by the operator before, by an activation
            if taken or self._index.captured(tensor) or len(varying) != 1 or self._prepares(varying[0]):
                break
            from_end = weight.ndim - 1 if conv else 1
            shape = self._index.shapes.get(varying[0], ())
            if len(shape) < from_end or shape[-from_end] != inputs:
                break  # the constant may make the channels: (N, 1, H, W) * (1, C, 1, 1)
            step = self._affine(maker, varying[0], inputs, from_end, self._rank(node, tensor))
            if step is None or (step.shift.any() and not shifts):
                break
            tensor, done = varying[0], step.then(done)
        return tensor, done

    def _prepares(self, tensor: str) -> bool:
        return tensor in self._index.inputs or tensor in ops.picture_tensors(self._index)

    def _rank(self, node: NodeProto, tensor: str) -> int:
        if node.op_type == "MatMul":
            return len(self._index.shapes.get(tensor, ()))
        return self._index.constants[node.input[1]].ndim

    def _affine(self, node: NodeProto, tensor: str, channels: int, axis_from_end: int, rank: int) -> Affine | None:
        """What a node does to `tensor`, None if that is no constant arithmetic per channel."""
        if node.domain not in graphs.STANDARD_DOMAINS or node.name in self._keep:
            return None
        if operator(node).norm == "axis 1":
            return self._norm(node, tensor, axis_from_end, rank)
        if not operator(node).elementwise or len(node.input) != 2 or list(node.input).count(tensor) != 1:
            return None
        first = node.input[0] == tensor
        value = self._per_channel(node.input[1 if first else 0], channels, axis_from_end, rank)
        if value is None:
            return None
        one, zero = np.ones(1), np.zeros(1)
        match operator(node).arithmetic:
            case "+":
                return Affine(one, value)
            case "-":
                return Affine(one, -value) if first else Affine(-one, value)
            case "*":
                return Affine(value, zero)
            case "/" if first and value.all():
                return Affine(1.0 / value, zero)
        return None

    def _norm(self, node: NodeProto, tensor: str, axis_from_end: int, rank: int) -> Affine | None:
        """Of a BatchNormalization for inference, whose channels are axis 1."""
        held = [self._index.constants.get(name) for name in node.input[1:5]]
        arrays = [array.astype(np.float64) for array in held if array is not None and array.dtype == np.float32]
        if rank - axis_from_end != 1 or len(arrays) != 4 or node.input[0] != tensor or len(node.output) != 1:
            return None
        if graphs.integer(node, "training_mode", 0):
            return None
        gamma, beta, mean, variance = arrays
        gain = gamma / np.sqrt(variance + graphs.number(node, "epsilon", 1e-5))
        return Affine(gain, beta - mean * gain)

    def _per_channel(self, name: str, channels: int, axis_from_end: int, rank: int) -> Channels | None:
        """A constant's values if it has one, or one for each channel, and does not add axes."""
        array = self._index.constants.get(name)
        if array is None or array.dtype != np.float32 or array.ndim > max(rank, 1) or not np.isfinite(array).all():
            return None
        if array.size == 1:
            return array.reshape(1).astype(np.float64)
        alone = array.ndim >= axis_from_end and array.shape[-axis_from_end] == array.size == channels
        return array.reshape(-1).astype(np.float64) if alone else None

    def _drop(self, start: str, end: str) -> None:
        """Mark the nodes that made what lies between `start` and `end`, `end` included."""
        while start != end:
            reader = self._index.readers[start][0]
            start = reader.output[0]
            self._gone.add(start)

    def _drop_before(self, start: str, end: str) -> None:
        while start != end:
            self._gone.add(start)
            maker = self._index.producer[start]
            start = next(name for name in maker.input if name not in self._index.constants)

    def _add(self, name: str, array: Array) -> str:
        made = graphs.fresh(name, self._names)
        self._new[made] = array
        return made


def _along_outputs(node: NodeProto, weight: Channels, values: Channels) -> Channels:
    """`values` of output channels, or the one for all, to multiply the weight with."""
    return values if values.size == 1 else values[outputs_of(node, weight.shape)]


def _along_inputs(node: NodeProto, weight: Channels, values: Channels) -> Channels:
    """`values` of input channels, or the one for all, to multiply the weight with."""
    return values if values.size == 1 else values[inputs_of(node, weight.shape)]


def _summed(node: NodeProto, weight: Channels, shift: Channels) -> Channels:
    """What a shift of the input adds to each output: (O,)."""
    spread = by_output(node, weight * _along_inputs(node, weight, shift))
    out: Channels = spread.reshape(len(spread), -1).sum(axis=1)
    return out
