"""Pictures for a float network: calibrated on a folder of them, and fed to the bundle as to any picture task."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from float_nets import SIDE, classifier, edge, photos
from one_way import ONE_WAY
from onnx import TensorProto, helper
from test_picture_front import normalized, run

import edge_sdk
from edge_sdk import preprocess
from edge_sdk.bundle.store import Bundle
from edge_sdk.errors import BadInput
from edge_sdk.export.generic.picture import PictureOptions, fields_of_file, stated
from edge_sdk.tasks.tensor import TensorModel
from edge_sdk.verify import verify

STATED = ("--mean", "0.4,0.5,0.6", "--std", "0.2,0.25,0.3")
OPTIONS = PictureOptions(mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))


def quantize(*words: str, data: str = "photos", model: str = "m.onnx") -> int:
    given = ("--data", data, "--out", "m.edge", "--threads", "1", "--overwrite", "--variant", "int8")
    return edge("quantize", model, *given, *ONE_WAY, *words)


@pytest.fixture
def here(work: Path) -> Path:
    onnx.save(classifier(), "m.onnx")
    photos(work / "photos")
    return work


def test_a_folder_of_pictures_calibrates_and_the_bundle_takes_pictures(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert quantize(*STATED, "--resize", "letterbox", "--fill", "114") == 0
    said = capsys.readouterr()
    assert "image: pictures become uint8 16 x 16 (letterbox), and the graph normalizes them" in said.err
    assert "6 samples read" in said.out
    report = verify("m.edge")
    assert report.passed, report.text()
    assert report.reproduced == report.samples == 3
    with Bundle.open("m.edge") as bundle:
        record = bundle.manifest.preprocessing
        assert record is not None
        assert (record.mode, record.fill, record.width, record.height) == ("letterbox", 114, SIDE, SIDE)
        assert [list(sample.source) for sample in bundle.manifest.golden] == [["picture"]] * 3
    file = sorted((here / "photos").glob("*.png"))[0]
    prepared = preprocess.apply(preprocess.decode(file), record).tensor
    floats = normalized(prepared, OPTIONS).transpose(0, 3, 1, 2).astype(np.float32)
    wanted = run(Path("m.onnx").read_bytes(), {"image": floats})
    bgr = cv2.imread(str(file))
    with edge_sdk.load_as(TensorModel, "m.edge", variant="fp32", threads=1, color="bgr") as model:
        assert model.takes_pictures
        for source in (file, str(file), file.read_bytes(), bgr, {"image": prepared}):
            np.testing.assert_allclose(model.predict(source)["logits"], wanted, rtol=1e-4, atol=1e-5)
        result = model.predict(bgr)
        assert result.geometry is not None
        assert (result.geometry.width, result.geometry.height) == (40, 24)
        assert model.predict({"image": prepared}).geometry is None
        assert model.predict(file).source == str(file)
        with pytest.raises(BadInput, match="None is not a picture"):
            model.predict(None)


def test_every_picture_of_a_folder_is_predicted_and_others_are_counted(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert quantize(*STATED) == 0
    (here / "photos" / "notes.txt").write_text("none")
    capsys.readouterr()
    assert edge("predict", "m.edge", "photos", "--variant", "fp32", "--out", "results") == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 6
    assert "left out: 1 file that is not read as a picture (.txt 1)" in said.err
    assert len(list((here / "results").rglob("*.npz"))) == 6
    assert edge("profile", "m.edge", "--min-time", "0.1s", "--max-time", "1s") == 0
    assert "resize" in capsys.readouterr().out


def test_a_bundle_without_preprocessing_takes_no_picture(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("s.npz", image=np.random.default_rng(0).normal(size=(4, 3, SIDE, SIDE)).astype(np.float32))
    assert quantize(data="s.npz") == 0
    with edge_sdk.load_as(TensorModel, "m.edge", variant="fp32", threads=1) as model:
        assert not model.takes_pictures
        with pytest.raises(BadInput, match=r"0.png: this is no .npz file of plain arrays"):
            model.predict(here / "photos" / "0.png")
    assert edge("predict", "m.edge", "photos") == 3
    assert "there are no .npz files in it" in capsys.readouterr().err


def test_options_go_before_a_file_of_preprocessing(here: Path) -> None:
    (here / "p.json").write_text(json.dumps({"mean": [0.1], "resize": "letterbox", "fill": 7}))
    assert quantize("--preprocessing", "p.json", "--fill", "edge", "--dry-run") == 0
    assert quantize("--preprocessing", "p.json", "--fill", "edge") == 0
    with Bundle.open("m.edge") as bundle:
        record = bundle.manifest.preprocessing
    assert record is not None
    assert (record.mode, record.fill) == ("letterbox", "edge")


@pytest.mark.parametrize("std", [0.2, [0.2], [0.2, 0.2, 0.2]])
def test_one_number_of_a_file_counts_for_all_channels(std: object, here: Path) -> None:
    (here / "p.json").write_text(json.dumps({"mean": 123, "std": std, "resize": "letterbox"}))
    assert fields_of_file(here / "p.json")["mean"] == 123
    options = stated(fields_of_file(here / "p.json"), where="")
    assert (options.mean, set(options.std)) == ((123.0,), {0.2})
    (here / "p.json").write_text(json.dumps({"mean": 0.5, "std": std, "pixel_range": "0..1"}))
    assert quantize("--preprocessing", "p.json", "--dry-run") == 0


def test_a_value_of_a_file_is_named_with_what_it_may_be(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "p.json").write_text(json.dumps({"color": "grey"}))
    assert quantize("--preprocessing", "p.json") == 2
    assert "p.json: color grey: rgb or bgr" in capsys.readouterr().err


def test_one_side_is_a_square(work: Path) -> None:
    onnx.save(classifier(("N", 3, "H", "W")), "m.onnx")
    photos(work / "photos")
    (work / "p.json").write_text(json.dumps({"size": 24}))
    for words in (("--size", "24"), ("--preprocessing", "p.json")):
        assert quantize("--resize", "stretch", *words, "--variant", "fp32", "--dry-run") == 0


def test_a_graph_that_takes_pictures_itself_asks_for_resize(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert quantize(*STATED) == 0
    with Bundle.open("m.edge") as bundle:
        Path("uint8.onnx").write_bytes(bundle.graph("fp32"))
    assert quantize(model="uint8.onnx") == 3
    assert "for pictures state how they are prepared, with --resize stretch" in capsys.readouterr().err
    assert quantize("--resize", "stretch", "--dry-run", model="uint8.onnx") == 0


def test_few_samples_are_warned_of(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert quantize(*STATED, "--dry-run") == 0
    assert "warning: calibrated on 6 samples alone" in capsys.readouterr().out
    for number in range(10):
        noise = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        cv2.imwrite(str(here / "photos" / f"more{number}.png"), noise)
    assert quantize(*STATED, "--dry-run") == 0
    assert "warning" not in capsys.readouterr().out


def test_a_dry_run_says_what_would_be_made_and_writes_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(here.rglob("*"))
    assert quantize(*STATED, "--dry-run") == 0
    text = capsys.readouterr().out
    for line in ("input     image: uint8 (N, 16, 16, 3)", "samples   6, the first", "pictures  16 x 16 px, stretch"):
        assert line in text
    assert "variants  fp32, int8\n" in text
    assert quantize(*STATED, "--dry-run", "--variant", "fp16") == 0
    assert "variants  fp32, fp16, int8\n" in capsys.readouterr().out
    assert quantize(*STATED, "--dry-run", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["models"]["model"]["samples"] == 6
    assert plan["preprocessing"]["width"] == SIDE
    assert sorted(here.rglob("*")) == before


def two_inputs() -> onnx.ModelProto:
    model = classifier()
    model.graph.input.append(helper.make_tensor_value_info("bias", TensorProto.FLOAT, ["N", 5]))
    model.graph.node.append(helper.make_node("Add", ["logits", "bias"], ["sum"], "add"))
    model.graph.output.append(helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["N", 5]))
    return model


def test_other_inputs_are_fed_by_files_that_hold_the_prepared_picture(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx.save(two_inputs(), "two.onnx")
    assert quantize(*STATED, model="two.onnx") == 3
    assert "pictures feed image alone, the graph also takes bias" in capsys.readouterr().err
    rng = np.random.default_rng(4)
    pixels, bias = rng.integers(0, 256, (4, SIDE, SIDE, 3), dtype=np.uint8), np.ones((4, 5), np.float32)
    np.savez("two.npz", image=pixels, bias=bias)
    assert quantize(*STATED, model="two.onnx", data="two.npz") == 0
    assert verify("m.edge").passed
    with edge_sdk.load_as(TensorModel, "m.edge", variant="fp32", threads=1, max_batch=4) as model:
        assert not model.takes_pictures
        assert model.predict({"image": pixels, "bias": bias})["sum"].shape == (4, 5)
        with pytest.raises(BadInput, match="a picture alone is not enough: the bundle also takes bias"):
            model.predict(here / "photos" / "0.png")


def damaged(here: Path) -> str:
    (here / "photos" / "0.png").write_bytes((here / "photos" / "0.png").read_bytes()[:60])
    (here / "photos" / "more" / "text.jpg").write_text("no picture")
    return "photos"


def floats(here: Path) -> str:
    np.savez("s.npz", image=np.zeros((4, 3, SIDE, SIDE), np.float32))
    return "s.npz"


def empty(here: Path) -> str:
    (here / "empty").mkdir()
    return "empty"


def alike(here: Path) -> str:
    for file in (here / "photos").rglob("*.png"):
        file.write_bytes((here / "photos" / "0.png").read_bytes())
    return "photos"


MISTAKES = [
    (damaged, STATED, 3, "2 of 7 pictures can't be read: photos/0.png: the PNG is"),
    (damaged, STATED, 3, "photos/more/text.jpg: this is not a picture"),
    (
        floats,
        STATED,
        3,
        "image is float32, the graph takes uint8; samples are rows. With preprocessing stated, a picture",
    ),
    (empty, STATED, 3, "there are no pictures in it"),
    (lambda _: "photos", (), 3, "for pictures state how they are prepared, with --mean and --std or --preprocessing"),
    (lambda _: "photos", ("--mean", "a,b"), 2, "--mean a,b is not numbers with commas between them"),
    (lambda _: "photos", ("--mean", ""), 2, "--mean  is not numbers"),
    (lambda _: "photos", ("--mean", "1,2"), 2, "mean is one finite number or three, not [1.0, 2.0]"),
    (lambda _: "photos", ("--std", "0"), 2, "std is above 0"),
    (lambda _: "photos", ("--std", "nan"), 2, "--std nan is not numbers"),
    (lambda _: "photos", ("--size", "8"), 2, "the input image has 16 x 16 px"),
    (lambda _: "photos", ("--size", "8x8x8"), 2, "--size 8x8x8 is no height x width in px"),
    (lambda _: "photos", ("--color", "grey"), 2, "edge-sdk: --color grey: rgb or bgr\n"),
    (lambda _: "photos", ("--resize", "crop"), 2, "edge-sdk: --resize crop: stretch, letterbox or longest-side\n"),
    (lambda _: "photos", ("--pixel-range", "0-1"), 2, "edge-sdk: --pixel-range 0-1: 0..1 or 0..255\n"),
    (lambda _: "photos", ("--fill", "white"), 2, "edge-sdk: --fill white: edge or a grey level from 0 to 255\n"),
    (lambda _: "photos", ("--mean", "123,117,104", "--std", "58,57,57"), 2, "mean --pixel-range 0..255?"),
    (lambda _: "photos", ("--std", "58"), 2, "--std 58 is of pixels of 0..255, and they are 0..1 here"),
    (lambda _: "photos", (*STATED, "--pixel-range", "0..255"), 2, "mean --pixel-range 0..1?"),
    (alike, STATED, 2, "--data: all golden samples feed the graph of model the same"),
    (lambda _: "photos", ("--fill", "256"), 2, "fill is edge or a grey level from 0 to 255"),
    (lambda _: "photos", ("--preprocessing", "absent.json"), 3, "absent.json: can't read it"),
    (lambda _: "photos", ("--picture-input", "x", *STATED), 2, "the graph has no input x"),
]


@pytest.mark.parametrize(("make", "words", "code", "said"), MISTAKES, ids=[said[:30] for *_, said in MISTAKES])
def test_a_mistake_is_one_sentence_and_nothing_is_written(
    make, words: tuple[str, ...], code: int, said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # type: ignore[no-untyped-def]
    assert quantize(*words, data=make(here)) == code
    text = capsys.readouterr().err
    assert said in text
    assert "Traceback" not in text
    assert not (here / "m.edge").exists()
