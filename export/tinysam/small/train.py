"""Trains the small size: steps over drawn scenes and marked photographs, box and point prompts. Knows no ONNX."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_sdk.export.tinysam import BOTTOM_RIGHT, HIDDEN, NEGATIVE, POSITIVE, TOP_LEFT
from edge_sdk.export.tinysam.mask_losses import cross_entropy, dice
from edge_sdk.export.tinysam.optimizer import adamw
from edge_sdk.export.tinysam.scenes.mixture import Frame
from edge_sdk.export.tinysam.scenes.prefetch import Prefetch
from edge_sdk.export.tinysam.small.decoder import (
    MASK,
    Prompts,
    area_px,
    distances_at,
    mask_windows,
    onto_frame,
    point_windows,
)
from edge_sdk.export.tinysam.small.model import SmallModel
from edge_sdk.export.tinysam.small.windows import GUESS_SCALE, POINT_SCALES, around, weights
from edge_sdk.export.training.averaged import AveragedTraining, Pair
from edge_sdk.export.training.loop import Moment

CODE = "tinysam-small/4"
"""Bump when older checkpoints can no longer be resumed."""
REFINED_WEIGHT = 0.4
"""Of the losses of second rounds, in those of first rounds: a second round has one prompt of each picture, and
its terms are means, so that unweighted it would count as much as all prompts of the first."""
SCALE_SPREAD = 0.15
"""Standard deviation of the log of the factor by which the further windows of points differ from POINT_SCALES: the
network is trained on sizes around these two."""
GUESS_SHARE = 0.5
"""Of the first windows of points, how many surround the guessed box; the others surround a true box that is moved."""
MOVED_SPREAD, SCALED_SPREAD = 0.12, 0.25
"""Standard deviations of how such a true box is moved, in its sides, and of the log of how it is scaled."""
POINT_CHANCE = 4.0
"""How much likelier a window of a point that fits is to have a second round than one of a box."""
LEAST_CHANCE = 1e-3
"""Added to the chances of all windows, so that a picture in which none fits has a second round too."""
CROSS_WEIGHT = 2.0
"""Of cross entropy, in dice."""
LOG_WEIGHT = 0.1
"""Of the error of the distances' logs, in 1 - IoU of the guessed boxes: it says where to go when the boxes hardly
differ in IoU."""
WRONG = 0.5
"""Least error of a cell's probability for it to be corrected with a point."""
UNLIKELY = 1e-6
"""Chance of all other cells, in a wrong one's: so that a mask without a wrong cell has a point to draw."""

Guess = Callable[[Prompts], Tensor]
"""From prompts to the boxes that are guessed for their points, (B, P, 4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallRecipe:
    """batch: pictures a step. rate, trunk_rate: of AdamW, at the start of the cosine. average: of the weights that are
    kept, per step. still_from: share of the run from which norms keep their statistics, so that the network that is
    trained is the one that is exported. box_scales: of the windows of boxes, drawn between the two. least_share,
    least_seen: a window around a point is taught the mask where the mask spans this share of it and this share of the
    mask lies in it; of the others it learns the IoU alone. uncorrected: share of second rounds without a correcting
    point, in which a mask is only looked at again, in a window of its own size. point_windows: that a
    picture is taught of its points; fitting_first: how much likelier those that fit are among them. spots: pixels
    of each mask from which its box is guessed; guess_weight: of that loss."""

    batch: int = 4
    rate: float = 1.5e-3
    trunk_rate: float = 3e-4
    weight_decay: float = 0.02
    warm_steps: int = 200
    average: float = 0.998
    still_from: float = 0.9
    box_scales: tuple[float, float] = (1.08, 1.9)
    least_share: float = 0.12
    least_seen: float = 0.85
    iou_weight: float = 1.0
    refine: bool = True
    uncorrected: float = 0.5
    point_windows: int = 9
    fitting_first: float = 3.0
    spots: int = 16
    guess_weight: float = 1.0

    @classmethod
    def tuning(cls) -> SmallRecipe:
        """For a model that is trained already: a third of the rates, so that it keeps what it can."""
        return cls(rate=5e-4, trunk_rate=1e-4)

    def at(self, rate: float) -> SmallRecipe:
        """The same at another rate; the trunk's stays in proportion."""
        return replace(self, rate=rate, trunk_rate=self.trunk_rate * rate / self.rate)


