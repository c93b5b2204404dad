"""A stand-in for NVIDIA's library and GPU: the calls that our TensorRT adapter makes, answered by numpy on host memory.

It is strict where the library is: addresses must be set, shapes must fit the profile, freed memory must not be used.
"""

from __future__ import annotations

import ctypes
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy_runtime import NumpyRuntime, NumpySession

from edge_sdk.runtimes.protocol import Availability, CompileOptions
from edge_sdk.runtimes.trt import TrtSession
from edge_sdk.tensors import Array

NAMES = {"float32": "FLOAT", "float16": "HALF", "int8": "INT8", "int32": "INT32", "int64": "INT64", "bool": "BOOL",
         "uint8": "UINT8"}  # fmt: skip


class HostMemory:
    """The Device protocol on host memory."""

    def __init__(self) -> None:
        self.blocks: dict[int, Any] = {}
        self.streams: set[int] = set()

    def allocate(self, size_bytes: int) -> int:
        block = ctypes.create_string_buffer(size_bytes)
        self.blocks[ctypes.addressof(block)] = block
        return ctypes.addressof(block)

    def free(self, pointer: int) -> None:
        del self.blocks[pointer]

    def stream(self) -> int:
        self.streams.add(len(self.streams) + 1)
        return len(self.streams)

    def end_stream(self, stream: int) -> None:
        self.streams.remove(stream)

    def copy_in(self, pointer: int, array: Array, stream: int) -> None:
        assert array.flags.c_contiguous
        assert stream in self.streams
        assert array.nbytes <= len(self.blocks[pointer])
        ctypes.memmove(pointer, array.ctypes.data, array.nbytes)

    def copy_out(self, array: Array, pointer: int, stream: int) -> None:
        assert array.flags.c_contiguous
        assert array.nbytes <= len(self.blocks[pointer])
        ctypes.memmove(array.ctypes.data, pointer, array.nbytes)

    def wait(self, stream: int) -> None:
        assert stream in self.streams


Ranges: TypeAlias = dict[str, list[tuple[int, ...]]]
"""The least and the largest shape of each input with a free axis."""


class Tensor:
    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        self.name, self.shape = name, shape


class Network:
    def __init__(self, flags: int) -> None:
        assert flags == 1, "strongly typed, always"
        self.graph, self.inputs = b"", []  # type: ignore[var-annotated]

    @property
    def num_inputs(self) -> int:
        return len(self.inputs)

    def get_input(self, index: int) -> Tensor:
        return self.inputs[index]  # type: ignore[no-any-return]


class Parser:
    def __init__(self, network: Network, logger: Any) -> None:
        self.network = network

    @property
    def num_errors(self) -> int:
        return 1

    def get_error(self, index: int) -> Any:
        return SimpleNamespace(
            desc=lambda: "unknown operator", node_name=lambda: "node_7", node_operator=lambda: "Nope"
        )

    def parse(self, graph: bytes) -> bool:
        try:
            model = onnx.load_from_string(graph)
            onnx.checker.check_model(model)
        except Exception:  # noqa: BLE001 - protobuf's and the checker's errors share no base
            return False
        session = NumpyRuntime().compile(graph, CompileOptions())
        if any(spec.dtype not in NAMES for spec in (*session.inputs, *session.outputs)):
            return False  # TensorRT's parser has no such type
        self.network.graph = graph
        self.network.inputs = [
            Tensor(s.name, tuple(-1 if isinstance(n, str) else n for n in s.shape)) for s in session.inputs
        ]
        return True


class Profile:
    def __init__(self) -> None:
        self.ranges: dict[str, list[tuple[int, ...]]] = {}

    def set_shape(self, name: str, least: tuple[int, ...], best: tuple[int, ...], most: tuple[int, ...]) -> None:
        assert all(a <= b <= c for a, b, c in zip(least, best, most, strict=True))
        self.ranges[name] = [least, most]


class Config:
    def __init__(self) -> None:
        self.profiles: list[Profile] = []
        self.tf32 = True

    def clear_flag(self, flag: str) -> None:
        self.tf32 = False

    def add_optimization_profile(self, profile: Profile) -> None:
        self.profiles.append(profile)


class Builder:
    def __init__(self, logger: Any) -> None:
        self.logger = logger

    def create_network(self, flags: int) -> Network:
        return Network(flags)

    def create_builder_config(self) -> Config:
        return Config()

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
        assert not config.tf32
        ranges = config.profiles[0].ranges if config.profiles else {}
        for tensor in network.inputs:
            if -1 in tensor.shape and tensor.name not in ranges:
                self.logger.log("Severity.ERROR", "no optimization profile has been defined")
                return None
            for bound in ranges.get(tensor.name, []):
                assert all(want in (-1, have) for want, have in zip(tensor.shape, bound, strict=True))
        if b"zero_uint8" in network.graph:
            self.logger.log("Severity.WARNING", "UINT8 zero_point. Defaulting to INT8 instead.")
        return json.dumps({"graph": network.graph.hex(), "ranges": ranges}).encode()


