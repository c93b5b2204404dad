"""Distillation: the target of a cell, the published embedding, a window's cells and pixels, resume, evaluation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_sdk import preprocess
from edge_sdk.errors import BadInput, BadUsage, NotThere, Stopped
from edge_sdk.export.efficientad.pdn.backbones import Lite0Stages, WideResNetStages
from edge_sdk.export.efficientad.pdn.distill import (
    DistillOptions,
    FeatureTarget,
    _window,
    channel_pooled,
    distill,
    evaluate,
    mean_pooled,
    patchcore,
)
from edge_sdk.export.efficientad.pdn.network import Pdn, PdnLayout
from edge_sdk.export.pictures.textures import texture

torch.set_num_threads(1)


class Averages:
    """A backbone of known answers: means of 2 x 2 and of 4 x 4 pixels, in fixed mixtures of the colours."""

    def __init__(self, channels: tuple[int, int] = (4, 6), centre: int = 0) -> None:
        self.name, self.strides, self.channels, self.centre = "averages", (2, 4), channels, centre
        rng = torch.Generator().manual_seed(0)
        self._mix = [torch.randn(c, 3, generator=rng) for c in channels]

    def stages(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        x = pictures.permute(0, 3, 1, 2).float() / 255.0 - 0.5
        first, second = (
            torch.einsum("ck,nkhw->nchw", mix, torch.nn.functional.avg_pool2d(x, stride))
            for mix, stride in zip(self._mix, self.strides, strict=True)
        )
        return first, second


OPTIONS = DistillOptions(
    channels=6, inner=(8, 8, 8), side=64, steps=60, batch=2, learning_rate=3e-3, statistics_pictures=12, seed=3
)


def small_texture(rng: np.random.Generator) -> NDArray[np.uint8]:
    return texture(rng, 64)


def clouds(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Smooth colours: what a small network learns soon."""
    return _resized(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), 64)


def fitted(options: DistillOptions = OPTIONS, backbone: Averages | None = None) -> FeatureTarget:
    target = FeatureTarget(backbone or Averages(), options)
    target.fit(small_texture)
    return target


def test_the_targets_have_mean_0_and_std_1_over_the_statistics_pictures() -> None:
    target = fitted()
    rng = np.random.default_rng((OPTIONS.seed, 1))
    assert (target.grid, target.backbone_side) == (16, 32)
    batch = np.stack([_resized(small_texture(rng), 32) for _ in range(OPTIONS.statistics_pictures)])
    values = target(torch.from_numpy(batch)).double().movedim(1, 0).flatten(1)
    torch.testing.assert_close(values.mean(dim=1), torch.zeros(6, dtype=torch.float64), rtol=0, atol=1e-5)
    torch.testing.assert_close(values.std(dim=1, unbiased=False), torch.ones(6, dtype=torch.float64), rtol=1e-4, atol=0)


def test_principal_components_keep_more_variance_than_pooled_channels() -> None:
    rng = np.random.default_rng(8)
    batch = torch.from_numpy(np.stack([_resized(small_texture(rng), 32) for _ in range(6)]))
    pooled = mean_pooled(*Averages().stages(batch))
    spread = {}
    for reduce in ("pool", "pca"):
        target = FeatureTarget(Averages(), replace(OPTIONS, channels=3, reduce=reduce))  # type: ignore[arg-type]
        target.fit(small_texture)
        spread[reduce] = float(target._features(batch).var(dim=(0, 2, 3)).sum())
    assert spread["pool"] < spread["pca"] <= float(pooled.var(dim=(0, 2, 3)).sum()) * 1.001


def test_principal_components_are_those_of_all_cells_of_all_pictures_together() -> None:
    """Pictures differ in their means, which are part of the variance."""
    options = replace(OPTIONS, channels=3, reduce="pca")
    target = FeatureTarget(Averages(), options)
    target.fit(clouds)
    rng = np.random.default_rng((options.seed, 1))
    drawn = [torch.from_numpy(_resized(clouds(rng), 32))[None] for _ in range(options.statistics_pictures)]
    cells = torch.cat([mean_pooled(*Averages().stages(one)).movedim(1, 0).flatten(1) for one in drawn], dim=1)
    values, vectors = np.linalg.eigh(np.cov(cells.double().numpy()))
    assert values[-3] > 1.05 * values[-4]
    found = target.state()["projection"].double().numpy()
    overlap = np.abs(found @ vectors[:, ::-1][:, :3])
    np.testing.assert_allclose(overlap, np.eye(3), atol=1e-3)


