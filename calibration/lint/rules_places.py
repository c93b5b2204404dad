"""Lint rules on where Q and DQ stand, and along which axis weights have their scales. Knows no samples."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import NodeProto, TensorProto

from edge_sdk.calibration import graphs
from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.lint.mend_copies import paired_behind_copies
from edge_sdk.calibration.lint.mend_operators import kept_in_float, spread_bias
from edge_sdk.calibration.lint.mend_pairs import once, without_pairs
from edge_sdk.calibration.lint.mend_pictures import centred_pictures
from edge_sdk.calibration.lint.mend_weights import floating, symmetric_weights
from edge_sdk.calibration.lint.pairs import (
    activations,
    axis_of,
    int8_weight,
    is_matrix,
    kind,
    made_by,
    pairs,
    scale,
    zero_or_default,
)
from edge_sdk.calibration.lint.rules import ORT, OV, TRT, Finder, Found, Rule, claim
from edge_sdk.calibration.ops import chained, joined, loses_float_weights, operator
from edge_sdk.calibration.statistics.weights import output_axis
from edge_sdk.runtimes.faults import BEHIND_CONCAT, CHAINED, FLOAT_WEIGHTS
from edge_sdk.runtimes.operators import DEQUANTIZE, PAIR, QUANTIZE, has_int8, is_product

_TYPED_Q = 21
"""The opset from which Q has an attribute for its type."""


def _wrong_axis(kinds: str) -> Finder:
    """Weights whose scales don't lie along the output channels of their operator."""

    def find(index: Index) -> Iterator[Found]:
        for node in index.model.graph.node:
            if not int8_weight(node, index) or not (
                is_product(node.op_type) if kinds == "products" else node.op_type == kinds
            ):
                continue
            dq = index.producer[node.input[1]]
            steps, stored = scale(dq, index), index.constants.get(dq.input[0])
            if steps is None or stored is None or steps.ndim != 1 or steps.size < 2:
                continue
            axis, wanted = axis_of(dq, stored.ndim), output_axis(node, stored.ndim)
            if axis != wanted:
                right = "one scale for all is what is portable" if wanted is None else f"not {wanted}"
                yield dq.name, f"the scales of {node.name}'s weight lie along axis {axis}, {right}"

    return find


def _joined_input(index: Index) -> Iterator[Found]:
    for node in index.model.graph.node:
        if int8_weight(node, index) and joined(node.input[0], index):
            yield node.name, "an int8 operator reads a Concat"


def _one_branch(index: Index) -> Iterator[Found]:
    for node in index.model.graph.node:
        if node.op_type != "Add" or any(name in index.constants for name in node.input):
            continue
        covered = sum(made_by(name, DEQUANTIZE, index) for name in node.input)
        if covered == 1 and _quantized_behind(node, index):
            yield node.name, "one branch of a sum has no Q/DQ"


def _quantized_behind(node: NodeProto, index: Index) -> bool:
    readers = index.readers.get(node.output[0], ())
    behind = [r for n in readers if operator(n).kind == "activation" for r in index.readers.get(n.output[0], ())]
    return any(r.op_type == QUANTIZE for r in (*readers, *behind))


def _weight_alone(index: Index) -> Iterator[Found]:
    for node, data, weight in _sides(index):
        if weight and not data and _of_constant(index.producer[node.input[1]], index):
            yield node.name, "the weight is quantized, the activation is not"


def _activation_alone(index: Index) -> Iterator[Found]:
    for node, data, weight in _sides(index):
        if data and not weight and node.input[1] in index.constants and _useless(node.input[0], index):
            yield node.name, "the activation is quantized, the weight is not"


def _sides(index: Index) -> Iterator[tuple[NodeProto, bool, bool]]:
    """Each matrix operator, and whether its data and its weight come from DequantizeLinear."""
    for node in index.model.graph.node:
        if is_matrix(node) and len(node.input) > 1:
            yield node, made_by(node.input[0], DEQUANTIZE, index), made_by(node.input[1], DEQUANTIZE, index)


def _of_constant(node: NodeProto, index: Index) -> bool:
    """True for a stored weight's DQ, or the Q/DQ pair of a float one; an attention's product has two activations."""
    source = index.producer.get(node.input[0])
    return node.input[0] in index.constants or (
        source is not None and source.op_type == QUANTIZE and source.input[0] in index.constants
    )


