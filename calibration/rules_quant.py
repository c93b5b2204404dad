"""The linter's rules on quantization: types, scales, zero points, axes, and where Q and DQ stand. Knows no samples."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import NodeProto, TensorProto

from edge_sdk.calibration import graphs
from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.mend_channels import one_scale
from edge_sdk.calibration.mend_pairs import paired_behind_copies, shifted, symmetric, unequal_copies, without_pairs
from edge_sdk.calibration.mend_weights import (
    floating,
    live_channels,
    positive_axes,
    scalars,
    symmetric_weights,
)
from edge_sdk.calibration.ops import chained, joined, operator, weight_axis
from edge_sdk.calibration.ranges import SMALLEST_SCALE
from edge_sdk.calibration.rules import ALL, ORT, OV, OV_ORT, TRT, TRT_OV, Breach, Rule, broken_operators
from edge_sdk.runtimes.faults import BEHIND_CONCAT, CHAINED
from edge_sdk.runtimes.operators import PAIR, has_int8, is_product
from edge_sdk.tensors import Array

_Q, _DQ = PAIR
_WIDE = (TensorProto.INT16, TensorProto.UINT16)
_PORTABLE = (TensorProto.INT8, TensorProto.UINT8, TensorProto.INT32, *_WIDE)


def _matrix(node: NodeProto) -> bool:
    return operator(node).kind == "matrix"


def _pairs(index: Index) -> Iterator[NodeProto]:
    yield from (n for n in index.model.graph.node if n.op_type in (_Q, _DQ))


def _weights(index: Index) -> Iterator[NodeProto]:
    yield from (n for n in index.model.graph.node if n.op_type == _DQ and n.input[0] in index.constants)


def _activations(index: Index) -> Iterator[NodeProto]:
    """Q and DQ of what varies; a Q of a constant (weights stored as float) counts as weight."""
    for node in _pairs(index):
        source = index.producer.get(node.input[0])
        of_constant = source is not None and source.op_type == _Q and source.input[0] in index.constants
        if node.input[0] not in index.constants and not of_constant:
            yield node


def _scale(node: NodeProto, index: Index) -> Array | None:
    return index.constants.get(node.input[1])


def _read_as_bias(node: NodeProto, index: Index) -> bool:
    readers = index.readers.get(node.output[0], ())
    places = ((r, operator(r).bias) for r in readers)
    return any(at is not None and len(r.input) > at and r.input[at] == node.output[0] for r, at in places)


def _nonzero_points(index: Index) -> Iterator[Breach]:
    for node in _activations(index):
        zero = _zero(node, index)
        if zero is not None and zero.dtype == np.int8 and zero.any():
            yield node.name, "the zero point is not 0, TensorRT refuses it"


def _uint8_shifted(index: Index) -> Iterator[Breach]:
    for node in _activations(index):
        zero = _zero(node, index)
        if zero is not None and zero.dtype == np.uint8 and zero.any():
            yield node.name, "activations are uint8 with a zero point, TensorRT refuses it"


def _uint8_plain(index: Index) -> Iterator[Breach]:
    for node in _activations(index):
        zero = _zero(node, index)
        if zero is not None and zero.dtype == np.uint8 and not zero.any():
            yield (
                node.name,
                "activations are uint8: TensorRT builds int8 and clips all above half range, with a warning",
            )


def _absent_points(index: Index) -> Iterator[Breach]:
    for node in _pairs(index):
        if _zero(node, index) is None and not graphs.integer(node, "output_dtype", 0) and not _int32(node, index):
            yield node.name, "the zero point is absent, so the type is uint8: TensorRT builds int8 without a word"


def _int32(node: NodeProto, index: Index) -> bool:
    return node.op_type == _DQ and index.types.get(node.input[0]) == TensorProto.INT32


def _sixteen_bits(index: Index) -> Iterator[Breach]:
    for node in _pairs(index):
        if kind(node, index) in _WIDE:
            yield node.name, "16-bit quantization: TensorRT refuses it, the others compute in float"


def _weight_points(index: Index) -> Iterator[Breach]:
    for node in _weights(index):
        zero = _zero(node, index)
        if zero is not None and zero.dtype == np.int8 and zero.any():
            yield node.name, "a weight's zero point is not 0: TensorRT refuses it, OpenVINO falls back to float"


def _uint8_weights(index: Index) -> Iterator[Breach]:
    for node in _weights(index):
        if index.constants[node.input[0]].dtype == np.uint8:
            yield node.name, "weights are uint8: TensorRT refuses them, OpenVINO falls back to float"


def _operators(index: Index) -> Iterator[tuple[NodeProto, NodeProto, int, Array]]:
    """Matrix operators whose weight is dequantized: node, its DQ, the axis of the scale from 0 up, the scale."""
    for node in index.model.graph.node:
        if _matrix(node) and len(node.input) > 1:
            dq = index.producer.get(node.input[1])
            scale = None if dq is None or dq.op_type != _DQ else _scale(dq, index)
            if dq is not None and scale is not None and scale.ndim == 1 and scale.size > 1:
                stored = index.constants.get(dq.input[0])
                axis = graphs.integer(dq, "axis", 1)
                yield node, dq, axis if axis >= 0 or stored is None else axis + stored.ndim, scale


def _conv_axis(index: Index) -> Iterator[Breach]:
    for node, dq, axis, _ in _operators(index):
        if node.op_type == "Conv" and axis != weight_axis(node):
            yield dq.name, f"the scale of {node.name}'s weight lies along axis {axis}, not 0"


def _matmul_axis(index: Index) -> Iterator[Breach]:
    for node, dq, axis, _ in _operators(index):
        stored = index.constants.get(dq.input[0])
        stacked = node.op_type == "MatMul" and stored is not None and stored.ndim > 2  # a matrix for each sample
        wanted = stored.ndim - 1 if stacked and stored is not None else weight_axis(node)
        if is_product(node.op_type) and axis != wanted:
            yield dq.name, f"the scale of {node.name}'s weight lies along the summed axis: OpenVINO answers wrongly"


def _transposed_axis(index: Index) -> Iterator[Breach]:
    for node, dq, axis, _ in _operators(index):
        if node.op_type == "ConvTranspose" and axis != weight_axis(node):
            yield dq.name, f"the scale of {node.name}'s weight lies along axis {axis}: OpenVINO falls back to float"


def _blocked(index: Index) -> Iterator[Breach]:
    for node in _pairs(index):
        if graphs.integer(node, "block_size", 0):
            yield node.name, "blocked quantization: ONNX Runtime refuses it, OpenVINO answers wrongly"


def _int32_bias(index: Index) -> Iterator[Breach]:
    for node in _pairs(index):
        if _int32(node, index):
            yield node.name, "an int32 tensor is dequantized (a bias): TensorRT refuses it"


def _int8_bias(index: Index) -> Iterator[Breach]:
    for node in _weights(index):
        if _read_as_bias(node, index) and index.constants[node.input[0]].dtype == np.int8:
            yield node.name, "a bias of 8 bits"


def _channel_activations(index: Index) -> Iterator[Breach]:
    for node in _activations(index):
        scale = _scale(node, index)
        if scale is not None and scale.ndim >= 1 and scale.size > 1:
            yield node.name, "an activation has a scale per channel"


def _bad_values(index: Index) -> Iterator[Breach]:
    for node in _activations(index):
        scale = _scale(node, index)
        if scale is not None and bool((scale <= 0).any()):
            yield node.name, f"the scale is {float(scale.min()):g}: TensorRT refuses it, the others disagree"


def _unfinished(index: Index) -> Iterator[Breach]:
    for node in _pairs(index):
        scale = _scale(node, index)
        if scale is not None and not np.isfinite(scale).all():
            yield node.name, "a scale is NaN or infinite"


def _denormal(index: Index) -> Iterator[Breach]:
    for node in _pairs(index):
        scale = _scale(node, index)
        if scale is not None and bool(((scale > 0) & (scale < SMALLEST_SCALE)).any()):
            yield node.name, "a scale is denormal: OpenVINO makes it zero"


def _dead_channels(index: Index) -> Iterator[Breach]:
    for node in _weights(index):
        scale = _scale(node, index)
        if scale is not None and bool((scale <= 0).any()):
            yield (
                node.name,
                f"{int((scale <= 0).sum())} channels have a scale that is not positive: TensorRT refuses them",
            )


def _not_scalar(index: Index) -> Iterator[Breach]:
    for node in _pairs(index):
        scale = _scale(node, index)
        channels = _channels(node, index)
        if scale is not None and scale.shape == (1,) and channels != 1:
            yield node.name, "a scale for the whole tensor has shape [1]: ONNX Runtime fails at load beside a pool"


def _channels(node: NodeProto, index: Index) -> int | None:
    """Size of a stored weight along the scale's axis; None for what varies."""
    stored = index.constants.get(node.input[0])
    return None if stored is None or not stored.ndim else stored.shape[graphs.integer(node, "axis", 1) % stored.ndim]


