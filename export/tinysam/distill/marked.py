"""Pictures of the task as views take them: their masks as label maps. Knows no network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edge_sdk.export.tasks.segmentation.annotations import AnnotatedPicture, BitMask, LabelMap
from edge_sdk.export.tinysam.distill.frames import Labels
from edge_sdk.export.tinysam.scenes.annotated import Rgb


@dataclass(frozen=True, slots=True, eq=False)
class MarkedPicture:
    """A picture with label maps or COCO's instances (the protocol `Marked`)."""

    picture: AnnotatedPicture

    @property
    def annotators(self) -> int:
        return len(self.picture.annotators)

    def read(self) -> Rgb:
        """Decoded anew each time. Raises BadInput."""
        return self.picture.pixels()

    def labels(self, which: int, like: Rgb) -> Sequence[Labels]:
        """As many maps as segments lie on one pixel, at most."""
        height, width = like.shape[:2]
        annotator = self.picture.annotators[which]
        if isinstance(annotator, LabelMap):  # what `layered` would find, at the cost of a pass per segment
            return [annotator.labels(height, width).astype(np.int32)]
        return layered(annotator.masks(height, width), (height, width))


def layered(masks: Iterator[BitMask], shape: tuple[int, ...]) -> list[Labels]:
    """Masks bool (h, w) as label maps, each in the first map where it covers no other; one empty map where there are no
    masks."""
    layers = [np.zeros(shape, np.int32)]
    for number, mask in enumerate(masks, 1):
        free = next((one for one in layers if not one[mask].any()), None)
        if free is None:
            free = np.zeros(shape, np.int32)
            layers.append(free)
        free[mask] = number
    return layers
