"""The prompt encoder as graph nodes. Knows no decoder.

No index assignment and no branch on labels: a table is looked up, and places count where the label is no padding.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_sdk.calibration import graphs
from edge_sdk.export.onnx_graph import GraphBuilder
from edge_sdk.export.tinysam import HIDDEN, LABELS, MASK, POINTS
from edge_sdk.export.tinysam.graph.parts import Linear, float64, gelu, layer_norm, linear, transpose
from edge_sdk.export.tinysam.layers import NORM_EPS
from edge_sdk.export.tinysam.prompts import PromptEncoder

MASKED = -1.0e4
"""Added to the logits of a hidden token: its share underflows to 0, in fp16 too, where -1e9 would be -inf."""


PREFIX = "prompts/"
"""Of the names of all nodes that make tokens of points."""


def prompt_nodes(graph: bytes) -> tuple[str, ...]:
    """Names of the nodes that make tokens of points, for `FloatGraph.keep_fp32`: the sine of an angle near 20 is off by
    1e-2 in half precision, and there are few of them."""
    return tuple(node.name for node in graphs.parsed(graph).graph.node if node.name.startswith(PREFIX))


def prompt_inputs(g: GraphBuilder) -> None:
    """Declares points and labels."""
    g.input(POINTS, "float32", ("N", "T", 2))
    g.input(LABELS, "int32", ("N", "T"))


def prompt_tokens(g: GraphBuilder, net: PromptEncoder) -> str:
    """(N, T, width) of the graph's points and labels."""
    size, fourier = net.image_size, float64(net.pe_layer.positional_encoding_gaussian_matrix)
    # 2 (p + 0.5) / size - 1, in float32 as the network has it: a place is then exact to 2^-23 of the frame.
    places = g.arithmetic("Mul", POINTS, 2.0 / size, name="prompts/scaled")
    places = g.arithmetic("Add", places, 1.0 / size - 1.0, name="prompts/places")
    matrix = g.constant("prompts/fourier/weight", np.asarray(2.0 * np.pi * fourier, np.float32))
    angles = g.node("MatMul", [places, matrix], name="prompts/fourier")
    waves = [g.node(kind, [angles], name=f"prompts/{kind.lower()}") for kind in ("Sin", "Cos")]
    positions = g.node("Concat", waves, name="prompts/positions", attributes={"axis": -1})
    index = g.node("Sub", [LABELS, g.constant("prompts/first", np.array(HIDDEN, np.int32))], name="prompts/index")
    table = g.constant("prompts/labels", np.asarray(float64(net.label_embeddings()), np.float32))
    of_label = g.node("Gather", [table, index], name="prompts/of_label", attributes={"axis": 0})
    placed = g.node("Mul", [positions, _where(g, "Greater", -1, name="prompts/placed")], name="prompts/masked")
    return g.node("Add", [of_label, placed], name="prompts/tokens")


def hidden_logits(g: GraphBuilder, before: int) -> str:
    """What logits of the tokens get added, (N, 1, 1, before + T): MASKED at hidden ones. before: tokens in front."""
    hidden = g.node("Equal", [LABELS, g.constant("prompts/hidden", np.array(HIDDEN, np.int32))], name="tokens/hidden")
    as_float = g.node("Cast", [hidden], name="tokens/hidden/float", attributes={"to": 1})
    logits = g.arithmetic("Mul", as_float, MASKED, name="tokens/hidden/logits")
    pads = g.constant("tokens/hidden/pads", np.array([0, before, 0, 0], np.int64))
    padded = g.node("Pad", [logits, pads], name="tokens/hidden/all")
    axes = g.constant("tokens/hidden/axes", np.array([1, 2], np.int64))
    return g.node("Unsqueeze", [padded, axes], name="tokens/visible")


def zero_per_prompt(g: GraphBuilder) -> str:
    """float32 zeros (N, 1, 1): they spread constants over the prompts without a shape that is computed."""
    bounds = [
        g.constant(f"prompts/first_token/{what}", np.array([value], np.int64))
        for what, value in (("start", 0), ("end", 1), ("axis", 1))
    ]
    first = g.node("Slice", [LABELS, *bounds], name="prompts/first_token")
    zero = g.node("Mul", [first, g.constant("prompts/zero", np.array(0, np.int32))], name="prompts/zeros")
    as_float = g.node("Cast", [zero], name="prompts/zeros/float", attributes={"to": 1})
    return g.node("Unsqueeze", [as_float, g.constant("prompts/zeros/axis", np.array([2], np.int64))],
                  name="prompts/zeros/all")  # fmt: skip


def mask_input(g: GraphBuilder, side: int) -> str:
    """Declares mask prompts, (N, 1, side, side)."""
    return g.input(MASK, "float32", ("N", 1, side, side))


def mask_map(g: GraphBuilder, net: PromptEncoder, masks: str) -> str:
    """(N, g, g, width), channels last. masks: logits (N, 1, 4 g, 4 g)."""
    layers: Any = net.mask_downscaling
    x = masks
    for place in (0, 3):
        name = f"mask/{place}"
        x = x if place == 0 else transpose(g, x, (0, 3, 1, 2), name=f"{name}/first")
        x = g.conv(x, float64(layers[place].weight), float64(layers[place].bias), name=name, stride=2)
        x = layer_norm(g, transpose(g, x, (0, 2, 3, 1), name=f"{name}/last"), layers[place + 1], name=f"{name}/norm",
                       eps=NORM_EPS)  # fmt: skip
        x = gelu(g, x, name=f"{name}/gelu")
    # A product, not a convolution: OpenVINO 2026.4 fuses a convolution in int8 with the sum of its result and the one
    # image behind it, and takes that image's batch of 1 for its own: one row for three prompts, or an error.
    return linear(g, x, Linear(float64(layers[6].weight)[:, :, 0, 0].T, float64(layers[6].bias)), name="mask/map")


def _where(g: GraphBuilder, op: str, value: int, *, name: str) -> str:
    """1 or 0 for each label, (N, T, 1)."""
    true = g.node(op, [LABELS, g.constant(f"{name}/than", np.array(value, np.int32))], name=f"{name}/is")
    as_float = g.node("Cast", [true], name=f"{name}/float", attributes={"to": 1})
    return g.node("Unsqueeze", [as_float, g.constant(f"{name}/axis", np.array([2], np.int64))], name=name)
