"""The predictor of the generation task: seeds in, pictures out, in one network call each. Knows no training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from edge_sdk.errors import BadUsage
from edge_sdk.stages import Stages
from edge_sdk.tasks.base import MODEL, Loaded, Running, several
from edge_sdk.tasks.generation.asked import Asked, GenerationSettings, Label, Source, label_of
from edge_sdk.tasks.generation.noise import noise
from edge_sdk.tasks.generation.result import Batch, Drawn, Pixels, Values
from edge_sdk.tensors import Array, TensorSpec

BATCH_ROWS = 64
"""Pictures of one call of the graph."""


class Generator(Running[Source, Drawn]):
    """A loaded bundle of the task "generation". Its methods may be called from any thread.

    labels: names of the classes that it draws, () = it has none. shape: of a picture: height, width, channels.
    has_values: whether it gives what its pictures were rounded from, too.
    """

    noun: ClassVar[str] = "generator"

    def __init__(self, loaded: Loaded, settings: GenerationSettings) -> None:
        super().__init__(loaded)
        self.labels = settings.labels
        self._settings = settings
        self._noise = noise_shape(loaded.models[MODEL].session.inputs, settings)
        output = next(one for one in loaded.models[MODEL].session.outputs if one.name == settings.image_output)
        height, width, channels = (int(size) for size in output.shape[1:])
        self.shape = (height, width, channels)
        self.has_values = bool(settings.values_output)
        self._at_once = rows_at_once(loaded.models[MODEL].session.inputs, settings)

    def predict(self, source: Source, /) -> Drawn:
        """One picture: of a seed its picture 0, or what an `Asked` says. Raises BadInput, BadUsage (closed)."""
        return self.draw([source])[0]

    def predict_batch(self, sources: Iterable[Source], /) -> tuple[Drawn, ...]:
        found = list(several(sources))
        return tuple(self.draw(found)) if found else ()

    def generate(
        self, n: int, *, seed: int = 0, labels: Label | Sequence[Label] | None = None, first: int = 0
    ) -> Batch:
        """Pictures `first` to `first + n - 1` of `seed`. labels: one class for all, or one for each; None = the classes
        in turn. Raises BadUsage, BadInput."""
        return self.draw(self.asked(n, seed=seed, labels=labels, first=first))

    def stream(
        self, n: int, *, seed: int = 0, labels: Label | Sequence[Label] | None = None, first: int = 0,
        rows: int = BATCH_ROWS,
    ) -> Iterator[Batch]:  # fmt: skip
        """The same in batches of `rows`, each drawn when it is asked for, so that any number fits into memory."""
        if rows < 1:
            raise BadUsage(f"a batch has 1 picture or more, not {rows}")
        asked = self.asked(n, seed=seed, labels=labels, first=first)
        return (self.draw(asked[at : at + rows]) for at in range(0, n, rows))

    def asked(
        self, n: int, *, seed: int = 0, labels: Label | Sequence[Label] | None = None, first: int = 0
    ) -> tuple[Asked, ...]:
        """What `generate` draws."""
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
            raise BadUsage(f"a number of pictures is 1 or more, not {n!r}"[:200])
        if labels is None or isinstance(labels, (int, str, np.integer)):
            each: Sequence[Label | None] = [labels] * n
        elif len(labels) != n:
            raise BadUsage(f"there are {len(labels)} labels for {n} pictures", hint="Give one for all, or one for each")
        else:
            each = labels
        indices = range(first, first + n)
        return tuple(
            Asked(seed=seed, index=index, label=label_of(label, self.labels, index=index))
            for index, label in zip(indices, each, strict=True)
        )

    def draw(self, sources: Sequence[Source]) -> Batch:
        """All of them in one batch. Raises BadInput, BadUsage (closed, none)."""
        self.require_open()
        if not sources:
            raise BadUsage("no picture is asked for", hint="Pass a seed")
        clock = Stages()
        asked = tuple(complete(one, self.labels) for one in sources)
        pixels, values = self._drawn(asked, clock)
        names = tuple(self.labels[one.label] for one in asked if one.label is not None)
        return Batch(asked=asked, pixels=pixels, values=values, ran=self.run_info(clock), labels=names)

    def _drawn(self, asked: Sequence[Asked], clock: Stages) -> tuple[Pixels, Values | None]:
        """In one call of the graph, or one by one where it takes no more."""
        most = self._at_once or len(asked)
        found = []
        for at in range(0, len(asked), most):
            feeds = clock("noise", feeds_of, asked[at : at + most], self._noise, self._settings)
            found.append(clock("draw", self.run, MODEL, feeds))
        pixels = np.concatenate([np.asarray(one[self._settings.image_output], np.uint8) for one in found])
        if not self.has_values:
            return pixels, None
        return pixels, np.concatenate([np.asarray(one[self._settings.values_output], np.float32) for one in found])


def complete(source: Source, labels: Sequence[str]) -> Asked:
    """What is asked for, with its class stated where there are classes. Raises BadInput."""
    asked = source if isinstance(source, Asked) else Asked(seed=source)
    return replace(asked, label=label_of(asked.label, labels, index=asked.index))


def rows_at_once(inputs: Sequence[TensorSpec], settings: GenerationSettings) -> int | None:
    """Pictures that the graph draws in one call: None = any number, otherwise as many as it was exported for."""
    spec = next(one for one in inputs if one.name == settings.noise_input)
    return None if spec.batched else int(spec.shape[0])


def noise_shape(inputs: Sequence[TensorSpec], settings: GenerationSettings) -> tuple[int, ...]:
    """Of one picture's noise: channels, height, width."""
    spec = next(one for one in inputs if one.name == settings.noise_input)
    return tuple(int(size) for size in spec.shape[1:])


def feeds_of(asked: Sequence[Asked], shape: Sequence[int], settings: GenerationSettings) -> dict[str, Array]:
    """What the graph is fed: noise float32 (n, C, H, W), and labels int64 (n,) where there are classes."""
    drawn: Array = np.concatenate([noise(one.seed, [one.index], shape) for one in asked])
    if not settings.labels:
        return {settings.noise_input: drawn}
    return {settings.noise_input: drawn, settings.label_input: np.array([one.label for one in asked], np.int64)}
