"""A real anomaly bundle that is tiny: three convolutions that answer to sharp edges, packed by the product itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_sdk import preprocess
from edge_sdk.bundle.manifest import Manifest, Preprocessing
from edge_sdk.bundle.store import Bundle, write_bundle
from edge_sdk.decision.conformal import conformal
from edge_sdk.decision.threshold import Threshold
from edge_sdk.export.calibrating import quantized
from edge_sdk.export.family import Exported, FloatGraph
from edge_sdk.export.golden_pictures import sample
from edge_sdk.export.onnx_graph import GraphBuilder
from edge_sdk.export.pack import Parts, pack, provenance
from edge_sdk.export.tasks.anomaly.task import AnomalyExport
from edge_sdk.export.tasks.base import ANY_OUTPUT, TOLERANCES, Golden
from edge_sdk.golden import answers
from edge_sdk.preprocess import Grid
from edge_sdk.runtimes import registry
from edge_sdk.runtimes.protocol import CompileOptions
from edge_sdk.tasks.anomaly.detector import AnomalySettings
from edge_sdk.tasks.base import MODEL
from edge_sdk.tasks.tensor import TensorSettings

SIDE = 64


def picture(seed: int, *, height: int = 90, width: int = 120, damaged: bool = False) -> NDArray[np.uint8]:
    """A smooth grey-blue surface with a little noise; damaged: a bright square with sharp edges."""
    rng = np.random.default_rng(seed)
    ys, xs = np.mgrid[0:height, 0:width]
    base = 110 + 25 * np.sin(xs / 40 + seed) + 20 * np.cos(ys / 31)
    out = base[..., None] * np.array([0.9, 1.0, 1.1]) + rng.normal(0, 3, (height, width, 3))
    if damaged:
        y, x = height // 3, width // 2
        out[y : y + 16, x : x + 16] = 250
    return np.clip(np.rint(out), 0, 255).astype(np.uint8)


def graph(*, side: int = SIDE, preprocessing: Preprocessing | None = None) -> Exported:
    """preprocessing: None = stretched to side x side.

    uint8 (N, side, side, 3) -> map (N, side / 4, side / 4), score (N,): mean square of random differences."""
    rng = np.random.default_rng(7)
    b = GraphBuilder("tiny")
    x = b.picture(b.input("image", "uint8", ["N", side, side, 3]))
    x = b.arithmetic("Mul", b.arithmetic("Sub", x, 127.5, name="centre"), 1 / 64, name="scale")
    edges = rng.normal(0, 0.3, (16, 3, 3, 3)).astype(np.float32)
    edges -= edges.mean((2, 3), keepdims=True)  # blind to flat areas: what is left is edges
    x = b.conv(x, edges, np.zeros(16, np.float32), name="conv1", pads=(1, 1, 1, 1))
    x = b.node("Relu", [x], name="relu1")
    second = rng.normal(0, 0.15, (16, 16, 3, 3)).astype(np.float32)
    bias = rng.normal(0, 0.1, 16).astype(np.float32)
    x = b.node("Relu", [b.conv(x, second, bias, name="conv2", pads=(1, 1, 1, 1), stride=2)], name="relu2")
    third = rng.normal(0, 0.2, (24, 16, 2, 2)).astype(np.float32)
    taught = b.conv(x, third, np.zeros(24, np.float32), name="conv3", stride=2)
    before = len(b.node_names)
    flat = b.constant("normal", np.zeros((1, 24, 1, 1), np.float32))
    cells = b.squeeze(b.mean_square(taught, flat, name="map4d"), 1, name="map")
    score = b.largest_mean(cells, 1, name="score")
    assert (cells, score) == ("map", "score")
    b.output("map", "float32", ["N", side // 4, side // 4])
    b.output("score", "float32", ["N"])
    settings = AnomalySettings(grid=Grid(offset_px=2.0, stride_px=4.0), reduction="highest cell of the map")
    return Exported(
        graphs={MODEL: FloatGraph(onnx=b.finish(), keep_fp32=b.node_names[before:])}, settings=settings,
        preprocessing=preprocessing or Preprocessing(width=side, height=side),
    )  # fmt: skip


def record_of(made: Exported) -> Preprocessing:
    """How its pictures are prepared."""
    assert made.preprocessing is not None
    return made.preprocessing


class Feeds:
    """Calibration samples that can be read again and again."""

    def __init__(self, made: Exported, count: int = 8) -> None:
        self._made, self._count = made, count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[dict[str, NDArray[np.uint8]]]:
        for seed in range(self._count):
            tensor = preprocess.apply(picture(seed, damaged=seed % 2 == 1), record_of(self._made)).tensor
            for tile in tensor:
                yield {"image": tile[None]}


def scores(made: Exported, pictures: list[NDArray[np.uint8]]) -> list[float]:
    """Raw fp32 scores; of tiles the highest."""
    options = CompileOptions(reference=True, threads=1)
    session = registry.runtime("onnxruntime").compile(made.graphs[MODEL].onnx, options)
    try:
        inputs = [preprocess.apply(p, record_of(made)).tensor for p in pictures]
        return [float(answers(session, {"image": x})["score"].max()) for x in inputs]
    finally:
        session.close()


def decision(made: Exported) -> Threshold:
    """From twenty good pictures, 5 % asked for."""
    return conformal(scores(made, [picture(100 + i) for i in range(20)]), rate="5%")


def write(path: Path, *, decided: bool = True, preprocessing: Preprocessing | None = None) -> Bundle:
    """Packs the tiny bundle."""
    made = graph(preprocessing=preprocessing)
    parts = Parts(
        name="tiny", family="tiny", task="anomaly", exported=made,
        quantized={MODEL: quantized(made.graphs[MODEL], Feeds(made), threads=1)},
        golden=[
            sample("good", picture(1)), sample("good", picture(2)),
            sample("damaged on purpose", picture(3, damaged=True)),
        ],
        tolerances=AnomalyExport().tolerances, records=(decision(made),) if decided else (),
        provenance=provenance(seed=7),
    )  # fmt: skip
    return pack(parts, path)


def write_tensors(path: Path) -> Bundle:
    """The same graph as a bundle of the task "tensor", with an int8 variant."""
    made = graph()
    golden = [Golden(source=feeds) for feeds in Feeds(made, 2)]
    parts = Parts(
        name="tiny", family="generic", task="tensor",
        exported=Exported(graphs={MODEL: made.graphs[MODEL]}, settings=TensorSettings()),
        quantized={MODEL: quantized(made.graphs[MODEL], Feeds(made, 2), threads=1)}, golden=golden,
        tolerances=lambda role, variant: {ANY_OUTPUT: TOLERANCES[variant]}, provenance=provenance(),
    )  # fmt: skip
    return pack(parts, path)


def _as_it_is(manifest: Manifest) -> Manifest:
    return manifest


def rewritten(
    source: Path, target: Path, change: Callable[[str, bytes], bytes] = lambda name, data: data,
    described: Callable[[Manifest], Manifest] = _as_it_is,
) -> None:  # fmt: skip
    """The same bundle with members changed by `change(name, bytes) -> bytes`, hashes made right again."""
    with Bundle.open(source) as b:
        graphs = {g.name: b.graph(g.name) for g in b.manifest.graphs}
        members = {
            name: change(name, bytes(b.read(name)))
            for name in b.manifest.members
            if not name.startswith(("graphs/", "weights/"))
        }
        manifest = described(msgspec.structs.replace(b.manifest, members={}))
    used = {a.member for g in manifest.golden for o in g.outputs.values() for a in o.values()}
    members = {name: data for name, data in members.items() if "/outputs/" not in name or name in used}
    write_bundle(target, manifest=manifest, graphs=graphs, members=members).close()