class SmallTraining(AveragedTraining[SmallModel]):
    """What one step does (the protocol `Trainable`)."""

    def __init__(self, model: SmallModel, frames: Prefetch, recipe: SmallRecipe) -> None:
        optimizer = adamw(
            model, pretrained="encoder.blocks.", rate=recipe.rate, pretrained_rate=recipe.trunk_rate,
            weight_decay=recipe.weight_decay,
        )  # fmt: skip
        super().__init__(Pair(model), optimizer, recipe)
        self._frames, self._recipe = frames, recipe

    def losses(self, rng: np.random.Generator, now: Moment) -> Mapping[str, Tensor]:
        model, recipe = self.begun(now), self._recipe
        frames = self._frames.frames(now.step)
        image = torch.from_numpy(np.stack([f.image for f in frames]))
        extent = torch.tensor([f.extent for f in frames], dtype=torch.float32)
        features = model.encoder(image, extent)
        guess: Guess = partial(model.decoder.guessed, features)
        batch = PromptBatch(frames, extent, rng, model.side, recipe, guess)
        masks, iou = model.decoder(features, batch.window, batch.owner, batch.prompts)
        terms = batch.terms(masks, iou, "")
        spots, sides = spots_of(rng, batch.masks.numpy(), recipe.spots)
        terms["guess"] = recipe.guess_weight * guess_loss(distances_at(features, spots, float(model.side)), sides)
        if recipe.refine:
            again = batch.refined(rng, masks.detach())
            masks, iou = model.decoder(features, again.window, again.owner, again.prompts)
            terms |= {name: REFINED_WEIGHT * term for name, term in again.terms(masks, iou, "refined_").items()}
        return terms


