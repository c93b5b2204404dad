"""What a runtime must offer: tensors in, tensors out, and the truth about what ran. Knows no picture, no bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, runtime_checkable

from edge_sdk.errors import BadUsage
from edge_sdk.tensors import Array, TensorSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileOptions:
    """How to compile one graph; every default of the product's runtimes stands here and nowhere else.

    device: the runtime's own name ("CPU", "GPU", "GPU.1", "NPU", "CUDA"). precision: of everything that the graph does
    not type itself: "f32", "f16" or "bf16". threads: None = physical cores of the affinity mask and cgroup quota.
    int8_convolutions: how many convolutions (Gemm included) must really run in int8; fewer is WrongPrecision.
    axes: the largest size that will be asked for, by name of the free axis (TensorSpec.shape); a free axis that is not
    named has the size 1, names that the graph has not are ignored. cache_dir: None = no compile cache.
    reference: ONNX semantics to the letter, no graph optimisation, for comparisons; slow.
    profile_layers: keep per-layer times (slower; never in the same run as a latency figure).
    """

    device: str = "CPU"
    precision: str = "f32"
    threads: int | None = None
    graph_name: str = "graph"
    int8_convolutions: int = 0
    axes: Mapping[str, int] = field(default_factory=dict, hash=False)
    cache_dir: Path | None = None
    reference: bool = False
    profile_layers: bool = False

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise BadUsage(f"threads is {self.threads}", where=self.graph_name, do="Take 1 or more")
        for name, size in self.axes.items():
            if not _at_least_one(size):
                raise BadUsage(
                    f"the largest size of axis {name} is {size!r}", where=self.graph_name, do="Take 1 or more"
                )
        # a copy that nobody can change: the session reads it in every call
        object.__setattr__(self, "axes", MappingProxyType({name: int(size) for name, size in self.axes.items()}))


def _at_least_one(size: object) -> bool:
    return isinstance(size, Integral) and int(size) >= 1  # numpy's whole numbers are Integral, floats are not


@dataclass(frozen=True, slots=True, kw_only=True)
class Availability:
    """Whether a runtime can be used here, and if not why: a reason, not a boolean."""

    runtime: str
    version: str | None
    devices: tuple[str, ...]
    reason: str = ""  # empty = usable
    do: str = ""  # what to install or set, if not usable

    @property
    def usable(self) -> bool:
        return not self.reason

    def has(self, device: str) -> bool:
        """Whether `device` is listed, by its whole name or without a number: "GPU" of "GPU.1", "CUDA" of "CUDA:0"."""
        return any(device in (one, one.partition(".")[0].partition(":")[0]) for one in self.devices)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What was asked for against what was got; printed by `explain()`, kept in every result."""

    runtime: str
    version: str
    device_requested: str
    device: str
    precision_requested: str
    precision: str
    threads: int
    layers_by_precision: Mapping[str, int] = field(default_factory=dict)  # convolutions: {"i8": 23, "f32": 1}
    compile_cache: str = "off"  # "off", "hit" or "miss"
    settings: Mapping[str, str] = field(default_factory=dict)  # every option handed to the vendor
    workarounds: tuple[str, ...] = ()  # ids of known faults that were avoided, see faults.py
    warnings: tuple[str, ...] = ()

    @property
    def computes(self) -> str:
        """The types of the convolutions, then of the rest: "convolutions in int8, rest f32", or "f32" where all is."""
        total = sum(self.layers_by_precision.values())
        words = [
            f"{'' if count == total else f'{count} of {total} '}convolutions in {'int8' if kind == 'i8' else kind}"
            for kind, count in sorted(self.layers_by_precision.items()) if kind != self.precision
        ]  # fmt: skip
        return f"{' and '.join(words)}, rest {self.precision}" if words else self.precision


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTime:
    """One row of a per-layer profile. ms: milliseconds of one run."""

    name: str
    op: str
    kernel: str
    precision: str
    ms: float


class Session(Protocol):
    """One compiled graph. `run` may be called from any thread; after `close` it raises."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...
    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...
    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Arrays by output name, owned by the caller. Feeds must match `inputs` exactly: BadInput names the tensor."""

    def explain(self) -> Explanation: ...
    def close(self) -> None: ...


@runtime_checkable
class ProfiledSession(Protocol):
    """What only some runtimes have: times per layer (compile with profile_layers=True)."""

    def layer_times(self, feeds: Mapping[str, Array]) -> tuple[LayerTime, ...]: ...


class Runtime(Protocol):
    """One vendor's library. Stateless; importing the adapter must not import the vendor.

    default_device: what runs where nobody names a device. int8_layouts: where Q/DQ may stand in an int8 graph for this
    runtime to compute it in int8 (bundle manifest, Graph), best first.
    """

    @property
    def name(self) -> str: ...
    @property
    def default_device(self) -> str: ...
    @property
    def int8_layouts(self) -> tuple[str, ...]: ...
    def probe(self) -> Availability:
        """Looks, by trial, and never raises."""

    def compile(self, graph: bytes | Path, options: CompileOptions) -> Session:
        """Raises NotThere (package, driver, device), WrongPrecision (asked is not got), BadInput (graph refused)."""
