"""EDM's two networks written from their description, one function each, over a plain state dict. For comparisons.

Shares no line with the product: weights are read by their names, blocks run in the order in which they are given.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional


def group_norm(x: Tensor, state: Mapping[str, Tensor], name: str, epsilon: float) -> Tensor:
    groups = min(32, x.shape[1] // 4)
    return functional.group_norm(x, groups, state[f"{name}.weight"], state[f"{name}.bias"], epsilon)


def conv(x: Tensor, state: Mapping[str, Tensor], name: str) -> Tensor:
    weight = state[f"{name}.weight"]
    return functional.conv2d(x, weight, state[f"{name}.bias"], padding=weight.shape[-1] // 2)


def linear(x: Tensor, state: Mapping[str, Tensor], name: str) -> Tensor:
    return functional.linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))


def resample(x: Tensor, key: str) -> Tensor:
    filter_ = torch.full((x.shape[1], 1, 2, 2), 0.25, dtype=x.dtype)
    if key.endswith("_down"):
        return functional.conv2d(x, filter_, groups=x.shape[1], stride=2)
    if key.endswith("_up"):
        return functional.conv_transpose2d(x, filter_ * 4, groups=x.shape[1], stride=2)
    return x


def block(x: Tensor, embedded: Tensor, state: Mapping[str, Tensor], name: str, *, song: bool) -> Tensor:
    epsilon, scale = (1e-6, math.sqrt(0.5)) if song else (1e-5, 1.0)
    kept = x
    x = conv(resample(functional.silu(group_norm(x, state, f"{name}.norm0", epsilon)), name), state, f"{name}.conv0")
    params = linear(embedded, state, f"{name}.affine")[:, :, None, None]
    if song:
        x = functional.silu(group_norm(x + params, state, f"{name}.norm1", epsilon))
    else:
        gain, shift = params.chunk(2, dim=1)
        x = functional.silu(shift + group_norm(x, state, f"{name}.norm1", epsilon) * (gain + 1))
    x = conv(x, state, f"{name}.conv1")
    kept = resample(kept, name)
    x = (x + (conv(kept, state, f"{name}.skip") if f"{name}.skip.weight" in state else kept)) * scale
    if f"{name}.qkv.weight" not in state:
        return x
    n, c, h, w = x.shape
    heads = 1 if song else c // 64
    qkv = conv(group_norm(x, state, f"{name}.norm2", epsilon), state, f"{name}.qkv")
    q, k, v = qkv.reshape(n * heads, c // heads, 3, h * w).unbind(2)
    weights = torch.einsum("ncq,nck->nqk", q, k / math.sqrt(k.shape[1])).softmax(dim=2)
    a = torch.einsum("nqk,nck->ncq", weights, v)
    return (conv(a.reshape(x.shape), state, f"{name}.proj") + x) * scale


def song_unet(
    state: Mapping[str, Tensor], encoder: Sequence[str], decoder: Sequence[str], x: Tensor, level: Tensor,
    labels: Tensor | None,
) -> Tensor:  # fmt: skip
    """DDPM++: encoder, decoder are the names of the blocks."""
    width = state["map_layer0.weight"].shape[1]
    freqs = (1 / 10000) ** (torch.arange(width // 2) / (width // 2 - 1))
    outer = torch.outer(level, freqs)
    embedded = torch.cat([outer.cos(), outer.sin()], dim=1)
    embedded = embedded.reshape(len(x), 2, -1).flip(1).reshape(len(x), -1)
    if labels is not None:
        classes = state["map_label.weight"].shape[1]
        embedded = embedded + linear(functional.one_hot(labels, classes) * math.sqrt(classes), state, "map_label")
    embedded = functional.silu(linear(embedded, state, "map_layer0"))
    embedded = functional.silu(linear(embedded, state, "map_layer1"))
    side = x.shape[-1]
    x = conv(x, state, f"enc.{side}x{side}_conv")
    x = _through(x, embedded, state, encoder, decoder, song=True)
    x = functional.silu(group_norm(x, state, f"dec.{side}x{side}_aux_norm", 1e-6))
    return conv(x, state, f"dec.{side}x{side}_aux_conv")


def dhariwal_unet(
    state: Mapping[str, Tensor], encoder: Sequence[str], decoder: Sequence[str], x: Tensor, level: Tensor,
    labels: Tensor | None,
) -> Tensor:  # fmt: skip
    """ADM: encoder, decoder are the names of the blocks."""
    width = state["map_layer0.weight"].shape[1]
    freqs = (1 / 10000) ** (torch.arange(width // 2) / (width // 2))
    outer = torch.outer(level, freqs)
    embedded = torch.cat([outer.cos(), outer.sin()], dim=1)
    embedded = functional.silu(linear(embedded, state, "map_layer0"))
    embedded = linear(embedded, state, "map_layer1")
    if labels is not None:
        one_hot = functional.one_hot(labels, state["map_label.weight"].shape[1]).float()
        embedded = embedded + linear(one_hot, state, "map_label")
    embedded = functional.silu(embedded)
    side = x.shape[-1]
    x = conv(x, state, f"enc.{side}x{side}_conv")
    x = _through(x, embedded, state, encoder, decoder, song=False)
    x = functional.silu(group_norm(x, state, "out_norm", 1e-5))
    return conv(x, state, "out_conv")


def _through(
    x: Tensor, embedded: Tensor, state: Mapping[str, Tensor], encoder: Sequence[str], decoder: Sequence[str], *,
    song: bool,
) -> Tensor:  # fmt: skip
    skips = [x]
    for key in encoder:
        x = block(x, embedded, state, f"enc.{key}", song=song)
        skips.append(x)
    for key in decoder:
        if x.shape[1] != state[f"dec.{key}.conv0.weight"].shape[1]:
            x = torch.cat([x, skips.pop()], dim=1)
        x = block(x, embedded, state, f"dec.{key}", song=song)
    assert not skips
    return x
