"""Runtimes that another package adds by entry points: one that works and is slow numpy, and others that do not."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import tiny
from runtime_graphs import detector, pictures

import edge_sdk
from edge_sdk import preprocess
from edge_sdk.calibration import QuantizeOptions, Variant, quantize
from edge_sdk.errors import BadUsage, NotThere
from edge_sdk.export.pack import compiled_here
from edge_sdk.export.tasks.anomaly import evaluate
from edge_sdk.export.tasks.base import float_variant
from edge_sdk.runtimes import probe, registry, targets
from edge_sdk.runtimes.protocol import CompileOptions, ProfiledSession
from edge_sdk.verify import verify

WORKS = """
from numpy_runtime import NumpyRuntime, NumpySession
from edge_sdk.errors import NotThere
from edge_sdk.runtimes.protocol import Availability, CompileOptions

class Accelerator(NumpyRuntime):
    '''numpy under another name, on a device that no other runtime has: asked for another one, it refuses.'''
    name = "accelerator"
    default_device = "ACC"

    def probe(self):
        return Availability(runtime=self.name, version="1.0", devices=("ACC:0", "ACC:1"))

    def compile(self, graph, options):
        if options.device not in ("", "ACC", "ACC:0", "ACC:1"):
            raise NotThere(f"no device {options.device}", where=options.graph_name)
        return super().compile(graph, options)
