"""Distils a PDN teacher from a pretrained backbone: targets, training, evaluation. Knows no product, no command line.

The target of a cell is the backbone's features around it: both stages, their 3 x 3 neighbourhood pooled, brought to one
grid, reduced to the teacher's channels, each channel of mean 0 and std 1. An unpadded teacher learns on crops of the
target grid that it can see whole, so that it never meets the zeros that it won't meet later.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from edge_sdk import preprocess
from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.export import tensors_file
from edge_sdk.export.anomaly.colour import grey
from edge_sdk.export.efficientad.pdn.backbones import Backbone
from edge_sdk.export.efficientad.pdn.network import FIELD_PX, STRIDE_PX, Pdn, PdnLayout, PdnSize, normalised, started
from edge_sdk.export.efficientad.statistics import StatisticsSum
from edge_sdk.export.training import loop
from edge_sdk.export.training.identity import digest, identify
from edge_sdk.export.training.loop import LoopPlan
from edge_sdk.progress import Progress, silent

log = logging.getLogger(__name__)

Pictures: TypeAlias = Callable[[np.random.Generator], NDArray[np.uint8]]
"""Draws one picture, uint8 (side, side, 3) RGB, any side; the generator alone decides which."""

PATCH_CHANNELS = 1024
"""Per stage, of the "patchcore" form, before its last pooling."""

TARGET = "edge-sdk.distill-target/1"
CODE = "distill/1"
"""Bump when older checkpoints can no longer be resumed."""

START_PICTURES = 8
"""That the initial weights are scaled on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillOptions:
    """How to distil. The defaults are the published recipe, apart from `padding`.

    side: px of the teacher's picture. window: cells of the random crop of the target grid that one step sees, per side;
    None = all that an unpadded teacher can see. form: "mean" pools each stage's 3 x 3 neighbourhood by its mean;
    "patchcore" is the published embedding and needs channels * 9 >= 1024 in both stages. reduce: to `channels` by
    adaptive average over neighbouring channels ("pool") or by principal components ("pca", form "mean" alone).
    grey: probability of a greyscale picture. warm_steps: of a linear start of the learning rate; cosine: falls to 0 at
    the end of the steps or of the time budget, else constant. bf16: convolutions in bfloat16, of both networks; weights
    stay in float32.
    """

    size: PdnSize = "s"
    channels: int = 384
    inner: tuple[int, ...] = ()
    padding: bool = False
    side: int = 256
    window: int | None = None
    form: Literal["mean", "patchcore"] = "mean"
    reduce: Literal["pool", "pca"] = "pool"
    statistics_pictures: int = 10_000
    steps: int = 60_000
    time_budget_s: float | None = None
    batch: int = 16
    learning_rate: float = 1e-4
    warm_steps: int = 0
    cosine: bool = False
    weight_decay: float = 1e-5
    grey: float = 0.1
    bf16: bool = False
    seed: int = 0
    checkpoint_every_s: float = 120.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Distilled:
    """teacher: in eval mode. target: what it was taught. history: (step, {"loss": value}). facts: of the run."""

    teacher: Pdn
    target: FeatureTarget
    history: tuple[tuple[int, Mapping[str, float]], ...]
    facts: Mapping[str, Any] = field(default_factory=dict)


