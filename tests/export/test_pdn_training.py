"""Training the published sizes on tiny pictures: the four terms, resume, quantiles, scores, graph and feeds."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from edge_sdk import preprocess
from edge_sdk.errors import BadInput, BadUsage, NotThere, Stopped
from edge_sdk.export.anomaly.colour import grey, jitter
from edge_sdk.export.anomaly.data import AnomalyData, Picture, PictureSet
from edge_sdk.export.anomaly.foreign import ForeignPictures, identity_of
from edge_sdk.export.efficientad.family import EfficientAD
from edge_sdk.export.efficientad.options import EfficientAdOptions
from edge_sdk.export.efficientad.pdn import train as training
from edge_sdk.export.efficientad.pdn.model import PdnModel, networks
from edge_sdk.export.efficientad.pdn.network import Pdn, PdnLayout, PdnSize
from edge_sdk.export.efficientad.pdn.published import load_teacher, save_teacher
from edge_sdk.export.efficientad.pdn.train import (
    PdnRecipe,
    PdnTraining,
    TeacherCache,
    foreign_of,
    teacher_of,
    train,
)
from edge_sdk.export.tasks.anomaly.shares import divided
from edge_sdk.export.training.loop import Moment
from edge_sdk.progress import silent

torch.set_num_threads(1)

RECIPE = PdnRecipe(autoencoder_width=4)
SIDE = 48


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> AnomalyData:
    """Twelve pictures of a striped part in slightly different light."""
    folder = tmp_path_factory.mktemp("parts")
    rng = np.random.default_rng(0)
    pictures = []
    for k in range(12):
        ys, xs = np.mgrid[0:60, 0:60]
        values = 128 + 60 * np.sin(xs / 4.0) + 10 * np.cos(ys / 9.0) + rng.normal(0, 4, (60, 60)) + rng.uniform(-10, 10)
        colours = np.clip(values[..., None] * np.array([1.0, 0.9, 0.7]), 0, 255).astype(np.uint8)
        path = folder / f"part{k:02}.png"
        cv2.imwrite(str(path), colours)
        pictures.append(Picture(path=path, part=path.name))
    return divide(tuple(pictures))


def divide(pictures: tuple[Picture, ...]) -> AnomalyData:
    return divided(PictureSet(train=pictures), holdout=0.2, quantiles=0.1, seed=0)


def teacher_file(folder: Path, size: PdnSize = "s") -> Path:
    torch.manual_seed(2)
    inner = (4, 6, 6) if size == "s" else (4, 6, 6, 6)
    path = folder / f"teacher_{size}.safetensors"
    save_teacher(Pdn(PdnLayout(size=size, channels=4, inner=inner)), path, provenance={})
    return path


@pytest.fixture
def options(tmp_path: Path) -> EfficientAdOptions:
    return EfficientAdOptions(size="s", width=SIDE, height=SIDE, steps=4, teacher=teacher_file(tmp_path))


def test_a_short_training_gives_scores_quantiles_and_a_graph_that_agrees(
    parts: AnomalyData, options: EfficientAdOptions, tmp_path: Path
) -> None:
    trained = train(parts, options, folder=tmp_path / "run", progress=silent, recipe=RECIPE)
    assert len(trained.held_out) == len(trained.scores) == 2
    assert trained.samples + trained.facts["quantile_pictures"] + 2 == 12
    assert trained.facts["short_run"]
    assert set(trained.history[-1][1]) == {"local", "autoencoder", "student_autoencoder", "penalty"}
    made = training.graphs(trained)
    record = made.preprocessing
    assert record is not None
    assert (record.width, record.border) == (SIDE + 32, 16)
    session = onnxruntime.InferenceSession(made.graphs["model"].onnx, providers=["CPUExecutionProvider"])
    for picture, score in zip(trained.held_out, trained.scores, strict=True):
        tensor = preprocess.apply(preprocess.decode(picture.path), record).tensor
        cells, found = session.run(["map", "score"], {"image": tensor})
        assert cells.shape == (1, SIDE // 4, SIDE // 4)
        assert float(found[0]) == pytest.approx(score, rel=1e-4, abs=1e-5)


def test_the_first_cell_lies_on_the_pictures_first_pixels_and_the_last_on_its_last(
    parts: AnomalyData, options: EfficientAdOptions, tmp_path: Path
) -> None:
    trained = train(parts, replace(options, steps=1), folder=tmp_path / "run", progress=silent, recipe=RECIPE)
    made = training.graphs(trained)
    assert made.preprocessing is not None
    grid = made.settings.grid  # type: ignore[attr-defined]
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    geometry = preprocess.apply(picture, made.preprocessing).geometry
    ends = grid.offset_px + grid.stride_px * np.array([[0.0, 0.0], [SIDE / 4 - 1, SIDE / 4 - 1]])
    back = geometry.back(ends)
    np.testing.assert_allclose(back, [[0.5, 0.5], [SIDE - 3.5, SIDE - 3.5]])


def test_a_finished_run_is_measured_again_not_trained_again(
    parts: AnomalyData, options: EfficientAdOptions, tmp_path: Path
) -> None:
    first = train(parts, options, folder=tmp_path / "run", progress=silent, recipe=RECIPE)
    again = train(parts, options, folder=tmp_path / "run", progress=silent, recipe=RECIPE)
    assert again.scores == first.scores
    assert again.history == first.history


def test_a_stopped_run_goes_on_to_the_same_model(
    parts: AnomalyData, options: EfficientAdOptions, tmp_path: Path
) -> None:
    whole = train(parts, options, folder=tmp_path / "whole", progress=silent, recipe=RECIPE)

    def stop(done: int, total: int, note: str) -> None:
        if "step 2," in note:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Stopped):
        train(parts, options, folder=tmp_path / "halves", progress=stop, recipe=RECIPE)
    halves = train(parts, options, folder=tmp_path / "halves", progress=silent, recipe=RECIPE)
    assert halves.scores == whole.scores


def test_the_folder_of_another_product_is_not_gone_on_from(
    parts: AnomalyData, options: EfficientAdOptions, tmp_path: Path
) -> None:
    train(parts, options, folder=tmp_path / "run", progress=silent, recipe=RECIPE)
    fewer = divide(parts.train[1:])
    with pytest.raises(BadUsage, match="the pictures changed since it began: 0 added, 1 removed"):
        train(fewer, options, folder=tmp_path / "run", progress=silent, recipe=RECIPE)


def test_more_steps_of_a_finished_run_go_on_from_it(
    parts: AnomalyData, options: EfficientAdOptions, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, short_steps=5)  # four steps are a short run, six are none
    train(parts, options, folder=tmp_path / "run", progress=silent, recipe=recipe)
    longer = train(parts, replace(options, steps=6), folder=tmp_path / "run", progress=silent, recipe=recipe)
    assert (longer.steps, longer.facts["short_run"]) == (6, False)


def test_a_teacher_that_was_moved_is_the_same_run_and_another_teacher_is_not(
    parts: AnomalyData, options: EfficientAdOptions, tmp_path: Path
) -> None:
    first = train(parts, options, folder=tmp_path / "run", progress=silent, recipe=RECIPE)
    moved = tmp_path / "moved.safetensors"
    assert options.teacher is not None
    moved.write_bytes(options.teacher.read_bytes())
    again = train(parts, replace(options, teacher=moved), folder=tmp_path / "run", progress=silent, recipe=RECIPE)
    assert again.scores == first.scores
    torch.manual_seed(3)
    save_teacher(Pdn(PdnLayout(channels=4, inner=(4, 6, 6))), moved, provenance={})
    with pytest.raises(BadUsage, match="another run: teacher was"):
        train(parts, replace(options, teacher=moved), folder=tmp_path / "run", progress=silent, recipe=RECIPE)


def cache_of(
    parts: AnomalyData, options: EfficientAdOptions, recipe: PdnRecipe = RECIPE, *, any_orientation: bool = False
) -> tuple[PdnModel, TeacherCache]:
    teacher = load_teacher(options.teacher)
    model = networks(teacher.layout)
    model.teacher = teacher
    record = options.prepared_by(recipe.border)
    cache = TeacherCache(teacher, parts.train[:4], parts.store, record, recipe, any_orientation=any_orientation)
    model.set_statistics(cache.fill(silent).result())
    return model, cache


def terms_of(
    model: PdnModel,
    cache: TeacherCache,
    options: EfficientAdOptions,
    recipe: PdnRecipe,
    *,
    short: bool = True,
    done: float = 0.0,
) -> dict[str, float]:
    foreign = foreign_of(options, options.prepared_by(recipe.border), recipe)
    lesson = PdnTraining(model.eval(), cache, foreign, recipe, short=short)
    found = lesson.losses(np.random.default_rng(5), Moment(step=0, done=done))
    return {name: float(term.detach()) for name, term in found.items()}


def test_teacher_outputs_that_are_kept_and_that_are_not_give_the_same_step(
    parts: AnomalyData, options: EfficientAdOptions
) -> None:
    model, cache = cache_of(parts, options)
    none = replace(RECIPE, cache_bytes=0)
    _, empty = cache_of(parts, options, none)
    assert (cache.kept, empty.kept) == (4, 0)
    kept, computed = (terms_of(model, s, options, RECIPE) for s in (cache, empty))
    assert kept == pytest.approx(computed, rel=1e-6)


def test_a_short_run_begins_with_the_mean_and_goes_on_with_the_hard_loss(
    parts: AnomalyData, options: EfficientAdOptions
) -> None:
    model, cache = cache_of(parts, options)
    begin, later = (terms_of(model, cache, options, RECIPE, done=done)["local"] for done in (0.0, 0.31))
    assert later > 3 * begin
    assert terms_of(model, cache, options, RECIPE, short=False)["local"] == later


def test_the_students_first_half_may_learn_from_the_jittered_picture(
    parts: AnomalyData, options: EfficientAdOptions
) -> None:
    model, cache = cache_of(parts, options)
    jittered = terms_of(model, cache, options, replace(RECIPE, student_jitter=True))
    clean = terms_of(model, cache, options, RECIPE)
    assert jittered["local"] != clean["local"]
    assert jittered["autoencoder"] == clean["autoencoder"]


def test_steps_in_bfloat16_are_close_to_those_in_float32(parts: AnomalyData, options: EfficientAdOptions) -> None:
    model, cache = cache_of(parts, options)
    exact, rounded = (terms_of(model, cache, options, replace(RECIPE, bf16=bf16)) for bf16 in (False, True))
    assert rounded != exact
    assert rounded == pytest.approx(exact, rel=0.05)


def test_parts_in_any_direction_are_turned_anew_at_every_step(parts: AnomalyData, options: EfficientAdOptions) -> None:
    _, still = cache_of(parts, options)
    _, cache = cache_of(parts, options, any_orientation=True)
    rng = np.random.default_rng(1)
    (first, features), (second, _) = cache.draw(3, rng), cache.draw(3, rng)
    assert (cache.kept, features) == (0, [None, None, None])
    assert first.shape == (3, SIDE + 32, SIDE + 32, 3)
    as_they_are, _ = still.draw(12, rng)
    turned = [all(np.abs(v.astype(int) - whole).mean() > 5 for whole in as_they_are) for v in (*first, *second)]
    assert sum(turned) >= 4  # one quarter turn in eight leaves a picture as it is


def test_a_turned_picture_of_12_bits_is_as_bright_as_one_that_is_not(
    parts: AnomalyData, options: EfficientAdOptions, tmp_path: Path
) -> None:
    deep = []
    for part in parts.train[:4]:
        file = tmp_path / f"{part.path.stem}.png"
        cv2.imwrite(str(file), cv2.imread(str(part.path)).astype(np.uint16) * 16)
        deep.append(replace(part, path=file))
    twelve = replace(options, bit_depth=12)
    (_, still), (_, cache) = (
        cache_of(divide(tuple(deep)), twelve, any_orientation=any_orientation) for any_orientation in (False, True)
    )
    as_they_are, turned = (one.draw(12, np.random.default_rng(1))[0].mean() for one in (still, cache))
    assert turned == pytest.approx(as_they_are, rel=0.1)


def test_no_gradient_reaches_the_teacher_and_every_other_weight_gets_one(
    parts: AnomalyData, options: EfficientAdOptions
) -> None:
    model, cache = cache_of(parts, options)
    foreign = foreign_of(options, options.prepared_by(RECIPE.border), RECIPE)
    lesson = PdnTraining(model, cache, foreign, RECIPE, short=True)
    terms = lesson.losses(np.random.default_rng(5), Moment(step=0, done=0.0))
    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is None for weight in model.teacher.parameters())
    assert all(weight.grad is not None for weight in lesson.module.parameters())


def test_foreign_pictures_are_seen_at_twice_the_scale(tmp_path: Path) -> None:
    stripes = np.tile(np.repeat([0, 255], 8).astype(np.uint8), (64, 4))  # 64 x 64, eight stripes of 8 px
    cv2.imwrite(str(tmp_path / "stripes.png"), stripes)
    record = EfficientAdOptions(width=64, height=64).prepared_by(0)
    foreign = ForeignPictures(files=(tmp_path / "stripes.png",), record=record, magnified=2)
    picture = foreign.draw(np.random.default_rng(0))
    # Brought to 128 x 128 the stripes are 16 px wide, and four of them fill the middle 64 px.
    assert picture.shape == (64, 64, 3)
    assert [int(picture[30, x, 0]) for x in (8, 24, 40, 56)] == [0, 255, 0, 255]


def test_about_a_third_of_the_foreign_pictures_are_made_grey(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "red.png"), np.full((8, 8, 3), (10, 20, 200), np.uint8))
    foreign = foreign_of(
        EfficientAdOptions(ood=tmp_path), EfficientAdOptions(width=40, height=40).prepared_by(RECIPE.border), RECIPE
    )
    assert foreign is not None
    rng = np.random.default_rng(2)
    grey = [_is_grey(foreign.draw(rng)) for _ in range(300)]
    assert 0.2 < np.mean(grey) < 0.4
    generated = replace(foreign, files=()).draw(rng)
    assert generated.shape == (72, 72, 3)


def test_what_an_ood_folder_holds_counts_not_where_it_lies(tmp_path: Path) -> None:
    for name, value in (("here", 9), ("there", 9), ("other", 90)):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "a.png"), np.full((8, 8, 3), value, np.uint8))
    here, there, other = (identity_of(tmp_path / name) for name in ("here", "there", "other"))
    assert here == there
    assert len({here, other, identity_of(None)}) == 3


def test_a_run_is_another_with_other_foreign_pictures(
    parts: AnomalyData, options: EfficientAdOptions, tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((8, 8, 3), 9, np.uint8))
    _, identity = training.plan(parts, replace(options, ood=tmp_path), recipe=RECIPE, teacher=teacher_of(options))
    assert identity["ood"] == identity_of(tmp_path)
    _, without = training.plan(parts, options, recipe=RECIPE, teacher=teacher_of(options))
    assert without["ood"] == "textures"


def test_an_empty_ood_folder_is_named(parts: AnomalyData, options: EfficientAdOptions, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="no pictures in it"):
        train(parts, replace(options, ood=tmp_path / "empty"), folder=tmp_path / "run", progress=silent, recipe=RECIPE)


def test_jitter_changes_light_contrast_or_saturation_and_never_wastes_a_draw_on_grey() -> None:
    rng = np.random.default_rng(4)
    colour = rng.integers(60, 180, (8, 8, 3), dtype=np.uint8)
    without = grey(colour)
    for picture in (colour, without):
        drawn = [jitter(picture, 0.2, rng) for _ in range(40)]
        assert all(np.abs(d - picture).max() > 1e-3 for d in drawn)
        assert all(d.min() >= 0.0 and d.max() <= 255.0 for d in drawn)
    assert all(_is_grey(np.rint(jitter(without, 0.2, rng)).astype(np.uint8)) for _ in range(20))


def test_missing_teachers_and_sizes_that_do_not_fit_are_said(
    parts: AnomalyData, options: EfficientAdOptions, tmp_path: Path
) -> None:
    with pytest.raises(BadUsage, match=r"pdn_s_teacher\.safetensors: the teacher is a PDN-S, the size asked for is m"):
        train(parts, replace(options, size="m", teacher=None), folder=tmp_path, progress=silent, recipe=RECIPE)
    with pytest.raises(BadUsage, match=r"teacher_m\.safetensors: the teacher is a PDN-M, the size asked for is s"):
        train(
            parts, replace(options, teacher=teacher_file(tmp_path, "m")), folder=tmp_path, progress=silent,
            recipe=RECIPE,
        )  # fmt: skip
    with pytest.raises(NotThere, match="there is no such teacher file"):
        train(parts, replace(options, teacher=tmp_path / "gone.pth"), folder=tmp_path, progress=silent, recipe=RECIPE)
    with pytest.raises(BadUsage, match="32 px is smaller than the 33 x 33 px"):
        train(parts, replace(options, width=32), folder=tmp_path, progress=silent, recipe=replace(RECIPE, border=0))


def test_size_m_trains_on_pictures_that_are_not_square(
    parts: AnomalyData, options: EfficientAdOptions, tmp_path: Path
) -> None:
    wide = replace(options, size="m", width=60, teacher=teacher_file(tmp_path, "m"), steps=1)
    trained = train(parts, wide, folder=tmp_path / "run", progress=silent, recipe=RECIPE)
    record = training.graphs(trained).preprocessing
    assert record is not None
    assert (record.width, record.height) == (92, 80)


def test_calibration_feeds_fit_the_graph(parts: AnomalyData, options: EfficientAdOptions, tmp_path: Path) -> None:
    trained = train(parts, replace(options, steps=1), folder=tmp_path / "run", progress=silent, recipe=RECIPE)
    feeds = EfficientAD().samples(parts, trained, training.graphs(trained), 6)("model")
    shapes = [feed["image"].shape for feed in feeds]
    assert shapes == [(1, SIDE + 32, SIDE + 32, 3)] * len(feeds)


def test_how_pictures_come_to_a_model_lies_in_its_file_and_nowhere_else(
    parts: AnomalyData, options: EfficientAdOptions, tmp_path: Path
) -> None:
    narrow = replace(RECIPE, border=8)
    trained = train(parts, replace(options, steps=1), folder=tmp_path / "run", progress=silent, recipe=narrow)
    says_nothing = replace(trained, facts={}, options=replace(options, width=256))
    record = training.graphs(says_nothing).preprocessing
    assert record is not None
    assert (record.width, record.border) == (SIDE + 16, 8)
    feeds = EfficientAD().samples(parts, says_nothing, training.graphs(says_nothing), 4)("model")
    assert {feed["image"].shape for feed in feeds} == {(1, SIDE + 16, SIDE + 16, 3)}


def test_a_run_folder_without_a_model_is_named(parts: AnomalyData, options: EfficientAdOptions, tmp_path: Path) -> None:
    trained = train(parts, replace(options, steps=1), folder=tmp_path / "run", progress=silent, recipe=RECIPE)
    with pytest.raises(BadInput, match="no trained model in this folder"):
        training.graphs(replace(trained, folder=tmp_path / "other"))


def _is_grey(picture: NDArray[np.uint8]) -> bool:
    return bool((picture == picture[..., :1]).all())
