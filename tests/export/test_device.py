"""Where a training computes: every tensor of a step is on the device that was asked for, and a GPU that isn't there is
said before the training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from xs_parts import CONFIG, SIDE, folder_of_parts

from edge_sdk.errors import NotThere
from edge_sdk.export.anomaly.data import AnomalyData
from edge_sdk.export.anomaly.foreign import ForeignPictures
from edge_sdk.export.efficientad.family import EfficientAD
from edge_sdk.export.efficientad.options import EfficientAdOptions
from edge_sdk.export.efficientad.pdn.autoencoder import Autoencoder, AutoencoderLayout
from edge_sdk.export.efficientad.pdn.model import PdnModel
from edge_sdk.export.efficientad.pdn.network import Pdn, PdnLayout, drawn
from edge_sdk.export.efficientad.pdn.train import PdnRecipe, PdnTraining, TeacherCache
from edge_sdk.export.efficientad.statistics import ChannelStatistics
from edge_sdk.export.efficientad.xs.features import FeatureBank, shape_of
from edge_sdk.export.efficientad.xs.model import XsModel
from edge_sdk.export.efficientad.xs.train import XsTraining
from edge_sdk.export.tasks.anomaly.pictures import read_pictures
from edge_sdk.export.tasks.anomaly.shares import divided
from edge_sdk.export.training import device
from edge_sdk.export.training.device import Compute
from edge_sdk.export.training.loop import Moment, Trainable
from edge_sdk.export.trunk.lite0 import BLOCKS, Trunk

OPTIONS = EfficientAdOptions(width=SIDE, height=SIDE, steps=2, threads=1)
WITHOUT_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> AnomalyData:
    pictures = read_pictures(folder_of_parts(tmp_path_factory.mktemp("parts")))
    return divided(pictures, holdout=0.25, quantiles=0.1, seed=0)


@WITHOUT_GPU
def test_auto_takes_the_cpu_where_there_is_no_gpu() -> None:
    assert device.chosen("auto") == device.chosen("cpu") == device.CPU


@WITHOUT_GPU
def test_a_gpu_that_is_not_there_is_said_when_the_training_is_planned(data: AnomalyData, tmp_path: Path) -> None:
    with pytest.raises(NotThere, match=r"--device cuda: .*Leave --device out to train on the CPU") as caught:
        EfficientAD(xs=CONFIG).plan(data, replace(OPTIONS, device="cuda"), folder=tmp_path)
    assert caught.value.exit_code == 4


class Bank:
    """Features without values, of the sizes that XS learns from."""

    views = 8

    def __init__(self, compute: Compute) -> None:
        self._compute = compute

    def __len__(self) -> int:
        return 8

    def features(self, views: Sequence[int]) -> dict[int, torch.Tensor]:
        blocks = CONFIG.layout.blocks
        shapes = {block: (len(views), *shape_of(block, SIDE, SIDE)) for block in blocks}
        return {block: self._compute.tensor(np.zeros(shape, np.float32)) for block, shape in shapes.items()}


def xs_lesson(data: AnomalyData, compute: Compute, *, features: Compute | None = None) -> Trainable:
    """features: where they are, None = where the network is."""
    layout = CONFIG.layout
    unit = {b: ChannelStatistics(np.zeros(n), np.ones(n), 0) for b in layout.blocks for n in [BLOCKS[b].outputs]}
    model = XsModel(layout, Trunk(layout.taps[-1]), unit)
    return XsTraining(model, cast(FeatureBank, Bank(features or compute)), CONFIG, bf16=False, compute=compute)


def pdn_lesson(data: AnomalyData, compute: Compute) -> Trainable:
    recipe = PdnRecipe(autoencoder_width=4, cache_bytes=0)
    teacher = Pdn(PdnLayout(channels=4, inner=(4, 6, 6)))
    layout = AutoencoderLayout(channels=4, width=4)
    model = compute.place(PdnModel(teacher.requires_grad_(False), Pdn(teacher.layout.student()), Autoencoder(layout)))
    record = OPTIONS.prepared_by(recipe.border)
    cache = TeacherCache(teacher, data.train, data.store, record, recipe, any_orientation=False, compute=compute)
    foreign = ForeignPictures.of(None, record, magnified=2)
    return PdnTraining(model, cache, foreign, recipe, short=True, compute=compute)


class OnOneDevice(TorchDispatchMode):
    """Raises where an operator gets tensors of two devices, as a GPU would; a copy and a single number may cross."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = [one for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor) and one.ndim]
        devices = {one.device.type for one in given}
        if len(devices) > 1 and func not in (torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default):
            raise RuntimeError(f"{func} got tensors of {sorted(devices)}")
        return func(*args, **(kwargs or {}))


META = Compute(torch.device("meta"))
"""The second device that every torch has: its tensors have shapes and no values."""


@pytest.mark.parametrize("lesson", [xs_lesson, pdn_lesson], ids=["xs", "s"])
def test_a_step_computes_everything_on_the_device(
    lesson: Callable[[AnomalyData, Compute], Trainable], data: AnomalyData
) -> None:
    made = lesson(data, META)
    made.optimizer.zero_grad(set_to_none=True)
    with OnOneDevice():
        terms = made.losses(np.random.default_rng(0), Moment(step=0, done=0.5))
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        made.optimizer.step()
    places = {weight.device.type for weight in made.module.parameters()}
    places |= {weight.grad.device.type for weight in made.module.parameters() if weight.grad is not None}
    assert places == {term.device.type for term in terms.values()} == {"meta"}


def test_the_pretrained_trunk_looks_at_pictures_where_it_is_placed() -> None:
    image = META.tensor(np.zeros((1, SIDE, SIDE, 3), np.uint8))
    with OnOneDevice():
        outputs = META.place(Trunk(4))(image, (2, 4))
    assert {output.device.type for output in outputs.values()} == {"meta"}


def test_a_network_left_on_the_cpu_is_noticed(data: AnomalyData) -> None:
    """What the tests above rest on."""
    made = xs_lesson(data, device.CPU, features=META)
    with pytest.raises(RuntimeError, match="meta"), OnOneDevice():
        made.losses(np.random.default_rng(0), Moment(step=0, done=0.5))


def test_networks_start_from_the_same_numbers_wherever_they_are() -> None:
    """Drawn by the CPU's generator: a run is the same on every machine but for rounding."""
    one, two = nn.Linear(3, 2), nn.Linear(3, 2)
    for net in (one, two):
        drawn(net, seed=5)
    assert torch.equal(one.weight, two.weight)
    drawn(META.place(nn.Conv2d(2, 2, 3)), seed=5)
