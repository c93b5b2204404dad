"""Small SVG drawings for the report: score histogram, ROC, training curve. Knows numbers; no model, no file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

W, H, LEFT, BOTTOM, TOP, RIGHT = 560, 280, 48, 40, 14, 14
_COLOURS = ("#2a7f9e", "#d1495b", "#edae49", "#66a182", "#775aa8")


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _frame(body: list[str], title: str) -> str:
    return (
        f'<svg viewBox="0 0 {W} {H}" role="img" aria-label="{escape(title)}" xmlns="http://www.w3.org/2000/svg">'
        + "".join(body)
        + "</svg>"
    )


def _x(share: float) -> float:
    return LEFT + share * (W - LEFT - RIGHT)


def _y(share: float) -> float:
    return H - BOTTOM - share * (H - BOTTOM - TOP)


def _text(x: float, y: float, words: str, *, anchor: str = "middle", kind: str = "tick") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(words)}</text>'


def _axes(
    xticks: Sequence[tuple[float, str]], yticks: Sequence[tuple[float, str]], xname: str, yname: str
) -> list[str]:
    out = []
    for share, words in xticks:
        out.append(f'<line x1="{_x(share):.1f}" x2="{_x(share):.1f}" y1="{_y(0)}" y2="{_y(1)}" class="grid"/>')
        out.append(_text(_x(share), H - BOTTOM + 15, words))
    for share, words in yticks:
        out.append(f'<line x1="{_x(0)}" x2="{_x(1)}" y1="{_y(share):.1f}" y2="{_y(share):.1f}" class="grid"/>')
        out.append(_text(LEFT - 6, _y(share) + 4, words, anchor="end"))
    out.append(_text(_x(0.5), H - 6, xname, kind="axis"))
    out.append(f'<g transform="rotate(-90 12 {_y(0.5):.0f})">{_text(12, _y(0.5), yname, kind="axis")}</g>')
    return out


def _ticks(low: float, high: float, count: int = 5) -> list[tuple[float, str]]:
    """(share of the axis, label) at round values inside [low, high]."""
    span = high - low
    raw = span / count
    unit = 10.0 ** np.floor(np.log10(raw))
    step = next(m * unit for m in (1, 2, 5, 10) if m * unit >= raw)
    values = np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step
    return [((float(v) - low) / span, f"{v + 0.0:.4g}") for v in values]


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
    picks = shift + np.exp(np.linspace(edges_log[0], edges_log[-1], 7)[1:-1])
    body = _axes([(share(v), f"{v:.2g}") for v in picks], _ticks(0, top, 4), "raw score (log scale)", "pictures")
    width = (W - LEFT - RIGHT) / bins / max(1, len(counts))
    for j, values in enumerate(counts.values()):
        for i, n in enumerate(values):
            if n:
                x = _x(i / bins) + j * width
                body.append(
                    f'<rect x="{x:.1f}" y="{_y(n / top):.1f}" width="{max(width - 0.6, 1):.1f}" '
                    f'height="{_y(0) - _y(n / top):.1f}" fill="{_colour(j)}"/>'
                )
    for j, label in enumerate(counts):
        body.append(f'<rect x="{LEFT + 12}" y="{TOP + 4 + 18 * j}" width="10" height="10" fill="{_colour(j)}"/>')
        body.append(_text(LEFT + 28, TOP + 13 + 18 * j, f"{label} ({len(scores[label])})", anchor="start"))
    if threshold is not None:
        x = _x(share(threshold))
        body.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_y(0)}" y2="{_y(1)}" class="mark"/>')
        body.append(_text(x - 4, TOP + 10, "threshold", anchor="end", kind="axis"))
    return _frame(body, "Histogram of scores")


def roc(good: NDArray[np.float64], bad: NDArray[np.float64], area: float, point: tuple[float, float] | None) -> str:
    """Share of defects found over share of good ones rejected. point: where the threshold lies, (rejected, found)."""
    cuts = np.unique(np.concatenate([good, bad]))[::-1]
    fpr = np.concatenate([[0.0], [(good >= c).mean() for c in cuts]])
    tpr = np.concatenate([[0.0], [(bad >= c).mean() for c in cuts]])
    marks = [(v, f"{100 * v:.0f}") for v in (0.0, 0.25, 0.5, 0.75, 1.0)]
    body = _axes(marks, marks, "good pictures rejected, %", "defects found, %")
    points = " ".join(f"{_x(float(a)):.1f},{_y(float(b)):.1f}" for a, b in zip(fpr, tpr, strict=True))
    body.append(f'<polyline points="{points}" fill="none" stroke="{_COLOURS[0]}" stroke-width="2.5"/>')
    if point is not None:
        x, y = _x(point[0]), _y(point[1])
        body.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{_COLOURS[1]}"/>')
        body.append(_text(x + 10, y + 16, "threshold", anchor="start", kind="axis"))
    body.append(_text(_x(0.97), _y(0.06), f"AUROC {area:.3f}", anchor="end", kind="axis"))
    return _frame(body, "ROC curve")


def curve(history: Sequence[tuple[int, float]], name: str) -> str:
    """One value over training steps; at least one of them."""
    steps, values = np.array([h[0] for h in history], float), np.array([h[1] for h in history], float)
    high, last = float(values.max()) * 1.05 + 1e-12, max(float(steps.max()), 1.0)
    body = _axes(_ticks(0, last), _ticks(0, high, 4), "training step", name)
    points = " ".join(f"{_x(s / last):.1f},{_y(v / high):.1f}" for s, v in zip(steps, values, strict=True))
    body.append(f'<polyline points="{points}" fill="none" stroke="{_COLOURS[0]}" stroke-width="2"/>')
    return _frame(body, name)
