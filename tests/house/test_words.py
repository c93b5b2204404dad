"""One term for one thing: names that were given up don't come back. Reads the source; runs nothing of it."""

from __future__ import annotations

import ast
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("edge_sdk", "runtimes", "calibration", "export", "tests", "benchmarks", "samples")
RETIRED = {
    "told": "info, summary, metrics, facts: what it is",
    "judge": "evaluate, score, check",
    "judged": "evaluated, scored, comparable",
    "judges": "evaluates, scores, checks",
    "judging": "evaluating, scoring",
    "unjudged": "not evaluated",
    "promise": "threshold scores, expected rate",
    "promised": "stated, expected",
    "promises": "states, guarantees",
    "leg": "segment",
    "legs": "segments",
    "lap": "on_stage",
    "laps": "stages",
    "hole": "elided range",
    "holes": "elided ranges",
    "spoilt": "unusable, affected",
    "spoils": "unusable, affected",
    "spoil": "affect, make unusable",
    "spoiled": "unusable, affected",
    "outlook": "training plan",
    "outlooks": "training plans",
    "hair": "margin",
    "hairs": "margins",
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
PAPER = "the penalty loss of the EfficientAD paper, by its own name"
ALLOWED = {
    ("export/efficientad/pdn/losses.py", "penalty_loss"): PAPER,
    ("export/efficientad/pdn/train.py", "penalty_loss"): PAPER,
    ("export/efficientad/pdn/train.py", "penalty"): PAPER,
    ("export/efficientad/pdn/train.py", "penalty_grey"): PAPER,
    ("tests/export/test_pdn_losses.py", "penalty_loss"): PAPER,
    ("tests/export/test_pdn_losses.py", "test_the_penalty_is_the_mean_square_on_foreign_pictures"): PAPER,
}
"""File and name that may keep a retired word, and why."""
KEYED = ("edge_sdk/", "runtimes/", "calibration/", "export/")
"""Where keys count too. Not in benchmarks: their records are measured, and their keys are as they were written."""
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def retired_in(path: Path, name: str) -> list[tuple[str, str]]:
    """(name, word) of every name in one Python file that holds a retired word. name: the file's, for `ALLOWED` and
    KEYED."""
    with path.open("rb") as source:
        names = {one.string for one in tokenize.tokenize(source.readline) if one.type == tokenize.NAME}
    if name.startswith(KEYED):
        names |= keys_in(path.read_text("utf-8"))
    return sorted(
        (found, word.lower())
        for found in names
        for word in _WORD.findall(found)
        if word.lower() in RETIRED and (name, found) not in ALLOWED
    )


def keys_in(source: str) -> set[str]:
    """Texts that are keys of a dict written out: programs read them in JSON as they read names in Python."""
    keys = {key for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Dict) for key in node.keys}
    return {key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}


def sources() -> list[Path]:
    """Each file once: `edge_sdk` has links to the other packages, and `rglob` does not follow them."""
    return sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_name_holds_a_retired_word(folder: str) -> None:
    files = [path for path in sources() if path.relative_to(ROOT).parts[0] == folder]
    assert files
    found = [
        f"{path.relative_to(ROOT)}: {name}: write {RETIRED[word]}, not {word}"
        for path in files
        for name, word in retired_in(path, path.relative_to(ROOT).as_posix())
    ]
    assert not found, "\n".join(found)


SENTENCES = {
    "not the bundle any more": "The bundle was replaced while ...",
    "gone on from": "resumed",
    "goes on from": "resumes from",
    "done before: ": "Training already complete; ...",
    "lose what stands": "Overwrite OUT unconditionally",
    "become their tensor exactly": "reproduced bit-exactly",
    "costs decide": "uses the cost rule",
    "answering little": "the sample hardest to pass with near-zero output",
    "are flattered": "fewer inputs may stay in the CPU's caches",
    "machine hostile": "what the noise means for the latencies",
}
"""Phrases of prose that a reader had to guess, and what to write instead."""
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *sources())
    if path != Path(__file__)
)


@pytest.mark.parametrize("phrase", SENTENCES)
def test_no_page_and_no_source_holds_a_phrase_that_nobody_understood(phrase: str) -> None:
    assert len(PAGES) > 100
    found = [page for page in PAGES if phrase in " ".join((ROOT / page).read_text("utf-8").split()).lower()]
    assert not found, f"write {SENTENCES[phrase]!r}, not {phrase!r}: {', '.join(found)}"


INDEX = re.compile(r"edge-sdk\[|pip install (?:-\S+ )*[\"']?edge-sdk(?![-\w./])")
"""The name with an extra, or what pip is to install: on the package index that is another product. A path is ours."""
UNLESS = {"edge_sdk/extras.py": 'Never "pip install edge-sdk"'}
"""A file, and the words in which it says so."""


@pytest.mark.parametrize("page", PAGES)
def test_nobody_is_sent_to_the_package_index_for_this_product(page: str) -> None:
    text = (ROOT / page).read_text("utf-8").replace(UNLESS.get(page, "\0"), "")
    found = INDEX.search(text)
    assert found is None, f'{page}: {found and found[0]!r} names another product: write pip install ".[EXTRA]"'


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('pip install "edge-sdk[demo]"', True), ("install edge-sdk[dev]", True), ("pip install -U edge-sdk", True),
        ('pip install ".[demo]"', False), ("pip install ./edge_sdk-0.1.0-py3-none-any.whl", False),
        ("pip install nncf; then edge-sdk lint", False), ("pip install ./edge-sdk", False),
    ],
)  # fmt: skip
def test_a_name_of_the_package_index_is_found(text: str, wrong: bool) -> None:
    assert (INDEX.search(text) is not None) == wrong


@pytest.mark.parametrize("name", ["told", "_told", "told_ms", "HAIR", "PixelFigures", "is_judged", "xs_legs", "Hole"])
def test_a_retired_word_is_found_in_any_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / "one.py"
    path.write_text(f"{name} = 1  # a comment may say so: told\n")
    assert [found for found, _ in retired_in(path, "one.py")] == [name]


@pytest.mark.parametrize("key", ["unjudged", "told_ms"])
def test_a_retired_word_is_found_in_a_key_of_json(key: str, tmp_path: Path) -> None:
    path = tmp_path / "one.py"
    path.write_text(f"one = {{**two, '{key}': 'a value may say so: told'}}\n")
    assert [found for found, _ in retired_in(path, "export/one.py")] == [key]


RESERVED = {"Placement": "runtimes/targets.py", "Scored": "edge_sdk/tasks/anomaly/evidence.py"}
"""Class names that mean one thing (docs/glossary.md), and where that is."""


@pytest.mark.parametrize("name", RESERVED)
def test_a_name_that_means_one_thing_is_no_other_class(name: str) -> None:
    product = [path for path in sources() if path.relative_to(ROOT).parts[0] != "tests"]
    homes = [path for path in product if re.search(rf"^class {name}\b", path.read_text("utf-8"), re.M)]
    assert [path.relative_to(ROOT).as_posix() for path in homes] == [RESERVED[name]]


@pytest.mark.parametrize("name", ["overlap", "soldering", "figure", "shell", "unmatched", "returns"])
def test_a_word_inside_another_is_none(name: str, tmp_path: Path) -> None:
    path = tmp_path / "one.py"
    path.write_text(f"{name} = 1\n")
    assert not retired_in(path, "one.py")


@pytest.mark.parametrize(("file", "name"), ALLOWED)
def test_an_exception_is_still_needed(file: str, name: str) -> None:
    assert (name, "penalty") in retired_in(ROOT / file, "")
