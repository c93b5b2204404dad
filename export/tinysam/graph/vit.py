"""SAM's ViT encoder as graph nodes: tokens have two axes, decomposed positions are products with constant tables."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_sdk.export.onnx_graph import GraphBuilder
from edge_sdk.export.tinysam.graph.parts import (
    Float64,
    Linear,
    Projections,
    float64,
    gelu,
    layer_norm,
    linear,
    reshape,
    transpose,
)  # fmt: skip
from edge_sdk.export.tinysam.graph.windows import whole, windows
from edge_sdk.export.tinysam.layers import NORM_EPS
from edge_sdk.export.tinysam.layout import PATCH
from edge_sdk.export.tinysam.vit import Attention, Block, Vit, by_distance


def vit(g: GraphBuilder, pictures: str, net: Vit, *, scale: Float64) -> str:
    """Tokens (g^2, C) before the neck of `pictures` (1, 3, S, S). scale: (3,), what each colour is multiplied by."""
    proj, channels, grid = net.patch_embed.proj, net.layout.dim, net.layout.grid
    assert proj.bias is not None
    weight = float64(proj.weight) * scale[:, None, None]
    x = g.conv(pictures, weight, float64(proj.bias), name="patch_embed", stride=PATCH)
    x = reshape(g, transpose(g, x, (0, 2, 3, 1), name="patch_embed/last"), (-1, channels), name="patch_embed/tokens")
    x = g.arithmetic("Add", x, float64(net.pos_embed).reshape(-1, channels), name="positions")
    blocks: Any = net.blocks
    for place, block in enumerate(blocks):
        x = _block(g, x, block, grid, channels, name=f"blocks.{place}")
    return x


def _block(g: GraphBuilder, x: str, block: Block, grid: int, channels: int, *, name: str) -> str:
    """(g^2, C) -> same shape."""
    window = block.window or grid
    y = windows(g, layer_norm(g, x, block.norm1, name=f"{name}/norm1", eps=NORM_EPS), grid, window, channels,
                name=f"{name}/windows")  # fmt: skip
    y = _attention(g, y, block.attn, (-(-grid // window)) ** 2, window, channels, name=f"{name}/attn")
    x = g.node("Add", [x, whole(g, y, grid, window, channels, name=f"{name}/whole")], name=f"{name}/sum1")
    y = layer_norm(g, x, block.norm2, name=f"{name}/norm2", eps=NORM_EPS)
    y = gelu(g, linear(g, y, Linear.of(block.mlp.lin1), name=f"{name}/mlp/lin1"), name=f"{name}/mlp/gelu")
    return g.node("Add", [x, linear(g, y, Linear.of(block.mlp.lin2), name=f"{name}/mlp/lin2")], name=f"{name}/sum2")


def _attention(g: GraphBuilder, x: str, module: Attention, count: int, side: int, channels: int, *, name: str) -> str:
    """`count` squares of side^2 tokens, one behind another, (count side^2, C) -> same shape."""
    layers = vit_projections(module)
    heads, depth, tokens = layers.heads, channels // layers.heads, side * side
    q, k, v = (
        transpose(
            g, reshape(g, linear(g, x, layer, name=f"{name}/{what}"), (count, tokens, heads, depth),
                       name=f"{name}/{what}/split"), order, name=f"{name}/{what}/heads",
        )
        for what, layer, order in (
            ("q", layers.q, (0, 2, 1, 3)), ("k", layers.k, (0, 2, 3, 1)), ("v", layers.v, (0, 2, 1, 3)),
        )
    )  # fmt: skip
    logits = g.node("MatMul", [q, k], name=f"{name}/logits")
    logits = reshape(g, logits, (-1, side, side), name=f"{name}/logits/square")  # (count heads side^2, side, side)
    for at in _positions(g, q, module, count, heads, side, name=name):
        logits = g.node("Add", [logits, at], name=f"{at}/added")
    logits = reshape(g, logits, (count, heads, tokens, tokens), name=f"{name}/logits/flat")
    shares = g.node("Softmax", [logits], name=f"{name}/shares", attributes={"axis": -1})
    mixed = transpose(g, g.node("MatMul", [shares, v], name=f"{name}/mixed"), (0, 2, 1, 3), name=f"{name}/rows")
    return linear(g, reshape(g, mixed, (-1, channels), name=f"{name}/joined"), layers.out, name=f"{name}/proj")


def _positions(
    g: GraphBuilder, q: str, module: Attention, count: int, heads: int, side: int, *, name: str
) -> tuple[str, str]:
    """What the logits get for the distance in rows and in columns: (count heads side^2, side, 1) and (.., 1, side)."""
    depth = module.qkv.in_features // heads
    # The published code weighs positions with q unscaled, and this q is scaled: the tables take that back.
    rows, columns = (
        float64(by_distance(table)).transpose(0, 2, 1) * depth**0.5 for table in (module.rel_pos_h, module.rel_pos_w)
    )
    square = reshape(g, q, (count * heads, side, side, depth), name=f"{name}/q/square")
    of_rows = g.node("MatMul", [square, _table(g, rows, name=f"{name}/by_row")], name=f"{name}/by_row")
    turned = transpose(g, square, (0, 2, 1, 3), name=f"{name}/q/columns")
    of_columns = g.node("MatMul", [turned, _table(g, columns, name=f"{name}/by_column")], name=f"{name}/by_column")
    of_columns = transpose(g, of_columns, (0, 2, 1, 3), name=f"{name}/by_column/rows")
    return (
        reshape(g, of_rows, (-1, side, 1), name=f"{name}/by_row/last"),
        reshape(g, of_columns, (-1, 1, side), name=f"{name}/by_column/last"),
    )


def vit_projections(module: Attention) -> Projections:
    """The layers of one attention, out of [all q, all k, all v]. What fills up a window is zero before them, so that k
    and v are their biases there: left out of k and moved out of v for all tokens alike, they cancel as elsewhere."""
    qkv, channels = Linear.of(module.qkv), module.proj.in_features
    q, k, v = (qkv.columns(np.arange(start, start + channels)) for start in (0, channels, 2 * channels))
    return Projections.folded(q, k, v, Linear.of(module.proj), module.heads)


def _table(g: GraphBuilder, values: Float64, *, name: str) -> str:
    return g.constant(f"{name}/table", np.asarray(values, np.float32))
