"""An autoencoder on the features of XS's trunk, its training and its maps. Knows no command line and no score.

For xs_autoencoder.py, which says what it is good for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.export.anomaly.data import Picture
from edge_sdk.export.efficientad.xs.features import FeatureBank, Views
from edge_sdk.export.efficientad.xs.model import XsConfig, XsModel
from edge_sdk.export.pictures.store import PictureStore
from edge_sdk.export.training.device import CPU
from edge_sdk.export.trunk.lite0 import BLOCKS, stride_of
from edge_sdk.progress import silent

TAPS = (10, 14)
WIDTH, BOTTLENECK, BATCH, RATE = 192, 64, 32, 1e-3


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


def learned(
    model: XsModel, pictures: Sequence[Picture], store: PictureStore, record: Preprocessing, *, any_orientation: bool,
    steps: int,
) -> Autoencoder:  # fmt: skip
    """Trained on the training views of one product."""
    config, side = XsConfig(), record.width
    augmentation = config.turning if any_orientation else config.fixed
    views = Views(augmentation=augmentation, each=6, seed=0, memory_bytes=1 << 29)
    bank = FeatureBank(pictures, store, record, model.trunk, TAPS, views)
    bank.fill(bank.views, progress=silent)
    torch.manual_seed(0)
    net, rng = Autoencoder(side).to(memory_format=torch.channels_last).train(), np.random.default_rng(0)
    optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        features = bank.features([int(k) for k in rng.integers(0, bank.views, BATCH)])
        wanted = {tap: model.standardised(tap, features[tap]) for tap in TAPS}
        with CPU.autocast(enabled=CPU.bf16):
            rebuilt = net(wanted)
        loss = torch.stack([F.mse_loss(rebuilt[tap].float(), wanted[tap]) for tap in TAPS]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    print("  last loss", round(float(loss.detach()), 3), flush=True)
    return net.eval()


def maps(
    model: XsModel, net: Autoencoder, pictures: Sequence[Picture], store: PictureStore, record: Preprocessing
) -> dict[str, NDArray[np.float32]]:
    """XS's own map (pictures, h, w), and by "against, tap" the autoencoder's on the tap's cells."""
    out: dict[str, list[Tensor]] = {}
    with torch.inference_mode():
        for picture in pictures:
            image = torch.from_numpy(store.tensor(picture.path, record)[None])
            features = model.trunk(image, model.layout.blocks)
            out.setdefault("own", []).append(model.combined(model.maps(features)))
            expected = model.learned(features)
            seen = {tap: model.standardised(tap, features[tap]) for tap in TAPS}
            for tap, rebuilt in net(seen).items():
                out.setdefault(f"teacher, {tap}", []).append((rebuilt - seen[tap]).square().mean(1))
                out.setdefault(f"student, {tap}", []).append((rebuilt - expected[tap]).square().mean(1))
    return {name: torch.cat(each).numpy() for name, each in out.items()}