def _useless(tensor: str, index: Index) -> bool:
    """True if the Q/DQ pair of `tensor` serves no int8 operator, neither its producer nor any reader."""
    if any(int8_weight(r, index) or operator(r).kind == "sum" for r in index.readers.get(tensor, ())):
        return False
    todo, seen = [index.producer[tensor].input[0]], set[str]()
    while todo:  # back through what may stand between an int8 operator and its Q: activations, gates, moves, Q
        name = todo.pop()
        maker = index.producer.get(name)
        if maker is None or name in seen:
            continue
        seen.add(name)
        if operator(maker).kind == "sum" or int8_weight(maker, index):
            return False
        if maker.op_type in PAIR or operator(maker).kind in ("activation", "product", "copy", "average"):
            todo += maker.input
    return True


def _float_between(index: Index) -> Iterator[Found]:
    for node in index.model.graph.node:
        if loses_float_weights(node, index):
            yield node.name, "float weights between Q/DQ pairs"


def _chained_products(index: Index) -> Iterator[Found]:
    def both_int8(node: NodeProto) -> bool:
        return int8_weight(node, index) and made_by(node.input[0], DEQUANTIZE, index)

    for node in index.model.graph.node:
        if both_int8(node) and chained(node, index, both_int8):
            yield node.name, "an int8 product of few rows reads another one"


def _one_grid(one: NodeProto, other: NodeProto, index: Index) -> bool:
    """Whether two Q or DQ have the same stored scale and zero point."""
    ours, theirs = scale(one, index), scale(other, index)
    if ours is None or theirs is None or not np.array_equal(ours, theirs):
        return False
    return np.array_equal(zero_or_default(one, index).ravel(), zero_or_default(other, index).ravel())


def _repeated(index: Index) -> Iterator[Found]:
    for node in activations(index):
        before = index.producer.get(node.input[0]) if node.op_type == QUANTIZE else None
        if before is None or before.op_type != DEQUANTIZE or kind(before, index) != kind(node, index):
            continue
        behind = [one for one in index.readers.get(node.output[0], ()) if one.op_type == DEQUANTIZE]
        if all(_one_grid(before, other, index) for other in (node, *behind)):
            yield node.name, "a pair behind a pair of the same scale"


def _biased_product(index: Index) -> Iterator[Found]:
    """onnxruntime 1.32 makes MatMul and Add one Gemm and writes Q nodes of opset 21 for its reshapes, whose types then
    contradict each other: "output_dtype INT8 does not match y_zero_point type UINT8"."""
    if graphs.opset_of(index.model) < _TYPED_Q:
        return
    for node in index.model.graph.node:
        data = index.producer.get(node.input[0]) if node.op_type == "MatMul" and int8_weight(node, index) else None
        sum_ = index.only_reader(node.output[0]) if data is not None else None
        if data is None or sum_ is None or sum_.op_type != "Add" or data.op_type != DEQUANTIZE:
            continue
        bias = next((index.constants[name] for name in sum_.input if name in index.constants), None)
        wide = bias is not None and bias.ndim == 1 and bias.size > 1 and len(index.shapes.get(node.output[0], ())) > 2
        if wide and kind(data, index) == TensorProto.INT8:
            yield (
                node.name,
                f"an int8 product and its bias as MatMul and Add, of three axes or more, in opset {_TYPED_Q}",
            )


def _raw_input(index: Index) -> Iterator[Found]:
    for node in pairs(index):
        if node.op_type == DEQUANTIZE and node.input[0] in index.inputs:
            yield node.name, "an int8 input of the graph goes straight to DQ"


def _between(index: Index) -> Iterator[Found]:
    for node in index.model.graph.node:
        if not operator(node).cuts or any(name not in index.constants for name in node.input[1:] if name):
            continue
        pair = index.producer.get(node.input[0])
        # What others read as well can't stand behind this Relu.
        if pair is None or pair.op_type != DEQUANTIZE or index.only_reader(pair.output[0]) is None:
            continue
        source = index.producer.get(pair.input[0])
        maker = None if source is None else index.producer.get(source.input[0])
        if maker is not None and is_matrix(maker):
            yield node.name, "Q/DQ stand between a convolution and its Relu"


