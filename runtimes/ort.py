"""ONNX Runtime behind the protocol: CPU, CUDA and TensorRT providers. Knows no picture, bundle or family."""

from __future__ import annotations

import hashlib
import json
import statistics
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_sdk.errors import BadUsage, EdgeError, NotThere, WrongPrecision
from edge_sdk.extras import need, vendor_errors
from edge_sdk.runtimes import faults, onnx_file, operators, probe
from edge_sdk.runtimes.cache import CacheKey, entry_if_usable
from edge_sdk.runtimes.feeds import check, hint_of
from edge_sdk.runtimes.protocol import Availability, CompileOptions, Explanation, LayerTime
from edge_sdk.tensors import Array, TensorSpec

NAME = "onnxruntime"
PROVIDERS: Mapping[str, tuple[str, ...]] = {
    "CPU": ("CPUExecutionProvider",),
    "CUDA": ("CUDAExecutionProvider",),
    "TENSORRT": ("TensorrtExecutionProvider", "CUDAExecutionProvider"),
}
"""Our device names, and the providers each stands for, in order."""
_DEFAULT = "CPU"

INT8_OPS, FLOAT_OPS = operators.int8_kernels(NAME), operators.float_kernels(NAME)
"""What the optimiser makes of a convolution, Gemm or MatMul: int8, or float with weights dequantized in every run."""

_TIMED_RUNS = 5


class OrtRuntime:
    """The onnxruntime package. Stateless."""

    @property
    def name(self) -> str:
        return NAME

    @property
    def default_device(self) -> str:
        return _DEFAULT

    @property
    def int8_layouts(self) -> tuple[str, ...]:
        return ("conv-q-relu-q",)  # the other one runs in float

    def probe(self) -> Availability:
        """Version and devices, by importing the package; never raises."""
        try:
            ort = need("onnxruntime", extra=NAME)
        except EdgeError as exc:
            return Availability(runtime=NAME, version=None, devices=(), reason=str(exc.args[0]), hint=exc.hint)
        there = set(ort.get_available_providers())
        return Availability(
            runtime=NAME,
            version=str(ort.__version__),
            devices=tuple(device for device, wanted in PROVIDERS.items() if wanted[0] in there),
        )

    def compile(self, graph: bytes | Path, options: CompileOptions) -> OrtSession:
        """Raises NotThere (package, provider), WrongPrecision (not what was requested), BadInput (graph refused)."""
        return OrtSession(onnx_file.graph_bytes(graph, where=options.graph_name), options)


