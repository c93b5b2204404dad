"""--task, --labels and the settings of a task: resolved through the registry, whatever the task is."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Literal

import msgspec
import onnx
import pytest
from float_nets import classifier, edge
from one_way import ONE_WAY

from edge_sdk import tasks
from edge_sdk.bundle.store import Bundle
from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.export.generic.settings import labels_of, settings_of
from edge_sdk.tasks.base import Running
from edge_sdk.tasks.tensor import TensorModel, TensorTask


class GradedSettings(msgspec.Struct, frozen=True, kw_only=True):
    labels: tuple[str, ...]
    scores: Literal["logits", "probabilities"]
    top: int = 5


class Graded(TensorTask):
    """A task with settings that must be stated."""

    name: ClassVar[str] = "graded"
    settings: ClassVar[type[msgspec.Struct]] = GradedSettings
    predictor: ClassVar[type[Running[Any, Any]]] = TensorModel

    def summary(self, bundle: Bundle) -> list[tuple[str, str]]:
        return []


@pytest.fixture
def graded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The task is known here, as if its package were installed."""
    module = ModuleType("trial_graded")
    module.Graded = Graded  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "trial_graded", module)
    monkeypatch.setitem(tasks._HOMES, "graded", ("trial_graded", "Graded"))


def test_a_model_becomes_a_bundle_of_the_task_that_is_named(graded: None, work: Path) -> None:
    onnx.save(classifier(), "m.onnx")
    (work / "labels.txt").write_text("ä\nb\nc\nd\ne\n", "utf-8")
    words = ("--data", "random:3", "--out", "m.edge", "--variant", "fp32", "--threads", "1")
    stated = ("--task", "graded", "--labels", "labels.txt", "--scores", "logits")
    assert edge("quantize", "m.onnx", *words, *ONE_WAY, *stated) == 0
    with Bundle.open("m.edge") as bundle:
        assert bundle.manifest.task == "graded"
        assert bundle.manifest.settings == {"labels": ["ä", "b", "c", "d", "e"], "scores": "logits", "top": 5}


@pytest.mark.parametrize(
    ("task", "fields", "said"),
    [
        ("nothing", {}, "there is no task nothing. One of anomaly, "),
        ("tensor", {"scores": "logits"}, "--scores: the task tensor has no scores. Leave --scores out"),
        ("graded", {"labels": ("a",)}, "--task: the task graded needs scores. Give --scores, or"),
        ("graded", {}, "--task: the task graded needs labels and scores. Give --labels and --scores, or"),
        ("graded", {"labels": ("a",), "scores": "sigmoid"}, "Invalid enum value 'sigmoid'"),
        ("graded", {"labels": ("a",), "scores": "logits", "top": "x"}, "Expected `int`, got `str` - at `[$].top`"),
        ("graded", {"tops": "3"}, "--setting: the task graded has no tops; its settings are labels, scores, top. "),
        ("anomaly", {}, "the task anomaly needs grid. Give --setting grid=..., or"),
    ],
)
def test_settings_that_a_task_can_not_have_are_named(
    graded: None, task: str, fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadUsage, match=said):
        settings_of(task, fields)


def test_a_setting_given_as_text_is_read_as_its_field_is() -> None:
    stated = {"labels": '["a", "b"]', "scores": "logits", "output": "3", "top": "3"}
    assert msgspec.to_builtins(settings_of("classification", stated)) == stated | {"labels": ("a", "b"), "top": 3}


def test_a_classifier_of_two_outputs_is_exported_by_the_output_that_is_named(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = classifier()
    made.graph.output.append(onnx.helper.make_tensor_value_info("flat", onnx.TensorProto.FLOAT, ["N", 16]))
    onnx.save(made, "m.onnx")
    (work / "labels.txt").write_text("a\nb\nc\nd\ne\n", "utf-8")
    words = ("quantize", "m.onnx", "--data", "random:3", "--out", "m.edge", "--variant", "fp32", "--threads", "1")
    stated = ("--task", "classification", "--labels", "labels.txt", "--scores", "logits")
    assert edge(*words, *ONE_WAY, *stated) == 3
    assert "several outputs, and none is named: it answers logits, flat. Name one: --setting output=logits" in (
        capsys.readouterr().err
    )
    assert edge(*words, *ONE_WAY, *stated, "--setting", "output=logits", "--setting", "top=2") == 0
    with Bundle.open("m.edge") as bundle:
        settings = bundle.manifest.settings
        assert (settings["output"], settings["top"]) == ("logits", 2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--setting", "output"), "--setting output is not NAME=VALUE. Write --setting output=y"),
        (("--setting", "top=1", "--setting", "top=2"), "--setting: the setting top is given twice. State one value"),
        (("--scores", "logits", "--setting", "scores=logits"), "--setting: the setting scores is given twice"),
    ],
)
def test_a_setting_is_a_name_and_a_value_given_once(
    words: tuple[str, ...], said: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx.save(classifier(), "m.onnx")
    assert edge("quantize", "m.onnx", "--data", "random:3", "--out", "m.edge", *words) == 2
    assert said in capsys.readouterr().err


def test_labels_are_lines_or_a_list(tmp_path: Path) -> None:
    file = tmp_path / "labels"
    for text in ("cat\ntraffic light\n", "\ufeffcat\r\ntraffic light", '["cat", "traffic light"]'):
        file.write_bytes(text.encode("utf-8"))
        assert labels_of(file) == ("cat", "traffic light")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it holds 0 labels"), (b"a\n\nb", "label 1 is not plain text"), (b"\xff\xfe", "these are no labels"),
        (b'["a", 5]', "label 1 is not plain text"), (b'["a"', "these are no labels"), (b"a\x1b[3m", "label 0 is not"),
        (b"x" * 300, "1 to 200 characters"), (b"a\n" * 100_001, "1 to 100,000 are read"),
    ],
)  # fmt: skip
def test_what_are_no_labels_is_named(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes(content)
    with pytest.raises(BadInput, match=f"labels.txt: .*{said}"):
        labels_of(tmp_path / "labels.txt")
