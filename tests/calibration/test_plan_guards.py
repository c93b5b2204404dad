"""What the planner leaves float and why, which tensors share a scale, and what stays inside int8: a row for each rule.

Plans alone: no sample runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edge_sdk.calibration.insert import insert
from edge_sdk.calibration.lint.linter import lint
from edge_sdk.calibration.plan import QuantizationPlan, plan
from edge_sdk.calibration.report import left_float
from edge_sdk.calibration.rewrite.clean import tidy
from edge_sdk.calibration.statistics.observed_graph import Planned
from edge_sdk.runtimes import faults

Ends = dict[str, Sequence[int | str]]
F32 = np.float32


def graph(
    nodes: Sequence[Any], constants: dict[str, np.ndarray], inputs: Ends, outputs: Sequence[str], *, kind: int = 1
) -> ModelProto:
    made = helper.make_model(
        helper.make_graph(
            list(nodes), "g",
            [helper.make_tensor_value_info(name, kind, list(shape)) for name, shape in inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )  # fmt: skip
    made.ir_version = 8
    return tidy(made)


def node(op: str, inputs: str, output: str, **attributes: Any) -> Any:
    names = ["" if name == "_" else name for name in inputs.split()]
    return helper.make_node(op, names, output.split(), name=f"{op}_{output.split()[0]}", **attributes)


def ones(*shape: int, dtype: type = F32) -> np.ndarray:
    return np.ones(shape, dtype)


def matrix(op: str = "Gemm", inputs: str = "x w b", **more: Any) -> ModelProto:
    """One matrix operator of (16, 16) matrices; `more`: constants by name, the rest attributes."""
    constants = {"w": ones(16, 16), "b": ones(16)} | {k: v for k, v in more.items() if isinstance(v, np.ndarray)}
    attributes = {k: v for k, v in more.items() if not isinstance(v, np.ndarray)}
    return graph([node(op, inputs, "y", **attributes)], constants, {"x": [16, 16]}, ["y"])


def computed(what: str) -> ModelProto:
    """A Gemm whose weight or bias another node makes of an input."""
    nodes = [node("Relu", "u", "made"), node("Gemm", "x made b" if what == "weight" else "x w made", "y")]
    shape = [16, 16] if what == "weight" else [16]
    return graph(nodes, {"w": ones(16, 16), "b": ones(16)}, {"x": [16, 16], "u": shape}, ["y"])


INT8, FACTORS, NO_WEIGHT = "", "factors or a transposed input", "no constant float32 weight"


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (matrix(), INT8),
        (matrix(transB=1), INT8),
        (matrix(transA=1), FACTORS),
        (matrix(alpha=0.5), FACTORS),
        (matrix(beta=0.5), FACTORS),
        (matrix(alpha=1.0, beta=1.0, transA=0), INT8),
        (matrix(inputs="x w"), INT8),
        (matrix(inputs="x w _"), INT8),
        (matrix("MatMul", "x w"), INT8),
        (matrix("MatMul", "x w", w=ones(2, 16, 16)), "a weight that is no matrix"),
        (matrix("MatMul", "x w", w=ones(16)), "a weight that is no matrix"),
        (matrix("MatMul", "x x"), NO_WEIGHT),
        (matrix("MatMul", "w x"), NO_WEIGHT),
        (matrix("MatMul", "w v", v=ones(16, 16)), NO_WEIGHT),
        (matrix("MatMul", "x w", w=ones(16, 0)), NO_WEIGHT),
        (matrix("MatMul", "x w", w=ones(16, 4)), "fewer than 16 inputs or 8 outputs"),
        (computed("weight"), NO_WEIGHT),
        (computed("bias"), "a bias that the graph computes"),
    ],
    ids=[
        "plain", "transB", "transA", "alpha", "beta", "stated defaults", "no bias", "empty bias", "MatMul",
        "a matrix for each sample", "a vector", "of two activations", "stored on the left", "of two constants",
        "an empty weight", "few outputs", "a computed weight", "a computed bias",
    ],
)  # fmt: skip
@pytest.mark.parametrize("target", ["tensorrt", "openvino", "onnxruntime"])
def test_a_matrix_operator_is_int8_only_where_every_runtime_fuses_it_else_the_reason_is_said(
    model: ModelProto, why: str, target: str
) -> None:
    found = plan(model, (target,))
    assert len(found.operators) + len(found.left_float) == 1
    assert [text[: len(why)] for text in found.left_float.values()] == ([why] if why else [])


def pixels(*, padded: bool = False, normalized: bool = False) -> ModelProto:
    """A convolution of a picture of bytes."""
    nodes = [node("Cast", "x", "f", to=1), *([node("Mul", "f half", "n")] if normalized else [])]
    nodes.append(node("Conv", f"{'n' if normalized else 'f'} w", "y", pads=[int(padded)] * 4))
    constants = {"w": ones(4, 3, 3, 3), **({"half": F32(0.5)} if normalized else {})}
    return graph(nodes, constants, {"x": [1, 3, 8, 8]}, ["y"], kind=TensorProto.UINT8)


@pytest.mark.parametrize(
    ("model", "first_conv", "why"),
    [
        (pixels(), "auto", INT8), (pixels(), "float", "the first on a picture, asked for in float"),
        (pixels(padded=True), "auto", "pads the picture"), (pixels(padded=True), "int8", INT8),
        (pixels(normalized=True), "auto", "reads normalized pixels"), (pixels(normalized=True), "int8", INT8),
        (pixels(normalized=True, padded=True), "auto", "reads normalized pixels"),
    ],
)  # fmt: skip
def test_a_convolution_of_a_picture_says_why_it_stays_float(model: ModelProto, first_conv: Any, why: str) -> None:
    found = plan(model, ("tensorrt",), first_conv=first_conv)
    assert [text[: len(why)] for text in found.left_float.values()] == ([why] if why else [])


def test_what_the_caller_excludes_says_so() -> None:
    assert plan(matrix(), ("tensorrt",), float_nodes=("Gemm_y",)).left_float == {
        "Gemm_y": "excluded by name, or by the search for the accuracy bound"
    }


def test_a_reason_names_its_runtimes_where_another_one_has_the_operator_in_int8() -> None:
    model = graph([node("ConvTranspose", "x w", "y")], {"w": ones(4, 2, 1, 1)}, {"x": [1, 4, 8, 8]}, ["y"])
    both = [Planned(plan=plan(model, (one,)), contracts=(one,)) for one in ("tensorrt", "onnxruntime")]
    assert left_float(model, both) == {
        "ConvTranspose_y": "onnxruntime has no int8 ConvTranspose; for onnxruntime alone"
    }
    assert left_float(model, both[1:]) == {"ConvTranspose_y": "onnxruntime has no int8 ConvTranspose"}
    assert left_float(model, both[:1]) == {}
    assert left_float(model, []) == {}


def test_a_half_weight_stays_float() -> None:
    nodes = [node("MatMul", "x w", "h"), node("Cast", "h", "y", to=1)]
    assert not plan(graph(nodes, {"w": ones(4, 4, dtype=np.float16)}, {"x": [4, 4]}, ["y"], kind=10)).operators


def test_an_operator_without_an_int8_kernel_in_one_target_costs_that_target() -> None:
    model = graph([node("ConvTranspose", "x w", "y")], {"w": ones(4, 2, 1, 1)}, {"x": [1, 4, 8, 8]}, ["y"])
    assert [len(plan(model, (one,)).operators) for one in ("tensorrt", "openvino", "onnxruntime")] == [1, 1, 0]
    assert not plan(model, ("tensorrt", "onnxruntime")).operators


@pytest.mark.parametrize("unbounded", ["x", "c", "r"])
def test_an_operator_next_to_a_tensor_without_a_range_stays_float(unbounded: str) -> None:
    nodes = [node("Conv", "x w", "c"), node("Relu", "c", "r"), node("Conv", "r v", "y")]
    model = graph(nodes, {"w": ones(4, 4, 1, 1), "v": ones(2, 4, 1, 1)}, {"x": [1, 4, 8, 8]}, ["y"])
    found = plan(model, ("tensorrt",), unbounded=(unbounded,))
    assert unbounded not in found.points
    assert found.operators == {"x": ("Conv_y",), "c": ("Conv_c", "Conv_y"), "r": ()}[unbounded]


def stack(*middle: Any, first: str = "c", last: str, weight: int = 4, outputs: Sequence[str] = ()) -> QuantizationPlan:
    """x -> Conv -> c -> `middle` -> Conv -> y, for TensorRT."""
    nodes = [node("Conv", "x w", first), *middle, node("Conv", f"{last} v", "y")]
    constants = {
        "w": ones(4, 4, 1, 1), "v": ones(2, weight, 1, 1), "shape": np.array([1, 4, 4, 16]), "none": F32([0]),
        "first": np.array([0]), "half": ones(1, 4, 1, 1), "pads": np.array([0, 0, 1, 1] * 2), "one": F32(1),
        "scales": F32([1, 1, 2, 2]),
    }  # fmt: skip
    model = graph(nodes, constants, {"x": [1, 4, 8, 8]}, ["y", *outputs])
    return plan(model, ("tensorrt",))


COPIES: dict[str, tuple[Any, ...]] = {
    "MaxPool": (node("MaxPool", "c", "m", kernel_shape=[2, 2]),),
    "Reshape": (node("Reshape", "c shape", "m"),),
    "Transpose": (node("Transpose", "c", "m", perm=[0, 1, 3, 2]),),
    "Gather": (node("Gather", "c first", "m", axis=2),),
    "Pad": (node("Pad", "c pads", "m"),),
    "edge Pad": (node("Pad", "c pads", "m", mode="edge"),),
    "nearest": (node("Resize", "c _ scales", "m", mode="nearest"),),
}


@pytest.mark.parametrize("copy", COPIES)
def test_both_sides_of_a_copy_share_a_scale(copy: str) -> None:
    found = stack(*COPIES[copy], last="m")
    assert found.points["c"].group == found.points["m"].group
    assert found.points["x"].group != found.points["m"].group != found.points["y"].group


@pytest.mark.parametrize(
    "other",
    [
        node("AveragePool", "c", "m", kernel_shape=[2, 2]),
        node("Resize", "c _ scales", "m", mode="linear"),
        node("Pad", "c pads one", "m"),
        node("Softmax", "c", "m"),
    ],
    ids=["AveragePool", "linear", "padded with one", "Softmax"],
)
def test_both_sides_of_what_makes_new_values_have_scales_of_their_own(other: Any) -> None:
    found = stack(other, last="m")
    assert found.points["c"].group != found.points["m"].group


def test_all_inputs_of_a_concat_share_its_scale() -> None:
    nodes = [node("Conv", "x w", "c"), node("Conv", "c u", "d"), node("Concat", "c d", "m", axis=1)]
    constants = {"w": ones(4, 4, 1, 1), "u": ones(4, 4, 1, 1), "v": ones(2, 8, 1, 1)}
    model = graph([*nodes, node("Conv", "m v", "y")], constants, {"x": [1, 4, 8, 8]}, ["y"])
    groups = {name: point.group for name, point in plan(model, ("tensorrt",)).points.items()}
    assert groups["c"] == groups["d"] == groups["m"]
    assert len({groups[name] for name in "xmy"}) == 3


def test_an_average_between_two_scales_is_listed() -> None:
    assert stack(node("AveragePool", "c", "m", kernel_shape=[2, 2]), last="m").averages == {"m": "c"}
    assert stack(node("MaxPool", "c", "m", kernel_shape=[2, 2]), last="m").averages == {}


@pytest.mark.parametrize(
    ("middle", "roles"),
    [
        ((), {"c": "inner"}),
        ((node("Relu", "c", "m"),), {"m": "inner"}),
        ((node("MaxPool", "c", "m", kernel_shape=[2, 2]),), {"c": "inner", "m": "inner"}),
        ((node("AveragePool", "c", "m", kernel_shape=[2, 2]),), {"c": "inner", "m": "inner"}),
        ((node("Mul", "c half", "m"),), {"c": "tail", "m": "inner"}),
        ((node("Softmax", "c", "m"),), {"c": "tail", "m": "inner"}),
        ((node("Relu", "c", "m"), node("Softmax", "m", "s")), {"m": "tail"}),
        ((node("Sigmoid", "c", "g"), node("Mul", "c g", "m")), {"m": "inner"}),
        ((node("Add", "c x", "m"),), {"c": "inner", "m": "inner", "x": "inner"}),
    ],
    ids=["alone", "Relu", "MaxPool", "AveragePool", "Mul", "Softmax", "a second reader", "SiLU", "sum"],
)
def test_only_what_a_float_operator_reads_is_a_tail(middle: tuple[Any, ...], roles: dict[str, str]) -> None:
    """A tail's range is widened by the output margin; inside int8 that would only lose precision."""
    second = "Softmax" in [one.op_type for one in middle] and len(middle) == 2
    found = stack(*middle, last="m" if middle else "c", outputs=("s",) if second else ())
    assert {name: found.points[name].role for name in roles} == roles
    assert found.points["y"].role == "tail"


