"""How many windows a pool has: by torch, ONNX Runtime, our inference, and by the mend of row L46, which keeps it."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, helper
from rule_claims import standard

from edge_sdk.calibration import pool_sizes
from edge_sdk.calibration.graphs import with_types
from edge_sdk.calibration.lint.mend import mend
from edge_sdk.tensors import Array


def pool(op: str, sizes: tuple[int, int], *, after: int = 0, stated: bool = False, **attributes: object) -> ModelProto:
    """Pools of one kind in a row: 1 + after. stated: shapes as onnx's inference has them are in the file."""
    names = ["x", *(f"t{number}" for number in range(after)), "y"]
    nodes = [helper.make_node(op, [one], [other], name=other, **attributes) for one, other in itertools.pairwise(names)]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", 1, [1, 2, *sizes])],
        [helper.make_tensor_value_info("y", 1, None)],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    return onnx.shape_inference.infer_shapes(model) if stated else model


def fed(model: ModelProto, seed: int = 0) -> dict[str, Array]:
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    return {"x": np.random.default_rng(seed).normal(size=shape).astype(np.float32)}


def shape_of(model: ModelProto) -> tuple[int, ...]:
    return tuple(d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim)


SIDES = st.integers(5, 14)
AXIS = st.tuples(st.integers(2, 4), st.integers(1, 4), st.integers(0, 1), st.integers(0, 1))
"""Kernel, stride, pads."""


@settings(max_examples=80, deadline=None)
@given(
    op=st.sampled_from(["AveragePool", "MaxPool", "LpPool"]), sizes=st.tuples(SIDES, SIDES), one=AXIS, other=AXIS,
    after=st.integers(0, 1), stated=st.booleans(), dilation=st.integers(1, 2),
)  # fmt: skip
def test_inference_says_what_the_runtime_answers(
    op: str, sizes: tuple[int, int], one: tuple[int, ...], other: tuple[int, ...], after: int, stated: bool,
    dilation: int,
) -> None:  # fmt: skip
    """Of pools behind pools, too, and where the file states what onnx's inference says."""
    kernel, stride, before, behind = zip(one, other, strict=True)
    model = pool(
        op, sizes, after=after, stated=stated, kernel_shape=kernel, strides=stride, pads=[*before, *behind],
        dilations=[dilation] * 2, ceil_mode=1,
    )  # fmt: skip
    answered = standard(model, fed(model))
    if answered is not None and answered[0].size:
        assert shape_of(with_types(model)) == answered[0].shape


@settings(max_examples=80, deadline=None)
@given(sizes=st.tuples(SIDES, SIDES), one=AXIS, other=AXIS, stated=st.booleans())
def test_the_border_of_an_average_is_written_out_without_another_window(
    sizes: tuple[int, int], one: tuple[int, ...], other: tuple[int, ...], stated: bool
) -> None:
    kernel, stride, before, behind = zip(one, other, strict=True)
    model = pool(
        "AveragePool", sizes, stated=stated, kernel_shape=kernel, strides=stride, pads=[*before, *behind], ceil_mode=1,
        count_include_pad=1,
    )  # fmt: skip
    made, done = mend(model)
    assert made.SerializeToString() != model.SerializeToString() or not done
    wanted, got = (standard(each, fed(model)) for each in (model, made))
    assert wanted is not None
    assert got is not None
    assert got[0].shape == wanted[0].shape
    assert np.allclose(got[0], wanted[0], atol=1e-5)


@pytest.mark.parametrize("count", [0, 1], ids=["without the border", "with the border"])
@pytest.mark.parametrize(("kernel", "stride", "pad"), [(2, 2, 1), (3, 2, 1), (2, 3, 1), (3, 3, 1), (2, 3, 0)])
@pytest.mark.parametrize("side", range(6, 12))
def test_torch_counts_alike_and_openvino_answers_the_mended_graph_as_torch_does(
    side: int, kernel: int, stride: int, pad: int, count: int
) -> None:
    torch, ov = pytest.importorskip("torch"), pytest.importorskip("openvino")
    layer = torch.nn.AvgPool2d(kernel, stride, pad, ceil_mode=True, count_include_pad=bool(count))
    model = pool(
        "AveragePool", (side, side), kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4, ceil_mode=1,
        count_include_pad=count,
    )  # fmt: skip
    feeds = fed(model)
    wanted = layer(torch.from_numpy(feeds["x"])).numpy()
    assert pool_sizes.windows(side, kernel, stride=stride, pads=(pad, pad), up=True) == wanted.shape[-1]
    made, done = mend(model, ("openvino",))
    assert [one.rule for one in done] == ["L46"] * count
    core = ov.Core()
    got = core.compile_model(core.read_model(made.SerializeToString()), "CPU")(feeds)[0]
    assert got.shape == wanted.shape
    assert np.allclose(got, wanted, atol=1e-5)
