"""What `worth` found: an answer for each comparison, as sentences, a table, JSON. Measures nothing; knows no task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from edge_sdk.bundle.manifest import Graph
from edge_sdk.counted import counted
from edge_sdk.profiling import elsewhere, worth_rule
from edge_sdk.profiling.compare import Comparison, SideReport
from edge_sdk.profiling.elsewhere import KnownGain
from edge_sdk.profiling.paired import Estimate
from edge_sdk.profiling.worth_plan import OPENVINO, WHOLE, NotAsked, Question
from edge_sdk.profiling.worth_rule import Circumstances, Verdict
from edge_sdk.runtimes import targets
from edge_sdk.runtimes.probe import Isa
from edge_sdk.text_table import TableWriter, text_table

SCHEMA = "edge-sdk.worth/1"
Errors = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Relative error by role, variant and output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One side of a comparison. median_ms: of its interleaved calls. graph_bytes: of the graphs that ran, as files.

    memory_bytes, memory_peak_bytes: resident in its process after the calls, and the peak with loading and compiling;
    interpreter and runtime included; None where the system does not report it.
    """

    median_ms: float
    graph_bytes: int
    memory_bytes: int | None
    memory_peak_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One question, answered. speedup: how many times as fast int8 is, with its 95 % interval. sentence: the answer in
    words; reasons: why int8 gains so little, where it does.

    errors: of int8's outputs on the calibration samples, by role, as the bundle's own report has them; error: the
    largest of them, None without a report. of_float, of_int8: what each side costs. int8_operators, operators:
    convolutions and products that ran in int8, and all.
    """

    question: Question
    verdict: Verdict
    sentence: str
    reasons: tuple[str, ...]
    speedup: Estimate
    error: float | None
    errors: Mapping[str, Mapping[str, float]]
    of_float: Cost
    of_int8: Cost
    int8_operators: int
    operators: int
    comparison: Comparison


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherCpu:
    """What to expect on CPUs with another instruction set, where that can't be measured on this one, and why it can't.

    known: None = nothing was measured.
    """

    runtime: str
    isa: Isa
    known: KnownGain | None
    why_not_here: str

    @property
    def cells(self) -> tuple[str, ...]:
        """For a table."""
        of, gain, source = self.known, "not known", "-"
        if of is not None:
            low, high = f"{of.low:.1f}", f"{of.high:.1f}"
            gain, source = low if low == high else f"{low} to {high}", of.source
        return (elsewhere.TITLES[self.isa], self.runtime, gain, source, self.why_not_here)


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """Whether int8 of one bundle is worth it on this machine. margin: what counts as a difference. seconds: it took.

    isa: the CPU's; isa_cap: ONEDNN_MAX_CPU_ISA, or "". not_asked: what has no answer here, and why.
    """

    bundle: str
    bundle_sha256: str
    cpu_model: str
    isa: Isa
    isa_cap: str
    threads: int
    margin: float
    seconds: float
    answers: tuple[Answer, ...]
    not_asked: tuple[NotAsked, ...]

    def of(self, runtime: str, variant: str) -> Answer | None:
        """The answer for whole predict calls against fp32 on this CPU; None if there is none."""
        return next(
            (
                one for one in self.answers
                if (one.question.runtime, one.question.variant, one.question.part) == (runtime, variant, WHOLE)
                and not one.question.environment
            ),
            None,
        )  # fmt: skip

    @property
    def other_cpus(self) -> tuple[OtherCpu, ...]:
        """By runtime that was measured, the instruction sets of other CPUs that could not be."""
        limited = {(one.question.runtime, one.question.isa) for one in self.answers}
        own = {one.question.runtime: one.question.isa for one in self.answers if not one.question.environment}
        return tuple(
            OtherCpu(
                runtime=runtime, isa=isa, known=elsewhere.known(runtime, isa),
                why_not_here=_why_not_here(runtime, isa, mine),
            )
            for runtime, mine in own.items() for isa in elsewhere.others(mine) if (runtime, isa) not in limited
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """Plain values for one JSON object, with every comparison whole."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return {"schema": SCHEMA, **plain, "other_cpus": [asdict(one) for one in self.other_cpus]}

    def text(self, table: TableWriter = text_table) -> str:
        """The answers in words, then the table, other CPUs, what was not measured, and how far to trust it."""
        capped = f", capped by ONEDNN_MAX_CPU_ISA={self.isa_cap}" if self.isa_cap else ""
        lines = [f"{self.bundle} on {self.cpu_model} ({self.isa}{capped}), {counted(self.threads, 'thread')}"]
        for one in self.answers:
            lines += [one.sentence, *(f"  {reason}" for reason in one.reasons)]
        if self.answers:
            lines += ["", table(_HEADER, [_row(one) for one in self.answers]), _ERROR, ""]
        if measured := [one.cells for one in self.other_cpus if one.known is not None]:
            lines += [
                f"On other CPUs, as measured there on {elsewhere.MEASURED_ON}:", table(_OTHERS, measured), "",
            ]  # fmt: skip
        lines += [f"not measured: {one.variant} on {one.runtime}{_part(one)}: {one.why}" for one in self.not_asked]
        noted = (one for one in self.answers if one.comparison.notes)
        lines += [f"note: {one.question.title}: {'; '.join(one.comparison.notes)}" for one in noted]
        if self.answers:
            noise = max((one.comparison.noise for one in self.answers), key=lambda noise: noise.ratio)
            lines.append(
                f"machine: {noise.word}, the same fixed work took up to {noise.ratio:.2f} times its shortest time"
            )
        return "\n".join([*lines, f"{counted(len(self.answers), 'comparison')} in {self.seconds:.0f} s"])


