"""Lint rules on single operators and their attributes, Q and DQ apart. Knows no samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from onnx import NodeProto, TensorProto

from edge_sdk.calibration import graphs
from edge_sdk.calibration.graphs import STANDARD_DOMAINS, Index
from edge_sdk.calibration.lint.mend_operators import (
    REWRITTEN,
    cast_first,
    plain_cubic,
    quantized_operators,
    scaled_resize,
    standard_forms,
)
from edge_sdk.calibration.lint.rules import ORT, OV, TRT, Finder, Found, Rule, claim
from edge_sdk.calibration.ops import operator
from edge_sdk.runtimes.operators import PAIR

_OURS = "com.microsoft"
_TAKEN = ("Gelu", *PAIR)
"""Of com.microsoft, what all three runtimes read."""
_LEAKY = ("QLinearLeakyRelu",)
_TOP_K = 3840  # TensorRT's limit
_SHAPED = {"Reshape": (1,), "Expand": (1,), "Tile": (1,), "ConstantOfShape": (0,), "Resize": (2, 3), "Slice": (1, 2)}
"""Inputs that say how large the output is."""
Wrong = Callable[[NodeProto, Index], bool]


def _ops(what: str, *ops: str, wrong: Wrong | None = None) -> Finder:
    """Nodes of these types of the standard domain that are wrong; all of them if nothing says which."""

    def find(index: Index) -> Iterator[Found]:
        for node in index.model.graph.node:
            standard = node.op_type in ops and node.domain in STANDARD_DOMAINS
            if standard and (wrong is None or wrong(node, index)):
                yield node.name, f"{node.op_type}: {what}" if what else node.op_type

    return find


def _microsoft(kinds: Callable[[str], bool]) -> Finder:
    def find(index: Index) -> Iterator[Found]:
        for node in index.model.graph.node:
            if (node.domain == _OURS or node.domain.startswith(f"{_OURS}.")) and kinds(node.op_type):
                yield node.name, f"{node.op_type} is of domain {node.domain}, not standard ONNX"

    return find


def _foreign(learning: bool) -> Finder:
    def find(index: Index) -> Iterator[Found]:
        own = {(function.domain, function.name) for function in index.model.functions}
        for node in index.model.graph.node:
            known = node.domain in STANDARD_DOMAINS or node.domain.split(".")[:2] == _OURS.split(".")
            if not known and (node.domain, node.op_type) not in own and (node.domain == "ai.onnx.ml") is learning:
                yield node.name, f"{node.op_type} is of domain {node.domain}, not standard ONNX"

    return find


def _uint8_readers(index: Index) -> Iterator[Found]:
    for node in index.model.graph.node:
        # the two formats that multiply integers have rules of their own: L29, L30
        if node.op_type in ("Cast", *PAIR) or node.op_type.startswith("QLinear") or node.op_type.endswith("Integer"):
            continue
        if any(index.types.get(name) == TensorProto.UINT8 for name in node.input):
            yield node.name, f"{node.op_type} reads a uint8 tensor"


def _cast_inside(node: NodeProto, index: Index) -> bool:
    return graphs.integer(node, "to", 0) == TensorProto.UINT8 and not set(node.output) <= set(index.outputs)


def _cast_of_any(node: NodeProto, index: Index) -> bool:
    """Whether a float tensor that nothing bounds is cast to 8 bits."""
    maker = index.producer.get(node.input[0])
    bounded = maker is not None and (maker.op_type == "Clip" or operator(maker).probability)
    real = index.types.get(node.input[0]) in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
    return real and not bounded and graphs.integer(node, "to", 0) in (TensorProto.UINT8, TensorProto.INT8)


def _attribute(name: str, wrong: int, default: int = 0) -> Wrong:
    return lambda node, _: graphs.integer(node, name, default) == wrong


def _text(name: str, default: str, *wrong: str) -> Wrong:
    return lambda node, _: graphs.text(node, name, default) in wrong


def _drops(node: NodeProto, index: Index) -> bool:
    """Whether a Dropout is known to be one of training (opset 12 and later): input 1 is its ratio, 2 its mode."""
    ratio, training = (index.constants.get(name) for name in (*node.input, "", "", "")[1:3])
    return training is not None and bool(training.any()) and (ratio is None or bool(ratio.any()))


def _large_k(node: NodeProto, index: Index) -> bool:
    k = index.constants.get(node.input[1]) if len(node.input) > 1 else None
    return k is not None and k.size > 0 and int(k.reshape(-1)[0]) > _TOP_K


def _shape_from_input(index: Index) -> Iterator[Found]:
    for node in index.model.graph.node:
        for at in _SHAPED.get(node.op_type, ()):
            if len(node.input) > at and node.input[at] in index.inputs and not _inner(index):
                yield node.name, f"{node.op_type} takes its sizes from the input {node.input[at]}"


def _inner(index: Index) -> bool:
    """Whether this is a graph inside another one, whose inputs are not those of the model."""
    return bool(index.model.metadata_props) and index.model.metadata_props[0].key == graphs.INNER


RULES = (
    Rule(
        number="L29", title="QLinearConv (QOperator format)", claims=claim("refused", TRT, OV), hint="Convert to Q/DQ",
        fix="exact", menders=(quantized_operators,), find=_ops("QOperator format", "QLinearConv"),
    ),
    Rule(
        number="L29", title="QLinearMatMul (QOperator format)", claims=claim("refused", TRT), hint="Convert to Q/DQ",
        fix="exact", menders=(quantized_operators,), find=_ops("QOperator format", "QLinearMatMul"),
    ),
    Rule(
        number="L30", title="ConvInteger, MatMulInteger, DynamicQuantizeLinear",
        claims=claim("refused", TRT) | claim("float", OV),
        hint="Calibrate statically: edge-sdk quantize makes it of the float graph",
        find=_ops("dynamic quantization", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear"),
    ),
    Rule(
        number="L31", title="com.microsoft: Gelu, QuantizeLinear, DequantizeLinear", claims=claim("unsure", TRT, OV),
        hint="Export with standard operators, not from an optimised file", fix="exact", menders=(standard_forms,),
        find=_microsoft(lambda op: op in _TAKEN),
    ),
    Rule(
        number="L31", title="com.microsoft: QLinearLeakyRelu", claims=claim("refused", TRT, OV),
        hint="Export with standard operators, not from an optimised file", fix="exact", menders=(standard_forms,),
        find=_microsoft(lambda op: op in _LEAKY),
    ),
    Rule(
        number="L31", title="com.microsoft: other operators that standard ones say as well",
        claims=claim("refused", TRT) | claim("unsure", OV),
        hint="Export with standard operators, not from an optimised file", fix="exact", menders=(standard_forms,),
        find=_microsoft(lambda op: op in REWRITTEN and op not in (*_TAKEN, *_LEAKY)),
    ),
    Rule(
        number="L31", title="com.microsoft: other operators", claims=claim("refused", TRT) | claim("unsure", OV),
        hint="Export with standard operators, not from an optimised file",
        find=_microsoft(lambda op: op not in (*REWRITTEN, *_TAKEN, *_LEAKY)),
    ),
    Rule(
        number="L32", title="a domain that nobody knows", claims=claim("refused"),
        hint="Replace the operator by standard ones", find=_foreign(learning=False),
    ),
    Rule(
        number="L32", title="ai.onnx.ml", claims=claim("refused", TRT, OV),
        hint="Replace the operator by standard ones", find=_foreign(learning=True),
    ),
    Rule(
        number="L38", title="uint8 read by any operator but Cast", claims=claim("refused", TRT),
        hint="Cast to float32 first", fix="exact", menders=(cast_first,), find=_uint8_readers,
    ),
    Rule(
        number="L39", title="Cast to uint8 inside the graph", claims=claim("refused", TRT),
        hint="Stay float, Cast at the output alone", find=_ops("to uint8 inside the graph", "Cast", wrong=_cast_inside),
    ),
    Rule(
        number="L40", title="Cast of unbounded float to 8 bits", claims=claim("open"),
        depends=True, hint="Clip before",
        find=_ops("of float to 8 bits, with nothing that bounds it", "Cast", wrong=_cast_of_any),
    ),
    Rule(
        number="L41", title="Resize with antialias", claims=claim("wrong", OV) | claim("refused", TRT),
        hint="Average first, or resize in preprocessing",
        find=_ops("antialias", "Resize", wrong=_attribute("antialias", 1)),
    ),
    Rule(
        number="L42", title="Resize with keep_aspect_ratio_policy", claims=claim("wrong", OV) | claim("refused", TRT),
        hint="Give explicit sizes",
        find=_ops(
            "keep_aspect_ratio_policy", "Resize",
            wrong=_text("keep_aspect_ratio_policy", "stretch", "not_larger", "not_smaller"),
        ),
    ),
    Rule(
        number="L43", title="Resize, cubic, with exclude_outside", claims=claim("wrong", OV),
        hint="Use exclude_outside = 0", fix="values", menders=(plain_cubic,),
        find=_ops("exclude_outside", "Resize", wrong=_attribute("exclude_outside", 1)),
    ),
    Rule(
        number="L44", title="Resize with half_pixel_symmetric or tf_crop_and_resize", claims=claim("refused", OV, TRT),
        hint="Use half_pixel, align_corners or asymmetric",
        find=_ops(
            "this coordinate mode", "Resize",
            wrong=_text("coordinate_transformation_mode", "", "half_pixel_symmetric", "tf_crop_and_resize"),
        ),
    ),
    Rule(
        number="L49", title="Pad, mode wrap", claims=claim("refused", OV), hint="Write it as a Concat of Slices",
        find=_ops("mode wrap", "Pad", wrong=_text("mode", "constant", "wrap")),
    ),
    Rule(
        number="L51", title="NonZero, Unique, BitShift, DFT, StringNormalizer", claims=claim("refused", TRT),
        hint="Compute it outside the graph",
        find=_ops("", "NonZero", "Unique", "BitShift", "DFT", "StringNormalizer"),
    ),
    Rule(
        number="L52", title="NonMaxSuppression", claims=claim("refused", TRT), hint="Compute it outside the graph",
        find=_ops("", "NonMaxSuppression"),
    ),
    Rule(
        number="L53", title="TopK with k > 3840", claims=claim("refused", TRT),
        hint="Take at most 3840, or compute it outside the graph", find=_ops("k > 3840", "TopK", wrong=_large_k),
    ),
    Rule(
        number="L54", title="ScatterND, ScatterElements with a reduction", claims=claim("refused", TRT),
        hint="Scatter without reduction, each index once",
        find=_ops(
            "with a reduction", "ScatterND", "ScatterElements",
            wrong=lambda n, _: graphs.text(n, "reduction", "none") != "none",
        ),
    ),
    Rule(
        number="L55", title="RandomNormal, RandomUniform and their -Like", claims=claim("open"),
        hint="Export the model for inference (model.eval()), or make the noise an input of the graph",
        find=_ops("random", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"),
    ),
    Rule(
        number="L55", title="Bernoulli, Multinomial", claims=claim("refused", TRT) | claim("open", OV, ORT),
        hint="Make the noise an input of the graph", find=_ops("random", "Bernoulli", "Multinomial"),
    ),
    Rule(
        number="L55", title="Dropout in training mode", claims=claim("refused", TRT, OV) | claim("open", ORT),
        hint="Export the model for inference (model.eval())",
        find=_ops("random, because its training_mode is true", "Dropout", wrong=_drops),
    ),
    Rule(
        number="L57", title="sizes from an input of the graph", claims=claim("refused", TRT),
        hint="Fix the sizes, or take them from a tensor's Shape", find=_shape_from_input,
    ),
    Rule(
        number="L66", title="Attention", claims=claim("refused", TRT),
        hint="Decompose it: export with opset 22 or less",
        find=_ops("TensorRT's builder crashes without a GPU", "Attention"),
    ),
    Rule(
        number="L77", title="Resize to sizes on some axes, batch free", claims=claim("refused", TRT),
        hint="Give scales in place of sizes, or fix the batch", fix="exact", menders=(scaled_resize,),
        find=_ops("sizes for some axes while the batch is free", "Resize", wrong=graphs.resized_by_size),
    ),
)  # fmt: skip
