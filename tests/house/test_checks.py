"""The hooks that run before a commit are what `make check` runs, in the versions that pyproject.toml allows."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOOKS = (ROOT / ".pre-commit-config.yaml").read_text("utf-8")
FIXERS = {"end-of-file-fixer", "trailing-whitespace-fixer"}
"""What they do beside the checks: nothing that a check would refuse."""


def _checks() -> set[str]:
    """The programs of `make check` with their verbs: "ruff check", "mypy"."""
    makefile = (ROOT / "Makefile").read_text("utf-8")
    parts = re.search(r"^check:(.*)$", makefile, re.MULTILINE)
    assert parts is not None
    recipes = [re.search(rf"^{part}:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE) for part in parts[1].split()]
    found = "".join(recipe[1] for recipe in recipes if recipe is not None)
    lines = [line.strip().removeprefix(".venv/bin/").split() for line in found.splitlines()]
    return {" ".join(word for word in words if not word.startswith(("-", "."))) for words in lines}


def _entries() -> set[str]:
    entries = re.findall(r"^ +entry: (.+)$", HOOKS, re.MULTILINE)
    return {" ".join(w for w in e.removeprefix(".venv/bin/").split() if not w.startswith("-")) for e in entries}


def test_the_hooks_are_the_checks() -> None:
    assert _checks() == {"ruff check", "ruff format", "mypy", "lint-imports"}
    assert _entries() == _checks() | FIXERS


def test_a_version_is_stated_alike_in_both_places() -> None:
    stated = set(re.findall(r'additional_dependencies: \["([^"]+)"\]', HOOKS))
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    assert stated
    for requirement in stated:
        assert f'"{requirement}"' in project or requirement.startswith("pre-commit-hooks")


def test_every_term_of_the_glossary_is_one_line_and_in_order() -> None:
    lines = (ROOT / "docs" / "glossary.md").read_text("utf-8").splitlines()
    terms = [found[1] for line in lines if (found := re.match(r"- \*\*(.+?)\*\*: .+\.$", line))]
    assert terms == sorted(terms, key=str.casefold)
    assert len(terms) == len(set(terms)) == sum(line.startswith("-") for line in lines)
