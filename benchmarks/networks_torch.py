"""Three classifiers of 1000 classes in torch, and their ONNX files. Knows no training and no samples.

EfficientNet-Lite0 with the published weights, norms unfused, as its users export it; a small vision transformer and
MobileNetV3-small, whose weights networks_distilled.py makes. All take (N, 3, SIDE, SIDE) of (x - 127) / 128, x = 0..255
RGB, SIDE by class, and answer logits (N, 1000).
"""

from __future__ import annotations

import io
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_sdk.export import tensors_file
from edge_sdk.export.trunk.lite0 import BATCH_NORM_EPSILON, BLOCKS, STEM_CHANNELS, Block, same_pads

CLASSES = 1000
OPSET = 18
"""The lowest that torch's exporter writes."""


# ---- EfficientNet-Lite0


class _SameConv(nn.Conv2d):
    """TensorFlow's "same" padding for one size of input, as a Pad of its own where it is uneven."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int, groups: int, side: int) -> None:
        before, after = same_pads(side, kernel, stride)
        super().__init__(inputs, outputs, kernel, stride, before if before == after else 0, groups=groups, bias=False)
        self._uneven = None if before == after else (before, after, before, after)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if self._uneven is None else F.pad(x, self._uneven))


class _LiteBlock(nn.Module):
    """An inverted residual under the published names of its tensors."""

    def __init__(self, block: Block, side: int) -> None:
        super().__init__()
        inner = block.inputs * block.expansion
        self.residual = block.residual
        if block.expansion != 1:
            self._expand_conv = nn.Conv2d(block.inputs, inner, 1, bias=False)
            self._bn0 = _norm(inner)
        self._depthwise_conv = _SameConv(inner, inner, block.kernel, stride=block.stride, groups=inner, side=side)
        self._bn1 = _norm(inner)
        self._project_conv = nn.Conv2d(inner, block.outputs, 1, bias=False)
        self._bn2 = _norm(block.outputs)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu6(self._bn0(self._expand_conv(x))) if hasattr(self, "_expand_conv") else x
        inner = F.relu6(self._bn1(self._depthwise_conv(inner)))
        out: Tensor = self._bn2(self._project_conv(inner))
        return out + x if self.residual else out


class Lite0(nn.Module):
    """EfficientNet-Lite0, all of it. Tan and Le 2019; 4.7 M parameters, 0.39 GMAC."""

    SIDE = 224

    def __init__(self) -> None:
        super().__init__()
        last = BLOCKS[-1].outputs
        blocks = (*BLOCKS, Block(3, 1, 6, last, 320))
        self._conv_stem = _SameConv(3, STEM_CHANNELS, 3, stride=2, groups=1, side=self.SIDE)
        self._bn0 = _norm(STEM_CHANNELS)
        self._blocks, side = nn.ModuleList(), self.SIDE // 2
        for block in blocks:
            self._blocks.append(_LiteBlock(block, side))
            side = -(-side // block.stride)
        self._conv_head = nn.Conv2d(320, 1280, 1, bias=False)
        self._bn1 = _norm(1280)
        self._fc = nn.Linear(1280, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        x = F.relu6(self._bn1(self._conv_head(x)))
        out: Tensor = self._fc(x.mean((2, 3)))
        return out


def lite0(weights: Path) -> Lite0:
    """With the published state dict `weights`."""
    model = Lite0()
    model.load_state_dict(dict(tensors_file.weights_of(weights)))
    return model.eval()


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=BATCH_NORM_EPSILON)


# ---- MobileNetV3-small


class _Gate(nn.Module):
    """Squeeze and excite with a hard sigmoid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(8, channels // 4 // 8 * 8)
        self.shrink, self.grow = nn.Conv2d(channels, inner, 1), nn.Conv2d(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * F.hardsigmoid(self.grow(F.relu(self.shrink(F.adaptive_avg_pool2d(x, 1)))))


class _Bottleneck(nn.Module):
    def __init__(
        self, inputs: int, inner: int, outputs: int, kernel: int, stride: int, *, gate: bool, hard: bool
    ) -> None:  # fmt: skip
        super().__init__()
        act = nn.Hardswish if hard else nn.ReLU
        layers: list[nn.Module] = [] if inner == inputs else [_convolution(inputs, inner, 1, act=act)]
        layers.append(_convolution(inner, inner, kernel, stride=stride, groups=inner, act=act))
        layers += [_Gate(inner)] if gate else []
        layers.append(_convolution(inner, outputs, 1, act=None))
        self.layers, self.residual = nn.Sequential(*layers), stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out + x if self.residual else out


def _convolution(
    inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1, act: type[nn.Module] | None
) -> nn.Sequential:  # fmt: skip
    layers = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)]
    return nn.Sequential(*layers, nn.BatchNorm2d(outputs), *([] if act is None else [act()]))


