"""The one table of operators: what each does to values, and what each runtime makes of it in int8. Pure data, no graph.

Planner, layouts, linter, fp16, the adapters' read-back and the rows of known faults look here. An operator that has no
row computes in float32 and is passed through untouched. Measured on onnxruntime 1.32, openvino 2026.4.1 and
tensorrt-rtx 1.7 unless a row says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
PAIR = (QUANTIZE, DEQUANTIZE)
POOLS = ("AveragePool", "MaxPool", "LpPool")
"""Those that have windows."""
INDEXED = ("Gather", "GatherElements", "GatherND", "ScatterElements", "ScatterND")
"""Those whose second input says where."""
RETYPED = ("Cast", "Identity")
"""What answers the numbers that it reads, besides copies."""
ENDLESS = ("Loop", "Scan")
"""What may not end."""
RANDOM = (
    "RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial", "Dropout",
)  # fmt: skip
"""What may answer differently each time."""

Kind = Literal["matrix", "activation", "copy", "average", "sum", "product", "other"]
"""matrix: multiplies by a stored weight and sums, what int8 is for. activation: one float in, one out. copy: values
move and stay what they are, so both sides share a scale. average: a mean of values on one grid falls between them. sum,
product: of two tensors."""
Arithmetic = Literal["", "+", "-", "*", "/"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernels:
    """Names under which a runtime shows that a matrix operator ran in int8, or in float; empty: no such kernel."""

    int8: tuple[str, ...] = ()
    float: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One row.

    weight_axis: of a matrix operator, the axis of its weight (input 1) that holds output channels.
    bias: position of the bias, None if the operator has none.
    data_axis: of a matrix operator, the axis of its data (input 0) that holds input channels.
    answers_float: an int8 kernel of ONNX Runtime answers in float; the others want QuantizeLinear behind the operator.
    moves_all: a copy of all inputs, not of input 0 alone.
    cuts: min and max with constants: may change places with QuantizeLinear, bit by bit.
    by_channel: positively homogeneous, channel by channel: a factor may pass.
    gate: x * f(x) and x * f(pool(x)) are activations as a whole. probability: answers 0 to 1.
    elementwise: an output value depends on the input values at its own place; inputs broadcast.
    half: computes in float16. never_larger: its output is no larger than its input. float_inputs: positions that stay
    float32 by the standard. picture: keeps the known range of a picture when its other inputs are constants.
    kernels: by runtime, of matrix operators.
    arithmetic: which, of two tensors or of one and a constant. divisor: position of the input that it divides by, None
    if it does not divide.
    floor: of inputs that are not negative, the constant than which no output value is smaller: "any" input, or the
    "second" one. root: its output is the square root of its input, and so is the floor.
    norm: where gamma and beta have their channels, on axis 1 or on the last one; "" for what does not normalize.
    transformer: a network that has it is one, to NNCF.
    openvino_chain: OpenVINO fuses int8 products through it. openvino_join: OpenVINO sees a Concat through it, "always"
    or only where no Q/DQ pair lies between ("unpaired").
    onnxruntime_pairs: ONNX Runtime moves Q and DQ through it, or takes it out.
    """

    name: str
    kind: Kind = "other"
    weight_axis: int | None = None
    bias: int | None = None
    data_axis: int = 1
    answers_float: bool = False
    moves_all: bool = False
    cuts: bool = False
    by_channel: bool = False
    gate: bool = False
    elementwise: bool = False
    probability: bool = False
    half: bool = False
    never_larger: bool = False
    float_inputs: tuple[int, ...] = ()
    picture: bool = False
    kernels: Mapping[str, Kernels] = field(default_factory=dict)
    arithmetic: Arithmetic = ""
    divisor: int | None = None
    floor: Literal["", "any", "second"] = ""
    root: bool = False
    norm: Literal["", "axis 1", "last"] = ""
    transformer: bool = False
    openvino_chain: bool = False
    openvino_join: Literal["", "always", "unpaired"] = ""
    onnxruntime_pairs: bool = False


_OV_MATMUL = Kernels(int8=("FullyConnected", "MatMul"), float=("FullyConnected", "MatMul"))
_TRT_MATMUL = Kernels(int8=("gemm", "matrix"), float=("gemm", "matrix"))