class PromptBatch:
    """Windows, prompts and true masks of one step, or of its second round."""

    def __init__(
        self, frames: list[Frame], extent: Tensor, rng: np.random.Generator, side: int, recipe: SmallRecipe,
        guess: Guess,
    ) -> None:  # fmt: skip
        self.side, self.recipe = side, recipe
        self.truth: Tensor
        self.area: Tensor
        self.fits: Tensor
        self.masks = torch.from_numpy(np.stack([f.masks for f in frames]))  # (B, P, S, S), uint8
        boxes = torch.from_numpy(np.stack([f.boxes for f in frames]))
        points = torch.from_numpy(np.stack([f.points for f in frames]))
        b, q, p = len(frames), boxes.shape[1], points.shape[1]
        hidden = torch.zeros(b, p, 1, 2)
        tokens = torch.cat([boxes.reshape(b, q, 2, 2), torch.cat([points[:, :, None], hidden], 2)], 1)
        labels = torch.tensor([[TOP_LEFT, BOTTOM_RIGHT]] * q + [[POSITIVE, HIDDEN]] * p).expand(b, -1, -1)
        self.prompts = Prompts(tokens, labels)
        low, high = (float(np.log(scale)) for scale in recipe.box_scales)
        scale = torch.from_numpy(np.exp(rng.uniform(low, high, (b, q))).astype(np.float32))
        boxed = around(boxes, scale)
        scales = torch.tensor(POINT_SCALES) * torch.from_numpy(
            np.exp(rng.normal(0.0, SCALE_SPREAD, len(POINT_SCALES))).astype(np.float32)
        )
        alone = Prompts(tokens[:, q:], labels[:, q:])
        further = point_windows(alone, float(side), scales, extent)
        first = self._first(rng, alone, guess)
        pointed = torch.cat([first[:, :, None], further], 2)
        each = pointed.shape[2]
        self.window = torch.cat([boxed, pointed.flatten(1, 2)], 1)
        self.owner = torch.tensor([*range(q), *(q + k // each for k in range(p * each))]).expand(b, -1)
        self._prepare(fitting=True)
        self._keep(rng, boxes=q)

    def _first(self, rng: np.random.Generator, points: Prompts, guess: Guess) -> Tensor:
        """Windows (B, p, 4) around the boxes that are guessed, or (see GUESS_SHARE) around true ones that are moved and
        scaled, so that good windows are seen before the guesses are good."""
        with torch.no_grad():
            guessed = guess(points)
        true = torch.from_numpy(_boxes_of(self.masks[:, -guessed.shape[1] :].numpy()))
        sides = true[..., 2:] - true[..., :2]
        moved = torch.from_numpy(rng.normal(0.0, MOVED_SPREAD, sides.shape).astype(np.float32)) * sides
        sides = sides * torch.from_numpy(np.exp(rng.normal(0.0, SCALED_SPREAD, sides.shape)).astype(np.float32))
        centre = (true[..., :2] + true[..., 2:]) / 2 + moved
        at = points.points[:, :, 0] + 0.5
        low, high = torch.minimum(centre - sides / 2, at), torch.maximum(centre + sides / 2, at)
        taken = torch.from_numpy(rng.random((*at.shape[:2], 1)) < GUESS_SHARE)
        return around(torch.where(taken, guessed, torch.cat([low, high], -1)), torch.tensor(GUESS_SCALE))

    def _keep(self, rng: np.random.Generator, *, boxes: int) -> None:
        """Of the windows around points some, mostly those that fit: each costs the same, and most of the others would
        teach nothing but that they are wrong."""
        chance = 1.0 + self.recipe.fitting_first * self.fits[:, boxes:].numpy()
        order = np.argsort(-(rng.random(chance.shape) ** (1.0 / chance)), axis=1)[:, : self.recipe.point_windows]
        first = np.tile(np.arange(boxes), (len(order), 1))
        kept = torch.from_numpy(np.concatenate([first, boxes + order], 1))
        rows = torch.arange(len(order))[:, None]
        self.window, self.owner, self.fits = self.window[rows, kept], self.owner[rows, kept], self.fits[rows, kept]
        self.truth, self.area = self.truth[rows, kept], self.area[rows, kept]

    def _prepare(self, *, fitting: bool) -> None:
        """True masks in the windows, and which windows fit theirs."""
        b = self.masks.shape[0]
        own = self.masks[torch.arange(b)[:, None], self.owner].to(torch.float32)
        w, side = self.window, self.masks.shape[-1]
        down = weights(w[..., 1], w[..., 3], MASK, side, 1.0)
        across = weights(w[..., 0], w[..., 2], MASK, side, 1.0)
        self.truth = (down @ own @ across.transpose(-1, -2)).clamp(0.0, 1.0)
        self.area = own.sum((-1, -2)) / area_px(w)  # in mask cells, the part outside the window included
        has_box = self.prompts.box[1][torch.arange(b)[:, None], self.owner]
        extent = torch.stack([own.amax(-1).sum(-1), own.amax(-2).sum(-1)], -1)  # rows, columns
        sides = torch.stack([w[..., 3] - w[..., 1], w[..., 2] - w[..., 0]], -1)
        large = (extent / sides).amax(-1) > self.recipe.least_share
        whole = self.truth.sum((-1, -2)) > self.recipe.least_seen * self.area
        fits = (large & whole).to(torch.float32)
        self.fits = torch.maximum(fits, has_box) if fitting else torch.ones_like(fits)

    def terms(self, masks: Tensor, iou: Tensor, prefix: str) -> dict[str, Tensor]:
        """Cross entropy, overlap (dice) and the error of the predicted IoU."""
        truth, fits = self.truth, self.fits
        count = fits.sum().clamp(min=1.0)
        cross, overlap = cross_entropy(masks, truth), dice(masks, truth)
        with torch.no_grad():
            hard = (masks > 0).to(torch.float32)
            both = (hard * truth).sum((-1, -2))
            actual = both / (hard.sum((-1, -2)) + self.area - both).clamp(min=1.0)
        wrong = (iou - actual).abs()
        return {
            f"{prefix}cross": CROSS_WEIGHT * (cross * fits).sum() / count,
            f"{prefix}dice": (overlap * fits).sum() / count,
            f"{prefix}iou": self.recipe.iou_weight * wrong.mean(),
        }

    def refined(self, rng: np.random.Generator, masks: Tensor) -> PromptBatch:
        """A second round: for one prompt of each picture its mask, for a share of them a point where it is wrong."""
        b = self.owner.shape[0]
        has_box = self.prompts.box[1][torch.arange(b)[:, None], self.owner]
        chance = self.fits * torch.where(has_box > 0, 1.0, POINT_CHANCE)
        chosen = torch.from_numpy(_draw(rng, chance.numpy()))
        rows = torch.arange(b)
        owner, window, logits = self.owner[rows, chosen], self.window[rows, chosen], masks[rows, chosen]
        wrong = (torch.sigmoid(logits) - self.truth[rows, chosen]).numpy()
        points, labels = self.prompts.points[rows, owner], self.prompts.labels[rows, owner]
        extra, kind = _corrections(rng, wrong, window.numpy())
        kind[rng.random(b) < self.recipe.uncorrected] = HIDDEN
        again = copy.copy(self)
        tokens = torch.cat([points, torch.from_numpy(extra)[:, None]], 1)[:, None]
        marks = torch.cat([labels, torch.from_numpy(kind)[:, None]], 1)[:, None]
        prior = onto_frame(logits[:, None], window[:, None], float(self.side))
        again.prompts = Prompts(tokens, marks, prior)
        low, high = (float(np.log(scale)) for scale in self.recipe.box_scales)
        scale = torch.from_numpy(np.exp(rng.uniform(low, high, (b, 1))).astype(np.float32))
        box, has_box = again.prompts.box
        masked, there = mask_windows(again.prompts, float(self.side), scale[..., None])
        fallback = torch.where(there[..., None] > 0, masked[:, :, 0], window[:, None])
        again.window = torch.where(has_box[..., None] > 0, around(box, scale), fallback)
        again.masks = self.masks[rows, owner][:, None]
        again.owner = torch.zeros(b, 1, dtype=torch.long)
        again._prepare(fitting=False)
        return again


def spots_of(rng: np.random.Generator, masks: NDArray[np.uint8], count: int) -> tuple[Tensor, Tensor]:
    """Pixels (B, P, count, 2) of masks (B, P, S, S), as likely as each other, and their distances (B, P, count, 4) to
    the sides of the box around their mask, px."""
    boxes = _boxes_of(masks)
    spots = np.empty((*masks.shape[:2], count, 2), np.float32)
    for index in np.ndindex(*masks.shape[:2]):
        ys, xs = np.nonzero(masks[index])
        drawn = rng.integers(0, len(xs), count)
        spots[index] = np.stack([xs[drawn], ys[drawn]], -1)
    at = spots + np.float32(0.5)
    sides = np.concatenate([at - boxes[:, :, None, :2], boxes[:, :, None, 2:] - at], -1)
    return torch.from_numpy(spots), torch.from_numpy(sides)


def guess_loss(found: Tensor, true: Tensor) -> Tensor:
    """1 - IoU of the boxes that distances (..., 4) to their sides give around one point, and LOG_WEIGHT times the
    error of the distances' logs."""

    def area(x: Tensor) -> Tensor:
        return (x[..., 0] + x[..., 2]) * (x[..., 1] + x[..., 3])

    both = area(torch.minimum(found, true))
    overlap = both / (area(found) + area(true) - both)
    logs = (torch.log(found) - torch.log(true)).abs().mean(-1)
    return (1.0 - overlap + LOG_WEIGHT * logs).mean()


def _boxes_of(masks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Boxes (B, P, 4) around masks (B, P, S, S), none of them empty, px."""
    edges = []
    for axis in (-2, -1):  # columns, then rows
        row = masks.max(axis)
        edges.append((row.argmax(-1), row.shape[-1] - row[..., ::-1].argmax(-1)))
    (x0, x1), (y0, y1) = edges
    return np.stack([x0, y0, x1, y1], -1).astype(np.float32)


def _draw(rng: np.random.Generator, chance: NDArray[np.float32]) -> NDArray[np.int64]:
    """One window of each row, as likely as its chance, >= 0, says."""
    weight = chance.astype(np.float64) + LEAST_CHANCE
    return np.array([rng.choice(len(row), p=row / row.sum()) for row in weight], np.int64)


def _corrections(
    rng: np.random.Generator, wrong: NDArray[np.float32], window: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """A wrong cell of each mask (n, m, m), as likely as it is wrong, as a point (n, 2), px of the frame, and its label:
    positive where the mask is missing, negative where it should not be."""
    m = wrong.shape[-1]
    points, labels = [], []
    for error, (x0, y0, x1, y1) in zip(wrong, window):
        chance = np.where(np.abs(error) > WRONG, np.abs(error), UNLIKELY).astype(np.float64).ravel()
        at = int(rng.choice(chance.size, p=chance / chance.sum()))
        i, j = divmod(at, m)
        points.append((x0 + (j + 0.5) / m * (x1 - x0) - 0.5, y0 + (i + 0.5) / m * (y1 - y0) - 0.5))
        labels.append(POSITIVE if error[i, j] < 0 else NEGATIVE)
    return np.array(points, np.float32), np.array(labels, np.int64)
