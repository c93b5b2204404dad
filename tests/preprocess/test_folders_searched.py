"""What a folder's search finds: links, loops, what can't be looked at, and names of any bytes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_sdk import folders
from edge_sdk.errors import BadInput
from edge_sdk.shown import safe, shown

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links and bytes in names as POSIX has them")


def _names(folder: Path, *, recursive: bool = True) -> list[str]:
    return [p.relative_to(folder).as_posix() for p in folders.pictures_in(folder, recursive=recursive, at_least=0)]


def _file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_a_link_to_a_folder_is_followed_and_its_pictures_are_found(tmp_path: Path) -> None:
    _file(tmp_path / "elsewhere" / "deep" / "b.png")
    here = _file(tmp_path / "here" / "a.png").parent
    (here / "more").symlink_to(tmp_path / "elsewhere")
    (here / "c.png").symlink_to(tmp_path / "elsewhere" / "deep" / "b.png")
    assert _names(here) == ["a.png", "c.png", "more/deep/b.png"]
    assert _names(here, recursive=False) == ["a.png", "c.png"]
    assert folders.left_out(here, recursive=True) == ""


def test_each_folder_is_entered_once_under_its_own_name_where_it_has_one(tmp_path: Path) -> None:
    _file(tmp_path / "z" / "a.png")
    for name in ("a", "b"):
        (tmp_path / name).symlink_to(tmp_path / "z")
    outside = _file(tmp_path.parent / f"{tmp_path.name} outside" / "c.png").parent
    for name in ("first", "second"):
        (tmp_path / name).symlink_to(outside)
    (outside / "round").symlink_to(outside)
    assert _names(tmp_path) == ["first/c.png", "z/a.png"]


@pytest.mark.parametrize("target", [".", "..", "/"])
def test_a_link_to_a_folder_around_this_one_is_not_followed_and_counted(target: str, tmp_path: Path) -> None:
    here = _file(tmp_path / "here" / "inner" / "a.png").parents[1]
    _file(tmp_path / "beside.png")
    (here / "inner" / "up").symlink_to(here / target)
    assert _names(here) == ["inner/a.png"]
    assert folders.left_out(here, recursive=True) == "left out: 1 link to a folder that this one lies in (up)"


@pytest.mark.parametrize("name", ["gone.png", "more", "batch.2024"])
@pytest.mark.parametrize("target", ["not there", "itself"])
def test_a_broken_link_is_among_the_pictures_since_nobody_knows_what_it_was(
    name: str, target: str, tmp_path: Path
) -> None:
    link = _file(tmp_path / "a.png").with_name(name)
    link.symlink_to(name if target == "itself" else "/nowhere/at/all")
    assert _names(tmp_path) == sorted(["a.png", name])
    assert folders.broken_links_in(tmp_path) == [link]


def test_what_is_no_file_is_counted_and_never_waited_for(tmp_path: Path) -> None:
    _file(tmp_path / "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert _names(tmp_path) == ["a.png"]
    words = "left out: 1 file that is not read as a picture (.png that is no file 1)"
    assert folders.left_out(tmp_path, recursive=True) == words


LOOK = """
import os, sys
from pathlib import Path
from edge_sdk import folders
from edge_sdk.errors import BadInput
if os.geteuid() == 0:
    os.seteuid(65534)  # root may look into everything
folder = Path(sys.argv[1])
print([path.name for path in folders.pictures_in(folder, recursive=True)])
try:
    folders.pictures_in(folder / "shut", recursive=True)
except BadInput as exc:
    print(exc)
"""


def test_a_folder_that_can_not_be_looked_into_is_among_the_pictures_and_refused_by_itself() -> None:
    with tempfile.TemporaryDirectory() as made:  # not tmp_path, which nobody else may enter
        folder = Path(made)
        folder.chmod(0o755)
        _file(folder / "a.png")
        _file(folder / "shut" / "b.png").parent.chmod(0)
        done = subprocess.run([sys.executable, "-c", LOOK, made], capture_output=True, text=True, check=False)
        (folder / "shut").chmod(0o755)
    assert done.returncode == 0, done.stderr
    listed, refused = done.stdout.splitlines()
    assert listed == "['a.png', 'shut']"
    assert refused.startswith(f"{made}/shut: can't look into it: Permission denied.")


def test_the_folder_itself_must_be_one(tmp_path: Path) -> None:
    (tmp_path / "gone").symlink_to(tmp_path / "not there")
    for path in (tmp_path / "gone", _file(tmp_path / "a.png")):
        with pytest.raises(BadInput, match="not a folder"):
            folders.pictures_in(path, recursive=True)


@given(st.binary(min_size=1, max_size=40))
def test_any_name_is_shown_as_one_line_of_text_that_can_be_written(name: bytes) -> None:
    text = shown(os.fsdecode(name))
    assert text.isprintable() or not any(ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 for c in text)
    assert "\n" not in text
    assert len(text.encode("utf-8").splitlines()) <= 1


def test_plain_names_are_shown_as_they_are_and_others_by_their_bytes() -> None:
    assert shown("Teil ä 雪.png") == "Teil ä 雪.png"
    assert shown(os.fsdecode(b"teil_\xe4\n\x1b[31m.png")) == r"teil_\xe4\x0a\x1b[31m.png"
    assert safe("a\tb\nc\x1b[0m") == "a\tb\nc\\x1b[0m"
