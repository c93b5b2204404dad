"""Inserts Q and DQ by a plan: the canonical int8 graph, layout "conv-relu-q". Knows no samples, no runtime.

Q/DQ stand behind the activation function that fuses into its convolution; weights are stored int8 with a scale per
output channel, biases float32. Products (Gemm and MatMul) are written as MatMul, then Sub of the negative bias.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper

from edge_sdk.calibration import graphs
from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.ops import DEQUANTIZE, depthwise, operator
from edge_sdk.calibration.plan import QuantizationPlan
from edge_sdk.calibration.statistics.bias_correction import bias_shift
from edge_sdk.calibration.statistics.ranges import Weights, quantize_weights
from edge_sdk.calibration.statistics.weights import by_output, weight_axis
from edge_sdk.runtimes.operators import QUANTIZE, is_product
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

    weight_limit: 127, or 64 where 16-bit sums would saturate. means: by tensor, mean per channel along the axis of
    `plan.channel_axes`; the biases of the operators that read these tensors are corrected for the rounding of their
    weights. given: by node, weights that are int8 already; their biases are not corrected again.
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
        self._axes = plan.channel_axes(index.model)
        self._subtracted: dict[str, str] = {}  # Add behind a product -> the negative of what it adds
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
            for i, name in enumerate(node.output):
                if name in points and name in self._index.outputs:
                    copy.output[i] = graphs.fresh(f"{name}_float", self._names)
            if node.name in self._subtracted:
                varying = next(name for name in copy.input if name not in self._index.constants)
                copy.op_type, copy.input[:] = "Sub", [varying, self._subtracted[node.name]]
            behind = self._weights(node, copy) if node.name in self._plan.operators else None
            self._nodes += [copy] if behind is None else [copy, behind]
            for name, real in zip(node.output, (behind or copy).output, strict=True):
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

    def _weights(self, node: NodeProto, copy: NodeProto) -> NodeProto | None:
        """Give `copy` int8 weights and its bias; the node behind it that answers in its place, if there is one."""
        product = is_product(node.op_type)
        real = self._index.constants[node.input[1]].astype(np.float32)
        if product:  # (K, N), as MatMul stores it
            real = by_output(node, real).T
        bias = self._index.constants.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        axis = 1 if product else weight_axis(node)
        limit = TOP if depthwise(node, real.shape) else self._limit
        given = self._given_weights(node, axis, limit)
        packed = given or quantize_weights(
            real,
            axis=axis,
            limit=limit,
            bias=bias if bias is not None and bias.ndim == 1 and not product else None,
            input_scale=float(self._scales[node.input[0]]),
        )
        stem = f"{node.name}_weight"
        q, scale, zero = (graphs.fresh(f"{stem}_{part}", self._names) for part in ("q", "scale", "zero"))
        self._constants |= {q: packed.values, scale: packed.scale, zero: np.zeros(packed.scale.shape, np.int8)}
        out = graphs.fresh(f"{stem}_dq", self._names)
        self._add(DEQUANTIZE, [q, scale, zero], out, out, axis=axis)
        if product:
            copy.op_type = "MatMul"
            del copy.attribute[:], copy.input[2:]
        copy.input[1] = out
        shift = self._shift_of(node, copy, real, packed, given=given is not None)
        if product:
            return self._behind(node, copy, bias, shift)
        self._biased(node, copy, bias, shift)
        return None

    def _shift_of(
        self, node: NodeProto, copy: NodeProto, real: Array, packed: Weights, *, given: bool
    ) -> NDArray[np.float64]:
        """What the bias of each output channel must take up: the picture's 128, the mean error of rounded weights."""
        weights = packed.values.astype(np.float64)
        weights *= packed.scale.astype(np.float64).reshape([-1 if i == packed.axis else 1 for i in range(weights.ndim)])
        exact, rounded = by_output(copy, real), by_output(copy, weights)
        shift = np.zeros(len(exact))
        if self._plan.points[node.input[0]].role == "exact-picture":
            # conv(x) = conv(x - 128) + 128 * sum of the weights that really run: exact.
            shift += 128.0 * rounded.reshape(len(exact), -1).sum(axis=1)
        means = self._means.get(node.input[0])
        if means is not None and means.size and not given and self._axes[node.input[0]] == operator(node).data_axis:
            positions = int(np.prod(graphs.ints(node, "strides"))) if node.op_type == "ConvTranspose" else 1
            group = graphs.integer(node, "group", 1)
            shift += bias_shift(exact, rounded, means, group=group, positions=positions)
        return shift

    def _given_weights(self, node: NodeProto, axis: int | None, limit: int) -> Weights | None:
        """What another algorithm has chosen, a product's as (K, N). None of what the contract does not hold: NNCF 3.4
        leaves weights of grouped convolutions at 127 where it halves others, and gives scales per channel to a
        ConvTranspose with groups."""
        found = self._given.get(node.name)
        if found is not None and is_product(node.op_type):
            values = by_output(node, found.values).T
            found = Weights(values=values, scale=found.scale, axis=None if found.axis is None else 1)
        if found is None or np.abs(found.values.astype(np.int16)).max(initial=0) > limit:
            return None
        return found if found.axis in (None, axis) else None

    def _biased(self, node: NodeProto, copy: NodeProto, bias: Array | None, shift: NDArray[np.float64]) -> None:
        """The float32 bias of a convolution."""
        if not shift.any():
            return
        name = graphs.fresh(f"{node.name}_bias", self._names)
        # A bias that the graph computes is no constant: `plan` leaves its operator float.
        self._constants[name] = (shift + (0.0 if bias is None else bias.astype(np.float64))).astype(np.float32)
        del copy.input[2:]
        copy.input.append(name)

    def _behind(
        self, node: NodeProto, copy: NodeProto, bias: Array | None, shift: NDArray[np.float64]
    ) -> NodeProto | None:
        """The bias of a product: x - (-b), which equals x + b bit by bit, in the Add that is there or in a node behind.

        onnxruntime 1.32 turns MatMul and Add of a bias into Gemm before it looks at Q/DQ, and then runs that in float,
        weights dequantized in every run. MatMul without Q behind it answers in float32: one rounding fewer, and faster
        than QLinearMatMul and QGemm (docs/results/products.json).
        """
        reader = self._index.only_reader(node.output[0])
        added = _constant_of(reader, self._index) if reader is not None and bias is None else None
        if reader is not None and added is not None:
            self._subtracted[reader.name] = self._negative(reader.name, added + shift)
            return None
        total = shift + (0.0 if bias is None else bias)
        if not total.any():
            return None
        answer, copy.output[0] = copy.output[0], graphs.fresh(f"{node.name}_product", self._names)
        name = graphs.fresh(f"{node.name}_bias", self._node_names)
        return helper.make_node("Sub", [copy.output[0], self._negative(node.name, total)], [answer], name=name)

    def _negative(self, stem: str, bias: NDArray[np.float64]) -> str:
        name = graphs.fresh(f"{stem}_negative_bias", self._names)
        self._constants[name] = (-bias).astype(np.float32)
        return name

    def _add(self, op: str, inputs: list[str], output: str, name: str, axis: int | None = None) -> None:
        unique = graphs.fresh(name, self._node_names)
        node = helper.make_node(op, inputs, [output], name=unique)
        if axis is not None:
            node.attribute.append(helper.make_attribute("axis", axis))
        self._nodes.append(node)


def _constant_of(node: NodeProto, index: Index) -> NDArray[np.float64] | None:
    """What an Add adds to one varying tensor; None if the node is something else."""
    if node.op_type != "Add" or node.domain not in graphs.STANDARD_DOMAINS:
        return None
    constants = [index.constants[name] for name in node.input if name in index.constants]
    return constants[0].astype(np.float64) if len(constants) == 1 else None
