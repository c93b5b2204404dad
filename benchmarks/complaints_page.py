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


def rendered(page: str, found: Mapping[str, Any]) -> str:
    """`page` with each block replaced by what the table and the record say. found: replays by script."""
    return BLOCK.sub(lambda block: _block(complaint(block[1]), found[block[1]]), page)


def headings() -> tuple[str, ...]:
    """The sections that the page must have, in this order."""
    return tuple(f"## {number}. {one.title}" for number, one in enumerate(COMPLAINTS, 1))


def _block(about: Complaint, replay: Mapping[str, Any]) -> str:
    rows = [Row(**row).cells for row in replay["rows"]]
    header = ("", f"usual: {replay['usual']}", f"edge-sdk: {replay['ours']}")
    return "\n".join(
        (
            f"<!-- replay: {about.script} -->",
            f"Reported in {', '.join(map(_link, about.reported))}.",
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
