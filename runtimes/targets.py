"""Target profiles as data, and the choice of variant, layout and runtime by them. Knows no graph, no vendor."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias, TypeVar

from edge_sdk.errors import BadUsage, NotThere
from edge_sdk.runtimes import registry
from edge_sdk.runtimes.probe import CpuFacts, Isa
from edge_sdk.runtimes.protocol import Availability
from edge_sdk.runtimes.variants import is_int8


@dataclass(frozen=True, slots=True)
class Placement:
    """A runtime and one of its devices."""

    runtime: str
    device: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What to take on one kind of machine. variants, places: in order of preference. opset: the highest to export.
    why: the reason of the order; of `detect`, also what was seen. refusal: why nothing runs there, empty if it does."""

    name: str
    variants: tuple[str, ...]
    places: tuple[Placement, ...]
    opset: int
    why: str
    refusal: str = ""

    @property
    def runtimes(self) -> tuple[str, ...]:
        """Names of the runtimes, each once, in order."""
        return tuple(dict.fromkeys(place.runtime for place in self.places))


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantOption:
    """One graph that a bundle offers: numbers, where its Q/DQ stand, and for whom alone it was planned, () = for every
    runtime that takes its layout (bundle manifest, Graph)."""

    variant: str
    layout: str
    runtimes: tuple[str, ...] = ()


Fault: TypeAlias = Callable[[str, VariantOption], str]
"""(runtime, graph): why its answers are known to be wrong there, "" if they are not."""


class Offered(Protocol):
    """A graph by what decides where it runs: an option, a variant to ship, a graph of a manifest. As VariantOption."""

    @property
    def variant(self) -> str: ...
    @property
    def layout(self) -> str: ...
    @property
    def runtimes(self) -> Collection[str]: ...


