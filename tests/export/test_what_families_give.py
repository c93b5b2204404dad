"""What a family or a task of others may give wrongly is refused in words before a bundle is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import Mock

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge_sdk import replay, tasks
from edge_sdk.bundle.manifest import Tolerance
from edge_sdk.bundle.store import Bundle
from edge_sdk.calibration import Variant
from edge_sdk.errors import BadBundle, BadInput, BadUsage, CheckFailed
from edge_sdk.export.build import BuildOptions, run_of, unless_changed
from edge_sdk.export.family import Exported, FloatGraph
from edge_sdk.export.pack import Parts, compiled_here, pack, provenance
from edge_sdk.export.tasks import export_task
from edge_sdk.export.tasks.base import ExportTask, Golden
from edge_sdk.export.tasks.tensor import TensorExport
from edge_sdk.runtimes import registry
from edge_sdk.runtimes.protocol import Explanation
from edge_sdk.tasks.base import Loaded, Task, golden_samples_of, settings_of
from edge_sdk.tasks.tensor import TensorModel, TensorResult, TensorSettings, TensorTask
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
OTHER: Mapping[str, Array] = {"x": np.linspace(-1, 1, 6, dtype=np.float32).reshape(1, 3, 2)}


def _packed(
    out: Path, golden: Sequence[Mapping[str, Array]] = (SAMPLE, OTHER), *, onnx_file: bytes = b"",
    tolerances: Mapping[str, Tolerance] | None = None, settings: msgspec.Struct | None = None,
    may_replace: Callable[[], None] = lambda: None, **axes: int,
) -> Path:  # fmt: skip
    graph = FloatGraph(onnx=onnx_file or _graph(), axes=axes)
    parts = Parts(
        name="x", family="of others", task="tensor", quantized={}, golden=[Golden(source=one) for one in golden],
        exported=Exported(graphs={"model": graph}, settings=settings or TensorSettings()),
        tolerances=export_task("tensor").tolerances if tolerances is None else lambda role, variant: tolerances,
        provenance=provenance(),
    )  # fmt: skip
    pack(parts, out, threads=1, may_replace=may_replace).close()
    return out


def test_free_axes_are_stated_each_and_no_other(tmp_path: Path) -> None:
    out = tmp_path / "x.edge"
    with Bundle.open(_packed(out, K=4)) as bundle:
        assert bundle.manifest.graphs[0].axes == {"N": 256, "K": 4}
    for axes, said in (({}, "free axis 'K' is not bounded"), ({"K": 4, "k": 4}, "no free axis 'k'. It has N, K")):
        with pytest.raises(BadUsage, match=said):
            _packed(tmp_path / "no.edge", **axes)
    assert not (tmp_path / "no.edge").exists()


@pytest.mark.parametrize(
    ("golden", "said"),
    [
        ((), "gives no golden samples"),
        ((SAMPLE,), r"gives 1 golden sample\."),
        ((SAMPLE, SAMPLE), "the graph of model the same"),
    ],
)
def test_golden_samples_that_a_constant_answer_would_pass_are_refused(
    tmp_path: Path, golden: Sequence[Mapping[str, Array]], said: str
) -> None:
    with pytest.raises(BadUsage, match=said):
        _packed(tmp_path / "no.edge", golden=golden, K=4)
    assert not (tmp_path / "no.edge").exists()


def _of_rows(nodes: Sequence[onnx.NodeProto], y: Sequence[int | str], *constants: onnx.TensorProto) -> bytes:
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        list(nodes), "g", [value("x", TensorProto.FLOAT, ["N", 3, 2])], [value("y", TensorProto.FLOAT, list(y))],
        list(constants),
    )  # fmt: skip
    return bytes(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString())


MEAN = helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1)
DEPENDENT: Mapping[str, bytes] = {
    "rows less their mean": _of_rows([MEAN, helper.make_node("Sub", ["x", "mean"], ["y"])], ["N", 3, 2]),
    "softmax over rows": _of_rows([helper.make_node("Softmax", ["x"], ["y"], axis=0)], ["N", 3, 2]),
    "a sum over rows": _of_rows([helper.make_node("ReduceMax", ["x"], ["y"], axes=[0], keepdims=0)], [3, 2]),
    "the first row alone": _of_rows(
        [helper.make_node("Gather", ["x", "first"], ["y"], axis=0)], [3, 2],
        helper.make_tensor("first", TensorProto.INT64, [], [0]),
    ),
    "each row by its place": _of_rows(
        [helper.make_node("CumSum", ["x", "axis"], ["y"])], ["N", 3, 2],
        helper.make_tensor("axis", TensorProto.INT64, [], [0]),
    ),
    "one row, baked in": _of_rows(
        [helper.make_node("Reshape", ["x", "shape"], ["y"])], [1, 6],
        helper.make_tensor("shape", TensorProto.INT64, [2], [1, 6]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", DEPENDENT)
def test_a_batch_whose_rows_depend_on_each_other_is_refused_and_runs_one_row_at_a_time(
    tmp_path: Path, kind: str
) -> None:
    """Else one caller's answer would depend on what another one fed."""
    with pytest.raises(BadUsage, match=r"on (its|the) axis N|of the axis N.*--axis N=1"):
        _packed(tmp_path / "no.edge", onnx_file=DEPENDENT[kind])
    assert not (tmp_path / "no.edge").exists()
    with Bundle.open(_packed(tmp_path / "one.edge", onnx_file=DEPENDENT[kind], N=1)) as bundle:
        assert bundle.manifest.graphs[0].axes == {"N": 1}