_ROWS = (
    # ---- matrix operators
    Operator(
        name="Conv", kind="matrix", weight_axis=0, bias=2, half=True,
        kernels={
            "onnxruntime": Kernels(
                int8=("QLinearConv", "ConvInteger"), float=("Conv", "FusedConv", "NhwcConv", "NhwcFusedConv")
            ),
            "openvino": Kernels(int8=("Convolution", "DeformableConvolution"), float=("Convolution",)),
            "tensorrt": Kernels(int8=("conv",), float=("conv",)),
        },
    ),
    Operator(
        name="ConvTranspose", kind="matrix", weight_axis=1, bias=2, half=True,
        kernels={
            # ONNX Runtime has ConvTransposeInteger in custom builds alone: Q/DQ around it is dequantized in every run.
            "onnxruntime": Kernels(int8=(), float=("ConvTranspose",)),
            "openvino": Kernels(int8=("Deconvolution",), float=("Deconvolution",)),
            "tensorrt": Kernels(int8=("conv",), float=("conv",)),
        },
    ),
    Operator(
        # QGemm wants Q behind it; int8 graphs hold it as MatMul and Sub (calibration/insert.py)
        name="Gemm", kind="matrix", weight_axis=1, bias=2, data_axis=-1, answers_float=True, half=True,
        kernels={
            "onnxruntime": Kernels(int8=("QGemm",), float=("Gemm", "FusedGemm")),
            "openvino": _OV_MATMUL, "tensorrt": _TRT_MATMUL,
        },
    ),
    Operator(
        name="MatMul", kind="matrix", weight_axis=1, data_axis=-1, answers_float=True, half=True,
        kernels={
            "onnxruntime": Kernels(
                int8=("QLinearMatMul", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"),
                float=("MatMul", "FusedMatMul"),
            ),
            "openvino": _OV_MATMUL, "tensorrt": _TRT_MATMUL,
        },
    ),
    # ---- activations
    Operator(
        name="Relu", elementwise=True, kind="activation", by_channel=True, cuts=True, half=True, never_larger=True,
        openvino_chain=True, openvino_join="always",
    ),
    Operator(
        name="Clip", elementwise=True, kind="activation", cuts=True, half=True, never_larger=True, floor="second",
        openvino_chain=True,
    ),
    Operator(
        name="LeakyRelu", elementwise=True, kind="activation", by_channel=True, half=True, never_larger=True,
        openvino_chain=True,
    ),
    Operator(name="PRelu", elementwise=True, kind="activation", by_channel=True, half=True, openvino_chain=True),
    Operator(
        name="Sigmoid", elementwise=True, kind="activation", gate=True, probability=True, half=True, openvino_chain=True
    ),
    Operator(
        name="HardSigmoid", elementwise=True, kind="activation", gate=True, probability=True, half=True,
        openvino_chain=True,
    ),
    Operator(name="HardSwish", elementwise=True, kind="activation", half=True, openvino_chain=True),
    Operator(name="Tanh", elementwise=True, kind="activation", half=True, openvino_chain=True),
    Operator(name="Elu", elementwise=True, kind="activation", half=True, openvino_chain=True),
    Operator(name="Gelu", elementwise=True, kind="activation", half=True, openvino_chain=True),
    Operator(name="Mish", elementwise=True, kind="activation", half=True, openvino_chain=True),
    Operator(name="Erf", elementwise=True, openvino_chain=True),
    Operator(name="Softmax", probability=True, transformer=True),
    # ---- values only move
    Operator(
        name="MaxPool", kind="copy", by_channel=True, half=True, never_larger=True, openvino_join="unpaired",
        onnxruntime_pairs=True,
    ),
    Operator(
        name="Reshape", kind="copy", half=True, never_larger=True, openvino_chain=True, onnxruntime_pairs=True
    ),
    Operator(
        name="Transpose", kind="copy", half=True, never_larger=True, picture=True, openvino_join="always",
        onnxruntime_pairs=True,
    ),
    Operator(name="Slice", kind="copy", half=True, never_larger=True, onnxruntime_pairs=True),
    Operator(name="Flatten", kind="copy", half=True, never_larger=True, openvino_chain=True),
    Operator(
        name="Squeeze", kind="copy", half=True, never_larger=True, openvino_chain=True, onnxruntime_pairs=True
    ),
    Operator(
        name="Unsqueeze", kind="copy", half=True, never_larger=True, openvino_chain=True, onnxruntime_pairs=True
    ),
    Operator(name="DepthToSpace", kind="copy", half=True, never_larger=True),
    Operator(name="SpaceToDepth", kind="copy", half=True, never_larger=True),
    Operator(name="Gather", kind="copy", half=True, never_larger=True, picture=True),
    Operator(name="Concat", kind="copy", moves_all=True, half=True, never_larger=True),
    Operator(name="Split", kind="copy", half=True, never_larger=True),
    Operator(
        name="Identity", elementwise=True, openvino_chain=True, openvino_join="always", onnxruntime_pairs=True
    ),
    Operator(name="Cast", picture=True, onnxruntime_pairs=True),  # from float to float
    Operator(name="Pad", half=True),
    # ---- means of neighbours
    Operator(
        name="AveragePool", kind="average", by_channel=True, half=True, never_larger=True, openvino_join="unpaired",
    ),
    Operator(name="GlobalAveragePool", kind="average", by_channel=True, openvino_join="unpaired"),
    Operator(name="ReduceMean", kind="average", by_channel=True, openvino_join="unpaired"),
    Operator(name="Resize", kind="average", by_channel=True, half=True, float_inputs=(1, 2), openvino_join="unpaired"),
    # ---- arithmetic
    Operator(
        name="Add", kind="sum", arithmetic="+", elementwise=True, half=True, picture=True, floor="any",
        openvino_chain=True, openvino_join="always",
    ),
    Operator(
        name="Mul", kind="product", arithmetic="*", elementwise=True, half=True, picture=True, openvino_chain=True,
        openvino_join="always",
    ),
    Operator(
        name="Sub", arithmetic="-", elementwise=True, half=True, picture=True, openvino_chain=True,
        openvino_join="always",
    ),
    Operator(
        name="Div", arithmetic="/", divisor=1, elementwise=True, picture=True, openvino_chain=True,
        openvino_join="always",
    ),
    Operator(name="Reciprocal", divisor=0),
    Operator(name="Sqrt", root=True),
    Operator(name="Max", floor="any"),
    Operator(name="Neg", elementwise=True, openvino_join="always"),
    Operator(name="BatchNormalization", norm="axis 1", openvino_join="always"),
    Operator(name="LayerNormalization", norm="last", transformer=True),
    # ---- quantization itself
    Operator(name=QUANTIZE, openvino_chain=True, openvino_join="always"),
    Operator(name=DEQUANTIZE, openvino_chain=True, openvino_join="always"),
)  # fmt: skip

OPERATORS: Mapping[str, Operator] = {row.name: row for row in _ROWS}
_PLAIN = Operator(name="")


def traits(op: str) -> Operator:
    """The row of an operator type of the standard domain; a row without traits for one that the table lacks."""
    return OPERATORS.get(op, _PLAIN)


def matrix_operators() -> tuple[str, ...]:
    """Types of the operators whose weights become int8, in the order of the table."""
    return tuple(row.name for row in _ROWS if row.kind == "matrix")


def is_product(op: str) -> bool:
    """Whether OpenVINO computes the operator as a matrix product (MatMul, Gemm), not as a convolution."""
    return "FullyConnected" in traits(op).kernels.get("openvino", Kernels()).int8


def int8_kernels(runtime: str) -> frozenset[str]:
    """Names under which `runtime` shows matrix operators that ran in int8."""
    return frozenset(name for row in _ROWS for name in row.kernels.get(runtime, Kernels()).int8)


def float_kernels(runtime: str) -> frozenset[str]:
    """Names under which `runtime` shows float matrix operators; where int8 ones share them, a type tells them apart."""
    return frozenset(name for row in _ROWS for name in row.kernels.get(runtime, Kernels()).float)


def has_int8(op: str, runtime: str) -> bool:
    """Whether `runtime` has an int8 kernel for a matrix operator."""
    return bool(traits(op).kernels.get(runtime, Kernels()).int8)
