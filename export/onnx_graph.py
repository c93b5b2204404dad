"""Writes an ONNX graph node by node, with clean names and constant shapes. Knows operators; no family, no torch.

An exporter that traces a network at a free batch axis leaves Shape and Concat nodes before every resize, and names
that change with its version. A graph written by hand has neither, and its caller folds weights in float64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edge_sdk.errors import BadInput
from edge_sdk.extras import first_sentence, need
from edge_sdk.tensors import Array, DType

OPSET = 17
"""The default operator set: what every supported runtime parses."""

IR_VERSION = 8
"""The lowest file version of operator sets 15 to 18: an older runtime refuses newer files whatever they hold."""


class GraphBuilder:
    """One graph in the making. Every method adds nodes and returns the name of the tensor that they make.

    A tensor has the name of its node. Images inside are float32 NCHW. `finish` may be called once.
    """

    def __init__(self, name: str, *, opset: int = OPSET) -> None:
        self._onnx = need("onnx", extra="quantize")
        self._name, self._opset = name, opset
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._taken: set[str] = set()

    @property
    def node_names(self) -> tuple[str, ...]:
        """Names of the nodes so far, in order: take a slice of it to name a tail."""
        return tuple(node.name for node in self._nodes)

    def input(self, name: str, dtype: DType, shape: Sequence[int | str]) -> str:
        """A graph input; a str in `shape` is a free axis."""
        self._inputs.append(self._value(self._claim(name), dtype, shape))
        return name

    def output(self, name: str, dtype: DType, shape: Sequence[int | str]) -> None:
        """Declares tensor `name`, made by a node of that name, as a graph output."""
        self._outputs.append(self._value(name, dtype, shape))

    def constant(self, name: str, values: Array) -> str:
        """An initializer, stored inline. Asking twice for one name is fine if the values are the same."""
        values = np.ascontiguousarray(values)
        if name in self._constants:
            if not np.array_equal(self._onnx.numpy_helper.to_array(self._constants[name]), values):
                raise ValueError(f"two constants are called {name}")
            return name
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            raise BadInput(
                f"constant {name} holds NaN or infinity", where=self._name, hint="Train again from a checkpoint"
            )
        self._constants[self._claim(name)] = self._onnx.numpy_helper.from_array(values, name)
        return name

    def node(self, op: str, inputs: Sequence[str], *, name: str, attributes: Mapping[str, Any] | None = None) -> str:
        """A node with one output."""
        self._nodes.append(
            self._onnx.helper.make_node(op, list(inputs), [self._claim(name)], name, **(attributes or {}))
        )
        return name

    def picture(self, image: str, *, name: str = "picture") -> str:
        """uint8 NHWC tensor `image` to float32 NCHW. Cast comes first: no operator but Cast sees uint8."""
        as_float = self.node("Cast", [image], name=f"{name}/float", attributes={"to": self._onnx.TensorProto.FLOAT})
        return self.node("Transpose", [as_float], name=f"{name}/nchw", attributes={"perm": [0, 3, 1, 2]})

    def conv(
        self,
        x: str,
        weight: Array,
        bias: Array,
        *,
        name: str,
        stride: int = 1,
        pads: tuple[int, int, int, int] = (0, 0, 0, 0),
        groups: int = 1,
    ) -> str:
        """A convolution. weight: (O, I / groups, kh, kw). pads: top, left, bottom, right, zeros."""
        weights = self.constant(f"{name}/weight", np.asarray(weight, np.float32))
        biases = self.constant(f"{name}/bias", np.asarray(bias, np.float32))
        attributes = {
            "kernel_shape": [int(n) for n in weight.shape[2:]],
            "strides": [stride, stride],
            "pads": list(pads),
            "group": groups,
        }
        return self.node("Conv", [x, weights, biases], name=name, attributes=attributes)

    def clip(self, x: str, low: float, high: float, *, name: str) -> str:
        """Values held within low..high."""
        bounds = [self.constant(f"clip/{value:g}", np.array(value, np.float32)) for value in (low, high)]
        return self.node("Clip", [x, *bounds], name=name)

    def arithmetic(self, op: str, x: str, values: Array | float, *, name: str) -> str:
        """Add, Sub, Mul or Div of tensor `x` with a constant that broadcasts to it."""
        return self.node(op, [x, self.constant(f"{name}/value", np.asarray(values, np.float32))], name=name)

    def mean(self, x: str, axes: Sequence[int], *, name: str, keep: bool) -> str:
        """Mean over `axes`."""
        attributes: dict[str, Any] = {"keepdims": int(keep)}
        inputs = [x]
        if self._opset >= 18:  # axes moved from attribute to input
            inputs.append(self.constant(f"{name}/axes", np.array(axes, np.int64)))
        else:
            attributes["axes"] = list(axes)
        return self.node("ReduceMean", inputs, name=name, attributes=attributes)

    def largest(self, x: str, axis: int, *, name: str) -> str:
        """Maximum over one axis, which stays with size 1."""
        return self.node("ReduceMax", [x], name=name, attributes={"axes": [axis], "keepdims": 1})

    def mean_square(self, a: str, b: str, *, name: str) -> str:
        """mean over channels of (a - b)^2, (N, 1, h, w). Never expanded to a^2 - 2ab + b^2: that cancels."""
        difference = self.node("Sub", [a, b], name=f"{name}/difference")
        square = self.node("Mul", [difference, difference], name=f"{name}/square")
        return self.mean(square, [1], name=f"{name}/mean", keep=True)

    def resample(self, x: str, rows: Array, columns: Array, *, name: str) -> str:
        """Any separable linear resampling of (N, C, h, w), as two products: rows (H, h) and columns (W, w) are weights.

        Stands where a Resize would: same values in every runtime, however it reads half pixels, and at any batch.
        """
        right = self.constant(f"{name}/columns/weight", np.asarray(columns.T, np.float32))
        left = self.constant(f"{name}/rows/weight", np.asarray(rows, np.float32))
        wide = self.node("MatMul", [x, right], name=f"{name}/columns")
        return self.node("MatMul", [left, wide], name=f"{name}/rows")

    def resize(self, x: str, height: int, width: int, *, name: str) -> str:
        """Bilinear, half-pixel centres, to a constant size; needs operator set 18: `axes` keeps the batch axis free."""
        if self._opset < 18:
            raise ValueError("Resize with axes needs GraphBuilder(opset=18)")
        sizes = self.constant(f"{name}/sizes", np.array([height, width], np.int64))
        attributes = {"mode": "linear", "coordinate_transformation_mode": "half_pixel", "axes": [2, 3], "antialias": 0}
        return self.node("Resize", [x, "", "", sizes], name=name, attributes=attributes)

    def squeeze(self, x: str, axis: int, *, name: str) -> str:
        """`x` without its axis `axis`, which has size 1."""
        return self.node("Squeeze", [x, self.constant(f"squeeze/{axis}", np.array([axis], np.int64))], name=name)

    def largest_mean(self, cells: str, count: int, *, name: str) -> str:
        """Mean of the `count` largest values of each map (N, h, w), (N,); count 1 is the maximum."""
        flat = self.node("Flatten", [cells], name=f"{name}/flat", attributes={"axis": 1})
        top = f"{name}/top"
        inputs = [flat, self.constant(f"{name}/count", np.array([count], np.int64))]
        outputs = [self._claim(f"{top}/values"), self._claim(f"{top}/indices")]
        attributes = {"axis": 1, "largest": 1, "sorted": 1}
        self._nodes.append(self._onnx.helper.make_node("TopK", inputs, outputs, self._claim(top), **attributes))
        return self.mean(outputs[0], [1], name=name, keep=False)

    def finish(self) -> bytes:
        """The serialized model, checked. Raises BadInput if ONNX's own checker or shape inference refuses it."""
        helper = self._onnx.helper
        graph = helper.make_graph(
            self._nodes, self._name, self._inputs, self._outputs, initializer=list(self._constants.values())
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", self._opset)], ir_version=IR_VERSION, producer_name="edge-sdk"
        )
        try:
            self._onnx.checker.check_model(model, full_check=True)
        except (self._onnx.checker.ValidationError, self._onnx.shape_inference.InferenceError) as exc:
            raise BadInput(f"the graph is not valid: {first_sentence(exc)}", where=self._name) from exc
        return bytes(model.SerializeToString())

    def _value(self, name: str, dtype: DType, shape: Sequence[int | str]) -> Any:
        element = self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self._onnx.helper.make_tensor_value_info(name, element, list(shape))

    def _claim(self, name: str) -> str:
        """Names are unique over nodes and tensors: a runtime refuses duplicates that the checker lets pass."""
        if name in self._taken:
            raise ValueError(f"{name} is taken already")
        self._taken.add(name)
        return name