def _computed(index: Index) -> Iterator[Breach]:
    for node in _pairs(index):
        if node.input[1] not in index.constants:
            yield node.name, "the scale is computed in the graph: OpenVINO falls back to float"


def _unequal(index: Index) -> Iterator[Breach]:
    for node in _activations(index):
        source = index.producer.get(node.input[0]) if node.op_type == _DQ else None
        if source is None or source.op_type != _Q:
            continue
        ours, theirs = _scale(node, index), _scale(source, index)
        if ours is not None and theirs is not None and not np.array_equal(ours, theirs, equal_nan=True):
            yield node.name, "Q and DQ of one tensor have different scales"


def _joined_input(index: Index) -> Iterator[Breach]:
    for node in index.model.graph.node:
        if _matrix(node) and _int8(node, index) and joined(node.input[0], index):
            yield node.name, "an int8 operator reads a Concat: OpenVINO 2026.4 answers wrongly"


def _one_branch(index: Index) -> Iterator[Breach]:
    for node in index.model.graph.node:
        if node.op_type != "Add" or any(name in index.constants for name in node.input):
            continue
        ends = [index.producer.get(name) for name in node.input]
        covered = [end is not None and end.op_type == _DQ for end in ends]
        if sum(covered) == 1 and _quantized_behind(node, index):
            yield node.name, "one branch of a sum has no Q/DQ: the sum, and often the convolution, runs in float"


