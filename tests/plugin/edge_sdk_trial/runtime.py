"""A runtime in plain numpy: slow, and exact where it counts, since int8 products are added as whole numbers.

Knows ONNX graphs; no bundle and no task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from edge_sdk.errors import BadInput, BadUsage, NotThere, WrongPrecision
from edge_sdk.runtimes.feeds import check
from edge_sdk.runtimes.onnx_file import graph_bytes, read_standard
from edge_sdk.runtimes.protocol import Availability, CompileOptions, Explanation
from edge_sdk.tensors import Array, TensorSpec
from edge_sdk_trial import operators
from edge_sdk_trial.operators import OPERATORS, PRODUCTS, Attributes

NAME = "slow-numpy"


class SlowNumpy:
    """The runtime. It runs int8 operators in int8 wherever both inputs come from DequantizeLinear."""

    name = NAME
    default_device = "CPU"
    int8_layouts = ("conv-relu-q", "conv-q-relu-q")

    def probe(self) -> Availability:
        return Availability(runtime=NAME, version=np.__version__, devices=("CPU",))

    def compile(self, graph: bytes | Path, options: CompileOptions) -> SlowSession:
        if options.device not in ("", "CPU"):
            raise NotThere(
                f"{NAME} has no device {options.device}", where=options.graph_name, hint="Leave --device out"
            )
        return SlowSession(graph_bytes(graph, where=options.graph_name), options)


@dataclass(frozen=True, slots=True)
class _Step:
    """One node. in_int8: an operator both of whose factors come from DequantizeLinear."""

    operator: str
    attributes: Attributes
    inputs: tuple[str, ...]
    output: str
    in_int8: bool


class SlowSession:
    """One graph, node by node. `run` may be called from any thread: it keeps nothing between calls."""

    def __init__(self, graph: bytes, options: CompileOptions) -> None:
        facts = read_standard(graph, name=options.graph_name)
        self.inputs: tuple[TensorSpec, ...] = facts.inputs
        self.outputs: tuple[TensorSpec, ...] = facts.outputs
        model = onnx.load_from_string(graph)
        self._options, self._closed = options, False
        self._weights = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
        self._steps = _steps(model, options.graph_name)
        self._quantized = {step.output: step for step in self._steps if step.operator == "DequantizeLinear"}
        self._int8 = sum(step.in_int8 for step in self._steps)
        self._all = sum(step.operator in PRODUCTS for step in self._steps)
        if self._int8 < options.int8_convolutions:
            raise WrongPrecision(
                f"{self._int8} operators run in int8, {options.int8_convolutions} were asked for",
                where=options.graph_name, hint="Take another variant or runtime",
            )  # fmt: skip

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        if self._closed:
            raise BadUsage("the session is closed", where=self._options.graph_name, hint="Load the bundle again")
        check(feeds, self.inputs, axes=self._options.axes, where=self._options.graph_name)
        values: dict[str, Array] = {**self._weights, **feeds}
        for step in self._steps:
            given = [values[name] if name else None for name in step.inputs]
            if step.in_int8:
                values[step.output] = self._in_whole_numbers(step, values)
            else:
                values[step.output] = OPERATORS[step.operator](step.attributes, *given)
        return {spec.name: np.array(values[spec.name], spec.dtype, order="C") for spec in self.outputs}

    def explain(self) -> Explanation:
        counts = {"i8": self._int8, "f32": self._all - self._int8}
        return Explanation(
            runtime=NAME, version=np.__version__, device_requested=self._options.device_requested, device="CPU",
            precision_requested=self._options.precision, precision="f32", threads=1,
            layers_by_precision={name: count for name, count in counts.items() if count},
        )  # fmt: skip

    def close(self) -> None:
        self._closed = True

    def _in_whole_numbers(self, step: _Step, values: Mapping[str, Array]) -> Array:
        """(qa - za) x (qb - zb) in int32, then both scales at once, then the bias."""
        (a, scale_a), (b, scale_b) = (self._factor(name, values) for name in step.inputs[:2])
        whole = PRODUCTS[step.operator](step.attributes, a, b)
        if scale_b.ndim:  # one scale per output channel: axis 1 of a convolution, the last of a product
            scale_b = scale_b.reshape((1, -1) + (1,) * (whole.ndim - 2) if step.operator == "Conv" else (-1,))
        real = whole.astype(np.float32) * (scale_a * scale_b)
        bias = [values[name] for name in step.inputs[2:] if name]
        if not bias:
            return np.asarray(real)
        return np.asarray(real + (bias[0].reshape(1, -1, 1, 1) if step.operator == "Conv" else bias[0]))

    def _factor(self, name: str, values: Mapping[str, Array]) -> tuple[Array, Array]:
        """Whole numbers, less their zero point, and their scale: what DequantizeLinear would multiply."""
        source = self._quantized[name]
        given = [values[one] for one in source.inputs if one]
        zero_point = given[2] if len(given) > 2 else None
        return operators.shifted(source.attributes, given[0], zero_point), given[1]


def _steps(model: onnx.ModelProto, where: str) -> tuple[_Step, ...]:
    """The nodes in the order in which they run. Raises BadInput for an operator that is not in the table."""
    dequantized = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    out: list[_Step] = []
    for node in model.graph.node:
        if node.op_type not in OPERATORS:
            raise BadInput(
                f"{NAME} does not know the operator {node.op_type}", where=where, hint="Take another runtime"
            )
        out.append(
            _Step(
                operator=node.op_type, inputs=tuple(node.input), output=node.output[0],
                attributes={one.name: onnx.helper.get_attribute_value(one) for one in node.attribute},
                in_int8=node.op_type in PRODUCTS and _both(node.input, dequantized),
            )
        )  # fmt: skip
    return tuple(out)


def _both(inputs: Sequence[str], dequantized: set[str]) -> bool:
    return all(name in dequantized for name in inputs[:2])
