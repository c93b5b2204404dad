"""From an ONNX graph to a TensorRT engine, for TensorRT 10, 11 and TensorRT-RTX alike. Knows no GPU memory.

Versions differ in what they offer, so branches ask `hasattr`. Networks are strongly typed: types are the graph's.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType, ModuleType
from typing import Any

from edge_sdk.errors import BadInput, BadUsage, EdgeError, NotThere
from edge_sdk.extras import need
from edge_sdk.runtimes import onnx_file
from edge_sdk.runtimes.feeds import largest
from edge_sdk.tensors import TensorSpec

log = logging.getLogger(__name__)

MODULES: dict[str, tuple[str, ...]] = {
    "tensorrt": ("tensorrt",),
    "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings"),  # the second comes alone without the meta-package
}
"""Runtime name, and the import names it may have."""

ABOUT_TYPES = re.compile(r"Defaulting to INT8|Defaulting to FLOAT|cast(ing)? (it )?down|clamp", re.IGNORECASE)
"""Warnings that mean: the engine computes something else than the graph says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A serialized engine and what was said while it was built."""

    engine: bytes
    warnings: tuple[str, ...]


class Refused(BadInput):
    """The parser or builder did not take the graph. problems: one line each, with node names where known."""

    def __init__(self, what: str, *, where: str = "", hint: str = "", problems: Sequence[str] = ()) -> None:
        super().__init__(what, where=where, hint=hint)
        self.problems = tuple(problems)


def load(runtime: str) -> ModuleType:
    """The vendor's module for one of our runtime names. Raises NotThere if it is missing or too old."""
    missing: EdgeError | None = None
    for name in MODULES[runtime]:
        try:
            module = need(name, extra=runtime)
        except NotThere as exc:
            missing = missing or exc
            continue
        if not hasattr(module, "NetworkDefinitionCreationFlag") or not hasattr(
            module.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"
        ):
            raise NotThere(f"TensorRT {module.__version__} has no strongly typed networks", hint="Needs TensorRT >= 10")
        return module
    assert missing is not None  # MODULES holds no empty tuple
    raise missing


@functools.cache
def logger(trt: ModuleType) -> Any:
    """The one logger of a vendor's module. TensorRT keeps the first that a process gives it, whatever comes later."""

    # mypy can't see a base class that is found at run time, in whichever TensorRT is installed
    class Kept(trt.ILogger):  # type: ignore[misc, name-defined]
        """Keeps warnings and errors in `lines`; all goes to our log as well."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: list[tuple[str, str]] = []

        def log(self, severity: Any, text: str) -> None:
            level = str(severity).rpartition(".")[2]
            if level in ("WARNING", "ERROR", "INTERNAL_ERROR"):
                self.lines.append((level, text))
            log.debug("%s: %s", level, text)

    return Kept()


def build(
    trt: ModuleType,
    graph: bytes,
    *,
    where: str,
    axes: Mapping[str, int] = MappingProxyType({}),
    capabilities: Sequence[str] = (),
    detailed: bool = False,
) -> Built:
    """Parse and build. axes: the largest sizes of free axes by name (CompileOptions); the engine takes 1 to that.

    capabilities: compute capabilities to build for without a GPU ("SM86"), TensorRT-RTX only; () = the GPU here.
    Raises Refused with the nodes that were not taken.
    """
    heard = logger(trt)
    first = len(heard.lines)
    builder = trt.Builder(heard)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, heard)
    if not parser.parse(graph):
        problems = [_problem(parser.get_error(index)) for index in range(parser.num_errors)]
        raise Refused(f"TensorRT refused the graph: {'; '.join(problems) or 'it did not say why'}", where=where,
                      hint="edge-sdk lint names what TensorRT does not take", problems=problems)  # fmt: skip
    config = _config(trt, builder, capabilities, detailed=detailed)
    if any(-1 in tuple(tensor.shape) for tensor in map(network.get_input, range(network.num_inputs))):
        config.add_optimization_profile(_profile(builder, onnx_file.read_facts(graph, where=where).inputs, axes))
    engine = builder.build_serialized_network(network, config)
    said = heard.lines[first:]
    if engine is None:
        problems = [text for level, text in said if level != "WARNING"]
        raise Refused(f"TensorRT can't build the graph: {'; '.join(problems) or 'it did not say why'}", where=where,
                      hint="edge-sdk lint names what TensorRT does not take", problems=problems)  # fmt: skip
    warnings = tuple(dict.fromkeys(text for level, text in said if level == "WARNING"))
    return Built(engine=bytes(memoryview(engine)), warnings=warnings)


def _config(trt: ModuleType, builder: Any, capabilities: Sequence[str], *, detailed: bool) -> Any:
    config = builder.create_builder_config()
    if hasattr(trt.BuilderFlag, "TF32"):
        config.clear_flag(trt.BuilderFlag.TF32)  # on by default: float32 convolutions would keep 10 bits of mantissa
    if detailed:
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if capabilities:
        if not hasattr(config, "set_compute_capability"):
            raise BadUsage("only TensorRT-RTX builds for another GPU than its own", hint="Leave out capabilities")
        config.num_compute_capabilities = len(capabilities)
        for index, name in enumerate(capabilities):
            if (capability := trt.ComputeCapability.__members__.get(name)) is None:
                known = ", ".join(trt.ComputeCapability.__members__)
                raise BadUsage(f"TensorRT-RTX knows no compute capability {name}", hint=f"One of {known}")
            config.set_compute_capability(capability, index)
    return config


def _profile(builder: Any, inputs: Sequence[TensorSpec], axes: Mapping[str, int]) -> Any:
    """The one optimisation profile, best at the largest sizes. A graph with free axes does not build without one."""
    profile, most = builder.create_optimization_profile(), largest(inputs, axes)
    for spec in inputs:
        if any(isinstance(size, str) for size in spec.shape):
            high = tuple(most[size] if isinstance(size, str) else size for size in spec.shape)
            low = tuple(1 if isinstance(size, str) else size for size in spec.shape)
            profile.set_shape(spec.name, low, high, high)
    return profile


def _problem(error: Any) -> str:
    """One parser error with the node that it is about, as far as this version tells."""
    name = error.node_name() if hasattr(error, "node_name") else ""
    operator = error.node_operator() if hasattr(error, "node_operator") else ""
    about = f"{operator} {name}".strip()
    return f"{about}: {error.desc()}" if about else str(error.desc())
