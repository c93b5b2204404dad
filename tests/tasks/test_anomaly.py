"""The anomaly predictor: one shape of use, whatever comes in; every answer tells what ran."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tiny

import edge_sdk
from edge_sdk import preprocess
from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.bundle.signing import TrustPolicy
from edge_sdk.bundle.store import Bundle
from edge_sdk.errors import BadInput, BadUsage, CantWrite, CheckFailed, NotThere, NotTrusted
from edge_sdk.preprocess import Grid
from edge_sdk.runtimes import probe, registry, targets
from edge_sdk.runtimes.protocol import CompileOptions, Session
from edge_sdk.tasks.anomaly.detector import AnomalyDetector, AnomalySettings
from edge_sdk.tasks.base import MODEL, Loaded, Model
from edge_sdk.tensors import Array

BEST_INT8 = targets.detect(probe.cpu(), ()).variants[0]
"""What `load` takes on this CPU: int8, or int8-w7 where int8 sums saturate."""


@pytest.fixture
def detector(tiny_bundle: Path, tmp_path: Path):  # type: ignore[no-untyped-def]
    with edge_sdk.load(tiny_bundle, runtime="onnxruntime", threads=1, cache=tmp_path) as loaded:
        yield loaded


def test_a_damaged_part_is_a_defect_and_its_region_is_where_the_damage_is(detector: AnomalyDetector) -> None:
    result = detector.predict(tiny.picture(31, damaged=True))  # 16 px square at x 60..76, y 30..46
    assert result.verdict.label == "defect"
    assert result.is_defect
    x0, y0, x1, y1 = result.regions[0].box
    assert x0 < 68 < x1
    assert y0 < 38 < y1
    assert (x1 - x0) * (y1 - y0) < 60 * 60
    assert result.regions[0].area_px <= (x1 - x0) * (y1 - y0)
    assert result.regions[0].peak == pytest.approx(float(result.map.max()), rel=1e-6)


def test_a_good_part_is_good_and_has_no_regions(detector: AnomalyDetector) -> None:
    result = detector.predict(tiny.picture(32))
    assert result.verdict.label == "good"
    assert result.regions == ()


class Unsound:
    """The session of a runtime that leaves one cell of the map undefined."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        answers = {name: np.array(value) for name, value in self._session.run(feeds).items()}
        answers["map"][0, 0, 0] = np.nan
        return answers


def test_a_map_with_a_cell_that_is_no_number_gets_no_verdict(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    graph = next(g for g in bundle.manifest.graphs if g.variant == "fp32")
    session = registry.runtime("onnxruntime").compile(bundle.graph(graph.name), CompileOptions(threads=1))
    said = pytest.raises(CheckFailed, match="a map with 1 cells that are no number")
    loaded = Loaded(bundle=bundle, models={MODEL: Model(graph=graph, session=Unsound(session))})
    settings = AnomalySettings(grid=Grid(offset_px=2.0, stride_px=4.0))
    with AnomalyDetector(loaded, settings) as detector, said:
        detector.predict(tiny.picture(31))


def test_the_map_has_the_callers_size_and_the_score_is_not_clamped(detector: AnomalyDetector) -> None:
    result = detector.predict(tiny.picture(33, height=77, width=201, damaged=True))
    assert result.map.shape == (77, 201)
    assert result.map.dtype == np.float32
    assert not result.map.flags.writeable
    assert result.score > 1.0


def test_path_bytes_rgb_bgr_and_pil_give_the_same_score(tiny_bundle: Path, tmp_path: Path) -> None:
    rgb = tiny.picture(34, damaged=True)
    file = tmp_path / "Bild 7 ä.png"
    file.write_bytes(cv2.imencode(".png", rgb[:, :, ::-1])[1].tobytes())
    with edge_sdk.load(tiny_bundle, threads=1, cache=tmp_path) as detector:
        want = detector.predict(rgb).score
        assert detector(str(file)).score == want
        assert detector.predict(file).score == want
        assert detector.predict(file.read_bytes()).score == want
        image = pytest.importorskip("PIL.Image", reason="needs pillow")
        assert detector.predict(image.fromarray(rgb)).score == want
    with edge_sdk.load(tiny_bundle, threads=1, color="bgr", cache=tmp_path) as detector:
        assert detector.predict(np.ascontiguousarray(rgb[:, :, ::-1])).score == want
        assert detector.predict(file).score == want  # a file's colours are the decoder's business


def test_a_picture_that_pillow_opened_is_evaluated_as_its_file_is(tiny_bundle: Path, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="needs pillow")
    rgb = tiny.picture(34, damaged=True)
    turned, deep = tmp_path / "turned.png", tmp_path / "deep.png"
    lies_on_its_side = image.Exif()
    lies_on_its_side[0x0112] = 6
    image.fromarray(rgb).save(turned, exif=lies_on_its_side)
    cv2.imwrite(str(deep), cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.uint16) * 257)
    with edge_sdk.load(tiny_bundle, threads=1, cache=tmp_path) as detector:
        for file in (turned, deep):
            want = detector.predict(file)
            with image.open(file) as opened:
                got = detector.predict(opened)
            assert (got.score, got.geometry) == (want.score, want.geometry), file
        assert want.geometry != detector.predict(turned).geometry
        cut = tmp_path / "cut.png"
        cut.write_bytes(turned.read_bytes()[:-2000])
        with image.open(cut) as begun, pytest.raises(BadInput, match="Pillow"):
            detector.predict(begun)
        with pytest.raises(BadInput, match="float32"):
            detector.predict(image.fromarray(rgb[:, :, 0].astype(np.float32)))