def test_the_deep_stage_comes_to_the_shallow_grid_by_half_pixel_centres() -> None:
    ramp = torch.arange(6.0).expand(1, 1, 6, 6)
    pooled = mean_pooled(torch.zeros(1, 1, 12, 12), ramp)
    np.testing.assert_allclose(pooled[0, 1, 6, 4:8].numpy(), [(j + 0.5) / 2 - 0.5 for j in range(4, 8)], atol=1e-6)


def test_the_published_embedding_is_unfold_then_adaptive_pooling_and_its_deep_half_a_3_x_3_mean() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(1, 512, 6, 6), torch.randn(1, 1024, 3, 3)
    deep = channel_pooled(torch.nn.functional.unfold(second, 3, padding=1).view(1, 9216, 3, 3), 1024)
    torch.testing.assert_close(deep, torch.nn.functional.avg_pool2d(second, 3, 1, 1))
    # Of the first stage each channel gives two values: the means of taps 0..4 and 4..8, row by row.
    shallow = channel_pooled(torch.nn.functional.unfold(first, 3, padding=1).view(1, 4608, 6, 6), 1024)
    taps = torch.nn.functional.pad(first, (1, 1, 1, 1))[0, 5, 1:4, 2:5].flatten()
    torch.testing.assert_close(shallow[0, 10:12, 1, 2], torch.stack([taps[:5].mean(), taps[4:].mean()]))
    up = torch.nn.functional.interpolate(deep, size=(6, 6), mode="bilinear", align_corners=False)
    want = torch.nn.functional.adaptive_avg_pool1d(torch.cat([shallow, up], dim=1)[0, :, 4, 4][None, None], 384)
    torch.testing.assert_close(patchcore(first, second, 384)[0, :, 4, 4], want[0, 0], rtol=1e-4, atol=1e-6)


def test_a_backbone_with_fewer_channels_makes_a_narrower_teacher_and_the_patchcore_form_is_refused() -> None:
    assert FeatureTarget(Averages(), replace(OPTIONS, channels=384)).channels == 10
    with pytest.raises(BadUsage, match=r'averages has.*Use form="mean"'):
        FeatureTarget(Averages(), replace(OPTIONS, form="patchcore"))
    wide = Averages(channels=(120, 120))
    with pytest.raises(BadUsage, match="pca goes with the mean form"):
        FeatureTarget(wide, replace(OPTIONS, form="patchcore", reduce="pca"))


def test_a_teacher_learns_what_its_backbone_says_and_explains_pictures_that_it_never_saw(tmp_path: Path) -> None:
    options = replace(OPTIONS, window=8, steps=100, batch=4, learning_rate=1e-2, inner=(8, 12, 12), cosine=True)
    done = distill(Averages(), clouds, options, folder=tmp_path)
    assert done.teacher.layout.channels == 6
    assert not done.teacher.training
    assert done.facts["pictures"] == 400
    rng = np.random.default_rng(77)
    found = evaluate(done.teacher, done.target, (clouds(rng) for _ in range(6)), side=64)
    untrained = evaluate(_teacher(done.target), done.target, [clouds(rng)], side=64)
    assert found["explained"] > 0.5 > untrained["explained"]
    assert found["pictures"] == 6


def test_a_windows_cells_and_pixels_belong_together() -> None:
    target = fitted(replace(OPTIONS, side=128))
    black = target(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))
    rng = np.random.default_rng(6)
    apart = []
    for _ in range(40):
        dot = np.zeros((128, 128, 3), np.uint8)
        y, x = (int(v) for v in rng.integers(58, 70, 2))
        dot[y - 1 : y + 1, x - 1 : x + 1] = 255  # centred on the corner (y, x)
        want = target(torch.from_numpy(_resized(dot, 64))[None]) - black
        seen = torch.from_numpy(dot).permute(2, 0, 1)[None].float()
        pixels, cells = _window(seen, want, 16, target.shift, rng)
        assert tuple(pixels.shape[-2:]) == (4 * 15 + 33, 4 * 15 + 33)
        dot_at = torch.nonzero(pixels[0, 0]).double().mean(dim=0) + 0.5
        weights = cells[0].abs().sum(dim=0).double()
        middle = (torch.nonzero(weights) * weights[weights != 0][:, None]).sum(dim=0) / weights.sum()
        apart.append((dot_at - (4.0 * middle + 16.5)).numpy())
    # One dot falls into coarse cells by chance; their mean does not.
    assert np.abs(apart).max() <= 4.0
    assert np.abs(np.mean(apart, axis=0)).max() <= 0.75


