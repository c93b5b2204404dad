"""The smallest valid graph that breaks each rule of the linter's table, and sound ones. Knows no rule's code.

Valid: ONNX Runtime runs each of them to the letter of the standard, unless the rule says that it refuses. Weights lie in
[-64, 64], so that no CPU's 16-bit sums saturate.
"""

# ruff: noqa: E501 - one row a line: a table is read down its columns

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


u8 = np.uint8
I64 = TensorProto.INT64


def model_of(
    nodes: list[Any],
    constants: dict[str, Any],
    *,
    kind: int = FLOAT,
    shape: Any = (1, 4, 8, 8),
    out: str = "y",
    out_kind: int = FLOAT,
    opset: int = 17,
    domains: tuple[str, ...] = (),
) -> ModelProto:
    for number, one in enumerate(nodes):
        one.name = one.name or f"n{number}"
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", kind, list(shape))],
        [helper.make_tensor_value_info(out, out_kind, None)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )  # fmt: skip
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    model = helper.make_model(graph, opset_imports=imports)
    model.ir_version = 8 if opset < 19 else 10
    return model


def node(op: str, inputs: str, output: str = "y", **attributes: Any) -> Any:
    names = ["" if n == "_" else n for n in inputs.split()]
    return helper.make_node(op, names, output.split(), name=f"{op}_{output.split()[0]}", **attributes)


def weights(*shape: int) -> Any:
    """int8 in [-64, 64], none of the channels alike."""
    return ((np.arange(np.prod(shape)) * 37) % 129 - 64).astype(np.int8).reshape(shape)


def scales(count: int) -> Any:
    return (0.004 * (1 + np.arange(count))).astype(np.float32)


def conv(*, opset: int = 17, closed: bool = True, **changed: Any) -> ModelProto:
    """A sound int8 convolution; `changed` replaces constants by name, or nodes by output. closed: with a pair behind,
    so that ONNX Runtime runs it in int8."""
    constants: dict[str, Any] = {
        "s": np.float32(0.04), "z": np.int8(0), "w": weights(2, 4, 1, 1), "ws": scales(2), "wz": np.zeros(2, np.int8),
        "b": np.array([0.3, -0.2], np.float32), "so": np.float32(0.02), "zo": np.int8(0),
    }  # fmt: skip
    nodes = {
        "q": node("QuantizeLinear", "x s z", "q"),
        "d": node("DequantizeLinear", "q s z", "d"),
        "wd": node("DequantizeLinear", "w ws wz", "wd", axis=0),
        "y": node("Conv", "d wd b", "y"),
    }
    for name, value in changed.items():
        (nodes if isinstance(value, type(nodes["q"])) else constants)[name] = value
    last = nodes.pop("y")
    order = [*nodes.values(), last]
    if closed:
        last.output[0] = "c"
        order += [node("QuantizeLinear", "c so zo", "cq"), node("DequantizeLinear", "cq so zo")]
    used = {i for n in order for i in n.input}
    return model_of(order, {k: v for k, v in constants.items() if k in used}, opset=opset)


def single(
    op: str, inputs: str = "x", *, constants: dict[str, Any] | None = None, opset: int = 17, shape: Any = (1, 4, 8, 8),
    kind: int = FLOAT, out_kind: int = FLOAT, domain: str = "", **attributes: Any,
) -> ModelProto:  # fmt: skip
    return model_of(
        [node(op, inputs, domain=domain or None, **attributes)], constants or {}, opset=opset, shape=shape, kind=kind,
        out_kind=out_kind, domains=(domain,) if domain else (),
    )  # fmt: skip


def chain(*nodes: Any, **options: Any) -> ModelProto:
    constants = options.pop("constants", {})
    return model_of(list(nodes), constants, **options)


def dropout(ratio: float = 0.5, training: bool | None = True) -> ModelProto:
    stated = {} if training is None else {"t": np.array(training)}
    return single("Dropout", "x r t" if stated else "x r", constants={"r": np.float32(ratio), **stated})


def edited(change: Callable[[ModelProto], Any]) -> ModelProto:
    model = conv()
    change(model)
    return model


