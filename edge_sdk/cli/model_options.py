"""Options of the verbs that make a bundle of the user's own model, in one table, and how their text is read.

Knows no verb and no model.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_type_hints

import typer

from edge_sdk.bundle.rules import MAX_AXIS
from edge_sdk.cli.options import Json
from edge_sdk.cli.terminal import seconds
from edge_sdk.errors import BadUsage, NotThere
from edge_sdk.runtimes.variants import KINDS
from edge_sdk.shown import shown

if TYPE_CHECKING:
    from edge_sdk.calibration.bound import AccuracyBound
    from edge_sdk.calibration.trials import Trials

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Each field is an option of the command line, as its annotation says; a default stands here alone."""

    data: Annotated[
        list[str],
        typer.Option(
            help="A folder of pictures or of .npz files, one .npz file of samples, or random:64. Of several models "
            "ROLE=FOLDER for each.",
            show_default=False,
        ),
    ]
    out: Annotated[Path, typer.Option(help="The bundle to write, NAME.edge.", show_default=False)]
    name: Annotated[str | None, typer.Option(help="Name of the bundle. Default: the file name of OUT.")] = None
    task: Annotated[
        str | None, typer.Option(help="Whose predictor runs it, such as classification. Default: tensor.")
    ] = None
    labels: Annotated[Path | None, typer.Option(help="Names of the classes, in order: one a line, or a JSON list.")] = (
        None
    )
    scores: Annotated[
        str | None, typer.Option(help="Of a classifier: logits or probabilities, what its output holds.")
    ] = None
    test: Annotated[
        Path | None,
        typer.Option(
            help="Of a classifier: samples for its evaluation, a folder for each class, named by its label, or a "
            "folder without labels. Default: the calibration samples.",
        ),
    ] = None
    group: Annotated[
        str | None,
        typer.Option(help="Of --test, if a part has several samples: regular expression that names the part, or "
                     "TABLE.csv:COLUMN."),
    ] = None  # fmt: skip
    mean: Annotated[
        str | None, typer.Option(help="Of the network's channels, such as 0.485,0.456,0.406: its input takes pictures.")
    ] = None
    std: Annotated[str | None, typer.Option(help="As --mean, such as 0.229,0.224,0.225.")] = None
    pixel_range: Annotated[
        str | None, typer.Option(help="What --mean and --std refer to: pixels of 0..1 (default) or 0..255.")
    ] = None
    color: Annotated[str | None, typer.Option(help="Order of the network's channels: rgb (default) or bgr.")] = None
    resize: Annotated[
        str | None, typer.Option(help="Pictures to the network's size: stretch (default), letterbox or longest-side.")
    ] = None
    fill: Annotated[
        str | None, typer.Option(help="Around a picture whose aspect is kept: edge (default), or grey from 0 to 255.")
    ] = None
    size: Annotated[
        str | None, typer.Option(help="Height x width where the network leaves them free, such as 480x640.")
    ] = None
    picture_input: Annotated[
        str | None, typer.Option(help="The input that takes pictures, if several could; of several models ROLE/INPUT.")
    ] = None
    preprocessing: Annotated[
        Path | None, typer.Option(help="A JSON file of the same: docs/quantize.md. Options go before it.")
    ] = None
    metadata: Annotated[
        bool,
        typer.Option("--metadata/--no-metadata", help="Take what the file says of itself where nothing is stated."),
    ] = True
    variant: Annotated[
        list[str] | None, typer.Option(help="fp16, int8 or int8-w7, besides fp32; may be repeated. Default: all.")
    ] = None
    exclude: Annotated[
        list[str] | None,
        typer.Option(help="Leave this node out of int8; may be repeated. Of several models ROLE=NODE."),
    ] = None
    axis: Annotated[
        list[str] | None, typer.Option(help="Largest size of a free axis, such as N=8; may be repeated.")
    ] = None
    engine: Annotated[
        list[str] | None,
        typer.Option(help="portable or nncf; may be repeated, the better one is kept. Default: all installed."),
    ] = None
    ranges: Annotated[
        list[str] | None,
        typer.Option(
            help="How ranges are chosen: minmax, percentile-99.99, percentile-99.999, mse or entropy; may be "
            "repeated, the best one is kept. Default: minmax, percentile-99.99 and mse."
        ),
    ] = None
    tune: Annotated[
        str | None,
        typer.Option(help="Time for choosing ranges one tensor at a time, such as 2min; 0s for none. Default: 30s."),
    ] = None
    max_drop: Annotated[
        str | None,
        typer.Option(
            help="How much int8 may lose: 0.5pp (points of --metric) or 1%; without a metric, the largest "
            "difference of an output. Operators stay float until it holds; exit code 1 if it can't. Default: "
            "what is farther than 10 % is brought nearer as far as the time allows; above 20 % exit code 1."
        ),
    ] = None
    metric: Annotated[
        str | None,
        typer.Option(
            help="Of --max-drop: pkg.mod:function, called with a function from arrays to arrays; returns a "
            "number, higher is better."
        ),
    ] = None
    search_time: Annotated[
        str | None,
        typer.Option(help="For finding the operators that must stay float. Default: 10min with --max-drop, else 5min."),
    ] = None
    force: Annotated[bool, typer.Option("--force", help="Accept int8 graphs with a large error.")] = False
    key: Annotated[Path | None, typer.Option(help="Sign the bundle with this .key file (edge-sdk keygen).")] = None
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of random samples.")] = 0
    threads: Annotated[int | None, typer.Option(min=1, help="Default: all available physical cores.")] = None
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Overwrite OUT unconditionally.")] = False
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check all inputs, read one sample, show what would be made; write nothing."),
    ] = False
    json: Json = False


