"""Options of the verbs that make a bundle of the user's own model, in one table, and how their text is read.

Knows no verb and no model.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer

from edge_sdk.bundle.rules import MAX_AXIS
from edge_sdk.calibration.bound.accuracy import LARGEST_ERROR, SEARCH_S, AccuracyBound, drop, metric
from edge_sdk.calibration.trials import ENGINE_NAMES, RANGE_METHODS, THOROUGH, Trials, some_of
from edge_sdk.cli.options import Json, Threads
from edge_sdk.cli.terminal import duration, seconds
from edge_sdk.counted import listed
from edge_sdk.errors import BadUsage, NotThere
from edge_sdk.runtimes.variants import KINDS, MADE_BY_DEFAULT
from edge_sdk.shown import shown


def _percent(share: float) -> str:
    return f"{100.0 * share:g} %"


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Each field is an option of the command line, as its annotation says; a default stands here alone."""

    data: Annotated[
        list[str],
        typer.Option(
            help="A folder of pictures or of .npz files, one .npz file of samples, or random:64.",
            show_default=False,
        ),
    ]
    out: Annotated[Path, typer.Option(help="The bundle to write, NAME.edge.", show_default=False)]
    name: Annotated[str | None, typer.Option(help="Name of the bundle. Default: the file name of OUT.")] = None
    task: Annotated[str | None, typer.Option(help="Task of the bundle, such as classification. Default: tensor.")] = (
        None
    )
    labels: Annotated[
        Path | None, typer.Option(help="File with the class names in order, one per line or as a JSON list.")
    ] = None
    scores: Annotated[str | None, typer.Option(help="Whether a classifier's output holds logits or probabilities.")] = (
        None
    )
    setting: Annotated[
        list[str] | None,
        typer.Option(help="Another setting of the task, such as output=y, the classifier's output that holds the class "
                     "scores; may be repeated."),
    ] = None  # fmt: skip
    test: Annotated[
        Path | None,
        typer.Option(
            help="Samples for evaluating a classifier: a folder with one subfolder per label, or a folder without "
            "labels. Default: the calibration samples.",
        ),
    ] = None
    group: Annotated[
        str | None,
        typer.Option(help="Regular expression or TABLE.csv:COLUMN that identifies the part in each --test sample, if a "
                     "part has several."),
    ] = None  # fmt: skip
    mean: Annotated[
        str | None,
        typer.Option(help="Per-channel mean used in training, such as 0.485,0.456,0.406. The input then takes uint8 "
                     "pictures."),
    ] = None  # fmt: skip
    std: Annotated[
        str | None,
        typer.Option(help="Per-channel standard deviation used in training, such as 0.229,0.224,0.225. The input then "
                     "takes uint8 pictures."),
    ] = None  # fmt: skip
    pixel_range: Annotated[
        str | None, typer.Option(help="Range of the pixels that --mean and --std refer to: 0..1 (default) or 0..255.")
    ] = None
    color: Annotated[
        str | None, typer.Option(help="Channel order that the network was trained with: rgb (default) or bgr.")
    ] = None
    resize: Annotated[
        str | None, typer.Option(help="How pictures are resized: stretch (default), letterbox or longest-side.")
    ] = None
    fill: Annotated[
        str | None,
        typer.Option(help="Padding of letterbox and longest-side: edge (default), or a grey level from 0 to 255."),
    ] = None
    size: Annotated[
        str | None, typer.Option(help="Height x width of pictures, such as 480x640, if the network leaves them free.")
    ] = None
    picture_input: Annotated[str | None, typer.Option(help="Input that takes pictures, if several could.")] = None
    preprocessing: Annotated[
        Path | None,
        typer.Option(help="JSON file with these preprocessing options; command-line options take precedence."),
    ] = None
    metadata: Annotated[
        bool,
        typer.Option(
            "--metadata/--no-metadata",
            help="Use preprocessing, labels and task stored in the model file unless given here.",
        ),
    ] = True
    variant: Annotated[
        list[str] | None,
        typer.Option(help=f"{listed(MADE_BY_DEFAULT)}, besides fp32; may be repeated. Default: all."),
    ] = None
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="Keep this node in float in int8 variants; may be repeated."),
    ] = None
    axis: Annotated[
        list[str] | None, typer.Option(help="Largest size of a free axis, such as N=8; may be repeated.")
    ] = None
    engine: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Quantization engine: {listed(ENGINE_NAMES)}; may be repeated, the best result is kept. "
            f"Default: {listed(THOROUGH.engines, 'and')}, if installed."
        ),
    ] = None
    ranges: Annotated[
        list[str] | None,
        typer.Option(
            help=f"How ranges are chosen: {listed(RANGE_METHODS)}; may be repeated, the best result is kept. "
            f"Default: {listed(THOROUGH.range_methods, 'and')}."
        ),
    ] = None
    tune: Annotated[
        str | None,
        typer.Option(
            help="Time limit for tuning ranges one tensor at a time, such as 2min; 0s turns it off. "
            f"Default: {duration(THOROUGH.tune_s)}."
        ),
    ] = None
    max_drop: Annotated[
        str | None,
        typer.Option(
            help="How much accuracy int8 may lose: 0.5pp (percentage points of --metric) or 1%; without --metric, the "
            "largest difference of an output. Operators are kept in float until it holds; exit code 1 if it can't. "
            "Default: operators are kept in float until the difference is at most "
            f"{_percent(THOROUGH.within or 0.0)}, if --search-time suffices; exit code 1 above "
            f"{_percent(LARGEST_ERROR)}."
        ),
    ] = None
    metric: Annotated[
        str | None,
        typer.Option(
            help="Accuracy that --max-drop limits: pkg.mod:function, which gets a function from input arrays to output "
            "arrays and returns a number, higher is better."
        ),
    ] = None
    search_time: Annotated[
        str | None,
        typer.Option(
            help="Time limit for the search for operators to keep in float. "
            f"Default: {duration(SEARCH_S)} with --max-drop, else {duration(THOROUGH.search_s)}."
        ),
    ] = None
    force: Annotated[bool, typer.Option("--force", help="Accept int8 graphs with a large error.")] = False
    key: Annotated[Path | None, typer.Option(help="Sign the bundle with this .key file (edge-sdk keygen).")] = None
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed for random samples.")] = 0
    threads: Threads = None
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Overwrite OUT unconditionally.")] = False
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check all inputs, read one sample, show what would be made; write nothing."),
    ] = False
    json: Json = False


