"""Quality of EfficientAD-XS on the three picture sets, three seeds, beside a nearest-neighbour memory.

One configuration for all sets; what differs is only what a user states: parts that turn, several pictures of a part.
Image AUROC with its interval resampled by part, by class and by part; pixel AUROC and AU-PRO where the set has masks.
A number of steps, not of minutes, so that the figures don't depend on the machine's load; the time is recorded.
Resumable: a (set, seed) that has its JSON is not run again. Needs the pictures of --data (see --help).

    python benchmarks/xs_quality.py --data ../shared/data --out docs/results/xs_quality
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent))
from record import options, write_record

if TYPE_CHECKING:
    from edge_sdk.export.anomaly.data import AnomalyData
    from edge_sdk.export.efficientad.options import EfficientAdOptions
    from edge_sdk.export.tasks.anomaly.options import AnomalyOptions

SIDE = 320
"""px, the product's own for XS."""


@dataclass(frozen=True)
class Stated:
    """What a user of this set would state."""

    folder: str
    any_orientation: bool = False
    group: str | None = None


SETS = {
    "aliens": Stated("aliens"),
    "screw": Stated("mvtec_screw", any_orientation=True),
    "tiles": Stated("magnetic_tile", group="tiles.csv:tile"),
}


PARTS: tuple[Literal["max", "median", "mean"], ...] = ("max", "median", "mean")


def evaluated(scores: NDArray[np.float64], data: AnomalyData, seed: int) -> dict[str, Any]:
    """AUROC with its interval (resampled by part), by kind of defect, and by part: its highest picture, as the product
    counts; the median of its pictures, a vote; and their mean."""
    from edge_sdk.export.tasks.anomaly import detection

    labels = np.array([p.label for p in data.test])
    parts = [p.part for p in data.test]
    good, bad = labels == "good", labels != "good"
    units = {
        "good_units": [parts[i] for i in np.flatnonzero(good)],
        "bad_units": [parts[i] for i in np.flatnonzero(bad)],
    }
    rng = np.random.default_rng(seed)
    pooled = detection.bootstrap_auroc(scores[good], scores[bad], rng=rng, **units)
    by_class = detection.auroc_by_class(scores[good], {str(k): scores[labels == k] for k in np.unique(labels[bad])})
    by_part = {
        how: detection.auroc(
            detection.by_part(scores[good], units["good_units"], how=how)[1],
            detection.by_part(scores[bad], units["bad_units"], how=how)[1],
        )
        for how in PARTS
    }
    return {
        "auroc": pooled.value, "low": pooled.low, "high": pooled.high, "by_part": by_part,
        "by_class": {k: v.value for k, v in by_class.classes.items()}, "mean_of_classes": by_class.mean,
        "pictures": len(labels), "parts": len(set(parts)),
    }  # fmt: skip


def stated_options(stated: Stated, seed: int, asked: argparse.Namespace) -> tuple[EfficientAdOptions, AnomalyOptions]:
    """The one configuration of all sets."""
    from edge_sdk.export.efficientad.options import EfficientAdOptions
    from edge_sdk.export.tasks.anomaly.options import AnomalyOptions

    training = EfficientAdOptions(
        seed=seed, any_orientation=stated.any_orientation, steps=asked.steps, width=asked.side, height=asked.side,
        threads=asked.threads, device="cpu",
    )  # fmt: skip
    return training, AnomalyOptions(group=stated.group, holdout=asked.holdout, quantiles=asked.quantiles)


def read(stated: Stated, folder: Path, training: EfficientAdOptions, task: AnomalyOptions) -> AnomalyData:
    """The pictures of one set as `edge-sdk train` would read them."""
    from edge_sdk.export.tasks.anomaly.task import AnomalyExport
    from edge_sdk.export.tasks.base import Reading

    how = Reading(seed=training.seed, preprocessing=training.preprocessing())
    return AnomalyExport().read(folder / stated.folder, task, how)


