"""How the small size answers points, for the thresholds of everything mode. Trains nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from edge_sdk.export.tinysam import POSITIVE, thresholds
from edge_sdk.export.tinysam.scenes.annotated import Annotated
from edge_sdk.export.tinysam.scenes.mixture import Mixture
from edge_sdk.export.tinysam.small.decoder import SIDE_LOGS, Prompts, answer
from edge_sdk.export.tinysam.small.encoder import SIDES
from edge_sdk.export.tinysam.small.model import SmallModel
from edge_sdk.progress import Progress
from edge_sdk.tasks.segmentation.settings import BoxMap, EverythingSettings

BOX_MAP = BoxMap(output=SIDES, least=SIDE_LOGS[0], most=SIDE_LOGS[1])
"""What the encoder guesses, as the decoder reads it."""
POINTS_PER_SIDE = 16
"""Of everything mode, where the bundle says nothing else: up to 102 boxes, or 256 points, 24 px apart in a
frame of 384."""
_ROWS = 16
"""Points of one run of the decoder."""


def measured(model: SmallModel, mixture: Mixture, *, seed: int, progress: Progress) -> EverythingSettings:
    """As `thresholds.measured`, for `model` in evaluation mode."""

    @torch.no_grad()
    def answers(
        one: Annotated, points: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]]:
        height, width = one.picture.shape[:2]
        image = np.zeros((1, model.side, model.side, 3), np.uint8)
        image[0, :height, :width] = one.picture
        features = model.encoder(torch.from_numpy(image), torch.tensor([[float(height), float(width)]]))
        for start in range(0, len(points), _ROWS):
            tokens = torch.from_numpy(points[start : start + _ROWS].astype(np.float32))[None, :, None]
            asked = Prompts(tokens, torch.full(tokens.shape[:-1], POSITIVE))
            yield from zip(*(tensor[0].numpy() for tensor in answer(model.decoder, features, asked)))

    return thresholds.measured(
        answers, mixture, points_per_side=POINTS_PER_SIDE, seed=seed, progress=progress, by_boxes=True
    )
