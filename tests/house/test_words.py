"""One term for one thing: names that were given up don't come back. Reads the source; runs nothing of it."""

from __future__ import annotations

import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("edge_sdk", "runtimes", "calibration", "export")
RETIRED = {
    "told": "info, summary, metrics, facts: what it is",
    "judge": "evaluate, score, check",
    "judged": "evaluated, scored, comparable",
    "promise": "threshold scores, expected rate",
    "promised": "stated, expected",
    "legs": "segments",
    "lap": "on_stage",
    "spoilt": "unusable, affected",
    "spoils": "unusable, affected",
    "outlook": "training plan",
    "hair": "margin",
    "shot": "example",
    "shots": "examples",
    "matched": "output correction",
    "penalty": "ood",
    "turns": "any_orientation",
    "minds": "affects",
    "figures": "metrics",
    "shelf": "cache",
    "sole": "exclusive",
}
"""Word of a name, and what to write instead (docs/glossary.md)."""
PENALTY = "the penalty loss of the EfficientAD paper, by its own name"
ALLOWED = {
    ("export/efficientad/pdn/losses.py", "penalty_loss"): PENALTY,
    ("export/efficientad/pdn/train.py", "penalty_loss"): PENALTY,
    ("export/efficientad/pdn/train.py", "penalty"): PENALTY,
    ("export/efficientad/pdn/train.py", "penalty_grey"): PENALTY,
}
"""File and name that may keep a retired word, and why."""
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def retired_in(path: Path, name: str) -> list[tuple[str, str]]:
    """(name, word) of every name in one Python file that holds a retired word. name: the file's, for `ALLOWED`."""
    with path.open("rb") as source:
        names = {one.string for one in tokenize.tokenize(source.readline) if one.type == tokenize.NAME}
    return sorted(
        (found, word.lower())
        for found in names
        for word in _WORD.findall(found)
        if word.lower() in RETIRED and (name, found) not in ALLOWED
    )


def sources() -> list[Path]:
    """Each file once: `edge_sdk` has links to the other packages, and `rglob` does not follow them."""
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_no_name_holds_a_retired_word(package: str) -> None:
    files = [path for path in sources() if path.relative_to(ROOT).parts[0] == package]
    assert files
    found = [
        f"{path.relative_to(ROOT)}: {name}: write {RETIRED[word]}, not {word}"
        for path in files
        for name, word in retired_in(path, path.relative_to(ROOT).as_posix())
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", ["told", "_told", "told_ms", "HAIR", "PixelFigures", "is_judged", "xs_legs"])
def test_a_retired_word_is_found_in_any_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / "one.py"
    path.write_text(f"{name} = 1  # a comment may say so: told\n")
    assert [found for found, _ in retired_in(path, "one.py")] == [name]


@pytest.mark.parametrize("name", ["overlap", "soldering", "figure", "shell", "unmatched", "returns"])
def test_a_word_inside_another_is_none(name: str, tmp_path: Path) -> None:
    path = tmp_path / "one.py"
    path.write_text(f"{name} = 1\n")
    assert not retired_in(path, "one.py")


@pytest.mark.parametrize(("file", "name"), ALLOWED)
def test_an_exception_is_still_needed(file: str, name: str) -> None:
    assert (name, "penalty") in retired_in(ROOT / file, "")
