"""The training loop: steps until the steps or the time are used up, checkpoints, resume, progress. Knows no network.

The schedule follows `done`, the share of the run that is behind it: of the steps, of the time budget, or the larger of
both. With steps alone a run is reproducible; with a time budget it depends on the machine.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from edge_sdk.counted import counted
from edge_sdk.errors import BadUsage, CheckFailed, Stopped
from edge_sdk.export.training import checkpoint
from edge_sdk.export.training.checkpoint import Position, Segment
from edge_sdk.export.training.together import ALONE, Together
from edge_sdk.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopPlan:
    """When a run ends and what it keeps. steps, time_budget_s: whichever ends first; at least one is needed.

    checkpoint_every_s: seconds of training that a kill may cost. bad_steps: steps whose gradients held NaN or infinity
    before the run is stopped; such a step changes no weight. history_every: steps behind one row of the history.
    """

    steps: int | None = None
    time_budget_s: float | None = None
    checkpoint_every_s: float = 20.0
    bad_steps: int = 10
    history_every: int = 20

    def __post_init__(self) -> None:
        if self.steps is None and self.time_budget_s is None:
            raise BadUsage("a training needs a number of steps or a time budget")
        if (self.steps is not None and self.steps < 1) or (self.time_budget_s is not None and self.time_budget_s <= 0):
            raise BadUsage("a training of no steps or no time trains nothing", hint="Give a positive number")

    def done(self, position: Position) -> float:
        """0..1: how much of the run is behind `position`."""
        by_steps = position.step / self.steps if self.steps is not None else 0.0
        by_time = position.elapsed_s / self.time_budget_s if self.time_budget_s is not None else 0.0
        return min(max(by_steps, by_time), 1.0)

    def over(self, position: Position) -> bool:
        """Whether a run that came to an end at `position` has nothing left to do."""
        return position.ended_early or (position.finished and self.done(position) >= 1.0)


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a run stands before a step. step: from 0. done: 0..1, the share of the run that is behind."""

    step: int
    done: float


class Trainable(Protocol):
    """What the loop trains. All that changes from step to step lives in `module`, `optimizer` and the loop's rng."""

    @property
    def module(self) -> nn.Module:
        """Everything that is trained, buffers included; frozen parts live elsewhere."""

    @property
    def optimizer(self) -> torch.optim.Optimizer: ...

    def losses(self, rng: np.random.Generator, now: Moment) -> Mapping[str, Tensor]:
        """Named scalar terms of one step; their sum is minimised. All randomness comes from `rng` or torch's own."""

    def rate(self, now: Moment) -> float:
        """Factor on the optimiser's first learning rates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a watch measured. values: for the history, by names that no loss has. enough: end the run here."""

    values: Mapping[str, float] = field(default_factory=dict)
    enough: bool = False


class Watch(Protocol):
    """Looks at a run from time to time, in the first process alone. What it remembers, it keeps in the module."""

    @property
    def every(self) -> int:
        """Steps between two looks. One more follows the last step."""

    def look(self, position: Position) -> Seen:
        """Measure what was trained so far. It may change parts of the module that no gradient reaches, such as the
        best weights so far. Its time counts for no time budget."""


def cosine(done: float, *, last: float = 0.01) -> float:
    """Half a cosine from 1 to `last`."""
    return last + (1.0 - last) * 0.5 * (1.0 + math.cos(math.pi * done))


def decay_at(done: float, *, at: float = 0.95, factor: float = 0.1) -> float:
    """1, and `factor` from the share `at` of the run on."""
    return factor if done >= at else 1.0


def run(
    trainable: Trainable,
    plan: LoopPlan,
    *,
    folder: Path,
    identity: Mapping[str, str],
    seed: int,
    progress: Progress,
    together: Together = ALONE,
    watch: Watch | None = None,
) -> Position:
    """Trains to the end of `plan`, going on from the checkpoint in `folder` if there is one; returns where it ended.

    The plan may differ from the one that the checkpoint was written under. From there on the schedule is that of the
    new plan, at the share of it that is behind: a finished run that is asked for more resumes from its last weights,
    its learning rate rises to where a run of the new length would have it, and falls to the new end. A run that is
    behind its new end already stays as it is. `Position.segments` tells of every such change.

    identity: what must be the same for a resume (see `identify`). together: the processes that train it; all of them
    read the checkpoint, the first writes it and shows progress, and its clock and its Ctrl-C count. watch: looks at
    what is trained, and may end the run. Raises Stopped on Ctrl-C, checkpoint kept, and CheckFailed after
    `plan.bad_steps` steps with NaN gradients.
    """
    module, optimizer = trainable.module, trainable.optimizer
    rates = [float(group["lr"]) for group in optimizer.param_groups]  # before a checkpoint brings decayed ones
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    position = Position()
    stored = checkpoint.read(folder, identity)
    if stored is not None:
        checkpoint.restore(stored, module, optimizer, rng)
        position = stored.position
        words = "already trained, to step" if plan.over(position) else "going on from step"
        progress(round(1000 * plan.done(position)), 1000, f"{words} {position.step}")

    def keep(at: Position) -> None:
        if together.rank == 0:
            checkpoint.write(checkpoint.capture(module, optimizer, rng, at, identity), folder)

    if plan.over(position):
        return position
    position = replace(position, finished=False, segments=_segments(position, plan))
    with _interrupt_between_steps() as interrupted:
        try:
            return _steps(trainable, plan, position, rng, rates, keep, interrupted, progress, together, watch)
        except KeyboardInterrupt as exc:  # pressed twice, or raised by `progress`: the last checkpoint stands
            raise _stopped(folder) from exc


