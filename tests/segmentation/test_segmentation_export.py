"""What exporting a segmenter adds: prompts of true masks, mIoU and its intervals, golden samples, a whole build."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import annotated_folders
import disk_graphs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

import edge_sdk
from edge_sdk.bundle.store import REPORT, Bundle
from edge_sdk.calibration import Variant
from edge_sdk.errors import BadInput
from edge_sdk.export import build as builder
from edge_sdk.export.family import Demo, Exported, FamilyOptions, FloatGraph, SamplesOf, Trained, TrainingPlan
from edge_sdk.export.pack import setup_of
from edge_sdk.export.sections import Gallery, Table
from edge_sdk.export.tasks import export_task, options_of
from edge_sdk.export.tasks.base import Built, Made, Reading
from edge_sdk.export.tasks.segmentation import evaluate, metrics, page, prompting
from edge_sdk.export.tasks.segmentation.annotations import SegmentationData
from edge_sdk.export.tasks.segmentation.golden import PROMPTS, golden
from edge_sdk.export.tasks.segmentation.options import SegmentationOptions
from edge_sdk.export.tasks.segmentation.reading import read_data
from edge_sdk.export.tasks.segmentation.samples import PromptSamples
from edge_sdk.progress import Progress, silent
from edge_sdk.runtimes import registry
from edge_sdk.tasks.base import Setup
from edge_sdk.tasks.segmentation.frame import Frame
from edge_sdk.tasks.segmentation.segmenter import PromptSegmenter
from edge_sdk.tasks.segmentation.settings import SegmentationSettings
from edge_sdk.tasks.segmentation.task import SegmentationTask
from edge_sdk.verify import verify

OPTIONS = SegmentationOptions(kind="([a-z]+)_")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SegmentationData:
    return read_data(annotated_folders.label_maps(tmp_path_factory.mktemp("annotated"), test=4), OPTIONS)


def setup(exported: Exported) -> Setup:
    return setup_of(exported, SegmentationTask(), family="disks", where="")


def test_a_box_is_min_and_max_plus_one() -> None:
    mask = np.zeros((10, 12), bool)
    mask[2:5, 3:9] = True
    assert prompting.box_of(mask).tolist() == [3, 2, 9, 5]
    with pytest.raises(BadInput, match="an empty mask has no box"):
        prompting.box_of(mask & False)


@given(mask=arrays.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))).filter(lambda one: one.any()))
def test_the_innermost_pixel_is_the_furthest_from_any_outside(mask: NDArray[np.bool_]) -> None:
    padded = np.pad(mask, 1)
    outside = np.argwhere(~padded) - 1
    inside = np.argwhere(mask)
    distance = np.sqrt(((inside[:, None] - outside[None]) ** 2).sum(-1)).min(1)
    x, y = prompting.innermost(mask).astype(int)
    found = distance[(inside == (y, x)).all(1)]
    assert found.size == 1
    assert found[0] == pytest.approx(distance.max(), abs=1e-4)


def test_controls_need_no_network() -> None:
    mask = np.zeros((40, 60), bool)
    mask[10:20, 10:40] = True
    assert prompting.controls(mask) == (1.0, pytest.approx(np.pi / 4, abs=0.03))
    ys, xs = np.mgrid[0:40, 0:60]
    disk = (xs - 30) ** 2 + (ys - 20) ** 2 <= 15**2
    whole, ellipse = prompting.controls(disk)
    assert whole == pytest.approx(np.pi / 4, abs=0.05)
    assert ellipse > 0.94
    assert prompting.iou(mask & False, mask & False) == 1.0


def test_a_mask_on_a_grid_comes_back_as_well_as_the_grid_allows() -> None:
    place = Frame(height=60, width=80, side=64, extent_height=48, extent_width=64)
    ys, xs = np.mgrid[0:60, 0:80]
    disk = (xs - 40) ** 2 + (ys - 30) ** 2 <= 20**2
    fine, coarse = (prompting.iou(place.place(prompting.on_grid(disk, place, None, m)), disk) for m in (64, 8))
    assert 0.97 < fine <= 1.0
    assert coarse < fine
    window = (10.0, 2.0, 54.0, 46.0)
    assert prompting.iou(place.place(prompting.on_grid(disk, place, window, 32), window), disk) > 0.97


def scored(chosen: NDArray[np.float64], variant: str = "fp32") -> evaluate.SegmentScores:
    columns = np.stack([chosen, chosen / 2], axis=1)
    return evaluate.SegmentScores(
        variant=variant, layout="plain", runtime="onnxruntime", by_role={"encoder": variant, "decoder": "fp32"},
        chosen=columns, oracle=columns + 0.1,
    )  # fmt: skip


def segments(parts: tuple[str, ...] = ("a", "b", "c")) -> evaluate.Segments:
    """Pictures of 1, 2 and 3 segments."""
    return evaluate.Segments(
        picture=np.array([0, 1, 1, 2, 2, 2]), parts=parts, kinds=("x", "", "x"),
        area=np.array([0.001, 0.02, 0.5, 0.005, 0.05, 1.0]), controls=np.full((6, 2), (0.5, 0.6)),
    )  # fmt: skip


def test_rows_hold_means_over_segments_and_pictures_and_the_change() -> None:
    values = np.array([1.0, 0.5, 0.5, 0.2, 0.3, 0.4])
    first, second = metrics.rows([scored(values), scored(values - 0.1, "int8")], segments())
    assert first.box is not None
    assert first.point is not None
    assert first.reference
    assert first.box.change is None
    assert first.box.miou == pytest.approx(2.9 / 6)
    assert first.box.by_picture == pytest.approx((1.0 + 0.5 + 0.3) / 3)
    assert first.box.oracle == pytest.approx(2.9 / 6 + 0.1)
    assert first.point.miou == pytest.approx(2.9 / 12)
    assert {name: count for name, (_, count) in first.box.by_area.items()} == {
        "below 1 %": 2, "1 to 10 %": 2, "10 % and more": 2,
    }  # fmt: skip
    assert first.box.by_kind == {"x": (pytest.approx(1.9 / 4), 4)}
    low, high = first.box.interval
    assert 0.3 - 1e-9 <= low < first.box.miou < high <= 1.0
    assert second.box is not None
    assert second.box.change == pytest.approx(-0.1)
    assert second.box.change_interval == (pytest.approx(-0.1), pytest.approx(-0.1))
    json.dumps(second.to_json())


def test_parts_are_what_is_drawn_again() -> None:
    values = np.array([1.0, 0.5, 0.5, 0.2, 0.3, 0.4])
    assert metrics.bootstrap(values, segments(("a", "a", "a"))) == (0.0, 1.0)
    assert metrics.bootstrap(values - 0.6, segments(("a", "a", "a"))) == (-1.0, 1.0)
    wide, narrow = metrics.bootstrap(values, segments(("a", "b", "b"))), metrics.bootstrap(values, segments())
    assert wide != narrow


def test_a_row_that_did_not_run_has_no_metrics() -> None:
    broken = evaluate.SegmentScores(variant="int8", layout="plain", runtime="openvino", problem="no such operator")
    (row,) = metrics.rows([broken], segments())
    assert (row.box, row.problem) == (None, "no such operator")


@pytest.mark.parametrize(
    ("windowed", "settings"),
    [
        (False, None),
        (True, None),
        # each round raises the arithmetic refiner's logits, and so the mask above 2 grows
        (True, SegmentationSettings(multimask=(0, 1, 2), boxed=1, rounds=1, mask_threshold=2.0)),
        (True, SegmentationSettings(multimask=(0, 1, 2), masked=0, rounds=1)),
    ],
    ids=["whole frame", "windows", "rounds", "the mask given back"],
)
def test_evaluation_is_what_predict_answers(
    windowed: bool, settings: SegmentationSettings | None, data: SegmentationData, tmp_path: Path
) -> None:
    """Every segment by hand through the predictor, against the rows."""
    exported = disk_graphs.exported(windowed=windowed, settings=settings)
    made = setup(exported)
    variants = {
        role: [Variant(variant="fp32", layout="plain", graph=graph.onnx, int8_convolutions=0)]
        for role, graph in exported.graphs.items()
    }
    assert made.preprocessing is not None
    found = evaluate.score_all(
        variants, data.test, made, least_area=10,
        axes=evaluate.axes_for({"encoder": {}, "decoder": {"N": 8, "T": 6}, "refiner": {"N": 8, "T": 6}}),
    )  # fmt: skip
    assert {one.runtime for one in found} >= {"onnxruntime"}
    path = disk_graphs.write(tmp_path / "one.edge", windowed=windowed, settings=settings)
    want = []
    with edge_sdk.load_as(PromptSegmenter, path, runtime="onnxruntime", threads=1) as segmenter:
        for picture in data.test:
            for mask in picture.masks(60, 80):
                if mask.sum() >= 10:
                    box = segmenter.predict(picture.path, boxes=prompting.box_of(mask))
                    point = segmenter.predict(picture.path, points=prompting.innermost(mask)[None])
                    want.append([prompting.iou(one[0].array, mask) for one in (box, point)])
    by_hand = next(one for one in found if one.runtime == "onnxruntime")
    assert by_hand.chosen is not None
    assert by_hand.oracle is not None
    np.testing.assert_allclose(by_hand.chosen, want, atol=1e-3)
    assert (by_hand.oracle >= by_hand.chosen - 1e-9).all()
    assert by_hand.truth_on_grid is not None
    if settings is None:
        assert (by_hand.truth_on_grid >= by_hand.chosen[:, 0] - 0.02).all()
        assert by_hand.truth_on_grid.mean() > 0.9
    assert len(want) == 8  # two segments a picture: the speck is below 10 px
    counted = evaluate.segments_of(data.test, made.preprocessing, least_area=10)
    assert counted.picture.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert counted.controls[0, 0] == 1.0  # a rectangle


@pytest.mark.parametrize("annotations", [True, False])
def test_golden_samples_are_a_point_a_box_and_both_with_clear_decisions_first(
    annotations: bool, data: SegmentationData
) -> None:
    exported = disk_graphs.exported()
    found = golden(data.test if annotations else (), exported, setup(exported))
    assert list(dict.fromkeys(one.label for one in found)) == list(PROMPTS)
    assert [one.label for one in found if not one.spare] == list(PROMPTS)
    assert found[0].source.keys() == {"picture", "points", "labels"}
    assert found[-1].source["points"].shape == (2, 2)


def test_calibration_samples_are_the_same_every_time_and_fit_their_graphs(data: SegmentationData) -> None:
    exported = disk_graphs.exported()
    made = setup(exported)
    by_role = PromptSamples(pictures=data.train, exported=exported, setup=made, count=2, threads=1)
    for role in SegmentationTask.roles:
        samples = by_role.of(role)
        first, again = list(samples), list(samples)
        assert len(first) == len(samples) == 2
        for one, other in zip(first, again, strict=True):
            for spec in made.inputs[role]:
                assert spec.accepts(one[spec.name]) == ""
                np.testing.assert_array_equal(one[spec.name], other[spec.name])
        if role == "decoder":
            assert [one["labels"][0].tolist() for one in first] == [[2, 3], [1, -1]]


def test_a_picture_is_encoded_once_for_all_roles_as_far_as_memory_is_given(
    data: SegmentationData, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported, ran = disk_graphs.exported(), []
    onnxruntime = registry.runtime("onnxruntime")
    compiled = type(onnxruntime).compile

    def compile(self: Any, graph: bytes, options: Any) -> Any:
        session = compiled(self, graph, options)
        run = session.run
        monkeypatch.setattr(
            session, "run", lambda feeds: (ran.append(options.graph_name), run(feeds))[1], raising=False
        )
        return session

    monkeypatch.setattr(type(onnxruntime), "compile", compile)
    found = {}
    for keep, encoded in ((1 << 20, 2), (0, 6)):
        ran.clear()
        by_role = PromptSamples(
            pictures=data.train, exported=exported, setup=setup(exported), count=2, threads=1, keep_bytes=keep
        )
        found[keep] = [list(by_role.of(role)) for role in ("encoder", "decoder", "refiner", "decoder")]
        assert ran.count("encoder") == encoded
    for kept, again in zip(*found.values(), strict=True):
        for one, other in zip(kept, again, strict=True):
            assert all(np.array_equal(one[name], other[name]) for name in one)


@dataclass(frozen=True, kw_only=True, eq=False)
class Disks:
    """The arithmetic graphs as a family that trains nothing."""

    name: ClassVar[str] = "disks"
    title: ClassVar[str] = "Disks"
    task: ClassVar[str] = "segmentation"
    options: ClassVar[type[FamilyOptions]] = FamilyOptions
    demo: ClassVar[Demo | None] = None

    def plan(self, data: Any, options: FamilyOptions, *, folder: Path) -> TrainingPlan:
        return TrainingPlan(run="1", steps=0, finished=True)

    def train(
        self, data: Any, options: FamilyOptions, *, planned: TrainingPlan, folder: Path, progress: Progress = silent
    ) -> Trained:
        return Trained(folder=folder, options=options, run="1", steps=0, training_s=0.0, samples=3)

    def graphs(self, trained: Trained) -> Exported:
        made = disk_graphs.exported()
        graphs = {
            role: FloatGraph(onnx=graph.onnx, axes=graph.axes, variants=()) for role, graph in made.graphs.items()
        }
        return replace(made, graphs=graphs)

    def samples(self, data: Any, trained: Trained, exported: Exported, count: int) -> SamplesOf:
        pictures = () if data is None else data.train
        return PromptSamples(pictures=pictures, exported=exported, setup=setup(exported), count=count).of


def built(tmp_path: Path, data: SegmentationData | None) -> Built:
    family, stated = Disks(), FamilyOptions(threads=1)
    trained = family.train(data, stated, planned=family.plan(data, stated, folder=tmp_path), folder=tmp_path)
    wanted = builder.BuildOptions(name="disks", out=tmp_path / "disks.edge")
    return builder.build(family, data, trained, replace(OPTIONS, least_area=10), wanted)


def test_a_build_measures_reports_and_verifies(data: SegmentationData, tmp_path: Path) -> None:
    task = export_task("segmentation")
    assert options_of("segmentation") is SegmentationOptions
    checked = task.check(data, OPTIONS)
    assert ("test pictures", "4 (4 label maps)") in checked.rows
    one = built(tmp_path, data)
    found = one.evaluation
    assert found.missing == ""
    row = next(row for row in found.rows if row.reference)
    assert row.box.miou > 0.7  # boxes are filled, and one of two segments is a rectangle
    assert set(row.box.by_kind) == {"flat", "round"}
    assert "8 segments of 10 px and more on 4 test pictures" in found.lines()[0]
    assert any(isinstance(line, Table) and "the whole box" in line.header for line in found.lines())
    report = verify(one.path, runtimes=["onnxruntime"])
    assert report.passed, report.text()
    shown, took, *tables = task.sections(one, report)
    assert (shown.title, took.title) == ("On test pictures", "How long it takes")
    assert [section.title for section in tables] == ["Variants and runtimes", "By size and kind"]
    (gallery,) = (block for block in shown.blocks if isinstance(block, Gallery))
    assert [example.answer.partition(":")[0] for example in gallery.examples] == ["click", "box", "everything"] * 4
    assert all(example.uri.startswith("data:image/jpeg;base64,") for example in gallery.examples)
    assert {example.tone for example in gallery.examples[2::3]} == {"neutral"}
    assert "neutral" not in {example.tone for example in gallery.examples[:2]}
    boxed = [float(example.answer.split()[-2]) for example in gallery.examples[1::3]]
    assert np.mean(boxed) > 70
    operations = took.facts["interactive"]["operations"]
    assert {name: of["calls"] for name, of in operations.items()} == {"set_image": 20, "click": 40, "everything": 4}
    assert took.facts["interactive"]["instruction_set"]
    assert [card.name for card in task.cards(one)] == ["mIoU with a box", "mIoU with one point"]
    assert "with a box" in task.headline(one)
    assert task.next_steps("one.edge")
    with Bundle.open(one.path) as bundle:
        assert bundle.manifest.provenance.data_digest == data.digest
        assert json.loads(bytes(bundle.read(REPORT)))["controls"]["box"] > 0.5


def test_a_model_without_pictures_is_packed_with_drawn_ones(tmp_path: Path) -> None:
    one = built(tmp_path, None)
    assert "there are no test pictures" in one.evaluation.missing
    assert "quality was not measured" in str(one.evaluation.lines()[0])
    assert verify(one.path, runtimes=["onnxruntime"]).passed
    task = export_task("segmentation")
    assert task.read(None, OPTIONS, Reading()) is None
    assert ("pictures", "none") in task.check(None, OPTIONS).rows
    assert (task.headline(one), task.cards(one)) == ("", [])


def test_pictures_that_are_gone_since_leave_a_reason(tmp_path: Path) -> None:
    data = read_data(annotated_folders.label_maps(tmp_path), OPTIONS)
    data.test[0].path.unlink()
    made = Made(
        family=SimpleNamespace(name="disks", task="segmentation"),  # type: ignore[arg-type]
        data=data, options=OPTIONS, trained=None, exported=disk_graphs.exported(), quantized={}, threads=1,
    )  # fmt: skip
    found = export_task("segmentation").evaluate(made, ())
    assert data.test[0].path.name in found.to_json()["not_evaluated"]


def test_a_variant_that_only_the_encoder_has_runs_with_the_float_decoder(data: SegmentationData) -> None:
    exported = disk_graphs.exported()
    plain = {
        role: Variant(variant="fp32", layout="plain", graph=graph.onnx, int8_convolutions=0)
        for role, graph in exported.graphs.items()
    }
    variants = {
        "encoder": [plain["encoder"], replace(plain["encoder"], variant="fp16")],  # the same numbers by another name
        "decoder": [plain["decoder"]],
    }
    axes = evaluate.axes_for({"encoder": {}, "decoder": {"N": 8, "T": 6}})
    made = setup(exported)
    assert made.preprocessing is not None
    found = evaluate.score_all(variants, data.test, made, axes=axes, least_area=10, threads=1)
    table = metrics.rows(found, evaluate.segments_of(data.test, made.preprocessing, least_area=10))
    other = next(row for row in table if row.variant == "fp16")
    assert other.by_role == {"encoder": "fp16", "decoder": "fp32"}
    assert other.box is not None
    assert other.box.change == pytest.approx(0.0, abs=1e-3)
    lines = page.quality(table)
    assert "fp16, decoder fp32" in [line[0] for line in lines.rows]
    assert "truth on the mask grid" in lines.header
    assert "fp16, decoder fp32 on" in page.headline(table)
    assert lines.rows[0][lines.header.index("change [95 %]")] == "-"
    assert [card.name for card in page.cards(table, None, 8)] == []


def test_the_card_of_the_lowest_change_covers_both_prompts_and_names_what_it_leaves_out() -> None:
    values = np.array([1.0, 0.5, 0.5, 0.2, 0.3, 0.4])
    avoided = replace(scored(values - 0.2, "int8"), runtime="openvino", unusable="sums saturate")
    table = metrics.rows([scored(values), scored(values - 0.1, "int8"), avoided], segments())
    *_, card = page.cards(table, metrics.controls_of(segments()), 6)
    assert card.value == "-10.0 pp, -5.0 pp"
    assert card.name == "lowest change of mIoU by a smaller variant, with a box and with a point"
    assert "with a point: int8, decoder fp32 on onnxruntime" in card.words
    assert card.words.endswith("without int8 on openvino, which load does not use here")
    assert "-10.0 pp with a box" in page.headline(table)


def test_baselines_stand_beside_every_class_of_segments() -> None:
    values = np.array([1.0, 0.5, 0.5, 0.2, 0.3, 0.4])
    (row,) = metrics.rows([scored(values)], segments())
    table = page.classes(row, metrics.controls_of(segments()))
    assert table is not None
    assert {line[-2:] for line in table.rows} == {("50.0 %", "60.0 %")}


def test_data_without_training_pictures_have_no_digest() -> None:
    assert SegmentationData(train=()).digest == ""
