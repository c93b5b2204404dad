"""Which operators of a float graph become int8 and which tensors get Q/DQ, by runtime. Knows no samples.

Symmetric int8 that TensorRT, OpenVINO and ONNX Runtime read alike. An operator that one runtime computes wrongly stays
float in the plan for that runtime, and only there: `plan(model, ("openvino",))`; and only while a row of
`runtimes.faults` holds for the installed version of that runtime, or the runtime is not installed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto

from edge_sdk.calibration import graphs, ops
from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.lint.rules import RUNTIMES, known_faults
from edge_sdk.calibration.ops import operator
from edge_sdk.calibration.statistics.weights import channels_in, channels_out
from edge_sdk.runtimes.faults import BEHIND_CONCAT, CHAINED, SATURATES_ONEDNN
from edge_sdk.runtimes.operators import has_int8, is_product

FEWEST_INPUTS, FEWEST_OUTPUTS = 16, 8
"""Products with fewer stay float: int8 kernels take 16 to 64 inputs at once and 8 or 16 outputs, and Q costs a pass."""
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
class QuantizationPlan:
    """operators: names of the nodes that become int8. points: by tensor. averages: pool output -> pool input.
    before_q: names of float nodes that read what was before Q, not what DQ makes of it. left_float: convolutions and
    products that stay float, each with the reason.
    """

    operators: tuple[str, ...]
    points: Mapping[str, Point]
    averages: Mapping[str, str] = field(default_factory=dict)
    before_q: frozenset[str] = frozenset()
    left_float: Mapping[str, str] = field(default_factory=dict)

    def channel_axes(self, model: ModelProto) -> dict[str, int]:
        """The tensors that int8 operators read, each with the axis of its channels: means along it correct biases.

        A tensor that is read along two axes has that of the first reader.
        """
        found: dict[str, int] = {}
        for node in model.graph.node:
            if node.name in self.operators:
                found.setdefault(node.input[0], operator(node).data_axis)
        return found

    def pictures(self) -> tuple[str, ...]:
        """The tensors whose range follows from the picture's 0..255."""
        return tuple(p.tensor for p in self.points.values() if p.role == "picture")


def plan(
    model: ModelProto,
    targets: Sequence[str] = RUNTIMES,
    *,
    float_nodes: Iterable[str] = (),
    first_conv: FirstConv = "auto",
    unbounded: Collection[str] = (),
    tops: Mapping[str, float] = MappingProxyType({}),
) -> QuantizationPlan:
    """Which operators of a clean float graph become int8 on all of `targets`, and which tensors need a scale.

    float_nodes: names of nodes that stay float. first_conv: what convolutions that read the picture become; "auto" is
    int8 where the picture enters exactly (raw and unpadded), else float: normalised pixels lose a bit in int8 and win
    no time. unbounded: tensors that were seen infinite or without a value, which no scale can hold. tops: the largest
    magnitude of tensors that were observed: a Concat of ranges that differ by more than `ops.MIXED` shares no scale.
    """
    return _Planner(Index.of(model), targets, frozenset(float_nodes), first_conv, frozenset(unbounded), tops).plan()