def on_picture(scale: float, zero: Any) -> ModelProto:
    """A pair on a uint8 picture in front of an int8 convolution; without a zero point where `zero` is None."""
    if zero is None:
        pair = {"q": node("QuantizeLinear", "f s", "q"), "d": node("DequantizeLinear", "q s", "d")}
        model = conv(s=np.float32(scale), so=np.float32(0.5), **pair)
    else:
        model = conv(q=node("QuantizeLinear", "f s z", "q"), s=np.float32(scale), z=zero, so=np.float32(0.5))
    model.graph.node.insert(0, node("Cast", "x", "f", to=FLOAT))
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    return model


def residual() -> ModelProto:
    """A sum of an int8 convolution and of a branch without Q/DQ."""
    model = conv(w=weights(4, 4, 1, 1), ws=scales(4), wz=np.zeros(4, np.int8), b=np.zeros(4, np.float32), closed=False)
    model.graph.node[-1].output[0] = "c"
    model.graph.node.extend([
        node("Add", "c d", "a"), node("QuantizeLinear", "a s z", "aq"), node("DequantizeLinear", "aq s z"),
    ])  # fmt: skip
    return model


def matrix(axis: int, *, rows: int = 3, **changed: Any) -> ModelProto:
    constants = {
        "s": np.float32(0.04), "z": np.int8(0), "w": weights(4, 4), "ws": scales(4), "wz": np.zeros(4, np.int8), **changed,
    }  # fmt: skip
    nodes = [
        node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "d"),
        node("DequantizeLinear", "w ws wz", "wd", axis=axis), node("MatMul", "d wd"),
    ]  # fmt: skip
    return model_of(nodes, constants, shape=(rows, 4))


def products(between: str = "", *, rows: int) -> ModelProto:
    """Two int8 products, one behind the other."""
    model = matrix(1, rows=rows)
    next(n for n in model.graph.node if n.op_type == "MatMul").output[0] = "m"
    behind = [node(between, "m", "b")] if between else []
    behind += [
        node("QuantizeLinear", f"{'b' if between else 'm'} s z", "mq"), node("DequantizeLinear", "mq s z", "md"),
        node("DequantizeLinear", "w ws wz", "wd2", axis=1), node("MatMul", "md wd2"),
    ]  # fmt: skip
    for number, one in enumerate(behind):
        one.name = f"behind_{number}"
    model.graph.node.extend(behind)
    return model


def biased_product(opset: int = 21, shape: tuple[int, ...] = (1, 3, 4)) -> ModelProto:
    """An int8 MatMul, and Add of a bias."""
    constants = {
        "s": np.float32(0.04), "z": np.int8(0), "w": weights(4, 4), "ws": scales(4), "wz": np.zeros(4, np.int8),
        "b": np.ones(4, np.float32),
    }  # fmt: skip
    nodes = [
        node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "d"),
        node("DequantizeLinear", "w ws wz", "wd", axis=1), node("MatMul", "d wd", "m"), node("Add", "m b", "a"),
        node("QuantizeLinear", "a s z", "aq"), node("DequantizeLinear", "aq s z"),
    ]  # fmt: skip
    return model_of(nodes, constants, shape=shape, opset=opset)


def quantized_number() -> ModelProto:
    """A product with a number that is stored in int8."""
    constants = {"s": np.float32(0.04), "z": np.int8(0), "k": np.int8(50)}
    nodes = [
        node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "d"),
        node("DequantizeLinear", "k s z", "kd"), node("Mul", "d kd"),
    ]  # fmt: skip
    return model_of(nodes, constants)


def behind_concat(*between: str) -> ModelProto:
    """An int8 convolution of a Concat, with `between` in between."""
    eight = {"w": weights(2, 8, 3, 3), "ws": scales(2) / 9}
    model = conv(q=node("QuantizeLinear", "c0 s z", "q"), **eight)
    names = ["cat", *(f"between{i}" for i in range(1, len(between))), "c0"] if between else ["c0"]
    nodes = [node("Neg", "x", "n"), node("Concat", "x n", names[0], axis=1)]
    nodes += [node(op, names[i] if op == "Relu" else f"{names[i]} s", names[i + 1]) for i, op in enumerate(between)]
    for i, one in enumerate(nodes):
        model.graph.node.insert(i, one)
    return model