def test_an_output_of_the_graph_is_a_tail_whoever_else_reads_it() -> None:
    found = stack(node("Relu", "c", "m"), last="m", outputs=("m",))
    assert found.points["m"].role == "tail"


def pictured(*, pad: int = 0, scale: bool = False, op: str = "Conv", first_conv: Any = "auto") -> QuantizationPlan:
    nodes = [node("Cast", "x", "r", to=1), node("Transpose", "r", "t", perm=[0, 3, 1, 2])]
    nodes += [node("Mul", "t s", "n")] if scale else []
    more = {"pads": [pad] * 4}
    nodes.append(node(op, f"{'n' if scale else 't'} w", "y", **more))
    constants = {"w": ones(3, 3, 3, 3), "s": F32(0.01)}
    return plan(graph(nodes, constants, {"x": [1, 8, 8, 3]}, ["y"], kind=2), ("tensorrt",), first_conv=first_conv)


@pytest.mark.parametrize(
    ("how", "role"),
    [
        ({}, "exact-picture"),
        ({"pad": 1}, None),
        ({"scale": True}, None),
        ({"op": "ConvTranspose"}, None),
        ({"first_conv": "float"}, None),
        ({"pad": 1, "first_conv": "int8"}, "picture"),
        ({"scale": True, "first_conv": "int8"}, "picture"),
        ({"op": "ConvTranspose", "first_conv": "int8"}, "picture"),
        ({"first_conv": "int8"}, "exact-picture"),
    ],
)
def test_a_picture_enters_int8_where_that_is_exact_or_asked_for(how: dict[str, Any], role: str | None) -> None:
    found = pictured(**how)
    assert [point.role for name, point in found.points.items() if name in "tn"] == ([] if role is None else [role])
    assert len(found.operators) == (role is not None)


