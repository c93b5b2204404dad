"""SAM's ViT encoder as graph nodes."""

from __future__ import annotations

from edge_sdk.errors import BadUsage
from edge_sdk.export.onnx_graph import GraphBuilder
from edge_sdk.export.tinysam.graph.parts import Float64
from edge_sdk.export.tinysam.vit import Vit


def vit(g: GraphBuilder, pictures: str, net: Vit, *, scale: Float64) -> str:
    raise BadUsage("later")
