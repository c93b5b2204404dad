"""The figures of rows as words: one table for the terminal and for the report page. Knows rows; no file, no HTML."""

from __future__ import annotations

from collections.abc import Sequence
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
    """Variant, runtime, figures counted by `unit`, and what ran. "-": nothing to say, never an invented zero."""
    header = ("variant", "runtime", "AUROC [95 %]", "change [95 %]", "flips", "false rejects", "misses", "kept", "ran")
    cells = tuple(
        (row.variant, row.runtime, *_cells(_of(row, unit)), _kept(row), row.problem or ran(row)) for row in rows
    )
    return Table(header=header, rows=cells)


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
    left = ", ".join(report.float_nodes) or "none"
    out = [
        f"{report.samples} samples read, differences measured on {report.compared} of them. "
        f"In int8: {len(report.layers)} operators; convolutions left in float: {left}."
    ]
    worst = max(report.tensors, key=lambda t: t.cut, default=None)
    if worst is not None:
        cut = f"at most {_percent(worst.cut)} of its values ({worst.tensor})" if worst.cut else "nothing"
        out.append(f"Ranges cut {cut}.")
    return " ".join([*out, *(f"{note}." for note in report.notes)])


def _worst_pairs(report: CalibrationReport, variant: str) -> float | None:
    return max((row.unsafe_pairs[variant] for row in report.layers if variant in row.unsafe_pairs), default=None)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2g} %"


def notes(rows: Sequence[Row]) -> list[str]:
    """What rows say of missing figures, each sentence once."""
    return list(dict.fromkeys(f"{row.variant} on {row.runtime}: {note}" for row in rows for note in row.notes))


def ran(row: Row) -> str:
    """Device, precision and the types that its convolutions ran in."""
    return f"{row.device} {row.precision}; {row.convolutions}"


def _of(row: Row, unit: Unit) -> Figures | None:
    return row.by_picture if unit == "picture" else row.by_part


def _cells(told: Figures | None) -> tuple[str, ...]:
    if told is None:
        return ("-",) * 5
    return (
        "-" if told.auroc is None else f"{told.auroc:.3f}{_interval(told.auroc_interval, '.3f')}",
        "-"
        if told.auroc_change is None
        else f"{100 * told.auroc_change:+.2f}{_interval(told.auroc_change_interval, '+.2f', 100)} pp",
        share(told.flips, told.count),
        share(told.false_rejects, told.good),
        share(told.misses, told.defects),
    )


def _kept(row: Row) -> str:
    return "-" if row.kept_least is None else f"{row.kept_least:.2f}"


def share(count: int | None, total: int) -> str:
    """ "3 of 57"; "-" where nothing was counted."""
    return "-" if count is None or not total else f"{count} of {total}"


def _interval(ends: Interval | None, digits: str, factor: float = 1.0) -> str:
    return "" if ends is None else f" [{factor * ends[0]:{digits}}, {factor * ends[1]:{digits}}]"