def float_between(*between: str) -> ModelProto:
    """A convolution of float weights, of which one channel is small, between DQ and Q; `between` before Q as well."""
    far = np.float32([[0.4, -0.3, 0.2, 0.1], [200, -100, 150, 100]]).reshape(2, 4, 1, 1)
    model = conv(y=node("Conv", "d far b", "y"), far=far, b=np.float32([0, 0]))
    at = next(i for i, one in enumerate(model.graph.node) if one.op_type == "Conv")
    for i, op in enumerate(between):
        shape = {"kernel_shape": [1, 1]} if op == "MaxPool" else {}
        model.graph.node.insert(at + 1 + i, node(op, f"c{i}" if i else "c", f"c{i + 1}", **shape))
    if between:
        next(one for one in model.graph.node if one.output[0] == "cq").input[0] = f"c{len(between)}"
    return model


def narrow(kind: int) -> ModelProto:
    """The activation is quantized to `kind`, which numpy has no type for."""
    model = conv(opset=21)
    zero = next(t for t in model.graph.initializer if t.name == "z")
    zero.CopyFrom(helper.make_tensor("z", kind, [], [0]))
    return model


def four_bits() -> ModelProto:
    """The weight is stored in four bits."""
    model = conv(opset=21)
    for tensor in model.graph.initializer:
        if tensor.name in ("w", "wz"):
            size = int(np.prod(tensor.dims))
            values = [0] * size if tensor.name == "wz" else [v % 15 - 7 for v in range(size)]
            tensor.CopyFrom(helper.make_tensor(tensor.name, TensorProto.INT4, list(tensor.dims), values))
    return model


def blocked(*, product: bool = False) -> ModelProto:
    if product:
        model = matrix(0, ws=0.01 * np.arange(1, 9, dtype=np.float32).reshape(2, 4), wz=np.zeros((2, 4), np.int8))
        model.graph.node[2].attribute.append(helper.make_attribute("block_size", 2))
        model.opset_import[0].version, model.ir_version = 21, 10
        return model
    changed = {
        "ws": 0.01 * np.arange(1, 5, dtype=np.float32).reshape(2, 2, 1, 1),
        "wz": np.zeros((2, 2, 1, 1), np.int8),
    }
    return conv(wd=node("DequantizeLinear", "w ws wz", "wd", axis=1, block_size=2), opset=21, **changed)


def along_inputs(op: str) -> ModelProto:
    """The weight's scales lie along the axis of input channels."""
    changed: dict[str, Any] = {"ws": scales(4), "wz": np.zeros(4, np.int8)}
    if op == "Conv":
        return conv(wd=node("DequantizeLinear", "w ws wz", "wd", axis=1), **changed)
    return conv(y=node(op, "d wd b"), w=weights(4, 2, 1, 1), **changed)


def of_rank(op: str, weight: tuple[int, ...], axis: int) -> ModelProto:
    """conv() with another operator and weight, its scales along `axis`; as many entries as the weight has there."""
    size = weight[axis]
    changed = {"w": weights(*weight), "ws": scales(size), "wz": np.zeros(size, np.int8)}
    model = conv(wd=node("DequantizeLinear", "w ws wz", "wd", axis=axis), y=node(op, "d wd"), **changed)
    shape = model.graph.input[0].type.tensor_type.shape
    shape.ClearField("dim")
    for length in (1, 4, *[8] * (len(weight) - 2)):
        shape.dim.add().dim_value = length
    return model


def brain_floats() -> ModelProto:
    """Arithmetic in bfloat16."""
    return chain(
        node("Cast", "x", "h", to=TensorProto.BFLOAT16), node("Mul", "h h", "m"), node("Cast", "m", to=FLOAT), opset=18,
    )  # fmt: skip


