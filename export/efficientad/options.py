"""What a user states about a training of EfficientAD. Imports no training framework."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.errors import BadUsage
from edge_sdk.export.family import FamilyOptions
from edge_sdk.export.option import option

BORDER_PX = 16
"""Around a picture for the published sizes: half of what one cell of a PDN sees, so that the rim has cells of its own.
"""


@dataclass(frozen=True, slots=True)
class Size:
    """side: px of a picture's width and height, unless the user says otherwise. border: px around it."""

    side: int
    border: int = 0


DEMO = (
    "Trains a detector on photographs of a toy, good ones alone, and tests it on good and damaged ones. Takes about "
    "4 minutes on an idle machine with two cores. --time-budget limits the training steps alone, not reading, "
    "calibration, evaluation and timing."
)
"""What `edge-sdk demo` says of this family's demo."""
MOST_PX = 2048
"""Longest side of a training picture: beyond it, one step needs more memory than machines without a GPU have."""
SIZES: Mapping[str, Size] = {"xs": Size(320), "s": Size(256, BORDER_PX), "m": Size(256, BORDER_PX)}
"""xs: at 320 px a small defect spans several cells, for 1.6 times the work of 256."""


@dataclass(frozen=True, kw_only=True)
class EfficientAdOptions(FamilyOptions):
    """size: "xs", "s" or "m". width, height: what a picture is scaled to, px, None = the size's own; "s" and "m" then
    add a border of 16 px on each side, so their network's input is 32 px wider and higher. teacher: weights file;
    None = what ships. any_orientation: parts lie in any direction, or mirrored. ood: folder with out-of-distribution
    pictures; None = generated textures. bit_depth: of 16-bit pictures, 10, 12 or 16: what the camera's white is.
    """

    size: str = option("xs", help="xs (two cores, minutes), s or m (for a GPU; m needs --teacher).")
    width: int | None = option(
        None, kind="int", least=1,
        help="Width to scale pictures to, px; xs: a multiple of 32. Default: 320 (xs), 256 (s, m).",
    )  # fmt: skip
    height: int | None = option(
        None, kind="int", least=1, help="Height to scale pictures to, as --width; s and m add a 16 px border."
    )
    steps: int | None = option(
        None, kind="int", least=1, help="Number of training steps. Default: by time (xs), 70000 (s, m)."
    )
    time_budget_s: float | None = option(
        None, kind="seconds", name="--time-budget",
        help="Time for the training steps, such as 10min; with --steps, whichever ends first. Default: 12min (xs).",
    )  # fmt: skip
    any_orientation: bool = option(False, kind="flag", help="Parts lie in any orientation, or mirrored.")
    ood: Path | None = option(
        None, kind="path",
        help="Folder of out-of-distribution pictures, to calibrate int8 and to train s and m. Default: generated "
        "textures.",
    )  # fmt: skip
    teacher: Path | None = option(
        None, kind="path", help="Weights file of the teacher (s, m) or trunk (xs). Default: those that ship."
    )
    bit_depth: int = option(
        16,
        kind="int",
        choices=(10, 12, 16),
        help="Bits per channel that the camera fills in 16-bit pictures: 10, 12 or 16.",
    )

    @property
    def sides(self) -> tuple[int, int]:
        """(width, height), px, the size's own where they were left open. BadUsage for an unknown size, or too large."""
        side = self.own_size.side
        width, height = self.width or side, self.height or side
        if max(width, height) > MOST_PX:
            raise BadUsage(
                f"pictures can't be scaled to {width} x {height} px: {MOST_PX} a side is the most",
                hint=f"Leave --width and --height out to take {side}",
            )
        return width, height

    @property
    def own_size(self) -> Size:
        """What goes with `size`. BadUsage for an unknown one."""
        if self.size not in SIZES:
            raise BadUsage(f"EfficientAD has no size {self.size!r}", hint=f"Use one of {', '.join(SIZES)}")
        return SIZES[self.size]

    def preprocessing(self) -> Preprocessing:
        return self.prepared_by(self.own_size.border)

    def prepared_by(self, border: int) -> Preprocessing:
        """A picture is stretched to width x height and surrounded by the border: the network's input is that much
        larger."""
        width, height = self.sides
        return Preprocessing(
            width=width + 2 * border, height=height + 2 * border, mode="stretch", border=border,
            bit_depth=self.bit_depth,
        )  # fmt: skip
