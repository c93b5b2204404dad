"""The verb `quantize`: make a bundle from ONNX files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from edge_sdk import tasks
from edge_sdk.cli import new_bundle
from edge_sdk.cli.model_options import ModelOptions, verb
from edge_sdk.errors import BadUsage
from edge_sdk.extras import QUANTIZING, need_exporting
from edge_sdk.shown import shown


@verb
def quantize(
    options: ModelOptions,
    model: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL.onnx", help="ONNX file, or ROLE=FILE for each of several models of one bundle.",
            show_default=False,
        ),
    ],
) -> None:  # fmt: skip
    """Quantize ONNX files with calibration samples, and write one bundle with their variants.

    An .npz file holds one array per input name. Samples are the rows of an input with a batch axis; other inputs are
    stacked along a new first axis. In a folder, each .npz file is one sample. random:64 draws 64 uniform samples:
    floats from -1 to 1, int8 to uint16 over their whole range, other integers 0 or 1. Random samples are enough to try
    a model, not to calibrate it.

    Where --mean, --std or another option of preprocessing is given, the graph gets a front that takes pictures, and
    --data may be a folder of them.

    Example: edge-sdk quantize model.onnx --data samples.npz --out model.edge

    edge-sdk quantize model.onnx --data photos/ --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --out model.edge

    edge-sdk quantize encoder=enc.onnx decoder=dec.onnx --data encoder=in/ --data decoder=mid/ --out model.edge
    """
    files = files_of(model)
    new_bundle.check(options)
    need_exporting(QUANTIZING, extra="quantize")
    from edge_sdk.export.models.model import read_model

    new_bundle.made({role: read_model(file) for role, file in files.items()}, options)


def files_of(words: Sequence[str]) -> dict[str, Path]:
    """ONNX files by role: one file as it is named, or several as "ROLE=FILE". Raises BadUsage."""
    from edge_sdk.tasks.base import MODEL

    if len(words) == 1:
        return {MODEL: Path(words[0])}
    found: dict[str, Path] = {}
    for word in words:
        role, sign, file = word.partition("=")
        if not sign or not file or not tasks.ROLE.fullmatch(role):
            raise BadUsage(
                f"with several models each is ROLE=FILE, not {shown(word)[:80]}",
                hint="Write encoder=enc.onnx decoder=dec.onnx; a role is letters, digits, - and _",
            )
        if role.lower() in {one.lower() for one in found}:  # a file system may not tell their members apart
            raise BadUsage(f"two models are called {role}")
        found[role] = Path(file)
    return found


COMMANDS = (quantize,)
