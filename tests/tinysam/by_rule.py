"""Weights, picture and positions by the rules of the parity fixtures, so that no weights need to be stored.

The rules: parity/tinysam/README.md beside the checkout.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_sdk.export.tinysam.layout import SamLayout
from edge_sdk.export.tinysam.sam import Sam, normalised

TOKENS = ("point_embeddings", "not_a_point_embed", "no_mask_embed", "iou_token", "mask_tokens")
TRANSPOSED = ("mask_decoder.output_upscaling.0.weight", "mask_decoder.output_upscaling.3.weight")
FACTORS = {"running_mean": 0.02, "attention_biases": 0.5, "pos_embed": 0.2, "rel_pos_h": 0.1, "rel_pos_w": 0.1}
FACTORS |= {"bias": 0.02}


def normals(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return np.random.Generator(np.random.Philox(key=key)).standard_normal(size=shape, dtype=np.float32)


def values(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The weight called `name`, by the first line of the rule's table that fits."""
    n, last = normals(name, shape), name.rsplit(".", 1)[-1]
    if last == "positional_encoding_gaussian_matrix":
        return n
    if last == "running_var":
        return 1 + np.float32(0.1) * np.abs(n)
    if last in FACTORS:
        return np.float32(FACTORS[last]) * n
    if any(word in name for word in TOKENS):
        return np.float32(0.5) * n
    if len(shape) == 1:
        return 1 + np.float32(0.1) * n
    fan_in = shape[0] if name in TRANSPOSED else int(np.prod(shape[1:]))
    return n * np.float32(1 / np.sqrt(fan_in))


def filled(net: nn.Module, prefix: str = "") -> None:
    """Fill `net` by the rule, in place. prefix: of its keys in a whole network."""
    state = net.state_dict()
    for name, tensor in state.items():
        if tensor.is_floating_point():
            tensor.copy_(torch.from_numpy(values(prefix + name, tuple(tensor.shape))))


def sam(layout: SamLayout) -> Sam:
    """The network of `layout`, filled, in evaluation mode."""
    net = Sam(layout)
    filled(net)
    return net.requires_grad_(False).eval()


def picture(height: int, width: int) -> NDArray[np.uint8]:
    """The fixtures' picture, uint8 (height, width, 3)."""
    y, x, c = np.ogrid[0:height, 0:width, 0:3]
    disc = (x - 400) ** 2 + (y - 300) ** 2 < 180**2
    v = (x * (c + 1)) // 4 + (y * (3 - c)) // 4 + 64 * ((x // 64 + y // 64) % 2) + 90 * disc
    return np.asarray((v + ((x * y) // (97 + 16 * c)) % 23) % 256, np.uint8)


def prepared(size: int) -> Tensor:
    """The picture of 4 : 3 that fits into `size`, normalised and padded."""
    return normalised(torch.from_numpy(picture(size * 3 // 4, size))[None], size)


def mask_formula(side: int) -> NDArray[np.float32]:
    """The mask prompt "formula", (1, 1, side, side)."""
    i, j = np.ogrid[0:side, 0:side]
    return np.asarray(((7 * i + 3 * j) % 41 - 20) / 4, np.float32)[None, None]


def places(entry: Mapping[str, Any], elements: int) -> NDArray[np.int64]:
    """Flat positions of an entry's samples."""
    if "index" in entry:
        return np.array(entry["index"], np.int64)
    found, s = [], entry["lcg_seed"]
    for _ in range(entry["n"]):
        s = (1103515245 * s + 12345) % 2**31
        found.append((s >> 8) % elements)
    return np.array(found, np.int64)


def apart(entry: Mapping[str, Any], got: Tensor | NDArray[np.float32], spread: float) -> tuple[float, float]:
    """(relative L2 over the samples of `entry`, largest difference relative to `spread`)."""
    flat = np.asarray(got, np.float64).reshape(-1)
    want = np.array(entry["value"], np.float64)
    difference = flat[places(entry, flat.size)] - want
    return float(np.linalg.norm(difference) / np.linalg.norm(want)), float(np.abs(difference).max() / spread)
