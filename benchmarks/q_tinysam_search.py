"""Hessian-guided ranges for an encoder, as Q-TinySAM searches them, with two controls. For q_tinysam.py.

For each tensor that int8 operators read, the largest magnitude that int8 keeps is one of CANDIDATES shares of the
largest that was seen; the one is taken that makes the error of those operators' answers smallest, summed with weights:

output: 1, the squared error of the answers. fisher: the squared gradient of log p of masks and IoUs drawn from the
float network's own answers, which does not vanish at the optimum. hessian: the squared gradient of KL between the
masks and IoUs of the network whose earlier stages are quantized, and of the float one (Q-TinySAM, PTQ4ViT in sequential
mode); in the first stage, where that gradient is 0, the squared error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from onnx import NodeProto
from onnx_torch import TorchGraph, computed, parsed
from torch import Tensor

from edge_sdk.calibration import graphs
from edge_sdk.calibration.int8_graph import Int8Graph
from edge_sdk.calibration.source import Ranges

CANDIDATES = tuple(np.linspace(0.2, 1.2, 16))
WEIGHTS = ("output", "fisher", "hessian")
Feeds = Mapping[str, Any]


class Search:
    """encoder, decoder: float graphs as they were cleaned. made: the int8 graph by minmax, of the plan to search for.
    samples: (encoder's feeds, decoder's prompts). limit: of the weights."""

    def __init__(
        self, encoder: bytes, decoder: bytes, made: Int8Graph, samples: Sequence[tuple[Feeds, Feeds]], limit: int,
        seed: int,
    ) -> None:  # fmt: skip
        self._encoder, self._decoder = TorchGraph(parsed(encoder)), TorchGraph(parsed(decoder))
        self._samples, self._limit, self._made = samples, limit, made
        self._rng = torch.Generator().manual_seed(seed)
        points = made.planned.plan.points
        self._operators = [n for n in self._encoder.nodes if n.name in made.planned.plan.operators]
        self._group = {n.name: points[n.input[0]].group for n in self._operators}
        self._tops = {g: max(made.ranges[t].top for t, p in points.items() if p.group == g and t in made.ranges)
                      for g in set(self._group.values())}  # fmt: skip
        self._rounded = {n.name: self._weight(self._encoder.constants[n.input[1]], n.op_type) for n in self._operators}
        self.largest_gradients: dict[str, float] = {}
        """Largest |dL/dO| by stage, of the sequential mode, and of the parallel one under "parallel"."""

    def chosen(self) -> dict[str, Ranges]:
        """By name of the weights: ranges of all tensors."""
        answers = [self._float(sample) for sample in self._samples]
        fisher = self._gradients([n.name for n in self._operators], {}, answers, sampled=True)
        parallel = self._gradients([n.name for n in self._operators], {}, answers)
        self.largest_gradients["parallel"] = max(float(g.abs().max()) for found in parallel for g in found.values())
        tops: dict[str, dict[str, float]] = {which: {} for which in WEIGHTS}
        stages = dict.fromkeys(stage(n.name) for n in self._operators)
        for name in stages:
            operators = [n for n in self._operators if stage(n.name) == name]
            hessian = self._gradients([n.name for n in operators], tops["hessian"], answers)
            most = max(float(g.abs().max()) for found in hessian for g in found.values())
            self.largest_gradients[name] = most
            scores = self._scores(operators, fisher, hessian if tops["hessian"] else None)
            for which in WEIGHTS:
                for group, errors in scores[which].items():
                    tops[which][group] = float(CANDIDATES[int(np.argmin(errors))]) * self._tops[group]
        return {which: self._ranges(found) for which, found in tops.items()}

    def _ranges(self, tops: Mapping[str, float]) -> Ranges:
        points = self._made.planned.plan.points
        return {
            name: replace(one, top=tops[points[name].group]) if name in points and points[name].group in tops else one
            for name, one in self._made.ranges.items()
        }

    def _weight(self, weight: Tensor, op: str) -> Tensor:
        """Rounded per output channel, as it will be stored."""
        along = (0,) if op == "MatMul" else tuple(range(1, weight.dim()))
        step = weight.abs().amax(along, keepdim=True).clamp_min(1e-12) / self._limit
        return (weight / step).round() * step

    def _float(self, sample: tuple[Feeds, Feeds]) -> dict[str, Tensor]:
        with torch.no_grad():
            return self._decoder.run({**sample[1], **self._encoder.run(sample[0])})

    def _gradients(
        self, names: Sequence[str], tops: Mapping[str, float], answers: Sequence[Mapping[str, Tensor]], *,
        sampled: bool = False,
    ) -> list[dict[str, Tensor]]:  # fmt: skip
        """By sample: dL/dO of these operators, those whose groups have a range in `tops` quantized."""
        found = []
        for sample, wanted in zip(self._samples, answers, strict=True):
            kept: dict[str, Tensor] = {}

            def change(node: NodeProto, x: list[Any], kept: dict[str, Tensor] = kept) -> Tensor | None:
                group = self._group.get(node.name)
                if group in tops:
                    return self._quantized(node, x, tops[group])
                if node.name not in names:
                    return None
                # the first of them is a leaf, so that torch keeps nothing of what lies before it
                kept[node.name] = computed(node, x)
                kept[node.name].requires_grad_() if not kept[node.name].requires_grad else kept[node.name].retain_grad()
                return kept[node.name]

            with torch.enable_grad():
                got = self._decoder.run({**sample[1], **self._encoder.run(sample[0], change)})
                loss = self._drawn(got, wanted) if sampled else divergence(got, wanted)
                gradients = torch.autograd.grad(loss, list(kept.values()), allow_unused=True)
            found.append({name: torch.zeros(1) if g is None else g for name, g in zip(kept, gradients, strict=True)})
        return found

    def _drawn(self, got: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Tensor:
        """-log p of masks and IoUs that are drawn from the network's own answers."""
        shares = wanted["masks"].sigmoid()
        drawn = (torch.rand(shares.shape, generator=self._rng) < shares).float()
        noise = torch.randn(wanted["iou"].shape, generator=self._rng)
        masks = torch.nn.functional.binary_cross_entropy_with_logits(got["masks"], drawn, reduction="none")
        return masks.mean((-2, -1)).sum() + (got["iou"] * noise).sum()

    def _scores(
        self, operators: Sequence[NodeProto], fisher: Sequence[Mapping[str, Tensor]],
        hessian: Sequence[Mapping[str, Tensor]] | None,
    ) -> dict[str, dict[str, list[float]]]:  # fmt: skip
        """By weights and group, the error with each candidate, of the float network's own inputs."""
        names = {n.name for n in operators}
        groups = dict.fromkeys(self._group[n.name] for n in operators)
        scores = {which: {group: [0.0] * len(CANDIDATES) for group in groups} for which in WEIGHTS}
        for at, sample in enumerate(self._samples):

            def change(node: NodeProto, x: list[Any], at: int = at) -> Tensor | None:
                if node.name not in names:
                    return None
                real, group = computed(node, x), self._group[node.name]
                weights = {"output": torch.ones(1), "fisher": fisher[at][node.name] ** 2}
                weights["hessian"] = weights["output"] if hessian is None else hessian[at][node.name] ** 2
                for number, share in enumerate(CANDIDATES):
                    gap = (self._quantized(node, x, float(share) * self._tops[group]) - real) ** 2
                    for which, weight in weights.items():
                        scores[which][group][number] += float((weight * gap).sum())
                return real

            with torch.no_grad():
                self._encoder.run(sample[0], change)
        return scores

    def _quantized(self, node: NodeProto, x: Sequence[Any], top: float) -> Tensor:
        step = top / 127.0
        value = x[0]
        rounded = (value / step).round().clamp(-128, 127) * step
        through = value + (rounded - value).detach()  # straight through, also where it is cut
        return computed(node, [through, self._rounded[node.name], *x[2:]])


def divergence(got: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Tensor:
    """Bernoulli KL of the masks, a mean over pixels, and L1 of the IoUs: these are no distribution."""
    p, log = wanted["masks"].sigmoid(), torch.nn.functional.logsigmoid
    of = torch.nn.functional.binary_cross_entropy_with_logits
    own = -(p * log(wanted["masks"]) + (1 - p) * log(-wanted["masks"]))
    masks = of(got["masks"], p, reduction="none") - own
    return masks.mean((-2, -1)).sum() + (got["iou"] - wanted["iou"]).abs().sum()


def stage(name: str) -> str:
    """What is quantized together: patch embedding, a stage of blocks, neck."""
    return ".".join(name.split("/")[0].split(".")[:2])


def cleaned(model: Any) -> bytes:
    """The serialized graph that is searched."""
    return graphs.dump(model)
