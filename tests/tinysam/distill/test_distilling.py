"""Training with and without a teacher: what is learned, resume, what does not fit together. On a network of 60 kB."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_photographs import LAYOUT, RECIPE, SIDE, network, photographs

from edge_sdk.errors import BadUsage, Stopped
from edge_sdk.export.tinysam.distill.frames import Views
from edge_sdk.export.tinysam.distill.recipe import STAGES, DistillRecipe, PromptRecipe, ViewRecipe
from edge_sdk.export.tinysam.distill.teacher import Teacher
from edge_sdk.export.tinysam.distill.train import Distilled, identity_of, train
from edge_sdk.export.tinysam.layout import DecoderLayout, SamLayout
from edge_sdk.export.tinysam.sam import Sam
from edge_sdk.export.training.identity import digest_of_weights
from edge_sdk.export.training.loop import LoopPlan
from edge_sdk.progress import Progress, silent


def teacher(folder: Path | None = None, net: Sam | None = None) -> Teacher:
    net = net or network(9)
    return Teacher(net, digest=digest_of_weights(net), size=SIDE, folder=folder)


def go(
    folder: Path, stage: str, *, steps: int = 6, taught_by: Teacher | None = None, recipe: DistillRecipe = RECIPE,
    progress: Progress = silent, count: int = 4,
) -> Distilled:  # fmt: skip
    folder.mkdir(exist_ok=True)
    recipe = replace(recipe, weights=STAGES[stage]) if stage else recipe
    views = Views(photographs(folder, count=count), SIDE, recipe.prompts, recipe.views, seed=0)
    net = network(1)
    return train(
        net, views, recipe, LoopPlan(steps=steps, history_every=1, checkpoint_every_s=0.0),
        identity=identity_of(net, recipe, data="d", seed=4, teacher=taught_by), folder=folder, seed=4,
        progress=progress, teacher=taught_by, apart=False,
    )  # fmt: skip


def test_masks_are_learned_without_a_teacher(tmp_path: Path) -> None:
    """One picture, whose boxes alone are asked for; its two maps take turns, so the worst of eight steps counts."""
    boxes = PromptRecipe(each=3, box_share=1.0, most_rounds=0, jitter=0.0)
    alone = replace(RECIPE, rate=1e-2, batch=1, prompts=boxes, views=ViewRecipe(views=1, least_px=30))
    history = go(tmp_path, "none", steps=40, recipe=alone, count=1).position.history
    assert set(history[0][1]) == {"mask", "single", "iou"}
    first, last = (max(row["mask"] for _, row in part) for part in (history[:8], history[-8:]))
    assert last < 0.9 * first


@pytest.mark.parametrize(("stage", "terms"), [("output", {"output"}), ("full", {"embedding", "token", "output"})])
def test_a_teacher_adds_the_terms_of_its_stage(stage: str, terms: set[str], tmp_path: Path) -> None:
    history = go(tmp_path, stage, steps=1, taught_by=teacher()).position.history
    assert set(history[0][1]) == {"mask", "single", "iou"} | terms


def test_a_student_comes_closer_to_its_teacher_in_all_stages(tmp_path: Path) -> None:
    alone = replace(STAGES["full"], truth=0.0)  # the teacher is one that knows nothing: masks would draw the other way
    history = go(tmp_path, "", steps=30, taught_by=teacher(), recipe=replace(RECIPE, weights=alone)).position.history
    for name in ("embedding", "token", "output"):
        assert sum(row[name] for _, row in history[-6:]) < sum(row[name] for _, row in history[:6])


def test_a_teacher_that_is_the_student_teaches_nothing_but_the_masks(tmp_path: Path) -> None:
    """In the first step of one that is still, every difference is 0 but for fp16."""
    still = replace(RECIPE, still_from=0.0)
    history = go(tmp_path, "full", steps=1, taught_by=teacher(net=network(1)), recipe=still).position.history
    for name in ("embedding", "token", "output"):
        assert history[0][1][name] < 2e-3


def stop_at(step: int) -> Progress:
    def progress(done: int, total: int, note: str) -> None:
        if f"step {step}," in note:
            raise KeyboardInterrupt

    return progress


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path) -> None:
    whole = go(tmp_path / "whole", "full", taught_by=teacher(tmp_path / "store"))
    with pytest.raises(Stopped):
        go(tmp_path / "cut", "full", taught_by=teacher(tmp_path / "store"), progress=stop_at(3))
    resumed = go(tmp_path / "cut", "full", taught_by=teacher())
    assert resumed.position.step == 6
    for (name, one), other in zip(whole.net.state_dict().items(), resumed.net.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, msg=name)


def test_embeddings_are_stored_before_the_first_step(tmp_path: Path) -> None:
    one = teacher(tmp_path / "store")
    go(tmp_path / "run", "full", taught_by=one, steps=2)
    assert one.computed == 12
    go(tmp_path / "other", "output", taught_by=one, steps=2)
    assert one.computed == 12


def test_a_run_is_not_resumed_with_another_teacher_or_stage(tmp_path: Path) -> None:
    go(tmp_path, "full", taught_by=teacher(), steps=1)
    with pytest.raises(BadUsage, match="teacher was "):
        go(tmp_path, "full", taught_by=teacher(net=network(8)), steps=2)
    with pytest.raises(BadUsage, match="another run"):
        go(tmp_path, "none", steps=2)


def test_a_recipe_with_a_teacher_needs_one(tmp_path: Path) -> None:
    with pytest.raises(BadUsage, match="learns from a teacher, and none is given"):
        go(tmp_path, "output")


def test_a_teacher_of_another_width_is_refused(tmp_path: Path) -> None:
    wide = SamLayout(encoder=replace(LAYOUT.encoder, width=64), decoder=DecoderLayout(heads=2, mlp=32))
    with pytest.raises(BadUsage, match=r"tokens have the shape \(8, 5, 64\), the student's \(8, 5, 32\)"):
        go(tmp_path, "full", taught_by=teacher(net=Sam(wide)), steps=1)


def test_a_teacher_that_is_not_needed_is_not_asked(tmp_path: Path) -> None:
    one = teacher(tmp_path / "store")
    go(tmp_path / "run", "none", taught_by=one, steps=1)
    assert one.computed == 0
    assert not STAGES["none"].taught


def test_batch_norms_keep_their_statistics_near_the_end(tmp_path: Path) -> None:
    state = go(tmp_path, "none", steps=4, recipe=replace(RECIPE, still_from=0.5)).net.state_dict()
    counts = {int(value) for name, value in state.items() if name.endswith("num_batches_tracked")}
    assert counts == {2}
