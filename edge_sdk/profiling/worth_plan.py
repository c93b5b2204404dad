"""Which comparisons answer whether a bundle's int8 is worth it on this machine. Measures nothing; knows no task."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from edge_sdk.bundle.manifest import Graph
from edge_sdk.bundle.store import Bundle
from edge_sdk.errors import BadUsage
from edge_sdk.loading import known_fault
from edge_sdk.profiling.elsewhere import WEAKER
from edge_sdk.runtimes import registry, targets
from edge_sdk.runtimes.probe import CAP_VARIABLE, CpuFacts, Isa
from edge_sdk.runtimes.protocol import Availability
from edge_sdk.runtimes.variants import is_int8

FP32, OPENVINO = "fp32", "openvino"
WHOLE = "predict"
"""The part that is whole predict calls; other parts are a role's graph alone."""
Against: TypeAlias = Literal["fp32", "bf16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One comparison. variant: the int8 one. by_role: what runs in each role, fp32 where a role has no such graph here.

    part: WHOLE, or the role whose graph alone is measured. against: what the other side computes in. isa: of the
    kernels that run; environment: what limits both sides to it, empty where it is the CPU's own.
    """

    runtime: str
    device: str
    variant: str
    by_role: Mapping[str, str]
    part: str = WHOLE
    against: Against = "fp32"
    isa: Isa
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def float_by_role(self) -> dict[str, str]:
        """The other side's variants."""
        return dict.fromkeys(self.by_role, FP32)

    @property
    def title(self) -> str:
        """For progress."""
        capped = f", limited to {self.isa}" if self.environment else ""
        of = "" if self.part == WHOLE else f", graph of {self.part}"
        return f"{self.variant} against {self.against} on {self.runtime}{of}{capped}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NotAsked:
    """A question that has no answer on a runtime, and why. part, against: as of Question."""

    runtime: str
    variant: str
    why: str
    part: str = WHOLE
    against: Against = "fp32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """questions: in the order of asking, the whole workload first. not_asked: what could have been one."""

    questions: tuple[Question, ...]
    not_asked: tuple[NotAsked, ...]


def plan(
    bundle: Bundle, present: Sequence[Availability], cpu: CpuFacts, *, roles: Sequence[str],
    variants: Sequence[str] = (), device: str | None = None,
) -> Plan:  # fmt: skip
    """Every int8 variant on every usable runtime of `present`, whole; then, of the variant that suits the CPU best,
    each role's graph alone where there are several, bf16 where OpenVINO takes it by itself, and the weaker
    instruction sets that OpenVINO can be limited to.

    variants: these alone, () = all. Raises BadUsage for a bundle without int8, or without a variant that is named.
    """
    offered = tuple(dict.fromkeys(g.variant for g in bundle.manifest.graphs if is_int8(g.variant)))
    if missing := [name for name in variants if name not in offered]:
        raise BadUsage(
            f"there is no int8 variant {missing[0]} in it", where=str(bundle.path),
            hint=f"One of {', '.join(offered)}" if offered else "Make one with edge-sdk quantize or train",
        )  # fmt: skip
    if not offered:
        raise BadUsage("the bundle has no int8 variant", where=str(bundle.path), hint="Make one with edge-sdk quantize")
    wanted = _by_liking(variants or offered, cpu)
    whole: list[Question] = []
    beside: list[Question] = []
    not_asked: list[NotAsked] = []
    for one in (one for one in present if one.usable):
        found: list[Question] = []
        for variant in wanted:
            question, why = _whole(bundle, one, variant, cpu, roles=roles, device=device)
            if question is None:
                not_asked.append(NotAsked(runtime=one.runtime, variant=variant, why=why))
            else:
                found.append(question)
        whole += found
        if found:
            beside += _parts(found[0], cpu)
            beside += _capped(bundle, one, found[0], cpu, wanted)
    return Plan(questions=(*whole, *beside), not_asked=tuple(not_asked))


def _by_liking(variants: Iterable[str], cpu: CpuFacts) -> list[str]:
    """In the order in which `load` takes them on such a CPU."""
    liked = targets.detect(cpu, ()).variants
    return sorted(variants, key=lambda name: liked.index(name) if name in liked else len(liked))


def _whole(
    bundle: Bundle, runtime: Availability, variant: str, cpu: CpuFacts, *, roles: Sequence[str], device: str | None
) -> tuple[Question | None, str]:
    """The question, or why there is none."""
    wanted = device or registry.runtime(runtime.runtime).default_device
    if not runtime.has(wanted):
        return None, f"no device {wanted} among {', '.join(runtime.devices) or 'none'}"
    by_role, why = _by_role(bundle, runtime, variant, cpu, roles)
    if why:
        return None, why
    isa = cpu.onednn_isa if runtime.runtime == OPENVINO else cpu.isa
    return Question(
        runtime=runtime.runtime, device=runtime.spelled(wanted), variant=variant, by_role=by_role, isa=isa
    ), ""


def _by_role(
    bundle: Bundle, runtime: Availability, variant: str, cpu: CpuFacts, roles: Iterable[str]
) -> tuple[dict[str, str], str]:
    """What runs in each role, and why there is nothing to measure, "" if there is."""
    by_role, reasons = {}, []
    for role in roles:
        graphs = [graph for graph in bundle.manifest.graphs if graph.role == role]
        if why := _unusable(bundle, graphs, FP32, runtime, cpu):
            return {}, f"no {FP32} graph of {role} to compare with: {why}"
        why = _unusable(bundle, graphs, variant, runtime, cpu)
        by_role[role] = FP32 if why else variant
        reasons += [why] if why else []
    if variant in by_role.values():
        return by_role, ""
    return {}, "; ".join(dict.fromkeys(reasons)) or "it has no role to run"


def _unusable(bundle: Bundle, graphs: Sequence[Graph], variant: str, runtime: Availability, cpu: CpuFacts) -> str:
    taken = targets.taken(graphs, variant, runtime.runtime)
    return "the bundle has none for it" if taken is None else known_fault(bundle, taken, runtime, cpu)


def _parts(whole: Question, cpu: CpuFacts) -> Iterator[Question]:
    """Of one variant on one runtime: each role's graph alone where there are several, and against bf16."""
    quantized = [role for role, variant in whole.by_role.items() if variant == whole.variant]
    if len(whole.by_role) > 1:
        yield from (replace(whole, part=role) for role in quantized)
    if whole.runtime == OPENVINO and targets.kind_of(whole.device) == "CPU" and _takes_bf16(cpu):
        yield from (replace(whole, part=role, against="bf16") for role in quantized)


def _takes_bf16(cpu: CpuFacts) -> bool:
    """Whether OpenVINO computes float graphs in bf16 by itself (runtimes/faults.py, openvino-bf16-by-itself)."""
    return not cpu.capped_by and ("amx_bf16" in cpu.flags or "avx512_bf16" in cpu.flags)


def _capped(
    bundle: Bundle, runtime: Availability, whole: Question, cpu: CpuFacts, variants: Sequence[str]
) -> Iterator[Question]:
    """The same on weaker instruction sets, each with the variant that `load` takes there of those wanted."""
    if runtime.runtime != OPENVINO or cpu.capped_by or targets.kind_of(whole.device) != "CPU":
        return
    for isa, cap in WEAKER.get(cpu.isa, {}).items():
        weaker = replace(cpu, capped_by=cap)
        for variant in _by_liking(variants, weaker):
            by_role, why = _by_role(bundle, runtime, variant, weaker, whole.by_role)
            if not why:
                yield replace(whole, variant=variant, by_role=by_role, isa=isa, environment={CAP_VARIABLE: cap})
                break
