"""Small SVG drawings for the report: axes, lines, a training curve. Knows numbers; no task, no file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

LEFT, BOTTOM, TOP, RIGHT = 48, 40, 14, 14
"""px around the plot, where ticks and names stand."""
COLOURS = ("#2a7f9e", "#d1495b", "#edae49", "#66a182", "#775aa8")


@dataclass(frozen=True, slots=True)
class Canvas:
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
            out.append(text(x, bottom + 15, words))
        for share, words in yticks:
            y = self.y(share)
            out.append(f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
            out.append(text(left - 6, y + 4, words, anchor="end"))
        out.append(text(self.x(0.5), bottom + 34, xname, kind="axis"))
        out.append(f'<g transform="rotate(-90 12 {self.y(0.5):.0f})">{text(12, self.y(0.5), yname, kind="axis")}</g>')
        return out

    def line(self, places: Iterable[tuple[float, float]]) -> str:
        points = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in places)
        return f'<polyline points="{points}" fill="none" stroke="{COLOURS[0]}" stroke-width="2.5"/>'


WIDE, SQUARE = Canvas(500, 300), Canvas(300, 300)


def colour(number: int) -> str:
    """The number-th colour of a drawing."""
    return COLOURS[number % len(COLOURS)]


def text(x: float, y: float, words: str, *, anchor: str = "middle", kind: str = "tick") -> str:
    """`words` at a place in px."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(words)}</text>'


def ticks(low: float, high: float, count: int = 5) -> list[tuple[float, str]]:
    """(share of the axis, label) at round values inside [low, high]."""
    span = high - low
    raw = span / count
    unit = 10.0 ** np.floor(np.log10(raw))
    step = next(m * unit for m in (1, 2, 5, 10) if m * unit >= raw)
    values = np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step
    return [((float(v) - low) / span, f"{v + 0.0:.4g}") for v in values]


def curve(history: Sequence[tuple[int, float]], name: str) -> str:
    """One finite value over training steps, 0 in sight; at least one of them."""
    steps, values = np.array([h[0] for h in history], float), np.array([h[1] for h in history], float)
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    high, last = high + 0.05 * (high - low) + 1e-12, max(float(steps.max()), 1.0)
    body = WIDE.axes(ticks(0, last), ticks(low, high, 4), "training step", name)
    shares = (values - low) / (high - low)
    body.append(WIDE.line((float(step) / last, float(y)) for step, y in zip(steps, shares, strict=True)))
    return WIDE.frame(body, name)
