"""The ONNX graph of a one-step generator: noise in, picture out, its one sigma folded into weights. Float64 folding.

At one sigma all that depends on it is a constant: the embedding of the level goes into biases or norms (with labels,
into one table), c_in and sigma into the first convolution, c_out and the grey levels into the last one. What is left
has no sine, no logarithm and no fully connected layer. Norms are written as InstanceNormalization of groups, which
every runtime reads alike: ONNX has specified GroupNormalization twice, and TensorRT refuses or misreads some.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import TensorProto
from torch import Tensor, nn

from edge_sdk.export.onestep.unet import Block, UNet
from edge_sdk.export.onnx_graph import GraphBuilder
from edge_sdk.tasks.generation.asked import IMAGE, LABEL, NOISE

GREY = 127.5
"""Half of the grey levels: pictures in [-1, 1] become 0 to 255."""
GREY_PLUS = GREY + 0.5
"""Grey level of a 0 in [-1, 1], and what makes cutting off a rounding."""

KEPT = ("first", "last")
"""Convolutions that stay float in int8: one reads noise, the other makes grey levels."""

SCALED, ROW, ANSWER = "scaled", "row", "answer"

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """What one sigma makes of a network. added: by block, what its affine layer answers: (rows, numbers), a row for
    each class, or one. into: factor on the noise in front of the first convolution. out: on what the last one answers.
    skip: on the noise that is added to that."""

    added: Mapping[str, Float64]
    into: float
    skip: float
    out: float


def fold(network: UNet, sigma: float, sigma_data: float) -> Folded:
    """The constants of one sigma, computed in float64."""
    variance = sigma**2 + sigma_data**2
    return Folded(
        added=_added(network, [sigma]), into=sigma / math.sqrt(variance), skip=sigma_data**2 / variance * sigma,
        out=sigma * sigma_data / math.sqrt(variance),
    )  # fmt: skip


def _added(network: UNet, sigmas: Sequence[float]) -> dict[str, Float64]:
    """By block, what its affine layer answers, in float64: a row for each sigma and each of its classes."""
    classes = network.layout.classes
    exact = UNet(network.layout).to(torch.float64)
    exact.load_state_dict(network.state_dict())
    rows = max(classes, 1)
    level = torch.tensor([math.log(sigma) / 4 for sigma in sigmas], dtype=torch.float64).repeat_interleave(rows)
    with torch.no_grad():
        embedded = exact.embedded(level, torch.arange(rows).repeat(len(sigmas)) if classes else None)
        return {name: array(block.affine(embedded)) for name, block, _ in exact.blocks()}


def generator_graph(network: UNet, sigma: float, sigma_data: float) -> bytes:
    """A serialized model: "noise" float32 (N, C, H, W), standard normal, and of a network with classes "label" int64
    (N,), to "image" uint8 (N, H, W, C): what the denoiser makes of sigma * noise at `sigma`, in grey levels, rounded
    half up."""
    layout, folded = network.layout, fold(network, sigma, sigma_data)
    g = GraphBuilder("one-step generator")
    noise = g.input(NOISE, "float32", ("N", layout.channels, layout.side, layout.side))
    label = g.input(LABEL, "int64", ("N",)) if layout.classes else ""
    scale = GREY * folded.out
    answer = _Writer(g, network, folded, label).network(noise, scale=scale, plus=GREY_PLUS)
    kept = g.arithmetic("Mul", noise, GREY * folded.skip, name="kept")
    write_picture(g, g.node("Add", [answer, kept], name="grey"), channels=layout.channels, side=layout.side)
    return g.finish()


def levels_graph(network: UNet, sigmas: Sequence[float]) -> bytes:
    """The network alone at several sigmas, for a sampler: "scaled" float32 (N, C, H, W), noisy pictures times c_in, and
    "row" int64 (N,), a sigma's place times the number of classes plus the label, to "answer" like "scaled"."""
    layout = network.layout
    g = GraphBuilder("denoiser at stated levels")
    shape = ("N", layout.channels, layout.side, layout.side)
    scaled, row = g.input(SCALED, "float32", shape), g.input(ROW, "int64", ("N",))
    folded = Folded(added=_added(network, sigmas), into=1.0, skip=0.0, out=1.0)
    answer = _Writer(g, network, folded, row).network(scaled, scale=1.0, plus=0.0)
    g.node("Identity", [answer], name=ANSWER)
    g.output(ANSWER, "float32", shape)
    return g.finish()


def write_picture(g: GraphBuilder, grey: str, *, channels: int, side: int) -> None:
    """The output "image" of grey levels with `GREY_PLUS` added, (N, C, H, W): rounded half up, since Cast cuts off.
    Cast comes last: TensorRT takes uint8 as an output alone."""
    held = g.clip(grey, 0.0, 255.0, name="held")
    turned = g.node("Transpose", [held], name="turned", attributes={"perm": [0, 2, 3, 1]})
    g.node("Cast", [turned], name=IMAGE, attributes={"to": TensorProto.UINT8})
    g.output(IMAGE, "uint8", ("N", side, side, channels))


