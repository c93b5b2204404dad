"""Files of denoisers: which kind of network they hold, what of before is still read, what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.export import tensors_file
from edge_sdk.export.onestep import kinds, saved, unet
from edge_sdk.export.onestep.teacher import NetworkTeacher, TeacherFacts
from edge_sdk.export.onestep.unet import UNet

FACTS = TeacherFacts(channels=1, side=8, classes=2, sigma_data=0.6)


def denoiser() -> NetworkTeacher:
    torch.manual_seed(2)
    return NetworkTeacher(UNet(unet.layout(channels=1, side=8, base=8, classes=2)), FACTS).eval()


def stored(net: NetworkTeacher, path: Path, **more: Any) -> Path:
    described = {
        "layout": dataclasses.asdict(net.network.layout), "pictures": dataclasses.asdict(net.facts), "facts": {}, **more
    }  # fmt: skip
    tensors_file.write(path, net.network.state_dict(), kind=saved.FORMAT, described=described)
    return path


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    net = denoiser()
    saved.write(net, tmp_path / "a.safetensors", facts={"start": 3.0})
    found, facts = saved.read(tmp_path / "a.safetensors")
    assert (found.facts, facts, kinds.digest_of(found)) == (FACTS, {"start": 3.0}, kinds.digest_of(net))
    assert not found.training


def test_a_file_from_before_there_were_kinds_is_read(tmp_path: Path) -> None:
    net = denoiser()
    assert kinds.digest_of(saved.read(stored(net, tmp_path / "a.safetensors"))[0]) == kinds.digest_of(net)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"network": "of tomorrow"}, "of tomorrow"), ({"layout": {}}, "it holds no"), ({"pictures": {"a": 1}}, "'a'"),
        ({"network": "diffusers"}, "it holds no"),
    ],
)  # fmt: skip
def test_other_files_are_refused(more: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=f"no denoiser of this family.*{said}"):
        saved.read(stored(denoiser(), tmp_path / "a.safetensors", **more))


def test_weights_of_another_layout_are_refused(tmp_path: Path) -> None:
    wider = dataclasses.asdict(unet.layout(channels=1, side=8, base=16, classes=2))
    with pytest.raises(BadInput, match="has the shape"):
        saved.read(stored(denoiser(), tmp_path / "a.safetensors", layout=wider))


def test_the_same_weights_in_another_layout_are_another_teacher() -> None:
    net = denoiser()
    other = UNet(dataclasses.replace(net.network.layout, level_scale=1.0))
    other.load_state_dict(net.network.state_dict())
    assert kinds.digest_of(NetworkTeacher(other, FACTS)) != kinds.digest_of(net)


def test_a_denoiser_of_no_kind_is_not_kept() -> None:
    with pytest.raises(BadUsage, match="a generator that is a Identity can't be kept"):
        kinds.generating(nn.Identity())
