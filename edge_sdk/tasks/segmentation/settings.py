"""What a segmentation bundle keeps in its manifest, and which tensors its graphs have. Knows no pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.tensors import BATCH, TensorSpec

ENCODER, DECODER, REFINER = "encoder", "decoder", "refiner"
"""The roles. The encoder sees a picture once; the decoder answers prompts on it; the refiner is the decoder for prompts
of which each has a mask."""
IMAGE, EXTENT = "image", "extent"
POINTS, LABELS, MASK = "points", "labels", "mask"
MASKS, IOU, WINDOWS = "masks", "iou", "windows"


MOST_ROUNDS = 16
"""Of refinement: further rounds no longer change a mask."""


MOST_POINTS_PER_SIDE = 256
"""65,536 points: more than 1 in 4 px of a frame of 512 px."""


class EverythingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Thresholds of everything mode. They belong to one checkpoint, so they are data.

    points_per_side: of the grid of prompts. predicted_iou: a mask at or below it is dropped. stability: share of pixels
    that stay when the threshold moves by `stability_offset` logits either way; a mask below it is dropped.
    confident_logit: pixels above it need no further prompt (hierarchical mode by grid). box_agreement: a box that the
    encoder guesses is prompted if the guesses inside it agree with it at least so much (hierarchical mode by boxes;
    only with a `SegmentationSettings.box_map`; 0 = any box). Where both are None, that mode is not offered. nms_iou:
    of two masks whose boxes overlap by more, the one with the lower predicted IoU is dropped.
    Defaults: segment-anything's.
    """

    points_per_side: int = 32
    predicted_iou: float = 0.88
    stability: float = 0.95
    stability_offset: float = 1.0
    confident_logit: float | None = None
    box_agreement: float | None = None
    nms_iou: float = 0.7


RANGES: Mapping[str, tuple[float, float]] = {
    "points_per_side": (1, MOST_POINTS_PER_SIDE), "predicted_iou": (-math.inf, math.inf), "stability": (0.0, 1.0),
    "stability_offset": (0.0, math.inf), "confident_logit": (-math.inf, math.inf), "box_agreement": (0.0, 1.0),
    "nms_iou": (0.0, 1.0),
}  # fmt: skip
"""Least and most of each number of `EverythingSettings`."""


def range_problem(values: object, ranges: Mapping[str, tuple[float, float]] = RANGES) -> str:
    """Which attribute of `values` is out of its range or not finite, as a sentence part; "" if none. None is in any
    range."""
    for name, (least, most) in ranges.items():
        value = getattr(values, name)
        if value is None:
            continue
        if not least <= value <= most:  # NaN is in no range
            limits = f"{least:g} to {most:g}" if math.isfinite(most) else f"{least:g} or more"
            return f"{name} is {value:g}, it takes {limits if math.isfinite(least) else 'a finite number'}"
        if not math.isfinite(value):
            return f"{name} is {value:g}, it takes a finite number"
    return ""


MOST_LOG = 20.0
"""Of a distance in sides of the frame, in the map of an encoder's boxes."""


class BoxMap(msgspec.Struct, frozen=True, kw_only=True):
    """An output of the encoder that guesses in each of its cells the box of the object there: float32 (1, 4, n, n), n x
    n cells over the frame.

    output: its name. Its values are natural logarithms of the distances from the cell's centre to the left, the top,
    the right and the bottom of the box, as shares of the frame's side. least, most: what they are cut to.
    """

    output: str
    least: float
    most: float


class SegmentationSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a segmentation bundle keeps in its manifest.

    multimask: indices of the decoder's masks that are alternatives for an ambiguous prompt. single: index of the mask
    that answers prompts of three tokens and more where one mask is asked for, None = the alternative with the highest
    predicted IoU does. boxed: index of the mask that answers prompts with a box there, None = as of other prompts: a
    box leaves little to choose, and where alternatives are nearly equal a predicted IoU chooses worse than a rule.
    masked: the same of prompts with a mask and no box, which may be a mask that was given back.
    boxed_masks: a mask prompt without points and boxes gets the box around it, for a network that was never taught
    masks alone. rounds: in which `predict` gives the mask that it chose back as a mask prompt, where the caller states
    no number. mask_threshold: logit above which a pixel is in the mask. box_map: where the encoder says that objects
    are, None = it doesn't. labels: what its masks are of, for people.
    """

    multimask: tuple[int, ...]
    single: int | None = None
    boxed: int | None = None
    masked: int | None = None
    boxed_masks: bool = False
    rounds: int = 0
    mask_threshold: float = 0.0
    box_map: BoxMap | None = None
    everything: EverythingSettings = EverythingSettings()
    labels: tuple[str, ...] = ()


def settings_problem(settings: SegmentationSettings, masks: int) -> str:
    """What is invalid in the settings of a bundle whose decoder answers `masks` masks, as a sentence part; "" if
    nothing."""
    known = range(masks)
    if not settings.multimask or len(set(settings.multimask)) < len(settings.multimask):
        return f"multimask is {settings.multimask}, it takes one mask or more, each once"
    chosen = (
        *settings.multimask,
        *(index for index in (settings.single, settings.boxed, settings.masked) if index is not None),
    )
    if odd := [index for index in chosen if index not in known]:
        return f"mask {odd[0]} is chosen, and the decoder answers {masks}"
    if not 0 <= settings.rounds <= MOST_ROUNDS:
        return f"rounds is {settings.rounds}, it takes 0 to {MOST_ROUNDS}"
    if not math.isfinite(settings.mask_threshold):
        return f"mask_threshold is {settings.mask_threshold:g}, it takes a finite number"
    if problem := range_problem(settings.everything):
        return f"of everything mode, {problem}"
    if settings.everything.box_agreement is not None and settings.box_map is None:
        return "of everything mode, box_agreement needs a box_map, and none is stated"
    if settings.everything.box_agreement is not None and settings.everything.confident_logit is not None:
        return "of everything mode, box_agreement and confident_logit are both stated"
    return ""


def box_map_problem(box_map: BoxMap | None, outputs: Sequence[TensorSpec]) -> str:
    """What is invalid in the box map of an encoder with these outputs, as a sentence part; "" if nothing."""
    if box_map is None:
        return ""
    if not -MOST_LOG <= box_map.least < box_map.most <= MOST_LOG:  # NaN is in no range
        limits = f"{box_map.least:g} to {box_map.most:g}"
        return f"the box_map is cut to {limits}, it takes two numbers from -{MOST_LOG:g} to {MOST_LOG:g}"
    found = next(((spec.dtype, spec.shape) for spec in outputs if spec.name == box_map.output), None)
    if found is None:
        return f"the encoder does not answer {box_map.output}, its box_map"
    dtype, shape = found
    cells = shape[-1] if shape else 0
    if dtype != "float32" or not isinstance(cells, int) or cells < 1 or shape != (1, 4, cells, cells):
        return f"the encoder answers {box_map.output} as {dtype} {shape}, and a box_map is float32 (1, 4, n, n)"
    return ""


def graphs_problem(
    record: Preprocessing | None,
    inputs: Mapping[str, Sequence[TensorSpec]],
    outputs: Mapping[str, Sequence[TensorSpec]],
) -> str:
    """What is invalid in the graphs and the preprocessing of a bundle, as a sentence part; "" if nothing.

    inputs, outputs: by role.
    """
    if record is None:
        return "there is no preprocessing"
    if record.mode != "longest-side" or record.width != record.height or record.border:
        return f"its preprocessing is {record.mode}, {record.width} x {record.height}, not longest-side and square"
    side = record.width
    wanted = {IMAGE: ("uint8", (1, side, side, 3)), EXTENT: ("float32", (2,))}
    if problem := _misfit(ENCODER, inputs[ENCODER], wanted):
        return problem
    features = {spec.name: (spec.dtype, spec.shape) for spec in outputs[ENCODER]}
    for name, (dtype, shape) in features.items():
        if dtype != "float32" or shape[:1] != (1,) or any(isinstance(size, str) for size in shape):
            return f"the encoder answers {name} as {dtype} {shape}, not float32 of one picture"
    tokens = _tokens(inputs[DECODER])
    for role in (DECODER, REFINER):
        prompts = {POINTS: ("float32", (BATCH, tokens, 2)), LABELS: ("int32", (BATCH, tokens))}
        if role == REFINER:
            r = mask_side(inputs[REFINER])
            prompts[MASK] = ("float32", (BATCH, 1, r, r))
        if problem := _misfit(role, inputs[role], {**features, **prompts}) or _answers_problem(role, outputs[role]):
            return problem
    return "" if mask_shape(outputs[DECODER]) == mask_shape(outputs[REFINER]) else "its roles answer different masks"


def _tokens(inputs: Sequence[TensorSpec]) -> int | str:
    """Size of the token axis: a free axis, or one number."""
    return next((spec.shape[1] for spec in inputs if spec.name == POINTS and len(spec.shape) == 3), "T")


def mask_side(inputs: Sequence[TensorSpec]) -> int:
    """Cells of a side of the refiner's mask input; 0 where it has none of one size."""
    found = next((spec.shape[-1] for spec in inputs if spec.name == MASK and spec.shape), 0)
    return found if isinstance(found, int) else 0


def mask_shape(outputs: Sequence[TensorSpec]) -> tuple[int, int]:
    """(masks a prompt, cells of a side) of a decoder's answer; zeros where the graph does not state them."""
    shape = next((spec.shape for spec in outputs if spec.name == MASKS), ())
    if len(shape) == 4 and isinstance(shape[1], int) and isinstance(shape[3], int):
        return shape[1], shape[3]
    return 0, 0


def _misfit(role: str, specs: Sequence[TensorSpec], wanted: Mapping[str, tuple[str, tuple[int | str, ...]]]) -> str:
    found = {spec.name: (spec.dtype, spec.shape) for spec in specs}
    for name, (dtype, shape) in wanted.items():
        if name not in found:
            return f"the {role} does not take {name}"
        if found[name] != (dtype, shape):
            return f"the {role} takes {name} as {found[name][0]} {found[name][1]}, not {dtype} {shape}"
    extra = sorted(set(found) - set(wanted))
    return f"the {role} takes {extra[0]}, which nothing provides" if extra else ""


def _answers_problem(role: str, outputs: Sequence[TensorSpec]) -> str:
    count, side = mask_shape(outputs)
    wanted: dict[str, tuple[int | str, ...]] = {MASKS: (BATCH, count, side, side), IOU: (BATCH, count)}
    found = {spec.name: (spec.dtype, spec.shape) for spec in outputs}
    if WINDOWS in found:
        wanted[WINDOWS] = (BATCH, count, 4)
    if not count or not side:
        return f"the {role} answers no {MASKS} of shape (N, masks, side, side)"
    for name, shape in wanted.items():
        if found.get(name) != ("float32", shape):
            return f"the {role} does not answer {name} as float32 {shape}"
    return ""