def _quantized_behind(node: NodeProto, index: Index) -> bool:
    readers = index.readers.get(node.output[0], ())
    behind = [r for n in readers if operator(n).kind == "activation" for r in index.readers.get(n.output[0], ())]
    return any(r.op_type == _Q for r in (*readers, *behind))


def _between(index: Index) -> Iterator[Breach]:
    for node in index.model.graph.node:
        if not operator(node).cuts or any(name not in index.constants for name in node.input[1:] if name):
            continue
        pair = index.producer.get(node.input[0])
        # What others read as well can't stand behind this Relu.
        if not _is(pair, _DQ) or pair is None or index.only_reader(pair.output[0]) is None:
            continue
        source = index.producer.get(pair.input[0])
        maker = None if source is None else index.producer.get(source.input[0])
        if maker is not None and _matrix(maker):
            yield node.name, "Q/DQ stand between a convolution and its Relu: one step more in TensorRT"


def _behind(index: Index) -> Iterator[Breach]:
    for node in index.model.graph.node:
        if not operator(node).cuts or not any(_is(r, _Q) for r in index.readers.get(node.output[0], ())):
            continue
        maker = index.producer.get(node.input[0])
        if maker is not None and _int8(maker, index) and has_int8(maker.op_type, "onnxruntime"):
            yield maker.name, "Relu stands between the convolution and Q: ONNX Runtime runs the convolution in float"


def _is(node: NodeProto | None, op: str) -> bool:
    return node is not None and node.op_type == op


def _unequal_copies(index: Index) -> Iterator[Breach]:
    for name, ratio in unequal_copies(index):
        yield name, f"values only move between it and a pair of a scale {ratio:.3g} times as large: each is requantized"


