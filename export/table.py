"""The figures of rows as words: one table for the terminal and for the report page. Knows rows; no file, no HTML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge_sdk.calibration import CalibrationReport
from edge_sdk.export.figures import Figures, Row, Unit

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Cells as text; every row is as long as the header."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def quality(rows: Sequence[Row], unit: Unit) -> Table:
    """Variant, runtime, figures counted by `unit`, and what ran. "-": nothing to say, never an invented zero.

    By picture also the kept score and, where a row has them, pixel figures. Figures that no row has get no column.
    """
    columns: list[tuple[str, Callable[[Row], str]]] = [
        ("variant", lambda row: row.variant),
        ("runtime", lambda row: row.runtime),
        ("layout", lambda row: "-" if row.layout == "plain" else row.layout),
        *((name, _of_figures(unit, cell)) for name, cell in _FIGURES),
    ]
    if unit == "picture":
        columns.append(("kept", _kept))
        if any(row.pixels for row in rows):
            columns.append(("pixel AUROC", lambda row: "-" if row.pixels is None else f"{row.pixels.auroc:.3f}"))
            columns.append(("AU-PRO", lambda row: "-" if row.pixels is None else f"{row.pixels.aupro:.3f}"))
    columns.append(("ran", lambda row: row.problem or ran(row)))
    shown = [(name, cells) for name, cell in columns if set(cells := [cell(row) for row in rows]) != {"-"}]
    return Table(header=tuple(name for name, _ in shown), rows=tuple(zip(*(cells for _, cells in shown), strict=True)))


def unit_words(rows: Sequence[Row], unit: Unit) -> str:
    """What was counted, such as "151 good and 57 defective parts"; "" where nothing was."""
    told = next((f for f in (_of(row, unit) for row in rows) if f is not None), None)
    return "" if told is None else f"{told.good} good and {told.defects} defective {unit}s"


def calibration(report: CalibrationReport) -> Table:
    """By variant: relative difference from the float graph of each output, and the worst operator's unsafe pairs."""
    outputs = tuple(dict.fromkeys(name for told in report.errors.values() for name in told))
    header = ("variant", *(f"difference of {name}" for name in outputs), "pairs that can saturate without VNNI")
    cells = tuple(
        (variant, *(_percent(told.get(name)) for name in outputs), _percent(_worst_pairs(report, variant)))
        for variant, told in report.errors.items()
    )
    return Table(header=header, rows=cells)


def calibration_words(report: CalibrationReport) -> str:
    """What was read, what became int8 and what stayed float, and the tensor that is cut most."""
    left = ", ".join(_by_place(report.float_nodes)) or "none"
    out = [
        f"{report.samples} samples read, differences measured on {report.compared} of them. "
        f"In int8: {len(report.layers)} operators; convolutions and products left in float: {left}."
    ]
    worst = max(report.tensors, key=lambda t: t.cut, default=None)
    if worst is not None:
        cut = f"at most {_percent(worst.cut)} of its values ({worst.tensor})" if worst.cut else "nothing"
        out.append(f"Ranges cut {cut}.")
    return " ".join([*out, *(f"{note}." for note in report.notes)])


def _by_place(nodes: Sequence[str]) -> list[str]:
    """Nodes counted by the first part of their names: "trunk (45)"; the rest of sixty names helps nobody."""
    counts = Counter(name.split("/")[0] for name in nodes)
    return [f"{place} ({count})" if count > 1 else place for place, count in counts.items()]


def _worst_pairs(report: CalibrationReport, variant: str) -> float | None:
    return max((row.unsafe_pairs[variant] for row in report.layers if variant in row.unsafe_pairs), default=None)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2g} %"


def notes(rows: Sequence[Row]) -> list[str]:
    """What rows say of missing figures, each sentence once."""
    out = list(dict.fromkeys(f"{row.variant} on {row.runtime}: {note}" for row in rows for note in row.notes))
    seen = [(row, row.pixels) for row in rows if row.pixels]
    if seen:
        told = seen[0][1]
        where = ", ".join(f"{row.variant} on {row.runtime}" for row, _ in seen)
        out.append(
            f"Pixel figures: {told.pictures} pictures with {told.regions} defect regions, at the pictures' own size; "
            f"AU-PRO up to a false positive rate of {told.limit:g}. Maps were looked at of {where}"
        )
    return out


def ran(row: Row) -> str:
    """Device, and the types that its convolutions ran in; where a runtime doesn't tell those, the graph's precision."""
    return f"{row.device}, {f'convolutions: {row.convolutions}' if row.convolutions else row.precision}"


def _of(row: Row, unit: Unit) -> Figures | None:
    return row.by_picture if unit == "picture" else row.by_part


def _of_figures(unit: Unit, cell: Callable[[Figures], str]) -> Callable[[Row], str]:
    def told(row: Row) -> str:
        figures = _of(row, unit)
        return "-" if figures is None else cell(figures)

    return told


def _auroc(told: Figures) -> str:
    return "-" if told.auroc is None else f"{told.auroc:.3f}{_interval(told.auroc_interval, '.3f')}"


def _change(told: Figures) -> str:
    if told.auroc_change is None:
        return "-"
    return f"{100 * told.auroc_change:+.2f}{_interval(told.auroc_change_interval, '+.2f', 100)} pp"


_FIGURES: tuple[tuple[str, Callable[[Figures], str]], ...] = (
    ("AUROC [95 %]", _auroc),
    ("change [95 %]", _change),
    ("flips", lambda told: share(told.flips, told.count)),
    ("false rejects", lambda told: share(told.false_rejects, told.good)),
    ("misses", lambda told: share(told.misses, told.defects)),
)


def _kept(row: Row) -> str:
    return "-" if row.kept_least is None else f"{row.kept_least:.2f}"


def share(count: int | None, total: int) -> str:
    """ "3 of 57"; "-" where nothing was counted."""
    return "-" if count is None or not total else f"{count} of {total}"


def _interval(ends: Interval | None, digits: str, factor: float = 1.0) -> str:
    return "" if ends is None else f" [{factor * ends[0]:{digits}}, {factor * ends[1]:{digits}}]"