def test_a_batch_of_rows_that_do_not_is_written(tmp_path: Path) -> None:
    both = _of_rows([helper.make_node("Softmax", ["x"], ["y"], axis=1)], ["N", 3, 2])
    with Bundle.open(_packed(tmp_path / "x.edge", onnx_file=both)) as bundle:
        assert bundle.manifest.graphs[0].axes == {"N": 256}


class Restless(TensorTask):
    """A task that feeds something else each time."""

    def feeds(self, setup: Any, source: Mapping[str, Array], role: str, answers: Any) -> dict[str, Array]:
        type(self).calls += 1
        return {"x": source["x"] + np.float32(type(self).calls)}

    calls = 0


class Broken(TensorTask):
    """A task whose predictor does not take what its samples hold."""

    def source(self, stored: Mapping[str, Array]) -> Any:
        return dict.fromkeys(stored)


@pytest.mark.parametrize(
    ("kind", "said"),
    [(Restless, "2 of 2 golden samples other feeds than before, by up to"), (Broken, "tensor can't use")],
)
def test_what_a_tasks_own_code_can_not_use_does_not_replace_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[TensorTask], said: str
) -> None:
    out = _packed(tmp_path / "x.edge", K=4)
    before = out.read_bytes()
    monkeypatch.setattr(tasks, "task", lambda name, where="": kind())
    with pytest.raises(CheckFailed, match=said):
        _packed(out, K=4)
    assert out.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["x.edge"]


class _Predicting(TensorTask):
    """A task whose predictor is wrong for some sources."""

    predictor: ClassVar[type[TensorModel]]

    def open(self, loaded: Loaded) -> TensorModel:
        return self.predictor(loaded)

    def source(self, stored: Mapping[str, Array]) -> Any:
        return {name: np.array(array) for name, array in stored.items()}


class Scaling(TensorModel):
    """Scales the caller's array in place, as libraries for pictures do."""

    def predict(self, source: Any, /) -> TensorResult:
        result = super().predict(source)
        source["x"] *= np.float32(0.5)
        return result


class FirstOnly(TensorModel):
    """Knows the first golden sample by heart."""

    def predict(self, source: Any, /) -> TensorResult:
        if not np.array_equal(source["x"], SAMPLE["x"]):
            raise ValueError("this one is new")
        return super().predict(source)


class ScalesTask(_Predicting):
    predictor = Scaling


class FirstOnlyTask(_Predicting):
    predictor = FirstOnly


@pytest.mark.parametrize(
    ("kind", "said"),
    [(ScalesTask, "it changes the arrays that it is given"), (FirstOnlyTask, "ValueError: this one is new")],
)
def test_a_predictor_answers_every_golden_source_and_leaves_the_callers_arrays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[TensorTask], said: str
) -> None:
    monkeypatch.setattr(tasks, "task", lambda name, where="": kind())
    with pytest.raises(CheckFailed, match=f"the task tensor can't use the bundle: .*{said}"):
        _packed(tmp_path / "no.edge", K=4)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "place", [np.zeros(2), {"a": np.zeros(2)}, [1, (np.zeros(2),)], Golden(source={"x": np.zeros(2)})]
)
def test_arrays_are_found_wherever_a_source_holds_them(place: Any) -> None:
    (found,) = replay._arrays(place)
    assert found.shape == (2,)