def test_a_picture_that_something_else_reads_too_is_not_moved_to_minus_128() -> None:
    nodes = [
        node("Cast", "x", "r", to=1), node("Transpose", "r", "t", perm=[0, 3, 1, 2]), node("Conv", "t w", "y"),
        node("Relu", "t", "z"),
    ]  # fmt: skip
    model = graph(nodes, {"w": ones(3, 3, 3, 3)}, {"x": [1, 8, 8, 3]}, ["y", "z"], kind=2)
    assert plan(model, ("tensorrt",)).points["t"].role == "picture"


def test_both_branches_of_a_residual_sum_get_a_scale_and_a_constant_one_does_not() -> None:
    both = stack(node("Add", "c x", "m"), last="m")
    assert {"c", "x", "m"} <= set(both.points)
    constant = stack(node("Add", "c half", "m"), last="m")
    assert {"c", "m"} <= set(constant.points)
    assert "half" not in constant.points


def test_a_sum_that_no_int8_operator_reaches_stays_float() -> None:
    nodes = [node("Abs", "x", "a"), node("Add", "a x", "m"), node("Conv", "m w", "y")]
    found = plan(graph(nodes, {"w": ones(4, 4, 1, 1)}, {"x": [1, 4, 8, 8]}, ["y"]), ("tensorrt",))
    assert set(found.points) == {"m", "y"}