"""
BASE = "from numpy_runtime import NumpyRuntime\nclass Made(NumpyRuntime):\n    "


def install(folder: Path, package: str, code: str, runtimes: dict[str, str]) -> None:
    """A package as pip would leave it in `folder`: module `package`, and `runtimes` by name of the entry point."""
    folder.mkdir(exist_ok=True)
    (folder / f"{package}.py").write_text(code)
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"{name} = {package}:{value}" for name, value in runtimes.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{registry.GROUP}]", *lines, ""]))


@pytest.fixture
def accelerator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    install(tmp_path / "site", "acme_acc", WORKS, {"accelerator": "Accelerator"})
    monkeypatch.syspath_prepend(tmp_path / "site")
    return "accelerator"


def test_a_runtime_of_another_package_is_listed_behind_the_own_ones(accelerator: str) -> None:
    names = [one.name for one in registry.runtimes()]
    assert names.index(accelerator) > max(names.index(name) for name in ("onnxruntime", "openvino", "tensorrt-rtx"))
    found = next(one for one in probe.availability() if one.runtime == accelerator)
    assert (found.usable, found.version, found.devices) == (True, "1.0", ("ACC:0", "ACC:1"))
    assert accelerator not in registry.of_gpus()
    session = registry.runtime(accelerator).compile(detector(), CompileOptions())
    assert session.run({"image": pictures(1)})["score"].shape == (1,)
    with pytest.raises(BadUsage, match="Did you mean accelerator"):
        registry.runtime("acelerator")


def test_it_runs_where_it_is_asked_for_and_nowhere_else(accelerator: str, tiny_bundle: Path, tmp_path: Path) -> None:
    options = {"threads": 1, "cache": tmp_path / "cache"}
    with edge_sdk.load(tiny_bundle, **options) as detector:  # type: ignore[arg-type]
        assert detector.explanation.runtime != accelerator
    with edge_sdk.load(tiny_bundle, runtime=accelerator, **options) as detector:  # type: ignore[arg-type]
        result = detector.predict(tiny.picture(3, damaged=True))
        assert (detector.explanation.runtime, result.ran.runtime) == ("numpy", "numpy")  # what its session reports
        assert detector.explanation.device_requested == "ACC"
    # of any case: the package gets it as it lists it
    for asked in ({"device": "ACC:1"}, {"device": "ACC:1", "runtime": accelerator}, {"device": "acc:1"}):
        with edge_sdk.load(tiny_bundle, **asked, **options) as detector:  # type: ignore[arg-type]
            assert detector.explanation.device_requested == "ACC:1"
    with pytest.raises(NotThere, match="has a device CPU, only accelerator ACC:0, ACC:1"):
        edge_sdk.load(tiny_bundle, runtime=accelerator, device="CPU", **options)  # type: ignore[arg-type]


def test_its_own_device_is_used_where_pictures_are_scored_and_bundles_verified(
    accelerator: str, tiny_bundle: Path
) -> None:
    made = tiny.graph()
    model = made.graphs["model"]
    options = QuantizeOptions(variants=("int8",), keep_fp32=model.keep_fp32, threads=1)
    variants = (float_variant(model.onnx), *quantize(model.onnx, tiny.Feeds(made), options=options).variants)
    inputs = [preprocess.apply(tiny.picture(seed), tiny.record_of(made)) for seed in range(2)]
    rows = [row for row in evaluate.score_all(variants, inputs, threads=1) if row.runtime == accelerator]
    assert {row.variant for row in rows} == {"fp32", "int8"}
    for row in rows:
        assert not row.problem
        assert np.isfinite(row.scores).all()
    (checked,) = verify(tiny_bundle, runtimes=[accelerator], variants=["fp32"]).rows
    assert checked.passed, checked


BROKEN = {
    "import fails": ("import a_module_that_is_nowhere\n", "ModuleNotFoundError: No module named 'a_module_that"),
    "syntax error": ("def Made(:\n", "SyntaxError"),
    "exits": ("raise SystemExit(3)\n", "SystemExit: 3"),
    "nothing of that name": ("Other = 1\n", "AttributeError"),
    "constructor raises": ("def Made():\n    raise OSError('no driver')\n", "OSError: no driver"),
    "not callable": ("Made = 3\n", "TypeError: 'int' object is not callable"),
    "no runtime": ("class Made:\n    pass\n", "AttributeError.*name"),
    "name is no text": (BASE + "name = 3\n", "TypeError: name and default_device must be text"),
    "layouts are one text": (BASE + "int8_layouts = 'conv-relu-q'\n", "TypeError.*int8_layouts a tuple"),
    "no method": (BASE + "compile = None\n", "TypeError: probe and compile must be methods"),
    "a name that is taken": (BASE + "name = 'onnxruntime'\n", "calls itself onnxruntime, which is the name of another"),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("entry", ["mine", "openvino"])
def test_one_that_does_not_load_is_listed_with_its_reason_and_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path, kind: str, entry: str
) -> None:
    code, reason = BROKEN[kind]
    package = f"acme_{entry}_{kind.replace(' ', '_')}"
    install(tmp_path / "site", package, code, {entry: "Made"})
    monkeypatch.syspath_prepend(tmp_path / "site")
    name = "mine" if entry == "mine" else f"openvino of {package}"
    (found,) = [one for one in probe.availability() if one.runtime == name]
    assert not found.usable
    assert found.hint == f"Update or uninstall {package}"
    for ask in (
        lambda: registry.runtime(name),
        lambda: next(one for one in registry.runtimes() if one.name == name).compile(detector(), CompileOptions()),
        lambda: verify(tiny_bundle, runtimes=[name]),
        lambda: edge_sdk.load(tiny_bundle, runtime=name, cache=tmp_path / "cache"),
    ):
        with pytest.raises(NotThere, match=f"{name} can't be used here: {package}:Made .*{reason}"):
            ask()
    assert not isinstance(registry.runtime("openvino"), registry.Broken)
    placements = targets.places_for(targets.named("any-cpu"), None, "CPU")  # a device: every runtime may have it
    assert name not in {one.runtime for one in placements}


def test_of_two_with_one_name_the_second_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site", "acme_first", BASE + "name = 'twin'\n", {"twin": "Made"})
    install(tmp_path / "site", "acme_second", BASE + "name = 'twin'\n", {"twin": "Made"})
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert registry.runtime("twin").name == "twin"
    with pytest.raises(NotThere, match="calls itself twin"):
        registry.runtime("twin of acme_second")


def test_one_whose_probe_raises_is_listed_as_not_usable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = BASE + "name = 'moody'\n    def probe(self):\n        raise OSError('the driver is gone')\n"
    install(tmp_path / "site", "acme_moody", code, {"moody": "Made"})
    monkeypatch.syspath_prepend(tmp_path / "site")
    found = registry.runtime("moody").probe()
    assert found.reason == "its probe raised OSError: the driver is gone"
    with pytest.raises(NotThere, match="moody can't be used here: its probe raised OSError"):
        registry.require(found)


def test_the_command_line_lists_them(tmp_path: Path) -> None:
    install(tmp_path / "site", "acme_acc", WORKS, {"accelerator": "Accelerator"})
    install(tmp_path / "site", "acme_gone", "import a_module_that_is_nowhere\n", {"gone": "Made"})
    paths = [str(tmp_path / "site"), str(Path(__file__).parent), *sys.path]
    run = [sys.executable, "-c", "from edge_sdk.cli.main import run; run()", "devices", "--json"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run(run, env=environment, capture_output=True, text=True, check=True, timeout=60)
    rows = {row["runtime"]: row for row in json.loads(done.stdout)["runtimes"]}
    assert (rows["accelerator"]["devices"], rows["accelerator"]["reason"]) == (["ACC:0", "ACC:1"], "")
    assert "No module named 'a_module_that_is_nowhere'" in rows["gone"]["reason"]


def test_the_product_imports_no_plug_in_before_a_runtime_is_looked_for(tmp_path: Path) -> None:
    install(tmp_path / "site", "acme_loud", "print('loaded')\n", {"loud": "Made"})
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), *filter(None, sys.path)])}
    code = "import edge_sdk, edge_sdk.runtimes.registry as r; print('imported'); r.runtimes(); r.runtimes()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["imported", "loaded"]


def counted(name: str) -> dict[str, int]:
    """What `pack` counts for one runtime, of an int8 graph."""
    (one,) = (runtime for runtime in registry.runtimes() if runtime.name == name)
    variant = Variant(
        variant="int8", layout="conv-relu-q", graph=detector("conv-relu-q"), int8_convolutions=2, int8_planned=2
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "runtimes", lambda: (one,))
        return compiled_here(Mock(axes={"N": 8}), variant, threads=1)[0]


RAISES = """
from dataclasses import dataclass
from numpy_runtime import NumpyRuntime, NumpySession

