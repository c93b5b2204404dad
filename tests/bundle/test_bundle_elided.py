"""Weights are found in the bytes of a graph as the onnx package sees them, cut out, and put back."""

from __future__ import annotations

import contextlib

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from tiny_bundle import onnx_graph, onnx_model, two_layouts, weights

from edge_sdk.bundle.elided import MIN_BYTES, cut, fill
from edge_sdk.errors import BadInput
from edge_sdk.runtimes.onnx_file import read_standard

SIZES = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 600)), min_size=1, max_size=6)


@given(sizes=SIZES)
@settings(max_examples=30, deadline=None)
def test_the_weights_found_are_those_that_onnx_reads(sizes: list[tuple[int, int]]) -> None:
    graph = onnx_graph("g", [weights(seed, count) for seed, count in sizes])
    found = [graph[part.offset : part.end] for part in read_standard(graph, name="g").weights]
    assert found == [tensor.raw_data for tensor in onnx.load_from_string(graph).graph.initializer]


@given(first=SIZES, second=SIZES)
@settings(max_examples=30, deadline=None)
def test_cut_and_filled_graphs_are_the_same_bytes(first: list[tuple[int, int]], second: list[tuple[int, int]]) -> None:
    graphs = {
        name: onnx_graph(name, [weights(seed, count) for seed, count in sizes])
        for name, sizes in {"a": first, "b": second}.items()
    }
    stored, members = cut(graphs)
    for name, graph in graphs.items():
        whole = fill(memoryview(stored[name].data), stored[name].elided, lambda member: memoryview(members[member]))
        assert whole == graph
        assert sum(part.length for part in stored[name].elided) == len(graph) - len(stored[name].data)
    assert all(len(data) >= MIN_BYTES for data in members.values())


def test_small_weights_and_weights_of_one_graph_stay_inside() -> None:
    stored, members = cut(two_layouts())
    assert len(members) == 2
    assert weights(2).tobytes() in stored["int8.a"].data
    assert weights(9, 1).tobytes() in stored["int8.a"].data
    assert weights(0).tobytes() not in stored["int8.a"].data


def test_the_same_weights_twice_in_one_graph_are_stored_once() -> None:
    graph = onnx_graph("g", [weights(0), weights(0)])
    stored, members = cut({"g": graph})
    assert len(members) == 1
    assert len(stored["g"].elided) == 2
    assert len(stored["g"].data) < len(graph) - 2 * 2048 + 1


def test_weights_in_typed_fields_or_in_constants_stay_inside() -> None:
    model = onnx_model("g", [weights(0)])
    model.graph.initializer.append(helper.make_tensor("typed", TensorProto.FLOAT, [600], np.ones(600, np.float32)))
    model.graph.node.add(op_type="Constant", output=["c"]).attribute.add(name="value", type=4).t.CopyFrom(
        numpy_helper.from_array(weights(1), "c")
    )
    graph = model.SerializeToString()
    assert [part.length for part in read_standard(graph, name="g").weights] == [2048]


def test_a_graph_inside_a_graph_is_searched_for_weights_in_other_files() -> None:
    inner = onnx_model("inner", [weights(0)]).graph
    tensor = inner.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    model = onnx_model("outer", [weights(1)])
    model.graph.node.add(op_type="If", input=["x"], output=["z"]).attribute.add(name="then_branch", type=5).g.CopyFrom(
        inner
    )
    with pytest.raises(BadInput, match="the graph outer keeps weights in another file"):
        read_standard(model.SerializeToString(), name="outer")


def test_operators_of_the_models_own_functions_are_standard() -> None:
    model = onnx_model("g", [weights(0)], domain="mine")
    with pytest.raises(BadInput, match="operators of the domain 'mine'"):
        read_standard(model.SerializeToString(), name="g")
    function = helper.make_function(
        "mine", "Add", ["a", "b"], ["c"], [helper.make_node("Sub", ["a", "b"], ["c"])], [helper.make_opsetid("", 17)]
    )
    model.functions.append(function)
    assert read_standard(model.SerializeToString(), name="g").node_count == 3


@given(noise=st.binary(max_size=200), at=st.integers(0, 2000))
@settings(max_examples=200, deadline=None)
def test_damaged_graphs_end_in_an_answer_or_in_our_error(noise: bytes, at: int) -> None:
    graph = onnx_graph("g", [weights(0, 300)])
    damaged = graph[: at % len(graph)] + noise + graph[at % len(graph) + len(noise) :]
    with contextlib.suppress(BadInput):
        assert all(part.end <= len(damaged) for part in read_standard(damaged, name="g").weights)
