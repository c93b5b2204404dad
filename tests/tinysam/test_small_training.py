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
from edge_sdk.export.tinysam import HIDDEN
from edge_sdk.export.tinysam.scenes.drawn import DRAWN_TEXTURES, Materials
from edge_sdk.export.tinysam.scenes.mixture import Frame, Mixture
from edge_sdk.export.tinysam.scenes.prefetch import Prefetch
from edge_sdk.export.tinysam.small.decoder import MASK
from edge_sdk.export.tinysam.small.model import FORMAT, SmallModel
from edge_sdk.export.tinysam.small.train import PromptBatch, SmallRecipe, SmallTraining, guess_loss, spots_of
from edge_sdk.export.tinysam.small.windows import GUESS_SCALE, around
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


class Same(Prefetch):
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
        assert set(losses) == {
            "cross", "dice", "iou", "refined_cross", "refined_dice", "refined_iou", "guess",
        }  # fmt: skip
        total = sum(losses.values(), torch.zeros(()))
        assert bool(torch.isfinite(total))
        lesson.optimizer.zero_grad()
        total.backward()
        lesson.optimizer.step()
        seen.append({name: float(value.detach()) for name, value in losses.items()})
    first, last = (np.mean([sum(one.values()) for one in part]) for part in (seen[:3], seen[-3:]))
    assert last < 0.9 * first
    assert np.mean([one["cross"] for one in seen[-3:]]) < seen[0]["cross"]


def test_a_box_is_guessed_from_every_pixel_of_a_mask(rng: np.random.Generator) -> None:
    masks = np.zeros((1, 2, 64, 64), np.uint8)
    masks[0, 0, 10:30, 20:25] = 1
    masks[0, 1, 63, 0] = 1
    spots, sides = spots_of(rng, masks, 50)
    assert (spots.shape, sides.shape) == ((1, 2, 50, 2), (1, 2, 50, 4))
    for k, box in enumerate(([20, 10, 25, 30], [0, 63, 1, 64])):
        x, y = spots[0, k].T.long()
        assert bool(torch.from_numpy(masks[0, k])[y, x].all())
        ends = torch.cat([spots[0, k] + 0.5 - sides[0, k, :, :2], spots[0, k] + 0.5 + sides[0, k, :, 2:]], 1)
        torch.testing.assert_close(ends, torch.tensor([box], dtype=torch.float32).expand(50, -1))
    assert len(set(map(tuple, spots[0, 0].tolist()))) > 20


def test_the_loss_of_a_guess_by_hand() -> None:
    true = torch.tensor([2.0, 4.0, 6.0, 8.0])
    assert float(guess_loss(true, true)) == 0.0
    half = true / 2
    expected = 1 - 1 / 4 + 0.1 * float(np.log(2))  # a box of half the sides within the true one
    assert float(guess_loss(half, true)) == pytest.approx(expected, rel=1e-6)
    assert float(guess_loss(2 * true, true)) == pytest.approx(expected, rel=1e-6)


def test_a_window_is_taught_around_the_guess_or_around_a_box_near_the_true_one(
    mixture: Mixture, rng: np.random.Generator
) -> None:
    """Half and half, and each holds its point; what was guessed is far off here."""
    frames = [mixture.frame(rng) for _ in range(8)]
    far = torch.tensor([0.0, 0.0, 3.0, 3.0])
    shape = (8, mixture.points, 4)
    batch = PromptBatch(
        frames, torch.full((8, 2), float(SIDE)), rng, SIDE,
        SmallRecipe(point_windows=3 * mixture.points), lambda asked: far.expand(shape),
    )  # fmt: skip
    near = 0
    for frame, windows, owners in zip(frames, batch.window, batch.owner):
        for k, at in enumerate(frame.points):
            own = windows[owners == mixture.boxes + k]
            taken = torch.isclose(own, around(far, torch.tensor(GUESS_SCALE))).all(1).any()
            x, y = (float(v) + 0.5 for v in at)
            held = (own[:, 0] <= x) & (own[:, 2] >= x) & (own[:, 1] <= y) & (own[:, 3] >= y)
            assert int(held.sum()) >= (2 if taken else 3)
            near += not taken
    assert 8 * mixture.points / 4 < near < 8 * mixture.points * 3 / 4


