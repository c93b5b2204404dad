"""Calibration samples of the small size: frames as in training, and what the roles before answer. Knows no ONNX."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from edge_sdk.export.tinysam import BOTTOM_RIGHT, EXTENT, IMAGE, LABELS, MASK, PADDING, POINTS, POSITIVE, TOP_LEFT
from edge_sdk.export.tinysam.scenes.mixture import Frame, Mixture
from edge_sdk.export.tinysam.small.decoder import Prompts, answer, onto_frame
from edge_sdk.export.tinysam.small.model import SmallModel
from edge_sdk.tasks.segmentation.settings import ENCODER, REFINER
from edge_sdk.tensors import Array


@dataclass(frozen=True, slots=True, eq=False)
class SmallSamples:
    """Feeds of one role's graph, made anew each time they are asked for: features of many frames are large."""

    model: SmallModel
    mixture: Mixture
    role: str
    count: int
    seed: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Mapping[str, Array]]:
        for k in range(self.count):
            frame = self.mixture.frame(np.random.default_rng([self.seed, 9, k]))
            image, extent = frame.image[None], np.array(frame.extent, np.float32)
            if self.role == ENCODER:
                yield {IMAGE: image, EXTENT: extent}
            else:
                yield self._prompted(frame, image, extent)

    @torch.inference_mode()
    def _prompted(self, frame: Frame, image: Array, extent: Array) -> dict[str, Array]:
        features = self.model.encoder(torch.from_numpy(image), torch.from_numpy(extent)[None])
        points, labels = tokens_of(frame)
        feeds = {name: value.numpy() for name, value in features.items()} | {POINTS: points, LABELS: labels}
        if self.role == REFINER:
            prompts = Prompts(torch.from_numpy(points)[None], torch.from_numpy(labels)[None])
            masks, _, windows = answer(self.model.decoder, features, prompts)
            feeds[MASK] = onto_frame(masks[:, :, 1], windows[:, :, 1], float(self.model.side))[0, :, None].numpy()
        return feeds


def tokens_of(frame: Frame) -> tuple[Array, Array]:
    """Points (P, 2, 2) and labels (P, 2) of a frame's prompts, as the device feeds them."""
    boxes, points = frame.boxes.reshape(-1, 2, 2), np.zeros((len(frame.points), 2, 2), np.float32)
    points[:, 0] = frame.points
    labels = [[TOP_LEFT, BOTTOM_RIGHT]] * len(boxes) + [[POSITIVE, PADDING]] * len(points)
    return np.concatenate([boxes, points]).astype(np.float32), np.array(labels, np.int32)