@dataclass
class Made(NumpyRuntime):
    name = "moody"
    wrong = {wrong!r}
    answers = {answers!r}

    def compile(self, graph, options):
        if self.wrong == "compile":
            return self.fail("compile")
        session = super().compile(graph, options)
        for call in ("run", "explain", "close"):
            if self.wrong == call:
                setattr(session, call, lambda *_, call=call: self.fail(call))
        return session

    def fail(self, call):
        if not self.answers:
            raise OSError(f"{{call}}: no handle\\nat driver.c:17")
"""


@pytest.mark.parametrize("answers", [False, True])
@pytest.mark.parametrize("call", ["compile", "run", "explain", "close"])
def test_whatever_it_raises_or_answers_becomes_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tiny_bundle: Path, call: str,
    answers: bool,
) -> None:  # fmt: skip
    """answers: it answers None in place of raising."""
    package = f"acme_{call}_{answers}".lower()  # modules stay imported
    install(tmp_path / "site", package, RAISES.format(wrong=call, answers=answers), {"moody": "Made"})
    monkeypatch.syspath_prepend(tmp_path / "site")
    (row,) = verify(tiny_bundle, runtimes=["moody"], variants=["fp32"]).rows
    if call == "close":
        assert row.passed, row
        assert counted("moody") == {"moody": 0}
        assert answers or "moody: its close raised OSError: close: no handle" in caplog.text
        return
    raised = f"OSError: {call}: no handle[.]" if not answers else "NoneType"
    if call != "run":  # which is not asked to count
        assert counted("moody") == {}
    assert re.search(rf"moody: its {call} raised .*({raised})", row.problem), row.problem
    assert f"Update or uninstall {package}" in row.problem


def test_times_of_layers_are_still_asked_of_one_that_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = BASE.replace("    ", "    name = 'timed'\n    ") + (
        "def compile(self, graph, options):\n"
        "        session = super().compile(graph, options)\n"
        "        if options.profile_layers:\n"
        "            session.layer_times = lambda feeds: 1 / 0\n"
        "        return session\n"
    )
    install(tmp_path / "site", "acme_timed", code, {"timed": "Made"})
    monkeypatch.syspath_prepend(tmp_path / "site")
    timed = registry.runtime("timed")
    session = timed.compile(detector(), CompileOptions(profile_layers=True))
    assert isinstance(session, ProfiledSession)
    with pytest.raises(NotThere, match="timed: its layer_times raised ZeroDivisionError"):
        session.layer_times({"image": pictures(1)})
    assert not isinstance(timed.compile(detector(), CompileOptions()), ProfiledSession)
