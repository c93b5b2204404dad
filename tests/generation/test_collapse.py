"""A variant that falls apart is refused with the figure that broke, and is not packed; fp32's own faults are said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny_generator
from onnx import numpy_helper

from edge_sdk.bundle.signing import TrustPolicy
from edge_sdk.bundle.store import Bundle
from edge_sdk.calibration import Variant
from edge_sdk.cli.train import not_packed
from edge_sdk.export import build as builder
from edge_sdk.export import each_runtime
from edge_sdk.export.family import Exported, FloatGraph, Trained
from edge_sdk.export.onestep.family import NoiseSamples, OneStepGenerators
from edge_sdk.export.onestep.graph import KEPT, generator_graph
from edge_sdk.export.onestep.options import OneStepOptions
from edge_sdk.export.tasks.base import float_variant
from edge_sdk.export.tasks.generation import evaluate, measures
from edge_sdk.export.tasks.generation.evaluate import Row, rows_of
from edge_sdk.export.tasks.generation.measures import Statistics
from edge_sdk.export.tasks.generation.options import GenerationOptions
from edge_sdk.export.tasks.generation.real import Real
from edge_sdk.export.tasks.generation.task import GenerationEvaluation
from edge_sdk.tasks.base import MODEL
from edge_sdk.tasks.generation.asked import GenerationSettings
from edge_sdk.tasks.generation.generator import BATCH_ROWS

SETTINGS = GenerationSettings(labels=tiny_generator.NAMES)


@pytest.fixture(scope="module")
def graph() -> bytes:
    return generator_graph(tiny_generator.network(3), 2.5, 0.5)


def changed(graph: bytes, name: str, factor: float, shift: float = 0.0) -> bytes:
    """The same with every constant whose name begins so multiplied, and noise of that size added."""
    model, rng = onnx.load_from_string(graph), np.random.default_rng(0)
    hit = 0
    for tensor in model.graph.initializer:
        if tensor.name.startswith(name):
            values = numpy_helper.to_array(tensor)
            values = (values * factor + shift * rng.standard_normal(values.shape)).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
            hit += 1
    assert hit
    return bytes(model.SerializeToString())


def row(graph: bytes, broken: bytes) -> Row:
    """Of a variant with that graph, on ONNX Runtime, beside fp32's."""
    second = Variant(variant="fp16", layout="plain", graph=broken, int8_convolutions=0)
    found = rows_of([float_variant(graph), second], SETTINGS, (1, 8, 8), None, count=96, threads=1)
    assert {one.problem for one in found} == {""}
    return next(one for one in found if (one.variant, one.runtime) == ("fp16", "onnxruntime"))


def test_the_same_graph_is_no_collapse(graph: bytes) -> None:
    assert row(graph, graph).collapsed == ""


def test_a_graph_that_draws_grey_is_one(graph: bytes) -> None:
    grey = changed(changed(graph, "last", 0.0), "kept", 0.0)
    assert "its pictures differ by 0.0 grey levels, those of fp32 by" in row(graph, grey).collapsed


def test_other_pictures_of_the_same_spread_are_one(graph: bytes) -> None:
    found = row(graph, changed(graph, "first", -1.0))
    assert found.paired is not None
    assert "grey levels from those that fp32 draws from the same seeds, which differ by" in found.collapsed


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ({"frechet": 9.0}, "its Frechet distance from real pictures is 9, of fp32 1"),
        ({"least_class": 0.2}, "the share of the least frequent class is 0.20 of its real one, of fp32 0.95"),
        ({"most_class": 2.4}, "the share of the most frequent class is 2.40 of its real one, of fp32 1.05"),
        ({"recall": 0.3}, "it covers 30 % of the real pictures, fp32 90 %"),
        ({"frechet": 1.4, "recall": 0.6, "least_class": 0.7, "most_class": 1.4}, ""),
    ],
)
def test_each_measure_can_break(now: dict[str, float], said: str) -> None:
    features = np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32)
    real = Real(features, Statistics.of(features), lambda pictures: features)
    then = {"frechet": 1.0, "recall": 0.9, "precision": 0.9, "least_class": 0.95, "most_class": 1.05}
    first = Row(variant="fp32", layout="plain", runtime="onnxruntime", spread=60.0, quality=then)
    pair = measures.paired(np.zeros((2, 8, 8, 1), np.uint8), np.ones((2, 8, 8, 1), np.uint8))
    second = replace(first, variant="int8", quality=then | now, paired=pair)
    assert evaluate.collapse(second, first, real) == said


