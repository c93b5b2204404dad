"""`worth`: is int8 worth it here? int8 against fp32 of one bundle, interleaved, on every runtime. Knows no task.

A ratio is measured in two fresh processes that make a few calls each in turn (compare.py), so that what else the
machine does hits both alike; every ratio has a 95 % interval, and the rule of paired.py decides what it says.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_sdk.bundle.signing import Trust
from edge_sdk.bundle.store import Bundle
from edge_sdk.errors import BadUsage, EdgeError, NotThere
from edge_sdk.loading import checked_task
from edge_sdk.profiling.compare import CompareOptions, Comparison, compare
from edge_sdk.profiling.processes import Side
from edge_sdk.profiling.warmup import WarmupOptions
from edge_sdk.profiling.worth_plan import FP32, WHOLE, NotAsked, Question, plan
from edge_sdk.profiling.worth_report import Answer, Worth, answer, calibration_errors
from edge_sdk.progress import Progress, silent
from edge_sdk.runtimes import probe, registry, targets
from edge_sdk.runtimes.probe import CpuFacts, default_threads

_ALL = 1000  # progress is in thousandths of the time: how many pairs a comparison needs is not known before
_START_S = 3.0  # of two processes, until the first comparison has shown what it takes here
_FACTORY = "edge_sdk.profiling.predicting:"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorthOptions:
    """seconds: of the whole answer, shared by its comparisons; each of them ends earlier once it is decided, and makes
    8 pairs of blocks of calls at least, so that slow models take longer. margin: what counts as a difference, 0.03 =
    3 %. threads: of the runtime, None = all physical cores. runtimes, variants: these alone, () = all that are here,
    and all int8 ones. device: None = each runtime's default. inputs: of whole predict calls, as a command line of the
    task names them; () = made of the golden samples.
    """

    seconds: float = 60.0
    margin: float = 0.03
    threads: int | None = None
    runtimes: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    device: str | None = None
    inputs: tuple[str, ...] = ()


def worth(
    path: Path | str, *, options: WorthOptions = WorthOptions(), trust: Trust = "if-present",
    cpu: CpuFacts | None = None, progress: Progress = silent,
) -> Worth:  # fmt: skip
    """Measure int8 against fp32 of a bundle on every runtime here: whole predict calls, and single roles.

    Beside fp32 also bf16 where OpenVINO takes it by itself, and the instruction sets of other CPUs: measured where this
    CPU can be limited to them, else what was measured of them before. cpu: None = this machine's. Raises BadUsage (no
    int8 in it, a time of 0), NotThere (a runtime that is named, or nothing here takes it), BadBundle, NotTrusted; where
    every comparison fails, what the last one raised.
    """
    if not (options.seconds > 0 and options.margin > 0):
        raise BadUsage("the time and the margin must be above 0", hint="Give some seconds, and a margin such as 0.03")
    began = time.monotonic()
    cpu = probe.cpu() if cpu is None else cpu
    for name in options.runtimes:
        registry.require(registry.runtime(name).probe())
    present = [registry.runtime(name).probe() for name in options.runtimes] or list(probe.availability())
    with Bundle.open(Path(path), trust=trust, lazy=True) as bundle:
        asked = plan(
            bundle,
            present,
            cpu,
            roles=checked_task(bundle).roles_in(bundle),
            variants=options.variants,
            device=options.device,
        )
        errors = calibration_errors(bundle.report())
        if not asked.questions:
            raise _nothing_to_ask(asked.not_asked, where=str(path))
        measured = _Measured(bundle, options, began, progress)
        answers: list[Answer] = []
        failed: list[NotAsked] = []
        for number, question in enumerate(asked.questions):
            try:
                comparison = measured.compare(question, left=len(asked.questions) - number)
            except EdgeError as exc:  # the other runtimes still have an answer
                if number + 1 == len(asked.questions) and not answers:
                    raise
                failed.append(_not_answered(question, exc))
            else:
                answers.append(answer(bundle.manifest.graphs, question, comparison, errors))
        progress(_ALL, _ALL, "compared")
        return Worth(
            bundle=str(path), bundle_sha256=bundle.digest, cpu_model=cpu.model, isa=cpu.isa, isa_cap=cpu.capped_by,
            threads=measured.threads, margin=options.margin, seconds=time.monotonic() - began,
            answers=tuple(answers), not_asked=(*asked.not_asked, *failed),
        )  # fmt: skip


class _Measured:
    """Shares the time between comparisons: what one leaves over is the others'."""

    def __init__(self, bundle: Bundle, options: WorthOptions, began: float, progress: Progress) -> None:
        self._bundle, self._options, self._progress = bundle, options, progress
        self._began, self._start_s = began, _START_S
        self.threads = options.threads or default_threads()

    def compare(self, question: Question, *, left: int) -> Comparison:
        """fp32 as A, int8 as B. left: how many questions share the rest of the time, this one among them."""
        share = max(0.0, self._options.seconds - (time.monotonic() - self._began)) / left
        warmup = WarmupOptions(min_s=min(0.5, 0.05 * share), max_s=max(0.5, 0.1 * share))
        options = CompareOptions(
            margin=self._options.margin, max_time_s=max(0.5, share - self._start_s), both_ways=True, warmup=warmup
        )
        began = time.monotonic()
        found = compare(*self._sides(question), options=options, progress=self._shown(question.title))
        self._start_s = time.monotonic() - began - found.seconds
        return found

    def _shown(self, title: str) -> Progress:
        def shown(done: int, total: int, note: str) -> None:
            share = (time.monotonic() - self._began) / self._options.seconds
            self._progress(max(1, min(_ALL - 1, int(_ALL * share))), _ALL, title)

        return shown

    def _sides(self, question: Question) -> tuple[Side, Side]:
        names = (question.against, question.variant)
        if question.part == WHOLE:
            sides: list[tuple[str, dict[str, Any]]] = [
                ("predict", {"variant": variants, "inputs": self._options.inputs})
                for variants in (question.float_by_role, question.by_role)
            ]
        else:
            precisions = ("bf16" if question.against == "bf16" else "f32", "f32")
            sides = [
                ("graph", {"role": question.part, "variant": variant, "precision": precision})
                for variant, precision in zip((FP32, question.variant), precisions, strict=True)
            ]
        a, b = (self._side(question, name, *side) for name, side in zip(names, sides, strict=True))
        return a, b

    def _side(self, question: Question, name: str, factory: str, more: Mapping[str, Any]) -> Side:
        on_cpu = targets.kind_of(question.device) == "CPU"
        arguments = {
            "bundle": str(self._bundle.path), "runtime": question.runtime, "device": question.device,
            "threads": self.threads, "digest": self._bundle.digest, **more,
        }  # fmt: skip
        return Side(
            name=f"{name} on {question.runtime}", factory=f"{_FACTORY}{factory}", arguments=arguments,
            environment=question.environment, threads=self.threads if on_cpu else None,
            cpu_absent="" if on_cpu else f"it computes on {question.device}",
        )  # fmt: skip


def _nothing_to_ask(not_asked: Sequence[NotAsked], *, where: str) -> NotThere:
    reasons = "; ".join(dict.fromkeys(f"{one.variant} on {one.runtime}: {one.why}" for one in not_asked))
    return NotThere(
        f"no int8 of it can be measured here: {reasons or 'no runtime is usable'}", where=where,
        hint="edge-sdk devices lists what each runtime has",
    )  # fmt: skip


def _not_answered(question: Question, exc: EdgeError) -> NotAsked:
    return NotAsked(
        runtime=question.runtime, variant=question.variant, why=str(exc.args[0]), part=question.part,
        against=question.against,
    )  # fmt: skip
