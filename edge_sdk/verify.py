"""Replays golden samples on every runtime present: singly, at each batch position, twice, and end to end.

Knows no task and no family; the task says what an error means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from edge_sdk.bundle.manifest import Graph
from edge_sdk.bundle.signing import Trust
from edge_sdk.bundle.store import Bundle
from edge_sdk.counted import percent
from edge_sdk.errors import BadBundle, BadUsage, EdgeError, NotThere
from edge_sdk.golden import (
    Expected,
    OutputCheck,
    answers,
    check_session,
    in_batches,
)
from edge_sdk.loading import checked_task, known_fault
from edge_sdk.progress import Progress, silent
from edge_sdk.replay import PredictCheck, WholeWay, compiled_as_load, predicted, reproduced, whole_ways
from edge_sdk.runtimes import registry, targets
from edge_sdk.runtimes.protocol import Availability, Session
from edge_sdk.tasks.base import Headline, task_code
from edge_sdk.tensors import BATCH as BATCH_AXIS
from edge_sdk.text_table import TableWriter, text_table

BATCH = 3
"""Batch size of the check. Its positions are first, middle and last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyRow:
    """One graph on one runtime.

    precision: of convolutions and matrix products, then of the rest. repeatable: two runs gave identical bits.
    problem: why it did not run, "" if it ran.
    """

    graph: str
    role: str
    variant: str
    layout: str
    runtime: str
    device: str
    precision: str
    outputs: tuple[OutputCheck, ...]
    batch_outputs: tuple[OutputCheck, ...]
    repeatable: bool
    problem: str = ""

    @property
    def passed(self) -> bool:
        return not self.problem and self.repeatable and all(c.passed for c in self.outputs + self.batch_outputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What `verify` found. reproduced: golden samples whose feeds were reproduced bit-exactly, in every role;
    worst_feed_difference: the largest difference of the others. absent: (runtime, why).

    headline: what the errors mean, by the task. reproduces: what makes feeds of a source. left_out: (graph, why) of
    graphs that no runtime takes, or that a known fault makes wrong on this CPU; a variant requested by name gets a row
    that says so, or is run anyway. whole_way: one row per runtime, if the task has several roles. predict: one row per
    runtime.
    """

    bundle: str
    digest: str
    samples: int
    reproduced: int
    worst_feed_difference: float
    rows: tuple[VerifyRow, ...]
    absent: tuple[tuple[str, str], ...]
    left_out: tuple[tuple[str, str], ...] = ()
    headline: Headline = field(default_factory=Headline)
    reproduces: Literal["preprocessing", "sources"] = "preprocessing"
    whole_way: tuple[WholeWay, ...] = ()
    predict: tuple[PredictCheck, ...] = ()

    @property
    def passed(self) -> bool:
        return (
            bool(self.rows)
            and self.reproduced == self.samples
            and all(row.passed for row in self.rows)
            and all(one.passed for one in self.whole_way)
            and all(one.passed for one in self.predict)
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values for one JSON object."""
        out = asdict(self)
        for row, plain in zip(self.rows, out["rows"], strict=True):
            plain["passed"] = row.passed
        for way, plain in zip(self.whole_way, out["whole_way"], strict=True):
            plain["passed"] = way.passed
        for check, plain in zip(self.predict, out["predict"], strict=True):
            plain["passed"] = check.passed
        return {**out, "passed": self.passed}

    def text(self, table: TableWriter = text_table) -> str:
        """Table of the worst checks, and the verdict."""
        header = ("graph", "runtime", "precision", "run", "output", "checks", "relative", "worst", "verdict")
        lines = [table(header, [line for row in self.rows for line in _lines(row)])]
        lines.append(f"{self.reproduces}: {self.reproduced} of {self.samples} golden samples reproduced bit-exactly")
        if self.worst_feed_difference:
            lines[-1] += f" (off by up to {self.worst_feed_difference:g})"
        lines += [way.line() for way in self.whole_way]
        lines += [check.line() for check in self.predict]
        lines += self.headline.lines
        lines += [f"not available: {name} ({why})" for name, why in self.absent]
        lines += [f"not run: {graph} ({why})" for graph, why in self.left_out]
        lines.append(f"{self.bundle}: {'verified' if self.passed else 'NOT verified'}")
        return "\n".join(lines)


def _lines(row: VerifyRow) -> list[tuple[str, ...]]:
    """The worst check of every output, singly and in batches; or the problem."""
    who = (row.graph, row.runtime, row.precision)
    out: list[tuple[str, ...]] = []
    for run, checks in (("alone", row.outputs), ("batch", row.batch_outputs)):
        for output in sorted({c.output for c in checks}):
            mine = [c for c in checks if c.output == output]
            worst = max(mine, key=lambda c: c.used)
            used = f"{percent(worst.used, 0)} of allowed" if worst.allowed or worst.allowed_distance else "exact"
            verdict = "pass" if all(c.passed for c in mine) else "FAIL"
            out.append((*who, run, output, str(len(mine)), f"{worst.relative:.1e}", used, verdict))
    if row.problem:
        out.append((*who, "-", "-", "-", "-", row.problem, "FAIL"))
    elif not row.repeatable:
        out.append((*who, "twice", "-", "2", "-", "two runs differ", "FAIL"))
    return out


def verify(
    path: Path | str, *, runtimes: Sequence[str] = (), variants: Sequence[str] = (), device: str | None = None,
    trust: Trust = "if-present", progress: Progress = silent,
) -> VerifyReport:  # fmt: skip
    """Replay the bundle's golden samples. runtimes, variants: those to check, () = all that are available.

    device: the runtime's own name; only runtimes with this device are checked. Raises NotThere for a runtime requested
    by name that is not available, and for a device that no runtime has; other absent runtimes are listed.
    """
    with Bundle.open(Path(path), trust=trust) as bundle:
        if not bundle.manifest.golden:
            raise BadBundle("the bundle has no golden samples", where=str(path), hint="Export it again")
        task = checked_task(bundle)
        wanted = [g for g in bundle.manifest.graphs if not variants or g.variant in variants]
        if not wanted:
            have = ", ".join(sorted({g.variant for g in bundle.manifest.graphs}))
            raise BadUsage(f"no variant {' or '.join(variants)} in this bundle", where=str(path), hint=f"It has {have}")
        present, absent = _present(runtimes, device)
        names = [one.runtime for one in present]
        jobs = [(g, one) for one in present for g in wanted if targets.takes(one.runtime, g)]
        rows, left_out = _not_taken(wanted, names, jobs, asked=variants)
        jobs, unusable = _sound(bundle, jobs, asked=variants)
        for done, (graph, runtime) in enumerate(jobs):
            progress(done, len(jobs), f"{graph.name} on {runtime.runtime}")
            rows.append(_row(bundle, graph, runtime.runtime, device))
        progress(len(jobs), len(jobs), "verified")
        exact, worst = reproduced(bundle, task)
        named = [(g, one.runtime) for g, one in jobs]
        checks = [check for row in rows for check in row.outputs + row.batch_outputs]
        with task_code(task, "headline", where=str(path)):
            headline = task.headline(bundle, checks)
        return VerifyReport(
            bundle=str(path), digest=bundle.digest, samples=len(bundle.manifest.golden), reproduced=exact,
            worst_feed_difference=worst, rows=tuple(rows), absent=absent, left_out=left_out + unusable,
            headline=headline,
            reproduces="sources" if bundle.manifest.preprocessing is None else "preprocessing",
            whole_way=whole_ways(bundle, task, named, device), predict=predicted(bundle, task, named, device),
        )  # fmt: skip


_Job: TypeAlias = tuple[Graph, Availability]


def _sound(
    bundle: Bundle, jobs: Sequence[_Job], *, asked: Sequence[str]
) -> tuple[list[_Job], tuple[tuple[str, str], ...]]:
    """The jobs to run, and (graph, why) of those left out: wrong by a known fault, and not requested by name."""
    kept, unusable = [], []
    for graph, runtime in jobs:
        if graph.variant not in asked and (why := known_fault(bundle, graph, runtime)):
            unusable.append((f"{graph.name} on {runtime.runtime}", why))
        else:
            kept.append((graph, runtime))
    return kept, tuple(unusable)


def _present(asked: Sequence[str], device: str | None) -> tuple[list[Availability], tuple[tuple[str, str], ...]]:
    """The usable runtimes with `device`, and (runtime, why) of the others."""
    present, absent = [], []
    for runtime in [registry.runtime(name) for name in asked] or registry.runtimes():
        found = runtime.probe()
        if found.usable and device is not None and not found.has(device):
            found = replace(
                found, reason=f"it has no device {device} here, only {', '.join(found.devices)}", hint=_LISTED
            )
        if found.usable:
            present.append(found)
        elif asked:
            registry.require(found)
        else:
            absent.append((runtime.name, found.reason))
    if device is not None and not present:
        raise NotThere(f"no runtime here has a device {device}", hint=_LISTED)
    return present, tuple(absent)


_LISTED = "edge-sdk devices lists what each runtime has"


def _not_taken(
    wanted: Sequence[Graph], present: Sequence[str], jobs: Sequence[_Job], *, asked: Sequence[str]
) -> tuple[list[VerifyRow], tuple[tuple[str, str], ...]]:
    """What will not run: a failed row for each variant requested by name, (graph, why) for the others."""
    taken, ran = {graph.name for graph, _ in jobs}, {graph.variant for graph, _ in jobs}
    rows: list[VerifyRow] = []
    left_out: list[tuple[str, str]] = []
    for graph in wanted:
        if graph.name in taken:
            continue
        why = _why_not(graph, present)
        if graph.variant in asked and graph.variant not in ran:
            rows.append(replace(_blank(graph, ", ".join(present) or "-", ""), problem=why))
        else:
            left_out.append((graph.name, why))
    return rows, tuple(left_out)


def _why_not(graph: Graph, present: Sequence[str]) -> str:
    if not present:
        return "no runtime is available"
    if not any(targets.planned_for(runtime, graph.runtimes) for runtime in present):
        return f"it was made for {', '.join(graph.runtimes)} alone"
    return f"{', '.join(present)} would run layout {graph.layout} in float"


def _blank(graph: Graph, runtime: str, device: str) -> VerifyRow:
    return VerifyRow(
        graph=graph.name, role=graph.role, variant=graph.variant, layout=graph.layout, runtime=runtime, device=device,
        precision="", outputs=(), batch_outputs=(), repeatable=False,
    )  # fmt: skip


def _row(bundle: Bundle, graph: Graph, runtime: str, device: str | None) -> VerifyRow:
    blank = _blank(graph, runtime, device or registry.runtime(runtime).default_device)
    try:
        session = compiled_as_load(bundle, graph, runtime, blank.device)
    except EdgeError as exc:
        return replace(blank, problem=str(exc))
    try:
        e = session.explain()
        alone = check_session(bundle, graph, session)
        same = _same_twice(bundle, graph, session)
    except EdgeError as exc:
        return replace(blank, problem=str(exc))
    finally:
        session.close()
    batch, problem = _batches(bundle, graph, runtime, blank.device)
    return replace(
        blank, device=e.device, precision=e.computes, outputs=tuple(alone), batch_outputs=batch,
        repeatable=same, problem=problem,
    )  # fmt: skip


def _same_twice(bundle: Bundle, graph: Graph, session: Session) -> bool:
    expected = Expected.of(bundle, graph)
    feeds = expected.feeds(expected.strongest)
    first, second = answers(session, feeds), answers(session, feeds)
    return all(np.array_equal(first[name], second[name], equal_nan=first[name].dtype.kind == "f") for name in first)


def _batches(bundle: Bundle, graph: Graph, runtime: str, device: str) -> tuple[tuple[OutputCheck, ...], str]:
    """Every golden sample at every batch position, with other rows beside it."""
    size = min(BATCH, graph.axes.get(BATCH_AXIS, 1))
    if size < 2 or not any(spec.batched for spec in graph.inputs):
        return (), ""
    checks: list[OutputCheck] = []
    try:
        session = compiled_as_load(bundle, graph, runtime, device, max_batch=size)
    except EdgeError as exc:
        return (), f"in a batch: {exc}"
    try:
        expected = Expected.of(bundle, graph)
        for i in range(len(bundle.manifest.golden)):
            beside = expected.beside(i)
            for position in range(size):
                got = in_batches(session, expected.feeds(i), beside, size=size, position=position)
                checks += expected.compare(i, got, position=position)
    except EdgeError as exc:
        return tuple(checks), f"in a batch: {exc}"
    finally:
        session.close()
    return tuple(checks), ""
