"""The small size's decoder: from features and prompts to masks in windows around the prompts. Knows no picture.

As mask heads of two-stage detectors (He et al. 2017), made deep and blind to classes as Birodkar et al. 2021 found it
best for objects never trained on: features are cut out around the prompt, prompts are drawn as maps beside them, and
a small hourglass answers. A thin or tiny object fills its window, whatever its share of the picture. Beside the prompts
lie maps of what looks like them: how alike each cell is to what is under a point, inside and outside the box.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_sdk.export.tinysam import BOTTOM_RIGHT, NEGATIVE, POSITIVE, TOP_LEFT
from edge_sdk.export.tinysam.small.encoder import F2, F4, REACH, SIDES, STRIDES, conv
from edge_sdk.export.tinysam.small.windows import (
    BOX_SCALES,
    GUESS_SCALE,
    POINT_SCALES,
    SPREAD,
    around,
    fitted,
    place,
    sample,
    weights,
)

CELLS = 32
"""Side of the grid on which the hourglass works."""
MASK = 2 * CELLS
"""Side of a mask's grid."""
FRAME_MASK = 96
"""Side of the grid of a mask prompt, over the whole frame."""
MAPS = 12
"""Prompt maps: see `WindowDecoder.maps`."""
HEADS, KEY = 4, 8
"""Heads, and channels of each, in which cells are compared."""
W32, W16, W8, W64 = 48, 80, 128, 16
"""Channels of the hourglass at grids of 32, 16, 8 and 64 cells."""
BOXED = 1
"""Which of its three windows answers a box: the middle one. They hardly differ, and the predicted IoU chooses worse."""
MASKED = 2
"""Which of the three windows around a mask answers a prompt without a box: the widest, since the mask of a point is
more often a part of the object than too large. On training pictures and on BSDS500's `val`, which no training saw, it
is better than the highest predicted IoU, by 0.1 to 0.5 points."""
ROUNDS = 1
"""In which a mask is given back: the second look has a window of the mask's own size."""
SPOT = 0.6
"""What a mask starts from at a point, where a box starts from 1."""
SPOT_RADIUS = 1.2
"""Standard deviation of the bump at a point, in cells of the window: its own cell has 0.84 or more wherever in
it the point lies, and its neighbours are lit too."""
SQUASH = 4.0
"""A mask prompt enters its map as tanh(logit / SQUASH): within -1 to 1 as the other maps, whatever the logits' range,
and nearly linear where the mask is in doubt."""
PRIOR = (5.0, -2.0)
"""Slope and offset with which training starts from the soft map: logits of -2 outside the prompt, 3 in a box, 1 at a
point. Both are learnt; the graph takes what was learnt."""
FAR_PX = 1e6
"""Moves tokens that are no positive points out of the way of a smallest and a largest coordinate, px: farther than any
frame reaches."""
LEAST_SQUARE = 1e-3
"""Added to squared lengths before they divide. On the rim of the frame a key is what a rounding step of a coordinate
leaves of it, about 1e-5, and nothing beyond; those of pictures are 0.1 and longer. With 1e-6 such steps grew by a
factor of 1000: OpenVINO adds and multiplies in one step where N is 1, and its masks were off by 5e-4."""
SIDE_LOGS = (-6.5, 0.0)
"""Logs of the distances to a box's sides, in sides of the frame: half a pixel of 384 to all of it."""


@dataclass(frozen=True, eq=False)
class Prompts:
    """Prompts as tensors. points: (B, P, T, 2), px of the frame. labels: (B, P, T), as the decoder takes them.

    mask: logits (B, P, r, r) over the frame, None = no prompt has one.
    """

    points: Tensor
    labels: Tensor
    mask: Tensor | None = None

    def is_(self, label: int) -> Tensor:
        """1.0 where a token has this label: (B, P, T)."""
        return (self.labels == label).to(torch.float32)

    @property
    def box(self) -> tuple[Tensor, Tensor]:
        """(boxes (B, P, 4), has one (B, P) as 0 or 1)."""
        start, end = self.is_(TOP_LEFT), self.is_(BOTTOM_RIGHT)
        corners = [(kind.unsqueeze(-1) * self.points).sum(-2) for kind in (start, end)]
        return torch.cat(corners, -1), start.amax(-1)


