"""Files of denoisers that were trained here: the weights, their layout, and the facts of their pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_sdk.errors import BadUsage
from edge_sdk.export import tensors_file
from edge_sdk.export.onestep.teacher import NetworkTeacher, TeacherFacts
from edge_sdk.export.onestep.unet import BlockLayout, UNet, UNetLayout

FORMAT = "onestep/1"
"""Raise the number when files of before can't be read as they are."""
TEACHER, GENERATOR = "teacher.safetensors", "generator.safetensors"
START = "start"
"""Of a generator's facts: sigma at which it calls its network."""


def write(net: NetworkTeacher, path: Path, *, facts: Mapping[str, Any] | None = None) -> None:
    """Replaces `path` (safetensors), durably. facts: whatever else of JSON the file shall say. Raises CantWrite."""
    network = net.network
    assert isinstance(network, UNet)
    described = {
        "layout": dataclasses.asdict(network.layout), "pictures": dataclasses.asdict(net.facts),
        "facts": dict(facts or {}),
    }  # fmt: skip
    tensors_file.write(path, network.state_dict(), kind=FORMAT, described=described)


def read(path: Path) -> tuple[NetworkTeacher, Mapping[str, Any]]:
    """The denoiser in evaluation mode, and what was said of it. Raises BadInput for whatever is wrong with the file."""
    what, hint = "no denoiser of this family", "Name a file that edge-sdk train onestep wrote"
    with tensors_file.opened(path, kind=FORMAT, what=what, hint=hint) as file:
        try:
            network = UNet(layout_described(file.described["layout"]))
            pictures = TeacherFacts(**file.described["pictures"])
        except BadUsage as exc:
            raise ValueError(str(exc.args[0])) from exc
        if wrong := tensors_file.misfit(file.tensors, network.state_dict()):
            raise ValueError(wrong)
        network.load_state_dict(file.tensors)
        return NetworkTeacher(network, pictures).eval(), file.described["facts"]


def layout_described(described: Mapping[str, Any]) -> UNetLayout:
    """A layout of JSON. Raises KeyError, TypeError or BadUsage."""
    fields: dict[str, Any] = dict(described)
    for part in ("encoder", "decoder"):
        fields[part] = tuple(BlockLayout(**one) for one in described[part])
    return UNetLayout(**fields)
