"""Test pictures with what a bundle answers on them, for the report page, and how long that takes. Knows no family.

Of each picture: a click, a box, and everything mode, by what `load` takes on this machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_sdk.counted import counted, percent
from edge_sdk.export.pictures.inline import data_uri, shrunk
from edge_sdk.export.sections import Example, Gallery, Section, Table, Text
from edge_sdk.export.tasks.segmentation.annotations import AnnotatedPicture, BitMask
from edge_sdk.export.tasks.segmentation.prompting import box_of, innermost, iou
from edge_sdk.loading import load_as
from edge_sdk.profiling.clock import Clocks
from edge_sdk.profiling.noise import Noise, SpinReference
from edge_sdk.profiling.statistics import shown_ms, stability
from edge_sdk.runtimes import probe
from edge_sdk.shown import shown
from edge_sdk.tasks.segmentation.decoding import EncodedImage
from edge_sdk.tasks.segmentation.everything.options import resolved
from edge_sdk.tasks.segmentation.masks import Mask
from edge_sdk.tasks.segmentation.result import Segmentation
from edge_sdk.tasks.segmentation.segmenter import PromptSegmenter
from edge_sdk.verify import VerifyReport

PICTURES = 8
"""Shown at most, spread evenly over the test pictures."""
CALLS = {"set_image": 5, "click": 10, "everything": 1}
"""Timed of each, on each picture."""
_REFERENCES = 200
"""Loops of fixed work before and after the calls, as `profile` takes them."""
_ABOUT = (
    "Left: a click, the dot, at the innermost pixel of the largest annotated segment. Middle: a box around the "
    "annotated segment of median size. Both show the mask that predict returns and its IoU with the annotated segment: "
    "100 % is the same pixels, and half of an object is 50 %. Right: everything mode, without a prompt; it has no "
    "score, since not every object is annotated. Predicted IoU is an estimate by the network."
)
_WHITE, _LIGHT, _BLACK = (255, 255, 255), (120, 255, 160), (0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Milliseconds of each operation, call by call. ran: variant and runtime. noise: of the machine meanwhile."""

    ms: dict[str, list[float]]
    ran: str
    noise: Noise

    def median(self, name: str) -> str:
        """With the digits that its calls support, as everywhere on the page."""
        return shown_ms(median(self.ms[name]), stability(self.ms[name]).verdict)

    def facts(self) -> dict[str, Any]:
        """Plain values: medians and numbers of calls."""
        each = {name: {"median_ms": median(values), "calls": len(values)} for name, values in self.ms.items()}
        noise = {"verdict": self.noise.verdict, "ratio": self.noise.ratio}
        return {"ran": self.ran, "instruction_set": probe.cpu().isa, "noise": noise, "operations": each}


def sections_of(
    bundle: Path, verified: VerifyReport, pictures: Sequence[AnnotatedPicture], *, least_area: int
) -> list[Section]:
    """Examples and times by what `load` takes here; where something answers wrongly, by the first that does not; none
    where all do. least_area: of a segment that is prompted for, px."""
    right = next((row for row in verified.rows if row.passed), None)
    if right is None or not pictures:
        return []
    variant, runtime = (None, None) if verified.passed else (right.variant, right.runtime)
    chosen = [pictures[at] for at in np.unique(np.linspace(0, len(pictures) - 1, PICTURES).astype(int))]
    times: dict[str, list[float]] = {name: [] for name in CALLS}
    reference = SpinReference(Clocks())
    with load_as(PromptSegmenter, bundle, variant=variant, runtime=runtime) as segmenter:
        segmenter.warm_up()
        reference.take("before", times=_REFERENCES)
        shown_ = [
            one for picture in chosen for one in _examples(segmenter, picture, times, reference, least_area=least_area)
        ]
        reference.take("after", times=_REFERENCES)
        ran = segmenter.set_image(chosen[0].pixels())
        info = segmenter.predict(ran, points="centre").ran
        prompts = resolved(segmenter.settings.everything).most_prompts()
    if not shown_:
        return []
    measured = Times(ms=times, ran=f"{info.variant} on {info.runtime}", noise=reference.noise())
    return [
        Section(title="On test pictures", blocks=(Text(text=_ABOUT), Gallery(examples=tuple(shown_), columns=3))),
        _interactive(measured, len(chosen), prompts),
    ]