def _behind(index: Index) -> Iterator[Found]:
    for node in index.model.graph.node:
        if not operator(node).cuts or not any(r.op_type == QUANTIZE for r in index.readers.get(node.output[0], ())):
            continue
        maker = index.producer.get(node.input[0])
        if maker is not None and int8_weight(maker, index) and has_int8(maker.op_type, ORT):
            yield maker.name, "Relu stands between the convolution and Q"


RULES = (
    Rule(
        number="L08", title="a Conv weight's scales not along axis 0", claims=claim("float", OV, ORT),
        hint="Quantize the weight along axis 0", fix="values", menders=(symmetric_weights,), find=_wrong_axis("Conv"),
    ),
    Rule(
        number="L09", title="a MatMul or Gemm weight's scales along the summed axis", claims=claim("wrong", OV, ORT),
        hint="Quantize the weight along its output axis", fix="values", menders=(symmetric_weights,),
        find=_wrong_axis("products"),
    ),
    Rule(
        number="L10", title="a ConvTranspose weight's scales not along axis 1", claims=claim("float", OV, ORT),
        hint="Use axis 1, and one scale for all with groups", fix="values", menders=(symmetric_weights,),
        find=_wrong_axis("ConvTranspose"),
    ),
    Rule(
        number="L22", title="one branch of a sum without Q/DQ", claims=claim("float", ORT) | claim("slow", OV, TRT),
        hint="Add a Q/DQ pair on the other branch", find=_one_branch,
    ),
    Rule(
        number="L26", title="weight quantized, activation not", claims=claim("float", OV, ORT) | claim("slow", TRT),
        hint="Quantize both or none", fix="exact", menders=(centred_pictures, paired_behind_copies, floating),
        find=_weight_alone,
    ),
    Rule(
        number="L26", title="activation quantized, weight not", claims=claim("float", OV, ORT) | claim("slow", TRT),
        hint="Quantize both or none", fix="values", menders=(without_pairs,), find=_activation_alone,
    ),
    Rule(
        number="L71", title="chained int8 products of fewer than 16 rows", claims=claim("wrong", OV), fault=CHAINED,
        hint="Leave one of the two float", fix="exact", menders=(floating,), find=_chained_products,
    ),
    Rule(
        number="L73", title="a pair behind a pair of the same scale", claims=claim("slow"), hint="Drop one",
        fix="exact", menders=(once,), find=_repeated,
    ),
    Rule(
        number="L76", title="an int8 graph input read by DequantizeLinear",
        claims=claim("float", ORT) | claim("unsure", OV),
        hint="Take uint8 or float pictures, and quantize in the graph",
        find=_raw_input,
    ),
    Rule(
        number="L79", title="opset 21 and later: int8 MatMul and Add of three axes or more",
        claims=claim("refused", ORT),
        hint="Use opset 20 or less, or give the bias the shape [1, N]", fix="exact", menders=(spread_bias,),
        find=_biased_product,
    ),
    Rule(
        number="L78", title="an int8 convolution of a Concat", claims=claim("wrong", OV), fault=BEHIND_CONCAT,
        hint="Leave that operator float", fix="exact", menders=(floating,), find=_joined_input,
    ),
    Rule(
        number="L85", title="a Conv, ConvTranspose or Gemm with float weights, between DQ and Q",
        claims=claim("wrong", ORT), fault=FLOAT_WEIGHTS, hint="Put a Max with the lowest float behind that operator",
        fix="exact", menders=(kept_in_float,), find=_float_between,
    ),
)  # fmt: skip

LAYOUT_RULES = (
    Rule(
        number="L24", title="Q/DQ between a convolution and its Relu", claims=claim("slow", TRT),
        hint="Ship the layout conv-relu-q for TensorRT", find=_between,
    ),
    Rule(
        number="L25", title="Relu between a convolution and Q", claims=claim("float", ORT),
        hint="Ship the layout conv-q-relu-q for ONNX Runtime", find=_behind,
    ),
)  # fmt: skip
"""Which layout is right depends on where the graph will run: reported only for a graph meant for one runtime alone."""
