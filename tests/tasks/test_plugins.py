"""Entry points of tasks, export parts and families: what is wrong with one is said with its package's name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_sdk import plugins, tasks
from edge_sdk.errors import BadUsage, NotThere
from edge_sdk.export import registry
from edge_sdk.export import tasks as export_tasks

FIND: dict[str, Callable[[str], Any]] = {
    tasks.GROUP: tasks.task, export_tasks.GROUP: export_tasks.export_task, registry.GROUP: registry.family
}  # fmt: skip
WRONG = {
    "import fails": ("import a_module_that_is_nowhere\n", "does not load: ModuleNotFoundError: No module named"),
    "exits": ("raise SystemExit(3)\n", "does not load: SystemExit: 3"),
    "nothing of that name": ("Other = 1\n", "does not load: AttributeError"),
    "constructor raises": ("def Made():\n    raise KeyError('size')\n", "does not load: KeyError: 'size'"),
    "not callable": ("Made = 3\n", "does not load: TypeError: 'int' object is not callable"),
    "makes nothing": ("def Made():\n    return None\n", "makes no (Task|ExportTask|Family)"),
    "makes something else": ("class Made:\n    name = 'mine'\n", "makes no (Task|ExportTask|Family)"),
}


def install(site: Path, package: str, code: str, group: str) -> None:
    """A package as pip would leave it in `site`, which offers "mine"."""
    site.mkdir(exist_ok=True)
    (site / f"{package}.py").write_text(code)
    info = site / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\nmine = {package}:Made\n")


@pytest.mark.parametrize("group", FIND)
@pytest.mark.parametrize("kind", WRONG)
def test_one_that_is_wrong_is_refused_with_the_name_of_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, group: str
) -> None:
    code, reason = WRONG[kind]
    package = f"acme_{group.split('.')[1]}_{kind.replace(' ', '_')}"
    install(tmp_path / "site", package, code, group)
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert "mine" in plugins.offered(group)
    with pytest.raises(NotThere, match=f"the package {package} offers mine .{group}., and it {reason}") as caught:
        FIND[group]("mine")
    assert caught.value.hint == f"Repair or remove the package {package}"


def test_a_family_that_lacks_a_member_is_reported_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "class Made:\n    name = 'mine'\n    task = 'tensor'\n    options = demo = None\n"
    code += "".join(f"    def {step}(self): ...\n" for step in ("plan", "train", "graphs"))
    install(tmp_path / "site", "acme_untitled", code, registry.GROUP)
    monkeypatch.syspath_prepend(tmp_path / "site")
    with pytest.raises(NotThere, match="it makes no Family: it has no title, samples"):
        registry.family("mine")


EXPORT_PART = "from edge_sdk.export.tasks.base import ExportTask\nclass Made(ExportTask):\n    name = {!r}\n"


def test_one_that_calls_itself_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site", "acme_renamed", EXPORT_PART.format("yours"), export_tasks.GROUP)
    monkeypatch.syspath_prepend(tmp_path / "site")
    with pytest.raises(NotThere, match=r"acme_renamed offers mine .*, and it calls itself 'yours'"):
        export_tasks.export_task("mine")


def test_of_two_with_one_name_none_is_taken_in_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("acme_one", "acme_two"):
        install(tmp_path / "site", package, EXPORT_PART.format("mine"), export_tasks.GROUP)
    monkeypatch.syspath_prepend(tmp_path / "site")
    with pytest.raises(NotThere, match="the packages acme_one and acme_two offer mine"):
        export_tasks.export_task("mine")


def test_the_products_own_names_are_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site", "acme_taker", "raise OSError('was loaded')\n", tasks.GROUP)
    entries = tmp_path / "site" / "acme_taker-1.0.dist-info" / "entry_points.txt"
    entries.write_text(entries.read_text().replace("mine", "anomaly"))
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert tasks.task("anomaly").name == "anomaly"
    assert tasks.names().count("anomaly") == 1


def test_an_option_that_is_offered_twice_is_refused_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge_sdk.cli.train import Families

    code = (
        "from dataclasses import dataclass\nfrom edge_sdk.export.efficientad.family import EfficientAD\n"
        "from edge_sdk.export.efficientad.options import EfficientAdOptions\n"
        "from edge_sdk.export.option import option\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class Twice(EfficientAdOptions):\n    overwrite: int = option(1, kind='int', help='Of theirs.')\n"
        "class Made(EfficientAD):\n    name = 'mine'\n    options = Twice\n"
    )
    install(tmp_path / "site", "acme_twice", code, registry.GROUP)
    monkeypatch.syspath_prepend(tmp_path / "site")
    with pytest.raises(BadUsage, match="the option overwrite is defined twice: by mine, by its task anomaly"):
        Families().get_command(None, "mine")


TASK = """
from edge_sdk.tasks.tensor import TensorTask
class Made(TensorTask):
    name = "mine"
    {}
"""


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ("roles = ()", r"its roles are \(\), not a tuple"),
        ("roles = 'model'", "its roles are 'model', not a tuple"),
        ("roles = ['model']", "its roles are .*, not a tuple"),
        ("roles = ('model', 2)", "its roles are .*, not a tuple"),
        ("roles = ('a', 'b', 'a')", "two of its roles have one name: a, b, a"),
        ("roles = ('a', 'A')", "two of its roles have one name: a, A"),
        *(
            (f"roles = ({name!r},)", "its role .* is no plain name")
            for name in ("", "a/b", "..", "a b", "a.b", "é", "-a")
        ),
        (f"roles = ({'a' * 41!r},)", "its role .* is no plain name"),
        ("predictor = None", "its attribute predictor is None, no class made of Running"),
        ("predictor = str", "its attribute predictor is <class 'str'>, no class made of Running"),
        ("settings = {}", "its attribute settings is {}, no class made of Struct"),
        ("settings = int", "its attribute settings is <class 'int'>, no class made of Struct"),
    ],
)
def test_a_task_that_no_bundle_can_hold_is_refused_with_the_name_of_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stated: str, said: str
) -> None:
    package = f"acme_{stated.encode().hex()}"
    install(tmp_path / "site", package, TASK.format(stated), tasks.GROUP)
    monkeypatch.syspath_prepend(tmp_path / "site")
    with pytest.raises(NotThere, match=f"the package {package} offers mine .*, and {said}"):
        tasks.task("mine")


def test_a_task_with_several_plain_roles_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site", "acme_sound", TASK.format(f"roles = ('text-encoder_2', {'a' * 40!r})"), tasks.GROUP)
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert tasks.task("mine").roles[0] == "text-encoder_2"


def test_one_that_has_no_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "from edge_sdk.tasks.tensor import TensorTask\nfrom edge_sdk.tasks.base import Task\nclass Made(Task):\n"
    code += "".join(f"    {name} = TensorTask.{name}\n" for name in ("check", "open", "feeds", "source", "given"))
    install(tmp_path / "site", "acme_nameless", code, tasks.GROUP)
    monkeypatch.syspath_prepend(tmp_path / "site")
    with pytest.raises(NotThere, match=r"acme_nameless offers mine .*, and it calls itself ''"):
        tasks.task("mine")
