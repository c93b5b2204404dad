"""verify: a bundle whose golden answers are right passes on every runtime; one wrong value is found and named."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import msgspec
import numpy as np
import onnx
import pytest
import tiny

from edge_sdk.bundle.manifest import Graph, Manifest, Preprocessing, Tolerance
from edge_sdk.bundle.store import Bundle, write_bundle
from edge_sdk.errors import BadBundle, BadUsage, CheckFailed, NotThere
from edge_sdk.golden import Expected, OutputCheck, check_session, golden_feeds, golden_outputs
from edge_sdk.loading import load
from edge_sdk.runtimes import probe
from edge_sdk.runtimes.protocol import Explanation
from edge_sdk.runtimes.variants import KINDS, is_int8
from edge_sdk.tasks.anomaly.detector import AnomalyDetector
from edge_sdk.tasks.anomaly.task import Anomaly
from edge_sdk.tensors import Array
from edge_sdk.verify import verify


def test_every_variant_passes_on_every_runtime_alone_and_in_batches(tiny_bundle: Path) -> None:
    report = verify(tiny_bundle)
    assert report.passed
    assert report.reproduced == report.samples == 3
    ran = {(r.variant, r.layout, r.runtime) for r in report.rows}
    assert ("int8", "conv-q-relu-q", "onnxruntime") in ran
    best = "int8" if probe.cpu().adds_in_32_bits else "int8-w7"
    assert (best, "conv-relu-q", "openvino") in ran
    assert ("int8", "conv-relu-q", "onnxruntime") not in ran  # it would run in float there
    assert len(ran) == len(report.rows)
    for row in report.rows:
        assert {c.output for c in row.outputs} == {"map", "score"}
        assert {c.position for c in row.outputs} == {None}
        want = {(output, position) for output in ("map", "score") for position in range(3)}
        assert {(c.output, c.position) for c in row.batch_outputs} == want


@pytest.mark.parametrize(
    ("shares", "passes"),
    [
        ({"distance": 0.05, "worst": 0.9}, True),  # some values at the edge of a map are another class
        ({"distance": 0.5, "worst": 0.05}, True),  # every value a little: that is what a relative bound allows
        ({"distance": 0.5, "worst": 0.9}, False),
        ({"distance": np.nan, "worst": np.nan}, False),
    ],
)
def test_int8_is_within_tolerance_by_its_largest_value_or_by_all_of_them(shares: Any, passes: bool) -> None:
    check = OutputCheck(
        role="model", sample=0, output="map", allowed=0.1, relative=0.0, allowed_distance=0.1, **shares
    )  # fmt: skip
    assert check.passed is passes
    assert (check.used <= 1.0) is passes
    alone = replace(check, allowed_distance=0.0)
    assert alone.passed is (alone.used <= 1.0) is (shares["worst"] <= 0.1)


def test_a_runtime_that_is_off_everywhere_fails_however_many_values_there_are(tiny_bundle: Path) -> None:
    with Bundle.open(tiny_bundle) as bundle:
        graph = bundle.manifest.graphs[0]
        bounds = {spec.name: Tolerance(absolute=0.0, relative=0.1, distance=0.1) for spec in graph.outputs}
        expected = Expected.of(bundle, msgspec.structs.replace(graph, tolerance=bounds))
        strongest = expected.strongest
        want = golden_outputs(bundle, bundle.manifest.golden[strongest], graph)
        off = expected.compare(strongest, {name: 0.8 * value for name, value in want.items()})
        assert not any(check.passed for check in off)
        assert [check.distance for check in off] == pytest.approx([0.2] * len(off), abs=0.05)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_within_no_tolerance(tiny_bundle: Path, wrong: float) -> None:
    with Bundle.open(tiny_bundle) as bundle:
        graph = bundle.manifest.graphs[0]
        expected = Expected.of(bundle, graph)
        got = {name: value.copy() for name, value in golden_outputs(bundle, bundle.manifest.golden[0], graph).items()}
        assert all(check.passed for check in expected.compare(0, got))
        got["map"].flat[3] = wrong
        assert [check.output for check in expected.compare(0, got) if not check.passed] == ["map"]


def test_one_wrong_golden_value_is_found_and_named(tiny_bundle: Path, tmp_path: Path) -> None:
    def change(name: str, data: bytes) -> bytes:
        if name != "golden/1/outputs/fp32/map":
            return data
        values = np.frombuffer(data, "<f4").copy()
        values[17] += 0.001 * np.abs(values).max()
        return values.tobytes()

    path = tmp_path / "wrong.edge"
    tiny.rewritten(tiny_bundle, path, change)
    report = verify(path, runtimes=["onnxruntime"])
    assert not report.passed
    failed = [(row.graph, c.sample, c.output) for row in report.rows for c in row.outputs if not c.passed]
    assert failed == [("fp32", 1, "map")]


def _silent_on(output: str) -> Callable[[Manifest], Manifest]:
    def described(manifest: Manifest) -> Manifest:
        golden = tuple(
            msgspec.structs.replace(
                g, outputs={n: {o: m for o, m in found.items() if o != output} for n, found in g.outputs.items()}
            )
            for g in manifest.golden
        )
        return msgspec.structs.replace(manifest, golden=golden)

    return described


def _bounded(bounds: dict[str, Tolerance]) -> Callable[[Manifest], Manifest]:
    def described(manifest: Manifest) -> Manifest:
        graphs = tuple(msgspec.structs.replace(g, tolerance=bounds) for g in manifest.graphs)
        return msgspec.structs.replace(manifest, graphs=graphs)

    return described


@pytest.mark.parametrize(
    ("described", "what"),
    [
        (_silent_on("map"), "no expected value for graph .*, output map"),
        (_silent_on("score"), "no expected value for graph .*, output score"),
        (_bounded({}), "has no tolerance"),
        (_bounded(dict.fromkeys(("map", "score"), Tolerance(absolute=1e9, relative=0.0))), "as large as its answers"),
        (_bounded(dict.fromkeys(("map", "score"), Tolerance(absolute=0.0, relative=1.0))), "as large as its answers"),
    ],
)
def test_a_bundle_that_states_nothing_is_neither_verified_nor_loaded(
    tiny_bundle: Path, tmp_path: Path, described: Callable[[Manifest], Manifest], what: str
) -> None:
    path = tmp_path / "silent.edge"
    tiny.rewritten(tiny_bundle, path, described=described)
    report = verify(path)
    assert not report.passed
    assert all(re.search(what, row.problem) for row in report.rows)
    with pytest.raises(BadBundle, match=what):
        load(path, cache=tmp_path / "cache")


def test_a_source_that_no_longer_becomes_its_feeds_is_found(tiny_bundle: Path, tmp_path: Path) -> None:
    def change(name: str, data: bytes) -> bytes:
        return bytes([data[0] ^ 1]) + data[1:] if name == "golden/0/feeds/model/image" else data

    path = tmp_path / "resized.edge"
    tiny.rewritten(tiny_bundle, path, change)
    report = verify(path, runtimes=["onnxruntime"], variants=["fp32"])
    assert (report.reproduced, report.worst_feed_difference) == (2, 1)
    assert not report.passed


@pytest.mark.parametrize(
    ("faulty", "words"),
    [
        (lambda self, source: self.nothing_of_this_name, "AttributeError"),
        (lambda self, source: _answer(self, 255 - _stored_feed(self)), "it feeds model something else"),
    ],
)
def test_a_predictor_that_fails_or_does_not_do_what_its_task_says_is_not_verified(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, faulty: Callable[..., Any], words: str
) -> None:
    """Golden feeds are made by the task's `feeds`; what users call is `predict`."""
    assert [check.passed for check in verify(tiny_bundle, runtimes=["onnxruntime"]).predict] == [True]
    monkeypatch.setattr(AnomalyDetector, "predict", faulty)
    report = verify(tiny_bundle, runtimes=["onnxruntime"], variants=["fp32"])
    assert all(row.passed for row in report.rows)
    assert not report.passed
    assert words in report.text()


