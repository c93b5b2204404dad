"""OpenVINO behind the protocol: a named device and precision, both read back. Knows no picture, bundle or family."""

from __future__ import annotations

import hashlib
import io
import queue
import statistics
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from edge_sdk.errors import BadInput, BadUsage, EdgeError, NotThere, WrongPrecision
from edge_sdk.extras import need, vendor_errors
from edge_sdk.runtimes import faults, onnx_file, operators, ov_products, probe
from edge_sdk.runtimes.cache import CacheKey, entry_if_usable
from edge_sdk.runtimes.feeds import check, hint_of, largest
from edge_sdk.runtimes.ov_sizes import Answers, SizesChecked
from edge_sdk.runtimes.protocol import Availability, CompileOptions, Explanation, LayerTime
from edge_sdk.tensors import Array, TensorSpec

NAME = "openvino"
COUNTED = operators.int8_kernels(NAME) | operators.float_kernels(NAME)
"""Layer types of the compiled model that are convolutions or matrix products. A Subgraph says f32 even inside int8."""
_VIRTUAL = ("AUTO", "MULTI", "HETERO", "BATCH")
_PRECISIONS = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}
"""Ours, and how OpenVINO's type prints when the hint is read back."""
_WIDER_THAN_INT32, _INT32 = frozenset({"int64", "uint32", "uint64"}), np.iinfo(np.int32)
_DEFAULT = "CPU"
_TIMED_RUNS = 5


class OvRuntime:
    """The openvino package. Stateless."""

    @property
    def name(self) -> str:
        return NAME

    @property
    def default_device(self) -> str:
        return _DEFAULT

    @property
    def int8_layouts(self) -> tuple[str, ...]:
        return ("conv-relu-q", "conv-q-relu-q")  # the same kernels and values

    def probe(self) -> Availability:
        """Version and devices, by asking the package; never raises."""
        try:
            ov = need("openvino", extra=NAME)
            with vendor_errors(NAME, where="devices", raises=NotThere, hint="edge-sdk devices in another environment"):
                devices = tuple(str(device) for device in core_of(ov).available_devices)
        except EdgeError as exc:
            return Availability(runtime=NAME, version=None, devices=(), reason=str(exc.args[0]), hint=exc.hint)
        reason = "" if devices else "OpenVINO sees no device"
        return Availability(runtime=NAME, version=_version(ov), devices=devices, reason=reason)

    def compile(self, graph: bytes | Path, options: CompileOptions) -> OvSession:
        """Raises NotThere (package, device), WrongPrecision (not what was requested), BadInput (graph refused)."""
        return OvSession(onnx_file.graph_bytes(graph, where=options.graph_name), options)


@lru_cache(maxsize=1)
def core_of(ov: Any) -> Any:
    """The one Core of this process, kept to its end. ov: the package.

    Each Core gives its thread a signal stack. When two of them die in the order in which they were made, the thread is
    left with one that was freed, and the next Ctrl-C is a crash: whoever asks OpenVINO here, a test as well, asks this.
    """
    return ov.Core()


