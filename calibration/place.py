"""Where Q and DQ go: symmetric int8 that TensorRT, OpenVINO and ONNX Runtime read alike. Knows no samples, no runtime.

`plan` decides which tensors need a scale, `scales` gives each its number, `place` writes the canonical layout:
Q/DQ behind the activation function that fuses into its convolution ("conv-relu-q").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper

from edge_sdk.calibration import graphs
from edge_sdk.calibration.correct import bias_shift
from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.ranges import TOP, Range, Weights, quantize_weights, scale_of
from edge_sdk.errors import BadInput
from edge_sdk.tensors import Array

MATRIX_OPS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
ACTIVATIONS = ("Relu", "Clip", "LeakyRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu", "Gelu", "Mish")
# Values only move: what goes in comes out, so both sides share one scale.
COPIES = (
    "MaxPool",
    "Reshape",
    "Transpose",
    "Slice",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "DepthToSpace",
    "SpaceToDepth",
    "Gather",
    "Concat",
    "Split",
)
AVERAGES = ("AveragePool", "GlobalAveragePool", "ReduceMean", "Resize")
_PAIR = ("QuantizeLinear", "DequantizeLinear")
_WITH_CONSTANTS = ("Relu", "Identity", "BatchNormalization", "Neg", "Add", "Sub", "Mul", "Div")
_PICTURE_STEPS = ("Cast", "Transpose", "Add", "Sub", "Mul", "Div")

Role = Literal["inner", "tail", "picture", "exact-picture"]
FirstConv = Literal["auto", "int8", "float"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One tensor that gets Q and DQ.

    group: tensors with the same group share one scale. role: `inner` feeds int8 operators; `tail` feeds float ones, so
    its range is widened; `picture` lies between the uint8 input and the first convolution, its range follows from
    0..255; `exact-picture` is the raw picture minus 128, exact at scale 1.
    """

    tensor: str
    group: str
    role: Role = "inner"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """operators: names of the nodes that become int8. points: by tensor. averages: pool output -> pool input."""

    operators: tuple[str, ...]
    points: Mapping[str, Point]
    averages: Mapping[str, str] = field(default_factory=dict)

    def convolved(self, model: ModelProto) -> tuple[str, ...]:
        """The tensors that int8 convolutions read: their means per channel correct biases."""
        return tuple({n.input[0]: None for n in model.graph.node if n.op_type == "Conv" and n.name in self.operators})

    def pictures(self) -> tuple[str, ...]:
        """The tensors whose range follows from the picture's 0..255."""
        return tuple(p.tensor for p in self.points.values() if p.role == "picture")


def plan(
    model: ModelProto,
    *,
    float_nodes: Iterable[str] = (),
    first_conv: FirstConv = "auto",
) -> Plan:
    """Which operators of a clean float graph become int8, and which tensors need a scale.

    float_nodes: names of nodes that stay float. first_conv: what convolutions that read the picture become; "auto" is
    int8 where the picture enters exactly (raw and unpadded), else float: normalised pixels lose a bit in int8 and win
    no time.
    """
    return _Planner(Index.of(model), frozenset(float_nodes), first_conv).plan()


