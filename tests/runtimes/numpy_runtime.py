"""A second implementation of the runtime protocol, in numpy by onnx' reference evaluator: slow and plain."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.runtimes.protocol import Availability, CompileOptions, Explanation
from edge_sdk.tensors import Array, TensorSpec


class QuantizeLinear(OpRun):  # onnx' own ones begin at opset 19
    op_domain = ""

    def _run(self, x, scale, zero, axis=1, **_):  # type: ignore[no-untyped-def]
        limits = np.iinfo(zero.dtype)
        q = np.rint(x / _along(scale, x, axis)) + _along(zero, x, axis).astype(np.float32)
        return (np.clip(q, limits.min, limits.max).astype(zero.dtype),)


class DequantizeLinear(OpRun):
    op_domain = ""

    def _run(self, x, scale, zero, axis=1, **_):  # type: ignore[no-untyped-def]
        return ((x.astype(np.float32) - _along(zero, x, axis)) * _along(scale, x, axis),)


class NumpyRuntime:
    @property
    def name(self) -> str:
        return "numpy"

    @property
    def default_device(self) -> str:
        return "CPU"

    @property
    def int8_layouts(self) -> tuple[str, ...]:
        return ("conv-relu-q", "conv-q-relu-q")

    def probe(self) -> Availability:
        return Availability(runtime="numpy", version=onnx.__version__, devices=("CPU",))

    def compile(self, graph: bytes | Path, options: CompileOptions) -> NumpySession:
        return NumpySession(graph if isinstance(graph, bytes) else graph.read_bytes(), options)


class NumpySession:
    def __init__(self, graph: bytes, options: CompileOptions) -> None:
        try:
            model = onnx.load_from_string(graph)
            onnx.checker.check_model(model)
        except Exception as exc:  # protobuf's and the checker's errors share no base
            raise BadInput("not an ONNX file", where=options.graph_name) from exc
        self._options, self._evaluator = options, ReferenceEvaluator(model, new_ops=[QuantizeLinear, DequantizeLinear])
        self._inputs = tuple(_spec(value) for value in model.graph.input)
        self._outputs = tuple(_spec(value) for value in model.graph.output)
        self.outputs_depend_on_values = any(node.op_type == "NonZero" for node in model.graph.node)
        self._closed = False

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self._inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self._outputs

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        where = self._options.graph_name
        if self._closed:
            raise BadUsage("the session is closed", where=where)
        for name in {spec.name for spec in self._inputs} ^ set(feeds):
            raise BadInput(f"input {name} is missing or unknown", where=where)
        sizes: dict[str, int] = {}
        for spec in self._inputs:
            if wrong := spec.accepts(feeds[spec.name]):
                raise BadInput(wrong, where=where)
            for axis, (name, size) in enumerate(zip(spec.shape, feeds[spec.name].shape, strict=True)):
                if not isinstance(name, str):
                    continue
                most = self._options.axes.get(name, 1)
                if not 1 <= size <= most or size != sizes.setdefault(name, size):
                    raise BadInput(
                        f"{spec.name} has size {size} on axis {axis} ({name}), not {sizes.get(name)}, 1 to {most}",
                        where=where,
                    )
        got = self._evaluator.run(None, dict(feeds))
        return {spec.name: np.array(value, dtype=spec.dtype) for spec, value in zip(self._outputs, got, strict=True)}

    def explain(self) -> Explanation:
        return Explanation(
            runtime="numpy", version=onnx.__version__, device_requested=self._options.device_requested, device="CPU",
            precision_requested=self._options.precision, precision="f32", threads=1,
        )  # fmt: skip

    def close(self) -> None:
        self._closed = True


def _along(values: Array, x: Array, axis: int) -> Array:
    return values.reshape([-1 if a == axis else 1 for a in range(x.ndim)]) if values.ndim else values


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    kind = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    shape = tuple(
        d.dim_value if d.HasField("dim_value") else d.dim_param or (f"axis{axis}" if axis else "N")
        for axis, d in enumerate(kind.shape.dim)
    )
    return TensorSpec(name=value.name, dtype=dtype, shape=shape)
