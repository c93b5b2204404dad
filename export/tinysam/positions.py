"""Position tables of SAM's ViT at another image size: resized once, when weights load. Knows no file and no graph."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional

from edge_sdk.export.tinysam.layout import VitLayout

PREFIX = "image_encoder."


def resized(state: Mapping[str, Tensor], layout: VitLayout) -> dict[str, Tensor]:
    """The weights of a whole network with the tables that `layout`'s image size needs.

    `pos_embed` bicubic with antialiasing, the tables of the blocks without windows linearly; what fits stays as it is.
    Published code has no rule for other sizes: the linear one is what its own look-up does for tables that don't fit.
    """
    tables = {f"{PREFIX}blocks.{block}.attn.rel_pos_{axis}" for block in layout.whole for axis in "hw"}
    new = dict(state)
    for name in tables:
        new[name] = _linear(state[name], 2 * layout.grid - 1)
    name = f"{PREFIX}pos_embed"
    new[name] = _bicubic(state[name], layout.grid)
    return new


def _linear(table: Tensor, length: int) -> Tensor:
    """(n, C) -> (length, C)."""
    if table.shape[0] == length:
        return table
    rows = functional.interpolate(table.float().T[None], size=length, mode="linear", align_corners=False)
    return rows[0].T.contiguous()


def _bicubic(table: Tensor, side: int) -> Tensor:
    """(1, h, w, C) -> (1, side, side, C)."""
    if table.shape[1:3] == (side, side):
        return table
    planes = functional.interpolate(
        table.float().permute(0, 3, 1, 2), size=(side, side), mode="bicubic", antialias=True, align_corners=False
    )
    return planes.permute(0, 2, 3, 1).contiguous()
