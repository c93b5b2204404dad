"""The decoder's graph, and the refiner's, which takes mask prompts too: prompts in, low-resolution masks and IoU out.

The embedding has batch 1 and is never repeated: the image side of the first block is computed once, however many
prompts there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_sdk.export.onnx_graph import GraphBuilder
from edge_sdk.export.tinysam import EMBEDDING, IOU, MASKS
from edge_sdk.export.tinysam.decoder import MaskDecoder, TwoWayBlock
from edge_sdk.export.tinysam.graph.parts import (
    Linear,
    float64,
    gelu,
    layer_norm,
    linear,
    product,
    reshape,
    transpose,
)
from edge_sdk.export.tinysam.graph.prior import prior_masks
from edge_sdk.export.tinysam.graph.prompts import (
    hidden_logits,
    mask_input,
    mask_map,
    prompt_inputs,
    prompt_tokens,
    zero_per_prompt,
)
from edge_sdk.export.tinysam.graph.two_way import TwoWay
from edge_sdk.export.tinysam.layers import NORM_EPS
from edge_sdk.export.tinysam.sam import Sam


def decoder_graph(net: Sam, *, refiner: bool = False) -> bytes:
    """The serialized graph of `net`'s prompt encoder and decoder. refiner: with mask prompts, one for every prompt."""
    grid, width, side = net.layout.encoder.grid, net.layout.width, net.layout.mask_side
    g = GraphBuilder("tinysam-refiner" if refiner else "tinysam-decoder")
    embedding = g.input(EMBEDDING, "float32", (1, width, grid, grid))
    prompt_inputs(g)
    start = prior_masks(g, net.prior) if net.prior is not None else ""
    asked = mask_input(g, side) if refiner else _some(g, start, 0, 1, name="prior/asked") if start else ""
    image = _image(g, embedding, net, mask_map(g, net.prompt_encoder, asked) if asked else "")
    tokens, image = _transformed(g, net, image, shared=not asked)
    outputs = _Outputs(g, net.mask_decoder, grid)
    outputs.masks(tokens, outputs.upscaled(image), start)
    outputs.iou(tokens)
    g.output(MASKS, "float32", ("N", net.layout.decoder.masks, side, side))
    g.output(IOU, "float32", ("N", net.layout.decoder.masks))
    return g.finish()


def _image(g: GraphBuilder, embedding: str, net: Sam, dense: str) -> str:
    """Tokens of the image, (1 or N, cells, width), with the dense prompt added. dense: (N, g, g, width), "" = none."""
    cells, width = net.layout.encoder.grid**2, net.layout.width
    last = transpose(g, embedding, (0, 2, 3, 1), name="image/last")
    if dense:
        return reshape(g, g.node("Add", [last, dense], name="image/sum"), (0, cells, width), name="image")
    tokens = reshape(g, last, (1, cells, width), name="image/tokens")
    return g.arithmetic("Add", tokens, float64(net.prompt_encoder.no_mask_embed.weight), name="image")


