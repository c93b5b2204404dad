"""Facts read from ONNX bytes without the onnx package, held against the onnx package."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from runtime_graphs import detector, mlp, weighted_sum

from edge_sdk.errors import BadInput
from edge_sdk.runtimes.onnx_read import INT8, int8_weights_beyond_64, read_facts


@pytest.mark.parametrize("graph", [detector(), detector("conv-relu-q"), detector(half=True), mlp(), weighted_sum()])
def test_facts_are_those_that_the_onnx_package_reads(graph: bytes) -> None:
    facts, model = read_facts(graph, where="tiny"), onnx.load_from_string(graph)
    assert [(n.op, n.inputs, n.outputs) for n in facts.nodes] == [
        (n.op_type, tuple(n.input), tuple(n.output)) for n in model.graph.node
    ]
    for tensor in model.graph.initializer:
        mine = facts.initializers[tensor.name]
        assert (mine.dtype, mine.rank) == (tensor.data_type, len(tensor.dims))
        assert bytes(mine.raw) == numpy_helper.to_array(tensor).tobytes()
    assert [spec.name for spec in facts.inputs] == [value.name for value in model.graph.input]
    assert [spec.name for spec in facts.outputs] == [value.name for value in model.graph.output]


@given(st.lists(st.integers(-128, 127), min_size=1, max_size=20))
def test_int8_weights_are_read_however_they_are_stored(values: list[int]) -> None:
    array = np.array([values], np.int8)
    typed = helper.make_tensor("w", TensorProto.INT8, array.shape, values)
    raw = numpy_helper.from_array(array, "w")
    for tensor in (typed, raw):
        graph = helper.make_graph(
            [helper.make_node("Identity", ["x"], ["y"])], "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
            [tensor],
        )  # fmt: skip
        facts = read_facts(helper.make_model(graph).SerializeToString(), where="tiny")
        assert facts.initializers["w"].dtype == INT8
        assert np.frombuffer(facts.initializers["w"].raw, np.int8).tolist() == values
        assert int8_weights_beyond_64(facts) == (min(values) < -64 or max(values) > 64)


def test_weights_that_an_old_file_lists_among_its_inputs_are_no_inputs() -> None:
    model = onnx.load_from_string(weighted_sum())
    wanted = [value.name for value in model.graph.input]
    tensor = numpy_helper.from_array(np.ones((2, 2), np.float32), "old_weight")
    model.graph.initializer.append(tensor)
    model.graph.input.append(helper.make_tensor_value_info("old_weight", TensorProto.FLOAT, [2, 2]))
    assert [spec.name for spec in read_facts(model.SerializeToString(), where="old").inputs] == wanted


def test_weights_within_64_are_told_from_wider_ones() -> None:
    assert int8_weights_beyond_64(read_facts(detector("conv-relu-q"), where="tiny"))
    assert not int8_weights_beyond_64(read_facts(detector("conv-relu-q", limit=64), where="tiny"))
    assert not int8_weights_beyond_64(read_facts(detector(), where="tiny"))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_by_our_own_error(content: bytes) -> None:
    with pytest.raises(BadInput, match="tiny"):
        read_facts(content, where="tiny")


@given(st.data())
def test_a_graph_with_any_byte_changed_is_read_or_refused(data: st.DataObject) -> None:
    content = bytearray(weighted_sum())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_facts(bytes(content), where="tiny")
    except BadInput as exc:
        assert exc.where == "tiny"  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize(
    ("dims", "read"),
    [
        (["P", "K", 2], ("P", "K", 2)),
        ([1, "width"], (1, "width")),
        ([None, 3, None], ("N", 3, "axis2")),
        (["N", "N"], ("N", "N")),
        ([], ()),
    ],
)
def test_a_free_axis_has_the_name_of_the_file_or_of_its_position(
    dims: list[int | str | None], read: tuple[int | str, ...]
) -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, dims)],
    )  # fmt: skip
    facts = read_facts(helper.make_model(graph).SerializeToString(), where="tiny")
    assert (facts.inputs[0].shape, facts.outputs[0].shape) == (read, read)


def lengthy(number: int, content: bytes) -> bytes:
    """A length-delimited field of less than 128 bytes."""
    return bytes([number << 3 | 2, len(content)]) + content


def test_int8_weights_stored_one_by_one_and_before_their_type_are_read_whole() -> None:
    weight = b"".join(bytes([5 << 3, value]) for value in (1, 100)) + bytes([2 << 3, INT8]) + lengthy(8, b"w")
    shaped = bytes([1 << 3, 1, 1 << 3, 2]) + weight
    facts = read_facts(lengthy(7, lengthy(1, lengthy(4, b"Relu")) + lengthy(5, shaped)), where="tiny")
    assert bytes(facts.initializers["w"].raw) == b"\x01\x64"
    assert int8_weights_beyond_64(facts)


HOSTILE = {
    "has more than 500000 fields": lengthy(7, lengthy(1, b"\x22\x00")) + b"\x08\x01" * 500_001,
    "is not a whole protobuf file": lengthy(7, b"\x0a\x7f"),  # a node longer than its graph
    "is not a protobuf file": b"\x08" + b"\xff" * 11,  # a number without end
    "not UTF-8": lengthy(7, lengthy(1, lengthy(4, b"\xff"))),
    "ONNX data type 0": lengthy(7, lengthy(11, lengthy(1, b"x"))),
}


@pytest.mark.parametrize("said", HOSTILE)
def test_hostile_bytes_are_refused_by_name(said: str) -> None:
    with pytest.raises(BadInput, match=f"tiny: not an ONNX file that can be used: it .*{said}"):
        read_facts(HOSTILE[said], where="tiny")


def test_numbers_beyond_64_bits_are_cut_as_protobuf_cuts_them() -> None:
    weight = bytes([2 << 3, INT8]) + lengthy(5, b"\x85" + b"\x80" * 8 + b"\x7f") + lengthy(8, b"w")
    facts = read_facts(lengthy(7, lengthy(1, lengthy(4, b"Relu")) + lengthy(5, weight)), where="tiny")
    assert bytes(facts.initializers["w"].raw) == b"\x05"


@pytest.mark.parametrize("number", [0, 2**29, 2**29 + 7])
def test_a_field_number_that_protobuf_forbids_is_refused(number: int) -> None:
    key, tag = number << 3, b""
    while key >= 0x80:
        tag, key = tag + bytes([key & 0x7F | 0x80]), key >> 7
    with pytest.raises(BadInput, match="not a whole protobuf file"):
        read_facts(tag + bytes([key, 1]), where="tiny")
