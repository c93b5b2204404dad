"""The metrics of rows as words: one table for the terminal and for the report page. Knows rows; no file, no HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edge_sdk.counted import counted, points
from edge_sdk.export.sections import Table
from edge_sdk.export.tasks.anomaly.metrics import Metrics, Row, Unit

Interval = tuple[float, float]


def quality(rows: Sequence[Row], unit: Unit) -> Table:
    """Variant, runtime, metrics counted by `unit`, and what ran. "-": nothing to say, never an invented zero.

    By picture also the kept score and, where a row has them, pixel metrics. Metrics that no row has get no column.
    """
    columns: list[tuple[str, Callable[[Row], str]]] = [
        ("variant", lambda row: row.variant),
        ("runtime", lambda row: row.runtime),
        ("layout", lambda row: "-" if row.layout == "plain" else row.layout),
        *((name, _metric_cell(unit, cell)) for name, cell in _METRICS),
    ]
    if unit == "picture":
        columns.append(("kept", _kept))
        if any(row.pixels for row in rows):
            columns.append(("pixel AUROC", lambda row: "-" if row.pixels is None else f"{row.pixels.auroc:.3f}"))
            columns.append(("AU-PRO", lambda row: "-" if row.pixels is None else f"{row.pixels.aupro:.3f}"))
    columns.append(("ran", lambda row: row.ran()))
    shown = [(name, cells) for name, cell in columns if set(cells := [cell(row) for row in rows]) != {"-"}]
    return Table(
        header=tuple(name for name, _ in shown), rows=tuple(zip(*(cells for _, cells in shown), strict=True)),
        first_marked=True,
    )  # fmt: skip


def unit_words(rows: Sequence[Row], unit: Unit) -> str:
    """What was counted, such as "151 good and 57 defective parts"; "" where nothing was."""
    metrics = next((f for f in (_of(row, unit) for row in rows) if f is not None), None)
    return "" if metrics is None else f"{metrics.good} good and {counted(metrics.defects, f'defective {unit}')}"


def notes(rows: Sequence[Row]) -> list[str]:
    """Notes on missing metrics, each sentence once."""
    out = list(dict.fromkeys(f"{row.variant} on {row.runtime}: {note}" for row in rows for note in row.notes))
    seen = [(row, row.pixels) for row in rows if row.pixels]
    if seen:
        pixels = seen[0][1]
        where = ", ".join(f"{row.variant} on {row.runtime}" for row, _ in seen)
        out.append(
            f"Pixel metrics: {counted(pixels.pictures, 'picture')} with {counted(pixels.regions, 'defect region')}, "
            f"at the pictures' own size. AU-PRO up to a false positive rate of {pixels.limit:g}. Maps of {where}"
        )
    return out


def _of(row: Row, unit: Unit) -> Metrics | None:
    return row.by_picture if unit == "picture" else row.by_part


def _metric_cell(unit: Unit, cell: Callable[[Metrics], str]) -> Callable[[Row], str]:
    def text(row: Row) -> str:
        metrics = _of(row, unit)
        return "-" if metrics is None else cell(metrics)

    return text


def _auroc(metrics: Metrics) -> str:
    return "-" if metrics.auroc is None else f"{metrics.auroc:.3f}{_interval(metrics.auroc_interval, '.3f')}"


def _change(metrics: Metrics) -> str:
    if metrics.auroc_change is None:
        return "-"
    return points(metrics.auroc_change, metrics.auroc_change_interval, 2)


_METRICS: tuple[tuple[str, Callable[[Metrics], str]], ...] = (
    ("AUROC [95 %]", _auroc),
    ("change [95 %]", _change),
    ("flips", lambda metrics: share(metrics.flips, metrics.count)),
    ("false rejects", lambda metrics: share(metrics.false_rejects, metrics.good)),
    ("misses", lambda metrics: share(metrics.misses, metrics.defects)),
)


def _kept(row: Row) -> str:
    return "-" if row.kept_least is None else f"{row.kept_least:.2f}"


def share(count: int | None, total: int) -> str:
    """ "3 of 57"; "-" where nothing was counted."""
    return "-" if count is None or not total else f"{count} of {total}"


def _interval(ends: Interval | None, digits: str) -> str:
    return "" if ends is None else f" [{ends[0]:{digits}}, {ends[1]:{digits}}]"
