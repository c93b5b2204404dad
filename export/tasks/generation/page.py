"""The measures of rows as words: a table for the terminal and the report page, cards, one sentence. Knows no HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edge_sdk.counted import counted, percent
from edge_sdk.export.sections import Card, Table
from edge_sdk.export.tasks.generation.evaluate import Row
from edge_sdk.export.tasks.generation.real import FRECHET, PRECISION, RECALL

Cell = Callable[[Row], str]


def quality(rows: Sequence[Row]) -> Table:
    """Variant, runtime, measures, and what ran. "-": nothing to say. Measures that no row has get no column."""
    columns: list[tuple[str, Cell]] = [
        ("variant", lambda row: row.variant),
        ("runtime", lambda row: row.runtime),
        ("layout", lambda row: "-" if row.layout == "plain" else row.layout),
        ("Frechet distance", lambda row: _measure(row, FRECHET, "{:.4g}")),
        ("recall", lambda row: _share(row, RECALL)),
        ("precision", lambda row: _share(row, PRECISION)),
        ("class shares", _classes),
        ("PSNR to fp32", lambda row: "-" if row.paired is None else f"{row.paired.psnr_db:.1f} dB"),
        ("worst 1 %", lambda row: "-" if row.paired is None else f"{row.paired.worst_db:.1f} dB"),
        ("structural similarity", lambda row: "-" if row.paired is None else f"{row.paired.similarity:.4f}"),
        ("collapsed", lambda row: row.collapsed or "-"),
        ("ran", lambda row: row.ran()),
    ]
    kept = [(name, cells) for name, cell in columns if set(cells := [cell(row) for row in rows]) != {"-"}]
    return Table(
        header=tuple(name for name, _ in kept), rows=tuple(zip(*(cells for _, cells in kept), strict=True)),
        first_marked=True,
    )  # fmt: skip


def headline(rows: Sequence[Row]) -> str:
    """The first row's distance and recall, and the lowest PSNR of what is packed; "" = nothing was measured."""
    words = []
    first = rows[0] if rows else None
    if first is not None and first.quality:
        words.append(
            f"Frechet distance {first.quality[FRECHET]:.4g} and recall {percent(first.quality[RECALL])} on "
            f"{counted(first.count, 'picture')}"
        )
    if (lowest := _lowest(rows)) is not None and lowest.paired is not None:
        words.append(f"lowest PSNR to fp32 {lowest.paired.psnr_db:.1f} dB ({lowest.variant} on {lowest.runtime})")
    return "; ".join(words)


def cards(rows: Sequence[Row]) -> list[Card]:
    """Distance, recall, and the lowest PSNR."""
    out = []
    first = rows[0] if rows else None
    if first is not None and first.quality:
        of = f"{first.variant}, {counted(first.count, 'picture')}"
        out.append(Card(value=f"{first.quality[FRECHET]:.4g}", name="Frechet distance", words=of))
        out.append(Card(value=percent(first.quality[RECALL]), name="recall", words="real pictures that are covered"))
    if (lowest := _lowest(rows)) is not None and lowest.paired is not None:
        words = f"{lowest.variant} on {lowest.runtime}, same seeds"
        out.append(Card(value=f"{lowest.paired.psnr_db:.1f} dB", name="lowest PSNR to fp32", words=words))
    return out


def _lowest(rows: Sequence[Row]) -> Row | None:
    found = [row for row in rows if row.paired is not None and not row.collapsed and not row.unusable]
    return min(found, key=lambda row: row.paired.psnr_db if row.paired else 0.0, default=None)


def _measure(row: Row, name: str, form: str) -> str:
    return form.format(row.quality[name]) if row.quality else "-"


def _share(row: Row, name: str) -> str:
    return percent(row.quality[name]) if row.quality else "-"


def _classes(row: Row) -> str:
    found = row.quality or {}
    return f"{found['least_class']:.2f} to {found['most_class']:.2f}" if "least_class" in found else "-"
