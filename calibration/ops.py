"""What the operator table means for a node of an ONNX graph: moved inputs, fused activations, vendors' patterns.

The rows themselves are `runtimes.operators`; this module adds what needs nodes. Knows no scales, no samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from onnx import NodeProto, TensorProto

from edge_sdk.calibration import gelu, graphs
from edge_sdk.calibration.graphs import Index
from edge_sdk.runtimes.operators import DEQUANTIZE, PAIR, QUANTIZE, Operator, is_product, traits

__all__ = [
    "DEQUANTIZE", "LOWEST", "PAIR", "behind_dilated_average", "chained", "copies", "depthwise", "end_of", "gate_of",
    "joined", "loses_float_weights", "mixes", "moved", "normalized_streams", "operator", "picture_tensors", "unpadded",
]  # fmt: skip

MIXED = 16.0
"""Ratio of ranges beyond which one scale leaves the smaller one 8 steps or fewer on each side of 0."""
LOWEST = np.asarray(np.finfo(np.float32).min)
"""Max with it changes nothing, and is what ONNX Runtime does not look through (`loses_float_weights`)."""
FEW_ROWS = 16
"""OpenVINO 2026.4 fuses chained int8 products of fewer rows than this into a kernel that returns garbage
(`runtimes.faults`: openvino-int8-mlp-garbage; specs/runtimes.md, L71)."""


def operator(node: NodeProto) -> Operator:
    """The table's row of a node; one without traits outside the standard domain."""
    return traits(node.op_type if node.domain in graphs.STANDARD_DOMAINS else "")


def depthwise(node: NodeProto, weight: tuple[int, ...]) -> bool:
    """True if each output channel reads one input channel of its own.

    Kernels for these multiply in 32 bits on every CPU, in ONNX Runtime and OpenVINO: their weights never saturate.
    """
    group = graphs.integer(node, "group", 1)
    return node.op_type == "Conv" and group > 1 and weight[1] == 1 and weight[0] == group


def copies(node: NodeProto, index: Index) -> bool:
    """Whether values only move through a node, so that both its sides can share one scale."""
    if node.op_type == "Resize":
        return graphs.text(node, "mode", "nearest") == "nearest"
    if node.op_type == "Pad":
        return graphs.text(node, "mode", "constant") != "wrap" and _pads_with_zero(node, index)
    return operator(node).kind == "copy"


def mixes(node: NodeProto, index: Index, tops: Mapping[str, float]) -> bool:
    """Whether a Concat joins ranges that no scale can hold together: boxes in pixels and scores of 0 to 1.

    By what was observed (tops: largest magnitudes), or, of what was not, by structure: probabilities beside arithmetic
    with numbers larger than `MIXED`, such as strides and anchors.
    """
    if node.op_type != "Concat":
        return False
    seen = [tops.get(name, 0.0) for name in node.input]
    if all(seen):
        return max(seen) > MIXED * min(seen)
    return any(_probability(name, index) for name in node.input) and any(_large(name, index) for name in node.input)


def _probability(tensor: str, index: Index) -> bool:
    node = _made_by(tensor, index)
    return node is not None and operator(node).probability


def _large(tensor: str, index: Index) -> bool:
    """Whether arithmetic with a constant of more than `MIXED` makes `tensor`, of Mul, Add and copies alone.

    Dividing by a large constant makes a tensor small; whether Sub should count is undecided."""
    todo, seen = [tensor], set[str]()
    while todo:
        node = _made_by(todo.pop(), index)
        if node is None or node.name in seen or operator(node).kind not in ("sum", "product", "copy"):
            continue
        seen.add(node.name)
        todo += [name for name in node.input if name not in index.constants]
        values = [index.constants[name] for name in node.input if name in index.constants]
        if operator(node).kind != "copy" and any(one.size and np.abs(one).max() > MIXED for one in values):
            return True
    return False


def _made_by(tensor: str, index: Index) -> NodeProto | None:
    """The node that makes `tensor`, seen through operators that move the values of one input."""
    for _ in index.model.graph.node:  # a cycle ends as well
        node = index.producer.get(tensor)
        if node is None or operator(node).moves_all or not copies(node, index):
            return node
        tensor = node.input[0]
    return None


