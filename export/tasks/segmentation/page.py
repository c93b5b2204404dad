"""The metrics of rows as words: tables for the terminal and the report page, cards, one sentence. Knows no HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edge_sdk.counted import counted
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
        ("box: mIoU [95 %]", _of_box(lambda one: f"{one.miou:.1%} {_share(one.interval)}")),
        ("change [95 %]", _of_box(_change)),
        ("by picture", _of_box(lambda one: f"{one.by_picture:.1%}")),
        ("best mask (oracle)", _of_box(lambda one: f"{one.oracle:.1%}")),
        ("point: mIoU [95 %]", _of_point(lambda one: f"{one.miou:.1%} {_share(one.interval)}")),
        ("change", _of_point(_change)),
        ("best mask (oracle)", _of_point(lambda one: f"{one.oracle:.1%}")),
        ("truth on the mask grid", lambda row: "-" if row.truth_on_grid is None else f"{row.truth_on_grid:.1%}"),
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
    for name, (value, count) in row.box.by_area.items():
        lines.append(
            (f"{name} of the picture", str(count), f"{value:.1%}", f"{row.point.by_area[name][0]:.1%}", "-", "-")
        )
    for name, (value, count) in row.box.by_kind.items():
        whole, ellipse, _ = controls.by_kind[name]
        lines.append(
            (
                shown(name),
                str(count),
                f"{value:.1%}",
                f"{row.point.by_kind[name][0]:.1%}",
                f"{whole:.1%}",
                f"{ellipse:.1%}",
            )
        )
    header = ("segments", "number", "box: mIoU", "point: mIoU", "the whole box", "an ellipse in it")
    return Table(header=header, rows=tuple(lines))


def headline(rows: Sequence[Row]) -> str:
    """mIoU of the reference, and the variant that loses most; "" = not known."""
    reference = next((row for row in rows if row.reference), None)
    if reference is None or reference.box is None or reference.point is None:
        return ""
    words = [
        f"mIoU {reference.box.miou:.1%} {_share(reference.box.interval)} with a box, {reference.point.miou:.1%} with a "
        "point"
    ]
    if (worst := _worst(rows)) is not None and worst.box is not None and worst.box.change is not None:
        words.append(f"{_variant(worst)} on {worst.runtime} changes the former by {_points(worst.box.change)}")
    return "; ".join(words)


def cards(rows: Sequence[Row], controls: Controls | None, segments: int) -> list[Card]:
    """mIoU of the reference with a box and with a point, and the variant that loses most."""
    reference = next((row for row in rows if row.reference), None)
    if reference is None or reference.box is None or reference.point is None or controls is None:
        return []
    of = f"{counted(segments, 'segment')}, 95 % interval"
    floor = f"{max(controls.box, controls.ellipse):.1%} without a network"
    out = [
        Card(
            value=f"{reference.box.miou:.1%}", name="mIoU with a box",
            words=f"{of} {_share(reference.box.interval)}; {floor}",
        ),
        Card(
            value=f"{reference.point.miou:.1%}", name="mIoU with one point",
            words=f"{of} {_share(reference.point.interval)}",
        ),
    ]  # fmt: skip
    if (worst := _worst(rows)) is not None and worst.box is not None and worst.box.change is not None:
        words = f"mIoU with a box, {_variant(worst)} on {worst.runtime}, the most that any variant loses"
        out.append(Card(value=_points(worst.box.change), name="largest change by a variant", words=words))
    return out


def controls_line(controls: Controls) -> str:
    """What answers without a network reach."""
    return (
        f"without a network the whole box reaches an mIoU of {controls.box:.1%}, the ellipse inside it "
        f"{controls.ellipse:.1%}"
    )


def faults(rows: Sequence[Row]) -> list[str]:
    """A note for each row that a known fault makes wrong."""
    return [
        f"{row.variant} on {row.runtime} is wrong on this CPU by a known fault, and load takes another graph: "
        f"{row.unusable}"
        for row in rows if row.unusable
    ]  # fmt: skip


def _variant(row: Row) -> str:
    """The encoder's, and the decoder's where it is another one."""
    others = {name for name in row.by_role.values() if name != row.variant}
    return row.variant + "".join(f", decoder {name}" for name in sorted(others))


def _worst(rows: Sequence[Row]) -> Row | None:
    """The row that loses most with a box, of graphs that `load` may take here."""
    found = [(row.box.change, row) for row in rows if row.box is not None and row.box.change is not None]
    usable = [(change, row) for change, row in found if not row.unusable and row.variant != "fp32"]
    return min(usable, key=lambda one: one[0])[1] if usable else None


def _of_box(cell: Callable[[PromptMetrics], str]) -> Cell:
    return lambda row: "-" if row.box is None else cell(row.box)


def _of_point(cell: Callable[[PromptMetrics], str]) -> Cell:
    return lambda row: "-" if row.point is None else cell(row.point)


def _points(change: float) -> str:
    """A change as percentage points; one that rounds to nothing has no sign."""
    tenths = round(1000 * change)
    return f"{tenths / 10:+.1f} points" if tenths else "0.0 points"


def _change(found: PromptMetrics) -> str:
    if found.change is None or found.change_interval is None:
        return "-"
    low, high = (100 * end for end in found.change_interval)
    return f"{100 * found.change:+.1f} [{low:+.1f}, {high:+.1f}] pp"


def _share(ends: Interval) -> str:
    return f"[{ends[0]:.1%}, {ends[1]:.1%}]"
