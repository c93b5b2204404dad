"""The shared training loop: resume, kills, interrupts, foreign checkpoints, NaN gradients. On a tiny network."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edge_sdk.errors import BadInput, BadUsage, CheckFailed, Stopped
from edge_sdk.export.training import checkpoint, loop
from edge_sdk.export.training.loop import LoopPlan, Moment
from edge_sdk.progress import Progress, silent

ME = {"data": "d1", "options": "o1"}


class Line:
    """Fits y = 3 x with noise, dropout and a batch norm, so that every kind of state matters."""

    def __init__(self, *, poison: frozenset[int] = frozenset(), pause_s: float = 0.0) -> None:
        torch.manual_seed(7)
        self.module = nn.Sequential(nn.Linear(1, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 1))
        self.optimizer = torch.optim.Adam(self.module.parameters(), lr=0.05)
        self._poison, self._pause_s = poison, pause_s

    def rate(self, now: Moment) -> float:
        return loop.cosine(now.done)

    def losses(self, rng: np.random.Generator, now: Moment) -> Mapping[str, Tensor]:
        time.sleep(self._pause_s)
        x = torch.from_numpy(rng.normal(size=(16, 1)).astype(np.float32))
        error = (self.module(x) - 3 * x).square().mean()
        return {"error": error * float("nan") if now.step in self._poison else error}


def go(line: Line, folder: Path, *, steps: int = 30, progress: Progress = silent, **plan: float) -> checkpoint.Position:
    how = LoopPlan(steps=steps, checkpoint_every_s=plan.get("every", 0.0), bad_steps=int(plan.get("bad_steps", 10)))
    return loop.run(line, how, folder=folder, identity=ME, seed=1, progress=progress)


def weights(line: Line) -> list[Tensor]:
    return [t.clone() for t in line.module.state_dict().values()]


def stop_at(step: int) -> Progress:
    def progress(done: int, total: int, note: str) -> None:
        if f"step {step}," in note:
            os.kill(os.getpid(), signal.SIGINT)

    return progress


def test_a_run_that_was_interrupted_ends_as_one_that_was_not(tmp_path: Path) -> None:
    whole, first, second = Line(), Line(), Line()
    go(whole, tmp_path / "whole")
    with pytest.raises(Stopped, match="the checkpoint is kept"):
        go(first, tmp_path / "cut", progress=stop_at(11))
    end = go(second, tmp_path / "cut")
    assert end.step == 30
    for a, b in zip(weights(whole), weights(second), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_an_interrupt_loses_no_step_even_without_a_checkpoint_before(tmp_path: Path) -> None:
    with pytest.raises(Stopped) as caught:
        go(Line(), tmp_path, progress=stop_at(5), every=1e9)
    assert caught.value.exit_code == 5
    stored = checkpoint.read(tmp_path, ME)
    assert stored is not None
    assert stored.position.step >= 5


def test_an_interrupt_restores_the_handler_of_the_caller(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Stopped):
        go(Line(), tmp_path, progress=stop_at(2))
    assert signal.getsignal(signal.SIGINT) is before


CHILD = """
import sys
sys.path.insert(0, {folder!r})
from pathlib import Path
from test_training_loop import Line, go
go(Line(pause_s=0.01), Path({run!r}), steps=100000)
"""


def test_a_run_killed_at_any_moment_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    code = CHILD.format(folder=str(Path(__file__).parent), run=str(run))
    child = subprocess.Popen([sys.executable, "-c", code])
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not (run / checkpoint.NAME).is_file():
            time.sleep(0.02)
        time.sleep(0.2)
    finally:
        child.kill()
        child.wait()
    stored = checkpoint.read(run, ME)
    assert stored is not None
    before = stored.position.step
    end = go(Line(), run, steps=before + 5)
    assert end.step == before + 5
    assert end.finished


def test_a_checkpoint_of_other_options_is_refused_and_left_alone(tmp_path: Path) -> None:
    go(Line(), tmp_path, steps=3)
    before = (tmp_path / checkpoint.NAME).read_bytes()
    with pytest.raises(BadUsage, match=r"another run: options was o1, is o2 now\. .*--run NEW_FOLDER"):
        loop.run(Line(), LoopPlan(steps=9), folder=tmp_path, identity={**ME, "options": "o2"}, seed=1, progress=silent)
    assert (tmp_path / checkpoint.NAME).read_bytes() == before


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    go(Line(), tmp_path, steps=3, every=1e9)
    path = tmp_path / checkpoint.NAME
    stored = checkpoint.read(tmp_path, ME)
    assert stored is not None
    other = Line()
    other.module = nn.Sequential(nn.Linear(1, 9))
    with pytest.raises(BadInput, match="another network"):
        checkpoint.restore(stored, other.module, other.optimizer, np.random.default_rng(0))
    assert path.is_file()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, share: float) -> None:
    go(Line(), tmp_path, steps=3)
    path = tmp_path / checkpoint.NAME
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(BadInput, match=r"checkpoint\.safetensors: the checkpoint is damaged.*Delete it"):
        go(Line(), tmp_path, steps=3)


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    go(Line(), tmp_path, steps=3)
    again = Line()
    assert go(again, tmp_path, steps=3).step == 3


def test_a_finished_run_that_is_asked_for_more_goes_on_with_the_schedule_of_the_longer_one(tmp_path: Path) -> None:
    first, second = Line(), Line()
    go(first, tmp_path, steps=10, every=1e9)
    shortest = first.optimizer.param_groups[0]["lr"]
    seen: list[float] = []
    notes: list[str] = []

    def watch(done: int, total: int, note: str) -> None:
        notes.append(note)
        seen.append(second.optimizer.param_groups[0]["lr"])

    end = go(second, tmp_path, steps=20, every=1e9, progress=watch)
    assert (end.step, end.finished) == (20, True)
    assert [(segment.began, segment.steps) for segment in end.segments] == [(0, 10), (10, 20)]
    assert notes[0] == "going on from step 10"
    # One step after the half of 20, not at the end of 10; and then down to the new end.
    assert seen[1] == pytest.approx(0.05 * loop.cosine(0.5))
    assert seen[1] > 10 * seen[-1]
    assert seen[-1] < shortest


def test_the_end_of_an_unfinished_run_may_be_moved(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        go(Line(), tmp_path, progress=stop_at(4), steps=30)
    end = go(Line(), tmp_path, steps=12)
    assert (end.step, end.finished) == (12, True)
    assert [segment.steps for segment in end.segments] == [30, 12]
    assert 4 <= end.segments[1].began < 12


def test_a_run_that_is_behind_its_new_end_stays_as_it_is(tmp_path: Path) -> None:
    go(Line(), tmp_path, steps=9)
    end = go(Line(), tmp_path, steps=5)
    assert (end.step, end.finished, len(end.segments)) == (9, True, 1)


def test_steps_with_nan_gradients_change_nothing_and_are_counted(tmp_path: Path) -> None:
    end = go(Line(poison=frozenset({4, 5})), tmp_path, steps=20)
    assert end.bad_steps == 2
    stored = checkpoint.read(tmp_path, ME)
    assert stored is not None
    assert all(torch.isfinite(t).all() for name, t in stored.tensors.items() if name.startswith("module/"))


def test_too_many_nan_gradients_stop_the_run(tmp_path: Path) -> None:
    with pytest.raises(CheckFailed, match="NaN or infinity in 3 steps, the last at 7"):
        go(Line(poison=frozenset({4, 5, 6})), tmp_path, steps=20, bad_steps=2)


def test_a_time_budget_counts_over_resumes(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        go(Line(), tmp_path, progress=stop_at(4))
    stored = checkpoint.read(tmp_path, ME)
    assert stored is not None
    assert stored.position.elapsed_s > 0.0
    used_up = LoopPlan(time_budget_s=stored.position.elapsed_s)
    end = loop.run(Line(), used_up, folder=tmp_path, identity=ME, seed=1, progress=silent)
    assert end.step == stored.position.step


def test_progress_ends_at_its_total_and_tells_step_and_loss(tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    go(Line(), tmp_path, steps=5, progress=lambda *row: seen.append(row))
    assert [done for done, _, _ in seen] == [200, 400, 600, 800, 1000]
    assert seen[0][2].startswith("training, step 1, loss ")


def test_a_plan_without_an_end_is_refused() -> None:
    with pytest.raises(BadUsage, match="steps or a time budget"):
        LoopPlan()
    with pytest.raises(BadUsage, match="trains nothing"):
        LoopPlan(steps=0)
