"""The walks in docs/architecture.md against the code: each is run under a tracer, and its files are compared."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import disk_graphs
import numpy as np
import pytest
import tiny
from tracing import ROOT, Call, Trace, defined, traced

PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
ROW = re.compile(r"^\| `([\w/.]+\.py)` \| `(\w+)` \|", re.M)
FILE = re.compile(r"`([a-z_]+/[\w/.]+\.py)`")
PICTURES = 6, 4
"""Training and test pictures of the tiny training."""


GROUPING_DIGEST = ("edge_sdk/grouping.py", "data_digest")
BY_MACHINE = {
    "edge_sdk/errors.py", "runtimes/ov.py", "runtimes/trt.py", "runtimes/trt_build.py", "runtimes/cuda.py"
}  # fmt: skip
"""Entered or not by which runtimes are installed."""


@dataclass(frozen=True)
class Walk:
    """tables: (file, function) in order. beside: files that are entered without the value. thorough: those that are
    entered with `THOROUGH` alone."""

    tables: tuple[tuple[tuple[str, str], ...], ...]
    beside: frozenset[str]
    thorough: frozenset[str] = frozenset()

    @classmethod
    def number(cls, number: int) -> Walk:
        text = PAGE.split(f"### Walk {number}: ")[1].split("\n### ")[0].split("\n## ")[0]
        tables = tuple(tuple(ROW.findall(part)) for part in re.split(r"^\|---.*$", text, flags=re.M)[1:])
        beside = "".join(part for part in text.split("\n\n") if "Entered without" in part)
        thorough = "".join(part for part in text.split("\n\n") if part.startswith("`THOROUGH` adds"))
        return cls(tables, frozenset(FILE.findall(beside)), frozenset(FILE.findall(thorough)))

    @property
    def stations(self) -> list[tuple[str, str]]:
        return [row for table in self.tables for row in table]

    @property
    def files(self) -> list[str]:
        return [file for file, _ in self.stations]


def in_order(wanted: Sequence[tuple[str, str]], calls: Sequence[Call]) -> tuple[str, str] | None:
    """The first station that is not called after the one before it, or None."""
    left = iter(calls)
    for file, function in wanted:
        if not any((call.file, call.function) == (file, function) for call in left):
            return file, function
    return None


def alone(trace: Trace, walk: Walk) -> tuple[set[str], set[str]]:
    """(files that were entered and that the page does not name, files that it names and that were not entered)."""
    entered, named = set(trace.files()), {*walk.files, *walk.beside}
    return entered - named, {file for file in named - entered if file not in BY_MACHINE}


def callers(trace: Trace, file: str, *functions: str) -> set[str]:
    """The files that call these functions of `file`; all of its functions where none is named."""
    return {
        call.stack[-2]
        for call in trace.calls
        if call.file == file and len(call.stack) > 1 and (not functions or call.function in functions)
    }


def entries(trace: Trace, walk: Walk, *, without: Sequence[str] = ()) -> list[str]:
    """Stays in files of the walk, in order: a call from another file of it begins one, unless it goes where the same
    caller had gone just before. without: functions that the value does not reach."""
    last: dict[tuple[str, ...], str] = {}
    out = []
    for call in trace.calls:
        if call.function in without or call.file not in walk.files:
            continue
        own = [file for file in call.stack if file in walk.files]
        path = tuple(file for file, before in zip(own, ["", *own]) if file != before)
        if len(path) == 1 and not out:
            out.append(path[0])
        if len(path) > 1 and last.get(path[:-1]) != path[-1] and path[-1] not in path[:-1]:
            last[path[:-1]] = path[-1]
            out.append(path[-1])
    return out


def test_a_count_of_a_function_that_is_in_no_file_raises() -> None:
    assert Trace().count("export/pictures/store.py", "_written") == 0  # a method, of a class that nobody imports
    with pytest.raises(LookupError, match=r"store\.py defines no function _made"):
        Trace().count("export/pictures/store.py", "_made")


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_walk_names_each_file_once_and_all_of_them_exist(number: int) -> None:
    walk = Walk.number(number)
    assert len(walk.stations) > 5
    assert len(set(walk.files)) == len(walk.files)
    assert all((ROOT / file).is_file() for file in (*walk.files, *walk.beside, *walk.thorough))
    assert all(function in defined(file) for file, function in walk.stations)


def test_a_picture_crosses_the_files_of_walk_1_each_once(tiny_bundle: Path, tmp_path: Path) -> None:
    import edge_sdk

    picture = tmp_path / "part.png"
    cv2.imwrite(str(picture), tiny.picture(5))
    with edge_sdk.load(tiny_bundle, runtime="onnxruntime", cache=tmp_path / "cache") as detector:
        with traced() as trace:
            result = detector.predict(picture)
        with traced() as later:
            assert result.map.shape == (90, 120)
    walk = Walk.number(1)
    assert in_order(walk.stations, trace.calls) is None
    assert alone(trace, walk) == (set(), set())
    assert entries(trace, walk, without=("require_open", "_same_process", "run_info")) == walk.files
    for function in ("decode", "apply", "is_grey", "is_one_colour"):
        assert trace.count("edge_sdk/preprocess.py", function) == 1, function
    assert later.files() == ["edge_sdk/tasks/anomaly/result.py", "edge_sdk/preprocess.py"]


def test_a_calibration_sample_crosses_the_files_of_walk_2_each_once(tmp_path: Path) -> None:
    from edge_sdk.export import calibrating
    from edge_sdk.export.generic.samples import samples_of
    from edge_sdk.runtimes.onnx_file import read_facts
    from edge_sdk.tasks.base import MODEL

    made, count = tiny.graph(), 6
    for number, feeds in enumerate(tiny.Feeds(made, count)):
        np.savez(tmp_path / f"{number}.npz", **feeds)  # type: ignore[arg-type]
    graph = replace(made.graphs[MODEL], variants=("int8",))
    facts = read_facts(graph.onnx, where="tiny")
    with traced() as trace:
        samples = samples_of(str(tmp_path), facts.inputs, {"N": 1}, seed=0)
        quantized = calibrating.quantized(graph, samples, threads=1)  # type: ignore[arg-type]
    assert quantized.report.samples == count
    walk = Walk.number(2)
    assert in_order(walk.stations, trace.calls) is None
    assert alone(trace, walk) == (set(), set())
    assert trace.count("edge_sdk/npz.py", "read_npz") == count + 1  # the first one twice
    stays = [call.file for call in trace.calls if (call.file, call.function) in walk.stations[2:]]
    assert [file for file, before in zip(stays, ["", *stays]) if file != before] == walk.files[2:]


def test_thorough_trials_enter_the_files_that_walk_2_adds_for_them(tmp_path: Path) -> None:
    """Without NNCF, whose own files a walk through ours does not need. within: so small that the search is needed."""
    from edge_sdk.calibration.trials import ONE, THOROUGH
    from edge_sdk.export import calibrating
    from edge_sdk.export.generic.samples import samples_of
    from edge_sdk.runtimes.onnx_file import read_facts
    from edge_sdk.tasks.base import MODEL

    made, count = tiny.graph(), THOROUGH.compared + 1
    for number, feeds in enumerate(tiny.Feeds(made, count)):
        np.savez(tmp_path / f"{number}.npz", **feeds)  # type: ignore[arg-type]
    trials = replace(THOROUGH, engines=("portable",), tune_s=1.0, within=0.001, search_s=5.0)
    graph = replace(made.graphs[MODEL], variants=("int8",), trials=trials)
    facts = read_facts(graph.onnx, where="tiny")
    with traced() as trace:
        samples = samples_of(str(tmp_path), facts.inputs, {"N": 1}, seed=0)
        quantized = calibrating.quantized(graph, samples, threads=1)  # type: ignore[arg-type]
    walk = Walk.number(2)
    assert not walk.thorough & {*walk.files, *walk.beside}
    assert alone(trace, replace(walk, beside=walk.beside | walk.thorough)) == (set(), set())
    assert trace.count("edge_sdk/npz.py", "read_npz") == 2 * count + 1  # once more with equalised channels
    assert quantized.report.compared == THOROUGH.compared
    assert f"(`Trials.compared`: {ONE.compared}, with `THOROUGH` {THOROUGH.compared})" in PAGE


def test_a_training_picture_crosses_the_files_of_walk_3_and_is_decoded_once(tmp_path: Path) -> None:
    """The whole build of a tiny XS, without int8: walk 2 has that."""
    from small_training import CONFIG, folder_of_parts

    from edge_sdk.export import build as builder
    from edge_sdk.export.efficientad.family import EfficientAD
    from edge_sdk.export.efficientad.options import EfficientAdOptions
    from edge_sdk.export.family import Exported
    from edge_sdk.export.tasks import export_task
    from edge_sdk.export.tasks.anomaly.options import AnomalyOptions
    from edge_sdk.export.tasks.base import Reading

    class FloatAlone(EfficientAD):
        def graphs(self, trained: object) -> Exported:
            made = super().graphs(trained)  # type: ignore[arg-type]
            return replace(made, graphs={role: replace(one, variants=()) for role, one in made.graphs.items()})

    folder_of_parts(tmp_path / "parts", good=PICTURES[0], tests=PICTURES[1])
    family, task = FloatAlone(xs=CONFIG), export_task("anomaly")
    options = EfficientAdOptions(width=128, height=128, steps=2, threads=1)
    stated = AnomalyOptions(rate="50%")
    wanted = builder.BuildOptions(name="walk", out=tmp_path / "walk.edge")
    with traced() as trace:
        how = Reading(seed=0, preprocessing=options.preprocessing(), scratch=tmp_path)
        data = task.read(tmp_path / "parts", stated, how)
        planned = builder.plan(family, data, options, stated, wanted, folder=tmp_path / "run")
        builder.make(planned)
    walk = Walk.number(3)
    assert len(walk.tables) == 3
    for table in walk.tables:
        assert in_order(table, trace.calls) is None
    assert alone(trace, walk) == (set(), set())
    calls = [call for call in trace.calls if (call.file, call.function) == ("edge_sdk/preprocess.py", "decode")]
    of_files = [call for call in calls if "export/pictures/store.py" in call.stack]
    of_golden = [call for call in calls if "export/pack.py" in call.stack]
    # Each of three golden samples: made, made again from the packed file, and answered by its predictor.
    assert (len(of_files), len(of_golden), len(calls)) == (sum(PICTURES), 3 + 3 + 3, sum(PICTURES) + 9)
    assert trace.count("export/pictures/store.py", "take") == sum(PICTURES)
    # The store kept everything: none was decoded again when it was asked for.
    assert all("export/tasks/anomaly/pictures.py" in call.stack for call in of_files)
    for file, function in (
        ("export/efficientad/xs/train.py", "plan"), ("export/training/identity.py", "digest_of_weights"),
        ("export/tasks/anomaly/shares.py", "divided"), ("export/trunk/lite0.py", "load_trunk"),
        ("export/efficientad/xs/model.py", "save"), ("export/efficientad/xs/model.py", "load"),
        ("export/tasks/anomaly/pictures.py", "read_pictures"), ("export/tasks/anomaly/golden.py", "golden"),
        ("edge_sdk/bundle/store.py", "write_bundle"),
    ):  # fmt: skip
        assert trace.count(file, function) == 1, (file, function)
    digests = [call.stack for call in trace.calls if (call.file, call.function) == GROUPING_DIGEST]
    of_training = [stack for stack in digests if "export/anomaly/data.py" in stack]
    assert (len(of_training), len(digests)) == (1, 2)  # the other one is of the evidence behind the threshold
    readers = {"export/efficientad/xs/features.py", "export/efficientad/xs/train.py", "export/tasks/anomaly/golden.py"}
    readers |= {"export/tasks/anomaly/pictures.py", "export/tasks/anomaly/evaluate.py", "export/anomaly/augment.py"}
    assert callers(trace, "export/pictures/store.py") == readers
    # stages.py: the clock of the predictor that answers a golden sample of the packed file, which is walk 1.
    ways = {"export/pictures/store.py", "export/anomaly/augment.py", "edge_sdk/tasks/images.py", "edge_sdk/stages.py"}
    assert callers(trace, "edge_sdk/preprocess.py", "apply") == ways
    assert callers(trace, "edge_sdk/preprocess.py", "decode") == ways - {"export/anomaly/augment.py"}
    networks = {"export/efficientad/family.py", "export/training/loop.py"}
    assert callers(trace, "export/efficientad/xs/train.py") == networks
    learned = {"export/trunk/lite0.py", "export/efficientad/saved.py", "export/efficientad/xs/model.py"}
    assert callers(trace, "export/tensors_file.py") == {*learned, "export/training/checkpoint.py"}
    assert callers(trace, "export/tensors_file.py", "opened") == {"export/efficientad/xs/model.py"}


def test_a_picture_and_a_click_cross_the_files_of_walk_4(tmp_path: Path) -> None:
    bundle, picture = disk_graphs.write(tmp_path / "windows.edge", windowed=True), tmp_path / "part.png"
    cv2.imwrite(str(picture), tiny.picture(5))
    with disk_graphs.opened(bundle) as segmenter:
        with traced() as first:
            segmenter.predict(picture, points=[(40, 25)])
        with traced() as again:
            segmenter.predict(picture, points=[(50, 25)])
    walk = Walk.number(4)
    assert in_order(walk.stations, first.calls) is None
    assert alone(first, walk) == (set(), set())
    for trace, graphs in ((first, 2), (again, 1)):  # the picture is encoded once
        assert trace.count("runtimes/ort.py", "run") == graphs
        for function in ("decode", "apply", "is_grey", "is_one_colour"):
            assert trace.count("edge_sdk/preprocess.py", function) == 1, function