def test_a_leaky_relu_does_not_change_places_with_q_for_onnxruntime() -> None:
    """It scales what it cuts: Q(leaky(x)) is not leaky(Q(x)). So Q stands behind the convolution too."""
    nodes = [node("Conv", "x w", "c"), node("LeakyRelu", "c", "m", alpha=0.1), node("Conv", "m v", "y")]
    model = graph(nodes, {"w": ones(4, 4, 1, 1), "v": ones(2, 4, 1, 1)}, {"x": [1, 4, 8, 8]}, ["y"])
    assert set(plan(model, ("onnxruntime",)).points) == {"x", "c", "m", "y"}
    assert set(plan(model, ("tensorrt",)).points) == {"x", "m", "y"}


def attention(*, reshaped: bool) -> ModelProto:
    """A product of two products, directly or beyond a Transpose; the first is read by an int8 product as well."""
    nodes = [node("MatMul", "x w", "a"), node("MatMul", "x v", "b"), node("MatMul", "a u", "z")]
    nodes += [node("Transpose", "b", "t", perm=[1, 0])] if reshaped else []
    nodes.append(node("MatMul", f"a {'t' if reshaped else 'b'}", "y"))
    constants = {name: ones(32, 32) for name in "uvw"}
    return graph(nodes, constants, {"x": [32, 32]}, ["y", "z"])


