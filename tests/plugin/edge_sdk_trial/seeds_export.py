"""What exporting the task "seeds" adds: the record of reviewed seeds that bundles are packed with. Reads no data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import ClassVar

from edge_sdk.decision.record import Record
from edge_sdk.export.option import TaskOptions, option
from edge_sdk.export.tasks.base import ExportTask, Made, Reading
from edge_sdk.progress import Progress, silent
from edge_sdk_trial.seeds import Reviewed


@dataclass(frozen=True, kw_only=True)
class SeedsExportOptions(TaskOptions):
    """What the command line offers for every family of the task."""

    reviewed: int = option(100, kind="int", least=1, help="How many seeds from 0 on somebody has looked at.")


class SeedsExport(ExportTask):
    """The export part; golden samples are the family's."""

    name: ClassVar[str] = "seeds"
    options: ClassVar[type[TaskOptions]] = SeedsExportOptions

    def read(self, path: Path | None, options: SeedsExportOptions, how: Reading) -> None:
        return None

    def decide(self, made: Made, *, progress: Progress = silent) -> tuple[Record, ...]:
        options: SeedsExportOptions = made.options
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        return (Reviewed(least=0, most=options.reviewed - 1, words="looked at before packing", created_utc=now),)
