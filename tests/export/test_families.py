"""Families on the command line: listed without being loaded, each with its own options, made of its dataclass."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from edge_sdk.cli import dataclass_options, main
from edge_sdk.errors import BadUsage
from edge_sdk.export import registry, tasks
from edge_sdk.export.efficientad.family import EfficientAD
from edge_sdk.export.efficientad.options import MOST_PX, SIZES, EfficientAdOptions
from edge_sdk.export.family import Family, FamilyOptions
from edge_sdk.export.option import Kind, TaskOptions, option, specs_of
from edge_sdk.export.tasks.anomaly.options import AnomalyOptions

ROOT = Path(__file__).resolve().parents[2]
family: Family = EfficientAD()  # type-checked: it fits the protocol


@pytest.mark.parametrize("words", [["train", "--help"], ["train", "efficientad", "--help"], ["demo", "--help"],
                                   ["demo", "tinysam", "--help"]])  # fmt: skip
def test_help_loads_no_training_framework(words: list[str]) -> None:
    code = (
        "import sys\nfrom edge_sdk.cli import main\n"
        f"try:\n    main.run({words!r})\nexcept SystemExit as left:\n    assert not left.code\n"
        "print(sorted({'torch', 'onnx', 'onnxruntime', 'openvino'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def called(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as left:
        main.run(list(words))
    caught = capsys.readouterr()
    return int(left.value.code or 0), re.sub(r"\s+", " ", caught.out + caught.err)


def test_train_lists_families_and_a_familys_help_shows_its_options_and_its_tasks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, text = called(capsys, "train", "--help")
    assert code == 0
    assert "efficientad EfficientAD: finds defects" in text
    code, text = called(capsys, "train", "efficientad", "--help")
    assert code == 0
    names = [spec.name for kind in (EfficientAdOptions, AnomalyOptions) for spec in specs_of(kind).values()]
    assert {"--any-orientation", "--ood", "--device", "--rate", "--group", "--time-budget"} <= set(names)
    assert [name for name in names if f"{name} " not in text] == []


def test_a_folder_in_the_place_of_a_family_is_an_error_that_says_what_is_missing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, text = called(capsys, "train", "photos/good", "--out", "x.edge")
    assert code == 2
    assert "there is no family photos/good. edge-sdk train FAMILY DATA" in text
    assert "efficientad" in text


def test_a_family_that_is_not_known_is_wrong_usage_for_the_demo_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = called(capsys, "demo", "nobody", "--out", str(tmp_path / "shown"))
    assert code == 2
    assert "there is no family nobody. One of efficientad" in text


@pytest.mark.parametrize("verb", ["train", "export", "demo"])
def test_a_mistyped_family_gets_the_closest_name_and_all_names(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = called(capsys, verb, "tinysm", "--out", "x.edge")
    assert code == 2
    assert "Did you mean tinysam? " in text
    assert ", ".join(registry.names()) in text


def test_what_is_known_of_a_family_before_it_is_loaded_is_what_it_says_itself() -> None:
    for name in registry.names():
        known, loaded = registry.described(name), registry.family(name)
        assert (known.name, known.task, known.options) == (loaded.name, loaded.task, loaded.options)
        assert tasks.options_of(known.task) is tasks.export_task(known.task).options


WITH_DEMO = [name for name in registry.names() if registry.demo_about(name)]


def test_a_family_without_a_demo_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert {"efficientad", "tinysam"} <= set(WITH_DEMO)
    for name in set(registry.names()) - set(WITH_DEMO):
        assert registry.family(name).demo is None
        code, text = called(capsys, "demo", name, "--out", str(tmp_path / "shown"))
        assert (code, "ships no data to show" in text) == (2, True)
        assert not (tmp_path / "shown").exists()


@pytest.mark.parametrize("name", WITH_DEMO)
def test_the_help_of_a_demo_is_that_of_its_family_with_an_example(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    demo = registry.family(name).demo
    assert demo is not None
    assert demo.about == registry.demo_about(name)
    code, text = called(capsys, "demo", name, "--help")
    assert code == 0
    assert demo.about in text
    assert "minutes on" in text
    assert f"edge-sdk demo {name} --out" in text


@pytest.mark.parametrize("name", WITH_DEMO)
def test_the_page_of_a_demo_says_how_its_pictures_were_changed_as_the_note_beside_them_does(name: str) -> None:
    demo = registry.family(name).demo
    assert demo is not None
    notes = [one.read_text("utf-8") for one in demo.folder.iterdir() if one.name.endswith(".md")]
    assert any(f"Changes: {demo.changes}." in " ".join(note.split()) for note in notes)
    assert demo.credit.endswith(f"Changes: {demo.changes}.")


def test_every_option_of_a_family_is_checked_where_it_is_made() -> None:
    for wrong in ({"seed": -1}, {"steps": 0}, {"threads": 0}, {"device": "tpu"}, {"bit_depth": 8}, {"width": 0}):
        (name,) = wrong
        with pytest.raises(BadUsage, match=f"--{name.replace('_', '-')} is "):
            EfficientAdOptions(**wrong)
    assert EfficientAdOptions(seed=2**32 - 1, bit_depth=10, device="cuda").seed == 2**32 - 1


@dataclass(frozen=True, kw_only=True)
class Trial(FamilyOptions):
    """An option of every kind."""

    depth: int = option(2, kind="int", least=1, most=9, help="Layers.")
    share: float = option(0.5, kind="float", help="Of anything.")
    fast: bool = option(False, kind="flag", help="Or slow.")
    file: Path | None = option(None, kind="path", help="A file.")
    limit: float | None = option(None, kind="seconds", help="How long.")
    hidden: int = 7


def test_a_command_line_is_made_of_the_dataclass_and_back() -> None:
    shown = {one.name: one for one in dataclass_options.parameters(Trial)}
    assert set(shown) == {one.name for one in fields(Trial)} - {"hidden"}
    given = {name: one.default for name, one in shown.items()}
    assert dataclass_options.made(Trial, given) == Trial()
    stated = dataclass_options.made(Trial, given | {"limit": "1min30s", "depth": 9, "fast": True})
    assert (stated.limit, stated.depth, stated.fast) == (90.0, 9, True)
    with pytest.raises(BadUsage, match="--depth is at least 1 and at most 9, not 10"):
        dataclass_options.made(Trial, given | {"depth": 10})
    with pytest.raises(BadUsage, match="has no unit"):
        dataclass_options.made(Trial, given | {"limit": "90"})


@pytest.mark.parametrize(
    ("default", "kind"),
    [(3, "text"), ("3", "int"), (0.5, "int"), (True, "int"), (True, "text"), (0, "flag"), ("a.png", "path"),
     ("9s", "seconds"), (0.01, "rate")],
)  # fmt: skip
def test_a_default_that_contradicts_its_kind_is_refused(default: object, kind: Kind) -> None:
    with pytest.raises(TypeError, match=f"no value of an option of kind '{kind}'"):
        option(default, kind=kind, help="Of anything.")
    assert option(None, kind=kind, help="Of anything.") is not None


def test_a_default_that_is_none_of_the_choices_is_refused() -> None:
    with pytest.raises(TypeError, match="the default 'c' is none of the choices 'a', 'b'"):
        option("c", choices=("a", "b"), help="Of anything.")


def test_a_task_without_options_adds_none() -> None:
    assert dataclass_options.parameters(TaskOptions) == []
    assert tasks.options_of("tensor") is TaskOptions


@pytest.mark.parametrize("size", SIZES)
def test_how_pictures_are_prepared_is_known_from_the_options_alone(size: str) -> None:
    record = EfficientAdOptions(size=size, width=96).preprocessing()
    assert (record.width, record.height, record.border) == (
        96 + 2 * SIZES[size].border, SIZES[size].side + 2 * SIZES[size].border, SIZES[size].border,
    )  # fmt: skip
    with pytest.raises(BadUsage, match=f"{MOST_PX} a side is the most"):
        EfficientAdOptions(size=size, height=MOST_PX + 1).preprocessing()


GENERIC = ("build.py", "pack.py", "family.py", "option.py", "sections.py", "registry.py", "report.py", "speeds.py",
           "demo.py", "calibrating.py", "calibrated.py", "checked.py", "drawing.py", "report.html.j2",
           "tasks/base.py", "tasks/__init__.py", "training/loop.py", "training/checkpoint.py", "training/device.py",
           "training/identity.py")  # fmt: skip


@pytest.mark.parametrize("name", GENERIC)
def test_what_drives_families_knows_no_word_of_one_task(name: str) -> None:
    text = (ROOT / "export" / name).read_text("utf-8").lower()
    text = text.replace("--good", "")  # a colour of the template's style
    found = re.findall(r"\b(?:maps?|scores?|thresholds?|good|defects?|anomaly|anomalies|teachers?)\b", text)
    allowed = {
        "tasks/__init__.py": {"anomaly"},
        "registry.py": {"anomaly", "defects", "good"},
    }
    assert set(found) <= allowed.get(name, set())
    if name == "build.py":
        assert "picture" not in text
