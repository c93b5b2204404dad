"""Tiny ONNX graphs for the tests of runtimes, as bytes. Real operators, weights from a seeded generator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_sdk.runtimes import probe

SIDE = 12
"""Height and width of the picture that `detector` takes."""
ZERO = np.int8(0)


class Sketch:
    """Collects nodes and initializers of one graph."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=f"{op.lower()}_{output}", **attributes))
        return output

    def qdq(self, tensor: str, scale: float, *, zero: Any = ZERO) -> str:
        """A QuantizeLinear and DequantizeLinear pair on `tensor`."""
        s = self.constant(f"{tensor}_scale", np.float32(scale))
        z = self.constant(f"{tensor}_zero", zero)
        return self.add(
            "DequantizeLinear", [self.add("QuantizeLinear", [tensor, s, z], f"{tensor}_q"), s, z], f"{tensor}_d"
        )

    def int8_weight(self, name: str, weight: np.ndarray, *, axis: int, limit: int = 127) -> str:
        """`weight` stored in int8 per channel, dequantized in the graph."""
        others = tuple(a for a in range(weight.ndim) if a != axis)
        scale = (np.abs(weight).max(axis=others) / limit).astype(np.float32)
        shape = [-1 if a == axis else 1 for a in range(weight.ndim)]
        stored = np.clip(np.rint(weight / scale.reshape(shape)), -limit, limit).astype(np.int8)
        names = [
            self.constant(f"{name}_int8", stored),
            self.constant(f"{name}_scale", scale),
            self.constant(f"{name}_zero", np.zeros(len(scale), np.int8)),
        ]
        return self.add("DequantizeLinear", names, name, axis=axis)

    def model(
        self, inputs: Sequence[tuple[str, int, list[Any]]], outputs: Sequence[tuple[str, int, list[Any]]]
    ) -> bytes:
        graph = helper.make_graph(
            self.nodes,
            "tiny",
            [helper.make_tensor_value_info(*one) for one in inputs],
            [helper.make_tensor_value_info(*one) for one in outputs],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString())


def detector(layout: str = "plain", *, limit: int = 127, zero: Any = None, half: bool = False) -> bytes:
    """uint8 NHWC picture in, map and score out, two convolutions. layout: as in a bundle; limit: of int8 weights.
    zero: zero point of the activations; None: as a bundle has it, uint8 128 for ONNX Runtime's layout, else int8 0."""
    if zero is None:
        zero = np.uint8(128) if layout == "conv-q-relu-q" else ZERO
    g, rng = Sketch(), np.random.default_rng(0)
    x = g.add("Transpose", [g.add("Cast", ["image"], "cast", to=TensorProto.FLOAT)], "nchw", perm=[0, 3, 1, 2])
    x = g.add("Mul", [x, g.constant("gain", np.full((1, 1, 1, 1), 1 / 255, np.float32))], "scaled")
    if half:
        x = g.add("Cast", [x], "scaled_half", to=TensorProto.FLOAT16)
    for index, (channels, previous) in enumerate(((16, 3), (8, 16))):
        weight = rng.normal(0, previous**-0.5 / 3, (channels, previous, 3, 3)).astype(np.float32)
        bias = rng.normal(0, 0.1, channels).astype(np.float16 if half else np.float32)
        if layout == "plain":
            kernel = g.constant(f"w{index}", weight.astype(np.float16) if half else weight)
        else:
            x, kernel = (
                g.qdq(x, 0.02 if index else 1 / 127, zero=zero),
                g.int8_weight(f"w{index}", weight, axis=0, limit=limit),
            )
        x = g.add("Conv", [x, kernel, g.constant(f"b{index}", bias)], f"conv{index}", kernel_shape=[3, 3])
        if layout == "conv-q-relu-q" or (layout == "conv-relu-q" and index == 1):
            x = g.qdq(x, 0.02, zero=zero)
        if index == 0:
            x = g.add("Relu", [x], "relu")
    if half:
        x = g.add("Cast", [x], "single", to=TensorProto.FLOAT)
    x = g.add("Mul", [x, x], "squared")
    g.add("ReduceMean", [x], "map", axes=[1], keepdims=0)
    g.add("ReduceMax", ["map"], "score", axes=[1, 2], keepdims=0)
    return g.model(
        [("image", TensorProto.UINT8, ["N", SIDE, SIDE, 3])],
        [("map", TensorProto.FLOAT, ["N", SIDE - 4, SIDE - 4]), ("score", TensorProto.FLOAT, ["N"])],
    )


