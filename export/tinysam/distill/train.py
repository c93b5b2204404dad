"""Trains a SAM-like network on photographs with label maps, taught by another one or by the masks alone.

Knows the shared loop; no ONNX, no command line. A step: frames, the student's embedding, rounds of hard prompts, one
pass of the decoder that is learned from, one of the teacher's for the same prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from edge_sdk.errors import BadUsage
from edge_sdk.export.tinysam.decoder import Decoded
from edge_sdk.export.tinysam.distill import losses, prompts
from edge_sdk.export.tinysam.distill.frames import Views
from edge_sdk.export.tinysam.distill.prompts import Prompts
from edge_sdk.export.tinysam.distill.recipe import DistillRecipe, LossWeights
from edge_sdk.export.tinysam.distill.teacher import Decodes, Teacher, check_pair, stacked
from edge_sdk.export.tinysam.layout import Lite0Layout
from edge_sdk.export.tinysam.mask_losses import actual_iou, cross_entropy, dice, focal
from edge_sdk.export.tinysam.optimizer import adamw
from edge_sdk.export.tinysam.sam import Sam, normalised_frames
from edge_sdk.export.tinysam.scenes.mixture import Frame
from edge_sdk.export.tinysam.scenes.prefetch import Prefetch
from edge_sdk.export.training import loop
from edge_sdk.export.training.averaged import AveragedTraining, Pair
from edge_sdk.export.training.checkpoint import Position
from edge_sdk.export.training.device import CPU, Compute
from edge_sdk.export.training.identity import digest_of_weights, identify
from edge_sdk.export.training.loop import LoopPlan, Moment
from edge_sdk.export.training.together import ALONE, Together
from edge_sdk.progress import Progress, silent

CODE = "tinysam-distill/1"
"""Bump when older checkpoints can no longer be resumed."""
_RANKS_APART = 2**32
"""Between the seeds of two processes' frames: further apart than seeds that anybody gives."""


class Distillation(AveragedTraining[Sam]):
    """What one step does (the protocol `Trainable`). Raises BadUsage where the recipe needs a teacher and there is
    none."""

    def __init__(
        self, student: Sam, frames: Prefetch, recipe: DistillRecipe, *, teacher: Teacher | None, compute: Compute = CPU
    ) -> None:
        if recipe.weights.taught and teacher is None:
            raise BadUsage("this recipe learns from a teacher, and none is given", hint='Or take the stage "none"')
        pair = compute.place(Pair(student))
        optimizer = adamw(
            pair.live, pretrained=_pretrained(student), rate=recipe.rate, pretrained_rate=recipe.trunk_rate,
            weight_decay=recipe.weight_decay,
        )  # fmt: skip
        super().__init__(pair, optimizer, recipe)
        self._frames, self._recipe = frames, recipe
        self._teacher, self._compute = teacher if recipe.weights.taught else None, compute
        self._px = student.layout.image_size / student.layout.mask_side

    def losses(self, rng: np.random.Generator, now: Moment) -> Mapping[str, Tensor]:
        student, recipe = self.begun(now), self._recipe
        frames = self._frames.frames(now.step)
        truth = self._truth(frames)
        embedding = student.encode(normalised_frames(*stacked(frames, self._compute)))
        asked = self._hard(rng, embedding.detach(), prompts.of_frames(frames).to(embedding.device), truth)
        answer = decoded(student, embedding, asked)
        terms = truth_terms(answer, truth, recipe.weights)
        if self._teacher is not None:
            taught = self._teacher.embeddings(frames)
            with torch.no_grad():
                shown = decoded(self._teacher, taught, asked)
            check_pair(shown, answer)
            terms |= taught_terms(shown, answer, taught, embedding, truth, recipe.weights)
        return terms

    def _truth(self, frames: Sequence[Frame]) -> Tensor:
        """The share of each cell of a mask's grid that is mask: (B * N, h, w)."""
        masks = self._compute.tensor(np.concatenate([f.masks for f in frames])).to(torch.float32)
        return functional.avg_pool2d(masks[:, None], round(self._px))[:, 0]

    @torch.no_grad()
    def _hard(self, rng: np.random.Generator, embedding: Tensor, asked: Prompts, truth: Tensor) -> Prompts:
        """The prompts of the last of this step's rounds."""
        recipe = self._recipe.prompts
        for _ in range(int(rng.integers(recipe.most_rounds + 1))):
            answer = decoded(self._pair.live, embedding, asked)
            found = best(answer) > 0
            asked = prompts.harder(rng, asked, found, truth > 0.5, px=self._px, keep=recipe.keep_points)
        return asked