def _half_quantized(index: Index) -> Iterator[Breach]:
    for node in index.model.graph.node:
        if not _matrix(node) or len(node.input) < 2:
            continue
        data, weight = (_is(index.producer.get(node.input[i]), _DQ) for i in (0, 1))
        stored = weight and _of_constant(index.producer[node.input[1]], index)
        if stored and not data:
            yield node.name, "the weight is quantized, the activation is not: it runs in float everywhere"
        if data and not weight and node.input[1] in index.constants and _useless(node.input[0], index):
            yield node.name, "the activation is quantized, the weight is not: it runs in float everywhere"


def _of_constant(node: NodeProto, index: Index) -> bool:
    """True for a stored weight's DQ, or the Q/DQ pair of a float one; an attention's product has two activations."""
    source = index.producer.get(node.input[0])
    return node.input[0] in index.constants or (
        source is not None and source.op_type == _Q and source.input[0] in index.constants
    )


def _useless(tensor: str, index: Index) -> bool:
    """True if the Q/DQ pair of `tensor` serves no int8 operator, neither its producer nor any reader."""
    if any(_int8(r, index) or operator(r).kind == "sum" for r in index.readers.get(tensor, ())):
        return False
    todo, seen = [index.producer[tensor].input[0]], set[str]()
    while todo:  # back through what may stand between an int8 operator and its Q: activations, gates, moves, Q
        name = todo.pop()
        maker = index.producer.get(name)
        if maker is None or name in seen:
            continue
        seen.add(name)
        if operator(maker).kind == "sum" or _int8(maker, index):
            return False
        if maker.op_type in PAIR or operator(maker).kind in ("activation", "product", "copy", "average"):
            todo += maker.input
    return True


def _int8(node: NodeProto, index: Index) -> bool:
    return _matrix(node) and len(node.input) > 1 and _is(index.producer.get(node.input[1]), _DQ)


def _both_int8(node: NodeProto, index: Index) -> bool:
    return _int8(node, index) and _is(index.producer.get(node.input[0]), _DQ)


def _chained_products(index: Index) -> Iterator[Breach]:
    for node in index.model.graph.node:
        if _both_int8(node, index) and chained(node, index, lambda other: _both_int8(other, index)):
            yield node.name, "an int8 product of few rows reads another one: OpenVINO 2026.4 may return garbage"


def _exotic(index: Index) -> Iterator[Breach]:
    for node in _pairs(index):
        if kind(node, index) not in _PORTABLE:
            yield node.name, "quantized to fp8 or four bits: not portable"


def _negative_axis(index: Index) -> Iterator[Breach]:
    for node in _pairs(index):
        if graphs.integer(node, "axis", 1) < 0:
            yield node.name, "axis is negative"


def _raw_input(index: Index) -> Iterator[Breach]:
    for node in _pairs(index):
        if node.op_type == _DQ and node.input[0] in index.inputs:
            yield node.name, "an int8 input of the graph goes straight to DQ: OpenVINO runs the convolution in float"


