"""What pictures are compared by: a classifier that is kept, a trunk, a graph of the user's; what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.export.tasks.generation import classifier, eyes
from edge_sdk.export.tasks.generation.classifier import Classifier
from edge_sdk.export.tasks.generation.data import GenerationData, with_eyes
from edge_sdk.export.tasks.generation.real import real_of, scaled


def data(*, classes: bool = True, side: int = 8) -> GenerationData:
    """Forty grey pictures, dark ones and bright ones."""
    rng = np.random.default_rng(2)
    labels = np.arange(40) % 2
    pictures = (labels[:, None, None, None] * 150 + rng.integers(0, 60, (40, side, side, 1))).astype(np.uint8)
    return GenerationData(
        pictures=pictures, labels=labels if classes else None, names=("dark", "bright") if classes else ()
    )


def graph(path: Path, shape: tuple[int | str, ...], *, dtype: int = TensorProto.FLOAT, out: int | str = 3) -> Path:
    """Means of each picture's channels; `out`: how many the file claims to answer."""
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["f"], ["y"], axes=[2, 3] if dtype == TensorProto.FLOAT else [1, 2], keepdims=0),
    ]
    inside = helper.make_graph(
        nodes, "means", [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("N", out))],
    )  # fmt: skip
    onnx.save(helper.make_model(inside, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_a_classifier_is_trained_once_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[int] = []
    monkeypatch.setattr(classifier, "STEPS_AT_LEAST", 20)
    before = classifier.trained

    def counted(*given: object, **named: object) -> Classifier:
        trained.append(1)
        return before(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(classifier, "trained", counted)
    first = real_of(data(), folder=tmp_path, write=True)
    again = real_of(data(), folder=tmp_path)
    assert len(trained) == 1
    np.testing.assert_array_equal(first.features, again.features)
    assert first.seen_by == again.seen_by
    other = replace(data(), pictures=data().pictures[::-1].copy())
    real_of(other, folder=tmp_path)
    assert len(trained) == 2  # of other pictures it is another one, and what was kept stays
    (tmp_path / classifier.FILE).write_bytes(b"cut")
    real_of(data(), folder=tmp_path)
    assert len(trained) == 3


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        (("N", 3, "H", "W"), TensorProto.FLOAT), (("N", 3, 16, 16), TensorProto.FLOAT),
        (("N", "H", "W", 3), TensorProto.UINT8), (("N", 1, 8, 8), TensorProto.FLOAT),
    ],
)  # fmt: skip
def test_a_graph_sees_pictures_as_it_takes_them(tmp_path: Path, shape: tuple[int | str, ...], dtype: int) -> None:
    channels = 3 if 3 in shape else 1
    seen_by = eyes.stated(str(graph(tmp_path / "eyes.onnx", shape, dtype=dtype, out=channels)))
    asked = with_eyes(data(classes=False), seen_by)
    real = real_of(asked)
    means = scaled(asked.pictures).mean(axis=(1, 2, 3))
    wanted = means if dtype == TensorProto.FLOAT else np.rint(asked.pictures.astype(float)).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(real.features, np.stack([wanted] * channels, axis=1), atol=1e-3)
    assert real.seen_by == "features of eyes.onnx"
    assert asked.digest != data(classes=False).digest  # another run: what is kept as best is chosen by them


@pytest.mark.parametrize(
    ("shape", "dtype", "said"),
    [
        ((1, 3, 8, 8), TensorProto.FLOAT, "takes no batch of pictures"),
        (("N", 4, 8, 8), TensorProto.FLOAT, "takes no batch of pictures"),
        (("N", 8, 8, 3), TensorProto.FLOAT, "takes no batch of pictures"),
    ],
)
def test_a_graph_that_takes_no_pictures_is_refused(
    tmp_path: Path, shape: tuple[int | str, ...], dtype: int, said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        eyes.stated(str(graph(tmp_path / "eyes.onnx", shape, dtype=dtype)))


def test_no_file_and_no_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        eyes.stated(str(tmp_path / "none.onnx"))
    with pytest.raises(BadUsage, match="needs classes"):
        with_eyes(data(classes=False), eyes.stated("classifier"))
    assert with_eyes(data(), eyes.stated("trunk")).eyes.name == "trunk"
