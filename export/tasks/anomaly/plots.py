"""Drawings of scores for the report: histogram and ROC. Knows scores and labels; no model, no file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_sdk.export.drawing import COLOURS, LEFT, SQUARE, TOP, WIDE, colour, text, ticks


def histogram(scores: Mapping[str, NDArray[np.float64]], threshold: float | None, *, bins: int = 32) -> str:
    """Counts of raw scores by label, side by side, the threshold as a line. The score axis is linear near 0 and
    logarithmic beyond, since scores of good parts may be negative, and defects score a hundred times higher."""
    pooled = np.concatenate([*scores.values(), *([np.array([threshold])] if threshold is not None else [])])
    linear = max(float(np.median(np.abs(pooled))), 1e-9)  # half of the scores lie in the part that is all but linear
    first, last = float(pooled.min()), float(pooled.max())
    margin = 0.02 * max(last - first, 1e-9)
    low, high = (float(np.arcsinh(end / linear)) for end in (first - margin, last + margin))

    def share(value: float) -> float:
        return float((np.arcsinh(value / linear) - low) / (high - low))

    edges = np.linspace(low, high, bins + 1)
    counts = {k: np.histogram(np.arcsinh(v / linear), edges)[0] for k, v in scores.items()}
    top = max(1, max(int(c.max()) for c in counts.values()))
    marks = [(share(v), f"{v + 0.0:.3g}") for v in _spread(first - margin, last, share)]
    plot = WIDE
    name = "raw score (linear near 0, logarithmic beyond)"
    body = plot.axes(marks, _whole(ticks(0, top, 4)), name, "pictures")
    width = plot.wide / bins / max(1, len(counts))
    for j, values in enumerate(counts.values()):
        for i, n in enumerate(values):
            if n:
                x, y = plot.x(i / bins) + j * width, plot.y(n / top)
                body.append(
                    f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width - 0.6, 1):.1f}" '
                    f'height="{plot.y(0) - y:.1f}" fill="{colour(j)}"/>'
                )
    for j, label in enumerate(counts):
        body.append(f'<rect x="{LEFT + 12}" y="{TOP + 4 + 18 * j}" width="10" height="10" fill="{colour(j)}"/>')
        body.append(text(LEFT + 28, TOP + 13 + 18 * j, f"{label} ({len(scores[label])})", anchor="start"))
    if threshold is not None:
        x = plot.x(share(threshold))
        body.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{plot.y(0)}" y2="{plot.y(1)}" class="mark"/>')
        body.append(text(x - 4, TOP + 10, "threshold", anchor="end", kind="axis"))
    return plot.frame(body, "Histogram of scores")


def roc(good: NDArray[np.float64], bad: NDArray[np.float64], area: float, point: tuple[float, float] | None) -> str:
    """Share of defects found over share of good ones rejected. point: where the threshold lies, (rejected, found)."""
    cuts = np.unique(np.concatenate([good, bad]))[::-1]
    fpr = np.concatenate([[0.0], [(good >= c).mean() for c in cuts]])
    tpr = np.concatenate([[0.0], [(bad >= c).mean() for c in cuts]])
    marks = [(v, f"{100 * v:.0f}") for v in (0.0, 0.25, 0.5, 0.75, 1.0)]
    plot = SQUARE
    body = plot.axes(marks, marks, "good pictures rejected, %", "defects found, %")
    body.append(plot.line((float(x), float(y)) for x, y in zip(fpr, tpr, strict=True)))
    if point is not None:
        x, y = plot.x(point[0]), plot.y(point[1])
        body.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{COLOURS[1]}"/>')
        body.append(text(x + 10, y + 16, "threshold", anchor="start", kind="axis"))
    body.append(text(plot.x(0.97), plot.y(0.06), f"AUROC {area:.3f}", anchor="end", kind="axis"))
    return plot.frame(body, "ROC curve")


def _whole(ticks: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """Those of counts: there are no half pictures."""
    return [(place, words) for place, words in ticks if float(words).is_integer()]


def _spread(low: float, high: float, share: Callable[[float], float], *, apart: float = 0.11) -> list[float]:
    """Round values inside [low, high], the roundest first, wherever the axis `share` leaves room between them."""
    taken: list[float] = []
    for finer in (1, 5, 25, 125):
        for place, _ in ticks(low, high, 4 * finer):
            value = low + place * (high - low)
            if 0.04 <= share(value) <= 0.98 and all(abs(share(value) - share(other)) >= apart for other in taken):
                taken.append(value)
    return sorted(taken)