def _stored_feed(detector: AnomalyDetector) -> Array:
    return golden_feeds(detector.bundle, detector.bundle.manifest.golden[0], "model")["image"]


class _Said:
    suffix = ".txt"

    def line(self) -> str:
        return ""

    def to_json(self) -> str:
        return "{}"


def _answer(detector: AnomalyDetector, feed: Array) -> _Said:
    detector.run("model", {"image": feed})
    return _Said()


def test_what_stands_beside_a_sample_in_a_batch_is_valid_and_differs(tiny_bundle: Path) -> None:
    """Another sample, so that an index stays an index; where there is no other, the same values in another order."""
    with Bundle.open(tiny_bundle) as bundle:
        expected = Expected.of(bundle, bundle.manifest.graphs[0])
        for i in range(3):
            np.testing.assert_array_equal(expected.beside(i)["image"], expected.feeds((i + 1) % 3)["image"])
        one = msgspec.structs.replace(bundle.manifest, golden=bundle.manifest.golden[:1])
        bundle_of_one = Mock(wraps=bundle, manifest=one, array=bundle.array)
        alone = replace(expected, bundle=bundle_of_one, strongest=0)
        mine, beside = alone.feeds(0)["image"], alone.beside(0)["image"]
        assert not np.array_equal(mine, beside)
        np.testing.assert_array_equal(np.sort(mine, axis=None), np.sort(beside, axis=None))


