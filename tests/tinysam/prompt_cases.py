"""Prompts of the parity fixtures as the networks take them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from by_rule import mask_formula
from torch import Tensor

from edge_sdk.export.tinysam import BOTTOM_RIGHT, PADDING, TOP_LEFT
from edge_sdk.export.tinysam.sam import Sam


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """points: float32 (N, T, 2), labels: int32 (N, T), masks: float32 (N, 1, 4 g, 4 g) or None."""

    points: Tensor
    labels: Tensor
    masks: Tensor | None


def prompt_of(entries: dict[str, Any], case: str, net: Sam, embedding: Tensor) -> Prompt:
    """One case: a padding point follows points without a box; a box is two points, behind the others."""
    said = entries[case]["prompt"]
    boxes = np.array(said.get("boxes", []), np.float32).reshape(-1, 2, 2)
    count = max(len(said.get("points", [])), len(boxes), 1)
    points = np.array(said.get("points", []), np.float32).reshape(count, -1, 2)
    labels = np.array(said.get("labels", []), np.int32).reshape(count, -1)
    if len(boxes):
        points = np.concatenate([points, boxes], axis=1)
        labels = np.concatenate([labels, np.tile(np.int32([[TOP_LEFT, BOTTOM_RIGHT]]), (count, 1))], axis=1)
    elif points.shape[1]:
        points = np.concatenate([points, np.zeros((count, 1, 2), np.float32)], axis=1)
        labels = np.concatenate([labels, np.full((count, 1), PADDING, np.int32)], axis=1)
    return Prompt(torch.from_numpy(points), torch.from_numpy(labels), mask_of(entries, said, net, embedding))


def mask_of(entries: dict[str, Any], said: dict[str, Any], net: Sam, embedding: Tensor) -> Tensor | None:
    """The formula's, or the best of masks 1 to 3 that the case "point" gives."""
    if "mask" not in said:
        return None
    if said["mask"] == "formula":
        return torch.from_numpy(mask_formula(net.layout.mask_side))
    earlier = prompt_of(entries, "point", net, embedding)
    with torch.no_grad():
        got = net.decode(embedding, earlier.points, earlier.labels)
    best = 1 + int(got.iou[0, 1:].argmax())
    return got.masks[:, best : best + 1]
