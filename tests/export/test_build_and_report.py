"""From a trained model to a bundle and a page: a family of the test's own drives every step of the product."""

from __future__ import annotations

import html.parser
import json
import platform
import re
import shutil
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import tiny
from edges import Edges, EdgesOptions, folder_of_plates, read, write

from edge_sdk import grouping
from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.bundle.store import Bundle
from edge_sdk.calibration import QuantizeOptions, quantize
from edge_sdk.decision.parts import just_above
from edge_sdk.decision.threshold import Threshold
from edge_sdk.errors import BadUsage
from edge_sdk.export import build as builder
from edge_sdk.export import drawing, report, speeds
from edge_sdk.export.anomaly.data import AnomalyData, AnomalyTrained, Picture
from edge_sdk.export.calibrating import options_for
from edge_sdk.export.demo import STAGES, demo, machine
from edge_sdk.export.family import Exported, Trained
from edge_sdk.export.pictures.store import PictureStore
from edge_sdk.export.tasks.anomaly import evaluate, plots, threshold_scores
from edge_sdk.export.tasks.anomaly.decide import decide
from edge_sdk.export.tasks.anomaly.examples import examples, examples_of
from edge_sdk.export.tasks.anomaly.options import AnomalyOptions
from edge_sdk.export.tasks.anomaly.task import highest_of, threshold_of
from edge_sdk.export.tasks.base import Built, Made, float_variant
from edge_sdk.loading import load_as
from edge_sdk.progress import silent
from edge_sdk.tasks.anomaly import refit
from edge_sdk.tasks.anomaly.detector import AnomalyDetector
from edge_sdk.verify import verify

pytestmark = pytest.mark.long

GROUP = r"(p\d+)_"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of_plates(tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="module")
def data(folder: Path) -> AnomalyData:
    """No group stated: each picture counts as a part."""
    return read(folder)


class OneVariant(Edges):
    """With int8 alone beside fp32: the others would take as long again, and few tests look at them."""

    def graphs(self, trained: Trained) -> Exported:
        made = super().graphs(trained)
        return replace(made, graphs={role: replace(one, variants=("int8",)) for role, one in made.graphs.items()})


def _build(
    data: AnomalyData, out: Path, rate: str | None = None, *, history: bool = True, evaluate: bool = True,
    every_variant: bool = False,
) -> Built:  # fmt: skip
    family = (Edges if every_variant else OneVariant)(history=history)
    trained = family.train(data, EdgesOptions(), folder=out.parent, progress=silent)
    options = builder.BuildOptions(name="Parts <&>", out=out, evaluate=evaluate)
    return builder.build(family, data, trained, AnomalyOptions(rate=rate), options)


def trained_of(built: Built) -> AnomalyTrained:
    trained = built.trained
    assert isinstance(trained, AnomalyTrained)
    return trained


def made_by(family: Edges, data: AnomalyData, trained: AnomalyTrained) -> Made:
    exported = family.graphs(trained)
    return Made(
        family=family, data=data, options=AnomalyOptions(), trained=trained, exported=exported, threads=1,
        quantized=builder.quantized(exported, family.samples(data, trained, exported, 8), 1),
    )  # fmt: skip


def refitted(path: Path, request: refit.Request, stated: refit.Stated, *, variant: str | None = None) -> refit.Refit:
    with load_as(AnomalyDetector, path, runtime="onnxruntime", variant=variant, threads=1) as detector:
        return refit.from_pictures(detector, request, stated)


def _page(built: Built, folder: Path) -> str:
    """Text of the page, written without any latency."""
    nothing = speeds.Speeds(latency={}, ratios={})
    measured = report.measured(built, speeds=nothing, verified=verify(built.path), machine=machine())
    report.write(folder / "report.html", built, measured)
    return (folder / "report.html").read_text("utf-8")


