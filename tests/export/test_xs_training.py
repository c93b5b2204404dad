"""XS trained on a tiny product: the family's three steps, resume, what is held out, calibration pictures, sizes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from xs_parts import CONFIG, SIDE, folder_of_parts

from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.errors import BadInput, BadUsage, Stopped
from edge_sdk.export.anomaly.augment import Augmentation, view
from edge_sdk.export.anomaly.damage import damage
from edge_sdk.export.anomaly.data import AnomalyData, AnomalyTrained, Picture, PictureSet
from edge_sdk.export.efficientad.family import EfficientAD
from edge_sdk.export.efficientad.options import EfficientAdOptions
from edge_sdk.export.efficientad.saved import MODEL
from edge_sdk.export.efficientad.xs.features import FeatureBank, Views
from edge_sdk.export.efficientad.xs.model import XsModel, new_model
from edge_sdk.export.efficientad.xs.train import XsTraining, quantiles_of, statistics_of
from edge_sdk.export.tasks.anomaly.pictures import read_pictures
from edge_sdk.export.tasks.anomaly.shares import divided
from edge_sdk.export.training import checkpoint
from edge_sdk.export.training.loop import Moment
from edge_sdk.export.trunk.lite0 import SHIPPED, load_trunk
from edge_sdk.progress import silent

OPTIONS = EfficientAdOptions(width=SIDE, height=SIDE, steps=8, threads=1)
FAMILY = EfficientAD(xs=CONFIG)


def read(folder: Path) -> AnomalyData:
    return divided(read_pictures(folder), holdout=0.25, quantiles=0.1, seed=0)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> AnomalyData:
    return read(folder_of_parts(tmp_path_factory.mktemp("parts")))


@pytest.fixture(scope="module")
def trained(data: AnomalyData, tmp_path_factory: pytest.TempPathFactory) -> AnomalyTrained:
    return FAMILY.train(data, OPTIONS, folder=tmp_path_factory.mktemp("run"), progress=silent)


def record_of(trained: AnomalyTrained) -> Preprocessing:
    record = FAMILY.graphs(trained).preprocessing
    assert record is not None
    return record


def test_training_tells_steps_held_out_parts_and_their_scores(trained: AnomalyTrained) -> None:
    assert trained.steps == 8
    assert len(trained.held_out) == len(trained.scores) == 2
    assert np.isfinite(trained.scores).all()
    assert trained.history[-1][0] == 8
    assert set(trained.facts["clamped_channels"]) == {"2", "4", "7", "10", "14"}


def test_what_sets_the_map_scale_neither_trains_nor_sets_the_threshold(
    data: AnomalyData, trained: AnomalyTrained
) -> None:
    parts = data.shares
    three = [{p.part for p in share} for share in (parts.training, parts.scaling, parts.held_out)]
    assert sum(len(share) for share in three) == len(set.union(*three)) == len({p.part for p in data.train})
    assert parts.held_out == trained.held_out
    model = XsModel.load(trained.folder / MODEL)
    features = [
        model.trunk(torch.from_numpy(data.store.tensor(p.path, record_of(trained))[None]), model.layout.blocks)
        for p in parts.scaling
    ]
    assert quantiles_of(model, features, FAMILY.xs.quantiles) == model.quantiles


def test_a_maps_scale_reaches_from_the_lower_to_the_upper_quantile_of_its_cells(
    data: AnomalyData, trained: AnomalyTrained
) -> None:
    model = XsModel.load(trained.folder / MODEL)
    record = record_of(trained)
    features = [
        model.trunk(torch.from_numpy(data.store.tensor(p.path, record)[None]), model.layout.blocks)
        for p in data.train[:3]
    ]
    with torch.inference_mode():
        maps = [model.maps(each) for each in features]
    for number, found in enumerate(quantiles_of(model, features, (0.25, 0.75))):
        cells = torch.cat([each[number] for each in maps]).double().numpy()
        assert (found.low, found.high) == pytest.approx(tuple(np.quantile(cells, (0.25, 0.75))), rel=1e-6)


def test_the_bit_depth_that_the_user_states_stands_in_the_record() -> None:
    assert OPTIONS.preprocessing().bit_depth == 16
    assert replace(OPTIONS, bit_depth=12).preprocessing().bit_depth == 12
    assert replace(OPTIONS, size="s", bit_depth=12).preprocessing().bit_depth == 12


def test_the_pretrained_weights_are_read_once_for_plan_and_training(data: AnomalyData, tmp_path: Path) -> None:
    """What was looked at is what is learned from, whatever becomes of the file."""
    teacher = tmp_path / "trunk.safetensors"
    shutil.copy(SHIPPED, teacher)
    family, options = EfficientAD(xs=CONFIG), replace(OPTIONS, teacher=teacher, steps=1)
    planned = family.plan(data, options, folder=tmp_path / "run")
    teacher.unlink()
    assert family.train(data, options, folder=tmp_path / "run", progress=silent).run == planned.run


def test_the_loss_falls(data: AnomalyData, tmp_path: Path) -> None:
    seen = FAMILY.train(data, replace(OPTIONS, steps=40), folder=tmp_path, progress=silent)
    (_, first), (_, last) = seen.history[0], seen.history[-1]
    assert last["tap_7"] < first["tap_7"]


def test_held_out_scores_are_those_of_the_graph(trained: AnomalyTrained) -> None:
    import onnxruntime

    from edge_sdk import preprocess

    graph = FAMILY.graphs(trained).graphs["model"]
    session = onnxruntime.InferenceSession(graph.onnx, providers=["CPUExecutionProvider"])
    for picture, score in zip(trained.held_out, trained.scores, strict=True):
        tensor = preprocess.apply(preprocess.decode(picture.path), record_of(trained)).tensor
        np.testing.assert_allclose(session.run(["score"], {"image": tensor})[0][0], score, rtol=1e-3, atol=1e-4)


def test_an_interrupted_training_ends_as_one_that_was_not(
    data: AnomalyData, trained: AnomalyTrained, tmp_path: Path
) -> None:
    def interrupt(done: int, total: int, note: str) -> None:
        if "step 3," in note:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Stopped, match="checkpoint is kept"):
        FAMILY.train(data, OPTIONS, folder=tmp_path, progress=interrupt)
    again = FAMILY.train(data, OPTIONS, folder=tmp_path, progress=silent)
    assert again.scores == trained.scores


def test_an_interrupt_while_pictures_are_read_is_stopped_too(data: AnomalyData, tmp_path: Path) -> None:
    def interrupt(done: int, total: int, note: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(Stopped) as caught:
        FAMILY.train(data, OPTIONS, folder=tmp_path, progress=interrupt)
    assert caught.value.exit_code == 5


CHILD = """
import sys
sys.path.insert(0, {tests!r})
from dataclasses import replace
from pathlib import Path
from test_xs_training import CONFIG, OPTIONS, EfficientAD, read, silent
EfficientAD(xs=CONFIG).train(read(Path({parts!r})), OPTIONS_HERE, folder=Path({run!r}), progress=silent)
"""


def test_a_training_killed_in_the_middle_goes_on_to_a_valid_model(tmp_path: Path) -> None:
    parts, run = folder_of_parts(tmp_path / "parts"), tmp_path / "run"
    options = replace(OPTIONS, steps=200)
    code = CHILD.format(tests=str(Path(__file__).parent), parts=str(parts), run=str(run))
    child = subprocess.Popen([sys.executable, "-c", code.replace("OPTIONS_HERE", "replace(OPTIONS, steps=200)")])
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and child.poll() is None and not (run / checkpoint.NAME).is_file():
            time.sleep(0.01)
    finally:
        child.kill()
        child.wait()
    kept = FAMILY.plan(read(parts), options, folder=run)
    assert 0 < (kept.kept_step or 0) < 200
    assert not kept.finished
    seen = FAMILY.train(read(parts), options, folder=run, progress=silent)
    assert seen.steps == 200
    assert seen.run == kept.run
    assert FAMILY.plan(read(parts), options, folder=run).finished
    assert np.isfinite(seen.scores).all()
    assert XsModel.load(run / MODEL).layout == CONFIG.layout


def test_a_run_folder_of_other_pictures_is_refused(trained: AnomalyTrained, tmp_path: Path) -> None:
    shutil.copytree(trained.folder, tmp_path / "run")
    found = read_pictures(folder_of_parts(tmp_path / "parts", good=7))
    found = replace(found, train=(*found.train, *found.test[:2]))
    other = divided(found, holdout=0.25, quantiles=0.1, seed=0)
    with pytest.raises(BadUsage, match="another run: the pictures changed since it began: 2 added, 1 removed"):
        FAMILY.train(other, OPTIONS, folder=tmp_path / "run", progress=silent)


def test_a_run_folder_of_other_options_is_refused(data: AnomalyData, trained: AnomalyTrained, tmp_path: Path) -> None:
    shutil.copytree(trained.folder, tmp_path / "run")
    with pytest.raises(BadUsage, match=r"another run: seed was 0, is 1 now"):
        FAMILY.train(data, replace(OPTIONS, seed=1), folder=tmp_path / "run", progress=silent)


def test_a_run_that_is_asked_for_more_time_or_steps_goes_on(
    data: AnomalyData, trained: AnomalyTrained, tmp_path: Path
) -> None:
    shutil.copytree(trained.folder, tmp_path / "run")
    longer = FAMILY.train(data, replace(OPTIONS, steps=12), folder=tmp_path / "run", progress=silent)
    assert longer.steps == 12
    assert [segment["steps"] for segment in longer.facts["segments"]] == [8, 12]
    assert longer.scores != trained.scores
    spent = replace(OPTIONS, steps=None, time_budget_s=1e-6)
    assert FAMILY.train(data, spent, folder=tmp_path / "run", progress=silent).scores == longer.scores


def test_calibration_gives_the_same_pictures_twice_and_no_held_out_one(
    data: AnomalyData, trained: AnomalyTrained
) -> None:
    feeds = FAMILY.samples(data, trained, FAMILY.graphs(trained), 12)("model")
    first, second = [feed["image"] for feed in feeds], [feed["image"] for feed in feeds]
    assert len(feeds) == len(first) == 12
    for a, b in zip(first, second, strict=True):
        assert a.dtype == np.uint8
        assert a.shape == (1, SIDE, SIDE, 3)
        np.testing.assert_array_equal(a, b)
    held_out = {p.path for p in trained.held_out}
    assert not held_out & {p.path for p in (*feeds.good, *feeds.damaged)}
    assert feeds.foreign == 3


def test_a_folder_of_foreign_pictures_without_any_is_named(
    data: AnomalyData, trained: AnomalyTrained, tmp_path: Path
) -> None:
    with_folder = replace(trained, options=replace(OPTIONS, ood=tmp_path))
    with pytest.raises(BadInput, match="there are no pictures in it"):
        list(FAMILY.samples(data, with_folder, FAMILY.graphs(with_folder), 8)("model"))


def test_damage_changes_a_copy_and_is_seeded() -> None:
    picture = np.full((64, 64, 3), 90, np.uint8)
    damaged = [damage(picture, np.random.default_rng(k)) for k in range(20)]
    assert (picture == 90).all()
    assert sum((d != picture).any() for d in damaged) >= 18
    np.testing.assert_array_equal(damaged[3], damage(picture, np.random.default_rng(3)))


def test_a_bank_made_again_holds_the_same_features(data: AnomalyData) -> None:
    torch.set_num_threads(1)
    views = Views(augmentation=Augmentation(any_orientation=True, light=0.1), each=2, seed=3, memory_bytes=1 << 30)
    record, trunk = Preprocessing(width=SIDE, height=SIDE), load_trunk(4)
    one, two = (FeatureBank(data.train, data.store, record, trunk, (2, 4), views) for _ in range(2))
    a, b = one.features([0, 9, 11])[4], two.features([11, 9, 0])[4]
    torch.testing.assert_close(a, b.flip(0), rtol=0, atol=1e-3)
    assert one.views == 16
    assert not torch.equal(one.features([0])[4], one.features([8])[4])


def test_a_bank_keeps_to_its_memory(data: AnomalyData) -> None:
    views = Views(augmentation=Augmentation(), each=50, seed=0, memory_bytes=4_000_000)
    bank = FeatureBank(data.train, data.store, Preprocessing(width=SIDE, height=SIDE), load_trunk(4), (2, 4), views)
    assert bank.views < 50 * len(data.train)


def test_a_view_without_augmentation_is_the_picture_itself() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    record = Preprocessing(width=SIDE, height=SIDE)
    np.testing.assert_array_equal(view(picture, record, Augmentation(), np.random.default_rng(1)), picture)


def test_turned_views_differ_by_seed_and_keep_their_size() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (100, 150, 3), dtype=np.uint8)
    record, how = Preprocessing(width=64, height=32), Augmentation(any_orientation=True)
    one, two = (view(picture, record, how, np.random.default_rng(k)) for k in (1, 2))
    assert one.shape == two.shape == (32, 64, 3)
    assert (one != two).any()


def test_rotations_move_pixels_and_resample_none() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    record, how = Preprocessing(width=32, height=32), Augmentation(any_orientation=True)
    kinds = [np.rot90(p, k) for p in (picture, picture[:, ::-1]) for k in range(4)]
    views = [view(picture, record, how, np.random.default_rng(k)) for k in range(40)]
    seen = {next(i for i, kind in enumerate(kinds) if np.array_equal(kind, one)) for one in views}
    assert seen == set(range(8))


def test_contrast_keeps_a_pictures_mean_and_light_its_contrast() -> None:
    picture = np.random.default_rng(0).integers(90, 120, (64, 64, 3), dtype=np.uint8)
    record, mean, spread = Preprocessing(width=64, height=64), picture.mean(), picture.std() / picture.mean()
    for k in range(8):
        sharper = view(picture, record, Augmentation(contrast=0.3), np.random.default_rng(k))
        assert sharper.mean() == pytest.approx(mean, abs=0.5)
        brighter = view(picture, record, Augmentation(light=0.3), np.random.default_rng(k))
        assert brighter.std() / brighter.mean() == pytest.approx(spread, rel=0.05)
        assert abs(brighter.mean() / mean - 1) > 0.01 or abs(sharper.std() / picture.std() - 1) > 0.01


def test_training_puts_back_how_torch_computes(trained: AnomalyTrained) -> None:
    assert np.float32(torch.tensor([1e-40]) * 1.0) > 0.0  # denormals are flushed in training alone


def test_an_unknown_size_is_wrong_usage(data: AnomalyData, tmp_path: Path) -> None:
    with pytest.raises(BadUsage, match=r"no size 'xl'.*xs, s, m"):
        FAMILY.train(data, replace(OPTIONS, size="xl"), folder=tmp_path, progress=silent)


def test_an_input_size_that_xs_can_not_have_is_wrong_usage(data: AnomalyData, tmp_path: Path) -> None:
    with pytest.raises(BadUsage, match="XS can't run at 100 x 128"):
        FAMILY.train(data, replace(OPTIONS, width=100), folder=tmp_path, progress=silent)


def test_pictures_that_no_memory_can_hold_are_refused_before_the_first_is_read(tmp_path: Path) -> None:
    pictures = PictureSet(train=tuple(Picture(path=tmp_path / f"{i}.png", part=str(i)) for i in range(50_000)))
    many = divided(pictures, holdout=0.2, quantiles=0.1, seed=0)
    with pytest.raises(BadUsage, match=r"36000 pictures at 2048 x 2048 px take \d+\.\d GB of memory"):
        FAMILY.plan(many, replace(OPTIONS, width=2048, height=2048), folder=tmp_path)


def test_a_folder_without_a_model_is_named(trained: AnomalyTrained, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no trained model in this folder"):
        FAMILY.graphs(replace(trained, folder=tmp_path))


def _lesson(data: AnomalyData, **changes: object) -> XsTraining:
    """One that has learned nothing; the same views and weights whenever it is made."""
    config = replace(CONFIG, **changes)
    trunk = load_trunk(config.layout.taps[-1])
    views = Views(augmentation=config.fixed, each=config.views, seed=0, memory_bytes=config.memory_bytes)
    bank = FeatureBank(data.train, data.store, OPTIONS.preprocessing(), trunk, config.layout.blocks, views)
    statistics = statistics_of((bank.features([k]) for k in range(len(bank))), config.layout.blocks)
    return XsTraining(new_model(config.layout, trunk, statistics, seed=0), bank, config, bf16=False)


def _terms(data: AnomalyData, done: float, **changes: object) -> dict[str, float]:
    lesson = _lesson(data, **changes)
    lesson.module.eval()
    terms = lesson.losses(np.random.default_rng(1), Moment(0, done))
    return {name: float(value.detach()) for name, value in terms.items()}


def test_the_hardest_values_count_from_their_share_of_the_run_on(data: AnomalyData) -> None:
    assert "hard" not in _terms(data, 0.39, hard_from=0.4)
    assert "hard" in _terms(data, 0.4, hard_from=0.4)


def test_hard_values_are_the_largest_of_each_picture(data: AnomalyData) -> None:
    """Of all values it is the plain mean; of fewer it grows, to the largest one."""
    hard = {share: _terms(data, 1.0, hard_weight=0.5, hard_share=share) for share in (1.0, 0.1, 0.01, 0.0)}
    plain = sum(value for name, value in hard[1.0].items() if name != "hard")
    assert hard[1.0]["hard"] == pytest.approx(0.5 * plain, rel=1e-5)
    assert hard[1.0]["hard"] < hard[0.1]["hard"] < hard[0.01]["hard"] < hard[0.0]["hard"]


def test_parts_that_lie_in_any_direction_are_seen_turned(
    data: AnomalyData, trained: AnomalyTrained, tmp_path: Path
) -> None:
    turning = FAMILY.train(data, replace(OPTIONS, any_orientation=True), folder=tmp_path, progress=silent)
    assert turning.history != trained.history


def test_differences_are_weighted_by_cells_of_every_part(data: AnomalyData, tmp_path: Path) -> None:
    family = EfficientAD(xs=replace(CONFIG, weight_views=1, weight_cells=1_000_000))
    model = XsModel.load(family.train(data, OPTIONS, folder=tmp_path, progress=silent).folder / MODEL)
    record, want = OPTIONS.preprocessing(), model.get_buffer("weights_14").clone()
    wrong = []
    with torch.inference_mode():
        for part in data.shares.training:
            features = model.trunk(torch.from_numpy(data.store.tensor(part.path, record)[None]), model.layout.blocks)
            wrong.append(model.difference(14, model.learned(features), features)[0].flatten(1).T)
    model.set_weights(14, torch.cat(wrong))
    torch.testing.assert_close(model.get_buffer("weights_14"), want, rtol=0.02, atol=0.02)  # features kept as float16
    model.set_weights(14, wrong[0])
    assert (model.get_buffer("weights_14") - want).abs().max() > 0.1
