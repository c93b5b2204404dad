"""What a family or a task of others may give wrongly is refused in words before a bundle is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge_sdk.bundle.store import Bundle
from edge_sdk.errors import BadBundle, BadUsage
from edge_sdk.export import build as builder
from edge_sdk.export.family import Exported, FamilyOptions, FloatGraph
from edge_sdk.export.generic.family import Generic
from edge_sdk.export.generic.samples import samples_of
from edge_sdk.export.option import TaskOptions
from edge_sdk.export.pack import Parts, pack, provenance
from edge_sdk.export.tasks import export_task
from edge_sdk.export.tasks.base import Golden
from edge_sdk.runtimes.onnx_file import read_facts
from edge_sdk.tasks.base import Task, golden_samples_of
from edge_sdk.tasks.tensor import TensorSettings, TensorTask
from edge_sdk.tensors import Array


def _graph() -> bytes:
    made = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"], "relu")], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", "K", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", "K", 2])],
    )  # fmt: skip
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


SAMPLE: Mapping[str, Array] = {"x": np.ones((1, 3, 2), np.float32)}


def _packed(out: Path, golden: Sequence[Mapping[str, Array]] = (SAMPLE,), **axes: int) -> Path:
    parts = Parts(
        name="x", family="of others", task="tensor", quantized={}, golden=[Golden(source=one) for one in golden],
        exported=Exported(graphs={"model": FloatGraph(onnx=_graph(), axes=axes)}, settings=TensorSettings()),
        tolerances=export_task("tensor").tolerances, provenance=provenance(),
    )  # fmt: skip
    pack(parts, out, threads=1).close()
    return out


def test_free_axes_are_stated_each_and_no_other(tmp_path: Path) -> None:
    out = tmp_path / "x.edge"
    with Bundle.open(_packed(out, K=4)) as bundle:
        assert bundle.manifest.graphs[0].axes == {"N": 256, "K": 4}
    for axes, said in (({}, "free axis 'K' is not bounded"), ({"K": 4, "k": 4}, "no free axis 'k'. It has N, K")):
        with pytest.raises(BadUsage, match=said):
            _packed(tmp_path / "no.edge", **axes)
    assert not (tmp_path / "no.edge").exists()


def test_a_bundle_without_golden_samples_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(BadUsage, match="gives no golden samples"):
        _packed(tmp_path / "no.edge", golden=(), K=4)
    assert not (tmp_path / "no.edge").exists()


@dataclass(frozen=True, kw_only=True, eq=False)
class Offering(Generic):
    """Names its golden samples itself."""

    offered: Sequence[Mapping[str, Array]]

    def golden(self, data: Any, trained: Any) -> Sequence[Golden]:
        return [Golden(source=one) for one in self.offered]


@pytest.mark.parametrize(
    ("golden", "said"), [([], "no golden samples"), ([SAMPLE], "one golden sample"), ([SAMPLE] * 3, "equal golden")]
)
def test_golden_samples_that_any_constant_would_pass_are_refused(
    tmp_path: Path, golden: list[Mapping[str, Array]], said: str
) -> None:
    graph = FloatGraph(onnx=_graph(), axes={"K": 4}, variants=())
    samples = samples_of("random:4", read_facts(graph.onnx, where="g").inputs, {"N": 1, "K": 4}, seed=0)

    def built(offered: list[Mapping[str, Array]]) -> Path:
        family, options = Offering(graph=graph, offered=offered), FamilyOptions(threads=1)
        trained = family.train(samples, options, folder=tmp_path)
        wanted = builder.BuildOptions(name="x", out=tmp_path / "x.edge", evaluate=False)
        return builder.build(family, samples, trained, TaskOptions(), wanted).path

    with pytest.raises(BadUsage, match=f"the family generic or the task tensor gives {said}"):
        built(golden)
    assert not (tmp_path / "x.edge").exists()
    assert built([SAMPLE, {"x": 2 * SAMPLE["x"]}]).exists()


def test_fp32_is_no_variant_to_be_made(tmp_path: Path) -> None:
    with pytest.raises(BadUsage, match="fp32 is in every bundle"):
        FloatGraph(onnx=_graph(), variants=("fp32", "int8"))


class Careless(TensorTask):
    """A task that takes for granted what a file holds."""

    def feeds(self, setup: Any, source: Mapping[str, Array], role: str, answers: Any) -> dict[str, Array]:
        return {"x": source["x"][:, [int(source["first"])]]}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({}, "KeyError: 'x'"),
        ({"x": np.ones((1, 3, 2))}, "KeyError: 'first'"),
        ({"x": np.ones((1, 3, 2)), "first": np.array([1, 2])}, "TypeError"),
        ({"x": np.ones(()), "first": np.array(0)}, "IndexError"),
        ({"x": np.ones((1, 3, 2)), "first": np.array("no")}, "ValueError"),
    ],
)
def test_a_golden_sample_that_a_tasks_code_stumbles_over_is_named(source: Mapping[str, Array], said: str) -> None:
    task: Task = Careless()
    with (
        pytest.raises(BadBundle, match=f"x.edge: a golden sample does not fit the task tensor: {said}"),
        golden_samples_of(task, where="x.edge"),
    ):
        task.feeds(None, source, "model", {})  # type: ignore[arg-type]
