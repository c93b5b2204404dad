"""The parts of docs/complaints.md that are written by program: threads, command and table of each complaint. Knows no
runtime; measures nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from replay import Row
from table import COMPLAINTS, Complaint, complaint

PAGE = Path(__file__).resolve().parents[1] / "docs" / "complaints.md"
BLOCK = re.compile(r"^<!-- replay: (\w+) -->\n.*?^<!-- end -->$", re.M | re.S)
MADE = re.compile(r"^<!-- made -->\n.*?^<!-- end -->$", re.M | re.S)
NAMED = ("onnxruntime", "openvino", "nncf", "tensorrt-rtx-cu13-libs", "torch")
"""Packages whose versions the page states."""


def rendered(page: str, record: Mapping[str, Any]) -> str:
    """`page` with each block replaced by what the table and the record say."""
    page = MADE.sub(lambda block: _made(record), page)
    return BLOCK.sub(lambda block: _block(complaint(block[1]), record["figures"][block[1]]), page)


def headings() -> tuple[str, ...]:
    """The sections that the page must have, in this order."""
    return tuple(f"## {number}. {one.title}" for number, one in enumerate(COMPLAINTS, 1))


def _made(record: Mapping[str, Any]) -> str:
    machine, versions = record["machine"], record["versions"]
    packages = ", ".join(f"{name} {versions[name]}" for name in NAMED if name in versions)
    on = f"{machine['cpu_model']}, {machine['physical_cores']} cores, strongest int8 instructions {machine['isa']}"
    return f"<!-- made -->\nMade on: {on}; {packages}.\n<!-- end -->"


def _block(about: Complaint, replay: Mapping[str, Any]) -> str:
    rows = [Row(**row).cells for row in replay["rows"]]
    header = ("", f"usual: {replay['usual']}", f"edge-sdk: {replay['ours']}")
    return "\n".join(
        (
            f"<!-- replay: {about.script} -->",
            "Reported in\n" + ",\n".join(map(_link, about.reported)) + ".",
            "",
            "```sh",
            f"python samples/complaints/{about.script}.py",
            "```",
            "",
            *(f"| {' | '.join(cells)} |" for cells in (header, ("---",) * 3, *rows)),
            "<!-- end -->",
        )
    )


def _link(thread: str) -> str:
    """A thread as a link. thread: owner/repository#1 or owner/repository PR#1."""
    repository, number = re.split(r" ?(?:PR)?#", thread)
    kind = "pull" if " PR#" in thread else "issues"
    return f"[{thread}](https://github.com/{repository}/{kind}/{number})"