def answer(graphs: Sequence[Graph], question: Question, comparison: Comparison, errors: Errors) -> Answer:
    """What a comparison with int8 as B says. graphs: of the bundle. errors: as of `calibration_errors`."""
    speedup, roles = comparison.ratios.p.inverse(), _roles(question)
    found = worth_rule.verdict(speedup, comparison.ruling, enough_pairs=comparison.enough_pairs)
    known = {role: errors.get(role, {}).get(variant, {}) for role, variant in roles.items()}
    largest = max((value for outputs in known.values() for value in outputs.values()), default=None)
    counts = _operators(comparison.b)
    seen = Circumstances(
        call_ms=comparison.a.median_ms, runtime_share=_runtime_share(comparison.a), int8_operators=counts.get("i8", 0),
        operators=sum(counts.values()), error=largest,
    )  # fmt: skip
    return Answer(
        question=question, verdict=found, speedup=speedup, error=largest, errors=known, comparison=comparison,
        sentence=worth_rule.sentence(
            found, speedup, what=question.variant, against=question.against, where=_where(question), error=largest,
            margin=comparison.margin,
        ),
        reasons=worth_rule.reasons(found, seen, against=question.against),
        of_float=_cost(graphs, dict.fromkeys(roles, "fp32"), question.runtime, comparison.a),
        of_int8=_cost(graphs, roles, question.runtime, comparison.b),
        int8_operators=seen.int8_operators, operators=seen.operators,
    )  # fmt: skip


def calibration_errors(report: Mapping[str, Any] | None) -> Errors:
    """Errors that a bundle's own report holds; {} without one, or where it has another form than this product's."""
    calibration = (report or {}).get("calibration")
    out: dict[str, dict[str, dict[str, float]]] = {}
    for role, found in calibration.items() if isinstance(calibration, Mapping) else ():
        by_variant = found.get("errors") if isinstance(found, Mapping) else None
        for variant, outputs in by_variant.items() if isinstance(by_variant, Mapping) else ():
            numbers = outputs.items() if isinstance(outputs, Mapping) else ()
            out.setdefault(role, {})[variant] = {n: float(v) for n, v in numbers if isinstance(v, (int, float))}
    return out


def _roles(question: Question) -> dict[str, str]:
    """The variants of the int8 side that took part."""
    part, whole = question.part, question.by_role
    return dict(whole) if part == WHOLE else {part: question.variant}


def _cost(graphs: Sequence[Graph], by_role: Mapping[str, str], runtime: str, side: SideReport) -> Cost:
    ran = (targets.taken([g for g in graphs if g.role == role], name, runtime) for role, name in by_role.items())
    return Cost(
        median_ms=side.median_ms, graph_bytes=sum(graph.size_bytes for graph in ran if graph is not None),
        memory_bytes=side.memory.get("rss_bytes"), memory_peak_bytes=side.memory.get("rss_peak_bytes"),
    )  # fmt: skip


def _operators(side: SideReport) -> dict[str, int]:
    """Convolutions and products by precision, of all roles."""
    by_role: Iterable[Mapping[str, Any]] = side.facts.get("roles", {"": side.facts}).values()
    out: dict[str, int] = {}
    for facts in by_role:
        for precision, count in facts.get("convolutions", {}).items():
            out[precision] = out.get(precision, 0) + count
    return out


def _runtime_share(side: SideReport) -> float | None:
    """What part of a whole call the stage `infer` is; None where a task has no stage of that name."""
    stages = side.facts.get("stages_ms", {})
    return stages["infer"] / stages["total"] if stages.get("infer") and stages.get("total") else None


def _where(question: Question) -> str:
    of = f", graph of {question.part} alone" if question.part != WHOLE else ""
    return f"on {question.runtime}{_limited(question)}{of}"


def _limited(question: Question) -> str:
    return f" limited to {question.isa}" if question.environment else ""


def _part(one: NotAsked) -> str:
    of = f", graph of {one.part}" if one.part != WHOLE else ""
    return f"{of}, against {one.against}" if one.against != "fp32" else of


def _why_not_here(runtime: str, isa: Isa, own: Isa) -> str:
    if isa in elsewhere.WEAKER.get(own, {}):
        return "the bundle has no variant for it" if runtime == OPENVINO else f"{runtime} can't be limited to it"
    return "this CPU lacks it"


_HEADER = (
    "runtime", "part", "variant", "against", "times as fast [95 %]", "error", "ms", "graph MB", "memory MB", "in int8",
    "pairs",
)  # fmt: skip
_ERROR = "error: the largest of an int8 output against fp32 on the calibration samples, as the bundle's report has it"
_OTHERS = ("CPU", "runtime", "int8 over fp32", "source", "why not here")


def _row(one: Answer) -> tuple[str, ...]:
    question, of = one.question, one.speedup
    return (
        f"{question.runtime}{_limited(question)}", question.part, question.variant, question.against,
        f"{of.value:.2f} [{of.low:.2f}, {of.high:.2f}]",
        "not known" if one.error is None else worth_rule.percent(one.error),
        f"{one.of_float.median_ms:.3g} -> {one.of_int8.median_ms:.3g}",
        f"{_mb(one.of_float.graph_bytes, 2)} -> {_mb(one.of_int8.graph_bytes, 2)}",
        f"{_mb(one.of_float.memory_bytes)} -> {_mb(one.of_int8.memory_bytes)}",
        f"{one.int8_operators} of {one.operators}", str(one.comparison.ratios.pairs),
    )  # fmt: skip


def _mb(size: int | None, places: int = 0) -> str:
    return "?" if size is None else f"{size / 1e6:.{places}f}"
