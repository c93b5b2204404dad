"""Everything mode in one crop: asks prompts, filters, and brings what stays to full size. Knows no other crop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_sdk.tasks.segmentation.decoding import Decoded, EncodedImage
from edge_sdk.tasks.segmentation.everything.box_map import proposals
from edge_sdk.tasks.segmentation.everything.boxes import Suppression, box_of, near_crop_rim
from edge_sdk.tasks.segmentation.everything.candidates import Candidate, Filter, make_room, prompts_of
from edge_sdk.tasks.segmentation.everything.crops import Crop
from edge_sdk.tasks.segmentation.everything.found import FoundMask
from edge_sdk.tasks.segmentation.everything.full_size import encode_part, part_above, values_at
from edge_sdk.tasks.segmentation.everything.points import coarse_points, fine_points, grid, most_by_boxes
from edge_sdk.tasks.segmentation.everything.search_prompts import SearchPrompts
from edge_sdk.tasks.segmentation.everything.stability import stability
from edge_sdk.tasks.segmentation.settings import BoxMap


class AnswersPrompts(Protocol):
    """The decoder, as the search needs it (`decoding.Decoder`). most_rows: prompts that one call of its graph takes.
    tokens: of a prompt, None = any number."""

    @property
    def most_rows(self) -> int: ...
    @property
    def tokens(self) -> int | None: ...
    def decode(self, encoded: EncodedImage, tokens: NDArray[np.float32], labels: NDArray[np.int32], /) -> Decoded: ...


@dataclass(slots=True, kw_only=True)
class Counts:
    """What a search did. points: in all; by boxes, how many it asks at most. asked: of the decoder. left_out: the rest.
    candidates: masks that passed the filters. again: masks that were decoded a second time, because their logits did
    not fit into memory. masks: answered."""

    points: int = 0
    asked: int = 0
    left_out: int = 0
    candidates: int = 0
    again: int = 0
    masks: int = 0


@dataclass(slots=True, kw_only=True, eq=False)
class CropSearch:
    """One run over one crop. encoded: the crop. passes: what its masks have to pass. box_map: of the encoder, None = it
    has none. held_bytes: of logits of candidates. counts: of the whole search, added to. tell: called after each call
    of the decoder."""

    crop: Crop
    encoded: EncodedImage
    decoder: AnswersPrompts
    passes: Filter
    box_map: BoxMap | None
    held_bytes: int
    counts: Counts
    tell: Callable[[], None]
    _candidates: list[Candidate] = field(default_factory=list)

    def masks(self, side: int, width: int, height: int) -> Iterator[FoundMask]:
        """The masks of this crop, best first. side: points per side. width, height: of the whole picture."""
        size = (self.crop.width, self.crop.height)
        options = self.passes.options
        if options.hierarchical and options.box_agreement is not None:
            self._by_boxes(side, options.box_agreement)
        elif options.hierarchical:
            self._by_grid(side, *size)
        else:
            for _ in self._ask(SearchPrompts(grid(side) * size)):
                pass
        return self._best(width, height)

    def _by_boxes(self, side: int, agreement: float) -> None:
        """The encoder's boxes first; then those with which others agree most are prompted."""
        assert self.box_map is not None
        most = most_by_boxes(side)
        values = self.encoded.features[self.box_map.output]
        found = proposals(values, self.box_map, self.passes.frame, most=most, agreement=agreement)
        self.counts.left_out += most - len(found.prompts)
        for _ in self._ask(found.prompts):
            pass

    def _by_grid(self, side: int, width: int, height: int) -> None:
        """A coarse grid first; then the finer points at which no mask of it is confident. A mask is looked at there
        by interpolating its low-resolution logits, so no region of confidence is ever drawn."""
        fine = fine_points(side, width, height)
        pixels, covered = fine.astype(np.int64), np.zeros(len(fine), np.bool_)
        confident = self.passes.options.confident_logit
        assert confident is not None
        for batch in self._ask(SearchPrompts(coarse_points(side, width, height))):
            for one in batch:
                if self.passes.is_stable(one):
                    assert one.logits is not None
                    values = values_at(one.logits.grid, one.window, self.passes.frame, pixels[~covered])
                    covered[~covered] = values > np.float32(confident)
        self.counts.left_out += int(covered.sum())
        coarse = len(self._candidates)
        for _ in self._ask(SearchPrompts(fine[~covered])):
            pass
        # Of equal predicted IoU those of fine points win, as in TinySAM.
        self._candidates = self._candidates[coarse:] + self._candidates[:coarse]

    def _ask(self, asked: SearchPrompts) -> Iterator[list[Candidate]]:
        """Candidates of each batch of prompts, while their logits are there for sure."""
        # A batch is one call of the graph at most: progress is shown after each, and no more masks lie in memory.
        step = min(self.passes.options.points_per_batch, self.decoder.most_rows)
        for start in range(0, len(asked), step):
            batch = asked[start : start + step]
            found = self.passes.candidates(self._decode(batch), batch)
            self._candidates += found
            self.counts.asked, self.counts.candidates = (
                self.counts.asked + len(batch), self.counts.candidates + len(found)
            )  # fmt: skip
            yield found
            make_room(self._candidates, overlap=self.passes.options.nms_iou, held_bytes=self.held_bytes)
            self.tell()

    def _decode(self, asked: SearchPrompts) -> Decoded:
        return self.decoder.decode(self.encoded, *asked.tokens(self.passes.frame, self.decoder.tokens))

    def _best(self, width: int, height: int) -> Iterator[FoundMask]:
        """Candidates at full size, best first. Only those that no better one suppresses are brought there, and one that
        fails there suppresses nothing: the same masks as if all had been measured at full size."""
        boxes, scores = [one.box for one in self._candidates], [one.predicted_iou for one in self._candidates]
        walk = Suppression(np.array(boxes), np.array(scores), self.passes.options.nms_iou)
        for index in walk:
            one = self._candidates[index]
            if one.logits is None:
                self._decode_again([self._candidates[index] for index in walk.upcoming()])
            found = self._at_full_size(one, width, height)
            one.logits = None
            if found is not None:
                walk.keep()
                yield found

    def _decode_again(self, needed: Sequence[Candidate]) -> None:
        """Decode those of `needed` whose logits were given up, from the first on, as many as fit into memory."""
        wanted = {id(one) for one in needed}
        for one in self._candidates:
            if id(one) not in wanted:
                one.logits = None  # suppressed meanwhile
        held = sum(one.logits.nbytes for one in needed if one.logits is not None)
        missing: dict[tuple[object, object], list[Candidate]] = {}
        for one in needed:
            if one.logits is None:
                missing.setdefault((one.point, one.prompt_box), []).append(one)
        prompts = list(missing.values())[: self.passes.options.points_per_batch]
        decoded = self._decode(prompts_of([group[0] for group in prompts]))
        for row, group in enumerate(prompts):
            for one in group:
                logits = self.passes.partial(decoded.masks[row, one.mask], one.window)
                if row and held + logits.nbytes > self.held_bytes:
                    return
                one.logits, held = logits, held + logits.nbytes
                self.counts.again += 1

    def _at_full_size(self, one: Candidate, width: int, height: int) -> FoundMask | None:
        """The mask in the picture; None if it is less stable there than asked for, or cut by the crop."""
        assert one.logits is not None
        options, threshold = self.passes.options, self.passes.threshold
        part = part_above(one.logits.grid, one.window, self.passes.frame, level=self.passes.level)
        stable = stability(part.logits, threshold=threshold, offset=options.stability_offset)
        mask = part.logits > np.float32(threshold)
        x0, y0, x1, y1 = box_of(mask)
        if stable < options.stability or x1 == 0:
            return None
        box = np.array([[x0 + part.x, y0 + part.y, x1 + part.x, y1 + part.y]])
        if near_crop_rim(box, self.crop.box, width, height).any():
            return None
        left, top = self.crop.box[:2]
        x, y, prompted = *one.point, one.prompt_box
        if prompted is not None:
            prompted = (prompted[0] + left, prompted[1] + top, prompted[2] + left, prompted[3] + top)
        return FoundMask(
            runs=encode_part(mask, part.x + left, part.y + top, width=width, height=height),
            predicted_iou=one.predicted_iou, stability=stable, point=(x + left, y + top),
            prompt_box=prompted, crop=self.crop.box,
        )  # fmt: skip
