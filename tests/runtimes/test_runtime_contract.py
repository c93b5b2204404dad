"""What every runtime must hold to, run over each that is present and over a second implementation in numpy."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from numpy_runtime import NumpyRuntime
from onnx import TensorProto, helper
from runtime_graphs import CHANNELS, GRID, SIDE, Sketch, detector, mlp, pictures, prompted, prompts, weighted_sum
from trt_stand_in import TrtStandIn

from edge_sdk.errors import BadInput, BadUsage, EdgeError, WrongPrecision
from edge_sdk.runtimes import registry
from edge_sdk.runtimes.protocol import (
    CompileOptions,
    ProfiledSession,
    Runtime,
    Session,
)
from edge_sdk.tensors import DType

FOUND = {found.runtime: found for found in (runtime.probe() for runtime in registry.runtimes())}
STAND_INS: dict[str, Runtime] = {"numpy": NumpyRuntime(), "tensorrt-stand-in": TrtStandIn()}
INT8_LAYOUT = {"onnxruntime": "conv-q-relu-q"}


@pytest.fixture(params=(*STAND_INS, *(name for name, found in FOUND.items() if found.usable)))
def runtime(request: pytest.FixtureRequest) -> Runtime:
    return STAND_INS.get(request.param) or registry.runtime(request.param)


@pytest.mark.parametrize("name", FOUND)
def test_this_runtime_is_here_and_was_held_to_the_contract(name: str) -> None:
    if not FOUND[name].usable:
        pytest.skip(f"{name} can't be used here: {FOUND[name].reason}")
    assert FOUND[name].version
    assert registry.runtime(name).default_device in FOUND[name].devices


def options(runtime: Runtime, **changes: object) -> CompileOptions:
    device = runtime.probe().devices[0]
    return replace(CompileOptions(device=device, threads=1, graph_name="tiny.onnx"), **changes)  # type: ignore[arg-type]


@pytest.fixture
def opened(runtime: Runtime) -> Callable[..., Session]:
    return lambda graph, **changes: runtime.compile(graph, options(runtime, **changes))


def reference(graph: bytes, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return NumpyRuntime().compile(graph, CompileOptions(axes={"N": 64, "P": 64, "K": 64})).run(feeds)


def feeds(rows: int = 1) -> dict[str, np.ndarray]:
    a = np.arange(4 * rows, dtype=np.float32).reshape(rows, 4)
    return {"a": a, "b": a[:, ::-1] * 0.5, "k": np.array(2.0, np.float32)}


def test_inputs_and_outputs_are_those_of_the_file(opened: Callable[..., Session]) -> None:
    session = opened(detector())
    assert [(s.name, s.dtype, s.shape) for s in session.inputs] == [("image", "uint8", ("N", SIDE, SIDE, 3))]
    assert [(s.name, s.dtype, s.shape) for s in session.outputs] == [
        ("map", "float32", ("N", SIDE - 4, SIDE - 4)),
        ("score", "float32", ("N",)),
    ]


def test_the_answer_is_that_of_the_definition(opened: Callable[..., Session]) -> None:
    graph, image = detector(), pictures(1)
    got, want = opened(graph).run({"image": image}), reference(graph, {"image": image})
    assert list(got) == ["map", "score"]
    for name, array in want.items():
        assert got[name].dtype == array.dtype
        np.testing.assert_allclose(got[name], array, rtol=1e-4, atol=1e-6)


def test_a_graph_is_taken_from_a_file_as_from_bytes(opened: Callable[..., Session], tmp_path: Path) -> None:
    (tmp_path / "tiny.onnx").write_bytes(detector())
    image = {"image": pictures(1)}
    np.testing.assert_array_equal(
        opened(tmp_path / "tiny.onnx").run(image)["map"], opened(detector()).run(image)["map"]
    )


def test_a_half_precision_graph_answers_close_to_the_full_one(opened: Callable[..., Session]) -> None:
    image = {"image": pictures(2)}
    got, want = opened(detector(half=True), axes={"N": 2}).run(image), reference(detector(), image)
    assert got["map"].dtype == np.float32
    np.testing.assert_allclose(got["map"], want["map"], atol=0.02 * float(want["map"].max()))


def test_several_inputs_a_scalar_and_whole_numbers_pass(opened: Callable[..., Session]) -> None:
    got = opened(weighted_sum(), axes={"N": 3}).run(feeds(3))
    np.testing.assert_allclose(got["sum"], reference(weighted_sum(), feeds(3))["sum"], rtol=1e-6)
    assert got["largest"].dtype == np.int64
    assert got["largest"].tolist() == [3, 3, 3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a": np.zeros((1, 4), np.float64)}, "a is float64, the graph takes float32"),
        ({"b": np.zeros((1, 5), np.float32)}, r"b has shape \(1, 5\)"),
        ({"k": np.zeros((1,), np.float32)}, r"k has shape \(1,\)"),
        ({"a": np.zeros((2, 4), np.float32)}, r"a has size 2 on axis 0 \(N\), the graph was compiled for 1"),
        ({"a": np.zeros((0, 4), np.float32), "b": np.zeros((0, 4), np.float32)}, r"a has size 0 on axis 0 \(N\)"),
        ({"a": np.zeros((1, 4), ">f4")}, "a is >f4"),
        ({"c": np.zeros((1, 4), np.float32)}, "c"),
    ],
)
def test_a_wrong_array_is_refused_by_name(
    opened: Callable[..., Session], change: dict[str, np.ndarray], message: str, runtime: Runtime
) -> None:
    if runtime.name == "numpy":
        message = message.split(",")[0].split(" has shape")[
            0
        ]  # its sentences are its own, the name of the tensor is the contract
    session = opened(weighted_sum(), axes={"N": 1})
    with pytest.raises(BadInput, match=message) as caught:
        session.run({**feeds(), **change})
    assert caught.value.where == "tiny.onnx"
    assert session.run(feeds())["sum"].shape == (1, 4)  # and the session still works


def test_a_missing_array_is_refused_by_name(opened: Callable[..., Session]) -> None:
    fed = feeds()
    del fed["b"]
    with pytest.raises(BadInput, match=r"\bb\b"):
        opened(weighted_sum()).run(fed)


def test_inputs_of_different_batches_are_refused_by_name(opened: Callable[..., Session]) -> None:
    session = opened(weighted_sum(), axes={"N": 3})
    with pytest.raises(BadInput, match=r"\b[ab] has size \d on axis 0 \(N\)"):
        session.run({**feeds(2), "b": feeds(1)["b"]})


MOST = {"P": 3, "K": 5}


def test_free_axes_have_the_names_of_the_file(opened: Callable[..., Session]) -> None:
    session = opened(prompted(), axes=MOST)
    assert [(s.name, s.dtype, s.shape) for s in session.inputs] == [
        ("embedding", "float32", (1, CHANNELS, GRID, GRID)),
        ("points", "float32", ("P", "K", 2)),
        ("labels", "int64", ("P", "K")),
        ("keep", "bool", ("P",)),
        ("gain", "float32", ()),
    ]
    assert [(s.name, s.dtype, s.shape) for s in session.outputs] == [
        ("masks", "float32", ("P", GRID, GRID)),
        ("tokens", "float32", ("K", "P", CHANNELS)),
        ("best", "int64", ("P",)),
    ]


def test_two_free_axes_take_any_sizes_in_turn(opened: Callable[..., Session]) -> None:
    session = opened(prompted(), axes=MOST)
    for turn, (count, points) in enumerate([(3, 5), (1, 1), (3, 2), (1, 5), (2, 4), (3, 5)]):
        fed = prompts(count, points, seed=turn)
        got, want = session.run(fed), reference(prompted(), fed)
        assert list(got) == ["masks", "tokens", "best"]
        for name, array in want.items():
            assert (got[name].dtype, got[name].shape) == (array.dtype, array.shape)
            np.testing.assert_allclose(got[name], array, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("axes", [{}, {"N": 7}, {"P": 4}, {"K": 4}])
def test_an_axis_that_is_not_named_has_the_size_1(opened: Callable[..., Session], axes: dict[str, int]) -> None:
    session, count, points = opened(prompted(), axes=axes), axes.get("P", 1), axes.get("K", 1)
    fed = prompts(count, points)
    np.testing.assert_allclose(session.run(fed)["masks"], reference(prompted(), fed)["masks"], rtol=1e-4, atol=1e-5)
    for more in (prompts(count + 1, points), prompts(count, points + 1)):
        with pytest.raises(BadInput, match=r"points has size \d on axis [01] \([PK]\)"):
            session.run(more)
    assert session.run(fed)["masks"].shape == (count, GRID, GRID)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": np.zeros((4, 2, 2), np.float32)},
         r"points has size 4 on axis 0 \(P\), the graph was compiled for 1 to 3"),
        ({"points": np.zeros((2, 6, 2), np.float32)},
         r"points has size 6 on axis 1 \(K\), the graph was compiled for 1 to 5"),
        ({"points": np.zeros((2, 0, 2), np.float32)}, r"points has size 0 on axis 1 \(K\)"),
        ({"labels": np.zeros((3, 2), np.int64)}, r"labels has size 3 on axis 0 \(P\), points on axis 0 has 2"),
        ({"labels": np.zeros((2, 1), np.int64)}, r"labels has size 1 on axis 1 \(K\), points on axis 1 has 2"),
        ({"keep": np.ones(1, np.bool_)}, r"keep has size 1 on axis 0 \(P\), points on axis 0 has 2"),
        ({"keep": np.ones(2, np.uint8)}, "keep is uint8, the graph takes bool"),
        ({"labels": np.zeros((2, 2), np.int32)}, "labels is int32, the graph takes int64"),
        ({"gain": np.ones(1, np.float32)}, r"gain has shape \(1,\)"),
        ({"embedding": np.zeros((2, CHANNELS, GRID, GRID), np.float32)}, r"embedding has shape \(2,"),
    ],
)  # fmt: skip
def test_sizes_and_types_that_do_not_fit_are_refused_by_name(
    opened: Callable[..., Session], change: dict[str, np.ndarray], message: str, runtime: Runtime
) -> None:
    if runtime.name == "numpy":
        message = message.split(",")[0].split(" has shape")[0]
    session = opened(prompted(), axes=MOST)
    with pytest.raises(BadInput, match=message):
        session.run({**prompts(2, 2), **change})
    assert session.run(prompts(2, 2))["masks"].shape == (2, GRID, GRID)


def test_an_input_that_nothing_reads_is_fed_and_changes_nothing(opened: Callable[..., Session]) -> None:
    g = Sketch()
    g.add("Neg", ["b"], "y")
    graph = g.model(
        [("a", TensorProto.FLOAT, ["M", 3]), ("b", TensorProto.FLOAT, ["N", 3]), ("c", TensorProto.FLOAT, [3])],
        [("y", TensorProto.FLOAT, ["N", 3])],
    )
    session = opened(graph, axes={"M": 2, "N": 4})
    assert [spec.name for spec in session.inputs] == ["a", "b", "c"]
    for rows in (4, 2):
        fed = {"a": np.ones((2, 3), np.float32), "b": np.full((rows, 3), 7, np.float32), "c": np.ones(3, np.float32)}
        np.testing.assert_array_equal(session.run(fed)["y"], -fed["b"])


NOT_IN_TENSORRT = {"uint16", "int16", "uint32", "uint64", "float64"}
"""Types that TensorRT has no name for: a graph with one is refused, never run in another."""


@pytest.mark.parametrize("dtype", get_args(DType))
def test_every_type_of_a_tensor_comes_back_as_it_went_in(
    opened: Callable[..., Session], runtime: Runtime, dtype: DType
) -> None:
    g = Sketch()
    g.add("Transpose", ["x"], "y", perm=[1, 0])
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = g.model([("x", kind, ["A", "B"])], [("y", kind, ["B", "A"])])
    if runtime.name.startswith("tensorrt") and dtype in NOT_IN_TENSORRT:
        with pytest.raises(BadInput, match="TensorRT refused the graph"):
            opened(graph, axes={"A": 3, "B": 4})
        return
    session = opened(graph, axes={"A": 3, "B": 4})
    for rows, columns in ((3, 4), (1, 2)):
        x = np.arange(rows * columns).reshape(rows, columns).astype(dtype)
        got = session.run({"x": x})["y"]
        assert got.dtype == x.dtype
        np.testing.assert_array_equal(got, x.T)


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1, 2**40, 2**31 - 1, -(2**31)])
def test_whole_numbers_are_right_or_refused_never_cut(opened: Callable[..., Session], value: int) -> None:
    g = Sketch()
    g.add("Concat", ["x", "x"], "y", axis=0)
    session = opened(g.model([("x", TensorProto.INT64, [2])], [("y", TensorProto.INT64, [4])]))
    try:
        assert session.run({"x": np.array([0, value])})["y"].tolist() == [0, value, 0, value]
    except BadInput as exc:
        assert abs(value) > 2**31 - 1
        assert f"x holds {value}" in str(exc)  # noqa: PT017


@pytest.mark.parametrize("value", [2.0, np.float32(2.0), [2.0], None])
def test_what_is_no_array_is_refused_by_name(opened: Callable[..., Session], runtime: Runtime, value: object) -> None:
    if runtime.name == "numpy":
        pytest.skip("the second implementation is fed by tests alone")
    with pytest.raises(BadInput, match=r"k is (an? \w+|None), not an array.*Feed np\.asarray\(k, \"float32\"\)"):
        opened(weighted_sum()).run({**feeds(), "k": value})  # type: ignore[dict-item]


@pytest.mark.parametrize("fed", [None, 5, [], np.zeros(4, np.float32)])
def test_feeds_that_are_no_mapping_are_refused(opened: Callable[..., Session], runtime: Runtime, fed: object) -> None:
    if runtime.name == "numpy":
        pytest.skip("the second implementation is fed by tests alone")
    with pytest.raises(BadInput, match=r"tiny\.onnx: the feeds are (an? \w+|None), not arrays by input name"):
        opened(weighted_sum()).run(fed)  # type: ignore[arg-type] - the fault that is tested


def test_a_device_is_named_in_upper_or_lower_case(runtime: Runtime) -> None:
    if runtime.name == "numpy":
        pytest.skip("the second implementation has one device and is not asked for it")
    device = runtime.probe().devices[0]
    session = runtime.compile(weighted_sum(), options(runtime, device=device.lower()))
    assert session.explain().device.partition(" ")[0] == device
    session.close()


BAKED = """
import sys
import numpy as np
from edge_sdk.errors import BadInput
from edge_sdk.runtimes import registry
from edge_sdk.runtimes.protocol import CompileOptions
options = CompileOptions(axes={"L": 9}, graph_name="baked")
session = registry.runtime(sys.argv[2]).compile(open(sys.argv[1], "rb").read(), options)
try:
    session.run({"x": np.ones((2, 5), np.float32)})
