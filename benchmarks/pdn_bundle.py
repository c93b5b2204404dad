"""Packs a PDN-S bundle with seeded random weights, all variants: speed and start-up need no training.

It detects nothing. Pictures are the shipped toys.

    python benchmarks/pdn_bundle.py runs/pdn_s.edge
"""

from __future__ import annotations

import argparse
from importlib import resources
from pathlib import Path

from edge_sdk import preprocess
from edge_sdk.bundle.manifest import MapGrid, Preprocessing
from edge_sdk.calibration import QuantizeOptions, quantize
from edge_sdk.decision import fixed
from edge_sdk.export.anomaly.feeds import Feeds
from edge_sdk.export.efficientad.pdn.graph import merged_graph
from edge_sdk.export.efficientad.pdn.model import random_model
from edge_sdk.export.efficientad.pdn.network import PdnLayout
from edge_sdk.export.family import FloatGraph
from edge_sdk.export.pack import Parts, pack, provenance
from edge_sdk.export.pictures import read_pictures


def main() -> None:
    """One bundle at the path given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", choices=("s", "m"), default="s")
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--samples", type=int, default=16, help="calibration samples")
    asked = parser.parse_args()
    onnx, tail = merged_graph(random_model(PdnLayout(size=asked.size), seed=0), width=asked.side, height=asked.side)
    record = Preprocessing(width=asked.side, height=asked.side)
    graph = FloatGraph(
        onnx=onnx, preprocessing=record, grid=MapGrid(offset_px=16.5, stride_px=4.0), reduction="highest cell",
        float_tail=tail,
    )  # fmt: skip
    with resources.as_file(resources.files("edge_sdk.export.efficientad").joinpath("aliens")) as folder:
        good = read_pictures(folder).train
        feeds = Feeds(
            good=good[: asked.samples // 2], damaged=good[: asked.samples // 4], foreign=asked.samples // 4,
            folder=None, record=record, seed=0,
        )  # fmt: skip
        quantized = quantize(onnx, feeds, options=QuantizeOptions(keep_fp32=tail))
        pictures = [preprocess.read_rgb8(p.path, bit_depth=None) for p in good[:3]]
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    parts = Parts(
        name=f"random PDN-{asked.size.upper()}", family="efficientad", task="anomaly", graph=graph, quantized=quantized,
        golden=[("good", p) for p in pictures], decisions=(fixed(1.0),), provenance=provenance(seed=0),
    )  # fmt: skip
    with pack(parts, asked.out) as bundle:
        print(f"{bundle.path}: {bundle.size_bytes} bytes, {len(bundle.manifest.graphs)} graphs")


if __name__ == "__main__":
    main()
