"""Benchmarks and their records: each says how it was made, and its command is still understood."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from record import Rows  # noqa: E402

RESULTS = ROOT / "docs" / "results"
RECORDS = sorted(path.relative_to(RESULTS).as_posix() for path in RESULTS.rglob("*.json"))
SCRIPTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "benchmarks").glob("*.py")
    if "__main__" in path.read_text("utf-8")
)
HEAVY = ("torch", "onnx", "onnxruntime", "openvino", "scipy", "sklearn", "skimage", "anomalib")
PARSE = """
import contextlib, importlib.util, io, json, os, sys
commands, heavy, found = json.loads(sys.argv[1]), json.loads(sys.argv[2]), []
sys.path.insert(0, os.path.abspath("benchmarks"))
parsers = {}
for script, *words in commands:
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        try:
            if script not in parsers:
                spec = importlib.util.spec_from_file_location("script_" + os.path.basename(script)[:-3], script)
                module = importlib.util.module_from_spec(spec)
                sys.modules[spec.name] = module
                spec.loader.exec_module(module)
                parsers[script] = module.parser
            if words != ["--help"]:
                parsers[script]().parse_args(words)
            else:
                parsers[script]().format_help()
        except (SystemExit, OSError, AttributeError) as exc:
            said.write(f"{type(exc).__name__}: {exc}")
    found.append([said.getvalue(), sorted(set(heavy) & set(sys.modules))])
print(json.dumps(found))
"""


def read(name: str) -> dict[str, Any]:
    out: dict[str, Any] = json.loads((RESULTS / name).read_text("utf-8"))
    return out


def command_of(name: str) -> tuple[str, ...]:
    """Script and options that make a record today. again: where the script that made it has another name now."""
    record = read(name)
    python, *words = record.get("again", record["command"])
    assert python == "python"
    return tuple(words)


def written_in(text: str) -> list[tuple[str, ...]]:
    """Commands of scripts in a text: a line that begins with one, or one between back-ticks."""
    joined = re.sub(r"\\\n\s*", " ", text)
    lines = re.findall(r"^ +python (benchmarks/\w+\.py.*?)(?:   .*)?$|`python (benchmarks/\w+\.py[^`]*)`", joined, re.M)
    return [tuple(shlex.split(line or quoted)) for line, quoted in lines]


IN_README = written_in((RESULTS / "README.md").read_text("utf-8"))
IN_SCRIPTS = [one for name in SCRIPTS for one in written_in((ROOT / name).read_text("utf-8").split('"""')[1])]


@cache
def parsed() -> dict[tuple[str, ...], tuple[str, list[str]]]:
    """(what argparse said, heavy packages imported so far) by command; all of one fresh process."""
    helps = [(script, "--help") for script in SCRIPTS]
    commands = list(dict.fromkeys([*helps, *map(command_of, RECORDS), *IN_README, *IN_SCRIPTS]))
    call = [sys.executable, "-W", "ignore", "-c", PARSE, json.dumps(commands), json.dumps(HEAVY)]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {one: (said, heavy) for one, (said, heavy) in zip(commands, json.loads(done.stdout), strict=True)}


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_says_how_it_was_made(name: str) -> None:
    record = read(name)
    assert record["schema"] == "edge-sdk.benchmark/1"
    assert record["command"][0] == "python"
    assert record["machine"]["cpu_model"]
    assert record["machine"]["isa"]
    assert {"python", "edge-sdk", "numpy"} <= {*record["versions"], *record["machine"]}
    assert record["samples"] > 0
    assert isinstance(record["seeds"], list)
    assert record["created_utc"]
    assert len(record["commit"].rstrip("+")) == 40
    assert record["figures"]


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_names_a_script_that_is_there_and_options_that_it_has(name: str) -> None:
    script = command_of(name)[0]
    assert (ROOT / script).is_file(), script
    assert parsed()[command_of(name)][0] == ""


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_is_in_the_table_with_the_command_that_makes_it(name: str) -> None:
    rows = [line for line in (RESULTS / "README.md").read_text("utf-8").splitlines() if line.startswith("| `")]
    called = {line.split("`")[1]: line for line in rows}
    fits = [
        line for pattern, line in called.items()
        if re.fullmatch(re.sub(r"<\w+>", r"\\w+", pattern.replace(".", r"\.")), name)
    ]  # fmt: skip
    assert len(fits) == 1, name
    (command,) = written_in(fits[0])
    assert command[0] == command_of(name)[0]


@pytest.mark.parametrize("command", [*IN_README, *IN_SCRIPTS], ids=" ".join)
def test_a_command_in_the_documents_is_understood(command: tuple[str, ...]) -> None:
    assert parsed()[command][0] == ""


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_says_how_it_is_run_and_loads_nothing_heavy_before_its_arguments_are_understood(script: str) -> None:
    assert parsed()[script, "--help"] == ("", [])
    assert any(command[0] == script for command in IN_SCRIPTS) or script.endswith("anomalib_subject.py")


def asked(**values: object) -> argparse.Namespace:
    return argparse.Namespace(**values)


def test_rows_that_were_measured_are_not_measured_again(tmp_path: Path) -> None:
    out, calls = tmp_path / "speed.json", []

    def measure(name: str) -> dict[str, str]:
        calls.append(name)
        return {"of": name}

    for wanted in (["a", "b"], ["a", "b", "c"]):
        rows = Rows(out, asked(steps=3, out=out))
        assert [rows.row(name, lambda name=name: measure(name)) for name in wanted] == [{"of": name} for name in wanted]
    assert calls == ["a", "b", "c"]
    rows.discard()
    assert list(tmp_path.iterdir()) == []


def test_rows_of_other_options_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "speed.json"
    Rows(out, asked(steps=3)).row("a", lambda: 1)
    with pytest.raises(SystemExit, match=r"speed\.part holds rows of other options .* remove it to start anew"):
        Rows(out, asked(steps=4))


def test_a_row_that_a_kill_cut_is_measured_again(tmp_path: Path) -> None:
    out = tmp_path / "speed.json"
    rows = Rows(out, asked(steps=3))
    rows.row("a", lambda: 1)
    rows.row("b", lambda: 2)
    part = out.with_suffix(".part")
    for size in range(0, part.stat().st_size, 3):
        cut = tmp_path / str(size) / "speed.json"
        cut.parent.mkdir()
        cut.with_suffix(".part").write_bytes(part.read_bytes()[:size])
        assert [Rows(cut, asked(steps=3)).row(name, lambda: 3) for name in "ab"][1] == 3
        # and what is added behind the cut can be read again
        assert Rows(cut, asked(steps=3)).row("b", lambda: 4) == 3
