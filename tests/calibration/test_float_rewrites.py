"""Float graphs are rewritten before anything is planned: what stays, what goes, and that answers stay the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from edge_sdk.calibration import QuantizeOptions, graphs, quantize
from edge_sdk.calibration.rewrite import fold, hard_swish, transposes

Rewrite = Callable[[ModelProto], ModelProto]


class Net:
    """A float graph in the making, from one input x."""

    def __init__(self, shape: Sequence[int], *, opset: int = 17, seed: int = 0) -> None:
        self.rng, self.opset = np.random.default_rng(seed), opset
        self.shape, self.x = list(shape), "x"
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def constant(self, values: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(values), f"c{len(self.constants)}"))
        return self.constants[-1].name

    def draw(self, *shape: int) -> str:
        return self.constant(self.rng.uniform(0.5, 1.5, shape).astype(np.float32))

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name, **attributes))
        self.x = name
        return name

    def model(self, *outputs: str) -> ModelProto:
        ends = [helper.make_empty_tensor_value_info(name) for name in outputs or (self.x,)]
        entry = helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)
        graph = helper.make_graph(self.nodes, "g", [entry], ends, self.constants)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        return onnx.shape_inference.infer_shapes(made, strict_mode=True)


def operators(model: ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def answers(model: ModelProto, x: np.ndarray) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options).run(None, {"x": x})  # type: ignore[no-any-return]


def assert_same_answers(before: ModelProto, after: ModelProto) -> None:
    onnx.checker.check_model(after, full_check=True)
    shape = [d.dim_value for d in before.graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(9).normal(0, 2, shape).astype(np.float32)
    for wanted, got in zip(*(answers(one, x) for one in (before, after)), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=2e-5 * max(np.abs(wanted).max(), 1))


# ---- constant arithmetic

MATRICES = {
    "conv": ([1, 4, 6, 6], lambda net: net.add("Conv", net.x, net.draw(8, 4, 3, 3), net.draw(8), pads=[1] * 4), 8, 4),
    "without bias": ([1, 4, 6, 6], lambda net: net.add("Conv", net.x, net.draw(8, 4, 3, 3)), 8, 4),
    "depthwise": ([1, 4, 6, 6], lambda net: net.add("Conv", net.x, net.draw(4, 1, 3, 3), group=4), 4, 4),
    "grouped": ([1, 4, 6, 6], lambda net: net.add("Conv", net.x, net.draw(6, 2, 3, 3), group=2), 6, 4),
    "transposed": ([1, 4, 6, 6], lambda net: net.add("ConvTranspose", net.x, net.draw(4, 8, 2, 2), net.draw(8)), 8, 4),
    "transposed, grouped": (
        [1, 4, 6, 6], lambda net: net.add("ConvTranspose", net.x, net.draw(4, 3, 2, 2), group=2), 6, 4,
    ),
    "one axis": ([1, 4, 9], lambda net: net.add("Conv", net.x, net.draw(8, 4, 3)), 8, 3),
    "gemm": ([5, 4], lambda net: net.add("Gemm", net.x, net.draw(4, 8), net.draw(8)), 8, 2),
    "gemm, turned": ([5, 4], lambda net: net.add("Gemm", net.x, net.draw(8, 4), net.draw(8), transB=1), 8, 2),
    "product": ([1, 5, 4], lambda net: net.add("MatMul", net.x, net.draw(4, 8)), 8, 3),
}  # fmt: skip


def constant_of(net: Net, channels: int, rank: int, last: bool, kind: str) -> str:
    """One number, one without axes, or one for each channel of a tensor of that rank."""
    if kind == "scalar":
        return net.constant(np.float32(net.rng.uniform(0.5, 1.5)))
    if kind == "one":
        return net.draw(1)
    return net.draw(channels) if last else net.draw(*(channels if axis == 1 else 1 for axis in range(rank)))


@settings(max_examples=120, deadline=None)
@given(
    kind=st.sampled_from(sorted(MATRICES)), seed=st.integers(0, 99),
    steps=st.lists(
        st.tuples(
            st.sampled_from(["Add", "Sub", "Mul", "Div"]), st.booleans(), st.sampled_from(["scalar", "one", "channel"])
        ),
        min_size=1, max_size=4,
    ),
)  # fmt: skip
def test_arithmetic_behind_a_convolution_or_product_answers_the_same_folded(
    kind: str, seed: int, steps: list[tuple[str, bool, str]]
) -> None:
    shape, matrix, channels, rank = MATRICES[kind]
    net = Net(shape, seed=seed)
    matrix(net)
    last = kind.startswith(("gemm", "product"))
    for op, first, sort in steps:
        other = constant_of(net, channels, rank, last, sort)
        net.add(op, *((net.x, other) if first or op == "Div" else (other, net.x)))
    before = net.model()
    after = fold.folded(before)
    assert_same_answers(before, after)
    if kind != "product":  # MatMul has no bias to hold a sum
        assert set(operators(after)) == {before.graph.node[0].op_type}
        assert after.graph.node[0].name == before.graph.node[0].name
        assert [o.name for o in after.graph.output] == [o.name for o in before.graph.output]


@pytest.mark.parametrize("kind", [kind for kind in MATRICES if kind != "product"])
def test_a_norm_is_folded_however_its_constants_were_stored(kind: str) -> None:
    shape, matrix, channels, _ = MATRICES[kind]
    net = Net(shape)
    matrix(net)
    net.add("BatchNormalization", net.x, *(net.draw(channels) for _ in range(4)), epsilon=1e-3)
    before = net.model()
    after = fold.folded(before)
    assert operators(after)["BatchNormalization"] == 0
    assert_same_answers(before, after)


def test_what_another_reader_needs_stays() -> None:
    net = Net([1, 4, 6, 6])
    conv = net.add("Conv", "x", net.draw(8, 4, 3, 3))
    net.add("Mul", conv, net.draw(1))
    before = net.model(conv, net.x)
    after = fold.folded(before)
    assert operators(after) == operators(before)
    assert_same_answers(before, after)


@pytest.mark.parametrize("values", [(1, 1, 4, 4), (1, 8, 4, 4), (2, 8, 1, 1), (1, 1, 1, 1, 1)])
def test_a_constant_that_differs_within_a_channel_or_adds_an_axis_stays(values: tuple[int, ...]) -> None:
    net = Net([1, 4, 6, 6])
    net.add("Conv", "x", net.draw(8, 4, 3, 3))
    net.add("Mul", net.x, net.draw(*values))
    before = net.model()
    after = fold.folded(before)
    assert operators(after)["Mul"] == 1
    assert_same_answers(before, after)


def test_a_constant_divided_by_the_result_stays() -> None:
    net = Net([1, 4, 6, 6])
    net.add("Conv", "x", net.draw(8, 4, 3, 3))
    net.add("Div", net.draw(1), net.x)
    assert operators(fold.folded(net.model()))["Div"] == 1


def test_a_division_by_zero_and_a_weight_beyond_float32_stay() -> None:
    for factor, op in ((0.0, "Div"), (3e38, "Mul")):
        net = Net([1, 4, 6, 6])
        net.add("Conv", "x", net.constant(np.full((8, 4, 3, 3), 9, np.float32)))
        net.add(op, net.x, net.constant(np.float32(factor)))
        assert operators(fold.folded(net.model()))[op] == 1


@pytest.mark.parametrize("pads", [0, 1])
@pytest.mark.parametrize("group", [1, 4])
def test_a_shift_before_a_convolution_is_folded_where_nothing_is_padded_a_gain_everywhere(
    pads: int, group: int
) -> None:
    """Zeros are put around what the shift made, not around what it read."""
    net = Net([1, 4, 6, 6])
    net.add("Relu", "x")
    net.add("Add", net.x, net.draw(1, 4, 1, 1))
    net.add("Mul", net.x, net.draw(1, 4, 1, 1))
    net.add("Conv", net.x, net.draw(4, 4 // group, 3, 3), net.draw(4), pads=[pads] * 4, group=group)
    before = net.model()
    after = fold.folded(before)
    assert operators(after) == Counter({"Relu": 1, "Conv": 1, **({"Add": 1} if pads else {})})
    assert_same_answers(before, after)


def test_arithmetic_between_two_convolutions_is_folded_once() -> None:
    net = Net([1, 4, 6, 6])
    for _ in range(3):
        net.add("Conv", net.x, net.draw(4, 4, 1, 1))
        net.add("Mul", net.draw(1), net.x)
        net.add("Add", net.x, net.draw(4, 1, 1))
    before = net.model()
    after = fold.folded(before)
    assert operators(after) == Counter({"Conv": 3})
    assert_same_answers(before, after)


def test_a_constant_that_makes_the_channels_stays() -> None:
    grey = Net((1, 1, 8, 8))
    one = grey.add("Mul", grey.add("Relu", "x"), grey.draw(1, 3, 1, 1))
    made = grey.model(grey.add("Conv", one, grey.draw(8, 3, 3, 3)))
    row = Net((4, 1))
    many = row.add("Mul", row.add("Relu", "x"), row.draw(1, 16))
    product = row.model(row.add("Gemm", many, row.draw(16, 8)))
    for model, shape in ((made, (1, 1, 8, 8)), (product, (4, 1))):
        x = np.ones(shape, np.float32)
        for before, after in zip(answers(model, x), answers(fold.folded(model), x), strict=True):
            np.testing.assert_allclose(before, after, rtol=1e-5)


def test_what_a_branch_reads_before_a_convolution_stays() -> None:
    net = Net([1, 4, 6, 6])
    shifted = net.add("Add", net.add("Relu", "x"), net.draw(1, 4, 1, 1))
    conv = net.add("Conv", shifted, net.draw(4, 4, 1, 1), net.draw(4))
    branches = [
        helper.make_graph([helper.make_node(op, [shifted], [op])], op, [], [helper.make_tensor_value_info(op, 1, None)])
        for op in ("Neg", "Abs")
    ]
    chosen = net.add("If", net.constant(np.array(True)), then_branch=branches[0], else_branch=branches[1])
    before = net.model(conv, chosen)
    after = fold.folded(before)
    assert operators(after) == operators(before)
    assert_same_answers(before, after)


def test_a_norm_that_is_training_stays() -> None:
    """It takes mean and variance of the batch, and not those that are stored."""
    net = Net([2, 4, 6, 6])
    net.add("Conv", net.x, net.draw(8, 4, 3, 3), net.draw(8))
    net.add("BatchNormalization", net.x, *(net.draw(8) for _ in range(4)))
    before = net.model()
    before.graph.node[1].attribute.append(helper.make_attribute("training_mode", 1))
    assert operators(fold.folded(before)) == operators(before)


def test_what_prepares_the_picture_stays() -> None:
    """Its range is that of 0 and 255, which planning finds by looking at this arithmetic."""
    net = Net([1, 4, 6, 6])
    net.add("Mul", "x", net.draw(1))
    net.add("Conv", net.x, net.draw(8, 4, 3, 3))
    assert operators(fold.folded(net.model()))["Mul"] == 1


# ---- hard swish


def written_out(net: Net, x: str, form: str) -> str:
    three, low, high, six = (net.constant(np.float32(value)) for value in (3, 0, 6, 6))
    clip = net.add("Clip", net.add("Add", x, three), low, high)
    sixth = net.constant(np.array([1 / 6], np.float32))
    return {
        "x * c / 6": lambda: net.add("Div", net.add("Mul", x, clip), six),
        "c * x * (1 / 6)": lambda: net.add("Mul", sixth, net.add("Mul", clip, x)),
        "c / 6": lambda: net.add("Div", clip, six),
        "x * (c / 6)": lambda: net.add("Mul", x, net.add("Div", clip, six)),
    }[form]()


@pytest.mark.parametrize("opset", [13, 17])
@pytest.mark.parametrize(("form", "new", "old"), [
    ("x * c / 6", {"HardSwish": 1}, {"HardSigmoid": 1, "Mul": 1}),
    ("c * x * (1 / 6)", {"HardSwish": 1}, {"HardSigmoid": 1, "Mul": 1}),
    ("c / 6", {"HardSigmoid": 1}, {"HardSigmoid": 1}),
    ("x * (c / 6)", {"HardSigmoid": 1, "Mul": 1}, {"HardSigmoid": 1, "Mul": 1}),
])  # fmt: skip
def test_a_written_out_hard_swish_is_one_operator_or_a_gate(
    form: str, new: dict[str, int], old: dict[str, int], opset: int
) -> None:
    net = Net([1, 4, 5, 5], opset=opset)
    written_out(net, net.add("Neg", "x"), form)
    before = net.model()
    after = hard_swish.joined(before)
    assert operators(after) == Counter({"Neg": 1, **(new if opset >= 14 else old)})
    assert_same_answers(before, after)


def test_twenty_of_them_in_a_row_are_found_and_a_clip_of_another_kind_is_not() -> None:
    net = Net([1, 4, 5, 5])
    for _ in range(20):
        written_out(net, net.x, "x * c / 6")
    net.add("Clip", net.x, net.constant(np.float32(0)), net.constant(np.float32(6)))
    before = net.model()
    after = hard_swish.joined(before)
    assert operators(after) == Counter({"HardSwish": 20, "Clip": 1})
    assert_same_answers(before, after)


def test_what_somebody_else_reads_of_the_chain_stays() -> None:
    net = Net([1, 4, 5, 5])
    written_out(net, "x", "x * c / 6")
    inner = next(node.output[0] for node in net.nodes if node.op_type == "Clip")
    assert operators(hard_swish.joined(net.model(net.x, inner)))["Clip"] == 1


@pytest.mark.parametrize("op", ["Clip", "Add", "Mul", "Div"])
def test_an_operator_of_that_name_in_another_domain_is_no_part_of_the_chain(op: str) -> None:
    net = Net([1, 4, 5, 5])
    written_out(net, "x", "x * c / 6")
    before = net.model()
    next(node for node in before.graph.node if node.op_type == op).domain = "vendor"
    assert hard_swish.joined(before) is before


def test_a_sum_that_somebody_else_reads_stays_in_front_of_the_clip() -> None:
    net = Net([1, 4, 5, 5])
    end = written_out(net, net.add("Neg", "x"), "x * c / 6")
    (total,) = (node.output[0] for node in net.nodes if node.op_type == "Add")
    before = net.model(end, net.add("Relu", total))
    after = hard_swish.joined(before)
    assert operators(after) == operators(before)
    assert_same_answers(before, after)


# ---- transposes

NHWC, NCHW = [0, 2, 3, 1], [0, 3, 1, 2]


def keras_block(net: Net) -> None:
    """Convolution in NCHW, all else in NHWC, a residual sum."""
    start = net.x
    net.add("Transpose", start, perm=NCHW)
    net.add("Conv", net.x, net.draw(4, 4, 3, 3), pads=[1] * 4)
    net.add("Transpose", net.x, perm=NHWC)
    net.add("Sub", net.x, net.draw(1, 1, 1, 4))
    net.add("Mul", net.draw(4), net.x)
    net.add("Relu", net.x)
    net.add("Add", start, net.x)
    net.add("Clip", net.x, "", net.constant(np.float32(5)))


def test_a_network_in_nhwc_is_computed_in_nchw_between_its_ends() -> None:
    net = Net([1, 5, 6, 4])
    net.add("Transpose", "x", perm=NCHW)
    net.add("Conv", net.x, net.draw(4, 4, 1, 1))
    net.add("Transpose", net.x, perm=NHWC)
    for _ in range(4):
        keras_block(net)
    net.add("Pad", net.x, net.constant(np.array([0, 1, 2, 0, 0, 0, 1, 0])))
    net.add("ReduceMean", net.x, axes=[1, 2], keepdims=0)
    before = net.model()
    assert operators(before)["Transpose"] == 10
    after = transposes.moved(before)
    assert operators(after)["Transpose"] == 1
    assert_same_answers(before, after)
    folded = fold.folded(after)
    assert operators(folded) == Counter(
        {"Conv": 5, "Relu": 4, "Add": 4, "Clip": 4, "Transpose": 1, "Pad": 1, "ReduceMean": 1}
    )
    assert_same_answers(before, folded)


def test_a_gate_in_nhwc_and_its_mean_move_too() -> None:
    net = Net([1, 4, 5, 6], opset=18)
    conv = net.add("Conv", "x", net.draw(4, 4, 1, 1))
    turned = net.add("Transpose", conv, perm=NHWC)
    gate = net.add("Sigmoid", net.add("ReduceMean", turned, net.constant(np.array([1, -2])), keepdims=1))
    net.add("Mul", turned, gate)
    net.add("Transpose", net.x, perm=NCHW)
    before = net.model()
    after = transposes.moved(before)
    assert operators(after) == Counter({"Conv": 1, "ReduceMean": 1, "Sigmoid": 1, "Mul": 1, "Identity": 1})
    assert_same_answers(before, after)


@settings(max_examples=60, deadline=None)
@given(perms=st.lists(st.permutations(range(4)), min_size=2, max_size=5), seed=st.integers(0, 9))
def test_any_row_of_transposes_and_steps_between_them_answers_the_same_with_no_more_of_them(
    perms: list[list[int]], seed: int
) -> None:
    net = Net([2, 3, 4, 5], seed=seed)
    sizes = [2, 3, 4, 5]
    for perm in perms:
        net.add("Transpose", net.x, perm=perm)
        sizes = [sizes[axis] for axis in perm]
        net.add("Add", net.x, net.draw(*(size if net.rng.random() < 0.5 else 1 for size in sizes)))
        net.add("Relu", net.x)
    before = net.model()
    after = transposes.moved(before)
    assert operators(after)["Transpose"] <= operators(before)["Transpose"]
    assert_same_answers(before, after)


@pytest.mark.parametrize("keep", ["output", "softmax", "other turn"])
def test_a_transpose_stays_where_something_needs_it(keep: str) -> None:
    net = Net([1, 4, 5, 6])
    turned = net.add("Transpose", "x", perm=NHWC)
    relu = net.add("Relu", turned)
    if keep == "softmax":
        net.add("Softmax", net.x)
    if keep == "other turn":
        net.add("Transpose", net.x, perm=[0, 2, 1, 3])
    else:
        net.add("Transpose", net.x, perm=NCHW)
    before = net.model(net.x, *([relu] if keep == "output" else []))
    after = transposes.moved(before)
    assert operators(after)["Transpose"] >= 1
    assert_same_answers(before, after)


def test_one_transpose_is_left_alone() -> None:
    net = Net([1, 4, 5, 6])
    net.add("Transpose", "x", perm=NHWC)
    before = net.model()
    assert transposes.moved(before) is before
    assert graphs.dump(hard_swish.joined(before)) == graphs.dump(before)


# ---- what planning makes of it


def test_arithmetic_behind_an_activation_is_rounded_once_and_openvino_runs_the_convolution_in_int8() -> None:
    """PP-OCR's blocks: a padded convolution takes no shift of its input, so that Mul and Add stay before it."""
    net = Net([1, 4, 12, 12])
    net.add("Relu", "x")
    for _ in range(3):
        net.add("Conv", net.x, net.constant(net.rng.normal(0, 0.3, (4, 4, 3, 3)).astype(np.float32)), pads=[1] * 4)
        net.add("Add", net.add("Mul", net.draw(1), net.add("HardSwish", net.x)), net.draw(1))
    net.add("GlobalAveragePool", net.x)
    samples = [{"x": np.random.default_rng(k).normal(size=(1, 4, 12, 12)).astype(np.float32)} for k in range(4)]
    made = quantize(net.model().SerializeToString(), samples, options=QuantizeOptions(variants=("int8-w7",)))
    variant = made.get("int8-w7", runtime="openvino")
    behind = Counter(
        node.op_type for node in graphs.parsed(variant.graph).graph.node if node.op_type == "QuantizeLinear"
    )
    assert behind["QuantizeLinear"] == 4  # before the first convolution, and behind each block
    assert (variant.int8_planned, variant.int8_convolutions) == (3, 3)
