"""The recipes of docs/: their files are written, their commands run, in the order in which a reader meets them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from installed import Said, Site, environment

ROOT = Path(__file__).resolve().parents[2]
RECIPES = {
    "runtime": ("acme-reference", "model.edge: verified"),
    "task": ("classes    light, dark", "classes.edge: verified", '"name": "light"'),
    "family": ("classes              blue, red", "colours.edge: verified", '"name": "blue"', '"name": "red"'),
}
"""In this order, since the family is for the task; and what must be among the answers of each."""
FENCE = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. file: where the reader puts it, "" for commands."""

    language: str
    file: str
    text: str


def blocks(name: str) -> list[Block]:
    return [Block(*found) for found in FENCE.findall((ROOT / "docs" / f"add-a-{name}.md").read_text("utf-8"))]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return environment(tmp_path_factory.mktemp("recipes"))


def follow(site: Site, commands: str) -> Iterator[Said]:
    """What a block of commands answers; edge-sdk's lines that follow each other run in one process."""
    waiting: list[list[str]] = []
    for line in [*commands.splitlines(), ""]:
        program, *words = shlex.split(line) or [""]
        if program == "edge-sdk":
            waiting.append(words)
            continue
        if waiting:
            yield from site.verbs(*waiting)
            waiting = []
        if program == "pip":
            assert words[0] == "install"
            site.install(*(site.folder / word for word in words[1:]))
        elif program == "python":
            done = site.run(*words)
            yield Said(done.returncode, done.stdout, done.stderr)
        else:
            assert not program, f"nothing here runs {program}"


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_works_as_it_is_written(site: Site, name: str) -> None:
    said: list[Said] = []
    for block in blocks(name):
        if block.file:
            path = site.folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, "utf-8")
        else:
            assert block.language == "sh", f"a block of {block.language} is neither a file nor commands"
            said += follow(site, block.text)
    assert not [one.err for one in said if one.code]
    answers = "\n".join(one.out for one in said)
    for words in RECIPES[name]:
        assert words in answers


def test_their_code_holds_under_strict_types(site: Site) -> None:
    files = [block.file for name in RECIPES for block in blocks(name) if block.file.startswith("acme-")]
    modules = [site.folder / file for file in files if file.endswith(".py")]
    assert len(modules) == len(RECIPES)
    words = ("-m", "mypy", "--strict", "--cache-dir", str(site.folder / "mypy"))
    done = site.run(*words, *map(str, modules), path=[module.parent for module in modules])
    assert done.returncode == 0, done.stdout + done.stderr


def test_contributing_leads_to_each() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    for name in RECIPES:
        assert f"(docs/add-a-{name}.md)" in text