def _interactive(times: Times, pictures: int, prompts: int) -> Section:
    what = {
        "set_image": "encode a picture in memory, once for any number of prompts",
        "click": "one point on a picture that is encoded, to the mask at the picture's own size",
        "everything": f"all masks of an encoded picture, by {prompts} prompts at most",
    }
    rows = tuple(
        (name.replace("click", "one click"), what[name], times.median(name), str(len(values)))
        for name, values in times.ms.items()
        if values
    )
    words = (
        f"{times.ran}, {probe.cpu().isa}, {counted(probe.default_threads(), 'thread')}, on the machine named above: "
        f"one call after the other, on {counted(pictures, 'picture')}. Machine: {times.noise.short}."
    )
    if any(row[2].startswith("~") for row in rows):
        words += " ~: one digit, of fewer than 20 calls or of calls that differ much."
    return Section(
        title="How long it takes",
        blocks=(Text(text=words), Table(header=("operation", "what", "median ms", "calls"), rows=rows)),
        facts={"interactive": times.facts()},
    )


def _examples(
    segmenter: PromptSegmenter,
    picture: AnnotatedPicture,
    times: dict[str, list[float]],
    reference: SpinReference,
    *,
    least_area: int,
) -> list[Example]:
    """Click, box, everything; none for a picture on which no segment is large enough."""
    pixels = picture.pixels()
    masks = sorted(picture.masks(*pixels.shape[:2]), key=np.count_nonzero)
    masks = [mask for mask in masks if np.count_nonzero(mask) >= least_area]
    if not masks:
        return []

    def encoded() -> EncodedImage:
        segmenter.cache.clear()
        return segmenter.set_image(pixels)

    image = _timed(encoded, times["set_image"], CALLS["set_image"])
    largest, middle = masks[-1], masks[len(masks) // 2]
    point, box = innermost(largest), box_of(middle)
    click = _timed(lambda: segmenter.predict(image, points=[point]), times["click"], CALLS["click"])
    boxed = segmenter.predict(image, boxes=box)
    everything = _timed(lambda: segmenter.everything(image), times["everything"], CALLS["everything"])
    reference.take("during", times=3)
    name = shown(picture.path.name)
    return [
        _of_mask("click", _dotted(_outlined(click, pixels), point), click.best, largest, name),
        _of_mask("box", _boxed(_outlined(boxed, pixels), box), boxed.best, middle, name),
        Example(
            uri=data_uri(shrunk(everything.plot(pixels))), file=name, truth="", answer="everything",
            detail=f"{counted(len(everything), 'mask')}, {percent(everything.covered, 0)} of the picture covered",
        ),
    ]  # fmt: skip


def _timed(call: Callable[[], Any], ms: list[float], times: int) -> Any:
    """What the last of several calls returns; how long each took goes to `ms`."""
    for _ in range(times):
        began = time.perf_counter_ns()
        result = call()
        ms.append((time.perf_counter_ns() - began) / 1e6)
    return result


def _of_mask(what: str, drawn: NDArray[np.uint8], mask: Mask, truth: BitMask, name: str) -> Example:
    """One answer beside the segment that was meant."""
    found = iou(mask.array, truth)
    return Example(
        uri=data_uri(shrunk(drawn)), file=name, truth="", answer=f"{what}: IoU {percent(found, 0)}",
        detail=f"predicted {percent(mask.predicted_iou, 0)}", tone="alert" if found < 0.5 else "pass",
    )  # fmt: skip


def _outlined(result: Segmentation, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The plot with a light line in a dark one around each mask: its tint alone is lost on a picture of that colour."""
    rgb = result.plot(pixels)
    for mask in result.masks:
        lines, _ = cv2.findContours(mask.array.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        for colour, thick in ((_BLACK, 2), (_LIGHT, 1)):
            cv2.drawContours(rgb, lines, -1, colour, thick, cv2.LINE_AA)
    return rgb


def _dotted(rgb: NDArray[np.uint8], point: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The picture with a dot, white in a black ring, at a point in px."""
    at, radius = (round(float(point[0])), round(float(point[1]))), max(3, round(max(rgb.shape[:2]) / 90))
    cv2.circle(rgb, at, radius + 1, _BLACK, cv2.FILLED, cv2.LINE_AA)
    cv2.circle(rgb, at, radius, _WHITE, cv2.FILLED, cv2.LINE_AA)
    return rgb


def _boxed(rgb: NDArray[np.uint8], box: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The picture with a box, white in black, x0, y0, x1, y1 px with exclusive ends."""
    x0, y0, x1, y1 = (round(float(edge)) for edge in box)
    for colour, thick in ((_BLACK, 3), (_WHITE, 1)):
        cv2.rectangle(rgb, (x0 - 1, y0 - 1), (x1, y1), colour, thick)
    return rgb
