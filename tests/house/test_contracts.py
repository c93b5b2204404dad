"""The import contracts of pyproject.toml name every family and task of the registries: one that is left out is free."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge_sdk import tasks
from edge_sdk.export import registry

ROOT = Path(__file__).resolve().parents[2]
GENERIC = "generic"
"""The family of graphs that users bring, which is named by no registry."""
CONTRACT = re.compile(r'^name = "(?P<name>[^"]*)"\n(?P<rest>(?:.+\n)*)', re.MULTILINE)


def modules(contract: str, key: str) -> set[str]:
    """Which modules a contract lists under a key; {} where there is no such contract."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    for found in CONTRACT.finditer(text):
        listed = re.search(rf"^{key} = \[([^\]]*)\]", found["rest"], re.MULTILINE)
        if re.fullmatch(contract, found["name"]) and listed:
            return set(re.findall(r'"([^"]+)"', listed[1]))
    return set()


def families() -> set[str]:
    return {f"edge_sdk.export.{name}" for name in (*registry._HOMES, GENERIC)}


def test_no_family_is_free_to_know_another_one() -> None:
    protected = modules("No family knows another one, .*", "protected_modules")
    assert protected == families()


def test_what_families_share_may_know_none_of_them() -> None:
    forbidden = modules("What families share knows none of them", "forbidden_modules")
    assert families() - {f"edge_sdk.export.{GENERIC}"} <= forbidden


@pytest.mark.parametrize("task", [name for name in tasks.OWN if name != "tensor"])
def test_only_a_task_and_its_families_know_what_is_its_own(task: str) -> None:
    contract = f"Only the {task} task .*"
    assert {f"edge_sdk.tasks.{task}", f"edge_sdk.export.tasks.{task}"} <= modules(contract, "protected_modules")
    own = {f"edge_sdk.export.{name}" for name, home in registry._HOMES.items() if home.task == task}
    others = families() - own - {f"edge_sdk.export.{GENERIC}"}
    allowed = modules(contract, "allowed_importers")
    assert own <= allowed
    assert not others & allowed
