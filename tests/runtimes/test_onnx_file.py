"""Facts read from ONNX bytes without the onnx package, held against the onnx package."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from google.protobuf.message import Error as ProtobufError
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from runtime_graphs import detector, full_scale, mlp, weighted_sum

from edge_sdk.errors import BadInput
from edge_sdk.runtimes.onnx_file import INT8, MAX_DEPTH, int8_weights_beyond_64, read_facts, read_standard
from edge_sdk.tensors import TensorSpec

GRAPHS = [
    detector(), detector("conv-relu-q"), detector(half=True), mlp(), weighted_sum(),
    full_scale(9, outputs=64, group=32),
]  # fmt: skip


@pytest.mark.parametrize("graph", GRAPHS)
def test_facts_are_those_that_the_onnx_package_reads(graph: bytes) -> None:
    facts, model = read_facts(graph, where="tiny"), onnx.load_from_string(graph)
    assert [(n.op, n.inputs, n.outputs) for n in facts.nodes] == [
        (n.op_type, tuple(n.input), tuple(n.output)) for n in model.graph.node
    ]
    assert [n.group for n in facts.nodes] == [
        next((a.i for a in n.attribute if a.name == "group"), 1) for n in model.graph.node
    ]
    for tensor in model.graph.initializer:
        mine = facts.initializers[tensor.name]
        assert (mine.dtype, mine.rank, mine.dims) == (tensor.data_type, len(tensor.dims), tuple(tensor.dims))
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


def test_weights_within_64_are_distinguished_from_wider_ones() -> None:
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


def lengthy(number: int, content: bytes) -> bytes:
    """A length-delimited field of less than 128 bytes."""
    return bytes([number << 3 | 2, len(content)]) + content


def test_int8_weights_stored_one_by_one_and_before_their_type_are_read_whole() -> None:
    weight = b"".join(bytes([5 << 3, value]) for value in (1, 100)) + bytes([2 << 3, INT8]) + lengthy(8, b"w")
    shaped = bytes([1 << 3, 1, 1 << 3, 2]) + weight
    facts = read_facts(lengthy(7, lengthy(1, lengthy(4, b"Relu")) + lengthy(5, shaped)), where="tiny")
    assert bytes(facts.initializers["w"].raw) == b"\x01\x64"
    assert int8_weights_beyond_64(facts)


@pytest.mark.parametrize("last", ["size", "name"])
def test_of_a_size_and_a_name_of_one_axis_the_last_counts_as_for_the_onnx_package(last: str) -> None:
    """Else a file could show one shape to our checks and another to the runtime."""
    size, name = bytes([1 << 3, 7]), lengthy(2, b"P")
    axis = lengthy(1, name + size if last == "size" else size + name)
    value = lengthy(1, b"x") + lengthy(2, lengthy(1, bytes([1 << 3, 1]) + lengthy(2, axis)))
    graph = lengthy(7, lengthy(1, lengthy(4, b"Relu")) + lengthy(11, value))
    (dim,) = onnx.load_from_string(graph).graph.input[0].type.tensor_type.shape.dim
    assert dim.WhichOneof("value") == {"size": "dim_value", "name": "dim_param"}[last]
    assert read_facts(graph, where="tiny").inputs[0].shape == ((7,) if last == "size" else ("P",))


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


def model_of(*values: onnx.ValueInfoProto, outputs: tuple[onnx.ValueInfoProto, ...] = ()) -> onnx.ModelProto:
    """A model that reads the first of `values`."""
    nodes = [helper.make_node("Identity", [values[0].name], ["y"], name="only")]
    made = outputs or (helper.make_tensor_value_info("y", values[0].type.tensor_type.elem_type, None),)
    graph = helper.make_graph(nodes, "g", values, made)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


NUMPY_TYPES = [
    "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64", "bool"
]  # fmt: skip


@pytest.mark.parametrize("name", NUMPY_TYPES)
def test_every_type_that_numpy_and_onnx_share_is_read(name: str) -> None:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(name))
    facts = read_facts(model_of(helper.make_tensor_value_info("x", kind, [2])).SerializeToString(), where="tiny")
    assert facts.inputs == (TensorSpec(name="x", dtype=name, shape=(2,)),)  # type: ignore[arg-type]
    assert facts.inputs[0].accepts(np.zeros(2, name)) == ""


@pytest.mark.parametrize("kind", [TensorProto.STRING, TensorProto.BFLOAT16, TensorProto.COMPLEX64, 99])
def test_a_type_that_no_runtime_shares_is_refused_by_name(kind: int) -> None:
    model = model_of(helper.make_tensor_value_info("x", kind, [2]))
    with pytest.raises(BadInput, match=f"has 'x' of ONNX data type {kind}"):
        read_facts(model.SerializeToString(), where="tiny")


def test_an_input_that_is_a_sequence_is_refused_by_name() -> None:
    model = model_of(helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, [2]))
    with pytest.raises(BadInput, match="has 'x' that is no tensor"):
        read_facts(model.SerializeToString(), where="tiny")


@given(
    st.lists(
        st.one_of(st.integers(0, 2**40), st.none(), st.sampled_from(["N", "P", "2*P+1", "x_1", "x_1_"])), max_size=5
    )
)
def test_shapes_are_read_with_every_free_axis_named_and_nameless_ones_unique(dims: list[int | str | None]) -> None:
    graph = model_of(helper.make_tensor_value_info("x", 1, dims)).SerializeToString()
    if dims[:1] == ["N"] and "N" in dims[1:]:
        with pytest.raises(BadInput, match=r"calls axis \d of 'x' \"N\", which is the batch: axis 0 of an input"):
            read_facts(graph, where="tiny")
        return
    (shape,) = (spec.shape for spec in read_facts(graph, where="tiny").inputs)
    assert len(shape) == len(dims)
    assert "N" not in shape[1:]
    for axis, (have, want) in enumerate(zip(shape, dims)):
        named = want is not None and (want != "N" or axis == 0)  # elsewhere N is a name that is given anew
        assert have == want if named else isinstance(have, str)
    assert len({have for have, want in zip(shape, dims) if want == "N"}) <= 1  # one name is one size
    invented = [have for have, want in zip(shape, dims) if want is None]
    declared = {want for want in dims if isinstance(want, str) and want != "N"}
    assert len(set(invented)) == len(invented)
    assert not declared & set(invented)


def test_nameless_axes_are_called_by_their_place() -> None:
    values = [helper.make_tensor_value_info(name, 1, [None, 2, None]) for name in ("a", "b")]
    made = (helper.make_tensor_value_info("y", 1, [None, 2, None]),)
    facts = read_facts(model_of(*values, outputs=made).SerializeToString(), where="tiny")
    assert [spec.shape for spec in facts.inputs] == [("N", 2, "a_2"), ("N", 2, "b_2")]
    assert facts.outputs[0].shape == ("N", 2, "y_2")
    fixed = model_of(helper.make_tensor_value_info("x", 1, [3, 2]), outputs=made)
    assert read_facts(fixed.SerializeToString(), where="tiny").outputs[0].shape == ("y_0", 2, "y_2")


def _specs_of(
    inputs: list[list[int | str | None]], outputs: list[list[int | str | None]]
) -> list[tuple[int | str, ...]]:
    """Shapes as they are read, of inputs a, b ... and outputs y, z ..."""
    values = [helper.make_tensor_value_info(name, 1, dims) for name, dims in zip("abc", inputs)]
    made = tuple(helper.make_tensor_value_info(name, 1, dims) for name, dims in zip("yz", outputs))
    facts = read_facts(model_of(*values, outputs=made).SerializeToString(), where="tiny")
    return [spec.shape for spec in (*facts.inputs, *facts.outputs)]


def test_where_n_is_not_the_batch_it_is_a_size_with_another_name() -> None:
    assert _specs_of([[4, "N"]], [["N", 4]]) == [(4, "a_1"), ("a_1", 4)]
    assert _specs_of([[4, "N"], [2, 3, "N"]], [[4, 2]]) == [(4, "a_1"), (2, 3, "a_1"), (4, 2)]
    assert _specs_of([[4, 2]], [["N", 2]]) == [(4, 2), ("y_0", 2)]  # as many as the graph decides
    assert _specs_of([["a_1", "N"]], [[2]]) == [("a_1", "a_1_"), (2,)]
    assert _specs_of([[None, "N"]], [[None, "N"]]) == [("N", "a_1"), ("N", "a_1")]


def test_nameless_axes_never_get_the_name_of_an_axis_of_another_tensor() -> None:
    assert _specs_of([["b_1", 2], [2, None]], [["y_1", None]]) == [("b_1", 2), (2, "b_1_"), ("y_1", "y_1_")]


@pytest.mark.parametrize(
    ("inputs", "outputs", "said"),
    [
        ([["N", "N"]], [["N"]], "axis 1 of 'a'"),
        ([["N", 2], [2, "N"]], [["N"]], "axis 1 of 'b'"),
        ([["N", 2]], [[2, "N"]], "axis 1 of 'y'"),
        ([["N", 2]], [["N", 2], ["N", 3, "N"]], "axis 2 of 'z'"),
    ],
)
def test_a_batch_that_is_also_another_axis_is_refused(
    inputs: list[list[int | str | None]], outputs: list[list[int | str | None]], said: str
) -> None:
    """Its rows would run in calls of their own, and those calls would disagree about the other axis."""
    with pytest.raises(BadInput, match=f'calls {said} "N", which is the batch.*with another name for one of them'):
        _specs_of(inputs, outputs)


def test_a_size_of_minus_one_is_free_and_any_other_negative_size_is_refused() -> None:
    free = model_of(helper.make_tensor_value_info("x", 1, [-1, 4]))
    assert read_facts(free.SerializeToString(), where="tiny").inputs[0].shape == ("N", 4)
    with pytest.raises(BadInput, match="gives 'x' the size -2"):
        read_facts(model_of(helper.make_tensor_value_info("x", 1, [-2])).SerializeToString(), where="tiny")


def test_a_scalar_is_distinguished_from_an_input_without_a_shape() -> None:
    scalar = model_of(helper.make_tensor_value_info("x", 1, []))
    facts = read_facts(scalar.SerializeToString(), where="tiny")
    assert facts.inputs[0].shape == ()
    assert facts.inputs[0].accepts(np.float32(3).reshape(())) == ""
    assert facts.unshaped == ("y",)  # which tells it from an output that is a scalar
    with pytest.raises(BadInput, match="gives no shape for its input 'x'"):
        read_facts(model_of(helper.make_tensor_value_info("x", 1, None)).SerializeToString(), where="tiny")


def test_operator_sets_names_and_domains_are_read() -> None:
    model = model_of(helper.make_tensor_value_info("x", 1, [1]))
    model.opset_import.append(helper.make_opsetid("com.other", 3))
    model.graph.node.add(op_type="Gelu", input=["x"], output=["z"], domain="com.other")
    model.graph.node.add(op_type="Relu", input=["x"], output=["w"], domain="ai.onnx")
    facts = read_facts(model.SerializeToString(), where="tiny")
    assert (facts.opset, dict(facts.opsets)) == (18, {"": 18, "com.other": 3})
    assert [(node.name, node.domain) for node in facts.nodes] == [("only", ""), ("", "com.other"), ("", "")]
    assert facts.foreign == ("com.other",)
    with pytest.raises(BadInput, match=r"the graph tiny uses operators of the domain 'com\.other'"):
        read_standard(model.SerializeToString(), name="tiny")


def test_a_foreign_operator_is_found_in_a_subgraph_and_in_a_function() -> None:
    inner = helper.make_graph([helper.make_node("F", ["x"], ["z"], domain="evil")], "inner", [], [])
    hidden = model_of(helper.make_tensor_value_info("x", 1, [1]))
    hidden.graph.node.add(op_type="If", input=["x"], output=["z"]).attribute.add(name="then_branch", type=5).g.CopyFrom(
        inner
    )
    called = model_of(helper.make_tensor_value_info("x", 1, [1]))
    body = [helper.make_node("F", ["a"], ["b"], domain="evil")]
    called.functions.append(helper.make_function("own", "G", ["a"], ["b"], body, [helper.make_opsetid("", 17)]))
    for model in (hidden, called):
        assert read_facts(model.SerializeToString(), where="tiny").foreign == ("evil",)


def nested(depth: int) -> bytes:
    graph = lengthy(1, lengthy(4, b"Relu"))
    for _ in range(depth):
        graph = (
            b"\x0a"
            + _size(node := lengthy(4, b"If") + b"\x2a" + _size(at := b"\x32" + _size(graph) + graph) + at)
            + node
        )
    return b"\x3a" + _size(graph) + graph


def _size(content: bytes) -> bytes:
    size, out = len(content), b""
    while size >= 0x80:
        out, size = out + bytes([size & 0x7F | 0x80]), size >> 7
    return out + bytes([size])


def test_graphs_inside_graphs_are_read_to_a_stated_depth() -> None:
    assert read_facts(nested(MAX_DEPTH), where="tiny").node_count == MAX_DEPTH + 1
    with pytest.raises(BadInput, match=f"nests graphs deeper than {MAX_DEPTH}"):
        read_facts(nested(MAX_DEPTH + 1), where="tiny")
    with pytest.raises(BadInput, match="nests graphs deeper"):
        read_facts(nested(2000), where="tiny")


@pytest.mark.parametrize("part", ["input", "output", "initializer"])
def test_one_name_for_two_tensors_is_refused(part: str) -> None:
    model = model_of(helper.make_tensor_value_info("x", 1, [1]))
    model.graph.initializer.append(numpy_helper.from_array(np.ones(2, np.float32), "w"))
    getattr(model.graph, part).append(getattr(model.graph, part)[0])
    with pytest.raises(BadInput, match=r"two (weights|inputs or outputs) called '[xyw]'"):
        read_facts(model.SerializeToString(), where="tiny")


def test_a_packed_list_of_millions_is_read_at_once() -> None:
    tensor = TensorProto(name="w", data_type=INT8, dims=[1, 3_000_000])
    tensor.int32_data.extend([-128, 5, 127] * 1_000_000)
    model = model_of(helper.make_tensor_value_info("x", 1, [1]))
    model.graph.initializer.append(tensor)
    raw = read_facts(model.SerializeToString(), where="tiny").initializers["w"].raw
    assert (bytes(raw[:3]), len(raw)) == (b"\x80\x05\x7f", 3_000_000)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_wherever_the_onnx_package_reads_a_changed_file_too_both_see_the_same_graph(data: st.DataObject) -> None:
    """Else a file could show one graph to our checks and another to the runtime."""
    content = bytearray(SEVERAL)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    try:
        facts, model = read_facts(bytes(content), where="tiny"), onnx.load_from_string(bytes(content))
    except (BadInput, ProtobufError):
        return
    assert [(n.op, n.inputs, n.outputs, n.name) for n in facts.nodes] == [
        (n.op_type, tuple(n.input), tuple(n.output), n.name) for n in model.graph.node
    ]
    assert {name: (w.dtype, w.rank) for name, w in facts.initializers.items()} == {
        w.name: (w.data_type, len(w.dims)) for w in model.graph.initializer
    }
    given_ = [value for value in model.graph.input if value.name not in facts.initializers]
    for spec, value in zip((*facts.inputs, *facts.outputs), (*given_, *model.graph.output), strict=True):
        tensor = value.type.tensor_type
        assert (spec.name, spec.dtype) == (value.name, helper.tensor_dtype_to_np_dtype(tensor.elem_type).name)
        for have, dim in zip(spec.shape, tensor.shape.dim, strict=True):
            fixed = dim.WhichOneof("value") == "dim_value" and dim.dim_value != -1
            renamed = dim.dim_param == "N"  # where it is not the batch
            assert have == dim.dim_value if fixed else renamed or have == (dim.dim_param or have)


SEVERAL = model_of(
    helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3]),
    helper.make_tensor_value_info("points", TensorProto.INT64, [1, "P", 2]),
    helper.make_tensor_value_info("seed", TensorProto.UINT64, []),
    outputs=(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3]),),
).SerializeToString()