def verb(command: Callable[..., None], *, one_model: bool = False) -> Callable[..., None]:
    """`command(options, **own)` as a verb of the command line: its own parameters, then the fields of ModelOptions.

    one_model: there is always one, so that help texts do without SEVERAL_MODELS.
    """
    hints = get_type_hints(ModelOptions, include_extras=True)
    if not one_model:
        hints |= {name: _with_help(hints[name], more) for name, more in SEVERAL_MODELS.items()}
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    shared = [
        inspect.Parameter(
            one.name, inspect.Parameter.KEYWORD_ONLY, annotation=hints[one.name],
            default=inspect.Parameter.empty if one.default is MISSING else one.default,
        )
        for one in fields(ModelOptions)
    ]  # fmt: skip

    def run(**given: Any) -> None:
        options = ModelOptions(**{one.name: given.pop(one.name) for one in fields(ModelOptions)})
        command(options, **given)

    places = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own] + shared
    # typer reads a command's options from its signature; for mypy a function has no such attribute.
    run.__signature__ = inspect.Signature(places)  # type: ignore[attr-defined]
    run.__annotations__ = {place.name: place.annotation for place in places}
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    return run


SEVERAL_MODELS = {
    "data": "With several models, ROLE=FOLDER for each.", "picture_input": "With several models, ROLE/INPUT.",
    "exclude": "With several models, ROLE=NODE.",
}  # fmt: skip
"""By option, what its help says besides where a command may take several models."""


def _with_help(hint: Any, more: str) -> Any:
    kind, shown_as = get_args(hint)
    found = copy(shown_as)
    found.help = f"{found.help} {more}"
    return Annotated[kind, found]


def variants_of(words: Sequence[str] | None) -> tuple[str, ...] | None:
    """The variants besides fp32, None = all. Raises BadUsage for one that there is not."""
    if not words:
        return None
    some_of("variant", words, tuple(KINDS), where="--variant")
    return tuple(one for one in dict.fromkeys(words) if one != "fp32")


def trials_of(options: ModelOptions) -> Trials:
    """What is tried for int8. Raises BadUsage; NotThere where none of the engines that are named is installed."""
    engines, methods = options.engine or THOROUGH.engines, options.ranges or THOROUGH.range_methods
    some_of("engine", engines, ENGINE_NAMES, where="--engine")
    some_of("range method", methods, RANGE_METHODS, where="--ranges")
    found = replace(
        THOROUGH, engines=tuple(engines), range_methods=tuple(methods),
        tune_s=THOROUGH.tune_s if options.tune is None else _tune_s(options.tune),
        search_s=THOROUGH.search_s if options.search_time is None else seconds(options.search_time),
    )  # fmt: skip
    from edge_sdk.calibration.engines import ENGINES

    for name in options.engine or ():
        if why := ENGINES[name].missing():
            raise NotThere(why)
    return found


def _tune_s(text: str) -> float:
    return 0.0 if text.strip() in ("0", "0s") else seconds(text)


