"""Tiny networks of diffusers' with random weights, in folders as diffusers itself writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

diffusers = pytest.importorskip(
    "diffusers", reason='no network of diffusers\' can be made, nothing is shown of them: pip install ".[diffusers]"'
)
PLAIN: dict[str, Any] = {
    "sample_size": 8, "in_channels": 1, "out_channels": 1, "block_out_channels": (8, 8), "layers_per_block": 1,
    "norm_num_groups": 4, "down_block_types": ("DownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "UpBlock2D"), "attention_head_dim": 4,
}  # fmt: skip


def network(**changed: Any) -> Any:
    """A UNet2DModel whose answers are small: a teacher that is nowhere near a denoiser is refused."""
    torch.manual_seed(3)
    net = diffusers.UNet2DModel(**{**PLAIN, **changed}).eval()
    with torch.no_grad():
        for one in net.parameters():
            one.add_(torch.randn(one.shape) * 0.05)
        net.conv_out.weight.mul_(0.5)
    return net


def folder_of(path: Path, *, scheduler: dict[str, Any] | None = None, **changed: Any) -> Path:
    """A pipeline's folder: unet/ and scheduler/."""
    network(**changed).save_pretrained(path / "unet")
    diffusers.DDPMScheduler(**(scheduler or {})).save_pretrained(path / "scheduler")
    return path


def rewritten(path: Path, **changed: Any) -> None:
    """Changes fields of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
