"""The merged ONNX graph of a trained XS model. Knows no training and no picture file.

uint8 NHWC "image" in, float32 "map" (N, h, w) and "score" (N,) out. The trunk runs once for teacher and student. All
foldings are exact up to float32 rounding: the division by 128 and the batch norms into convolutions, quantiles and
weights of the maps into one gain each and one constant.
"""

from __future__ import annotations

import re

import numpy as np
from torch import Tensor, nn

from edge_sdk.export.efficientad import INPUT
from edge_sdk.export.efficientad.xs.model import COSINE_FLOOR, StudentConv, XsModel, placing
from edge_sdk.export.onnx_graph import GraphBuilder
from edge_sdk.export.trunk.lite0 import MEAN, stride_of
from edge_sdk.export.trunk.lite0 import cells as cells_along
from edge_sdk.export.trunk.lite0_graph import trunk_nodes
from edge_sdk.extras import need
from edge_sdk.tensors import Array


def merged_graph(model: XsModel, *, width: int, height: int) -> tuple[bytes, tuple[str, ...]]:
    """The serialized graph for inputs of width x height px, and the names of the nodes that must stay float in every
    quantized variant: those after the last convolutions, whose range on good parts says nothing about defects."""
    layout = model.layout
    g = GraphBuilder("efficientad-xs")
    raw = g.picture(g.input(INPUT, "uint8", ("N", height, width, 3)))
    used = sorted({source.tap for source in layout.sources})
    centred = g.arithmetic("Sub", raw, MEAN, name="picture/centred")
    taps = trunk_nodes(g, model.trunk.stem, model.trunk.blocks, centred, (height, width), (layout.start, *used))
    learned = _student(g, model, taps[layout.start])
    before_tail = len(g.node_names)
    targets = {tap: _standardised(g, model, tap, taps[tap]) for tap in used}
    _maps(g, model, learned, targets, (height, width))
    g.largest_mean("map", layout.cells_counted(width, height), name="score")
    g.output("map", "float32", ("N", *layout.grid(width, height)))
    g.output("score", "float32", ("N",))
    return g.finish(), g.node_names[before_tail:]


def keep_fp32_in_int8(graph: bytes) -> tuple[str, ...]:
    """Names of the trunk's convolutions in a merged graph: they stay float in int8.

    The trunk feeds teacher and student alike, and its rounding is what moves scores (docs/results/int8_fidelity holds
    what is left of it). Most of the work is the student's, which runs in int8.
    """
    model = need("onnx", extra="export").load_from_string(graph)
    return tuple(node.name for node in model.graph.node if node.op_type == "Conv" and node.name.startswith("trunk/"))


def raw_maps(keep_fp32: tuple[str, ...]) -> tuple[str, ...]:
    """The nodes of a merged graph's tail that make a source's map, before its quantiles scale it."""
    return tuple(name for name in keep_fp32 if re.fullmatch(r"maps/\d+/(mean|apart)", name))


def _numpy(tensor: Tensor) -> Array:
    return tensor.detach().contiguous().numpy()


def _standardised(g: GraphBuilder, model: XsModel, block: int, features: str) -> str:
    name = f"standard/{block}"
    gain, shift = (_numpy(model.get_buffer(f"{what}_{block}")).reshape(1, -1, 1, 1) for what in ("gain", "shift"))
    scaled = g.arithmetic("Mul", features, gain, name=f"{name}/gain")
    shifted = g.arithmetic("Add", scaled, shift, name=f"{name}/shift")
    return g.clip(shifted, -model.layout.clamp, model.layout.clamp, name=f"{name}/clamp")


