"""XS: a student that predicts deeper blocks of a frozen mobile trunk from an early block of the same trunk.

One trunk pass serves teacher and student. Knows no picture file, no training loop and no ONNX. `XsModel.forward` is the
reference that the merged graph must equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.errors import BadUsage
from edge_sdk.export import tensors_file
from edge_sdk.export.anomaly.augment import Augmentation
from edge_sdk.export.efficientad import saved
from edge_sdk.export.efficientad.statistics import ChannelStatistics, MapQuantiles
from edge_sdk.export.trunk.lite0 import BLOCKS, Trunk, cells, stride_of

FORMAT = "edge-sdk.efficientad-xs/1"

SIDE_MULTIPLE = 32
"""Width and height must be multiples of this: then every halving is of an even size, and all cells line up."""

Measure = Literal["square", "weighted", "cosine"]


@dataclass(frozen=True, slots=True)
class Source:
    """One map of a tap. weight: in the sum, after scaling by the map's own quantiles.

    measure: how student and teacher differ. "square": mean over channels of the squared difference. "weighted": the
    same, each direction weighted by how much good parts differ along it, for there the features speak and elsewhere is
    noise (whitening, the opposite, loses: docs/results/xs_choices.json). "cosine": 1 - the cosine of the two.
    """

    tap: int
    measure: Measure = "square"
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class XsLayout:
    """The networks and the maps: all that the graph needs to know. start: block that the student reads.

    stem, width: channels of the student's first convolution and of the others. depth: convolutions after each halving,
    and between two taps of one size. clamp: bound on standardised features. map_stride: pixels per cell of the map.
    top_share: of the map's cells, whose largest are averaged to the score.
    """

    start: int = 2
    taps: tuple[int, ...] = (4, 7, 10, 14)
    stem: int = 64
    width: int = 160
    depth: int = 1
    clamp: float = 8.0
    sources: tuple[Source, ...] = (
        Source(4, "weighted"), Source(7, "weighted"), Source(10, "weighted"), Source(14, "weighted"),
        Source(10, "cosine", 0.5), Source(14, "cosine", 0.5),
    )  # fmt: skip
    map_stride: int = 8
    top_share: float = 0.02

    def __post_init__(self) -> None:
        if list(self.taps) != sorted(set(self.taps)) or not self.start < self.taps[0] <= self.taps[-1] < len(BLOCKS):
            raise BadUsage(f"taps {self.taps} must rise, lie after block {self.start} and before block {len(BLOCKS)}")
        if not self.sources or any(s.tap not in self.taps for s in self.sources):
            raise BadUsage("every map needs a tap that the student predicts, and there must be a map")
        if any(stride_of(s.tap) < self.map_stride for s in self.sources):
            raise BadUsage(f"a map of one cell per {self.map_stride} px can't hold a finer tap")

    @property
    def blocks(self) -> tuple[int, ...]:
        """The trunk blocks whose outputs are used: the student's start, then the taps."""
        return (self.start, *self.taps)

    @property
    def weighted(self) -> tuple[int, ...]:
        """Taps with a map "weighted"."""
        return tuple(sorted({s.tap for s in self.sources if s.measure == "weighted"}))

    def check(self, width: int, height: int) -> None:
        """Raises BadUsage for an input size that this network can't have."""
        if width % SIDE_MULTIPLE or height % SIDE_MULTIPLE or min(width, height) < 2 * SIDE_MULTIPLE:
            raise BadUsage(
                f"XS can't run at {width} x {height}: both sides must be multiples of {SIDE_MULTIPLE}, from "
                f"{2 * SIDE_MULTIPLE} on",
                hint=f"Try {max(2, round(width / 32)) * 32} x {max(2, round(height / 32)) * 32}",
            )

    def grid(self, width: int, height: int) -> tuple[int, int]:
        """Rows and columns of the map."""
        return cells(height, self.map_stride), cells(width, self.map_stride)

    def cells_counted(self, width: int, height: int) -> int:
        """How many cells the score is the mean of: `top_share` of the map, at least one."""
        rows, columns = self.grid(width, height)
        return max(1, round(self.top_share * rows * columns))


