"""Networks that others trained with EDM, by the names and shapes of their weights. Reads no pickle, runs no code.

DDPM++ and ADM of Karras et al. 2022 (arXiv 2206.00364) as safetensors of a state dict, with or without the prefix
"model.". Names and shapes tell the layout; sigma_data, the preconditioner and the range of noise they do not.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from edge_sdk.errors import BadInput
from edge_sdk.export import tensors_file
from edge_sdk.export.onestep.teacher import NetworkTeacher, TeacherFacts
from edge_sdk.export.onestep.unet import DOWN, FIRST, UP, BlockLayout, Form, UNet, UNetLayout

PREFIX = "model."
_UNUSED = re.compile(r"resample_filter$|^map_augment\.")
"""Constants of the resampling, and what only a training with augmentation reads."""
_KEY = re.compile(r"^(enc|dec)\.((\d+)x\3_(\w+?))\.")
_BEYOND = ("map_noise.freqs", "aux_residual", "aux_up", "aux_down", "aux_skip")
_HINT = (
    "Name the state dict of EDM's DDPM++ (SongUNet) or ADM (DhariwalUNet) as safetensors; docs/onestep.md says how to "
    "convert a pickle"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """What names and shapes do not tell. sigma_data: of the network's preconditioning."""

    sigma_data: float = 0.5
    least_sigma: float = 0.002
    most_sigma: float = 80.0


def read(path: Path, stated: Stated | None = None) -> NetworkTeacher:
    """The denoiser of a safetensors file, in evaluation mode. Raises BadInput: a pickle, other networks, weights that
    are missing, of other shapes, or not finite."""
    stated = stated or Stated()
    tensors = {
        name.removeprefix(PREFIX): tensor.to(torch.float32)
        for name, tensor in tensors_file.weights_of(path).items()
        if not _UNUSED.search(name.removeprefix(PREFIX))
    }
    where = str(path)
    layout = layout_of(tensors, where=where)
    network = UNet(layout)
    if wrong := tensors_file.misfit(tensors, network.state_dict()):
        raise BadInput(f"not a network of EDM's that is read here: {wrong}", where=where, hint=_HINT)
    network.load_state_dict(tensors)
    facts = TeacherFacts(
        channels=layout.channels, side=layout.side, classes=layout.classes, sigma_data=stated.sigma_data,
        least_sigma=stated.least_sigma, most_sigma=stated.most_sigma,
    )  # fmt: skip
    return NetworkTeacher(network, facts).eval()


def looks_like(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the names are EDM's."""
    names = {name.removeprefix(PREFIX) for name in tensors}
    return "map_layer0.weight" in names and any(_KEY.match(name) for name in names)


def layout_of(tensors: Mapping[str, Tensor], *, where: str) -> UNetLayout:
    """The layout that names and shapes tell. Raises BadInput."""
    if beyond := [name for name in tensors if any(part in name for part in _BEYOND)]:
        raise BadInput(f"{beyond[0]} is of NCSN++, whose residual pyramids are not read here", where=where, hint=_HINT)
    try:
        return _layout(tensors)
    except (KeyError, StopIteration, IndexError, ValueError) as exc:
        raise BadInput(f"not a network of EDM's: {type(exc).__name__} {exc}", where=where, hint=_HINT) from exc


def _layout(tensors: Mapping[str, Tensor]) -> UNetLayout:
    keys = list(dict.fromkeys((found[1], found[2]) for found in map(_KEY.match, tensors) if found))
    sides = sorted({int(key.split("x")[0]) for _, key in keys}, reverse=True)
    if not sides or any(a != 2 * b for a, b in itertools.pairwise(sides)):
        raise ValueError(f"sides {sides} are not halves of each other")
    base = tensors["map_layer0.weight"].shape[1]
    if tensors["map_layer0.weight"].shape[0] != 4 * base:
        raise ValueError("the embedding is not four times as wide as the waves")
    form: Form = "dhariwal" if "out_conv.weight" in tensors else "song"
    first = tensors[f"enc.{sides[0]}x{sides[0]}_{FIRST}.weight"]
    classes = tensors["map_label.weight"].shape[1] if "map_label.weight" in tensors else 0
    blocks = {
        part: tuple(_block(tensors, part, key) for key in _in_order(part, [k for p, k in keys if p == part], sides))
        for part in ("enc", "dec")
    }
    return UNetLayout(
        form=form, channels=first.shape[1], side=sides[0], base=base, first=first.shape[0], encoder=blocks["enc"],
        decoder=blocks["dec"], classes=classes,
    )  # fmt: skip


def _in_order(part: str, keys: list[str], sides: list[int]) -> list[str]:
    """Blocks of the encoder or decoder as a pass takes them: state dicts may be sorted by name."""
    down = part == "enc"

    def rank(key: str) -> tuple[int, int, int]:
        side, kind = key.split("_", 1)
        at = sides.index(int(side.split("x")[0]))
        number = int(re.sub(r"\D", "", kind) or 0)
        early = 0 if kind in (DOWN, UP) or kind.startswith("in") else 1
        return at if down else -at, early, number

    return sorted((key for key in keys if not key.endswith((f"_{FIRST}", "_aux_norm", "_aux_conv"))), key=rank)


def _block(tensors: Mapping[str, Tensor], part: str, key: str) -> BlockLayout:
    after, before = tensors[f"{part}.{key}.conv0.weight"].shape[:2]
    change = 0.5 if key.endswith(f"_{DOWN}") else 2.0 if key.endswith(f"_{UP}") else 1.0
    return BlockLayout(
        key=key, before=before, after=after, change=change, attention=f"{part}.{key}.qkv.weight" in tensors
    )
