"""Ranges of an encoder's int8 inputs, chosen by what masks and predicted IoUs lose. Knows two graphs; no family.

The search of Q-TinySAM (Shu et al. 2023, arXiv 2312.13789) and of PTQ4ViT (Yuan et al. 2022, arXiv
2111.12293), for symmetric int8 per tensor: for each group of tensors that share a scale, the largest magnitude that
int8 keeps is one of SHARES of the largest that was seen; the one is taken that makes the squared error of the answers
of the operators that read them smallest, weighted by

output: 1, a control without gradients. fisher: the squared gradient of -log p of masks and IoUs that are drawn from the
float network's own answers, which does not vanish at the optimum. hessian: the squared gradient of the divergence of
the masks and IoUs of the network whose earlier stages are int8 from the float one's: PTQ4ViT's sequential mode. In the
parallel mode, its default, nothing is int8 while the gradient is taken, the divergence is at its minimum, and its
gradient is 0; so is that of the first stage in sequential mode, where all operators weigh the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto
from torch import Tensor
from torch.nn import functional as F

from edge_sdk.calibration.int8_graph import Int8Graph
from edge_sdk.errors import CheckFailed
from edge_sdk.export.tinysam import IOU, MASKS
from edge_sdk.export.tinysam.ranges.torch_graph import PRODUCTS, TorchGraph
from edge_sdk.progress import Progress, silent
from edge_sdk.runtimes.variants import KINDS, TOP
from edge_sdk.tensors import Array

SHARES = tuple(float(share) for share in np.linspace(0.2, 1.2, 16))
"""Of the largest magnitude that was seen, itself among them. The paper takes 100 from 0.01 to 1.2."""
Weighting: TypeAlias = Literal["output", "fisher", "hessian"]
Tops: TypeAlias = Mapping[str, float]
"""By group, the largest magnitude that int8 keeps."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One picture. encoder: its feeds. prompts: the decoder's feeds without what the encoder answers."""

    encoder: Mapping[str, Array]
    prompts: Mapping[str, Array]


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """Operators whose inputs are searched together, and the groups of those inputs: each group is of one stage."""

    name: str
    groups: tuple[str, ...]
    operators: tuple[NodeProto, ...]