def pictures(count: int, *, seed: int = 1) -> np.ndarray:
    """(count, SIDE, SIDE, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


def weighted_sum() -> bytes:
    """(a + b) * k: two inputs with a free axis and one scalar; outputs "sum" (N, 4) and "largest" (N,) as int64."""
    g = Sketch()
    g.add("Mul", [g.add("Add", ["a", "b"], "added"), "k"], "sum")
    g.add("ArgMax", ["sum"], "largest", axis=1, keepdims=0)
    return g.model(
        [("a", TensorProto.FLOAT, ["N", 4]), ("b", TensorProto.FLOAT, ["N", 4]), ("k", TensorProto.FLOAT, [])],
        [("sum", TensorProto.FLOAT, ["N", 4]), ("largest", TensorProto.INT64, ["N"])],
    )


CHANNELS, GRID = 6, 4
"""Of the embedding that `prompted` takes: (1, CHANNELS, GRID, GRID)."""


def prompted() -> bytes:
    """A mask for each of P prompts of K points on one embedding, as a promptable decoder has it.

    In: embedding float32 (1, C, h, w), points float32 (P, K, 2), labels int64 (P, K) of 0 to 2, keep bool (P,), gain
    float32 (). Out: masks float32 (P, h, w), tokens float32 (K, P, C), best int64 (P,).
    """
    g, rng = Sketch(), np.random.default_rng(0)
    along = g.constant("along", rng.normal(size=(2, CHANNELS)).astype(np.float32))
    table = g.constant("table", rng.normal(size=(3, CHANNELS)).astype(np.float32))
    placed = g.add("MatMul", ["points", along], "placed")
    token = g.add("Add", [placed, g.add("Gather", [table, "labels"], "kinds", axis=0)], "token")
    g.add("Transpose", [token], "tokens", perm=[1, 0, 2])
    mean = g.add("ReduceMean", [token], "mean", axes=[1], keepdims=0)
    flat = g.add("Reshape", ["embedding", g.constant("flat", np.array([CHANNELS, GRID * GRID], np.int64))], "cells")
    scores = g.add("Mul", [g.add("MatMul", [mean, flat], "scores"), "gain"], "gained")
    g.add("ArgMax", [scores], "best", axis=1, keepdims=0)
    kept = g.add("Unsqueeze", ["keep", g.constant("last", np.array([1], np.int64))], "kept")
    shown = g.add("Where", [kept, scores, g.constant("nothing", np.float32(0))], "shown")
    g.add("Reshape", [shown, g.constant("square", np.array([-1, GRID, GRID], np.int64))], "masks")
    return g.model(
        [("embedding", TensorProto.FLOAT, [1, CHANNELS, GRID, GRID]), ("points", TensorProto.FLOAT, ["P", "K", 2]),
         ("labels", TensorProto.INT64, ["P", "K"]), ("keep", TensorProto.BOOL, ["P"]), ("gain", TensorProto.FLOAT, [])],
        [("masks", TensorProto.FLOAT, ["P", GRID, GRID]), ("tokens", TensorProto.FLOAT, ["K", "P", CHANNELS]),
         ("best", TensorProto.INT64, ["P"])],
    )  # fmt: skip


def prompts(count: int, points: int, *, seed: int = 0) -> dict[str, np.ndarray]:
    """What `prompted` takes, for `count` prompts of `points` points."""
    rng = np.random.default_rng(seed)
    return {
        "embedding": rng.normal(size=(1, CHANNELS, GRID, GRID)).astype(np.float32),
        "points": rng.uniform(size=(count, points, 2)).astype(np.float32),
        "labels": rng.integers(0, 3, (count, points)),
        "keep": rng.uniform(size=count) < 0.7,
        "gain": np.array(rng.uniform(1, 2), np.float32),
    }


SAFE_LIMIT = 127 if probe.cpu().adds_in_32_bits else 64
"""Largest int8 weight whose products no kernel of this CPU cuts."""


def mlp(
    rows: int | str = "N", *, width: int = 64, relu: bool = False, between: str = "", limit: int = SAFE_LIMIT
) -> bytes:
    """Two chained int8 MatMul without bias, (rows, width) in "x" and "y". between: an operator between them. limit: of
    the weights; where 16-bit sums saturate, wide ones would hide what is looked for."""
    g, rng, x = Sketch(), np.random.default_rng(0), "x"
    for index in range(2):
        weight = rng.normal(0, width**-0.5, (width, width)).astype(np.float32)
        out = "y" if index else "hidden"
        x = g.add("MatMul", [g.qdq(x, 0.05), g.int8_weight(f"w{index}", weight, axis=1, limit=limit)], out)
        if (relu or between) and not index:
            x = g.add(between or "Relu", [x], "hidden_between")
    shape = [rows, width]
    return g.model([("x", TensorProto.FLOAT, shape)], [("y", TensorProto.FLOAT, shape)])


def full_scale(limit: int, *, outputs: int = 4, group: int = 1, side: int = 1, op: str = "Conv") -> bytes:
    """A convolution (or, of side 1, a ConvTranspose) of 64 channels whose int8 weights are all `limit`: with input 1.0
    every pair of products is at its largest. Exact answer for input 1.0: 64 / group * side * side * limit / 100. side:
    of the kernel."""
    g = Sketch()
    ends = (outputs, 64 // group) if op == "Conv" else (64, outputs // group)
    g.constant("w_int8", np.full((*ends, side, side), limit, np.int8))
    g.constant("w_scale", np.full(outputs, 0.01, np.float32))
    g.constant("w_zero", np.zeros(outputs, np.int8))
    weight = g.add("DequantizeLinear", ["w_int8", "w_scale", "w_zero"], "w", axis=0 if op == "Conv" else 1)
    x = g.add(op, [g.qdq("x", 1 / 127), weight], "conv", kernel_shape=[side, side], group=group)
    g.add("Identity", [g.qdq(x, 1.0)], "y")
    shape = [1, outputs, 5 - side, 5 - side]
    return g.model([("x", TensorProto.FLOAT, [1, 64, 4, 4])], [("y", TensorProto.FLOAT, shape)])


def read_twice(zero: Any) -> bytes:
    """An int8 convolution whose quantized output goes to two readers. zero: zero point of the activations."""
    g = Sketch()
    weight = g.int8_weight("w", np.random.default_rng(0).normal(0, 0.2, (8, 4, 3, 3)).astype(np.float32), axis=0)
    x = g.add("Conv", [g.qdq("x", 0.03, zero=zero), weight], "conv", kernel_shape=[3, 3])
    x = g.qdq(x, 0.03, zero=zero)
    g.add("Mul", [g.add("Abs", [x], "size"), g.add("Exp", [x], "grown")], "y")
    return g.model([("x", TensorProto.FLOAT, [1, 4, 6, 6])], [("y", TensorProto.FLOAT, [1, 8, 4, 4])])


def kept_float(op: str, *, before: str = "", after: str = "", kept: bool = False) -> bytes:
    """An operator of float weights, one channel of which is small, between a DQ and a Q, (1, 4, 2, 2) in "x" (2, 4 for
    Gemm). before, after: an operator that answers its input, in between. kept: with what keeps the weights float."""
    g, flat = Sketch(), op == "Gemm"
    shape = [2, 4] if flat else [1, 4, 2, 2]
    weight = np.eye(4, dtype=np.float32) * np.float32([0.4, 90, 90, 90])
    weight = weight if flat else weight.reshape(4, 4, 1, 1)

    def passed(kind: str, x: str) -> str:
        whole = {name: g.constant(f"{name}_{x}", np.array(value)) for name, value in (("shape", shape), ("axis", [0]))}
        match kind:
            case "":
                return x
            case "Reshape":
                return g.add(kind, [x, whole["shape"]], f"{x}_passed")
            case "Slice":
                end = g.constant(f"end_{x}", np.array(shape[:1]))
                return g.add(kind, [x, g.constant(f"start_{x}", np.array([0])), end, whole["axis"]], f"{x}_passed")
            case "Squeeze" | "Unsqueeze":
                more = g.add("Unsqueeze", [x, whole["axis"]], f"{x}_more")
                return g.add("Squeeze", [more, whole["axis"]], f"{x}_passed")
            case "Clip":
                limits = [g.constant(f"{part}_{x}", np.float32(value)) for part, value in (("lo", -99), ("hi", 99))]
                return g.add(kind, [x, *limits], f"{x}_passed")
        attributes: dict[str, Any] = {
        "MaxPool": {"kernel_shape": [1, 1]}, "Cast": {"to": TensorProto.FLOAT}, "Transpose": {"perm": [0, 1, 3, 2]},
    }  # fmt: skip
        return g.add(kind, [x], f"{x}_passed", **attributes.get(kind, {}))

    x = passed(before, g.qdq("x", 0.02, zero=np.uint8(128)))
    x = g.add(op, [x, g.constant("w", weight), g.constant("b", np.zeros(4, np.float32))], "sums")
    if kept:
        x = g.add("Max", [x, g.constant("lowest", np.float32(np.finfo(np.float32).min))], "float")
    g.add("Identity", [g.qdq(passed(after, x), 0.01, zero=np.uint8(128))], "y")
    return g.model([("x", TensorProto.FLOAT, shape)], [("y", TensorProto.FLOAT, shape)])


def joined(zero: Any, between: str = "", *, pair: bool = True) -> bytes:
    """An int8 convolution of two int8 convolutions' Concat, (1, 8, 8, 8) in "x" and "y". zero: zero point of the
    activations. between: a node between the Concat and the convolution; pair: Q/DQ of its own behind it."""
    g, rng, x = Sketch(), np.random.default_rng(0), "x"

    def convolved(source: str, previous: int, name: str) -> str:
        weight = g.int8_weight(f"w_{name}", rng.normal(0, 0.3, (8, previous, 1, 1)).astype(np.float32), axis=0)
        return g.add("Conv", [source, weight], name, kernel_shape=[1, 1])

    x = g.qdq(x, 0.03, zero=zero)
    halves = [g.qdq(g.add("Relu", [convolved(x, 8, name)], f"relu_{name}"), 0.03, zero=zero) for name in ("a", "b")]
    x = g.add("Concat", halves, "both", axis=1)
    if between == "Mul":
        x = g.add("Mul", [x, g.constant("gain", np.float32(0.7))], "scaled")
    elif between == "MaxPool":
        x = g.add("MaxPool", [x], "pooled", kernel_shape=[1, 1])
    elif between:
        x = g.add(between, [x], "between")
    convolved(g.qdq(x, 0.03, zero=zero) if pair else x, 16, "y")
    return g.model([("x", TensorProto.FLOAT, [1, 8, 8, 8])], [("y", TensorProto.FLOAT, [1, 8, 8, 8])])
