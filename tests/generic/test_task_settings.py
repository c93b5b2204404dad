"""--task, --labels and the settings of a task: resolved through the registry, whatever the task is."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Literal

import msgspec
import numpy as np
import onnx
import pytest
from float_nets import SIDE, classifier, edge, photos
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
        (
            "tensor",
            {"scores": "logits"},
            "--scores: the task tensor has no scores. Add --task classification, or leave",
        ),
        ("graded", {"labels": ("a",)}, "--task: the task graded needs scores. Give --scores, or"),
        ("graded", {}, "--task: the task graded needs labels and scores. Give --labels and --scores, or"),
        ("graded", {"labels": ("a",), "scores": "sigmoid"}, "--scores sigmoid: logits or probabilities"),
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


@pytest.fixture
def scored(work: Path) -> Path:
    """A classifier of five classes, one that ends in a softmax, pictures and labels."""
    onnx.save(classifier(), "m.onnx")
    soft = classifier()
    soft.graph.node.append(onnx.helper.make_node("Softmax", ["logits"], ["shares"], "softmax", axis=-1))
    soft.graph.output[0].name = "shares"
    onnx.save(soft, "soft.onnx")
    photos(work / "photos", 20)
    (work / "labels.txt").write_text("a\nb\nc\nd\ne\n")
    (work / "four.txt").write_text("a\nb\nc\nd\n")
    (work / "empty").mkdir()
    (work / "unread" / "a").mkdir(parents=True)
    (work / "unread" / "a" / "0.png").write_bytes(b"no picture")
    return work


CLASSIFIER = ("--task", "classification", "--labels", "labels.txt")
LOGITS = (*CLASSIFIER, "--scores", "logits")
PROBABILITIES = (*CLASSIFIER, "--scores", "probabilities")


def quantize(*words: str, model: str = "m.onnx") -> int:
    given = ("--data", "photos", "--mean", "0.5", "--out", "m.edge", "--threads", "1", "--variant", "fp32")
    return edge("quantize", model, *given, *ONE_WAY, *words)


@pytest.mark.parametrize("dry", [("--dry-run",), ()], ids=["dry", "real"])
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--labels", "labels.txt"), 2, "--labels: the task tensor scores no classes. Add --task classification"),
        (("--scores", "logits"), 2, "the task tensor has no scores. Add --task classification, or leave --scores out"),
        (("--test", "empty"), 2, "the task tensor takes no --test. Add --task classification, or leave it out"),
        ((*LOGITS, "--test", "empty"), 3, "--test empty: there are no samples in it"),
        ((*LOGITS, "--test", "unread"), 3, "--test unread: there are no samples in it; a/0.png: "),
        ((*LOGITS, "--test", "photos", "--group", "("), 3, "the folder more is called by no label"),
        ((*LOGITS, "--test", "photos/more", "--group", "("), 2, "--group: '(' is not a regular expression"),
        ((*LOGITS, "--labels", "four.txt"), 3,
         "--labels four.txt: it holds 4 labels, the output logits scores 5 classes. Write one line for each class"),
        (PROBABILITIES, 2, "--scores probabilities: the output of the first sample is no set of probabilities"),
        (PROBABILITIES, 2, "Write --scores logits"),
        ((*CLASSIFIER, "--scores", "sigmoid"), 2, "edge-sdk: --scores sigmoid: logits or probabilities\n"),
    ],
)  # fmt: skip
def test_what_a_classifier_can_not_be_is_said_before_the_calibration(
    words: tuple[str, ...], code: int, said: str, dry: tuple[str, ...], scored: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert quantize(*words, *dry) == code
    text = capsys.readouterr().err
    assert said in text
    assert "m.edge" not in text
    assert "samples read" not in text
    assert not Path("m.edge").exists()


def test_a_softmax_that_would_be_applied_twice_is_said_once(scored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("--dry-run",), ()):
        assert quantize(*LOGITS, *words, model="soft.onnx") == 0
        said = capsys.readouterr()
        assert (said.out + said.err).count("softmax is applied twice") == 1
        assert "warning: the class scores look like probabilities" in said.out
    assert quantize(*PROBABILITIES, "--overwrite", model="soft.onnx") == 0
    assert "softmax" not in capsys.readouterr().out


def test_a_task_that_is_named_keeps_labels_as_names(scored: Path) -> None:
    assert quantize("--task", "tensor", "--labels", "four.txt") == 0
    with Bundle.open("m.edge") as bundle:
        assert bundle.manifest.settings["labels"] == ["a", "b", "c", "d"]


def test_a_file_of_several_rows_says_how_to_write_samples(scored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("s.npz", image=np.random.default_rng(0).normal(size=(20, 3, SIDE, SIDE)).astype(np.float32))
    given = ("--out", "m.edge", "--threads", "1", "--variant", "fp32", *ONE_WAY)
    assert edge("quantize", "m.onnx", "--data", "s.npz", *given, *LOGITS) == 0
    capsys.readouterr()
    assert edge("predict", "m.edge", "s.npz") == 3
    said = capsys.readouterr().err
    assert "these arrays have 20 rows, predict takes one sample. Write one .npz file for each sample" in said
    assert "predict_batch" not in said


def test_export_has_one_model_and_speaks_of_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert edge("export", "--help") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "ROLE" not in said
    assert "several models" not in said
    assert ".." not in said.replace("64..640", "").replace("0..1", "").replace("0..255", "")
    assert edge("quantize", "--help") == 0
    assert "ROLE=FOLDER" in capsys.readouterr().out