def _student(g: GraphBuilder, model: XsModel, start: str) -> dict[int, str]:
    """The heads' outputs by tap, for the taps that a map needs; a stage that none of them needs is left out."""
    needed = {source.tap for source in model.layout.sources}
    start = _standardised(g, model, model.layout.start, start)
    x = _student_conv(g, model.student.stem, start, name="student/stem")
    out: dict[int, str] = {}
    for tap, stage, head in zip(model.layout.taps, model.student.stages, model.student.heads, strict=True):
        if tap > max(needed):
            break
        assert isinstance(stage, nn.Sequential)
        for i, conv in enumerate(stage):
            assert isinstance(conv, StudentConv)
            x = _student_conv(g, conv, x, name=f"student/{tap}/{i}")
        if tap in needed:
            assert isinstance(head, nn.Conv2d)
            assert head.bias is not None
            out[tap] = g.conv(x, _numpy(head.weight), _numpy(head.bias), name=f"student/{tap}/head")
    return out


def _student_conv(g: GraphBuilder, conv: StudentConv, x: str, *, name: str) -> str:
    weight, bias = conv.folded()
    out = g.conv(x, weight, bias, name=name, stride=conv.stride, pads=(1, 1, 1, 1))
    return g.node("Relu", [out], name=f"{name}/relu")


def _maps(
    g: GraphBuilder, model: XsModel, learned: dict[int, str], targets: dict[int, str], size: tuple[int, int]
) -> None:
    """Ends in the tensor "map". A constant passes a resampling unchanged, so all of them are added once, at the end."""
    total = sum(source.weight for source in model.layout.sources)
    constant, summed = 0.0, ""
    for index, (source, quantiles) in enumerate(zip(model.layout.sources, model.quantiles, strict=True)):
        name = f"maps/{index}"
        gain = quantiles.gain * source.weight / total
        constant -= gain * quantiles.low
        if source.measure == "cosine":
            raw = _apart(g, learned[source.tap], targets[source.tap], name=name)
        elif source.measure == "weighted":
            raw = _weighted(g, model, source.tap, learned[source.tap], targets[source.tap], name=name)
        else:
            raw = g.mean_square(learned[source.tap], targets[source.tap], name=name)
        scaled = g.arithmetic("Mul", raw, gain, name=f"{name}/gain")
        ratio, stride = stride_of(source.tap) // model.layout.map_stride, stride_of(source.tap)
        if ratio > 1:
            rows, columns = (placing(cells_along(n, stride), ratio) for n in size)
            scaled = g.resample(scaled, rows, columns, name=f"{name}/placed")
        summed = g.node("Add", [summed, scaled], name=f"{name}/sum") if summed else scaled
    g.squeeze(g.arithmetic("Add", summed, constant, name="maps/constant"), 1, name="map")


def _weighted(g: GraphBuilder, model: XsModel, tap: int, learned: str, target: str, *, name: str) -> str:
    """Stays float although it holds a convolution: its input is a difference of large terms."""
    weights = _numpy(model.get_buffer(f"weights_{tap}"))
    difference = g.node("Sub", [learned, target], name=f"{name}/difference")
    turned = g.conv(difference, weights[:, :, None, None], np.zeros(len(weights), np.float32), name=f"{name}/weights")
    return g.mean(g.node("Mul", [turned, turned], name=f"{name}/square"), [1], name=f"{name}/mean", keep=True)


def _apart(g: GraphBuilder, learned: str, target: str, *, name: str) -> str:
    def mean_product(a: str, b: str, what: str) -> str:
        return g.mean(g.node("Mul", [a, b], name=f"{name}/{what}"), [1], name=f"{name}/{what}/mean", keep=True)

    dot, mine, theirs = (
        mean_product(a, b, what)
        for a, b, what in ((learned, target, "dot"), (learned, learned, "learned"), (target, target, "target"))
    )
    sizes = g.arithmetic("Add", g.node("Mul", [mine, theirs], name=f"{name}/sizes"), COSINE_FLOOR, name=f"{name}/floor")
    cosine = g.node("Div", [dot, g.node("Sqrt", [sizes], name=f"{name}/root")], name=f"{name}/cosine")
    one = g.constant("one", np.array(1.0, np.float32))
    return g.node("Sub", [one, cosine], name=f"{name}/apart")
