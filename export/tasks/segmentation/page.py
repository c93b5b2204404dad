"""The metrics of rows as words: tables for the terminal and the report page, cards, one sentence. Knows no HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge_sdk.counted import counted, percent, points
from edge_sdk.export.each_runtime import left_out
from edge_sdk.export.sections import Card, Table
from edge_sdk.export.tasks.segmentation.metrics import Controls, Interval, PromptMetrics, Row
from edge_sdk.shown import shown

Cell = Callable[[Row], str]


def quality(rows: Sequence[Row]) -> Table:
    """Variant, runtime, metrics, and what ran. "-": nothing to say, never an invented zero. Metrics that no row has get
    no column."""
    columns: list[tuple[str, Cell]] = [
        ("variant", _variant),
        ("runtime", lambda row: row.runtime),
        ("layout", lambda row: "-" if row.layout == "plain" else row.layout),
        ("box: mIoU [95 %]", _of_box(lambda one: f"{percent(one.miou)} {_share(one.interval)}")),
        ("change [95 %]", _of_box(_change)),
        ("by picture", _of_box(lambda one: percent(one.by_picture))),
        ("best mask (oracle)", _of_box(lambda one: percent(one.oracle))),
        ("point: mIoU [95 %]", _of_point(lambda one: f"{percent(one.miou)} {_share(one.interval)}")),
        ("change", _of_point(_change)),
        ("best mask (oracle)", _of_point(lambda one: percent(one.oracle))),
        ("truth on the mask grid", lambda row: "-" if row.truth_on_grid is None else percent(row.truth_on_grid)),
        ("ran", lambda row: row.ran()),
    ]
    kept = [(name, cells) for name, cell in columns if set(cells := [cell(row) for row in rows]) != {"-"}]
    return Table(
        header=tuple(name for name, _ in kept), rows=tuple(zip(*(cells for _, cells in kept), strict=True)),
        first_marked=True,
    )  # fmt: skip


def classes(row: Row, controls: Controls) -> Table | None:
    """mIoU of the reference by size of the segments and by what pictures show; None where it did not run."""
    if row.box is None or row.point is None:
        return None
    lines = []
    for by_class, floors, of in (
        (row.box.by_area, controls.by_area, row.point.by_area), (row.box.by_kind, controls.by_kind, row.point.by_kind),
    ):  # fmt: skip
        for name, (value, count) in by_class.items():
            whole, ellipse, _ = floors[name]
            called = f"{name} of the picture" if floors is controls.by_area else shown(name)
            lines.append((called, str(count), *map(percent, (value, of[name][0], whole, ellipse))))
    header = ("segments", "number", "box: mIoU", "point: mIoU", "the whole box", "an ellipse in it")
    return Table(header=header, rows=tuple(lines))


def headline(rows: Sequence[Row]) -> str:
    """mIoU of the reference, and the variants that lose most; "" = not known."""
    reference = next((row for row in rows if row.reference), None)
    if reference is None or reference.box is None or reference.point is None:
        return ""
    words = [
        f"mIoU {percent(reference.box.miou)} {_share(reference.box.interval)} with a box, "
        f"{percent(reference.point.miou)} with a point"
    ]
    if lowest := [f"{points(one.change)} {name} ({one.by})" for name, one in _lowest(rows).items()]:
        words.append(f"lowest change by a graph that load uses here: {', '.join(lowest)}")
    return "; ".join(words)


def cards(rows: Sequence[Row], controls: Controls | None, segments: int) -> list[Card]:
    """mIoU of the reference with a box and with a point, and the lowest change of each by what `load` uses here."""
    reference = next((row for row in rows if row.reference), None)
    if reference is None or reference.box is None or reference.point is None or controls is None:
        return []
    of = f"{counted(segments, 'segment')}, 95 % interval"
    floor = f"{percent(max(controls.box, controls.ellipse))} without a network"
    out = [
        Card(
            value=percent(reference.box.miou), name="mIoU with a box",
            words=f"{of} {_share(reference.box.interval)}; {floor}",
        ),
        Card(
            value=percent(reference.point.miou), name="mIoU with one point",
            words=f"{of} {_share(reference.point.interval)}",
        ),
    ]  # fmt: skip
    if lowest := _lowest(rows):
        words = "; ".join(
            filter(None, [", ".join(f"{name}: {one.by}" for name, one in lowest.items()), left_out(rows)])
        )
        value = ", ".join(points(one.change) for one in lowest.values())
        name = f"lowest change of mIoU by a smaller variant, {' and '.join(lowest)}"
        out.append(Card(value=value, name=name, words=words))
    return out


def controls_line(controls: Controls) -> str:
    """What answers without a network reach."""
    return (
        f"without a network the whole box reaches an mIoU of {percent(controls.box)}, the ellipse inside it "
        f"{percent(controls.ellipse)}"
    )


def _variant(row: Row) -> str:
    """The encoder's, and the decoder's where it is another one."""
    others = {name for name in row.by_role.values() if name != row.variant}
    return row.variant + "".join(f", decoder {name}" for name in sorted(others))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """change: of mIoU. by: variant and runtime."""

    change: float
    by: str


def _lowest(rows: Sequence[Row]) -> dict[str, _Change]:
    """By kind of prompt, the row that loses most, of graphs besides fp32 that `load` uses here."""
    usable = [row for row in rows if not row.unusable and row.variant != "fp32"]
    out = {}
    for name, kind in (("with a box", "box"), ("with a point", "point")):
        found = [(getattr(row, kind), row) for row in usable]
        changes = [(of.change, row) for of, row in found if of is not None and of.change is not None]
        if changes:
            change, row = min(changes, key=lambda one: one[0])
            out[name] = _Change(change=change, by=f"{_variant(row)} on {row.runtime}")
    return out


def _of_box(cell: Callable[[PromptMetrics], str]) -> Cell:
    return lambda row: "-" if row.box is None else cell(row.box)


def _of_point(cell: Callable[[PromptMetrics], str]) -> Cell:
    return lambda row: "-" if row.point is None else cell(row.point)


def _change(found: PromptMetrics) -> str:
    if found.change is None or found.change_interval is None:
        return "-"
    return points(found.change, found.change_interval)


def _share(ends: Interval) -> str:
    return f"[{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]"