G = TypeVar("G", bound=Offered)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What will run and why. refused: (what, why) of each option that is preferred to it and not available."""

    variant: str
    layout: str
    runtime: str
    device: str
    why: str
    refused: tuple[tuple[str, str], ...] = ()


_ORT, _ORT_CUDA = Placement("onnxruntime", "CPU"), Placement("onnxruntime", "CUDA")
_OV, _TRT, _RTX = Placement("openvino", "CPU"), Placement("tensorrt", "CUDA"), Placement("tensorrt-rtx", "CUDA")
_JETSON = ("int8", "fp16", "fp32")

TARGETS: tuple[Target, ...] = (
    Target(
        name="jetson-orin-jp6", variants=_JETSON, places=(_TRT, _ORT), opset=17,
        why="int8 tensor cores; TensorRT 10.3 of JetPack 6.1 and 6.2, the 8.6 of 6.0 is refused",
    ),
    Target(name="jetson-orin-jp7", variants=_JETSON, places=(_TRT, _ORT), opset=21, why="int8 tensor cores"),
    Target(name="jetson-thor-jp7", variants=_JETSON, places=(_TRT, _ORT), opset=21, why="int8 tensor cores"),
    Target(
        name="jetson-xavier", variants=(), places=(), opset=0, why="JetPack 5",
        refusal="its TensorRT 8.5 and Python 3.8 are older than what is supported (TensorRT 10, Python 3.10)",
    ),
    Target(
        name="jetson-nano", variants=(), places=(), opset=0, why="JetPack 4",
        refusal="its GPU has no int8, its TensorRT 8.2 and Python 3.6 are older than what is supported",
    ),
    Target(
        name="rtx-pc", variants=_JETSON, places=(_TRT, _RTX, _ORT_CUDA), opset=21,
        why="int8 tensor cores; TensorRT-RTX compiles its kernels on the first run",
    ),
    Target(
        name="x86-amx", variants=("int8", "int8-w7", "fp32"), places=(_OV, _ORT), opset=21,
        why="AMX adds int8 products in 32 bits; OpenVINO gains most from it",
    ),
    Target(
        name="x86-vnni", variants=("int8", "int8-w7", "fp32"), places=(_OV, _ORT), opset=21,
        why="VNNI adds int8 products in 32 bits",
    ),
    Target(
        name="x86-avx2", variants=("int8-w7", "int8", "fp32"), places=(_OV, _ORT), opset=21,
        why="without VNNI pairs of int8 products saturate in 16 bits: weights within [-64, 64] do not, at equal speed",
    ),
    Target(name="x86-sse", variants=("fp32",), places=(_ORT,), opset=17, why="no AVX2: int8 does not pay"),
    Target(
        name="intel-igpu", variants=("int8", "fp16", "fp32"), places=(Placement("openvino", "GPU"), _OV), opset=17,
        why="int8 on the integrated GPU",
    ),
    Target(
        name="intel-npu", variants=("int8", "fp16"), places=(Placement("openvino", "NPU"), _OV), opset=17,
        why="int8 on the NPU, static shapes",
    ),
    Target(
        name="arm-cortex-a", variants=("int8", "int8-w7", "fp32"), places=(_ORT, _OV), opset=17,
        why="dot products are added in 32 bits",
    ),
    Target(name="any-cpu", variants=("fp32",), places=(_ORT,), opset=17, why="nothing known of this CPU's int8"),
)  # fmt: skip

_X86: Mapping[Isa, str] = {"amx": "x86-amx", "vnni": "x86-vnni", "avx2": "x86-avx2", "sse": "x86-sse"}


def layouts(runtime: str, variant: str) -> tuple[str, ...]:
    """The layouts of `variant` that `runtime` runs as what they are, best first."""
    return registry.runtime(runtime).int8_layouts if is_int8(variant) else ("plain",)


def takes(runtime: str, graph: Offered) -> bool:
    """Whether a graph is for `runtime`, and is run there as what it is: int8 in int8."""
    return planned_for(runtime, graph.runtimes) and graph.layout in layouts(runtime, graph.variant)


def taken(graphs: Sequence[G], variant: str, runtime: str) -> G | None:
    """Of the graphs of one role that of `variant` which `load` takes on `runtime`: in the layout that it likes best.

    None if none is for it.
    """
    for layout in layouts(runtime, variant):
        for graph in graphs:
            if (graph.variant, graph.layout) == (variant, layout) and planned_for(runtime, graph.runtimes):
                return graph
    return None


def planned_for(runtime: str, runtimes: Collection[str]) -> bool:
    """Whether a graph that was planned for `runtimes` alone (bundle manifest, Graph) is for `runtime`; () = for all.

    TensorRT-RTX compiles what was planned for TensorRT. Graphs are split between the product's own runtimes by their
    known faults; of another package's runtime none is known, so that it may try each, and refuses what it can't run.
    """
    planned = not runtimes or any(runtime == one or runtime.startswith(f"{one}-") for one in runtimes)
    return planned or runtime not in registry.own_names()


def named(name: str) -> Target:
    """The profile called `name`. Raises BadUsage with the nearest name if there is none."""
    known = {target.name: target for target in TARGETS}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    raise BadUsage(
        f"there is no target {name}", hint=f"Did you mean {near[0]}" if near else f"One of {', '.join(known)}"
    )


_OF_DEVICE: Mapping[str, str] = {"CUDA": "rtx-pc", "GPU": "intel-igpu", "NPU": "intel-npu"}


def detect(cpu: CpuFacts, present: Sequence[Availability], *, device: str | None = None) -> Target:
    """The profile that fits this machine: a Jetson by its board and L4T release, an NVIDIA GPU by a usable TensorRT
    among `present`, else the CPU by its flags, weakened by ONEDNN_MAX_CPU_ISA if that is set. device: the one that is
    asked for, None = any."""
    if (jetson := _jetson(cpu)) is not None:
        return jetson
    if device is not None and (asked := _OF_DEVICE.get(kind_of(device))):
        return _seen(asked, f"device {device} was asked for")
    gpu = next((one for one in present if one.usable and one.runtime in registry.of_gpus() and one.devices), None)
    if gpu is not None and device is None:
        return _seen("rtx-pc", f"{gpu.runtime} {gpu.version} sees {', '.join(gpu.devices)}")
    if cpu.isa == "neon":
        return _seen("arm-cortex-a", f"{cpu.machine} with NEON")
    isa = cpu.onednn_isa
    capped = f", capped to {isa} by ONEDNN_MAX_CPU_ISA={cpu.capped_by}" if isa != cpu.isa else ""
    return _seen(_X86.get(isa, "any-cpu"), f"the CPU has {cpu.isa}{capped}")


def choose(
    variants: Sequence[VariantOption],
    target: Target,
    present: Sequence[Availability],
    *,
    variant: str | None = None,
    runtime: str | None = None,
    device: str | None = None,
    fault: Fault | None = None,
) -> Choice:
    """The best of `variants` on the best runtime of `present` by the order of `target`.

    variant, runtime, device: asked for by the user, honoured or refused, never replaced. fault: what it names is passed
    over, unless `variant` asks for it; called for what would be chosen, and for no other. Raises BadUsage if such a
    name does not exist, NotThere with every reason if nothing that was asked for can run.
    """
    if target.refusal:
        raise NotThere(f"{target.name} is not supported: {target.refusal}", hint="Run on a newer device")
    offered = tuple(dict.fromkeys(option.variant for option in variants))
    if variant is not None and variant not in offered:
        raise BadUsage(f"there is no variant {variant} in it", hint=f"One of {', '.join(offered)}")
    wanted, places = (variant,) if variant else target.variants, places_for(target, runtime, device)
    if device is not None and not any(one.usable and one.has(device) for one in present):
        has = "; ".join(f"{one.runtime} {', '.join(one.devices)}" for one in present if one.usable)
        raise NotThere(f"no runtime here has a device {device}, only {has or 'none'}", hint=_LISTED)
    refused: list[tuple[str, str]] = []
    for name in (one for one in wanted if one in offered):
        for place in places:
            found, reason = _fits(name, place, variants, present)
            if found is not None and fault is not None and variant is None:
                reason = fault(place.runtime, found)
            if found is not None and not reason:
                why = _why(target, variant=variant, runtime=runtime, device=device)
                return Choice(
                    variant=name, layout=found.layout, runtime=place.runtime, device=place.device, why=why,
                    refused=tuple(refused),
                )  # fmt: skip
            refused.append((f"{name} on {place.runtime} {place.device}", reason))
    if missing := [one for one in wanted if one not in offered]:
        refused += [(f"{name} on {place.runtime} {place.device}", _NONE) for name in missing for place in places]
    raise NotThere(f"nothing here can run it: {_reasons(refused)}", hint=_remedy(target, runtime, present))


def _reasons(refused: Sequence[tuple[str, str]]) -> str:
    """Each place and reason once, with the variants that they hold for."""
    held: dict[tuple[str, str], list[str]] = {}
    for what, why in dict.fromkeys(refused):
        name, _, place = what.partition(" on ")
        held.setdefault((place, why), []).append(name)
    return "; ".join(f"{', '.join(names)} on {place}: {why}" for (place, why), names in held.items())


def places_for(target: Target, runtime: str | None, device: str | None) -> tuple[Placement, ...]:
    """Where to look, in order: all places of `target`; for a runtime that is asked for, its own of them and its default
    device; for a device that is asked for, every runtime, those of `target` first."""
    if runtime is None and device is None:
        return target.places
    if runtime is not None:
        names: tuple[str, ...] = (registry.runtime(runtime).name,)
    else:
        usable = (one.name for one in registry.runtimes() if not isinstance(one, registry.Broken))
        names = tuple(dict.fromkeys((*target.runtimes, *usable)))
    if device is not None:
        return tuple(Placement(name, device) for name in names)
    own = (place for place in target.places if place.runtime in names)
    return tuple(dict.fromkeys((*own, *(Placement(name, registry.runtime(name).default_device) for name in names))))


def _fits(
    variant: str,
    place: Placement,
    variants: Sequence[VariantOption],
    present: Sequence[Availability],
) -> tuple[VariantOption | None, str]:
    """(graph, "") or (None, why not)."""
    mine = [one for one in variants if one.variant == variant]
    there = {one.layout: one for one in reversed(mine) if planned_for(place.runtime, one.runtimes)}
    if not there:
        return None, f"the bundle has it for {', '.join(dict.fromkeys(r for one in mine for r in one.runtimes))} only"
    layout = next((one for one in layouts(place.runtime, variant) if one in there), "")
    if not layout:
        return None, f"the bundle has it as {', '.join(there)} only, which {place.runtime} does not run in int8"
    found = next((one for one in present if one.runtime == place.runtime), None)
    if found is None:
        return None, "not looked for"
    if not found.usable:
        return None, found.reason
    if not found.has(place.device):
        return None, f"no device {place.device} among {', '.join(found.devices) or 'none'}"
    return there[layout], ""


def _why(target: Target, **wanted: str | None) -> str:
    asked = [f"{what} {name} was asked for" for what, name in wanted.items() if name]
    return "; ".join([*asked, f"{target.name}: {target.why}"])


def kind_of(device: str) -> str:
    """What a device is, without its number: "GPU" of "GPU.1" and "gpu", "CUDA" of "CUDA:0"."""
    return device.upper().partition(".")[0].partition(":")[0]


_NONE = "the bundle has no such variant"
_LISTED = "edge-sdk devices lists what each runtime has"


def _remedy(target: Target, runtime: str | None, present: Sequence[Availability]) -> str:
    names = (runtime,) if runtime else target.runtimes
    return next((one.hint for one in present if one.runtime in names and one.hint), _LISTED)


def _jetson(cpu: CpuFacts) -> Target | None:
    board = cpu.board.lower()
    if "jetson" not in board:
        return None
    seen = f"{cpu.board}, L4T {cpu.l4t or 'unknown'}"
    for word in ("xavier", "thor", "nano"):
        if word in board and "orin" not in board:
            return _seen("jetson-thor-jp7" if word == "thor" else f"jetson-{word}", seen)
    if "orin" not in board:
        return None
    release = int(cpu.l4t.partition(".")[0] or 0)  # 36: JetPack 6; 38 and up: JetPack 7
    return _seen("jetson-orin-jp7" if release >= 38 else "jetson-orin-jp6", seen)


def _seen(name: str, seen: str) -> Target:
    target = named(name)
    return replace(target, why=f"{seen}; {target.why}")
