"""The house: links point right, the wheel holds each file once, modules have one identity, imports stay light."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINKED = ("runtimes", "calibration", "export")
NEW_FAMILY = ("export/other/__init__.py", "export/other/small/__init__.py", "export/other/demo/good/a.png")


@pytest.mark.parametrize("name", LINKED)
def test_the_link_is_relative_and_points_to_the_top_folder(name: str) -> None:
    link = ROOT / "edge_sdk" / name
    assert link.is_symlink()
    assert os.readlink(link) == f"../{name}"


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_module_behind_a_link_has_one_identity() -> None:
    code = (
        "import sys, edge_sdk.runtimes.protocol, edge_sdk.calibration, edge_sdk.export.family\n"
        "names = [n for n in sys.modules if n.split('.')[-1] in ('protocol', 'family')]\n"
        "print(sorted(n for n in names if 'edge_sdk' in n))"
    )
    assert _run(code).strip() == "['edge_sdk.export.family', 'edge_sdk.runtimes.protocol']"


HEAVY = (
    "{'torch', 'onnx', 'nncf', 'onnxruntime', 'openvino', 'cryptography', 'typer', 'rich', 'scipy', 'filelock',"
    " 'platformdirs', 'psutil'}"
)


def test_import_edge_sdk_brings_nothing_heavy() -> None:
    assert _run(f"import sys, edge_sdk; print(sorted({HEAVY} & set(sys.modules)))").strip() == "[]"


def test_help_brings_nothing_that_calibrates() -> None:
    """Help is built from constants of `calibration`: those of modules that import no graph library."""
    code = (
        "import sys\n"
        "from edge_sdk.cli.main import run\n"
        "for words in (['--help'], ['quantize', '--help'], ['export', '--help']):\n"
        "    try:\n"
        "        run(words)\n"
        "    except SystemExit as left:\n"
        "        assert left.code == 0, words\n"
        f"print('heavy:', sorted({HEAVY} - {{'typer', 'rich'}} & set(sys.modules)))"
    )
    assert _run(code).splitlines()[-1] == "heavy: []"


def test_the_device_side_brings_no_training_package_and_no_runtime_before_it_is_asked() -> None:
    code = (
        "import sys, edge_sdk\n"
        "edge_sdk.load, edge_sdk.Bundle, edge_sdk.AnomalyDetector, edge_sdk.AnomalyResult\n"
        "import edge_sdk.verify, edge_sdk.runtimes.registry\n"
        f"print(sorted({HEAVY} & set(sys.modules)))"
    )
    assert _run(code).strip() == "[]"


MISTAKES = (
    ("train", "efficientad", "nowhere", "--out", "a.edge"),
    ("train", "efficientad", ".", "--out", "a.edge"),
    ("train", "efficientad", ".", "--out", "a.edge", "--rate", "95"),
    ("train", "efficientad", ".", "--out", "a.edge", "--group", "(("),
    ("demo", "--family", "nobody"),
    ("demo", "--time-budget", "10"),
)


def test_what_is_wrong_with_a_command_is_said_before_torch_is_loaded(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from edge_sdk.cli.main import run\n"
        f"os.chdir({str(tmp_path)!r})\n"
        f"for mistake in {MISTAKES}:\n"
        "    try:\n"
        "        run(list(mistake))\n"
        "    except SystemExit as left:\n"
        "        assert left.code in (2, 3), mistake\n"
        "    assert 'torch' not in sys.modules, mistake\n"
    )
    _run(code)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names in the wheel of a copy of this checkout with one more family, which has a folder inside and one of data."""
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, copy / name)
    for top in ("edge_sdk", *LINKED):
        shutil.copytree(ROOT / top, copy / top, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in NEW_FAMILY:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).touch()
    left_over = copy / "build" / "lib" / "edge_sdk" / "moved_since.py"
    left_over.parent.mkdir(parents=True)
    left_over.touch()
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (file,) = out.glob("*.whl")
    return zipfile.ZipFile(file).namelist()


def test_a_new_family_is_in_the_wheel_without_being_listed(wheel: list[str]) -> None:
    assert {f"edge_sdk/{name}" for name in NEW_FAMILY} <= set(wheel)


def test_the_wheel_holds_each_file_once_and_real_files_behind_the_links(wheel: list[str]) -> None:
    repeated = [name for name, count in Counter(wheel).items() if count > 1]
    assert repeated == []
    for name in ("edge_sdk/runtimes/protocol.py", "edge_sdk/calibration/__init__.py", "edge_sdk/export/family.py"):
        assert name in wheel
    assert not [name for name in wheel if name.startswith(("runtimes/", "calibration/", "export/", "tests/"))]


def test_the_wheel_holds_nothing_that_an_earlier_build_left(wheel: list[str]) -> None:
    assert not [name for name in wheel if "moved_since" in name]


def test_the_wheel_holds_every_module_and_every_data_file(wheel: list[str]) -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split(
        "\n"
    )
    if not any(tracked):
        pytest.skip("this is no git checkout: the list of files is not known")
    wanted = set()
    for name in tracked:
        top = name.split("/")[0]
        if top == "edge_sdk" and not (ROOT / name).is_symlink():
            wanted.add(name)
        elif top in LINKED:
            wanted.add(f"edge_sdk/{name}")
    assert wanted - set(wheel) == set()


def test_the_console_script_is_the_command_line(wheel: list[str]) -> None:
    from importlib.metadata import entry_points

    scripts = {e.name: e.value for e in entry_points(group="console_scripts")}
    assert scripts["edge-sdk"] == "edge_sdk.cli:run"


def test_no_folder_is_called_by_a_word_that_says_nothing() -> None:
    words = {"utils", "util", "helpers", "helper", "common", "misc", "manager"}
    found = [p for top in ("edge_sdk", *LINKED) for p in (ROOT / top).rglob("*.py") if words & {p.stem, *p.parts}]
    assert found == []


def test_whoever_asks_openvino_in_this_process_asks_its_one_core() -> None:
    """Two Cores that die in the order in which they were made leave a signal stack that was freed: the next Ctrl-C, or
    test that presses it, is a crash without a word. Cores of child processes are in their code, which is a string."""
    found = []
    for folder in ("edge_sdk", *LINKED, "tests", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path != ROOT / "runtimes" / "ov.py" and not path.is_relative_to(ROOT / "edge_sdk" / "runtimes"):
                calls = (node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call))
                found += [path for one in calls if isinstance(one.func, ast.Attribute) and one.func.attr == "Core"]
    assert found == []
