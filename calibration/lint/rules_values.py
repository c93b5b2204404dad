"""Lint rules on what Q and DQ state: types, zero points, scales and axes. Knows no samples, nor where pairs stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from onnx import NodeProto, TensorProto

from edge_sdk.calibration import graphs
from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.lint.mend_channels import one_scale
from edge_sdk.calibration.lint.mend_pairs import equal, shifted, symmetric
from edge_sdk.calibration.lint.mend_pictures import unpaired_pictures
from edge_sdk.calibration.lint.mend_weights import (
    floating,
    live_channels,
    positive_axes,
    scalars,
    shifted_weight,
    symmetric_weights,
)
from edge_sdk.calibration.lint.pairs import (
    activations,
    has_zero,
    keeps_picture,
    kind,
    pairs,
    raw_pictures,
    scale,
    weights,
    zero,
    zero_or_default,
)
from edge_sdk.calibration.lint.rules import ORT, OV, TRT, Finder, Found, Rule, claim
from edge_sdk.calibration.ops import operator
from edge_sdk.calibration.statistics.ranges import SMALLEST_SCALE
from edge_sdk.runtimes.operators import DEQUANTIZE, QUANTIZE, is_product
from edge_sdk.tensors import Array

_FLOAT8 = tuple(
    getattr(TensorProto, name) for name in ("FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ")
)
_KNOWN = (TensorProto.INT8, TensorProto.UINT8, TensorProto.INT32, TensorProto.INT16, TensorProto.UINT16, *_FLOAT8)


def _points(dtype: type, wrong: Callable[[Array], bool], what: str) -> Finder:
    """Pairs of activations, raw pictures apart, whose zero point has a type and is wrong."""

    def find(index: Index) -> Iterator[Found]:
        pictures = raw_pictures(index)
        for node in activations(index):
            point = zero(node, index)
            if point is not None and point.dtype == dtype and wrong(point) and node.input[0] not in pictures:
                yield node.name, what

    return find


def _pictures(*, zeros: bool, whole: bool) -> Finder:
    """Pairs on a raw picture whose zero point is 0, as uint8, or is not; and that keep the 256 values, or don't."""

    def find(index: Index) -> Iterator[Found]:
        pictures = raw_pictures(index)
        for node in activations(index):
            if node.input[0] not in pictures or (has_zero(node) and zero(node, index) is None):
                continue
            point, uint8 = zero_or_default(node, index), kind(node, index) == TensorProto.UINT8
            wrong = uint8 and not point.any() if zeros else bool(point.any())
            if wrong and keeps_picture(node, index) is whole:
                yield node.name, "a pair on a picture whose values are whole numbers already"

    return find


def _shifted_weights(dtype: type, what: str, *, fits: bool) -> Finder:
    """Stored weights of a type with a zero point (of uint8: with any), whose numbers fit int8 without it, or don't."""

    def find(index: Index) -> Iterator[Found]:
        for node in weights(index):
            point = zero(node, index)
            wrong = dtype == np.uint8 or (point is not None and bool(point.any()))
            held = index.constants[node.input[0]].dtype == dtype and (point is None or point.dtype == dtype)
            if held and wrong and (shifted_weight(node, index) is not None) is fits:
                yield node.name, what

    return find


def _of_type(what: str, *types: int) -> Finder:
    def find(index: Index) -> Iterator[Found]:
        for node in pairs(index):
            if kind(node, index) in types:
                yield node.name, what

    return find


def _few_bits(index: Index) -> Iterator[Found]:
    for node in pairs(index):
        if kind(node, index) not in _KNOWN:
            yield node.name, "quantized to fewer than 8 bits"


def _absent_points(index: Index) -> Iterator[Found]:
    pictures = raw_pictures(index)
    for node in pairs(index):
        if (
            not has_zero(node)
            and node.input[0] not in pictures
            and not graphs.integer(node, "output_dtype", 0)
            and kind(node, index) == TensorProto.UINT8
        ):
            yield node.name, "no zero point, so the type is uint8, which TensorRT builds as int8 and clips"


def _stored_scalars(index: Index) -> Iterator[Found]:
    """tensorrt-rtx 1.7: "Quantized constant is only allowed before DQ", where DQ is right behind it, of rank 0."""
    for node in weights(index):
        if index.constants[node.input[0]].ndim == 0 and kind(node, index) == TensorProto.INT8:
            yield node.name, "a stored int8 number of rank 0 is dequantized"