def test_a_batch_answers_like_its_pictures_alone(tiny_bundle: Path, tmp_path: Path) -> None:
    pictures = [tiny.picture(40 + i, height=60 + i, damaged=i % 2 == 0) for i in range(5)]
    with edge_sdk.load(tiny_bundle, variant="fp32", threads=1, max_batch=3, cache=tmp_path) as detector:
        alone = [detector.predict(p) for p in pictures]
        together = detector.predict_batch(pictures)
        assert detector.predict_batch([]) == ()
    for a, b in zip(alone, together, strict=True):
        assert b.score == pytest.approx(a.score, rel=1e-5)
        np.testing.assert_allclose(b.map, a.map, rtol=1e-4, atol=1e-6)


def test_submit_answers_in_a_future_and_carries_the_error(detector: AnomalyDetector) -> None:
    good, bad = detector.submit(tiny.picture(51)), detector.submit(np.zeros((4, 4), np.float32))
    assert good.result(30).verdict.label == "good"
    with pytest.raises(BadInput, match="float"):
        bad.result(30)


def test_close_finishes_what_was_submitted_and_refuses_what_comes_later(tiny_bundle: Path, tmp_path: Path) -> None:
    detector = edge_sdk.load(tiny_bundle, threads=1, cache=tmp_path)
    futures = [detector.submit(tiny.picture(60 + i)) for i in range(4)]
    detector.close()
    detector.close()
    assert all(f.done() for f in futures)
    assert [f.exception() for f in futures] == [None] * 4
    assert not [t for t in threading.enumerate() if t.name.startswith("edge-sdk anomaly")]
    for call in (detector.predict, detector.submit):
        with pytest.raises(BadUsage, match="closed"):
            call(tiny.picture(1))
    with pytest.raises(BadUsage, match="closed"):
        detector.predict_batch([tiny.picture(1)])


def test_eight_threads_get_the_same_answers(detector: AnomalyDetector) -> None:
    pictures = [tiny.picture(70 + i, damaged=i % 3 == 0) for i in range(6)]
    want = [detector.predict(p).score for p in pictures]
    with ThreadPoolExecutor(8) as pool:
        for got in pool.map(lambda _: [detector.predict(p).score for p in pictures], range(16)):
            assert got == want


def test_the_result_tells_what_ran_and_how_long_each_stage_took(detector: AnomalyDetector) -> None:
    ran = detector.predict(tiny.picture(80)).ran
    assert (ran.runtime, ran.device, ran.variant) == ("onnxruntime", "CPU", BEST_INT8)
    assert ran.roles[MODEL].precision == "2 of 3 operators in int8, rest f32"
    assert ran.bundle == detector.bundle.digest
    assert detector.threshold is not None
    assert ran.record == detector.threshold.digest == detector.bundle.decisions[-1].digest
    stages = dict(ran.stages_ms)
    total = stages.pop("total")
    assert set(stages) == {"resize", "infer", "postprocess", "overhead"}
    assert sum(stages.values()) == pytest.approx(total, rel=1e-9)
    assert all(v >= 0 for v in stages.values())


