"""Writes the merged fp32 graph of a PDN with seeded random weights like trained ones: speed needs no training.

    python benchmarks/random_pdn.py pdn_s.onnx --size s --side 256 --channels 384 --seed 0

The two quantized layouts, every runtime and every peer can be timed on it. It detects nothing.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from record import options


def write(asked: argparse.Namespace) -> None:
    """The graph at the path asked for."""
    from edge_sdk.export.efficientad.pdn.graph import merged_graph
    from edge_sdk.export.efficientad.pdn.model import random_model
    from edge_sdk.export.efficientad.pdn.network import PdnLayout

    model = random_model(PdnLayout(size=asked.size, channels=asked.channels), seed=asked.seed)
    graph, tail = merged_graph(model, width=asked.side, height=asked.side)
    asked.out.write_bytes(graph)
    print(f"{asked.out}: {len(graph)} bytes, float tail: {', '.join(tail)}")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = options(__doc__)
    out.add_argument("out", type=Path)
    out.add_argument("--size", choices=("s", "m"), default="s")
    out.add_argument("--side", type=int, default=256, help="px of the network input; 288 = 256 with its border")
    out.add_argument("--channels", type=int, default=384, help="of the teacher; the published ones have 384")
    out.add_argument("--seed", type=int, default=0)
    return out


if __name__ == "__main__":
    write(parser().parse_args())
