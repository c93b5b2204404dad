"""The UNet of a denoiser, in the two forms of Karras et al. 2022 (arXiv 2206.00364), with the names of their weights.

"song" is DDPM++ (Song et al. 2021): the embedding of level and label is added before a block's second norm, sums are
scaled by sqrt(1 / 2). "dhariwal" is ADM (Dhariwal and Nichol 2021): the embedding scales and shifts behind that norm.
Networks that are trained here are small ones of the first form; weights of others load by their names (`edm_keys`).
Knows no sigma and no loss: it takes a scalar level.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_sdk.errors import BadUsage

Form = Literal["song", "dhariwal"]
OWN_LEVEL_SCALE = 1000.0
"""Of networks that are trained here. c_noise lies between -1.6 and 1.1, and the highest frequency of its waves is 1:
without a factor few of them would tell two levels apart."""
PERIOD = 10_000.0
HALF = math.sqrt(0.5)
"""Keeps the variance of a sum of two."""
FIRST, DOWN, UP = "conv", "down", "up"


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockLayout:
    """One residual block. key: its name, such as "16x16_block0". before, after: channels. change: of the side, 0.5, 1
    or 2 times.."""

    key: str
    before: int
    after: int
    change: float = 1.0
    attention: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UNetLayout:
    """channels, side: of pictures, px. base: channels of the first convolution, and width of the level's waves.
    first: channels that the first convolution makes. encoder, decoder: blocks in order. classes: 0 = no labels.
    level_scale: factor on the level."""

    form: Form = "song"
    channels: int
    side: int
    base: int
    first: int
    encoder: tuple[BlockLayout, ...]
    decoder: tuple[BlockLayout, ...]
    classes: int = 0
    level_scale: float = 1.0

    @property
    def embedding(self) -> int:
        """Width of what level and label become."""
        return 4 * self.base

    @property
    def scale(self) -> float:
        """Factor on every sum of two branches."""
        return HALF if self.form == "song" else 1.0

    @property
    def epsilon(self) -> float:
        """Of all norms."""
        return 1e-6 if self.form == "song" else 1e-5

    def heads(self, width: int) -> int:
        """Of an attention over that many channels."""
        return 1 if self.form == "song" else max(width // 64, 1)


def layout(
    *, channels: int, side: int, base: int = 24, multiples: tuple[int, ...] = (1, 2), blocks: int = 1,
    attention: tuple[int, ...] = (), classes: int = 0,
) -> UNetLayout:  # fmt: skip
    """Of a network to be trained here. multiples: of `base`, one for each stage; the side halves between them. blocks:
    in each stage on the way down, one more on the way up. attention: sides that have it, besides the middle. Raises
    BadUsage for sizes that can't be."""
    halvings = 2 ** (len(multiples) - 1) if multiples else 1
    if not multiples or side % halvings or side // halvings < 2:
        raise BadUsage(
            f"pictures of {side} px can't be halved {len(multiples) - 1} times",
            hint=f"Their side is a multiple of {halvings}, and at least {2 * halvings}",
        )
    if min(base, blocks, channels, *multiples) < 1 or base % 4:
        raise BadUsage("base is a multiple of 4; channels, blocks and multiples are 1 or more")
    encoder: list[BlockLayout] = []
    kept, width = [base], base
    for at, multiple in enumerate(multiples):
        size = side >> at
        if at:
            encoder.append(BlockLayout(key=f"{size}x{size}_{DOWN}", before=width, after=width, change=0.5))
            kept.append(width)
        for number in range(blocks):
            key, seen = f"{size}x{size}_block{number}", size in attention
            encoder.append(BlockLayout(key=key, before=width, after=base * multiple, attention=seen))
            width = base * multiple
            kept.append(width)
    decoder: list[BlockLayout] = []
    for at, multiple in reversed(list(enumerate(multiples))):
        size = side >> at
        if at == len(multiples) - 1:
            decoder += [
                BlockLayout(key=f"{size}x{size}_in{number}", before=width, after=width, attention=number == 0)
                for number in (0, 1)
            ]
        else:
            decoder.append(BlockLayout(key=f"{size}x{size}_{UP}", before=width, after=width, change=2.0))
        for number in range(blocks + 1):
            key, seen = f"{size}x{size}_block{number}", number == blocks and size in attention
            decoder.append(BlockLayout(key=key, before=width + kept.pop(), after=base * multiple, attention=seen))
            width = base * multiple
    return UNetLayout(
        channels=channels, side=side, base=base, first=base, encoder=tuple(encoder), decoder=tuple(decoder),
        classes=classes, level_scale=OWN_LEVEL_SCALE,
    )  # fmt: skip