def add_configuration(parser: argparse.ArgumentParser) -> None:
    """The arguments that `stated_options` reads; their defaults are those of every record of XS."""
    parser.add_argument("--side", type=int, default=SIDE, help="px of the network's input")
    parser.add_argument("--steps", type=int, default=1500, help="about 15 minutes on one quiet core with bfloat16")
    parser.add_argument("--holdout", type=float, default=0.1, help="share of good parts kept for the threshold")
    parser.add_argument("--quantiles", type=float, default=0.05, help="share of the rest kept for the map's scale")
    parser.add_argument("--threads", type=int, default=2)


def run(name: str, seed: int, asked: argparse.Namespace) -> dict[str, Any]:
    """Trains one model and judges it."""
    from edge_sdk.export import registry
    from edge_sdk.export.tasks.anomaly import evaluate
    from edge_sdk.export.tasks.anomaly.masks import Masks
    from edge_sdk.export.tasks.base import float_variant
    from edge_sdk.export.training import checkpoint
    from edge_sdk.progress import silent
    from edge_sdk.tasks.base import MODEL

    stated, folder, family = SETS[name], asked.runs / f"{name}-{seed}", registry.family("efficientad")
    training, task = stated_options(stated, seed, asked)
    data = read(stated, asked.data, training, task)
    trained_before = (folder / checkpoint.NAME).exists()
    cpu, wall = time.process_time(), time.monotonic()
    planned = family.plan(data, training, folder=folder)
    trained = family.train(data, training, planned=planned, folder=folder, progress=silent)
    seconds = {"steps_s": trained.training_s, "threads": asked.threads}
    if not trained_before:  # else this process did not do all of it
        seconds |= {"cpu_s": time.process_time() - cpu, "wall_s": time.monotonic() - wall}
    exported = family.graphs(trained)
    onnx = exported.graphs[MODEL].onnx
    (folder / "graph.onnx").write_bytes(onnx)
    inputs = evaluate.prepared(data.test, data.store, exported.preprocessing)
    settings: Any = exported.settings
    masks = Masks.of(data.test, settings.grid)
    scored = evaluate.score_all([float_variant(onnx)], inputs, masks=masks, threads=asked.threads)[0]
    return {
        "set": name, "seed": seed, "training": seconds, "facts": trained.summary(),
        "ours": evaluated(scored.scores, data, seed),
        "pixels": None if scored.pixels is None else asdict(scored.pixels),
        "notes": scored.notes,
        "runtime": f"{scored.runtime} {scored.version}",
    }  # fmt: skip


def baseline(name: str, seed: int, asked: argparse.Namespace) -> dict[str, Any]:
    """The memory on two pairs of blocks and two scores; all four are recorded, the best is named the best."""
    from memory import memory_scores

    training, task = stated_options(SETS[name], seed, asked)
    data, record = read(SETS[name], asked.data, training, task), training.preprocessing()
    train, test = ([data.store.tensor(p.path, record)[None] for p in some] for some in (data.train, data.test))
    out = {}
    for blocks in ((4, 10), (10, 14)):
        for kind, scores in memory_scores(train, test, blocks=blocks, seed=seed).items():
            out[f"blocks {blocks[0]} and {blocks[1]}, {kind}"] = evaluated(scores, data, seed)
    return out


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = options(__doc__)
    out.add_argument("--data", type=Path, required=True, help="folder with aliens, mvtec_screw, magnetic_tile")
    out.add_argument("--out", type=Path, default=Path("docs/results/xs_quality"))
    out.add_argument("--runs", type=Path, default=Path("runs/xs_quality"), help="run folders, kept for other figures")
    out.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    out.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    add_configuration(out)
    out.add_argument("--note", action="append", default=[], help="a remark for the record")
    return out


def main() -> None:
    """Runs what is missing, then writes the summary."""
    asked = parser().parse_args()
    for seed in asked.seeds:
        for name in asked.sets:
            file = asked.out / f"{name}-{seed}.json"
            if file.exists():
                continue
            result = run(name, seed, asked)
            if seed == 0:
                result["memory"] = baseline(name, seed, asked)
            write_record(file, result, seeds=[seed], samples=result["ours"]["pictures"], notes=asked.note)
            print(name, seed, json.dumps(result["ours"]), flush=True)


if __name__ == "__main__":
    main()
