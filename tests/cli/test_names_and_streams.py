"""Names of any bytes, streams of any encoding, links in folders: every picture is judged, and what isn't is named."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import pytest
import tiny

from edge_sdk.cli import main
from edge_sdk.errors import Stopped

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux alone")
NAMES = (b"plain.png", b"teil_\xe4.png", "雪 ß.png".encode(), b"line\nend.png", b"\x1b[31mred.png")
LINES = ("plain.png", r"teil_\xe4.png", "雪 ß.png", r"line\x0aend.png", r"\x1b[31mred.png")
"""As they are shown in UTF-8."""


@dataclass(frozen=True)
class Done:
    """One call: its exit code, and what it wrote, as bytes."""

    code: int
    out: bytes
    err: bytes


def _edge(*words: str | Path, encoding: str = "utf-8") -> Done:
    """In this process, with streams as a console or a pipe of that encoding has them. encoding: CODEC[:ERRORS]."""
    codec, _, errors = encoding.partition(":")
    out, err = (io.TextIOWrapper(io.BytesIO(), codec, errors or "strict") for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as left:
        main.run([str(word) for word in words])
    return Done(int(left.value.code or 0), out.buffer.getvalue(), err.buffer.getvalue())  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache of names"))


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one good picture of each name."""
    folder = tmp_path_factory.mktemp("named")
    for i, name in enumerate(NAMES):
        data = bytes(cv2.imencode(".png", tiny.picture(300 + i))[1])
        Path(os.fsdecode(os.path.join(os.fsencode(folder), name))).write_bytes(data)
    return folder


def _lines(out: bytes, encoding: str) -> list[str]:
    return out.decode(encoding).splitlines()


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii", "utf-8:surrogateescape"])
def test_every_picture_is_evaluated_and_its_name_escaped_where_the_stream_lacks_it(
    encoding: str, tiny_bundle: Path, named: Path
) -> None:
    done = _edge("predict", tiny_bundle, named, encoding=encoding)
    assert done.code == 0, done.err
    codec = encoding.partition(":")[0]
    lines = _lines(done.out, codec)
    assert len(lines) == len(NAMES)
    assert b"\x1b" not in done.out + done.err
    for name in LINES:
        there = name.encode(codec, "backslashreplace").decode(codec)
        assert sum(f"{named}/{there}" in line for line in lines) == 1, (there, lines)


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii", "utf-8:surrogateescape"])
def test_json_is_json_in_every_encoding_and_gives_the_names_back(
    encoding: str, tiny_bundle: Path, named: Path, tmp_path: Path
) -> None:
    done = _edge("predict", tiny_bundle, named, "--json", "--out", tmp_path, encoding=encoding)
    assert done.code == 0, done.err
    answer = [json.loads(line) for line in _lines(done.out, encoding.partition(":")[0])]
    assert {os.fsencode(row["source"]) for row in answer} == {os.path.join(os.fsencode(named), name) for name in NAMES}
    assert {path.name for path in tmp_path.rglob("*.png")} == {os.fsdecode(name) for name in NAMES}


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_picture_that_can_not_be_read_is_named_in_one_line_whatever_its_name(
    encoding: str, tiny_bundle: Path, tmp_path: Path
) -> None:
    bad = tmp_path / os.fsdecode(b"b\xe4d\n\xe9\x9b\xaa.png")
    bad.write_bytes(b"no picture")
    done = _edge("predict", tiny_bundle, bad, "--json", encoding=encoding)
    assert done.code == 3
    shown = r"b\xe4d\x0a" + ("雪" if encoding == "utf-8" else r"\u96ea")
    first, last = _lines(done.err, encoding)
    assert first == f"edge-sdk: {tmp_path}/{shown}.png: this is not a picture. Save it as " + (
        "PNG, JPEG, TIFF, BMP, WebP or PGM/PPM."
    )
    assert last == "1 of 1 input gave no result"
    assert os.fsencode(json.loads(done.out.decode(encoding))["source"]) == os.fsencode(bad)


@pytest.mark.parametrize("verb", ["threshold", "train"])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("as_json", [False, True])
def test_a_threshold_and_a_training_plan_take_such_names(
    verb: str, encoding: str, as_json: bool, tiny_bundle: Path, named: Path, tmp_path: Path
) -> None:
    words: tuple[str | Path, ...] = ("threshold", tiny_bundle, "--good", named, "--rate", "20%")
    if verb == "train":
        words = ("train", "efficientad", named, "--out", tmp_path / "x.edge", "--rate", "50%")
    done = _edge(*words, "--dry-run", *(["--json"] if as_json else []), encoding=encoding)
    assert done.code == 0, done.err
    if as_json:
        json.loads(done.out.decode(encoding))
    if verb == "threshold":
        assert "look at the good pictures with the highest scores" in done.err.decode(encoding)


def test_a_real_process_with_a_console_of_an_old_code_page_evaluates_every_picture(
    tiny_bundle: Path, named: Path
) -> None:
    code = "import sys; from edge_sdk.cli.main import run; run(sys.argv[1:])"
    call = [sys.executable, "-c", code, "predict", tiny_bundle, named]
    done = subprocess.run(call, capture_output=True, check=False, env=os.environ | {"PYTHONIOENCODING": "cp1252"})
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode("cp1252").splitlines()
    assert len(lines) == len(NAMES)
    assert sum("\\u96ea ß.png" in line for line in lines) == 1


def test_links_in_a_folder_are_followed_and_those_that_lead_nowhere_are_named_with_exit_3(
    tiny_bundle: Path, named: Path, tmp_path: Path
) -> None:
    (tmp_path / "more").symlink_to(named)
    (tmp_path / "up").symlink_to(tmp_path)
    (tmp_path / "gone").symlink_to("/nowhere")
    (tmp_path / "self.png").symlink_to("self.png")
    done = _edge("predict", tiny_bundle, tmp_path, "--out", tmp_path / "out")
    text = done.err.decode()
    assert done.code == 3, text
    assert len(_lines(done.out, "utf-8")) == len(NAMES)
    assert f"edge-sdk: {tmp_path}/gone: can't read it: No such file or directory" in text
    assert f"edge-sdk: {tmp_path}/self.png: can't read it: Too many levels of symbolic links" in text
    assert "1 link to a folder that this one lies in (up)" in text
    assert f"2 of {len(NAMES) + 2} inputs gave no result" in text


INTERRUPTED = """
import sys
class Interrupted:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted())
from edge_sdk.cli import run
run()
"""


@pytest.mark.parametrize("words", [[], ["devices"], ["devices", "--json"]])
def test_ctrl_c_while_modules_are_imported_stops_in_a_sentence(words: list[str]) -> None:
    ran = subprocess.run([sys.executable, "-c", INTERRUPTED, *words], capture_output=True, text=True, timeout=60)
    assert ran.returncode == Stopped.exit_code == 5
    assert ran.stderr == "Stopped. Finished files are kept; none is half written.\n"
    if "--json" in words:
        assert json.loads(ran.stdout)["error"]["kind"] == "Stopped"
    else:
        assert ran.stdout == ""


def test_the_package_runs_as_a_module_and_only_then() -> None:
    import edge_sdk.__main__  # walking over all modules imports it

    ran = subprocess.run([sys.executable, "-m", "edge_sdk", "--version"], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout) == (0, f"edge-sdk {edge_sdk.__version__}\n")
