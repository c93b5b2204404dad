"""ONNX operators in plain numpy, int8 products in whole numbers. Knows no graph and no runtime.

Each takes the node's attributes and its inputs (None = left out) and answers its only output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from typing import Any, TypeAlias

import numpy as np
import onnx

from edge_sdk.tensors import Array

Attributes: TypeAlias = Mapping[str, Any]
Operator: TypeAlias = Callable[..., Array]


def quantize_linear(attributes: Attributes, x: Array, scale: Array, zero_point: Array) -> Array:
    limits = np.iinfo(zero_point.dtype)
    q = np.rint(x / along(scale, x, attributes)) + along(zero_point, x, attributes).astype(np.float32)
    return np.asarray(np.clip(q, limits.min, limits.max).astype(zero_point.dtype))


def dequantize_linear(attributes: Attributes, x: Array, scale: Array, zero_point: Array | None = None) -> Array:
    return np.asarray(shifted(attributes, x, zero_point).astype(np.float32) * along(scale, x, attributes))


def shifted(attributes: Attributes, x: Array, zero_point: Array | None) -> Array:
    """Quantized values less their zero point, int32."""
    whole = x.astype(np.int32)
    return whole if zero_point is None else np.asarray(whole - along(zero_point, x, attributes).astype(np.int32))


def along(values: Array, x: Array, attributes: Attributes) -> Array:
    """One value per slice of the axis that the node names (1 where it names none), or one for all."""
    axis = attributes.get("axis", 1) % max(x.ndim, 1)
    return values.reshape([-1 if a == axis else 1 for a in range(x.ndim)]) if values.ndim else values


def conv(attributes: Attributes, x: Array, weight: Array, bias: Array | None = None) -> Array:
    """(N, C, H, W) by (M, C / group, h, w); whole numbers stay whole."""
    group, (down, right) = attributes.get("group", 1), attributes.get("strides", (1, 1))
    top, left, bottom, end = attributes.get("pads", (0, 0, 0, 0))
    if attributes.get("auto_pad", b"NOTSET") != b"NOTSET" or set(attributes.get("dilations", (1,))) != {1}:
        raise NotImplementedError("Conv with auto_pad or dilations")
    wide = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, end)))
    height, width = weight.shape[2:]
    rows, columns = (wide.shape[2] - height) // down + 1, (wide.shape[3] - width) // right + 1
    n, each, out_each = len(x), weight.shape[1], len(weight) // group
    out = np.zeros((n, len(weight), rows, columns), x.dtype)
    for g, i, j in product(range(group), range(height), range(width)):
        seen = wide[:, g * each : (g + 1) * each, i : i + down * rows : down, j : j + right * columns : right]
        mine = slice(g * out_each, (g + 1) * out_each)
        out[:, mine] += np.einsum("nchw,mc->nmhw", seen, weight[mine, :, i, j])
    return out if bias is None else out + bias.reshape(1, -1, 1, 1)


def matmul(attributes: Attributes, a: Array, b: Array) -> Array:
    return np.asarray(a @ b)


def gemm(attributes: Attributes, a: Array, b: Array, c: Array | None = None) -> Array:
    if (attributes.get("alpha", 1.0), attributes.get("beta", 1.0)) != (1.0, 1.0):
        raise NotImplementedError("Gemm with alpha or beta")
    got = (a.T if attributes.get("transA") else a) @ (b.T if attributes.get("transB") else b)
    return np.asarray(got if c is None else got + c)


def reduce_mean(attributes: Attributes, x: Array, axes: Array | None = None) -> Array:
    over = attributes.get("axes") if axes is None else axes.tolist()
    mean = x.mean(axis=None if over is None else tuple(over), keepdims=bool(attributes.get("keepdims", 1)))
    return np.asarray(mean, x.dtype)


def reshape(attributes: Attributes, x: Array, shape: Array) -> Array:
    return x.reshape([x.shape[i] if size == 0 else int(size) for i, size in enumerate(shape)])


def depth_to_space(attributes: Attributes, x: Array) -> Array:
    n, c, h, w = x.shape
    side = attributes["blocksize"]
    if attributes.get("mode", b"DCR") != b"DCR":
        raise NotImplementedError("DepthToSpace in mode CRD")
    blocks = x.reshape(n, side, side, c // side**2, h, w)
    return blocks.transpose(0, 3, 4, 1, 5, 2).reshape(n, c // side**2, h * side, w * side)


def cast(attributes: Attributes, x: Array) -> Array:
    return x.astype(onnx.helper.tensor_dtype_to_np_dtype(attributes["to"]))


def clip(attributes: Attributes, x: Array, low: Array | None = None, high: Array | None = None) -> Array:
    return np.asarray(np.clip(x, low, high)) if low is not None or high is not None else x


def softened(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)), x.dtype)


PRODUCTS: Mapping[str, Operator] = {"Conv": conv, "MatMul": matmul, "Gemm": gemm}
"""Operators that can be done in int8."""

OPERATORS: Mapping[str, Operator] = {
    **PRODUCTS,
    "QuantizeLinear": quantize_linear,
    "DequantizeLinear": dequantize_linear,
    "Add": lambda _, a, b: np.asarray(a + b),
    "Sub": lambda _, a, b: np.asarray(a - b),
    "Mul": lambda _, a, b: np.asarray(a * b),
    "Div": lambda _, a, b: np.asarray(a / b),
    "Relu": lambda _, x: np.maximum(x, x.dtype.type(0)),
    "Sigmoid": lambda _, x: softened(x),
    "Tanh": lambda _, x: np.asarray(np.tanh(x)),
    "Clip": clip,
    "Cast": cast,
    "Identity": lambda _, x: x,
    "Constant": lambda attributes: np.asarray(onnx.numpy_helper.to_array(attributes["value"])),
    "Concat": lambda attributes, *parts: np.concatenate(parts, axis=attributes["axis"]),
    "Transpose": lambda attributes, x: x.transpose(attributes.get("perm")),
    "Reshape": reshape,
    "ReduceMean": reduce_mean,
    "GlobalAveragePool": lambda _, x: np.asarray(x.mean(axis=(2, 3), keepdims=True), x.dtype),
    "DepthToSpace": depth_to_space,
}
