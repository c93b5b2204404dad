"""Graphs that map noise to a picture as others export them: small, with random weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from onnx import TensorProto

from edge_sdk.export.onnx_graph import GraphBuilder

SIDE, WIDTH = 16, 16


def terrain_like(path: Path, *, rows: int | str = "batch") -> Path:
    """A consistency model: "noisy" float32 (batch, 1, 16, 16), "sigma" and "difficulty" (batch,) to "denoised" in
    [-1, 1], with InstanceNormalization of groups, attention by Einsum, and Resize."""
    rng = np.random.default_rng(3)
    g = GraphBuilder("terrain", opset=18)
    noisy = g.input("noisy", "float32", (rows, 1, SIDE, SIDE))
    sigma, difficulty = g.input("sigma", "float32", (rows,)), g.input("difficulty", "float32", (rows,))
    scale = g.node("Reciprocal", [g.arithmetic("Add", sigma, 0.5, name="level")], name="inverse")
    wide = g.constant("wide", np.array([-1, 1, 1, 1], np.int64))
    x = g.node("Mul", [noisy, g.node("Reshape", [scale, wide], name="inverse/wide")], name="scaled")
    both = [g.node("Log", [sigma], name="log"), difficulty]
    column = g.constant("column", np.array([1], np.int64))
    parts = [g.node("Unsqueeze", [one, column], name=f"part/{at}") for at, one in enumerate(both)]
    joined = g.node("Concat", parts, name="joined", attributes={"axis": 1})
    weight = g.constant("embedding/weight", rng.normal(0, 0.6, (2, WIDTH)).astype(np.float32))
    embedded = g.node("MatMul", [joined, weight], name="embedding")
    x = first = g.conv(x, *_weights(rng, WIDTH, 1, 3), name="in", pads=(1, 1, 1, 1))
    shape = g.constant("wide/2", np.array([-1, WIDTH, 1, 1], np.int64))
    x = g.node("Add", [_norm(g, x, "norm"), g.node("Reshape", [embedded, shape], name="embedding/wide")], name="sum")
    x = _conv(g, g.node("Mul", [x, g.node("Sigmoid", [x], name="gate")], name="active"), rng, "middle")
    x = g.node("AveragePool", [x], name="halved", attributes={"kernel_shape": [2, 2], "strides": [2, 2]})
    x = _attention(g, _conv(g, x, rng, "low"))
    twice = g.constant("twice", np.array([1, 1, 2, 2], np.float32))
    how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    x = g.node("Add", [g.node("Resize", [x, "", twice], name="doubled", attributes=how), first], name="skip")
    x = g.conv(_conv(g, x, rng, "high"), *_weights(rng, 1, WIDTH, 3), name="out", pads=(1, 1, 1, 1))
    g.clip(x, -1.0, 1.0, name="denoised")
    g.output("denoised", "float32", (rows, 1, SIDE, SIDE))
    path.write_bytes(g.finish())
    return path


def plain(
    path: Path, *, channels: int = 3, sides: Sequence[int | str] = (8, 12), rows: int | str = "N", name: str = "z",
    answer: str = "picture", last: bool = False, then: str = "Tanh", extra: tuple[str, str] | None = None,
) -> Path:  # fmt: skip
    """Two convolutions of `name` (rows, 2, *sides), then `then`. last: the answer is (N, H, W, C). extra: (name, type)
    of an input of no use that is added to the noise."""
    rng = np.random.default_rng(5)
    g = GraphBuilder("plain", opset=18)
    x = g.input(name, "float32", (rows, 2, *sides))
    if extra is not None:
        more = g.node("Cast", [g.input(extra[0], extra[1], (rows,))], name="more", attributes={"to": TensorProto.FLOAT})  # type: ignore[arg-type]
        wide = g.constant("wide", np.array([-1, 1, 1, 1], np.int64))
        x = g.node("Add", [x, g.node("Reshape", [more, wide], name="more/wide")], name="with_more")
    x = _conv(g, g.conv(x, *_weights(rng, WIDTH, 2, 3), name="in", pads=(1, 1, 1, 1)), rng, "middle")
    x = g.conv(x, *_weights(rng, channels, WIDTH, 3), name="out", pads=(1, 1, 1, 1))
    x = g.node(then, [x], name="end" if last else answer)
    if last:
        g.node("Transpose", [x], name=answer, attributes={"perm": [0, 2, 3, 1]})
    g.output(answer, "float32", (rows, *sides, channels) if last else (rows, channels, *sides))
    path.write_bytes(g.finish())
    return path


def _conv(g: GraphBuilder, x: str, rng: np.random.Generator, name: str) -> str:
    made = g.conv(x, *_weights(rng, WIDTH, WIDTH, 3), name=name, pads=(1, 1, 1, 1))
    return g.node("Mul", [made, g.node("Sigmoid", [made], name=f"{name}/gate")], name=f"{name}/active")


def _norm(g: GraphBuilder, x: str, name: str) -> str:
    grouped = g.node("Reshape", [x, g.constant("groups", np.array([0, 4, -1], np.int64))], name=f"{name}/grouped")
    ones, zeros = g.constant("ones", np.ones(4, np.float32)), g.constant("zeros", np.zeros(4, np.float32))
    normed = g.node("InstanceNormalization", [grouped, ones, zeros], name=f"{name}/normed")
    shape = g.node("Shape", [x], name=f"{name}/shape")
    return g.node("Reshape", [normed, shape], name=name)


def _attention(g: GraphBuilder, x: str) -> str:
    flat = g.node("Reshape", [x, g.constant("flat", np.array([0, WIDTH, -1], np.int64))], name="flat/x")
    scores = g.node("Einsum", [flat, flat], name="scores", attributes={"equation": "bct,bcs->bts"})
    small = g.arithmetic("Mul", scores, 0.25, name="small")
    shares = g.node("Softmax", [small], name="shares", attributes={"axis": -1})
    mixed = g.node("Einsum", [shares, flat], name="mixed", attributes={"equation": "bts,bcs->bct"})
    shape = g.constant("map", np.array([0, WIDTH, SIDE // 2, SIDE // 2], np.int64))
    return g.node("Add", [x, g.node("Reshape", [mixed, shape], name="mixed/map")], name="attended")


def _weights(rng: np.random.Generator, after: int, before: int, size: int) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    spread = 1.2 / (before * size * size) ** 0.5
    return rng.normal(0, spread, (after, before, size, size)), rng.normal(0, 0.1, after)