def doubles() -> ModelProto:
    """What float32 loses: a small difference of large numbers."""
    constants = {"large": np.float64(1e9)}
    return chain(
        node("Add", "x large", "a"), node("ReduceMin", "a", "m"), node("Sub", "a m", "d"), node("Cast", "d", to=FLOAT),
        constants=constants, kind=TensorProto.DOUBLE,
    )  # fmt: skip


def large_integers() -> ModelProto:
    nodes = (node("Add", "x large", "a"), node("Cast", "a", to=FLOAT))
    return chain(*nodes, constants={"large": np.array([2**40], np.int64)}, kind=I64)


def integers() -> ModelProto:
    """int8 comes in, and goes straight to DequantizeLinear."""
    model = conv(q=node("Identity", "x", "unused"), d=node("DequantizeLinear", "x s z", "d"))
    del model.graph.node[0]
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT8
    return model


def average(**attributes: Any) -> ModelProto:
    return single("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, **attributes)


def rounded_up(op: str, kernel: int, stride: int, pad: int, side: int | str = 8, **attributes: Any) -> ModelProto:
    """A pool with ceil_mode on pictures of `side` x `side`."""
    opset = {"LpPool": 18, "MaxPool": 17}.get(op, 19)
    return single(
        op, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4, ceil_mode=1, opset=opset,
        shape=(1, 4, side, side), **attributes,
    )  # fmt: skip


def one_element_scale() -> ModelProto:
    """A scale of shape [1] on both sides of an average."""
    constants = {"s": np.full(1, 0.021, np.float32), "z": np.zeros(1, np.int8)}
    return chain(
        node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "d"),
        node("AveragePool", "d", "a", kernel_shape=[2, 2], strides=[2, 2]), node("QuantizeLinear", "a s z", "aq"),
        node("DequantizeLinear", "aq s z"), constants=constants,
    )  # fmt: skip


def computed_scale() -> ModelProto:
    """The scale is the largest value by 127, of each sample."""
    changed = {"q": node("QuantizeLinear", "x s2 z", "q"), "d": node("DequantizeLinear", "q s2 z", "d")}
    model = conv(**changed)
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(np.float32(1 / 127)), "k"))
    for at, one in enumerate((
        node("Abs", "x", "abs"), node("ReduceMax", "abs", "top", keepdims=0), node("Mul", "top k", "s2"),
    )):  # fmt: skip
        model.graph.node.insert(at, one)
    return model


def operator_format(product: bool = False) -> ModelProto:
    constants: dict[str, Any] = {
        "s": np.float32(0.04), "z": np.int8(0), "w": weights(4, 4) if product else weights(2, 4, 1, 1),
        "ws": np.float32(0.01) if product else scales(2), "wz": np.int8(0) if product else np.zeros(2, np.int8),
        "so": np.float32(0.02), "b": np.array([9, -7], np.int32),
    }  # fmt: skip
    made = "QLinearMatMul" if product else "QLinearConv"
    nodes = [
        node("QuantizeLinear", "x s z", "q"), node(made, "q s z w ws wz so z" + ("" if product else " b"), "p"),
        node("DequantizeLinear", "p so z"),
    ]  # fmt: skip
    if product:
        del constants["b"]
    return model_of(nodes, constants, shape=(3, 4) if product else (1, 4, 8, 8))


def dynamic() -> ModelProto:
    return chain(
        node("DynamicQuantizeLinear", "x", "q s zp"), node("MatMulInteger", "q w zp", "i"), node("Cast", "i", "f", to=FLOAT),
        node("Mul", "f s"), constants={"w": weights(4, 4)}, shape=(3, 4),
    )  # fmt: skip


def resize(sizes: Any = (1, 4, 5, 5), mode: str = "linear", opset: int = 18, **attributes: Any) -> ModelProto:
    return single("Resize", "x _ _ n", constants={"n": np.array(sizes, np.int64)}, mode=mode, opset=opset, **attributes)


