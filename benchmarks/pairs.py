"""Pairs of processes that are timed in turn, and a row of a record for each. Knows no bundle's content and no peer."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from record import Rows

from edge_sdk.profiling.compare import CompareOptions, compare
from edge_sdk.profiling.processes import Side

PREDICT, BARE = "edge_sdk.profiling.predicting:predict", "edge_sdk.profiling.predicting:bare"


@dataclass(frozen=True)
class Pair:
    """`b` against `a`, and the figure that is asked of it: of `speedup`, how many times faster `b` is, or of
    `time_ratio`, its inverse."""

    name: str
    a: Side
    b: Side
    wanted: str


def side(
    bundle: Path, variant: str | None, runtime: str, threads: int, *, factory: str = PREDICT,
    folder: Path | None = None, environment: Mapping[str, str] | None = None,
) -> Side:  # fmt: skip
    """One process that runs one variant of one bundle. variant: None = what suits this machine. folder: where a
    `factory` lies that is not edge_sdk's."""
    capped = " capped to AVX2" if environment else ""
    name = f"{bundle.stem} {variant or 'as it suits'} {runtime} {threads} threads {factory.rpartition(':')[2]}{capped}"
    return Side(
        name=name, factory=factory, folder=folder, threads=threads, environment=environment or {},
        arguments={"bundle": str(bundle), "variant": variant, "runtime": runtime, "threads": threads},
    )  # fmt: skip


def measured(pairs: Sequence[Pair], rows: Rows, options: CompareOptions) -> list[dict[str, Any]]:
    """A row for each pair, each printed as it is done; pairs that `rows` has are not measured again."""
    out = []
    for pair in pairs:
        row = rows.row(pair.name, lambda pair=pair: _row(pair, options))
        (low, high), (a, b) = row["speedup_95"], row["medians_ms"]
        print(
            f"{row['speedup']:6.2f}x [{low:.2f}, {high:.2f}]  {pair.name}: {a:.3g} -> {b:.3g} ms, time ratio "
            f"{row['time_ratio']:.3f} (wanted: {pair.wanted})",
            flush=True,
        )
        out.append(row)
    return out


def calls(rows: Sequence[Mapping[str, Any]]) -> int:
    """How many timed calls of a side the rows rest on."""
    return sum(row["comparison"]["ratios"]["calls"] for row in rows)


def portable(given: Any) -> Any:
    """The same without this machine's folders: an interpreter is "python", a bundle its file name."""
    if isinstance(given, dict):
        return {key: portable(value) for key, value in given.items()}
    if isinstance(given, str) and given == sys.executable:
        return "python"
    return Path(given).name if isinstance(given, str) and given.startswith("/") else given


def _row(pair: Pair, options: CompareOptions) -> dict[str, Any]:
    found = compare(pair.a, pair.b, options=options)
    ratio, speedup = found.ratios.p, found.ratios.p.inverse()
    return {
        "name": pair.name,
        "threads": pair.b.threads,
        "wanted": pair.wanted,
        "speedup": speedup.value,
        "speedup_95": [speedup.low, speedup.high],
        "time_ratio": ratio.value,
        "time_ratio_95": [ratio.low, ratio.high],
        "medians_ms": [found.a.median_ms, found.b.median_ms],
        "ratio_of_medians": found.a.median_ms / found.b.median_ms,
        "comparison": portable(found.to_json()),
    }
