"""What a task's own code raises ends a verb with a message that names the task, the step and the line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from edge_sdk.cli import main
from edge_sdk.errors import BadInput, EdgeError
from edge_sdk.export.family import Exported, FloatGraph
from edge_sdk.export.pack import Parts, pack, provenance
from edge_sdk.export.tasks import export_task
from edge_sdk.export.tasks.base import Golden
from edge_sdk.summary import inspect
from edge_sdk.tasks.base import MODEL, raised, task_code
from edge_sdk.tasks.tensor import TensorModel, TensorResult, TensorSettings, TensorTask
from edge_sdk.verify import verify


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With x.edge, a bundle for the task "tensor", and in.npz."""
    folder = tmp_path_factory.mktemp("faulty")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy")
    made = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    parts = Parts(
        name="x", family="of others", task="tensor", quantized={}, provenance=provenance(),
        golden=[Golden(source={"x": np.array(values, np.float32)}) for values in ((1, 2), (3, -4))],
        exported=Exported(graphs={MODEL: FloatGraph(onnx=model.SerializeToString())}, settings=TensorSettings()),
        tolerances=export_task("tensor").tolerances,
    )  # fmt: skip
    pack(parts, folder / "x.edge", threads=1).close()
    np.savez(folder / "in.npz", x=np.ones(2, np.float32))
    return folder


def _faulty(*arguments: Any, **options: Any) -> Any:
    raise KeyError("of theirs")


PREDICT = ("predict", "x.edge", "in.npz")
PROFILE = ("profile", "x.edge", "--min-time", "0.1s", "--max-time", "0.2s")
FAULTS = [
    (TensorTask, "headline", ("verify", "x.edge"), "headline"),
    (TensorTask, "check", ("verify", "x.edge"), "check"),
    (TensorTask, "open", PREDICT, "open"),
    (TensorTask, "given", PREDICT, "given"),
    (TensorTask, "left_out", PREDICT, "left_out"),
    (TensorModel, "predict", PREDICT, "predict"),
    (TensorResult, "line", PREDICT, "its result"),
    (TensorResult, "to_json", (*PREDICT, "--json"), "its result"),
    (TensorResult, "save", (*PREDICT, "--out", "results"), "saving its result"),
    (TensorTask, "given", (*PROFILE, "--inputs", "in.npz"), "given"),
    (TensorTask, "left_out", PROFILE, "left_out"),
    (TensorModel, "predict", PROFILE, "predict"),
]


@pytest.mark.parametrize(("kind", "name", "words", "step"), FAULTS)
def test_a_verb_names_the_task_and_the_step_that_failed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    kind: type, name: str, words: tuple[str, ...], step: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.setattr(kind, name, _faulty)
    with pytest.raises(SystemExit) as ended:
        main.run(list(words))
    error = capsys.readouterr().err
    assert ended.value.code == 1
    assert f"the task tensor fails in {step}: KeyError: 'of theirs' (test_faulty_tasks.py, line " in error
    assert "Traceback" not in error


def test_inspect_shows_the_rest_of_a_bundle_whose_task_fails_in_its_summary(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TensorTask, "summary", _faulty)
    found = inspect(folder / "x.edge")
    ((name, text),) = found.task
    assert (name, text.startswith("the task tensor fails in summary: KeyError: 'of theirs'")) == ("task", True)
    assert [graph.name for graph in found.graphs] == ["fp32"]


def test_errors_of_our_own_pass_as_they_are() -> None:
    with pytest.raises(BadInput, match="no picture"), task_code(TensorTask(), "given", where="x"):
        raise BadInput("no picture")
    with pytest.raises(KeyboardInterrupt), task_code(TensorTask(), "given", where="x"):
        raise KeyboardInterrupt
    with pytest.raises(OSError, match="full"), task_code(TensorTask(), "given", where="x"):
        raise OSError("full")  # what the system refuses is no fault of the task
    said = "x: the task tensor fails in given: ValueError: odd"
    with pytest.raises(EdgeError, match=said) as found, task_code(TensorTask(), "given", where="x"):
        raise ValueError("odd")
    assert isinstance(found.value.__cause__, ValueError)
    assert raised(found.value.__cause__).startswith("ValueError: odd (test_faulty_tasks.py, line ")


def test_a_message_of_others_becomes_one_line_that_ends() -> None:
    with pytest.raises(ValueError, match="line") as found:
        raise ValueError("a line\n\tand " + "more " * 1000)
    words = raised(found.value)
    assert words.startswith("ValueError: a line and more more")
    assert words.endswith(")")
    assert "\n" not in words
    assert len(words) < 700


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("to_json", lambda self: "{'x': 1}", "JSONDecodeError"),
        ("to_json", _faulty, "KeyError: 'of theirs'"),
        ("line", _faulty, "KeyError: 'of theirs'"),
        ("suffix", None, "AttributeError"),
    ],
)
def test_a_result_that_predict_could_not_print_or_save_is_not_verified(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: Any, said: str
) -> None:
    if value is None:
        monkeypatch.delattr(TensorResult, name)
    else:
        monkeypatch.setattr(TensorResult, name, value)
    report = verify(folder / "x.edge", runtimes=["onnxruntime"])
    assert all(row.passed for row in report.rows)
    assert not report.passed
    assert said in report.predict[0].problem
