"""Why XS's maps are what they are: image AUROC of each way to compare student and teacher, alone and together.

Uses the run folders that xs_quality.py left, so nothing is trained again: what is compared here follows the training.
"whitened" is the opposite of "weighted": each direction divided by how much good parts differ along it.

    python benchmarks/xs_choices.py --data ../shared/data --runs runs/xs_quality --out docs/results/xs_choices.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent))
from record import write_record
from xs_quality import SETS

from edge_sdk.export import tensors_file
from edge_sdk.export.anomaly.inputs import prepared
from edge_sdk.export.efficientad import saved
from edge_sdk.export.efficientad.statistics import map_quantiles
from edge_sdk.export.efficientad.trunk import stride_of
from edge_sdk.export.efficientad.xs.model import XsConfig, XsModel, apart, placing
from edge_sdk.export.efficientad.xs.train import preprocessing
from edge_sdk.export.family import Picture, PictureSet, TrainOptions
from edge_sdk.export.pictures import data_digest, read_pictures, shares
from edge_sdk.export.training import checkpoint
from edge_sdk.quality import detection

Floats: TypeAlias = NDArray[np.float32]
Names = tuple[str, int]
"""A measure and the tap it compares."""

CELLS = 200
"""Of each training picture, for the second moments of whitening."""

TOGETHER: Mapping[str, Mapping[str, tuple[float, float, float, float]]] = {
    "square": {"square": (1, 1, 1, 1)},
    "whitened": {"whitened": (1, 1, 1, 1)},
    "weighted": {"weighted": (1, 1, 1, 1)},
    "square, half cosine": {"square": (1, 1, 1, 1), "cosine": (0, 0, 0.5, 0.5)},
    "weighted, half cosine (chosen)": {"weighted": (1, 1, 1, 1), "cosine": (0, 0, 0.5, 0.5)},
    "weighted, full cosine": {"weighted": (1, 1, 1, 1), "cosine": (0, 0, 1, 1)},
    "weighted without tap 4, half cosine": {"weighted": (0, 1, 1, 1), "cosine": (0, 0, 0.5, 0.5)},
}
"""Weights of the four taps, by measure."""
SHARES = (0.006, 0.0125, 0.02, 0.04)


class Compared:
    """Every map of every measure and tap, each scaled by the quantiles of the pictures kept for that."""

    def __init__(self, model: XsModel, training: Sequence[Picture], record: Any) -> None:
        self._model, self._record = model, record
        wrong: dict[int, list[Tensor]] = {tap: [] for tap in model.layout.taps}
        rng = np.random.default_rng(0)
        for picture in training:
            features, learnt = self._seen(picture)
            for tap, kept in wrong.items():
                cells = model.difference(tap, learnt, features)[0].flatten(1).T
                kept.append(cells[torch.from_numpy(rng.permutation(len(cells))[:CELLS])])
        self._turns = {tap: _turns(torch.cat(kept).double()) for tap, kept in wrong.items()}

    def maps(self, pictures: Sequence[Picture]) -> dict[Names, Floats]:
        """(pictures, h, w) by measure and tap, on the tap's own cells."""
        out: dict[Names, list[Tensor]] = {}
        for picture in pictures:
            features, learnt = self._seen(picture)
            for tap in self._model.layout.taps:
                difference = self._model.difference(tap, learnt, features)
                out.setdefault(("square", tap), []).append(difference.square().mean(1))
                for name, turn in self._turns[tap].items():
                    out.setdefault((name, tap), []).append(
                        torch.nn.functional.conv2d(difference, turn[:, :, None, None]).square().mean(1)
                    )
                target = self._model.standardised(tap, features[tap])
                out.setdefault(("cosine", tap), []).append(apart(learnt[tap], target))
        return {name: torch.cat(each).numpy() for name, each in out.items()}

    def _seen(self, picture: Picture) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
        with torch.inference_mode():
            inputs = torch.from_numpy(prepared(picture, self._record)[None])
            features = self._model.trunk(inputs, self._model.layout.blocks)
            return features, self._model.learnt(features)


def _turns(wrong: Tensor) -> dict[str, Tensor]:
    """Matrices that weight, and that whiten, differences (n, C)."""
    moments = wrong.T @ wrong / len(wrong)
    moments /= moments.diagonal().mean()
    values, directions = torch.linalg.eigh(moments + 1e-3 * torch.eye(len(moments), dtype=torch.float64))
    return {"weighted": moments.float(), "whitened": ((directions * values.rsqrt()) @ directions.T).float()}


def measure(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """AUROC of each map alone, and of each mixture at several shares of the map."""
    stated = SETS[name]
    data = read_pictures(arguments.data / stated.folder, group=stated.group)
    run = arguments.runs / f"{name}-0"
    options = trained_options(run, data)
    parts = shares(data.train, options)
    model = XsModel.load(run / saved.MODEL)
    compared = Compared(model, parts.training, preprocessing(options))
    scale, test = compared.maps(parts.scaling), compared.maps(data.test)
    placed = {names: placed_by(cells, scale[names], names[1]) for names, cells in test.items()}
    good = np.array([p.label == "good" for p in data.test])

    def mixed(weights: Mapping[str, tuple[float, ...]]) -> Floats:
        taps = model.layout.taps
        terms = [w * placed[m, tap] for m, each in weights.items() for tap, w in zip(taps, each, strict=True) if w]
        return np.asarray(sum(terms) / sum(sum(each) for each in weights.values()), np.float32)

    alone = {
        f"{measure}, tap {tap}": auroc_of(cells, good, XsConfig().layout.top_share)
        for (measure, tap), cells in placed.items()
    }
    together = {
        label: {f"{s:.2%} of the map": auroc_of(mixed(w), good, s) for s in SHARES} for label, w in TOGETHER.items()
    }
    return {"pictures": len(data.test), "alone": alone, "together": together}


def trained_options(run: Path, data: PictureSet) -> TrainOptions:
    """How pictures came to the model of a run folder, and which, as its checkpoint says."""
    with tensors_file.opened(
        run / checkpoint.NAME, kind=checkpoint.FORMAT, what="no checkpoint", do="Run xs_quality.py first"
    ) as file:
        told = file.described["identity"]
    if told["data"] != data_digest(data)[:16]:
        raise SystemExit(f"{run} was trained on other pictures than those of --data")
    names = ("width", "height", "seed", "holdout", "quantiles", "bit_depth")
    return TrainOptions(**{name: json.loads(told[name]) for name in names})


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


def main() -> None:
    """One record of all sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/xs_quality"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/xs_choices.json"))
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found = {name: measure(name, arguments) for name in SETS}
    write_record(
        arguments.out, found, seeds=[0], samples=sum(one["pictures"] for one in found.values()),
        notes=["The choice was made by looking at these figures: seed 0 of all sets is no test of it."],
    )  # fmt: skip
    for name, one in found.items():
        for label, by_share in one["together"].items():
            print(name, label, by_share, flush=True)


if __name__ == "__main__":
    main()
