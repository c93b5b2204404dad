"""What tracing leaves in a graph that no bundle should hold: the order of a user's code, and marks of the machine.

Values never change. Knows graphs; no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onnx import ModelProto, NodeProto, TensorProto

from edge_sdk.calibration import graphs
from edge_sdk.export.models.input_spec import InputSpec, free_axes


def cast_first(model: ModelProto) -> ModelProto:
    """A copy where a uint8 input that is transposed and then cast is cast and then transposed: the same values, and no
    operator but Cast sees uint8, which TensorRT asks for (specs/runtimes.md, L38)."""
    copy = ModelProto()
    copy.CopyFrom(model)
    index = graphs.Index.of(copy)
    for name in index.inputs:
        moves = index.only_reader(name) if index.types.get(name) == TensorProto.UINT8 else None
        cast = index.only_reader(moves.output[0]) if moves is not None and moves.op_type == "Transpose" else None
        if moves is None or cast is None or cast.op_type != "Cast" or cast.output[0] in index.outputs:
            continue
        between, end = moves.output[0], cast.output[0]
        cast.input[0], cast.output[0], moves.input[0], moves.output[0] = name, between, between, end
        nodes = [node for node in copy.graph.node if node != cast]
        nodes.insert(nodes.index(moves), cast)
        kept = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del copy.graph.node[:]
        copy.graph.node.extend(kept)
        del copy.graph.value_info[:]  # of the tensor between them, whose type and shape are others now
        index = graphs.Index.of(copy)
    return copy


def without_traces(model: Any, inputs: Sequence[InputSpec]) -> None:
    """Take out what only a tool or a person at this machine reads, paths of source files among it, and names of sizes
    that are no free axes of an input: "2*H"."""
    known = {axis.name for axis in free_axes(inputs)}
    for holder in (
        model,
        model.graph,
        *model.graph.node,
        *model.graph.input,
        *model.graph.output,
        *model.graph.initializer,
    ):
        del holder.metadata_props[:]
        holder.ClearField("doc_string")
    del model.graph.value_info[:]
    for info in model.graph.output:
        for dim in info.type.tensor_type.shape.dim:
            if dim.dim_param and dim.dim_param not in known:
                dim.Clear()
