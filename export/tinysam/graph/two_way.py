"""The three attentions of the two-way transformer as graph nodes: among tokens, tokens to image, image to tokens.

Where an image is the prompt's own, tokens go into the image's width, not the image into theirs: (x Wq)(image Wk)' =
(x Wq Wk') image'. There are 7 tokens to 4,096 cells, so that this is 1.6 times cheaper, and the image's heads need no
transposition: 62 -> 41 ms a prompt in onnxruntime 1.32 on one thread, 16 prompts at 1024. It is exact algebra.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_sdk.export.onnx_graph import GraphBuilder
from edge_sdk.export.tinysam.decoder import Attention
from edge_sdk.export.tinysam.graph.parts import (
    Float64,
    Linear,
    Projections,
    attention,
    linear,
    product,
    reshape,
    transpose,
)


@dataclass(frozen=True, slots=True, eq=False)
class TwoWay:
    """Writes attentions into `g`. positions: (cells, width), of the image's cells. visible: (N, 1, 1, T) tensor that is
    added to the logits of tokens as keys. Tokens are (N, T, width), images (1 or N, cells, width)."""

    g: GraphBuilder
    positions: Float64
    visible: str

    def among_tokens(self, placed: str, tokens: str, module: Attention, *, name: str) -> str:
        """What tokens see in each other. placed: tokens with their positions."""
        g, layers = self.g, projections(module)
        q = linear(g, placed, layers.q, name=f"{name}/q")
        k, v = linear(g, placed, layers.k, name=f"{name}/k"), linear(g, tokens, layers.v, name=f"{name}/v")
        return self._attended(q, k, v, layers, name=name, added=[self.visible])

    def at_shared_image(self, placed: str, image: str, module: Attention, *, name: str) -> str:
        """What tokens see in the one image that all prompts share, which is projected once. The k of (image +
        positions) is the k of image and a table."""
        g, layers = self.g, projections(module)
        q = linear(g, placed, layers.q, name=f"{name}/q")
        k = linear(g, image, Linear(layers.k.weight, self.positions @ layers.k.weight), name=f"{name}/k")
        v = linear(g, image, layers.v, name=f"{name}/v")
        return self._attended(q, k, v, layers, name=name)

    def at_image(self, placed: str, image: str, module: Attention, *, name: str) -> str:
        """What tokens see in the image that their own prompt made of it."""
        g, layers = self.g, projections(module)
        q = self._heads(linear(g, placed, layers.q, name=f"{name}/q"), layers, name=f"{name}/q")
        wide = self._joined(product(g, q, _by_head(layers.k, layers), name=f"{name}/k"), name=f"{name}/q")
        keys = transpose(g, self._placed(image, name=name), (0, 2, 1), name=f"{name}/keys")
        logits = g.node("MatMul", [wide, keys], name=f"{name}/logits")  # (N, heads T, cells)
        shares = g.node("Softmax", [logits], name=f"{name}/shares", attributes={"axis": -1})
        seen = g.node("MatMul", [shares, image], name=f"{name}/seen")  # (N, heads T, width)
        seen = reshape(g, seen, (0, layers.heads, -1, layers.k.weight.shape[0]), name=f"{name}/seen/heads")
        mixed = product(g, seen, _by_head(layers.v, layers).transpose(0, 2, 1), name=f"{name}/v")
        rows = transpose(g, mixed, (0, 2, 1, 3), name=f"{name}/rows")
        flat = reshape(g, rows, (0, 0, layers.v.weight.shape[1]), name=f"{name}/flat")
        return linear(g, flat, layers.out, name=f"{name}/out")

    def at_tokens(self, image: str, placed: str, tokens: str, module: Attention, *, name: str) -> str:
        """The image and what it sees in the tokens. The output's bias is added to the image, not to what is seen: in
        the first block that is one image, not one per prompt."""
        g, layers = self.g, projections(module)
        k = self._heads(linear(g, placed, layers.k, name=f"{name}/k"), layers, name=f"{name}/k")
        v = self._heads(linear(g, tokens, layers.v, name=f"{name}/v"), layers, name=f"{name}/v")
        wide = self._joined(product(g, k, _by_head(layers.q, layers), name=f"{name}/q"), name=f"{name}/k")
        keys = transpose(g, wide, (0, 2, 1), name=f"{name}/keys")
        logits = g.node("MatMul", [self._placed(image, name=name), keys], name=f"{name}/logits")
        logits = reshape(g, logits, (0, 0, layers.heads, -1), name=f"{name}/logits/heads")  # (N, cells, heads, T)
        logits = g.node("Add", [logits, self._of_each_token(k, layers, name=name)], name=f"{name}/biased")
        shares = g.node("Softmax", [logits], name=f"{name}/shares", attributes={"axis": -1})
        out = layers.out.weight.reshape(layers.heads, -1, layers.out.weight.shape[1])
        values = self._joined(product(g, v, out, name=f"{name}/out"), name=f"{name}/v")
        seen = g.node(
            "MatMul", [reshape(g, shares, (0, 0, -1), name=f"{name}/shares/flat"), values], name=f"{name}/seen"
        )
        kept = g.arithmetic("Add", image, _there(layers.out), name=f"{name}/kept")
        return g.node("Add", [kept, seen], name=name)

    def _of_each_token(self, k: str, layers: Projections, *, name: str) -> str:
        """What q's bias makes of each key, and whether it is visible: (N, 1, heads, T)."""
        g, bias = self.g, _there(layers.q).reshape(layers.heads, -1, 1)
        of_bias = transpose(g, product(g, k, bias, name=f"{name}/q_bias"), (0, 3, 1, 2), name=f"{name}/q_bias/row")
        return g.node("Add", [of_bias, self.visible], name=f"{name}/added")

    def _attended(self, q: str, k: str, v: str, layers: Projections, *, name: str, added: Sequence[str] = ()) -> str:
        inner = layers.v.weight.shape[1]
        mixed = attention(self.g, q, k, v, lead=(0, 0), heads=layers.heads, width=inner, name=name, added=added)
        return linear(
            self.g, reshape(self.g, mixed, (0, 0, inner), name=f"{name}/flat"), layers.out, name=f"{name}/out"
        )

    def _heads(self, x: str, layers: Projections, *, name: str) -> str:
        """(N, T, inner) -> (N, heads, T, inner / heads)."""
        split = reshape(self.g, x, (0, 0, layers.heads, layers.v.weight.shape[1] // layers.heads), name=f"{name}/split")
        return transpose(self.g, split, (0, 2, 1, 3), name=f"{name}/heads")

    def _joined(self, x: str, *, name: str) -> str:
        """(N, heads, T, width) -> (N, heads T, width)."""
        return reshape(self.g, x, (0, -1, self.positions.shape[1]), name=f"{name}/joined")

    def _placed(self, image: str, *, name: str) -> str:
        """The image with its positions, which are stored once."""
        table = self.g.constant("image/positions", np.asarray(self.positions, np.float32))
        return self.g.node("Add", [image, table], name=f"{name}/image")


def projections(module: Attention) -> Projections:
    """The layers of one attention of the decoder."""
    q, k, v, out = (Linear.of(one) for one in (module.q_proj, module.k_proj, module.v_proj, module.out_proj))
    return Projections.folded(q, k, v, out, module.heads)


def _by_head(layer: Linear, layers: Projections) -> Float64:
    """Each head's matrix from its own width to the image's: (heads, inner / heads, width)."""
    by_head: Float64 = layer.weight.reshape(len(layer.weight), layers.heads, -1).transpose(1, 2, 0)
    return by_head


def _there(layer: Linear) -> Float64:
    assert layer.bias is not None
    return layer.bias
