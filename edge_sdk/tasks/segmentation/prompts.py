"""Prompts: what a caller gives (points, boxes, masks), checked, and the tokens that a decoder takes. Knows no graph.

Coordinates are the caller's pixels, x before y; an integer is the centre of that pixel, as in SAM. Box corners may lie
on the outer edges: from 0 to the width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_sdk.counted import counted
from edge_sdk.errors import BadInput
from edge_sdk.shown import shown
from edge_sdk.tasks.images import Source
from edge_sdk.tasks.segmentation.frame import Frame

BACKGROUND, FOREGROUND, TOP_LEFT, BOTTOM_RIGHT = 0, 1, 2, 3
PADDING = -1
"""Label of the token that SAM adds to points without a box. It takes part in the answer."""
NO_TOKEN = -2
"""Label of surplus tokens, which make prompts of a batch equally long. The graph hides them: they change nothing."""
CENTRE = "centre"
"""Instead of points: one in the middle of the picture."""
UNAMBIGUOUS = 3
"""Tokens, padding among them, from which one mask is a better answer than the best of several. SAM's rule, as in its
ONNX export: two points, a box and a point."""
_FORMS: Mapping[str, str] = MappingProxyType(
    {
        "points": "Pass x and y of each point, such as points=[[300, 200]]",
        "labels": "Pass 1 (on the object) or 0 (beside it) for each point, such as labels=[1, 0]",
        "boxes": "Pass x0, y0, x1, y1, such as boxes=[10, 20, 200, 120]",
    }
)
"""How each kind of prompt is written, for errors."""
Points: TypeAlias = Any
"""(P, 2) of one prompt, or (2,) of one point; (N, P, 2), or a list of (P, 2) of different lengths, of N prompts; or
CENTRE."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prompted:
    """A picture and prompts on it: a source of `predict`. picture: as `predict` takes it, or an `EncodedImage`.

    points, labels, boxes, masks, multimask, refine: as of `PromptSegmenter.predict`.
    """

    picture: Source
    points: Points = None
    labels: Any = None
    boxes: Any = None
    masks: Any = None
    multimask: bool = False
    refine: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prompt:
    """One prompt, checked. points: float64 (P, 2). labels: int32 (P,), 1 on the object, 0 beside it. box: float64 (4,)
    x0, y0, x1, y1. mask: float32 (r, r), logits over the whole frame."""

    points: NDArray[np.float64]
    labels: NDArray[np.int32]
    box: NDArray[np.float64] | None = None
    mask: NDArray[np.float32] | None = None

    @property
    def token_count(self) -> int:
        """Tokens as SAM counts them, the padding among them; 0 for a mask alone."""
        if self.box is not None:
            return len(self.points) + 2
        return len(self.points) + 1 if len(self.points) else 0


def mask_grids(wanted: Sequence[Prompt]) -> NDArray[np.float32] | None:
    """float32 (N, 1, r, r), the mask prompts of prompts that all have one; None where none of them has."""
    grids = [prompt.mask for prompt in wanted if prompt.mask is not None]
    return np.stack(grids)[:, None] if grids else None


def checked(
    frame: Frame, *, points: Points = None, labels: Any = None, boxes: Any = None,
    masks: Sequence[NDArray[np.float32]] | None = None,
) -> list[Prompt]:  # fmt: skip
    """The prompts that a caller gives, in order. masks: as grids already, one a prompt.

    Raises BadInput: nothing is given, or none of a kind, or no number; points or boxes outside the picture; boxes of no
    area or with swapped corners; labels other than 0 and 1; numbers that don't fit together.
    """
    if labels is not None and points is None:
        raise BadInput("there are labels and no points", hint="Pass points=, one for each label")
    sets = None if points is None else _point_sets(points, frame)
    signs = None if sets is None else _labels(labels, sets)
    rects = None if boxes is None else _boxes(boxes, frame)
    if masks is not None and not len(masks):
        raise _none("masks")
    counts = {
        name: len(given) for name, given in (("points", sets), ("boxes", rects), ("masks", masks)) if given is not None
    }
    if not counts:
        raise BadInput("there is no prompt", hint="Pass points=, boxes= or masks=")
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} of {count}" for name, count in counts.items())
        raise BadInput(f"the numbers of prompts differ: {listed}", hint="Give as many of each, one for each prompt")
    none = np.empty((0, 2)), np.empty(0, np.int32)
    return [
        Prompt(
            points=none[0] if sets is None else sets[i], labels=none[1] if signs is None else signs[i],
            box=None if rects is None else rects[i], mask=None if masks is None else masks[i],
        )
        for i in range(next(iter(counts.values())))
    ]  # fmt: skip


