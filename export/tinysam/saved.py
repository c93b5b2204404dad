"""Files of networks that were trained here: the weights, and the layout that they belong to. Knows no training."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.export import tensors_file
from edge_sdk.export.tinysam.layout import (
    DecoderLayout,
    EncoderLayout,
    Lite0Layout,
    SamLayout,
    TinyVitLayout,
    VitLayout,
)
from edge_sdk.export.tinysam.positions import resized
from edge_sdk.export.tinysam.sam import Sam

NAME = "model.safetensors"
FORMAT = "tinysam/1"
"""Raise the number when files of before can't be read as they are."""
_ENCODERS: Mapping[str, type[EncoderLayout]] = {"tiny-vit": TinyVitLayout, "vit": VitLayout, "lite0": Lite0Layout}


def write(net: Sam, path: Path, *, facts: Mapping[str, Any] | None = None, half: bool = False) -> None:
    """Replaces `path` (safetensors), durably. facts: whatever else of JSON the file shall say. half: store the weights
    in float16, counts as they are. Raises BadInput if a weight does not fit into float16; CantWrite."""
    tensors = net.state_dict()
    if half:
        tensors = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
        beyond = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
        if beyond:
            raise BadInput(f"{beyond[0]} holds values that float16 can't hold", where=str(path))
    described = {"layout": described_layout(net.layout), "facts": dict(facts or {})}
    tensors_file.write(path, tensors, kind=FORMAT, described=described)


def read(path: Path, *, image_size: int | None = None) -> tuple[Sam, Mapping[str, Any]]:
    """The network in evaluation mode, and what was said of it. image_size: px, None = as it was trained.

    Raises BadInput for whatever is wrong with the file.
    """
    what, hint = "no network of this family", "Name a file that training TinySAM wrote"
    with tensors_file.opened(path, kind=FORMAT, what=what, hint=hint) as file:
        try:
            written = layout_described(file.described["layout"])
            layout = written if image_size is None else written.at(image_size)
        except BadUsage as exc:
            raise BadInput(str(exc.args[0]), where=str(path), hint=exc.hint or hint) from exc
        net, state = Sam(layout), file.tensors
        wanted = net.state_dict()
        if isinstance(layout.encoder, VitLayout):  # has tables of its image size
            with torch.device("meta"):  # shapes alone
                wanted = Sam(written).state_dict()
        if wrong := tensors_file.misfit(state, wanted):
            raise ValueError(wrong)
        if isinstance(layout.encoder, VitLayout):
            state = resized(state, layout.encoder)
        net.load_state_dict(state)
        return net.eval(), file.described["facts"]


def described_layout(layout: SamLayout) -> dict[str, Any]:
    """A layout as JSON."""
    kind = next(name for name, made in _ENCODERS.items() if isinstance(layout.encoder, made))
    return {
        "encoder": {"kind": kind, **dataclasses.asdict(layout.encoder)},
        "decoder": dataclasses.asdict(layout.decoder),
    }


def layout_described(described: Mapping[str, Any]) -> SamLayout:
    """Undoes `described_layout`. Raises KeyError, TypeError or BadUsage."""
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in described["encoder"].items()
    }
    encoder = _ENCODERS[fields.pop("kind")](**fields)
    return SamLayout(encoder=encoder, decoder=DecoderLayout(**described["decoder"]))