def cropped_resize() -> ModelProto:
    constants = {"roi": np.array([0, 0, 0.1, 0.1, 1, 1, 0.9, 0.9], np.float32), "n": np.array([1, 4, 5, 5], np.int64)}
    mode = "tf_crop_and_resize"
    return single(
        "Resize", "x roi _ n", constants=constants, coordinate_transformation_mode=mode, mode="linear", opset=18
    )


def free_resize() -> ModelProto:
    nodes = [node("Resize", "x _ _ n", mode="linear", axes=[2, 3])]
    return model_of(nodes, {"n": np.array([5, 5], np.int64)}, shape=("N", 4, 8, 8), opset=18)


def boxes() -> ModelProto:
    corners = np.arange(6, dtype=np.float32)[None, :, None] * 10 + np.array([0, 0, 5, 5], np.float32)
    constants = {"boxes": corners, "n": np.array([6], np.int64), "overlap": np.array([0.5], np.float32)}
    nodes = [node("NonMaxSuppression", "boxes x n overlap", "i"), node("Cast", "i", to=FLOAT)]
    return model_of(nodes, constants, shape=(1, 1, 6))


def transform() -> ModelProto:
    return single("DFT", "x", opset=17, shape=(1, 8, 1), axis=1)


def scattered(reduction: str) -> ModelProto:
    constants = {"i": np.array([[0], [1]], np.int64), "u": np.ones((2, 4), np.float32)}
    stated = {} if reduction == "none" else {"reduction": reduction}
    return single("ScatterND", "x i u", constants=constants, shape=(5, 4), opset=18, **stated)


def reshaped_by_input() -> ModelProto:
    model = single("Expand", "x n")
    model.graph.input.append(helper.make_tensor_value_info("n", I64, [4]))
    return model


def twice(model: ModelProto) -> None:
    """Two nodes have one name."""
    model.graph.node.insert(0, node("Abs", "x", "a"))
    model.graph.node.insert(1, node("Neg", "a", "a2"))
    model.graph.node[1].name = model.graph.node[0].name
    next(n for n in model.graph.node if n.op_type == "QuantizeLinear").input[0] = "a2"


def sparse(model: ModelProto) -> None:
    """The convolution's bias is stored sparse."""
    bias = next(t for t in model.graph.initializer if t.name == "b")
    model.graph.initializer.remove(bias)
    values = numpy_helper.from_array(np.ones(1, np.float32), "b")
    model.graph.sparse_initializer.append(
        helper.make_sparse_tensor(values, numpy_helper.from_array(np.zeros(1, np.int64), "i"), [2])
    )


def function(model: ModelProto) -> None:
    body = [helper.make_node("Relu", ["a"], ["b"])]
    model.functions.append(helper.make_function("own", "F", ["a"], ["b"], body, [helper.make_opsetid("", 17)]))
    model.opset_import.append(helper.make_opsetid("own", 1))
    model.graph.node.insert(0, node("F", "x", "fx", domain="own"))
    next(n for n in model.graph.node if n.op_type == "QuantizeLinear").input[0] = "fx"


