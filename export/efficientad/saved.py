"""A trained model of EfficientAD and its file in a run folder: what every size leaves behind. Knows no network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from torch import Tensor

from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.errors import BadInput
from edge_sdk.export import tensors_file
from edge_sdk.export.anomaly.data import AnomalyTrained
from edge_sdk.export.efficientad.options import EfficientAdOptions

MODEL = "model.safetensors"


@dataclass(frozen=True, kw_only=True, eq=False)
class EfficientAdTrained(AnomalyTrained):
    """preprocessing: how pictures came to the model in training; graphs and calibration samples are made with it."""

    options: EfficientAdOptions
    preprocessing: Preprocessing


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
