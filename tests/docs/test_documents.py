"""What the documents say exists: verbs, options, names, links, records. Nothing of the command line is run."""

from __future__ import annotations

import ast
import contextlib
import importlib
import io
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import classes
import cv2
import disk_graphs
import pytest
import tiny
import typer.main

from edge_sdk.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "samples").glob("*.md"))
)
COMMANDS = ("edge-sdk", ".venv/bin/edge-sdk")
RECIPES = "docs/add-a-"
"""Pages whose commands name what the recipe itself adds; tests/house/test_recipes.py runs them."""
RUNS = re.compile(r"# runs with (an anomaly|a tensor|a classification|a segmentation) bundle")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
LINK = re.compile(r"\]\(([^)\s]+)\)")
RECORD = re.compile(r"[\w./-]+\.json\b")


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def _blocks(language: str) -> list[Block]:
    found = []
    for page in PAGES:
        text = (ROOT / page).read_text("utf-8")
        for match in FENCE.finditer(text):
            if match[1] == language:
                found.append(Block(page, text.count("\n", 0, match.start()) + 1, match[2]))
    return found


def _commands() -> Iterator[tuple[str, list[str]]]:
    """(where, words after the program's name) of every line that calls edge-sdk."""
    for block in _blocks("sh"):
        if block.page.startswith(RECIPES):
            continue
        for line in block.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0] in COMMANDS:
                yield f"{block}: {line}", words[1:]