def point_windows(prompts: Prompts, side: float, scales: Tensor, extent: Tensor) -> Tensor:
    """Windows (B, P, K, 4) around the positive points, sides `scales` (K,) in sides of the frame, within pictures of
    this extent (B, 2), px. The box that is guessed has its own."""
    centre, spread, _ = _spread(prompts)
    sides = torch.maximum((scales * side)[:, None], SPREAD * spread.amax(-1)[..., None, None])
    return fitted(centre[:, :, None], sides.expand(-1, -1, -1, 2), extent[:, None, None])


def _spread(prompts: Prompts) -> tuple[Tensor, Tensor, Tensor]:
    """Centre and spread (B, P, 2) of the positive points, px, and whether there are any (B, P)."""
    at = prompts.points + 0.5
    low, high = _ends(prompts, at, at)
    return (low + high) / 2, high - low, prompts.is_(POSITIVE).amax(-1)


def _ends(prompts: Prompts, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest of `low` and largest of `high` (B, P, T, 2) among the positive points, (B, P, 2); 0 without any."""
    positive = prompts.is_(POSITIVE).unsqueeze(-1)
    there = positive.amax(-2)
    least = (low * positive + FAR_PX * (1.0 - positive)).amin(-2)
    most = (high * positive - FAR_PX * (1.0 - positive)).amax(-2)
    return least * there, most * there


def mask_windows(prompts: Prompts, side: float, scales: Tensor) -> tuple[Tensor, Tensor]:
    """Windows (B, P, K, 4) around the positive part of mask prompts, positive points included, and whether there is
    any (B, P)."""
    assert prompts.mask is not None
    lit = (prompts.mask > 0).to(torch.float32)
    r = lit.shape[-1]
    there = lit.amax((-1, -2))
    index = torch.arange(r, dtype=torch.float32, device=lit.device)
    edges = []
    for axis in (-2, -1):  # columns, then rows
        row = lit.amax(axis)
        low = (index * row + r * (1.0 - row)).amin(-1)
        high = (index * row - (1.0 - row)).amax(-1) + 1.0
        edges.append((low * side / r, high * side / r))
    (x0, x1), (y0, y1) = edges
    box = torch.stack([x0, y0, x1, y1], -1)
    centre, spread, has = _spread(prompts)
    has = has.unsqueeze(-1)
    low = torch.minimum(box[..., :2], (centre - spread / 2) * has + (1 - has) * box[..., :2])
    high = torch.maximum(box[..., 2:], (centre + spread / 2) * has + (1 - has) * box[..., 2:])
    return around(torch.cat([low, high], -1)[:, :, None], scales), there


class WindowDecoder(nn.Module):
    """Masks (B, Q, 64, 64) and predicted IoU (B, Q) of windows (B, Q, 4)."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side
        self.enter4 = nn.Conv2d(F4, W32, 3, padding=1, bias=False)
        self.key = nn.Conv2d(F4, HEADS * KEY, 1, bias=False)
        self.enter_maps = nn.Conv2d(MAPS + 4 * HEADS, W32, 3, padding=1, bias=False)
        self.enter = nn.Sequential(nn.BatchNorm2d(W32, momentum=0.03), nn.ReLU(inplace=True))
        self.fine = conv(W32, W32, 3)
        self.middle = nn.Sequential(conv(W32, W16, 3), conv(W16, W16, 3), conv(W16, W16, 3))
        self.coarse = nn.Sequential(conv(W16, W8, 3), conv(W8, W8, 3), conv(W8, W8, 3))
        self.around = nn.Sequential(nn.Linear(W8, W8), nn.ReLU(inplace=True), nn.Linear(W8, W8))
        self.up16, self.out16 = conv(W8, W16), conv(W16, W16, 3)
        self.up32, self.out32 = conv(W16, W32), conv(W32, W32, 3)
        self.up64, self.enter2 = nn.Conv2d(W32, W64, 1, bias=False), nn.Conv2d(F2, W64, 1, bias=False)
        self.join = nn.Sequential(nn.BatchNorm2d(W64, momentum=0.03), nn.ReLU(inplace=True))
        self.out64 = conv(W64, W64, 3)
        self.logit = nn.Conv2d(W64, 1, 1)
        self.prior = nn.Parameter(torch.tensor(PRIOR))
        self.iou = nn.Sequential(nn.Linear(W8 + W32 + 3, 64), nn.ReLU(inplace=True), nn.Linear(64, 1))
        nn.init.normal_(self.logit.weight, std=0.01)
        assert self.logit.bias is not None
        nn.init.zeros_(self.logit.bias)

    def forward(
        self, features: Mapping[str, Tensor], window: Tensor, owner: Tensor | None, prompts: Prompts
    ) -> tuple[Tensor, Tensor]:
        """window: (B, Q, 4). owner: (B, Q) which prompt of its picture each window belongs to, None = Q / P windows
        after another for each prompt. Returns masks (B, Q, 64, 64), logits, and predicted IoU (B, Q)."""
        b, q = window.shape[:2]
        own = _owned(prompts, owner, q)
        maps, soft = self.maps(window, own)

        def cut(name: str, cells: int) -> Tensor:
            return sample(features[name], window, cells, STRIDES[name]).flatten(0, 1)

        seen4 = cut("features_4", CELLS)
        seeds = self.seeds(features["features_4"], prompts, owner, q)
        alike = self.alike(self.key(seen4), seeds.flatten(0, 1), own, maps.flatten(0, 1))
        x = self.enter(self.enter4(seen4) + self.enter_maps(torch.cat([maps.flatten(0, 1), alike], 1)))
        fine = self.fine(x)
        middle = self.middle(F.max_pool2d(fine, 2))
        coarse = self.coarse(F.max_pool2d(middle, 2))
        seen = coarse.mean((-1, -2))
        coarse = coarse + self.around(seen)[..., None, None]
        x = self.out16(self.up16(_doubled(coarse)) + middle)
        x = self.out32(self.up32(_doubled(x)) + fine)
        edge = self.join(_doubled(self.up64(x)) + self.enter2(cut("features_2", MASK)))
        prior = self.prior[0] * F.interpolate(soft.flatten(0, 1), scale_factor=2.0, mode="bilinear") + self.prior[1]
        logits = self.logit(self.out64(edge)) + prior
        return logits.reshape(b, q, MASK, MASK), self._iou(logits, x, seen).reshape(b, q)

    def _iou(self, logits: Tensor, x: Tensor, seen: Tensor) -> Tensor:
        """Predicted IoU (n,): from what the window shows, what lies under the mask, and how sure the mask is."""
        share = torch.sigmoid(F.avg_pool2d(logits.detach(), 2))
        under = (x * share).sum((-1, -2)) / share.sum((-1, -2)).clamp(min=1.0)
        area = share.mean((-1, -2))
        sure = (2.0 * share - 1.0).abs().mean((-1, -2))
        rim = (share * rim_of(CELLS).to(share.device)).sum((-1, -2))
        out: Tensor = self.iou(torch.cat([seen, under, area, sure, rim], -1))
        return out.squeeze(-1)

    def guessed(self, features: Mapping[str, Tensor], prompts: Prompts) -> Tensor:
        """The box (B, P, 4) around what lies under the positive points, cut to the picture."""
        at, distances = prompts.points + 0.5, distances_at(features, prompts.points, self.side)
        limit = features[REACH].flip(-1)[:, None, None]
        low = torch.minimum((at - distances[..., :2]).clamp(min=0.0), limit)
        high = torch.minimum((at + distances[..., 2:]).clamp(min=0.0), limit)
        return torch.cat(_ends(prompts, low, high), -1)

    def maps(self, window: Tensor, prompts: Prompts) -> tuple[Tensor, Tensor]:
        """Prompt maps (B, Q, 12, 32, 32), and the soft map (B, Q, 1, 32, 32) that the mask starts from.

        Box, whether there is one, x and y (-1 to 1), positive points, negative points, inside the frame, log of the
        window's width and height, mask prompt, whether there is one, whether there are points.
        """
        x0, y0, x1, y1 = window.unbind(-1)
        steps = (torch.arange(CELLS, device=window.device, dtype=window.dtype) + 0.5) / CELLS
        xs = x0.unsqueeze(-1) + steps * (x1 - x0).unsqueeze(-1)  # (B, Q, cells)
        ys = y0.unsqueeze(-1) + steps * (y1 - y0).unsqueeze(-1)
        step = torch.stack([x1 - x0, y1 - y0], -1) / CELLS
        box, has_box = prompts.box
        boxed = _ramp(xs, box[..., 0], box[..., 2], step[..., 0])[..., None, :] * _ramp(
            ys, box[..., 1], box[..., 3], step[..., 1]
        ).unsqueeze(-1)
        boxed = boxed * has_box[..., None, None]
        near, far = (self._spots(xs, ys, step, prompts, label) for label in (POSITIVE, NEGATIVE))
        whole = [
            weights(low, high, CELLS, FRAME_MASK, self.side / FRAME_MASK).sum(-1) for low, high in ((y0, y1), (x0, x1))
        ]
        within = whole[0].unsqueeze(-1) * whole[1].unsqueeze(-2)
        flat = torch.zeros_like(within)
        sign = (2.0 * steps - 1.0) + flat
        size = [(torch.log(one / self.side))[..., None, None] + flat for one in (x1 - x0, y1 - y0)]
        drawn, has_mask = flat, flat
        if prompts.mask is not None:
            drawn = torch.tanh(self._mask_in(prompts.mask, window) / SQUASH)
            has_mask = flat + 1.0
        flag = has_box[..., None, None] + flat
        pointed = prompts.is_(POSITIVE).amax(-1)[..., None, None] + flat
        maps = [boxed, flag, sign, sign.transpose(-1, -2), near, far, within, *size, drawn, has_mask, pointed]
        soft = boxed + (1.0 - flag) * SPOT * near
        return torch.stack(maps, 2), soft.unsqueeze(2)

    def seeds(self, features: Tensor, prompts: Prompts, owner: Tensor | None, q: int) -> Tensor:
        """Keys under each token of a window's prompt, (B, Q, T, HEADS, KEY), of length 1. features: (B, F4, h, w)."""
        keys = under(features, prompts.points, STRIDES["features_4"]) @ self.key.weight.flatten(1).T
        keys = unit(keys.reshape(*prompts.labels.shape, HEADS, KEY))
        return _each(keys, owner, q)

    def alike(self, keys: Tensor, seeds: Tensor, prompts: Prompts, maps: Tensor) -> Tensor:
        """Likeness of each cell, 0 to 1, (n, 4 HEADS, 32, 32): to the positive points, to the negative points, to what
        the box or the points cover, and to the rest of the window.

        keys: (n, HEADS KEY, 32, 32). seeds: (n, T, HEADS, KEY). prompts: of the windows. maps: as of `maps`.
        """
        n = keys.shape[0]
        cells = unit(keys.reshape(n, HEADS, KEY, CELLS * CELLS), 2)
        to_tokens = seeds.transpose(1, 2) @ cells  # (n, HEADS, T, cells)
        out = []
        for label in (POSITIVE, NEGATIVE):
            is_ = prompts.is_(label).flatten(0, 1)[:, None, :, None]
            out.append((to_tokens * is_).amax(2).clamp(min=0.0))
        boxed, flag, near, inside = (maps[:, k].reshape(n, 1, -1, 1) for k in (0, 1, 4, 6))
        covered = boxed + (1.0 - flag) * near
        for share in (covered, (1.0 - covered) * inside):
            mean = unit(cells @ share, 2)  # (n, HEADS, KEY, 1)
            out.append((mean.transpose(-1, -2) @ cells).squeeze(2).clamp(min=0.0))
        return torch.cat(out, 1).reshape(n, 4 * HEADS, CELLS, CELLS)

    def _mask_in(self, mask: Tensor, window: Tensor) -> Tensor:
        """Mask prompts (B, Q, r, r) in their own windows (B, Q, 4): (B, Q, 32, 32)."""
        r = mask.shape[-1]
        down = weights(window[..., 1], window[..., 3], CELLS, r, self.side / r)
        across = weights(window[..., 0], window[..., 2], CELLS, r, self.side / r)
        return down @ mask @ across.transpose(-1, -2)

    @staticmethod
    def _spots(xs: Tensor, ys: Tensor, step: Tensor, prompts: Prompts, label: int) -> Tensor:
        """A bump (SPOT_RADIUS) at each point of this label: (B, Q, 32, 32)."""
        at, there = prompts.points + 0.5, prompts.is_(label)
        across = (xs.unsqueeze(-2) - at[..., :1]) / (SPOT_RADIUS * step[..., :1].unsqueeze(-2))
        down = (ys.unsqueeze(-2) - at[..., 1:]) / (SPOT_RADIUS * step[..., 1:].unsqueeze(-2))
        bumps = torch.exp(-0.5 * down.square()).unsqueeze(-1) * torch.exp(-0.5 * across.square()).unsqueeze(-2)
        return (bumps * there[..., None, None]).amax(-3)


def _ramp(at: Tensor, low: Tensor, high: Tensor, step: Tensor) -> Tensor:
    """Share of each cell at `at` (..., cells) that lies between low and high (...)."""
    step = step.unsqueeze(-1)
    ends = torch.minimum(at - low.unsqueeze(-1), high.unsqueeze(-1) - at) / step + 0.5
    return ends.clamp(0.0, 1.0)


def unit(x: Tensor, axis: int = -1) -> Tensor:
    """Of length 1 along an axis, or 0 where there is nothing."""
    return x / (x.square().sum(axis, keepdim=True) + LEAST_SQUARE).sqrt()


def _each(x: Tensor, owner: Tensor | None, q: int) -> Tensor:
    """Of each prompt (B, P, ...) to of each window (B, Q, ...)."""
    if owner is not None:
        return x[torch.arange(owner.shape[0], device=owner.device)[:, None], owner]
    k = q // x.shape[1]
    return x.unsqueeze(2).expand(x.shape[0], x.shape[1], k, *x.shape[2:]).flatten(1, 2)


def _owned(prompts: Prompts, owner: Tensor | None, q: int) -> Prompts:
    """The prompt of each window: tensors (B, Q, ...)."""
    mask = None if prompts.mask is None else _each(prompts.mask, owner, q)
    return Prompts(_each(prompts.points, owner, q), _each(prompts.labels, owner, q), mask)


def under(features: Tensor, points: Tensor, stride: int) -> Tensor:
    """Features (B, P, T, C) under points (B, P, T, 2), px. features: (B, C, h, w), cells of `stride` px."""
    at, half = points + 0.5, stride / 2
    spot = torch.cat([at - half, at + half], -1).flatten(1, 2)  # one cell around each point
    return sample(features, spot, 1, stride).reshape(*points.shape[:3], features.shape[1])


def distances_at(features: Mapping[str, Tensor], points: Tensor, side: float) -> Tensor:
    """From points (B, P, T, 2) to the left, top, right and bottom of the boxes that are guessed there, px of the frame:
    (B, P, T, 4)."""
    return torch.exp(under(features[SIDES], points, STRIDES[SIDES]).clamp(*SIDE_LOGS)) * side


def answer(decoder: WindowDecoder, features: Mapping[str, Tensor], prompts: Prompts) -> tuple[Tensor, Tensor, Tensor]:
    """The three answers to each prompt: masks (B, P, 3, 64, 64), predicted IoU (B, P, 3), windows (B, P, 3, 4)."""
    window = windows_of(prompts, decoder.side, features[REACH], decoder.guessed(features, prompts))
    b, p, k = window.shape[:3]
    masks, iou = decoder(features, window.flatten(1, 2), None, prompts)
    return masks.reshape(b, p, k, MASK, MASK), iou.reshape(b, p, k), window


def windows_of(prompts: Prompts, side: float, extent: Tensor, guess: Tensor) -> Tensor:
    """The windows (B, P, 3, 4) of each prompt: around its box; without one around its mask prompt; else its points.
    extent: (B, 2) of the pictures, px. guess: (B, P, 4), as of `WindowDecoder.guessed`."""
    box, has_box = prompts.box
    scales = torch.tensor(BOX_SCALES, device=box.device)
    first = around(guess[:, :, None], torch.tensor([GUESS_SCALE], device=box.device))
    further = point_windows(prompts, side, torch.tensor(POINT_SCALES, device=box.device), extent)
    window = torch.cat([first, further], 2)
    if prompts.mask is not None:
        masked, there = mask_windows(prompts, side, scales)
        window = torch.where(there[..., None, None] > 0, masked, window)
    boxed = around(box[:, :, None], scales)
    return torch.where(has_box[..., None, None] > 0, boxed, window)


def onto_frame(masks: Tensor, window: Tensor, side: float) -> Tensor:
    """Logits (B, Q, 64, 64) of windows as mask prompts over the frame (B, Q, 96, 96), -10 outside."""
    lift = 10.0
    return place(masks.clamp(-lift, lift) + lift, window, FRAME_MASK, side) - lift


def rim_of(cells: int) -> Tensor:
    """Weights (cells, cells) of the mean over a window's outermost cells: a mask that reaches them is cut off there."""
    rim = torch.ones(cells, cells)
    rim[1:-1, 1:-1] = 0.0
    return rim / rim.sum()


def area_px(window: Tensor) -> Tensor:
    """px of the frame that one mask cell covers: (B, Q)."""
    sides = window[..., 2:] - window[..., :2]
    return sides.prod(-1) / float(MASK * MASK)


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
