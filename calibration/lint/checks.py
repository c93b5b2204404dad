"""Refuses what can't be linted or mended: tensors that can't be read, nodes that lack inputs. Changes nothing."""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import ModelProto, SparseTensorProto, numpy_helper

from edge_sdk.calibration.graphs import STANDARD_DOMAINS, opset_of
from edge_sdk.errors import BadInput
from edge_sdk.extras import first_sentence


def check_values(model: ModelProto, *, where: str = "") -> None:
    """Raises BadInput for an initializer whose bytes are not as many as its shape and type say, and for a sparse one
    that has values outside its shape."""
    for stored in model.graph.initializer:
        try:
            numpy_helper.to_array(stored)
        except (ValueError, TypeError, KeyError) as exc:
            raise BadInput(
                f"its tensor {stored.name[:80] or 'without a name'} can't be read: {first_sentence(exc)}", where=where,
                hint="Export the model again",
            ) from exc  # fmt: skip
    for sparse in model.graph.sparse_initializer:
        _check_sparse(sparse, where=where)


MOST_DENSE = 2**31
"""Bytes of a sparse tensor stored in full: what an ONNX file can hold."""


def _check_sparse(sparse: SparseTensorProto, *, where: str) -> None:
    """Raises BadInput for a sparse tensor that is not what it says: its size, or where its values stand."""
    name = sparse.values.name[:80] or "without a name"
    try:
        values, indices = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    except (ValueError, TypeError, KeyError) as exc:
        raise BadInput(f"its sparse tensor {name} can't be read: {first_sentence(exc)}", where=where) from exc
    dims = [int(size) for size in sparse.dims]
    ends = dims if indices.ndim == 2 else [math.prod(dims)]
    places = indices if indices.ndim == 2 else indices.reshape(-1, 1)
    inside = places.shape[-1] == len(ends) and bool(((places >= 0) & (places < np.array(ends, object))).all())
    if any(size < 0 for size in dims) or len(places) != values.size or not inside:
        raise BadInput(
            f"its sparse tensor {name} of shape {dims} has values outside it, or places without values", where=where,
            hint="Export the model again",
        )  # fmt: skip
    if math.prod(dims) * values.dtype.itemsize > MOST_DENSE:
        raise BadInput(
            f"its sparse tensor {name} of shape {dims} is larger than 2 GiB in full, as runtimes hold it",
            where=where,
        )


def check_arity(model: ModelProto, *, where: str = "") -> None:
    """Raises BadInput for a node of the standard that lacks inputs or outputs."""
    version = opset_of(model)
    for node in model.graph.node:
        if node.domain not in STANDARD_DOMAINS or not onnx.defs.has(node.op_type):
            continue
        older = onnx.defs.has(node.op_type, max_inclusive_version=version)  # else of an opset to come
        schema = onnx.defs.get_schema(node.op_type, version) if older else onnx.defs.get_schema(node.op_type)
        given, made = len(node.input), len(node.output)
        if given < schema.min_input or made < schema.min_output or not all(node.input[: schema.min_input]):
            raise BadInput(
                f"the node {node.name or node.op_type} has {given} inputs and {made} outputs; {node.op_type} has "
                f"{schema.min_input} and {schema.min_output} at least", where=where, hint="Export the model again",
            )  # fmt: skip