@dataclass(eq=False)
class Search:
    """encoder, decoder: float graphs as calibration has cleaned them. made: the encoder in int8 by minmax, of the plan
    to search for. samples: kept for all passes. seed: of the answers that "fisher" draws.

    Raises BadInput for a graph with an operator that `TorchGraph` does not know.
    """

    encoder: ModelProto
    decoder: ModelProto
    made: Int8Graph
    samples: Sequence[Sample]
    seed: int = 0
    largest_gradients: dict[str, float] = field(default_factory=dict)
    """By stage of the latest "hessian" search, the largest |dL/dO| of any operator's answer."""

    def __post_init__(self) -> None:
        self._encoder, self._decoder = TorchGraph(self.encoder), TorchGraph(self.decoder)
        points, ranges = self.made.planned.plan.points, self.made.ranges
        self.seen: dict[str, float] = {}
        """By group that is searched, the largest magnitude that was seen: what minmax keeps."""
        for name, point in points.items():
            if point.role in ("inner", "tail") and name in ranges and ranges[name].top > 0.0:
                self.seen[point.group] = max(self.seen.get(point.group, 0.0), ranges[name].top)
        wanted = self.made.planned.plan.operators
        operators = [n for n in self._encoder.nodes if n.op_type in PRODUCTS and n.name in wanted]
        operators = [n for n in operators if n.input[1] in self._encoder.constants]
        self._group = {n.name: points[n.input[0]].group for n in operators}
        self._operators = tuple(n for n in operators if self._group[n.name] in self.seen)
        limit = KINDS[self.made.variant].weight_limit
        self._weights = {
            n.name: _rounded_weight(self._encoder.constants[n.input[1]], n.op_type, limit) for n in self._operators
        }
        self._answers: list[dict[str, Tensor]] = []

    def tops(self, weighting: Weighting, progress: Progress = silent) -> dict[str, float]:
        """By tensor of the plan, the largest magnitude that int8 keeps; a group that no weight tells apart is left out.

        Raises CheckFailed where a gradient is not finite.
        """
        stages = self.stages() if weighting == "hessian" else [self.whole()]
        if weighting == "hessian":
            self.largest_gradients = {}
        chosen: dict[str, float] = {}
        total, rng = len(stages) * len(self.samples), torch.Generator().manual_seed(self.seed)
        for number, stage in enumerate(stages):
            errors = {group: np.zeros(len(SHARES)) for group in stage.groups}
            for at in range(len(self.samples)):
                what = f"{self.made.variant}: {weighting} range search, {stage.name}, picture {at + 1}"
                progress(number * len(self.samples) + at, total, what)
                weights = self._squared_gradients(weighting, at, stage, chosen, rng)
                for group, found in self.errors(at, stage, weights).items():
                    errors[group] += found
            chosen |= {group: self.seen[group] * _best(found, stage.name) for group, found in errors.items()}
        progress(total, total, f"{self.made.variant}: {weighting} range search")
        points = self.made.planned.plan.points
        return {name: chosen[point.group] for name, point in points.items() if point.group in chosen}

    def whole(self) -> Stage:
        """All operators at once."""
        return Stage("all stages", tuple(dict.fromkeys(self._group[n.name] for n in self._operators)), self._operators)

    def stages(self) -> list[Stage]:
        """In the order of the graph. A group is of the stage of the first operator that reads it."""
        of: dict[str, str] = {}
        for node in self._operators:
            of.setdefault(self._group[node.name], stage_of(node.name))
        return [
            Stage(
                name, tuple(group for group, at in of.items() if at == name),
                tuple(n for n in self._operators if of[self._group[n.name]] == name),
            )
            for name in dict.fromkeys(of.values())
        ]  # fmt: skip

    def gradients(self, at: int, stage: Stage, tops: Tops, rng: torch.Generator | None = None) -> dict[str, Tensor]:
        """By operator of the stage, dL/dO on one sample, as O, while the groups of `tops` are int8.

        rng: draws the answers whose -log p is L; None = L is the divergence from the float network's answers.
        """
        kept: dict[str, Tensor] = {}
        names = {node.name for node in stage.operators}

        def change(node: NodeProto, read: Sequence[Any]) -> Tensor | None:
            group = self._group.get(node.name, "")
            if group in tops:
                return self._quantized(node, read, tops[group])
            if node.name not in names:
                return None
            answer = self._encoder.computed(node, read)
            # The first of them is a leaf: torch keeps nothing of what lies before it.
            kept[node.name] = answer if answer.requires_grad else answer.requires_grad_()
            return kept[node.name]

        wanted, sample = self._answer(at), self.samples[at]
        with torch.enable_grad():
            got = self._decoder.run({**sample.prompts, **self._encoder.run(sample.encoder, change)})
            loss = divergence(got, wanted) if rng is None else _drawn_loss(got, wanted, rng)
            found = torch.autograd.grad(loss, list(kept.values()), allow_unused=True)
        return {name: torch.zeros(1) if g is None else g for name, g in zip(kept, found, strict=True)}

    def errors(self, at: int, stage: Stage, weights: Mapping[str, Tensor]) -> dict[str, NDArray[np.float64]]:
        """By group, (len(SHARES),): the weighted squared error of the answers to the float network's own inputs, summed
        over operators and values of one sample. weights: by operator, as its answer, or (1,)."""
        found = {group: np.zeros(len(SHARES)) for group in stage.groups}
        names = {node.name for node in stage.operators}

        def change(node: NodeProto, read: Sequence[Any]) -> Tensor | None:
            if node.name not in names:
                return None
            real, group = self._encoder.computed(node, read), self._group[node.name]
            for number, share in enumerate(SHARES):
                gap = self._quantized(node, read, share * self.seen[group]) - real
                found[group][number] += float((weights[node.name] * gap**2).sum(dtype=torch.float64))
            return real

        with torch.no_grad():
            self._encoder.run(self.samples[at].encoder, change)
        return found

    def _squared_gradients(
        self, weighting: Weighting, at: int, stage: Stage, tops: Tops, rng: torch.Generator
    ) -> dict[str, Tensor]:
        """By operator, its weights. All are 1 where no gradient can tell: without one, and in the first stage."""
        ones = {node.name: torch.ones(1) for node in stage.operators}
        if weighting == "output":
            return ones
        gradients = self.gradients(at, stage, tops, rng if weighting == "fisher" else None)
        if weighting == "hessian":
            largest = max(float(one.abs().max()) for one in gradients.values())
            self.largest_gradients[stage.name] = max(self.largest_gradients.get(stage.name, 0.0), largest)
            if not tops:
                return ones
        return {name: one**2 for name, one in gradients.items()}

    def _answer(self, at: int) -> dict[str, Tensor]:
        """Masks and IoUs of the float network on one sample."""
        with torch.no_grad():
            while len(self._answers) <= at:
                sample = self.samples[len(self._answers)]
                self._answers.append(self._decoder.run({**sample.prompts, **self._encoder.run(sample.encoder)}))
        return self._answers[at]

    def _quantized(self, node: NodeProto, read: Sequence[Any], top: float) -> Tensor:
        """What an operator answers with its input and its weights in int8. Gradients pass the rounding as they are,
        also where it cuts."""
        value = read[0]
        through = value + (quantized(value, top) - value).detach()
        return self._encoder.computed(node, [through, self._weights[node.name], *read[2:]])


