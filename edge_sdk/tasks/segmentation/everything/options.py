"""Options of everything mode: which prompts, which thresholds, which crops. Knows no mask, no network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, get_type_hints

import msgspec

from edge_sdk.counted import listed
from edge_sdk.errors import BadUsage
from edge_sdk.shown import shown
from edge_sdk.tasks.segmentation.everything.points import STEPS, flat_count, hierarchical_count, most_by_boxes
from edge_sdk.tasks.segmentation.settings import RANGES, EverythingSettings, range_problem

MOST_CROP_LAYERS = 4
"""341 runs of the encoder."""


class SearchOptions(EverythingSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that a search goes by: a bundle's thresholds, or the caller's instead, and the options that no bundle
    states. Their defaults stand here, those of thresholds in `EverythingSettings`; both are segment-anything's.

    The names mean what they mean in `EverythingOptions`.
    """

    points_per_batch: int = 64
    stability_slack: float = 0.05
    hierarchical: bool = False
    crop_layers: int = 0
    crop_overlap: float = 512 / 1500
    crop_points_divisor: int = 1
    crop_nms_iou: float = 0.7
    min_region_area_px: int = 0

    def most_prompts(self, side: int | None = None) -> int:
        """Prompts of one crop at most. side: points per side there, None = of the whole picture."""
        side = self.points_per_side if side is None else side
        if not self.hierarchical:
            return flat_count(side)
        return hierarchical_count(side) if self.box_agreement is None else most_by_boxes(side)


class EverythingOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller states of everything mode. None: as the bundle says, and where it says nothing as
    `SamAutomaticMaskGenerator` of segment-anything, whose names stand in brackets.

    Thresholds belong to one checkpoint: a bundle states its own (`thresholds.py` finds them from measured samples).

    points_per_side: of the grid over the picture. points_per_batch: prompts whose answers are in memory together.
    predicted_iou: masks at or below it are dropped [pred_iou_thresh]. stability: masks below it are dropped
    [stability_score_thresh]; stability_offset: of the logits. stability_slack: a mask whose stability at low
    resolution is up to this much below the threshold is measured at full size before it is dropped (1 = every mask,
    as segment-anything does). nms_iou: of two masks whose boxes overlap by more, as IoU, the one with the better
    predicted IoU stays [box_nms_thresh]. hierarchical: find out first where objects are, and ask there. Where the
    bundle states a `box_agreement`, by boxes, unless this is no: its encoder guesses the box of the object at each
    place, and those boxes are prompted that the guesses inside them agree with most and at least so much, at most
    0.4 times as many as the flat grid has points. Else by grid, and where the caller states a `confident_logit`: a
    coarse grid first, and finer points only where no mask has a logit above it [TinySAM's high_score_thresh]; it
    needs a multiple of 4 as points_per_side, and its grid has points_per_side - 1 points along each side. Where
    there is neither threshold, `hierarchical` is refused. crop_layers: of overlapping crops that are looked at too
    [crop_n_layers]; crop_overlap: of neighbours, as a share of the shorter side [crop_overlap_ratio];
    crop_points_divisor: of points per side, from one layer to the next [crop_n_points_downscale_factor];
    crop_nms_iou: as nms_iou, for masks of different crops [crop_nms_thresh]. min_region_area_px: smaller gaps are
    filled and smaller islands removed; 0 = none.

    Raises BadUsage: a value of another type or out of range, however the options are made.
    """

    points_per_side: int | None = None
    points_per_batch: int | None = None
    predicted_iou: float | None = None
    stability: float | None = None
    stability_offset: float | None = None
    stability_slack: float | None = None
    nms_iou: float | None = None
    hierarchical: bool | None = None
    confident_logit: float | None = None
    box_agreement: float | None = None
    crop_layers: int | None = None
    crop_overlap: float | None = None
    crop_points_divisor: int | None = None
    crop_nms_iou: float | None = None
    min_region_area_px: int | None = None

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if (value := getattr(self, name)) is not None:
                _read(name, value)
        if problem := range_problem(self, _RANGES):
            raise _invalid(problem)

    def changed(self, **values: Any) -> EverythingOptions:
        """These options with other values, None among them. `confident_logit` and `box_agreement` exclude each other:
        the one that is stated here counts. Raises BadUsage: an unknown name, a value of another type or out of range.
        """
        kept = msgspec.structs.asdict(self)
        for one, other in (("confident_logit", "box_agreement"), ("box_agreement", "confident_logit")):
            if values.get(one) is not None:
                kept[other] = None
        return _checked({**kept, **values})


Options: TypeAlias = EverythingOptions | Mapping[str, Any] | None
"""As a caller gives them: the options, or their values by name; None = none is stated."""


def resolved(settings: EverythingSettings, given: Options = None) -> SearchOptions:
    """What a search goes by: what the caller states, else the bundle's `settings`, else the defaults.

    Raises BadUsage: an unknown name, a value of another type or out of range, `hierarchical` where nobody states a
    box agreement or a confident logit, or by grid with `points_per_side` that is no multiple of 4, a box agreement
    where the bundle states none or beside a confident logit, and what is neither options nor a mapping.
    """
    if not isinstance(given, (EverythingOptions, Mapping, type(None))):
        raise BadUsage(
            f"options of everything mode are given as {type(given).__name__}",
            hint='Write options=EverythingOptions(points_per_side=16), or {"points_per_side": 16}',
        )
    values = msgspec.structs.asdict(given) if isinstance(given, EverythingOptions) else given or {}
    stated = _stated(values)
    by_default = settings.box_agreement is not None
    out = _converted({**msgspec.structs.asdict(settings), "hierarchical": by_default, **stated})
    if "box_agreement" in stated and settings.box_agreement is None:
        raise BadUsage(
            "box_agreement is for bundles that state one, and this bundle states none",
            hint="Leave it out; hierarchical goes by confident_logit here",
        )
    if "confident_logit" in stated:
        if "box_agreement" in stated:
            raise BadUsage(
                "box_agreement and confident_logit are both stated, and hierarchical goes by one of them",
                hint="Leave one of them out",
            )
        out = msgspec.structs.replace(out, box_agreement=None)
    if out.hierarchical and out.box_agreement is None:
        _check_grid(out)
    return out


def _check_grid(out: SearchOptions) -> None:
    """Raise BadUsage for a hierarchical search by grid that can't be run."""
    if out.confident_logit is None:
        raise BadUsage(
            "hierarchical needs confident_logit, which this bundle does not state",
            hint="State confident_logit too, or search flat",
        )
    if out.points_per_side % STEPS:
        raise BadUsage(
            f"hierarchical prompts every {STEPS}th point first: points_per_side is {out.points_per_side}, no multiple "
            f"of {STEPS}",
            hint=f"State points_per_side={max(STEPS, round(out.points_per_side / STEPS) * STEPS)}, or search flat",
        )


def all_of(options: SearchOptions) -> EverythingOptions:
    """Options that state every value."""
    return EverythingOptions(**msgspec.structs.asdict(options))


@dataclass(frozen=True, slots=True, kw_only=True)
class EverythingIn:
    """All masks of a picture, as a command line asks for them. picture: as `PromptSegmenter.everything` takes it.
    settings: of the bundle, which options are checked against before it is loaded. options: None = nothing is
    stated."""

    picture: Any
    settings: EverythingSettings
    options: EverythingOptions | None = None

    def stating(self, options: EverythingOptions) -> EverythingIn:
        """The same with these options. Raises BadUsage as `resolved`."""
        resolved(self.settings, options)
        return replace(self, options=options)


def parsed(text: str) -> EverythingOptions:
    """Options written as "flat" or "hierarchical" and NAME=VALUE, separated by commas.

    Raises BadUsage for an unknown name, a value of another type or out of range, and a name that is given twice.
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
        given[name] = value
    return _checked({name: _of_text(name, value) for name, value in given.items()})


def _checked(values: Mapping[str, Any]) -> EverythingOptions:
    given = _stated(values)
    read = _converted(given)
    return EverythingOptions(**{name: getattr(read, name) for name in given})


def _stated(values: Mapping[str, Any]) -> dict[str, Any]:
    """Without those that are None; an unknown name stays, to be refused."""
    known = EverythingOptions.__struct_fields__
    return {name: value for name, value in values.items() if value is not None or name not in known}


def _converted(values: Mapping[str, Any]) -> SearchOptions:
    """Values by name, of their types and in their ranges."""
    out = SearchOptions(**{name: _read(name, value) for name, value in values.items()})
    if problem := range_problem(out, _RANGES):
        raise _invalid(problem)
    return out


_WORDS: Mapping[str, bool | None] = {"yes": True, "true": True, "no": False, "false": False, "none": None, "null": None}


def _of_text(name: str, text: str) -> Any:
    """The value that a text states, of the option's type. Raises BadUsage as `_read`."""
    word = text.strip().lower()
    if word in _WORDS:
        return _WORDS[word] if _WORDS[word] is None else _read(name, _WORDS[word])
    try:
        return _read(name, float(word) if _kind(name) is float else int(word))
    except ValueError:
        return _read(name, text)


def _kind(name: str) -> type:
    """int, float or bool. Raises BadUsage for an unknown name."""
    if name not in EverythingOptions.__struct_fields__:
        raise BadUsage(
            f"everything mode has no option {shown(str(name))}",
            hint=f"Options are {listed(EverythingOptions.__struct_fields__, 'and')}",
        )
    default = getattr(SearchOptions(), name)
    return float if default is None else type(default)


def _read(name: str, value: Any) -> Any:
    """The value of one option, a whole number also where a fraction is possible. Raises BadUsage for another type."""
    wanted = {int: "a whole number", float: "a number", bool: "yes or no"}[_kind(name)]
    try:
        return msgspec.convert(value, get_type_hints(SearchOptions)[name])
    except msgspec.ValidationError as exc:
        raise BadUsage(
            f"an option of everything mode is invalid: {name} is {shown(f'{value!r:.40}')}",
            hint=f"It takes {wanted}, such as {name}={_example(name)}",
        ) from exc


def _example(name: str) -> str:
    value = getattr(SearchOptions(), name)
    if value is None:
        return {"box_agreement": "0.7"}.get(name, "3.5")
    return ("yes" if value else "no") if isinstance(value, bool) else f"{value:.3g}"


def _invalid(problem: str) -> BadUsage:
    return BadUsage(f"an option of everything mode is invalid: {problem}")


_RANGES: Mapping[str, tuple[float, float]] = {
    **RANGES, "points_per_batch": (1, 4096), "stability_slack": (0.0, 1.0), "crop_layers": (0, MOST_CROP_LAYERS),
    "crop_overlap": (0.0, 0.9), "crop_points_divisor": (1, 64), "crop_nms_iou": (0.0, 1.0),
    "min_region_area_px": (0, math.inf),
}  # fmt: skip
