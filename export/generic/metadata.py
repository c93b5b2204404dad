"""What an ONNX file's own metadata say of pictures, labels and task: a proposal, behind all that a user states.

Two dialects are read: that of Ultralytics' exporter, and the "model_info" keys of Model API, which the exporters of
Geti and OTX write, for anomalib's models too; anomalib itself writes none since 2.0. Values are text from elsewhere:
parsed as Python literals of bounded size, never evaluated. Knows no graph.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edge_sdk.counted import counted
from edge_sdk.export.generic.settings import problem_with_labels

MAX_TEXT = 2**20
"""Characters of one value that are parsed: names of a few thousand classes have a tenth of it."""
_CLASSIFICATION = "classification"
_RESIZES = {"standard": "stretch", "fit_to_window_letterbox": "letterbox", "fit_to_window": "longest-side"}
"""Model API's names of what `Preprocessing.mode` calls otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed:
    """tool: whose metadata they are, "" = none that are known. picture: fields of `PictureOptions`. task: "" = none.

    settings: fields of that task's settings. notes: what was left out and why.
    """

    tool: str = ""
    picture: Mapping[str, Any] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    task: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def proposed(metadata: Mapping[str, str]) -> Proposed:
    """What the metadata propose; nothing where they are of no known dialect or don't make sense."""
    if metadata.get("author") == "Ultralytics" or {"stride", "task", "names", "imgsz"} <= set(metadata):
        return _of_ultralytics(metadata)
    own = {key.removeprefix("model_info "): text for key, text in metadata.items() if key.startswith("model_info ")}
    return _of_model_api(own) if own else Proposed()


def in_words(found: Proposed, picture: Mapping[str, Any], *, labels: bool, task: bool) -> str:
    """A note for a person on what was taken. picture: its fields that were; labels, task: whether these were."""
    said = [f"{name.replace('_', '-')} {_text(value)}" for name, value in picture.items()]
    said += [counted(len(found.labels), "label")] if labels else []
    said += [f"task {found.task}"] if task else []
    return f"taken from the file's metadata ({found.tool}): {', '.join(said) or 'nothing'}; options go before them"


def _text(value: Any) -> str:
    return ",".join(f"{one:g}" for one in value) if isinstance(value, (list, tuple)) else str(value)


def _of_ultralytics(metadata: Mapping[str, str]) -> Proposed:
    """Its networks see RGB pixels / 255; detectors in a letterbox of grey 114, classifiers a crop of the middle."""
    names, size, kind = _literal(metadata.get("names")), _literal(metadata.get("imgsz")), metadata.get("task", "")
    picture: dict[str, Any] = {"pixel_range": "0..1", "color": "rgb"}
    notes: tuple[str, ...] = ()
    classifies = kind == "classify"
    if classifies:
        notes = ("Ultralytics crops the middle of a picture for its classifiers; here the whole picture is stretched",)
    picture |= {"resize": "stretch"} if classifies else {"resize": "letterbox", "fill": 114}
    if isinstance(size, (list, tuple)) and len(size) == 2 and all(type(side) is int and side > 0 for side in size):
        picture["size"] = list(size)
    labels: tuple[str, ...] = ()
    if isinstance(names, dict) and sorted(names, key=repr) == sorted(range(len(names)), key=repr):
        labels = _labels([names[number] for number in range(len(names))])
    return Proposed(
        tool="Ultralytics", picture=picture, labels=labels, task=_CLASSIFICATION if classifies and labels else "",
        settings={"scores": "probabilities"} if classifies else {}, notes=notes,
    )  # fmt: skip


def _of_model_api(own: Mapping[str, str]) -> Proposed:
    picture: dict[str, Any] = {}
    for key, name in (("mean_values", "mean"), ("scale_values", "std")):
        if values := _numbers(own.get(key, "")):
            picture |= {name: values, "pixel_range": "0..255"}
    if (kind := own.get("resize_type", "")) in _RESIZES:
        picture["resize"] = _RESIZES[kind]
    if (grey := own.get("pad_value", "")).isdecimal() and len(grey) < 4 and int(grey) < 256 and "resize" in picture:
        picture["fill"] = int(grey)
    notes = []
    if kind and kind not in _RESIZES:
        notes.append(
            f"its resize_type {kind[:40]!r} has no counterpart: pictures are stretched unless --resize is given"
        )
    if "reverse_input_channels" in own:  # of pictures in BGR or in RGB: its readers disagree
        notes.append("reverse_input_channels does not tell which order the network takes: RGB unless --color is given")
    return Proposed(
        tool="Model API", picture=picture, labels=_labels(own.get("labels", "").split()), notes=tuple(notes)
    )


def _labels(found: Sequence[Any]) -> tuple[str, ...]:
    return () if problem_with_labels(found) else tuple(label.strip() for label in found)


def _numbers(text: str) -> list[float]:
    """One or three finite numbers with spaces between them, else none."""
    try:
        values = [float(part) for part in text[:200].replace(",", " ").split()]
    except ValueError:
        return []
    return values if len(values) in (1, 3) and all(math.isfinite(value) for value in values) else []


def _literal(text: str | None) -> Any:
    """The Python literal that a text is, None where it is none or too long."""
    if text is None or len(text) > MAX_TEXT:
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None