def _blocked(products: bool) -> Finder:
    """Pairs with a scale for each block, of the weights of products or of all else."""

    def find(index: Index) -> Iterator[Found]:
        for node in pairs(index):
            readers = index.readers.get(node.output[0], ())
            of_product = bool(readers) and all(is_product(reader.op_type) for reader in readers)
            if graphs.integer(node, "block_size", 0) and of_product is products:
                yield node.name, "blocked quantization"

    return find


def _int32_bias(index: Index) -> Iterator[Found]:
    for node in pairs(index):
        if node.op_type == DEQUANTIZE and index.types.get(node.input[0]) == TensorProto.INT32:
            yield node.name, "an int32 tensor, as a bias, is dequantized"


def _int8_bias(index: Index) -> Iterator[Found]:
    for node in weights(index):
        readers = [(reader, operator(reader).bias) for reader in index.readers.get(node.output[0], ())]
        read = any(at is not None and node.output[0] in reader.input[at : at + 1] for reader, at in readers)
        if read and index.constants[node.input[0]].dtype == np.int8:
            yield node.name, "a bias of 8 bits"


def _scales(
    of: Callable[[Index], Iterator[NodeProto]], wrong: Callable[[Array], bool], what: Callable[[Array], str]
) -> Finder:
    """Pairs whose stored scale is wrong."""

    def find(index: Index) -> Iterator[Found]:
        for node in of(index):
            steps = scale(node, index)
            if steps is not None and wrong(steps):
                yield node.name, what(steps)

    return find


def _not_scalar(index: Index) -> Iterator[Found]:
    """Pairs around an AveragePool, copies between them or none: ONNX Runtime makes QLinearAveragePool of it, which
    takes scalars alone. Other operators take [1]; so does a pool with a pair on one side (onnxruntime 1.32)."""
    found: dict[str, None] = {}
    for pool in index.model.graph.node:
        if pool.op_type != "AveragePool" or pool.domain not in graphs.STANDARD_DOMAINS:
            continue
        before, behind = _before(pool.input[0], index), _behind(pool.output[0], index)
        if before is not None and behind:
            found |= dict.fromkeys(one.name for end in (before, *behind) for one in _both(end, index))
    for node in pairs(index):
        steps = scale(node, index)
        if node.name in found and steps is not None and steps.shape == (1,):
            yield node.name, "a scale for the whole tensor has shape [1], around an AveragePool"


def _passes(node: NodeProto) -> bool:
    return operator(node).kind == "copy" or node.op_type == "Identity"


def _before(tensor: str, index: Index) -> NodeProto | None:
    """The DQ that makes `tensor`, seen through copies."""
    for _ in index.model.graph.node:  # a cycle ends as well
        node = index.producer.get(tensor)
        if node is None or not _passes(node):
            return node if node is not None and node.op_type == DEQUANTIZE else None
        tensor = node.input[0]
    return None


def _behind(tensor: str, index: Index) -> list[NodeProto]:
    """The Qs that read `tensor`, seen through copies."""
    found, todo, seen = list[NodeProto](), [tensor], set[str]()
    while todo:
        name = todo.pop()
        for node in index.readers.get(name, ()) if name not in seen else ():
            found += [node] if node.op_type == QUANTIZE else []
            todo += node.output if _passes(node) else []
        seen.add(name)
    return found


def _both(node: NodeProto, index: Index) -> list[NodeProto]:
    """A Q or DQ with its other half."""
    if node.op_type == QUANTIZE:
        return [node, *(one for one in index.readers.get(node.output[0], ()) if one.op_type == DEQUANTIZE)]
    source = index.producer.get(node.input[0])
    return [node, *([source] if source is not None and source.op_type == QUANTIZE else [])]


def _computed(index: Index) -> Iterator[Found]:
    for node in pairs(index):
        if node.input[1] not in index.constants:
            yield node.name, "the scale is computed in the graph"


def _unequal(index: Index) -> Iterator[Found]:
    for node in activations(index):
        source = index.producer.get(node.input[0]) if node.op_type == DEQUANTIZE else None
        if source is None or source.op_type != QUANTIZE:
            continue
        ours, theirs = scale(node, index), scale(source, index)
        if ours is not None and theirs is not None and not np.array_equal(ours, theirs, equal_nan=True):
            yield node.name, "Q and DQ of one tensor have different scales, so that the pair multiplies it"


def _negative_axis(index: Index) -> Iterator[Found]:
    for node in pairs(index):
        if graphs.integer(node, "axis", 1) < 0:
            yield node.name, "axis is negative"