@dataclass(frozen=True, slots=True, kw_only=True)
class XsConfig:
    """Everything that is chosen about XS, one configuration for all products.

    fixed, turning: augmentation of parts with a fixed pose, and of parts that lie in any direction. views: per
    picture at most. fresh: new views in each step. weight_views, weight_cells: views per picture, and cells, that the
    weighting of differences comes from. hard_weight, hard_share, hard_from: from that share of the run on, the mean of
    the largest squared differences is added. time_budget_s: where the user states neither steps nor time.
    checkpoint_every_s: what a kill may cost.
    """

    layout: XsLayout = field(default_factory=XsLayout)
    fixed: Augmentation = field(default_factory=lambda: Augmentation(scale=0.03, shift=0.02, light=0.08))
    turning: Augmentation = field(default_factory=lambda: Augmentation(any_orientation=True, light=0.08))
    views: int = 16
    fresh: int = 3
    memory_bytes: int = 1 << 30
    batch: int = 16
    rate: float = 2e-3
    warm_steps: int = 50
    weight_decay: float = 1e-4
    weight_views: int = 3
    weight_cells: int = 20_000
    hard_weight: float = 0.05
    hard_share: float = 0.01
    hard_from: float = 0.3
    quantiles: tuple[float, float] = (0.9, 0.995)
    time_budget_s: float = 720.0
    checkpoint_every_s: float = 20.0


class StudentConv(nn.Module):
    """3x3 convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))

    def folded(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Weight and bias in float64, the batch norm in them: exact, for zero padding comes before both."""
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        gain = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
        weight = self.conv.weight.double() * gain.view(-1, 1, 1, 1)
        bias = norm.bias.double() - norm.running_mean.double() * gain
        return weight.detach().numpy(), bias.detach().numpy()


class Student(nn.Module):
    """From the standardised start block to each tap's standardised channels."""

    def __init__(self, layout: XsLayout) -> None:
        super().__init__()
        self.layout = layout
        self.stem = StudentConv(BLOCKS[layout.start].outputs, layout.stem)
        self.stages = nn.ModuleList()
        self.heads = nn.ModuleList()
        channels, stride = layout.stem, stride_of(layout.start)
        for tap in layout.taps:
            convs: list[StudentConv] = []
            while stride < stride_of(tap):
                convs.append(StudentConv(channels, layout.width, stride=2))
                convs += [StudentConv(layout.width, layout.width) for _ in range(layout.depth)]
                channels, stride = layout.width, stride * 2
            if not convs:
                convs = [StudentConv(layout.width, layout.width) for _ in range(layout.depth)]
            self.stages.append(nn.Sequential(*convs))
            self.heads.append(nn.Conv2d(layout.width, BLOCKS[tap].outputs, 1))

    def forward(self, start: Tensor) -> dict[int, Tensor]:
        x, out = self.stem(start), {}
        for tap, stage, head in zip(self.layout.taps, self.stages, self.heads, strict=True):
            x = stage(x)
            out[tap] = head(x)
        return out


def placing(length: int, ratio: int) -> NDArray[np.float64]:
    """(length * ratio, length) weights of bilinear growth by `ratio`, half-pixel centres, ends repeated.

    Half-pixel, although the trunk pads right and bottom only: trained, it answers a dot at the middle of the cell that
    holds it, whatever the padding says (a test measures it).
    """
    at = np.clip((np.arange(length * ratio) + 0.5) / ratio - 0.5, 0.0, length - 1.0)
    low = np.minimum(at.astype(np.int64), max(length - 2, 0))
    weights = np.zeros((length * ratio, length))
    rows = np.arange(length * ratio)
    weights[rows, low] = 1.0 - (at - low)
    if length > 1:
        weights[rows, low + 1] += at - low
    return weights


