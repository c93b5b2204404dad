"""Each known fault of a runtime, shown on the installed version by the bare library, and shown to be avoided here."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy_runtime import NumpyRuntime
from onnx import TensorProto
from runtime_graphs import Sketch, detector, full_scale, joined, kept_float, mlp, pictures, read_twice

from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.ops import loses_float_weights
from edge_sdk.errors import BadInput, NotThere, WrongPrecision
from edge_sdk.runtimes import faults, probe
from edge_sdk.runtimes.onnx_file import read_facts
from edge_sdk.runtimes.operators import OPERATORS
from edge_sdk.runtimes.ort import OrtRuntime, OrtSession
from edge_sdk.runtimes.ov import OvRuntime, core_of
from edge_sdk.runtimes.probe import CpuFacts
from edge_sdk.runtimes.protocol import CompileOptions

HERE = Path(__file__).parent
CPU = probe.cpu()
VNNI = replace(CPU, flags=("sse4_1", "avx2", "avx512_vnni"), isa="vnni", capped_by="")
AVX2 = replace(CPU, flags=("sse4_1", "avx2"), isa="avx2", capped_by="")


def ids(runtime: str, graph: bytes, cpu: CpuFacts, version: str = "2026.4.1") -> set[str]:
    return {row.id for row in faults.present(runtime, version, read_facts(graph, where="tiny"), cpu)}


def child(code: str, environ: Mapping[str, str], *prefix: str) -> float:
    """The number that `code` prints in a fresh interpreter: an instruction set can't be capped once a library is in."""
    paths = os.pathsep.join(path for path in (str(HERE), *sys.path) if path)
    ran = subprocess.run(
        (*prefix, sys.executable, "-W", "ignore", "-c", code),
        env={**os.environ, "PYTHONPATH": paths, **environ},
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return float(json.loads(ran.stdout.splitlines()[-1]))


FULL_SCALE = """
import numpy as np
from runtime_graphs import full_scale
from edge_sdk.runtimes import registry
from edge_sdk.runtimes.protocol import CompileOptions
session = registry.runtime({runtime!r}).compile(full_scale({limit}), CompileOptions(threads=1))
print(session.run({{"x": np.ones((1, 64, 4, 4), np.float32)}})["y"].max())
"""


def test_every_row_has_a_detector_and_says_what_avoids_it() -> None:
    assert {row.pattern for row in faults.FAULTS} == set(faults.DETECTORS)
    assert len({row.id for row in faults.FAULTS}) == len(faults.FAULTS)
    for row in faults.FAULTS:
        assert row.what
        assert row.avoided_by


def test_rows_hold_for_their_versions_only() -> None:
    row = replace(faults.FAULTS[0], since="2026.4", fixed_in="2026.5")
    assert [row.in_version(v) for v in ("2026.3.1", "2026.4", "2026.4.1-22982-e2", "2026.5.0", "2027.0")] == [
        False, True, True, False, False,
    ]  # fmt: skip


def test_chained_int8_products_are_seen_and_others_are_not() -> None:
    assert "openvino-int8-mlp-garbage" in ids("openvino", mlp(), VNNI)
    assert "openvino-int8-mlp-garbage" in ids("openvino", mlp(relu=True), VNNI)
    assert "openvino-int8-mlp-garbage" not in ids("openvino", detector("conv-relu-q"), VNNI)


def _unary(op: str) -> bool:
    """Whether the operator exists in the graphs' opset 17 and takes one input."""
    return (
        onnx.defs.has(op) and onnx.defs.get_schema(op).since_version <= 17 and onnx.defs.get_schema(op).min_input == 1
    )


@pytest.mark.parametrize(
    "between", sorted(row.name for row in OPERATORS.values() if row.openvino_chain and _unary(row.name))
)
def test_products_are_chained_through_every_element_wise_operator(between: str) -> None:
    """Sigmoid between two products was not seen: garbage of 1e4 and more where OpenVINO fuses them."""
    assert "openvino-int8-mlp-garbage" in ids("openvino", mlp(between=between), VNNI)


def test_openvino_fuses_chained_int8_products_into_garbage_and_here_it_may_not() -> None:
    ov = pytest.importorskip("openvino")
    worst_bare = worst_ours = 0.0
    for rows in (1, 2, 4, 8):
        for threads in (1, 2):
            graph = mlp(rows, limit=127 if CPU.adds_in_32_bits else 64)  # the other fault is not looked for here
            x = np.random.default_rng(3).normal(size=(rows, 64)).astype(np.float32)
            want = NumpyRuntime().compile(graph, CompileOptions(axes={"N": 8})).run({"x": x})["y"]
            core = core_of(ov)
            settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
            bare = core.compile_model(core.read_model(io.BytesIO(graph)), "CPU", settings)
            worst_bare = max(worst_bare, float(np.abs(bare(x)[0] - want).max()))
            session = OvRuntime().compile(graph, CompileOptions(threads=threads, axes={"N": 8}, int8_convolutions=2))
            assert session.explain().settings["SNIPPETS_MODE"] == "DISABLE"
            worst_ours = max(worst_ours, float(np.abs(session.run({"x": x})["y"] - want).max()))
    assert worst_ours < 0.02
    if worst_bare < 1:
        pytest.skip(f"avoided all the same, but this CPU ({CPU.model}, {CPU.isa}) shows no garbage by itself")


@pytest.mark.parametrize(
    ("between", "pair"), [("", True), ("", False), ("Relu", True), ("Relu", False), ("Mul", True), ("MaxPool", False)]
)
def test_openvino_misreads_a_signed_int8_convolution_behind_a_concat_and_here_it_may_not(
    between: str, pair: bool
) -> None:
    """Red on a version that answers right: then the row gets `fixed_in`, and this test its last version."""
    ov = pytest.importorskip("openvino")
    graph = joined(np.int8(0), between, pair=pair)
    x = np.random.default_rng(1).normal(size=(1, 8, 8, 8)).astype(np.float32)
    want = NumpyRuntime().compile(graph, CompileOptions()).run({"x": x})["y"]
    core = core_of(ov)
    bare = core.compile_model(core.read_model(io.BytesIO(graph)), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    session = OvRuntime().compile(graph, CompileOptions(threads=1))
    ours = session.run({"x": x})["y"]
    assert np.abs(bare(x)[0] - want).mean() > 0.2 * np.abs(want).mean()
    np.testing.assert_allclose(ours, want, rtol=1e-4, atol=0.05)  # a tie rounded the other way is one step
    explanation = session.explain()
    assert "openvino-int8-behind-concat" in explanation.workarounds
    assert explanation.settings["LP_TRANSFORMS_MODE"] == "NO"
    with pytest.raises(WrongPrecision, match="edge-sdk lint"):  # right and in float is not what was asked for here
        OvRuntime().compile(graph, CompileOptions(int8_convolutions=3))


@pytest.mark.parametrize("graph", [joined(np.uint8(128)), joined(np.int8(0), "MaxPool"), detector("conv-relu-q")])
def test_openvino_reads_unsigned_and_pooled_concats_right_and_they_stay_int8(graph: bytes) -> None:
    ov = pytest.importorskip("openvino")
    assert "openvino-int8-behind-concat" not in ids("openvino", graph, VNNI)
    if not CPU.adds_in_32_bits:
        pytest.skip(f"{CPU.model} loses other int8 products")
    core = core_of(ov)
    model = core.read_model(io.BytesIO(graph))
    x = pictures(1) if model.input(0).get_any_name() == "image" else np.ones((1, 8, 8, 8), np.float32)
    model.reshape(x.shape)
    bare = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    want = NumpyRuntime().compile(graph, CompileOptions()).run({model.input(0).get_any_name(): x})
    np.testing.assert_allclose(bare(x)[0], next(iter(want.values())), rtol=1e-3, atol=0.04)


def test_openvino_computes_in_bf16_by_itself_and_here_in_f32() -> None:
    ov = pytest.importorskip("openvino")
    if not {"avx512_bf16", "amx_bf16"} & set(CPU.flags):
        pytest.skip(f"{CPU.model} has no bfloat16")
    graph, image = detector(), pictures(1)
    want = NumpyRuntime().compile(graph, CompileOptions()).run({"image": image})["map"]
    core = core_of(ov)
    model = core.read_model(io.BytesIO(graph))
    model.reshape([1, *image.shape[1:]])
    bare = np.asarray(core.compile_model(model, "CPU")(image)[0])
    session = OvRuntime().compile(graph, CompileOptions())
    ours = session.run({"image": image})["map"]
    assert np.abs(bare - want).max() / np.abs(want).max() > 1e-3
    assert np.abs(ours - want).max() / np.abs(want).max() < 1e-5
    assert session.explain().precision == "f32"
    assert "openvino-bf16-by-itself" in session.explain().workarounds


def test_bf16_is_had_where_it_is_asked_for_and_read_back() -> None:
    pytest.importorskip("openvino")
    options = CompileOptions(precision="bf16", graph_name="tiny.onnx")
    if "avx512bw" in CPU.flags:  # where there are no instructions for it, AVX-512 rounds to it
        explanation = OvRuntime().compile(detector(), options).explain()
        assert explanation.precision == "bf16"
        assert "openvino-bf16-by-itself" not in explanation.workarounds
        assert explanation.layers_by_precision == {"bf16": 2}
    else:
        with pytest.raises(WrongPrecision, match=r"tiny\.onnx.*bf16"):
            OvRuntime().compile(detector(), options)


@pytest.mark.skipif(CPU.machine not in ("x86_64", "AMD64"), reason="asks x86 for what it has not")
def test_a_precision_that_the_device_does_not_have_is_refused_and_never_replaced() -> None:
    pytest.importorskip("openvino")
    if not {"avx512_fp16", "amx_fp16"} & set(CPU.flags):
        with pytest.raises(WrongPrecision, match=r"tiny\.onnx"):
            OvRuntime().compile(detector(), CompileOptions(precision="f16", graph_name="tiny.onnx"))
    done = subprocess.run(
        (sys.executable, "-c", ASKED_FOR_BF16), input=detector(), capture_output=True, check=False,
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()


ASKED_FOR_BF16 = """
import sys
from edge_sdk.errors import WrongPrecision
from edge_sdk.runtimes.ov import OvRuntime, core_of
from edge_sdk.runtimes.protocol import CompileOptions
try:
    OvRuntime().compile(sys.stdin.buffer.read(), CompileOptions(precision="bf16", graph_name="tiny.onnx"))
except WrongPrecision as exc:
    assert "Ask for f32" in exc.hint and "Exception from" not in str(exc), exc
else:
    raise AssertionError("a CPU with AVX2 alone does not compute in bf16")
"""


@pytest.mark.skipif(CPU.machine not in ("x86_64", "AMD64"), reason="16-bit sums are x86's")
def test_openvino_without_vnni_loses_wide_weights_and_keeps_narrow_ones() -> None:
    pytest.importorskip("openvino")
    capped = {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    assert child(FULL_SCALE.format(runtime="openvino", limit=64), capped) == pytest.approx(41, abs=0.5)
    assert child(FULL_SCALE.format(runtime="openvino", limit=127), capped) < 10  # exact: 81.28
    if not CPU.adds_in_32_bits:
        pytest.skip(f"{CPU.model} has no VNNI to show the right answer with")
    assert child(FULL_SCALE.format(runtime="openvino", limit=127), {}) == pytest.approx(81, abs=0.5)


DEPTHWISE = {"outputs": 64, "group": 64, "side": 3}


@pytest.mark.parametrize(
    ("shape", "seen"),
    [(DEPTHWISE, False), (DEPTHWISE | {"outputs": 128}, True), (DEPTHWISE | {"outputs": 32, "group": 32}, True),
     (DEPTHWISE | {"outputs": 4, "group": 1}, True)],
)  # fmt: skip
def test_wide_weights_are_a_fault_but_in_depthwise_convolutions(shape: dict[str, int], seen: bool) -> None:
    graph = full_scale(127, **shape)
    assert ("openvino-int8-saturates" in ids("openvino", graph, AVX2)) == seen
    assert ("onnxruntime-int8-saturates" in ids("onnxruntime", graph, AVX2, "1.32.0")) == seen


@pytest.mark.skipif(CPU.machine not in ("x86_64", "AMD64"), reason="16-bit sums are x86's")
@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_depthwise_convolutions_keep_wide_weights_without_vnni(runtime: str) -> None:
    """Why int8-w7 leaves them at full range. ONNX Runtime can't be capped: on a CPU with VNNI that half shows less."""
    pytest.importorskip(runtime)
    code = FULL_SCALE.format(runtime=runtime, limit=f"127, **{DEPTHWISE}")
    assert child(code, {"ONEDNN_MAX_CPU_ISA": "AVX2"}) == pytest.approx(11, abs=0.5)  # exact: 11.43, in steps of 1


HALVED = "openvino-int8-transposed-halved"


@pytest.mark.skipif("avx512bw" not in CPU.flags, reason="asks for AVX-512, which this CPU has not")
def test_openvino_halves_the_int8_weights_of_a_transposed_convolution_with_avx512_and_no_vnni() -> None:
    """Weights of 3 become 2 * 2: a bit is lost."""
    pytest.importorskip("openvino")
    code = FULL_SCALE.format(runtime="openvino", limit='3, op="ConvTranspose"')
    assert child(code, {"ONEDNN_MAX_CPU_ISA": "AVX2"}) == 2  # exact: 1.92, in steps of 1
    assert child(code, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}) == 3


def test_halved_weights_are_seen_by_graph_and_cpu_together() -> None:
    transposed, plain = full_scale(3, op="ConvTranspose"), full_scale(3)
    bare = replace(AVX2, flags=(*AVX2.flags, "avx512f", "avx512bw"))
    full = replace(VNNI, flags=(*VNNI.flags, "avx512f", "avx512bw"))
    assert HALVED in ids("openvino", transposed, bare)
    assert HALVED in ids("openvino", transposed, replace(full, capped_by="AVX512_CORE"))
    for graph, cpu in (
        (plain, bare),
        (transposed, full),
        (transposed, AVX2),
        (transposed, replace(bare, capped_by="AVX2")),
    ):
        assert HALVED not in ids("openvino", graph, cpu)


def test_saturation_is_seen_by_graph_and_cpu_together() -> None:
    wide, narrow = detector("conv-relu-q"), detector("conv-relu-q", limit=64)
    assert "openvino-int8-saturates" in ids("openvino", wide, AVX2)
    assert "openvino-int8-saturates" in ids("openvino", wide, replace(VNNI, capped_by="AVX2"))
    assert "openvino-int8-saturates" not in ids("openvino", narrow, AVX2)
    assert "openvino-int8-saturates" not in ids("openvino", wide, VNNI)
    assert "onnxruntime-int8-saturates" in ids("onnxruntime", wide, AVX2, "1.32.0")
    assert "onnxruntime-int8-saturates" not in ids("onnxruntime", narrow, AVX2, "1.32.0")
    assert "onnxruntime-int8-saturates" not in ids("onnxruntime", wide, replace(VNNI, capped_by="AVX2"), "1.32.0")


BARE_ORT = """
import json, sys
import numpy as np
import onnxruntime as ort
answers = []
for precise in ("0", "1"):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.x64quantprecision", precise)
    session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
    answers.append(float(session.run(None, {"x": np.ones((1, 64, 4, 4), np.float32)})[0].max()))
print(json.dumps(answers))
"""


def test_onnxruntime_without_vnni_saturates_unless_it_is_set_to_be_precise(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    qemu = shutil.which("qemu-x86_64")
    if qemu is None or subprocess.run((qemu, "--version"), capture_output=True, check=False).returncode != 0:
        pytest.skip("qemu-x86_64 is not installed: no CPU without VNNI to be had")
    (tmp_path / "full.onnx").write_bytes(full_scale(127))
    python = str(Path(sys.executable).resolve())  # qemu needs the file itself, not a link
    ran = subprocess.run(
        (qemu, "-cpu", "Haswell", python, "-W", "ignore", "-c", BARE_ORT, str(tmp_path / "full.onnx")),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-500:]
    saturated, exact = json.loads(ran.stdout.splitlines()[-1])
    assert saturated < 10  # exact: 81.28
    assert exact == pytest.approx(81, abs=0.5)


def test_onnxruntime_is_set_to_be_precise_where_the_cpu_and_the_graph_need_it() -> None:
    pytest.importorskip("onnxruntime")
    wide, narrow = detector("conv-q-relu-q"), detector("conv-q-relu-q", limit=64)
    options = CompileOptions(threads=1)
    explanation = OrtSession(wide, options, cpu=AVX2).explain()
    assert explanation.settings["session.x64quantprecision"] == "1"
    assert explanation.workarounds == ("onnxruntime-int8-saturates",)
    for graph, cpu in ((narrow, AVX2), (wide, VNNI)):
        assert "session.x64quantprecision" not in OrtSession(graph, options, cpu=cpu).explain().settings


def test_x64quantprecision_changes_no_value_where_it_is_not_needed() -> None:
    ort = pytest.importorskip("onnxruntime")
    x = {"x": np.random.default_rng(4).uniform(-1, 1, (1, 64, 4, 4)).astype(np.float32)}
    answers = []
    for precise in ("0", "1"):
        options = ort.SessionOptions()
        options.add_session_config_entry("session.x64quantprecision", precise)
        session = ort.InferenceSession(full_scale(127), options, providers=["CPUExecutionProvider"])
        answers.append(session.run(None, x)[0])
    if not CPU.adds_in_32_bits:
        pytest.skip(f"{CPU.model} needs it")
    np.testing.assert_array_equal(*answers)


def test_int8_that_runs_in_float_is_refused_with_the_layout_that_does_not() -> None:
    pytest.importorskip("onnxruntime")
    options = CompileOptions(int8_convolutions=2, graph_name="tiny.onnx")
    assert "onnxruntime-int8-relu-in-float" in ids("onnxruntime", detector("conv-relu-q"), VNNI, "1.32.0")
    assert "onnxruntime-int8-relu-in-float" not in ids("onnxruntime", detector("conv-q-relu-q"), VNNI, "1.32.0")
    with pytest.raises(WrongPrecision, match=r"tiny\.onnx: 2 operators .* runs 0 .* conv-q-relu-q"):
        OrtRuntime().compile(detector("conv-relu-q"), options)
    assert OrtRuntime().compile(detector("conv-q-relu-q"), options).explain().layers_by_precision == {"i8": 2}


def test_int8_that_can_not_be_counted_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(NotThere, match=r"can't be read back.*TMPDIR"):
        OrtRuntime().compile(detector("conv-q-relu-q"), CompileOptions(int8_convolutions=2))
    assert OrtRuntime().compile(detector(), CompileOptions()).explain().layers_by_precision == {"f32": 2}


def test_an_int8_tensor_with_two_readers_runs_in_float_unless_it_is_uint8_shifted() -> None:
    pytest.importorskip("onnxruntime")
    signed, shifted = read_twice(np.int8(0)), read_twice(np.uint8(128))
    assert "onnxruntime-int8-read-twice-in-float" in ids("onnxruntime", signed, VNNI, "1.32.0")
    assert "onnxruntime-int8-read-twice-in-float" not in ids("onnxruntime", shifted, VNNI, "1.32.0")
    options = CompileOptions(threads=1)
    assert OrtRuntime().compile(signed, options).explain().layers_by_precision == {"f32": 1}
    assert OrtRuntime().compile(shifted, options).explain().layers_by_precision == {"i8": 1}
    x = {"x": np.random.default_rng(5).normal(size=(1, 4, 6, 6)).astype(np.float32)}
    a, b = (OrtRuntime().compile(g, replace(options, reference=True)).run(x)["y"] for g in (signed, shifted))
    np.testing.assert_array_equal(a, b)


WITH_BIAS = [row.name for row in OPERATORS.values() if row.bias is not None]
PASSED = [row.name for row in OPERATORS.values() if row.onnxruntime_pairs]
LOST = "onnxruntime-float-weights-quantized"


@pytest.mark.parametrize(
    ("op", "before", "after"),
    [
        *((op, "", "") for op in WITH_BIAS),
        *(("Conv", one, "") for one in PASSED),
        *(("Conv", "", one) for one in (*PASSED, "Relu", "Clip")),
    ],
)
def test_onnxruntime_makes_float_weights_between_pairs_int8_unless_a_max_stands_behind(
    op: str, before: str, after: str
) -> None:
    """Red on a version that answers right: then the row gets `fixed_in`, and this test its last version."""
    pytest.importorskip("onnxruntime")
    lost, kept = (kept_float(op, before=before, after=after, kept=one) for one in (False, True))
    feeds = {"x": np.random.default_rng(6).uniform(0.5, 2, (2, 4) if op == "Gemm" else (1, 4, 2, 2)).astype(np.float32)}
    exact = OrtRuntime().compile(lost, CompileOptions(threads=1, reference=True)).run(feeds)["y"]
    session = OrtRuntime().compile(lost, CompileOptions(threads=1))
    assert np.abs(session.run(feeds)["y"] - exact)[:, 0].max() > 0.05
    assert LOST in ids("onnxruntime", lost, CPU, "1.32.0")
    assert any(LOST in warning for warning in session.explain().warnings)
    assert LOST not in session.explain().workarounds
    session = OrtRuntime().compile(kept, CompileOptions(threads=1))
    np.testing.assert_array_equal(session.run(feeds)["y"], exact)
    assert LOST not in ids("onnxruntime", kept, CPU, "1.32.0")
    assert session.explain().warnings == ()


def test_a_long_chain_and_a_cycle_behind_float_weights_end() -> None:
    g = Sketch()
    x = g.add("Conv", [g.qdq("x", 0.02), g.constant("w", np.ones((4, 4, 1, 1), np.float32))], "c")
    for step in range(5_000):
        x = g.add("Identity", [x], f"i{step}")
    g.add("Identity", [g.qdq(x, 0.02)], "y")
    shape = [1, 4, 2, 2]
    graph = g.model([("x", TensorProto.FLOAT, shape)], [("y", TensorProto.FLOAT, shape)])
    assert LOST in ids("onnxruntime", graph, CPU, "1.32.0")
    model = onnx.load_from_string(kept_float("Conv", after="Reshape"))
    model.graph.node[-4].input[1] = model.graph.node[-4].output[0]  # the Reshape reads what it answers
    assert LOST in ids("onnxruntime", model.SerializeToString(), CPU, "1.32.0")
    index = Index.of(model)
    assert [node.op_type for node in model.graph.node if loses_float_weights(node, index)] == ["Conv"]
    del model.graph.node[-5].input[1:]  # a Conv of one input
    assert not any(loses_float_weights(node, Index.of(model)) for node in model.graph.node)
    assert LOST not in ids("onnxruntime", model.SerializeToString(), CPU, "1.32.0")


@pytest.mark.parametrize("between", ["LeakyRelu", "Tanh", "AveragePool", "Flatten"])
def test_float_weights_behind_or_before_what_stops_a_pair_are_no_fault(between: str) -> None:
    g = Sketch()
    x = g.qdq("x", 0.02)
    attributes = {"kernel_shape": [1, 1]} if between == "AveragePool" else {}
    weight = g.constant("w", np.ones((4, 4, 1, 1), np.float32))
    g.add("Identity", [g.qdq(g.add(between, [g.add("Conv", [x, weight], "c")], "p", **attributes), 0.02)], "y")
    shape = [1, 16] if between == "Flatten" else [1, 4, 2, 2]
    graph = g.model([("x", TensorProto.FLOAT, [1, 4, 2, 2])], [("y", TensorProto.FLOAT, shape)])
    assert LOST not in ids("onnxruntime", graph, CPU, "1.32.0")


def test_the_two_layouts_mean_the_same_bit_by_bit() -> None:
    image = {"image": pictures(2)}
    options = CompileOptions(axes={"N": 2})
    a, b = (NumpyRuntime().compile(detector(one), options).run(image) for one in ("conv-relu-q", "conv-q-relu-q"))
    np.testing.assert_array_equal(a["map"], b["map"])
    pytest.importorskip("openvino")
    c, d = (OvRuntime().compile(detector(one), options).run(image) for one in ("conv-relu-q", "conv-q-relu-q"))
    np.testing.assert_allclose(c["map"], d["map"], rtol=1e-6)  # the float tail rounds in another order


def indexed(*between: str) -> bytes:
    """x at the indices that are fed, through operators that leave numbers as they are."""
    g, last = Sketch(), "i"
    for k, op in enumerate(between):
        last = g.add(op, [last], f"i{k}", **({"to": TensorProto.INT32} if op == "Cast" else {}))
    g.add("Gather", ["x", last], "y", axis=0)
    return g.model(
        [("x", TensorProto.FLOAT, [3]), ("i", TensorProto.INT64, [2])], [("y", TensorProto.FLOAT, [2])]
    )  # fmt: skip


@pytest.mark.parametrize("between", [(), ("Cast",), ("Cast", "Identity")])
def test_an_index_that_is_fed_is_warned_of_and_onnxruntime_refuses_what_openvino_takes(
    between: tuple[str, ...],
) -> None:
    graph = indexed(*between)
    assert "openvino-index-beyond-the-end" in ids("openvino", graph, VNNI)
    feeds = {"x": np.arange(1, 4, dtype=np.float32), "i": np.array([1, 7], np.int64)}
    session = OvRuntime().compile(graph, CompileOptions(graph_name="indexed"))
    assert any("openvino-index-beyond-the-end" in one for one in session.explain().warnings)
    assert session.run(feeds)["y"].tolist() == [2.0, 0.0]
    session.close()
    other = OrtRuntime().compile(graph, CompileOptions(graph_name="indexed"))
    with pytest.raises(BadInput, match="indexed: onnxruntime refused"):
        other.run(feeds)
    other.close()


def test_indices_that_are_stored_or_computed_are_not_warned_of() -> None:
    g = Sketch()
    g.add("Gather", ["x", g.add("Abs", ["i"], "j")], "y", axis=0)
    g.add("Gather", ["x", g.constant("k", np.array([1]))], "z", axis=0)
    inputs = [("x", TensorProto.FLOAT, [3]), ("i", TensorProto.INT64, [2])]
    graph = g.model(inputs, [("y", TensorProto.FLOAT, [2]), ("z", TensorProto.FLOAT, [1])])
    assert "openvino-index-beyond-the-end" not in ids("openvino", graph, VNNI)