def _all_128(point: Array) -> bool:
    return point.size > 0 and bool((point == 128).all())


RULES = (
    # before those on all activations, which would widen the steps of a picture
    Rule(
        number="L81", title="a raw picture as uint8 with scale 1", claims=claim("wrong", TRT),
        hint="Drop the pair, and give the int8 convolution the picture less 128 with scale 1", fix="exact",
        menders=(unpaired_pictures,), find=_pictures(zeros=True, whole=True),
    ),
    Rule(
        number="L81", title="a raw picture as uint8 with another scale", claims=claim("wrong", TRT),
        hint="Drop the pair, and give the int8 convolution the picture less 128 with scale 1", fix="values",
        menders=(unpaired_pictures,), find=_pictures(zeros=True, whole=False),
    ),
    Rule(
        number="L81", title="a raw picture as int8 with zero point -128 and scale 1", claims=claim("refused", TRT),
        hint="Drop the pair, and give the int8 convolution the picture less 128 with scale 1", fix="exact",
        menders=(unpaired_pictures,), find=_pictures(zeros=False, whole=True),
    ),
    Rule(
        number="L81", title="a raw picture with another zero point or scale", claims=claim("refused", TRT),
        hint="Drop the pair, and give the int8 convolution the picture less 128 with scale 1", fix="values",
        menders=(unpaired_pictures,), find=_pictures(zeros=False, whole=False),
    ),
    Rule(
        number="L01", title="activations int8, zero point not 0", claims=claim("refused", TRT),
        hint="Calibrate symmetric int8: edge-sdk quantize makes it", fix="values", menders=(symmetric,),
        find=_points(np.int8, np.any, "the zero point is not 0"),
    ),
    Rule(
        number="L02", title="activations uint8, zero point 128", claims=claim("refused", TRT),
        hint="Shift it: int8 = uint8 - 128, zero point 0, same scale", fix="exact", menders=(shifted, symmetric),
        find=_points(np.uint8, _all_128, "activations are uint8 with zero point 128"),
    ),
    Rule(
        number="L02", title="activations uint8, another zero point", claims=claim("refused", TRT),
        hint="Calibrate symmetric int8: edge-sdk quantize makes it", fix="values", menders=(symmetric,),
        find=_points(
            np.uint8, lambda p: bool(p.any()) and not _all_128(p), "activations are uint8 with a zero point"
        ),
    ),
    Rule(
        number="L03", title="activations uint8, zero point 0", claims=claim("wrong", TRT),
        hint="Use int8 with zero point 0 and scale * 255 / 127", fix="values", menders=(symmetric,),
        find=_points(
            np.uint8, lambda p: not p.any(), "activations are uint8, which TensorRT builds as int8 and clips"
        ),
    ),
    Rule(
        number="L04", title="no zero point, hence uint8", claims=claim("wrong", TRT),
        hint="Add an int8 zero point, and scale * 255 / 127", fix="values", menders=(symmetric,), find=_absent_points,
    ),
    Rule(
        number="L05", title="int16", claims=claim("refused", TRT) | claim("float", OV, ORT),
        hint="Use int8, or leave the tensor float", find=_of_type("16-bit quantization", TensorProto.INT16),
    ),
    Rule(
        number="L05", title="uint16", claims=claim("refused", TRT) | claim("wrong", OV) | claim("float", ORT),
        hint="Use int8, or leave the tensor float", find=_of_type("16-bit quantization", TensorProto.UINT16),
    ),
    Rule(
        number="L06", title="a weight's zero point not 0, its numbers fit int8 without",
        claims=claim("refused", TRT) | claim("float", OV), hint="Store the numbers less the zero point", fix="exact",
        menders=(symmetric_weights,), find=_shifted_weights(np.int8, "a weight's zero point is not 0", fits=True),
    ),
    Rule(
        number="L06", title="a weight's zero point not 0, its numbers don't fit int8 without",
        claims=claim("refused", TRT) | claim("float", OV), hint="Quantize the weight symmetrically", fix="values",
        menders=(symmetric_weights,), find=_shifted_weights(np.int8, "a weight's zero point is not 0", fits=False),
    ),
    Rule(
        number="L07", title="weights uint8, less their zero point within int8",
        claims=claim("refused", TRT) | claim("float", OV), hint="Store the numbers less the zero point", fix="exact",
        menders=(symmetric_weights,), find=_shifted_weights(np.uint8, "weights are uint8", fits=True),
    ),
    Rule(
        number="L07", title="weights uint8, less their zero point beyond int8",
        claims=claim("refused", TRT) | claim("float", OV), hint="Quantize the weight to int8", fix="values",
        menders=(symmetric_weights,), find=_shifted_weights(np.uint8, "weights are uint8", fits=False),
    ),
    Rule(
        number="L11", title="block_size, weights of MatMul or Gemm", claims=claim("refused", ORT) | claim("float", OV),
        hint="Quantize the weight per channel", find=_blocked(products=True),
    ),
    Rule(
        number="L11", title="block_size, elsewhere", claims=claim("refused", TRT) | claim("float", OV, ORT),
        hint="Quantize the weight per channel", find=_blocked(products=False),
    ),
    Rule(
        number="L12", title="int32 bias behind DequantizeLinear", claims=claim("refused", TRT),
        hint="Store the bias as float32: bias = q * scale", fix="exact", menders=(floating,), find=_int32_bias,
    ),
    Rule(
        number="L13", title="int8 bias behind DequantizeLinear", claims=claim("float", ORT),
        hint="Store the bias as float32", fix="exact", menders=(floating,), find=_int8_bias,
    ),
    Rule(
        number="L14", title="an activation's scale per channel", claims=claim("unsure", TRT, OV) | claim("float", ORT),
        hint="Use the largest scale for all, or fold the ratio into weights", fix="values", menders=(one_scale,),
        find=_scales(activations, lambda s: s.size > 1, lambda _: "an activation has a scale per channel"),
    ),
    Rule(
        number="L15", title="an activation's scale is 0", claims=claim("refused", TRT) | claim("wrong", ORT),
        hint="Calibrate again", find=_scales(activations, lambda s: bool((s == 0).any()), lambda _: "the scale is 0"),
    ),
    Rule(
        number="L15", title="an activation's scale is negative", claims=claim("refused", TRT) | claim("wrong", OV),
        hint="Calibrate again",
        find=_scales(activations, lambda s: bool((s < 0).any()), lambda s: f"the scale is {float(s.min()):g}"),
    ),
    Rule(
        number="L16", title="a scale is NaN or infinite", claims=claim("refused", TRT) | claim("open", OV, ORT),
        hint="Calibrate again",
        find=_scales(pairs, lambda s: not np.isfinite(s).all(), lambda _: "a scale is NaN or infinite"),
    ),
    Rule(
        number="L17", title="a scale below 2^-126", claims=claim("wrong", OV, ORT),
        hint="Drop the pair, or raise the scale to 2^-126",
        find=_scales(
            pairs, lambda s: bool(((s > 0) & (s < SMALLEST_SCALE)).any()), lambda _: "a scale is denormal"
        ),
    ),
    Rule(
        number="L18", title="a weight's channel has scale 0 or less",
        claims=claim("refused", TRT) | claim("wrong", ORT), hint="Give dead channels the layer's median scale",
        fix="exact", menders=(live_channels,),
        find=_scales(
            weights, lambda s: bool((s <= 0).any()),
            lambda s: f"{int((s <= 0).sum())} channels have a scale that is not positive",
        ),
    ),
    Rule(
        number="L19", title="a scale of shape [1] around an AveragePool", claims=claim("refused", ORT),
        hint="Reshape scale and zero point to rank 0", fix="exact", menders=(scalars,), find=_not_scalar,
    ),
    Rule(
        number="L20", title="a scale that the graph computes", claims=claim("unsure", TRT) | claim("float", OV, ORT),
        hint="Calibrate: store the scale as an initializer", find=_computed,
    ),
    Rule(
        number="L21", title="Q and DQ differ in scale", claims=claim("unsure"), hint="Use one scale for both",
        fix="values", menders=(equal,), find=_unequal,
    ),
    Rule(
        number="L64", title="float8", claims=claim("refused", TRT) | claim("wrong", OV) | claim("float", ORT),
        hint="Use int8", find=_of_type("quantized to float8", *_FLOAT8),
    ),
    Rule(
        number="L65", title="int4, int2", claims=claim("refused", TRT) | claim("float", OV, ORT), hint="Use int8",
        find=_few_bits,
    ),
    Rule(
        number="L80", title="a stored int8 number of rank 0", claims=claim("refused", TRT),
        hint="Store it as float32", fix="exact", menders=(floating,), find=_stored_scalars,
    ),
    Rule(
        number="C11", title="a negative axis", claims=claim("unsure"), hint="Write the axis as a positive number",
        fix="exact", menders=(positive_axes,), find=_negative_axis,
    ),
)  # fmt: skip