def test_explain_names_asked_and_got(detector: AnomalyDetector) -> None:
    text = detector.explain()
    for words in (
        "asked CPU, got CPU",
        "asked f32, got f32",
        "operators in int8",
        "onnxruntime",
        "score >",
        "self-check passed",
    ):
        assert words in text


def test_the_json_has_everything_and_no_infinity(detector: AnomalyDetector) -> None:
    result = detector.predict(tiny.picture(81, damaged=True))
    answer = json.loads(result.to_json(with_map=True))
    assert answer["score"] == result.score
    assert answer["verdict"]["label"] == "defect"
    assert answer["regions"][0]["box"] == list(result.regions[0].box)
    assert answer["ran"]["roles"]["model"]["runtime"] == "onnxruntime"
    assert answer["cells"]["shape"] == [1, 16, 16]


def test_the_plot_has_the_pictures_size_and_leaves_it_alone(detector: AnomalyDetector, tmp_path: Path) -> None:
    picture = tiny.picture(82, damaged=True)
    before = picture.copy()
    result = detector.predict(picture)
    drawn = result.plot(picture)
    assert drawn.shape == picture.shape
    np.testing.assert_array_equal(picture, before)
    x0, y0, *_ = result.regions[0].box
    np.testing.assert_array_equal(drawn[y0, x0], [255, 40, 40])  # the box
    far = drawn[-1, 0].astype(int) - picture[-1, 0]
    assert np.abs(far).max() <= 40  # no heat far from the damage
    result.save(tmp_path / "p.png", picture)
    assert (tmp_path / "p.png").stat().st_size > 100
    with pytest.raises(BadInput, match=r"can't be written as \.gif"):
        result.save(tmp_path / "p.gif", picture)
    with pytest.raises(CantWrite, match="can't be written"):
        result.save(tmp_path / "nowhere" / "p.png", picture)
    with pytest.raises(BadInput, match=r"is \d+ x 10 px, the result is of one of \d+ x \d+ px"):
        result.plot(picture[:10])


def test_a_picture_from_a_file_is_plotted_without_giving_it_again(
    tiny_bundle: Path, detector: AnomalyDetector, tmp_path: Path
) -> None:
    rgb = tiny.picture(82, damaged=True)
    file = tmp_path / "part.png"
    file.write_bytes(cv2.imencode(".png", rgb[:, :, ::-1])[1].tobytes())
    result = detector.predict(file)
    np.testing.assert_array_equal(result.plot(), result.plot(rgb))
    result.save(tmp_path / "drawn.png")
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "drawn.png"))[:, :, ::-1], result.plot(rgb))
    for pixels in (rgb, file.read_bytes()):
        with pytest.raises(BadInput, match=r"came as pixels, which are not kept\. Call plot\(picture\)"):
            detector.predict(pixels).plot()


def test_results_and_detectors_are_shown_in_one_line(detector: AnomalyDetector, tiny_bundle: Path) -> None:
    assert repr(detector) == f"<AnomalyDetector {tiny_bundle}: {BEST_INT8} on onnxruntime CPU>"
    result = detector.predict(tiny.picture(31, damaged=True))
    shown = repr(result)
    assert shown.startswith(f"<AnomalyResult defect: score {result.score:.6g}, threshold ")
    assert shown.endswith("picture, 120 x 90 px>")
    detector.close()
    assert repr(detector).endswith("CPU, closed>")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "None is not a picture"),
        ([np.zeros((4, 4, 3), np.uint8)] * 2, "a list of 2, predict takes one picture. Use predict_batch"),
        (7, "an object of type int is not a picture. Pass a path, encoded bytes, a PIL picture or a numpy array"),
    ],
)
def test_what_is_no_picture_is_refused_with_what_is_accepted(
    detector: AnomalyDetector, given: object, words: str
) -> None:
    with pytest.raises(BadInput, match=words):
        detector.predict(given)


@pytest.mark.parametrize("given", [None, 5, object()])
def test_what_is_no_batch_is_reported(detector: AnomalyDetector, given: object) -> None:
    with pytest.raises(BadInput, match=r"predict_batch takes several sources, got (an? \w+|None)\. Use predict"):
        detector.predict_batch(given)
    with pytest.raises(BadInput, match="is not a picture"):
        detector.predict_batch([given])
    with pytest.raises(BadInput, match="is not a picture"):
        detector.submit(given).result(60)


