"""Ten public complaints, replayed: each command runs and its claims hold, and the page shows what the record holds."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "samples" / "complaints"
for folder in (ROOT / "benchmarks", SCRIPTS):
    sys.path.insert(0, str(folder))

from complaints_page import BLOCK, PAGE, headings, rendered  # noqa: E402
from replay import Claim, Replay, Row, installed, run  # noqa: E402
from table import COMPLAINTS, Complaint  # noqa: E402

pytestmark = pytest.mark.long

RECORD = ROOT / "docs" / "results" / "complaints.json"
PARTS = {"table", "replay", "usual", "ours", "networks", "picture_bundle"}
"""Modules of the folder that are no command."""


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text("utf-8")


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    """The committed record."""
    out: dict[str, Any] = json.loads(RECORD.read_text("utf-8"))
    return out


@pytest.fixture(scope="module")
def replays() -> dict[str, Future[subprocess.CompletedProcess[str]]]:
    """Every command whose packages are here, two at a time, each in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def replay(script: str) -> subprocess.CompletedProcess[str]:
        call = [sys.executable, "-W", "ignore", str(SCRIPTS / f"{script}.py"), "--json"]
        return subprocess.run(call, capture_output=True, text=True, check=False, env=environment, timeout=300)

    with ThreadPoolExecutor(2, thread_name_prefix="replay") as pool:
        return {one.script: pool.submit(replay, one.script) for one in COMPLAINTS if all(map(installed, one.needs))}


@pytest.mark.parametrize("about", COMPLAINTS, ids=lambda about: about.script)
def test_the_failure_shows_with_the_usual_tool_and_not_with_edge_sdk(
    about: Complaint, replays: dict[str, Future[subprocess.CompletedProcess[str]]]
) -> None:
    if missing := [name for name in about.needs if not installed(name)]:
        pytest.skip(f"{', '.join(missing)} not installed: {about.script} is not replayed here")
    done = replays[about.script].result()
    if done.returncode == 4:
        pytest.skip(f"{about.script} is not replayed here: {done.stderr.strip()}")
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    assert [claim["text"] for claim in found["claims"] if not claim["holds"]] == []
    assert done.returncode == 0, done.stderr
    assert found["rows"]


def test_a_claim_that_does_not_hold_ends_the_command_with_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["silent_cpu.py"])
    rows, claims = (Row("speed", 2.0, None, "ms"),), (Claim("two is three", False),)
    with pytest.raises(SystemExit) as left:
        run("silent_cpu.py", lambda folder: Replay(usual="a", ours="b", rows=rows, claims=claims))
    assert left.value.code == 1
    printed = capsys.readouterr().out
    assert "DOES NOT HOLD: two is three" in printed
    assert re.search(r"^speed +2 ms +-$", printed, re.M)


def test_the_table_names_every_command_of_the_folder_and_no_other() -> None:
    there = {path.stem for path in SCRIPTS.glob("*.py")} - PARTS
    assert len(COMPLAINTS) == 10
    assert {one.script for one in COMPLAINTS} == there


@pytest.mark.parametrize("about", COMPLAINTS, ids=lambda about: about.script)
def test_a_complaint_names_public_threads(about: Complaint) -> None:
    assert len(about.reported) >= 3
    for thread in about.reported:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+( PR)?#\d+", thread), thread


def test_the_page_has_a_section_and_a_block_for_each_complaint_in_the_order_of_the_table(page: str) -> None:
    assert tuple(re.findall(r"^## .*", page, re.M)) == headings()
    assert [block[1] for block in BLOCK.finditer(page)] == [one.script for one in COMPLAINTS]


def test_every_section_says_why_and_shows_a_command_of_edge_sdk(page: str) -> None:
    for section in page.split("\n## ")[1:]:
        assert "**Why.**" in section
        assert re.search(r"^edge-sdk \w+", section, re.M), section.splitlines()[0]


def test_the_tables_of_the_page_are_those_of_the_record(page: str, recorded: dict[str, Any]) -> None:
    assert rendered(page, recorded) == page, "python benchmarks/complaints.py --only-page writes it anew"


def test_the_record_holds_every_complaint_and_claims_that_held(recorded: dict[str, Any]) -> None:
    assert list(recorded["figures"]) == [one.script for one in COMPLAINTS]
    for script, found in recorded["figures"].items():
        assert found["claims"], script
        assert all(claim["holds"] for claim in found["claims"]), script
