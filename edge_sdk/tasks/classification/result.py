"""The result for one sample: a probability for each class, the first few, entropy. Knows no runtime."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_sdk import atomic
from edge_sdk.errors import BadInput
from edge_sdk.shown import shown
from edge_sdk.tasks.base import RunInfo
from edge_sdk.tasks.classification.drawing import with_bars
from edge_sdk.tasks.classification.scores import entropy
from edge_sdk.tasks.images import Source
from edge_sdk.tasks.plots import drawn_on, write_plot

JSON = ".json"


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedClass:
    """One class of a result. index: in the order of the labels. probability: 0..1."""

    index: int
    label: str
    probability: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Classification:
    """One sample's answer. probabilities: float32 (classes,), in the order of `labels`, sum 1; read-only.

    top_count: how many classes `top`, `line`, `plot` and `to_json` give where nothing else is said. source: name of the
    sample in texts. file: where its picture lies, None if pixels, bytes or arrays were given. picture: whether it was a
    picture. bit_depth: by which 16-bit values are read. notes: what a person should look at.
    """

    probabilities: NDArray[np.float32]
    labels: tuple[str, ...]
    ran: RunInfo
    top_count: int = 5
    source: str = ""
    file: Path | None = None
    picture: bool = False
    bit_depth: int | None = 16
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Classification {self.label}: {self.confidence:.4f}, {self.source or 'sample'}>"

    @property
    def suffix(self) -> str:
        """Of the file that `save` writes: a picture has a plot, arrays have none."""
        return ".png" if self.picture else JSON

    @property
    def index(self) -> int:
        """The most probable class; of equal ones the first."""
        return int(self.probabilities.argmax())

    @property
    def label(self) -> str:
        """Of the most probable class."""
        return self.labels[self.index]

    @property
    def confidence(self) -> float:
        """Probability of the most probable class, 0..1."""
        return float(self.probabilities[self.index])

    @cached_property
    def entropy(self) -> float:
        """Of the probabilities, in nats: 0 (certain) to ln(classes) (all the same)."""
        return entropy(self.probabilities)

    def top(self, count: int | None = None) -> tuple[RankedClass, ...]:
        """The `count` most probable classes, most probable first, or all there are; of equal ones the first by index.
        None: `top_count`. Raises BadInput for a count below 1."""
        wanted = self.top_count if count is None else count
        if wanted < 1:
            raise BadInput(f"the first {wanted} classes are none", hint="Ask for 1 or more")
        order = np.argsort(-self.probabilities, kind="stable")[:wanted]
        return tuple(
            RankedClass(index=int(i), label=self.labels[i], probability=float(self.probabilities[i])) for i in order
        )

    def to_json(self, *, with_all: bool = False) -> str:
        """One JSON object with the first classes. with_all: also every probability, in the order of the labels."""
        out: dict[str, Any] = {
            "source": self.source, "label": self.label, "index": self.index, "confidence": self.confidence,
            "entropy_nats": self.entropy,
            "top": [{"index": one.index, "label": one.label, "probability": one.probability} for one in self.top()],
            "notes": list(self.notes), "ran": self.ran.to_json(),
        }  # fmt: skip
        if with_all:
            out["probabilities"] = self.probabilities.tolist()
        return json.dumps(out, ensure_ascii=False, allow_nan=False)

    def line(self) -> str:
        """Label, confidence, sample, the next two classes and notes."""
        others = ", ".join(f"{one.label} {one.probability:.4f}" for one in self.top()[1:3])
        notes = "".join(f" [{note}]" for note in self.notes)
        return f"{self.label:20s} {self.confidence:.4f}  {shown(self.source)}  {others}{notes}".rstrip()

    def plot(self, picture: Source | None = None) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) RGB: the picture with a bar for each of the first classes below it.

        picture: the one that was predicted, as `predict` takes it, arrays RGB; None = read again from `file`. Raises
        BadInput: None, and the picture did not come from a file; what is no picture.
        """
        pixels = drawn_on(picture, self.file, bit_depth=self.bit_depth)
        return with_bars(pixels, [(one.label, one.probability) for one in self.top()])

    def save(self, path: Path | str, picture: Source | None = None) -> None:
        """`plot` to a PNG or JPEG file, or `to_json` with all probabilities to a .json file, by the suffix.

        Raises BadInput: another suffix, and as `plot`; CantWrite.
        """
        if Path(path).suffix.lower() == JSON:
            atomic.write(Path(path), self.to_json(with_all=True) + "\n")
        else:
            write_plot(Path(path), lambda: self.plot(picture), others=(JSON,))