class _Planner:
    def __init__(
        self,
        index: Index,
        targets: Sequence[str],
        float_nodes: frozenset[str],
        first_conv: str,
        unbounded: frozenset[str],
        tops: Mapping[str, float],
    ) -> None:
        self._index, self._targets, self._float, self._unbounded = index, targets, float_nodes, unbounded
        self._tops = tops
        self._faults = known_faults(targets)
        self._pictures = ops.picture_tensors(index)
        self._streams = ops.normalized_streams(index)
        self._operators: list[NodeProto] = []
        self._names: set[str] = set()
        self._left: dict[str, str] = {}
        for node in (one for one in index.model.graph.node if operator(one).kind == "matrix"):
            if why := self._why_float(node, first_conv):
                self._left[node.name] = why
            else:
                self._operators.append(node)
                self._names.add(node.name)
        self._wanted: dict[str, None] = {}  # in the order of discovery: graphs come out the same every time
        ends = (self._end_of(n.output[0]) for n in self._operators if not operator(n).answers_float)
        self._needed = dict.fromkeys(ends)  # ONNX Runtime runs the operator in float without Q behind it
        self._before_q: set[str] = set()
        # what every runtime has in float32 before Q: its maker is not int8, or answers in float
        self._floats = set(index.inputs)
        for node in index.model.graph.node:  # sorted
            if self._answers_float(node, self._floats):
                self._floats.update(node.output)
        self._floats -= self._pictures

    def plan(self) -> QuantizationPlan:
        for node in self._operators:
            self._want(node.input[0])
        while self._sums() + self._outputs():
            pass
        self._keep_products_float()
        self._before_q |= {n.name for n in self._index.model.graph.node if self._takes_float(n)}
        for tensor in [t for t in self._wanted if self._serves_none(t)]:
            del self._wanted[tensor]
        averages = {
            n.output[0]: n.input[0]
            for n in self._index.model.graph.node
            if operator(n).kind == "average" and n.output[0] in self._wanted and n.input[0] in self._wanted
        }
        groups = self._groups()
        points = {t: Point(tensor=t, group=groups[t], role=self._role(t)) for t in self._wanted}
        return QuantizationPlan(
            operators=tuple(n.name for n in self._operators),
            points=points,
            averages=averages,
            before_q=frozenset(self._before_q),
            left_float=self._left,
        )

    def _keep_products_float(self) -> None:
        """Let products of two activations read what was before Q, for OpenVINO.

        OpenVINO 2026.4 computes a product in int8 where DQ stands before both sides, also beyond a Reshape or a
        Transpose. Without VNNI its 16-bit sums then saturate, up to a fifth of the signal: reduced-range weights don't
        help where no side is a weight. And it may be one of a chain of products of few rows (`ops.chained`).
        """
        if self._faults.isdisjoint({SATURATES_ONEDNN, CHAINED}):
            return
        for node in self._index.model.graph.node:
            if operator(node).kind == "matrix" and self._index.constants.keys().isdisjoint(node.input[:2]):
                self._mark(node)

    def _mark(self, node: NodeProto) -> None:
        """The node, or the copies that lead to it, that would read DQ."""
        for name in node.input if operator(node).kind == "matrix" else ops.moved(node):
            if name in self._wanted:
                self._before_q.add(node.name)
            elif (maker := self._index.producer.get(name)) is not None and self._copies(maker):
                self._mark(maker)

    def _takes_float(self, node: NodeProto) -> bool:
        """Whether a node that is not int8 can read what was before Q at no cost: float32 anyway, wherever it runs."""
        read = [name for name in node.input if name in self._wanted]
        if node.name in self._names or not read or not self._floats.issuperset(read):
            return False
        moves = operator(node).kind == "average" or self._copies(node)
        return not (moves and all(self._end_of(t) in self._wanted for t in node.output))

    def _answers_float(self, node: NodeProto, floats: Collection[str]) -> bool:
        row = operator(node)
        if node.name in self._names or row.kind in ("matrix", "other"):
            return node.name not in self._names or row.answers_float
        return all(name in floats or name in self._index.constants for name in node.input if name)

    def _serves_none(self, tensor: str) -> bool:
        """True if whoever reads `tensor` reads what was before Q."""
        readers = self._index.readers.get(tensor, ())
        return bool(readers) and tensor not in self._index.outputs and all(r.name in self._before_q for r in readers)

    def _why_float(self, node: NodeProto, first_conv: str) -> str:
        """Empty if the contract has an int8 form for this convolution or product, and every target a kernel that
        answers rightly; else why it stays float. Operators before `node` are planned."""
        if self._stays_float(node):
            return "excluded by name, or by the search for the accuracy bound"
        for target in self._targets:
            if not has_int8(node.op_type, target):
                return f"{target} has no int8 {node.op_type}"
        return self._odd_weight(node) or self._odd_values(node, first_conv) or self._known_faulty(node)

    def _odd_weight(self, node: NodeProto) -> str:
        constants = self._index.constants
        weight, bias = constants.get(node.input[1]), operator(node).bias
        if weight is None or weight.dtype != np.float32 or node.input[0] in constants or not weight.size:
            return "no constant float32 weight"
        if form := _odd_form(node, weight.ndim):
            return form
        if is_product(node.op_type) and _small(node, weight.shape):
            return f"fewer than {FEWEST_INPUTS} inputs or {FEWEST_OUTPUTS} outputs, where int8 saves nothing"
        if bias is not None and len(node.input) > bias and node.input[bias] and node.input[bias] not in constants:
            return "a bias that the graph computes, where runtimes fuse constant ones alone"
        return ""

    def _odd_values(self, node: NodeProto, first_conv: str) -> str:
        if self._index.types.get(node.input[0], TensorProto.FLOAT) != TensorProto.FLOAT:
            return "values that are not float32"
        if not self._unbounded.isdisjoint({*node.input, self._end_of(node.output[0])}):
            return "values that are infinite, or missing, on a sample"
        if node.input[0] not in self._pictures or first_conv == "int8":
            return ""
        if first_conv == "float":
            return "the first on a picture, asked for in float"
        if not self._raw(node.input[0]) or node.op_type != "Conv":
            return "reads normalized pixels, which lose a bit in int8 and save no time"
        return "" if ops.unpadded(node) else "pads the picture, whose int8 pixels are less 128: zero is not black there"

    def _known_faulty(self, node: NodeProto) -> str:
        """What a target answers wrongly in int8, or refuses."""
        # no row of runtimes.faults: with Q/DQ around it the graph is refused when it is compiled, never wrong
        if "onnxruntime" in self._targets and ops.behind_dilated_average(node.input[0], self._index):
            return "behind an AveragePool with dilations, which ONNX Runtime refuses in int8"
        if BEHIND_CONCAT in self._faults and ops.joined(node.input[0], self._index):
            return "behind a Concat, which OpenVINO computes wrongly in int8"
        if CHAINED in self._faults and ops.chained(node, self._index, lambda other: other.name in self._names):
            return "one of a chain of products of few rows, which OpenVINO computes wrongly in int8"
        return ""

    def _stays_float(self, node: NodeProto) -> bool:
        return node.name in self._float

    def _end_of(self, tensor: str) -> str:
        cuts_only = "onnxruntime" in self._targets
        return ops.end_of(tensor, self._index, cuts_only=cuts_only, is_float=self._stays_float)

    def _want(self, tensor: str) -> bool:
        """Give `tensor` a scale, and with it whatever only moves values into it. True if that is new."""
        if tensor in self._wanted or tensor in self._index.constants or tensor in self._unbounded:
            return False
        if self._index.types.get(tensor, TensorProto.FLOAT) != TensorProto.FLOAT:
            return False
        self._wanted[tensor] = None
        producer = self._index.producer.get(tensor)
        if producer is not None and tensor not in self._pictures and self._copies(producer):
            for name in ops.moved(producer):
                self._want(name)
        return True

    def _role(self, tensor: str) -> Role:
        if tensor in self._pictures:
            return "exact-picture" if self._exact(tensor) else "picture"
        return "inner" if self._stays_inside(tensor) else "tail"

    def _stays_inside(self, tensor: str) -> bool:
        """True if nothing but int8 operators reads `tensor`, also through activations that are not quantized."""
        readers = (r for r in self._index.readers.get(tensor, ()) if r.name not in self._before_q)
        return tensor not in self._index.outputs and all(self._reads_int8(node) for node in readers)

    def _reads_int8(self, node: NodeProto) -> bool:
        if node.name in self._names:
            return True
        row = operator(node)
        if self._stays_float(node):
            return False
        if row.kind == "activation" or (row.kind == "product" and self._gated(node)):
            return all(t in self._wanted or self._stays_inside(t) for t in node.output)
        moves = row.kind in ("sum", "average") or self._copies(node)
        return moves and all(self._end_of(t) in self._wanted for t in node.output)

    def _gated(self, node: NodeProto) -> bool:
        makers = (self._index.producer.get(name) for name in node.input)
        return any(maker is not None and operator(maker).gate for maker in makers)

    def _copies(self, node: NodeProto) -> bool:
        return (
            not self._stays_float(node) and ops.copies(node, self._index)
            and not ops.mixes(node, self._index, self._tops)
        )  # fmt: skip

    def _exact(self, tensor: str) -> bool:
        """True if `tensor` is the raw picture and every reader is an unpadded int8 convolution: minus 128 is exact."""
        readers = self._index.readers.get(tensor, ())
        fit = all(r.name in self._names and r.op_type == "Conv" and ops.unpadded(r) for r in readers)
        return fit and self._raw(tensor) and tensor not in self._index.outputs

    def _raw(self, tensor: str) -> bool:
        """True if nothing but Cast and Transpose lies between the graph's input and `tensor`."""
        node = self._index.producer.get(tensor)
        while node is not None and len(node.input) == 1 and operator(node).picture:
            node = self._index.producer.get(node.input[0])
        return node is None

    def _sums(self) -> int:
        """Residual sums of int8 tensors: Q and DQ on both branches, or the sum runs in float everywhere."""
        new = 0
        for node in self._index.model.graph.node:
            if operator(node).kind != "sum" or self._stays_float(node) or not self._residual(node):
                continue
            # also behind an activation that a runtime does not fuse: the sum itself is int8 all the same
            end = ops.end_of(node.output[0], self._index, cuts_only=False, is_float=self._stays_float)
            if end in self._wanted or self._end_of(node.output[0]) in self._wanted:
                new += sum(self._want(name) for name in node.input)
        return new

    def _residual(self, node: NodeProto) -> bool:
        constant = any(name in self._index.constants for name in node.input)
        if self._floats.issuperset(node.input):
            return False  # one rounding behind the sum is better than three
        if node.output[0] in self._streams:
            return False  # its range grows with depth, and what a block adds is small beside it
        if constant or not self._unbounded.isdisjoint({*node.input, *node.output}):
            return False
        return any(name in self._wanted or self._from_int8(name) for name in node.input)

    def _from_int8(self, tensor: str) -> bool:
        node = self._index.producer.get(tensor)
        if node is None:
            return False
        row = operator(node)
        if row.kind in ("activation", "product") or self._copies(node):
            return self._from_int8(node.input[0])
        return node.name in self._names or (row.kind == "sum" and not self._stays_float(node))

    def _outputs(self) -> int:
        """Q and DQ behind every int8 operator that ONNX Runtime would run in float otherwise."""
        new = sum(map(self._want, self._needed))
        for node in self._index.model.graph.node:
            if operator(node).kind != "sum" or not all(name in self._wanted for name in node.input):
                continue
            if self._residual(node) and not self._stays_float(node):
                new += self._want(self._end_of(node.output[0]))
        return new

    def _groups(self) -> dict[str, str]:
        parent = {t: t for t in self._wanted}

        def root(tensor: str) -> str:
            while parent[tensor] != tensor:
                tensor = parent[tensor]
            return tensor

        for node in self._index.model.graph.node:
            # One that nobody reads in int8 runs in float: what it joins keeps scales of its own.
            if self._copies(node) and any(name in parent for name in node.output):
                ends = [t for t in (*ops.moved(node), *node.output) if t in parent and t not in self._pictures]
                for other in ends[1:]:
                    parent[root(other)] = root(ends[0])
        return {t: root(t) for t in parent}


def _small(node: NodeProto, weight: tuple[int, ...]) -> bool:
    """Whether a product with a matrix has too few inputs or outputs for int8 to pay."""
    return channels_in(node, weight) < FEWEST_INPUTS or channels_out(node, weight) < FEWEST_OUTPUTS


def _odd_form(node: NodeProto, rank: int) -> str:
    """Empty if attributes and the weight's rank are those of a plain product or convolution, else what is not."""
    if node.op_type == "MatMul" and rank != 2:
        return "a weight that is no matrix"
    factors = any(graphs.number(node, name, 1.0) != 1.0 for name in ("alpha", "beta"))
    if node.op_type == "Gemm" and (factors or graphs.integer(node, "transA", 0)):
        return "factors or a transposed input, which no int8 kernel has"
    return ""
