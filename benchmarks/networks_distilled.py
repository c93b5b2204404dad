"""Weights for our own vision transformer and MobileNetV3, which learn EfficientNet-Lite0's logits on photographs.

A few CPU-minutes each, so that their decisions depend on the picture; no accuracy on ImageNet is claimed. Seeded and
resumable: a checkpoint a minute, from which the run goes on as if it had not been stopped.

    python benchmarks/networks_distilled.py --work DIR --data ../shared/data --network vit
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from record import options

NAMES, STEPS = ("mobilenetv3", "vit"), 400


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = options(__doc__)
    out.add_argument("--work", type=Path, required=True, help="where wheels and weights are kept")
    out.add_argument("--data", type=Path, required=True, help="the folder that has bsds500")
    out.add_argument("--network", nargs="+", choices=NAMES, default=list(NAMES))
    out.add_argument("--steps", type=int, default=STEPS, help="of 32 crops")
    out.add_argument("--seed", type=int, default=0)
    return out


def main() -> None:
    """Trains what is missing."""
    asked = parser().parse_args()
    import torch
    from networks_distilling import distilled

    torch.set_num_threads(1)
    asked.work.mkdir(parents=True, exist_ok=True)
    for name in asked.network:
        print(distilled(name, asked.work, asked.data, steps=asked.steps, seed=asked.seed))


if __name__ == "__main__":
    main()
