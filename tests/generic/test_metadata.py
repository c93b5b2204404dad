"""What a file's own metadata propose: taken where nothing is stated, said, and overridden by whatever is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from float_nets import SIDE, classifier, edge, photos

from edge_sdk.bundle.store import Bundle
from edge_sdk.export.generic.metadata import proposed

YOLO = {
    "author": "Ultralytics", "task": "detect", "stride": "32", "batch": "1", "imgsz": f"[{SIDE}, {SIDE}]",
    "names": "{0: 'person', 1: 'bicycle', 2: 'traffic light'}", "channels": "3",
}  # fmt: skip
MODEL_API = {
    "model_info model_type": "Classification", "model_info labels": "cat dog_house", "model_info pad_value": "114",
    "model_info mean_values": "123.675 116.28 103.53", "model_info scale_values": "58.395 57.12 57.375",
    "model_info resize_type": "fit_to_window_letterbox", "model_info reverse_input_channels": "True",
}  # fmt: skip


def test_a_detector_of_ultralytics_sees_a_letterbox_of_pixels_divided_by_255() -> None:
    found = proposed(YOLO)
    assert found.tool == "Ultralytics"
    assert found.picture == {
        "pixel_range": "0..1", "color": "rgb", "resize": "letterbox", "fill": 114, "size": [SIDE, SIDE],
    }  # fmt: skip
    assert found.labels == ("person", "bicycle", "traffic light")
    assert found.task == ""


def test_a_classifier_of_ultralytics_answers_probabilities() -> None:
    found = proposed({**YOLO, "task": "classify"})
    assert (found.task, found.settings) == ("classification", {"scores": "probabilities"})
    assert found.picture["resize"] == "stretch"
    assert "crops the middle" in found.notes[0]


def test_model_info_of_model_api_states_means_of_0_to_255() -> None:
    found = proposed(MODEL_API)
    assert found.tool == "Model API"
    assert found.picture == {
        "mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375], "pixel_range": "0..255",
        "resize": "letterbox", "fill": 114,
    }  # fmt: skip
    assert found.labels == ("cat", "dog_house")
    assert "RGB unless --color is given" in found.notes[0]


@pytest.mark.parametrize(
    "names",
    [
        "__import__('os').system('true')", "{0: 'a', 2: 'b'}", "['a']", "{0: 'a', 1: ''}", "{0: 'a', '1': 'b'}", "",
        "{" * 3000, "'" + "x" * 2**21 + "'", "{0: 'a\\n'}",
    ],
    ids=["code", "a gap", "a list", "an empty one", "mixed keys", "nothing", "nested", "too long", "a line end"],
)  # fmt: skip
def test_names_that_are_no_plain_labels_are_left_out_and_never_evaluated(names: str) -> None:
    found = proposed({**YOLO, "names": names})
    assert found.labels == ()
    assert found.picture["resize"] == "letterbox"


@pytest.mark.parametrize("size", ["640", "[640]", "[0, 640]", "[True, 640]", "[640, '640']", "None", "[" * 5000])
def test_a_size_that_makes_no_sense_is_left_out(size: str) -> None:
    assert "size" not in proposed({**YOLO, "imgsz": size}).picture


def test_a_file_of_another_tool_proposes_nothing() -> None:
    assert proposed({}) == proposed({"author": "someone", "task": "detect"})
    assert proposed({}).tool == ""


def quantize(*words: str, data: str = "photos") -> int:
    return edge(
        "quantize",
        "m.onnx",
        "--data",
        data,
        "--out",
        "m.edge",
        "--threads",
        "1",
        "--overwrite",
        "--variant",
        "fp32",
        *words,
    )


@pytest.fixture
def here(work: Path) -> Path:
    model = classifier(("batch", 3, "height", "width"))
    for key, value in YOLO.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(model, "m.onnx")
    photos(work / "photos")
    return work


def test_a_file_that_describes_itself_needs_no_options(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert quantize() == 0
    said = capsys.readouterr().err
    assert (
        "taken from the file's metadata (Ultralytics): pixel-range 0..1, color rgb, resize letterbox, fill 114" in said
    )
    assert "3 labels; options go before them" in said
    with Bundle.open("m.edge") as bundle:
        record = bundle.manifest.preprocessing
        assert record is not None
        assert (record.mode, record.fill, record.height, record.width) == ("letterbox", 114, SIDE, SIDE)
        assert bundle.manifest.settings["labels"] == ["person", "bicycle", "traffic light"]
    assert edge("inspect", "m.edge") == 0
    assert "labels     3: person, bicycle, traffic light" in capsys.readouterr().out


def test_what_is_stated_goes_before_metadata(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "labels.txt").write_text("a\nb\n")
    assert quantize("--resize", "stretch", "--size", "8x24", "--labels", "labels.txt") == 0
    said = capsys.readouterr().err
    assert "pixel-range 0..1, color rgb, fill 114; options" in said
    with Bundle.open("m.edge") as bundle:
        record = bundle.manifest.preprocessing
        assert record is not None
        assert (record.mode, record.height, record.width) == ("stretch", 8, 24)
        assert bundle.manifest.settings["labels"] == ["a", "b"]


def test_arrays_feed_the_network_itself_whatever_metadata_say(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("s.npz", image=np.zeros((4, 3, 16, 16), np.float32) + np.arange(4, dtype=np.float32)[:, None, None, None])
    assert quantize("--axis", "height=16", "--axis", "width=16", data="s.npz") == 0
    assert "(Ultralytics): 3 labels" in capsys.readouterr().err
    with Bundle.open("m.edge") as bundle:
        assert bundle.manifest.preprocessing is None


def test_metadata_can_be_left_out(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert quantize("--no-metadata") == 2
    assert "metadata" not in capsys.readouterr().err