def _pads_with_zero(node: NodeProto, index: Index) -> bool:
    if graphs.text(node, "mode", "constant") != "constant" or len(node.input) < 3 or not node.input[2]:
        return True
    value = index.constants.get(node.input[2])
    return value is not None and not value.any()


def loses_float_weights(node: NodeProto, index: Index) -> bool:
    """Whether ONNX Runtime makes int8 of a matrix operator's float weights by itself, one scale for all channels.

    It does so between DQ and Q, where the operator is one that can have a bias, and it sees both through what moves
    values (`runtimes.faults`: onnxruntime-float-weights-quantized).
    """
    if operator(node).bias is None or len(node.input) < 2 or node.input[1] not in index.constants:
        return False
    maker = index.producer.get(node.input[0])
    for _ in index.model.graph.node:  # a cycle ends as well
        if maker is None or not operator(maker).onnxruntime_pairs or not maker.input:
            break
        maker = index.producer.get(maker.input[0])
    return maker is not None and maker.op_type == DEQUANTIZE and _all_quantized(node.output[0], index)


def _all_quantized(tensor: str, index: Index) -> bool:
    """Whether every reader of `tensor` is Q, or moves or cuts values on their way to one."""
    todo, seen = [tensor], set[str]()
    while todo:  # no recursion: a chain may be long, and a cycle ends as well
        name = todo.pop()
        readers = index.readers.get(name, ())
        if not readers:
            return False
        seen.add(name)
        for reader in readers:
            if reader.op_type == QUANTIZE:
                continue
            if not (operator(reader).onnxruntime_pairs or operator(reader).cuts):
                return False
            todo += [one for one in reader.output if one not in seen]
    return True


def moved(node: NodeProto) -> tuple[str, ...]:
    """The inputs whose values a copy moves."""
    return tuple(node.input) if operator(node).moves_all else (node.input[0],)


def unpadded(node: NodeProto) -> bool:
    """True for a convolution that reads nothing beyond its input's border."""
    return not any(graphs.ints(node, "pads")) and graphs.text(node, "auto_pad", "NOTSET") in ("NOTSET", "VALID")


def gate_of(tensor: str, index: Index) -> tuple[NodeProto, NodeProto] | None:
    """(gate, product) where `tensor` is read by x * gate(x) and nothing else: SiLU, hard swish."""
    nodes = index.readers.get(tensor, ())
    if len(nodes) != 2 or tensor in index.outputs or index.captured(tensor):
        return None
    gate = next((n for n in nodes if operator(n).gate), None)
    product = next((n for n in nodes if operator(n).kind == "product"), None)
    if gate is None or product is None or gate.output[0] not in product.input:
        return None
    return (gate, product) if index.only_reader(gate.output[0]) is product else None


def end_of(tensor: str, index: Index, *, cuts_only: bool, is_float: Callable[[NodeProto], bool]) -> str:
    """`tensor`, or the output of the activation that fuses into its producer, and of arithmetic with constants behind
    that: each Q/DQ pair between them would round once more.

    cuts_only: only what may change places with Q counts (ONNX Runtime fuses no other). is_float: nodes kept in float.
    """
    reader = index.only_reader(tensor)
    if reader is not None and not is_float(reader) and operator(reader).kind == "activation":
        if len(reader.input) > 1 and any(name not in index.constants for name in reader.input[1:] if name):
            return tensor  # bounds or slopes that are computed
        if cuts_only and index.captured(reader.output[0]):
            return tensor  # a subgraph reads the cut's own output: it can't change places with Q
        if cuts_only:
            return str(reader.output[0]) if operator(reader).cuts else tensor
        return _behind_constants(reader.output[0], index, is_float)
    if cuts_only:
        return tensor
    written = gelu.reading(tensor, index)
    if written is not None and written.is_only_reader(index) and not any(map(is_float, written.nodes)):
        return _behind_constants(written.end, index, is_float)
    gated = gate_of(tensor, index)
    if gated is not None and not any(map(is_float, gated)):
        return _behind_constants(gated[1].output[0], index, is_float)
    return tensor


def _behind_constants(tensor: str, index: Index, is_float: Callable[[NodeProto], bool]) -> str:
    """`tensor`, or what sums and products with one constant each make of it where nothing else reads it.

    Whether Sub and Div, of which runtimes may fuse some as well, should count is undecided."""
    while (reader := index.only_reader(tensor)) is not None and not index.captured(tensor):
        constants = [name for name in reader.input if name in index.constants]
        if operator(reader).kind not in ("sum", "product") or len(constants) != 1 or is_float(reader):
            break
        tensor = str(reader.output[0])
    return tensor


