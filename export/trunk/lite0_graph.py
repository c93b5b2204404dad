"""EfficientNet-Lite0's trunk as graph nodes. Knows no family."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from torch import Tensor, nn

from edge_sdk.export.onnx_graph import GraphBuilder
from edge_sdk.export.trunk.lite0 import SPREAD, InvertedResidual, SameConv
from edge_sdk.tensors import Array


def trunk_nodes(
    g: GraphBuilder, stem: SameConv, blocks: Iterable[nn.Module], centred: str, size: tuple[int, int],
    wanted: Sequence[int],
) -> dict[int, str]:  # fmt: skip
    """Outputs of the blocks `wanted`. centred: pixels minus the trunk's mean, float32 NCHW of `size` = (height, width).

    The mean is not folded into the padded first convolution: a zero that pads raw pixels would be black, and the trunk
    was trained with grey around its pictures.
    """
    x, size = _same(g, stem, centred, size, name="trunk/stem", divide=SPREAD)
    x = g.clip(x, 0.0, 6.0, name="trunk/stem/relu6")
    out: dict[int, str] = {}
    for i, block in enumerate(blocks):
        assert isinstance(block, InvertedResidual)
        name, entry = f"trunk/{i}", x
        if block.expand is not None:
            x, size = _same(g, block.expand, x, size, name=f"{name}/expand")
            x = g.clip(x, 0.0, 6.0, name=f"{name}/expand/relu6")
        x, size = _same(g, block.depthwise, x, size, name=f"{name}/depthwise")
        x = g.clip(x, 0.0, 6.0, name=f"{name}/depthwise/relu6")
        x, size = _same(g, block.project, x, size, name=f"{name}/project")
        if block.block.residual:
            x = g.node("Add", [x, entry], name=f"{name}/residual")
        if i in wanted:
            out[i] = x
        if i == max(wanted):
            break
    return out


def _same(
    g: GraphBuilder, conv: SameConv, x: str, size: tuple[int, int], *, name: str, divide: float = 1.0
) -> tuple[str, tuple[int, int]]:
    weight, bias = _numpy(conv.weight).astype(np.float64) / divide, _numpy(conv.bias)
    out = g.conv(x, weight, bias, name=name, stride=conv.stride, pads=conv.pads(*size), groups=conv.groups)
    return out, (-(-size[0] // conv.stride), -(-size[1] // conv.stride))


def _numpy(tensor: Tensor) -> Array:
    return tensor.detach().contiguous().numpy()
