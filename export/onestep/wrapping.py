"""What a user states of a generator that others made, as text and as values. Knows no graph and no training.

A graph that maps noise to a picture says nothing of what its other inputs mean, nor what range its answer has. Each is
stated once, by the names of the graph's own inputs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk import plain_file
from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.shown import shown
from edge_sdk.tensors import Array

if TYPE_CHECKING:
    from edge_sdk.export.onestep.options import OneStepOptions

MOST_CLASSES, MOST_NAME = 10_000, 80
MOST_SIDE = 4096
_INTERVAL = re.compile(r"(?P<low>.+?)\.\.(?P<high>.+)")
_SIZE = re.compile(r"(?P<height>[0-9]{1,4})x(?P<width>[0-9]{1,4})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapping:
    """noise: name of the input that takes the noise, "" = the only one that nothing else is stated of. scale: factor on
    standard normal noise. fixed: text of a constant by name of the input. label: name of the input that takes the
    class, "" = none; names: of the classes, by number; label_values: what the input is given for each, () = numbers.
    output: name of the output that is the picture, "" = the only one. low, high: values of black and white, None = the
    answer is uint8. size: height and width where the graph leaves them free. values: whether the bundle keeps the
    answer itself beside the picture."""

    path: Path
    noise: str = ""
    scale: float = 1.0
    fixed: Mapping[str, str] = field(default_factory=dict)
    label: str = ""
    names: tuple[str, ...] = ()
    label_values: tuple[float, ...] = ()
    output: str = ""
    low: float | None = None
    high: float | None = None
    size: tuple[int, int] | None = None
    values: bool = False


def wrapping_of(options: OneStepOptions) -> Wrapping:
    """What the options say, once it is found to make sense without the graph. Raises BadUsage, BadInput (a file)."""
    if options.onnx is None:
        raise BadUsage(
            "no generator is named",
            hint="Give --weights (generator.safetensors of a run folder) or --onnx; edge-sdk train onestep makes one",
        )
    if not options.onnx.exists():
        raise BadInput("the file does not exist", where=f"--onnx {shown(options.onnx)}", hint="Check the path")
    label, labels, values = options.label or "", options.labels, options.label_values
    if label and labels is None:
        raise BadUsage(f"--label {shown(label)} needs the classes", hint="Name them: --labels cat,dog or --labels 0..9")
    if not label and (labels is not None or values is not None):
        given = "--labels" if labels is not None else "--label-values"
        raise BadUsage(f"{given} is of an input that --label names", hint="Add --label, the input that takes the class")
    names = () if labels is None else names_in(labels)
    low, high = (None, None) if options.value_range is None else _interval(options.value_range, "--range")
    if low is not None and high is not None and low >= high:
        raise BadUsage(f"--range {shown(options.value_range)} has no width", hint="Write black first: --range -1..1")
    return Wrapping(
        path=options.onnx, noise=options.noise or "", scale=options.noise_scale, fixed=_fixed(options.fix),
        label=label, names=names, label_values=() if values is None else _label_values(values, len(names)),
        output=options.output or "", low=low, high=high, values=options.values,
        size=None if options.picture_size is None else _size(options.picture_size),
    )  # fmt: skip


def names_in(text: str) -> tuple[str, ...]:
    """Names of classes by number: "cat,dog", "1..100", or a file with one name a line. Raises BadUsage, BadInput."""
    if Path(text).is_file():
        data = plain_file.read(Path(text), what="a file of labels")
        try:
            found = data.decode("utf-8-sig").splitlines()
        except UnicodeDecodeError as exc:
            raise BadInput("these are no labels", where=shown(text), hint="Write one label a line, as UTF-8") from exc
    elif (ends := _INTERVAL.fullmatch(text)) and all(re.fullmatch("[0-9]{1,9}", part) for part in ends.groups()):
        first, last = int(ends["low"]), int(ends["high"])
        if last - first >= MOST_CLASSES:
            raise BadUsage(
                f"these are {last - first + 1} classes", where="--labels", hint=f"{MOST_CLASSES} are the most"
            )  # fmt: skip
        found = [str(number) for number in range(first, last + 1)]
    else:
        found = text.split(",")
    names = tuple(one.strip() for one in found)
    problem = ""
    if bad := [one for one in names if not 1 <= len(one) <= MOST_NAME or shown(one) != one]:
        problem = f"{shown(bad[0])[:40]!r} is no name of a class"
    elif len(set(names)) < len(names):
        problem = "some equal names stand among them"
    elif not 1 <= len(names) <= MOST_CLASSES:
        problem = f"these are {len(names)} classes"
    if problem:
        raise BadUsage(
            problem, where="--labels",
            hint=f"Write 1 to {MOST_CLASSES} different names: --labels cat,dog, --labels 0..9, or a file, one a line",
        )  # fmt: skip
    return names


def constant(name: str, text: str, dtype: str, shape: Sequence[int | str]) -> Array:
    """A stated constant as the graph's input `name` takes it. shape: of the input; of free axes, the constant's own.

    text: a number, numbers with commas, or a .npy file. Raises BadUsage for what is no number of that type or does not
    fill that shape, BadInput for a file that can't be read.
    """
    given = _array(name, text)
    where, says = f"--fix {shown(name)}={shown(text)[:60]}", f"the input is {dtype}{_words(shape)}"
    made = _typed(given, np.dtype(dtype))
    if made is None:
        raise BadUsage(f"this is no {dtype}", where=where, hint=f"Write a number that fits: {says}")
    sizes = tuple(shape)
    if given.ndim < len(sizes) and (free := [one for one in sizes[: len(sizes) - given.ndim] if isinstance(one, str)]):
        raise BadUsage(f"the size of its axis {free[0]} is not stated", where=where, hint=f"Name a .npy file: {says}")
    own = (1,) * (len(sizes) - given.ndim) + given.shape
    wanted = tuple(have if isinstance(want, str) else want for want, have in zip(sizes, own, strict=False))
    try:
        return np.array(np.broadcast_to(made, wanted), order="C")  # not ascontiguousarray: a scalar stays one
    except ValueError as exc:
        has = "x".join(map(str, given.shape)) or "one"
        raise BadUsage(f"its {has} values do not fill the input", where=where, hint=f"Write as many: {says}") from exc


def _typed(given: Array, dtype: np.dtype[np.generic]) -> Array | None:
    """As that type, None where a value would become another one; floats are rounded."""
    with np.errstate(all="ignore"):
        made = given.astype(dtype)
    if np.issubdtype(dtype, np.floating):
        return made if np.isfinite(made).all() else None
    return made if np.array_equal(made.astype(np.float64), given.astype(np.float64)) else None


def _array(name: str, text: str) -> Array:
    if text.endswith(".npy"):
        path = Path(text)
        plain_file.check(path, what="a .npy file")
        try:
            found: Array = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as exc:
            raise BadInput(
                "this is no .npy file of numbers", where=f"--fix {shown(name)}={shown(text)}", hint="Check the path"
            ) from exc
        if found.dtype.kind not in "biuf":
            raise BadInput("this is no .npy file of numbers", where=f"--fix {shown(name)}={shown(text)}")
        return found
    numbers = [_number(part, f"--fix {shown(name)}") for part in text.split(",")]
    return np.array(numbers if len(numbers) > 1 else numbers[0], np.float64)


def _number(text: str, where: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise BadUsage(f"{shown(text)[:40]!r} is no number", where=where, hint="Write it as 0.5")
    return found


def _interval(text: str, option: str) -> tuple[float, float]:
    ends = _INTERVAL.fullmatch(text)
    if not ends:
        raise BadUsage(f"{shown(text)[:40]!r} is no range", where=option, hint=f"Write {option} -1..1")
    return _number(ends["low"], option), _number(ends["high"], option)


def _label_values(text: str, classes: int) -> tuple[float, ...]:
    """LOW..HIGH: evenly from the first class to the last; or a number for each, with commas."""
    if ".." in text:
        return tuple(float(one) for one in np.linspace(*_interval(text, "--label-values"), classes))
    numbers = tuple(_number(part, "--label-values") for part in text.split(","))
    if len(numbers) != classes:
        raise BadUsage(
            f"there are {len(numbers)} values for {classes} classes", where="--label-values",
            hint="Write one for each, or LOW..HIGH: evenly from the first class to the last",
        )  # fmt: skip
    return numbers


def _fixed(words: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        name, sign, text = word.rpartition("=") if not word.endswith("=") else (word, "", "")
        if not sign or not name:
            raise BadUsage(f"--fix {shown(word)[:80]} is not NAME=VALUE", hint="Write --fix sigma=80")
        if name in found:
            raise BadUsage(f"--fix {shown(name)} is given twice", hint="State it once")
        found[name] = text
    return found


def _size(text: str) -> tuple[int, int]:
    found = _SIZE.fullmatch(text)
    sides = (int(found["height"]), int(found["width"])) if found else (0, 0)
    if not all(1 <= side <= MOST_SIDE for side in sides):
        raise BadUsage(
            f"{shown(text)[:40]!r} is no size of 1 to {MOST_SIDE} px", where="--picture-size",
            hint="Write height and width: --picture-size 128x192",
        )  # fmt: skip
    return sides


def _words(shape: Sequence[int | str]) -> str:
    return f"[{', '.join(map(str, shape))}]"
