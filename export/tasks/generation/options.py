"""What the generation task adds to the command line. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edge_sdk.export.option import TaskOptions, option

MOST_SIDE = 256


@dataclass(frozen=True, kw_only=True)
class GenerationOptions(TaskOptions):
    """What a user states about pictures to draw like. size: their side, px; None = their own, which is then one for all
    of them. samples: drawn pictures that quality is measured on. features: what pictures are compared by, None = the
    classifier where there are classes, else the trunk."""

    data_name: ClassVar[str] = "DATA"
    data_help: ClassVar[str] = (
        "Folder or .zip file of pictures to draw like. Subfolders are classes, named after them; pictures directly in "
        "it have none."
    )

    size: int | None = option(
        None, kind="int", least=4, most=MOST_SIDE,
        help="Side of the pictures, px; they are scaled to a square. Default: their own, if all have the same.",
    )  # fmt: skip
    samples: int = option(
        5000, kind="int", least=100, most=100_000,
        help="Drawn pictures that quality is measured on. Frechet distances of different numbers do not compare.",
    )  # fmt: skip
    features: str | None = option(
        None,
        help="What pictures are compared by: classifier (a small one that learns the classes of DATA), trunk (a "
        "pretrained network), or an .onnx file from one batch of pictures to a row of floats for each. Default: "
        "classifier where DATA has classes, otherwise trunk.",
    )  # fmt: skip