@pytest.mark.parametrize(
    "feeds", [None, {}, {"image": None}, {"image": [tiny.picture(1)]}, {"picture": tiny.picture(1)}]
)
def test_feeds_that_do_not_fit_are_named(detector: AnomalyDetector, feeds: Any) -> None:
    with pytest.raises(BadInput, match=r"(int8.*|fp\d+): (the feeds are None|no array for input image|image is )"):
        detector.run(MODEL, feeds)


@pytest.mark.parametrize("given", [tiny.picture(1), "photo.png", b"bytes", Path("photo.png")])
def test_one_picture_is_never_taken_for_a_batch(detector: AnomalyDetector, given: object) -> None:
    with pytest.raises(BadInput, match=r"got one\. Use predict"):
        detector.predict_batch(given)


def test_a_grey_picture_for_a_bundle_in_colour_is_evaluated_and_noted(detector: AnomalyDetector) -> None:
    grey = tiny.picture(5)[:, :, 1]
    (note,) = detector.predict(grey).notes
    assert note == "the picture is grey, the bundle's golden samples are in colour: the result may be wrong"


def test_a_camera_of_12_bits_in_a_bundle_for_16_is_noted(detector: AnomalyDetector) -> None:
    wide = tiny.picture(5).astype(np.uint16) * 257
    assert detector.predict(wide).notes == ()
    (note,) = detector.predict(wide >> 4).notes
    assert "read as 16 bits" in note


@pytest.mark.parametrize("shape", [(50, 50, 3), (50, 50), (1, 1, 3)])
def test_a_picture_of_one_colour_is_no_part_and_gets_no_verdict(
    detector: AnomalyDetector, shape: tuple[int, ...]
) -> None:
    for value in (0, 90, 255):
        with pytest.raises(BadInput, match="the lens covered"):
            detector.predict(np.full(shape, value, np.uint8))


def test_a_picture_far_below_the_networks_size_is_evaluated_and_noted(detector: AnomalyDetector) -> None:
    assert detector.predict(tiny.picture(1)).notes == ()
    (note,) = detector.predict(tiny.picture(1)[:7, :5]).notes
    assert note.startswith("the picture has 5 x 7 px")


def test_without_a_decision_the_verdict_is_undecided(tmp_path: Path) -> None:
    path = tmp_path / "undecided.edge"
    tiny.write(path, decided=False).close()
    with edge_sdk.load(path, threads=1, cache=tmp_path) as detector:
        result = detector.predict(tiny.picture(3, damaged=True))
    assert result.verdict.label == "undecided"
    assert not result.is_defect
    assert result.regions == ()


def test_what_is_asked_for_is_what_runs_or_it_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    with edge_sdk.load(tiny_bundle, variant="fp32", runtime="openvino", threads=1, cache=tmp_path) as detector:
        assert (detector.variant, detector.explanation.runtime) == ("fp32", "openvino")
    with pytest.raises(BadUsage, match="no variant int4"):
        edge_sdk.load(tiny_bundle, variant="int4")
    with pytest.raises(BadUsage, match=r"no runtime onnxruntim\b.*Did you mean onnxruntime"):
        edge_sdk.load(tiny_bundle, runtime="onnxruntim")
    with pytest.raises(NotThere, match="no runtime here has a device CUDA, only onnxruntime CPU"):
        edge_sdk.load(tiny_bundle, runtime="onnxruntime", device="CUDA")
    with pytest.raises(NotThere, match="no runtime here has a device NPU, only openvino CPU; onnxruntime CPU"):
        edge_sdk.load(tiny_bundle, device="NPU")
    with pytest.raises(BadUsage, match="color"):
        edge_sdk.load(tiny_bundle, color="hsv")  # type: ignore[arg-type]
    with pytest.raises(NotTrusted):
        edge_sdk.load(tiny_bundle, trust=TrustPolicy(mode="required", keys=tmp_path))


A_GPU = {
    "tensorrt/__init__.py": "__version__ = '10.13'\nclass NetworkDefinitionCreationFlag:\n    STRONGLY_TYPED = 0\n",
    "cuda/__init__.py": "",
    "cuda/bindings/__init__.py": "",
    "cuda/bindings/runtime.py": "def cudaGetDeviceCount():\n    return 0, 1\n",
}
"""Packages of NVIDIA that see one GPU."""