def test_of_a_pictures_windows_around_points_those_that_fit_are_mostly_kept(
    mixture: Mixture, rng: np.random.Generator
) -> None:
    """All of its boxes are."""
    asked = {"point_windows": 6, "least_share": 0.2}

    def shares(first: float) -> tuple[float, int]:
        fits, boxes = [], 0
        for _ in range(40):
            frames = [mixture.frame(rng)]
            batch = PromptBatch(
                frames, torch.full((1, 2), float(SIDE)), rng, SIDE, SmallRecipe(**asked, fitting_first=first),
                lambda asked: torch.tensor([0.0, 0.0, 3.0, 3.0]).expand(1, mixture.points, 4),
            )  # fmt: skip
            assert batch.window.shape == (1, mixture.boxes + 6, 4)
            boxes += int((batch.owner < mixture.boxes).sum())
            fits.append(float(batch.fits[0, mixture.boxes :].mean()))
        return float(np.mean(fits)), boxes

    (any_, boxes), (fitting, _) = shares(0.0), shares(20.0)
    assert boxes == 40 * mixture.boxes
    assert fitting > any_ + 0.15


@pytest.mark.parametrize(("share", "corrected"), [(0.0, 8), (1.0, 0)])
def test_a_share_of_second_rounds_has_no_correcting_point(
    share: float, corrected: int, mixture: Mixture, rng: np.random.Generator
) -> None:
    frames = [mixture.frame(rng) for _ in range(8)]
    batch = PromptBatch(
        frames, torch.full((8, 2), float(SIDE)), rng, SIDE, SmallRecipe(uncorrected=share),
        lambda asked: torch.tensor([0.0, 0.0, 3.0, 3.0]).expand(8, mixture.points, 4),
    )  # fmt: skip
    again = batch.refined(rng, torch.randn(*batch.window.shape[:2], MASK, MASK))
    assert again.prompts.mask is not None
    assert int((again.prompts.labels[:, 0, -1] != HIDDEN).sum()) == corrected


def test_the_frozen_part_of_the_trunk_and_nothing_else_stays_as_it_is(mixture: Mixture) -> None:
    model = fresh()
    before = copy.deepcopy(model.state_dict())
    lesson = SmallTraining(model, Prefetch(mixture, batch=1, seed=0, apart=False), SmallRecipe(warm_steps=1))
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
    lesson = kind(fresh(), Prefetch(mixture, batch=1, seed=0, apart=False), SmallRecipe(warm_steps=2))
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
        "missing": ({name: value for name, value in state.items() if name != "decoder.prior"}, "prior is missing"),
        "extra": (state | {"decoder.posterior": torch.zeros(2)}, "posterior is not known"),
        "shape": (state | {"decoder.prior": torch.zeros(3)}, r"prior has the shape \(3,\), not"),
        "number": (state | {"decoder.prior": torch.tensor(0.0)}, r"prior has the shape \(\), not"),
        "NaN": (state | {"decoder.prior": state["decoder.prior"] * torch.nan}, "prior holds NaN or infinity"),
        "infinity": (state | {"decoder.prior": state["decoder.prior"] + torch.inf}, "prior holds NaN or infinity"),
        "half": (state | {"decoder.prior": (state["decoder.prior"] + 1e6).half()}, "prior holds NaN or infinity"),
        "whole": (state | {"decoder.prior": state["decoder.prior"].long()}, "prior holds int64, not floats"),
    }
    for name, (tensors, said) in cases.items():
        tensors_file.write(tmp_path / name, tensors, kind=FORMAT, described={"side": SIDE, "facts": {}})
        with pytest.raises(BadInput, match=rf"{name}: not weights of TinySAM's small size: decoder\.{said}"):
            SmallModel.load(tmp_path / name)
    for side in (0, -32, 100, "x", None, [], 1e400):
        tensors_file.write(tmp_path / "side", state, kind=FORMAT, described={"side": side, "facts": {}})
        with pytest.raises(BadInput, match="side: not weights of TinySAM's small size: "):
            SmallModel.load(tmp_path / "side")
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(BadInput, match=r"text: .*\. Name model\.safetensors of a run folder"):
        SmallModel.load(tmp_path / "text")