_SYMMETRIC = "Calibrate symmetric int8: edge_sdk.calibration.quantize makes it"
RULES = (
    Rule(number="L01", affects=TRT, hint=_SYMMETRIC, find=_nonzero_points, menders=(symmetric,)),
    Rule(
        number="L02",
        affects=TRT,
        hint="Shift it: int8 = uint8 - 128, zero point 0, same scale",
        find=_uint8_shifted,
        menders=(shifted, symmetric),
    ),
    Rule(
        number="L03",
        affects=TRT,
        hint="Use int8 with zero point 0 and scale * 255 / 127",
        find=_uint8_plain,
        menders=(symmetric,),
    ),
    Rule(
        number="L04",
        affects=TRT,
        hint="Add an int8 zero point, and scale * 255 / 127",
        find=_absent_points,
        menders=(symmetric,),
    ),
    Rule(number="L05", affects=ALL, hint="Use int8, or leave the tensor float", find=_sixteen_bits),
    Rule(
        number="L06",
        affects=TRT_OV,
        hint="Quantize the weight symmetrically",
        find=_weight_points,
        menders=(symmetric_weights,),
    ),
    Rule(
        number="L07",
        affects=TRT_OV,
        hint="Quantize the weight to int8",
        find=_uint8_weights,
        menders=(symmetric_weights,),
    ),
    Rule(
        number="L08", affects=OV, hint="Quantize the weight along axis 0", find=_conv_axis, menders=(symmetric_weights,)
    ),
    Rule(
        number="L09",
        affects=OV_ORT,
        hint="Quantize the weight along its output axis",
        find=_matmul_axis,
        menders=(symmetric_weights,),
    ),
    Rule(
        number="L10",
        affects=OV,
        hint="Use axis 1, and one scale for all with groups",
        find=_transposed_axis,
        menders=(symmetric_weights,),
    ),
    Rule(number="L11", affects=OV_ORT, hint="Quantize the weight per channel", find=_blocked),
    Rule(
        number="L12",
        affects=TRT,
        hint="Store the bias as float32: bias = q * scale",
        find=_int32_bias,
        menders=(floating,),
    ),
    Rule(number="L13", affects=ALL, hint="Store the bias as float32", find=_int8_bias, menders=(floating,)),
    Rule(
        number="L14",
        affects=TRT,
        hint="Use the largest scale for all, or fold the ratio into weights",
        find=_channel_activations,
        menders=(one_scale,),
    ),
    Rule(number="L15", affects=ALL, hint="Calibrate again", find=_bad_values),
    Rule(number="L16", affects=ALL, hint="Calibrate again", find=_unfinished),
    Rule(number="L17", affects=OV, hint="Drop the pair, or raise the scale to 2^-126", find=_denormal),
    Rule(
        number="L18",
        affects=TRT,
        hint="Give dead channels the layer's median scale",
        find=_dead_channels,
        menders=(live_channels,),
    ),
    Rule(
        number="L19", affects=ORT, hint="Reshape scale and zero point to rank 0", find=_not_scalar, menders=(scalars,)
    ),
    Rule(number="L20", affects=OV, hint="Calibrate: store the scale as an initializer", find=_computed),
    Rule(number="L21", affects=ALL, hint="Use one scale for both", find=_unequal),
    Rule(number="L22", affects=ALL, hint="Add a Q/DQ pair on the other branch", find=_one_branch),
    Rule(number="L23", affects=ALL, hint="Use the largest scale for all", find=_unequal_copies, menders=(symmetric,)),
    Rule(
        number="L26",
        affects=ALL,
        hint="Quantize both or none",
        find=_half_quantized,
        menders=(paired_behind_copies, floating, without_pairs),
    ),
    Rule(number="L29", affects=TRT_OV, hint="Convert to Q/DQ", find=broken_operators("L29")),
    Rule(
        number="L30",
        affects=TRT_OV,
        hint="Calibrate statically: edge_sdk.calibration.quantize makes it",
        find=broken_operators("L30"),
    ),
    Rule(number="L64", affects=TRT_OV, hint="Use int8", find=_exotic),
    Rule(number="L76", affects=OV, hint="Take uint8 or float pictures, and quantize in the graph", find=_raw_input),
    Rule(
        number="L71",
        affects=OV,
        hint="Leave one of the two float",
        find=_chained_products,
        fault=CHAINED,
        menders=(floating,),
    ),
    Rule(
        number="L78",
        affects=OV,
        hint="Leave that operator float",
        find=_joined_input,
        fault=BEHIND_CONCAT,
        menders=(floating,),
    ),
    Rule(
        number="C11",
        affects=ALL,
        hint="Write the axis as a positive number",
        find=_negative_axis,
        menders=(positive_axes,),
    ),
)
# Which layout is right depends on where the graph will run: reported only for a graph meant for that runtime alone.
LAYOUT_RULES = (
    Rule(number="L24", affects=TRT, hint="Ship the layout conv-relu-q for TensorRT", find=_between),
    Rule(number="L25", affects=ORT, hint="Ship the layout conv-q-relu-q for ONNX Runtime", find=_behind),
)