def test_the_first_load_refuses_a_runtime_that_answers_wrongly(tiny_bundle: Path, tmp_path: Path) -> None:
    def change(name: str, data: bytes) -> bytes:
        return (np.frombuffer(data, "<f4") * 2).tobytes() if name.endswith("/score") else data

    path = tmp_path / "lying.edge"
    tiny.rewritten(tiny_bundle, path, change)
    with pytest.raises(CheckFailed, match=r"lying\.edge.*score is off by") as said:
        load(path, variant="fp32", threads=1, cache=tmp_path)
    with Bundle.open(path) as bundle:
        others = sorted({graph.variant for graph in bundle.manifest.graphs} - {"fp32"})
    assert f"Try --variant {' or '.join(others)}, or another runtime" in str(said.value)


def test_asking_for_what_is_not_there_is_an_error_not_a_shorter_report(tiny_bundle: Path) -> None:
    with pytest.raises(BadUsage, match="no variant int4"):
        verify(tiny_bundle, variants=["int4"])
    with pytest.raises(NotThere, match="tensorrt"):
        verify(tiny_bundle, runtimes=["tensorrt"])


def test_a_graph_that_no_asked_runtime_takes_is_named_with_the_reason(tiny_bundle: Path) -> None:
    report = verify(tiny_bundle, runtimes=["onnxruntime"])
    assert report.passed
    assert [graph for graph, _ in report.left_out] == ["int8.conv-relu-q", "int8-w7.conv-relu-q"]
    assert "not run: int8.conv-relu-q (onnxruntime would run layout conv-relu-q in float)" in report.text()
    assert report.to_json()["left_out"]
    assert verify(tiny_bundle, variants=["fp32"]).left_out == ()


def test_a_variant_that_was_asked_for_and_can_not_run_is_not_verified(tiny_bundle: Path, tmp_path: Path) -> None:
    with Bundle.open(tiny_bundle) as b:
        kept = [g for g in b.manifest.graphs if g.layout != "conv-q-relu-q"]  # what only other runtimes take
        graphs = {g.name: b.graph(g.name) for g in kept}
        members = {
            name: bytes(b.read(name)) for name in b.manifest.members if not name.startswith(("graphs/", "weights/"))
        }
        golden = tuple(
            msgspec.structs.replace(s, outputs={n: o for n, o in s.outputs.items() if n in graphs})
            for s in b.manifest.golden
        )
        used = {array.member for s in golden for o in s.outputs.values() for array in o.values()}
        members = {n: d for n, d in members.items() if "/outputs/" not in n or n in used}
        manifest = msgspec.structs.replace(b.manifest, graphs=tuple(kept), golden=golden, members={})
    path = tmp_path / "one-layout.edge"
    write_bundle(path, manifest=manifest, graphs=graphs, members=members).close()
    report = verify(path, runtimes=["onnxruntime"], variants=["int8", "fp32"])
    assert not report.passed
    assert [(row.graph, row.passed) for row in report.rows] == [("int8.conv-relu-q", False), ("fp32", True)]
    assert "would run layout conv-relu-q in float" in report.rows[0].problem
    assert report.rows[0].problem in report.text()


class _Zeros:
    """A session that answers zeros, as a runtime whose kernels did not run."""

    def __init__(self, graph: Graph) -> None:
        self.inputs, self.outputs = graph.inputs, graph.outputs

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        count = len(feeds[self.inputs[0].name])
        return {o.name: np.zeros((count, *(int(n) for n in o.shape[1:])), np.float32) for o in self.outputs}

    def explain(self) -> Explanation:
        raise AssertionError("a replay asks for answers alone")

    def close(self) -> None:
        pass


def test_the_self_check_replays_the_sample_that_a_silent_runtime_fails_worst(tiny_bundle: Path) -> None:
    with Bundle.open(tiny_bundle) as bundle:
        graph = next(g for g in bundle.manifest.graphs if g.name == "fp32")
        checks = check_session(bundle, graph, _Zeros(graph), strongest_only=True)
        assert {bundle.manifest.golden[c.sample].label for c in checks} == {"damaged on purpose"}
        assert [c.relative for c in checks] == [1.0, 1.0]  # a flat sample would show a few percent
        assert not any(c.passed for c in checks)


