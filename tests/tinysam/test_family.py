"""The family from the command line: what is refused, weights as they are, a training of two steps, a bundle of each."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import annotated_folders
import numpy as np
import pytest
import torch
from by_rule import sam
from command import called
from small_nets import SIDE, network
from torch import nn

from edge_sdk import load_as
from edge_sdk.cli import train
from edge_sdk.export import build as builder
from edge_sdk.export import registry, tensors_file
from edge_sdk.export.family import Exported, FloatGraph, Trained
from edge_sdk.export.option import specs_of
from edge_sdk.export.tasks.segmentation.options import SegmentationOptions
from edge_sdk.export.tasks.segmentation.reading import read_data
from edge_sdk.export.tinysam import saved
from edge_sdk.export.tinysam.family import TinySAM
from edge_sdk.export.tinysam.layout import small
from edge_sdk.export.tinysam.options import TinySamOptions
from edge_sdk.export.tinysam.small import fit
from edge_sdk.tasks.segmentation.segmenter import PromptSegmenter
from edge_sdk.verify import verify

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model in a file, with thresholds of everything mode, so that none are measured."""
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    loose = {"points_per_side": 4, "predicted_iou": -9.0, "stability": 0.0, "box_agreement": 0.0}
    network().save(path, facts={"everything": loose})
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return annotated_folders.label_maps(tmp_path_factory.mktemp("marked"), train=4, test=2)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--side", "100"], 2, "a side of 100 px is not a multiple of 32. Take 96"),
        (["--as-is", "--steps", "3"], 2, "--steps is for a training, and --as-is trains nothing"),
        (["--as-is", "--rate", "0.1"], 2, "--rate is for a training, and --as-is trains nothing"),
        (["--scratch", "--weights", "x.safetensors"], 2, "--scratch and --weights can't be combined"),
        (["--weights", "nowhere.pth"], 3, "--weights nowhere.pth: the file of weights does not exist"),
        (["--photographs", "nowhere"], 3, "nowhere: this is not a folder. Name a folder of pictures"),
        (["--kind", "(("], 2, "the pattern of kinds, ((, is not a regular expression"),
    ],
)
def test_what_is_wrong_with_a_training_is_said_at_once(
    words: list[str], code: int, said: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    left, _, err = called(capsys, "train", "tinysam", folder, "--out", "a.edge", *words, "--dry-run")
    assert left == code
    assert said in err
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_train_on_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a.edge"
    code, _, err = called(capsys, "train", "tinysam", "--scratch", "--out", out, "--dry-run")
    assert (code, "there is nothing to train on and there are no weights to export. Name a FOLDER" in err) == (2, True)
    tests = annotated_folders.label_maps(tmp_path / "tests", train=0)
    code, _, err = called(capsys, "train", "tinysam", tests, "--out", out, "--dry-run")
    assert (code, "there is no picture to train on" in err) == (3, True)
    code, shown, _ = called(capsys, "train", "tinysam", tests, "--as-is", "--out", out, "--dry-run", "--json")
    assert code == 0
    assert json.loads(shown)["finished"]


def test_an_export_offers_no_option_that_only_a_training_reads(capsys: pytest.CaptureFixture[str]) -> None:
    trained = [spec.name for spec in specs_of(TinySamOptions).values() if spec.training]
    assert {"--steps", "--rate", "--teacher", "--device"} < set(trained)
    for name in trained:
        code, _, err = called(capsys, "export", "tinysam", "--out", "a.edge", name, "1", "--dry-run")
        assert (code, f"No such option: {name}" in err) == (2, True)
    code, _, err = called(capsys, "export", "efficientad")
    assert (code, "efficientad exports what it has trained" in err) == (2, True)


def test_the_pictures_that_calibrate_an_export_are_part_of_its_run(tmp_path: Path) -> None:
    """Else the bundle of one folder would be taken for that of another, and lost."""
    path = tmp_path / "published.safetensors"
    saved.write(sam(small("a").at(64)), path)
    runs = set()
    for number in range(3):
        folder = annotated_folders.label_maps(tmp_path / str(number), train=number)
        data = read_data(folder, SegmentationOptions()) if number else None
        options = TinySamOptions(weights=path, as_is=True)
        runs.add(TinySAM().plan(data, options, folder=tmp_path / "run").run)
        with_photographs = replace(options, photographs=folder if number else None)
        runs.add(TinySAM().plan(data, with_photographs, folder=tmp_path / "run").run)
    assert len(runs) == 5


def test_a_plan_says_that_weights_are_exported_as_they_are(
    weights: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ("--out", tmp_path / "a.edge", "--dry-run")
    given = ("--weights", weights)
    for words in (
        ("export", "tinysam", *given),
        ("train", "tinysam", folder, *given, "--as-is"),
        ("export", "tinysam"),
    ):
        code, shown, _ = called(capsys, *words, *out)
        assert code == 0
        assert "training             none; the weights are exported as they are" in shown
        assert "already" not in shown
        code, shown, _ = called(capsys, *words, *out, "--json")
        assert (json.loads(shown)["trains"], json.loads(shown)["finished"]) == (False, True)
    code, shown, _ = called(capsys, "train", "tinysam", folder, *given, "--steps", "3", *out)
    then = "thresholds of everything mode, quantization and evaluation"
    assert f"training             3 steps; then {then}\n" in shown


@pytest.mark.parametrize(
    ("words", "what"), [((), "there is nothing to train on"), (("--photographs", "."), "there is")]
)
def test_a_training_without_a_folder_is_refused_and_an_export_is_not(
    words: tuple[str, ...], what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else a forgotten folder gives the weights that ship, under the name of a model that was to be trained."""
    annotated_folders.write(tmp_path / "photographs" / "a.png", annotated_folders.scene(1)[0])
    words = tuple(str(tmp_path / "photographs") if word == "." else word for word in words)
    out = ("--out", tmp_path / "a.edge", "--dry-run")
    code, _, err = called(capsys, "train", "tinysam", *words, *out)
    assert code == 2
    assert what in err
    assert "Name a FOLDER, or export the weights as they are: edge-sdk export tinysam, or --as-is." in err
    for verb in (("export", "tinysam"), ("train", "tinysam", "--as-is"), ("train", "tinysam", "--steps", "3")):
        code, _, err = called(capsys, *verb, *words, *out)
        assert (code, err) == (0, "")


def test_a_folder_with_no_segment_on_any_training_picture_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    marked = annotated_folders.label_maps(tmp_path / "marked", train=3)
    for path in (marked / "labels" / "train").iterdir():
        annotated_folders.write(path, np.zeros((60, 80), np.uint8))
    words = ("train", "tinysam", marked, "--out", tmp_path / "a.edge", "--dry-run")
    code, _, err = called(capsys, *words)
    assert code == 3
    assert "no segment is marked on 3 training pictures: every label map is 0 everywhere. Give each segment" in err
    annotated_folders.write(marked / "labels" / "train" / "round_2.png", np.ones((60, 80), np.uint8))
    code, shown, _ = called(capsys, *words)
    assert code == 0
    assert "training pictures    3 (3 label maps)" in shown


def test_the_example_of_a_training_names_data_to_train_on(capsys: pytest.CaptureFixture[str]) -> None:
    _, shown, _ = called(capsys, "train", "tinysam", "--help")
    assert "Example: edge-sdk train tinysam FOLDER --out tinysam.edge" in shown


def test_label_maps_of_another_size_are_refused_with_both_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = annotated_folders.label_maps(tmp_path / "marked", train=2)
    _, labels = annotated_folders.scene(0)
    annotated_folders.write(folder / "labels" / "train" / "round_0.png", labels[:-1])
    code, _, err = called(capsys, "train", "tinysam", folder, "--out", tmp_path / "a.edge", "--dry-run")
    assert code == 3
    assert "labels/train/round_0.png: the annotations are of 80 x 59 px" in err
    assert "images/train/round_0.png has 80 x 60 px" in err


class Module(nn.Module):
    """What a pickled module looks like."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)


FEW = ("--calibration-samples", "1")
"""Enough for a graph to be made."""
PUBLISHED: dict[str, tuple[dict[str, torch.Tensor], str]] = {
    "hq.pth": ({"mask_decoder.hf_token.weight": torch.zeros(1, 4)}, "this is HQ-SAM (it holds mask_decoder.hf_token"),
    "sam2.pt": ({"image_encoder.trunk.blocks.0.norm1.weight": torch.zeros(4)}, "this is SAM 2 (it holds"),
    "vit.pth": ({"patch_embed.seq.0.c.weight": torch.zeros(4)}, "this is a TinyViT classifier (it holds patch_embed"),
    "other.pth": ({"layer.weight": torch.zeros(2)}, "no encoder of TinySAM, MobileSAM or SAM is in it: its first key"),
    "cut.pth": (
        {"image_encoder.patch_embed.seq.0.c.weight": torch.zeros(32, 3, 3, 3)}, "keys are missing, the first is",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_weights_of_another_network_are_named(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state, said = PUBLISHED[name]
    torch.save(state, tmp_path / name)
    code, _, err = called(capsys, "export", "tinysam", "--weights", tmp_path / name, "--out", tmp_path / "a.edge")
    assert code == 3
    assert said in err
    assert not (tmp_path / "a.edge").exists()


def test_a_pickled_module_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(Module(), tmp_path / "q_tinysam.pth")
    code, _, err = called(
        capsys, "export", "tinysam", "--weights", tmp_path / "q_tinysam.pth", "--out", tmp_path / "a.edge"
    )
    assert code == 3
    assert "Q-TinySAM is published in this form: quantize the float file" in err


def test_small_weights_with_a_key_missing_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from edge_sdk.export.tinysam.small.model import FORMAT

    state = {name: value for name, value in network().state_dict().items() if name != "decoder.prior"}
    tensors_file.write(tmp_path / "a.safetensors", state, kind=FORMAT, described={"side": SIDE, "facts": {}})
    words = ("export", "tinysam", "--weights", tmp_path / "a.safetensors", "--out", tmp_path / "a.edge")
    code, _, err = called(capsys, *words)
    assert (code, "decoder.prior is missing" in err) == (3, True)


def opened(path: Path) -> PromptSegmenter:
    return load_as(PromptSegmenter, path, runtime="onnxruntime", threads=1)


class Floats(TinySAM):
    """Without int8, whose calibration takes most of a build."""

    def graphs(self, trained: Trained) -> Exported:
        made = super().graphs(trained)
        return replace(made, graphs={role: replace(one, variants=()) for role, one in made.graphs.items()})


def test_weights_as_they_are_become_a_bundle_that_verifies(weights: Path, tmp_path: Path) -> None:
    out, family = tmp_path / "small.edge", Floats()
    options = TinySamOptions(weights=weights, as_is=True, threads=1)
    wanted = builder.BuildOptions(name="small", out=out)
    plan = builder.plan(family, None, options, SegmentationOptions(), wanted, folder=tmp_path / "run")
    assert (plan.training.finished, plan.training.steps, plan.training.facts["network"]) == (True, None, "small")
    built = builder.make(plan)
    assert (built.trained.steps, built.trained.samples) == (0, 0)
    assert train._trained(built, plan) == "nothing was trained: the weights are exported as they are"
    report = verify(out, runtimes=["onnxruntime", "openvino"])
    assert report.passed, report.text()
    assert {row.role for row in report.rows} == {"encoder", "decoder", "refiner"}
    rgb, _ = annotated_folders.scene(3)
    with opened(out) as segmenter:
        assert segmenter.everything_options.points_per_side == 4
        image = segmenter.set_image(rgb)
        shapes = [mask.array.shape for mask in segmenter.predict(image, points=[[20, 15]], multimask=True)]
        assert shapes == [(60, 80)] * 3
        refined = segmenter.predict(image, boxes=[6, 5, 30, 25], refine=1).best
        assert refined.window is not None
        assert segmenter.everything(image, options={"hierarchical": False}).counts.points == 16
        by_boxes = segmenter.everything(image).counts
        assert by_boxes.points == 6  # of 16, by the boxes that the encoder guesses
        assert 1 <= by_boxes.asked <= 6
        in_crops = segmenter.everything(rgb, options={"crop_layers": 1}).counts
        assert in_crops.points == 5 * 6
    again = builder.plan(family, None, options, SegmentationOptions(), wanted, folder=tmp_path / "run")
    assert again.replaces  # the same weights, so its own bundle


def test_two_steps_on_four_pictures_end_in_a_bundle(
    weights: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Variants take two minutes more: the graphs' own tests make them.
    monkeypatch.setattr(fit, "FloatGraph", partial(FloatGraph, variants=()))
    out = tmp_path / "mine.edge"
    words = (
        "train", "tinysam", folder, "--out", out, "--weights", weights, "--side", "64", "--steps", "2", "--kind",
        "([a-z]+)_", "--threads", "1", *FEW,
    )  # fmt: skip
    code, shown, err = called(capsys, *words, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(shown)
    assert found["segments"] == 4  # a rectangle and a disk on each of two test pictures; specks are too small
    assert {row["variant"] for row in found["rows"]} == {"fp32"}
    model = json.loads(json.dumps(dict(tensors_file_of(out.with_suffix(".run") / "model.safetensors"))))
    assert set(model["facts"]["everything"]) >= {"predicted_iou", "stability", "points_per_side"}
    with opened(out) as segmenter:
        assert segmenter.predict(annotated_folders.scene(3)[0], points="centre").best.array.shape == (60, 80)
        assert segmenter.bundle.manifest.preprocessing is not None
        assert segmenter.bundle.manifest.preprocessing.width == 64
        kept = segmenter.settings.everything
    assert kept.predicted_iou == model["facts"]["everything"]["predicted_iou"]
    code, shown, _ = called(capsys, *words, "--json", "--dry-run")
    plan = json.loads(shown)
    assert (code, plan["finished"], plan["kept_step"], plan["replaces"]) == (0, True, 2, True)


def tensors_file_of(path: Path) -> dict[str, Any]:
    from edge_sdk.export.tinysam.small.model import FORMAT

    with tensors_file.opened(path, kind=FORMAT, what="no model", hint="") as file:
        return dict(file.described)


def test_the_demo_brings_pictures_that_its_task_reads_and_trains_nothing() -> None:
    from importlib import resources

    from edge_sdk.export.tasks.segmentation.reading import read_data

    family = registry.family("tinysam")
    assert isinstance(family, TinySAM)
    brought = family.demo
    assert brought.trains is False
    assert brought.options == TinySamOptions(as_is=True)
    with resources.as_file(brought.folder) as folder:
        data = read_data(folder, brought.task_options)
        credits = (folder / "README.md").read_text("utf-8")
    assert not data.train
    assert {one.kind for one in data.test} == {"tools", "grains", "nuclei"}
    assert all(f"`{kind}_`" in credits for kind in ("tools", "grains", "nuclei"))
    for one in data.test:
        pixels = one.pixels()
        assert max(pixels.shape) <= 512
        assert all(np.count_nonzero(mask) for mask in one.masks(*pixels.shape[:2]))


def test_small_weights_with_a_nan_are_refused_before_anything_is_trained(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = network().state_dict()
    net |= {"decoder.prior": net["decoder.prior"] * torch.nan}
    path = tmp_path / "a.safetensors"
    tensors_file.write(path, net, kind="edge-sdk.tinysam-small/1", described={"side": SIDE, "facts": {}})
    for words in (("train", "tinysam", folder, "--dry-run"), ("train", "tinysam", folder), ("export", "tinysam")):
        code, _, err = called(capsys, *words, "--weights", path, "--out", tmp_path / "a.edge")
        assert (code, "a.safetensors: not weights of TinySAM's small size: decoder.prior holds NaN" in err) == (3, True)
    assert [one.name for one in tmp_path.iterdir()] == ["a.safetensors"]


def test_a_key_that_is_no_name_is_said_and_no_traceback_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({1: torch.zeros(2)}, tmp_path / "a.pth")
    code, _, err = called(capsys, "export", "tinysam", "--weights", tmp_path / "a.pth", "--out", tmp_path / "a.edge")
    assert code == 3
    assert "a.pth: the file holds no state dict: its key 1 is an int, not a str" in err
    assert "Traceback" not in err
