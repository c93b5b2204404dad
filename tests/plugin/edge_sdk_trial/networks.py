"""Tiny float32 ONNX graphs with weights drawn from a seed: what the families of this package call trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edge_sdk.tensors import Array

OPSET = 17
EMBEDDING = (16, 8, 8)
Specs: TypeAlias = Mapping[str, tuple[int, Sequence[int | str]]]
"""dtype and shape by name."""


class Weights:
    """Draws weights that keep the spread of what passes through, and remembers them by name."""

    def __init__(self, seed: int) -> None:
        self._rng, self.made = np.random.default_rng(seed), dict[str, NDArray[np.float32]]()

    def draw(self, name: str, shape: Sequence[int], *, inputs: int) -> None:
        """`name` and the bias `name`_bias. inputs: how many values each sum has."""
        out = shape[0] if len(shape) > 2 else shape[-1]
        self.made[name] = (self._rng.standard_normal(shape) * np.sqrt(2.0 / inputs)).astype(np.float32)
        self.made[f"{name}_bias"] = (self._rng.standard_normal(out) * 0.1).astype(np.float32)


def pairs_weights(seed: int, *, channels: int) -> dict[str, NDArray[np.float32]]:
    w = Weights(seed)
    w.draw("first", (channels, 3, 3, 3), inputs=27)
    w.draw("second", (16, channels, 3, 3), inputs=9 * channels)
    w.draw("third", (16, 16, 3, 3), inputs=144)
    w.draw("mix", (16, 16, 1, 1), inputs=16)
    w.draw("place", (2, 16), inputs=2)
    w.draw("both", (16, 16), inputs=16)
    w.draw("last", (16, 3), inputs=16)
    return w.made


def seeds_weights(seed: int, *, channels: int) -> dict[str, NDArray[np.float32]]:
    w = Weights(seed)
    w.draw("first", (4 * channels, 8, 3, 3), inputs=72)
    w.draw("second", (4 * channels, channels, 3, 3), inputs=9 * channels)
    w.draw("third", (3, channels, 3, 3), inputs=36 * channels)
    return w.made


def encoder(weights: Mapping[str, Array]) -> bytes:
    """uint8 "image" (N, 32, 32, 3) -> float32 "embedding" (N, 16, 8, 8)."""
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["real"], ["planes"], "turn", perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["planes", "scale"], ["scaled"], "scale_it"),
        helper.make_node("Add", ["scaled", "shift"], ["centred"], "centre"),
        *_conv("first", "centred", "a", stride=2),
        *_conv("second", "a", "b", stride=2),
        *_conv("third", "b", "embedding"),
    ]
    constants = {**_of(weights, "first", "second", "third"), "scale": _float(1 / 64), "shift": _float(-2)}
    return _model(
        nodes, constants, {"image": (TensorProto.UINT8, ["N", 32, 32, 3])},
        {"embedding": (TensorProto.FLOAT, ["N", *EMBEDDING])},
    )  # fmt: skip


def decoder(weights: Mapping[str, Array]) -> bytes:
    """float32 "embedding" (1, 16, 8, 8) and "points" (P, K, 2) -> float32 "rows" (P, 3), from 0 to 1."""
    nodes = [
        *_conv("mix", "embedding", "mixed", pad=0),
        helper.make_node("GlobalAveragePool", ["mixed"], ["pooled"], "pool"),
        helper.make_node("Reshape", ["pooled", "one_row"], ["row"], "as_row"),
        *_dense("place", "points", "placed", relu=False),
        helper.make_node("Add", ["placed", "row"], ["met"], "meet"),
        helper.make_node("Relu", ["met"], ["met_relu"], "meet_relu"),
        *_dense("both", "met_relu", "groups"),
        helper.make_node("ReduceMean", ["groups"], ["group"], "average", axes=[1], keepdims=0),
        *_dense("last", "group", "logits", relu=False),
        helper.make_node("Sigmoid", ["logits"], ["rows"], "share"),
    ]
    constants = {**_of(weights, "mix", "place", "both", "last"), "one_row": np.array([1, 1, 16], np.int64)}
    inputs: Specs = {"embedding": (TensorProto.FLOAT, [1, *EMBEDDING]), "points": (TensorProto.FLOAT, ["P", "K", 2])}
    return _model(nodes, constants, inputs, {"rows": (TensorProto.FLOAT, ["P", 3])})


def generator(weights: Mapping[str, Array]) -> bytes:
    """float32 "noise" (N, 8, 4, 4) -> float32 "level" (N, 3, 16, 16), from -1 to 1."""
    nodes = [
        *_conv("first", "noise", "a"),
        helper.make_node("DepthToSpace", ["a"], ["a2"], "grow_a", blocksize=2),
        *_conv("second", "a2", "b"),
        helper.make_node("DepthToSpace", ["b"], ["b2"], "grow_b", blocksize=2),
        *_conv("third", "b2", "c", relu=False),
        helper.make_node("Tanh", ["c"], ["level"], "squeeze"),
    ]
    return _model(
        nodes, _of(weights, "first", "second", "third"), {"noise": (TensorProto.FLOAT, ["N", 8, 4, 4])},
        {"level": (TensorProto.FLOAT, ["N", 3, 16, 16])},
    )  # fmt: skip


def _conv(
    name: str, source: str, out: str, *, stride: int = 1, pad: int = 1, relu: bool = True
) -> list[onnx.NodeProto]:
    made = f"{name}_sum" if relu else out
    conv = helper.make_node(
        "Conv", [source, name, f"{name}_bias"], [made], f"{name}_conv", strides=[stride, stride], pads=[pad] * 4
    )
    return [conv, helper.make_node("Relu", [made], [out], f"{name}_relu")] if relu else [conv]


def _dense(name: str, source: str, out: str, *, relu: bool = True) -> list[onnx.NodeProto]:
    made = f"{name}_sum" if relu else out
    nodes = [
        helper.make_node("MatMul", [source, name], [f"{name}_product"], f"{name}_matmul"),
        helper.make_node("Add", [f"{name}_product", f"{name}_bias"], [made], f"{name}_add"),
    ]
    return [*nodes, helper.make_node("Relu", [made], [out], f"{name}_relu")] if relu else nodes


def _of(weights: Mapping[str, Array], *names: str) -> dict[str, Array]:
    return {key: weights[key] for name in names for key in (name, f"{name}_bias")}


def _float(value: float) -> Array:
    return np.array(value, np.float32)


def _model(nodes: Sequence[onnx.NodeProto], constants: Mapping[str, Array], inputs: Specs, outputs: Specs) -> bytes:
    def values(specs: Specs) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(name, dtype, list(shape)) for name, (dtype, shape) in specs.items()]

    weights = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(list(nodes), "trial", values(inputs), values(outputs), weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return bytes(made.SerializeToString())