def quantized(value: Tensor, top: float) -> Tensor:
    """What QuantizeLinear and DequantizeLinear make of it in int8 with the zero point 0: half to even, -128 to 127
    steps. top: the largest magnitude that is kept, that of 127."""
    step = top / TOP
    return (value / step).round().clamp(-TOP - 1, TOP) * step


def divergence(got: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Tensor:
    """How far masks (N, M, h, w) of logits and IoUs (N, M) are from those wanted, >= 0: Bernoulli KL divergence, a mean
    over the cells of each mask, summed; and L1 of the IoUs, which are no distribution."""
    shares = wanted[MASKS].sigmoid()
    own = -(shares * F.logsigmoid(wanted[MASKS]) + (1 - shares) * F.logsigmoid(-wanted[MASKS]))
    masks = F.binary_cross_entropy_with_logits(got[MASKS], shares, reduction="none") - own
    return masks.mean((-2, -1)).sum() + (got[IOU] - wanted[IOU]).abs().sum()


def stage_of(operator: str) -> str:
    """What becomes int8 together: a stage of TinyViT, a block of the others, patch embedding, neck."""
    block = re.match(r"(layers\.|blocks\.|trunk/)\d+", operator)
    return block.group() if block else operator.split("/")[0]


def _drawn_loss(got: Mapping[str, Tensor], wanted: Mapping[str, Tensor], rng: torch.Generator) -> Tensor:
    """-log p of masks and IoUs that are drawn from the network's own answers: each cell by its probability, each IoU
    with a deviation of 1."""
    shares = wanted[MASKS].sigmoid()
    drawn = (torch.rand(shares.shape, generator=rng) < shares).float()
    noise = torch.randn(wanted[IOU].shape, generator=rng)
    masks = F.binary_cross_entropy_with_logits(got[MASKS], drawn, reduction="none")
    return masks.mean((-2, -1)).sum() + (got[IOU] * noise).sum()


def _rounded_weight(weight: Tensor, kind: str, limit: int) -> Tensor:
    """As it will be stored: symmetric, a scale for each output channel."""
    along = (0,) if kind == "MatMul" else tuple(range(1, weight.dim()))
    step = weight.abs().amax(along, keepdim=True).clamp_min(1e-12) / limit
    return (weight / step).round() * step


def _best(errors: NDArray[np.float64], where: str) -> float:
    """The share with the smallest error; 1 where all are 0, which tells nothing."""
    if not np.isfinite(errors).all():
        raise CheckFailed("a gradient of masks and IoUs is not finite", where=where, hint="Leave --range-search out")
    return SHARES[int(np.argmin(errors))] if errors.any() else 1.0