def external(model: ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")


def not_a_number(model: ModelProto) -> None:
    weight = weights(2, 4, 1, 1).astype(np.float32)
    weight[0, 0] = np.nan
    model.graph.CopyFrom(single("Conv", "x w", constants={"w": weight}).graph)


def late(model: ModelProto) -> None:
    """The first node stands behind the second."""
    first = model.graph.node[0]
    model.graph.node.insert(2, first)
    del model.graph.node[0]


def if_of(inner: ModelProto) -> ModelProto:
    """The nodes of `inner` in both branches of an If; its input is captured."""
    branches = []
    for part in ("then", "else"):
        body = [type(n)() for n in inner.graph.node]
        for copy, one in zip(body, inner.graph.node):
            copy.CopyFrom(one)
            copy.name = f"{part}_{one.name}"
            copy.output[:] = [f"{part}_{o}" if o else "" for o in one.output]
            made = {o for n in inner.graph.node for o in n.output}
            copy.input[:] = [f"{part}_{i}" if i in made else i for i in one.input]
        outs = [helper.make_tensor_value_info(f"{part}_{o.name}", FLOAT, None) for o in inner.graph.output]
        branches.append(helper.make_graph(body, part, [], outs))
    model = ModelProto()
    model.CopyFrom(inner)
    del model.graph.node[:]
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.append(
        helper.make_node("If", ["yes"], ["y"], name="choice", then_branch=branches[0], else_branch=branches[1])
    )
    return model


def _microsoft(op: str, inputs: str = "x", **options: Any) -> ModelProto:
    return single(op, inputs, domain="com.microsoft", **options)


def _qlinear(op: str) -> ModelProto:
    constants: dict[str, Any] = {"s": np.float32(0.04), "z": np.int8(0), "so": np.float32(0.08)}
    inputs = "q s z q s z so z" if op in ("QLinearAdd", "QLinearMul") else "q s z so z"
    nodes = [
        node("QuantizeLinear", "x s z", "q"), node(op, inputs, "p", domain="com.microsoft"),
        node("DequantizeLinear", "p so z"),
    ]  # fmt: skip
    return model_of(nodes, constants, domains=("com.microsoft",))


BIAS8 = {"b": np.array([50, -60], np.int8), "bs": np.array([0.01, 0.02], np.float32)}
FOUR = np.array([0.04, 0.03, 0.05, 0.035], np.float32)
WRAP = np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)

