"""The family from the command line: what is refused, two trainings that resume, a bundle that verifies."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import folder_of
from test_edm_keys import NETWORKS, published

from edge_sdk import Generator, load_as
from edge_sdk.cli import main
from edge_sdk.export.family import FloatGraph
from edge_sdk.export.onestep import family, saved
from edge_sdk.export.onestep.distillation import OneStep
from edge_sdk.export.tasks.generation import classifier
from edge_sdk.export.tasks.generation.real import pictures_of
from edge_sdk.tasks.generation.noise import noise
from edge_sdk.verify import verify

pytestmark = pytest.mark.long

FEW = ("--base", "8", "--multiples", "1,1", "--samples", "100", "--threads", "1", "--calibration-samples", "4")


def called(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of the command line."""
    with pytest.raises(SystemExit) as left:
        main.run([str(word) for word in words])
    shown = capsys.readouterr()
    return int(left.value.code or 0), shown.out, shown.err


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("pictures") / "bars")


def test_two_trainings_become_a_bundle_that_draws_what_the_network_draws(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "STEPS_AT_LEAST", 60)  # bars are told apart by then
    out = tmp_path / "bars.edge"
    words = ("train", "onestep", data, "--out", out, "--teacher-steps", "4", "--steps", "3", *FEW)
    code, shown, err = called(capsys, *words, "--json")
    assert code == 0, err
    found = json.loads(shown)
    assert {row["variant"] for row in found["rows"]} == {"fp32", "fp16", "int8", "int8-w7"}
    assert all(row["paired"] is None or float(row["paired"]["psnr_db"]) > 25 for row in found["rows"])
    run = out.with_suffix(".run")
    assert {one.name for one in (run / "samples").iterdir()} == {"teacher.png", "step-0000003.png"}
    report = verify(out, runtimes=["onnxruntime", "openvino"])
    assert report.passed, report.text()
    net, facts = saved.read(run / saved.GENERATOR)
    start = noise(7, range(6), (1, 8, 8))
    with torch.no_grad():
        drawn = OneStep(net, facts[saved.START])(torch.from_numpy(start), torch.arange(6) % 2)
    with load_as(Generator, out, runtime="onnxruntime", variant="fp32", threads=1) as generator:
        assert generator.labels == ("lying", "standing")
        apart = np.abs(generator.generate(6, seed=7).pixels.astype(int) - pictures_of(drawn.numpy()))
    assert apart.max() <= 1
    code, shown, _ = called(capsys, *words, "--json", "--dry-run")
    plan = json.loads(shown)
    assert (code, plan["finished"], plan["kept_step"], plan["replaces"]) == (0, True, 3, True)
    code, shown, err = called(
        capsys, "train", "onestep", data, "--out", tmp_path / "b.edge", "--teacher", run / saved.TEACHER, "--dry-run"
    )
    assert (code, "teacher              given" in shown) == (0, True), err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--multiples", "1,x"], 2, "are no numbers"),
        (["--multiples", "1,1,1,1"], 2, "pictures of 8 px can't be halved 3 times"),
        (["--base", "6"], 2, "base is a multiple of 4"),
        (["--teacher", "nowhere.safetensors"], 3, "the teacher does not exist"),
        (["--sigma-data", "0.5"], 2, "--sigma-data is of a teacher"),
        (["--loss", "l3"], 2, "--loss is"),
        (["--size", "2"], 2, "--size"),
        (["--steps", "0"], 2, "--steps"),
    ],
)
def test_what_is_wrong_is_said_at_once(
    words: list[str], code: int, said: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    left, _, err = called(capsys, "train", "onestep", data, "--out", "a.edge", *words, "--dry-run")
    assert left == code
    assert said in err
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_learn_from_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = called(capsys, "train", "onestep", "--out", tmp_path / "a.edge", "--dry-run")
    assert (code, "neither pictures nor a teacher" in err) == (2, True)


def test_a_teacher_of_other_pictures_is_refused(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from edge_sdk.export.onestep import unet
    from edge_sdk.export.onestep.teacher import NetworkTeacher, TeacherFacts
    from edge_sdk.export.onestep.unet import UNet

    net = UNet(unet.layout(channels=3, side=16, base=8))
    saved.write(
        NetworkTeacher(net, TeacherFacts(channels=3, side=16, classes=0, sigma_data=0.5)), tmp_path / "t.safetensors"
    )
    words = ("train", "onestep", data, "--out", tmp_path / "a.edge", "--teacher", tmp_path / "t.safetensors")
    code, _, err = called(capsys, *words, "--dry-run")
    assert (code, "1 channels and not 3, 8 px and not 16, 2 classes and not 0" in err) == (2, True), err


def test_a_network_of_edms_teaches_and_becomes_a_bundle(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(family, "FloatGraph", partial(FloatGraph, variants=()))  # the training above makes them
    net = NETWORKS["ddpm++ classes"]()
    with torch.no_grad():
        net.last[1].weight.mul_(0.05)
    path, out = published(net, tmp_path / "edm.safetensors"), tmp_path / "edm.edge"
    words = ("train", "onestep", "--teacher", path, "--out", out, "--steps", "2", "--batch", "2", "--threads", "1")
    code, _, err = called(capsys, *words, "--calibration-samples", "2")
    assert code == 0, err
    with load_as(Generator, out, runtime="onnxruntime", threads=1) as generator:
        assert generator.shape == (16, 16, 3)
        assert generator.labels == tuple("0123456")
        assert generator.generate(7, seed=1).pixels.std() > 5


@pytest.mark.parametrize("name", ["x.pkl", "x.safetensors", "folder"])
def test_what_is_no_teacher_is_refused(
    name: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"\x80\x04cos\nsystem\n(S'exit 9'\ntR.")
    code, _, err = called(
        capsys, "train", "onestep", data, "--out", tmp_path / "a.edge", "--teacher", path, "--dry-run"
    )
    assert code == 3, err
    assert str(path) in err