class _Planner:
    def __init__(self, index: Index, float_nodes: frozenset[str], first_conv: str) -> None:
        self._index, self._float = index, float_nodes
        self._pictures = picture_tensors(index)
        self._operators = [n for n in index.model.graph.node if self._becomes_int8(n, first_conv)]
        self._wanted: dict[str, None] = {}  # in the order of discovery: graphs come out the same every time

    def plan(self) -> Plan:
        for node in self._operators:
            for name in _data_inputs(node, self._index):
                self._want(name)
        while self._adds() + self._outputs():
            pass
        averages = {
            n.output[0]: n.input[0]
            for n in self._index.model.graph.node
            if n.op_type in AVERAGES and n.output[0] in self._wanted and n.input[0] in self._wanted
        }
        groups = self._groups()
        points = {t: Point(tensor=t, group=groups[t], role=self._role(t)) for t in self._wanted}
        return Plan(operators=tuple(n.name for n in self._operators), points=points, averages=averages)

    def _becomes_int8(self, node: NodeProto, first_conv: str) -> bool:
        if node.op_type not in MATRIX_OPS or node.name in self._float or node.domain not in graphs.STANDARD_DOMAINS:
            return False
        constant = self._index.constants.get(node.input[1])
        if constant is None or constant.dtype != np.float32 or node.input[0] in self._index.constants:
            return False
        if node.op_type == "MatMul" and constant.ndim != 2:
            return False
        if node.op_type == "Gemm" and (_number(node, "alpha") != 1.0 or _number(node, "beta") != 1.0):
            return False
        if self._index.types.get(node.input[0], TensorProto.FLOAT) != TensorProto.FLOAT:
            return False
        if joined(node.input[0], self._index):
            return False
        if node.input[0] not in self._pictures or first_conv == "int8":
            return True
        return first_conv == "auto" and self._raw(node.input[0]) and node.op_type == "Conv" and _unpadded(node)

    def _want(self, tensor: str) -> bool:
        """Give `tensor` a scale, and with it whatever only moves values into it. True if that is new."""
        if tensor in self._wanted or tensor in self._index.constants:
            return False
        self._wanted[tensor] = None
        producer = self._index.producer.get(tensor)
        if producer is not None and tensor not in self._pictures and self._copies(producer):
            for name in _moved(producer):
                self._want(name)
        return True

    def _role(self, tensor: str) -> Role:
        if tensor in self._pictures:
            return "exact-picture" if self._exact(tensor) else "picture"
        readers = self._index.readers.get(tensor, ())
        inside = all(self._reads_int8(node) for node in readers) and tensor not in self._index.outputs
        return "inner" if inside else "tail"

    def _reads_int8(self, node: NodeProto) -> bool:
        if node in self._operators:
            return True
        moves = node.op_type == "Add" or node.op_type in AVERAGES or self._copies(node)
        return moves and node.name not in self._float and all(self.end_of(t) in self._wanted for t in node.output)

    def _copies(self, node: NodeProto) -> bool:
        if node.name in self._float:
            return False
        nearest = node.op_type == "Resize" and graphs.text(node, "mode", "nearest") == "nearest"
        zero_pad = node.op_type == "Pad" and graphs.text(node, "mode", "constant") == "constant" and len(node.input) < 3
        return node.op_type in COPIES or nearest or zero_pad

    def _exact(self, tensor: str) -> bool:
        """True if `tensor` is the raw picture and every reader is an unpadded int8 convolution: minus 128 is exact."""
        readers = self._index.readers.get(tensor, ())
        fit = all(r in self._operators and r.op_type == "Conv" and _unpadded(r) for r in readers)
        return fit and self._raw(tensor) and tensor not in self._index.outputs

    def _raw(self, tensor: str) -> bool:
        """True if nothing but Cast and Transpose lies between the graph's input and `tensor`."""
        node = self._index.producer.get(tensor)
        while node is not None and node.op_type in ("Cast", "Transpose"):
            node = self._index.producer.get(node.input[0])
        return node is None

    def _adds(self) -> int:
        """Residual sums of int8 tensors: Q and DQ on both branches, or the sum runs in float everywhere."""
        new = 0
        for node in self._index.model.graph.node:
            if node.op_type != "Add" or node.name in self._float or not self._residual(node):
                continue
            if self.end_of(node.output[0]) in self._wanted:
                new += sum(self._want(name) for name in node.input)
        return new

    def _residual(self, node: NodeProto) -> bool:
        constant = any(name in self._index.constants for name in node.input)
        return not constant and any(name in self._wanted or self._from_int8(name) for name in node.input)

    def _from_int8(self, tensor: str) -> bool:
        node = self._index.producer.get(tensor)
        if node is None:
            return False
        if node.op_type in (*ACTIVATIONS, "Mul") or self._copies(node):
            return self._from_int8(node.input[0])
        return node in self._operators or (node.op_type == "Add" and node.name not in self._float)

    def _outputs(self) -> int:
        """Every int8 operator has Q and DQ behind it: ONNX Runtime runs it in float otherwise."""
        new = 0
        for node in self._operators:
            new += self._close(node.output[0])
        for node in self._index.model.graph.node:
            if node.op_type == "Add" and all(name in self._wanted for name in node.input) and self._residual(node):
                new += self._close(node.output[0])
        return new

    def _close(self, tensor: str) -> int:
        return int(self._want(self.end_of(tensor)))

    def end_of(self, tensor: str) -> str:
        """`tensor`, or the output of the activation function that fuses into its producer."""
        reader = self._index.only_reader(tensor)
        if reader is not None and reader.op_type in ACTIVATIONS and reader.name not in self._float:
            return str(reader.output[0])
        nodes = self._index.readers.get(tensor, ())
        if len(nodes) == 2 and tensor not in self._index.outputs:  # x * sigmoid(x)
            gate = next((n for n in nodes if n.op_type in ("Sigmoid", "HardSigmoid")), None)
            product = next((n for n in nodes if n.op_type == "Mul"), None)
            if gate is not None and product is not None and gate.output[0] in product.input:
                return str(product.output[0])
        return tensor

    def _groups(self) -> dict[str, str]:
        parent = {t: t for t in self._wanted}

        def root(tensor: str) -> str:
            while parent[tensor] != tensor:
                tensor = parent[tensor]
            return tensor

        for node in self._index.model.graph.node:
            if self._copies(node):
                ends = [t for t in (*_moved(node), *node.output) if t in parent and t not in self._pictures]
                for other in ends[1:]:
                    parent[root(other)] = root(ends[0])
        return {t: root(t) for t in parent}


