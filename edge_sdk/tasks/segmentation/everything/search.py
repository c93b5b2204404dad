"""Everything mode over one picture: crop by crop, as a stream of masks. Knows no network, no file, no runtime."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from edge_sdk.counted import counted
from edge_sdk.progress import Progress, silent
from edge_sdk.tasks.segmentation.decoding import EncodedImage
from edge_sdk.tasks.segmentation.everything.boxes import overlaps
from edge_sdk.tasks.segmentation.everything.candidates import HELD_BYTES, Filter
from edge_sdk.tasks.segmentation.everything.crop_search import AnswersPrompts, Counts, CropSearch
from edge_sdk.tasks.segmentation.everything.crops import Crop, crops_of, smallest_first
from edge_sdk.tasks.segmentation.everything.found import FoundMask, cleaned
from edge_sdk.tasks.segmentation.everything.options import SearchOptions
from edge_sdk.tasks.segmentation.everything.points import layer_sides
from edge_sdk.tasks.segmentation.settings import BoxMap


class Search:
    """Everything mode over one picture. Iterate over it: masks come as soon as they are final, those of smaller crops
    first, and in each crop by predicted IoU. With `min_region_area_px` all of them come in the end. Each iteration runs
    anew, one at a time.

    Stop iterating to cancel; nothing is left behind. An exception that `progress` raises ends the search too. counts:
    of the latest iteration so far.

    encode: the encoded picture of a crop; crops are taken one at a time. masks: which of the decoder's masks are looked
    at. threshold: of logits, above which a pixel is in a mask. box_map: of the encoder; a search by boxes needs it.
    progress: (finished prompts, all prompts, masks and candidates so far), before the first, after each call of the
    decoder, and at the end. held_bytes: most memory of logits of candidates (`candidates.make_room`).
    """

    def __init__(
        self, encode: Callable[[Crop], EncodedImage], decoder: AnswersPrompts, options: SearchOptions, *,
        width: int, height: int, masks: Sequence[int], threshold: float = 0.0, box_map: BoxMap | None = None,
        progress: Progress = silent, held_bytes: int = HELD_BYTES,
    ) -> None:  # fmt: skip
        self._encode, self._decoder, self._options = encode, decoder, options
        self._width, self._height = width, height
        self._masks, self._threshold, self._held_bytes = tuple(masks), threshold, held_bytes
        self._box_map = box_map
        self._crops = smallest_first(crops_of(width, height, layers=options.crop_layers, overlap=options.crop_overlap))
        self._sides = layer_sides(options.points_per_side, options.crop_layers, options.crop_points_divisor)
        self._progress = progress
        self._points = sum(options.most_prompts(self._sides[crop.layer]) for crop in self._crops)
        self.counts = Counts(points=self._points)

    def __iter__(self) -> Iterator[FoundMask]:
        self.counts = Counts(points=self._points)
        self._tell()
        area_px = self._options.min_region_area_px
        if area_px:
            overlap = max(self._options.nms_iou, self._options.crop_nms_iou)
            masks = cleaned(list(self._found()), area_px=area_px, overlap=overlap)
            self.counts.masks = len(masks)
            yield from masks
        else:
            yield from self._found()
        self._tell()

    def _found(self) -> Iterator[FoundMask]:
        """Masks before their clean-up. What an earlier crop showed wins over what a later, larger one shows."""
        boxes = np.empty((0, 4))
        for crop in self._crops:
            for one in self._in_crop(crop):
                box = np.array([one.box], np.float64)
                if len(self._crops) > 1 and (overlaps(box[0], boxes) > self._options.crop_nms_iou).any():
                    continue
                boxes = np.concatenate([boxes, box])
                self.counts.masks += 1
                yield one

    def _in_crop(self, crop: Crop) -> Iterator[FoundMask]:
        encoded = self._encode(crop)
        passes = Filter(frame=encoded.frame, options=self._options, masks=self._masks, threshold=self._threshold)
        search = CropSearch(
            crop=crop, encoded=encoded, decoder=self._decoder, passes=passes, box_map=self._box_map,
            held_bytes=self._held_bytes, counts=self.counts, tell=self._tell,
        )  # fmt: skip
        return search.masks(self._sides[crop.layer], self._width, self._height)

    def _tell(self) -> None:
        done = self.counts.asked + self.counts.left_out
        note = f"{counted(self.counts.masks, 'mask')}, {counted(self.counts.candidates, 'candidate')}"
        self._progress(done, self.counts.points, note)
