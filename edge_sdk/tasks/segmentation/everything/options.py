"""Options of everything mode: which points, which thresholds, which crops. Knows no mask, no network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

import msgspec

from edge_sdk.counted import listed
from edge_sdk.errors import BadUsage
from edge_sdk.shown import shown
from edge_sdk.tasks.segmentation.settings import EverythingSettings

MOST_POINTS_PER_SIDE = 256
"""65,536 points: more than 1 in 4 px of a frame of 512 px."""
MOST_CROP_LAYERS = 4
"""341 runs of the encoder."""


class EverythingOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything mode's options. Defaults: segment-anything's `SamAutomaticMaskGenerator`, in brackets its names.

    Thresholds belong to one checkpoint: a bundle states its own (`thresholds.py` finds them from measured samples).

    points_per_side: of the grid laid over the picture. points_per_batch: points whose answers are in memory together.
    predicted_iou: masks at or below it are dropped [pred_iou_thresh]. stability: masks below it are dropped
    [stability_score_thresh]; stability_offset: of the logits. stability_slack: a mask whose stability at low resolution
    is up to this much below the threshold is measured at full size before it is dropped (1 = every mask, as
    segment-anything does). nms_iou: of two masks whose boxes overlap by more, as IoU, the one with the better predicted
    IoU stays [box_nms_thresh]. hierarchical: a coarse grid first, and finer points only where no mask is confident.
    confident_logit: above it a pixel of a mask is confident [TinySAM's high_score_thresh]; None: not known, so that
    `hierarchical` is refused. crop_layers: of overlapping crops that are looked at too [crop_n_layers]; crop_overlap:
    of neighbours, as a share of the shorter side [crop_overlap_ratio]; crop_points_divisor: of points per side, from
    one layer to the next [crop_n_points_downscale_factor]; crop_nms_iou: as nms_iou, for masks of different crops
    [crop_nms_thresh]. min_region_area_px: smaller gaps are filled and smaller islands removed; 0 = none.
    """

    points_per_side: int = 32
    points_per_batch: int = 64
    predicted_iou: float = 0.88
    stability: float = 0.95
    stability_offset: float = 1.0
    stability_slack: float = 0.05
    nms_iou: float = 0.7
    hierarchical: bool = False
    confident_logit: float | None = 8.5
    crop_layers: int = 0
    crop_overlap: float = 512 / 1500
    crop_points_divisor: int = 1
    crop_nms_iou: float = 0.7
    min_region_area_px: int = 0

    @classmethod
    def of(cls, settings: EverythingSettings, **values: Any) -> EverythingOptions:
        """The options that a bundle states, and a caller's own values on top. Raises as `changed`."""
        return cls().changed(**{**msgspec.structs.asdict(settings), **values})

    def changed(self, **values: Any) -> EverythingOptions:
        """These options with other values, checked. Raises BadUsage: an unknown name, a value of another type or out of
        range."""
        read = {name: _read(name, value) for name, value in values.items()}
        out = EverythingOptions(**{**{name: getattr(self, name) for name in self.__struct_fields__}, **read})
        if problem := options_problem(out):
            raise BadUsage(f"an option of everything mode is invalid: {problem}")
        return out


@dataclass(frozen=True, slots=True, kw_only=True)
class EverythingIn:
    """All masks of a picture, as a command line asks for them. picture: as `PromptSegmenter.everything` takes it."""

    picture: Any
    options: EverythingOptions


def stated(text: str) -> dict[str, Any]:
    """Options written as "flat" or "hierarchical" and NAME=VALUE, separated by commas: values by name, of their types.

    Raises BadUsage for an unknown name, a value of another type, and a name that is given twice.
    """
    given: dict[str, Any] = {}
    for part in text.split(","):
        name, sign, value = part.strip().partition("=")
        if not sign and name in ("flat", "hierarchical"):
            name, value = "hierarchical", "yes" if name == "hierarchical" else "no"
        elif not (sign and name and value):
            raise BadUsage(
                f"{shown(part)!r} is not an option of everything mode",
                hint="Write flat or hierarchical, and NAME=VALUE such as points_per_side=16, separated by commas",
            )
        if name in given:
            raise BadUsage(f"{shown(name)} is stated twice", hint="State it once")
        given[name] = _of_text(name, value)
    return given


_WORDS: Mapping[str, bool | None] = {"yes": True, "true": True, "no": False, "false": False, "none": None, "null": None}


def _of_text(name: str, text: str) -> Any:
    """The value that a text states, of the option's type. Raises BadUsage as `_read`."""
    word = text.strip().lower()
    if word in _WORDS:
        return _read(name, _WORDS[word])
    try:
        return _read(name, float(word) if _kind(name) is float else int(word))
    except ValueError:
        return _read(name, text)


def _kind(name: str) -> type:
    """int, float or bool. Raises BadUsage for an unknown name."""
    if name not in EverythingOptions.__struct_fields__:
        raise BadUsage(
            f"everything mode has no option {shown(name)}",
            hint=f"Options are {listed(EverythingOptions.__struct_fields__, 'and')}",
        )
    return type(getattr(EverythingOptions(), name))


def _read(name: str, value: Any) -> Any:
    """The value of one option, a whole number also where a fraction is possible. Raises BadUsage for another type."""
    wanted = {int: "a whole number", float: "a number", bool: "yes or no"}[_kind(name)]
    try:
        return msgspec.convert(value, get_type_hints(EverythingOptions)[name])
    except msgspec.ValidationError as exc:
        raise BadUsage(
            f"an option of everything mode is invalid: {name} is {shown(f'{value!r:.40}')}",
            hint=f"It takes {wanted}, such as {name}={_example(name)}",
        ) from exc


def _example(name: str) -> str:
    value = getattr(EverythingOptions(), name)
    return ("yes" if value else "no") if isinstance(value, bool) else f"{value:.3g}"


_RANGES: tuple[tuple[str, float, float], ...] = (
    ("points_per_side", 1, MOST_POINTS_PER_SIDE), ("points_per_batch", 1, 4096), ("stability", 0.0, 1.0),
    ("stability_offset", 0.0, math.inf), ("stability_slack", 0.0, 1.0), ("nms_iou", 0.0, 1.0),
    ("crop_layers", 0, MOST_CROP_LAYERS), ("crop_overlap", 0.0, 0.9), ("crop_points_divisor", 1, 64),
    ("crop_nms_iou", 0.0, 1.0), ("min_region_area_px", 0, math.inf),
)  # fmt: skip


def options_problem(options: EverythingOptions) -> str:
    """What is invalid in the options, as a phrase; "" if they are valid."""
    for name, least, most in _RANGES:
        value = getattr(options, name)
        if not least <= value <= most:  # NaN is in no range
            limits = f"{least:g} or more" if math.isinf(most) else f"{least:g} to {most:g}"
            return f"{name} is {value:g}, it takes {limits}"
    for name in ("predicted_iou", "stability_offset", "confident_logit"):
        value = getattr(options, name)
        if value is not None and not math.isfinite(value):
            return f"{name} is {value:g}, it takes a finite number"
    if options.hierarchical and options.confident_logit is None:
        return "hierarchical needs confident_logit, which this bundle does not state"
    if options.hierarchical and options.points_per_side < 4:
        return f"hierarchical needs points_per_side of 4 or more, it is {options.points_per_side}"
    return ""