def decoded(net: Decodes, embedding: Tensor, asked: Prompts) -> Decoded:
    """The answers of all pictures, one behind the other. embedding: (B, ...). asked: as many prompts of each picture.

    Picture by picture, since a decoder computes its image side once for all prompts of one.
    """
    each = len(asked.points) // len(embedding)
    parts = [
        net.decode(one[None], asked.points[k * each : (k + 1) * each], asked.labels[k * each : (k + 1) * each])
        for k, one in enumerate(embedding)
    ]
    return Decoded(*(torch.cat([getattr(part, name) for part in parts]) for name in ("masks", "iou", "tokens")))


def best(answer: Decoded) -> Tensor:
    """The mask of the highest predicted IoU, mask 0 left out where there are others: (N, h, w)."""
    masks, iou = (answer.masks[:, 1:], answer.iou[:, 1:]) if answer.iou.shape[1] > 1 else (answer.masks, answer.iou)
    return masks[torch.arange(len(masks), device=masks.device), iou.argmax(1)]


def truth_terms(answer: Decoded, truth: Tensor, weights: LossWeights) -> dict[str, Tensor]:
    """Losses against true masks (N, h, w): the masks', mask 0's own, and the error of the predicted IoU."""
    wanted = truth[:, None]
    if weights.kind == "bce":
        each = 2.0 * cross_entropy(answer.masks, wanted) + dice(answer.masks, wanted)
    else:
        each = 20.0 * focal(answer.masks, wanted) + dice(answer.masks, wanted)
    terms = {"iou": weights.truth * weights.iou * losses.iou_loss(answer.iou, actual_iou(answer.masks, wanted))}
    if each.shape[1] == 1:
        return terms | {"mask": weights.truth * each.mean()}
    terms["mask"] = weights.truth * losses.lowest(each[:, 1:], mean_share=weights.mean_share)
    return terms | {"single": weights.truth * weights.single * each[:, 0].mean()}


def taught_terms(
    shown: Decoded, answer: Decoded, taught: Tensor, embedding: Tensor, truth: Tensor, weights: LossWeights
) -> dict[str, Tensor]:
    """The three stages; one whose weight is 0 is left out. shown, taught: the teacher's answer and embedding."""
    terms: dict[str, Tensor] = {}
    if weights.embedding:
        terms["embedding"] = weights.embedding * losses.embedding_loss(taught, embedding)
    if weights.token:
        terms["token"] = weights.token * losses.token_loss(shown.tokens, answer.tokens)
    if weights.output:
        wanted = truth[:, None]
        hard = losses.hardness(actual_iou(shown.masks, wanted), actual_iou(answer.masks, wanted))
        each = hard if weights.hard else torch.full_like(hard, losses.EQUAL)
        terms["output"] = weights.output * losses.output_loss(shown.masks, answer.masks, each)
    return terms


@dataclass(frozen=True, slots=True, eq=False)
class Distilled:
    """net: the averaged student, in evaluation mode. position: where its run ended, loss history included."""

    net: Sam
    position: Position


def identity_of(
    student: Sam, recipe: DistillRecipe, *, data: str, seed: int, teacher: Teacher | None = None,
    together: Together = ALONE,
) -> dict[str, str]:  # fmt: skip
    """What a run of `train` must have in common with the checkpoint that it resumes from. data: a digest of the
    photographs and label maps."""
    return identify(
        recipe, code=CODE, data=data, seed=str(seed), processes=str(together.size), student=repr(student.layout),
        start=digest_of_weights(student),
        teacher=teacher.digest if teacher is not None and recipe.weights.taught else "none",
    )  # fmt: skip


def train(
    student: Sam, views: Views, recipe: DistillRecipe, plan: LoopPlan, *, identity: Mapping[str, str], folder: Path,
    seed: int, progress: Progress, teacher: Teacher | None = None, together: Together = ALONE, apart: bool = True,
    fill: bool = True,
) -> Distilled:  # fmt: skip
    """Trains `student` in place, or resumes from the checkpoint in `folder`.

    identity: as `identity_of`. apart: draw frames in another process. together: the processes that train it, each with
    `recipe.batch` frames of its own a step. fill: store the teacher's embeddings before the first step, where the views
    are a fixed number; otherwise each is stored when a step needs it, and counts for the time budget. Raises as
    `loop.run`, and BadUsage.
    """
    shown = progress if together.rank == 0 else silent
    frames_seed = seed + _RANKS_APART * together.rank
    with Prefetch(views, batch=recipe.batch, seed=frames_seed, apart=apart) as frames:
        lesson = Distillation(student, frames, recipe, teacher=teacher, compute=together.compute)
        if fill and teacher is not None and recipe.weights.taught and teacher.store is not None and views.whole():
            mine = range(together.rank, views.whole(), together.size)
            teacher.fill(map(views.pixels, mine), len(mine), progress=shown)
        position = loop.run(
            lesson, plan, folder=folder, identity=identity, seed=seed, progress=shown, together=together
        )
    return Distilled(lesson.kept.eval(), position)


def _pretrained(student: Sam) -> str:
    return "image_encoder.blocks." if isinstance(student.layout.encoder, Lite0Layout) else ""