class OvSession:
    """One graph on one device, with a few infer requests. `run`: any thread; after `close` it raises."""

    def __init__(self, graph: bytes, options: CompileOptions) -> None:
        self._ov = need("openvino", extra=NAME)
        self._core = core_of(self._ov)
        self._options, self._where = options, options.graph_name
        self._device = _real_device(self._core, options)
        self._cpu, self._facts = probe.cpu(), onnx_file.read_facts(graph, where=self._where)
        self._names = tuple(spec.name for spec in self._facts.outputs)
        self._largest, self._hint = largest(self._facts.inputs, options.axes), hint_of(self._facts.inputs)
        self._threads = options.threads or probe.default_threads(self._cpu)
        self._warnings: tuple[str, ...] = ()
        self._rewrites_products = False
        self._sizes: SizesChecked | None = None
        self._answers = Answers(self._core, graph, self._facts.outputs)
        self._settings, self._workarounds = self._choose_settings()
        self._net, self._cache = self._open(graph)
        self._fed = tuple(spec.name for spec in self._kept(self._net))
        self._precision = self._read_back()
        self._layers = _count(self._net.get_runtime_model())
        self._check_int8()
        self._free: queue.LifoQueue[_Request | None] = (
            queue.LifoQueue()
        )  # the request used last has its buffers in the CPU's cache
        self._requests = self._make_requests()
        self._closing = threading.Lock()

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self._facts.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self._facts.outputs

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Arrays by output name, copied out of the request. With all requests busy the call waits for one."""
        sizes = self._check(feeds)
        with self._request() as request, vendor_errors(NAME, where=self._where, hint=self._hint):
            answers = self._infer(request, feeds)
            self._answers.check(feeds, sizes, answers)
            return answers

    def layer_times(self, feeds: Mapping[str, Array]) -> tuple[LayerTime, ...]:
        """Median of 5 runs per executed layer, in the order of the compiled model."""
        if not self._options.profile_layers:
            raise BadUsage("no layer times were asked for", where=self._where, hint="Compile with profile_layers=True")
        self._check(feeds)
        times: dict[str, list[float]] = {}
        rows: dict[str, tuple[str, str]] = {}
        with self._request() as request, vendor_errors(NAME, where=self._where, hint=self._hint):
            self._infer(request, feeds)
            for _ in range(_TIMED_RUNS):
                self._infer(request, feeds)
                for layer in request.native.profiling_info:
                    if str(layer.status).endswith("EXECUTED"):
                        times.setdefault(layer.node_name, []).append(layer.real_time.total_seconds() * 1000)
                        rows[layer.node_name] = (layer.node_type, layer.exec_type)
        return tuple(
            LayerTime(
                name=name, op=op, kernel=kernel, precision=kernel.rpartition("_")[2].lower(), ms=statistics.median(ms)
            )
            for name, ms in times.items()
            for op, kernel in (rows[name],)
        )

    def explain(self) -> Explanation:
        """What was requested and what the compiled model reports."""
        return Explanation(
            runtime=NAME,
            version=_version(self._ov),
            device_requested=self._options.device_requested,
            device=self._device,
            precision_requested=self._options.precision,
            precision=self._precision,
            threads=self._threads,
            layers_by_precision=dict(self._layers),
            compile_cache=self._cache,
            settings={key: str(value) for key, value in self._settings.items()},
            workarounds=self._workarounds,
            warnings=self._warnings,
        )

    def close(self) -> None:
        """Wait for running calls, free the compiled graph. May be called twice."""
        with self._closing:  # of two that close at once, the second would wait for requests that never come back
            if self._net is None:
                return
            for _ in range(self._requests):
                self._free.get()
            self._free.put(None)  # wakes those who wait for a request; each hands it on
            self._net = None

    def _check(self, feeds: Mapping[str, Array]) -> dict[str, int]:
        """The sizes of free axes. BadInput for what does not fit, and for whole numbers that OpenVINO (2026.4.1) would
        cut to 32 bits."""
        sizes = check(feeds, self.inputs, axes=self._options.axes, where=self._where)
        for spec in self.inputs:
            if spec.dtype in _WIDER_THAN_INT32 and feeds[spec.name].size:
                least, most = int(feeds[spec.name].min()), int(feeds[spec.name].max())
                if least < _INT32.min or most > _INT32.max:
                    raise BadInput(
                        f"{spec.name} holds {most if most > _INT32.max else least}, OpenVINO computes in 32 bits",
                        where=self._where, hint="Feed smaller numbers, or take onnxruntime",
                    )  # fmt: skip
        return sizes

    @contextmanager
    def _request(self) -> Iterator[_Request]:
        """One request for the time of a block. A closed session has none left."""
        if (request := self._free.get()) is None:
            self._free.put(None)
            raise BadUsage("the session is closed", where=self._where, hint="Compile the graph again")
        try:
            yield request
        finally:
            self._free.put(request)

    def _infer(self, request: _Request, feeds: Mapping[str, Array]) -> dict[str, Array]:
        if self._sizes is not None:
            self._sizes.check(feeds)
        request.fill([feeds[name] for name in self._fed])
        request.native.infer(None, share_outputs=True)
        get = request.native.get_output_tensor
        return {name: np.array(get(index).data) for index, name in enumerate(self._names)}

    def _choose_settings(self) -> tuple[dict[str, Any], tuple[str, ...]]:
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": self._options.precision, "PERFORMANCE_HINT": "LATENCY"}
        if self._device == "CPU":
            settings |= {"INFERENCE_NUM_THREADS": self._threads, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
        if self._options.profile_layers:
            settings["PERF_COUNT"] = True
        avoided = []
        if self._device == "CPU":
            for row in faults.present(NAME, _version(self._ov), self._facts, self._cpu):
                if row.setting and all(settings.setdefault(key, value) == value for key, value in row.setting.items()):
                    avoided.append(row.id)
                elif row.pattern == faults.SLOW_PRODUCTS:
                    self._rewrites_products = True
                    avoided.append(row.id)
                elif not row.setting:
                    self._warnings += (str(row),)
        return settings, tuple(avoided)

    def _open(self, graph: bytes) -> tuple[Any, str]:
        """The compiled model, and how the compile cache took part."""
        if self._options.cache_dir is None:
            return self._compile(graph), "off"
        with entry_if_usable(self._options.cache_dir, self._cache_key(graph)) as (entry, why_not):
            if entry is None:
                self._warnings += (why_not,)
                return self._compile(graph), "off"
            if (blob := entry.read()) is not None:
                try:
                    return self._core.import_model(io.BytesIO(blob), self._device, self._settings), "hit"
                except RuntimeError as exc:  # OpenVINO's only type: the entry is whole and still not taken
                    entry.discard(f"refused by OpenVINO ({str(exc).strip().splitlines()[-1][:200]})")
            net = self._compile(graph)
            if self._sizes is not None:  # a compiled graph that is found again can't be asked which sizes it takes
                return net, "off"
            kept = io.BytesIO()
            try:
                net.export_model(kept)
            except RuntimeError as exc:  # some devices can't export
                self._warnings += (f"OpenVINO can't keep a compiled graph here: {str(exc).strip()[:200]}",)
                return net, "off"
            if lost := entry.write(kept.getvalue()):
                self._warnings += (lost,)
            return net, "miss"

    def _compile(self, graph: bytes) -> Any:
        taken = "edge-sdk lint names what OpenVINO is known not to take; for all else take onnxruntime"
        with vendor_errors(NAME, where=self._where, hint=taken):
            model = self._core.read_model(io.BytesIO(graph))
            if self._largest:
                model.reshape(self._bounded(model))
            self._sizes = SizesChecked.of(model, self._largest, self._facts.inputs, self._facts.outputs)
            if self._rewrites_products:
                ov_products.as_convolutions(model)
            if self._options.precision == "f32":  # every device has it
                return self._core.compile_model(model, self._device, self._settings)
        # What a device can't compute in, it refuses here, or grants as something else, which `_read_back` sees.
        hint = "Ask for f32, which every device has"
        with vendor_errors(f"{NAME} in {self._options.precision}", where=self._where, hint=hint, raises=WrongPrecision):
            return self._core.compile_model(model, self._device, self._settings)

    def _bounded(self, model: Any) -> dict[Any, Any]:
        """Shapes of the inputs with bounds on their free axes; static where the bound is 1, which is faster."""
        bounds = {
            name: self._ov.Dimension(1) if most == 1 else self._ov.Dimension(1, most)
            for name, most in self._largest.items()
        }
        return {
            port: self._ov.PartialShape(
                [bounds[size] if isinstance(size, str) else self._ov.Dimension(size) for size in spec.shape]
            )
            for port, spec in zip(model.inputs, self._kept(model), strict=True)
            if any(isinstance(size, str) for size in spec.shape)
        }

    def _kept(self, model: Any) -> list[TensorSpec]:
        """The inputs of an OpenVINO model in its order: it drops those that nothing reads."""
        specs = {spec.name: spec for spec in self.inputs}
        return [specs[name] for port in model.inputs for name in port.get_names() if name in specs]

    def _read_back(self) -> str:
        """The precision in force, once device and precision are known to be those that were asked for."""
        devices = [str(device) for device in self._net.get_property("EXECUTION_DEVICES")]
        if [device.partition(".")[0] for device in devices] != [self._device.partition(".")[0]]:
            raise NotThere(
                f"asked for {self._device}, OpenVINO took {', '.join(devices)}",
                where=self._where,
                hint="edge-sdk devices tells why",
            )
        wanted, got = _PRECISIONS[self._options.precision], str(self._net.get_property("INFERENCE_PRECISION_HINT"))
        if wanted not in got or (wanted == "float16" and "bfloat16" in got):
            raise WrongPrecision(
                f"asked for {self._options.precision}, OpenVINO computes in {got}",
                where=self._where,
                hint="Ask for f32, which every device has",
            )
        return self._options.precision

    def _check_int8(self) -> None:
        asked, got = self._options.int8_convolutions, self._layers.get("i8", 0)
        if got < asked:
            raise WrongPrecision(
                f"{asked} operators should run in int8, OpenVINO runs {got} (all: {self._layers})",
                where=self._where,
                hint="edge-sdk lint names the Q/DQ pairs that OpenVINO can't use",
            )

    def _make_requests(self) -> int:
        """How many requests were put into the pool: one computes while the next is filled."""
        count = max(2, int(self._net.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")))
        for _ in range(count):
            self._free.put(_Request(self._net.create_infer_request()))
        return count

    def _cache_key(self, graph: bytes) -> CacheKey:
        settings = {**self._settings, "axes": self._largest, "products as convolutions": self._rewrites_products}
        return CacheKey(
            graph_sha256=hashlib.sha256(graph).hexdigest(),
            runtime=NAME,
            version=_version(self._ov),
            device=f"{self._device} {self._core.get_property(self._device, 'FULL_DEVICE_NAME')}",
            cpu=self._cpu.identity,
            options=tuple(sorted((key, str(value)) for key, value in settings.items())),
        )


class _Request:
    """An infer request with numpy views of its input tensors, kept between calls.

    Filling them is one copy, cheaper than OpenVINO's dispatch of a dict, and the caller may write to the array at once.
    """

    def __init__(self, native: Any) -> None:
        self.native = native
        self._tensors = list(native.input_tensors)
        self._views: list[Array | None] = [None] * len(self._tensors)  # none yet: a free axis has no size before use

    def fill(self, arrays: Sequence[Array]) -> None:
        """Copy the arrays in, in the order of the graph's inputs."""
        for index, array in enumerate(arrays):
            view = self._views[index]
            if view is None or view.shape != array.shape:
                self._tensors[index].shape = array.shape
                self._views[index] = view = self._tensors[index].data
            np.copyto(view, array)