def joined(tensor: str, index: Index) -> bool:
    """True if `tensor` is a Concat, seen through Q, DQ, operators that only move values, Relu, and arithmetic with
    constants.

    OpenVINO 2026.4 computes an int8 convolution of a signed int8 Concat wrongly, by a third to a half of the signal,
    and reports nothing (`runtimes.faults`: openvino-int8-behind-concat).
    """
    for _ in index.model.graph.node:  # a cycle ends as well
        node = index.producer.get(tensor)
        if node is None or node.op_type == "Concat":
            return node is not None
        varying = [name for name in node.input if name and name not in index.constants]
        moves = node.op_type in PAIR or operator(node).kind == "copy"
        if not moves and (not operator(node).openvino_join or len(varying) != 1):
            return False
        tensor = node.input[0] if moves else varying[0]
    return False


def normalized_streams(index: Index) -> frozenset[str]:
    """The residual streams of transformers: tensors that sums of two and copies tie to each other, where a norm over
    the last axis reads one of them.

    Convolutions may stand in such a stream, as in TinyViT, but its sums are float in every implementation.
    """
    parent: dict[str, str] = {}

    def root(tensor: str) -> str:
        while parent.setdefault(tensor, tensor) != tensor:
            tensor = parent[tensor]
        return tensor

    normalized, summed = set[str](), set[str]()
    for node in index.model.graph.node:
        varying = [name for name in node.input if name and name not in index.constants]
        two = operator(node).kind == "sum" and len(varying) == 2
        if two or copies(node, index):
            for name in (*(varying if two else moved(node)), *node.output[1:]):
                parent[root(name)] = root(node.output[0])
        if two:
            summed.add(node.output[0])
        if operator(node).norm == "last":
            normalized.add(node.input[0])
    streams = {root(name) for name in normalized} & {root(name) for name in summed}
    return frozenset(name for name in parent if root(name) in streams)


def behind_dilated_average(tensor: str, index: Index) -> bool:
    """True if an AveragePool with dilations makes `tensor`, or what a copy moves into it.

    onnxruntime 1.32 fuses Q/DQ around it into QLinearAveragePool, which has no dilations, and then refuses the graph.
    """
    for _ in index.model.graph.node:
        node = index.producer.get(tensor)
        if node is None or not copies(node, index):
            return (
                node is not None
                and any(size > 1 for size in graphs.ints(node, "dilations"))
                and (operator(node).kind == "average")
            )
        tensor = node.input[0]
    return False


def chained(node: NodeProto, index: Index, is_int8: Callable[[NodeProto], bool]) -> bool:
    """True if an int8 product of few rows reads another one through nothing but element-wise steps and Q/DQ.

    Biases are not looked at: some make the fault go away, but a false alarm costs little and garbage costs all.
    """
    if not _product(node) or not _few_rows(node, index):
        return False
    seen: set[str] = set()
    todo = [node.input[0]]
    while todo:
        name = todo.pop()
        maker = index.producer.get(name)
        if name in seen or maker is None:
            continue
        seen.add(name)
        if _product(maker) and is_int8(maker):
            return True
        if operator(maker).openvino_chain:
            todo += maker.input
    return False


def _product(node: NodeProto) -> bool:
    return node.domain in graphs.STANDARD_DOMAINS and is_product(node.op_type)


def _few_rows(node: NodeProto, index: Index) -> bool:
    """Whether a product has, or may have, fewer rows than OpenVINO needs to choose another kernel."""
    sizes = index.shapes.get(node.output[0], ())[:-1]
    known = [size for size in sizes if size is not None]
    return len(known) < len(sizes) or not sizes or int(np.prod(known)) < FEW_ROWS


def picture_tensors(index: Index) -> frozenset[str]:
    """The graph's uint8 inputs, and what arithmetic with constants alone makes of them."""
    found = {name for name in index.inputs if index.types.get(name) == TensorProto.UINT8}
    for node in index.model.graph.node:
        varying = [n for n in node.input if n not in index.constants]
        if operator(node).picture and len(varying) == 1 and varying[0] in found:
            found.update(node.output)
    return frozenset(found)