def _transformed(g: GraphBuilder, net: Sam, image: str, *, shared: bool) -> tuple[str, str]:
    """(output tokens (N, 1 + K, width), image (N, cells, width)). shared: all prompts begin with the same image."""
    decoder, width = net.mask_decoder, net.layout.width
    output = np.concatenate([float64(decoder.iou_token.weight), float64(decoder.mask_tokens.weight)])
    constant = g.arithmetic("Add", zero_per_prompt(g), output[None], name="tokens/output")
    prompts = prompt_tokens(g, net.prompt_encoder)
    start = g.node("Concat", [constant, prompts], name="tokens/start", attributes={"axis": 1})
    positions = float64(net.prompt_encoder.dense_positions())[0].reshape(width, -1).T
    two_way = TwoWay(g, positions, hidden_logits(g, len(output)))
    tokens = start
    for place, block in enumerate(_list(decoder.transformer.layers)):
        tokens = _tokens(two_way, tokens, image, start, block, shared=shared and block.first, name=f"block{place}")
        placed = g.node("Add", [tokens, start], name=f"block{place}/placed2")
        image = two_way.at_tokens(
            image, placed, tokens, block.cross_attn_image_to_token, name=f"block{place}/at_tokens"
        )
        image = _wide_norm(g, image, block.norm4, width, len(positions), name=f"block{place}/norm4")
    # Nobody reads the prompts' tokens after the last block.
    tokens, start = (
        _some(g, x, 0, len(output), name=f"final/{what}") for what, x in (("tokens", tokens), ("start", start))
    )
    placed = g.node("Add", [tokens, start], name="final/placed")
    looked = two_way.at_image(placed, image, decoder.transformer.final_attn_token_to_image, name="final/at_image")
    total = g.node("Add", [tokens, looked], name="final/sum")
    return layer_norm(g, total, decoder.transformer.norm_final_attn, name="final/norm"), image


def _tokens(
    two_way: TwoWay, tokens: str, image: str, start: str, block: TwoWayBlock, *, shared: bool, name: str
) -> str:
    """The token side of one block: (N, T, width) -> same shape."""
    g = two_way.g
    if block.first:  # without positions and residual
        tokens = two_way.among_tokens(tokens, tokens, block.self_attn, name=f"{name}/self")
    else:
        placed = g.node("Add", [tokens, start], name=f"{name}/placed0")
        looked = two_way.among_tokens(placed, tokens, block.self_attn, name=f"{name}/self")
        tokens = g.node("Add", [tokens, looked], name=f"{name}/sum1")
    tokens = layer_norm(g, tokens, block.norm1, name=f"{name}/norm1")
    placed = g.node("Add", [tokens, start], name=f"{name}/placed1")
    at_image = two_way.at_shared_image if shared else two_way.at_image
    looked = at_image(placed, image, block.cross_attn_token_to_image, name=f"{name}/at_image")
    tokens = layer_norm(g, g.node("Add", [tokens, looked], name=f"{name}/sum2"), block.norm2, name=f"{name}/norm2")
    wide = linear(g, tokens, Linear.of(block.mlp.lin1), name=f"{name}/mlp/lin1")
    wide = g.node("Relu", [wide], name=f"{name}/mlp/relu")
    deep = linear(g, wide, Linear.of(block.mlp.lin2), name=f"{name}/mlp/lin2")
    return layer_norm(g, g.node("Add", [tokens, deep], name=f"{name}/sum3"), block.norm3, name=f"{name}/norm3")


def _wide_norm(g: GraphBuilder, x: str, module: Any, width: int, cells: int, *, name: str) -> str:
    """(N, cells, width) -> same shape, by way of two axes: on three, onnxruntime 1.32 fuses sum and norm into an
    operator that takes 3 times as long as the two."""
    rows = reshape(g, x, (-1, width), name=f"{name}/rows")
    return reshape(g, layer_norm(g, rows, module, name=f"{name}/normed"), (-1, cells, width), name=name)


