"""Maps of trained XS models by every way to compare student and teacher, and their AUROC. Knows no command line.

For xs_choices.py and xs_autoencoder.py, which read the run folders that xs_quality.py left.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from xs_quality import SETS, read

from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.export import tensors_file
from edge_sdk.export.anomaly.data import AnomalyData, Picture, data_identity
from edge_sdk.export.efficientad.options import EfficientAdOptions
from edge_sdk.export.efficientad.statistics import map_quantiles
from edge_sdk.export.efficientad.xs.model import XsConfig, XsModel, apart, placing
from edge_sdk.export.pictures.store import PictureStore
from edge_sdk.export.tasks.anomaly import detection
from edge_sdk.export.tasks.anomaly.options import AnomalyOptions
from edge_sdk.export.training import checkpoint
from edge_sdk.export.trunk.lite0 import stride_of

Floats: TypeAlias = NDArray[np.float32]
Names = tuple[str, int]
"""A measure and the tap it compares."""
CELLS = 200
"""Of each training picture, for the second moments of whitening."""


def trained_on(name: str, run: Path, folder: Path) -> tuple[EfficientAdOptions, AnomalyData]:
    """How pictures came to the model of a run folder, and which, as its checkpoint says. folder: of all sets."""
    with tensors_file.opened(
        run / checkpoint.NAME, kind=checkpoint.FORMAT, what="no checkpoint", hint="Run xs_quality.py first"
    ) as file:
        identity = file.described["identity"]
    training = EfficientAdOptions(
        **{key: json.loads(identity[key]) for key in ("width", "height", "seed", "bit_depth")}
    )
    task = AnomalyOptions(group=SETS[name].group, **{key: float(identity[key]) for key in ("holdout", "quantiles")})
    data = read(SETS[name], folder, training, task)
    if identity["data"] != data_identity(data)["data"]:
        raise SystemExit(f"{run} was trained on other pictures than those of --data")
    return training, data


class Compared:
    """Every map of every measure and tap, each scaled by the quantiles of the pictures kept for that."""

    def __init__(self, model: XsModel, training: Sequence[Picture], store: PictureStore, record: Preprocessing) -> None:
        self._model, self._store, self._record = model, store, record
        wrong: dict[int, list[Tensor]] = {tap: [] for tap in model.layout.taps}
        rng = np.random.default_rng(0)
        for picture in training:
            features, learned = self._seen(picture)
            for tap, kept in wrong.items():
                cells = model.difference(tap, learned, features)[0].flatten(1).T
                kept.append(cells[torch.from_numpy(rng.permutation(len(cells))[:CELLS])])
        self._rotations = {tap: _rotations(torch.cat(kept).double()) for tap, kept in wrong.items()}

    def maps(self, pictures: Sequence[Picture]) -> dict[Names, Floats]:
        """(pictures, h, w) by measure and tap, on the tap's own cells."""
        out: dict[Names, list[Tensor]] = {}
        for picture in pictures:
            features, learned = self._seen(picture)
            for tap in self._model.layout.taps:
                difference = self._model.difference(tap, learned, features)
                out.setdefault(("square", tap), []).append(difference.square().mean(1))
                for name, turn in self._rotations[tap].items():
                    out.setdefault((name, tap), []).append(
                        torch.nn.functional.conv2d(difference, turn[:, :, None, None]).square().mean(1)
                    )
                target = self._model.standardised(tap, features[tap])
                out.setdefault(("cosine", tap), []).append(apart(learned[tap], target))
        return {name: torch.cat(each).numpy() for name, each in out.items()}

    def _seen(self, picture: Picture) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        with torch.inference_mode():
            inputs = torch.from_numpy(self._store.tensor(picture.path, self._record)[None])
            features = self._model.trunk(inputs, self._model.layout.blocks)
            return features, self._model.learned(features)


def _rotations(wrong: Tensor) -> dict[str, Tensor]:
    """Matrices that weight, and that whiten, differences (n, C)."""
    moments = wrong.T @ wrong / len(wrong)
    moments /= moments.diagonal().mean()
    values, directions = torch.linalg.eigh(moments + 1e-3 * torch.eye(len(moments), dtype=torch.float64))
    return {"weighted": moments.float(), "whitened": ((directions * values.rsqrt()) @ directions.T).float()}


def auroc_of(cells: Floats, good: NDArray[np.bool_], share: float) -> float:
    """Image AUROC of maps (pictures, h, w), by the mean of the largest `share` of each."""
    flat = np.sort(cells.reshape(len(cells), -1), axis=1)
    scores = flat[:, -max(1, round(share * flat.shape[1])) :].mean(axis=1, dtype=np.float64)
    return round(detection.auroc(scores[good], scores[~good]), 4)


def placed_by(cells: Floats, good: Floats, tap: int) -> Floats:
    """Maps on the tap's cells, scaled by the quantiles of those of good pictures, on the grid of the whole map."""
    low, high = XsConfig().quantiles
    quantiles = map_quantiles(good, low=low, high=high)
    scaled = (cells - quantiles.low) * quantiles.gain
    ratio = stride_of(tap) // XsConfig().layout.map_stride
    rows, columns = (placing(n, ratio).astype(np.float32) for n in cells.shape[1:])
    return np.asarray(rows @ scaled.astype(np.float32) @ columns.T, np.float32)
