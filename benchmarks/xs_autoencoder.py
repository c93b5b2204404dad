"""Whether XS should have the method's global branch, an autoencoder in feature space: image AUROC without and with it.

Uses the run folders that xs_quality.py left. On the frozen trunk's taps 10 and 14 of the training views an autoencoder
with a bottleneck of one cell is trained; what it can't rebuild of a test picture is a map more, scaled by its own
quantiles like every map: "teacher" against the trunk's features, "student" against what XS's student expects of them.

    python benchmarks/xs_autoencoder.py --data ../shared/data --runs runs/xs_quality
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent))
from record import write_record
from xs_choices import Floats, auroc_of, placed_by, trained_options
from xs_quality import SETS

from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.export.anomaly.inputs import prepared
from edge_sdk.export.efficientad import saved
from edge_sdk.export.efficientad.trunk import BLOCKS, stride_of
from edge_sdk.export.efficientad.xs.features import FeatureBank, Views
from edge_sdk.export.efficientad.xs.model import XsConfig, XsModel
from edge_sdk.export.efficientad.xs.train import BF16_FLAGS, preprocessing
from edge_sdk.export.family import Picture, TrainOptions
from edge_sdk.export.pictures import read_pictures, shares
from edge_sdk.progress import silent
from edge_sdk.runtimes import probe

TAPS = (10, 14)
WIDTH, BOTTLENECK, BATCH, RATE = 192, 64, 32, 1e-3
WEIGHTS = (0.1, 0.25, 0.5, 1.0)
"""Of the autoencoder's map beside XS's own, both scaled by their quantiles."""


class Autoencoder(nn.Module):
    """Taps 10 (stride 16) and 14 (stride 32) of a square input to one cell of BOTTLENECK channels, and back."""

    def __init__(self, side: int) -> None:
        super().__init__()
        fine, coarse = (BLOCKS[tap].outputs for tap in TAPS)
        half = side // stride_of(TAPS[1]) // 2
        self.encode = nn.Sequential(
            _conv(fine + coarse, WIDTH), _conv(WIDTH, WIDTH, stride=2), nn.Conv2d(WIDTH, BOTTLENECK, half)
        )
        self.grow = nn.Sequential(nn.ConvTranspose2d(BOTTLENECK, WIDTH, half), nn.BatchNorm2d(WIDTH), nn.ReLU())
        self.coarse, self.fine = _conv(WIDTH, WIDTH), _conv(WIDTH, WIDTH)
        self.to_coarse, self.to_fine = nn.Conv2d(WIDTH, coarse, 1), nn.Conv2d(WIDTH, fine, 1)

    def forward(self, taps: Mapping[int, Tensor]) -> dict[int, Tensor]:
        fine, coarse = (taps[tap] for tap in TAPS)
        seen = torch.cat([F.adaptive_avg_pool2d(fine, coarse.shape[-2:]), coarse], dim=1)
        x = self.coarse(_grown(self.grow(self.encode(seen)), coarse))
        return {TAPS[1]: self.to_coarse(x), TAPS[0]: self.to_fine(self.fine(_grown(x, fine)))}


def _conv(inputs: int, outputs: int, *, stride: int = 1) -> nn.Sequential:
    layers = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    return nn.Sequential(*layers)


def _grown(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


def learnt(model: XsModel, pictures: Sequence[Picture], turns: bool, side: int, steps: int) -> Autoencoder:
    """Trained on the training views of one product."""
    config, record = XsConfig(), preprocessing_of(side)
    views = Views(augmentation=config.turning if turns else config.fixed, each=6, seed=0, memory_bytes=1 << 29)
    bank = FeatureBank(pictures, record, model.trunk, TAPS, views)
    bank.fill(bank.views, progress=silent)
    torch.manual_seed(0)
    net, rng = Autoencoder(side).to(memory_format=torch.channels_last).train(), np.random.default_rng(0)
    bf16 = bool(BF16_FLAGS & set(probe.cpu().flags))
    optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        features = bank.features([int(k) for k in rng.integers(0, bank.views, BATCH)])
        wanted = {tap: model.standardised(tap, features[tap]) for tap in TAPS}
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            rebuilt = net(wanted)
        loss = torch.stack([F.mse_loss(rebuilt[tap].float(), wanted[tap]) for tap in TAPS]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    print("  last loss", round(float(loss.detach()), 3), flush=True)
    return net.eval()


def preprocessing_of(side: int) -> Preprocessing:
    """How pictures come to XS at that side."""
    return preprocessing(TrainOptions(width=side, height=side))


def maps(model: XsModel, net: Autoencoder, pictures: Sequence[Picture], side: int) -> dict[str, Floats]:
    """XS's own map (pictures, h, w), and by "against, tap" the autoencoder's on the tap's cells."""
    out: dict[str, list[Tensor]] = {}
    with torch.inference_mode():
        for picture in pictures:
            features = model.trunk(
                torch.from_numpy(prepared(picture, preprocessing_of(side))[None]), model.layout.blocks
            )
            out.setdefault("own", []).append(model.combined(model.maps(features)))
            expected = model.learnt(features)
            seen = {tap: model.standardised(tap, features[tap]) for tap in TAPS}
            for tap, rebuilt in net(seen).items():
                out.setdefault(f"teacher, {tap}", []).append((rebuilt - seen[tap]).square().mean(1))
                out.setdefault(f"student, {tap}", []).append((rebuilt - expected[tap]).square().mean(1))
    return {name: torch.cat(each).numpy() for name, each in out.items()}


def measure(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """AUROC of XS alone, of each map of the autoencoder alone, and of XS with the mean of an autoencoder's two maps."""
    stated, run = SETS[name], arguments.runs / f"{name}-0"
    data = read_pictures(arguments.data / stated.folder, group=stated.group)
    options = trained_options(run, data)
    parts, (side, _) = shares(data.train, options), options.sides
    model = XsModel.load(run / saved.MODEL)
    net = learnt(model, parts.training, stated.turns, side, arguments.steps)
    scale, test = (maps(model, net, pictures, side) for pictures in (parts.scaling, data.test))
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


def main() -> None:
    """One record of all sets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/xs_quality"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/xs_autoencoder.json"))
    parser.add_argument("--steps", type=int, default=600, help="of the autoencoder")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    found: dict[str, dict[str, Any]] = {}
    for name in SETS:
        found[name] = measure(name, arguments)
        print(name, found[name], flush=True)
    write_record(arguments.out, found, seeds=[0], samples=sum(one["pictures"] for one in found.values()))


if __name__ == "__main__":
    main()
