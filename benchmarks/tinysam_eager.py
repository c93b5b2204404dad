"""SAM's own pipeline as PyTorch runs it, eagerly: what TinySAM is compared with. Knows no bundle and no runtime.

The networks are edge_sdk's, which equal the official ones number by number (tests/tinysam); before and behind them
everything is done as segment-anything and TinySAM do it (`SamPredictor`, `Sam.postprocess_masks`,
`SamAutomaticMaskGenerator` with `utils/amg.py`): PIL's resize, the embedding repeated for each prompt, all three masks
of each prompt brought to the picture in two interpolations, and then the filters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from edge_sdk.export.tinysam.sam import Sam, normalised

POINT, PADDING, TOP_LEFT, BOTTOM_RIGHT = 1, -1, 2, 3


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Of the automatic mask generator, by segment-anything's names."""

    pred_iou_thresh: float
    stability_score_thresh: float
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7


class Eager:
    """One network and the picture that was set last. repeated: embedding and all for each prompt, as the official code
    does; False = the form that our graphs use too, which is faster."""

    def __init__(self, net: Sam, *, repeated: bool = True) -> None:
        self._net, self._side, self._repeated = net, net.layout.image_size, repeated
        self._embedding = torch.empty(0)
        self._size, self._extent = (0, 0), (0, 0)

    def set_image(self, picture: NDArray[np.uint8]) -> None:
        """uint8 RGB (h, w, 3): resized by PIL, normalised, padded, encoded."""
        h, w = self._size = picture.shape[0], picture.shape[1]
        scale = self._side / max(h, w)
        self._extent = int(h * scale + 0.5), int(w * scale + 0.5)
        small = Image.fromarray(picture).resize(self._extent[::-1], Image.Resampling.BILINEAR)
        with torch.inference_mode():
            self._embedding = self._net.encode(normalised(torch.from_numpy(np.array(small))[None], self._side))

    def box(self, box: NDArray[np.float64]) -> NDArray[np.bool_]:
        """bool (h, w): of the three masks of a box x0, y0, x1, y1 that with the highest predicted IoU."""
        with torch.inference_mode():
            corners = self._placed(torch.from_numpy(box.reshape(1, 2, 2)))
            logits, iou = self._decoded(corners, torch.tensor([[TOP_LEFT, BOTTOM_RIGHT]]))
            masks = self._at_full_size(logits) > 0.0
            return np.asarray(masks[0].numpy()[int(iou[0].argmax())])

    def points(self, points: NDArray[np.float64], *, every: bool = False) -> NDArray[np.bool_]:
        """bool (n, h, w): the same for each of (n, 2) points. every: all three masks instead, (n, 3, h, w)."""
        with torch.inference_mode():
            logits, iou = self._of_points(torch.from_numpy(points))
            masks = (self._at_full_size(logits) > 0.0).numpy()
            if every:
                return np.asarray(masks)
            return np.asarray(masks[np.arange(len(masks)), iou.argmax(1).numpy()])

    def everything(
        self, points_per_side: int, *, batch: int = 64, thresholds: Thresholds
    ) -> tuple[list[dict[str, Any]], int]:
        """Records of the masks, and how many there were before suppression: `SamAutomaticMaskGenerator` without crops,
        with run-length encodings."""
        along = (np.arange(points_per_side) + 0.5) / points_per_side
        grid = np.stack(np.meshgrid(along, along), axis=-1).reshape(-1, 2) * self._size[::-1]
        kept: list[dict[str, Any]] = []
        with torch.inference_mode():
            for start in range(0, len(grid), batch):
                kept += self._batch(torch.from_numpy(grid[start : start + batch]), thresholds)
        boxes = np.array([one["box"] for one in kept], np.float64).reshape(-1, 4)
        stay = nms(boxes, np.array([one["predicted_iou"] for one in kept]), thresholds.box_nms_thresh)
        return [kept[index] for index in stay], len(kept)

    def _batch(self, points: Tensor, thresholds: Thresholds) -> list[dict[str, Any]]:
        logits, iou = self._of_points(points)
        masks, scores = self._at_full_size(logits).flatten(0, 1), iou.flatten()
        at = points.repeat_interleave(logits.shape[1], dim=0)
        keep = scores > thresholds.pred_iou_thresh
        masks, scores, at = masks[keep], scores[keep], at[keep]
        stable = stability(masks, thresholds.stability_score_offset)
        keep = stable >= thresholds.stability_score_thresh
        masks, scores, at, stable = masks[keep], scores[keep], at[keep], stable[keep]
        pixels = masks > 0.0
        boxes, runs = boxes_of(pixels), rles(pixels)
        rows = zip(runs, boxes.tolist(), scores.tolist(), stable.tolist(), at.tolist(), strict=True)
        return [
            {"rle": rle, "area": sum(rle["counts"][1::2]), "box": box, "predicted_iou": score,
             "stability_score": stable_, "point": point}
            for rle, box, score, stable_, point in rows
        ]  # fmt: skip

    def _of_points(self, points: Tensor) -> tuple[Tensor, Tensor]:
        placed = self._placed(points[:, None])
        tokens = torch.cat([placed, torch.zeros_like(placed)], dim=1)
        return self._decoded(tokens, torch.tensor([[POINT, PADDING]]).repeat(len(points), 1))

    def _placed(self, xy: Tensor) -> Tensor:
        """Picture px to frame px."""
        scales = torch.tensor([self._extent[1] / self._size[1], self._extent[0] / self._size[0]])
        return (xy * scales).float()

    def _decoded(self, tokens: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (n, 3, m, m) and predicted IoU (n, 3) of masks 1 to 3: TinySAM's `multimask_output`, always on."""
        embedding = self._embedding.repeat_interleave(len(tokens), dim=0) if self._repeated else self._embedding
        found = self._net.decode(embedding, tokens, labels)
        return found.masks[:, 1:], found.iou[:, 1:]

    def _at_full_size(self, logits: Tensor) -> Tensor:
        """`Sam.postprocess_masks`."""
        frame, (h, w) = (self._side, self._side), self._extent
        framed = functional.interpolate(logits, frame, mode="bilinear", align_corners=False)
        return functional.interpolate(framed[..., :h, :w], self._size, mode="bilinear", align_corners=False)


def stability(masks: Tensor, offset: float) -> Tensor:
    """`calculate_stability_score` of logits (n, h, w), with its types; NaN of an empty mask, which passes nowhere."""
    inner, outer = (
        (masks > level).sum(-1, dtype=torch.int16).sum(-1, dtype=torch.int32) for level in (offset, -offset)
    )
    return inner / outer


def boxes_of(masks: Tensor) -> Tensor:
    """`batched_mask_to_box` of bool (n, h, w): int64 (n, 4), first and last column and row; zeros of an empty mask."""
    if not masks.numel():
        return torch.zeros(len(masks), 4, dtype=torch.int64)
    h, w = masks.shape[-2:]
    rows, columns = masks.max(dim=-1).values, masks.max(dim=-2).values
    down, across = rows * torch.arange(h)[None], columns * torch.arange(w)[None]
    bottom, right = down.max(dim=-1).values, across.max(dim=-1).values
    top, left = (down + h * ~rows).min(dim=-1).values, (across + w * ~columns).min(dim=-1).values
    empty = (right < left) | (bottom < top)
    return torch.stack([left, top, right, bottom], dim=-1) * ~empty[:, None]


def rles(masks: Tensor) -> list[dict[str, Any]]:
    """`mask_to_rle_pytorch` of bool (n, h, w)."""
    n, h, w = masks.shape
    flat = masks.permute(0, 2, 1).flatten(1)
    changes = (flat[:, 1:] ^ flat[:, :-1]).nonzero()
    out = []
    for i in range(n):
        at = changes[changes[:, 0] == i, 1]
        at = torch.cat([torch.zeros(1, dtype=at.dtype), at + 1, torch.full((1,), h * w, dtype=at.dtype)])
        counts = [] if flat[i, 0] == 0 else [0]
        out.append({"size": [h, w], "counts": counts + (at[1:] - at[:-1]).tolist()})
    return out


def nms(boxes: NDArray[np.float64], scores: NDArray[np.float64], threshold: float) -> list[int]:
    """Which of (n, 4) boxes stay, best first: torchvision's greedy rule, area without the last pixel."""
    order, stay = np.argsort(-scores, kind="stable"), []
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    while len(order):
        first, rest = order[0], order[1:]
        stay.append(int(first))
        low, high = np.maximum(boxes[first, :2], boxes[rest, :2]), np.minimum(boxes[first, 2:], boxes[rest, 2:])
        shared = np.clip(high - low, 0, None).prod(1)
        both = areas[first] + areas[rest] - shared
        order = rest[shared <= threshold * both]
    return stay
