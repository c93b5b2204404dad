"""The only writer of bundles: graphs, golden samples, decision and report become one file. Knows no family."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_sdk import __version__, preprocess
from edge_sdk.bundle.manifest import GoldenSample, Graph, Manifest, Provenance, Tolerance
from edge_sdk.bundle.signing import SigningKey
from edge_sdk.bundle.store import Bundle, write_bundle
from edge_sdk.calibration import Quantized, Variant
from edge_sdk.calibration.layout import assert_equal
from edge_sdk.decision import Decision
from edge_sdk.errors import CheckFailed
from edge_sdk.export.checked import checked
from edge_sdk.export.family import FloatGraph
from edge_sdk.extras import need
from edge_sdk.golden import answers
from edge_sdk.progress import Progress, silent
from edge_sdk.runtimes import registry
from edge_sdk.runtimes.onnx_read import read_facts
from edge_sdk.runtimes.protocol import CompileOptions

GOLDEN_SIDE = 640
"""Longest side of a stored golden picture, px: enough to exercise decode and resize, small enough to travel."""

_ALL = "*"
_INT8 = {
    "map": Tolerance(absolute=1e-6, relative=0.06),
    "score": Tolerance(absolute=1e-6, relative=0.04),
    _ALL: Tolerance(absolute=1e-6, relative=0.1),  # any graph's: docs/results/random_graphs.json
}
TOLERANCES: Mapping[str, Mapping[str, Tolerance]] = {
    "fp32": {_ALL: Tolerance(absolute=1e-6, relative=1e-4)},
    "fp16": {_ALL: Tolerance(absolute=1e-3, relative=2e-2)},
    "int8": _INT8,
    "int8-w7": _INT8,
}
"""How far a runtime may be from ONNX semantics to the letter, by variant and output; relative to the largest golden
value. int8: kernels break ties of a rounding their own way, and a residual network carries each step on, so that single
cells of a map differ by up to 2.1 %, scores by 1.2 %. Where sums saturate, a map is off by 10 % and more, a score by
8 %, unless so few do that nothing is wrong (docs/results/verify_margins.json)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parts:
    """What goes into one anomaly bundle. golden: RGB uint8 pictures with a label, the first of them a good part."""

    name: str
    family: str
    task: str
    graph: FloatGraph
    quantized: Quantized
    golden: Sequence[tuple[str, NDArray[np.uint8]]]
    decisions: Sequence[Decision] = ()
    report: Mapping[str, Any] = field(default_factory=dict)
    provenance: Provenance
    extra: Mapping[str, Any] = field(default_factory=dict)


def float_variant(graph: FloatGraph) -> Variant:
    """The float graph as the variant "fp32"."""
    return Variant(variant="fp32", layout="plain", graph=graph.onnx, int8_convolutions=0)


def pack(
    parts: Parts, out: Path, *, key: SigningKey | None = None, threads: int | None = None, progress: Progress = silent
) -> Bundle:
    """Writes `out` in one step (the old file stays if anything fails) and returns it, opened.

    threads: for the golden answers, as in `CompileOptions`.
    Raises CheckFailed if two layouts of one variant do not answer the same, bit by bit, on the golden samples.
    """
    variants = (float_variant(parts.graph), *parts.quantized.variants)
    members: dict[str, bytes] = {}
    pictures = [_shrunk(rgb) for _, rgb in parts.golden]
    tensors = [preprocess.apply(p, parts.graph.preprocessing).tensor for p in pictures]
    outputs: list[dict[str, dict[str, str]]] = [{} for _ in pictures]
    shapes: list[dict[str, tuple[int, ...]]] = [{} for _ in pictures]
    graphs: list[Graph] = []
    answered: dict[str, list[dict[str, NDArray[Any]]]] = {}
    for done, variant in enumerate(variants):
        name = variant.variant if variant.layout == "plain" else f"{variant.variant}.{variant.layout}"
        if name in answered:  # the same layout by another plan
            name = f"{name}.{variant.runtimes[0]}"
        progress(done, len(variants), f"golden answers of {name}")
        graphs.append(_graph(name, variant))
        answered[name] = _answers(variant.graph, graphs[-1], tensors, threads)
        for i, answer in enumerate(answered[name]):
            outputs[i][name] = {}
            for output, value in answer.items():
                member = f"golden/{i}/{name}.{output}.f32"
                members[member] = np.ascontiguousarray(value, "<f4").tobytes()
                outputs[i][name][output] = member
                shapes[i][output] = tuple(value.shape)
    _same_in_both_layouts(graphs, answered, [variant.plan for variant in variants])
    for i, (picture, tensor) in enumerate(zip(pictures, tensors, strict=True)):
        members[f"golden/{i}/picture.png"] = _png(picture)
        members[f"golden/{i}/tensor.u8"] = tensor.tobytes()
    golden = tuple(
        GoldenSample(
            picture=f"golden/{i}/picture.png", tensor=f"golden/{i}/tensor.u8", tensor_shape=tuple(tensors[i].shape),
            outputs=outputs[i], output_shapes=shapes[i], label=parts.golden[i][0],
        )
        for i in range(len(pictures))
    )  # fmt: skip
    if parts.report:
        members["report.json"] = msgspec.json.encode(dict(parts.report))
    manifest = Manifest(
        name=parts.name, family=parts.family, task=parts.task, preprocessing=parts.graph.preprocessing,
        graphs=tuple(graphs), golden=golden, labels=("good", "defect"), grid=parts.graph.grid,
        reduction=parts.graph.reduction,
        targets=checked([(graph, variant.graph) for graph, variant in zip(graphs, variants, strict=True)]),
        provenance=parts.provenance, extra=dict(parts.extra),
    )  # fmt: skip
    progress(len(variants), len(variants), f"writing {out.name}")
    onnx_by_name = {graph.name: variant.graph for graph, variant in zip(graphs, variants, strict=True)}
    return write_bundle(
        out, manifest=manifest, graphs=onnx_by_name, members=members, decisions=parts.decisions, key=key
    )


