"""What a distillation is made of: loss weights, prompts, views of pictures, learning rates. Knows no torch.

The paper leaves most of it open (learning rate, loss weights, box prompts, which points are kept): what is here was
chosen for few pictures on a CPU, and each field can be set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from edge_sdk.errors import BadUsage


@dataclass(frozen=True, slots=True, kw_only=True)
class LossWeights:
    """embedding, token, output: alpha, beta and gamma of the paper; all 0 = no teacher is asked. hard: weight each mask
    by its hardness. The embedding counts most: in tries of 150 steps of benchmarks/distill_bsds.py, 4 and 12 learned
    true masks faster than 1 did.

    truth: of the losses against true masks; iou: of the predicted IoU, among them. kind: "bce" is 2 * cross entropy +
    dice, which learned faster than SAM's "focal", 20 * focal + dice. mean_share: as `losses.lowest` takes it. single:
    of mask 0, the one that stands alone.
    """

    embedding: float = 10.0
    token: float = 0.5
    output: float = 0.1
    hard: bool = True
    truth: float = 1.0
    iou: float = 1.0
    kind: Literal["bce", "focal"] = "bce"
    mean_share: float = 0.3
    single: float = 0.5

    def __post_init__(self) -> None:
        if min(self.embedding, self.token, self.output, self.truth, self.iou, self.mean_share, self.single) < 0:
            raise BadUsage("a weight of a loss is at least 0")
        if self.kind not in ("bce", "focal"):
            raise BadUsage(f"the loss of a mask is bce or focal, not {self.kind!r}")

    @property
    def taught(self) -> bool:
        """Whether a teacher is needed."""
        return max(self.embedding, self.token, self.output) > 0


STAGES: Mapping[str, LossWeights] = MappingProxyType(
    {
        "none": LossWeights(embedding=0.0, token=0.0, output=0.0),
        "output": LossWeights(embedding=0.0, token=0.0, hard=False),
        "full": LossWeights(),
    }
)
"""Supervised alone; the masks of a teacher, unweighted; and all stages with hard mask weighting, as in the paper."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptRecipe:
    """each: prompts a picture. box_share: of them boxes, the rest points. jitter: of half the boxes, each side by up to
    this share of the box.

    most_rounds: online hard prompt sampling; the number of rounds of a step is drawn from 0 to this, each adding one
    pass of the decoder. keep_points: a round's point joins those before it instead of replacing them; a box stays in
    either case.
    """

    each: int = 16
    box_share: float = 0.7
    jitter: float = 0.1
    most_rounds: int = 9
    keep_points: bool = False

    def __post_init__(self) -> None:
        if self.each < 1 or not 0 <= self.box_share <= 1 or self.jitter < 0 or self.most_rounds < 0:
            raise BadUsage("a picture needs at least one prompt, and shares are between 0 and 1")

    @property
    def boxes(self) -> int:
        """Prompts of each picture that are boxes."""
        return round(self.each * self.box_share)


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewRecipe:
    """Which versions of its pictures a training sees. views: of each picture, always the same, so that a teacher's
    embeddings can be stored; 0 = a new one each time. The first is the whole picture, the second its mirror image.

    least_side: of a crop, as share of the picture's. colour: strength of changes of colour, 0 = none. least_px: area of
    the smallest mask in a frame that is asked for. maps: label maps of a picture from which one frame's masks come.
    """

    views: int = 0
    least_side: float = 0.55
    colour: float = 0.7
    least_px: int = 60
    maps: int = 2

    def __post_init__(self) -> None:
        if self.views < 0 or not 0 < self.least_side <= 1 or self.colour < 0 or self.least_px < 1 or self.maps < 1:
            raise BadUsage("a view's crop is a share of its picture, and areas and numbers are positive")


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillRecipe:
    """batch: pictures a step. rate, trunk_rate: of AdamW at the start of the cosine, the second for a pretrained
    trunk. warm_steps: over which they rise. average: of the weights that are kept, per step.

    still_from: share of the run from which batch norms keep their statistics, so that the network that is trained is
    the one that is exported.
    """

    weights: LossWeights = field(default_factory=LossWeights)
    prompts: PromptRecipe = field(default_factory=PromptRecipe)
    views: ViewRecipe = field(default_factory=ViewRecipe)
    batch: int = 4
    rate: float = 2e-3
    trunk_rate: float = 3e-4
    weight_decay: float = 0.02
    warm_steps: int = 100
    average: float = 0.995
    still_from: float = 0.8
