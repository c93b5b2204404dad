"""The metrics of rows as words: tables for the terminal and the report page, cards, one sentence. Knows no HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edge_sdk.counted import counted, percent, points, signed
from edge_sdk.export.each_runtime import left_out
from edge_sdk.export.sections import Card, Table
from edge_sdk.export.tasks.classification.metrics import TOP, Agreement, Interval, Quality, Row
from edge_sdk.shown import shown

MOST_CLASSES = 12
"""Of a confusion matrix on the page; of more classes the pairs that are mixed up most often are listed."""
MOST_PAIRS = 15

_MOST = "the most of any graph that load uses here"

Cell = Callable[[Row], str]


def quality(rows: Sequence[Row]) -> Table:
    """Variant, runtime, metrics, and what ran. "-": nothing to say, never an invented zero. Metrics that no row has get
    no column."""
    columns: list[tuple[str, Cell]] = [
        ("variant", lambda row: row.variant),
        ("runtime", lambda row: row.runtime),
        ("layout", lambda row: "-" if row.layout == "plain" else row.layout),
        ("accuracy [95 %]", _of_quality(lambda one: f"{percent(one.accuracy)} {_share(one.interval)}")),
        ("change [95 %]", _of_quality(_change)),
        (f"top-{TOP}", _of_quality(lambda one: "-" if one.top5 is None else percent(one.top5))),
        ("first class changed", _of_agreement(lambda one: f"{one.changed} of {one.samples}")),
        ("confidence", lambda row: "-" if row.confidence is None else f"{row.confidence:.3f}"),
        ("its shift", _of_agreement(lambda one: signed(one.confidence_shift, 3))),
        ("score error", _of_agreement(lambda one: "-" if one.scale is None else percent(one.scale.relative_error, 2))),
        ("spread ratio", _of_agreement(lambda one: _number(None if one.scale is None else one.scale.spread_ratio))),
        ("rank corr.", _of_agreement(lambda one: _number(None if one.scale is None else one.scale.rank_correlation))),
        ("ran", lambda row: row.ran()),
    ]
    kept = [(name, cells) for name, cell in columns if set(cells := [cell(row) for row in rows]) != {"-"}]
    return Table(
        header=tuple(name for name, _ in kept), rows=tuple(zip(*(cells for _, cells in kept), strict=True)),
        first_marked=True,
    )  # fmt: skip


def confusion(found: Quality, labels: Sequence[str]) -> Table:
    """True classes as rows and first classes as columns; of many classes the pairs mixed up most often."""
    counts = {(true, first): count for true, first, count in found.confusion}
    numbers = range(len(labels))
    if len(labels) <= MOST_CLASSES:
        return Table(
            header=("true class", *map(shown, labels)),
            rows=tuple(
                (shown(labels[true]), *(str(counts.get((true, first), 0)) for first in numbers)) for true in numbers
            ),
        )
    mixed = [pair for pair in found.confusion if pair[0] != pair[1]][:MOST_PAIRS]
    return Table(
        header=("true class", "first class", "samples"),
        rows=tuple((shown(labels[true]), shown(labels[first]), str(count)) for true, first, count in mixed),
    )


def headline(rows: Sequence[Row]) -> str:
    """Accuracy of the reference, and the most first classes that a variant changes; "" = neither is known."""
    reference, worst = next((row for row in rows if row.reference), None), _worst(rows)
    words = []
    if reference is not None and reference.quality is not None:
        found = reference.quality
        words.append(
            f"accuracy {percent(found.accuracy)} on {counted(found.samples, 'sample')} {_share(found.interval)}"
        )
    if worst is not None:
        row, agreed = worst
        words.append(
            f"{row.variant} on {row.runtime} changes the first class of {agreed.changed} of "
            f"{counted(agreed.samples, 'sample')}, {_MOST}"
        )
    return "; ".join(words)


def cards(rows: Sequence[Row]) -> list[Card]:
    """Accuracy of the reference, its top-5, and the most first classes that a variant changes."""
    out = []
    reference = next((row for row in rows if row.reference), None)
    if reference is not None and (found := reference.quality) is not None:
        words = f"{found.correct} of {found.samples}; 95 % interval {_share(found.interval)}"
        out.append(Card(value=percent(found.accuracy), name=f"accuracy, {reference.variant}", words=words))
        if found.top5 is not None:
            out.append(Card(value=percent(found.top5), name=f"top-{TOP} accuracy", words=reference.variant))
    if (worst := _worst(rows)) is not None:
        row, agreed = worst
        out.append(
            Card(
                value=f"{agreed.changed} of {agreed.samples}", name="first classes changed",
                words="; ".join(filter(None, (f"{row.variant} on {row.runtime}, {_MOST}", left_out(rows)))),
            )
        )  # fmt: skip
    return out


def _worst(rows: Sequence[Row]) -> tuple[Row, Agreement] | None:
    """The row with the most changed first classes, of graphs that `load` may take here."""
    found = [(row, row.agreement) for row in rows if row.agreement is not None and not row.unusable]
    return max(found, key=lambda one: one[1].changed, default=None)


def _of_quality(cell: Callable[[Quality], str]) -> Cell:
    return lambda row: "-" if row.quality is None else cell(row.quality)


def _of_agreement(cell: Callable[[Agreement], str]) -> Cell:
    return lambda row: "-" if row.agreement is None else cell(row.agreement)


def _change(found: Quality) -> str:
    if found.change is None or found.change_interval is None:
        return "-"
    return points(found.change, found.change_interval)


def _share(ends: Interval) -> str:
    return f"[{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
