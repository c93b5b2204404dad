"""Reads published weights by name and strictly: TinySAM, MobileSAM, SAM ViT-B, L and H. Knows no training.

Which network a file holds follows from its keys, but TinySAM and MobileSAM have the same keys and shapes: nobody can
tell them apart, so whoever names the file names the model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from edge_sdk.errors import BadInput, NotThere
from edge_sdk.export import tensors_file
from edge_sdk.export.tinysam.layout import ENCODERS, IMAGE_SIZE, SamLayout, VitLayout
from edge_sdk.export.tinysam.positions import resized
from edge_sdk.export.tinysam.sam import Sam
from edge_sdk.shown import shown

UNUSED = (
    ("of a classifier that never runs", re.compile(r"image_encoder\.(norm_head|head)\.(weight|bias)")),
    ("a count of training steps", re.compile(r"image_encoder\..*\.num_batches_tracked")),
    ("a table that follows from the window", re.compile(r"image_encoder\..*\.attention_bias_idxs")),
    ("a cache of the bias tables", re.compile(r"image_encoder\..*\.ab")),
    ("of the pictures' preprocessing", re.compile(r"pixel_(mean|std)")),
)
"""Keys that a file may hold and no network of ours takes, and what they are."""
_TINY, _VIT = "image_encoder.patch_embed.seq.0.c.weight", "image_encoder.patch_embed.proj.weight"
_LAST_QKV = "image_encoder.layers.3.blocks.0.attn.qkv.weight"
_VITS = {768: "sam-vit-b", 1024: "sam-vit-l", 1280: "sam-vit-h"}
_TINY_QKV = {960: "5M", 1344: "11M", 1728: "21M"}
_OTHERS = (
    (re.compile(r"mask_decoder\.(hf_token|compress_vit_feat|hf_mlp)"), "HQ-SAM"),
    (re.compile(r"image_encoder\.trunk\.|memory_(attention|encoder)\."), "SAM 2"),
    (re.compile(r"patch_embed\.seq\.0\.c\.weight|layers\.0\.blocks\.0\.conv1\."), "a TinyViT classifier"),
)
"""Keys by which other families are known, and their names."""
_HINT = "Name the file of TinySAM, MobileSAM or SAM (ViT-B, L, H) as its authors publish it"
_PICKLED = (
    "Q-TinySAM is published in this form: quantize the float file (tinysam.pth) instead. Of another network, save the "
    "state_dict() where you trust it"
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Published:
    """net: in evaluation mode. encoder: a key of `ENCODERS`. unused: keys of the file that were not taken, by kind, in
    words; resized: whether position tables were made for another image size than the weights were trained at."""

    net: Sam
    encoder: str
    unused: tuple[str, ...] = ()
    resized: bool = False


def load(path: Path, *, image_size: int = IMAGE_SIZE) -> Published:
    """The network in `path`, for frames of `image_size` px. Raises NotThere, or BadInput that names what is wrong."""
    if not path.is_file():
        raise NotThere("the file of weights does not exist", where=str(path), hint=_HINT)
    state = _plain(tensors_file.weights_of(path, mapped=True, if_pickled=_PICKLED))
    encoder = encoder_in(state, where=str(path))
    layout = SamLayout(encoder=ENCODERS[encoder])
    unused = check(state, layout, where=str(path))
    here = layout.at(image_size)
    old = isinstance(here.encoder, VitLayout) and here != layout
    if isinstance(here.encoder, VitLayout):
        state = resized(state, here.encoder)
    net = Sam(here)
    net.load_state_dict({name: state.get(name, mine) for name, mine in net.state_dict().items()})
    return Published(net=net.eval(), encoder=encoder, unused=unused, resized=old)


def encoder_in(state: Mapping[str, Tensor], *, where: str) -> str:
    """Which of `ENCODERS` these weights hold. Raises BadInput for every other family."""
    for pattern, family in _OTHERS:
        if found := next((name for name in state if pattern.match(name)), None):
            raise BadInput(f"this is {family} (it holds {shown(found)}), another network", where=where, hint=_HINT)
    if _TINY in state:
        rows = _rows(state, _LAST_QKV, rank=2, where=where) if _LAST_QKV in state else 960
        if rows != 960:
            known = f"TinyViT-{_TINY_QKV[rows]}" if rows in _TINY_QKV else "an unknown TinyViT"
            raise BadInput(
                f"its encoder is {known} ({rows} rows in {_LAST_QKV}), not TinyViT-5M", where=where, hint=_HINT
            )
        return "tinyvit-5m"
    if _VIT in state:
        rows = _rows(state, _VIT, rank=4, where=where)
        if rows not in _VITS:
            raise BadInput(f"its encoder is {rows} wide, which no ViT of SAM is", where=where, hint=_HINT)
        return _VITS[rows]
    first = next(iter(state), None)
    what = f"its first key is {shown(first)}" if first is not None else "it is empty"
    raise BadInput(f"no encoder of TinySAM, MobileSAM or SAM is in it: {what}", where=where, hint=_HINT)


def check(state: Mapping[str, Tensor], layout: SamLayout, *, where: str) -> tuple[str, ...]:
    """The kinds of keys in `state` that are not used, in words. Raises BadInput: a key is missing or unknown, a weight
    has another shape or type than the network's, or is not finite."""
    with torch.device("meta"):  # shapes alone: ViT-H has 2.5 GB of weights
        wanted = Sam(layout).state_dict()
    missing = [name for name in wanted if name not in state and not name.endswith(".num_batches_tracked")]
    if missing:
        what = f"{len(missing)} of its {len(wanted)} keys are missing, the first is {missing[0]}"
        raise BadInput(what, where=where, hint="Copy the file again, or name the whole network's")
    for name, mine in wanted.items():
        if name in state and (wrong := tensors_file.unlike(state[name], mine)):
            raise BadInput(f"{name} {wrong}", where=where, hint=_HINT)
    extra = [name for name in state if name not in wanted]
    unknown = [name for name in extra if not any(pattern.fullmatch(name) for _, pattern in UNUSED)]
    if unknown:
        what = f"{len(unknown)} keys belong to no network known here, the first is {shown(unknown[0])}"
        raise BadInput(what, where=where, hint=_HINT)
    if bad := next((name for name in wanted if name in state and not tensors_file.is_finite(state[name])), ""):
        raise BadInput(f"{bad} holds NaN or infinity", where=where, hint="Copy the file again")
    counted = ((kind, sum(bool(pattern.fullmatch(name)) for name in extra)) for kind, pattern in UNUSED)
    return tuple(f"{number} keys: {kind}" for kind, number in counted if number)


def _rows(state: Mapping[str, Tensor], name: str, *, rank: int, where: str) -> int:
    """The first size of a weight that has `rank` axes in every network known here."""
    shape = tuple(state[name].shape)
    if len(shape) != rank:
        raise BadInput(f"{name} has the shape {shape}, not one of {rank} axes", where=where, hint=_HINT)
    return shape[0]


def _plain(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Without the prefix that training on several GPUs leaves."""
    prefix = "module."
    if state and all(name.startswith(prefix) for name in state):
        return {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state