class Runtime:
    def __init__(self, logger: Any) -> None:
        pass

    def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
        try:
            answer = json.loads(plan)
        except ValueError:
            return None
        return Engine(bytes.fromhex(answer["graph"]), answer["ranges"])


class Engine:
    def __init__(self, graph: bytes, ranges: Ranges) -> None:
        inputs = NumpyRuntime().compile(graph, CompileOptions()).inputs
        axes = {name: 1000 for spec in inputs for name in spec.shape if isinstance(name, str)}
        self.session = NumpyRuntime().compile(graph, CompileOptions(axes=axes))
        self.ranges = ranges

    def create_execution_context(self) -> Context:
        return Context(self.session, self.ranges)

    def create_engine_inspector(self) -> Any:
        layer = {"LayerType": "CaskConvolution", "Inputs": [{"Format/Datatype": "Int8 NC/32HW32"}]}
        return SimpleNamespace(get_engine_information=lambda form: json.dumps({"Layers": [layer, "a name only"]}))

    def _spec(self, name: str) -> Any:
        return next(s for s in (*self.session.inputs, *self.session.outputs) if s.name == name)

    def get_tensor_dtype(self, name: str) -> str:
        return f"DataType.{NAMES[self._spec(name).dtype]}"

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(-1 if isinstance(size, str) else size for size in self._spec(name).shape)


class Context:
    profiler: Any = None

    def __init__(self, session: NumpySession, ranges: Ranges) -> None:
        self.session, self.ranges = session, ranges
        self.addresses: dict[str, int] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}

    def set_tensor_address(self, name: str, pointer: int) -> None:
        self.addresses[name] = pointer

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = shape
        spec = next(s for s in self.session.inputs if s.name == name)
        least, most = self.ranges.get(name, [spec.shape, spec.shape])
        return all(low <= size <= high for low, size, high in zip(least, shape, most, strict=True))

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        sizes = {
            axis: size for s in self.session.inputs for axis, size in zip(s.shape, self.shapes[s.name], strict=True)
        }
        spec = next(s for s in self.session.outputs if s.name == name)
        if all(size in sizes or isinstance(size, int) for size in spec.shape):
            return tuple(sizes.get(size, size) for size in spec.shape)  # type: ignore[misc]
        if self.session.outputs_depend_on_values:
            return tuple(-1 if isinstance(size, str) else size for size in spec.shape)
        zeros = {s.name: np.zeros(self.shapes[s.name], s.dtype) for s in self.session.inputs}
        return self.session.run(zeros)[name].shape

    def execute_async_v3(self, stream: int) -> bool:
        feeds = {s.name: self._view(s.name, s.dtype, self.shapes[s.name]) for s in self.session.inputs}
        for name, array in self.session.run(feeds).items():
            self._view(name, array.dtype.name, array.shape)[...] = array
        if self.profiler is not None:
            for layer in ("Conv_0", "Conv_1"):
                self.profiler.report_layer_time(layer, 0.5)
        return True

    def _view(self, name: str, dtype: str, shape: tuple[int, ...]) -> Array:
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        memory = (ctypes.c_char * size).from_address(self.addresses[name])
        return np.frombuffer(memory, dtype=dtype).reshape(shape)


class Base:
    def __init__(self) -> None:
        pass


LIBRARY: Any = SimpleNamespace(
    __version__="10.99-stand-in", ILogger=Base, IProfiler=Base, Builder=Builder, OnnxParser=Parser, Runtime=Runtime,
    NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=0), BuilderFlag=SimpleNamespace(TF32="TF32"),
    ProfilingVerbosity=SimpleNamespace(DETAILED="DETAILED"), LayerInformationFormat=SimpleNamespace(JSON="JSON"),
)  # fmt: skip
LIBRARY = type("Library", (), {**vars(LIBRARY), "__hash__": object.__hash__})()  # hashable, as a module is


class TrtStandIn:
    """The Runtime protocol over our TrtSession with this library and host memory."""

    @property
    def name(self) -> str:
        return "tensorrt-stand-in"

    @property
    def default_device(self) -> str:
        return "CUDA"

    @property
    def int8_layouts(self) -> tuple[str, ...]:
        return ("conv-relu-q",)

    def probe(self) -> Availability:
        return Availability(runtime=self.name, version=LIBRARY.__version__, devices=("CUDA",))

    def compile(self, graph: bytes | Path, options: CompileOptions) -> TrtSession:
        content = graph if isinstance(graph, bytes) else graph.read_bytes()
        return TrtSession(LIBRARY, HostMemory(), content, options, runtime=self.name, gpu="host memory")
