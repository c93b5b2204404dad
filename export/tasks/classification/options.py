"""What the classification task adds to the command line. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge_sdk.export.option import TaskOptions, option


@dataclass(frozen=True, kw_only=True)
class ClassificationOptions(TaskOptions):
    """What a user states about the evaluation; every default stands here and nowhere else.

    test: samples that neither training nor calibration saw, as `read_samples` takes them; None = the calibration
    samples. group: how samples of one part are known (see `Grouping`), None = each is taken for a part of its own.
    """

    test: Path | None = option(
        None, kind="path",
        help="Samples for the evaluation: a folder for each class, named by its label, or a folder without labels. "
        "Default: the calibration samples, without labels.",
    )  # fmt: skip
    group: str | None = option(
        None, help="If a part has several samples: regular expression that names the part, or TABLE.csv:COLUMN."
    )