def _command(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the first words name, and the others. Groups, such as `train`, lead to one of theirs."""
    command, rest = typer.main.get_command(app), list(words)
    while rest and hasattr(command, "get_command") and not rest[0].startswith("-"):
        context = typer.Context(command)
        found = command.get_command(context, rest[0])
        if found is None:
            raise LookupError(f"there is no {rest[0]}")
        command, rest = found, rest[1:]
    return command, rest


def _problem(words: list[str]) -> str:
    """Why the command line would be refused, or "". It is parsed by the command's own parser; nothing is called."""
    try:
        command, rest = _command(words)
        if "--help" in rest:
            return ""
        command.make_context(command.name or "", rest)
    except SystemExit as exc:
        return f"exit {exc.code}"
    except Exception as exc:  # noqa: BLE001 - any refusal is a fault of the page
        return f"{type(exc).__name__}: {exc}"
    return ""


CALLS = list(_commands())


@pytest.mark.parametrize(("where", "words"), CALLS, ids=[where for where, _ in CALLS])
def test_every_command_that_a_page_shows_is_understood(where: str, words: list[str]) -> None:
    assert _problem(words) == "", where


def _outputs(commands: list[list[str]]) -> list[str]:
    """What two commands write that are pasted one after the other: the second one is refused, or replaces the first.
    The same command twice resumes; one with --overwrite says that it replaces."""
    written: dict[str, list[str]] = {}
    twice = []
    for words in commands:
        if "--dry-run" in words or "--overwrite" in words or "--out" not in words:
            continue
        out = words[words.index("--out") + 1]
        if written.setdefault(out, words) != words:
            twice.append(out)
    return twice


def _shown_together() -> Iterator[tuple[str, list[list[str]]]]:
    for block in _blocks("sh"):
        lines = (shlex.split(line, comments=True) for line in block.text.replace("\\\n", " ").splitlines())
        commands = [words[1:] for words in lines if words and words[0] in COMMANDS]
        if len(commands) > 1:
            yield str(block), commands


TOGETHER = list(_shown_together())


@pytest.mark.parametrize(("where", "commands"), TOGETHER, ids=[where for where, _ in TOGETHER])
def test_commands_shown_together_do_not_write_over_each_other(where: str, commands: list[list[str]]) -> None:
    assert _outputs(commands) == [], where


def test_two_commands_that_write_to_one_folder_would_be_found() -> None:
    first, second = ["predict", "a.edge", "x", "--out", "results"], ["predict", "b.edge", "x", "--out", "results"]
    assert _outputs([first, second]) == ["results"]
    assert _outputs([first, first]) == _outputs([[*first, "--dry-run"], second]) == []


def test_no_demo_on_a_page_writes_over_the_report_of_make_demo() -> None:
    shown = [words for _, words in CALLS if words[0] == "demo" and "--help" not in words]
    assert shown
    for words in shown:
        assert "--out" in words, words
        assert (words[words.index("--out") + 1] == "demo-report") == (words[1] == "efficientad"), words


def test_a_command_that_does_not_exist_would_be_found() -> None:
    assert len(CALLS) > 25
    for wrong in ("trian efficientad x", "train efficientad x --out a.edge --turns", "threshold", "predict a.edge"):
        assert _problem(wrong.split()), wrong


PYTHON = _blocks("python")


@pytest.mark.parametrize("block", PYTHON, ids=map(str, PYTHON))
def test_every_name_of_ours_in_a_python_block_exists(block: Block) -> None:
    tree = ast.parse(block.text)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "edge_sdk":
            module = importlib.import_module(node.module or "")
            for alias in node.names:
                assert hasattr(module, alias.name), f"{block}: {node.module} has no {alias.name}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "edge_sdk":
            module = importlib.import_module("edge_sdk")
            assert hasattr(module, node.attr), f"{block}: edge_sdk has no {node.attr}"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path, tensor_bundle: Path) -> Path:
    """A folder with the files that the pages call line3.edge, m.edge, orientation.edge, objects.edge and photo.png."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "line3.edge").write_bytes(tiny_bundle.read_bytes())
    cv2.imwrite(str(folder / "photo.png"), tiny.picture(4))
    (folder / "m.edge").write_bytes(tensor_bundle.read_bytes())
    classes.write(folder / "orientation.edge", classes.exported()).close()
    disk_graphs.write(folder / "objects.edge")
    return folder


RUNNABLE = [block for block in PYTHON if RUNS.search(block.text)]


@pytest.mark.parametrize("block", RUNNABLE, ids=map(str, RUNNABLE))
def test_a_block_that_says_it_runs_does(block: Block, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk)
    monkeypatch.setenv("XDG_CACHE_HOME", str(desk / "cache"))
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(block.text, str(block), "exec"), {"__name__": "__page__"})
    assert printed.getvalue().strip(), f"{block} prints nothing"


def test_pages_have_blocks_that_run() -> None:
    assert len(RUNNABLE) >= 5


@pytest.mark.parametrize("page", PAGES)
def test_every_link_inside_the_checkout_leads_to_a_file(page: str) -> None:
    text = FENCE.sub("", (ROOT / page).read_text("utf-8"))
    for target in LINK.findall(text):
        if "://" in target or target.startswith("#"):
            continue
        assert (ROOT / page).parent.joinpath(target.partition("#")[0]).exists(), f"{page} links to {target}"


def _records(page: str) -> list[str]:
    """Paths of results that a page names, in its words: docs/results/x.json, or x.json on the page of results."""
    text = (ROOT / page).read_text("utf-8")
    inside = page.startswith("docs/results/")
    return [name for name in RECORD.findall(text) if "docs/results/" in name or (inside and "<" not in name)]


@pytest.mark.parametrize("page", [page for page in PAGES if page != "docs/bundle-format.md"])
def test_every_record_that_a_page_names_is_there(page: str) -> None:
    for name in _records(page):
        places = (ROOT / name, (ROOT / page).parent / name)
        assert any(place.is_file() for place in places), f"{page} names {name}"


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    linked = {(ROOT / "docs" / target).resolve() for target in LINK.findall(index)}
    missing = {path for path in (ROOT / "docs").glob("*.md") if path.name != "README.md"} - linked
    assert missing == set()


def test_the_layers_on_the_page_are_those_of_the_contract() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    shown = page.split("## Layers")[1].split("```")[1].strip().splitlines()
    contract = (ROOT / "pyproject.toml").read_text("utf-8").split("layers = [")[1].split("]")[0]
    layers = [line.replace("edge_sdk.", "") for line in re.findall(r'"([^"]+)"', contract)]
    assert shown == layers
