"""Is int8 worth it: what is asked of which runtime on which CPU, and a tiny bundle measured from end to end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from edge_sdk.bundle.store import Bundle, write_bundle
from edge_sdk.cli import main
from edge_sdk.errors import BadUsage, EdgeError, NotThere
from edge_sdk.profiling import predicting
from edge_sdk.profiling.predicting import TaskCalls
from edge_sdk.profiling.worth import WorthOptions, worth
from edge_sdk.profiling.worth_plan import WHOLE, Plan, plan
from edge_sdk.profiling.worth_report import _HEADER, Worth, _row, calibration_errors
from edge_sdk.runtimes import probe, registry
from edge_sdk.runtimes.probe import CpuFacts
from edge_sdk.runtimes.protocol import Availability

AVX2 = ("sse4_1", "avx2", "fma")
VNNI = (*AVX2, "avx512f", "avx512bw", "avx512_vnni")
BF16 = (*VNNI, "avx512_bf16")
AMX = (*BF16, "amx_int8", "amx_bf16")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def cpu(flags: tuple[str, ...], **more: Any) -> CpuFacts:
    return replace(probe.cpu(), flags=flags, isa=probe.strongest(flags), capped_by="", board="", **more)


def here(*names: str) -> list[Availability]:
    found = [registry.runtime(name).probe() for name in names]
    if missing := [one for one in found if not one.usable]:
        pytest.skip(f'{missing[0].runtime} is not here: {missing[0].reason}; pip install ".[dev]"')
    return found


def planned(path: Path) -> int:
    """How many operators of int8-w7 ran in int8 in ONNX Runtime when the bundle was packed."""
    with Bundle.open(path) as bundle:
        ran = {graph.int8_ran.get("onnxruntime", 0) for graph in bundle.manifest.graphs if graph.variant == "int8-w7"}
    return max(ran)


def asked(path: Path, flags: tuple[str, ...], *names: str, **more: Any) -> Plan:
    with Bundle.open(path) as bundle:
        return plan(bundle, here(*names), cpu(flags), roles=("model",), **more)


def words(found: Plan) -> list[tuple[str, str, str, str]]:
    return [(q.variant, q.part, q.against, q.isa if q.environment else "") for q in found.questions]


def test_without_vnni_the_variant_that_saturates_is_not_measured_but_named(tiny_bundle: Path) -> None:
    found = asked(tiny_bundle, AVX2, "openvino")
    assert words(found) == [("int8-w7", WHOLE, "fp32", "")]
    (left_out,) = found.not_asked
    assert (left_out.runtime, left_out.variant) == ("openvino", "int8")
    assert "saturate" in left_out.why


def test_every_int8_variant_is_measured_where_it_is_right_the_preferred_one_first(tiny_bundle: Path) -> None:
    assert words(asked(tiny_bundle, AVX2, "onnxruntime")) == [
        ("int8-w7", WHOLE, "fp32", ""), ("int8", WHOLE, "fp32", ""),
    ]  # fmt: skip
    assert [q[0] for q in words(asked(tiny_bundle, VNNI, "onnxruntime"))] == ["int8", "int8-w7"]


def test_a_cpu_with_vnni_is_limited_to_avx2_and_bf16_is_asked_where_openvino_takes_it(tiny_bundle: Path) -> None:
    whole = [("int8", WHOLE, "fp32", ""), ("int8-w7", WHOLE, "fp32", "")]
    capped = ("int8-w7", WHOLE, "fp32", "avx2")
    assert words(asked(tiny_bundle, VNNI, "openvino")) == [*whole, capped]
    assert words(asked(tiny_bundle, BF16, "openvino")) == [*whole, ("int8", "model", "bf16", ""), capped]
    of_amx = asked(tiny_bundle, AMX, "openvino")
    assert words(of_amx)[3:] == [("int8", WHOLE, "fp32", "vnni"), capped]
    assert [dict(q.environment) for q in of_amx.questions[3:]] == [
        {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"}, {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    ]  # fmt: skip


def test_a_variant_that_would_saturate_is_not_measured_on_the_limited_cpu_either(tiny_bundle: Path) -> None:
    assert words(asked(tiny_bundle, VNNI, "openvino", variants=("int8",))) == [("int8", WHOLE, "fp32", "")]


def test_a_device_that_a_runtime_lacks_is_said(tiny_bundle: Path) -> None:
    found = asked(tiny_bundle, AVX2, "onnxruntime", device="NPU")
    assert found.questions == ()
    assert {one.why for one in found.not_asked} == {"no device NPU among CPU"}


def test_names_that_the_bundle_lacks_are_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BadUsage, match=r"no int8 variant fp32 in it.*int8, int8-w7"):
        asked(tiny_bundle, AVX2, "onnxruntime", variants=("fp32",))
    with pytest.raises(NotThere, match="no int8 of it can be measured here: int8"):
        worth(tiny_bundle, options=WorthOptions(runtimes=("onnxruntime",), device="NPU"))
    with pytest.raises(BadUsage, match="must be above 0"):
        worth(tiny_bundle, options=WorthOptions(seconds=0))

    with Bundle.open(tiny_bundle) as whole:
        (kept,) = (graph for graph in whole.manifest.graphs if graph.variant == "fp32")
        manifest = msgspec.structs.replace(whole.manifest, graphs=(kept,), golden=(), targets={}, members={})
        write_bundle(
            tmp_path / "float.edge", manifest=manifest, graphs={kept.name: whole.graph(kept.name)}, members={}
        ).close()
    with pytest.raises(BadUsage, match="the bundle has no int8 variant"):
        asked(tmp_path / "float.edge", AVX2, "onnxruntime")


def test_a_bundle_is_measured_on_a_runtime_with_its_error_its_memory_and_its_sizes(
    tiny_bundle: Path, tmp_path: Path
) -> None:

    here("onnxruntime")
    found = worth(
        tiny_bundle, options=WorthOptions(seconds=1.0, threads=1, runtimes=("onnxruntime",), variants=("int8-w7",))
    )
    (one,) = found.answers
    assert found.of("onnxruntime", "int8-w7") is one
    assert one.speedup.low <= one.speedup.value <= one.speedup.high
    assert one.of_float.graph_bytes > one.of_int8.graph_bytes > 1000
    assert (one.int8_operators, one.operators) == (planned(tiny_bundle), 3)
    assert one.error is None  # this bundle was packed without a report
    assert "error" in _HEADER
    assert _row(one)[_HEADER.index("error")] == "not known"
    assert _row(replace(one, error=0.008))[_HEADER.index("error")] == "0.8 %"
    if Path("/proc/self/status").exists():
        assert (one.of_int8.memory_peak_bytes or 0) >= (one.of_int8.memory_bytes or 0) > 2**20
    plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert plain["schema"] == "edge-sdk.worth/1"
    assert plain["answers"][0]["comparison"]["a"]["facts"]["stages_ms"]["infer"] > 0
    text = found.text()
    assert one.sentence in text
    assert "1 comparison in " in text


def test_a_task_that_takes_its_roles_from_the_bundle_is_measured_in_int8_too(tensor_bundle: Path) -> None:
    here("onnxruntime")
    options = WorthOptions(seconds=1.0, threads=1, runtimes=("onnxruntime",), variants=("int8-w7",))
    (one,) = worth(tensor_bundle, options=options).answers
    assert dict(one.question.by_role) == {"model": "int8-w7"}
    assert [side.facts["convolutions"].get("i8", 0) for side in (one.comparison.a, one.comparison.b)] == [
        0, planned(tensor_bundle),
    ]  # fmt: skip


def test_without_a_role_nothing_is_asked(tiny_bundle: Path) -> None:
    """Two sides that both choose for themselves would run the same graph, and the answer would be "no gain"."""
    with Bundle.open(tiny_bundle) as bundle:
        found = plan(bundle, here("onnxruntime"), cpu(AVX2), roles=())
    assert found.questions == ()
    assert {one.why for one in found.not_asked} == {"it has no role to run"}


def test_a_limited_cpu_is_named_in_the_answer(tiny_bundle: Path) -> None:
    here("openvino")
    if probe.cpu().isa not in ("avx2", "vnni", "amx"):
        pytest.skip("this CPU has no AVX2: run this on x86 with AVX2")
    options = WorthOptions(seconds=1.0, threads=1, runtimes=("openvino",), variants=("int8-w7",))
    found = worth(tiny_bundle, options=options, cpu=cpu(VNNI))
    own, limited = found.answers
    assert (own.question.isa, limited.question.isa) == ("vnni", "avx2")
    assert " on openvino limited to avx2" in limited.sentence
    assert limited.comparison.a.environment == limited.comparison.b.environment == {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    assert [other.isa for other in found.other_cpus] == ["amx"]  # avx2 was measured


def measured_on(runtime: str, isa: str) -> Worth:
    """Of a bundle that was measured on one runtime of such a CPU; the rest does not matter."""
    question = SimpleNamespace(runtime=runtime, isa=isa, environment={})
    return Worth(
        bundle="a.edge", bundle_sha256="", cpu_model="", isa=isa, isa_cap="", threads=1, margin=0.03, seconds=1.0,  # type: ignore[arg-type]
        answers=(SimpleNamespace(question=question),), not_asked=(),  # type: ignore[arg-type]
    )  # fmt: skip


def test_why_other_instruction_sets_are_not_measured_here() -> None:
    def whys(runtime: str, isa: str) -> dict[str, str]:
        return {other.isa: other.why_not_here for other in measured_on(runtime, isa).other_cpus}

    assert whys("openvino", "avx2") == {"amx": "this CPU lacks it", "vnni": "this CPU lacks it"}
    assert whys("onnxruntime", "vnni") == {"amx": "this CPU lacks it", "avx2": "onnxruntime can't be limited to it"}
    assert whys("onnxruntime", "neon") == {}


def test_rows_without_a_record_are_not_in_the_text() -> None:
    found = replace(measured_on("openvino", "avx2"), answers=())
    assert "On other CPUs" not in found.text()
    cells = [other.cells for other in measured_on("openvino", "avx2").other_cpus if other.known is not None]
    assert [(one[0], one[2], one[3]) for one in cells] == [("a CPU with VNNI", "3.9", "docs/results/speed.json")]


def test_errors_come_from_the_bundles_own_report_whatever_else_stands_in_it() -> None:
    report = {"calibration": {"model": {"errors": {"int8": {"map": 0.008, "score": 0.004}}}, "other": None}, "x": 1}
    assert calibration_errors(report) == {"model": {"int8": {"map": 0.008, "score": 0.004}}}
    for strange in (None, {}, {"calibration": 3}, {"calibration": {"model": {"errors": {"int8": "much"}}}}):
        assert not any(outputs for role in calibration_errors(strange).values() for outputs in role.values())


def test_another_bundle_in_its_place_is_not_measured(tiny_bundle: Path) -> None:
    with pytest.raises(BadUsage, match="The bundle was replaced"):
        predicting.predict(bundle=str(tiny_bundle), runtime="onnxruntime", digest="0" * 64)


def test_the_graph_of_a_role_is_called_alone(tiny_bundle: Path) -> None:
    here("onnxruntime")
    calls = predicting.graph(
        bundle=str(tiny_bundle), role="model", variant="int8-w7", runtime="onnxruntime", device="CPU", threads=1
    )
    assert calls()["map"].shape == (1, 16, 16)
    assert calls.facts["convolutions"]["i8"] == planned(tiny_bundle) > 0
    with pytest.raises(BadUsage, match="takes no int9 of model"):
        predicting.graph(
            bundle=str(tiny_bundle), role="model", variant="int9", runtime="onnxruntime", device="CPU", threads=1
        )


def failing(bundle: Bundle, error: Exception) -> Any:
    """Stands for a predictor whose task's code fails."""

    def predict(source: object) -> None:
        raise error

    return SimpleNamespace(bundle=bundle, predict=predict, explanations={})


def test_a_task_that_fails_is_named_and_other_faults_are_not_its(tiny_bundle: Path) -> None:
    with Bundle.open(tiny_bundle) as bundle:
        with pytest.raises(EdgeError, match=r"the task anomaly fails in predict: KeyError: 'map'"):
            TaskCalls(failing(bundle, KeyError("map"))).predict(None)
        for own in (BadUsage("closed"), OSError("no space")):
            with pytest.raises(type(own), match=r"closed|no space"):
                TaskCalls(failing(bundle, own)).predict(None)


def _edge(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        main.run(list(words))
    return int(left.value.code or 0)


def test_the_verb_answers_in_json_and_refuses_what_belongs_to_other_runs(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here("onnxruntime")
    words = ("profile", str(tiny_bundle), "--worth", "--runtime", "onnxruntime", "--variant", "int8-w7")
    assert _edge(*words, "--max-time", "1s", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert [one["question"]["variant"] for one in answer["answers"]] == ["int8-w7"]
    for wrong, said in (
        (("--samples", str(tmp_path / "a.csv")), "--worth needs a separate run"), (("--layers",), "two separate runs"),
    ):  # fmt: skip
        assert _edge(*words, *wrong) == BadUsage.exit_code
        assert said in capsys.readouterr().err
