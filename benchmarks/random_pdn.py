"""Writes the merged fp32 graph of a PDN with seeded random weights like trained ones: speed needs no training.

    python benchmarks/random_pdn.py OUT.onnx [--size s] [--side 256] [--channels 384] [--seed 0]

The two quantized layouts, every runtime and every peer can be timed on it. It detects nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_sdk.export.efficientad.pdn.graph import merged_graph
from edge_sdk.export.efficientad.pdn.model import random_model
from edge_sdk.export.efficientad.pdn.network import PdnLayout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", choices=("s", "m"), default="s")
    parser.add_argument("--side", type=int, default=256, help="px of the network input; 288 = 256 with its border")
    parser.add_argument("--channels", type=int, default=384, help="of the teacher; the published ones have 384")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    model = random_model(PdnLayout(size=asked.size, channels=asked.channels), seed=asked.seed)
    graph, tail = merged_graph(model, width=asked.side, height=asked.side)
    asked.out.write_bytes(graph)
    print(f"{asked.out}: {len(graph)} bytes, float tail: {', '.join(tail)}")


if __name__ == "__main__":
    main()
