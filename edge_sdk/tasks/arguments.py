"""Unknown keyword arguments of a predictor's methods, as errors that name the closest one. Knows no task."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from typing import ParamSpec, TypeVar

from edge_sdk.counted import did_you_mean, listed
from edge_sdk.errors import BadUsage

P = ParamSpec("P")
R = TypeVar("R")


def known_arguments(*, options: Collection[str] = ()) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorator of a method with keyword-only arguments: an unknown keyword raises BadUsage, where Python raises a
    TypeError. options: names that its argument `options` takes."""

    def decorated(method: Callable[P, R]) -> Callable[P, R]:
        parameters = inspect.signature(method).parameters.values()
        names = [one.name for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY]

        @functools.wraps(method)
        def call(*args: P.args, **given: P.kwargs) -> R:
            for name in given:
                if name not in names:
                    raise _unknown(method.__name__, name, names, options)
            return method(*args, **given)

        return call

    return decorated


def _unknown(method: str, name: str, names: Collection[str], options: Collection[str]) -> BadUsage:
    if name in options:
        hint = f'Write options={{"{name}": ...}}'
    else:
        hint = f"{did_you_mean(name, names)}Its arguments are {listed(names, 'and')}"
    return BadUsage(f"{method} has no argument {name}", hint=hint)
