"""The result for one picture: score, verdict, map and regions in the caller's pixels. Knows no runtime."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_sdk.decision.threshold import Verdict
from edge_sdk.preprocess import Geometry, Grid
from edge_sdk.shown import shown
from edge_sdk.tasks.images import Source
from edge_sdk.tasks.picture_result import PictureResult
from edge_sdk.tasks.plots import write_plot


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """One connected area above the map threshold. box: (x0, y0, x1, y1), px of the caller's picture, ends exclusive.

    area_px: pixels. peak: highest map value inside.
    """

    box: tuple[int, int, int, int]
    area_px: int
    peak: float


@dataclass(frozen=True, kw_only=True, eq=False)
class AnomalyResult(PictureResult):
    """One picture's answer. score: raw, higher = more anomalous, not clamped. verdict: by the bundle's decision.

    cells: float32 (tiles, h, w), the graph's own map. `map` and `regions` are made from it when first asked for.
    """

    score: float
    verdict: Verdict
    cells: NDArray[np.float32]
    grid: Grid
    geometry: Geometry

    def __repr__(self) -> str:
        limit = "no threshold" if self.verdict.threshold is None else f"threshold {self.verdict.threshold:.6g}"
        size = f"{self.geometry.width} x {self.geometry.height} px"
        return (
            f"<AnomalyResult {self.verdict.label}: score {self.score:.6g}, {limit}, {self.source or 'picture'}, {size}>"
        )

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture, px."""
        return self.geometry.width, self.geometry.height

    @property
    def is_defect(self) -> bool:
        """True if the verdict is "defect"; False also where there is no threshold (see `verdict.label`)."""
        return self.verdict.label == "defect"

    @cached_property
    def map(self) -> NDArray[np.float32]:
        """float32 (H, W) of the caller's picture: anomaly by pixel, in the score's unit. Read-only."""
        out = self.geometry.back_map(self.cells, self.grid)
        out.setflags(write=False)
        return out

    @cached_property
    def regions(self) -> tuple[Region, ...]:
        """Areas of `map` above the decision's threshold, largest peak first; none where the verdict is not "defect": a
        good part's highest cells may pass a threshold that its score does not."""
        if self.verdict.threshold is None or not self.is_defect:
            return ()
        return regions_above(self.map, self.verdict.threshold)

    def to_json(self, *, with_map: bool = False) -> str:
        """One JSON object. with_map: also the cells, base64 of little-endian float32."""
        out: dict[str, Any] = {
            "source": self.source,
            "score": self.score,
            "verdict": {
                "label": self.verdict.label, "threshold": self.verdict.threshold, "record": self.verdict.record,
            },
            "notes": list(self.notes),
            "picture": {"width": self.geometry.width, "height": self.geometry.height},
            "regions": [{"box": list(r.box), "area_px": r.area_px, "peak": r.peak} for r in self.regions],
            "ran": self.ran.to_json(),
        }  # fmt: skip
        if with_map:
            data = np.ascontiguousarray(self.cells, "<f4").tobytes()
            out["cells"] = {"shape": list(self.cells.shape), "float32": base64.b64encode(data).decode("ascii")}
        return json.dumps(out, ensure_ascii=False, allow_nan=False)

    def plot(self, picture: Source | None = None, *, top: float | None = None) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) RGB: the picture with the map laid over it and regions boxed.

        picture: the one that was predicted, as `predict` takes it, arrays RGB; None = read again from `file`. top: map
        value shown in full colour; default: twice the threshold, or the map's own maximum without one. Raises BadInput:
        None, and the picture did not come from a file; what is no picture; one of another size.
        """
        return overlay(self.background(picture), self.map, self.regions, threshold=self.verdict.threshold, top=top)

    def line(self) -> str:
        """Verdict, score, picture, the strongest regions and notes."""
        regions = ", ".join(
            f"{r.box[2] - r.box[0]}x{r.box[3] - r.box[1]} px at ({r.box[0]}, {r.box[1]})" for r in self.regions[:3]
        )
        more = f" and {len(self.regions) - 3} more" if len(self.regions) > 3 else ""
        notes = "".join(f" [{n}]" for n in self.notes)
        return f"{self.verdict.label:9s} {self.score:9.4f}  {shown(self.source)}  {regions}{more}{notes}".rstrip()

    def save(self, path: Path | str, picture: Source | None = None) -> None:
        """`plot` to a PNG or JPEG file, by its suffix. Raises BadInput: another suffix, and as `plot`; CantWrite."""
        write_plot(Path(path), lambda: self.plot(picture))


def regions_above(anomaly_map: NDArray[np.float32], threshold: float) -> tuple[Region, ...]:
    """8-connected areas of (H, W) `anomaly_map` that are > threshold, largest peak first."""
    mask = (anomaly_map > threshold).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    found = []
    for i in range(1, count):
        x, y, w, h, area = (int(v) for v in stats[i])
        inside = labels[y : y + h, x : x + w] == i
        peak = float(anomaly_map[y : y + h, x : x + w][inside].max())
        found.append(Region(box=(x, y, x + w, y + h), area_px=area, peak=peak))
    return tuple(sorted(found, key=lambda r: -r.peak))


def overlay(
    picture: NDArray[np.uint8],
    anomaly_map: NDArray[np.float32],
    regions: tuple[Region, ...],
    *,
    threshold: float | None,
    top: float | None,
) -> NDArray[np.uint8]:
    """The picture in grey, heat where the map is above half the threshold, a box around each region."""
    high = top if top is not None else (2.0 * threshold if threshold and threshold > 0 else float(anomaly_map.max()))
    low = 0.5 * threshold if threshold and threshold > 0 else 0.0
    heat = np.clip((anomaly_map - low) / max(high - low, 1e-9), 0.0, 1.0)
    colour = cv2.applyColorMap((heat * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[:, :, ::-1]
    alpha = (0.75 * np.sqrt(heat))[:, :, None]
    out = np.ascontiguousarray(np.rint(picture * (1 - alpha) + colour * alpha), np.uint8)
    thick = max(1, round(max(out.shape[:2]) / 300))
    for r in regions:
        cv2.rectangle(out, (r.box[0], r.box[1]), (r.box[2] - 1, r.box[3] - 1), (255, 40, 40), thick)
    return out
