"""From a trained model to a bundle and a page: a family of the test's own drives every step of the product."""

from __future__ import annotations

import html.parser
import json
from pathlib import Path

import cv2
import pytest
import tiny

from edge_sdk.bundle.store import Bundle
from edge_sdk.decision import Decision
from edge_sdk.errors import BoundNotMet
from edge_sdk.export import build as builder
from edge_sdk.export import report, speeds
from edge_sdk.export.demo import machine
from edge_sdk.export.family import FloatGraph, Picture, PictureSet, Trained, TrainOptions
from edge_sdk.export.pictures import read_pictures
from edge_sdk.loading import load
from edge_sdk.progress import Progress, silent
from edge_sdk.verify import verify


class Edges:
    """The smallest family: its graph answers to sharp edges, and its training is scoring the held-out parts."""

    name, task = "edges", "anomaly"

    def train(self, data: PictureSet, options: TrainOptions, *, folder: Path, progress: Progress) -> Trained:
        held_out = data.train[-20:]
        pictures = [cv2.imread(str(p.path))[:, :, ::-1].copy() for p in held_out]
        return Trained(
            folder=folder, options=options, held_out=held_out, scores=tuple(tiny.scores(tiny.graph(), pictures)),
            history=((0, {"loss": 2.0}), (50, {"loss": 1.0})), facts={"steps": 50},
        )  # fmt: skip

    def graph(self, trained: Trained) -> FloatGraph:
        return tiny.graph()

    def calibration(self, data: PictureSet, trained: Trained, *, count: int) -> tiny.Feeds:
        return tiny.Feeds(tiny.graph())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PictureSet:
    """24 good pictures to train on; 6 good and 6 damaged ones to test on."""
    folder = tmp_path_factory.mktemp("parts")
    for kind, count, damaged in (("train/good", 24, False), ("test/good", 6, False), ("test/square <&>", 6, True)):
        (folder / kind).mkdir(parents=True)
        for i in range(count):
            rgb = tiny.picture(300 + i + (100 if "test" in kind else 0), damaged=damaged)
            (folder / kind / f"{i:02d}.png").write_bytes(cv2.imencode(".png", rgb[:, :, ::-1])[1].tobytes())
    return read_pictures(folder)


def _build(data: PictureSet, out: Path, rate: str | None = None) -> tuple[builder.Built, Trained]:
    family = Edges()
    trained = family.train(data, TrainOptions(size="tiny"), folder=out.parent, progress=silent)
    options = builder.BuildOptions(name="Parts <&>", out=out, rate=rate)
    return builder.build(family, data, trained, options), trained


def test_the_bundle_holds_the_decision_the_quality_and_how_it_was_made(data: PictureSet, tmp_path: Path) -> None:
    built, _ = _build(data, tmp_path / "parts.edge")
    first = built.rows[0]
    assert (first.variant, first.auroc, first.misses, first.defects, first.good) == ("fp32", 1.0, 0, 6, 6)
    assert {r.runtime for r in built.rows} >= {"onnxruntime", "openvino"}
    assert all(r.problem == "" and r.flips == 0 and (r.kept_least or 0) > 0.9 for r in built.rows)
    with Bundle.open(tmp_path / "parts.edge") as bundle:
        assert bundle.decision == built.decision
        told = bundle.report()
        assert told is not None
        assert told["rows"] == [row.to_json() for row in built.rows]
        assert told["pictures"] == {"good": 6, "square <&>": 6}
        assert bundle.manifest.provenance.samples == 24
    assert verify(tmp_path / "parts.edge").passed


def test_the_threshold_comes_from_held_out_good_parts_alone(data: PictureSet, tmp_path: Path) -> None:
    built, trained = _build(data, tmp_path / "parts.edge", rate="10%")
    decision: Decision = built.decision
    assert decision.threshold == sorted(trained.scores)[18]  # rank ceil(21 * 0.9) = 19 of 20
    assert (decision.parts, decision.rank, decision.requested_rate) == (20, 19, 0.1)
    assert "assumed" in " ".join(decision.warnings)


def test_without_a_rate_the_lowest_supportable_one_is_taken_and_said(data: PictureSet, tmp_path: Path) -> None:
    built, trained = _build(data, tmp_path / "parts.edge")
    assert built.decision.threshold == max(trained.scores)
    assert built.decision.requested_rate == pytest.approx(1 / 21, abs=0.0005)


def test_a_rate_that_cannot_be_held_is_refused_before_training(data: PictureSet, tmp_path: Path) -> None:
    options = builder.BuildOptions(name="x", out=tmp_path / "x.edge", rate="0.1%")
    with pytest.raises(BoundNotMet, match="at least 999 good"):
        builder.check_rate(data, 0.2, options)
    assert not (tmp_path / "x.edge").exists()


class _Page(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.pictures = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href") and value and not value.startswith("data:"):
                self.outside.append(value)
        self.pictures += tag in ("img", "svg")


def test_the_page_needs_no_network_and_escapes_what_users_named(data: PictureSet, tmp_path: Path) -> None:
    built, trained = _build(data, tmp_path / "parts.edge")
    with load(built.path, threads=1, cache=tmp_path) as detector:
        shots = report.shots(detector, data.test)
        latency = {}
    measured = report.Measured(latency=latency, ratios={}, verified=verify(built.path), machine=machine())
    page = tmp_path / "report.html"
    report.write(page, built, trained, measured, shots)
    text = page.read_text("utf-8")
    seen = _Page()
    seen.feed(text)
    assert seen.outside == []
    assert seen.pictures == len(shots) + 3
    assert "Parts &lt;&amp;&gt;" in text
    assert "<&>" not in text
    assert json.loads((tmp_path / "report.json").read_text("utf-8"))["rows"][0]["auroc"] == 1.0


def test_rows_worth_timing_are_those_that_load_would_take(data: PictureSet, tmp_path: Path) -> None:
    built, _ = _build(data, tmp_path / "parts.edge")
    rows = speeds.measured_rows(built.rows, ("fp32", "int8"))
    assert [(r.variant, r.runtime, r.layout) for r in rows] == [
        ("fp32", "onnxruntime", "plain"), ("fp32", "openvino", "plain"), ("int8", "openvino", "conv-relu-q"),
        ("int8", "onnxruntime", "conv-q-relu-q"),
    ]  # fmt: skip


def test_wrong_verdicts_are_shown_last(data: PictureSet, tmp_path: Path) -> None:
    built, _ = _build(data, tmp_path / "parts.edge")
    relabelled = [Picture(path=data.test[0].path, part="x", label="scratch"), *data.test[1:]]
    with load(built.path, threads=1, cache=tmp_path) as detector:
        shots = report.shots(detector, relabelled)
    assert shots[-1].wrong
    assert not any(s.wrong for s in shots[:-1])
