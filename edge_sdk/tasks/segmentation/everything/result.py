"""The result of everything mode for one picture: masks as runs, and what the search did. Knows no runtime."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from edge_sdk.counted import counted, percent
from edge_sdk.shown import shown
from edge_sdk.tasks.segmentation.everything.crop_search import Counts
from edge_sdk.tasks.segmentation.everything.found import FoundMask
from edge_sdk.tasks.segmentation.masks import MasksOfPicture


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Everything(MasksOfPicture[FoundMask]):
    """All masks of one picture, in the order in which they win over each other: of smaller crops first, then by
    predicted IoU. counts: prompts and candidates."""

    counts: Counts = field(default_factory=Counts)

    def about(self) -> dict[str, Any]:
        """What the search did."""
        return {"counts": dataclasses.asdict(self.counts)}

    def line(self) -> str:
        """Number of masks, what they cover, picture, prompts and notes."""
        prompted = f"{self.counts.asked} of {counted(self.counts.points, 'prompt')} asked"
        notes = "".join(f" [{note}]" for note in self.notes)
        what = f"{counted(len(self), 'mask')}, {percent(self.covered, 0)} covered"
        return f"{what}  {shown(self.source)}  {prompted}{notes}"