def test_where_tensorrt_sees_a_gpu_the_bundle_goes_there_unless_asked_otherwise(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    for name, text in A_GPU.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from edge_sdk.bundle.store import Bundle; from edge_sdk.loading import choose\n"
        "for wanted in ({}, {'device': 'CUDA'}, {'device': 'CPU'}, {'runtime': 'openvino'}):\n"
        "    with Bundle.open(sys.argv[1]) as bundle: made = choose(bundle, **wanted)['model']\n"
        "    print(made.runtime, made.device, made.variant, made.layout, '|', made.why)\n"
    )
    run = [sys.executable, "-c", code, str(tiny_bundle), str(tmp_path)]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    seen, asked, *elsewhere = done.stdout.splitlines()
    assert seen.startswith("tensorrt CUDA int8 conv-relu-q | rtx-pc: tensorrt 10.13 sees CUDA:0"), done.stderr
    assert asked.startswith("tensorrt CUDA int8 conv-relu-q | device CUDA was asked for; rtx-pc:")
    assert [line.split()[:2] for line in elsewhere] == [["openvino", "CPU"]] * 2


def test_the_self_check_is_remembered_for_this_machine_and_these_settings(tiny_bundle: Path, tmp_path: Path) -> None:
    def words(*, threads: int = 1, max_batch: int = 1) -> str:
        with edge_sdk.load(tiny_bundle, threads=threads, max_batch=max_batch, cache=tmp_path) as detector:
            return detector.predict(tiny.picture(1)).ran.self_check

    assert words().startswith("passed (")
    assert words().startswith("passed, remembered")
    assert words(threads=2).startswith("passed (")
    assert words(max_batch=3).startswith("passed (")
    for memory in (tmp_path / "self-check").glob("*.json"):
        memory.write_text(json.dumps({"of": "another", "words": "x"}))
    assert words().startswith("passed (")


def test_the_self_check_of_another_cpu_does_not_count(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def words() -> str:
        wanted: dict[str, str] = {"variant": "fp32", "runtime": "onnxruntime"}
        with edge_sdk.load(tiny_bundle, threads=1, cache=tmp_path, **wanted) as detector:  # type: ignore[arg-type]
            return detector.predict(tiny.picture(1)).ran.self_check

    assert words().startswith("passed (")
    assert words().startswith("passed, remembered")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")  # part of what a CPU is: other kernels run
    assert words().startswith("passed (")


def test_another_golden_sample_is_checked_though_the_graph_is_the_same(tiny_bundle: Path, tmp_path: Path) -> None:
    edge_sdk.load(tiny_bundle, threads=1, cache=tmp_path / "cache").close()
    other = tmp_path / "other.edge"
    tiny.rewritten(
        tiny_bundle,
        other,
        lambda name, data: (np.frombuffer(data, "<f4") * 2).tobytes() if name.endswith("/score") else data,
    )
    with pytest.raises(CheckFailed, match="score is off by"):
        edge_sdk.load(other, threads=1, cache=tmp_path / "cache")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has access lists, not modes")
def test_a_self_check_that_others_could_have_written_is_not_believed(tiny_bundle: Path, tmp_path: Path) -> None:
    def first_words() -> str:
        with edge_sdk.load(tiny_bundle, threads=1, cache=tmp_path) as detector:
            return detector.predict(tiny.picture(1)).ran.self_check

    assert first_words().startswith("passed (")
    tmp_path.chmod(0o775)
    assert "not remembered" in first_words()
    assert "chmod go-w" in first_words()


def test_of_tiles_the_worst_one_is_the_score(tmp_path: Path) -> None:
    record = Preprocessing(width=tiny.SIDE, height=tiny.SIDE, mode="tiles", overlap=16)
    tiny.write(tmp_path / "tiles.edge", preprocessing=record).close()
    with edge_sdk.load(tmp_path / "tiles.edge", threads=1, cache=tmp_path) as detector:
        tiles = preprocess.apply(tiny.picture(31, damaged=True), record).tensor
        each = detector.run(MODEL, {"image": tiles})["score"]
        assert len(each) == 6
        assert each.max() > 1.05 * each.mean()
        assert detector.predict(tiny.picture(31, damaged=True)).score == each.max()


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_the_threads_asked_for_are_the_threads_that_run(tiny_bundle: Path, tmp_path: Path, runtime: str) -> None:
    for threads in (1, 2):
        with edge_sdk.load(tiny_bundle, runtime=runtime, threads=threads, cache=tmp_path) as detector:
            assert detector.explanation.threads == threads
