"""A generator of a run folder is exported as it is, and a teacher or pictures of another kind are not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import folder_of
from test_onestep_family import called

from edge_sdk import Generator, load_as
from edge_sdk.export.onestep import saved, unet
from edge_sdk.export.onestep.distillation import OneStep
from edge_sdk.export.onestep.teacher import NetworkTeacher, TeacherFacts
from edge_sdk.export.onestep.unet import UNet
from edge_sdk.export.tasks.generation.real import pictures_of
from edge_sdk.tasks.generation.noise import noise


def network() -> NetworkTeacher:
    """8 x 8 px, two classes, random weights."""
    torch.manual_seed(2)
    net = UNet(unet.layout(channels=1, side=8, base=8, multiples=(1, 2), classes=2))
    with torch.no_grad():
        for one in net.parameters():
            one.add_(torch.randn(one.shape) * 0.1)
    return NetworkTeacher(net, TeacherFacts(channels=1, side=8, classes=2, sigma_data=0.5)).eval()


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / saved.GENERATOR
    saved.write(network(), path, facts={saved.START: 2.5, "names": ["bolt", "nut"]})
    return path


def test_weights_of_a_run_become_a_bundle_that_draws_what_they_draw(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "parts.edge"
    words = ("export", "onestep", "--weights", weights, "--out", out, "--threads", "1", "--calibration-samples", "4")
    code, shown, err = called(capsys, *words, "--json")
    assert code == 0, err
    assert json.loads(shown)["rows"][0]["count"] == 512
    with torch.no_grad():
        drawn = OneStep(network(), 2.5)(torch.from_numpy(noise(7, range(4), (1, 8, 8))), torch.arange(4) % 2)
    with load_as(Generator, out, runtime="onnxruntime", variant="fp32", threads=1) as generator:
        assert generator.labels == ("bolt", "nut")
        apart = np.abs(generator.generate(4, seed=7).pixels.astype(int) - pictures_of(drawn.numpy()))
    assert apart.max() <= 1


def test_what_is_no_generator_is_refused(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved.write(network(), teacher := tmp_path / saved.TEACHER)
    out = tmp_path / "a.edge"
    code, _, err = called(capsys, "export", "onestep", "--weights", teacher, "--out", out, "--dry-run")
    assert (code, "this is a teacher, which takes 35 calls" in err) == (3, True), err
    code, _, err = called(capsys, "export", "onestep", "--weights", tmp_path / "no", "--out", out, "--dry-run")
    assert (code, "the weights do not exist" in err) == (3, True), err
    code, _, err = called(
        capsys, "export", "onestep", "--weights", weights, "--onnx", weights, "--out", out, "--dry-run"
    )
    assert (code, "name two generators" in err) == (2, True), err
    data = folder_of(tmp_path / "large", side=16)
    code, _, err = called(capsys, "export", "onestep", data, "--weights", weights, "--out", out, "--dry-run")
    assert (code, "not like those of --weights: they have 16 px and not 8" in err) == (2, True), err
    assert not out.exists()
