"""The export part of the generation task: data, golden seeds, and the report of quality. Knows no family."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from edge_sdk.counted import counted
from edge_sdk.export.option import TaskOptions
from edge_sdk.export.tasks.base import Checked, ExportTask, Golden, Made, Reading
from edge_sdk.export.tasks.generation.data import FEW, GenerationData, read
from edge_sdk.export.tasks.generation.options import GenerationOptions
from edge_sdk.shown import shown
from edge_sdk.tasks.generation.asked import Asked, label_of

GOLDEN_SEED = 2**62
"""Of golden pictures, far from the seeds that people try first."""
GOLDEN = 3


class GenerationExport(ExportTask):
    """Reads pictures; packs seeds as golden samples; measures what is drawn against the pictures."""

    name: ClassVar[str] = "generation"
    title: ClassVar[str] = "One-step generator"
    options: ClassVar[type[TaskOptions]] = GenerationOptions

    def read(self, path: Path | None, options: GenerationOptions, how: Reading) -> GenerationData | None:
        return None if path is None else read(path, size=options.size, progress=how.progress)

    def check(self, data: GenerationData | None, options: Any) -> Checked:
        if data is None:
            return Checked()
        count, sides = len(data.pictures), f"{data.side} x {data.side}"
        kind = "grey" if data.channels == 1 else "RGB"
        classes = ", ".join(map(shown, data.names[:8])) + ", ..." * (len(data.names) > 8)
        rows = [("pictures", f"{count}, {sides} px, {kind}")]
        rows += [("classes", f"{len(data.names)}: {classes}")] if data.names else []
        notes = []
        if count < FEW:
            notes.append(f"{counted(count, 'picture')} are few: they will be learned by heart; give some hundred")
        facts = {"pictures": count, "side": data.side, "channels": data.channels, "classes": list(data.names)}
        return Checked(rows=tuple(rows), facts=facts, left_out=data.left_out, notes=tuple(notes))

    def golden(self, made: Made) -> Sequence[Golden]:
        """Seeds, with classes in turn."""
        names = made.exported.settings.labels  # type: ignore[attr-defined]
        found = []
        for index in range(max(GOLDEN, min(len(names), 5))):
            asked = Asked(seed=GOLDEN_SEED, index=index, label=label_of(None, names, index=index))
            label = f"{names[asked.label]}, picture {index}" if asked.label is not None else f"picture {index}"
            found.append(Golden(source=asked.stored(), label=label))
        return found
