"""The task around the predictor: bundles that are checked, verified, profiled, inspected and used by command line."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import disk_graphs
import numpy as np
import pytest

import edge_sdk
from edge_sdk import tasks
from edge_sdk.cli.main import run
from edge_sdk.errors import BadBundle, BadUsage, CheckFailed
from edge_sdk.export.family import Exported, FloatGraph
from edge_sdk.export.pack import setup_of
from edge_sdk.profiling import predicting
from edge_sdk.summary import inspect
from edge_sdk.tasks.base import Setup
from edge_sdk.tasks.images import RING
from edge_sdk.tasks.segmentation import decoding
from edge_sdk.tasks.segmentation.segmenter import PromptSegmenter
from edge_sdk.tasks.segmentation.settings import BoxMap, EverythingSettings, SegmentationSettings
from edge_sdk.tasks.segmentation.task import SegmentationTask
from edge_sdk.verify import verify


@pytest.mark.parametrize("kind", ["disks", "windows"])
def test_verify_replays_all_three_graphs_and_predict(kind: str, request: pytest.FixtureRequest) -> None:
    report = verify(request.getfixturevalue(kind), runtimes=["onnxruntime", "openvino"])
    assert report.passed, report.text()
    assert {row.role for row in report.rows} == {"encoder", "decoder", "refiner"}
    assert "can change at most" in report.text()


def test_verify_finds_a_predictor_that_feeds_the_refiner_another_mask(
    disks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right: Callable[..., Any] = decoding.given_back

    def refined(*given: Any) -> Any:
        return [replace(one, mask=one.mask + 1) for one in right(*given)]

    monkeypatch.setattr(decoding, "given_back", refined)  # the task looks it up under a name of its own
    report = verify(disks, runtimes=["onnxruntime"])
    assert not report.passed
    assert "it feeds refiner something else than Task.feeds does" in report.text()


def test_a_cache_that_confuses_pictures_is_not_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_sdk.tasks.segmentation.segmenter.content_key", lambda *parts: "one")
    with pytest.raises(CheckFailed, match="it feeds encoder something else than"):
        disk_graphs.write(tmp_path / "stale.edge")


def test_a_profile_encodes_in_every_call(disks: Path) -> None:
    with edge_sdk.load_as(PromptSegmenter, disks, runtime="onnxruntime", threads=1) as segmenter:
        sources = predicting.workload(segmenter)
        assert len(sources) == RING
        for source in (*sources, *sources):
            assert "encode" in segmenter.predict(source).ran.stages_ms


def test_many_prompts_run_together_unless_load_says_otherwise(disks: Path) -> None:
    def rows(**given: Any) -> dict[str, int]:
        with edge_sdk.load(disks, runtime="onnxruntime", threads=1, **given) as loaded:
            return {role: model.max_batch for role, model in loaded._loaded.models.items()}

    assert rows() == {"encoder": 1, "decoder": 8, "refiner": 8}  # the graphs were exported for 8
    assert rows(max_batch=2) == {"encoder": 2, "decoder": 2, "refiner": 2}
    with pytest.raises(BadUsage, match="max_batch is a number of at least 1, not 0"):
        rows(max_batch=0)


def test_inspect_shows_what_can_be_asked(disks: Path) -> None:
    shown = dict(inspect(disks).task)
    assert shown["masks"] == "3 alternatives a prompt, 32 x 32 cells"
    assert "box=X0,Y0,X1,Y1" in shown["prompts"]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    path.write_bytes(disk_graphs.png(disk_graphs.picture(4)))
    return path


def asked(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        run(["predict", *map(str, words), "--runtime", "onnxruntime"])
    out = capsys.readouterr()
    return int(left.value.code or 0), out.out, out.err


def test_predict_takes_prompts(disks: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = asked(capsys, disks, photo, "--json", "--prompt", "point=31.5,23.5")
    (mask,) = json.loads(out)["masks"]
    assert (code, mask["box"]) == (0, [24, 16, 40, 32])
    code, out, _ = asked(
        capsys, disks, photo, "--json", "--prompt", "box=10,10,50,40", "--prompt", "background=40,30",
        "--out", tmp_path / "out",
    )  # fmt: skip
    (mask,) = json.loads(out)["masks"]
    assert code == 0
    np.testing.assert_allclose(mask["box"], [10, 10, 50, 40], atol=2)
    assert (tmp_path / "out" / "photo.png").exists()
    code, out, _ = asked(capsys, disks, photo, "--json", "--prompt", "box=1,1,9,9", "--prompt", "box=20,10,50,40")
    assert [one["prompt"] for one in json.loads(out)["masks"]] == [0, 1]


def test_background_alone_is_refused_with_what_to_give(
    disks: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = asked(capsys, disks, photo, "--prompt", "background=40,30", "--prompt", "background=4,3")
    assert code == 2
    assert "background alone does not say where the object is. Give --prompt point=X,Y or" in " ".join(err.split())


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 20_000), (20_000, 1)])
@pytest.mark.parametrize(
    "prompt", [f"point={0},{0}", "everything=flat,points_per_side=2,predicted_iou=0.1,stability=0.1"]
)
def test_pictures_of_extreme_shapes_are_answered_and_saved(
    height: int, width: int, prompt: str, disks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "odd.png"
    path.write_bytes(disk_graphs.png(disk_graphs.picture(1, height=height, width=width)))
    code, out, _ = asked(
        capsys, disks, path, "--json", "--prompt", prompt, "--out", tmp_path / "out", "--save", "plot", "--save",
        "labels",
    )  # fmt: skip
    assert code == 0
    assert json.loads(out)["picture"] == {"width": width, "height": height}
    labels = cv2.imread(str(tmp_path / "out" / "odd.labels.png"), cv2.IMREAD_UNCHANGED)
    plot = cv2.imread(str(tmp_path / "out" / "odd.png"))
    assert (labels.shape, plot.shape) == ((height, width), (height, width, 3))


def test_a_profile_of_pictures_that_are_given_clicks_on_each(disks: Path, photo: Path) -> None:
    with edge_sdk.load_as(PromptSegmenter, disks, runtime="onnxruntime", threads=1) as segmenter:
        (source,) = predicting.workload(segmenter, [str(photo)])
        assert len(segmenter.predict(source)) == 1


LOOSE = "points_per_side=4,predicted_iou=0.1,stability=0.1,nms_iou=1"


def test_predict_without_a_prompt_finds_everything_and_saves_it_as_it_is_asked_to(
    disks: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = asked(capsys, disks, photo, "--json")
    assert (code, json.loads(out)["counts"]["points"]) == (0, 32 * 32)
    code, out, _ = asked(
        capsys, disks, photo, "--json", "--prompt", f"everything={LOOSE}", "--out", tmp_path / "out",
        "--save", "labels", "--save", "json",
    )  # fmt: skip
    found = json.loads(out)
    assert code == 0
    assert found["counts"]["points"] == 16
    assert found["masks"]
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == ["photo.json", "photo.labels.png"]
    labels = cv2.imread(str(tmp_path / "out" / "photo.labels.png"), cv2.IMREAD_UNCHANGED)
    assert labels.shape == (48, 64)
    assert set(np.unique(labels)) <= set(range(len(found["masks"]) + 1))
    assert json.loads((tmp_path / "out" / "photo.json").read_text("utf-8"))["masks"] == found["masks"]
    with edge_sdk.load_as(PromptSegmenter, disks, runtime="onnxruntime", threads=1) as segmenter:
        options = segmenter.everything_options.changed(points_per_side=4, predicted_iou=0.1, stability=0.1, nms_iou=1.0)
        same = segmenter.everything(photo, options=options)
    assert [mask.to_json() for mask in same.masks] == found["masks"]


def test_hierarchical_search_is_asked_for_by_name(
    tmp_path: Path, photo: Path, disks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    every = EverythingSettings(points_per_side=8, predicted_iou=0.1, stability=0.1, confident_logit=0.5)
    settings = SegmentationSettings(multimask=(1, 2, 3), single=0, everything=every)
    bundle = disk_graphs.write(tmp_path / "sure.edge", settings=settings)
    counts = []
    for how in ("flat", "hierarchical=yes"):
        code, out, _ = asked(capsys, bundle, photo, "--json", "--prompt", f"everything={how}")
        assert code == 0
        counts.append(json.loads(out)["counts"])
    assert counts[0]["asked"] == 64
    assert counts[1]["asked"] < 64
    assert counts[1]["left_out"] > 0


def test_two_results_are_not_written_to_one_file(
    disks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.png", "a.labels.png"):
        (tmp_path / name).write_bytes(disk_graphs.png(disk_graphs.picture(4)))
    code, _, err = asked(
        capsys, disks, tmp_path / "a.png", tmp_path / "a.labels.png", "--out", tmp_path / "out", "--save", "plot",
        "--save", "labels",
    )  # fmt: skip
    assert code == 2
    assert "two results would be written to" in " ".join(err.split())
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--save", "mask", "--out", "here"],
            "the task segmentation saves no file called mask. Give plot, labels or json",
        ),
        (["--save", "labels"], "--save says what is written to --out, which is not given"),
        (["--prompt", "everything=dense"], "'dense' is not an option of everything mode. Write flat or hierarchical"),
        (
            ["--prompt", "everything=points=3"],
            "everything mode has no option points. Options are points_per_side, points_per_batch",
        ),
        (
            ["--prompt", "everything=points_per_side=few"],
            "points_per_side is 'few'. It takes a whole number, such as points_per_side=32",
        ),
        (["--prompt", "everything=points_per_side=0"], "points_per_side is 0, it takes 1 to 256"),
        (["--prompt", "everything=points_per_side=4.5"], "points_per_side is '4.5'. It takes a whole number"),
        (["--prompt", "everything=points_per_side=yes"], "points_per_side is True. It takes a whole number"),
        (["--prompt", "everything=hierarchical=maybe"], "hierarchical is 'maybe'. It takes yes or no, such as hierar"),
        (["--prompt", "everything=hierarchical=1"], "hierarchical is 1. It takes yes or no"),
        (["--prompt", "everything=stability=high"], "stability is 'high'. It takes a number, such as stability=0.95"),
        (["--prompt", "everything=flat,hierarchical"], "hierarchical is stated twice"),
        (["--prompt", "everything=hierarchical"], "hierarchical needs confident_logit, which this bundle does not"),
        (["--prompt", "everything=flat", "--prompt", "point=1,2"], "everything asks for every object and can't be"),
    ],
)
def test_a_wrong_request_is_refused_before_a_graph_is_compiled(
    disks: Path, photo: Path, tmp_path: Path, words: list[str], said: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:  # a runtime that is not there: loading would exit with 4 or 2 for it
        run(["predict", str(disks), str(photo), *words, "--runtime", "openvinno"])
    assert left.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("prompts", "code", "words"),
    [
        (
            ["spot=1,2"],
            2,
            "the task segmentation has no prompt spot. Prompts are: point=X,Y (a pixel on the object); b",
        ),
        (["point"], 2, "the prompt point has no value. Write point=X,Y, such as point=100,50"),
        (["point=1"], 2, "point=1 is not 2 numbers. Write point=X,Y in px of the picture, such as point=100,50"),
        (["box=1,2,3,x"], 2, "box=1,2,3,x is not 4 numbers. Write box=X0,Y0,X1,Y1 in px"),
        (["box"], 2, "the prompt box has no value. Write box=X0,Y0,X1,Y1, such as box=20,30,90,80."),
        (["everything"], 2, "the prompt everything has no value. Write everything=OPTIONS, such as everything=flat,po"),
        (["box=1,1,9,9", "box=2,2,9,9", "point=1,2"], 2, "points can't be combined with several boxes"),
        (["point=100,2"], 3, "the point (100, 2) is outside the picture of 64 x 48 px"),
    ],
)
def test_prompts_that_make_no_sense_are_refused(
    disks: Path, photo: Path, prompts: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    left, _, err = asked(capsys, disks, photo, *(word for one in prompts for word in ("--prompt", one)))
    assert left == code
    assert words in " ".join(err.split())


def test_a_result_does_not_replace_its_picture(disks: Path, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = asked(capsys, disks, photo, "--out", photo.parent, "--overwrite")
    assert code == 2
    assert "would replace the input" in " ".join(err.split())


def other(role: str, graph: bytes) -> Exported:
    made = disk_graphs.exported()
    return replace(made, graphs={**made.graphs, role: FloatGraph(onnx=graph, axes={"N": 8, "T": 6})})


def test_graphs_that_do_not_fit_together_are_refused() -> None:
    made = disk_graphs.exported()
    cases: list[tuple[Exported, str]] = [
        (replace(made, preprocessing=None), "there is no preprocessing"),
        (
            replace(made, preprocessing=disk_graphs.Preprocessing(width=64, height=64, mode="letterbox")),
            "its preprocessing is letterbox, 64 x 64, not longest-side",
        ),
        (
            replace(made, preprocessing=disk_graphs.Preprocessing(width=32, height=32, mode="longest-side")),
            "the encoder takes image as uint8",
        ),
        (other("refiner", disk_graphs.decoder(windowed=False, masked=False)), "the refiner does not take mask"),
        (other("decoder", disk_graphs.decoder(windowed=False, masked=True)), "the decoder takes mask, which nothing"),
        (other("refiner", disk_graphs.decoder(windowed=True, masked=True)), "its roles answer different masks"),
    ]
    for exported, words in cases:
        with pytest.raises(BadBundle, match=words):
            setup_of(exported, tasks.task("segmentation"), family="by hand", where="one.edge")


MAP: dict[str, Any] = {"output": "sides", "least": -6.0, "most": 0.0}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (SegmentationSettings(multimask=()), r"multimask is \(\)"),
        (SegmentationSettings(multimask=(1, 1)), r"multimask is \(1, 1\)"),
        (SegmentationSettings(multimask=(1, 4)), "mask 4 is chosen, and the decoder answers 4"),
        (SegmentationSettings(multimask=(1,), single=-1), "mask -1 is chosen"),
        (SegmentationSettings(multimask=(1,), rounds=17), "rounds is 17, it takes 0 to 16"),
        (SegmentationSettings(multimask=(1,), boxed=4), "mask 4 is chosen, and the decoder answers 4"),
        (SegmentationSettings(multimask=(1,), masked=4), "mask 4 is chosen, and the decoder answers 4"),
        (
            SegmentationSettings(multimask=(1,), mask_threshold=float("nan")),
            "mask_threshold is nan, it takes a finite number",
        ),
        (
            SegmentationSettings(multimask=(1,), everything=EverythingSettings(box_agreement=0.5)),
            "of everything mode, box_agreement needs a box_map, and none is stated",
        ),
        *(
            (SegmentationSettings(multimask=(1,), box_map=BoxMap(**{**MAP, **wrong})), words)
            for wrong, words in (
                ({}, "the encoder does not answer sides, its box_map"),
                (
                    {"output": "embedding"},
                    r"answers embedding as float32 \(1, .*, and a box_map is float32 \(1, 4, n, n\)",
                ),
                ({"least": 0.0}, "the box_map is cut to 0 to 0, it takes two numbers from -20 to 20"),
                ({"most": math.inf}, "the box_map is cut to -6 to inf"),
            )
        ),
        (
            SegmentationSettings(
                multimask=(1,),
                box_map=BoxMap(**MAP),
                everything=EverythingSettings(box_agreement=0.5, confident_logit=1.0),
            ),
            "of everything mode, box_agreement and confident_logit are both stated",
        ),
        *(
            (
                SegmentationSettings(multimask=(1,), everything=EverythingSettings(**{name: wrong})),
                f"of everything mode, {name} is",
            )
            for name, wrong in (
                ("points_per_side", 0),
                ("points_per_side", 257),
                ("predicted_iou", math.nan),
                ("stability", 1.5),
                ("stability_offset", -1.0),
                ("confident_logit", math.inf),
                ("box_agreement", 1.5),
                ("nms_iou", -0.1),
            )
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: SegmentationSettings, words: str) -> None:
    made = setup_of(disk_graphs.exported(), tasks.task("segmentation"), family="by hand", where="")
    setup = Setup(settings=settings, preprocessing=made.preprocessing, inputs=made.inputs, outputs=made.outputs)
    with pytest.raises(BadBundle, match=words):
        SegmentationTask().check(setup, where="one.edge")


def test_the_device_side_needs_neither_torch_nor_onnx(disks: Path) -> None:
    code = (
        "import sys, json, numpy as np, edge_sdk\n"
        f"with edge_sdk.load({str(disks)!r}, runtime='onnxruntime') as segmenter:\n"
        "    result = segmenter.predict(np.zeros((48, 64, 3), np.uint8), points='centre')\n"
        "    json.loads(result.to_json())\n"
        "print(sorted({'torch', 'onnx', 'onnxscript', 'nncf', 'edge_sdk.export'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr[-2000:]
