"""int8 products as 1x1 convolutions, for OpenVINO on CPUs without VNNI. Knows OpenVINO's graph; no file, no session.

There OpenVINO 2026.4 has one int8 kernel for products, a plain gemm that takes about as long as float32 and much longer
than the same sums as a convolution. A product of tokens
(rows, K) with a stored weight (K, N) is a 1x1 convolution of a picture of `rows` pixels with K channels; the sums are
those of integers, so that both answer alike up to the last rounding of float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_sdk.extras import need

FEWEST_ROWS = 16
"""Products of fewer stay: their time is the call, and `faults` keeps chains of them apart."""


def as_convolutions(model: Any) -> int:
    """Rewrite the products of an openvino.Model in place whose both sides are dequantized int8, one of them stored.
    How many were rewritten."""
    ops = need("openvino.opset13", extra="openvino")
    found = [node for node in model.get_ordered_ops() if _kind(node) == "MatMul"]
    count = sum(_rewritten(ops, node) for node in found)
    if count:
        model.validate_nodes_and_infer_types()
    return count


def _rewritten(ops: Any, node: Any) -> bool:
    """Whether a product became a convolution."""
    attributes = node.get_attributes()
    weight = _weight(node.input_value(1))
    shape = node.get_output_partial_shape(0)
    rows = _rows(shape)
    if weight is None or rows < FEWEST_ROWS or attributes["transpose_a"] or not _dequantized(node.input_value(0)):
        return False
    values, scale = weight
    if attributes["transpose_b"]:
        values = values.T
    inputs, outputs = values.shape
    if scale.size not in (1, outputs):
        return False
    picture = ops.reshape(node.input_value(0), _integers(ops, (1, -1, 1, inputs)), special_zero=False)
    picture = ops.transpose(picture, _integers(ops, (0, 3, 1, 2)))
    kernel = ops.constant(np.ascontiguousarray(values.T).reshape(outputs, inputs, 1, 1))
    steps = ops.constant(np.broadcast_to(scale, outputs).astype(np.float32).reshape(outputs, 1, 1, 1))
    kernel = ops.multiply(ops.convert(kernel, "f32"), steps)
    made = ops.convolution(picture, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
    made.set_friendly_name(node.get_friendly_name())
    made, end = _with_bias(ops, made, node.output(0), outputs)
    tokens = ops.transpose(made, _integers(ops, (0, 2, 3, 1)))
    sizes = [size.get_length() if size.is_static else -1 for size in shape]
    answer = ops.reshape(tokens, _integers(ops, sizes), special_zero=False)
    names = end.get_names()
    for reader in end.get_target_inputs():
        reader.replace_source_output(answer.output(0))
    answer.output(0).set_names(names)  # of an output of the graph
    return True


def _with_bias(ops: Any, convolution: Any, product: Any, outputs: int) -> tuple[Any, Any]:
    """The convolution with the constant that is added behind the product, or subtracted; and the tensor that it stands
    for. Behind the transposition OpenVINO would not fuse it."""
    readers = list(product.get_target_inputs())
    reader = readers[0].get_node() if len(readers) == 1 else None
    if reader is None or _kind(reader) not in ("Add", "Subtract"):
        return convolution, product
    place = readers[0].get_index()
    stored = reader.input_value(1 - place)
    bias = _constant(stored) if _kind(stored.get_node()) == "Constant" else None
    if (
        bias is None
        or bias.dtype != np.float32
        or bias.size != outputs
        or bias.shape[-1:] != (outputs,)
        or (_kind(reader) == "Subtract" and place)
    ):
        return convolution, product
    sign = np.float32(-1.0 if _kind(reader) == "Subtract" else 1.0)  # x - b is x + -b, bit by bit
    added = ops.add(convolution, ops.constant((sign * bias).reshape(1, outputs, 1, 1)))
    return added, reader.output(0)


def _weight(value: Any) -> tuple[NDArray[np.int8], NDArray[np.float32]] | None:
    """Stored int8 values (K, N) and their scale, flat; None where the side is computed, or has a zero point."""
    node, scale = value.get_node(), np.ones(1, np.float32)
    if _kind(node) == "Multiply":
        steps = _constant(node.input_value(1))
        if steps is None:
            return None
        node, scale = node.input_value(0).get_node(), steps.reshape(-1).astype(np.float32)
    if _kind(node) == "Subtract":
        zero = _constant(node.input_value(1))
        if zero is None or zero.any():
            return None
        node = node.input_value(0).get_node()
    values = _constant(node.output(0)) if _kind(node) == "Convert" else None
    if values is None or values.dtype != np.int8 or values.ndim != 2:
        return None
    return values, scale


def _dequantized(value: Any) -> bool:
    """Whether a side is int8 with a scale, as the ONNX reader writes DequantizeLinear, or a FakeQuantize."""
    for _ in range(3):
        node = value.get_node()
        if _kind(node) == "FakeQuantize":
            return True
        if _kind(node) not in ("Multiply", "Subtract", "Convert"):
            return False
        if _kind(node) == "Convert" and str(node.input_value(0).get_element_type().get_type_name()) == "i8":
            return True
        value = node.input_value(0)
    return False


def _constant(value: Any) -> NDArray[Any] | None:
    """The array behind a value that is stored; its shape may be another one."""
    node = value.get_node()
    while _kind(node) in ("Convert", "Reshape"):
        node = node.input_value(0).get_node()
    return np.asarray(node.get_data()) if _kind(node) == "Constant" else None


def _rows(shape: Any) -> int:
    """How many rows a product has at least; 0 where two of its axes are free, or the number of axes is."""
    if shape.rank.is_dynamic or len(shape) < 2 or sum(size.is_dynamic for size in shape) > 1 or shape[-1].is_dynamic:
        return 0
    return int(np.prod([size.get_length() for size in list(shape)[:-1] if size.is_static]))


def _integers(ops: Any, values: Any) -> Any:
    return ops.constant(np.array(values, np.int64))


def _kind(node: Any) -> str:
    return str(node.get_type_name())
