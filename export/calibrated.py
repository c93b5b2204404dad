"""What calibration saw and did, as a table and a paragraph. Knows its report; no file, no HTML, no family."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from edge_sdk.calibration import CalibrationReport
from edge_sdk.calibration.report import Search
from edge_sdk.counted import counted
from edge_sdk.export.sections import Table, Text
from edge_sdk.runtimes.operators import matrix_operators
from edge_sdk.runtimes.variants import is_int8

PRODUCTS = " and ".join((", ".join(matrix_operators()[:-1]), matrix_operators()[-1]))
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


def blocks(report: CalibrationReport) -> tuple[Table | Text, ...]:
    """The tables with their captions: differences; what was tried, where several ways were; what a bound cost."""
    out: list[Table | Text] = [made] if (made := table(report)).rows else []
    if len(report.attempts) > len({one.variant for one in report.attempts}):
        out += [Text(text=_tried(report)), attempts(report)]
    if report.scales:
        out += [Text(text=_SCALES), scales(report)]
    if (costly := layers_by_error(report)).rows:
        out += [Text(text=_LAYERS), costly]
    if report.saturation:
        out += [Text(text=_saturated(report)), *([layers] if (layers := saturated_layers(report)).rows else [])]
    for found in report.searches:
        out += [Text(text=_searched(found)), points(found), *([reverts(found)] if found.reverts else [])]
    return tuple(out)


_SCALES = (
    "How the values of each output moved from float32's on the compared samples. Shift: median difference, in the "
    "output's unit. Spread: standard deviation against float32's, 1 = the same. Rank: Spearman's correlation."
)


def scales(report: CalibrationReport) -> Table:
    """How each output moved, by the standard and as each runtime answers."""
    rows = [
        (
            row.variant, row.output, row.by, _percent(row.scale.relative_error), f"{row.scale.median_shift + 0.0:+.3g}",
            _number(row.scale.spread_ratio), _number(row.scale.rank_correlation),
            "-" if row.scale.top1_agreement is None else _percent(row.scale.top1_agreement),
        )
        for row in report.scales
    ]  # fmt: skip
    header = ("variant", "output", "by", "difference", "shift", "spread", "rank", "top-1 equal")
    return Table(header=header, rows=tuple(rows))


MOST_LAYERS = 8
_LAYERS = (
    "Int8 operators with the largest error of their own: each gets the float32 values of its inputs, rounded to int8, "
    "and its output is compared with that of float32. --exclude keeps an operator in float."
)


def layers_by_error(report: CalibrationReport) -> Table:
    """The int8 operators whose own error is largest in any variant."""
    variants = tuple(dict.fromkeys(name for row in report.layers for name in row.errors))
    rows = sorted(report.layers, key=lambda row: -max(row.errors.values(), default=0.0))[:MOST_LAYERS]
    return Table(
        header=("int8 operator", "type", *variants),
        rows=tuple(
            (row.node, row.op, *(_percent(row.errors.get(one)) for one in variants)) for row in rows if row.errors
        ),
    )


def int8_share(report: CalibrationReport, variant: str) -> str:
    """ "93.3 % in int8: linear 100 %, attention 0 %"; empty where they were not counted."""
    rows = [row for row in report.kinds if row.variant == variant]
    if not (total := sum(row.macs for row in rows)):
        return ""
    by_kind = ", ".join(f"{row.kind} {_percent(row.int8_macs / row.macs)}" for row in rows if row.macs)
    return f"{100 * sum(row.int8_macs for row in rows) / total:.1f} % in int8: {by_kind}"


def saturated_layers(report: CalibrationReport) -> Table:
    """The layers that lose most to 16-bit sums, of those that lose anything."""
    rows = [(found, layer) for found in report.saturation for layer in found.layers if layer.pairs_cut]
    rows = sorted(rows, key=lambda row: -row[1].error)[:MOST_LAYERS]
    return Table(
        header=("variant", "runtime", "layer that saturates most", "pairs cut", "lost of its output"),
        rows=tuple(
            (found.variant, found.runtime, layer.node, _percent(layer.pairs_cut), _percent(layer.error))
            for found, layer in rows
        ),
    )


def _saturated(report: CalibrationReport) -> str:
    """What is predicted for CPUs without VNNI, and what to do."""
    by_variant: dict[tuple[str, int], list[str]] = {}
    for found in report.saturation:
        off = f"{_percent(max(found.errors.values(), default=None))} off in {found.runtime}"
        by_variant.setdefault((found.variant, found.samples), []).append(off)
    said = [
        f"{variant} on a CPU without VNNI, predicted from {counted(samples, 'sample')}: {', '.join(off)}."
        for (variant, samples), off in by_variant.items()
    ]
    return (
        f"{' '.join(said)} Such CPUs add products in 16 bits, which saturate. Take int8-w7 there, which can't: "
        "edge-sdk takes no other int8 in OpenVINO, and has ONNX Runtime add exactly, which is slower."
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def attempts(report: CalibrationReport) -> Table:
    """What was tried for each int8 variant: its error, time and memory; the one that is kept is marked."""
    rows = [
        (
            one.variant, ", ".join(part for part in (one.engine, one.mode) if part), one.ranges or "-",
            one.why or _percent(max(one.errors.values(), default=None)), f"{one.seconds:.1f} s",
            "-" if one.peak_bytes is None else f"{one.peak_bytes / 2**20:.0f} MiB", "kept" if one.kept else "",
        )
        for one in report.attempts
    ]  # fmt: skip
    return Table(
        header=("variant", "engine", "ranges", "largest difference", "time", "peak memory", ""), rows=tuple(rows)
    )


def points(found: Search) -> Table:
    """What a search found: none of its rows is beaten in both accuracy and operators in int8. speed: against fp32."""
    runtimes = tuple(dict.fromkeys(name for point in found.points for name in point.speed))
    rows = [
        (
            str(point.int8_operators), *([] if found.of_outputs else [f"{point.value:.4g}"]), _percent(point.error),
            *(f"{point.speed[name]:.2f}x" if name in point.speed else "-" for name in runtimes),
            ("taken" if point.float_nodes == found.best.float_nodes else "") if point.met else "breaks the bound",
        )
        for point in found.points
    ]  # fmt: skip
    speeds = (f"speed on {name}" for name in runtimes)
    metric = () if found.of_outputs else (found.metric,)
    return Table(header=("operators in int8", *metric, "difference", *speeds, ""), rows=tuple(rows))


def reverts(found: Search) -> Table:
    """Which operators became float, and what that bought, from the most sensitive on."""
    rows = [
        (", ".join(_by_place(one.nodes) if len(one.nodes) > 3 else one.nodes), _percent(one.alone),
         _percent(one.before), _percent(one.after))
        for one in found.reverts
    ]  # fmt: skip
    header = ("became float", "difference of these alone in int8", "difference before", "after")
    return Table(header=header, rows=tuple(rows))


def _tried(report: CalibrationReport) -> str:
    peak = "" if report.pass_peak_bytes is None else f", at most {report.pass_peak_bytes / 2**20:.0f} MiB resident"
    return (
        f"Tried for int8, on {counted(report.compared, 'sample')}; reading all samples once took "
        f"{report.pass_seconds:.1f} s{peak}. Peak memory is that of the whole process."
    )


def _searched(found: Search) -> str:
    values = ", ".join(
        f"{_percent(value) if found.of_outputs else format(value, '.4g')} on {name}"
        for name, value in found.values.items()
    )  # fmt: skip
    ended = ", ended by its time" if found.out_of_time else ""
    held = "holds" if found.met else "does NOT hold"
    real = f" (float32: {found.real:.4g})" if found.real else ""
    return (
        f"{found.variant}: a bound of {found.drop} on the {found.metric}{real} {held}: {values or 'not measured'}. "
        f"{counted(found.tries, 'graph')} measured in {found.seconds:.0f} s{ended}."
    )


def sentences(report: CalibrationReport) -> list[str]:
    """What was read, what became int8 and what stayed float, the tensor that is cut most, and notes."""
    left = _left_float(report.left_float)
    out = [f"{counted(report.samples, 'sample')} read, differences measured on {report.compared} of them."]
    if report.layers or report.left_float or any(is_int8(variant) for variant in report.errors):
        out.append(
            f"In int8: {counted(len(report.layers), 'operator')}; of {PRODUCTS}, "
            f"{f'left in float: {left}' if left else 'all that there are'}."
        )
        shares: dict[str, list[str]] = {}
        for variant in dict.fromkeys(row.variant for row in report.kinds):
            shares.setdefault(int8_share(report, variant), []).append(variant)
        out += [f"Multiply-adds of {' and '.join(names)}: {share}." for share, names in shares.items() if share]
    worst = max(report.tensors, key=lambda t: t.cut, default=None)
    if worst is not None:
        cut = f"at most {_percent(worst.cut)} of the values of {worst.tensor}" if worst.cut else "no value"
        out.append(f"Ranges cut {cut}.")
    return [*out, *(f"{note[:1].upper()}{note[1:]}." for note in report.notes)]


MOST_NAMED = 8
"""Nodes left in float that are named one by one, as `--exclude` takes them."""


def _left_float(why: Mapping[str, str]) -> str:
    """ "conv1, head (fewer than 16 inputs); first (excluded by name)": nodes by reason, the largest group last."""
    by_reason: dict[str, list[str]] = {}
    for node, reason in why.items():
        by_reason.setdefault(reason, []).append(node)
    few = len(why) <= MOST_NAMED
    groups = sorted(by_reason.items(), key=lambda one: len(one[1]))
    return "; ".join(f"{', '.join(nodes if few else _by_place(nodes))} ({reason})" for reason, nodes in groups)


def _by_place(nodes: Sequence[str]) -> list[str]:
    """Nodes counted by the first part of their names: "trunk (45)"; the rest of sixty names helps nobody.

    PyTorch's exporter writes "/trunk/conv/Conv": the part before the first slash is empty.
    """
    counts = Counter(name.strip("/").split("/")[0] or name for name in nodes)
    return [f"{place} ({count})" if count > 1 else place for place, count in counts.items()]


def _worst_pairs(report: CalibrationReport, variant: str) -> float | None:
    return max((row.unsafe_pairs[variant] for row in report.layers if variant in row.unsafe_pairs), default=None)


def _percent(value: float | None) -> str:
    if value is None:
        return "-"
    percent = 100.0 * value
    return f"{percent:.0f} %" if abs(percent) >= 99.5 else f"{percent:.2g} %"  # else 1 is "1e+02"
