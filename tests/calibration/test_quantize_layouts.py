"""The two layouts of one int8 graph: equal values, and convolutions that really run in int8."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import openvino
import pytest
from broken_graphs import float_between
from calibration_nets import TAIL, any_net, mobile, optimised_ops, pdn, pictures, raw_pdn, relative, run
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, numpy_helper

from edge_sdk.calibration import Quantized, QuantizeOptions, quantize
from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.layout import assert_equal, for_onnxruntime
from edge_sdk.calibration.ops import loses_float_weights
from edge_sdk.errors import CheckFailed
from edge_sdk.runtimes.ov import core_of

INT8 = QuantizeOptions(variants=("int8",), keep_fp32=TAIL, threads=1)
A, B = "conv-relu-q", "conv-q-relu-q"


@pytest.fixture(scope="module", params=[raw_pdn, pdn, mobile], ids=["raw pdn", "pdn", "mobile"])
def net(request: pytest.FixtureRequest) -> ModelProto:
    return request.param()


@pytest.fixture(scope="module")
def quantized(net: ModelProto) -> Quantized:
    return quantize(net.SerializeToString(), pictures(4), options=INT8)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_any_net_gives_two_layouts_that_are_equal_bit_for_bit(seed: int) -> None:
    graph = any_net(seed).SerializeToString()
    options = QuantizeOptions(variants=("int8", "int8-w7"), threads=1, force=True)  # how near it is is not asked here
    made = quantize(graph, pictures(2, 20), options=options)
    fresh = [*pictures(2, 20, seed=99), {"image": np.full((1, 20, 20, 3), 255, np.uint8)}]
    for variant in ("int8", "int8-w7"):
        by_plan: dict[str, list[bytes]] = {}
        for one in made.variants:
            if one.variant == variant:
                by_plan.setdefault(one.plan, []).append(one.graph)
        for first, *others in by_plan.values():
            for feeds in fresh:
                for other in others:
                    assert_equal(run(first, feeds), run(other, feeds), where=variant)
        # a net that no runtime's fault costs anything has one plan, in both layouts, for whoever takes it
        if all(not one.runtimes for one in made.variants):
            assert [len(graphs) for graphs in by_plan.values()] == [2]


def test_a_layout_that_differs_in_one_bit_is_named(quantized: Quantized) -> None:
    model = onnx.load_from_string(quantized.get("int8", B).graph)
    bias = next(t for t in model.graph.initializer if t.name == model.graph.node[-6].input[-1] or t.data_type == 1)
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) * np.float32(1.5), bias.name))
    feeds = pictures(1)[0]
    left, right = run(quantized.get("int8", A).graph, feeds), run(model.SerializeToString(), feeds)
    with pytest.raises(CheckFailed, match="differ in output map"):
        assert_equal(left, right, where="it")


def test_onnxruntime_runs_every_convolution_in_int8(quantized: Quantized, tmp_path: Path) -> None:
    variant = quantized.get("int8", B)
    ops = optimised_ops(variant.graph, tmp_path)
    assert ops["QLinearConv"] == variant.int8_convolutions > 0
    assert ops["Conv"] + ops["FusedConv"] == len(quantized.report.left_float)


CONVOLUTIONS = [node.name for node in mobile().graph.node if node.op_type == "Conv"]


@pytest.mark.parametrize("kept", CONVOLUTIONS[1:])
def test_onnxruntime_leaves_a_convolution_in_float_that_stands_between_int8_ones(kept: str, tmp_path: Path) -> None:
    """It quantizes float weights by itself where it sees DQ before and Q behind them, one scale for all channels."""
    options = QuantizeOptions(variants=("int8-w7",), exclude=(kept,), keep_fp32=TAIL, threads=1)
    made = quantize(mobile().SerializeToString(), pictures(2), options=options)
    assert kept in made.report.left_float
    variant = made.get("int8-w7", B)
    ops = optimised_ops(variant.graph, tmp_path)
    assert ops["QLinearConv"] == variant.int8_convolutions > 0
    assert ops["Conv"] + ops["FusedConv"] == len(made.report.left_float)


@pytest.mark.parametrize("between", [(), ("Relu",), ("MaxPool",), ("Relu", "MaxPool")], ids=str)
def test_the_layout_keeps_float_what_relus_and_copies_part_from_its_q(between: tuple[str, ...]) -> None:
    made = for_onnxruntime(float_between(*between))
    index = Index.of(made)
    assert [node.name for node in made.graph.node if loses_float_weights(node, index)] == []
    feeds = {"x": np.random.default_rng(0).uniform(0.5, 2, (1, 4, 8, 8)).astype(np.float32)}
    graph = made.SerializeToString()
    np.testing.assert_array_equal(run(graph, feeds, optimised=True)["y"], run(graph, feeds)["y"])


def test_onnxruntime_would_run_the_canonical_layout_in_float(quantized: Quantized, tmp_path: Path) -> None:
    """The reason for the second layout; if this fails, a newer runtime has made it needless."""
    variant = quantized.get("int8", A)
    assert optimised_ops(variant.graph, tmp_path)["QLinearConv"] < variant.int8_convolutions


def test_openvino_runs_every_convolution_in_int8(quantized: Quantized) -> None:
    variant = quantized.get("int8", A)
    core = core_of(openvino)
    hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = core.compile_model(core.read_model(io.BytesIO(variant.graph)), "CPU", hints)
    kinds = Counter(
        str(op.get_rt_info()["runtimePrecision"].value)
        for op in compiled.get_runtime_model().get_ops()
        if op.get_rt_info()["layerType"].value == "Convolution"
    )
    assert kinds["i8"] + kinds["u8"] == variant.int8_convolutions
    assert sum(kinds.values()) == variant.int8_convolutions + len(quantized.report.left_float)


def test_runtimes_and_the_float_graph_agree_within_the_grid(net: ModelProto, quantized: Quantized) -> None:
    feeds = pictures(1, seed=7)[0]
    wanted = run(net.SerializeToString(), feeds)["map"]
    letter = run(quantized.get("int8", A).graph, feeds)["map"]
    assert relative(letter, wanted) < 0.06
    assert relative(run(quantized.get("int8", B).graph, feeds, optimised=True)["map"], letter) < 0.03


def test_means_of_pool_and_picture_do_not_fall_halfway_on_the_next_grid(quantized: Quantized) -> None:
    """Half-way values are where runtimes round differently: the ratio of scales at a pool is not simple."""
    model = onnx.load_from_string(quantized.get("int8", A).graph)
    scales = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    makers = {o: n for n in model.graph.node for o in n.output}
    readers = {n.input[0]: n for n in model.graph.node if n.op_type == "QuantizeLinear"}
    for pool in (n for n in model.graph.node if n.op_type == "AveragePool"):
        before = makers[pool.input[0]]
        if before.op_type != "DequantizeLinear":  # behind a float convolution there is no grid before the pool
            continue
        ratio = float(scales[before.input[1]] / scales[readers[pool.output[0]].input[1]])
        assert all(abs(ratio * n - round(ratio * n)) > 1e-3 for n in (1, 2, 4))
