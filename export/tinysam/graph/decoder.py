"""The decoder's graph, and the refiner's, which takes mask prompts too: prompts in, low-resolution masks and IoU out.

The embedding has batch 1 and is never repeated: the image side of the first block is computed once, however many
prompts there are. Positions of the image's cells are constants, projected beforehand: k of (image + positions) is
k of image plus a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_sdk.errors import BadInput
from edge_sdk.export.onnx_graph import GraphBuilder
from edge_sdk.export.tinysam import EMBEDDING, IOU, MASKS
from edge_sdk.export.tinysam.decoder import Attention, MaskDecoder, TwoWayBlock
from edge_sdk.export.tinysam.graph.parts import (
    Float64,
    Linear,
    Projections,
    attention,
    float64,
    gelu,
    layer_norm,
    linear,
    product,
    reshape,
    transpose,
)  # fmt: skip
from edge_sdk.export.tinysam.graph.prompts import (
    hidden_logits,
    mask_map,
    prompt_inputs,
    prompt_tokens,
    zero_per_prompt,
)  # fmt: skip
from edge_sdk.export.tinysam.layers import NORM_EPS
from edge_sdk.export.tinysam.sam import Sam


def decoder_graph(net: Sam, *, refiner: bool = False) -> bytes:
    """The serialized graph of `net`'s prompt encoder and decoder. refiner: with mask prompts, one for every prompt.

    Raises BadInput for a network with a prior, which the graph has no nodes for yet.
    """
    if net.prior is not None:
        raise BadInput("this network's masks start from a prior, which can't be exported yet", hint="Train without one")
    grid, width = net.layout.encoder.grid, net.layout.width
    g = GraphBuilder("tinysam-refiner" if refiner else "tinysam-decoder")
    embedding = g.input(EMBEDDING, "float32", (1, width, grid, grid))
    prompt_inputs(g)
    dense = mask_map(g, net.prompt_encoder, net.layout.mask_side) if refiner else ""
    image = _image(g, embedding, net, dense)
    _Decoder(g, net, once=not refiner).masks(image)
    side = net.layout.mask_side
    g.output(MASKS, "float32", ("N", net.layout.decoder.masks, side, side))
    g.output(IOU, "float32", ("N", net.layout.decoder.masks))
    return g.finish()


def _image(g: GraphBuilder, embedding: str, net: Sam, dense: str) -> str:
    """Tokens of the image, (1 or N, g^2, width), with the dense prompt added."""
    grid, width = net.layout.encoder.grid, net.layout.width
    last = transpose(g, embedding, (0, 2, 3, 1), name="image/last")
    if dense:
        return reshape(g, g.node("Add", [last, dense], name="image/sum"), (0, grid * grid, width), name="image")
    tokens = reshape(g, last, (1, grid * grid, width), name="image/tokens")
    return g.arithmetic("Add", tokens, float64(net.prompt_encoder.no_mask_embed.weight), name="image")


@dataclass(frozen=True, slots=True, eq=False)
class _Decoder:
    """The decoder of `net`, written into `g`. once: all prompts share one image until they look at it."""

    g: GraphBuilder
    net: Sam
    once: bool

    @property
    def _mask_decoder(self) -> MaskDecoder:
        return self.net.mask_decoder

    def masks(self, image: str) -> None:
        """From the image's tokens to the outputs."""
        g, decoder = self.g, self._mask_decoder
        output = np.concatenate([float64(decoder.iou_token.weight), float64(decoder.mask_tokens.weight)])
        constant = g.arithmetic("Add", zero_per_prompt(g), output[None], name="tokens/output")
        prompts = prompt_tokens(g, self.net.prompt_encoder)
        start = g.node("Concat", [constant, prompts], name="tokens/start", attributes={"axis": 1})
        visible = hidden_logits(g, len(output))
        tokens, positions = start, float64(self.net.prompt_encoder.dense_positions())[0].reshape(output.shape[1], -1).T
        for place, block in enumerate(_list(decoder.transformer.layers)):
            tokens, image = self._block(tokens, image, start, positions, visible, block, name=f"block{place}")
        final = self._final(tokens, image, start, positions, len(output))
        fine = self._upscaled(image)
        self._combined(final, fine, len(output) - 1)

    def _block(
        self, tokens: str, image: str, start: str, positions: Float64, visible: str, block: TwoWayBlock, *, name: str
    ) -> tuple[str, str]:
        g = self.g
        placed = tokens if block.first else g.node("Add", [tokens, start], name=f"{name}/placed0")
        looked = self._among_tokens(placed, tokens, visible, block.self_attn, name=f"{name}/self")
        tokens = looked if block.first else g.node("Add", [tokens, looked], name=f"{name}/sum1")
        tokens = layer_norm(g, tokens, block.norm1, name=f"{name}/norm1")
        placed = g.node("Add", [tokens, start], name=f"{name}/placed1")
        at_image = self._at_image_once if block.first and self.once else self._at_image
        looked = at_image(placed, image, positions, block.cross_attn_token_to_image, name=f"{name}/at_image")
        tokens = layer_norm(g, g.node("Add", [tokens, looked], name=f"{name}/sum2"), block.norm2, name=f"{name}/norm2")
        wide = linear(g, tokens, Linear.of(block.mlp.lin1), name=f"{name}/mlp/lin1")
        deep = linear(
            g, g.node("Relu", [wide], name=f"{name}/mlp/relu"), Linear.of(block.mlp.lin2), name=f"{name}/mlp/lin2"
        )
        tokens = layer_norm(g, g.node("Add", [tokens, deep], name=f"{name}/sum3"), block.norm3, name=f"{name}/norm3")
        placed = g.node("Add", [tokens, start], name=f"{name}/placed2")
        image = self._at_tokens(image, placed, tokens, positions, visible, block, name=f"{name}/at_tokens")
        return tokens, image

    def _among_tokens(self, placed: str, tokens: str, visible: str, module: Attention, *, name: str) -> str:
        g, layers = self.g, projections(module)
        q = linear(g, placed, layers.q, name=f"{name}/q")
        k, v = linear(g, placed, layers.k, name=f"{name}/k"), linear(g, tokens, layers.v, name=f"{name}/v")
        return self._attended(q, k, v, layers, name=name, added=[visible])

    def _at_image(self, placed: str, image: str, positions: Float64, module: Attention, *, name: str) -> str:
        """What tokens see in an image that is the prompt's own, (N, T, width). The tokens go into the image's width,
        not the image into theirs: (x Wq)(image Wk)' = (x Wq Wk') image', and there are 7 tokens to 4,096 cells."""
        g, layers = self.g, projections(module)
        q = self._heads(linear(g, placed, layers.q, name=f"{name}/q"), layers, name=f"{name}/q")
        wide = self._joined(self._by_head(q, layers.k.weight, layers, name=f"{name}/k", into=True), name=f"{name}/q")
        placed_image = self._placed(image, positions, name=name)
        keys = transpose(g, placed_image, (0, 2, 1), name=f"{name}/keys")
        logits = g.node("MatMul", [wide, keys], name=f"{name}/logits")  # (N, heads T, g^2)
        shares = g.node("Softmax", [logits], name=f"{name}/shares", attributes={"axis": -1})
        seen = g.node("MatMul", [shares, image], name=f"{name}/seen")  # (N, heads T, width)
        seen = reshape(g, seen, (0, layers.heads, -1, layers.k.weight.shape[0]), name=f"{name}/seen/heads")
        mixed = transpose(
            g,
            self._by_head(seen, layers.v.weight, layers, name=f"{name}/v", into=False),
            (0, 2, 1, 3),
            name=f"{name}/rows",
        )
        flat = reshape(g, mixed, (0, 0, layers.v.weight.shape[1]), name=f"{name}/flat")
        return linear(g, flat, layers.out, name=f"{name}/out")

    def _at_image_once(self, placed: str, image: str, positions: Float64, module: Attention, *, name: str) -> str:
        """What tokens see in the one image that all prompts share, which is projected once."""
        g, layers = self.g, projections(module)
        q = linear(g, placed, layers.q, name=f"{name}/q")
        k = self._with_positions(image, layers.k, positions, name=f"{name}/k")
        v = linear(g, image, layers.v, name=f"{name}/v")
        return self._attended(q, k, v, layers, name=name)

    def _at_tokens(
        self, image: str, placed: str, tokens: str, positions: Float64, visible: str, block: TwoWayBlock, *, name: str
    ) -> str:
        """The image after it looked at the tokens. The output's bias is added to the image, not to what was seen: in
        the first block that is one picture, not one per prompt."""
        g, layers = self.g, projections(block.cross_attn_image_to_token)
        bias_q, bias_out = layers.q.bias, layers.out.bias
        assert bias_q is not None
        assert bias_out is not None
        k = self._heads(linear(g, placed, layers.k, name=f"{name}/k"), layers, name=f"{name}/k")
        v = self._heads(linear(g, tokens, layers.v, name=f"{name}/v"), layers, name=f"{name}/v")
        wide = self._joined(self._by_head(k, layers.q.weight, layers, name=f"{name}/q", into=True), name=f"{name}/k")
        of_bias = product(g, k, bias_q.reshape(layers.heads, -1, 1), name=f"{name}/q_bias")  # (N, heads, T, 1)
        row = transpose(g, of_bias, (0, 3, 1, 2), name=f"{name}/q_bias/row")
        row = g.node("Add", [row, visible], name=f"{name}/added")
        placed_image = self._placed(image, positions, name=name)
        logits = g.node(
            "MatMul", [placed_image, transpose(g, wide, (0, 2, 1), name=f"{name}/keys")], name=f"{name}/logits"
        )
        logits = reshape(g, logits, (0, 0, layers.heads, -1), name=f"{name}/logits/heads")
        biased = g.node("Add", [logits, row], name=f"{name}/biased")
        shares = g.node("Softmax", [biased], name=f"{name}/shares", attributes={"axis": -1})
        shares = reshape(g, shares, (0, 0, -1), name=f"{name}/shares/flat")
        out = layers.out.weight.reshape(layers.heads, -1, layers.out.weight.shape[1])
        values = self._joined(product(g, v, out, name=f"{name}/out"), name=f"{name}/v")
        looked = g.node("MatMul", [shares, values], name=f"{name}/seen")
        kept = g.arithmetic("Add", image, bias_out, name=f"{name}/kept")
        total = g.node("Add", [kept, looked], name=f"{name}/sum4")
        # On three axes onnxruntime 1.32 fuses sum and norm into an operator that takes 3 times as long as the two.
        rows = reshape(g, total, (-1, self.net.layout.width), name=f"{name}/sum4/rows")
        normed = layer_norm(g, rows, block.norm4, name=f"{name}/norm4/rows")
        return reshape(g, normed, (-1, self.net.layout.encoder.grid**2, self.net.layout.width), name=f"{name}/norm4")

    def _heads(self, x: str, layers: Projections, *, name: str) -> str:
        """(N, T, inner) -> (N, heads, T, inner / heads)."""
        split = reshape(self.g, x, (0, 0, layers.heads, layers.v.weight.shape[1] // layers.heads), name=f"{name}/split")
        return transpose(self.g, split, (0, 2, 1, 3), name=f"{name}/heads")

    def _by_head(self, x: str, weight: Float64, layers: Projections, *, name: str, into: bool) -> str:
        """Each head's own matrix: (N, heads, T, inner / heads) into the image's width, or back out of it."""
        by_head = weight.reshape(len(weight), layers.heads, -1).transpose(1, 2, 0)  # (heads, inner / heads, width)
        return product(self.g, x, by_head if into else by_head.transpose(0, 2, 1), name=f"{name}/by_head")

    def _joined(self, x: str, *, name: str) -> str:
        """(N, heads, T, width) -> (N, heads T, width)."""
        return reshape(self.g, x, (0, -1, self.net.layout.width), name=f"{name}/joined")

    def _placed(self, image: str, positions: Float64, *, name: str) -> str:
        table = self.g.constant("image/positions", np.asarray(positions, np.float32))
        return self.g.node("Add", [image, table], name=f"{name}/image")

    def _with_positions(self, image: str, layer: Linear, positions: Float64, *, name: str) -> str:
        """The layer of (image + positions), its bias in the table too."""
        table = positions @ layer.weight + (0.0 if layer.bias is None else layer.bias)
        return self.g.arithmetic("Add", product(self.g, image, layer.weight, name=name), table, name=f"{name}/placed")

    def _attended(
        self, q: str, k: str, v: str, layers: Projections, *, name: str, added: list[str] | None = None
    ) -> str:
        inner = layers.v.weight.shape[1]
        mixed = attention(
            self.g, q, k, v, lead=(0, 0), heads=layers.heads, width=inner, name=name, added=added or []
        )  # fmt: skip
        return linear(
            self.g, reshape(self.g, mixed, (0, 0, inner), name=f"{name}/flat"), layers.out, name=f"{name}/out"
        )

    def _final(self, tokens: str, image: str, start: str, positions: Float64, count: int) -> str:
        """The output tokens alone, (N, count, width): nobody reads the prompts' after the last block."""
        g, transformer = self.g, self._mask_decoder.transformer
        tokens, start = (
            self._first(x, count, name=f"final/{what}") for what, x in (("tokens", tokens), ("start", start))
        )
        placed = g.node("Add", [tokens, start], name="final/placed")
        looked = self._at_image(placed, image, positions, transformer.final_attn_token_to_image, name="final/at_image")
        return layer_norm(
            g, g.node("Add", [tokens, looked], name="final/sum"), transformer.norm_final_attn, name="final/norm"
        )

    def _first(self, x: str, count: int, *, name: str, start: int = 0) -> str:
        """Tokens start to start + count of (N, T, width)."""
        ends = [
            self.g.constant(f"{name}/{what}", np.array([value], np.int64))
            for what, value in (("from", start), ("to", start + count), ("axis", 1))
        ]
        return self.g.node("Slice", [x, *ends], name=name)

    def _upscaled(self, image: str) -> str:
        """(N, 16 g^2, width / 8): 16 cells for each of the image's. A transposed convolution whose stride is its kernel
        is a product with 4 times the channels; where its cells lie is settled when there are few channels left."""
        g, up, grid = self.g, self._mask_decoder.output_upscaling, self.net.layout.encoder.grid
        first, norm, second = (_of(up, place) for place in (0, 1, 3))
        channels, last = first.out_channels, second.out_channels
        rows = reshape(g, image, (-1, first.in_channels), name="upscaling/rows")  # two axes: the bias costs nothing
        x = linear(g, rows, _transposed(first), name="upscaling/0")
        x = layer_norm(g, reshape(g, x, (-1, channels), name="upscaling/cells"), norm, name="upscaling/1", eps=NORM_EPS)
        x = linear(g, gelu(g, x, name="upscaling/2"), _transposed(second), name="upscaling/3")
        return reshape(g, gelu(g, x, name="upscaling/4"), (-1, 16 * grid * grid, last), name="upscaling")

    def _combined(self, tokens: str, fine: str, count: int) -> None:
        """Masks and IoU of the output tokens."""
        g, decoder, grid = self.g, self._mask_decoder, self.net.layout.encoder.grid
        of_masks = self._first(tokens, count, name="kernels/tokens", start=1)
        x = transpose(g, of_masks, (1, 0, 2), name="kernels/by_mask")  # (K, N, width)
        layers = [_list(mlp.layers) for mlp in _list(decoder.output_hypernetworks_mlps)]
        for depth in range(len(layers[0])):
            weights = np.stack([float64(one[depth].weight).T for one in layers])
            biases = np.stack([float64(one[depth].bias)[None] for one in layers])
            x = linear(g, x, Linear(weights, biases), name=f"kernels/{depth}")
            x = x if depth + 1 == len(layers[0]) else g.node("Relu", [x], name=f"kernels/{depth}/relu")
        kernels = transpose(g, x, (1, 2, 0), name="kernels")  # (N, width / 8, K)
        cells = g.node("MatMul", [fine, kernels], name="masks/cells")  # (N, g^2 [dy dx] [ey ex], K)
        cells = reshape(g, cells, (0, grid * grid * 2, 2, 2, 2 * count), name="masks/subcells")
        cells = transpose(g, cells, (0, 1, 3, 2, 4), name="masks/rows")  # (N, g^2 dy, ey, dx, [ex K])
        cells = reshape(g, cells, (0, grid, grid, 4, 4, count), name="masks/blocks")
        square = transpose(g, cells, (0, 5, 1, 3, 2, 4), name="masks/square")
        reshape(g, square, (0, count, 4 * grid, 4 * grid), name=MASKS)
        self._iou(tokens)

    def _iou(self, tokens: str) -> None:
        g, layers = self.g, _list(self._mask_decoder.iou_prediction_head.layers)
        x = g.squeeze(self._first(tokens, 1, name="iou/token"), 1, name="iou/row")
        for depth, layer in enumerate(layers):
            last = depth + 1 == len(layers)
            x = product(g, x, Linear.of(layer).weight, name=f"iou/{depth}")
            x = g.arithmetic("Add", x, float64(layer.bias), name=IOU if last else f"iou/{depth}/sum")
            x = x if last else g.node("Relu", [x], name=f"iou/{depth}/relu")


def projections(module: Attention) -> Projections:
    """The layers of one attention of the decoder."""
    q, k, v, out = (Linear.of(one) for one in (module.q_proj, module.k_proj, module.v_proj, module.out_proj))
    return Projections.folded(q, k, v, out, module.heads)


def _transposed(module: Any) -> Linear:
    """A ConvTranspose2d of kernel and stride 2 as a product: (inputs, 4 outputs), the cell (dy, dx) before channels."""
    weight = float64(module.weight)  # (inputs, outputs, 2, 2)
    return Linear(weight.transpose(0, 2, 3, 1).reshape(len(weight), -1), np.tile(float64(module.bias), 4))


def _of(modules: Any, place: int) -> Any:
    """A child of a Sequential, which torch types as a bare module."""
    return modules[place]


def _list(modules: Any) -> list[Any]:
    return list(modules)