BROKEN: list[tuple[str, Callable[[], ModelProto]]] = [
    ("L01", lambda: conv(z=np.int8(3))),
    ("L02", lambda: conv(z=u8(128))),
    ("L02", lambda: conv(z=u8(100))),
    ("L03", lambda: conv(z=u8(0))),
    ("L04", lambda: conv(q=node("QuantizeLinear", "x s", "q"), d=node("DequantizeLinear", "q s", "d"))),
    ("L05", lambda: conv(z=np.int16(0), opset=21)),
    ("L05", lambda: conv(z=np.uint16(0), opset=21)),
    ("L06", lambda: conv(wz=np.ones(2, np.int8))),
    ("L06", lambda: conv(wz=np.full(2, 100, np.int8))),
    ("L07", lambda: conv(w=(weights(2, 4, 1, 1).astype(np.int16) + 128).astype(u8), wz=np.full(2, 128, u8))),
    ("L07", lambda: conv(w=(weights(2, 4, 1, 1).astype(np.int16) + 180).astype(u8), wz=np.full(2, 90, u8))),
    ("L08", lambda: along_inputs("Conv")),
    ("L09", lambda: matrix(0)),
    ("L10", lambda: along_inputs("ConvTranspose")),
    ("L11", blocked),
    ("L11", lambda: blocked(product=True)),
    ("L12", lambda: conv(b=np.array([900, -700], np.int32), bs=scales(2) * np.float32(0.04), bd=node("DequantizeLinear", "b bs", "bd", axis=0), y=node("Conv", "d wd bd"))),
    ("L13", lambda: conv(**BIAS8, bd=node("DequantizeLinear", "b bs wz", "bd", axis=0), y=node("Conv", "d wd bd"))),
    ("L14", lambda: conv(s=FOUR, z=np.zeros(4, np.int8))),
    ("L15", lambda: conv(s=np.float32(0))),
    ("L15", lambda: conv(s=np.float32(-0.04))),
    ("L16", lambda: conv(s=np.float32(np.nan))),
    ("L17", lambda: conv(s=np.float32(1e-40))),
    ("L17", lambda: conv(s=np.float32(1e-40), ws=np.full(2, 0.1, np.float32), b=np.zeros(2, np.float32), closed=False)),
    ("L18", lambda: conv(ws=np.array([0.01, 0], np.float32))),
    ("L19", one_element_scale),
    ("L20", computed_scale),
    ("L20", lambda: chain(node("Abs", "x", "s2"), node("QuantizeLinear", "x s2 z", "q"), node("DequantizeLinear", "q s2 z"), constants={"z": np.int8(0)}, shape=())),
    ("L21", lambda: conv(t=np.float32(0.08), d=node("DequantizeLinear", "q t z", "d"))),
    ("L22", residual),
    ("L26", lambda: conv(y=node("Conv", "x wd b"))),
    ("L26", lambda: conv(w=weights(2, 4, 1, 1).astype(np.float32), wd=node("Sigmoid", "x", "unread"), y=node("Conv", "d w b"), closed=False)),
    ("L29", operator_format),
    ("L29", lambda: operator_format(product=True)),
    ("L30", dynamic),
    ("L31", lambda: _microsoft("Gelu")),
    ("L31", lambda: _microsoft("QuickGelu", alpha=1.702)),
    ("L31", lambda: _microsoft("FastGelu")),
    ("L31", lambda: _microsoft("BiasGelu", "x b", shape=(3, 4), constants={"b": np.ones(4, np.float32)})),
    ("L31", lambda: _microsoft("FusedMatMul", "x w", shape=(3, 4), constants={"w": weights(4, 4).astype(np.float32)}, alpha=0.5)),
    ("L31", lambda: _microsoft("FusedConv", "x w", constants={"w": weights(2, 4, 1, 1).astype(np.float32)}, activation="Relu")),
    ("L31", lambda: _microsoft("Inverse")),
    *(("L31", lambda op=op: _qlinear(op)) for op in ("QLinearAdd", "QLinearMul", "QLinearSigmoid", "QLinearLeakyRelu")),
    ("L32", lambda: single("Magic", domain="somebody.else")),
    ("L32", lambda: single("Scaler", domain="ai.onnx.ml", shape=(3, 4), offset=[0.0] * 4, scale=[2.0] * 4)),
    ("L33", lambda: edited(function)),
    ("L34", lambda: edited(sparse)),
    ("L35", doubles),
    ("L36", large_integers),
    ("L37", brain_floats),
    ("L38", lambda: chain(node("Transpose", "x", "t"), node("Cast", "t", to=FLOAT), kind=TensorProto.UINT8)),
    ("L39", lambda: chain(node("Sigmoid", "x", "p"), node("Mul", "p k", "m"), node("Clip", "m zero k", "m2"), node("Cast", "m2", "c", to=TensorProto.UINT8), node("Cast", "c", to=FLOAT), constants={"k": np.float32(200), "zero": np.float32(0)})),
    ("L40", lambda: chain(node("Mul", "x k", "m"), node("Cast", "m", to=TensorProto.UINT8), constants={"k": np.float32(200)}, out_kind=TensorProto.UINT8)),
    ("L41", lambda: resize(antialias=1)),
    ("L42", lambda: resize((6, 8), axes=[2, 3], keep_aspect_ratio_policy="not_larger")),
    ("L43", lambda: resize((1, 4, 11, 11), mode="cubic", exclude_outside=1)),
    ("L44", lambda: resize(coordinate_transformation_mode="half_pixel_symmetric", opset=19)),
    ("L44", cropped_resize),
    ("L46", lambda: average(ceil_mode=1, count_include_pad=1)),
    ("L47", lambda: single("AveragePool", kernel_shape=[2, 2], dilations=[2, 2], opset=19)),
    ("L47", lambda: single("MaxPool", kernel_shape=[2, 2], dilations=[1, 2])),
    ("L47", lambda: single("LpPool", kernel_shape=[2, 2], dilations=[2, 2], opset=18)),
    ("L48", lambda: chain(node("MaxPool", "x", "m i", kernel_shape=[2, 2]), node("Cast", "i", "f", to=FLOAT), node("Add", "m f"))),
    ("L49", lambda: single("Pad", "x p", constants={"p": WRAP}, mode="wrap", opset=19)),
    ("L51", lambda: chain(node("NonZero", "x", "i"), node("Cast", "i", to=FLOAT))),
    ("L51", lambda: single("Unique")),
    ("L51", lambda: chain(node("Max", "x low", "p"), node("Cast", "p", "u", to=TensorProto.UINT32), node("BitShift", "u one", "b", direction="LEFT"), node("Cast", "b", to=FLOAT), constants={"one": np.array([1], np.uint32), "low": np.array([0], np.int64)}, kind=I64)),
    ("L51", transform),
    ("L52", boxes),
    ("L53", lambda: chain(node("TopK", "x k", "y i"), constants={"k": np.array([4000], np.int64)}, shape=(1, 5000))),
    ("L54", lambda: scattered("add")),
    *(("L55", lambda op=op: single(op)) for op in ("RandomNormalLike", "RandomUniformLike")),
    *(("L55", lambda op=op: chain(node(op, "", "r", shape=[1, 4, 8, 8]), node("Add", "x r"))) for op in ("RandomNormal", "RandomUniform")),
    ("L55", lambda: chain(node("Sigmoid", "x", "p"), node("Bernoulli", "p"))),
    ("L55", lambda: chain(node("Multinomial", "x", "i", sample_size=8), node("Cast", "i", to=FLOAT), shape=(3, 4))),
    ("L55", lambda: dropout()),
    ("L57", reshaped_by_input),
    ("L59", lambda: edited(twice)),
    ("L60", lambda: edited(lambda m: m.graph.node.insert(1, node("Relu", "x", "q")))),
    ("L61", lambda: edited(lambda m: m.graph.input.append(helper.make_tensor_value_info("b", FLOAT, [2])))),
    ("L62", lambda: edited(not_a_number)),
    *(("L64", lambda kind=kind: narrow(kind)) for kind in (TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E5M2)),
    *(("L65", lambda kind=kind: narrow(kind)) for kind in (TensorProto.INT4, TensorProto.UINT4)),
    ("L65", four_bits),
    ("L66", lambda: single("Attention", "x x x", opset=23)),
    ("L67", lambda: chain(node("Cast", "x", to=FLOAT), kind=TensorProto.STRING)),
    ("L68", lambda: single("Relu", opset=25)),
    ("L68", lambda: single("Relu", opset=6)),
    ("L69", lambda: edited(lambda m: m.opset_import.append(helper.make_opsetid("ai.onnx", 17)))),
    ("L70", lambda: edited(external)),
    ("L75", lambda: edited(late)),
    ("L71", lambda: products(rows=1)),
    ("L71", lambda: products("Sigmoid", rows=15)),
    ("L73", lambda: conv(q2=node("QuantizeLinear", "d s z", "q2"), d2=node("DequantizeLinear", "q2 s z", "d2"), y=node("Conv", "d2 wd b"))),
    ("L76", integers),
    ("L77", free_resize),
    ("L78", behind_concat),
    ("L78", lambda: behind_concat("Relu")),
    ("L78", lambda: behind_concat("Add", "Relu")),
    ("L79", biased_product),
    ("L79", lambda: biased_product(23)),
    ("L80", quantized_number),
    ("L81", lambda: on_picture(1, u8(0))),
    ("L81", lambda: on_picture(1.02, u8(0))),
    ("L81", lambda: on_picture(1, None)),
    ("L81", lambda: on_picture(1, np.int8(-128))),
    ("L81", lambda: on_picture(1.02, np.int8(-128))),
    ("L81", lambda: on_picture(1, u8(3))),
    *(("L82", lambda op=op: rounded_up(op, 2, 2, 1, 9)) for op in ("MaxPool", "AveragePool", "LpPool")),
    *(("L82", lambda op=op: rounded_up(op, 2, 3, 1, "N")) for op in ("MaxPool", "AveragePool", "LpPool")),
    ("L82", lambda: rounded_up("MaxPool", 2, 3, 0, 9)),
    ("L82", lambda: rounded_up("AveragePool", 3, 3, 1, count_include_pad=1)),
    *(("L84", lambda op=op: rounded_up(op, 9, 2, 0)) for op in ("MaxPool", "AveragePool", "LpPool")),
    ("L83", lambda: rounded_up("LpPool", 3, 2, 0)),
    ("L83", lambda: rounded_up("LpPool", 3, 2, 0, "N")),
    ("L85", float_between),
    ("L85", lambda: float_between("Relu")),
    ("L85", lambda: float_between("MaxPool")),
    ("C11", lambda: conv(wd=node("DequantizeLinear", "w ws wz", "wd", axis=-4))),
]  # fmt: skip
