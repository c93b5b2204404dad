"""`--input "image:uint8[N,H=64..640,W,3]"`: what a module takes, with its free axes. Knows no module and no torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args

from edge_sdk.bundle.rules import MAX_AXIS, MAX_TENSOR_NAME
from edge_sdk.errors import BadUsage
from edge_sdk.export.family import MAX_BATCH
from edge_sdk.shown import shown
from edge_sdk.tensors import BATCH, DType, TensorSpec

EXAMPLE = 'Write --input "image:float32[N,3,H=64..640,W=64..640]": upper-case letters are free axes, N the batch'
_INPUT = re.compile(r"(?P<name>[^\[\]]+):(?P<dtype>[a-z]+[0-9]*)\[(?P<axes>[^\[\]]*)\]")
_AXIS = re.compile(r"(?P<name>[A-Z][A-Za-z0-9_]{0,39})(=(?P<low>[0-9]{1,7})\.\.(?P<high>[0-9]{1,7}))?")
_LIKED, _STEP = 128, 32
"""Sizes that networks mostly take: multiples of 32. A graph is traced at the one nearest to 128."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeAxis:
    """An axis of any size from `low` to `high`, both included; high None: nobody said."""

    name: str
    low: int = 1
    high: int | None = None

    @property
    def traced(self) -> int:
        """The size that the graph is traced at: never 1, which tracing takes for a constant, if there is another."""
        most = self.high if self.high is not None else max(self.low, 2 * _LIKED)
        if self.name == BATCH:
            return min(2, most)
        multiples = [size for size in range(2 * _STEP, most + 1, _STEP) if size > self.low]
        if multiples:
            return min(multiples, key=lambda size: abs(size - _LIKED))
        return min(max(2, (self.low + most) // 2), most)

    @property
    def tried(self) -> tuple[int, ...]:
        """Different sizes that an export is checked at; one that is no multiple of anything among them."""
        most = self.high if self.high is not None else 2 * self.traced
        if self.name == BATCH:
            return tuple(size for size in (1, 3) if size <= most) or (most,)
        wanted = (self.traced, self.low, min(most, self.traced + 1), min(most, self.traced + _STEP))
        return tuple(dict.fromkeys(size for size in wanted if self.low <= size <= most))


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """One input of a module. axes: sizes, or free axes."""

    name: str
    dtype: DType
    axes: tuple[int | FreeAxis, ...]

    def shape(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """Its shape where the free axes have these sizes, by name."""
        return tuple(sizes[axis.name] if isinstance(axis, FreeAxis) else axis for axis in self.axes)

    def spec(self, sizes: Mapping[str, int]) -> TensorSpec:
        """Of an array of that shape."""
        return TensorSpec(name=self.name, dtype=self.dtype, shape=self.shape(sizes))


def parsed(words: Sequence[str]) -> tuple[InputSpec, ...]:
    """The inputs that a command line states. An axis that stands in several has the range that one of them states.

    Raises BadUsage: no input, not of that form, an unknown type, a size out of range, two inputs of one name, two
    ranges of one axis, the batch N at another place than the first.
    """
    if not words:
        raise BadUsage("the module's inputs are not stated", where="--input", hint=EXAMPLE)
    inputs = [_input(word) for word in words]
    names = [one.name for one in inputs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise BadUsage(f"two inputs are called {shown(twice[0])[:80]}", where="--input", hint="Name each otherwise")
    ranges: dict[str, FreeAxis] = {}
    for axis in free_axes(inputs):
        before = ranges.get(axis.name)
        if before is not None and None not in (before.high, axis.high) and before != axis:
            raise BadUsage(f"the axis {axis.name} has two ranges", where="--input", hint="State one")
        if before is None or before.high is None:
            ranges[axis.name] = axis
    return tuple(
        replace(one, axes=tuple(ranges[axis.name] if isinstance(axis, FreeAxis) else axis for axis in one.axes))
        for one in inputs
    )


def free_axes(inputs: Sequence[InputSpec]) -> tuple[FreeAxis, ...]:
    """Every free axis, each as often as it is stated differently."""
    return tuple(dict.fromkeys(axis for one in inputs for axis in one.axes if isinstance(axis, FreeAxis)))


def largest(inputs: Sequence[InputSpec]) -> dict[str, int]:
    """The largest size of each free axis whose range is stated."""
    return {axis.name: axis.high for axis in free_axes(inputs) if axis.high is not None}


def bounded(inputs: Sequence[InputSpec], axes: Mapping[str, int]) -> tuple[InputSpec, ...]:
    """The inputs with the largest sizes of `axes` (--axis); the batch ends at MAX_BATCH where nobody said otherwise.

    Raises BadUsage for an axis that there is not, for two different sizes of one, and for one that nobody bounds.
    """
    known = {axis.name: axis for axis in free_axes(inputs)}
    if strange := sorted(set(axes) - set(known)):
        raise BadUsage(f"no input has a free axis {shown(strange[0])}", where="--axis")
    found = {}
    for name, axis in known.items():
        most = axes.get(name, axis.high if axis.high is not None else MAX_BATCH if name == BATCH else None)
        if most is None:
            raise BadUsage(
                f"the size of the free axis {name} is not bounded", where="--input",
                hint=f"Write {name}=64..640 in --input, its least and its largest size",
            )  # fmt: skip
        if axis.high not in (None, most) or most < axis.low:
            raise BadUsage(f"--axis {name}={most} is not the range {axis.low}..{axis.high} that --input states")
        found[name] = replace(axis, high=most)
    return tuple(
        replace(one, axes=tuple(_fixed(found[axis.name]) if isinstance(axis, FreeAxis) else axis for axis in one.axes))
        for one in inputs
    )


def _fixed(axis: FreeAxis) -> int | FreeAxis:
    """A range of one size is no free axis."""
    return axis.low if axis.low == axis.high else axis


def _input(word: str) -> InputSpec:
    found = _INPUT.fullmatch(word.replace(" ", ""))
    if not found or len(found["name"]) > MAX_TENSOR_NAME or shown(found["name"]) != found["name"]:
        raise BadUsage(f"--input {shown(word)[:80]} is not NAME:TYPE[AXES]", hint=EXAMPLE)
    kinds: tuple[DType, ...] = get_args(DType)
    dtype = next((kind for kind in kinds if kind == found["dtype"]), None)
    if dtype is None:
        raise BadUsage(
            f"--input {shown(word)[:80]}: there is no type {found['dtype']}", hint=f"One of {', '.join(kinds)}"
        )
    if dtype in ("float16", "float64"):
        raise BadUsage(
            f"--input {shown(word)[:80]}: a graph is exported in float32", hint=f"Write float32 for {found['dtype']}"
        )
    texts = found["axes"].split(",") if found["axes"] else []
    axes = tuple(_axis(text, word) for text in texts)
    if any(isinstance(axis, FreeAxis) and axis.name == BATCH for axis in axes[1:]):
        raise BadUsage(f"--input {shown(word)[:80]}: {BATCH} is the batch, axis 0 of an input", hint=EXAMPLE)
    return InputSpec(name=found["name"], dtype=dtype, axes=axes)


def _axis(text: str, word: str) -> int | FreeAxis:
    if text.isdecimal() and len(text) < 8 and 1 <= int(text) <= MAX_AXIS:
        return int(text)
    found = _AXIS.fullmatch(text)
    if not found:
        raise BadUsage(f"--input {shown(word)[:80]}: {shown(text)[:40]!r} is no size and no free axis", hint=EXAMPLE)
    if found["low"] is None:
        return FreeAxis(name=found["name"])
    low, high = int(found["low"]), int(found["high"])
    if not 1 <= low <= high <= MAX_AXIS:
        raise BadUsage(f"--input {shown(word)[:80]}: sizes of {found['name']} go from 1 to {MAX_AXIS:,}", hint=EXAMPLE)
    return FreeAxis(name=found["name"], low=low, high=high)
