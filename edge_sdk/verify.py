"""Golden samples through every runtime present: alone, at each position of a batch, twice. Knows no task, no family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_sdk import preprocess
from edge_sdk.bundle.manifest import Graph
from edge_sdk.bundle.signing import Trust
from edge_sdk.bundle.store import Bundle
from edge_sdk.errors import BadBundle, BadUsage, EdgeError, NotThere
from edge_sdk.golden import Judge, OutputCheck, answers, check_session, golden_tensor, joined
from edge_sdk.progress import Progress, silent
from edge_sdk.runtimes import faults, probe, registry, targets
from edge_sdk.runtimes.cache import default_cache_folder
from edge_sdk.runtimes.onnx_file import read_facts
from edge_sdk.runtimes.protocol import Availability, CompileOptions, Session
from edge_sdk.text_table import TableWriter, text_table

BATCH = 3
"""Positions that a batch is checked at: first, middle, last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyRow:
    """One graph on one runtime. worst: the output that used most of its tolerance (share 1.0 = all of it).

    precision: of the convolutions, then of the rest. repeatable: two runs gave the same bits.
    problem: why it could not be run, "" if it ran.
    """

    graph: str
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
    """What `verify` found. pictures: golden pictures whose tensor came out exactly. absent: (runtime, why).

    threshold: the one in force, None = the bundle has none: what an error of a score is to be held against.
    left_out: (graph, why) of graphs that none of the runtimes takes, or that a known fault spoils on this CPU; where
    such a variant was asked for by name, a row says so instead, or is run all the same.
    """

    bundle: str
    digest: str
    samples: int
    pictures: int
    worst_picture_difference: int
    rows: tuple[VerifyRow, ...]
    absent: tuple[tuple[str, str], ...]
    left_out: tuple[tuple[str, str], ...] = ()
    threshold: float | None = None

    @property
    def worst_score(self) -> float | None:
        """The largest error of a score among all rows, in the score's unit; None where no graph answers one."""
        of_scores = (c.worst for row in self.rows for c in row.outputs + row.batch_outputs if c.output == "score")
        return max(of_scores, default=None)

    @property
    def passed(self) -> bool:
        return bool(self.rows) and self.pictures == self.samples and all(row.passed for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """Plain values for one JSON object."""
        out = asdict(self)
        for row, plain in zip(self.rows, out["rows"], strict=True):
            plain["passed"] = row.passed
        return {**out, "worst_score": self.worst_score, "passed": self.passed}

    def text(self, table: TableWriter = text_table) -> str:
        """A table of the worst checks, and the verdict, for a person."""
        header = ("graph", "runtime", "precision", "run", "output", "checks", "relative", "worst", "verdict")
        lines = [table(header, [line for row in self.rows for line in _lines(row)])]
        lines.append(f"pictures: {self.pictures} of {self.samples} become their tensor exactly")
        if self.worst_picture_difference:
            lines[-1] += f" (off by up to {self.worst_picture_difference} grey levels)"
        if self.worst_score is not None and self.threshold:
            share = self.worst_score / abs(self.threshold)
            lines.append(f"scores: off by up to {share:.1%} of the threshold in force, {self.threshold:.6g}")
        lines += [f"not here: {name} ({why})" for name, why in self.absent]
        lines += [f"not run: {graph} ({why})" for graph, why in self.left_out]
        lines.append(f"{self.bundle}: {'verified' if self.passed else 'NOT verified'}")
        return "\n".join(lines)


def _lines(row: VerifyRow) -> list[tuple[str, ...]]:
    """The worst check of every output, alone and in batches; or the problem."""
    who = (row.graph, row.runtime, row.precision)
    out: list[tuple[str, ...]] = []
    for run, checks in (("alone", row.outputs), ("batch", row.batch_outputs)):
        for output in sorted({c.output for c in checks}):
            mine = [c for c in checks if c.output == output]
            worst = max(mine, key=lambda c: c.worst / c.allowed if c.allowed else c.worst)
            used = f"{worst.worst / worst.allowed:.0%} of allowed" if worst.allowed else "exact"
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
    """Replays the bundle's golden samples. runtimes, variants: those to check, () = all that are here.

    device: the runtime's own name; only runtimes that have it are checked. A runtime that is asked for by name and is
    not here, and a device that none has, raise NotThere; a runtime that is merely absent is listed.
    """
    with Bundle.open(Path(path), trust=trust) as bundle:
        if not bundle.manifest.golden:
            raise BadBundle("the bundle holds no golden samples", where=str(path), do="Export it again")
        wanted = [g for g in bundle.manifest.graphs if not variants or g.variant in variants]
        if not wanted:
            have = ", ".join(sorted({g.variant for g in bundle.manifest.graphs}))
            raise BadUsage(f"no variant {' or '.join(variants)} in this bundle", where=str(path), do=f"It has {have}")
        present, absent = _present(runtimes, device)
        names = [one.runtime for one in present]
        jobs = [(g, one) for one in present for g in wanted if targets.takes(one.runtime, g.variant, g.layout)]
        rows, left_out = _not_taken(wanted, names, jobs, asked=variants)
        jobs, spoilt = _sound(bundle, jobs, asked=variants)
        for done, (graph, runtime) in enumerate(jobs):
            progress(done, len(jobs), f"{graph.name} on {runtime.runtime}")
            rows.append(_row(bundle, graph, runtime.runtime, device))
        progress(len(jobs), len(jobs), "verified")
        exact, worst = _pictures(bundle)
        return VerifyReport(
            bundle=str(path), digest=bundle.digest, samples=len(bundle.manifest.golden), pictures=exact,
            worst_picture_difference=worst, rows=tuple(rows), absent=absent,
            left_out=left_out + spoilt, threshold=None if bundle.decision is None else bundle.decision.threshold,
        )  # fmt: skip


_Job: TypeAlias = tuple[Graph, Availability]


def _sound(
    bundle: Bundle, jobs: Sequence[_Job], *, asked: Sequence[str]
) -> tuple[list[_Job], tuple[tuple[str, str], ...]]:
    """The jobs without those that a known fault spoils here and nobody asked for, and (graph, why) of these."""
    kept, spoilt, cpu = [], [], probe.cpu()
    for graph, runtime in jobs:
        why = ""
        if graph.variant not in asked:
            facts = read_facts(bundle.graph(graph.name), where=graph.name)
            why = faults.spoilt(runtime.runtime, runtime.version or "", facts, cpu)
        if why:
            spoilt.append((f"{graph.name} on {runtime.runtime}", why))
        else:
            kept.append((graph, runtime))
    return kept, tuple(spoilt)


def _present(asked: Sequence[str], device: str | None) -> tuple[list[Availability], tuple[tuple[str, str], ...]]:
    """The runtimes that are here and have `device`, and (runtime, why) of the others."""
    present, absent = [], []
    for runtime in [registry.runtime(name) for name in asked] or registry.runtimes():
        found = runtime.probe()
        if found.usable and device is not None and not found.has(device):
            found = replace(
                found, reason=f"it has no device {device} here, only {', '.join(found.devices)}", do=_LISTED
            )
        if found.usable:
            present.append(found)
        elif asked:
            registry.require(found)
        else:
            absent.append((runtime.name, found.reason))
    if device is not None and not present:
        raise NotThere(f"no runtime here has a device {device}", do=_LISTED)
    return present, tuple(absent)


_LISTED = "edge-sdk devices lists what each runtime has"


def _not_taken(
    wanted: Sequence[Graph], present: Sequence[str], jobs: Sequence[_Job], *, asked: Sequence[str]
) -> tuple[list[VerifyRow], tuple[tuple[str, str], ...]]:
    """What will not run: a row that fails for each variant asked for by name, (graph, why) for every other graph."""
    taken, ran = {graph.name for graph, _ in jobs}, {graph.variant for graph, _ in jobs}
    rows: list[VerifyRow] = []
    left_out: list[tuple[str, str]] = []
    for graph in wanted:
        if graph.name in taken:
            continue
        why = f"{', '.join(present)} can't run layout {graph.layout} as what it is" if present else "no runtime is here"
        if graph.variant in asked and graph.variant not in ran:
            rows.append(replace(_blank(graph, ", ".join(present) or "-", ""), problem=why))
        else:
            left_out.append((graph.name, why))
    return rows, tuple(left_out)


def _blank(graph: Graph, runtime: str, device: str) -> VerifyRow:
    return VerifyRow(
        graph=graph.name, variant=graph.variant, layout=graph.layout, runtime=runtime, device=device, precision="",
        outputs=(), batch_outputs=(), repeatable=False,
    )  # fmt: skip


def _row(bundle: Bundle, graph: Graph, runtime: str, device: str | None) -> VerifyRow:
    options = CompileOptions(
        device=device or registry.runtime(runtime).default_device, graph_name=graph.name,
        int8_convolutions=graph.int8_convolutions, cache_dir=default_cache_folder(),
    )  # fmt: skip
    blank = _blank(graph, runtime, options.device)
    try:
        session = registry.runtime(runtime).compile(bundle.graph(graph.name), options)
    except EdgeError as exc:
        return replace(blank, problem=str(exc))
    try:
        told = session.explain()
        alone = check_session(bundle, graph, session)
        same = _same_twice(bundle, graph, session)
    except EdgeError as exc:
        return replace(blank, problem=str(exc))
    finally:
        session.close()
    batch, problem = _batches(bundle, graph, runtime, options)
    return replace(
        blank, device=told.device, precision=told.computes, outputs=tuple(alone), batch_outputs=batch,
        repeatable=same, problem=problem,
    )  # fmt: skip


def _same_twice(bundle: Bundle, graph: Graph, session: Session) -> bool:
    tensor = golden_tensor(bundle, bundle.manifest.golden[Judge.of(bundle, graph).strongest])
    first, second = answers(session, tensor), answers(session, tensor)
    return all(np.array_equal(first[name], second[name], equal_nan=True) for name in first)


def _batches(
    bundle: Bundle, graph: Graph, runtime: str, options: CompileOptions
) -> tuple[tuple[OutputCheck, ...], str]:
    """Every golden sample at every position of a batch, something else beside it."""
    if not isinstance(graph.inputs[0].shape[0], str):
        return (), ""
    tensors = [golden_tensor(bundle, sample) for sample in bundle.manifest.golden]
    decoy: NDArray[np.uint8] = 255 - tensors[0][0]
    checks: list[OutputCheck] = []
    try:
        session = registry.runtime(runtime).compile(bundle.graph(graph.name), replace(options, max_batch=BATCH))
    except EdgeError as exc:
        return (), f"in a batch: {exc}"
    try:
        judge = Judge.of(bundle, graph)
        for i, tensor in enumerate(tensors):
            for position in range(BATCH):
                got = joined([_at(position, session, tile, decoy) for tile in tensor])
                checks += judge.compare(i, got, position=position)
    except EdgeError as exc:
        return tuple(checks), f"in a batch: {exc}"
    finally:
        session.close()
    return tuple(checks), ""


def _at(position: int, session: Session, tile: NDArray[np.uint8], decoy: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """The outputs of one network input that runs at `position` of a batch of decoys."""
    batch = np.stack([tile if i == position else decoy for i in range(BATCH)])
    got = session.run({session.inputs[0].name: batch})
    return {name: value[position : position + 1] for name, value in got.items()}


def _pictures(bundle: Bundle) -> tuple[int, int]:
    """How many golden pictures become their golden tensor exactly, and the largest difference in grey levels."""
    exact, worst = 0, 0
    for sample in bundle.manifest.golden:
        picture = preprocess.decode(bytes(bundle.read(sample.picture)), where=sample.picture)
        tensor = preprocess.apply(picture, bundle.manifest.preprocessing).tensor
        want = golden_tensor(bundle, sample)
        if tensor.shape != want.shape:
            worst = 255
            continue
        difference = int(np.abs(tensor.astype(np.int16) - want).max())
        exact, worst = exact + (difference == 0), max(worst, difference)
    return exact, worst
