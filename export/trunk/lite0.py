"""EfficientNet-Lite0, stem and blocks 0 to 14, norms folded, frozen: the features that XS is taught. Knows no product.

Architecture: Tan and Le 2019, TensorFlow's EfficientNet-Lite (no squeeze-excite, ReLU6). The shipped weights are half
precision; the network computes in float32 with exactly those values, so training, graph and device agree.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_sdk.errors import BadInput
from edge_sdk.export import tensors_file

SHIPPED = Path(__file__).resolve().parent / "weights" / "efficientnet_lite0_trunk.safetensors"
"""The weights that ship with the product; provenance lies beside them as .json."""

MEAN, SPREAD = 127.0, 128.0
"""The trunk reads (x - 127) / 128 of x = 0..255 RGB."""

STEM_CHANNELS = 32
BATCH_NORM_EPSILON = 1e-3


@dataclass(frozen=True, slots=True)
class Block:
    """One inverted residual: 1x1 to expansion * inputs, depthwise kernel x kernel, 1x1 to outputs."""

    kernel: int
    stride: int
    expansion: int
    inputs: int
    outputs: int

    @property
    def residual(self) -> bool:
        """Whether the block's input is added to its output."""
        return self.stride == 1 and self.inputs == self.outputs


def _blocks() -> tuple[Block, ...]:
    rows = (
        (3, 1, 1, 16, 1),
        (3, 2, 6, 24, 2),
        (5, 2, 6, 40, 2),
        (3, 2, 6, 80, 3),
        (5, 1, 6, 112, 3),
        (5, 2, 6, 192, 4),
    )
    blocks: list[Block] = []
    inputs = STEM_CHANNELS
    for kernel, stride, expansion, outputs, repeats in rows:
        for i in range(repeats):
            blocks.append(Block(kernel, stride if i == 0 else 1, expansion, inputs, outputs))
            inputs = outputs
    return tuple(blocks)


BLOCKS = _blocks()
"""Blocks 0 to 14."""


def stride_of(block: int) -> int:
    """Input pixels per cell of block `block`'s output."""
    return 2 * int(np.prod([b.stride for b in BLOCKS[: block + 1]]))


