"""Each row of the linter against the smallest graph that breaks it, and silence where nothing is broken."""

# ruff: noqa: E501 - one row a line: a table is read down its columns

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from calibration_nets import TAIL, mobile, pictures
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edge_sdk.calibration import QuantizeOptions, quantize
from edge_sdk.calibration.clean import tidy
from edge_sdk.calibration.lint import lint
from edge_sdk.calibration.rules_graph import RULES as GRAPH_RULES
from edge_sdk.calibration.rules_quant import RULES as QUANT_RULES
from edge_sdk.errors import BadInput, BadUsage

FLOAT = TensorProto.FLOAT


def model_of(
    nodes: list[Any],
    constants: dict[str, Any],
    *,
    kind: int = FLOAT,
    shape: Any = (1, 4, 8, 8),
    out: str = "y",
    opset: int = 17,
) -> ModelProto:
    for number, node in enumerate(nodes):
        node.name = node.name or f"n{number}"
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, list(shape))],
        [helper.make_tensor_value_info(out, FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    return model


def node(op: str, inputs: str, output: str = "y", **attributes: Any) -> Any:
    names = ["" if n == "_" else n for n in inputs.split()]
    return helper.make_node(op, names, [output], name=f"{op}_{output}", **attributes)


def conv(**changed: Any) -> ModelProto:
    """A sound int8 convolution; `changed` replaces constants by name, or nodes by output."""
    constants: dict[str, Any] = {
        "s": np.float32(0.1),
        "z": np.int8(0),
        "w": np.ones((2, 4, 1, 1), np.int8),
        "ws": np.full(2, 0.1, np.float32),
        "wz": np.zeros(2, np.int8),
        "b": np.zeros(2, np.float32),
    }
    nodes = {
        "q": node("QuantizeLinear", "x s z", "q"),
        "d": node("DequantizeLinear", "q s z", "d"),
        "wd": node("DequantizeLinear", "w ws wz", "wd", axis=0),
        "y": node("Conv", "d wd b", "y"),
    }
    for name, value in changed.items():
        (nodes if isinstance(value, type(nodes["q"])) else constants)[name] = value
    used = {i for n in nodes.values() for i in n.input}
    order = sorted(nodes, key=lambda name: name == "y")
    return model_of([nodes[n] for n in order], {k: v for k, v in constants.items() if k in used})


def single(
    op: str, inputs: str = "x", *, constants: dict[str, Any] | None = None, opset: int = 17, **attributes: Any
) -> ModelProto:
    return model_of([node(op, inputs, **attributes)], constants or {}, opset=opset)


def dropout(ratio: float = 0.5, training: bool | None = True) -> ModelProto:
    stated = {} if training is None else {"t": np.array(training)}
    return single("Dropout", "x r t" if stated else "x r", constants={"r": np.float32(ratio), **stated})


def edited(change: Callable[[ModelProto], Any]) -> ModelProto:
    model = conv()
    change(model)
    return model


def residual() -> ModelProto:
    nodes = [
        node("QuantizeLinear", "x s z", "q"),
        node("DequantizeLinear", "q s z", "d"),
        node("Relu", "x", "r"),
        node("Add", "d r", "a"),
        node("QuantizeLinear", "a s z", "aq"),
        node("DequantizeLinear", "aq s z"),
    ]
    return model_of(nodes, {"s": np.float32(0.1), "z": np.int8(0)})


def matrix(axis: int) -> ModelProto:
    constants = {
        "s": np.float32(0.1), "z": np.int8(0), "w": np.ones((4, 4), np.int8), "ws": np.full(4, 0.1, np.float32),
        "wz": np.zeros(4, np.int8),
    }  # fmt: skip
    nodes = [
        node("QuantizeLinear", "x s z", "q"),
        node("DequantizeLinear", "q s z", "d"),
        node("DequantizeLinear", "w ws wz", "wd", axis=axis),
        node("MatMul", "d wd"),
    ]
    return model_of(nodes, constants, shape=(3, 4))


def products(between: str = "", *, rows: int) -> ModelProto:
    """Two int8 products, one behind the other."""
    model = matrix(1)
    first = next(n for n in model.graph.node if n.op_type == "MatMul")
    first.output[0] = "m"
    behind = [node(between, "m", "b")] if between else []
    behind += [
        node("QuantizeLinear", f"{'b' if between else 'm'} s z", "mq"),
        node("DequantizeLinear", "mq s z", "md"),
        node("DequantizeLinear", "w ws wz", "wd2", axis=1),
        node("MatMul", "md wd2"),
    ]
    for number, one in enumerate(behind):
        one.name = f"behind_{number}"
    model.graph.node.extend(behind)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = rows
    return model


def behind_concat(*between: Any) -> ModelProto:
    model = conv(q=node("QuantizeLinear", "c s z", "q"))
    names = ["cat", *(f"between{i}" for i in range(1, len(between))), "c"] if between else ["c"]
    model.graph.node.insert(0, node("Concat", "x x", names[0], axis=1))
    for i, op in enumerate(between):
        model.graph.node.insert(i + 1, node(op, names[i] if op == "Relu" else f"{names[i]} s", names[i + 1]))
    return model


def narrow(kind: int) -> ModelProto:
    """The activation is quantized to `kind`, which numpy has no type for."""
    model = conv()
    zero = next(t for t in model.graph.initializer if t.name == "z")
    zero.CopyFrom(helper.make_tensor("z", kind, [], [0]))
    return model


def blocked() -> ModelProto:
    changed = {"ws": np.full((2, 2, 1, 1), 0.1, np.float32), "wz": np.zeros((2, 2, 1, 1), np.int8)}
    model = conv(wd=node("DequantizeLinear", "w ws wz", "wd", axis=1, block_size=2), **changed)
    model.opset_import[0].version = 21
    return model


def transposed() -> ModelProto:
    """A ConvTranspose whose weight (4, 2, 1, 1) has its scales along the summed axis 0."""
    changed = {"ws": np.full(4, 0.1, np.float32), "wz": np.zeros(4, np.int8)}
    return conv(y=node("ConvTranspose", "d wd b"), w=np.ones((4, 2, 1, 1), np.int8), **changed)


def of_rank(op: str, weight: tuple[int, ...], axis: int) -> ModelProto:
    """conv() with another operator and weight, its scales along `axis`; as many entries as the weight has there."""
    size = weight[axis]
    changed = {"w": np.ones(weight, np.int8), "ws": np.full(size, 0.1, np.float32), "wz": np.zeros(size, np.int8)}
    dequantized = node("DequantizeLinear", "w ws wz", "wd", axis=axis)
    model = conv(wd=dequantized, y=node(op, "d wd"), **changed)
    shape = model.graph.input[0].type.tensor_type.shape
    shape.ClearField("dim")
    for length in (1, 4, *[8] * (len(weight) - 2)):
        shape.dim.add().dim_value = length
    return model


def half_precision() -> ModelProto:
    model = single("Relu")
    model.graph.initializer.append(helper.make_tensor("k", TensorProto.BFLOAT16, [1], [1.0]))
    model.graph.node.append(node("Cast", "k", "late", to=FLOAT))
    return model


def integers() -> ModelProto:
    """int8 comes in, and goes straight to DequantizeLinear."""
    nodes = [
        node("DequantizeLinear", "x s z", "d"),
        node("DequantizeLinear", "w ws wz", "wd", axis=0),
        node("Conv", "d wd"),
    ]
    constants = {
        "s": np.float32(0.1), "z": np.int8(0), "w": np.ones((2, 4, 1, 1), np.int8), "ws": np.full(2, 0.1, np.float32),
        "wz": np.zeros(2, np.int8),
    }  # fmt: skip
    return model_of(nodes, constants, kind=TensorProto.INT8)


def average(**attributes: Any) -> ModelProto:
    return single("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, **attributes)


def resize(**attributes: Any) -> ModelProto:
    sizes = {"n": np.array([1, 4, 5, 5], np.int64)}
    return single("Resize", "x _ _ n", constants=sizes, mode="linear", opset=18, **attributes)


def free_resize() -> ModelProto:
    nodes = [node("Resize", "x _ _ n", mode="linear", axes=[2, 3])]
    return model_of(nodes, {"n": np.array([5, 5], np.int64)}, shape=("N", 4, 8, 8), opset=18)


def twice(model: ModelProto) -> None:
    model.graph.node[1].name = model.graph.node[0].name


def sparse(model: ModelProto) -> None:
    values = numpy_helper.from_array(np.ones(1, np.float32), "sp")
    model.graph.sparse_initializer.append(
        helper.make_sparse_tensor(values, numpy_helper.from_array(np.zeros(1, np.int64), "i"), [4])
    )


def function(model: ModelProto) -> None:
    body = [helper.make_node("Relu", ["a"], ["b"])]
    model.functions.append(helper.make_function("own", "F", ["a"], ["b"], body, [helper.make_opsetid("", 17)]))


def external(model: ModelProto) -> None:
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL


u8 = np.uint8
ROWS: list[tuple[str, Callable[[], ModelProto]]] = [
    ("L01", lambda: conv(z=np.int8(3))),
    ("L02", lambda: conv(z=u8(128))),
    ("L03", lambda: conv(z=u8(0))),
    ("L04", lambda: conv(q=node("QuantizeLinear", "x s", "q"), d=node("DequantizeLinear", "q s", "d"))),
    ("L05", lambda: conv(z=np.int16(0))),
    ("L06", lambda: conv(wz=np.ones(2, np.int8))),
    ("L07", lambda: conv(w=np.ones((2, 4, 1, 1), u8), wz=np.zeros(2, u8))),
    ("L08", lambda: conv(wd=node("DequantizeLinear", "w ws wz", "wd", axis=1), ws=np.ones(4, np.float32), wz=np.zeros(4, np.int8))),
    ("L09", lambda: matrix(0)),
    ("L12", lambda: conv(b=np.zeros(2, np.int32), y2=node("DequantizeLinear", "b ws", "bd", axis=0), y=node("Conv", "d wd bd"))),
    ("L10", transposed),
    ("L11", blocked),
    ("L13", lambda: conv(b=np.zeros(2, np.int8), bd=node("DequantizeLinear", "b ws wz", "bd", axis=0), y=node("Conv", "d wd bd"))),
    ("L14", lambda: conv(s=np.full(4, 0.1, np.float32), z=np.zeros(4, np.int8))),
    ("L15", lambda: conv(s=np.float32(0))),
    ("L16", lambda: conv(s=np.float32(np.nan))),
    ("L17", lambda: conv(s=np.float32(1e-40))),
    ("L18", lambda: conv(ws=np.array([0.1, 0], np.float32))),
    ("L19", lambda: conv(s=np.full(1, 0.1, np.float32), z=np.zeros(1, np.int8))),
    ("L20", lambda: model_of([node("Abs", "x", "s2"), node("QuantizeLinear", "x s2 z", "q"), node("DequantizeLinear", "q s z")], {"s": np.float32(1), "z": np.int8(0)}, shape=())),
    ("L21", lambda: conv(t=np.float32(0.2), d=node("DequantizeLinear", "q t z", "d"))),
    ("L22", residual),
    ("L26", lambda: conv(y=node("Conv", "x wd b"))),
    ("L26", lambda: conv(w=np.ones((2, 4, 1, 1), np.float32), y=node("Conv", "d w b"))),
    ("L29", lambda: single("QLinearConv", "x s z w s z s z", constants={"s": np.float32(1), "z": np.int8(0), "w": np.ones((1, 4, 1, 1), np.int8)})),
    ("L30", lambda: single("DynamicQuantizeLinear")),
    ("L31", lambda: single("Gelu", domain="com.microsoft")),
    ("L32", lambda: single("Magic", domain="somebody.else")),
    ("L33", lambda: edited(function)),
    ("L34", lambda: edited(sparse)),
    ("L35", lambda: model_of([node("Cast", "x", to=FLOAT)], {}, kind=TensorProto.DOUBLE)),
    ("L36", lambda: single("Gather", "x i", constants={"i": np.array([2**40], np.int64)}, axis=1)),
    ("L37", half_precision),
    ("L38", lambda: model_of([node("Transpose", "x", "t"), node("Cast", "t", to=FLOAT)], {}, kind=TensorProto.UINT8)),
    ("L39", lambda: model_of([node("Cast", "x", "c", to=TensorProto.UINT8), node("Cast", "c", to=FLOAT)], {})),
    ("L41", lambda: resize(antialias=1)),
    ("L42", lambda: resize(keep_aspect_ratio_policy="not_larger")),
    ("L43", lambda: resize(exclude_outside=1)),
    ("L44", lambda: resize(coordinate_transformation_mode="half_pixel_symmetric")),
    ("L46", lambda: average(ceil_mode=1, count_include_pad=1)),
    ("L47", lambda: single("AveragePool", kernel_shape=[2, 2], dilations=[2, 2], opset=19)),
    ("L48", lambda: model_of([helper.make_node("MaxPool", ["x"], ["y", "i"], kernel_shape=[2, 2])], {})),
    ("L49", lambda: single("Pad", "x p", constants={"p": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)}, mode="wrap", opset=19)),
    *(("L51", lambda op=op: single(op)) for op in ("NonZero", "Unique", "BitShift", "DFT", "StringNormalizer")),
    ("L52", lambda: single("NonMaxSuppression", "x x", opset=11)),
    ("L53", lambda: model_of([helper.make_node("TopK", ["x", "k"], ["y", "i"])], {"k": np.array([4000], np.int64)}, shape=(1, 5000))),
    *(("L55", lambda op=op: single(op)) for op in ("RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial")),
    ("L55", lambda: dropout()),
    ("L59", lambda: edited(twice)),
    ("L60", lambda: edited(lambda m: m.graph.node.insert(1, node("Relu", "x", "q")))),
    ("L61", lambda: edited(lambda m: m.graph.input.append(helper.make_tensor_value_info("b", FLOAT, [2])))),
    ("L62", lambda: conv(b=np.array([0, np.inf], np.float32))),
    *(("L64", lambda kind=kind: narrow(kind)) for kind in (TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E5M2, TensorProto.INT4, TensorProto.UINT4)),
    ("L66", lambda: single("Attention", "x x x", opset=23)),
    ("L67", lambda: model_of([node("Cast", "x", to=FLOAT)], {}, kind=TensorProto.STRING)),
    ("L68", lambda: single("Relu", opset=25)),
    ("L69", lambda: edited(lambda m: m.opset_import.append(helper.make_opsetid("ai.onnx", 17)))),
    ("L70", lambda: edited(external)),
    ("L75", lambda: edited(lambda m: m.graph.node.insert(0, node("Relu", "y", "late")))),
    ("L71", lambda: products(rows=1)),
    ("L71", lambda: products("Sigmoid", rows=15)),
    ("L76", integers),
    ("L77", free_resize),
    ("L78", behind_concat),
    ("L78", lambda: behind_concat("Relu")),
    ("L78", lambda: behind_concat("Add", "Relu")),
    ("C11", lambda: conv(wd=node("DequantizeLinear", "w ws wz", "wd", axis=-4))),
]  # fmt: skip


# What the smallest graph can't help breaking too: a scale is a constant, and standard Attention came with opset 23.
ALSO = {"L16": {"L62"}, "L66": {"L68"}}


def unnamed(model: ModelProto) -> None:
    for one in model.graph.node:
        one.ClearField("name")


@pytest.mark.parametrize(
    "build",
    [lambda: edited(unnamed), lambda: model_of([node("Relu", "x")], {}, shape=("N", 4, "H", "W"))],
    ids=["nodes without names", "free axes beside the batch"],
)
def test_what_every_runtime_takes_breaks_no_rule(build: Callable[[], ModelProto]) -> None:
    """TensorRT builds with a profile for every free axis, whose largest sizes the bundle states."""
    assert lint(build().SerializeToString()) == ()


@pytest.mark.parametrize(("rule", "build"), ROWS, ids=[f"{rule}-{n}" for n, (rule, _) in enumerate(ROWS)])
def test_each_row_alone_is_found_in_its_smallest_graph(rule: str, build: Callable[[], ModelProto]) -> None:
    found = lint(build().SerializeToString())
    assert {v.rule for v in found} == {rule} | ALSO.get(rule, set())
    assert all(v.what and v.hint and v.node for v in found)


def test_every_rule_has_a_row() -> None:
    assert {rule.number for rule in (*GRAPH_RULES, *QUANT_RULES)} | {"L70"} == {rule for rule, _ in ROWS}


@pytest.mark.parametrize(
    "build",
    [
        conv,
        lambda: matrix(1),
        lambda: products(rows=16),
        average,
        resize,
        lambda: single("Relu"),
        lambda: dropout(training=False),
        lambda: dropout(training=None),
        lambda: dropout(ratio=0.0),
        lambda: single("AveragePool", kernel_shape=[2, 2], dilations=[1, 1], opset=19),
        lambda: model_of([node("Cast", "x", to=FLOAT)], {}, kind=TensorProto.UINT8),
    ],
)
def test_sound_graphs_pass_in_silence(build: Callable[[], ModelProto]) -> None:
    assert lint(build().SerializeToString()) == ()


@pytest.mark.parametrize("spatial", [1, 2, 3])
@pytest.mark.parametrize(("op", "rule", "right"), [("Conv", "L08", 0), ("ConvTranspose", "L10", 1)])
def test_the_axis_of_output_channels_is_found_at_any_rank_and_counted_from_either_end(
    op: str, rule: str, right: int, spatial: int
) -> None:
    weight = (4, 4, *[1] * spatial)
    for axis in (0, 1):
        for counted in (axis, axis - len(weight)):
            broken = {v.rule for v in lint(of_rank(op, weight, counted).SerializeToString())}
            assert (rule in broken) is (axis != right), (counted, broken)


def test_a_row_counts_only_for_those_it_affects() -> None:
    shifted = conv(z=np.uint8(128)).SerializeToString()
    assert "L02" in {v.rule for v in lint(shifted, ("tensorrt",))}
    assert lint(shifted, ("onnxruntime", "openvino")) == ()


def test_the_layout_is_evaluated_only_for_a_single_runtime() -> None:
    options = QuantizeOptions(variants=("int8",), keep_fp32=TAIL, threads=1)
    made = quantize(mobile().SerializeToString(), pictures(1), options=options)
    a, b = (made.get("int8", layout).graph for layout in ("conv-relu-q", "conv-q-relu-q"))
    assert lint(a) == lint(a, ("tensorrt",)) == lint(b, ("onnxruntime",)) == ()
    assert {v.rule for v in lint(a, ("onnxruntime",))} == {"L25"}


def test_between_convolution_and_relu_a_pair_is_one_step_more_for_tensorrt() -> None:
    model = conv(y=node("Conv", "d wd b", "c"))
    model.graph.node.extend(
        [node("QuantizeLinear", "c s z", "cq"), node("DequantizeLinear", "cq s z", "cd"), node("Relu", "cd")]
    )
    assert {v.rule for v in lint(model.SerializeToString(), ("tensorrt",))} == {"L24"}
    assert lint(model.SerializeToString()) == ()


def test_a_pair_that_others_read_as_well_can_not_stand_behind_the_relu() -> None:
    model = conv(y=node("Conv", "d wd b", "c"))
    model.graph.node.extend([
        node("QuantizeLinear", "c s z", "cq"), node("DequantizeLinear", "cq s z", "cd"), node("Relu", "cd", "r"),
        node("Add", "cd r"),
    ])  # fmt: skip
    assert "L24" not in {v.rule for v in lint(model.SerializeToString(), ("tensorrt",))}


def test_a_node_without_a_name_is_called_by_operator_and_output() -> None:
    model = conv(z=np.int8(3))
    unnamed(model)
    assert {v.node for v in lint(model.SerializeToString())} == {"QuantizeLinear -> q", "DequantizeLinear -> d"}


def test_rubbish_and_unknown_targets_are_refused() -> None:
    with pytest.raises(BadInput, match="not an ONNX graph"):
        lint(b"rubbish")
    with pytest.raises(BadUsage, match="not tflite"):
        lint(conv().SerializeToString(), ("tflite",))


def test_cleaning_mends_what_needs_no_choice() -> None:
    """Names, order, constants as nodes, inputs that are initializers, a Resize that loses the batch."""
    model = free_resize()
    model.graph.node[0].ClearField("name")
    model.graph.node[0].doc_string = "/home/somebody/net.py"
    mended = tidy(model)
    assert lint(mended.SerializeToString()) == ()
    assert b"somebody" not in mended.SerializeToString()
    assert mended.ir_version == 8
