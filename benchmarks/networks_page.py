"""The tables of docs/networks.md, which networks.py writes from its record. Knows no runtime; measures nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE, RECORD = ROOT / "docs" / "networks.md", ROOT / "docs" / "results" / "networks.json"
BLOCK = re.compile(r"^<!-- network: (\w+) -->\n.*?^<!-- end -->$", re.M | re.S)
MADE = re.compile(r"^<!-- made -->\n.*?^<!-- end -->$", re.M | re.S)
NAMED = ("onnxruntime", "openvino", "nncf", "tensorrt-rtx-cu13-libs")
"""Packages whose versions the page states."""
RUNTIMES = ("onnxruntime", "openvino")
HEADER = (
    "ONNX Runtime / OpenVINO", "error", "apart", "same decisions", "times as fast as fp32", "int8 operators that ran",
    "TensorRT-RTX", "made in, MiB at most",
)  # fmt: skip
_LABELS = {
    "edge-sdk int8": "edge-sdk, int8", "edge-sdk int8-w7": "edge-sdk, int8-w7",
    "ort-default": "onnxruntime, as it comes", "ort-portable": "onnxruntime, symmetric int8",
    "nncf-default": "nncf, as it comes",
}  # fmt: skip


def rendered(page: str, record: Mapping[str, Any]) -> str:
    """`page` with each block replaced by what the record says."""
    by_name = {one["name"]: one for one in record["figures"]["networks"]}
    page = MADE.sub(lambda _: _made(record), page)
    return BLOCK.sub(lambda block: _block(by_name[block[1]]), page)


def _made(record: Mapping[str, Any]) -> str:
    machine, versions = record["machine"], record["versions"]
    packages = ", ".join(f"{name} {versions[name]}" for name in NAMED if name in versions)
    return (
        f"<!-- made -->\nMade on: {machine['cpu_model']}, one thread, strongest int8 instructions {machine['isa']}; "
        f"{packages}. {record['figures']['calibration_samples']} samples for calibration, {record['samples']} others "
        f"for these figures.\n<!-- end -->"
    )


def _block(network: Mapping[str, Any]) -> str:
    candidates = [one for one in network["candidates"] if one["label"] in _LABELS]
    speeds = {row["name"]: row for row in network["speed"]}
    rows = [_row(network["name"], one, speeds) for one in candidates]
    table = [f"| {' | '.join(cells)} |" for cells in (HEADER, ("---",) * len(HEADER), *rows)]
    return "\n".join([f"<!-- network: {network['name']} -->", *_facts(network, candidates), "", *table, "<!-- end -->"])


def _facts(network: Mapping[str, Any], candidates: list[Any]) -> list[str]:
    """One line above the table. What did not run has no size and no share of its own."""
    ours = next((one for one in candidates if one["label"] == "edge-sdk int8-w7"), None)
    title = f"{network['title']}: {_mib(network['fp32_bytes'])} in float32"
    if ours is None:
        return [f"{title}. edge-sdk made NO int8-w7 of it."]
    made, runs = ours["made"], [ours["runtimes"].get(name, {}) for name in RUNTIMES]
    ran = next((run for run in runs if "bytes" in run), None)
    words = (
        [title] if ran is None else [f"{title}, {_mib(ran['bytes'])} in int8; decisions: {ran['decisions']['what']}"]
    )
    words.append(f"`verify` {'passes' if made['verified'] else 'FAILS'} on every runtime here")
    words.append(f"Nearest by {'; '.join(f'{variant}: {how}' for variant, how in made['kept'].items())}")
    shares = _both(f"{run['int8_macs_ran_at_least']:.0%}" if "bytes" in run else "-" for run in runs)
    words.append(f"Of the work of int8-w7, at least {shares} ran in int8")
    if published := network.get("published"):
        done = published["code"] == 0 and published["verified"]
        words.append(f"The file as it comes, with free axes: {'verified, too' if done else 'NOT verified'}")
    return [". ".join(words) + "."]


def _row(network: str, one: Mapping[str, Any], speeds: Mapping[str, Any]) -> tuple[str, ...]:
    ran = [one["runtimes"].get(name, {"wrong": "not made"}) for name in RUNTIMES]
    fast = [speeds.get(f"{network}: {one['label']} over fp32, {name}, 1 thread") for name in RUNTIMES]
    apart, made = one.get("runtimes_apart"), one["made"]
    return (
        _LABELS[one["label"]],
        _both("refused" if "wrong" in each else f"{each['error']:.1%}" for each in ran),
        "-" if apart is None else f"{apart:.1%}",
        _both(
            "-" if "wrong" in each else f"{each['decisions']['same']} of {each['decisions']['total']}" for each in ran
        ),
        _both("-" if row is None else _interval(row) for row in fast),
        _both("-" if "wrong" in each else str(each["int8_operators_ran"]) for each in ran),
        _rtx(one.get("tensorrt_rtx", {})),
        f"{made['seconds']:.0f} s, {made['peak_mib']:.0f}",
    )


def _both(cells: Iterable[str]) -> str:
    return " / ".join(cells)


def _interval(row: Mapping[str, Any]) -> str:
    low, high = row["speedup_95"]
    return f"{row['speedup']:.2f} [{low:.2f}, {high:.2f}]"


def _rtx(found: Mapping[str, Any]) -> str:
    if "accepted" not in found:
        return "-"
    return "other values" if found["clips"] else "builds" if found["accepted"] else "refuses"


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


def write(record: Path = RECORD) -> None:
    """The page anew, from a record."""
    PAGE.write_text(rendered(PAGE.read_text("utf-8"), json.loads(record.read_text("utf-8"))), "utf-8")
