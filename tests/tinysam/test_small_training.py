"""Training the small size: a step lowers the loss, files come back, a run that was stopped goes on as it was."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from small_nets import SIDE, network
from torch import nn

from edge_sdk.errors import BadInput, Stopped
from edge_sdk.export.tinysam.scenes.ahead import Ahead
from edge_sdk.export.tinysam.scenes.drawn import DRAWN_TEXTURES, Materials
from edge_sdk.export.tinysam.scenes.mixture import Frame, Mixture
from edge_sdk.export.tinysam.small.model import FORMAT, SmallModel
from edge_sdk.export.tinysam.small.train import SmallRecipe, SmallTraining
from edge_sdk.export.training import loop
from edge_sdk.export.training.checkpoint import Position
from edge_sdk.export.training.loop import LoopPlan, Moment
from edge_sdk.progress import silent


@pytest.fixture(scope="module")
def mixture() -> Mixture:
    """Scenes drawn on noise."""
    rng = np.random.default_rng(0)
    surfaces = [rng.integers(0, 256, (40, 40, 3)).astype(np.uint8) for _ in range(DRAWN_TEXTURES)]
    return Mixture([], [], Materials(surfaces), SIDE)


class Same(Ahead):
    """The same frames at every step."""

    def frames(self, step: int) -> list[Frame]:
        return super().frames(0)


def fresh(seed: int = 0) -> SmallModel:
    torch.manual_seed(seed)
    return SmallModel(SIDE)


def test_twenty_steps_on_one_frame_lower_every_loss(mixture: Mixture) -> None:
    lesson = SmallTraining(fresh(), Same(mixture, batch=1, seed=0, apart=False), SmallRecipe(warm_steps=1))
    seen = []
    for step in range(20):
        losses = lesson.losses(np.random.default_rng(0), Moment(step=step, done=step / 200))
        assert set(losses) == {"cross", "dice", "iou", "refined_cross", "refined_dice", "refined_iou"}
        total = sum(losses.values(), torch.zeros(()))
        assert bool(torch.isfinite(total))
        lesson.optimizer.zero_grad()
        total.backward()
        lesson.optimizer.step()
        seen.append({name: float(value.detach()) for name, value in losses.items()})
    first, last = (np.mean([sum(one.values()) for one in part]) for part in (seen[:3], seen[-3:]))
    assert last < 0.9 * first
    assert np.mean([one["cross"] for one in seen[-3:]]) < seen[0]["cross"]


def test_the_frozen_part_of_the_trunk_and_nothing_else_stays_as_it_is(mixture: Mixture) -> None:
    model = fresh()
    before = copy.deepcopy(model.state_dict())
    lesson = SmallTraining(model, Ahead(mixture, batch=1, seed=0, apart=False), SmallRecipe(warm_steps=1))
    for step in range(2):
        losses = lesson.losses(np.random.default_rng(0), Moment(step=step, done=0.0))
        sum(losses.values(), torch.zeros(())).backward()
        lesson.optimizer.step()
    weights = {name: not torch.equal(before[name], value) for name, value in model.named_parameters()}
    frozen = ("encoder.stem.", "encoder.blocks.0.", "encoder.blocks.1.", "encoder.blocks.2.")
    assert not [name for name, moved in weights.items() if moved and name.startswith(frozen)]
    assert not [name for name, moved in weights.items() if not moved and not name.startswith(frozen)]
    average = dict(lesson.kept.named_parameters())
    assert not any(one.requires_grad for one in average.values())
    moved = [name for name, value in average.items() if not torch.equal(before[name], value)]
    assert moved


class StopsAt(SmallTraining):
    """Ctrl-C at a step."""

    at = 2

    def losses(self, rng: np.random.Generator, now: Moment) -> dict[str, torch.Tensor]:  # type: ignore[override]
        if now.step == self.at:
            raise KeyboardInterrupt
        return dict(super().losses(rng, now))


def ran(kind: type[SmallTraining], mixture: Mixture, folder: Path, steps: int) -> tuple[SmallTraining, Position]:
    lesson = kind(fresh(), Ahead(mixture, batch=1, seed=0, apart=False), SmallRecipe(warm_steps=2))
    plan = LoopPlan(steps=steps, checkpoint_every_s=0.0)
    position = loop.run(lesson, plan, folder=folder, identity={"what": "test"}, seed=0, progress=silent)
    return lesson, position


def weights_of(module: nn.Module) -> Sequence[torch.Tensor]:
    return list(module.state_dict().values())


def test_a_run_that_was_stopped_ends_where_it_would_have_ended(mixture: Mixture, tmp_path: Path) -> None:
    whole, _ = ran(SmallTraining, mixture, tmp_path / "whole", 4)
    with pytest.raises(Stopped):
        ran(StopsAt, mixture, tmp_path / "stopped", 4)
    resumed, position = ran(SmallTraining, mixture, tmp_path / "stopped", 4)
    assert (position.step, position.finished) == (4, True)
    for one, two in zip(weights_of(whole.kept), weights_of(resumed.kept), strict=True):
        torch.testing.assert_close(one, two)


def test_a_file_gives_the_same_network_back(tmp_path: Path) -> None:
    net = network()
    net.save(tmp_path / "a.safetensors", facts={"of": "a test"})
    for one, two in zip(weights_of(net), weights_of(SmallModel.load(tmp_path / "a.safetensors")), strict=True):
        torch.testing.assert_close(one, two, atol=0, rtol=0)
    net.save(tmp_path / "half.safetensors", half=True)
    assert (tmp_path / "half.safetensors").stat().st_size < 0.6 * (tmp_path / "a.safetensors").stat().st_size
    other = SmallModel.load(tmp_path / "half.safetensors", side=256)
    assert (other.side, other.decoder.side, other.training) == (256, 256, False)
    assert all(value.dtype == wanted.dtype for value, wanted in zip(weights_of(other), weights_of(net)))


def test_files_that_hold_something_else_are_refused(tmp_path: Path) -> None:
    from edge_sdk.export import tensors_file

    state = network().state_dict()
    cases = {
        "missing": {name: value for name, value in state.items() if name != "decoder.prior"},
        "extra": state | {"decoder.posterior": torch.zeros(2)},
        "shape": state | {"decoder.prior": torch.zeros(3)},
    }
    for name, tensors in cases.items():
        tensors_file.write(tmp_path / name, tensors, kind=FORMAT, described={"side": SIDE, "facts": {}})
        with pytest.raises(BadInput, match=r"decoder\.(prior|posterior) is missing, not known, or has another shape"):
            SmallModel.load(tmp_path / name)
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(BadInput, match=r"text: .*\. Name model\.safetensors of a run folder"):
        SmallModel.load(tmp_path / "text")
