"""Refuses what can't be linted or mended: tensors that can't be read, nodes that lack inputs. Changes nothing."""

from __future__ import annotations

import onnx
from onnx import ModelProto, numpy_helper

from edge_sdk.calibration.graphs import STANDARD_DOMAINS, opset_of
from edge_sdk.errors import BadInput
from edge_sdk.extras import first_sentence


def check_values(model: ModelProto, *, where: str = "") -> None:
    """Raises BadInput for an initializer whose bytes are not as many as its shape and type say."""
    for stored in model.graph.initializer:
        try:
            numpy_helper.to_array(stored)
        except (ValueError, TypeError, KeyError) as exc:
            raise BadInput(
                f"its tensor {stored.name[:80] or 'without a name'} can't be read: {first_sentence(exc)}", where=where,
                hint="Export the model again",
            ) from exc  # fmt: skip


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
