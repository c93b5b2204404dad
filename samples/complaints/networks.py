"""Small float networks in the shapes that users complain about, and their inputs. Seeded; knows no runtime."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_sdk.export.onnx_graph import GraphBuilder

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Samples:
    """`count` random inputs "image" of one shape, values 0 to 1: drawn when they are read, never kept."""

    shape: tuple[int, ...]
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> dict[str, Array]:
        if not 0 <= number < self.count:
            raise IndexError(number)
        return {"image": np.random.default_rng(number).random(self.shape, np.float32)}

    def __iter__(self) -> Iterator[dict[str, Array]]:
        return (self[number] for number in range(self.count))


class Sketch(GraphBuilder):
    """A graph with random convolutions."""

    def __init__(self, name: str, *, opset: int = 17) -> None:
        super().__init__(name, opset=opset)
        self.rng = np.random.default_rng(0)

    def convolution(
        self, x: str, before: int, after: int, name: str, *, size: int = 3, stride: int = 1, groups: int = 1,
        gain: float = 1.0, tails: bool = False,
    ) -> str:  # fmt: skip
        """tails: weights of a Laplace distribution with a few large ones, as trained networks have them."""
        fan, shape = before // groups * size * size, (after, before // groups, size, size)
        drawn = self.rng.laplace(0, 0.7, shape) if tails else self.rng.standard_normal(shape)
        bias = self.rng.standard_normal(after) * 0.1
        return self.conv(
            x, drawn * gain * np.sqrt(2 / fan), bias, name=name, stride=stride, pads=(size // 2,) * 4, groups=groups
        )

    def relu(self, x: str) -> str:
        return self.node("Relu", [x], name=f"{x}/relu")


def text_detector(side: int = 160) -> tuple[bytes, int]:
    """A text detector in the manner of PP-OCR: depthwise separable with hard swish, a dense neck. Its graph, and how
    many convolutions it has."""
    g, count = Sketch("text_detector"), 0

    def step(x: str, before: int, after: int, **how: int) -> str:
        nonlocal count
        count += 1
        name = f"conv{count}"
        return g.node("HardSwish", [g.convolution(x, before, after, name, **how)], name=f"{name}/swish")

    x, channels = step(g.input("image", "float32", [1, 3, side, side]), 3, 16, stride=2), 16
    for after, stride, size in ((32, 1, 3), (64, 2, 3), (64, 1, 3), (128, 2, 5), (128, 1, 5), (128, 1, 5)):
        x = step(x, channels, channels, size=size, stride=stride, groups=channels)
        x, channels = step(x, channels, after, size=1), after
    x = step(x, channels, 64)
    g.node("Sigmoid", [g.convolution(x, 64, 1, "head", size=1)], name="map")
    g.output("map", "float32", [1, 1, side // 8, side // 8])
    return g.finish(), count + 1


def boxes_and_scores(side: int = 32) -> bytes:
    """A detection head: 4 box coordinates in pixels (0 to 640) and 3 scores (0 to 1) for each cell, in one output."""
    g = Sketch("detector")
    x = g.relu(g.convolution(g.input("image", "float32", [1, 3, side, side]), 3, 16, "conv1", stride=2))
    x = g.relu(g.convolution(x, 16, 32, "conv2", stride=2))
    near = g.node("Sigmoid", [g.convolution(x, 32, 4, "boxes", size=1, gain=0.5)], name="boxes/unit")
    boxes = g.arithmetic("Mul", near, 640.0, name="boxes/pixels")
    scores = g.node("Sigmoid", [g.convolution(x, 32, 3, "scores", size=1, gain=2.0)], name="scores/unit")
    both = g.node("Concat", [boxes, scores], name="both", attributes={"axis": 1})
    cells = (side // 4) ** 2
    g.node("Reshape", [both, g.constant("shape", np.array([1, 7, cells]))], name="detections")
    g.output("detections", "float32", [1, 7, cells])
    return g.finish()


def two_branches(side: int = 32) -> bytes:
    """Two branches, joined by a Concat that a convolution reads."""
    g = Sketch("two_branches")
    x = g.relu(g.convolution(g.input("image", "float32", [1, 3, side, side]), 3, 16, "stem"))
    left, right = g.relu(g.convolution(x, 16, 16, "left", size=1)), g.relu(g.convolution(x, 16, 16, "right"))
    both = g.node("Concat", [left, right], name="both", attributes={"axis": 1})
    x = g.relu(g.convolution(both, 32, 16, "joined"))
    g.convolution(x, 16, 4, "map", size=1)
    g.output("map", "float32", [1, 4, side, side])
    return g.finish()


def chain(side: int, *, layers: int = 4, channels: int = 16, tails: bool = False) -> bytes:
    """Convolutions of 3 x 3 with ReLU, one after the other."""
    g = Sketch("chain")
    x = g.relu(g.convolution(g.input("image", "float32", [1, 3, side, side]), 3, channels, "conv0", tails=tails))
    for number in range(1, layers):
        last = number == layers - 1
        name = "map" if last else f"conv{number}"
        x = g.convolution(x, channels, channels, name, tails=tails)
        x = x if last else g.relu(x)
    g.output("map", "float32", [1, channels, side, side])
    return g.finish()
