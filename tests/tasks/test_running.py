"""The life of a predictor, whatever its task: work in flight, closing, forks."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from edge_sdk.bundle.store import Bundle
from edge_sdk.errors import BadUsage
from edge_sdk.runtimes import registry
from edge_sdk.runtimes.protocol import CompileOptions, Explanation, Session
from edge_sdk.tasks.base import MODEL, Loaded, Model, RunInfo, Running
from edge_sdk.tensors import Array, TensorSpec


class Counting:
    """A session that counts how often it runs and how often it is closed."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.runs = self.closed = 0

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self._session.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self._session.outputs

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        self.runs += 1
        return self._session.run(feeds)

    def explain(self) -> Explanation:
        return self._session.explain()

    def close(self) -> None:
        self.closed += 1
        self._session.close()


@dataclass(frozen=True)
class Answer:
    ran: RunInfo
    suffix = ".txt"


class Waiting(Running[int, Any]):
    """Answers once it is let go. closing: close was called."""

    noun = "waiting model"

    def __init__(self, loaded: Loaded) -> None:
        super().__init__(loaded)
        self.begun, self.go, self.closing = threading.Event(), threading.Event(), threading.Event()

    def close(self) -> None:
        self.closing.set()
        super().close()

    def predict(self, source: int, /) -> Any:
        self.require_open()
        self.begun.set()
        assert self.go.wait(60)
        image = np.zeros((1, tiny.SIDE, tiny.SIDE, 3), np.uint8)
        return source, self.run(MODEL, {"image": image})["score"].shape


@dataclass(frozen=True)
class Opened:
    model: Waiting
    session: Counting


@pytest.fixture
def opened(tiny_bundle: Path) -> Iterator[Opened]:
    bundle = Bundle.open(tiny_bundle)
    graph = next(graph for graph in bundle.manifest.graphs if graph.variant == "fp32")
    options = CompileOptions(threads=1, graph_name=graph.name)
    session = Counting(registry.runtime("onnxruntime").compile(bundle.graph(graph.name), options))
    model = Waiting(Loaded(bundle=bundle, models={MODEL: Model(graph=graph, session=session)}))
    yield Opened(model, session)
    model.go.set()
    model.close()


def test_what_was_submitted_is_answered_though_the_predictor_is_being_closed(opened: Opened) -> None:
    """All of it: the calls that wait for their turn, too."""
    futures = [opened.model.submit(k) for k in range(3)]
    with ThreadPoolExecutor(1) as other:
        closing = other.submit(opened.model.close)
        assert opened.model.begun.wait(60)
        assert opened.model.closing.wait(60)
        time.sleep(0.2)  # it is waiting for them by now; if not, nothing is wrong and nothing is shown
        assert not closing.done()
        opened.model.go.set()
        closing.result(60)
    assert [future.result(0) for future in futures] == [(k, (1,)) for k in range(len(futures))]
    assert (opened.session.runs, opened.session.closed) == (len(futures), 1)


def test_what_comes_after_close_is_refused_and_closing_again_does_nothing(opened: Opened) -> None:
    opened.model.go.set()
    opened.model.predict(1)
    for _ in range(3):
        opened.model.close()
    assert opened.session.closed == 1
    for call in (
        lambda: opened.model.predict(1), lambda: opened.model.submit(1), opened.model.warm_up,
        lambda: opened.model.predict_batch([1]), lambda: opened.model.run(MODEL, {}),
    ):  # fmt: skip
        with pytest.raises(BadUsage, match="waiting model is closed"):
            call()
    assert opened.session.runs == 1


def test_of_many_that_close_at_once_one_frees_the_sessions(opened: Opened) -> None:
    with ThreadPoolExecutor(8) as others:
        list(others.map(lambda _: opened.model.close(), range(8)))
    assert opened.session.closed == 1


FORKED = """
import os, sys
from pathlib import Path
import numpy as np
import edge_sdk
from edge_sdk.errors import BadUsage

bundle, cache, runtime, submitted = sys.argv[1:]
detector = edge_sdk.load(bundle, runtime=runtime, threads=1, cache=Path(cache))
picture = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
if submitted == "yes":
    detector.submit(picture).result()
shown = detector.explain(), detector.explanation, dict(detector.explanations), detector.variant, repr(detector)

def refused(call):
    try:
        call()
    except BadUsage as exc:
        return "loaded in another process" in str(exc)
    return False

def in_the_child():
    calls = {
        "predict": lambda: detector.predict(picture), "call": lambda: detector(picture),
        "predict_batch": lambda: detector.predict_batch([picture]), "submit": lambda: detector.submit(picture),
        "run": lambda: detector.run("model", {}), "warm_up": detector.warm_up,
    }
    for name, call in calls.items():
        if not refused(call):
            return f"{name} is not refused"
    again = detector.explain(), detector.explanation, dict(detector.explanations), detector.variant, repr(detector)
    if again != shown:
        return "what ran reads otherwise"
    session = detector._loaded.models["model"].session
    detector.close()
    detector.close()
    if runtime == "onnxruntime":  # it runs in the child, too, while it is not closed: it is the parent's
        session.run({"image": np.zeros((1, 64, 64, 3), np.uint8)})
    return ""

child = os.fork()
if child == 0:
    problem = "it raised"
    try:
        problem = in_the_child()
    finally:
        sys.stderr.write(problem)
        sys.stderr.flush()
        os._exit(bool(problem))
_, status = os.waitpid(child, 0)
detector.predict(picture)  # the parent goes on
detector.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("submitted", ["yes", "no"])
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_in_a_forked_child_nothing_runs_nothing_hangs_and_what_is_reported_stays_true(
    tiny_bundle: Path, tmp_path: Path, runtime: str, submitted: str
) -> None:
    """`explain` and its like only repeat what was found when the bundle was loaded. The child frees nothing: the
    sessions wait for threads that it does not have."""
    call = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKED]
    done = subprocess.run(
        [*call, str(tiny_bundle), str(tmp_path), runtime, submitted],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