def norm(channels: int, epsilon: float) -> nn.GroupNorm:
    """Groups of at least four channels, at most 32 of them."""
    return nn.GroupNorm(min(32, max(1, channels // 4)), channels, eps=epsilon)


class Block(nn.Module):
    """Two convolutions beside a skip, then attention where it has any."""

    def __init__(self, of: BlockLayout, net: UNetLayout) -> None:
        super().__init__()
        self.of, self.form, self.scale = of, net.form, net.scale
        before, after = of.before, of.after
        self.norm0, self.conv0 = norm(before, net.epsilon), nn.Conv2d(before, after, 3, padding=1)
        self.affine = nn.Linear(net.embedding, after if net.form == "song" else 2 * after)
        self.norm1, self.conv1 = norm(after, net.epsilon), nn.Conv2d(after, after, 3, padding=1)
        projects = before != after or (of.change != 1.0 and net.form == "song")
        self.skip = nn.Conv2d(before, after, 1) if projects else None
        self.heads = net.heads(after)
        self.norm2 = norm(after, net.epsilon) if of.attention else None
        self.qkv = nn.Conv2d(after, 3 * after, 1) if of.attention else None
        self.proj = nn.Conv2d(after, after, 1) if of.attention else None
        for last in (self.conv1, self.proj):  # a new block passes on what it is given
            if last is not None:
                _quiet(last)

    def forward(self, x: Tensor, embedded: Tensor) -> Tensor:
        inner = self.conv0(resized(functional.silu(self.norm0(x)), self.of.change))
        added = self.affine(embedded)[:, :, None, None]
        if self.form == "song":
            inner = functional.silu(self.norm1(inner + added))
        else:
            scale, shift = added.chunk(2, dim=1)
            inner = functional.silu(self.norm1(inner) * (scale + 1) + shift)
        x = resized(x, self.of.change)
        out: Tensor = ((x if self.skip is None else self.skip(x)) + self.conv1(inner)) * self.scale
        return out if self.norm2 is None else self.attended(out)

    def attended(self, x: Tensor) -> Tensor:
        """Every place of a map looks at all others."""
        assert self.norm2 is not None
        assert self.qkv is not None
        assert self.proj is not None
        count, channels, height, width = x.shape
        # The three parts of one channel lie side by side, not in three blocks of channels.
        parts = self.qkv(self.norm2(x)).reshape(count * self.heads, channels // self.heads, 3, height * width)
        query, key, value = parts.unbind(2)
        shares = (query.transpose(1, 2) @ key / math.sqrt(channels // self.heads)).softmax(-1)
        found = (value @ shares.transpose(1, 2)).reshape(x.shape)
        out: Tensor = (x + self.proj(found)) * self.scale
        return out


def _quiet(last: nn.Conv2d) -> None:
    nn.init.normal_(last.weight, std=1e-5)
    assert last.bias is not None
    nn.init.zeros_(last.bias)


def resized(x: Tensor, change: float) -> Tensor:
    """Means of 2 x 2, each value four times, or as it is."""
    if change == 0.5:
        return functional.avg_pool2d(x, 2)
    return functional.interpolate(x, scale_factor=2.0, mode="nearest") if change == 2.0 else x


class UNet(nn.Module):
    """(N, channels, side, side), a level (N,) and labels (N,) int64 in; the same shape out."""

    def __init__(self, of: UNetLayout) -> None:
        super().__init__()
        self.layout = of
        width = of.base if of.form == "song" else of.embedding
        self.map_label = nn.Linear(of.classes, width, bias=of.form == "song") if of.classes else None
        self.map_layer0, self.map_layer1 = nn.Linear(of.base, of.embedding), nn.Linear(of.embedding, of.embedding)
        self.enc, self.dec = nn.ModuleDict(), nn.ModuleDict()
        self.enc[f"{of.side}x{of.side}_{FIRST}"] = nn.Conv2d(of.channels, of.first, 3, padding=1)
        for block in of.encoder:
            self.enc[block.key] = Block(block, of)
        for block in of.decoder:
            self.dec[block.key] = Block(block, of)
        last_norm, last = (
            norm(of.decoder[-1].after, of.epsilon),
            nn.Conv2d(of.decoder[-1].after, of.channels, 3, padding=1),
        )
        _quiet(last)
        if of.form == "song":
            self.dec[f"{of.side}x{of.side}_aux_norm"], self.dec[f"{of.side}x{of.side}_aux_conv"] = last_norm, last
        else:
            self.out_norm, self.out_conv = last_norm, last

    @property
    def first(self) -> nn.Conv2d:
        found = self.enc[f"{self.layout.side}x{self.layout.side}_{FIRST}"]
        assert isinstance(found, nn.Conv2d)
        return found

    @property
    def last(self) -> tuple[nn.GroupNorm, nn.Conv2d]:
        """The norm and the convolution behind the blocks."""
        side = self.layout.side
        song = self.layout.form == "song"
        found = self.dec[f"{side}x{side}_aux_norm"] if song else self.out_norm
        conv = self.dec[f"{side}x{side}_aux_conv"] if song else self.out_conv
        assert isinstance(found, nn.GroupNorm)
        assert isinstance(conv, nn.Conv2d)
        return found, conv

    def blocks(self) -> Iterator[tuple[str, Block, bool]]:
        """(name, block, whether an earlier output joins its input), in the order of a pass."""
        for key, module in self.enc.items():
            if isinstance(module, Block):
                yield f"enc.{key}", module, False
        width = next(reversed(self.layout.encoder)).after
        for key, module in self.dec.items():
            if isinstance(module, Block):
                yield f"dec.{key}", module, module.of.before != width
                width = module.of.after

    def forward(self, x: Tensor, level: Tensor, labels: Tensor | None = None) -> Tensor:
        embedded = self.embedded(level, labels)
        x = self.first(x)
        kept = [x]
        for name, block, joins in self.blocks():
            x = block(torch.cat([x, kept.pop()], dim=1) if joins else x, embedded)
            if name.startswith("enc."):
                kept.append(x)
        last_norm, last = self.last
        out: Tensor = last(functional.silu(last_norm(x)))
        return out

    def embedded(self, level: Tensor, labels: Tensor | None) -> Tensor:
        """(N, embedding): what each block's affine layer reads."""
        of = self.layout
        found = waves(level * of.level_scale, of.base, form=of.form)
        if self.map_label is not None:
            if labels is None:
                raise BadUsage(f"this network draws {of.classes} classes, and no label is given")
            one_hot = functional.one_hot(labels, of.classes).to(found.dtype)
            labelled = self.map_label(one_hot * math.sqrt(of.classes) if of.form == "song" else one_hot)
        if self.map_label is not None and of.form == "song":
            found = found + labelled
        found = self.map_layer1(functional.silu(self.map_layer0(found)))
        if self.map_label is not None and of.form == "dhariwal":
            found = found + labelled
        return functional.silu(found)


def waves(level: Tensor, width: int, *, form: Form) -> Tensor:
    """(N, width): sines and cosines of the level, of frequencies from 1 down to 1e-4."""
    half = width // 2
    along = torch.arange(half, device=level.device, dtype=level.dtype) / (max(half - 1, 1) if form == "song" else half)
    angles = level[:, None] * (1.0 / PERIOD) ** along
    parts = (angles.sin(), angles.cos()) if form == "song" else (angles.cos(), angles.sin())
    return torch.cat(parts, dim=1)


def parameters_of(of: UNetLayout) -> int:
    """How many numbers such a network learns, without making one."""
    with torch.device("meta"):
        return sum(one.numel() for one in UNet(of).parameters())


def layout_described(described: Mapping[str, Any]) -> UNetLayout:
    """A layout of JSON. Raises KeyError, TypeError or BadUsage."""
    fields: dict[str, Any] = dict(described)
    for part in ("encoder", "decoder"):
        fields[part] = tuple(BlockLayout(**one) for one in described[part])
    return UNetLayout(**fields)