FINE = Tolerance(absolute=1e-6, relative=1e-4)


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ({}, "model fp32: the output y has no tolerance"),
        ({"z": FINE}, "model fp32: the output y has no tolerance"),
        *(
            (
                {name: Tolerance(absolute=absolute, relative=relative)},
                "model fp32: the tolerance of the output y is .* x",
            )
            for name in ("y", "*")
            for absolute, relative in ((np.nan, 0.0), (-1e-6, 0.1), (0.0, np.nan), (0.0, -0.1), (np.inf, 0.0))
        ),
    ],
)
def test_a_tolerance_that_is_none_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bounds: Mapping[str, Tolerance], said: str
) -> None:
    monkeypatch.setattr(registry, "runtime", Mock(side_effect=AssertionError("was run")))
    with pytest.raises(BadUsage, match=said):
        _packed(tmp_path / "no.edge", tolerances=bounds, K=4)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("bound", [Tolerance(absolute=0.0, relative=1.0), Tolerance(absolute=1.0, relative=0.0)])
def test_a_bundle_whose_tolerances_load_would_refuse_is_not_written(tmp_path: Path, bound: Tolerance) -> None:
    with pytest.raises(CheckFailed, match="no device would load the bundle: output y of graph fp32 has a tolerance as"):
        _packed(tmp_path / "no.edge", tolerances={"y": bound}, K=4)
    assert not list(tmp_path.iterdir())
    _packed(tmp_path / "yes.edge", tolerances={"y": FINE}, K=4)


