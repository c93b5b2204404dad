"""Quality of EfficientAD-XS on the three picture sets, three seeds, beside a nearest-neighbour memory.

One configuration for all sets; what differs is only what a user states: parts that turn, several pictures of a part.
Image AUROC with its interval resampled by part, by class and by part; pixel AUROC and AU-PRO where the set has masks.
A number of steps, not of minutes, so that the figures don't depend on the machine's load; the time they took is told.
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
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent))
from memory import memory_scores
from record import write_record

from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.export import evaluate, registry
from edge_sdk.export.efficientad.xs.model import XsConfig
from edge_sdk.export.family import PictureSet, TrainOptions
from edge_sdk.export.masks import Masks
from edge_sdk.export.pack import float_variant
from edge_sdk.export.pictures import read_pictures
from edge_sdk.export.training import checkpoint
from edge_sdk.quality import detection


@dataclass(frozen=True)
class Stated:
    """What a user of this set would state."""

    folder: str
    turns: bool = False
    group: str | None = None


SETS = {
    "aliens": Stated("aliens"),
    "screw": Stated("mvtec_screw", turns=True),
    "tiles": Stated("magnetic_tile", group="tiles.csv:tile"),
}


PARTS: tuple[Literal["max", "median", "mean"], ...] = ("max", "median", "mean")


def judged(scores: NDArray[np.float64], data: PictureSet, seed: int) -> dict[str, Any]:
    """AUROC with its interval (resampled by part), by kind of defect, and by part: its highest picture, as the product
    counts; the median of its pictures, a vote; and their mean."""
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


def training_options(stated: Stated, seed: int, arguments: argparse.Namespace) -> TrainOptions:
    """The one configuration of all sets."""
    return TrainOptions(
        seed=seed,
        turns=stated.turns,
        steps=arguments.steps,
        width=arguments.side,
        height=arguments.side,
        holdout=arguments.holdout,
        quantiles=arguments.quantiles,
        threads=arguments.threads,
    )


def add_configuration(parser: argparse.ArgumentParser) -> None:
    """The arguments that `training_options` reads; their defaults are those of every record of XS."""
    parser.add_argument("--side", type=int, default=XsConfig().side, help="px of the network's input")
    parser.add_argument("--steps", type=int, default=1500, help="about 15 minutes on one quiet core with bfloat16")
    parser.add_argument("--holdout", type=float, default=0.1, help="share of good parts kept for the threshold")
    parser.add_argument("--quantiles", type=float, default=0.05, help="share of the rest kept for the map's scale")
    parser.add_argument("--threads", type=int, default=2)


def run(name: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Trains one model and judges it."""
    stated = SETS[name]
    data = read_pictures(arguments.data / stated.folder, group=stated.group)
    family = registry.family("efficientad")
    folder = arguments.runs / f"{name}-{seed}"
    trained_before = (folder / checkpoint.NAME).exists()
    cpu, wall = time.process_time(), time.monotonic()
    trained = family.train(data, training_options(stated, seed, arguments), folder=folder, progress=_quiet)
    seconds = {"steps_s": trained.training_s, "threads": arguments.threads}
    if not trained_before:  # else this process did not do all of it
        seconds |= {"cpu_s": time.process_time() - cpu, "wall_s": time.monotonic() - wall}
    graph = family.graph(trained)
    inputs = evaluate.prepared(data.test, graph.preprocessing)
    masks = Masks.of(data.test, graph.grid)
    scored = evaluate.score_all([float_variant(graph)], inputs, masks=masks, threads=arguments.threads)[0]
    (folder / "graph.onnx").write_bytes(graph.onnx)
    return {
        "set": name, "seed": seed, "training": seconds, "facts": trained.told(),
        "ours": judged(scored.scores, data, seed), "pixels": None if scored.pixels is None else asdict(scored.pixels),
        "notes": scored.notes,
        "runtime": f"{scored.runtime} {scored.version}",
    }  # fmt: skip


def baseline(name: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """The memory on two pairs of blocks and two scores; all four are told, the best is called the best."""
    data = read_pictures(arguments.data / SETS[name].folder, group=SETS[name].group)
    record = Preprocessing(width=arguments.side, height=arguments.side)
    train, test = ([p.tensor for p in evaluate.prepared(some, record)] for some in (data.train, data.test))
    out = {}
    for blocks in ((4, 10), (10, 14)):
        for kind, scores in memory_scores(train, test, blocks=blocks, seed=seed).items():
            out[f"blocks {blocks[0]} and {blocks[1]}, {kind}"] = judged(scores, data, seed)
    return out


def _quiet(done: int, total: int, note: str) -> None:
    pass


def main() -> None:
    """Runs what is missing, then writes the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with aliens, mvtec_screw, magnetic_tile")
    parser.add_argument("--out", type=Path, default=Path("docs/results/xs_quality"))
    parser.add_argument(
        "--runs", type=Path, default=Path("runs/xs_quality"), help="run folders, kept for other figures"
    )
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    add_configuration(parser)
    parser.add_argument("--note", action="append", default=[], help="a remark for the record")
    arguments = parser.parse_args()
    for seed in arguments.seeds:
        for name in arguments.sets:
            file = arguments.out / f"{name}-{seed}.json"
            if file.exists():
                continue
            result = run(name, seed, arguments)
            if seed == 0:
                result["memory"] = baseline(name, seed, arguments)
            write_record(file, result, seeds=[seed], samples=result["ours"]["pictures"], notes=arguments.note)
            print(name, seed, json.dumps(result["ours"]), flush=True)


if __name__ == "__main__":
    main()