@pytest.mark.parametrize("target", ["openvino", "tensorrt", "onnxruntime"])
@pytest.mark.parametrize("reshaped", [True, False])
def test_a_product_of_two_activations_reads_what_products_answer_before_q(reshaped: bool, target: str) -> None:
    """It is float32 there at no cost; and the range behind Q need not hold what a float reader makes of it."""
    model = attention(reshaped=reshaped)
    found = plan(model, (target,))
    assert found.operators == ("MatMul_a", "MatMul_b", "MatMul_z")
    assert found.before_q == {"MatMul_y"}
    assert {name: one.role for name, one in found.points.items()} == {"x": "inner", "a": "inner"}
    made = insert(model, found, dict.fromkeys(found.points, F32(0.1)))
    product = next(one for one in made.graph.node if one.name == "MatMul_y")
    assert list(product.input) == ["a", "t" if reshaped else "b"]


@pytest.mark.parametrize(("target", "before_q"), [("openvino", {"MatMul_y"}), ("tensorrt", set())])
def test_a_product_of_two_convolutions_reads_what_was_before_q_in_openvino_alone(
    target: str, before_q: set[str]
) -> None:
    """With DQ on both sides OpenVINO computes it in int8, and saturates without VNNI whatever the weights are."""
    nodes = [*(node("Conv", f"x {name}", made) for name, made in (("w", "a"), ("v", "b"))), node("MatMul", "a b", "y")]
    model = graph(nodes, {name: ones(4, 4, 1, 1) for name in "wv"}, {"x": [1, 4, 32, 32]}, ["y"])
    found = plan(model, (target,))
    assert found.before_q == before_q
    assert {"a", "b"}.isdisjoint(found.points) == bool(before_q)


def test_what_is_read_before_q_keeps_its_own_value_where_q_has_the_name() -> None:
    """An output of the graph is what DQ makes; the float value has another name."""
    nodes = [node("MatMul", "x w", "a"), node("MatMul", "a a", "y"), node("MatMul", "a w", "z")]
    model = graph(nodes, {"w": ones(32, 32)}, {"x": [32, 32]}, ["a", "y", "z"])
    made = insert(model, plan(model, ("openvino",)), {"x": F32(0.1), "a": F32(0.1)})
    product = next(one for one in made.graph.node if one.name == "MatMul_y")
    first = next(one for one in made.graph.node if one.name == "MatMul_a")
    assert list(product.input) == [first.output[0]] * 2
    assert first.output[0] != "a"
    assert next(one for one in made.graph.node if "a" in one.output).op_type == "DequantizeLinear"


def written(**how: Any) -> dict[str, Any]:
    """Nodes by name of the int8 graph of a raw picture's convolution, without a bias."""
    nodes = [node("Cast", "x", "r", to=1), node("Transpose", "r", "t", perm=[0, 3, 1, 2]), node("Conv", "t w", "y")]
    model = graph(nodes, {"w": ones(2, 3, 3, 3)}, {"x": [1, 8, 8, 3]}, ["y"], kind=2)
    made = insert(model, plan(model, ("tensorrt",)), {"t": F32(1), "y": F32(1)}, **how)
    stored = {one.name: numpy_helper.to_array(one) for one in made.graph.initializer}
    return {one.name: (one, [stored.get(name) for name in one.input]) for one in made.graph.node}


