"""What the segmentation task adds to the command line. Imports nothing heavy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from edge_sdk.errors import BadUsage
from edge_sdk.export.option import TaskOptions, option

LEAST_AREA = 100
"""Of a segment that is prompted for, px: of smaller ones the boundary is most of the area."""


@dataclass(frozen=True, kw_only=True)
class SegmentationOptions(TaskOptions):
    """What a user states about annotated pictures; every default stands here and nowhere else.

    group: how pictures of one part are known (see `Grouping`), None = each is taken for a part of its own. kind: a
    regular expression that names what a picture shows, in the same way; metrics are given for each kind, too.
    least_area: px of a segment that the evaluation takes. test_pictures: how many pictures it takes at most, spread
    evenly over those there are; None = all.
    """

    data_name: ClassVar[str] = "FOLDER"
    data_help: ClassVar[str] = (
        "Folder with images/train and labels/train (a PNG label map for each picture), images/test and labels/test for "
        "the evaluation; or with COCO instances in annotations/."
    )

    group: str | None = option(
        None, help="If a part has several pictures: regular expression that names the part, or TABLE.csv:COLUMN."
    )
    kind: str | None = option(None, help="Regular expression that names what a picture shows, for metrics by kind.")
    least_area: int = option(LEAST_AREA, kind="int", least=1, help="Smallest segment that is evaluated, px.")
    test_pictures: int | None = option(None, kind="int", least=2, help="Most test pictures to evaluate on.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind is not None:
            _ = pattern_of(self.kind)


def pattern_of(kind: str) -> re.Pattern[str]:
    """The pattern of kinds. Raises BadUsage for what is not a regular expression."""
    try:
        return re.compile(kind)
    except re.error as exc:
        raise BadUsage(
            f"the pattern of kinds, {kind}, is not a regular expression: {exc}",
            hint="Write one that is found in each path, such as --kind '([a-z]+)_' for tools_01.jpg",
        ) from exc
