"""Why XS's maps are what they are: image AUROC of each way to compare student and teacher, alone and together.

Uses the run folders that xs_quality.py left, so nothing is trained again: what is compared here follows the training.
"whitened" is the opposite of "weighted": each direction divided by how much good parts differ along it.

    python benchmarks/xs_choices.py --data ../shared/data --runs runs/xs_quality --out docs/results/xs_choices.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from record import Rows, options, write_record
from xs_quality import SETS

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


def measure(name: str, asked: argparse.Namespace) -> dict[str, Any]:
    """AUROC of each map alone, and of each mixture at several shares of the map."""
    from xs_maps import Compared, Floats, auroc_of, placed_by, trained_on

    from edge_sdk.export.efficientad import saved
    from edge_sdk.export.efficientad.xs.model import XsConfig, XsModel

    run = asked.runs / f"{name}-0"
    training, data = trained_on(name, run, asked.data)
    model = XsModel.load(run / saved.MODEL)
    compared = Compared(model, data.shares.training, data.store, training.preprocessing())
    scale, test = compared.maps(data.shares.scaling), compared.maps(data.test)
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


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = options(__doc__)
    out.add_argument("--data", type=Path, required=True)
    out.add_argument("--runs", type=Path, default=Path("runs/xs_quality"))
    out.add_argument("--out", type=Path, default=Path("docs/results/xs_choices.json"))
    out.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    out.add_argument("--threads", type=int, default=1)
    return out


def main() -> None:
    """One record of all sets."""
    asked = parser().parse_args()
    import torch

    torch.set_num_threads(asked.threads)
    rows = Rows(asked.out, asked)
    found = {name: rows.row(name, lambda name=name: measure(name, asked)) for name in asked.sets}
    write_record(
        asked.out, found, seeds=[0], samples=sum(one["pictures"] for one in found.values()),
        notes=["The choice was made by looking at these figures: seed 0 of all sets is no test of it."],
    )  # fmt: skip
    rows.discard()
    for name, one in found.items():
        for label, by_share in one["together"].items():
            print(name, label, by_share, flush=True)


if __name__ == "__main__":
    main()
