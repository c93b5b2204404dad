"""From a teacher's file to a bundle, on networks of 60 kB to 2 MB: what is refused, the plan, the student, a resume."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import annotated_folders
import numpy as np
import pytest
import torch
from command import called
from small_nets import network as small_network
from tiny_photographs import LAYOUT, SIDE, network

from edge_sdk import load_as
from edge_sdk.errors import BadInput, Stopped
from edge_sdk.export import build as builder
from edge_sdk.export.family import Exported, Trained
from edge_sdk.export.tasks.segmentation.options import SegmentationOptions
from edge_sdk.export.tasks.segmentation.reading import read_data
from edge_sdk.export.tinysam import saved
from edge_sdk.export.tinysam.distill.frames import Views
from edge_sdk.export.tinysam.distill.marked import MarkedPicture, layered
from edge_sdk.export.tinysam.distill.recipe import PromptRecipe, ViewRecipe
from edge_sdk.export.tinysam.family import TinySAM
from edge_sdk.export.tinysam.layout import STUDENTS, SamLayout, student
from edge_sdk.export.tinysam.options import OF_DISTILLATION, TinySamOptions
from edge_sdk.export.tinysam.run_plan import teacherless_identity
from edge_sdk.export.tinysam.sam import Sam
from edge_sdk.progress import Progress, silent
from edge_sdk.tasks.segmentation.segmenter import PromptSegmenter
from edge_sdk.verify import verify

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    saved.write(network(9), path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return annotated_folders.label_maps(tmp_path_factory.mktemp("marked"), train=3, test=0)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--teacher", "nowhere.pth"], 3, "--teacher nowhere.pth: the file of weights does not exist. Check the path"),
        (["--teacher", "T", "--scratch"], 2, "--scratch can't be combined with --teacher: it starts the small size"),
        (["--teacher", "T", "--as-is"], 2, "--teacher is for a training, and --as-is trains nothing"),
        (["--teacher", "T", "--photographs", "P"], 2, "--photographs can't be combined with --teacher"),
        (["--teacher", "T", "--weights", "T", "--student", "lite0"], 2, "--weights and --student can't be combined"),
        (["--student", "lite0"], 2, "--student needs --teacher. Name a teacher, or leave --student out"),
        (["--batch", "2"], 2, "--batch needs --teacher"),
        (["--teacher", "T", "--student", "vit"], 2, "--student is tinyvit-5m, tinyvit-3m, tinyvit-2m, tinyvit-1m or"),
        (["--teacher", "S"], 3, "this is the small size, whose masks cover windows, not the whole frame"),
        (["--teacher", "T", "--weights", "S"], 3, "this is the small size, whose masks cover windows"),
        (["--teacher", "T", "--weights", "W"], 3, "the teacher's embedding has a width of 32, that of --weights 64"),
        (["--teacher", "C"], 2, "the teacher's embedding has 2 cells a side, that of tinyvit-5m has 4"),
        (["--teacher", "T", "--device", "cuda"], 4, "--device cuda: "),
    ],
)
def test_what_is_wrong_with_a_distillation_is_said_at_once(
    words: list[str], code: int, said: str, folder: Path, teacher: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    if "cuda" in words and torch.cuda.is_available():
        pytest.skip("there is a GPU here: run this on a machine without one")
    named = {"T": teacher} | {key: tmp_path / f"{key}.safetensors" for key in "SWC"}
    layouts = {"W": {"width": 64}, "C": {"strides": (2, 2, 2)}}
    for key in set(words) & set(layouts):
        saved.write(Sam(replace(LAYOUT, encoder=replace(LAYOUT.encoder, **layouts[key]))), named[key])  # type: ignore[arg-type]
    if "S" in words:
        small_network().save(named["S"])
    monkeypatch.chdir(tmp_path)
    asked = [named.get(word, word) for word in words]
    before = set(tmp_path.iterdir())
    left, _, err = called(capsys, "train", "tinysam", folder, "--out", "a.edge", *asked, "--dry-run")
    assert left == code
    assert said in err
    assert set(tmp_path.iterdir()) == before


def test_a_distillation_needs_pictures(teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = called(capsys, "train", "tinysam", "--teacher", teacher, "--out", tmp_path / "a.edge", "--dry-run")
    assert (code, "--teacher needs pictures that show the student what to learn. Name a FOLDER" in err) == (2, True)


def test_a_plan_says_what_a_step_is_and_what_is_kept(
    teacher: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("train", "tinysam", folder, "--teacher", teacher, "--out", tmp_path / "a.edge", "--dry-run")
    code, shown, _ = called(capsys, *words, "--student", "tinyvit-2m", "--batch", "2", "--views", "5", "--steps", "9")
    assert code == 0
    said = " ".join(shown.split())
    for part in (
        "TinySAM tinyvit-2m, distilled from teacher.safetensors",
        "frame 64 px, 4 x 4 cells",
        "a step 2 pictures, 16 prompts each, up to 9 rounds of hard prompts",
        "embeddings of 15 views are kept in teacher/ of the run folder",
        "training 9 steps; then thresholds of everything mode",
    ):
        assert part in said
    assert "few steps fit into a night" not in said
    code, shown, _ = called(capsys, *words, "--side", "1024", "--device", "cpu")
    assert (code, "a frame of more than 512 px on a CPU: few steps" in " ".join(shown.split())) == (0, True)
    code, shown, _ = called(capsys, *words, "--side", "128", "--views", "0", "--json")
    plan = json.loads(shown)
    assert (code, plan["student"], plan["side"], plan["processes"]) == (0, "tinyvit-5m", 128, 1)
    assert (plan["time_budget_s"], plan["finished"], plan["kept_step"]) == (8 * 3600.0, False, None)
    assert list(tmp_path.iterdir()) == []


class Floats(TinySAM):
    """Without int8, whose calibration takes most of a build."""

    def graphs(self, trained: Trained) -> Exported:
        made = super().graphs(trained)
        return replace(made, graphs={role: replace(one, variants=()) for role, one in made.graphs.items()})


def planned(folder: Path, options: TinySamOptions, out: Path) -> builder.BuildPlan:
    data = read_data(folder, SegmentationOptions())
    wanted = builder.BuildOptions(name="distilled", out=out, evaluate=False)
    return builder.plan(Floats(), data, options, SegmentationOptions(), wanted, folder=out.with_suffix(".run"))


def options_of(teacher: Path, **more: object) -> TinySamOptions:
    stated: dict[str, object] = {"student": "tinyvit-1m", "batch": 1, "views": 2, "threads": 1, "steps": 2}
    return TinySamOptions(teacher=teacher, **(stated | more))  # type: ignore[arg-type]


def test_a_student_becomes_a_bundle_that_verifies(teacher: Path, folder: Path, tmp_path: Path) -> None:
    out, options = tmp_path / "a.edge", options_of(teacher)
    built = builder.make(planned(folder, options, out))
    assert (built.trained.steps, built.trained.facts["student"]) == (2, "tinyvit-1m")
    assert set(built.trained.history[-1][1]) == {"mask", "single", "iou", "embedding", "token", "output"}
    assert list((tmp_path / "a.run" / "teacher").rglob("*.npy"))
    report = verify(out, runtimes=["onnxruntime", "openvino"])
    assert report.passed, report.text()
    assert {row.role for row in report.rows} == {"encoder", "decoder", "refiner"}
    rgb, _ = annotated_folders.scene(3)
    with load_as(PromptSegmenter, out, runtime="onnxruntime", threads=1) as segmenter:
        assert segmenter.predict(rgb, boxes=[6, 5, 30, 25], refine=1).best.array.shape == (60, 80)
        assert segmenter.settings.multimask == (1, 2, 3)
    again = planned(folder, options, out)
    assert (again.training.finished, again.training.kept_step, again.replaces) == (True, 2, True)


def test_a_student_on_the_trunk_that_ships_has_graphs(teacher: Path, folder: Path, tmp_path: Path) -> None:
    family, data = TinySAM(), read_data(folder, SegmentationOptions())
    options = options_of(teacher, student="lite0", steps=1, views=0)
    trained = family.train(data, options, folder=tmp_path, progress=silent)
    assert set(family.graphs(trained).graphs) == {"encoder", "decoder", "refiner"}
    assert not (tmp_path / "teacher").exists()


def ctrl_c_at(step: int) -> Progress:
    def progress(done: int, total: int, note: str) -> None:
        if f"step {step}," in note:
            os.kill(os.getpid(), signal.SIGINT)

    return progress


def test_ctrl_c_keeps_a_checkpoint_and_the_same_options_resume(teacher: Path, folder: Path, tmp_path: Path) -> None:
    family, options, data = TinySAM(), options_of(teacher, steps=4), read_data(folder, SegmentationOptions())
    whole = family.train(data, options, folder=tmp_path / "whole", progress=silent)
    with pytest.raises(Stopped, match="the checkpoint is kept"):
        family.train(data, options, folder=tmp_path / "cut", progress=ctrl_c_at(2))
    plan = family.plan(data, options, folder=tmp_path / "cut")
    assert (plan.kept_step, plan.finished) == (3, False)  # Ctrl-C is held until the step that it came in is whole
    resumed = family.train(data, options, planned=plan, folder=tmp_path / "cut", progress=silent)
    assert (resumed.steps, resumed.run) == (4, whole.run)
    one, other = (saved.read(run.folder / saved.NAME)[0].state_dict() for run in (whole, resumed))
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=0, atol=0, msg=name)


def test_a_student_goes_on_from_weights_of_its_own(teacher: Path, folder: Path, tmp_path: Path) -> None:
    family, data = TinySAM(), read_data(folder, SegmentationOptions())
    options = options_of(teacher, student=None, weights=teacher, rate=1e-6, steps=1)
    plan = family.plan(data, options, folder=tmp_path)
    assert "distilled from teacher.safetensors" in dict(plan.rows)["network"]
    family.train(data, options, planned=plan, folder=tmp_path, progress=silent)
    net, facts = saved.read(tmp_path / saved.NAME)
    assert net.layout == LAYOUT
    assert set(facts) == {"what", "everything"}
    weight = "mask_decoder.iou_token.weight"
    torch.testing.assert_close(net.state_dict()[weight], network(9).state_dict()[weight], rtol=0, atol=1e-4)


def test_a_new_student_has_its_teachers_decoder_and_an_encoder_by_the_seed(teacher: Path) -> None:
    wide = SamLayout()
    for name in STUDENTS:
        made = student(name, wide)
        assert (made.image_size, made.width, made.encoder.grid, made.decoder) == (1024, 256, 64, wide.decoder)


def test_segments_that_lie_on_each_other_are_on_several_maps() -> None:
    masks = np.zeros((3, 4, 4), bool)
    masks[0, :2], masks[1, 1:3], masks[2, 3] = True, True, True
    maps = layered(iter(masks), (4, 4))
    assert len(maps) == 2
    for number, mask in enumerate(masks, 1):
        assert any(np.array_equal(one == number, mask) for one in maps)
    (empty,) = layered(iter(()), (2, 2))
    assert not empty.any()


def test_instances_of_coco_that_lie_on_each_other_are_all_asked_for(tmp_path: Path) -> None:
    box, other = [10, 10, 40, 10, 40, 40, 10, 40], [20, 20, 70, 20, 70, 50, 20, 50]
    folder = annotated_folders.coco(tmp_path, [{"segmentation": [box]}, {"segmentation": [other]}])
    (one,) = read_data(folder, SegmentationOptions()).train
    views = Views([MarkedPicture(one)], SIDE, PromptRecipe(each=2, box_share=1.0), ViewRecipe(views=1), seed=0)
    frame = views.frame(np.random.default_rng(0))
    assert sorted(round(float(mask.sum()), -2) for mask in frame.masks) == [600.0, 1000.0]  # 900 and 1,500 of 80 x 60
    assert (frame.masks[0] & frame.masks[1]).any()


def test_options_of_a_distillation_are_no_part_of_other_trainings() -> None:
    """A checkpoint of the small size is resumed by versions with more of them."""
    assert not set(teacherless_identity(TinySamOptions(), code="1")) & set(OF_DISTILLATION)


def test_a_training_in_one_process_is_not_started_twice(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("LOCAL_WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    code, _, err = called(capsys, "train", "tinysam", folder, "--out", tmp_path / "a.edge", "--dry-run")
    assert (code, "takes 1 process, and 2 were started. Start edge-sdk without torchrun" in err) == (2, True)


def test_a_file_of_ours_states_its_own_thresholds(teacher: Path, tmp_path: Path) -> None:
    net, path = network(9), tmp_path / "odd.safetensors"
    saved.write(net, path, facts={"everything": {"predicted_iou": "high"}})
    with pytest.raises(BadInput, match="states no thresholds of everything mode"):
        TinySAM().plan(None, TinySamOptions(weights=path), folder=tmp_path)
    plan = TinySAM().plan(None, TinySamOptions(weights=teacher), folder=tmp_path)
    trained = TinySAM().train(None, TinySamOptions(weights=teacher), planned=plan, folder=tmp_path, progress=silent)
    settings = TinySAM().graphs(trained).settings
    assert settings.everything.confident_logit is None  # type: ignore[attr-defined]
    assert trained.facts["side"] == SIDE