def scales(plan: Plan, ranges: Mapping[str, Range], *, output_margin: float = 1.0) -> dict[str, np.float32]:
    """The float32 scale of every point. output_margin: how much wider the ranges before the float tail are made."""
    tops: dict[str, float] = {}
    for point in plan.points.values():
        if point.role == "exact-picture":
            top = float(TOP)
        else:
            top = ranges[point.tensor].top * (output_margin if point.role == "tail" else 1.0)
        tops[point.group] = max(tops.get(point.group, 0.0), top)
    found = {group: scale_of(top) for group, top in tops.items()}
    for output, source in plan.averages.items():
        after, before = plan.points[output].group, plan.points[source].group
        if after != before:
            found[after] = _untied(found[after], found[before])
    return {tensor: found[point.group] for tensor, point in plan.points.items()}


def place(
    model: ModelProto,
    plan: Plan,
    scales: Mapping[str, np.float32],
    *,
    weight_limit: int = TOP,
    means: Mapping[str, NDArray[np.float64]] | None = None,
) -> ModelProto:
    """The int8 graph in the canonical layout.

    weight_limit: 127, or 64 where 16-bit sums would saturate. means: by tensor, mean per channel (axis 1); biases of
    the convolutions that read these tensors are corrected for the rounding of their weights.
    """
    return _Writer(Index.of(model), plan, scales, weight_limit, means or {}).model()


