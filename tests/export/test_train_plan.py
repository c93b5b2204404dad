"""Before the first step: what a run needs is looked at, what it would lose is kept, and a dry run proves the same."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from edges import Edges, folder_of_plates, read
from xs_parts import folder_of_parts

from edge_sdk.bundle.store import Bundle, append_decision
from edge_sdk.cli import main
from edge_sdk.decision.threshold import fixed
from edge_sdk.errors import BadInput, BadUsage, BoundNotMet, Stopped
from edge_sdk.export import build as builder
from edge_sdk.export.anomaly.data import AnomalyData, Picture, PictureSet
from edge_sdk.export.family import FamilyOptions
from edge_sdk.export.tasks.anomaly.options import AnomalyOptions
from edge_sdk.export.tasks.anomaly.shares import divided
from edge_sdk.locks import exclusive

GROUP = r"(p\d+)_"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of_plates(tmp_path_factory.mktemp("plates"))


@pytest.fixture(scope="module")
def data(folder: Path) -> AnomalyData:
    return read(folder)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of_parts(tmp_path_factory.mktemp("parts"))


def edge(*words: str) -> int:
    """Exit code of one call."""
    with pytest.raises(SystemExit) as left:
        main.run(list(words))
    return int(left.value.code or 0)


def plan(
    data: AnomalyData, folder: Path, *, rate: str | None = None, family: Edges | None = None, **wanted: bool
) -> builder.BuildPlan:
    options = builder.BuildOptions(name="x", out=folder / "x.edge", **wanted)
    return builder.plan(
        family or Edges(), data, FamilyOptions(threads=1), AnomalyOptions(rate=rate), options, folder=folder / "run"
    )


def of(pictures: tuple[Picture, ...]) -> AnomalyData:
    return divided(PictureSet(train=pictures), holdout=0.2, quantiles=0.1, seed=0)


MISTAKES: Sequence[tuple[Sequence[str], int, str]] = [
    (("--width", "100000"), 2, "100000 x 320 px: 2048 a side is the most"),
    (("--width", "100"), 2, "multiples of 32"),
    (("--size", "m"), 2, "the teacher is a PDN-S, the size asked for is m. Use size s, or another teacher"),
    (("--size", "xl"), 2, "no size 'xl'"),
    (("--teacher", "absent.pth"), 3, "absent.pth: there is no such weights file"),
    (("--size", "s", "--teacher", "absent.pth"), 4, "absent.pth: there is no such teacher file"),
    (("--confidence", "150%"), 2, "the confidence 150% must lie between 0 and 1"),
    (("--key", "absent.key"), 3, "absent.key: can't be read"),
    (("--key", "no.key"), 3, "no.key: is not an Ed25519 private key"),
    (("--ood", "absent"), 3, "absent"),
    (("--ood", "empty"), 3, "empty: there are no pictures in it"),
    (("--ood", "foreign"), 3, "cut.jpg: the JPEG"),
    (("--size", "s", "--ood", "foreign"), 3, "cut.jpg: the JPEG"),
    (("--rate", "1%"), 1, "2 of the 8 good pictures are kept for the threshold, and 1 % needs at least 99"),
    (("--rate", "much"), 2, "'much' is not a number"),
    (("--seed", str(2**40)), 2, "--seed"),
    (("--time-budget", "10"), 2, "10min"),
    (("--run", "no.key"), 3, "no.key: this is a file, not a folder"),
    (("--out", "folder.edge"), 2, "folder.edge: this is a folder"),
    (("--out", "text.edge"), 2, "text.edge: the file exists and is not a readable bundle"),
]


@pytest.mark.parametrize("words", [["--dry-run"], []], ids=["dry run", "run"])
@pytest.mark.parametrize(("mistake", "code", "said"), MISTAKES, ids=[" ".join(m) for m, *_ in MISTAKES])
def test_a_mistake_is_reported_before_the_first_picture_is_computed(
    mistake: Sequence[str], code: int, said: str, words: list[str], parts: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "folder.edge"):
        Path(name).mkdir()
    Path("foreign").mkdir()
    whole = cv2.imencode(".jpg", np.zeros((40, 40, 3), np.uint8))[1].tobytes()
    Path("foreign/whole.jpg").write_bytes(whole)
    Path("foreign/cut.jpg").write_bytes(whole[:-30])
    for name in ("no.key", "text.edge"):
        Path(name).write_text("not what it is called")
    before = sorted(os.listdir())
    assert edge("train", "efficientad", str(parts), "--out", "x.edge", "--steps", "1", *mistake, *words) == code
    output = capsys.readouterr()
    assert said in output.err
    assert "features" not in output.err
    assert sorted(os.listdir()) == before


def test_a_dry_run_tells_what_the_run_will_do_and_writes_nothing(
    parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    call = [
        "train",
        "efficientad",
        str(parts),
        "--out",
        "x.edge",
        "--time-budget",
        "10min",
        "--steps",
        "900",
        "--threads",
        "1",
    ]
    assert edge(*call, "--dry-run") == 0
    text = capsys.readouterr().out
    for words in (
        "8 (each taken for a part",
        "900 steps or 10 min, whichever comes first",
        "x.run: new",
        "320 x 320 px",
    ):
        assert words in text
    assert (
        "2 good pictures for the threshold are too few for the usual 1 %: that takes 99 of them, from about 495" in text
    )
    assert "33.34 %, by score 2 of 2 good pictures; from so many, the true rate lies between 2.53 % and 77.64 %" in text
    assert edge(*call, "--rate", "40%", "--dry-run", "--json") == 0
    text = json.loads(capsys.readouterr().out)
    assert (text["pictures"], text["quantile_pictures"], text["held_out_pictures"]) == (5, 1, 2)
    assert (text["threshold"]["requested_rate"], text["steps"], text["kept_step"]) == (0.4, 900, None)
    assert os.listdir() == []


def test_a_rate_that_the_held_out_parts_cannot_hold_says_how_many_can(
    data: AnomalyData, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        BoundNotMet, match=r"5 of the 24 good pictures .* at least 999 .*Ask for 16\.67% or .* 4995 good"
    ):
        plan(data, tmp_path, rate="0.1%")
    with pytest.raises(BoundNotMet, match=r"2 of the 12 good parts are kept .* at least 999 good parts"):
        plan(read(folder, group=GROUP), tmp_path, rate="0.1%")
    assert plan(data, tmp_path, rate="16.67%").checked.facts["threshold"]["rank"] == 5


def test_two_parts_are_too_few_to_divide(data: AnomalyData) -> None:
    with pytest.raises(BadInput, match="2 good parts are too few: one to train on, one to scale the map"):
        of(data.train[:2])
    least = of(data.train[:3]).shares
    assert (len(least.training), len(least.scaling), len(least.held_out)) == (1, 1, 1)


def test_a_bundle_is_made_anew_by_its_own_run_alone_and_never_over_later_decisions(
    data: AnomalyData, tmp_path: Path
) -> None:
    first = plan(data, tmp_path)
    assert not first.replaces
    out = builder.make(first).path
    assert plan(data, tmp_path).replaces

    class Other(Edges):
        run = "other"

    with pytest.raises(BadUsage, match=r"x\.edge: this bundle was made from other data.*--out, or give --overwrite"):
        plan(data, tmp_path, family=Other())
    append_decision(out, fixed(0.5)).close()
    with pytest.raises(BadUsage, match=r"x\.edge: this bundle got 1 record on site after it was packed"):
        plan(data, tmp_path)
    with Bundle.open(builder.make(plan(data, tmp_path, overwrite=True)).path) as bundle:
        assert len(bundle.decisions) == 1


def test_a_threshold_that_was_refitted_during_the_training_is_kept_too(data: AnomalyData, tmp_path: Path) -> None:
    out = builder.make(plan(data, tmp_path)).path
    with pytest.raises(BadUsage, match="got 1 record on site after it was packed"):
        builder.make(plan(data, tmp_path), on_stage=lambda _: append_decision(out, fixed(0.5)).close())
    with Bundle.open(out) as bundle:
        assert len(bundle.decisions) == 2


def test_two_trainings_never_work_in_one_run_folder(data: AnomalyData, tmp_path: Path) -> None:
    planned, stages = plan(data, tmp_path), []
    (tmp_path / "run").mkdir()
    with exclusive(tmp_path / "run", what=builder.WORK, hint=""):
        for work in (lambda: builder.make(planned, on_stage=stages.append), lambda: plan(data, tmp_path)):
            with pytest.raises(BadUsage, match=rf"another training works here: process {os.getpid()}.*--run"):
                work()
    assert stages == []


def test_an_interrupt_after_the_training_is_stopped_with_what_was_trained_kept(
    data: AnomalyData, tmp_path: Path
) -> None:
    def interrupt(done: int, total: int, note: str) -> None:
        if note.startswith("golden answers"):
            raise KeyboardInterrupt

    with pytest.raises(Stopped, match=r"the trained model is kept.*same command again") as caught:
        builder.make(plan(data, tmp_path), progress=interrupt)
    assert caught.value.exit_code == 5
    assert not (tmp_path / "x.edge").exists()


def test_an_interrupted_demo_has_the_exit_code_of_what_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupts(io.StringIO):
        def write(self, text: str) -> int:
            if "features" in text:
                raise KeyboardInterrupt
            return super().write(text)

    stream = Interrupts()
    monkeypatch.setattr(sys, "stderr", stream)
    assert edge("demo", "--out", str(tmp_path / "shown")) == 5
    assert "the demo was stopped. The same command starts from the beginning" in stream.getvalue()
