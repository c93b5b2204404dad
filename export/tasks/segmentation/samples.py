"""Calibration samples of a segmenter's graphs: pictures, and prompts made of what is marked on them. Knows no family.

The decoder's samples hold what the float encoder answers, and the refiner's what the float decoder does, since that is
what they will be fed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_sdk import preprocess
from edge_sdk.export.family import Exported
from edge_sdk.export.pack import axes_of
from edge_sdk.export.tasks.segmentation.annotations import BitMask
from edge_sdk.export.tasks.segmentation.prompting import box_of, innermost
from edge_sdk.runtimes import registry
from edge_sdk.runtimes.protocol import CompileOptions, Session
from edge_sdk.tasks.base import Setup
from edge_sdk.tasks.segmentation.frame import Frame
from edge_sdk.tasks.segmentation.task import SegmentationTask
from edge_sdk.tensors import Array

PROMPTS = 8
"""Prompts of one sample at most: of segments spread evenly over those of a picture."""


class Marked(Protocol):
    """A picture with masks, from a file (`AnnotatedPicture`) or made by code. path: to name it."""

    @property
    def path(self) -> Path: ...
    def pixels(self) -> NDArray[np.uint8]: ...
    def masks(self, height: int, width: int) -> Iterator[BitMask]: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PromptSamples:
    """Feeds of one role by picture, `count` of them at most, spread evenly over `pictures`; iterating again gives the
    same ones. Every second sample is prompted with boxes, the others with points; a picture on which nothing is marked
    with its centre.
    """

    pictures: Sequence[Marked]
    exported: Exported
    setup: Setup
    role: str
    count: int
    threads: int | None = None

    def __len__(self) -> int:
        return min(self.count, len(self.pictures))

    def __iter__(self) -> Iterator[Mapping[str, Array]]:
        task, roles = SegmentationTask(), SegmentationTask.roles
        before = roles[: roles.index(self.role)]
        with ExitStack() as opened:
            sessions: dict[str, Session] = {}
            for role in before:
                graph = self.exported.graphs[role]
                options = CompileOptions(
                    graph_name=role, threads=self.threads, axes=axes_of(graph, self.setup.inputs[role])
                )
                sessions[role] = registry.runtime("onnxruntime").compile(graph.onnx, options)
                opened.callback(sessions[role].close)
            for number, at in enumerate(np.linspace(0, len(self.pictures) - 1, len(self)).astype(int)):
                yield self._feeds(task, self.pictures[at], sessions, boxed=number % 2 == 0)

    def _feeds(
        self, task: SegmentationTask, picture: Marked, sessions: Mapping[str, Session], *, boxed: bool
    ) -> dict[str, Array]:
        assert self.setup.preprocessing is not None  # `SegmentationTask.check` refuses a model without
        pixels = picture.pixels()
        prepared = preprocess.apply(pixels, self.setup.preprocessing, where=str(picture.path))
        frame = Frame.of(prepared.geometry, self.setup.preprocessing.width)
        source = {} if not sessions and self.role == task.roles[0] else _prompts(picture, frame, boxed=boxed)
        answered: dict[str, Mapping[str, Array]] = {}
        for role, session in sessions.items():
            answered[role] = session.run(task.feeds_of(self.setup, prepared.tensor, frame, source, role, answered))
        return task.feeds_of(self.setup, prepared.tensor, frame, source, self.role, answered)


def _prompts(picture: Marked, frame: Frame, *, boxed: bool) -> dict[str, Array]:
    """Points or boxes of a stored source."""
    masks = [mask for mask in picture.masks(frame.height, frame.width) if mask.any()]
    if not masks:
        return {"points": np.array([[(frame.width - 1) / 2, (frame.height - 1) / 2]])}
    chosen = [masks[at] for at in np.unique(np.linspace(0, len(masks) - 1, PROMPTS).astype(int))]
    if boxed:
        return {"boxes": np.stack([box_of(mask) for mask in chosen])}
    return {"points": np.stack([innermost(mask)[None] for mask in chosen])}
