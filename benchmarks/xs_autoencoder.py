"""Whether XS should have the method's global branch, an autoencoder in feature space: image AUROC without and with it.

Uses the run folders that xs_quality.py left. On the frozen trunk's taps 10 and 14 of the training views an autoencoder
with a bottleneck of one cell is trained; what it can't rebuild of a test picture is a map more, scaled by its own
quantiles like every map: "teacher" against the trunk's features, "student" against what XS's student expects of them.

    python benchmarks/xs_autoencoder.py --data ../shared/data --runs runs/xs_quality
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from record import Rows, options, write_record
from xs_quality import SETS

WEIGHTS = (0.1, 0.25, 0.5, 1.0)
"""Of the autoencoder's map beside XS's own, both scaled by their quantiles."""


def measure(name: str, asked: argparse.Namespace) -> dict[str, Any]:
    """AUROC of XS alone, of each map of the autoencoder alone, and of XS with the mean of an autoencoder's two maps."""
    from feature_autoencoder import TAPS, learned, maps
    from xs_maps import auroc_of, placed_by, trained_on

    from edge_sdk.export.efficientad import saved
    from edge_sdk.export.efficientad.xs.model import XsConfig, XsModel

    run = asked.runs / f"{name}-0"
    training, data = trained_on(name, run, asked.data)
    parts, store, record = data.shares, data.store, training.preprocessing()
    model = XsModel.load(run / saved.MODEL)
    net = learned(model, parts.training, store, record, any_orientation=SETS[name].any_orientation, steps=asked.steps)
    scale, test = (maps(model, net, pictures, store, record) for pictures in (parts.scaling, data.test))
    good = np.array([p.label == "good" for p in data.test])
    placed = {
        key: cells if key == "own" else placed_by(cells, scale[key], int(key[-2:])) for key, cells in test.items()
    }

    share = XsConfig().layout.top_share
    found: dict[str, Any] = {
        "pictures": len(data.test),
        "alone": {key: auroc_of(cells, good, share) for key, cells in placed.items()},
    }
    for against in ("teacher", "student"):
        branch = np.mean([placed[f"{against}, {tap}"] for tap in TAPS], axis=0)
        found[f"with {against}"] = {f"{w:g}": auroc_of(placed["own"] + w * branch, good, share) for w in WEIGHTS}
    return found


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = options(__doc__)
    out.add_argument("--data", type=Path, required=True)
    out.add_argument("--runs", type=Path, default=Path("runs/xs_quality"))
    out.add_argument("--out", type=Path, default=Path("docs/results/xs_autoencoder.json"))
    out.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    out.add_argument("--steps", type=int, default=600, help="of the autoencoder")
    out.add_argument("--threads", type=int, default=1)
    return out


def main() -> None:
    """One record of all sets."""
    asked = parser().parse_args()
    import torch

    torch.set_num_threads(asked.threads)
    rows, found = Rows(asked.out, asked), {}
    for name in asked.sets:
        found[name] = rows.row(name, lambda name=name: measure(name, asked))
        print(name, found[name], flush=True)
    write_record(asked.out, found, seeds=[0], samples=sum(one["pictures"] for one in found.values()))
    rows.discard()


if __name__ == "__main__":
    main()
