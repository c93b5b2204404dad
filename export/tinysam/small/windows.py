"""Windows around prompts, and resampling between them and the frame by matrix products. Knows no network.

A window is (x0, y0, x1, y1) in px of the frame, continuous; it may reach beyond the frame, where everything is zero.
Resampling is separable: two products with matrices of triangle weights. Every runtime has that operator, it takes
a batch of windows of one picture without repeating the picture, and a window larger than its grid is antialiased.
"""

from __future__ import annotations

import torch
from torch import Tensor

BOX_SCALES = (1.15, 1.35, 1.7)
"""Sides of the windows of a box prompt, in sides of the box."""
GUESS_SCALE = 1.35
"""Sides of a point prompt's first window, in sides of the box that is guessed from what lies under the point."""
POINT_SCALES = (0.45, 1.0)
"""Sides of its further windows, in sides of the frame: the second looks at what a wrong guess leaves out, the third at
the whole picture. They are moved into the picture and cut to its size: a long thing that is clicked at its end would
need a window of twice its length around the point, in which it is thinner than a cell."""
LEAST_PX = 12.0
"""Shortest side of a window, px of the frame: below it a window holds too few cells of the finest features."""
LEAST_ASPECT = 0.35
"""Shortest side of a window, in its longest: thin boxes need context beside them."""
MARGIN = 32
"""Cells beyond each end of a row that are counted: twice what the widest triangle reaches, 1.9 frames on 64 cells."""
LEAST_SUM = 1e-3
"""Smallest sum of triangles that is divided by: a cell so far outside that no triangle reaches it has 0, not NaN."""
SPREAD = 1.6
"""Sides of a window over several points at least, in the spread of the points."""


def around(box: Tensor, scale: Tensor) -> Tensor:
    """Windows (..., 4) around boxes (..., 4), their sides `scale` times the box's."""
    sides = box[..., 2:] - box[..., :2]
    longest = sides.amax(-1, keepdim=True)
    sides = torch.maximum(sides, LEAST_ASPECT * longest) * scale.unsqueeze(-1)
    return centred((box[..., :2] + box[..., 2:]) / 2, sides)


def centred(centre: Tensor, sides: Tensor) -> Tensor:
    """Windows (..., 4) of given centres (..., 2) and sides (..., 2), px."""
    half = sides.clamp(min=LEAST_PX) / 2
    return torch.cat([centre - half, centre + half], -1)


def fitted(centre: Tensor, sides: Tensor, extent: Tensor) -> Tensor:
    """Windows (..., 4) of centres (..., 2) and sides (..., 2), no larger than the picture and moved into it. extent:
    (..., 2) = height and width of the picture in its frame, px."""
    reach = extent.flip(-1)
    sides = torch.minimum(sides, reach)
    return centred(torch.minimum(torch.maximum(centre, sides / 2), reach - sides / 2), sides)


def weights(low: Tensor, high: Tensor, cells: int, length: int, stride: float) -> Tensor:
    """Triangle weights (..., cells, length) from a row of `length` feature cells of `stride` px to `cells` cells of a
    window from `low` to `high` (...), px. Rows sum to 1 inside the frame, to less beyond its rim."""
    step = ((high - low) / cells).unsqueeze(-1)
    at = low.unsqueeze(-1) + (torch.arange(cells, dtype=low.dtype, device=low.device) + 0.5) * step
    return _triangles(at / stride - 0.5, step / stride, length)  # the centre of feature cell i is at i


def _triangles(where: Tensor, step: Tensor, length: int) -> Tensor:
    """Weights (..., cells, length) of the cells 0 to length - 1 for centres `where` (..., cells), as wide as `step`.

    The sum of a triangle over whole numbers varies by a tenth, so it is divided by: over cells beyond both ends, too,
    for what lies there counts as zero.
    """
    width = step.clamp(min=1.0).unsqueeze(-1)
    here = torch.arange(-MARGIN, length + MARGIN, dtype=where.dtype, device=where.device)
    every = torch.relu(1.0 - (here - where.unsqueeze(-1)).abs() / width)
    total = every.sum(-1, keepdim=True).clamp(min=LEAST_SUM)
    return every[..., MARGIN : MARGIN + length] / total


def sample(features: Tensor, window: Tensor, cells: int, stride: float) -> Tensor:
    """Features (B, C, h, w) in windows (B, Q, 4): (B, Q, C, cells, cells)."""
    down = weights(window[..., 1], window[..., 3], cells, features.shape[-2], stride)
    across = weights(window[..., 0], window[..., 2], cells, features.shape[-1], stride)
    b, q = window.shape[:2]
    c, h, w = features.shape[1:]
    rows = down.reshape(b, q * cells, h) @ features.transpose(1, 2).reshape(b, h, c * w)
    rows = rows.reshape(b, q, cells, c, w).transpose(2, 3).reshape(b, q, c * cells, w)
    return (rows @ across.transpose(-1, -2)).reshape(b, q, c, cells, cells)


def place(masks: Tensor, window: Tensor, cells: int, side: float) -> Tensor:
    """Masks (B, Q, m, m) of windows (B, Q, 4) on a grid of cells x cells over the frame of `side` px: bilinear, or
    averaged where the frame's grid is coarser; 0 outside the window. (B, Q, cells, cells)."""
    m = masks.shape[-1]
    step = side / cells
    down = _into(window[..., 1], window[..., 3], m, cells, step)
    across = _into(window[..., 0], window[..., 2], m, cells, step)
    return down @ masks @ across.transpose(-1, -2)


def _into(low: Tensor, high: Tensor, m: int, cells: int, step: float) -> Tensor:
    """Weights (..., cells, m) from a window's m cells to `cells` cells of `step` px."""
    span = ((high - low) / m).unsqueeze(-1)
    at = (torch.arange(cells, dtype=low.dtype, device=low.device) + 0.5) * step
    return _triangles((at - low.unsqueeze(-1)) / span - 0.5, step / span, m)
