"""Small SVG drawings for the report: score histogram, ROC, training curve. Knows numbers; no model, no file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

LEFT, BOTTOM, TOP, RIGHT = 48, 40, 14, 14
"""px around the plot, where ticks and names stand."""
_COLOURS = ("#2a7f9e", "#d1495b", "#edae49", "#66a182", "#775aa8")


@dataclass(frozen=True, slots=True)
class _Canvas:
    """A drawing whose plot is `wide` x `high` px; places in it are shares 0..1 of that."""

    wide: int
    high: int

    def x(self, share: float) -> float:
        return LEFT + share * self.wide

    def y(self, share: float) -> float:
        return TOP + (1.0 - share) * self.high

    def frame(self, body: list[str], title: str) -> str:
        size = f"0 0 {LEFT + self.wide + RIGHT} {TOP + self.high + BOTTOM}"
        return (
            f'<svg viewBox="{size}" role="img" aria-label="{escape(title)}" xmlns="http://www.w3.org/2000/svg">'
            + "".join(body)
            + "</svg>"
        )

    def axes(
        self, xticks: Sequence[tuple[float, str]], yticks: Sequence[tuple[float, str]], xname: str, yname: str
    ) -> list[str]:
        out, (left, right), (bottom, top) = [], (self.x(0), self.x(1)), (self.y(0), self.y(1))
        for share, words in xticks:
            x = self.x(share)
            out.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{top}" class="grid"/>')
            out.append(_text(x, bottom + 15, words))
        for share, words in yticks:
            y = self.y(share)
            out.append(f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
            out.append(_text(left - 6, y + 4, words, anchor="end"))
        out.append(_text(self.x(0.5), bottom + 34, xname, kind="axis"))
        out.append(f'<g transform="rotate(-90 12 {self.y(0.5):.0f})">{_text(12, self.y(0.5), yname, kind="axis")}</g>')
        return out

    def line(self, places: Iterable[tuple[float, float]]) -> str:
        points = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in places)
        return f'<polyline points="{points}" fill="none" stroke="{_COLOURS[0]}" stroke-width="2.5"/>'


_WIDE, _SQUARE = _Canvas(500, 300), _Canvas(300, 300)


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _text(x: float, y: float, words: str, *, anchor: str = "middle", kind: str = "tick") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(words)}</text>'


def _ticks(low: float, high: float, count: int = 5) -> list[tuple[float, str]]:
    """(share of the axis, label) at round values inside [low, high]."""
    span = high - low
    raw = span / count
    unit = 10.0 ** np.floor(np.log10(raw))
    step = next(m * unit for m in (1, 2, 5, 10) if m * unit >= raw)
    values = np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step
    return [((float(v) - low) / span, f"{v + 0.0:.4g}") for v in values]


def _whole(ticks: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """Those of counts: there are no half pictures."""
    return [(place, words) for place, words in ticks if float(words).is_integer()]


def _spread(low: float, high: float, share: Callable[[float], float], *, apart: float = 0.11) -> list[float]:
    """Round values inside [low, high], the roundest first, wherever the axis `share` leaves room between them."""
    taken: list[float] = []
    for finer in (1, 5, 25, 125):
        for place, _ in _ticks(low, high, 4 * finer):
            value = low + place * (high - low)
            if 0.04 <= share(value) <= 0.98 and all(abs(share(value) - share(other)) >= apart for other in taken):
                taken.append(value)
    return sorted(taken)


def histogram(scores: Mapping[str, NDArray[np.float64]], threshold: float | None, *, bins: int = 32) -> str:
    """Counts of raw scores by label, stacked side by side, on a logarithmic score axis, the threshold as a line."""
    pooled = np.concatenate([*scores.values(), *([np.array([threshold])] if threshold is not None else [])])
    shift = float(pooled.min()) - 0.02 * max(float(np.ptp(pooled)), 1e-9)
    low, high = float(np.log(pooled.min() - shift)), float(np.log((pooled.max() - shift) * 1.02))
    edges_log = np.linspace(low, high, bins + 1)

    def share(value: float) -> float:
        return float((np.log(max(value - shift, 1e-12)) - low) / (high - low))

    counts = {k: np.histogram(np.log(v - shift), edges_log)[0] for k, v in scores.items()}
    top = max(1, max(int(c.max()) for c in counts.values()))
    marks = [(share(v), f"{v + 0.0:.3g}") for v in _spread(shift, float(pooled.max()), share)]
    plot = _WIDE
    body = plot.axes(marks, _whole(_ticks(0, top, 4)), "raw score (log scale)", "pictures")
    width = plot.wide / bins / max(1, len(counts))
    for j, values in enumerate(counts.values()):
        for i, n in enumerate(values):
            if n:
                x, y = plot.x(i / bins) + j * width, plot.y(n / top)
                body.append(
                    f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width - 0.6, 1):.1f}" '
                    f'height="{plot.y(0) - y:.1f}" fill="{_colour(j)}"/>'
                )
    for j, label in enumerate(counts):
        body.append(f'<rect x="{LEFT + 12}" y="{TOP + 4 + 18 * j}" width="10" height="10" fill="{_colour(j)}"/>')
        body.append(_text(LEFT + 28, TOP + 13 + 18 * j, f"{label} ({len(scores[label])})", anchor="start"))
    if threshold is not None:
        x = plot.x(share(threshold))
        body.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{plot.y(0)}" y2="{plot.y(1)}" class="mark"/>')
        body.append(_text(x - 4, TOP + 10, "threshold", anchor="end", kind="axis"))
    return plot.frame(body, "Histogram of scores")


def roc(good: NDArray[np.float64], bad: NDArray[np.float64], area: float, point: tuple[float, float] | None) -> str:
    """Share of defects found over share of good ones rejected. point: where the threshold lies, (rejected, found)."""
    cuts = np.unique(np.concatenate([good, bad]))[::-1]
    fpr = np.concatenate([[0.0], [(good >= c).mean() for c in cuts]])
    tpr = np.concatenate([[0.0], [(bad >= c).mean() for c in cuts]])
    marks = [(v, f"{100 * v:.0f}") for v in (0.0, 0.25, 0.5, 0.75, 1.0)]
    plot = _SQUARE
    body = plot.axes(marks, marks, "good pictures rejected, %", "defects found, %")
    body.append(plot.line((float(x), float(y)) for x, y in zip(fpr, tpr, strict=True)))
    if point is not None:
        x, y = plot.x(point[0]), plot.y(point[1])
        body.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{_COLOURS[1]}"/>')
        body.append(_text(x + 10, y + 16, "threshold", anchor="start", kind="axis"))
    body.append(_text(plot.x(0.97), plot.y(0.06), f"AUROC {area:.3f}", anchor="end", kind="axis"))
    return plot.frame(body, "ROC curve")


def curve(history: Sequence[tuple[int, float]], name: str) -> str:
    """One value over training steps; at least one of them."""
    steps, values = np.array([h[0] for h in history], float), np.array([h[1] for h in history], float)
    high, last = float(values.max()) * 1.05 + 1e-12, max(float(steps.max()), 1.0)
    body = _WIDE.axes(_ticks(0, last), _ticks(0, high, 4), "training step", name)
    body.append(
        _WIDE.line((float(step) / last, float(value) / high) for step, value in zip(steps, values, strict=True))
    )
    return _WIDE.frame(body, name)
