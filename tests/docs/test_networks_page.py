"""The page of well-known networks shows what its record holds, and nothing else."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from networks_page import BLOCK, PAGE, RECORD, rendered  # noqa: E402


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    """The committed record."""
    out: dict[str, Any] = json.loads(RECORD.read_text("utf-8"))
    return out


def test_the_page_shows_the_record(recorded: dict[str, Any]) -> None:
    page = PAGE.read_text("utf-8")
    assert rendered(page, recorded) == page, "benchmarks/networks.py writes it: networks_page.write()"


def test_every_network_of_the_record_has_its_table(recorded: dict[str, Any]) -> None:
    names = [one["name"] for one in recorded["figures"]["networks"]]
    assert BLOCK.findall(PAGE.read_text("utf-8")) == names


def test_a_refusal_and_a_failed_check_are_shown(recorded: dict[str, Any]) -> None:
    """Nothing is left out of a row because it is bad."""
    network = recorded["figures"]["networks"][0]
    ours = next(one for one in network["candidates"] if one["label"] == "edge-sdk int8-w7")
    ours["made"]["verified"] = False
    ours["runtimes"]["openvino"] = {"wrong": "it was refused"}
    page = rendered(f"<!-- network: {network['name']} -->\n<!-- end -->", recorded)
    assert "`verify` FAILS" in page
    row = next(line for line in page.splitlines() if line.startswith("| edge-sdk, int8-w7 |"))
    assert " / refused |" in row
