"""TensorRT 10, 11 and TensorRT-RTX behind the protocol, one execution path. Knows no picture, bundle or family."""

from __future__ import annotations

import hashlib
import json
import statistics
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from edge_sdk.errors import BadUsage, EdgeError, NotThere, WrongPrecision
from edge_sdk.extras import vendor_errors
from edge_sdk.runtimes import onnx_file, operators, trt_build
from edge_sdk.runtimes.cache import CacheKey, entry_if_usable
from edge_sdk.runtimes.cuda import Cuda, Device
from edge_sdk.runtimes.feeds import check, largest
from edge_sdk.runtimes.protocol import Availability, CompileOptions, Explanation, LayerTime
from edge_sdk.runtimes.trt_confirm import Confirmation, confirm
from edge_sdk.tensors import Array, TensorSpec

__all__ = ["Confirmation", "TensorRtRtxRuntime", "TensorRtRuntime", "TrtSession", "confirm"]

_DEFAULT = "CUDA"
_TIMED_RUNS = 5


class TensorRtRuntime:
    """The tensorrt package, 10.0 or newer. Stateless."""

    @property
    def name(self) -> str:
        return "tensorrt"

    @property
    def default_device(self) -> str:
        return _DEFAULT

    @property
    def int8_layouts(self) -> tuple[str, ...]:
        return ("conv-relu-q",)  # the placement that TensorRT's documentation asks for

    def probe(self) -> Availability:
        """Version and GPUs, by asking; never raises."""
        version: str | None = None
        try:
            version = str(trt_build.load(self.name).__version__)
            count = Cuda(0, extra=self.name).count()
        except EdgeError as exc:
            return Availability(runtime=self.name, version=version, devices=(), reason=str(exc.args[0]), hint=exc.hint)
        devices = tuple(f"CUDA:{index}" for index in range(count))
        return Availability(
            runtime=self.name, version=version, devices=devices, reason="" if devices else "no NVIDIA GPU is visible"
        )

    def compile(self, graph: bytes | Path, options: CompileOptions) -> TrtSession:
        """Raises NotThere (package, driver, GPU), WrongPrecision (another precision asked for), BadInput (refused)."""
        content = onnx_file.graph_bytes(graph, where=options.graph_name)
        index = _gpu_index(options)
        trt, cuda = trt_build.load(self.name), Cuda(index, extra=self.name)
        if index >= (count := cuda.count()):
            raise NotThere(
                f"no GPU {index}, the driver shows {count}",
                where=options.graph_name,
                hint="edge-sdk devices lists them",
            )
        return TrtSession(trt, cuda, content, options, runtime=self.name, gpu=cuda.identity())


class TensorRtRtxRuntime(TensorRtRuntime):
    """TensorRT-RTX: the same interface, kernels compiled on the machine at the first run. Stateless."""

    @property
    def name(self) -> str:
        return "tensorrt-rtx"


