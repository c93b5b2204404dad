"""The generation task: settings, checks, words of a command line. One graph, noise in, pictures out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np

from edge_sdk.bundle.store import Bundle
from edge_sdk.errors import BadBundle, BadInput
from edge_sdk.golden import OutputCheck
from edge_sdk.shown import shown
from edge_sdk.tasks.base import MODEL, Answers, Given, Headline, Loaded, Running, Setup, Task, settings_of
from edge_sdk.tasks.generation.asked import RULE, Asked, GenerationSettings
from edge_sdk.tasks.generation.generator import BATCH_ROWS, Generator, complete, feeds_of, noise_shape
from edge_sdk.tensors import BATCH, Array, TensorSpec

MOST_OF_A_RANGE = 100_000


class GenerationTask(Task):
    """One graph: "noise" float32 (N, C, H, W), and of a generator with classes "label" int64 (N,), to "image" uint8
    (N, H, W, C), C 1 or 3; where the settings name one, a second output float32 (N, C, H, W), what the picture was
    rounded from. The settings say where the tensors have other names."""

    name: ClassVar[str] = "generation"
    settings: ClassVar[type[msgspec.Struct]] = GenerationSettings
    predictor: ClassVar[type[Running[Any, Any]]] = Generator
    batch_rows: ClassVar[Mapping[str, int]] = {MODEL: BATCH_ROWS}

    def check(self, setup: Setup, *, where: str) -> None:
        settings: GenerationSettings = setup.settings
        problem = tensors_problem(settings, setup.inputs[MODEL], setup.outputs[MODEL])
        if settings.noise != RULE:
            problem = f"its noise is made by {shown(settings.noise)}, this version knows {RULE}"
        if problem:
            raise BadBundle(problem, where=where, hint="Export it again")

    def open(self, loaded: Loaded) -> Generator:
        return Generator(loaded, settings_of(loaded.bundle, GenerationSettings))

    def feeds(self, setup: Setup, source: Mapping[str, Array], role: str, answers: Answers) -> dict[str, Array]:
        settings: GenerationSettings = setup.settings
        asked = complete(Asked.of_stored(source), settings.labels)
        return feeds_of([asked], noise_shape(setup.inputs[MODEL], settings), settings)

    def source(self, stored: Mapping[str, Array]) -> Asked:
        return Asked.of_stored(stored)

    def given(self, words: Sequence[str], bundle: Bundle) -> list[Given]:
        """Seeds, and ranges of them: 7, 10-19. Each stands for its picture 0; `edge-sdk generate` draws many."""
        return [
            Given(name=f"seed {seed}", source=Asked(seed=seed), place=Path(f"seed-{seed}"))
            for word in words for seed in seeds_in(word)
        ]  # fmt: skip

    def headline(self, bundle: Bundle, checks: Sequence[OutputCheck]) -> Headline:
        """The largest difference of a pixel."""
        image = settings_of(bundle, GenerationSettings).image_output
        worst = max((check.worst for check in checks if check.output == image), default=0.0)
        return Headline(
            lines=(f"pictures: pixels off by up to {worst:.0f} of 255 grey levels",), facts={"worst_grey_levels": worst}
        )

    def summary(self, bundle: Bundle) -> list[tuple[str, str]]:
        settings = settings_of(bundle, GenerationSettings)
        outputs = bundle.manifest.graphs[0].outputs
        shape = next((one.shape for one in outputs if one.name == settings.image_output), ())
        listed = ", ".join(map(shown, settings.labels[:8])) + ", ..." * (len(settings.labels) > 8)
        return [
            ("pictures", " x ".join(str(size) for size in shape[1:])),
            ("classes", f"{len(settings.labels)}: {listed}" if settings.labels else "none"),
            ("noise", settings.noise),
            *([("values", "float32, what pictures are rounded from")] if settings.values_output else []),
        ]


def seeds_in(word: str) -> range:
    """The seeds that a word of a command line names: 7, or 10-19. Raises BadInput."""
    first, dash, last = word.partition("-")
    plain = all(part.isascii() and part.isdigit() and len(part) <= 20 for part in (first, *([last] if dash else [])))
    if not plain:
        raise BadInput(f"{shown(word)[:80]!r} is no seed", hint="Write seeds as 7 or 10-19")
    begin, end = int(first), int(last or first)
    for one in (begin, end):
        Asked(seed=one)  # raises for what is no uint64
    if end < begin or end - begin >= MOST_OF_A_RANGE:
        raise BadInput(
            f"{shown(word)} is no range of 1 to {MOST_OF_A_RANGE} seeds", hint="Write the smaller one first: 10-19"
        )
    return range(begin, end + 1)


def tensors_problem(settings: GenerationSettings, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> str:
    """What a graph lacks to be a generator, "" = nothing."""
    by_name = {spec.name: spec for spec in (*inputs, *outputs)}
    wanted: list[tuple[str, Any, int]] = [(settings.noise_input, np.float32, 4), (settings.image_output, np.uint8, 4)]
    if settings.labels:
        wanted.append((settings.label_input, np.int64, 1))
    if settings.values_output:
        wanted.append((settings.values_output, np.float32, 4))
    known = {settings.noise_input, *([settings.label_input] if settings.labels else [])}
    if extra := [spec.name for spec in inputs if spec.name not in known]:
        return f"its graph has an input {shown(extra[0])} that a generator does not feed"
    for name, dtype, dimensions in wanted:
        spec = by_name.get(name)
        if spec is None:
            return f"its graph has no tensor {shown(name)}"
        if spec.dtype != np.dtype(dtype) or len(spec.shape) != dimensions:
            return f"the tensor {shown(name)} of its graph is {spec.dtype} of {len(spec.shape)} axes"
        if any(isinstance(size, str) for size in spec.shape[1:]) or spec.shape[0] not in (BATCH, 1):
            return f"the tensor {shown(name)} of its graph has free axes beside the batch"
    if by_name[settings.image_output].shape[3] not in (1, 3):
        return "its pictures have neither 1 nor 3 channels"
    return ""
