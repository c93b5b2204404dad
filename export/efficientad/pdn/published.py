"""Reads PDN teachers from files: our own, and published ones in both spellings of their keys. Knows no loss.

Spellings of the same tensors: "0.weight", "3.weight", ... (indices of an nn.Sequential), "conv1.weight",
"conv2.weight", ..., and the latter inside a Lightning checkpoint, as "model.teacher.conv1.weight".
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edge_sdk import atomic
from edge_sdk.errors import BadInput, NotThere
from edge_sdk.export import tensors_file
from edge_sdk.export.efficientad.pdn.network import Pdn, PdnLayout, PdnSize

OURS = Path(__file__).resolve().parents[1] / "weights" / "pdn_s_teacher.safetensors"
"""A PDN-S teacher, taken where no file is named. benchmarks/distill_teacher.py makes it, and writes beside it as .json
what it was taught on, for how long, and how well it does."""

_KEY = re.compile(r"(?:(?:model\.)?teacher\.)?(?:conv)?(\d+)\.(weight|bias)")
_OTHERS = ("student.", "ae.", "mean_std.", "quantiles.")
_SIZES: dict[int, PdnSize] = {4: "s", 6: "m"}


def load_teacher(path: Path | None = None, *, padding: bool = False) -> Pdn:
    """The teacher in `path` (None: `OURS`), in eval mode, frozen; size and widths follow from the tensors.

    padding: how it shall run; the weights are the same. Raises NotThere or BadInput, naming the file and the tensor.
    """
    path = path or OURS
    if not path.is_file():
        raise NotThere("there is no such teacher file", where=str(path), hint="Name a teacher's weights file")
    pairs = _convolutions(tensors_file.weights_of(path), str(path))
    layout = _layout(pairs, str(path), padding=padding)
    teacher = Pdn(layout)
    with torch.no_grad():
        for module, (weight, bias) in zip(teacher.convolutions, pairs, strict=True):
            module.weight.copy_(weight)
            assert module.bias is not None
            module.bias.copy_(bias)
    return teacher.requires_grad_(False).eval()


def save_teacher(teacher: Pdn, path: Path, *, provenance: Mapping[str, Any]) -> None:
    """Writes `path` (safetensors, float16) and `path`.json. Raises BadInput if a weight does not fit into float16."""
    tensors = {name: tensor.detach().to(torch.float16) for name, tensor in teacher.state_dict().items()}
    beyond = [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]
    if beyond:
        raise BadInput(f"{beyond[0]} holds values that float16 can't hold", where=str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors_file.write(path, tensors)
    facts = {**provenance, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    atomic.write(path.with_suffix(".json"), json.dumps(facts, indent=1, default=str) + "\n")


def _convolutions(state: Mapping[str, Tensor], where: str) -> list[tuple[Tensor, Tensor]]:
    """(weight, bias) of conv1, conv2, ... : the k-th number is the k-th convolution, in every spelling."""
    norms = [name for name in state if re.search(r"(^|\.)bn\d*\.|running_mean", name)]
    if norms:
        raise BadInput(
            f"this is a PDN with batch norms ({norms[0]}); only the plain networks are supported", where=where,
            hint="Use weights that were trained without batch norms",
        )  # fmt: skip
    found: dict[int, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        match = _KEY.fullmatch(name)
        if match is not None:
            found.setdefault(int(match[1]), {})[match[2]] = tensor
        elif not name.removeprefix("model.").startswith(_OTHERS):
            raise BadInput(f"{name} belongs to no PDN", where=where, hint="Name a teacher's weights file")
    for number, pair in sorted(found.items()):
        if len(pair) != 2:
            raise BadInput(f"convolution {number} has no {'bias' if 'weight' in pair else 'weight'}", where=where)
    if len(found) not in _SIZES:
        raise BadInput(
            f"{len(found)} convolutions: PDN-S has 4, PDN-M has 6", where=where, hint="Name a teacher's file"
        )
    return [(found[number]["weight"], found[number]["bias"]) for number in sorted(found)]


def _layout(pairs: list[tuple[Tensor, Tensor]], where: str, *, padding: bool) -> PdnLayout:
    size = _SIZES[len(pairs)]
    outputs = [int(bias.shape[0]) if bias.ndim == 1 else 0 for _, bias in pairs]
    inner = tuple(outputs[:3] if size == "s" else outputs[:4])
    if min(outputs) < 1:
        raise BadInput("a bias is not a vector", where=where, hint="Name a teacher's weights file")
    layout = PdnLayout(size=size, channels=outputs[-1], inner=inner, padding=padding)
    for number, (layer, (weight, bias)) in enumerate(zip(layout.layers, pairs, strict=True), start=1):
        want = (layer.outputs, layer.inputs, layer.kernel, layer.kernel)
        if tuple(weight.shape) != want or tuple(bias.shape) != want[:1]:
            raise BadInput(
                f"convolution {number} of a PDN-{size.upper()} has weights {want}, the file has {tuple(weight.shape)}",
                where=where, hint="Name a teacher's weights file",
            )  # fmt: skip
        if not (bool(torch.isfinite(weight).all()) and bool(torch.isfinite(bias).all())):
            raise BadInput(f"convolution {number} holds NaN or infinity", where=where, hint="Copy the file again")
    return layout
