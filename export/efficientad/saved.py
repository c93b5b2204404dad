"""The trained model in a run folder, and how pictures came to it: what every size leaves behind. Knows no network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from torch import Tensor

from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.errors import BadInput
from edge_sdk.export import tensors_file
from edge_sdk.export.anomaly.data import AnomalyTrained

MODEL = "model.safetensors"


def save(
    path: Path, tensors: Mapping[str, Tensor], *, kind: str, described: Mapping[str, Any], preprocessing: Preprocessing
) -> None:
    """One file, the preprocessing that the model was trained with in it. Raises CantWrite."""
    record = msgspec.structs.asdict(preprocessing)
    tensors_file.write(path, tensors, kind=kind, described={**described, "preprocessing": record})


def file_of(trained: AnomalyTrained) -> Path:
    """The model's file. Raises BadInput where there is none."""
    path = trained.folder / MODEL
    if not path.is_file():
        raise BadInput("there is no trained model in this folder", where=str(trained.folder), hint="Train first")
    return path


def preprocessing_of(trained: AnomalyTrained, *, kind: str) -> Preprocessing:
    """How pictures came to the model in training, as its file says. Raises BadInput."""
    with tensors_file.opened(file_of(trained), kind=kind, what="not a trained model", hint="Train again") as file:
        return Preprocessing(**file.described["preprocessing"])