def cells(pixels: int, stride: int) -> int:
    """Cells along an axis of `pixels` at a power-of-two `stride`: each halving rounds up."""
    while stride > 1:
        pixels, stride = -(-pixels // 2), stride // 2
    return pixels


def same_pads(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after an axis of `size` in TensorFlow's "same" convolution: what is odd goes after."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class SameConv(nn.Module):
    """Convolution with TensorFlow's "same" padding, for the size that comes in."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs // groups, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.kernel, self.stride, self.groups = kernel, stride, groups

    def pads(self, height: int, width: int) -> tuple[int, int, int, int]:
        """top, left, bottom, right for an input of that size."""
        top, bottom = same_pads(height, self.kernel, self.stride)
        left, right = same_pads(width, self.kernel, self.stride)
        return top, left, bottom, right

    def forward(self, x: Tensor) -> Tensor:
        top, left, bottom, right = self.pads(x.shape[-2], x.shape[-1])
        if top != bottom or left != right:
            x = F.pad(x, (left, right, top, bottom))
            top = left = 0
        return F.conv2d(x, self.weight, self.bias, self.stride, (top, left), 1, self.groups)


class InvertedResidual(nn.Module):
    """One block; `expand` is absent where the expansion is 1."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.block = block
        inner = block.inputs * block.expansion
        self.expand = SameConv(block.inputs, inner, 1) if block.expansion != 1 else None
        self.depthwise = SameConv(inner, inner, block.kernel, stride=block.stride, groups=inner)
        self.project = SameConv(inner, block.outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        inner = x if self.expand is None else F.relu6(self.expand(x))
        out: Tensor = self.project(F.relu6(self.depthwise(inner)))
        return out + x if self.block.residual else out


class Trunk(nn.Module):
    """Stem and blocks 0 to `last`, frozen."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self.stem = SameConv(3, STEM_CHANNELS, 3, stride=2)
        self.blocks = nn.ModuleList(InvertedResidual(block) for block in BLOCKS[: last + 1])
        self.requires_grad_(False)
        self.eval()

    def forward(self, image: Tensor, wanted: tuple[int, ...]) -> dict[int, Tensor]:
        """Outputs of the blocks `wanted`, each (N, C, h, w) float32, for `image` uint8 (N, H, W, 3) RGB."""
        x = (image.permute(0, 3, 1, 2).to(torch.float32) - MEAN) / SPREAD
        x = F.relu6(self.stem(x.contiguous(memory_format=torch.channels_last)))
        out: dict[int, Tensor] = {}
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in wanted:
                out[i] = x
            if i == max(wanted):
                break
        return out


def load_trunk(last: int, path: Path | None = None) -> Trunk:
    """The trunk up to block `last` with the weights of `path`: our safetensors file (None: the shipped one), or a
    state dict of efficientnet_lite_pytorch (`.pth`), whose batch norms are folded here."""
    path = SHIPPED if path is None else path
    if not path.is_file():
        raise BadInput("there is no such weights file", where=str(path), hint="Leave --teacher out to take what ships")
    tensors = tensors_file.weights_of(path)
    if path.suffix in (".pth", ".pt"):
        tensors = fold(_published(tensors, path), where=str(path))
    trunk = Trunk(last)
    wanted = trunk.state_dict()
    if wrong := tensors_file.misfit({name: t for name, t in tensors.items() if name in wanted}, wanted):
        raise BadInput(
            f"not the weights of EfficientNet-Lite0: {wrong}",
            where=str(path), hint="Leave --teacher out to take what ships",
        )  # fmt: skip
    trunk.load_state_dict({name: tensors[name].to(torch.float32) for name in wanted})
    # As in export/training/device.py.
    return trunk.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _published(state: Mapping[str, Tensor], path: Path) -> Mapping[str, Tensor]:
    if "_conv_stem.weight" not in state:
        raise BadInput("not a state dict of EfficientNet-Lite0", where=str(path), hint="Its keys begin with _conv_stem")
    return state


def fold(state: Mapping[str, Tensor], *, where: str = "") -> dict[str, Tensor]:
    """Our names and folded weights, float32, of a published state dict; computed in float64. where: its file. Raises
    BadInput for what is missing, or has another shape."""
    out = _folded(state, where, "stem", "_conv_stem", "_bn0")
    for i, block in enumerate(BLOCKS):
        here = f"_blocks.{i}."
        if block.expansion != 1:
            out |= _folded(state, where, f"blocks.{i}.expand", f"{here}_expand_conv", f"{here}_bn0")
        out |= _folded(state, where, f"blocks.{i}.depthwise", f"{here}_depthwise_conv", f"{here}_bn1")
        out |= _folded(state, where, f"blocks.{i}.project", f"{here}_project_conv", f"{here}_bn2")
    return out


def _folded(state: Mapping[str, Tensor], where: str, ours: str, conv: str, norm: str) -> dict[str, Tensor]:
    try:
        weight = state[f"{conv}.weight"].to(torch.float64)
        gamma, beta, mean, variance = (
            state[f"{norm}.{name}"].to(torch.float64) for name in ("weight", "bias", "running_mean", "running_var")
        )
    except KeyError as exc:
        raise BadInput(f"the state dict has no {exc.args[0]}", where=where) from exc
    if weight.ndim != 4 or any(one.shape != weight.shape[:1] for one in (gamma, beta, mean, variance)):
        shapes = ", ".join(str(tuple(one.shape)) for one in (weight, gamma, beta, mean, variance))
        raise BadInput(f"the shapes of {conv} and {norm} don't belong together: {shapes}", where=where)
    gain = gamma / torch.sqrt(variance + BATCH_NORM_EPSILON)
    return {
        f"{ours}.weight": (weight * gain.reshape(-1, 1, 1, 1)).to(torch.float32),
        f"{ours}.bias": (beta - mean * gain).to(torch.float32),
    }


def provenance() -> dict[str, Any]:
    """Where the shipped weights come from: source, sha256, licence, command."""
    text: dict[str, Any] = json.loads(SHIPPED.with_suffix(".json").read_text(encoding="utf-8"))
    return text
