"""TensorRT: acceptance by the real TensorRT-RTX without a GPU, and the adapter's own path over a stand-in library."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto
from runtime_graphs import Sketch, detector, pictures, prompted
from trt_stand_in import LIBRARY, HostMemory, TrtStandIn

from edge_sdk.errors import BadInput, BadUsage, EdgeError, NotThere, WrongPrecision
from edge_sdk.runtimes import registry, trt_build
from edge_sdk.runtimes.protocol import CompileOptions
from edge_sdk.runtimes.trt import TensorRtRuntime, TrtSession, confirm

OPTIONS = CompileOptions(device="CUDA", graph_name="tiny.onnx")


@pytest.fixture
def rtx() -> None:
    try:
        trt_build.load("tensorrt-rtx")
    except NotThere as exc:
        pytest.skip(f"TensorRT-RTX can't be asked here: {exc}")


@pytest.mark.usefixtures("rtx")
@pytest.mark.parametrize(
    "graph",
    [detector(), detector(half=True), detector("conv-relu-q"), detector("conv-relu-q", limit=64)],
    ids=["fp32", "fp16", "int8", "int8-w7"],
)
def test_the_real_builder_takes_our_graphs_without_a_warning_about_types(graph: bytes) -> None:
    confirmed = confirm(graph, axes={"N": 4})
    assert confirmed.accepted, confirmed
    assert confirmed.errors == ()
    assert not [text for text in confirmed.warnings if trt_build.ABOUT_TYPES.search(text)]
    assert confirmed.engine_bytes > 1000
    assert confirmed.version


@pytest.mark.usefixtures("rtx")
@pytest.mark.parametrize("axes", [{"P": 3, "K": 5}, {"P": 64}, {}])
def test_the_real_builder_takes_free_axes_at_any_position(axes: dict[str, int]) -> None:
    answer = confirm(prompted(), axes=axes)
    assert answer.accepted, answer
    assert answer.engine_bytes > 1000


@pytest.mark.usefixtures("rtx")
def test_uint8_activations_are_refused_although_the_builder_takes_them() -> None:
    confirmed = confirm(detector("conv-relu-q", zero=np.uint8(0)))
    assert confirmed.engine_bytes > 1000  # it was built, as int8
    assert not confirmed.accepted
    assert "Defaulting to INT8" in confirmed.errors[0]


@pytest.mark.usefixtures("rtx")
def test_a_zero_point_elsewhere_is_refused_with_the_words_of_the_parser() -> None:
    confirmed = confirm(detector("conv-relu-q", zero=np.int8(3)))
    assert not confirmed.accepted
    assert not confirmed.crashed
    assert "zero point" in " ".join(confirmed.errors).lower()


@pytest.mark.usefixtures("rtx")
def test_a_graph_that_fails_only_at_the_build_is_refused_too() -> None:
    g = Sketch()
    g.add("TopK", ["x", g.constant("k", np.array([4000], np.int64))], "y")
    g.nodes[0].output.append("where")
    confirmed = confirm(g.model([("x", TensorProto.FLOAT, [1, 5000])], [("y", TensorProto.FLOAT, [1, 4000])]))
    assert not confirmed.accepted
    assert confirmed.errors


@pytest.mark.usefixtures("rtx")
def test_bytes_and_capabilities_that_are_none_are_refused_with_reasons() -> None:
    assert confirm(b"not a graph").errors
    assert "SM11" in confirm(detector(), capabilities=("SM11",)).errors[0]


@pytest.mark.usefixtures("rtx")
def test_a_builder_that_gives_no_answer_in_time_counts_as_crashed() -> None:
    confirmed = confirm(detector(), timeout_s=0.01)
    assert not confirmed.accepted
    assert confirmed.crashed
    assert "0.01 s" in confirmed.errors[0]


def test_a_package_that_is_not_there_is_named_with_its_extra() -> None:
    found = registry.runtime("tensorrt").probe()
    if found.usable or found.version:
        pytest.skip("TensorRT is installed here")
    assert "tensorrt is not installed" in found.reason
    with pytest.raises(NotThere, match=r"pip install .*tensorrt"):
        registry.runtime("tensorrt").compile(detector(), OPTIONS)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"device": "CPU"}, BadUsage, "no device CPU"),
        ({"device": "CUDA:x"}, BadUsage, "no device CUDA:x"),
        ({"precision": "f16"}, WrongPrecision, "types of the graph"),
        ({"reference": True}, BadUsage, "no reference mode"),
    ],
)
def test_what_tensorrt_does_not_have_is_refused_before_anything_is_loaded(
    changes: dict[str, object], error: type[EdgeError], message: str
) -> None:
    with pytest.raises(error, match=message):
        TensorRtRuntime().compile(detector(), replace(OPTIONS, **changes))  # type: ignore[arg-type]


def test_what_the_parser_refuses_is_reported_with_its_node() -> None:
    broken = detector()[:-1] + b"\xff"
    with pytest.raises(BadInput, match=r"tiny\.onnx"):
        TrtStandIn().compile(broken, OPTIONS)
    g = Sketch()
    g.add("Identity", ["x"], "y")
    whole = g.model([("x", TensorProto.FLOAT, [1])], [("y", TensorProto.FLOAT, [1])])
    with pytest.raises(BadInput, match=r"Nope node_7: unknown operator"):
        TrtStandIn().compile(whole.replace(b"Identity", b"Idontity"), OPTIONS)


def test_an_engine_of_other_types_is_never_used() -> None:
    g = Sketch()
    g.add("Mul", ["x", g.constant("zero_uint8", np.float32(1))], "y")  # the name makes the stand-in warn
    with pytest.raises(WrongPrecision, match="Defaulting to INT8"):
        TrtStandIn().compile(g.model([("x", TensorProto.FLOAT, [1])], [("y", TensorProto.FLOAT, [1])]), OPTIONS)


def test_memory_of_the_gpu_is_given_back() -> None:
    memory = HostMemory()
    session = TrtSession(LIBRARY, memory, detector(), OPTIONS, runtime="tensorrt", gpu="host")
    session.run({"image": pictures(1)})
    assert len(memory.blocks) == 3
    session.close()
    assert not memory.blocks
    assert not memory.streams


def test_an_output_that_grows_as_its_input_shrinks_gets_the_room_that_it_needs() -> None:
    g = Sketch()
    rows = g.add("Shape", ["x"], "rows", end=1)
    bounds = [g.constant(name, np.array([value], np.int64)) for name, value in (("end", 10), ("axis", 0))]
    g.add("Slice", [g.constant("numbers", np.arange(10, dtype=np.float32)), rows, *bounds], "left")
    graph = g.model([("x", TensorProto.FLOAT, ["N", 2])], [("left", TensorProto.FLOAT, ["M"])])
    memory, options = HostMemory(), replace(OPTIONS, axes={"N": 9})
    session = TrtSession(LIBRARY, memory, graph, options, runtime="tensorrt", gpu="host")
    for size in (9, 2, 5, 1):
        got = session.run({"x": np.zeros((size, 2), np.float32)})["left"]
        assert got.tolist() == list(range(size, 10))
    assert len(memory.blocks) == 2
    session.close()
    assert not memory.blocks


def test_an_output_whose_shape_depends_on_values_is_refused_by_name() -> None:
    g = Sketch()
    g.add("NonZero", ["x"], "where")
    graph = g.model([("x", TensorProto.FLOAT, [4])], [("where", TensorProto.INT64, [1, "found"])])
    memory = HostMemory()
    with pytest.raises(NotThere, match=r"shape \(1, -1\) of where depends on values"):
        TrtSession(LIBRARY, memory, graph, OPTIONS, runtime="tensorrt", gpu="host")
    assert not memory.blocks
    assert not memory.streams


def test_engines_come_from_the_cache_that_built_them_and_from_nowhere_else(tmp_path: Path) -> None:
    options, image = replace(OPTIONS, cache_dir=tmp_path), {"image": pictures(1)}
    first = TrtStandIn().compile(detector(), options)
    assert first.explain().compile_cache == "miss"
    again = TrtStandIn().compile(detector(), options)
    assert again.explain().compile_cache == "hit"
    np.testing.assert_array_equal(first.run(image)["map"], again.run(image)["map"])
    moved = TrtSession(LIBRARY, HostMemory(), detector(), options, runtime=TrtStandIn().name, gpu="another GPU")
    assert moved.explain().compile_cache == "miss"
    for payload in tmp_path.glob("*.bin"):
        payload.write_bytes(json.dumps({"graph": detector().hex(), "ranges": {}}).encode())
    assert TrtStandIn().compile(detector(), options).explain().compile_cache == "miss"


def test_int8_that_the_engine_does_not_show_is_a_warning_in_explain() -> None:
    explanation = TrtStandIn().compile(detector("conv-relu-q"), replace(OPTIONS, int8_convolutions=2)).explain()
    assert explanation.layers_by_precision == {"i8": 1}
    assert "1 int8 operators, the graph has 2" in explanation.warnings[0]
    assert explanation.settings["TF32"] == "off"


def test_the_child_answers_one_line(rtx: None, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(detector())
    command = (sys.executable, "-m", "edge_sdk.runtimes.trt_confirm", str(tmp_path / "x.onnx"), "{}", "SM86")
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout)["errors"] == []
