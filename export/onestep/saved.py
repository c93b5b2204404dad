"""Files of denoisers that were trained here: the weights, kind and layout of their network, and the facts of their
pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.export import tensors_file
from edge_sdk.export.onestep import kinds
from edge_sdk.export.onestep.kinds import Generating
from edge_sdk.export.onestep.teacher import TeacherFacts, filled

FORMAT = "onestep/1"
"""Raise the number when files of before can't be read as they are."""
TEACHER, GENERATOR = "teacher.safetensors", "generator.safetensors"
START = "start"
"""Of a generator's facts: sigma at which it calls its network."""


def write(net: Generating, path: Path, *, facts: Mapping[str, Any] | None = None) -> None:
    """Replaces `path` (safetensors), durably. facts: whatever else of JSON the file shall say. Raises CantWrite."""
    kind = kinds.kind_of(net)
    described = {
        "network": kind.name, "layout": kind.described(net), "pictures": dataclasses.asdict(net.facts),
        "facts": dict(facts or {}),
    }  # fmt: skip
    tensors_file.write(path, net.network.state_dict(), kind=FORMAT, described=described)


def read(path: Path) -> tuple[Generating, Mapping[str, Any]]:
    """The denoiser in evaluation mode, and what was said of it. Raises BadInput for whatever is wrong with the file,
    NotThere where its kind of network needs a package that is not here."""
    what, hint = "no denoiser of this family", "Name a file that edge-sdk train onestep wrote"
    with tensors_file.opened(path, kind=FORMAT, what=what, hint=hint) as file:
        try:
            kind = kinds.KINDS[file.described.get("network", kinds.UNET.name)]  # files of before have no other
            net = kind.made(file.described["layout"], TeacherFacts(**file.described["pictures"]))
        except (BadUsage, BadInput) as exc:
            raise ValueError(str(exc.args[0])) from exc
        if wrong := tensors_file.misfit(file.tensors, net.network.state_dict()):
            raise ValueError(wrong)
        return filled(net, file.tensors), file.described["facts"]
