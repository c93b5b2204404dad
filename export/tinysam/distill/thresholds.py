"""How a SAM-like network answers points, for the thresholds of everything mode. Trains nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from edge_sdk.export.tinysam import thresholds
from edge_sdk.export.tinysam.distill.prompts import of_points
from edge_sdk.export.tinysam.sam import Sam, normalised
from edge_sdk.export.tinysam.scenes.annotated import Annotated
from edge_sdk.export.tinysam.scenes.mixture import Mixture
from edge_sdk.progress import Progress
from edge_sdk.tasks.segmentation.settings import EverythingSettings

_ROWS = 16
"""Points of one run of the decoder."""


def measured(net: Sam, mixture: Mixture, *, seed: int, progress: Progress) -> EverythingSettings:
    """As `thresholds.measured`, for `net` in evaluation mode, on the CPU. Mask 0 is no alternative."""

    @torch.no_grad()
    def answers(
        one: Annotated, points: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32], None]]:
        picture = torch.from_numpy(np.ascontiguousarray(one.picture))[None]
        embedding = net.encode(normalised(picture, net.layout.image_size))
        for start in range(0, len(points), _ROWS):
            asked = of_points(torch.from_numpy(points[start : start + _ROWS].astype(np.float32)))
            found = net.decode(embedding, asked.points, asked.labels)
            for masks, iou in zip(found.masks.numpy(), found.iou.numpy()):
                yield masks[1:], iou[1:], None

    side = EverythingSettings().points_per_side
    return thresholds.measured(answers, mixture, points_per_side=side, seed=seed, progress=progress)