def _graph(name: str, variant: Variant) -> Graph:
    told = read_facts(variant.graph, where=name)
    bounds = TOLERANCES[variant.variant]
    return Graph(
        name=name, variant=variant.variant, layout=variant.layout, member="", size_bytes=0, sha256="",
        opset=_opset(variant.graph), inputs=told.inputs, outputs=told.outputs,
        int8_convolutions=variant.int8_convolutions,
        tolerance={spec.name: bounds.get(spec.name, bounds.get(_ALL, _INT8["score"])) for spec in told.outputs},
    )  # fmt: skip


def _opset(graph: bytes) -> int:
    model = need("onnx", extra="export").load_from_string(graph)
    return int(max(entry.version for entry in model.opset_import if entry.domain == ""))


def _answers(
    graph: bytes, told: Graph, tensors: Sequence[NDArray[np.uint8]], threads: int | None
) -> list[dict[str, NDArray[Any]]]:
    """ONNX semantics to the letter: ONNX Runtime with every graph optimisation off, one network input at a time."""
    options = CompileOptions(reference=True, graph_name=told.name, threads=threads)
    session = registry.runtime("onnxruntime").compile(graph, options)
    try:
        return [answers(session, tensor) for tensor in tensors]
    finally:
        session.close()


def _same_in_both_layouts(
    graphs: Sequence[Graph], answers: Mapping[str, list[dict[str, NDArray[Any]]]], plans: Sequence[str]
) -> None:
    first: dict[tuple[str, str], str] = {}
    for graph, plan in zip(graphs, plans, strict=True):
        twin = first.setdefault((graph.variant, plan), graph.name)
        for sample, (a, b) in enumerate(zip(answers[twin], answers[graph.name], strict=True)):
            assert_equal(a, b, where=f"{twin} and {graph.name}, golden sample {sample}")


def _shrunk(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    scale = GOLDEN_SIDE / max(rgb.shape[:2])
    if scale >= 1.0:
        return rgb
    return preprocess.resize(rgb, max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))


def _png(rgb: NDArray[np.uint8]) -> bytes:
    ok, data = cv2.imencode(".png", rgb[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not ok:
        raise CheckFailed("OpenCV could not write a PNG", do="Reinstall opencv-python-headless")
    return bytes(data)


def provenance(
    *, data_digest: str = "", samples: int = 0, seed: int | None = None, licence: str = "",
    notes: Mapping[str, str] | None = None,
) -> Provenance:  # fmt: skip
    """What made this bundle, read from the running process; no path outside the command line itself."""
    versions = {"python": platform.python_version()}
    for package in ("numpy", "torch", "onnx", "onnxruntime", "openvino", "opencv-python-headless"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return Provenance(
        created_utc=datetime.now(timezone.utc).isoformat(timespec="seconds"), product_version=__version__,
        command=(Path(sys.argv[0]).name, *sys.argv[1:]), packages=versions, data_digest=data_digest,
        samples=samples, seed=seed, licence=licence, notes=dict(notes or {}),
    )  # fmt: skip
