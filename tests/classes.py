"""A real classification bundle that is tiny: two convolutions that tell the colour of a picture, packed by the product
itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_sdk import preprocess
from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.bundle.store import Bundle
from edge_sdk.export.calibrating import quantized
from edge_sdk.export.family import Exported, FloatGraph
from edge_sdk.export.onnx_graph import GraphBuilder
from edge_sdk.export.pack import Parts, pack, provenance
from edge_sdk.export.tasks import export_task
from edge_sdk.export.tasks.anomaly.golden import sample
from edge_sdk.export.tasks.base import Golden
from edge_sdk.tasks.base import MODEL
from edge_sdk.tasks.classification.scores import ClassificationSettings

SIDE = 32
LABELS = ("red", "green", "blue")
RECORD = Preprocessing(width=SIDE, height=SIDE)


def picture(label: str, seed: int = 0, *, height: int = 40, width: int = 60) -> NDArray[np.uint8]:
    """A noisy surface, a little more of one colour than of the others."""
    rng = np.random.default_rng([seed, LABELS.index(label)])
    tint = np.where(np.arange(3) == LABELS.index(label), 150.0, 100.0)
    waves = 20 * np.sin(np.arange(width) / (3 + seed % 5))[None, :, None]
    return np.clip(tint + waves + rng.normal(0, 12, (height, width, 3)), 0, 255).astype(np.uint8)


def graph(*, softmax: bool = False, batch: str | int = "N", pictures: bool = True, gain: float = 12.0) -> bytes:
    """uint8 (N, 32, 32, 3), or float32 (N, 3, 32, 32) in 0..1 -> float32 "logits" (N, 3), or "probabilities".

    gain: of the logits: the mean of a colour in 0..1 less the mean of the other two, times `gain`.
    """
    rng = np.random.default_rng(3)
    b = GraphBuilder("colours")
    if pictures:
        x = b.picture(b.input("image", "uint8", [batch, SIDE, SIDE, 3]))
        x = b.arithmetic("Mul", x, 1 / 255, name="scale")
    else:
        x = b.input("image", "float32", [batch, 3, SIDE, SIDE])
    spread = np.abs(rng.normal(0, 1, (3, 4, 3, 3)))
    first = np.zeros((12, 3, 3, 3))  # four filters a colour, which all keep its mean
    for colour in range(3):
        first[4 * colour : 4 * colour + 4, colour] = spread[colour] / spread[colour].sum((1, 2), keepdims=True)
    x = b.node("Relu", [b.conv(x, first, np.zeros(12), name="conv1", stride=2)], name="relu1")
    second = np.repeat(np.eye(3) * 1.5 - 0.5, 4, axis=1)[:, :, None, None] * gain / 4
    x = b.conv(x, second, np.zeros(3), name="conv2")
    name = b.mean(x, [2, 3], name="logits", keep=False)
    if softmax:
        name = b.node("Softmax", [name], name="probabilities", attributes={"axis": -1})
    b.output(name, "float32", [batch, 3])
    return b.finish()


def settings(**changes: Any) -> ClassificationSettings:
    """Of the graph above with logits."""
    return ClassificationSettings(**{"labels": LABELS, "scores": "logits"} | changes)


class Feeds:
    """Calibration samples that can be read again and again."""

    def __init__(self, *, pictures: bool = True, count: int = 9) -> None:
        self._pictures, self._count = pictures, count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[dict[str, NDArray[Any]]]:
        for seed in range(self._count):
            tensor = preprocess.apply(picture(LABELS[seed % 3], seed), RECORD).tensor
            yield {"image": tensor if self._pictures else as_floats(tensor)}


def as_floats(tensor: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 NHWC -> float32 NCHW in 0..1."""
    return np.ascontiguousarray(tensor.transpose(0, 3, 1, 2) / np.float32(255), np.float32)


def exported(*, softmax: bool = False, pictures: bool = True, batch: str | int = "N", **changes: Any) -> Exported:
    """The graph with its settings. changes: of the settings."""
    made = FloatGraph(onnx=graph(softmax=softmax, batch=batch, pictures=pictures))
    scores = {"scores": "probabilities"} if softmax else {}
    return Exported(
        graphs={MODEL: made}, settings=settings(**(scores | changes)), preprocessing=RECORD if pictures else None
    )


def golden(*, pictures: bool = True) -> list[Golden]:
    """A sample of each class."""
    if pictures:
        return [sample(label, picture(label, 7)) for label in LABELS]
    return [Golden(source=feeds) for feeds in Feeds(pictures=False, count=3)]


def write(path: Path, made: Exported, *, variants: Sequence[str] | None = (), pictures: bool = True) -> Bundle:
    """Packs the bundle. variants: besides fp32, None = all."""
    one = made.graphs[MODEL]
    float_graph = FloatGraph(onnx=one.onnx, variants=None if variants is None else tuple(variants))
    parts = Parts(
        name="colours", family="tiny", task="classification", exported=made,
        quantized={MODEL: quantized(float_graph, Feeds(pictures=pictures), threads=1)},
        golden=golden(pictures=pictures), tolerances=export_task("classification").tolerances,
        provenance=provenance(),
    )  # fmt: skip
    return pack(parts, path)