def _segments(position: Position, plan: LoopPlan) -> tuple[Segment, ...]:
    """Those of the run so far, and one more if its plan is another now."""
    now = Segment(position.step, plan.steps, plan.time_budget_s)
    if position.segments and replace(position.segments[-1], began=now.began) == now:
        return position.segments
    return (*position.segments, now)


def _steps(
    trainable: Trainable,
    plan: LoopPlan,
    position: Position,
    rng: np.random.Generator,
    rates: list[float],
    keep: Callable[[Position], None],
    interrupted: Callable[[], bool],
    progress: Progress,
    together: Together,
    watch: Watch | None,
) -> Position:
    recent: dict[str, list[float]] = {}
    kept_at = position.elapsed_s
    clock = time.monotonic()
    trainable.module.train()
    while plan.done(position) < 1.0 and not position.ended_early:
        moment = Moment(position.step, plan.done(position))
        for group, rate in zip(trainable.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * trainable.rate(moment)
        values = _step(trainable, rng, moment, together)
        now = time.monotonic()
        # One clock and one Ctrl-C for all processes: one that stops alone leaves the others waiting for its gradients.
        elapsed_s, stop = together.agreed((position.elapsed_s + now - clock, interrupted()))
        position = replace(
            position, step=position.step + 1, elapsed_s=elapsed_s, bad_steps=position.bad_steps + (values is None),
        )  # fmt: skip
        clock = now
        if position.bad_steps > plan.bad_steps:
            raise CheckFailed(
                f"the gradients held NaN or infinity in {counted(position.bad_steps, 'step')}, "
                f"the last at {position.step}",
                hint="Check the training data and the pretrained weights; the checkpoint before it is kept",
            )
        for name, value in (values or {}).items():
            recent.setdefault(name, []).append(value)
        if position.step % plan.history_every == 0 or plan.done(position) >= 1.0:
            row = {name: float(np.mean(v, dtype=np.float64)) for name, v in recent.items()}
            position, recent = replace(position, history=(*position.history, (position.step, row))), {}
        if watch is not None and (position.step % watch.every == 0 or plan.done(position) >= 1.0):
            position = _looked(watch, position, together)
            keep(position)
            kept_at, clock = position.elapsed_s, time.monotonic()
        if stop:
            keep(position)
            raise KeyboardInterrupt
        if position.elapsed_s - kept_at >= plan.checkpoint_every_s:
            keep(position)
            kept_at = position.elapsed_s
        progress(round(1000 * plan.done(position)), 1000, _note(position, values))
    position = replace(position, finished=True)
    keep(position)
    trainable.module.eval()
    return position


def _looked(watch: Watch, position: Position, together: Together) -> Position:
    """With what the watch measured in the history."""
    seen = together.agreed(watch.look(position) if together.rank == 0 else Seen())
    row = (position.step, dict(seen.values))
    history = (*position.history, row) if seen.values else position.history
    return replace(position, history=history, ended_early=seen.enough)


def _step(trainable: Trainable, rng: np.random.Generator, now: Moment, together: Together) -> dict[str, float] | None:
    """One step's loss values; None if its gradients were not finite, and then no weight has changed."""
    trainable.optimizer.zero_grad(set_to_none=True)
    terms = trainable.losses(rng, now)
    total = torch.stack(list(terms.values())).sum()
    total.backward()  # type: ignore[no-untyped-call]  # torch leaves it without annotations
    gradients = [p.grad for p in trainable.module.parameters() if p.grad is not None]
    total = total.detach()
    together.average([*gradients, total])
    if not bool(torch.isfinite(torch.nn.utils.get_total_norm(gradients))) or not bool(torch.isfinite(total)):
        return None
    trainable.optimizer.step()
    return {name: float(term.detach()) for name, term in terms.items()}


def _note(now: Position, values: Mapping[str, float] | None) -> str:
    loss = f"loss {sum(values.values()):.3f}" if values else "step dropped: its gradients were not finite"
    return f"training, step {now.step}, {loss}"


def _stopped(folder: Path) -> Stopped:
    kept = (folder / checkpoint.NAME).is_file()
    return Stopped(
        "stopped, the checkpoint is kept" if kept else "stopped before the first checkpoint", where=str(folder),
        hint="Give the same command again to resume",
    )  # fmt: skip


@contextmanager
def _interrupt_between_steps() -> Iterator[Callable[[], bool]]:
    """Holds the first Ctrl-C back until a step is whole, so that the checkpoint loses nothing; a second is not held.

    Only the main thread may do this; in another thread KeyboardInterrupt can't arrive anyway.
    """
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed.is_set
        return
    before = signal.getsignal(signal.SIGINT)

    def hold(number: int, frame: FrameType | None) -> None:
        if pressed.is_set():
            raise KeyboardInterrupt
        pressed.set()

    signal.signal(signal.SIGINT, hold)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)