def bound_of(options: ModelOptions) -> AccuracyBound | None:
    """How much int8 may lose. Raises BadUsage, also for options that say how to keep a bound that there is not."""
    if options.max_drop is None:
        if options.metric is not None:
            raise BadUsage("--metric requires --max-drop", hint="Add --max-drop, such as 0.5pp")
        return None
    allowed = drop(options.max_drop)
    search_s = SEARCH_S if options.search_time is None else seconds(options.search_time)
    if options.metric is None:
        return AccuracyBound(drop=allowed, search_s=search_s)
    return AccuracyBound(drop=allowed, search_s=search_s, metric=metric(options.metric), name=options.metric)


def picture_of(options: ModelOptions) -> dict[str, Any]:
    """The fields of preprocessing that options and the file state, as plain values; {} = none. Raises BadUsage,
    BadInput."""
    from edge_sdk.export.generic.picture import fields_of_file

    found = {} if options.preprocessing is None else fields_of_file(options.preprocessing)
    texts = {
        "input": options.picture_input, "pixel_range": options.pixel_range, "color": options.color,
        "resize": options.resize,
    }  # fmt: skip
    found |= {name: text for name, text in texts.items() if text is not None}
    found |= {
        name: _numbers(text, f"--{name}")
        for name, text in (("mean", options.mean), ("std", options.std))
        if text is not None
    }
    if options.fill is not None:
        found["fill"] = int(options.fill) if options.fill.isdecimal() and len(options.fill) < 4 else options.fill
    if options.size is not None:
        found["size"] = _size(options.size)
    return found


def _numbers(text: str, option: str) -> list[float]:
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(math.isfinite(one) for one in found):
        raise BadUsage(
            f"{option} {shown(text)[:80]} is not numbers with commas between them", hint=f"Write {option} 0.5"
        )
    return found


def _size(text: str) -> list[int]:
    sides = text.lower().split("x")
    if not 1 <= len(sides) <= 2 or not all(side.isdecimal() and len(side) < 7 for side in sides):
        raise BadUsage(f"--size {shown(text)[:80]} is no height x width in px", hint="Write --size 480x640")
    return [int(sides[0]), int(sides[-1])]


def axes_of(words: Sequence[str]) -> dict[str, int]:
    """Sizes by the name of the axis. Raises BadUsage, also for an axis that is named twice."""
    axes: dict[str, int] = {}
    for name, size in map(_axis, words):
        if name in axes:
            raise BadUsage(f"the axis {shown(name)[:80]} is given twice", where="--axis", hint="State one size")
        axes[name] = size
    return axes


def _axis(word: str) -> tuple[str, int]:
    name, found, size = word.rpartition("=")
    if found and ".." in size:
        raise BadUsage(
            f"--axis {shown(word)[:80]} states a range, a bundle keeps the largest size alone", hint="Write --axis N=8"
        )
    if not found or not name or not size.isdecimal():
        raise BadUsage(f"--axis {shown(word)} names no axis and size", hint="Write --axis N=8")
    # the length first: Python refuses to read more than 4300 digits
    if len(size.lstrip("0")) > len(str(MAX_AXIS)) or not 1 <= int(size) <= MAX_AXIS:
        raise BadUsage(f"--axis {shown(word)[:80]}: a size is from 1 to {MAX_AXIS:,}", hint="Write --axis N=8")
    return name, int(size)


def settings_of(options: ModelOptions) -> dict[str, object]:
    """Fields of the task's settings, as plain values; those of --setting as their text. Raises BadUsage."""
    from edge_sdk.export.generic.settings import labels_of

    found: dict[str, object] = {} if options.labels is None else {"labels": labels_of(options.labels)}
    found |= {} if options.scores is None else {"scores": options.scores}
    for word in options.setting or ():
        name, sign, text = word.partition("=")
        if not sign or not name:
            raise BadUsage(f"--setting {shown(word)[:80]} is not NAME=VALUE", hint="Write --setting output=y")
        if name in found:
            raise BadUsage(f"the setting {shown(name)[:80]} is given twice", where="--setting", hint="State one value")
        found[name] = text
    return found


def by_role(words: Sequence[str], roles: Sequence[str], option: str) -> dict[str, list[str]]:
    """Values by role: of one model all words, as they are; of several "ROLE=VALUE". Raises BadUsage."""
    if len(roles) == 1:
        return {roles[0]: list(words)} if words else {}
    found: dict[str, list[str]] = {}
    for word in words:
        role, sign, value = word.partition("=")
        if not sign or role not in roles:
            raise BadUsage(
                f"{option} {shown(word)[:80]} names none of the models {', '.join(roles)}",
                hint=f"Write {option} {roles[0]}=..., for each",
            )
        found.setdefault(role, []).append(value)
    return found


def one_each(found: Mapping[str, Sequence[str]], option: str) -> dict[str, str]:
    """The only value of each role. Raises BadUsage for two."""
    if twice := next((role for role, values in found.items() if len(values) > 1), None):
        raise BadUsage(f"{option} is given twice for {twice}" if len(found) > 1 else f"{option} is given twice")
    return {role: values[0] for role, values in found.items()}
