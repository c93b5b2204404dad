"""Graphs that segment by arithmetic: disks around positive points, the inside of boxes. Small, exact, no training.

`whole_frame` is built as SAM is: four masks over the whole frame, the first for unambiguous prompts. `windowed` answers
three masks over a window around the prompt. Mask k has radius RADII[k] around a point.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import edge_sdk
from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.export.family import Exported, FloatGraph
from edge_sdk.export.onnx_graph import GraphBuilder
from edge_sdk.export.pack import Parts, pack, provenance
from edge_sdk.export.tasks.base import ANY_OUTPUT, TOLERANCES, Golden
from edge_sdk.tasks.images import stored_picture
from edge_sdk.tasks.segmentation.segmenter import PromptSegmenter
from edge_sdk.tasks.segmentation.settings import SegmentationSettings
from edge_sdk.tensors import Array

SIDE, GRID, CELLS = 64, 8, 32
RADII = (10.0, 4.0, 8.0, 16.0)
"""px of the frame."""
FAR = 1e4


class Arithmetic:
    """Writes one graph; each call adds a node and returns its tensor."""

    def __init__(self, name: str) -> None:
        self.builder = GraphBuilder(name)
        self._count = 0

    def __call__(self, op: str, *inputs: Any, **attributes: Any) -> str:
        """A node. inputs: tensors by name, or arrays and numbers: constants."""
        self._count += 1
        names = [one if isinstance(one, str) else self.constant(one) for one in inputs]
        return self.builder.node(op, names, name=f"{op}{self._count}", attributes=attributes)

    def constant(self, value: Any) -> str:
        self._count += 1
        array = value if isinstance(value, np.ndarray) else np.array(value, np.float32)
        return self.builder.constant(f"c{self._count}", array)

    def output(self, tensor: str, name: str, shape: Sequence[int | str]) -> None:
        self.builder.node("Identity", [tensor], name=name)
        self.builder.output(name, "float32", shape)


def encoder() -> bytes:
    """image, extent -> embedding (1, 3, GRID, GRID): mean colours, 0..1, zero outside the extent."""
    make = Arithmetic("encoder")
    b = make.builder
    b.input("image", "uint8", (1, SIDE, SIDE, 3))
    b.input("extent", "float32", (2,))
    pixels = make("Div", b.picture("image"), 255.0)
    step = SIDE // GRID
    pooled = make("AveragePool", pixels, kernel_shape=[step, step], strides=[step, step])
    centres = (np.arange(GRID, dtype=np.float32) + 0.5) * step
    high = make("Slice", "extent", np.array([0]), np.array([1]))
    wide = make("Slice", "extent", np.array([1]), np.array([2]))
    rows = make("Cast", make("Less", centres.reshape(1, 1, GRID, 1), high), to=1)
    columns = make("Cast", make("Less", centres.reshape(1, 1, 1, GRID), wide), to=1)
    make.output(make("Mul", pooled, make("Mul", rows, columns)), "embedding", (1, 3, GRID, GRID))
    return b.finish()


def decoder(*, windowed: bool, masked: bool) -> bytes:
    """embedding, points, labels[, mask] -> masks, iou[, windows]. masked: the refiner, which adds half the mask."""
    make = Arithmetic("refiner" if masked else "decoder")
    b = make.builder
    b.input("embedding", "float32", (1, 3, GRID, GRID))
    b.input("points", "float32", ("N", "T", 2))
    b.input("labels", "int32", ("N", "T"))
    count, cells = (3, 16) if windowed else (4, CELLS)
    if masked:
        b.input("mask", "float32", ("N", 1, cells, cells))
    is_label = {
        label: make("Cast", make("Equal", "labels", np.array(label, np.int32)), to=1) for label in (-1, 0, 1, 2, 3)
    }
    shifted = make("Add", "points", 0.5)
    x, y = (make("Squeeze", make("Slice", shifted, *_at(axis, 2)), np.array([2])) for axis in (0, 1))  # (N, T)
    corner = {
        name: _sum(make, make("Mul", value, is_label[label]))
        for name, value, label in (("x0", x, 2), ("y0", y, 2), ("x1", x, 3), ("y1", y, 3))
    }  # (N, 1)
    boxed = _sum(make, is_label[2])  # (N, 1), 1 with a box
    window = _window(make, x, y, is_label[1], corner, boxed) if windowed else None
    gx, gy = _centres(make, window, cells)  # (N or 1, 1, m, m)
    radii = np.array(RADII[:count] if not windowed else RADII[1:], np.float32).reshape(1, count, 1, 1)

    def disks(label: int) -> str:
        """(N, K, m, m): radius less distance to the nearest point of `label`, far below zero without any."""
        lost = _spread(make, make("Mul", make("Sub", 1.0, is_label[label]), FAR), (2, 3))
        dx, dy = (make("Sub", _spread(make, at, (2, 3)), g) for at, g in ((x, gx), (y, gy)))  # (N, T, m, m)
        apart = make("Add", make("Sqrt", make("Add", make("Mul", dx, dx), make("Mul", dy, dy))), lost)
        return make("Sub", radii, make("ReduceMin", apart, axes=[1], keepdims=1))

    sides = [
        make("Sub", gx, _spread(make, corner["x0"], (2, 3))), make("Sub", _spread(make, corner["x1"], (2, 3)), gx),
        make("Sub", gy, _spread(make, corner["y0"], (2, 3))), make("Sub", _spread(make, corner["y1"], (2, 3)), gy),
    ]  # fmt: skip
    inside = make("Min", *sides)
    inside = make("Sub", inside, _spread(make, make("Mul", make("Sub", 1.0, boxed), FAR), (2, 3)))
    logits = make("Max", disks(1), inside)
    logits = make("Min", logits, make("Mul", disks(0), -1.0))
    logits = make("Clip", logits, -8.0, 8.0)
    level = make("ReduceMean", "embedding", axes=[0, 1, 2, 3], keepdims=1)
    logits = make("Add", logits, make("Mul", level, 0.01))
    if masked:  # over a window the mask, which covers the whole frame, counts by its mean alone
        seen = make("ReduceMean", "mask", axes=[2, 3], keepdims=1) if windowed else "mask"
        logits = make("Add", logits, make("Mul", seen, 0.1 if windowed else 0.5))
    make.output(logits, "masks", ("N", count, cells, cells))
    scores = np.array([[0.6, 0.7, 0.9, 0.8]][:1], np.float32)[:, -count:]
    found = _sum(make, make("Add", is_label[0], make("Mul", is_label[-1], -0.5)))
    make.output(make("Add", make("Mul", found, 0.02), scores), "iou", ("N", count))
    if window is not None:
        tiled = make("Expand", make("Unsqueeze", window, np.array([1])), np.array([1, count, 1]))
        make.output(tiled, "windows", ("N", count, 4))
    return b.finish()


def _at(index: int, axis: int) -> tuple[Array, Array, Array]:
    """Arguments of Slice: one index of one axis."""
    return np.array([index]), np.array([index + 1]), np.array([axis])


def _sum(make: Arithmetic, rows: str) -> str:
    """(N, T) -> (N, 1)."""
    return make("ReduceSum", rows, np.array([1]), keepdims=1)


def _spread(make: Arithmetic, tensor: str, axes: tuple[int, ...]) -> str:
    return make("Unsqueeze", tensor, np.array(axes))


def _window(make: Arithmetic, x: str, y: str, positive: str, corner: dict[str, str], boxed: str) -> str:
    """(N, 4): the box and 4 px around it, or 24 px to each side of the mean of the positive points."""
    count = make("Max", _sum(make, positive), 1.0)
    alone = make("Sub", 1.0, boxed)
    edges = []
    for name, value, sign in (("x0", x, -1.0), ("y0", y, -1.0), ("x1", x, 1.0), ("y1", y, 1.0)):
        middle = make("Div", _sum(make, make("Mul", value, positive)), count)
        around = make("Mul", make("Add", middle, sign * 24.0), alone)
        edges.append(make("Add", around, make("Mul", make("Add", corner[name], sign * 4.0), boxed)))
    return make("Concat", *edges, axis=1)


def _centres(make: Arithmetic, window: str | None, cells: int) -> tuple[str, str]:
    """x and y of the centres of mask cells, frame px, (N or 1, 1, m, m) when broadcast."""
    parts = ((np.arange(cells, dtype=np.float32) + 0.5) / cells).reshape(1, 1, 1, cells)
    if window is None:
        across = make.constant(parts * SIDE)
        return across, make.constant((parts * SIDE).reshape(1, 1, cells, 1))
    edges = [_spread(make, make("Slice", window, *_at(index, 1)), (2, 3)) for index in range(4)]
    across = make("Add", edges[0], make("Mul", parts, make("Sub", edges[2], edges[0])))
    down = make("Add", edges[1], make("Mul", parts.reshape(1, 1, cells, 1), make("Sub", edges[3], edges[1])))
    return across, down


def exported(*, windowed: bool = False, settings: SegmentationSettings | None = None) -> Exported:
    """All three graphs, at most 8 prompts of at most 6 tokens a call."""
    axes = {"N": 8, "T": 6}
    default = (
        SegmentationSettings(multimask=(0, 1, 2)) if windowed else SegmentationSettings(multimask=(1, 2, 3), single=0)
    )
    return Exported(
        graphs={
            "encoder": FloatGraph(onnx=encoder()),
            "decoder": FloatGraph(onnx=decoder(windowed=windowed, masked=False), axes=axes),
            "refiner": FloatGraph(onnx=decoder(windowed=windowed, masked=True), axes=axes),
        },
        settings=settings or default,
        preprocessing=Preprocessing(width=SIDE, height=SIDE, mode="longest-side", fill=0),
    )


def picture(seed: int, *, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """Noise of its own colour."""
    rng = np.random.default_rng(seed)
    return np.clip(rng.normal(rng.integers(60, 200, 3), 20, (height, width, 3)), 0, 255).astype(np.uint8)


def golden() -> list[Golden]:
    """A point, a box, and points with a box, each on a picture of its own size."""
    prompts: list[dict[str, Array]] = [
        {"points": np.array([[20.0, 24.0]]), "labels": np.array([1], np.int32)},
        {"boxes": np.array([[10.0, 8.0, 60.0, 30.0]])},
        {
            "points": np.array([[30.0, 30.0], [50.0, 10.0]]), "labels": np.array([1, 0], np.int32),
            "boxes": np.array([20.0, 20.0, 40.0, 44.0]),
        },
    ]  # fmt: skip
    sizes = ((48, 64), (96, 72), (50, 70))
    return [
        Golden(source={**stored_picture(png(picture(seed, height=h, width=w))), **prompts[seed]}, label=str(seed))
        for seed, (h, w) in enumerate(sizes)
    ]


def png(rgb: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".png", rgb[:, :, ::-1])[1].tobytes()


def write(path: Path, *, windowed: bool = False, settings: SegmentationSettings | None = None) -> Path:
    """A bundle of these graphs, fp32 alone."""
    parts = Parts(
        name="disks", family="by hand", task="segmentation", exported=exported(windowed=windowed, settings=settings),
        quantized={}, golden=golden(), provenance=provenance(),
        tolerances=lambda role, variant: {ANY_OUTPUT: TOLERANCES[variant]},
    )  # fmt: skip
    pack(parts, path, threads=1).close()
    return path


def opened(path: Path) -> PromptSegmenter:
    """The predictor of such a bundle, on ONNX Runtime."""
    return edge_sdk.load_as(PromptSegmenter, path, runtime="onnxruntime", threads=1, self_check=False)