TILES = Preprocessing(width=tiny.SIDE, height=tiny.SIDE, mode="tiles", overlap=16)


def test_a_bundle_of_tiles_is_packed_verified_and_loaded(tmp_path: Path) -> None:
    path = tmp_path / "tiles.edge"
    with tiny.write(path, preprocessing=TILES) as bundle:
        fed = [s.feeds["model"]["image"].shape[0] for s in bundle.manifest.golden]
        assert fed == [6, 6, 6]  # 120 x 90 px in tiles of 64
        answers = bundle.manifest.golden[0].outputs["fp32"]
        assert {name: array.shape for name, array in answers.items()} == {"map": (6, 16, 16), "score": (6,)}
    report = verify(path, runtimes=["onnxruntime", "openvino"], variants=["fp32", "int8-w7"])
    assert report.passed, report.text()
    assert report.reproduced == 3
    for max_batch in (1, 4):
        with load(path, threads=1, cache=tmp_path, max_batch=max_batch) as detector:
            assert "self-check passed" in detector.explain()
            found = detector.predict(tiny.picture(31, height=90, width=120, damaged=True))
            assert found.cells.shape == (6, 16, 16)
            assert found.verdict.label == "defect"
            x0, y0, x1, y1 = found.regions[0].box
            assert x0 < 68 < x1
            assert y0 < 38 < y1


def test_a_wrong_value_in_the_last_tile_is_found(tmp_path: Path) -> None:
    def change(name: str, data: bytes) -> bytes:
        if name != "golden/2/outputs/fp32/score":
            return data
        values = np.frombuffer(data, "<f4").copy()
        values[-1] += values.max()
        return values.tobytes()

    tiny.write(tmp_path / "tiles.edge", preprocessing=TILES).close()
    tiny.rewritten(tmp_path / "tiles.edge", tmp_path / "wrong.edge", change)
    report = verify(tmp_path / "wrong.edge", runtimes=["onnxruntime"], variants=["fp32"])
    failed = {
        (c.sample, c.output, c.position) for r in report.rows for c in (*r.outputs, *r.batch_outputs) if not c.passed
    }
    assert failed == {(2, "score", position) for position in (None, 0, 1, 2)}


def test_the_golden_picture_starts_encoded(tiny_bundle: Path) -> None:
    with Bundle.open(tiny_bundle) as bundle:
        sample = bundle.manifest.golden[0]
        assert bundle.array(sample.source["picture"]).tobytes().startswith(b"\x89PNG")
        assert sample.feeds["model"]["image"].shape == (1, tiny.SIDE, tiny.SIDE, 3)


def _map_also(source: Path, target: Path, nodes: Callable[[str], list[onnx.NodeProto]]) -> None:
    """The same bundle, its fp32 graph with `nodes(old)` between the old map and the output of that name."""
    with Bundle.open(source) as bundle:
        graph = onnx.load_from_string(bytes(bundle.graph("fp32")))
        manifest = bundle.manifest
        graphs = {g.name: bundle.graph(g.name) for g in manifest.graphs}
        members = {
            name: bytes(bundle.read(name)) for name in manifest.members if not name.startswith(("graphs/", "weights/"))
        }
    for node in graph.graph.node:
        node.output[:] = ["old" if name == "map" else name for name in node.output]
        node.input[:] = ["old" if name == "map" else name for name in node.input]
    graph.graph.node.extend(nodes("old"))
    graphs["fp32"] = graph.SerializeToString()
    described = msgspec.structs.replace(manifest, members={})
    write_bundle(target, manifest=described, graphs=graphs, members=members).close()


def test_a_graph_whose_answer_depends_on_its_neighbours_in_the_batch_fails(tiny_bundle: Path, tmp_path: Path) -> None:
    """The mean over the batch: of a picture alone, and of a batch of copies, it is the picture's own map."""
    _map_also(
        tiny_bundle, tmp_path / "mixed.edge",
        lambda old: [
            onnx.helper.make_node("ReduceMean", [old], ["mean"], axes=[0], keepdims=1),
            onnx.helper.make_node("Sub", [old, old], ["nothing"]),
            onnx.helper.make_node("Add", ["mean", "nothing"], ["map"]),
        ],
    )  # fmt: skip
    report = verify(tmp_path / "mixed.edge", runtimes=["onnxruntime"], variants=["fp32"])
    (row,) = report.rows
    assert all(check.passed for check in row.outputs)
    assert not all(check.passed for check in row.batch_outputs)
    assert not report.passed