class XsModel(nn.Module):
    """Trunk, student, channel statistics, map quantiles: uint8 (N, H, W, 3) to map (N, h, w) and score (N,)."""

    def __init__(self, layout: XsLayout, trunk: Trunk, statistics: Mapping[int, ChannelStatistics]) -> None:
        super().__init__()
        self.layout, self.trunk = layout, trunk
        self.student = Student(layout)
        self.quantiles = tuple(MapQuantiles(low=0.0, high=1.0) for _ in layout.sources)
        self.clamped_channels = {block: statistics[block].clamped for block in layout.blocks}
        for tap in layout.weighted:
            self.register_buffer(f"weights_{tap}", torch.eye(BLOCKS[tap].outputs))
        for block in layout.blocks:
            gain = 1.0 / statistics[block].std
            self.register_buffer(f"gain_{block}", torch.from_numpy(gain).float())
            self.register_buffer(f"shift_{block}", torch.from_numpy(-statistics[block].mean * gain).float())

    def standardised(self, block: int, features: Tensor) -> Tensor:
        """Trunk output of `block`, each channel of mean 0 and spread 1 on the product's pictures, clamped."""
        gain, shift = self.get_buffer(f"gain_{block}"), self.get_buffer(f"shift_{block}")
        scaled = features * gain.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)
        return scaled.clamp(-self.layout.clamp, self.layout.clamp)

    def set_weights(self, tap: int, differences: Tensor) -> None:
        """The weighting of `tap` from differences (n, C) on good cells: their second moments, 1 on average."""
        moments = differences.double().T @ differences.double() / len(differences)
        self.get_buffer(f"weights_{tap}").copy_(moments / moments.diagonal().mean().clamp_min(1e-12))

    def difference(self, tap: int, learned: Mapping[int, Tensor], features: Mapping[int, Tensor]) -> Tensor:
        """(N, C, h, w): what the student got wrong at `tap`."""
        return learned[tap] - self.standardised(tap, features[tap])

    def learned(self, features: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """The student's answers by tap."""
        answers: dict[int, Tensor] = self.student(self.standardised(self.layout.start, features[self.layout.start]))
        return answers

    def maps(self, features: Mapping[int, Tensor]) -> list[Tensor]:
        """One (N, h, w) map per source, on its tap's own cells, before scaling."""
        learned = self.learned(features)
        out = []
        for source in self.layout.sources:
            if source.measure == "cosine":
                out.append(apart(learned[source.tap], self.standardised(source.tap, features[source.tap])))
                continue
            difference = self.difference(source.tap, learned, features)
            if source.measure == "weighted":
                difference = F.conv2d(difference, self.get_buffer(f"weights_{source.tap}")[:, :, None, None])
            out.append(difference.square().mean(dim=1))
        return out

    def combined(self, maps: Sequence[Tensor]) -> Tensor:
        """The map (N, h, w) of all sources: each scaled by its quantiles, brought to one grid, averaged by weight."""
        total = sum(source.weight for source in self.layout.sources)
        out: Tensor | None = None
        for source, cells_, quantiles in zip(self.layout.sources, maps, self.quantiles, strict=True):
            scaled = (cells_ - quantiles.low) * (quantiles.gain * source.weight / total)
            ratio = stride_of(source.tap) // self.layout.map_stride
            rows, columns = (torch.from_numpy(placing(n, ratio)).to(scaled) for n in scaled.shape[1:])
            placed = rows @ scaled @ columns.T
            out = placed if out is None else out + placed
        assert out is not None
        return out

    def reduced(self, cells_: Tensor) -> Tensor:
        """(N,) scores of maps (N, h, w)."""
        flat = cells_.flatten(1)
        count = max(1, round(self.layout.top_share * flat.shape[1]))
        return flat.topk(count, dim=1).values.mean(dim=1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        cells_ = self.combined(self.maps(self.trunk(images, self.layout.blocks)))
        return cells_, self.reduced(cells_)

    def save(self, path: Path, preprocessing: Preprocessing) -> None:
        """One file, everything in it, how pictures came to the model too. Raises CantWrite."""
        described = {
            "layout": asdict(self.layout),
            "quantiles": [asdict(q) for q in self.quantiles],
            "clamped_channels": {str(block): n for block, n in self.clamped_channels.items()},
        }
        saved.save(path, self.state_dict(), kind=FORMAT, described=described, preprocessing=preprocessing)

    @classmethod
    def load(cls, path: Path) -> XsModel:
        """Back from `save`, in eval mode. Raises BadInput."""
        with tensors_file.opened(path, kind=FORMAT, what="not a trained XS model", hint="Train again") as file:
            described, tensors = file.described, file.tensors
            layout = layout_of(described["layout"])
            unit = {
                b: ChannelStatistics(np.zeros(n), np.ones(n), 0) for b in layout.blocks for n in [BLOCKS[b].outputs]
            }
            model = cls(layout, Trunk(layout.taps[-1]), unit)
            if wrong := tensors_file.misfit(tensors, model.state_dict()):
                raise ValueError(wrong)
            model.load_state_dict(tensors)
            model.quantiles = tuple(MapQuantiles(**q) for q in described["quantiles"])
            model.clamped_channels = {int(block): int(n) for block, n in described["clamped_channels"].items()}
        # As in export/training/device.py.
        return model.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload,no-any-return]


def apart(learned: Tensor, target: Tensor) -> Tensor:
    """(N, h, w): 1 - the cosine of two (N, C, h, w) at each cell."""
    dot, mine, theirs = ((a * b).mean(dim=1) for a, b in ((learned, target), (learned, learned), (target, target)))
    return 1.0 - dot / torch.sqrt(mine * theirs + COSINE_FLOOR)


COSINE_FLOOR = 1e-6
"""Under the root: two vectors of zeros are no direction apart, not NaN."""


def layout_of(described: Mapping[str, Any]) -> XsLayout:
    """Back from asdict and JSON."""
    plain = dict(described)
    plain["taps"] = tuple(plain["taps"])
    plain["sources"] = tuple(Source(**source) for source in plain["sources"])
    return XsLayout(**plain)


def new_model(layout: XsLayout, trunk: Trunk, statistics: Mapping[int, ChannelStatistics], *, seed: int) -> XsModel:
    """An untrained model; `seed` draws the student's first weights."""
    torch.manual_seed(seed)
    # As in export/training/device.py.
    return XsModel(layout, trunk, statistics).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