def tokens_of(
    prompts: Sequence[Prompt], frame: Frame, *, tokens: int | None = None, most: int | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """float32 (N, T, 2) in frame px and int32 (N, T): points, the padding token where there is no box, box corners, and
    surplus up to the longest prompt. tokens: T where the graph states it. most: of T. Raises BadInput for more."""
    longest = max([1, *(prompt.token_count for prompt in prompts)])
    if most is not None and longest > most:
        raise BadInput(
            f"a prompt has {longest} tokens, the bundle takes {most}",
            hint=f"Give {most - 1} points, or {most - 2} beside a box",
        )
    xy = np.zeros((len(prompts), tokens or longest, 2), np.float32)
    labels = np.full(xy.shape[:2], NO_TOKEN, np.int32)
    for row, prompt in enumerate(prompts):
        count = len(prompt.points)
        xy[row, :count], labels[row, :count] = frame.forward(prompt.points), prompt.labels
        if prompt.box is not None:
            xy[row, count : count + 2] = frame.forward(prompt.box.reshape(2, 2))
            labels[row, count : count + 2] = TOP_LEFT, BOTTOM_RIGHT
        elif count:
            labels[row, count] = PADDING
    return xy, labels


def _point_sets(points: Points, frame: Frame) -> list[NDArray[np.float64]]:
    if isinstance(points, str):
        if points != CENTRE:
            raise BadInput(f"points are the text {shown(points)[:40]!r}", hint=f'{_FORMS["points"]}, or "{CENTRE}"')
        return [np.array([[(frame.width - 1) / 2, (frame.height - 1) / 2]])]
    sets = [one[None] if one.shape == (2,) else one for one in _numbers(points, "points", 2)]
    for one in sets:
        if one.ndim != 2 or one.shape[1] != 2 or not len(one):
            raise BadInput(
                f"a prompt's points have shape {one.shape}",
                hint=f"{_FORMS['points']}: an array (points, 2), of several prompts (prompts, points, 2)",
            )
        outside = (one < -0.5) | (one > np.array([frame.width, frame.height]) - 0.5)
        _inside(one, outside, frame, "the point")
    return sets


def _boxes(boxes: Any, frame: Frame) -> list[NDArray[np.float64]]:
    rects = _numbers(boxes, "boxes", 1)
    for one in rects:
        if one.shape != (4,):
            raise BadInput(f"a box has shape {one.shape}", hint=f"{_FORMS['boxes']}, of several prompts (prompts, 4)")
        words = ", ".join(f"{value:g}" for value in one)
        if one[0] > one[2] or one[1] > one[3]:
            raise BadInput(f"the corners of the box {words} are swapped", hint="Pass x0, y0, x1, y1: top left first")
        if one[0] == one[2] or one[1] == one[3]:
            raise BadInput(f"the box {words} has no area", hint="Pass x0, y0, x1, y1")
        corners = one.reshape(2, 2)
        outside = (corners < -0.5) | (corners > (frame.width, frame.height))
        _inside(corners, outside, frame, f"the corner of the box {words},")
    return rects


def _inside(points: NDArray[np.float64], outside: NDArray[np.bool_], frame: Frame, what: str) -> None:
    if (rows := outside.any(axis=1)).any():
        x, y = points[int(rows.argmax())]
        raise BadInput(
            f"{what} ({x:g}, {y:g}) is outside the picture of {frame.width} x {frame.height} px",
            hint="Coordinates are px of the picture that is given, x first",
        )


def _numbers(given: Any, name: str, dimensions: int) -> list[NDArray[np.float64]]:
    """One array per prompt, of `dimensions` axes. given: one such, or several."""
    try:
        try:
            array = np.asarray(given, np.float64)
            arrays = [array] if array.ndim <= dimensions else list(array)
        except ValueError:  # prompts of different lengths
            arrays = [np.asarray(one, np.float64) for one in given]
    except (TypeError, ValueError, OverflowError) as exc:
        raise BadInput(f"the {name} are not numbers: {exc}", hint=_FORMS[name]) from exc
    if not arrays or not all(one.size for one in arrays):
        raise _none(name)
    if not all(np.isfinite(one).all() for one in arrays):
        raise BadInput(f"the {name} hold NaN or infinity", hint=_FORMS[name])
    return arrays


def _none(name: str) -> BadInput:
    return BadInput(f"there are no {name} in a prompt", hint=f"Leave {name} out, or give one at least")


def _labels(labels: Any, sets: Sequence[NDArray[np.float64]]) -> list[NDArray[np.int32]]:
    """As many labels as points; all FOREGROUND where none are given."""
    if labels is None:
        return [np.full(len(one), FOREGROUND, np.int32) for one in sets]
    found = [np.atleast_1d(one) for one in _numbers(labels, "labels", 1)]
    if len(found) != len(sets):
        raise BadInput(
            f"there are labels for {counted(len(found), 'prompt')}, and points for {len(sets)}",
            hint="Give labels as the points are, without x and y: an array (prompts, points)",
        )
    for number, (one, points) in enumerate(zip(found, sets, strict=True)):
        if one.shape != (len(points),):
            of = f" in prompt {number}" if len(sets) > 1 else ""
            raise BadInput(
                f"{counted(one.size, 'label')} for {counted(len(points), 'point')}{of}",
                hint="Give one label for each point: 1 on the object, 0 beside it",
            )
    for one in found:
        if (odd := one[(one != BACKGROUND) & (one != FOREGROUND)]).size:
            raise BadInput(
                f"a point has the label {odd[0]:g}",
                hint="1: the point is on the object; 0: it is beside it. Boxes have an argument of their own",
            )
    return [one.astype(np.int32) for one in found]