def _version(ov: Any) -> str:
    """Release, build and commit: "2026.4.1-22982-e213a147257", without the branch's name."""
    return str(ov.get_version()).partition("-releases")[0]


def _real_device(core: Any, options: CompileOptions) -> str:
    """The device asked for, if it is there. Never AUTO and its like: they start on one device and move to another."""
    name, where = (options.device or _DEFAULT).upper(), options.graph_name
    if name.partition(":")[0] in _VIRTUAL:
        raise BadUsage(
            f"{name} is not a device but a choice of devices", where=where, hint="Name one: CPU, GPU, GPU.1, NPU"
        )
    if options.reference:
        raise BadUsage("OpenVINO has no reference mode", where=where, hint="Take onnxruntime for reference=True")
    if options.precision not in _PRECISIONS:
        raise BadUsage(f"no precision {options.precision}", where=where, hint=f"One of {', '.join(_PRECISIONS)}")
    there = [str(device) for device in core.available_devices]
    if name not in there and not any(device.partition(".")[0] == name for device in there):
        raise NotThere(
            f"OpenVINO has no device {name} here, only {', '.join(there)}",
            where=where,
            hint="edge-sdk devices lists what each runtime has",
        )
    return name


def _count(compiled: Any) -> dict[str, int]:
    """Convolutions and matrix products by precision; u8 kernels (s8 shifted by 128) are int8 as well."""
    counts: Counter[str] = Counter()
    for layer in compiled.get_ordered_ops():
        info = layer.get_rt_info()
        if str(info["layerType"].astype(str)) in COUNTED:
            precision = str(info["runtimePrecision"].astype(str))
            counts["i8" if precision in ("i8", "u8") else precision] += 1
    return dict(counts)