def array(tensor: Tensor | None) -> Float64:
    """As float64."""
    assert tensor is not None
    return np.asarray(tensor.detach().to("cpu", torch.float64).numpy())


class _Writer:
    """One network's nodes. label: name of that input, "" = none."""

    def __init__(self, g: GraphBuilder, network: UNet, folded: Folded, label: str) -> None:
        self._g, self._network, self._folded = g, network, folded
        self._layout = network.layout
        self._labelled = self._table(label) if label else {}

    def _table(self, label: str) -> dict[str, str]:
        """Answers of all affine layers by label: one Gather, and a Slice of it for each block."""
        g, added = self._g, self._folded.added
        table = g.constant("labels/table", np.concatenate(list(added.values()), axis=1).astype(np.float32))
        rows = g.node("Gather", [table, label], name="labels/row", attributes={"axis": 0})
        wide = g.node("Unsqueeze", [rows, g.constant("labels/axes", np.array([2, 3], np.int64))], name="labels/wide")
        channel_axis = g.constant("labels/channels", np.array([1], np.int64))
        found, start = {}, 0
        for name, values in added.items():
            end = start + values.shape[1]
            found[name] = self._part(wide, start, end, channel_axis, name=f"{name}/labelled")
            start = end
        return found

    def _part(self, x: str, start: int, end: int, axis: str, *, name: str) -> str:
        bounds = [self._g.constant(f"at/{at}", np.array([at], np.int64)) for at in (start, end)]
        return self._g.node("Slice", [x, *bounds, axis], name=name)

    def network(self, noise: str, *, scale: float, plus: float) -> str:
        """The last convolution's answer. scale: factor on it; plus: added to that."""
        g, network = self._g, self._network
        x = self._conv(noise, network.first, name="first", scale=self._folded.into)
        side, kept = self._layout.side, [x]
        for name, block, joins in network.blocks():
            if joins:
                x = g.node("Concat", [x, kept.pop()], name=f"{name}/joined", attributes={"axis": 1})
            x, side = self._block(x, block, side, name=name)
            if name.startswith("enc."):
                kept.append(x)
        norm, last = network.last
        active = self._silu(self._norm(x, norm, side, name="last/norm"), name="last/active")
        return self._conv(active, last, name="last", scale=scale, with_bias=scale, plus=plus)

    def _block(self, x: str, block: Block, side: int, *, name: str) -> tuple[str, int]:
        g, change, after = self._g, block.of.change, int(side * block.of.change)
        inner = self._silu(self._norm(x, block.norm0, side, name=f"{name}/norm0"), name=f"{name}/active0")
        inner = self._resized(inner, change, name=f"{name}/inner")
        if block.form == "song":
            inner = self._embedded_before(inner, block, after, name=name)
        else:
            inner = self._embedded_behind(inner, block, after, name=name)
        inner = self._silu(inner, name=f"{name}/active1")
        inner = self._conv(inner, block.conv1, name=f"{name}/conv1", scale=block.scale, with_bias=block.scale)
        x = self._resized(x, change, name=f"{name}/outer")
        if block.skip is not None:
            x = self._conv(x, block.skip, name=f"{name}/skip", scale=block.scale, with_bias=block.scale)
        else:
            x = self._scaled(x, block.scale, name=f"{name}/skip")
        x = g.node("Add", [x, inner], name=f"{name}/sum")
        return (self._attention(x, block, after, name=f"{name}/attention") if block.norm2 is not None else x), after

    def _embedded_before(self, x: str, block: Block, side: int, *, name: str) -> str:
        """The embedding is added in front of the norm: a bias of the convolution, or a row of the table."""
        plus = 0.0 if self._labelled else self._folded.added[name][0]
        x = self._conv(x, block.conv0, name=f"{name}/conv0", plus=plus)
        if self._labelled:
            x = self._g.node("Add", [x, self._labelled[name]], name=f"{name}/with_label")
        return self._norm(x, block.norm1, side, name=f"{name}/norm1")

    def _embedded_behind(self, x: str, block: Block, side: int, *, name: str) -> str:
        """The embedding scales and shifts behind the norm: the norm's own gain and shift, or rows of the table."""
        g, added = self._g, self._folded.added[name]
        x = self._conv(x, block.conv0, name=f"{name}/conv0")
        half = added.shape[1] // 2
        if not self._labelled:
            scale, shift = 1.0 + added[0, :half], added[0, half:]
            return self._norm(x, block.norm1, side, name=f"{name}/norm1", scale=scale, shift=shift)
        x = self._norm(x, block.norm1, side, name=f"{name}/norm1")
        axis = g.constant("labels/channels", np.array([1], np.int64))
        scales = self._part(self._labelled[name], 0, half, axis, name=f"{name}/label_scale")
        shifts = self._part(self._labelled[name], half, 2 * half, axis, name=f"{name}/label_shift")
        scaled = g.node("Mul", [x, g.arithmetic("Add", scales, 1.0, name=f"{name}/factor")], name=f"{name}/scaled")
        return g.node("Add", [scaled, shifts], name=f"{name}/shifted")

    def _attention(self, x: str, block: Block, side: int, *, name: str) -> str:
        g, channels, heads = self._g, block.of.after, block.heads
        each = channels // heads
        assert block.norm2 is not None
        assert block.qkv is not None
        assert block.proj is not None
        normed = self._norm(x, block.norm2, side, name=f"{name}/norm")
        flat = g.constant(f"attention/{heads}x{each}", np.array([0, heads, each, -1], np.int64))
        parts = []
        for at, part in enumerate(("query", "key", "value")):
            # The three parts of one channel lie side by side in the weights.
            scale = each**-0.5 if part == "query" else 1.0
            weight, bias = array(block.qkv.weight)[at::3], array(block.qkv.bias)[at::3]
            made = g.conv(normed, weight * scale, bias * scale, name=f"{name}/{part}")
            parts.append(g.node("Reshape", [made, flat], name=f"{name}/{part}/flat"))
        query, key, value = parts
        turn = {"perm": [0, 1, 3, 2]}
        turned = g.node("Transpose", [query], name=f"{name}/turned", attributes=turn)
        scores = g.node("MatMul", [turned, key], name=f"{name}/scores")
        shares = g.node("Softmax", [scores], name=f"{name}/shares", attributes={"axis": -1})
        back = g.node("Transpose", [shares], name=f"{name}/back", attributes=turn)
        mixed = g.node("MatMul", [value, back], name=f"{name}/mixed")
        found = g.node("Reshape", [mixed, self._map(channels, side)], name=f"{name}/map")
        found = self._conv(found, block.proj, name=f"{name}/out", scale=block.scale, with_bias=block.scale)
        return g.node("Add", [self._scaled(x, block.scale, name=f"{name}/kept"), found], name=f"{name}/sum")

    def _scaled(self, x: str, scale: float, *, name: str) -> str:
        return x if scale == 1.0 else self._g.arithmetic("Mul", x, scale, name=name)

    def _norm(
        self, x: str, module: nn.GroupNorm, side: int, *, name: str, scale: float | Float64 = 1.0,
        shift: float | Float64 = 0.0,
    ) -> str:  # fmt: skip
        """scale, shift: what follows the norm, for each channel."""
        g, groups, channels = self._g, module.num_groups, module.num_channels
        grouped = g.constant(f"groups/{groups}", np.array([0, groups, -1], np.int64))
        ones = g.constant(f"ones/{groups}", np.ones(groups, np.float32))
        zeros = g.constant(f"zeros/{groups}", np.zeros(groups, np.float32))
        flat = g.node("Reshape", [x, grouped], name=f"{name}/grouped")
        epsilon = {"epsilon": module.eps}
        normed = g.node("InstanceNormalization", [flat, ones, zeros], name=f"{name}/normed", attributes=epsilon)
        x = g.node("Reshape", [normed, self._map(channels, side)], name=f"{name}/map")
        gain, plus = array(module.weight) * scale, array(module.bias) * scale + shift
        x = g.arithmetic("Mul", x, gain.reshape(1, -1, 1, 1), name=f"{name}/gain")
        return g.arithmetic("Add", x, plus.reshape(1, -1, 1, 1), name=f"{name}/shift")

    def _map(self, channels: int, side: int) -> str:
        shape = np.array([0, channels, side, side], np.int64)
        return self._g.constant(f"map/{channels}x{side}", shape)

    def _silu(self, x: str, *, name: str) -> str:
        return self._g.node("Mul", [x, self._g.node("Sigmoid", [x], name=f"{name}/gate")], name=name)

    def _resized(self, x: str, change: float, *, name: str) -> str:
        g = self._g
        if change == 0.5:
            halves = {"kernel_shape": [2, 2], "strides": [2, 2]}
            return g.node("AveragePool", [x], name=f"{name}/halved", attributes=halves)
        if change == 2.0:
            scales = g.constant("twice", np.array([1, 1, 2, 2], np.float32))
            how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
            return g.node("Resize", [x, "", scales], name=f"{name}/doubled", attributes=how)
        return x

    def _conv(
        self, x: str, module: nn.Conv2d, *, name: str, scale: float = 1.0, with_bias: float = 1.0,
        plus: float | Float64 = 0.0,
    ) -> str:  # fmt: skip
        """scale: of the weight; with_bias: of the bias; plus: added to that."""
        weight, bias = array(module.weight), array(module.bias)
        pad = int(module.padding[0])
        return self._g.conv(x, weight * scale, bias * with_bias + plus, name=name, pads=(pad, pad, pad, pad))
