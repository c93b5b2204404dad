"""Tiny real bundles for the tests: ONNX graphs of a few kilobytes that share weights, a golden sample, decisions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge_sdk.bundle.manifest import (
    GoldenSample,
    Graph,
    Manifest,
    Preprocessing,
    Provenance,
    StoredArray,
    Tolerance,
)
from edge_sdk.bundle.signing import SigningKey
from edge_sdk.bundle.store import Bundle, write_bundle
from edge_sdk.decision.threshold import Threshold
from edge_sdk.tensors import TensorSpec

SIDE = 8
KEY = SigningKey(seed=bytes(range(32)))
OTHER_KEY = SigningKey(seed=bytes(range(1, 33)))


def weights(seed: int = 0, count: int = 512) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(count).astype(np.float32)


def onnx_model(name: str, arrays: list[np.ndarray], *, domain: str = "", op: str = "Add") -> onnx.ModelProto:
    """A chain x -> op(x, w0) -> op(., w1) ... with every array an initializer."""
    nodes, tensors, last = [], [], "x"
    for index, array in enumerate(arrays):
        nodes.append(helper.make_node(op, [last, f"w{index}"], [f"{name}_y{index}"], domain=domain))
        tensors.append(numpy_helper.from_array(array, f"w{index}"))
        last = f"{name}_y{index}"
    nodes.append(helper.make_node("Identity", [last], ["map"]))
    size = max(array.size for array in arrays)
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [size])],
        [helper.make_tensor_value_info("map", TensorProto.FLOAT, [size])],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def onnx_graph(name: str, arrays: list[np.ndarray]) -> bytes:
    model = onnx_model(name, arrays)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def two_layouts() -> dict[str, bytes]:
    """Two graphs that share two weights of 2 KiB; each has a weight of its own, and a small one that stays inside."""
    shared = [weights(0), weights(1)]
    return {
        "int8.a": onnx_graph("a", [*shared, weights(2), weights(9, 1)]),
        "int8.b": onnx_graph("b", [weights(3), *shared, weights(9, 1)]),
    }


def described(name: str, size: int = 512) -> Graph:
    return Graph(
        name=name,
        variant="int8",
        layout="conv-relu-q" if name.endswith("a") else "conv-q-relu-q",
        member="",
        size_bytes=0,
        sha256="",
        opset=17,
        inputs=(TensorSpec(name="x", dtype="float32", shape=(size,)),),
        outputs=(TensorSpec(name="map", dtype="float32", shape=(size,)),),
        tolerance={"map": Tolerance(absolute=1e-6, relative=1e-4)},
    )


def manifest(names: list[str], *, golden: bool = True, sizes: Mapping[str, int] | None = None) -> Manifest:
    """sizes: by graph, of its input and output; 512 of those that are not named."""
    sample = GoldenSample(
        source={"picture": StoredArray(member="golden/0/picture.png", dtype="uint8", shape=(15,))},
        feeds={"model": {"x": StoredArray(member="golden/0/x.f32", dtype="float32", shape=(512,))}},
        outputs={names[0]: {"map": StoredArray(member="golden/0/map.f32", dtype="float32", shape=(512,))}},
        label="good",
    )
    return Manifest(
        name="tiny",
        family="test",
        task="anomaly",
        preprocessing=Preprocessing(width=SIDE, height=SIDE),
        graphs=tuple(described(name, (sizes or {}).get(name, 512)) for name in names),
        golden=(sample,) if golden else (),
        settings={"grid": {"offset_px": 2.0, "stride_px": 4.0}},
        provenance=Provenance(created_utc="2026-01-01T00:00:00Z", product_version="0.1.0", command=(), packages={}),
        extra={"note": "ä 雪", "nested": {"list": [1, 2.5, None, True]}},
    )


def members() -> dict[str, bytes]:
    return {
        "golden/0/picture.png": b"\x89PNG not really",
        "golden/0/x.f32": np.arange(512, dtype="<f4").tobytes(),
        "golden/0/map.f32": np.arange(512, dtype="<f4").tobytes(),
        "report.json": b'{"auroc":0.5}',
    }


def decision(threshold: float = 1.0, words: str = "set by hand") -> Threshold:
    return Threshold(rule="fixed", threshold=threshold, words=words)


def write_tiny(path: Path, *, decisions: int = 2, key: SigningKey | None = KEY) -> Bundle:
    graphs = two_layouts()
    return write_bundle(
        path,
        manifest=manifest(list(graphs)),
        graphs=graphs,
        members=members(),
        decisions=[decision(1.0 + index) for index in range(decisions)],
        key=key,
    )
