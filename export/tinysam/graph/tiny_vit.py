"""The TinyViT encoder as graph nodes: tokens have two axes, windows are cut by constant reshapes and pads."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_sdk.export.onnx_graph import GraphBuilder
from edge_sdk.export.tinysam.graph.parts import (
    Float64,
    Linear,
    Projections,
    attention,
    conv_bn,
    float64,
    gelu,
    layer_norm,
    linear,
    reshape,
    transpose,
)  # fmt: skip
from edge_sdk.export.tinysam.graph.windows import whole, windows
from edge_sdk.export.tinysam.tiny_vit import MBConv, PatchMerging, TinyVit, TinyVitBlock, WindowAttention


def tiny_vit(g: GraphBuilder, pictures: str, net: TinyVit, *, scale: Float64) -> str:
    """Tokens (g^2, C) before the neck of `pictures` (1, 3, S, S). scale: (3,), what each colour is multiplied by."""
    seq: Any = net.patch_embed.seq
    x = gelu(g, conv_bn(g, pictures, seq[0], name="patch_embed/0", scale=scale), name="patch_embed/gelu")
    x = conv_bn(g, x, seq[2], name="patch_embed/2")
    for number, stage in enumerate(_list(net.layers)):
        side, channels = net.layout.side(number), net.layout.dims[number]
        if number:
            x = _tokens(g, x, channels, name=f"layers.{number}/tokens")
        for place, block in enumerate(_list(stage.blocks)):
            name = f"layers.{number}.blocks.{place}"
            x = _mbconv(g, x, block, name=name) if number == 0 else _block(g, x, block, side, channels, name=name)
        if stage.downsample is not None:
            x = _image(g, x, side, channels, name=f"layers.{number}/image") if number else x
            x = _merging(g, x, stage.downsample, name=f"layers.{number}.downsample")
    return x


def window_projections(module: WindowAttention) -> Projections:
    """The layers of one window attention, out of [q0 k0 v0 q1 k1 v1 ...] as published weights have them."""
    qkv, channels = Linear.of(module.qkv), module.proj.in_features
    at = np.arange(3 * channels).reshape(module.heads, 3, channels // module.heads)
    q, k, v = (qkv.columns(at[:, which].reshape(-1)) for which in range(3))
    return Projections.folded(q, k, v, Linear.of(module.proj), module.heads)


def _mbconv(g: GraphBuilder, x: str, block: MBConv, *, name: str) -> str:
    wide = gelu(g, conv_bn(g, x, block.conv1, name=f"{name}/conv1"), name=f"{name}/gelu1")
    deep = gelu(g, conv_bn(g, wide, block.conv2, name=f"{name}/conv2"), name=f"{name}/gelu2")
    inner = conv_bn(g, deep, block.conv3, name=f"{name}/conv3")
    return gelu(g, g.node("Add", [x, inner], name=f"{name}/sum"), name=f"{name}/gelu3")


def _merging(g: GraphBuilder, x: str, module: PatchMerging, *, name: str) -> str:
    x = gelu(g, conv_bn(g, x, module.conv1, name=f"{name}/conv1"), name=f"{name}/gelu1")
    x = gelu(g, conv_bn(g, x, module.conv2, name=f"{name}/conv2"), name=f"{name}/gelu2")
    return conv_bn(g, x, module.conv3, name=f"{name}/conv3")


def _block(g: GraphBuilder, x: str, block: TinyVitBlock, side: int, channels: int, *, name: str) -> str:
    """(side^2, C) -> same shape."""
    inside = windows(g, x, side, block.window, channels, name=f"{name}/windows")
    inside = _attention(g, inside, block.attn, block.window, channels, name=f"{name}/attn")
    x = g.node("Add", [x, whole(g, inside, side, block.window, channels, name=f"{name}/whole")], name=f"{name}/sum1")
    image = conv_bn(g, _image(g, x, side, channels, name=f"{name}/image"), block.local_conv, name=f"{name}/local_conv")
    x = _tokens(g, image, channels, name=f"{name}/tokens")
    y = layer_norm(g, x, block.mlp.norm, name=f"{name}/mlp/norm")
    y = gelu(g, linear(g, y, Linear.of(block.mlp.fc1), name=f"{name}/mlp/fc1"), name=f"{name}/mlp/gelu")
    return g.node("Add", [x, linear(g, y, Linear.of(block.mlp.fc2), name=f"{name}/mlp/fc2")], name=f"{name}/sum2")


def _attention(g: GraphBuilder, x: str, module: WindowAttention, window: int, channels: int, *, name: str) -> str:
    """Windows, one behind another as tokens (windows * window^2, C) -> same shape."""
    layers = window_projections(module)
    x = layer_norm(g, x, module.norm, name=f"{name}/norm")
    q, k, v = (
        linear(g, x, layer, name=f"{name}/{what}") for what, layer in zip("qkv", (layers.q, layers.k, layers.v))
    )  # fmt: skip
    bias = g.constant(f"{name}/bias", np.asarray(float64(module.bias())[None], np.float32))
    mixed = attention(
        g, q, k, v, lead=(-1, window * window), heads=layers.heads, width=channels, name=name, added=[bias]
    )
    return linear(g, reshape(g, mixed, (-1, channels), name=f"{name}/flat"), layers.out, name=f"{name}/proj")


def _image(g: GraphBuilder, x: str, side: int, channels: int, *, name: str) -> str:
    """(side^2, C) -> (1, C, side, side)."""
    return transpose(g, reshape(g, x, (1, side, side, channels), name=f"{name}/square"), (0, 3, 1, 2), name=name)


def _tokens(g: GraphBuilder, x: str, channels: int, *, name: str) -> str:
    """(1, C, side, side) -> (side^2, C)."""
    return reshape(g, transpose(g, x, (0, 2, 3, 1), name=f"{name}/last"), (-1, channels), name=name)


def _list(modules: Any) -> list[Any]:
    """The children of a ModuleList, which torch types as bare modules."""
    return list(modules)
