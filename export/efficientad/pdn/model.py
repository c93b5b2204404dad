"""What training leaves and the graph is built from: teacher, student, autoencoder, channel statistics, map quantiles.

Knows no loss, no picture file and no ONNX. `PdnModel.forward` is the reference that the merged graph must equal.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.export import tensors_file
from edge_sdk.export.efficientad import saved
from edge_sdk.export.efficientad.pdn.autoencoder import Autoencoder, AutoencoderLayout
from edge_sdk.export.efficientad.pdn.network import Pdn, PdnLayout, normalised
from edge_sdk.export.efficientad.statistics import ChannelStatistics, MapQuantiles, StatisticsSum, map_quantiles

FORMAT = "edge-sdk.efficientad-pdn/1"


class PdnModel(nn.Module):
    """The three networks with their statistics. Input: uint8 (or 0..255 float) NHWC pictures.

    Output: map (N, h, w) and score (N,) = the map's maximum. Computes in the dtype of its weights.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, teacher: Pdn, student: Pdn, autoencoder: Autoencoder, *, statistics: ChannelStatistics | None = None
    ) -> None:
        super().__init__()
        self.teacher, self.student, self.autoencoder = teacher, student, autoencoder
        channels = teacher.layout.channels
        self.register_buffer("mean", torch.zeros(channels, dtype=torch.float64))
        self.register_buffer("std", torch.ones(channels, dtype=torch.float64))
        self.clamped_channels = 0
        self.local = self.overall = MapQuantiles(low=0.0, high=1.0)
        if statistics is not None:
            self.set_statistics(statistics)

    def set_statistics(self, statistics: ChannelStatistics) -> None:
        """The teacher's mean and std, kept in float64 whatever dtype the weights have."""
        self.mean, self.std = (
            torch.from_numpy(values.copy()).to(self.mean.device) for values in (statistics.mean, statistics.std)
        )
        self.clamped_channels = statistics.clamped

    def target(self, pictures: Tensor) -> Tensor:
        """T' of normalised pictures: the teacher's output, per channel of mean 0, std 1 on good parts, no gradient."""
        with torch.no_grad():
            return self.standardised(self.teacher(pictures))

    def standardised(self, features: Tensor) -> Tensor:
        """T' of the teacher's raw outputs (N, C, h, w)."""
        return (features - self.mean.to(features).view(1, -1, 1, 1)) / self.std.to(features).view(1, -1, 1, 1)

    def decoded(self, pictures: Tensor) -> Tensor:
        """A of normalised pictures, on the teacher's grid."""
        grid = self.teacher.layout.grid(pictures.shape[-2], pictures.shape[-1])
        return torch.as_tensor(self.autoencoder(pictures, grid))

    def halves(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """S of normalised pictures: what it says of the teacher, and of the autoencoder."""
        first, second = self.student(pictures).chunk(2, dim=1)
        return first, second

    @torch.no_grad()
    def maps(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """The two maps before scaling, (N, h, w) each: student against teacher, student against autoencoder."""
        x = normalised(pictures, dtype=self.student.convolutions[0].weight.dtype)
        first, second = self.halves(x)
        local = (self.target(x) - first).square().mean(dim=1)
        return local, (self.decoded(x) - second).square().mean(dim=1)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        local, overall = self.maps(pictures)
        whole = 0.5 * (self.local.gain * (local - self.local.low) + self.overall.gain * (overall - self.overall.low))
        return whole, whole.amax(dim=(1, 2))

    def save(self, path: Path, preprocessing: Preprocessing) -> None:
        """One file: weights float32, statistics float64, layouts, quantiles, how pictures came. Raises CantWrite."""
        described = {
            "teacher": asdict(self.teacher.layout),
            "autoencoder": asdict(self.autoencoder.layout),
            "local": asdict(self.local),
            "overall": asdict(self.overall),
            "clamped_channels": self.clamped_channels,
        }
        saved.save(path, self.state_dict(), kind=FORMAT, described=described, preprocessing=preprocessing)

    @classmethod
    def load(cls, path: Path) -> PdnModel:
        """Back from `save`, in eval mode. Raises BadInput."""
        with tensors_file.opened(path, kind=FORMAT, what="not a trained PDN model", hint="Train again") as file:
            described = file.described
            layout = dict(described["teacher"])
            layout["inner"] = tuple(layout["inner"])
            model = networks(PdnLayout(**layout), AutoencoderLayout(**described["autoencoder"]))
            stored = file.tensors
            if wrong := tensors_file.misfit(stored, model.state_dict()):
                raise ValueError(wrong)
            model.load_state_dict(stored)
            model.local, model.overall = (MapQuantiles(**described[name]) for name in ("local", "overall"))
            model.clamped_channels = int(described["clamped_channels"])
        return model.eval()


def networks(teacher: PdnLayout, autoencoder: AutoencoderLayout | None = None) -> PdnModel:
    """The three networks with torch's own initial weights; the student's layout follows from the teacher's."""
    layout = autoencoder or AutoencoderLayout(channels=teacher.channels)
    model = PdnModel(Pdn(teacher), Pdn(teacher.student()), Autoencoder(layout))
    model.teacher.requires_grad_(False)
    return model


@torch.no_grad()
def random_model(teacher: PdnLayout, autoencoder: AutoencoderLayout | None = None, *, seed: int = 0) -> PdnModel:
    """A model that was never trained and has the numbers of one that was, for tests and for measuring speed.

    Activations of size 1, a student that is its teacher with 10 % noise, statistics and quantiles of its own outputs.
    """
    rng = np.random.default_rng(seed)
    model = networks(teacher, autoencoder).eval()
    for module in (model.teacher, model.autoencoder):
        for weight in module.parameters():
            weight.copy_(_he(tuple(weight.shape), rng))
    pictures = torch.from_numpy(_smooth_noise(rng, 3, 256))
    statistics = StatisticsSum(teacher.channels)
    statistics.add(model.teacher(normalised(pictures)))
    model.set_statistics(statistics.result())
    _student_like_its_teacher(model, rng)
    local, overall = (m.numpy() for m in model.maps(pictures))
    model.local, model.overall = map_quantiles(local), map_quantiles(overall)
    return model


def _he(shape: tuple[int, ...], rng: np.random.Generator) -> Tensor:
    spread = np.sqrt(2.0 / np.prod(shape[1:])) if len(shape) > 1 else 0.1
    return torch.from_numpy(rng.normal(0.0, spread, shape).astype(np.float32))


def _smooth_noise(rng: np.random.Generator, count: int, side: int) -> NDArray[np.uint8]:
    """Noise at four scales, uint8 (count, side, side, 3)."""
    total = np.zeros((count, side, side, 3))
    for scale in (1, 4, 16, 64):
        cells = rng.normal(0.0, 20.0, (count, side // scale, side // scale, 3))
        total += cells.repeat(scale, axis=1).repeat(scale, axis=2)
    return np.clip(np.rint(total + 118.0), 0, 255).astype(np.uint8)


def _student_like_its_teacher(model: PdnModel, rng: np.random.Generator) -> None:
    """Copies the teacher with relative noise; widths that only the student has (its second half) are drawn anew."""
    last = model.student.convolutions[-1]
    channels = model.teacher.layout.channels
    for weight, theirs in zip(model.student.parameters(), model.teacher.parameters(), strict=True):
        weight.copy_(_he(tuple(weight.shape), rng))
        out = len(theirs)
        noisy = theirs * (1.0 + 0.1 * torch.from_numpy(rng.normal(size=tuple(theirs.shape))))
        if weight.ndim == 1:
            weight[:out] = theirs
            continue
        into = theirs.shape[1]
        weight[:out, :into] = noisy
        weight[:out, into:] *= 0.1
    std, mean = model.std.float(), model.mean.float()
    weight, bias = last.parameters()
    weight[:channels] /= std.view(-1, 1, 1, 1)
    bias[:channels] = (bias[:channels] - mean) / std