def test_a_graph_that_answers_differently_the_second_time_fails(tiny_bundle: Path, tmp_path: Path) -> None:
    """By less than the bundle allows, so that nothing else finds it."""
    _map_also(
        tiny_bundle, tmp_path / "random.edge",
        lambda old: [
            onnx.helper.make_node("RandomNormalLike", [old], ["noise"], scale=1e-6),
            onnx.helper.make_node("Add", [old, "noise"], ["map"]),
        ],
    )  # fmt: skip
    report = verify(tmp_path / "random.edge", runtimes=["onnxruntime"], variants=["fp32"])
    (row,) = report.rows
    assert all(check.passed for check in (*row.outputs, *row.batch_outputs))
    assert not row.repeatable
    assert not report.passed


@pytest.mark.parametrize("output", ["map", "score"])
def test_int8_that_is_off_by_what_would_change_verdicts_is_refused(
    tiny_bundle: Path, tmp_path: Path, output: str
) -> None:
    """Of the int8 graphs' strongest answers, 8 %: sums that saturate are no nearer."""

    def change(name: str, data: bytes) -> bytes:
        return (
            (np.frombuffer(data, "<f4") * np.float32(1.08)).tobytes()
            if "/int8.conv" in name and name.endswith(f"/{output}")
            else data
        )

    path = tmp_path / "off.edge"
    tiny.rewritten(tiny_bundle, path, change)
    report = verify(path, runtimes=["onnxruntime"], variants=["int8"])
    assert {c.output for row in report.rows for c in row.outputs if not c.passed} == {output}


def test_the_largest_error_of_a_score_is_reported_as_a_share_of_the_threshold(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    def change(name: str, data: bytes) -> bytes:
        shift = np.float32(0.25) if name == "golden/1/outputs/fp32/score" else np.float32(0.0)
        return (np.frombuffer(data, "<f4") + shift).tobytes() if name.endswith("/score") else data

    path = tmp_path / "off.edge"
    tiny.rewritten(tiny_bundle, path, change)
    undecided = verify(path, runtimes=["onnxruntime"], variants=["fp32"])
    alone = [check for row in undecided.rows for check in row.outputs]
    batched = [check for row in undecided.rows for check in row.batch_outputs]
    with Bundle.open(path) as bundle:
        for checks in (alone, batched, alone + batched):
            worst = Anomaly().headline(bundle, checks).facts["worst_score"]
            assert worst == pytest.approx(0.25, rel=1e-3)
    assert undecided.headline.facts["worst_score"] == pytest.approx(0.25, rel=1e-3)
    assert undecided.headline.facts["threshold"] is None
    assert "of the threshold" not in undecided.text()
    report = verify(tiny_bundle, runtimes=["onnxruntime"])
    found = re.search(r"scores: off by up to ([\d.]+) % of the threshold in force", report.text())
    assert found
    facts = report.headline.facts
    assert float(found[1]) == pytest.approx(100 * facts["worst_score"] / facts["threshold"], abs=0.06)


AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2"}
"""OpenVINO's kernels as on a CPU without VNNI: int8 products are added in 16 bits."""


def _verified_on_avx2(bundle: Path, *options: str) -> dict[str, Any]:
    code = "from edge_sdk.cli.main import run; run()"
    call = [sys.executable, "-c", code, "verify", str(bundle), "--runtime=openvino", "--json", *options]
    done = subprocess.run(call, env={**os.environ, **AVX2}, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="other CPUs add int8 products in 32 bits")
def test_a_graph_that_this_cpu_is_known_to_compute_wrongly_is_named_and_left_out_unless_it_is_asked_for(
    tiny_bundle: Path,
) -> None:
    report = _verified_on_avx2(tiny_bundle)
    assert report["passed"]
    assert {row["variant"] for row in report["rows"]} == {"fp32", "fp16", "int8-w7"}
    left = {graph: why for graph, why in report["left_out"] if "saturate" in why}
    assert set(left) == {"int8.conv-relu-q on openvino", "int8.conv-q-relu-q on openvino"}
    assert all("avoided by the variant int8-w7" in why for why in left.values())
    asked = _verified_on_avx2(tiny_bundle, "--variant=int8")
    assert {row["variant"] for row in asked["rows"]} == {"int8"}
    assert asked["left_out"] == []


def test_both_int8_variants_are_held_to_one_tolerance_far_below_another_answer() -> None:
    kinds = [KINDS[name] for name in KINDS if is_int8(name)]
    assert len(kinds) == 2
    (bounds,) = {(one.absolute, one.relative, one.distance) for one in kinds}
    absolute, relative, distance = bounds
    assert 0.0 < absolute < 1e-5
    assert 0.0 < relative < 0.2
    assert 0.0 < distance < 0.2
