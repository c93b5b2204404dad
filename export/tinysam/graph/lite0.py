"""The encoder on the EfficientNet-Lite0 trunk as graph nodes: three strides, each with a norm, summed to tokens."""

from __future__ import annotations

import numpy as np

from edge_sdk.export.onnx_graph import GraphBuilder
from edge_sdk.export.tinysam.graph.parts import doubled, float64, gelu, layer_norm, reshape, transpose
from edge_sdk.export.tinysam.layers import NORM_EPS
from edge_sdk.export.tinysam.lite0 import TAPS, Lite0Encoder
from edge_sdk.export.tinysam.pixels import PIXEL_MEAN
from edge_sdk.export.trunk.lite0 import MEAN
from edge_sdk.export.trunk.lite0_graph import trunk_nodes


def lite0(g: GraphBuilder, pictures: str, net: Lite0Encoder) -> str:
    """Tokens (g^2, width) before the neck. pictures: (1, 3, S, S), RGB minus PIXEL_MEAN, in pixel values: the trunk
    has a normalisation of its own."""
    size = net.layout.image_size
    shift = np.array(PIXEL_MEAN, np.float64).reshape(1, 3, 1, 1) - MEAN
    centred = g.arithmetic("Add", pictures, shift, name="picture/of_trunk")
    taps = trunk_nodes(g, net.stem, net.blocks, centred, (size, size), TAPS)
    fine, middle, coarse = (taps[tap] for tap in TAPS)
    fine = g.conv(
        fine, float64(net.lateral8.weight), np.zeros(net.layout.width), name="lateral8", stride=2, pads=(1, 1, 1, 1)
    )
    middle, coarse = (
        g.conv(x, float64(layer.weight), np.zeros(net.layout.width), name=name)
        for x, layer, name in ((middle, net.lateral16, "lateral16"), (coarse, net.lateral32, "lateral32"))
    )
    normed = [
        layer_norm(g, transpose(g, x, (0, 2, 3, 1), name=f"{name}/last"), norm, name=f"{name}/norm", eps=NORM_EPS)
        for x, name, norm in (
            (fine, "lateral8", net.norms[0]), (middle, "lateral16", net.norms[1]),
            (doubled(g, coarse, name="lateral32/doubled"), "lateral32", net.norms[2]),
        )
    ]  # fmt: skip
    summed = g.node("Add", [g.node("Add", normed[:2], name="laterals/fine"), normed[2]], name="laterals/sum")
    return reshape(g, gelu(g, summed, name="laterals/gelu"), (-1, net.layout.width), name="laterals/tokens")