@dataclass(frozen=True, slots=True, eq=False)
class _Outputs:
    """What follows the transformer, written into `g`."""

    g: GraphBuilder
    decoder: MaskDecoder
    grid: int

    def upscaled(self, image: str) -> str:
        """(N, 16 cells, width / 8): 16 for each of the image's. A transposed convolution whose stride is its kernel is
        a product with 4 times the channels; where its cells lie is settled when there are few channels left."""
        g, up = self.g, _list(self.decoder.output_upscaling)
        first, norm, second = up[0], up[1], up[3]
        rows = reshape(g, image, (-1, first.in_channels), name="upscaling/rows")  # two axes: the bias costs nothing
        x = linear(g, rows, _transposed(first), name="upscaling/0")
        x = reshape(g, x, (-1, first.out_channels), name="upscaling/cells")
        x = gelu(g, layer_norm(g, x, norm, name="upscaling/1", eps=NORM_EPS), name="upscaling/2")
        x = gelu(g, linear(g, x, _transposed(second), name="upscaling/3"), name="upscaling/4")
        return reshape(g, x, (-1, 16 * self.grid**2, second.out_channels), name="upscaling")

    def masks(self, tokens: str, fine: str, start: str) -> None:
        """The output of masks. start: what they are added to, (N, K, 4 g, 4 g), "" = nothing."""
        g, grid, count = self.g, self.grid, self.decoder.layout.masks
        cells = g.node(
            "MatMul", [fine, self._kernels(tokens, count)], name="masks/cells"
        )  # (N, cells (dy dx) (ey ex), K)
        cells = reshape(g, cells, (0, grid * grid * 2, 2, 2, 2 * count), name="masks/subcells")
        cells = transpose(g, cells, (0, 1, 3, 2, 4), name="masks/rows")  # (N, (cells dy), ey, dx, (ex K))
        cells = reshape(g, cells, (0, grid, grid, 4, 4, count), name="masks/blocks")
        square = transpose(g, cells, (0, 5, 1, 3, 2, 4), name="masks/square")
        found = reshape(g, square, (0, count, 4 * grid, 4 * grid), name="masks/whole" if start else MASKS)
        if start:
            g.node("Add", [found, start], name=MASKS)

    def _kernels(self, tokens: str, count: int) -> str:
        """What each mask token makes of its own network: (N, width / 8, K). All networks run as one product."""
        g, layers = self.g, [_list(mlp.layers) for mlp in _list(self.decoder.output_hypernetworks_mlps)]
        x = transpose(g, _some(g, tokens, 1, count, name="kernels/tokens"), (1, 0, 2), name="kernels/by_mask")
        for depth in range(len(layers[0])):
            weights = np.stack([float64(one[depth].weight).T for one in layers])
            biases = np.stack([float64(one[depth].bias)[None] for one in layers])
            x = linear(g, x, Linear(weights, biases), name=f"kernels/{depth}")  # (K, N, ...)
            x = x if depth + 1 == len(layers[0]) else g.node("Relu", [x], name=f"kernels/{depth}/relu")
        return transpose(g, x, (1, 2, 0), name="kernels")

    def iou(self, tokens: str) -> None:
        """The output of the predicted IoU, one for each mask."""
        g, layers = self.g, _list(self.decoder.iou_prediction_head.layers)
        x = g.squeeze(_some(g, tokens, 0, 1, name="iou/token"), 1, name="iou/row")
        for depth, layer in enumerate(layers):
            last = depth + 1 == len(layers)
            x = product(g, x, Linear.of(layer).weight, name=f"iou/{depth}")
            x = g.arithmetic("Add", x, float64(layer.bias), name=IOU if last else f"iou/{depth}/sum")
            x = x if last else g.node("Relu", [x], name=f"iou/{depth}/relu")


def _some(g: GraphBuilder, x: str, start: int, count: int, *, name: str) -> str:
    """`count` entries of the second axis, from `start` on: tokens of (N, T, width), or masks."""
    ends = [
        g.constant(f"{name}/{what}", np.array([value], np.int64))
        for what, value in (("from", start), ("to", start + count), ("axis", 1))
    ]
    return g.node("Slice", [x, *ends], name=name)


def _transposed(module: Any) -> Linear:
    """A ConvTranspose2d of kernel and stride 2 as a product: (inputs, 4 outputs), the cell (dy, dx) before channels."""
    weight = float64(module.weight)  # (inputs, outputs, 2, 2)
    return Linear(weight.transpose(0, 2, 3, 1).reshape(len(weight), -1), np.tile(float64(module.bias), 4))


def _list(modules: Any) -> list[Any]:
    """The children of a ModuleList or Sequential, which torch types as bare modules."""
    return list(modules)