def test_what_this_cpu_computes_wrongly_is_no_fault_of_the_variant() -> None:
    broken = Row(variant="int8", layout="plain", runtime="openvino", collapsed="it fell apart")
    assert GenerationEvaluation(rows=(broken,)).collapsed == {"int8": "on openvino, it fell apart"}
    assert GenerationEvaluation(rows=(replace(broken, unusable="sums overflow"),)).collapsed == {}


@pytest.mark.parametrize("broken", [False, True])
def test_a_variant_that_this_cpu_computes_wrongly_everywhere_is_tried_by_the_letter(
    broken: bool, graph: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(each_runtime, "_unusable", lambda variant, runtime: "wrong" * (variant.variant == "fp16"))
    drawn = changed(changed(graph, "last", 0.0), "kept", 0.0) if broken else graph
    second = Variant(variant="fp16", layout="plain", graph=drawn, int8_convolutions=0)
    rows = rows_of([float_variant(graph), second], SETTINGS, (1, 8, 8), None, count=96, threads=1)
    (last,) = [row for row in rows if row.runtime == evaluate.LETTER]
    assert rows[-1] is last
    assert (last.variant, last.count, last.unusable) == ("fp16", 96, "")
    found = GenerationEvaluation(rows=tuple(rows)).collapsed
    assert list(found) == ["fp16"] * broken


def test_faults_of_fp32_itself_are_said() -> None:
    fine = Row(variant="fp32", layout="plain", runtime="onnxruntime", spread=60.0, quality={"recall": 0.9})
    assert evaluate.doubts([fine]) == []
    (same,) = evaluate.doubts([replace(fine, spread=0.2)])
    assert "nearly the same" in same
    few, rare = evaluate.doubts([replace(fine, quality={"recall": 0.2, "least_class": 0.1})])[::-1]
    assert "only 20 % of the real pictures are covered" in few
    assert "0.10 times as often" in rare


def test_a_variant_that_falls_apart_is_not_packed(
    graph: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = builder.quantized

    def collapsed(*given: object, **named: object) -> object:
        found = before(*given, **named)  # type: ignore[arg-type]
        made = tuple(
            replace(v, graph=changed(changed(v.graph, "last/", 0.0), "kept", 0.0)) if v.variant == "int8" else v
            for v in found[MODEL].variants
        )  # fmt: skip
        return {MODEL: replace(found[MODEL], variants=made)}

    class Tiny(OneStepGenerators):
        def graphs(self, trained: Trained) -> Exported:
            one = FloatGraph(
                onnx=graph, keep_fp32_in_int8=KEPT, axes={"N": BATCH_ROWS}, variants=("fp16", "int8")
            )  # fmt: skip
            return Exported(graphs={MODEL: one}, settings=SETTINGS)

        def samples(self, data, trained, exported, count):  # type: ignore[no-untyped-def]
            return lambda role: NoiseSamples((1, 8, 8), SETTINGS, 4)

    monkeypatch.setattr(builder, "quantized", collapsed)
    trained = Trained(
        folder=tmp_path, options=OneStepOptions(threads=1), run="0", steps=1, training_s=1.0, samples=0
    )  # fmt: skip
    wanted = builder.BuildOptions(name="tiny", out=tmp_path / "tiny.edge", force=True)
    built = builder.build(Tiny(), None, trained, GenerationOptions(), wanted)
    (said,) = not_packed(built)
    assert said.startswith("not packed: int8: on ")
    assert "its pictures differ by 0.0 grey levels" in said
    with Bundle.open(built.path, trust=TrustPolicy(mode="off")) as bundle:
        assert {one.variant for one in bundle.manifest.graphs} == {"fp32", "fp16"}
        report = bundle.report()
    assert report is not None
    assert "int8" in report["refused"]
