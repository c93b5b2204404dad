"""Inserts Q and DQ by a plan: the canonical int8 graph, layout "conv-relu-q". Knows no samples, no runtime.

Q/DQ stand behind the activation function that fuses into its convolution; weights are stored int8 with a scale per
output channel, biases float32.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper

from edge_sdk.calibration import graphs
from edge_sdk.calibration.bias_correction import bias_shift
from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.ops import DEQUANTIZE, corrects_bias, depthwise, weight_axis
from edge_sdk.calibration.plan import QuantizationPlan
from edge_sdk.calibration.ranges import Weights, quantize_weights
from edge_sdk.runtimes.operators import QUANTIZE
from edge_sdk.runtimes.variants import TOP
from edge_sdk.tensors import Array


def insert(
    model: ModelProto,
    plan: QuantizationPlan,
    scales: Mapping[str, np.float32],
    *,
    weight_limit: int = TOP,
    means: Mapping[str, NDArray[np.float64]] | None = None,
    given: Mapping[str, Weights] | None = None,
) -> ModelProto:
    """The int8 graph in the canonical layout.

    weight_limit: 127, or 64 where 16-bit sums would saturate. means: by tensor, mean per channel (axis 1); biases of
    the convolutions that read these tensors are corrected for the rounding of their weights. given: by node, weights
    that are int8 already; their biases are not corrected again.
    """
    return _Writer(Index.of(model), plan, scales, weight_limit, means or {}, given or {}).model()


def scale_name(group: str) -> str:
    """What the scale of a group of tensors is called, unless the float graph has a tensor of that name."""
    return f"{group}_scale"


class _Writer:
    def __init__(
        self,
        index: Index,
        plan: QuantizationPlan,
        scales: Mapping[str, np.float32],
        limit: int,
        means: Mapping[str, NDArray[np.float64]],
        given: Mapping[str, Weights],
    ) -> None:
        self._index, self._plan, self._scales, self._limit, self._means = index, plan, scales, limit, means
        self._given = given
        self._names = graphs.tensor_names(index.model)
        self._node_names = {n.name for n in index.model.graph.node}
        self._constants: dict[str, Array] = dict(index.constants)
        self._nodes: list[NodeProto] = []
        self._scale_names: dict[str, str] = {}
        self._shift = ""
        self._dequantized: dict[str, str] = {}
        self._before_q: dict[str, str] = {}
        self._zero = ""

    def model(self) -> ModelProto:
        points = self._plan.points
        for name in self._index.inputs:
            if name in points:
                self._quantize(name, name)
        for node in self._index.model.graph.node:
            copy = NodeProto()
            copy.CopyFrom(node)
            read = self._before_q if node.name in self._plan.before_q else self._dequantized
            for i, name in enumerate(node.input):
                if name in points:
                    copy.input[i] = read[name]
            if node.name in self._plan.operators:
                self._weights(node, copy)
            for i, name in enumerate(node.output):
                if name in points and name in self._index.outputs:
                    copy.output[i] = graphs.fresh(f"{name}_float", self._names)
            self._nodes.append(copy)
            for name, real in zip(node.output, copy.output, strict=True):
                if name in points:
                    self._quantize(name, real)
        used = {name for n in self._nodes for name in graphs.reads(n)} | set(self._index.outputs)
        tensors = [graphs.tensor(name, array) for name, array in self._constants.items() if name in used]
        return graphs.rebuilt(self._index.model, self._nodes, tensors)

    def _quantize(self, tensor: str, real: str) -> None:
        self._before_q[tensor] = real
        if self._plan.points[tensor].role == "exact-picture":
            real = self._minus_128(real)
        # An output of the graph keeps its name: the pair's end takes it, its producer got another.
        own = tensor in self._index.outputs
        q = graphs.fresh(f"{tensor}_q", self._names)
        self._dequantized[tensor] = dq = tensor if own else graphs.fresh(f"{tensor}_dq", self._names)
        scale, zero = self._scale(tensor), self._zero_point()
        self._add(QUANTIZE, [real, scale, zero], q, q)
        self._add(DEQUANTIZE, [q, scale, zero], dq, f"{tensor}_dq")

    def _minus_128(self, tensor: str) -> str:
        if not self._shift:
            self._shift = graphs.fresh("picture_shift", self._names)
            self._constants[self._shift] = np.asarray(-128.0, np.float32)
        centred = graphs.fresh(f"{tensor}_centred", self._names)
        self._add("Add", [tensor, self._shift], centred, f"{tensor}_centred")
        return centred

    def _scale(self, tensor: str) -> str:
        group = self._plan.points[tensor].group
        value = np.asarray(self._scales[tensor], np.float32)
        name = self._scale_names.get(group)
        if name is None:
            name = self._scale_names[group] = graphs.fresh(scale_name(group), self._names)
            self._constants[name] = value
        return name

    def _zero_point(self) -> str:
        if not self._zero:
            self._zero = graphs.fresh("zero_point", self._names)
            self._constants[self._zero] = np.asarray(0, np.int8)
        return self._zero

    def _weights(self, node: NodeProto, copy: NodeProto) -> None:
        real = self._index.constants[node.input[1]].astype(np.float32)
        bias = self._index.constants.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        axis = weight_axis(node)
        packed = self._given.get(node.name) or quantize_weights(
            real,
            axis=axis,
            limit=TOP if depthwise(node, real.shape) else self._limit,
            bias=bias if bias is not None and bias.ndim == 1 else None,
            input_scale=float(self._scales[node.input[0]]),
        )
        stem = f"{node.name}_weight"
        q, scale, zero = (graphs.fresh(f"{stem}_{part}", self._names) for part in ("q", "scale", "zero"))
        self._constants |= {q: packed.values, scale: packed.scale, zero: np.zeros(packed.scale.shape, np.int8)}
        out = graphs.fresh(f"{stem}_dq", self._names)
        self._add(DEQUANTIZE, [q, scale, zero], out, out, axis=axis)
        copy.input[1] = out
        self._bias(node, copy, real, packed, bias)

    def _bias(self, node: NodeProto, copy: NodeProto, real: Array, packed: Weights, bias: Array | None) -> None:
        """The float32 bias: with the picture's 128 in it, and corrected for rounded weights."""
        if not corrects_bias(node):
            return
        axis = packed.axis or 0
        # (O, I / group, ...), whichever way the weight is stored
        real, values = np.moveaxis(real, axis, 0), np.moveaxis(packed.values, axis, 0)
        rounded = values.astype(np.float64) * packed.scale.astype(np.float64).reshape(-1, *[1] * (real.ndim - 1))
        shift = np.zeros(len(real))
        if self._plan.points[node.input[0]].role == "exact-picture":
            # conv(x) = conv(x - 128) + 128 * sum of the weights that really run: exact.
            shift += 128.0 * rounded.reshape(len(real), -1).sum(axis=1)
        means = self._means.get(node.input[0])
        if means is not None and means.size and node.name not in self._given:
            shift += bias_shift(real, rounded, means, group=graphs.integer(node, "group", 1))
        if not shift.any():
            return
        name = graphs.fresh(f"{node.name}_bias", self._names)
        # A bias that the graph computes is no constant: `plan` leaves its operator float.
        self._constants[name] = (shift + (0.0 if bias is None else bias.astype(np.float64))).astype(np.float32)
        del copy.input[2:]
        copy.input.append(name)

    def _add(self, op: str, inputs: list[str], output: str, name: str, axis: int | None = None) -> None:
        unique = graphs.fresh(name, self._node_names)
        node = helper.make_node(op, inputs, [output], name=unique)
        if axis is not None:
            node.attribute.append(helper.make_attribute("axis", axis))
        self._nodes.append(node)