def verb(command: Callable[..., None], *, one_model: bool = False) -> Callable[..., None]:
    """`command(options, **own)` as a verb of the command line: its own parameters, then the fields of ModelOptions.

    one_model: there is always one, so that help texts say nothing of several.
    """
    hints = get_type_hints(ModelOptions, include_extras=True)
    if one_model:
        hints = {name: _of_one_model(hint) for name, hint in hints.items()}
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


_OF_SEVERAL = re.compile(r"(?P<end>[.;:,]) *of several models [^.;]*", re.IGNORECASE)
"""A sentence, or a part of one, about several models."""


def _of_one_model(hint: Any) -> Any:
    kind, shown_as = get_args(hint)
    found = copy(shown_as)
    found.help = _OF_SEVERAL.sub(lambda one: "" if one["end"] != "." else ".", found.help or "").replace("..", ".")
    return Annotated[kind, found]


def variants_of(words: Sequence[str] | None) -> tuple[str, ...] | None:
    """The variants besides fp32, None = all. Raises BadUsage for one that there is not."""
    if unknown := [one for one in words or () if one not in KINDS]:
        raise BadUsage(f"--variant is {', '.join(KINDS)}, not {shown(unknown[0])}")
    return None if not words else tuple(one for one in dict.fromkeys(words) if one != "fp32")


def trials_of(options: ModelOptions) -> Trials:
    """What is tried for int8. Raises BadUsage; NotThere where none of the engines that are named is installed."""
    from edge_sdk.calibration.engines import ENGINES
    from edge_sdk.calibration.trials import THOROUGH, Trials

    found = Trials(
        engines=tuple(options.engine or THOROUGH.engines),
        range_methods=tuple(options.ranges or THOROUGH.range_methods),
        compared=THOROUGH.compared,
        tune_s=_tune_s(options.tune, THOROUGH.tune_s),
        equalise=THOROUGH.equalise,
        within=THOROUGH.within,
        search_s=THOROUGH.search_s if options.search_time is None else seconds(options.search_time),
        scales=THOROUGH.scales,
    )
    for name in options.engine or ():
        if why := ENGINES[name].missing():
            raise NotThere(why)
    return found


def _tune_s(text: str | None, usual: float) -> float:
    if text is None:
        return usual
    return 0.0 if text.strip() in ("0", "0s") else seconds(text)


def bound_of(options: ModelOptions) -> AccuracyBound | None:
    """How much int8 may lose. Raises BadUsage, also for options that say how to keep a bound that there is not."""
    from edge_sdk.calibration.bound import SEARCH_S, AccuracyBound, drop, metric

    if options.max_drop is None:
        if options.metric is not None:
            raise BadUsage("--metric is of a bound, and none is given", hint="Add --max-drop, such as 0.5pp")
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
