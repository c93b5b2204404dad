"""What a runtime offers: arrays in, arrays out, and a report of what ran. Knows no picture, no bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from numbers import Integral
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

from edge_sdk.errors import BadUsage
from edge_sdk.tensors import Array, TensorSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileOptions:
    """How to compile one graph; the defaults of all runtimes are these.

    device: the runtime's own name ("CPU", "GPU", "GPU.1", "NPU", "CUDA"), in upper or lower case; "" = its
    `default_device`.
    precision: of everything that the graph does not type itself: "f32", "f16" or "bf16".
    threads: >= 1, None = physical cores of the affinity mask and cgroup quota.
    graph_name: what errors call the graph.
    int8_convolutions: how many convolutions (products included) must really run in int8; fewer is WrongPrecision.
    axes: the largest size that will be asked for, >= 1, by name of the free axis (TensorSpec.shape). An axis that is
    not named has the size 1; names that the graph does not have are ignored.
    cache_dir: None = no compile cache.
    reference: ONNX semantics to the letter, no graph optimisation, for comparisons; slow.
    profile_layers: keep times per layer (slower; never in the same run as a latency figure).
    Raises BadUsage where threads or a size is below 1.
    """

    device: str = ""
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
            raise BadUsage(f"threads is {self.threads}", where=self.graph_name, hint="Take 1 or more")
        for name, size in self.axes.items():
            if not _at_least_one(size):
                raise BadUsage(
                    f"the largest size of axis {name} is {size!r}", where=self.graph_name, hint="Take 1 or more"
                )
        # a copy that nobody can change: the session reads it in every call
        object.__setattr__(self, "axes", MappingProxyType({name: int(size) for name, size in self.axes.items()}))

    def __reduce__(self) -> tuple[Any, ...]:
        # a mapping that can't be changed can't be pickled either, and options go to other processes
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return partial(CompileOptions, **{**fields, "axes": dict(self.axes)}), ()

    @property
    def device_requested(self) -> str:
        """What `Explanation` says was asked for: the device, or "default" if none was named."""
        return self.device or "default"


def _at_least_one(size: object) -> bool:
    return isinstance(size, Integral) and int(size) >= 1  # numpy's whole numbers are Integral, floats are not


@dataclass(frozen=True, slots=True, kw_only=True)
class Availability:
    """Whether a runtime can be used on this machine. devices: its own names for them. reason: why not, "" = usable.
    hint: what to install or set if it is not."""

    runtime: str
    version: str | None
    devices: tuple[str, ...]
    reason: str = ""
    hint: str = ""

    @property
    def usable(self) -> bool:
        return not self.reason

    def has(self, device: str) -> bool:
        """Whether `device` is listed, in upper or lower case, by its whole name or without a number: "GPU" of "GPU.1",
        "cuda" of "CUDA:0"."""
        return self._listed(device) is not None

    def spelled(self, device: str) -> str:
        """`device` as the runtime writes it; unchanged if it is not listed."""
        return self._listed(device) or device

    def _listed(self, device: str) -> str | None:
        names = (name for one in self.devices for name in (one, one.partition(".")[0].partition(":")[0]))
        return next((name for name in names if name.upper() == device.upper()), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What was requested and what the runtime reports; printed by `explain()`, kept in every result.

    device_requested: "default" if no device was named. threads: 0 where the runtime has none of its own (GPUs).
    layers_by_precision: number of convolutions and matrix products by precision: {"i8": 23, "f32": 1}.
    compile_cache: "off", "hit" or "miss". settings: every option that was set in the vendor's library.
    workarounds: ids of known faults that were avoided (faults.py).
    """

    runtime: str
    version: str
    device_requested: str
    device: str
    precision_requested: str
    precision: str
    threads: int
    layers_by_precision: Mapping[str, int] = field(default_factory=dict)
    compile_cache: str = "off"
    settings: Mapping[str, str] = field(default_factory=dict)
    workarounds: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def int8_operators(self) -> int:
        """How many convolutions and matrix products (Conv, ConvTranspose, Gemm, MatMul) this runtime runs in int8, as
        read back from the compiled graph. Runtimes count fused operators their own way: compare with the same one."""
        return self.layers_by_precision.get("i8", 0)

    @property
    def computes(self) -> str:
        """The types of convolutions and matrix products, then of the rest: "3 of 3 operators in int8, rest f32", or
        "f32" where all are f32."""
        total = sum(self.layers_by_precision.values())
        parts = [
            f"{count} of {total} operators in {'int8' if kind == 'i8' else kind}"
            for kind, count in sorted(self.layers_by_precision.items()) if kind != self.precision
        ]  # fmt: skip
        return f"{' and '.join(parts)}, rest {self.precision}" if parts else self.precision


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTime:
    """Time of one layer of a compiled graph. op, kernel, precision: "" where the runtime does not report them.
    ms: milliseconds per run, the median of several."""

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
        """Arrays by output name, owned by the caller. feeds: an array for each of `inputs`, of its dtype and shape; the
        sizes of free axes may change from call to call. Raises BadInput that names the input, BadUsage once closed."""

    def explain(self) -> Explanation: ...
    def close(self) -> None: ...


@runtime_checkable
class ProfiledSession(Protocol):
    """A session that can report times per layer (compile with profile_layers=True)."""

    def layer_times(self, feeds: Mapping[str, Array]) -> tuple[LayerTime, ...]: ...


class Runtime(Protocol):
    """One vendor's library. Stateless; importing the adapter does not import the library.

    name: what users write ("onnxruntime"). default_device: the device where none is named. int8_layouts: the Q/DQ
    layouts that this runtime computes in int8 (bundle manifest, Graph), best first.
    """

    @property
    def name(self) -> str: ...
    @property
    def default_device(self) -> str: ...
    @property
    def int8_layouts(self) -> tuple[str, ...]: ...
    def probe(self) -> Availability:
        """Whether it can be used here, found out by trying. Never raises."""

    def compile(self, graph: bytes | Path, options: CompileOptions) -> Session:
        """A session that is ready to run. graph: an ONNX file or its content.

        Raises NotThere (package, driver, device), WrongPrecision (not what was requested), BadInput (graph refused).
        """