class FeatureTarget:
    """What the teacher shall say of a picture: float32 (N, C, g, g) for pictures whose grid has g x g cells.

    `fit` must be called before it is asked, or a state loaded.
    """

    def __init__(self, backbone: Backbone, options: DistillOptions) -> None:
        self._backbone, self._options = backbone, options
        have = sum(backbone.channels)
        if options.form == "patchcore" and min(backbone.channels) * 9 < PATCH_CHANNELS:
            raise BadUsage(
                f"the patchcore form pools {PATCH_CHANNELS} values a stage out of channels x 9, and {backbone.name} "
                f"has {backbone.channels} channels",
                hint='Use form="mean"',
            )
        if options.form == "patchcore" and options.reduce == "pca":
            raise BadUsage("pca goes with the mean form only", hint='Use reduce="pool" or form="mean"')
        most = have if options.form == "mean" else 2 * PATCH_CHANNELS
        self.channels = min(options.channels, most)
        if self.channels < options.channels:
            # More outputs than features would only repeat features.
            log.warning("the teacher gets %d channels, not %d: %s has no more", most, options.channels, backbone.name)
        self.grid = -(-options.side // STRIDE_PX)
        self.backbone_side = self.grid * backbone.strides[0]
        self.shift = int((backbone.centre + 0.5) * options.side / self.backbone_side)
        """The pixel of the teacher's picture that the target's cell 0 is centred on."""
        self._projection: Tensor | None = None
        self._mean, self._std = torch.zeros(self.channels), torch.ones(self.channels)

    def __call__(self, pictures: Tensor) -> Tensor:
        """Of uint8 (N, backbone_side, backbone_side, 3)."""
        return (self._features(pictures) - self._mean.view(1, -1, 1, 1)) / self._std.view(1, -1, 1, 1)

    def fit(self, pictures: Pictures, *, progress: Progress = silent) -> dict[str, Any]:
        """Principal components if asked, then mean and std per channel in float64, over pictures drawn by the seed."""
        count = self._options.statistics_pictures
        if self._options.reduce == "pca" and self.channels < sum(self._backbone.channels):
            self._projection = self._components(pictures, count, progress)
        total = StatisticsSum(self.channels)
        for i, picture in enumerate(self._drawn(pictures, count)):
            total.add(self._features(picture))
            progress(i + 1, count, "feature statistics")
        found = total.result()
        self._mean, self._std = (torch.from_numpy(v).float() for v in (found.mean, found.std))
        return {"statistics_pictures": count, "clamped_channels": found.clamped}

    def state(self) -> dict[str, Tensor]:
        """What `fit` found."""
        state = {"mean": self._mean, "std": self._std}
        return state if self._projection is None else {**state, "projection": self._projection}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """From `state`."""
        self._mean, self._std, self._projection = state["mean"], state["std"], state.get("projection")

    def _features(self, pictures: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self._options.bf16):
            first, second = self._backbone.stages(pictures)
        first, second = first.float(), second.float()
        if self._options.form == "patchcore":
            return patchcore(first, second, self.channels)
        pooled = mean_pooled(first, second)
        if self._projection is not None:
            return torch.einsum("ck,nkhw->nchw", self._projection, pooled)
        return pooled if self.channels == pooled.shape[1] else channel_pooled(pooled, self.channels)

    def _components(self, pictures: Pictures, count: int, progress: Progress) -> Tensor:
        """(channels, C_a + C_b): the directions of most variance, orthonormal."""
        have = sum(self._backbone.channels)
        n, mean, square = 0, np.zeros(have), np.zeros((have, have))
        for i, picture in enumerate(self._drawn(pictures, count)):
            block = mean_pooled(*self._backbone.stages(picture)).movedim(1, 0).flatten(1).to(torch.float64).numpy()
            step, n = block.mean(axis=1) - mean, n + block.shape[1]
            centred = block - block.mean(axis=1, keepdims=True)
            square += centred @ centred.T + np.outer(step, step) * (block.shape[1] * (n - block.shape[1]) / n)
            mean += step * (block.shape[1] / n)
            progress(i + 1, count, "principal components")
        _, vectors = np.linalg.eigh(square / n)
        return torch.from_numpy(vectors[:, ::-1][:, : self.channels].T.copy()).float()

    def _drawn(self, pictures: Pictures, count: int) -> Iterator[Tensor]:
        """The same `count` pictures at every call, as the backbone takes them."""
        rng = np.random.default_rng((self._options.seed, 1))
        side = self.backbone_side
        for _ in range(count):
            yield torch.from_numpy(preprocess.resize(pictures(rng), side, side))[None]


def mean_pooled(first: Tensor, second: Tensor) -> Tensor:
    """(N, C_a + C_b, h, w) on the first stage's grid: each 3 x 3 neighbourhood's mean, zeros beyond the edge too."""
    first, second = (F.avg_pool2d(stage, 3, 1, 1) for stage in (first, second))
    second = F.interpolate(second, size=first.shape[-2:], mode="bilinear", align_corners=False)
    return torch.cat([first, second], dim=1)


def patchcore(first: Tensor, second: Tensor, channels: int) -> Tensor:
    """(N, channels, h, w): the published embedding. Each stage's C x 9 neighbourhood values, in that order, are
    averaged down to 1024 bins, both stages stacked to 2048 and averaged down to `channels`."""
    grid = first.shape[-2:]
    stacked = []
    for stage in (first, second):
        n, c, h, w = stage.shape
        patches = F.unfold(stage, 3, padding=1).view(n, c * 9, h, w)
        if (h, w) != tuple(grid):
            patches = F.interpolate(patches, size=grid, mode="bilinear", align_corners=False)
        stacked.append(channel_pooled(patches, PATCH_CHANNELS))
    return channel_pooled(torch.cat(stacked, dim=1), channels)


def channel_pooled(x: Tensor, channels: int) -> Tensor:
    """Adaptive average over neighbouring channels, (N, channels, h, w)."""
    n, c, h, w = x.shape
    pooled = F.adaptive_avg_pool1d(x.movedim(1, -1).reshape(n, h * w, c), channels)
    return pooled.movedim(1, -1).reshape(n, channels, h, w)


def distill(
    backbone: Backbone, pictures: Pictures, options: DistillOptions, *, folder: Path, progress: Progress = silent
) -> Distilled:
    """Distils, or resumes from the checkpoint in `folder`, if it agrees. Raises Stopped on Ctrl-C, checkpoint kept."""
    folder.mkdir(parents=True, exist_ok=True)
    identity = identity_of(backbone, options)
    target = FeatureTarget(backbone, options)
    found = _fitted(target, pictures, folder, identity, progress)
    layout = PdnLayout(size=options.size, channels=target.channels, inner=options.inner, padding=options.padding)
    lesson = _Lesson(Pdn(layout), target, pictures, options)
    plan = LoopPlan(
        steps=options.steps, time_budget_s=options.time_budget_s, checkpoint_every_s=options.checkpoint_every_s,
        history_every=50,
    )  # fmt: skip
    end = loop.run(lesson, plan, folder=folder, identity=identity, seed=options.seed, progress=progress)
    facts = {"steps": end.step, "seconds": round(end.elapsed_s), "pictures": end.step * options.batch, **found}
    return Distilled(teacher=lesson.module.eval(), target=target, history=end.history, facts=facts)


def evaluate(
    teacher: Pdn, target: FeatureTarget, pictures: Iterable[NDArray[np.uint8]], *, side: int
) -> dict[str, float]:
    """How well the teacher does on pictures that it never saw.

    error: mean squared, of targets that vary by 1 on the training pictures. variance: of the targets on these pictures,
    mean over channels. explained: 1 - error / variance; a teacher that learned nothing has 0 or less.
    """
    error, total, count = 0.0, StatisticsSum(target.channels), 0
    for picture in pictures:
        large = torch.from_numpy(preprocess.resize(picture, target.backbone_side, target.backbone_side))[None]
        small = torch.from_numpy(preprocess.resize(picture, side, side))[None]
        want = target(large)
        seen, want = _whole(normalised(small), want, target.shift, padding=teacher.layout.padding)
        with torch.no_grad():
            got = teacher(seen)
        error += float((want - got).to(torch.float64).square().mean())
        total.add(want)
        count += 1
    if count == 0:
        raise BadInput("there is no picture to evaluate the teacher on")
    variance = float(np.square(total.result().std).mean())
    error /= count
    return {"error": error, "variance": variance, "explained": 1.0 - error / variance, "pictures": count}


class _Lesson:
    """One step: pictures drawn, both nets asked, a window compared."""

    def __init__(self, teacher: Pdn, target: FeatureTarget, pictures: Pictures, options: DistillOptions) -> None:
        self._target, self._pictures, self._options = target, pictures, options
        rng, side = np.random.default_rng((options.seed, 2)), options.side
        first = np.stack([preprocess.resize(pictures(rng), side, side) for _ in range(START_PICTURES)])
        started(teacher, normalised(torch.from_numpy(first)), seed=options.seed)
        # As in export/training/device.py.
        self.module = teacher.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.Adam(
            teacher.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
        )

    def rate(self, now: loop.Moment) -> float:
        """Linear start, then constant or half a cosine."""
        start = min(1.0, (now.step + 1) / self._options.warm_steps) if self._options.warm_steps else 1.0
        return start * (loop.cosine(now.done) if self._options.cosine else 1.0)

    def losses(self, rng: np.random.Generator, now: loop.Moment) -> Mapping[str, Tensor]:
        """Mean squared error of one batch."""
        options = self._options
        large, small = [], []
        for _ in range(options.batch):
            picture = self._pictures(rng)
            if rng.random() < options.grey:
                picture = grey(picture)
            large.append(preprocess.resize(picture, self._target.backbone_side, self._target.backbone_side))
            small.append(preprocess.resize(picture, options.side, options.side))
        want = self._target(torch.from_numpy(np.stack(large)))
        seen = normalised(torch.from_numpy(np.stack(small)))
        if not options.padding:
            seen, want = _window(seen, want, options.window, self._target.shift, rng)
        with torch.autocast("cpu", torch.bfloat16, enabled=options.bf16):
            got = self.module(seen.contiguous(memory_format=torch.channels_last))
        return {"loss": F.mse_loss(got.float(), want)}


def _window(
    seen: Tensor, want: Tensor, window: int | None, shift: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """A random square of cells that an unpadded teacher sees whole, and the pixels that it sees of them.

    Cell i of the target is centred at pixel 4 i + shift, so cell 4 is the first that a 33 px field around it fits to.
    """
    whole = want.shape[-1] - 8
    cells = min(window or whole, whole)
    top, left = (int(v) for v in rng.integers(0, whole - cells + 1, 2))
    pixels = STRIDE_PX * (cells - 1) + FIELD_PX
    y, x = STRIDE_PX * top + shift, STRIDE_PX * left + shift
    return (
        seen[..., y : y + pixels, x : x + pixels],
        want[..., top + 4 : top + 4 + cells, left + 4 : left + 4 + cells],
    )


def _whole(seen: Tensor, want: Tensor, shift: int, *, padding: bool) -> tuple[Tensor, Tensor]:
    """All that the teacher can see of a picture. A padded one takes the picture as it is, as published."""
    if padding:
        return seen, want
    return seen[..., shift:, shift:], want[..., 4:-4, 4:-4]


def identity_of(backbone: Backbone, options: DistillOptions) -> dict[str, str]:
    """What a checkpoint must have in common with a run that resumes from it."""
    return identify(options, code=CODE, backbone=backbone.name)


def read_target(target: FeatureTarget, folder: Path, identity: Mapping[str, str]) -> dict[str, Any]:
    """Fills `target` with what a run in `folder` has fitted, and returns the facts that `fit` gave."""
    path = _target_file(folder, identity)
    with tensors_file.opened(
        path, kind=TARGET, what="the targets can't be read", hint="Delete it to start anew"
    ) as file:
        target.load_state(file.tensors)
        facts: dict[str, Any] = file.described["facts"]
    return facts


def _fitted(
    target: FeatureTarget, pictures: Pictures, folder: Path, identity: Mapping[str, str], progress: Progress
) -> dict[str, Any]:
    """The target's statistics: read if a run before this one has computed them."""
    path = _target_file(folder, identity)
    if path.is_file():
        return read_target(target, folder, identity)
    facts = target.fit(pictures, progress=progress)
    tensors_file.write(path, target.state(), kind=TARGET, described={"facts": facts})
    return facts


def _target_file(folder: Path, identity: Mapping[str, str]) -> Path:
    return folder / f"target-{digest(identity)}.safetensors"