class _Writer:
    def __init__(
        self,
        index: Index,
        plan: Plan,
        scales: Mapping[str, np.float32],
        limit: int,
        means: Mapping[str, NDArray[np.float64]],
    ) -> None:
        self._index, self._plan, self._scales, self._limit, self._means = index, plan, scales, limit, means
        self._names = graphs.tensor_names(index.model)
        self._node_names = {n.name for n in index.model.graph.node}
        self._constants: dict[str, Array] = dict(index.constants)
        self._nodes: list[NodeProto] = []
        self._scale_names: dict[str, str] = {}
        self._shift = ""
        self._dequantized: dict[str, str] = {}
        self._zero = ""

    def model(self) -> ModelProto:
        points = self._plan.points
        for name in self._index.inputs:
            if name in points:
                self._quantize(name, name)
        for node in self._index.model.graph.node:
            copy = NodeProto()
            copy.CopyFrom(node)
            for i, name in enumerate(node.input):
                if name in points:
                    copy.input[i] = self._dequantized[name]
            if node.name in self._plan.operators:
                self._weights(node, copy)
            for i, name in enumerate(node.output):
                if name in points and name in self._index.outputs:
                    copy.output[i] = graphs.fresh(f"{name}_float", self._names)
            self._nodes.append(copy)
            for name, real in zip(node.output, copy.output, strict=True):
                if name in points:
                    self._quantize(name, real)
        used = {name for n in self._nodes for name in n.input} | set(self._index.outputs)
        tensors = [graphs.tensor(name, array) for name, array in self._constants.items() if name in used]
        return graphs.rebuilt(self._index.model, self._nodes, tensors)

    def _quantize(self, tensor: str, real: str) -> None:
        if self._plan.points[tensor].role == "exact-picture":
            real = self._minus_128(real)
        # An output of the graph keeps its name: the pair's end takes it, its producer got another.
        own = tensor in self._index.outputs
        q = graphs.fresh(f"{tensor}_q", self._names)
        self._dequantized[tensor] = dq = tensor if own else graphs.fresh(f"{tensor}_dq", self._names)
        scale, zero = self._scale(tensor), self._zero_point()
        self._add("QuantizeLinear", [real, scale, zero], q, q)
        self._add("DequantizeLinear", [q, scale, zero], dq, f"{tensor}_dq")

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
            name = self._scale_names[group] = graphs.fresh(f"{group}_scale", self._names)
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
        packed = quantize_weights(
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
        self._add("DequantizeLinear", [q, scale, zero], out, out, axis=axis)
        copy.input[1] = out
        self._bias(node, copy, real, packed, bias)

    def _bias(self, node: NodeProto, copy: NodeProto, real: Array, packed: Weights, bias: Array | None) -> None:
        """The float32 bias of a convolution: with the picture's 128 in it, and corrected for rounded weights."""
        if node.op_type != "Conv":
            return
        rounded = packed.values.astype(np.float64) * packed.scale.astype(np.float64).reshape(-1, *[1] * (real.ndim - 1))
        shift = np.zeros(len(real))
        if self._plan.points[node.input[0]].role == "exact-picture":
            # conv(x) = conv(x - 128) + 128 * sum of the weights that really run: exact.
            shift += 128.0 * rounded.reshape(len(real), -1).sum(axis=1)
        means = self._means.get(node.input[0])
        if means is not None and means.size:
            shift += bias_shift(real, rounded, means, group=graphs.integer(node, "group", 1))
        if not shift.any():
            return
        name = graphs.fresh(f"{node.name}_bias", self._names)
        computed = len(node.input) > 2 and bool(node.input[2]) and bias is None
        if computed:  # made by another node: the shift is added to whatever that node makes
            part = graphs.fresh(f"{name}_shift", self._names)
            self._constants[part] = shift.astype(np.float32)
            self._add("Add", [copy.input[2], part], name, name)
        else:
            self._constants[name] = (shift + (0.0 if bias is None else bias.astype(np.float64))).astype(np.float32)
        del copy.input[2:]
        copy.input.append(name)

    def _add(self, op: str, inputs: list[str], output: str, name: str, axis: int | None = None) -> None:
        unique = graphs.fresh(name, self._node_names)
        node = helper.make_node(op, inputs, [output], name=unique)
        if axis is not None:
            node.attribute.append(helper.make_attribute("axis", axis))
        self._nodes.append(node)


def weight_axis(node: NodeProto) -> int | None:
    """The axis of the weight that holds output channels; None where only one scale is portable."""
    if node.op_type == "ConvTranspose":  # [in, out / groups, ...]: axis 1 has too few entries for several groups
        return 1 if graphs.integer(node, "group", 1) == 1 else None
    if node.op_type == "Gemm":
        return 0 if graphs.integer(node, "transB", 0) else 1
    return {"Conv": 0, "MatMul": 1}[node.op_type]


def joined(tensor: str, index: Index) -> bool:
    """True if `tensor` is a Concat, seen through Q, DQ, operators that only move values, Relu, and arithmetic with
    constants.

    OpenVINO 2026.4 gives a third of wrong output for an int8 convolution of int8 zero-point-0 Concat, without a word.
    """
    moves, changes = (*COPIES, *_PAIR), (*AVERAGES, *_WITH_CONSTANTS)
    for _ in index.model.graph.node:  # a cycle ends as well
        node = index.producer.get(tensor)
        if node is None or node.op_type == "Concat":
            return node is not None
        varying = [name for name in node.input if name and name not in index.constants]
        if node.op_type not in moves and (node.op_type not in changes or len(varying) != 1):
            return False
        tensor = node.input[0] if node.op_type in moves else varying[0]
    return False


def depthwise(node: NodeProto, weight: tuple[int, ...]) -> bool:
    """True if each output channel reads one input channel of its own.

    Kernels for these multiply in 32 bits on every CPU, in ONNX Runtime and OpenVINO: their weights never saturate.
    """
    group = graphs.integer(node, "group", 1)
    return node.op_type == "Conv" and group > 1 and weight[1] == 1 and weight[0] == group


def picture_tensors(index: Index) -> frozenset[str]:
    """The graph's uint8 inputs, and what arithmetic with constants alone makes of them."""
    found = {name for name in index.inputs if index.types.get(name) == TensorProto.UINT8}
    for node in index.model.graph.node:
        varying = [n for n in node.input if n not in index.constants]
        if node.op_type in _PICTURE_STEPS and len(varying) == 1 and varying[0] in found:
            found.update(node.output)
    return frozenset(found)


def _data_inputs(node: NodeProto, index: Index) -> tuple[str, ...]:
    if node.input[0] in index.constants:
        raise BadInput("a convolution of a constant: fold it first", where=node.name)
    return (node.input[0],)


def _moved(node: NodeProto) -> tuple[str, ...]:
    return tuple(node.input) if node.op_type == "Concat" else (node.input[0],)


def _unpadded(node: NodeProto) -> bool:
    return not any(graphs.ints(node, "pads")) and graphs.text(node, "auto_pad", "NOTSET") in ("NOTSET", "VALID")


def _number(node: NodeProto, name: str) -> float:
    return next((float(a.f) for a in node.attribute if a.name == name), 1.0)


def _untied(scale: np.float32, source: np.float32) -> np.float32:
    """`scale`, widened a little if a mean of values on the source's grid could fall half-way on its own.

    Half-way values are where runtimes round differently: with a ratio of small whole numbers a quarter of all means
    of four are such ties, and with one of p / n still up to one in 2 n.
    """
    while _simple(float(source) / float(scale)):
        scale = np.float32(float(scale) * 1.0137)
    return scale


def _simple(ratio: float) -> bool:
    """Whether more than 2 % of all means could be ties: the ratio is a fraction of up to 25, or near one of up to 8."""
    near = (n * (2e-3 if n <= 8 else 1e-4) for n in range(1, 26))
    return ratio > 0.05 and any(abs(ratio * n - round(ratio * n)) < d for n, d in enumerate(near, start=1))
