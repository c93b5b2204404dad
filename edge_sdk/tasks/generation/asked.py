"""What a caller asks a generator for: a seed, the number of a picture, and its class. Knows no graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import msgspec
import numpy as np

from edge_sdk.errors import BadInput
from edge_sdk.shown import shortened, shown
from edge_sdk.tasks.generation.noise import MOST_INDEX, MOST_SEED
from edge_sdk.tensors import Array

RULE = "philox4x32-10, 52 bits, AS241"
"""How a seed becomes noise (`noise`); a bundle of another rule would draw other pictures."""


NOISE, LABEL, IMAGE, VALUES = "noise", "label", "image", "values"
"""What graphs made here call their inputs and their outputs."""


class GenerationSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle keeps in its manifest. labels: names of its classes by number, () = it has none. noise: the rule by
    which a seed becomes noise. noise_input, label_input, image_output: names of the graph's tensors. values_output: the
    name of what the picture was rounded from, for pictures that are measurements; "" = the graph does not answer it."""

    labels: tuple[str, ...] = ()
    noise: str = RULE
    noise_input: str = NOISE
    label_input: str = LABEL
    image_output: str = IMAGE
    values_output: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One picture. label: number of its class, None where the generator has no classes."""

    seed: int = 0
    index: int = 0
    label: int | None = None

    def __post_init__(self) -> None:
        for what, value, most in (("seed", self.seed, MOST_SEED), ("index of a picture", self.index, MOST_INDEX)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= value <= most:
                raise BadInput(f"{_words(value)} is no {what}", hint=f"Pass a whole number from 0 to {most}")

    def stored(self) -> dict[str, Array]:
        """As a golden sample keeps it."""
        out: dict[str, Array] = {"seed": np.array(self.seed, np.uint64), "index": np.array(self.index, np.uint64)}
        return out if self.label is None else out | {"label": np.array(self.label, np.int64)}

    @classmethod
    def of_stored(cls, stored: Mapping[str, Array]) -> Asked:
        """What `stored` wrote."""
        label = int(stored["label"]) if "label" in stored else None
        return cls(seed=int(stored["seed"]), index=int(stored["index"]), label=label)


Source: TypeAlias = "int | Asked"
"""A seed alone asks for its picture 0, of class 0."""
Label: TypeAlias = "int | str"


def label_of(given: Label | None, names: Sequence[str], *, index: int = 0) -> int | None:
    """The number of a class given by number or name; of None, the classes in turn by the picture's number.

    Raises BadInput for one that is not there, and for any where the generator has none.
    """
    if not names:
        if given is not None:
            raise BadInput("this generator has no classes", hint="Leave the label out")
        return None
    if given is None:
        return index % len(names)
    known = f"Its classes are {', '.join(f'{at} {shown(name)}' for at, name in enumerate(names[:20]))}"
    if isinstance(given, str):
        if given not in names:
            raise BadInput(f"there is no class {shown(given)}", hint=known)
        return names.index(given)
    if isinstance(given, bool) or not isinstance(given, (int, np.integer)) or not 0 <= given < len(names):
        raise BadInput(f"{_words(given)} is no class", hint=known)
    return int(given)


def label_among(index: int, count: int, classes: int) -> int | None:
    """The class of picture `index` of `count` that shall show them all: in turn, or evenly spread where there are more
    classes than pictures; None of none."""
    if not classes:
        return None
    return index % classes if count >= classes else index * classes // count


def _words(given: object) -> str:
    return shortened(repr(given))


def seed_of(text: str) -> int:
    """A seed that a person wrote. Raises BadInput for what is no whole number from 0 to 2^64 - 1."""
    plain = text.isascii() and text.isdigit() and len(text) <= 20
    return Asked(seed=int(text) if plain else text).seed  # type: ignore[arg-type]  # refused there, in the same words