except BadInput as exc:
    sys.stdout.write(str(exc))
"""


@pytest.mark.parametrize("name", [name for name, found in FOUND.items() if found.usable])
def test_what_a_vendor_says_of_a_graph_that_fails_is_in_the_error_and_not_on_the_terminal(
    name: str, tmp_path: Path
) -> None:
    """A free axis whose length the export baked into the graph: runtimes find out in the middle of a call."""
    g = Sketch()
    g.add("Reshape", ["x", g.constant("flat", np.array([2, 3], np.int64))], "y")
    (tmp_path / "baked.onnx").write_bytes(
        g.model([("x", TensorProto.FLOAT, [2, "L"])], [("y", TensorProto.FLOAT, [2, 3])])
    )
    call = [sys.executable, "-c", BAKED, str(tmp_path / "baked.onnx"), name]
    done = subprocess.run(call, capture_output=True, text=True, check=True, timeout=120)
    assert f"baked: {name} refused: " in done.stdout
    assert done.stdout.endswith("another size of L, that size is fixed inside the graph: export it again.")
    assert done.stderr == ""


@pytest.mark.parametrize("name", [name for name, found in FOUND.items() if found.usable])
@pytest.mark.parametrize(
    ("baked", "operator", "constant", "stated"),
    [
        (1, "Reshape", [1, 2], [1, 2]),
        (3, "Reshape", [3, 2], [3, 2]),
        (9, "Reshape", [9, 2], [9, 2]),
        (1, "Squeeze", [1], [2]),
        (3, "Add", [[0.0] * 3] * 2, [2, 3]),
        (3, "MatMul", [[1.0] * 4] * 3, [2, 4]),
    ],
)
@pytest.mark.parametrize("cached", [False, True])
def test_a_size_that_is_fixed_inside_a_graph_is_run_and_others_are_refused(
    name: str, baked: int, operator: str, constant: list[object], stated: list[int], cached: bool, tmp_path: Path
) -> None:
    """Whether it is the smallest size, one between, or the largest, and whether the graph was compiled before."""
    g = Sketch()
    kind = np.float32 if operator in ("Add", "MatMul") else np.int64
    g.add(operator, ["x", g.constant("fixed", np.array(constant, kind))], "y")
    graph = g.model([("x", TensorProto.FLOAT, [2, "L"])], [("y", TensorProto.FLOAT, stated)])
    options = CompileOptions(axes={"L": 9}, graph_name="baked", cache_dir=tmp_path if cached else None)
    for _ in range(2):
        session = registry.runtime(name).compile(graph, options)
        for size in (9, 2, 5, baked):
            fed = {"x": np.arange(2 * size, dtype=np.float32).reshape(2, size)}
            if size == baked:
                want = fed["x"] @ np.array(constant, kind) if operator == "MatMul" else fed["x"].reshape(stated)
                np.testing.assert_array_equal(session.run(fed)["y"], want)
            else:
                with pytest.raises(BadInput, match="that size is fixed inside the graph"):
                    session.run(fed)
        session.close()


def test_an_output_that_is_stated_too_small_is_no_contradiction(runtime: Runtime) -> None:
    """Exporters note the batch that they saw in the outputs alone; the graph takes any."""
    if runtime.name != "openvino":
        pytest.skip("the check is of OpenVINO's adapter")
    g = Sketch()
    g.add("Relu", ["x"], "y")
    graph = g.model([("x", TensorProto.FLOAT, ["N", 3])], [("y", TensorProto.FLOAT, [1, 3])])
    session = runtime.compile(graph, CompileOptions(axes={"N": 9}, graph_name="noted"))
    for size in (1, 4, 9):
        assert session.run({"x": np.ones((size, 3), np.float32)})["y"].shape == (size, 3)
    session.close()


def test_bytes_that_are_no_graph_are_refused(opened: Callable[..., Session]) -> None:
    whole = detector()
    for content in (b"", b"not a graph", whole[: len(whole) // 2], whole[:-1]):
        with pytest.raises(BadInput, match=r"tiny\.onnx"):
            opened(content)


def test_a_file_that_is_not_there_is_refused_by_name(runtime: Runtime, tmp_path: Path) -> None:
    if runtime.name not in FOUND:
        pytest.skip("a stand-in reads files its own way")
    with pytest.raises(BadInput, match=r"missing\.onnx can't be read"):
        runtime.compile(tmp_path / "missing.onnx", options(runtime))


@pytest.mark.skipif(not FOUND["onnxruntime"].usable, reason="onnxruntime is not installed")
def test_onnxruntime_computes_in_the_types_of_the_graph_alone() -> None:
    runtime = registry.runtime("onnxruntime")
    with pytest.raises(WrongPrecision, match="in the types of the graph, not in f16"):
        runtime.compile(detector(), options(runtime, precision="f16"))


def test_no_threads_and_no_batch_are_refused() -> None:
    for wrong, named in (
        ({"threads": 0}, "threads"),
        ({"axes": {"N": -1}}, "axis N"),
        ({"axes": {"P": 3, "K": 0}}, "axis K"),
        ({"axes": {"P": 2.5}}, "axis P"),
        ({"axes": {"P": "3"}}, "axis P"),
    ):
        with pytest.raises(BadUsage, match=named):
            CompileOptions(**wrong)  # type: ignore[arg-type]


def test_the_axes_of_options_can_not_be_changed_by_anybody() -> None:
    given = {"P": 3}
    made = CompileOptions(axes=given)
    given["P"] = 5
    assert dict(made.axes) == {"P": 3}
    for options in (made, CompileOptions()):
        with pytest.raises(TypeError):
            options.axes["P"] = 5  # type: ignore[index]
    assert hash(made) == hash(CompileOptions(axes={"P": 3}))
    assert pickle.loads(pickle.dumps(made)) == copy.deepcopy(made) == made


def test_outputs_belong_to_the_caller(opened: Callable[..., Session]) -> None:
    session = opened(detector())
    first = session.run({"image": pictures(1, seed=1)})
    kept = {name: array.copy() for name, array in first.items()}
    session.run({"image": pictures(1, seed=2)})
    for name, array in first.items():
        np.testing.assert_array_equal(array, kept[name])
        array += 1  # writable
    again = session.run({"image": pictures(1, seed=1)})
    session.close()
    np.testing.assert_array_equal(again["map"], kept["map"])


def test_inputs_stay_as_they_are_and_may_be_read_only_or_strided(opened: Callable[..., Session]) -> None:
    session = opened(detector())
    image = pictures(1)
    want = session.run({"image": image})["map"]
    mirrored = image[:, :, ::-1][:, :, ::-1]
    assert not mirrored[..., :1].flags.c_contiguous
    locked = image.copy()
    locked.setflags(write=False)
    wide = np.repeat(image, 2, axis=3)[..., ::2]
    for same in (mirrored, locked, wide):
        np.testing.assert_array_equal(session.run({"image": same})["map"], want)
    np.testing.assert_array_equal(image, pictures(1))


@pytest.mark.parametrize("layout", ["plain", "int8"])
def test_a_batch_is_its_singles(opened: Callable[..., Session], runtime: Runtime, layout: str) -> None:
    graph = detector("plain" if layout == "plain" else INT8_LAYOUT.get(runtime.name, "conv-relu-q"))
    session, images = opened(graph, axes={"N": 4}), pictures(4)
    whole = session.run({"image": images})
    for size in (1, 3):  # sizes may change from call to call
        part = session.run({"image": images[:size]})
        np.testing.assert_allclose(part["map"], whole["map"][:size], rtol=1e-5, atol=1e-7)
    alone = opened(graph)
    for index in range(4):
        np.testing.assert_allclose(
            alone.run({"image": images[index : index + 1]})["score"], whole["score"][index : index + 1], rtol=1e-5
        )


def test_eight_threads_get_the_answers_of_one(opened: Callable[..., Session], runtime: Runtime) -> None:
    session, images = opened(detector()), pictures(8)
    want = [session.run({"image": images[i : i + 1]})["map"] for i in range(8)]
    together = threading.Barrier(8)

    def work(index: int) -> bool:
        together.wait()
        runs = 5 if runtime.name == "numpy" else 50
        image = images[index : index + 1]
        return all(np.array_equal(session.run({"image": image})["map"], want[index]) for _ in range(runs))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_a_closed_session_raises_and_closes_twice(opened: Callable[..., Session]) -> None:
    session = opened(detector())
    session.close()
    session.close()
    with pytest.raises(BadUsage, match="closed"):
        session.run({"image": pictures(1)})


def test_closing_while_others_run_ends_in_answers_or_closed(opened: Callable[..., Session]) -> None:
    session, image = opened(detector()), {"image": pictures(1)}
    want = session.run(image)["map"]
    started = threading.Barrier(5)

    def work() -> str:
        started.wait()
        for _ in range(500):
            try:
                np.testing.assert_array_equal(session.run(image)["map"], want)
            except BadUsage:
                return "closed"
        return "done"

    with ThreadPoolExecutor(4) as pool:
        ends = [pool.submit(work) for _ in range(4)]
        started.wait()
        session.close()
        assert {end.result(timeout=30) for end in ends} <= {"closed", "done"}


def test_not_a_number_passes_through_untouched(opened: Callable[..., Session]) -> None:
    fed = feeds()
    fed["a"] = np.array([[np.nan, 1.0, np.inf, -np.inf]], np.float32)
    got = opened(weighted_sum()).run(fed)["sum"]
    assert np.isnan(got[0, 0])
    assert got[0, 2:].tolist() == [np.inf, -np.inf]


def test_explain_tells_what_was_asked_and_what_was_got(runtime: Runtime) -> None:
    asked = options(runtime)
    explanation = runtime.compile(detector(), asked).explain()
    assert (explanation.runtime, explanation.version) == (runtime.name, runtime.probe().version)
    assert (explanation.device_requested, explanation.precision_requested) == (asked.device, "f32")
    assert explanation.device.startswith(asked.device)
    assert explanation.precision == "f32"
    assert explanation.compile_cache == "off"
    if explanation.threads:
        assert explanation.threads == 1


def test_where_no_device_is_named_the_runtime_takes_its_own(runtime: Runtime) -> None:
    session = runtime.compile(detector(), CompileOptions(threads=1, graph_name="tiny.onnx"))
    found = session.explain()
    assert found.device_requested == "default"
    assert found.device.startswith(runtime.default_device)
    assert session.run({"image": pictures(1)})["score"].shape == (1,)


def test_chained_int8_products_are_right_for_every_number_of_rows(opened: Callable[..., Session]) -> None:
    rng = np.random.default_rng(2)
    for rows in (1, 2, 4, 8):
        x = {"x": rng.normal(size=(rows, 64)).astype(np.float32)}
        for graph in (mlp(rows, limit=64), mlp("N", relu=True, limit=64)):  # 64: exact without VNNI too
            got = opened(graph, axes={"N": 8}).run(x)["y"]
            np.testing.assert_allclose(got, reference(graph, x)["y"], atol=0.02)


def test_layer_times_name_the_convolutions_and_need_to_be_asked_for(opened: Callable[..., Session]) -> None:
    session, image = opened(detector(), profile_layers=True), {"image": pictures(1)}
    if not isinstance(session, ProfiledSession):
        pytest.skip("this runtime has no layer times")
    rows = session.layer_times(image)
    assert sum("Conv" in row.op or row.name.startswith("Conv") for row in rows) == 2
    assert all(row.ms >= 0 and row.name for row in rows)
    with pytest.raises(BadUsage, match="profile_layers"):
        opened(detector()).layer_times(image)  # type: ignore[attr-defined]


def test_a_device_that_is_not_there_is_never_replaced(runtime: Runtime) -> None:
    if runtime.name not in FOUND:
        pytest.skip("a stand-in has one device")
    for device in ("GPU.7", "CUDA:7", "TENSORRT", "AUTO", "nonsense"):
        if device not in runtime.probe().devices:
            with pytest.raises(EdgeError, match=r"tiny\.onnx"):
                runtime.compile(detector(), replace(options(runtime), device=device))