def test_a_stopped_distillation_goes_on_to_the_same_teacher(tmp_path: Path) -> None:
    whole = distill(Averages(), small_texture, replace(OPTIONS, steps=6), folder=tmp_path / "whole")
    halves = tmp_path / "halves"

    def stop(done: int, total: int, note: str) -> None:
        if "step 3," in note:
            raise KeyboardInterrupt

    options = replace(OPTIONS, steps=6, checkpoint_every_s=0.0)
    with pytest.raises(Stopped):
        distill(Averages(), small_texture, options, folder=halves, progress=stop)
    again = distill(Averages(), small_texture, options, folder=halves)
    for mine, theirs in zip(again.teacher.parameters(), whole.teacher.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def test_a_run_with_other_options_is_not_gone_on_from(tmp_path: Path) -> None:
    distill(Averages(), small_texture, replace(OPTIONS, steps=1), folder=tmp_path)
    with pytest.raises(BadUsage, match="another run: channels was 6, is 5 now"):
        distill(Averages(), small_texture, replace(OPTIONS, steps=1, channels=5), folder=tmp_path)


def test_a_padded_teacher_is_taught_the_whole_grid(tmp_path: Path) -> None:
    done = distill(Averages(), small_texture, replace(OPTIONS, padding=True, steps=2), folder=tmp_path)
    found = evaluate(done.teacher, done.target, [texture(np.random.default_rng(1), 64)], side=64)
    assert done.teacher.layout.padding
    assert np.isfinite(found["error"])


def test_nothing_to_evaluate_on_is_said() -> None:
    target = fitted()
    with pytest.raises(BadInput, match="no picture to evaluate"):
        evaluate(_teacher(target), target, [], side=64)


def test_lite0_gives_two_stages_of_the_strides_and_channels_that_it_states() -> None:
    backbone = Lite0Stages()
    assert (backbone.strides, backbone.channels) == ((8, 16), (40, 112))
    first, second = backbone.stages(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))
    assert (tuple(first.shape), tuple(second.shape)) == ((1, 40, 8, 8), (1, 112, 4, 4))


def test_the_centre_that_lite0_states_is_that_of_its_receptive_field() -> None:
    backbone = Lite0Stages()
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, (1, 128, 128, 3), dtype=np.uint8)
    changes = np.zeros(128)
    want = backbone.stages(torch.from_numpy(base))[0][0, :, 8, 8]
    for x in range(20, 120):
        other = base.copy()
        other[0, :, x] = 255 - other[0, :, x]
        changes[x] = float((backbone.stages(torch.from_numpy(other))[0][0, :, 8, 8] - want).abs().sum())
    seen = np.flatnonzero(changes > 0)
    assert abs((seen[0] + seen[-1]) / 2 - (8 * 8 + backbone.centre)) <= 1


def test_wide_resnet_without_torchvision_or_weights_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(NotThere, match=r"torchvision|wide_resnet101_2\.pth"):
        WideResNetStages(tmp_path / "wide_resnet101_2.pth")


def test_textures_are_many_and_the_same_for_the_same_seed() -> None:
    drawn = [texture(np.random.default_rng(seed), 48) for seed in range(24)]
    assert all(p.shape == (48, 48, 3) and p.dtype == np.uint8 for p in drawn)
    assert sum(float(p.std()) > 5.0 for p in drawn) >= 20
    np.testing.assert_array_equal(drawn[3], texture(np.random.default_rng(3), 48))


def _resized(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    return preprocess.resize(picture, side, side)


def _teacher(target: FeatureTarget) -> Pdn:
    return Pdn(PdnLayout(channels=target.channels, inner=(2, 2, 2)))