class MobileNetV3(nn.Module):
    """MobileNetV3-small. Howard et al. 2019, table 2; 2.5 M parameters, 0.06 GMAC."""

    SIDE = 224
    ROWS = (
        # kernel, inner, outputs, gate, hardswish, stride
        (3, 16, 16, True, False, 2), (3, 72, 24, False, False, 2), (3, 88, 24, False, False, 1),
        (5, 96, 40, True, True, 2), (5, 240, 40, True, True, 1), (5, 240, 40, True, True, 1),
        (5, 120, 48, True, True, 1), (5, 144, 48, True, True, 1), (5, 288, 96, True, True, 2),
        (5, 576, 96, True, True, 1), (5, 576, 96, True, True, 1),
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        layers, inputs = [_convolution(3, 16, 3, stride=2, act=nn.Hardswish)], 16
        for kernel, inner, outputs, gate, hard, stride in self.ROWS:
            layers.append(_Bottleneck(inputs, inner, outputs, kernel, stride, gate=gate, hard=hard))
            inputs = outputs
        layers.append(_convolution(inputs, 576, 1, act=nn.Hardswish))
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Linear(576, 1024), nn.Hardswish(), nn.Linear(1024, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(F.adaptive_avg_pool2d(self.features(x), 1).flatten(1))
        return out


# ---- a vision transformer


class _Layer(nn.Module):
    """Pre-norm attention and MLP. (N, T, D) to the same."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.grow, self.shrink = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        weights = ((q * (d // self.heads) ** -0.5) @ k.transpose(-2, -1)).softmax(-1)  # (N, heads, T, T)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(n, t, d))
        out: Tensor = x + self.shrink(F.gelu(self.grow(self.norm2(x))))
        return out


class Vit(nn.Module):
    """A vision transformer of ViT-Tiny's width. Dosovitskiy et al. 2021; patches of 16, 6 layers of 3 heads, class
    token; 3.1 M parameters, 0.31 GMAC at 160 x 160."""

    SIDE = 160

    def __init__(self, *, width: int = 192, layers: int = 6, heads: int = 3, patch: int = 16) -> None:
        super().__init__()
        tokens = (self.SIDE // patch) ** 2
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.cls = nn.Parameter(torch.zeros(1, 1, width))
        self.places = nn.Parameter(torch.randn(1, tokens + 1, width) * 0.02)
        self.layers = nn.Sequential(*(_Layer(width, heads) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), patches], 1) + self.places
        out: Tensor = self.head(self.norm(self.layers(x))[:, 0])
        return out


# ---- ONNX


def exported(model: nn.Module, side: int) -> bytes:
    """The model's ONNX file as torch's own exporter writes it, batch 1: input "image", output "logits"."""
    stored = io.BytesIO()
    model.eval()
    program = torch.onnx.export(
        model, (torch.zeros(1, 3, side, side),), input_names=["image"], output_names=["logits"],
        opset_version=OPSET, dynamo=True, verbose=False,
    )  # fmt: skip
    assert program is not None
    program.save(stored)
    return stored.getvalue()
