"""Packs a PDN-S bundle with seeded random weights, all variants: speed and start-up need no training.

It detects nothing. Pictures are the shipped toys.

    python benchmarks/pdn_bundle.py runs/pdn_s.edge
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from record import options


def write(asked: argparse.Namespace) -> None:
    """The bundle at the path asked for."""
    from importlib import resources

    from edge_sdk.bundle.manifest import Preprocessing
    from edge_sdk.decision.threshold import fixed
    from edge_sdk.export.anomaly.samples import AnomalySamples
    from edge_sdk.export.calibrating import quantized
    from edge_sdk.export.efficientad import INPUT
    from edge_sdk.export.efficientad.pdn.graph import RAW_MAPS, REDUCTION, merged_graph
    from edge_sdk.export.efficientad.pdn.model import random_model
    from edge_sdk.export.efficientad.pdn.network import PdnLayout
    from edge_sdk.export.family import Exported, FloatGraph
    from edge_sdk.export.golden_pictures import sample
    from edge_sdk.export.pack import Parts, pack, provenance
    from edge_sdk.export.tasks.anomaly.pictures import read_pictures
    from edge_sdk.export.tasks.anomaly.task import AnomalyExport
    from edge_sdk.export.tasks.base import Reading
    from edge_sdk.tasks.anomaly.detector import AnomalySettings
    from edge_sdk.tasks.base import MODEL

    layout, record = PdnLayout(size=asked.size), Preprocessing(width=asked.side, height=asked.side)
    onnx, tail = merged_graph(random_model(layout, seed=0), width=asked.side, height=asked.side)
    graph = FloatGraph(onnx=onnx, keep_fp32=tail, output_correction=RAW_MAPS)
    with resources.as_file(resources.files("edge_sdk.export.efficientad").joinpath("aliens")) as folder:
        pictures = read_pictures(folder, how=Reading(preprocessing=record))
        good, store = pictures.train, pictures.store
        samples = AnomalySamples(
            input=INPUT, good=good[: asked.samples // 2], damaged=good[: asked.samples // 4],
            foreign=asked.samples // 4, folder=None, record=record, seed=0, store=store,
        )  # fmt: skip
        made = quantized(graph, samples)
        golden = [sample("good", store.source(picture.path, record)) for picture in good[:3]]
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    parts = Parts(
        name=f"random PDN-{asked.size.upper()}", family="efficientad", task="anomaly", quantized={MODEL: made},
        exported=Exported(
            graphs={MODEL: graph}, settings=AnomalySettings(grid=layout.map_grid(), reduction=REDUCTION),
            preprocessing=record,
        ),
        golden=golden, tolerances=AnomalyExport().tolerances, records=(fixed(1.0),), provenance=provenance(seed=0),
    )  # fmt: skip
    with pack(parts, asked.out) as bundle:
        print(f"{bundle.path}: {bundle.size_bytes} bytes, {len(bundle.manifest.graphs)} graphs")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = options(__doc__)
    out.add_argument("out", type=Path)
    out.add_argument("--size", choices=("s", "m"), default="s")
    out.add_argument("--side", type=int, default=256)
    out.add_argument("--samples", type=int, default=16, help="calibration samples")
    return out


if __name__ == "__main__":
    write(parser().parse_args())