def test_the_bundle_holds_the_decision_the_quality_and_how_it_was_made(data: AnomalyData, tmp_path: Path) -> None:
    built = _build(data, tmp_path / "parts.edge")
    first, *others = built.evaluation.rows
    assert first.reference
    assert first.by_picture is not None
    metrics = first.by_picture
    assert (first.variant, metrics.auroc, metrics.misses, metrics.defects, metrics.good) == ("fp32", 1.0, 0, 6, 6)
    assert {r.runtime for r in built.evaluation.rows} >= {"onnxruntime", "openvino"}
    by_runtime = [(r.variant, r.runtime) for r in built.evaluation.rows]
    assert len(set(by_runtime)) == len(by_runtime)  # of two layouts the one that `load` takes
    assert all(r.problem == "" and r.by_picture and r.by_picture.flips == 0 for r in others)
    assert all((r.kept_least or 0) > 0.9 and r.kept_of == 6 and r.by_part is None for r in others)
    with Bundle.open(tmp_path / "parts.edge") as bundle:
        assert bundle.in_force(Threshold) == threshold_of(built)
        metrics = bundle.report()
        assert metrics is not None
        assert metrics["rows"] == json.loads(json.dumps([row.to_json() for row in built.evaluation.rows]))
        assert metrics["pictures"] == {"good": 6, "square <&>": 6}
        assert bundle.manifest.provenance.samples == 24
    trained = trained_of(built)
    by_path = dict(zip((p.path for p in trained.held_out), trained.scores, strict=True))
    assert [by_path[one.path] for one in highest_of(built)] == sorted(trained.scores)[
        : -len(highest_of(built)) - 1 : -1
    ]
    assert verify(tmp_path / "parts.edge").passed


def test_the_threshold_comes_from_held_out_good_parts_alone(data: AnomalyData, tmp_path: Path) -> None:
    built = _build(data, tmp_path / "parts.edge", rate="10%", evaluate=False)
    decision = threshold_of(built)
    rising = np.sort(trained_of(built).scores)
    assert decision.threshold == just_above(rising[18], rising)  # rank ceil(21 * 0.9) = 19 of 20
    assert (decision.parts, decision.rank, decision.requested_rate) == (20, 19, 0.1)
    assert "assumed" in " ".join(decision.warnings)
    assert (decision.variant, decision.runtime) == ("fp32", "onnxruntime")


def test_the_threshold_holds_for_whatever_runs(data: AnomalyData, tmp_path: Path) -> None:
    """Every variant on every runtime rejects at most the one of 20 that the rank leaves."""
    built = _build(data, tmp_path / "parts.edge", rate="10%", every_variant=True)
    assert threshold_of(built).variant == "fp32, int8, int8-w7, fp16"
    assert set(threshold_of(built).runtime.split(", ")) >= {"onnxruntime", "openvino"}
    for row in (row for row in verify(built.path).rows if row.passed):
        with load_as(
            AnomalyDetector, built.path, variant=row.variant, runtime=row.runtime, threads=1, cache=tmp_path / "c"
        ) as detector:
            rejected = [detector.predict(p.path).is_defect for p in trained_of(built).held_out]
        assert sum(rejected) <= 1, (row.variant, row.runtime)
    assert threshold_of(built).threshold >= np.sort(trained_of(built).scores)[18]


