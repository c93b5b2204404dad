"""A small picture model both ways: as an ONNX file that resizes inside, and as a bundle that states its preprocessing.
Knows no complaint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from networks import Sketch
from numpy.typing import NDArray

from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.export.family import Exported, FloatGraph
from edge_sdk.export.pack import Parts, pack, provenance
from edge_sdk.export.tasks.anomaly.golden import sample
from edge_sdk.export.tasks.anomaly.task import AnomalyExport
from edge_sdk.preprocess import Grid
from edge_sdk.tasks.anomaly.detector import AnomalySettings
from edge_sdk.tasks.base import MODEL

SIDE = 64
"""Of the network's input, px."""
Picture = NDArray[np.uint8]


def photo(height: int = 192, width: int = 256, *, seed: int = 0) -> Picture:
    """A picture with a fine texture, which a resize either averages or samples; uint8 (height, width, 3) RGB."""
    ys, xs = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(seed).normal(0, 20, (height, width))
    grey = 128 + 60 * np.sin(2.1 * xs + seed) * np.sin(1.9 * ys) + noise
    return np.repeat(np.clip(np.rint(grey), 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def layers(g: Sketch, x: str) -> str:
    """Two convolutions and the largest mean square of the second: the score of the float32 picture `x`, 0 to 1."""
    x = g.relu(g.convolution(x, 3, 8, "conv1"))
    x = g.convolution(x, 8, 8, "conv2")
    cells = g.squeeze(g.mean(g.node("Mul", [x, x], name="square"), [1], name="map4d", keep=True), 1, name="map")
    return g.largest_mean(cells, 1, name="score")


def resizing_file(height: int, width: int) -> bytes:
    """The network behind the Resize node that torch.onnx.export writes for interpolate(antialias=True), opset 18.

    In: float32 (1, 3, height, width), 0 to 1. Out: score (1,)."""
    g = Sketch("resizing", opset=18)
    x = g.input("image", "float32", [1, 3, height, width])
    sizes = g.constant("sizes", np.array([1, 3, SIDE, SIDE], np.int64))
    how = {"mode": "linear", "antialias": 1, "coordinate_transformation_mode": "half_pixel"}
    layers(g, g.node("Resize", [x, "", "", sizes], name="resized", attributes=how))
    g.output("score", "float32", [1])
    return g.finish()


def plain_file() -> bytes:
    """The network alone, for callers that resize by hand. In: float32 (1, 3, SIDE, SIDE), 0 to 1. Out: score (1,)."""
    g = Sketch("plain")
    layers(g, g.input("image", "float32", [1, 3, SIDE, SIDE]))
    g.output("score", "float32", [1])
    return g.finish()


def exported() -> Exported:
    """The same network as a family exports it: uint8 pictures, and how they are prepared."""
    g = Sketch("bundled")
    x = g.picture(g.input("image", "uint8", ["N", SIDE, SIDE, 3]))
    layers(g, g.arithmetic("Mul", x, 1 / 255, name="unit"))
    g.output("map", "float32", ["N", SIDE, SIDE])
    g.output("score", "float32", ["N"])
    return Exported(
        graphs={MODEL: FloatGraph(onnx=g.finish(), variants=())}, preprocessing=Preprocessing(width=SIDE, height=SIDE),
        settings=AnomalySettings(grid=Grid(offset_px=0.5, stride_px=1.0), reduction="highest cell of the map"),
    )  # fmt: skip


def write(path: Path) -> None:
    """A bundle with the float32 graph alone."""
    pack(
        Parts(
            name="photo", family="sample", task="anomaly", exported=exported(), quantized={},
            golden=[sample("good", photo(seed=seed)) for seed in (1, 2)], tolerances=AnomalyExport().tolerances,
            provenance=provenance(seed=0),
        ),
        path,
    ).close()  # fmt: skip