def test_a_raw_picture_is_moved_and_its_bias_moves_back() -> None:
    nodes = written()
    np.testing.assert_allclose(nodes["Conv_y"][1][2], 128.0 * 27)
    (shift,) = (one for one, _ in nodes.values() if one.op_type == "Add")
    assert nodes[shift.name][1][1] == -128.0
    quantized = {one.input[0]: stored[1:] for one, stored in nodes.values() if one.op_type == "QuantizeLinear"}
    assert quantized.keys() == {shift.output[0], "y_float"}  # the convolution's output is not moved
    assert all(zero.dtype == np.int8 and not zero for _, zero in quantized.values())


def test_means_correct_a_bias_only_where_they_were_observed() -> None:
    real = (np.arange(8, dtype=F32) / 7).reshape(2, 4, 1, 1) ** 2
    model = graph([node("Conv", "x w", "y")], {"w": real}, {"x": [1, 4, 8, 8]}, ["y"])
    found, steps = plan(model, ("tensorrt",)), {"x": F32(1), "y": F32(1)}
    inputs = {}
    for name, means in (("none", {}), ("empty", {"x": np.zeros(0)}), ("seen", {"x": np.ones(4)})):
        made = insert(model, found, steps, means=means)
        inputs[name] = len(next(one for one in made.graph.node if one.name == "Conv_y").input)
    assert inputs == {"none": 2, "empty": 2, "seen": 3}


@pytest.mark.parametrize("bias", [(32,), (1, 32), ()])
def test_a_bias_of_any_shape_of_a_gemm_is_kept(bias: tuple[int, ...]) -> None:
    """Its negative is subtracted behind the product: a sum would make ONNX Runtime run the product in float."""
    stored = np.full(bias, 3.0, F32)
    model = graph([node("Gemm", "x w b", "y")], {"w": ones(16, 32), "b": stored}, {"x": [4, 16]}, ["y"])
    made = insert(model, plan(model, ("tensorrt",)), {"x": F32(1), "y": F32(1)}, means={"x": np.ones(16)})
    behind = next(one for one in made.graph.node if one.op_type == "Sub")
    kept = {one.name: numpy_helper.to_array(one) for one in made.graph.initializer}[behind.input[1]]
    np.testing.assert_allclose(np.broadcast_to(kept, (4, 32)), -3.0, atol=1e-6)


def behind_a_concat() -> ModelProto:
    nodes = [
        *(node("Conv", "x w", half) for half in "ab"), node("Concat", "a b", "c", axis=1), node("Conv", "c v", "y"),
    ]  # fmt: skip
    return graph(nodes, {"w": ones(2, 2, 1, 1), "v": ones(2, 4, 1, 1)}, {"x": [1, 2, 4, 4]}, ["y"])


def chain() -> ModelProto:
    nodes = [node("Gemm", "x w", "a"), node("Sigmoid", "a", "b"), node("Gemm", "b w", "y")]
    return graph(nodes, {"w": ones(16, 16)}, {"x": [4, 16]}, ["y"])


@pytest.mark.parametrize(
    ("model", "row", "rule"),
    [(behind_a_concat(), "openvino-int8-behind-concat", "L78"), (chain(), "openvino-int8-mlp-garbage", "L71")],
)
@pytest.mark.parametrize(
    ("installed", "fixed_in", "holds"),
    [("2026.4.1", None, True), ("2026.4.1", "2026.5", True), ("2026.5.0", "2026.5", False), ("2025.1", None, False),
     (None, "2026.5", True)],
)  # fmt: skip
def test_a_known_fault_costs_int8_in_the_versions_of_its_row_and_in_no_other(
    monkeypatch: pytest.MonkeyPatch, model: ModelProto, row: str, rule: str, installed: str | None,
    fixed_in: str | None, holds: bool,
) -> None:  # fmt: skip
    """installed: the version here, None = the runtime is not here."""

    def version(package: str) -> str:
        if installed is None:
            raise metadata.PackageNotFoundError(package)
        return installed

    monkeypatch.setattr(metadata, "version", version)
    rows = tuple(replace(one, fixed_in=fixed_in) if one.id == row else one for one in faults.FAULTS)
    monkeypatch.setattr(faults, "FAULTS", rows)
    every = len(plan(model, ("tensorrt",)).operators)
    assert len(plan(model, ("openvino",)).operators) == every - holds
    full = plan(model, ("tensorrt",))
    quantized = insert(model, full, dict.fromkeys(full.points, F32(0.1)))
    found = [one.rule for one in lint(quantized.SerializeToString(), ("openvino",))]
    assert (rule in found) == holds