@pytest.mark.parametrize("group", [None, GROUP])
def test_a_refit_on_the_pictures_that_were_held_out_names_the_same_data(
    folder: Path, tmp_path: Path, group: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    built = _build(read(folder, group=group), tmp_path / "parts.edge")
    apart = tmp_path / "held out"
    apart.mkdir()
    for picture in trained_of(built).held_out:
        shutil.copy(picture.path, apart)
    request, stated = refit.Request(good=apart, rate="10%"), refit.Stated(group=group or "")
    again = refitted(built.path, request, stated).decision
    assert again.data_digest == threshold_of(built).data_digest
    (apart / trained_of(built).held_out[0].path.name).unlink()
    fewer = refitted(built.path, request, stated).decision
    assert fewer.data_digest != again.data_digest


@pytest.mark.parametrize("group", [None, GROUP])
def test_a_refit_leaves_out_what_the_model_was_trained_on_and_says_how_many(
    folder: Path, tmp_path: Path, group: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    built = _build(read(folder, group=group), tmp_path / "parts.edge")
    request = refit.Request(good=folder / "train/good", rate="10%")
    made = refitted(built.path, request, refit.Stated(group=group or ""))
    assert made.decision.data_digest == threshold_of(built).data_digest  # what is left are the held-out pictures
    (left_out,) = made.left_out
    assert left_out.why in made.decision.warnings
    assert left_out.why.startswith("4 pictures of --good left out: the model was trained on these parts")
    with Bundle.open(built.path) as bundle:
        kept = bundle.manifest.provenance.notes[grouping.SEEN]
    assert len(kept) == 4 * grouping.SEEN_DIGITS
    assert not any(picture.path.name in kept for picture in read(folder).train)


def test_without_test_pictures_no_verdict_is_counted_on_the_parts_that_set_the_threshold(
    folder: Path, tmp_path: Path
) -> None:
    built = _build(read(folder / "train/good"), tmp_path / "parts.edge")
    assert "no test pictures" in built.evaluation.missing
    assert built.evaluation.rows
    assert all(r.by_picture and r.by_picture.good == 20 for r in built.evaluation.rows)
    assert all(
        r.by_picture and r.by_picture.false_rejects is None and r.by_picture.flips is None
        for r in built.evaluation.rows
    )
    page = _page(built, tmp_path)
    assert "The threshold was not evaluated, as there are no test pictures" in page
    assert "good pictures rejected" not in page
    with Bundle.open(built.path) as bundle:
        assert bundle.report()["not_evaluated"] == built.evaluation.missing


def test_the_group_stated_with_the_pictures_is_the_one_of_the_decision_and_of_the_metrics(
    folder: Path, tmp_path: Path
) -> None:
    built = _build(read(folder, group=GROUP), tmp_path / "parts.edge")
    assert (threshold_of(built).grouped_by, threshold_of(built).parts, threshold_of(built).pictures) == (GROUP, 10, 20)
    metrics = built.evaluation.rows[0].by_part
    assert metrics is not None
    assert (metrics.unit, metrics.good, metrics.defects) == ("part", 3, 3)
    page = _page(built, tmp_path)
    assert "3 good and 3 defective parts" in page
    assert "6 good and 6 defective pictures" in page
    assert "6 of 6 pictures" in page


def test_without_a_rate_the_lowest_supportable_one_is_taken_and_said(data: AnomalyData, tmp_path: Path) -> None:
    built = _build(data, tmp_path / "parts.edge", evaluate=False)
    highest = max(trained_of(built).scores)
    assert highest < threshold_of(built).threshold < 1.001 * highest
    assert threshold_of(built).requested_rate == pytest.approx(1 / 21, abs=0.0005)


def test_what_calibration_saw_is_in_the_bundle_and_on_the_page(data: AnomalyData, tmp_path: Path) -> None:
    built = _build(data, tmp_path / "parts.edge", every_variant=True)
    with Bundle.open(built.path) as bundle:
        found = bundle.report()["calibration"]["model"]  # by role, of a task with one role too
    assert found["samples"] == 8
    assert [layer["node"] for layer in found["layers"]] == ["conv2", "conv3"]
    assert set(found["errors"]) == {"int8", "int8-w7", "fp16"}
    assert all(0 < found["errors"][v]["score"] < 0.2 for v in found["errors"])
    assert all("cut" in tensor for tensor in found["tensors"])
    page = _page(built, tmp_path)
    assert (
        "8 samples read, differences measured on 4 of them. In int8: 2 operators; "
        "of Conv, ConvTranspose, Gemm and MatMul, left in float: conv1 (" in page
    )
    assert f"<td>{100 * found['errors']['int8']['map']:.2g} %</td>" in page.replace("\u00a0", " ")


def test_the_threads_that_were_asked_for_are_those_of_calibration_and_scoring(
    data: AnomalyData, tmp_path: Path
) -> None:
    """A pool of n threads in ONNX Runtime starts n - 1: the kernel counts them."""
    pools: dict[int, int] = {}
    for threads in (1, 4):
        family, before = Edges(), _threads_alive()

        def count(done: int, total: int, note: str, threads: int = threads, before: int = before) -> None:
            if note == "calibration samples":
                pools[threads] = max(pools.get(threads, 0), _threads_alive() - before)

        trained = family.train(data, EdgesOptions(threads=threads), folder=tmp_path, progress=silent)
        options = builder.BuildOptions(name="x", out=tmp_path / "x.edge")
        built = builder.build(family, data, trained, AnomalyOptions(), options, progress=count)
        assert {row.threads for row in built.evaluation.rows} == {threads}
    assert pools == {1: 0, 4: 3}


def _threads_alive() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def test_masks_of_the_defects_bring_pixel_metrics_of_each_variant_once(tmp_path: Path) -> None:
    data = read(folder_of_plates(tmp_path / "parts", masks=True))
    built = _build(data, tmp_path / "parts.edge", every_variant=True)
    metrics = [row.pixels for row in built.evaluation.rows if row.pixels]
    assert [row.variant for row in built.evaluation.rows if row.pixels] == ["fp32", "int8", "int8-w7", "fp16"]
    assert all((t.pictures, t.regions, t.defect_pixels) == (12, 6, 6 * 16 * 16) for t in metrics)
    assert all(0.9 < t.auroc < 1 and 0.7 < t.aupro < 1 for t in metrics)
    page = _page(built, tmp_path)
    assert "<th>pixel AUROC</th><th>AU-PRO</th>" in page
    assert "pixel AUROC, fp32" in page
    assert "12 pictures with 6 defect regions" in page


def test_a_mask_that_cannot_be_used_costs_the_pixel_metrics_alone(tmp_path: Path) -> None:
    data = read(folder_of_plates(tmp_path / "parts", masks=True))
    write(next((tmp_path / "parts/ground_truth").rglob("*.png")), np.zeros((9, 9, 3), np.uint8))
    row = _build(data, tmp_path / "parts.edge").evaluation.rows[0]
    assert row.pixels is None
    assert row.by_picture is not None
    assert row.by_picture.auroc == 1.0
    assert "no pixel metrics" in row.notes[0]
    assert "its mask (9, 9)" in row.notes[0]


def test_a_defect_without_a_mask_is_left_out_of_pixel_metrics_and_said(tmp_path: Path) -> None:
    folder_of_plates(tmp_path / "parts", masks=True)
    next((tmp_path / "parts/ground_truth").rglob("*.png")).unlink()
    row = _build(read(tmp_path / "parts"), tmp_path / "parts.edge").evaluation.rows[0]
    assert row.pixels is not None
    assert (row.pixels.pictures, row.pixels.regions) == (11, 5)
    assert row.notes == ("defective pictures without a mask, left out of pixel metrics: 1",)


def test_a_test_picture_that_went_away_costs_the_metrics_and_not_the_bundle(folder: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(folder, tmp_path / "copied"))
    data = read(copied)
    data.test[0].path.unlink()
    built = _build(data, tmp_path / "parts.edge")
    assert built.evaluation.rows == ()
    assert data.test[0].path.name in built.evaluation.missing
    with Bundle.open(built.path) as bundle:
        assert bundle.report()["not_evaluated"] == built.evaluation.missing


class _Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.pictures = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href") and value and not value.startswith("data:"):
                self.outside.append(value)
        self.pictures += tag in ("img", "svg")


def test_the_page_needs_no_network_and_escapes_what_users_named(data: AnomalyData, tmp_path: Path) -> None:
    text = _page(_build(data, tmp_path / "parts.edge"), tmp_path)
    seen = _Tags()
    seen.feed(text)
    assert seen.outside == []
    assert seen.pictures == text.count("<figcaption>")
    assert text.count("<svg") == 3
    assert "Parts &lt;&amp;&gt;" in text
    assert "<&>" not in text
    assert "Edges, size tiny" in text
    answer = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert answer["rows"][0]["by_picture"]["auroc"] == 1.0


def test_a_family_without_history_has_a_page_without_a_curve(data: AnomalyData, tmp_path: Path) -> None:
    assert _page(_build(data, tmp_path / "parts.edge", history=False), tmp_path).count("<svg") == 2


def test_a_bundle_without_metrics_has_a_page_that_says_why(data: AnomalyData, tmp_path: Path) -> None:
    built = _build(data, tmp_path / "parts.edge")
    nothing = replace(built.evaluation, rows=(), scored=(), missing="the disk <went> away")
    built = replace(built, evaluation=nothing)
    text = _page(built, tmp_path)
    assert "Quality was not measured: the disk &lt;went&gt; away" in text
    assert text.count("<svg") == 1


def test_the_demo_shows_the_pictures_that_its_family_brings(folder: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    shown = demo(
        tmp_path / "out", Edges(folder), time_budget_s=1.0, seed=0, timed=(),
        progress=lambda done, total, note: notes.append(note),
    )  # fmt: skip
    assert tuple(shown.seconds) == STAGES
    stages = [int(note.removeprefix("stage ").split(" of 5: ")[0]) for note in notes]
    assert stages == sorted(stages)
    assert set(stages) >= {1, 2, 3}
    assert shown.verified
    with Bundle.open(Path(shown.bundle)) as bundle:
        assert bundle.manifest.name == "Grey <&> plates"
        assert bundle.manifest.provenance.licence == "Drawn by a test."
        threshold = bundle.in_force(Threshold)
        assert threshold is not None
        assert threshold.requested_rate == 0.1
    assert "AUROC 1.000; at the bundle's threshold 6 of 6 defects are found" in shown.text()
    assert "quality was not measured" in replace(shown, headline="").text()


def test_a_demo_that_trains_nothing_has_no_stage_and_no_time_for_it(folder: Path, tmp_path: Path) -> None:
    family = Edges(folder)
    family.demo = replace(family.demo, trains=False)
    with pytest.raises(BadUsage, match=r"the demo of edges trains nothing\. Leave --time-budget out"):
        demo(tmp_path / "out", family, time_budget_s=1.0, seed=0, timed=(), progress=silent)
    assert not (tmp_path / "out").exists()
    notes: list[str] = []
    shown = demo(
        tmp_path / "out", family, seed=0, timed=(), progress=lambda done, total, note: notes.append(note)
    )  # fmt: skip
    assert tuple(shown.seconds) == STAGES[1:]
    assert notes[0].startswith("stage 1 of 4: ")
    assert shown.next_steps
    assert all(f"Use it: {step}" in shown.text() for step in shown.next_steps)


@pytest.mark.parametrize(("steps", "warned"), [(None, False), (50, False), (80, True)])
def test_a_demo_whose_training_was_cut_short_says_so(
    folder: Path, tmp_path: Path, steps: int | None, warned: bool
) -> None:
    family = Edges(folder)
    family.demo = replace(family.demo, options=replace(family.demo.options, steps=steps))
    shown = demo(tmp_path / "out", family, time_budget_s=1.0, seed=0, timed=(), progress=silent)
    assert ("Only 50 of 80 training steps" in shown.text()) == warned
    assert bool(shown.cut_short) == warned
    assert ("Only 50 of 80 training steps" in Path(shown.page).read_text("utf-8").partition("<svg")[0]) == warned


def test_rows_worth_timing_are_those_that_load_would_take(data: AnomalyData, tmp_path: Path) -> None:
    built = _build(data, tmp_path / "parts.edge", every_variant=True)
    verified = verify(built.path)
    keys = speeds.timed(verified, ("fp32", "int8-w7"))
    wrong = replace(verified, rows=tuple(replace(r, repeatable=r.runtime != "openvino") for r in verified.rows))
    assert speeds.timed(wrong, ("fp32", "int8-w7")) == [key for key in keys if key[1] != "openvino"]
    layout = "conv-q-relu-q"  # what openvino does not take best
    other = [r for r in verified.rows if (r.runtime, r.layout) != ("openvino", "conv-relu-q")]
    assert any((r.runtime, r.layout) == ("openvino", layout) for r in other)
    assert speeds.timed(replace(verified, rows=tuple(other)), ("int8-w7",)) == [("int8-w7", "onnxruntime")]
    assert sorted(keys) == [
        ("fp32", "onnxruntime"), ("fp32", "openvino"), ("int8-w7", "onnxruntime"), ("int8-w7", "openvino"),
    ]  # fmt: skip


ON_X86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the cap is for x86")


@ON_X86
def test_a_graph_that_this_cpu_is_known_to_compute_wrongly_does_not_set_the_threshold(
    data: AnomalyData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = Edges()
    trained = family.train(data, EdgesOptions(threads=1), folder=tmp_path, progress=silent)
    made = made_by(family, data, trained)
    int8 = [v for v in made.variants() if v.variant == "int8"]
    here, capped = [], []
    for found in (here, capped):
        found.append(threshold_scores.highest(trained, int8, data.store, tiny.record_of(made.exported)))
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert "openvino" not in capped[0].runtimes
    assert capped[0].warnings == here[0].warnings == ()


@ON_X86
@pytest.mark.parametrize(("cap", "timed"), [("AVX2", ("fp32", "int8-w7")), ("SSE41", ("fp32",))])
def test_what_is_timed_is_fp32_and_the_int8_of_this_cpu(
    cap: str, timed: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", cap)
    assert speeds.worth_timing() == timed


def test_pictures_are_not_evaluated_by_a_runtime_that_answers_wrongly(data: AnomalyData, tmp_path: Path) -> None:
    built = _build(data, tmp_path / "parts.edge", every_variant=True)
    verified = verify(built.path)
    only = replace(verified, rows=tuple(replace(r, repeatable=r.variant == "fp16") for r in verified.rows))
    assert len(examples_of(built.path, only, data.test)) == len(examples_of(built.path, verified, data.test)) > 0
    none = replace(verified, rows=tuple(replace(r, repeatable=False) for r in verified.rows))
    assert examples_of(built.path, none, data.test) == []


def test_wrong_verdicts_are_shown_last(data: AnomalyData, tmp_path: Path) -> None:
    built = _build(data, tmp_path / "parts.edge")
    relabelled = [Picture(path=data.test[0].path, part="x", label="scratch"), *data.test[1:]]
    with load_as(AnomalyDetector, built.path, threads=1, cache=tmp_path) as detector:
        found = examples(detector, relabelled)
    assert found[-1].wrong
    assert not any(s.wrong for s in found[:-1])


def test_the_worst_mistakes_are_shown_the_highest_good_score_and_the_lowest_defects(
    data: AnomalyData, tmp_path: Path
) -> None:
    """Labels turned round: every verdict is wrong."""
    built = _build(data, tmp_path / "parts.edge")
    turned = [Picture(path=p.path, part=p.part, label="scratch" if p.label == "good" else "good") for p in data.test]
    with load_as(AnomalyDetector, built.path, threads=1, cache=tmp_path) as detector:
        scores = {f"{p.path.parent.name}/{p.path.name}": (p.label, detector.predict(p.path).score) for p in turned}
        found = examples(detector, turned)
    rejected = [name for name, (label, _) in scores.items() if label == "good"]
    missed = sorted((s, name) for name, (label, s) in scores.items() if label != "good")
    shown = [s.file for s in found if s.wrong]
    assert shown[0] == max(rejected, key=lambda name: scores[name][1])
    assert shown[1:] == [name for _, name in missed[:2]]


def test_the_page_tells_neither_the_licence_twice_nor_the_sums_of_the_training_pictures(
    data: AnomalyData, tmp_path: Path
) -> None:
    page = _page(_build(data, tmp_path / "parts.edge"), tmp_path)
    with Bundle.open(tmp_path / "parts.edge") as bundle:
        made = bundle.manifest.provenance
    assert made.notes[grouping.SEEN]
    assert made.notes[grouping.SEEN] not in page
    assert made.data_digest in page


def test_ticks_of_a_histogram_are_round_and_apart() -> None:
    scores = {"good": np.linspace(-0.07, 0.2, 20), "scratch": np.linspace(0.1, 3.2, 40)}
    drawn = plots.histogram(scores, 0.31)
    ticks = re.findall(r'<text x="([0-9.]+)" y="([0-9.]+)" text-anchor="middle" class="tick">([^<]+)<', drawn)
    below = [(float(x), words) for x, _, words in ticks]
    assert len({y for _, y, _ in ticks}) == 1
    assert len(below) >= 5
    assert all(len(words.lstrip("-")) <= 5 for _, words in below)
    places = sorted(x for x, _ in below)
    assert min(np.diff(places)) >= 0.1 * 500
    assert sorted(below) == sorted(below, key=lambda pair: float(pair[1]))
    assert "log scale" not in drawn  # -0.07 has no logarithm


@pytest.mark.parametrize(
    "scores",
    [
        {"good": [-0.3, -0.2, 0.0], "scratch": [150.0]}, {"good": [2.0]}, {"good": [0.0, 0.0]},
        {"good": [1e-9, 2e-9], "scratch": [5.0, 7.0]}, {"good": [-5.0, -4.0], "scratch": [-1.0]},
    ],
)  # fmt: skip
def test_every_score_and_the_threshold_stand_inside_the_histogram(scores: dict[str, list[float]]) -> None:
    drawn = plots.histogram({label: np.array(values) for label, values in scores.items()}, scores["good"][-1])
    bars = re.findall(r'<rect x="([0-9.-]+)" y="[0-9.-]+" width="([0-9.]+)" height="([0-9.]+)" fill', drawn)
    assert sum(float(height) > 0 for _, _, height in bars) >= len(scores)
    mark = re.findall(r'<line x1="([0-9.-]+)"[^>]*class="mark"', drawn)
    places = [float(x) for x in [*mark, *(x for x, _, _ in bars)]]
    assert all(drawing.LEFT <= x <= drawing.LEFT + 500 for x in places)


def test_a_curve_of_negative_losses_stays_inside_its_drawing() -> None:
    drawn = drawing.curve([(10, -1.0), (20, -3.0), (30, 0.5)], "loss")
    (points,) = re.findall(r'points="([^"]+)"', drawn)
    heights = [float(pair.split(",")[1]) for pair in points.split()]
    assert all(drawing.TOP <= y <= drawing.TOP + drawing.WIDE.high for y in heights)
    assert heights[1] == max(heights)


def test_a_confidence_that_is_asked_for_makes_the_rate_hold_with_it(data: AnomalyData, tmp_path: Path) -> None:
    family = Edges()
    trained = family.train(data, EdgesOptions(), folder=tmp_path, progress=silent)
    wanted = AnomalyOptions(rate="20%")
    scored = threshold_scores.of(trained.scores, trained.scored_by, ())
    warned = replace(scored, warnings=("int8 is far off",))
    assert decide(data, trained, wanted, warned).warnings[-1] == "int8 is far off"
    mean, sure = (decide(data, trained, replace(wanted, confidence=c), scored) for c in (None, "80%"))
    assert (mean.rule, sure.rule) == ("conformal", "conformal-pac")
    assert sure.confidence == 0.8
    assert sure.threshold > mean.threshold


class _Choosy(Edges):
    """Its graph has a float tail, an operator that int8 would hurt, and a map to be matched."""

    def graphs(self, trained: AnomalyTrained) -> Exported:
        made = tiny.graph()
        graph = replace(made.graphs["model"], keep_fp32_in_int8=("conv2",), output_correction=("map4d/mean",))
        return replace(made, graphs={"model": graph})


@pytest.mark.parametrize("ignored", ["keep_fp32", "exclude", "output_correction"])
def test_what_a_family_says_of_its_graph_reaches_the_calibration(
    data: AnomalyData, tmp_path: Path, ignored: str
) -> None:
    family = _Choosy()
    trained = family.train(data, EdgesOptions(threads=1), folder=tmp_path, progress=silent)
    made, exported = made_by(family, data, trained), family.graphs(trained)
    graph = exported.graphs["model"]
    options = QuantizeOptions(
        keep_fp32=graph.keep_fp32, exclude=graph.keep_fp32_in_int8, output_correction=graph.output_correction,
        threads=1,
    )  # fmt: skip
    assert options_for(graph, threads=1) == options
    with_all = quantize(graph.onnx, tiny.Feeds(exported), options=options)
    without = quantize(graph.onnx, tiny.Feeds(exported), options=replace(options, **{ignored: ()}))
    assert made.quantized["model"].variants == with_all.variants
    assert made.quantized["model"].variants != without.variants


def test_a_refit_from_defects_tells_good_and_defective_parts_apart(
    folder: Path, data: AnomalyData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six new good pictures of three parts, six defective ones of three: each side counts its own, by part, and the
    record says which variant scored them."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    built = _build(data, tmp_path / "parts.edge")
    request = refit.Request(good=folder / "test/good", defects=folder / "test/square <&>", prevalence=0.2)
    stated = refit.Stated(group=GROUP)
    made = refitted(built.path, request, stated, variant="fp32")
    found = made.decision
    assert (found.rule, found.pictures, found.parts, found.defects) == ("cost", 6, 3, 3)
    assert (found.variant, found.runtime) == ("fp32", "onnxruntime")
    with load_as(AnomalyDetector, built.path, runtime="onnxruntime", variant="fp32", threads=1) as detector:
        good, bad = ([detector.predict(p).score for p in sorted(f.iterdir())] for f in (request.good, request.defects))
    assert max(good) < found.threshold < min(bad)
    assert made.above_before == sum(score > threshold_of(built).threshold for score in good)


def test_of_the_tiles_of_a_test_picture_the_worst_is_its_score(tmp_path: Path) -> None:
    record = Preprocessing(width=tiny.SIDE, height=tiny.SIDE, mode="tiles", overlap=16)
    made = tiny.graph(preprocessing=record)
    path = tmp_path / "damaged.png"
    write(path, tiny.picture(31, damaged=True))
    inputs = evaluate.prepared([Picture(path=path, part="a", label="square")], PictureStore(), record)
    scored = evaluate.score_all([float_variant(made.graphs["model"].onnx)], inputs, threads=1)
    want = tiny.scores(made, [tiny.picture(31, damaged=True)])
    assert [row.scores.tolist() for row in scored] == [pytest.approx(want, rel=1e-5)] * len(scored)
    assert scored


def test_the_size_in_the_speed_table_is_of_the_graphs_that_the_runtime_takes() -> None:
    """Layouts differ in size, and a fault of one runtime costs only that runtime a graph."""
    graphs = [
        Mock(role=role, variant="int8", layout=layout, runtimes=runtimes, size_bytes=size)
        for role, layout, runtimes, size in (
            ("encoder", "conv-relu-q", (), 1), ("encoder", "conv-q-relu-q", (), 2),
            ("decoder", "conv-relu-q", ("openvino",), 10), ("decoder", "conv-q-relu-q", ("onnxruntime",), 20),
        )
    ]  # fmt: skip
    manifest = Mock(graphs=graphs)
    assert report._size(manifest, "int8", "onnxruntime") == 22
    assert report._size(manifest, "int8", "openvino") == 11