class Varied(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of many types."""

    level: Any = 0.5
    names: Mapping[int, str] = {}
    shape: tuple[int, ...] = ()


class VariedTask(TensorTask):
    settings = Varied


@pytest.mark.parametrize(
    ("settings", "fine"),
    [
        (Varied(), True),
        (Varied(level=3, shape=(1, 2)), True),
        (Varied(level={"a": [1, None]}), True),
        (Varied(level=np.float32(0.5)), False),
        (Varied(level=np.float64(0.5)), False),
        (Varied(level=np.zeros(2)), False),
        (Varied(level=(1, 2)), False),
        (Varied(level=float("nan")), False),
        (Varied(names={1: "one"}), False),
    ],
)
def test_settings_that_a_file_does_not_keep_are_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Varied, fine: bool
) -> None:
    monkeypatch.setattr(tasks, "task", lambda name, where="": VariedTask())
    if fine:
        with Bundle.open(_packed(tmp_path / "x.edge", settings=settings, K=4)) as bundle:
            assert settings_of(bundle, Varied) == settings
        return
    monkeypatch.setattr(registry, "runtime", Mock(side_effect=AssertionError("was run")))
    with pytest.raises(BadUsage, match="Varied: the settings of the task tensor do not survive"):
        _packed(tmp_path / "no.edge", settings=settings, K=4)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("meanwhile", ["nothing", "written", "removed"])
def test_what_another_build_wrote_meanwhile_is_kept_unless_it_is_to_be_lost(
    tmp_path: Path, overwrite: bool, there: bool, meanwhile: str
) -> None:
    out = tmp_path / "x.edge"
    if there:
        _packed(out, K=4)
    may_replace = unless_changed(BuildOptions(name="x", out=out, overwrite=overwrite))
    if meanwhile == "written":  # as bundles are: by a rename
        (tmp_path / "other").write_bytes(b"of another build")
        (tmp_path / "other").replace(out)
    if meanwhile == "removed":
        out.unlink(missing_ok=True)
    if meanwhile == "written" and not overwrite:
        with pytest.raises(BadUsage, match=r"x\.edge: this file was written while.*--overwrite"):
            _packed(out, may_replace=may_replace, K=4)
        assert out.read_bytes() == b"of another build"
        assert [file.name for file in tmp_path.iterdir()] == ["x.edge"]
        return
    _packed(out, may_replace=may_replace, K=4)
    Bundle.open(out).close()


def test_outputs_whose_names_differ_in_case_alone_become_members_that_do_not_clash(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"], "a"), helper.make_node("Neg", ["x"], ["Y"], "b")], "g",
        [value("x", TensorProto.FLOAT, ["N", 3, 2])],
        [value(name, TensorProto.FLOAT, ["N", 3, 2]) for name in ("y", "Y")],
    )  # fmt: skip
    both = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    with Bundle.open(_packed(tmp_path / "x.edge", onnx_file=both)) as bundle:
        members = [name.lower() for name in bundle.manifest.members]
        assert len(members) == len(set(members))
        stored = bundle.manifest.golden[1].outputs["fp32"]
        np.testing.assert_array_equal(bundle.array(stored["Y"]), -OTHER["x"])
        np.testing.assert_array_equal(bundle.array(stored["y"]), np.maximum(OTHER["x"], 0))


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


@pytest.mark.parametrize(
    ("name", "usable", "want"), [("openvino", True, {"openvino": 2}), ("openvino", False, {}), ("tensorrt", True, {})]
)
def test_int8_operators_are_counted_by_what_each_runtime_ran(
    monkeypatch: pytest.MonkeyPatch, name: str, usable: bool, want: dict[str, int]
) -> None:
    """Of runtimes that are here and take the graph; what the graph claims is another number."""
    runtime = Mock()
    runtime.name = name
    runtime.int8_layouts = ("conv-q-relu-q",) if name == "openvino" else ("conv-relu-q",)
    runtime.probe.return_value.usable = usable
    runtime.compile.return_value.explain.return_value = Explanation(
        runtime=name, version="1", device_requested="CPU", device="CPU", precision_requested="f32", precision="f32",
        threads=1, layers_by_precision={"i8": 2, "f32": 5},
    )  # fmt: skip
    monkeypatch.setattr(registry, "runtimes", lambda: (runtime,))
    monkeypatch.setattr(registry, "runtime", lambda asked: runtime)
    variant = Variant(variant="int8", layout="conv-q-relu-q", graph=b"", int8_convolutions=4, int8_planned=4)
    assert compiled_here(Mock(axes={"N": 8}), variant) == (want, {})


def test_a_graph_that_a_runtime_does_not_compile_is_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Float graphs too: their compilation is tried, though there is nothing to count."""
    sound, picky = Mock(), Mock()
    sound.name, picky.name = "onnxruntime", "openvino"
    sound.compile.return_value.explain.return_value.int8_operators = 0
    picky.compile.side_effect = BadInput("no kernel\nfor Det", where="graph")
    monkeypatch.setattr(registry, "runtimes", lambda: (sound, picky))
    monkeypatch.setattr(registry, "runtime", {"onnxruntime": sound, "openvino": picky}.__getitem__)
    variant = Variant(variant="fp32", layout="plain", graph=b"", int8_convolutions=0)
    ran, refused = compiled_here(Mock(axes={"N": 8}), variant)
    assert (ran, list(refused)) == ({}, ["openvino"])
    assert refused["openvino"].startswith("no kernel")
    assert "\n" not in refused["openvino"]


@dataclass(frozen=True)
class WithDigest:
    digest: str = "ab12"


@pytest.mark.parametrize("task", [TensorExport(), ExportTask()])
@pytest.mark.parametrize(
    ("data", "digest", "noted"), [(WithDigest(), "ab12", False), (Path("pictures"), "", True), (None, "", False)]
)
def test_the_provenance_names_the_data_or_says_that_it_does_not(
    task: ExportTask, data: object, digest: str, noted: bool
) -> None:
    found = task.sources(data, Mock(samples=7))
    assert (found.digest, found.samples) == (digest, 7)
    said = {"data_digest": "the data have no digest: nothing says what was learned from"}
    assert found.notes == (said if noted else {})


@pytest.mark.parametrize(
    ("extra", "run"),
    [({"training": {"run": "ab12", "steps": 3}}, "ab12"), ({}, ""), ({"training": "no"}, ""), ({"training": {}}, "")],
)
def test_the_run_that_a_bundle_was_made_of_is_read_in_one_place(extra: dict[str, object], run: str) -> None:
    assert run_of(Mock(manifest=Mock(extra=extra))) == run