class OrtSession:
    """One graph in one InferenceSession. `run` from any thread; after `close` it raises."""

    def __init__(self, graph: bytes, options: CompileOptions, *, cpu: probe.CpuFacts | None = None) -> None:
        """cpu: whose faults to avoid; None = this machine's."""
        self._ort = need("onnxruntime", extra=NAME)
        self._options, self._graph, self._where = options, graph, options.graph_name
        self._device = (options.device or _DEFAULT).upper()
        self._wanted = _wanted_providers(self._ort, self._device, options)
        self._cpu, self._facts = cpu or probe.cpu(), onnx_file.read_facts(graph, where=self._where)
        self._inputs, self._outputs = self._facts.inputs, self._facts.outputs
        self._names, self._hint = [spec.name for spec in self._outputs], hint_of(self._inputs)
        self._threads = options.threads or probe.default_threads(self._cpu)
        known = self._known_faults()
        self._faults = tuple(row for row in known if row.setting)
        self._settings = self._choose_settings()
        self._warnings = tuple(str(row) for row in known if not row.setting)
        self._session: Any = None
        self._layers, self._cache = self._open()

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self._outputs

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Arrays by output name; ONNX Runtime allocates new ones for each call, so the caller owns them."""
        session = self._live()
        check(feeds, self._inputs, axes=self._options.axes, where=self._where)
        with vendor_errors(NAME, where=self._where, hint=self._hint):
            # inputs are read in place, outputs copied once: IO binding saves nothing on a CPU and is not thread-safe
            return dict(zip(self._names, session.run(self._names, dict(feeds)), strict=True))

    def layer_times(self, feeds: Mapping[str, Array]) -> tuple[LayerTime, ...]:
        """Median of 5 runs per node, in the order of execution, from a session of its own (profiling slows it)."""
        if not self._options.profile_layers:
            raise BadUsage("no layer times were asked for", where=self._where, hint="Compile with profile_layers=True")
        self._live()
        check(feeds, self._inputs, axes=self._options.axes, where=self._where)
        with tempfile.TemporaryDirectory(prefix="edge-sdk-") as folder, vendor_errors(NAME, where=self._where):
            options = self._session_options()
            options.enable_profiling, options.profile_file_prefix = True, str(Path(folder) / "layers")
            session = self._create(options)
            for _ in range(_TIMED_RUNS + 1):
                session.run(self._names, dict(feeds))
            events = json.loads(Path(session.end_profiling()).read_bytes())
        return _layer_times(events)

    def explain(self) -> Explanation:
        """What was requested and what the created session reports."""
        return Explanation(
            runtime=NAME,
            version=self._version,
            device_requested=self._options.device_requested,
            device=self._device,  # read back in _create: another provider list raises there
            precision_requested=self._options.precision,
            precision="f32",
            threads=self._threads,
            layers_by_precision=dict(self._layers),
            compile_cache=self._cache,
            settings=dict(self._settings),
            workarounds=tuple(row.id for row in self._faults),
            warnings=self._warnings,
        )

    def close(self) -> None:
        """Free the session once running calls have returned. May be called twice."""
        self._session, self._graph = None, b""

    @property
    def _version(self) -> str:
        return str(self._ort.__version__)

    def _live(self) -> Any:
        if (session := self._session) is None:
            raise BadUsage("the session is closed", where=self._where, hint="Compile the graph again")
        return session

    def _known_faults(self) -> tuple[faults.Fault, ...]:
        # a reference computes in float; GPU providers do not add int8 products in 16 bits
        if self._options.reference or self._device != "CPU":
            return ()
        return faults.present(NAME, self._version, self._facts, self._cpu)

    def _choose_settings(self) -> dict[str, str]:
        settings = {
            "intra_op_num_threads": str(self._threads),
            "graph_optimization_level": "ORT_DISABLE_ALL" if self._options.reference else "ORT_ENABLE_ALL",
            # By default idle threads spin after a call: cycles that belong to whatever else the device does.
            "session.intra_op.allow_spinning": "0",
        }
        if self._device != "CPU":
            settings["session.disable_cpu_ep_fallback"] = "1"  # fails at creation instead of moving nodes to the CPU
        for row in self._faults:
            settings |= row.setting
        return settings

    def _session_options(self) -> Any:
        options = self._ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self._threads, 1
        level = self._settings["graph_optimization_level"]
        options.graph_optimization_level = getattr(self._ort.GraphOptimizationLevel, level)
        # Fatal alone: errors come as exceptions, whose words are in ours; as log lines they would colour stderr. What
        # matters of the rest is read back here.
        options.log_severity_level = 4
        for key, value in self._settings.items():
            if key.startswith("session."):
                options.add_session_config_entry(key, value)
        return options

    def _create(self, options: Any) -> Any:
        providers: list[Any] = list(self._wanted)
        if self._device != "CPU":
            exact = {"use_tf32": "0"}  # else float32 convolutions keep 10 bits of their mantissa
            providers = [(name, exact) if name == "CUDAExecutionProvider" else name for name in providers]
        with vendor_errors(NAME, where=self._where):
            session = self._ort.InferenceSession(self._graph, options, providers=providers)
        got = tuple(session.get_providers())
        if got[: len(self._wanted)] != self._wanted:
            raise NotThere(
                f"asked for {self._device} ({', '.join(self._wanted)}), ONNX Runtime took {', '.join(got)}",
                where=self._where,
                hint="edge-sdk devices tells why",
            )
        return session

    def _open(self) -> tuple[dict[str, int], str]:
        """Creates the session; returns its convolutions by precision, and how the compile cache took part."""
        if self._options.reference or not self._must_read_back():
            self._session = self._create(self._session_options())
            return _count(self._facts), "off"
        if self._options.cache_dir is None:
            layers, state = self._create_and_read_back(), "off"
        else:
            with entry_if_usable(self._options.cache_dir, self._cache_key()) as (entry, why_not):
                if entry is None:
                    self._warnings += (why_not,)
                    layers, state = self._create_and_read_back(), "off"
                elif (known := entry.read()) is not None:
                    layers, state = {str(name): int(count) for name, count in json.loads(known).items()}, "hit"
                    self._session = self._create(self._session_options())
                else:
                    layers, state = self._create_and_read_back(), "miss"
                    if lost := entry.write(json.dumps(layers).encode()):
                        self._warnings += (lost,)
        self._check_int8(layers)
        return layers, state

    def _must_read_back(self) -> bool:
        """Whether the graph has more than plain float32: only then the optimiser has a choice of precision."""
        quantized = any(node.op in operators.PAIR for node in self._facts.nodes)
        half = any(tensor.dtype == onnx_file.FLOAT16 for tensor in self._facts.initializers.values())
        return quantized or half or self._options.int8_convolutions > 0

    def _create_and_read_back(self) -> dict[str, int]:
        """The session, and what its optimiser made of the convolutions, read from the model that it writes."""
        options = self._session_options()
        if self._device == "TENSORRT":  # engines can't be written back as a model
            self._session = self._create(options)
            self._warnings += ("precisions inside TensorRT can't be read back through ONNX Runtime",)
            return {}
        try:
            with tempfile.TemporaryDirectory(prefix="edge-sdk-") as folder:
                optimised = Path(folder) / "optimised.onnx"
                options.optimized_model_filepath = str(optimised)
                self._session = self._create(options)
                return _count(onnx_file.read_facts(optimised.read_bytes(), where=self._where))
        except OSError as exc:
            raise NotThere(
                f"the precision can't be read back without a temporary folder: {exc.strerror or exc}",
                where=self._where,
                hint="Set TMPDIR to a folder with some megabytes of room",
            ) from exc

    def _check_int8(self, layers: Mapping[str, int]) -> None:
        asked, got = self._options.int8_convolutions, layers.get("i8", 0)
        if layers and got < asked:
            self.close()
            raise WrongPrecision(
                f"{asked} operators should run in int8, ONNX Runtime runs {got} and the rest in float",
                where=self._where,
                hint="Take the layout conv-q-relu-q of this variant; edge-sdk lint names what stands in its way",
            )

    def _cache_key(self) -> CacheKey:
        return CacheKey(
            graph_sha256=hashlib.sha256(self._graph).hexdigest(),
            runtime=NAME,
            version=self._version,
            device=self._device,
            cpu=self._cpu.identity,
            options=(("what", "convolutions by precision"), *sorted(self._settings.items())),
        )


def _wanted_providers(ort: Any, device: str, options: CompileOptions) -> tuple[str, ...]:
    if (wanted := PROVIDERS.get(device)) is None:
        raise BadUsage(
            f"ONNX Runtime has no device {device}",
            where=options.graph_name,
            hint=f"One of {', '.join(PROVIDERS)}",
        )
    if options.precision != "f32":
        raise WrongPrecision(
            f"ONNX Runtime computes in the types of the graph, not in {options.precision}",
            where=options.graph_name,
            hint="Take precision f32, or an fp16 variant",
        )
    if wanted[0] not in (there := ort.get_available_providers()):
        raise NotThere(
            f"ONNX Runtime has no {wanted[0]} here, only {', '.join(there)}",
            where=options.graph_name,
            hint="Install onnxruntime-gpu in place of onnxruntime, with the CUDA that it names",
        )
    return wanted


def _count(facts: onnx_file.OnnxFacts) -> dict[str, int]:
    """Convolutions, Gemm and MatMul by precision. A float one is f16 where its weight is stored so."""
    counts: Counter[str] = Counter()
    for node in facts.nodes:
        if node.op in INT8_OPS:
            counts["i8"] += 1
        elif node.op in FLOAT_OPS:
            weight = facts.initializers.get(node.inputs[1]) if len(node.inputs) > 1 else None
            counts["f16" if weight is not None and weight.dtype == onnx_file.FLOAT16 else "f32"] += 1
    return dict(counts)


def _layer_times(events: list[dict[str, Any]]) -> tuple[LayerTime, ...]:
    """Medians over the runs, without the first one, which allocates."""
    times: dict[str, list[float]] = {}
    rows: dict[str, tuple[str, str, str]] = {}
    for event in events:
        name, details = str(event.get("name", "")), event.get("args", {})
        if event.get("cat") != "Node" or not name.endswith("_kernel_time"):
            continue
        name = name[: -len("_kernel_time")]
        times.setdefault(name, []).append(event["dur"] / 1000)  # us
        taken = [next(iter(kind), "") for kind in details.get("input_type_shape", [])]
        rows[name] = (str(details.get("op_name", "")), str(details.get("provider", "")), taken[0] if taken else "")
    return tuple(
        LayerTime(
            name=name,
            op=rows[name][0],
            kernel=rows[name][1],
            precision=rows[name][2],
            ms=statistics.median(ms[1:] or ms),
        )
        for name, ms in times.items()
    )
