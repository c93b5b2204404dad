"""What calibration saw and did, as a table and a paragraph. Knows its report; no file, no HTML, no family."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from edge_sdk.calibration import CalibrationReport
from edge_sdk.counted import counted
from edge_sdk.export.sections import Table
from edge_sdk.runtimes.variants import is_int8

PRODUCTS = "Conv, ConvTranspose, Gemm and MatMul"
"""The operators that are counted: those whose weights become int8."""


def table(report: CalibrationReport) -> Table:
    """By variant: relative difference from the float graph of each output, and the worst operator's unsafe pairs."""
    outputs = tuple(dict.fromkeys(name for by_output in report.errors.values() for name in by_output))
    header = ("variant", *(f"difference of {name}" for name in outputs), "pairs that can saturate without VNNI")
    cells = tuple(
        (variant, *(_percent(by_output.get(name)) for name in outputs), _percent(_worst_pairs(report, variant)))
        for variant, by_output in report.errors.items()
    )
    return Table(header=header, rows=cells)


def words(report: CalibrationReport) -> str:
    """What was read, what became int8 and what stayed float, and the tensor that is cut most."""
    left = ", ".join(_by_place(report.float_nodes)) or "none"
    out = [f"{counted(report.samples, 'sample')} read, differences measured on {report.compared} of them."]
    if report.layers or report.float_nodes or any(is_int8(variant) for variant in report.errors):
        out.append(
            f"In int8: {counted(len(report.layers), 'operator')}; of {PRODUCTS}, left in float: {left}. Operators of "
            "other kinds, such as GRU, get no int8 weights."
        )
    worst = max(report.tensors, key=lambda t: t.cut, default=None)
    if worst is not None:
        cut = f"at most {_percent(worst.cut)} of its values ({worst.tensor})" if worst.cut else "nothing"
        out.append(f"Ranges cut {cut}.")
    return " ".join([*out, *(f"{note}." for note in report.notes)])


def _by_place(nodes: Sequence[str]) -> list[str]:
    """Nodes counted by the first part of their names: "trunk (45)"; the rest of sixty names helps nobody.

    PyTorch's exporter writes "/trunk/conv/Conv": the part before the first slash is empty.
    """
    counts = Counter(name.strip("/").split("/")[0] or name for name in nodes)
    return [f"{place} ({count})" if count > 1 else place for place, count in counts.items()]


def _worst_pairs(report: CalibrationReport, variant: str) -> float | None:
    return max((row.unsafe_pairs[variant] for row in report.layers if variant in row.unsafe_pairs), default=None)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2g} %"