class TrtSession:
    """One engine, one execution context, one stream: `run` from any thread, one at a time; after `close` it raises."""

    def __init__(
        self, trt: ModuleType, cuda: Device, graph: bytes, options: CompileOptions, *, runtime: str, gpu: str
    ) -> None:
        """trt: the vendor's module. cuda: memory and streams of the GPU. gpu: its identity, part of the cache key."""
        self._trt, self._cuda, self._options, self._where = trt, cuda, options, options.graph_name
        self._runtime, self._gpu = runtime, gpu
        self._facts = onnx_file.read_facts(graph, where=self._where)
        self._warnings: tuple[str, ...] = ()
        self._loader = trt.Runtime(trt_build.logger(trt))
        self._engine, self._cache = self._open(graph)
        self._layers = self._read_back()
        self._lock = threading.Lock()
        self._buffers: dict[str, int] = {}
        self._room: dict[str, int] = {}
        self._stream = cuda.stream()
        self._context: Any = self._engine.create_execution_context()
        if self._context is None:
            raise NotThere("TensorRT has no room for the engine", where=self._where, hint="Free memory on the GPU")
        try:
            self._allocate()
        except BaseException:
            self.close()  # nobody else can give the GPU's memory back
            raise

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self._facts.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self._facts.outputs

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Arrays by output name, new for each call."""
        check(feeds, self.inputs, axes=self._options.axes, where=self._where)
        with self._lock:
            return self._execute(feeds)

    def layer_times(self, feeds: Mapping[str, Array]) -> tuple[LayerTime, ...]:
        """Median of 5 runs per layer of the engine, by TensorRT's own profiler."""
        if not self._options.profile_layers:
            raise BadUsage("no layer times were asked for", where=self._where, hint="Compile with profile_layers=True")
        check(feeds, self.inputs, axes=self._options.axes, where=self._where)
        times: dict[str, list[float]] = {}

        # mypy can't see a base class that is found at run time, in whichever TensorRT is installed
        class Recorder(self._trt.IProfiler):  # type: ignore[misc, name-defined]
            def __init__(self, trt: Any) -> None:
                trt.IProfiler.__init__(self)

            def report_layer_time(self, layer_name: str, ms: float) -> None:
                times.setdefault(layer_name, []).append(float(ms))

        with self._lock:
            self._execute(feeds)
            self._context.profiler = Recorder(self._trt)
            for _ in range(_TIMED_RUNS):
                self._execute(feeds)
        return tuple(
            LayerTime(name=name, op="", kernel="", precision="", ms=statistics.median(ms)) for name, ms in times.items()
        )

    def explain(self) -> Explanation:
        """What was requested and what the engine reports. Engines follow the types of the graph."""
        return Explanation(
            runtime=self._runtime,
            version=str(self._trt.__version__),
            device_requested=self._options.device_requested,
            device=f"{_device(self._options)} ({self._gpu})",
            precision_requested=self._options.precision,
            precision="f32",
            threads=0,
            layers_by_precision=dict(self._layers),
            compile_cache=self._cache,
            settings={"network": "STRONGLY_TYPED", "TF32": "off"},
            warnings=self._warnings,
        )

    def close(self) -> None:
        """Wait for the running call, free the GPU's memory. May be called twice."""
        with self._lock:
            if self._context is None:
                return
            self._context = self._engine = None  # before the buffers that the context points at
            for pointer in self._buffers.values():
                self._cuda.free(pointer)
            self._buffers.clear()
            self._cuda.end_stream(self._stream)

    def _execute(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        context, cuda, stream = self._context, self._cuda, self._stream
        if context is None:
            raise BadUsage("the session is closed", where=self._where, hint="Compile the graph again")
        sent = {spec.name: np.ascontiguousarray(feeds[spec.name]) for spec in self.inputs if spec.shape}
        sent |= {spec.name: feeds[spec.name] for spec in self.inputs if not spec.shape}  # contiguous would make it 1-d
        with vendor_errors(self._runtime, where=self._where, raises=NotThere):
            for name, array in sent.items():
                self._set_shape(name, array.shape)
                cuda.copy_in(self._buffers[name], array, stream)
            got = {spec.name: np.empty(self._shape_now(spec), dtype=spec.dtype) for spec in self.outputs}
            for name, array in got.items():
                self._make_room(name, array.nbytes)
            if not context.execute_async_v3(stream):
                raise NotThere("TensorRT did not run the engine", where=self._where, hint="The log says why, at DEBUG")
            for name, array in got.items():
                cuda.copy_out(array, self._buffers[name], stream)
            cuda.wait(stream)
        return got

    def _allocate(self) -> None:
        """Buffers for the largest sizes of all free axes. Their addresses stay, so each is set once."""
        most = largest(self.inputs, self._options.axes)
        for spec in (*self.inputs, *self.outputs):
            dtype = _DTYPES.get(str(self._engine.get_tensor_dtype(spec.name)).rpartition(".")[2])
            if dtype != spec.dtype:
                raise WrongPrecision(
                    f"{spec.name} is {spec.dtype} in the graph, {dtype} in the engine", where=self._where
                )
        for spec in self.inputs:
            shape = tuple(most[size] if isinstance(size, str) else size for size in spec.shape)
            self._set_shape(spec.name, shape)
            self._make_room(spec.name, _size_bytes(shape, spec))
        for spec in self.outputs:
            self._make_room(spec.name, _size_bytes(self._shape_now(spec), spec))

    def _set_shape(self, name: str, shape: tuple[int, ...]) -> None:
        if not self._context.set_input_shape(name, shape):
            raise BadUsage(f"the engine does not take {name} as {shape}", where=self._where)

    def _shape_now(self, spec: TensorSpec) -> tuple[int, ...]:
        """The shape of an output for the input shapes that are set."""
        shape = tuple(int(size) for size in self._context.get_tensor_shape(spec.name))
        if any(size < 0 for size in shape):
            raise NotThere(
                f"the shape {shape} of {spec.name} depends on values of the inputs, not on their sizes alone",
                where=self._where,
                hint="Export the graph with fixed sizes",
            )
        return shape

    def _make_room(self, name: str, size_bytes: int) -> None:
        """A buffer of at least `size_bytes`: an output may be larger where an input is smaller."""
        if size_bytes <= self._room.get(name, -1):
            return
        pointer = self._cuda.allocate(max(1, size_bytes))
        if name in self._buffers:
            self._cuda.free(self._buffers[name])
        self._buffers[name], self._room[name] = pointer, size_bytes
        self._context.set_tensor_address(name, pointer)

    def _open(self, graph: bytes) -> tuple[Any, str]:
        """The engine, and how the compile cache took part. An engine is code: it comes from this cache or from here."""
        if self._options.cache_dir is None:
            return self._load(self._build(graph)), "off"
        with entry_if_usable(self._options.cache_dir, self._cache_key(graph)) as (entry, why_not):
            if entry is None:
                self._warnings += (why_not,)
                return self._load(self._build(graph)), "off"
            if (kept := entry.read()) is not None:
                engine = self._loader.deserialize_cuda_engine(kept)
                if engine is not None:
                    return engine, "hit"
                entry.discard("refused by TensorRT")
            built = self._build(graph)
            if lost := entry.write(built):
                self._warnings += (lost,)
            return self._load(built), "miss"

    def _build(self, graph: bytes) -> bytes:
        with vendor_errors(self._runtime, where=self._where):
            built = trt_build.build(self._trt, graph, where=self._where, axes=self._options.axes, detailed=True)
        if wrong := [text for text in built.warnings if trt_build.ABOUT_TYPES.search(text)]:
            raise WrongPrecision(
                f"TensorRT built another type than the graph's: {wrong[0]}",
                where=self._where,
                hint="Use symmetric int8 with zero point 0; edge-sdk lint names the nodes",
            )
        self._warnings += built.warnings
        return built.engine

    def _load(self, built: bytes) -> Any:
        engine = self._loader.deserialize_cuda_engine(built)
        if engine is None:
            raise NotThere("TensorRT can't load what it built", where=self._where, hint="Check the NVIDIA driver")
        return engine

    def _read_back(self) -> dict[str, int]:
        """Convolutions and products by input type, as the engine's inspector tells. Fused ones count once, so too few
        are a warning here, not an error; a strongly typed engine can't change types by itself."""
        inspector = self._engine.create_engine_inspector()
        layers = _count(inspector.get_engine_information(self._trt.LayerInformationFormat.JSON))
        asked, got = self._options.int8_convolutions, layers.get("i8", 0)
        if got < asked:
            self._warnings += (f"the engine shows {got} int8 operators, the graph has {asked}",)
        return layers

    def _cache_key(self, graph: bytes) -> CacheKey:
        return CacheKey(
            graph_sha256=hashlib.sha256(graph).hexdigest(),
            runtime=self._runtime,
            version=str(self._trt.__version__),
            device=self._gpu,
            cpu="",
            options=(
                ("axes", str(largest(self.inputs, self._options.axes))),
                ("network", "STRONGLY_TYPED"),
                ("TF32", "off"),
            ),
        )


_COUNTED = operators.int8_kernels("tensorrt")
"""Parts of the layer types of convolutions and products; the schemes of versions differ in the rest of the name."""
_DTYPES = {
    "FLOAT": "float32", "HALF": "float16", "INT8": "int8", "INT32": "int32", "INT64": "int64", "BOOL": "bool",
    "UINT8": "uint8",
}  # fmt: skip


def _size_bytes(shape: tuple[int, ...], spec: TensorSpec) -> int:
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(spec.dtype).itemsize


def _device(options: CompileOptions) -> str:
    return (options.device or _DEFAULT).upper()


def _gpu_index(options: CompileOptions) -> int:
    name, _, index = _device(options).partition(":")
    if name != "CUDA" or not (index or "0").isdigit():
        raise BadUsage(
            f"TensorRT has no device {options.device}", where=options.graph_name, hint="CUDA, CUDA:0, CUDA:1"
        )
    if options.reference:
        raise BadUsage("TensorRT has no reference mode", where=options.graph_name, hint="Take onnxruntime for it")
    if options.precision != "f32":
        raise WrongPrecision(
            f"TensorRT computes in the types of the graph, not in {options.precision}",
            where=options.graph_name,
            hint="Take precision f32, or an fp16 variant",
        )
    return int(index or 0)


def _count(information: str) -> dict[str, int]:
    """{"i8": 3, "f32": 1} of an engine's JSON. Layers are named by several schemes over the versions."""
    try:
        layers = json.loads(information).get("Layers", [])
    except ValueError:
        return {}
    counts: Counter[str] = Counter()
    for layer in layers:
        kind = str(layer.get("LayerType", "")).lower() if isinstance(layer, dict) else ""
        if not any(part in kind for part in _COUNTED):
            continue
        inputs = " ".join(str(tensor.get("Format/Datatype", "")) for tensor in layer.get("Inputs", []))
        counts["i8" if "Int8" in inputs else "f16" if "Half" in inputs or "FP16" in inputs else "f32"] += 1
    return dict(counts)
