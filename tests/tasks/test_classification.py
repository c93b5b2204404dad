"""The classification task on the device: probabilities of a picture or of arrays, and what can't be one."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import classes
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import special, stats

import edge_sdk
from edge_sdk import npz, tasks
from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.bundle.store import Bundle
from edge_sdk.errors import BadBundle, BadInput, BadUsage, CheckFailed
from edge_sdk.summary import inspect
from edge_sdk.tasks.base import MODEL, RunInfo, Setup
from edge_sdk.tasks.classification.classifier import ONE_COLOUR, TWICE
from edge_sdk.tasks.classification.result import Classification
from edge_sdk.tasks.classification.scores import (
    ClassificationSettings,
    entropy,
    looks_like_probabilities,
    probabilities_of,
    settings_problem,
)
from edge_sdk.tensors import TensorSpec
from edge_sdk.verify import verify

RAN = RunInfo(bundle="", roles={}, stages_ms={})


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of pictures whose graph answers logits, in all variants; don't write to it."""
    path = tmp_path_factory.mktemp("bundle") / "colours.edge"
    classes.write(path, classes.exported(), variants=None).close()
    return path


@pytest.fixture(scope="module")
def floats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle without preprocessing, whose graph takes float32 NCHW and answers probabilities; fp32 alone."""
    path = tmp_path_factory.mktemp("bundle") / "floats.edge"
    classes.write(path, classes.exported(softmax=True, pictures=False), pictures=False).close()
    return path


def result_of(*probabilities: float, **changes: Any) -> Classification:
    shares = np.array(probabilities, np.float32)
    labels = tuple(f"class {i}" for i in range(len(shares)))
    return Classification(**{"probabilities": shares, "labels": labels, "ran": RAN} | changes)


@pytest.mark.parametrize("label", classes.LABELS)
def test_a_picture_in_any_form_gets_its_class_and_probabilities_with_sum_1(
    colours: Path, tmp_path: Path, label: str
) -> None:
    rgb = classes.picture(label, 4)
    cv2.imwrite(str(tmp_path / "a.png"), rgb[:, :, ::-1])
    with edge_sdk.load_as(edge_sdk.Classifier, colours, threads=1, cache=tmp_path / "c") as classifier:
        assert classifier.takes_pictures
        results = [classifier.predict(form) for form in (rgb, tmp_path / "a.png", (tmp_path / "a.png").read_bytes())]
    for result in results:
        assert (result.label, result.index, result.labels) == (label, classes.LABELS.index(label), classes.LABELS)
        assert result.probabilities.dtype == np.float32
        assert float(result.probabilities.sum(dtype=np.float64)) == pytest.approx(1.0, abs=1e-6)
        assert result.confidence > 0.8
        np.testing.assert_array_equal(result.probabilities, results[0].probabilities)
        assert result.ran.variant
        assert {"infer", "postprocess", "total"} <= set(result.ran.stages_ms)
    assert [result.file for result in results] == [None, tmp_path / "a.png", None]


def test_arrays_are_taken_where_the_bundle_has_no_preprocessing(floats: Path, tmp_path: Path) -> None:
    tensor = classes.as_floats(classes.picture("blue", 2, height=32, width=32)[None])
    (tmp_path / "a.npz").write_bytes(npz.npz({"image": tensor}))
    with edge_sdk.load_as(edge_sdk.Classifier, floats, threads=1, cache=tmp_path / "c") as classifier:
        given, read = classifier.predict({"image": tensor}), classifier.predict(tmp_path / "a.npz")
        assert (given.label, read.label, read.source) == ("blue", "blue", str(tmp_path / "a.npz"))
        assert (given.picture, given.suffix) == (False, ".json")
        with pytest.raises(BadInput, match="these arrays have 2 rows, predict takes one sample"):
            classifier.predict({"image": np.repeat(tensor, 2, 0)})
        with pytest.raises(BadInput, match="holds no named arrays"):
            classifier.predict(tensor)
        with pytest.raises(BadInput, match="came as pixels, which are not kept"):
            given.plot()


@pytest.mark.parametrize("max_batch", [1, 2, 8])
def test_a_batch_answers_as_its_samples_alone(colours: Path, tmp_path: Path, max_batch: int) -> None:
    pictures = [classes.picture(classes.LABELS[i % 3], i) for i in range(5)]
    with edge_sdk.load_as(
        edge_sdk.Classifier, colours, threads=1, cache=tmp_path, max_batch=max_batch, variant="fp32"
    ) as classifier:
        alone = [classifier.predict(one) for one in pictures]
        together = classifier.predict_batch(pictures)
        assert classifier.predict_batch([]) == ()
    assert [one.label for one in together] == [classes.LABELS[i % 3] for i in range(5)]
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(other.probabilities, one.probabilities, atol=1e-6)


def test_samples_of_several_shapes_and_graphs_without_a_batch_run_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "one.edge"
    classes.write(path, classes.exported(batch=1)).close()
    with edge_sdk.load_as(edge_sdk.Classifier, path, threads=1, cache=tmp_path) as classifier:
        results = classifier.predict_batch([classes.picture("red"), classes.picture("blue", height=90)])
    assert [one.label for one in results] == ["red", "blue"]


@given(scores=hnp.arrays(np.float32, (3, 5), elements=st.floats(-1e4, 1e4, width=32)))
def test_softmax_is_scipys_and_never_overflows(scores: NDArray[np.float32]) -> None:
    got = probabilities_of(scores, "logits")
    np.testing.assert_allclose(got, special.softmax(scores.astype(np.float64), axis=-1), atol=1e-6)
    np.testing.assert_allclose(got.sum(-1, dtype=np.float64), 1.0, atol=1e-6)


@given(scores=hnp.arrays(np.float64, st.integers(2, 9), elements=st.floats(0, 50)))
def test_entropy_is_scipys_in_nats_and_at_most_that_of_equal_shares(scores: NDArray[np.float64]) -> None:
    (shares,) = probabilities_of(scores[None], "logits")
    assert entropy(shares) == pytest.approx(float(stats.entropy(shares.astype(np.float64))), abs=1e-6)
    assert 0.0 <= entropy(shares) <= math.log(len(shares)) + 1e-6


def test_the_edges_of_entropy() -> None:
    assert entropy(np.array([1.0, 0.0, 0.0])) == 0.0
    assert entropy(np.full(8, 1 / 8)) == pytest.approx(math.log(8))


def test_probabilities_of_half_precision_are_brought_to_sum_1() -> None:
    rounded = np.full((1, 3), 1 / 3, np.float16)
    assert float(rounded.astype(np.float64).sum()) != 1.0
    np.testing.assert_allclose(probabilities_of(rounded, "probabilities"), 1 / 3, atol=1e-7)


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ([[0.9, 0.8, 0.7]], r"its sum is 2.4, .*\(sigmoid, several labels a picture"),
        ([[1.5, -0.5, 0.0]], r"its least value -0.5.*scores .logits. if it answers logits"),
        ([[0.998, 0.0, 0.0]], "its sum is 0.998"),
        ([[float("nan"), 0.5, 0.5]], "1 of 3 class scores that are no number"),
    ],
)
def test_what_is_no_set_of_probabilities_is_a_failed_check(scores: list[list[float]], said: str) -> None:
    with pytest.raises(CheckFailed, match=rf"a\.png: .*{said}"):
        probabilities_of(np.array(scores), "probabilities", where="a.png")


def test_a_softmax_that_is_applied_twice_is_noted(tmp_path: Path) -> None:
    """The graph ends in one, and its bundle says that it does not."""
    path = tmp_path / "twice.edge"
    classes.write(path, classes.exported(softmax=True, scores="logits")).close()
    with edge_sdk.load_as(edge_sdk.Classifier, path, threads=1, cache=tmp_path) as classifier:
        result = classifier.predict(classes.picture("red"))
    assert result.notes == (TWICE,)
    assert result.confidence < 0.6  # and not 0.95
    assert not looks_like_probabilities(np.array([[2.0, -1.0, 0.0]]))


def test_a_graph_of_logits_that_is_called_one_of_probabilities_is_never_written(tmp_path: Path) -> None:
    path = tmp_path / "wrong.edge"
    with pytest.raises(CheckFailed, match=r"can't use the bundle: .*no set of probabilities"):
        classes.write(path, classes.exported(scores="probabilities"))
    assert not path.exists()


def test_a_picture_of_one_colour_is_answered_and_noted(colours: Path, tmp_path: Path) -> None:
    with edge_sdk.load_as(edge_sdk.Classifier, colours, threads=1, cache=tmp_path) as classifier:
        assert ONE_COLOUR in classifier.predict(np.zeros((20, 20, 3), np.uint8)).notes
        assert classifier.predict(classes.picture("red")).notes == ()


def spec(*shape: int | str, name: str = "logits", dtype: Any = "float32") -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape)


@pytest.mark.parametrize("outputs", [[spec("N", 3)], [spec(1, 3)], [spec(3)], [spec("N", 3, dtype="float16")]])
def test_scores_of_one_row_a_sample_are_taken(outputs: list[TensorSpec]) -> None:
    assert settings_problem(classes.settings(), outputs) == ""


@pytest.mark.parametrize(
    ("changes", "outputs", "said"),
    [
        ({}, [spec("N", 4)], "there are 3 labels, and the output logits has 4 classes"),
        ({}, [spec("N", 3, 1, 1)], r"has shape N x 3 x 1 x 1; class scores are \(N, classes\)"),
        ({}, [spec(7, 3)], "one row a sample"),
        ({}, [spec("N", "classes")], "does not say how many classes"),
        ({}, [spec("N", 3, dtype="int64")], "before any ArgMax"),
        ({}, [spec("N", 3), spec("N", 3, name="aux")], "is named: it answers logits, aux. Name one: --setting"),
        ({"output": "head"}, [spec("N", 3)], "no output head: it answers logits. Name one: --setting"),
        ({"labels": ("good",)}, [spec("N", 1)], "1 label is no choice between classes; .*sigmoid"),
        ({"labels": ("a", "b\n", "c")}, [spec("N", 3)], r"the label 'b\\\\x0a' is empty or not plain"),
        ({"labels": ("a", " ", "c")}, [spec("N", 3)], "is empty or not plain text"),
        ({"top": 0}, [spec("N", 3)], "top is 0"),
        ({"scores": "sigmoid"}, [spec("N", 3)], "scores are logits or probabilities, not 'sigmoid'; .*several labels"),
    ],
)
def test_settings_that_do_not_fit_the_graph_are_refused(
    changes: dict[str, Any], outputs: list[TensorSpec], said: str
) -> None:
    setup = Setup(settings=classes.settings(**changes), preprocessing=None, inputs={}, outputs={MODEL: tuple(outputs)})
    with pytest.raises(BadBundle, match=rf"x\.edge: the settings of the task classification: .*{said}"):
        tasks.task("classification").check(setup, where="x.edge")


def test_an_output_that_is_named_is_the_one_that_counts() -> None:
    assert settings_problem(classes.settings(output="logits"), [spec("N", 8, name="features"), spec("N", 3)]) == ""


def test_tiles_are_refused() -> None:
    record = Preprocessing(width=32, height=32, mode="tiles")
    image = TensorSpec(name="image", dtype="uint8", shape=("N", 32, 32, 3))
    setup = Setup(
        settings=classes.settings(), preprocessing=record, inputs={MODEL: (image,)}, outputs={MODEL: (spec("N", 3),)}
    )
    with pytest.raises(BadBundle, match="cuts a picture into tiles"):
        tasks.task("classification").check(setup, where="x.edge")


def test_top_is_sorted_stable_among_equals_and_never_longer_than_the_classes() -> None:
    result = result_of(0.2, 0.3, 0.2, 0.3, top_count=3)
    assert [one.index for one in result.top()] == [1, 3, 0]
    assert [one.index for one in result.top(99)] == [1, 3, 0, 2]
    assert (result.index, result.label) == (1, "class 1")
    with pytest.raises(BadInput, match="the first 0 classes are none"):
        result.top(0)


def test_two_classes_may_have_one_name() -> None:
    """Lists of a thousand names in use have such: crane is a bird and a machine."""
    result = result_of(0.1, 0.6, 0.3, labels=("crane", "crane", "dog"))
    assert (result.label, result.index) == ("crane", 1)
    assert settings_problem(classes.settings(labels=("crane", "crane", "dog")), [spec("N", 3)]) == ""


def test_json_and_line_say_what_the_result_says() -> None:
    result = result_of(0.1, 0.7, 0.2, source="a.png", notes=("look",), top_count=2)
    value = json.loads(result.to_json())
    assert (value["label"], value["index"], value["confidence"]) == ("class 1", 1, pytest.approx(0.7))
    assert [one["label"] for one in value["top"]] == ["class 1", "class 2"]
    assert value["entropy_nats"] == pytest.approx(result.entropy)
    assert value["notes"] == ["look"]
    assert "probabilities" not in value
    assert json.loads(result.to_json(with_all=True))["probabilities"] == pytest.approx([0.1, 0.7, 0.2])
    assert result.line() == "class 1              0.7000  a.png  class 2 0.2000 [look]"
    assert repr(result) == "<Classification class 1: 0.7000, a.png>"


def test_a_plot_is_the_picture_with_a_bar_for_each_class_below_it(tmp_path: Path) -> None:
    rgb = classes.picture("green", height=50, width=400)
    result = result_of(0.25, 0.75, labels=("grün", "b"), picture=True)
    drawn = result.plot(rgb)
    assert (drawn.shape, drawn.dtype) == ((50 + 2 * 22, 400, 3), np.uint8)
    np.testing.assert_array_equal(drawn[:50], rgb)
    row = drawn[50 + 3]  # of the first class, above its text
    assert int((row != drawn[-1, -1]).any(-1).sum()) == 300  # 0.75 of 400 px
    assert result.plot(np.zeros((40, 40), np.uint8)).shape == (40 + 44, 320, 3)
    result.save(tmp_path / "a.png", rgb)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "a.png"))[:, :, ::-1], drawn)
    result.save(tmp_path / "a.json")
    assert len(json.loads((tmp_path / "a.json").read_text())["probabilities"]) == 2
    with pytest.raises(BadInput, match=r"can't be written as \.gif. Use \.png, \.jpg or \.json"):
        result.save(tmp_path / "a.gif", rgb)


def test_what_is_not_open_answers_nothing(colours: Path, tmp_path: Path) -> None:
    classifier = edge_sdk.load_as(edge_sdk.Classifier, colours, threads=1, cache=tmp_path)
    classifier.close()
    with pytest.raises(BadUsage, match="this classifier is closed"):
        classifier.predict(classes.picture("red"))


def test_a_result_can_not_be_changed_by_who_gets_it(colours: Path, tmp_path: Path) -> None:
    with edge_sdk.load_as(edge_sdk.Classifier, colours, threads=1, cache=tmp_path) as classifier:
        result = classifier.predict(classes.picture("red"))
        with pytest.raises(ValueError, match="read-only"):
            result.probabilities[0] = 0
        assert "classes    3, softmax of the output logits" in classifier.explain()


def test_verify_says_whether_an_error_could_have_changed_a_first_class(colours: Path) -> None:
    report = verify(colours)
    assert report.passed
    (line,) = report.headline.lines
    assert line.startswith("logits: off by up to ")
    assert line.endswith("too small to change the first class of 3 of 3 golden samples")
    assert report.headline.facts["first_class_certain"] == 3


def test_inspect_shows_the_classes(colours: Path, floats: Path) -> None:
    assert ("classes", "3: red, green, blue") in inspect(colours).task
    assert ("scores", "probabilities") in inspect(floats).task


def test_a_profile_calls_different_pictures_and_arrays_in_memory(colours: Path, floats: Path) -> None:
    task = tasks.task("classification")
    with Bundle.open(colours) as bundle:
        pictures = task.workload(bundle)
        assert len({one.tobytes() for one in pictures}) == 8
    with Bundle.open(floats) as bundle:
        assert [set(one) for one in task.workload(bundle)] == [{"image"}] * 3


def test_settings_of_another_form_are_refused_when_the_bundle_is_loaded(colours: Path, tmp_path: Path) -> None:
    import msgspec
    import tiny

    for change, said in (({"scores": "sigmoid"}, "Invalid enum value 'sigmoid'"), ({"labels": ["a"]}, "no choice")):
        odd = tmp_path / "odd.edge"

        def described(manifest: Any, change: dict[str, Any] = change) -> Any:
            return msgspec.structs.replace(manifest, settings={**manifest.settings, **change})

        tiny.rewritten(colours, odd, described=described)
        with pytest.raises(BadBundle, match=rf"odd\.edge: .*{said}"):
            edge_sdk.load(odd, cache=tmp_path / "c")


def test_defaults_show_five_classes_of_the_only_output() -> None:
    plain = ClassificationSettings(labels=("a", "b"), scores="logits")
    assert (plain.output, plain.top) == ("", 5)
