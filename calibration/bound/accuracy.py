"""How much accuracy may be lost, and how it is measured: an accuracy bound as a value. Knows no graph and no search."""

from __future__ import annotations

import importlib
import math
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from edge_sdk.errors import BadInput, BadUsage, EdgeError
from edge_sdk.shown import shown
from edge_sdk.tensors import Array

Answer: TypeAlias = Callable[[Mapping[str, Array]], dict[str, Array]]
"""A model as a metric sees it: feeds by input name in, arrays by output name out."""
Metric: TypeAlias = Callable[[Answer], float]
"""What a model is worth, on data of the metric's own; higher is better."""
Unit = Literal["pp", "%", ""]

SEARCH_S = 600.0
LARGEST_ERROR = 0.2
"""`fidelity.error` of an output on its own calibration samples above which an int8 graph counts as another graph: it is
refused unless it is forced."""
_DROP = re.compile(r"(?P<number>[0-9]+(\.[0-9]*)?|\.[0-9]+)(?P<unit>pp|%|)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """The largest loss that is allowed, > 0.

    unit: "pp" percentage points of a metric from 0 to 1 (0.5pp: 0.912 may become 0.907); "%" of the float graph's
    value; "" in the metric's own unit. Without a metric it is the relative difference of the outputs, in % or as is.
    """

    amount: float
    unit: Unit

    def __str__(self) -> str:
        return f"{self.amount:g}{self.unit and (self.unit if self.unit == 'pp' else ' %')}"

    def lowest(self, real: float) -> float:
        """The smallest value of a metric that is allowed where the float graph has `real`."""
        share = {"pp": 0.01, "%": 0.01 * abs(real), "": 1.0}[self.unit]
        return real - self.amount * share

    @property
    def distance(self) -> float:
        """The largest relative difference that is allowed where there is no metric."""
        return self.amount * (0.01 if self.unit == "%" else 1.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AccuracyBound:
    """int8 graphs lose at most `drop`, or none is handed out.

    metric: None = the relative difference of the outputs from the float graph's on the compared samples. name: of the
    metric. search_s: time for finding the operators that have to stay float, for all variants together.
    """

    drop: Drop
    metric: Metric | None = None
    name: str = "relative difference of the outputs"
    search_s: float = SEARCH_S

    def __post_init__(self) -> None:
        if self.metric is None and self.drop.unit == "pp":
            raise BadUsage(
                f"{self.drop} are points of a metric, and none is named",
                hint="Name one with --metric, or bound the difference of the outputs in %: --max-drop 2%",
            )
        if self.metric is None and not self.drop.unit and self.drop.amount >= 1:
            percent = f"{100.0 * self.drop.amount:g}"
            raise BadUsage(
                f"--max-drop {self.drop.amount:g} without a unit is a difference of {percent} % of an output",
                hint=f"Write --max-drop {self.drop.amount:g}%; without a unit it is below 1, such as 0.02 for 2%",
            )

    def met(self, value: float, real: float) -> bool:
        """Whether a graph meets it. value, real: of the int8 and of the float graph; without a metric, `value`
        is the difference."""
        if self.metric is None:
            return value <= self.drop.distance
        return value >= self.drop.lowest(real)

    def worded(self, value: float) -> str:
        """A value for a person: the metric's number, or a difference in %."""
        return f"{value:.4g}" if self.metric is not None else f"{100.0 * value:.3g} %"

    def better(self, one: float, other: float) -> bool:
        """Whether `one` is the better value."""
        return one < other if self.metric is None else one > other

    def measured(self, answer: Answer) -> float:
        """The metric of a model. Raises BadInput for a metric that raises or returns no finite number."""
        assert self.metric is not None
        try:
            with redirect_stdout(sys.stderr):  # stdout is the command's own, as with --json
                value = self.metric(answer)
        except (Exception, SystemExit) as exc:  # a metric that exits would end the command as if all were well
            ours = isinstance(exc, EdgeError)  # of a call of the model
            what = f"failed: {exc.args[0]}" if ours else f"raised {type(exc).__name__}: {shown(str(exc))[:300]}"
            raise BadInput(
                f"the metric {self.name} {what}", where=self._where(exc),
                hint="It is called with a function that takes a dict of arrays, with the batch axis if the model has "
                "one, and returns one",
            ) from exc  # fmt: skip
        number = _number(value)
        if number is None:
            raise BadInput(
                f"the metric {self.name} returned {shown(repr(value))[:80]}, not a finite number",
                hint="Return one float; higher is better",
            )
        return number

    def _where(self, raised: BaseException) -> str:
        """The last line of the metric's own file that was running; where there is none, the last of all."""
        frames = traceback.extract_tb(raised.__traceback__)
        own = getattr(getattr(self.metric, "__code__", None), "co_filename", "")
        frame = next((one for one in reversed(frames) if one.filename == own), frames[-1])
        return f"{shown(frame.filename)}, line {frame.lineno}"


def _number(value: Any) -> float | None:
    if isinstance(value, (str, bytes)):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def drop(text: str) -> Drop:
    """ "0.5pp", "1%" or "0.02" as a value. Raises BadUsage for anything else, and for 0."""
    found = _DROP.fullmatch(text.replace(" ", ""))
    if found is None:
        raise BadUsage(
            f"--max-drop {shown(text)[:40]!r} is no amount", hint="Write 0.5pp (points of a metric), 1% or 0.02"
        )
    amount = float(found["number"])
    if not 0.0 < amount < math.inf:
        raise BadUsage(
            f"--max-drop {shown(text)[:40]} leaves int8 no room: rounding always moves an output a little",
            hint="State what can be spared, such as 0.5pp or 1%",
        )
    unit: Unit = "pp" if found["unit"] == "pp" else "%" if found["unit"] else ""
    return Drop(amount=amount, unit=unit)


def metric(name: str) -> Metric:
    """The function that "pkg.mod:function" names; modules of the current folder are found too. Raises BadUsage."""
    module, colon, function = name.partition(":")
    if not colon or not module or not function:
        raise BadUsage(
            f"--metric {shown(name)[:80]} names no function", hint="Write pkg.mod:function, such as my_metric:accuracy"
        )
    with _current_folder():
        try:
            with redirect_stdout(sys.stderr):
                found = importlib.import_module(module)
        except ModuleNotFoundError as exc:
            raise BadUsage(
                f"there is no module {shown(exc.name or module)}", where=f"--metric {shown(name)[:80]}",
                hint="Name a module of the current folder, or an installed one",
            ) from exc  # fmt: skip
        except (Exception, SystemExit) as exc:
            raise BadInput(
                f"importing {shown(module)} raised {type(exc).__name__}: {shown(str(exc))[:300]}",
                where=f"--metric {shown(name)[:80]}", hint="Import it in Python to see where",
            ) from exc  # fmt: skip
    made = getattr(found, function, None)
    if not callable(made):
        what = "is no function" if hasattr(found, function) else "is not there"
        raise BadUsage(f"{shown(function)} {what} in {shown(module)}", where=f"--metric {shown(name)[:80]}")
    named: Metric = made
    return named


@contextmanager
def _current_folder() -> Iterator[None]:
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        yield
    finally:
        if added:
            sys.path.remove(here)
