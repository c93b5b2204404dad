"""Opset 18 to 17, which every target reads: what onnx's own converter can't do (1.23 has no way back for a mean).

Only what changed between the two (ONNX operator changelog, version 18) is rewritten; a graph that needs what 17 lacks
is left as it is. Values never change. Knows operators; no data and no torch.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, helper, numpy_helper

from edge_sdk.calibration import graphs
from edge_sdk.calibration.graphs import Index
from edge_sdk.tensors import Array

WANTED, WANTED_IR = 17, 8
_REDUCTIONS = frozenset(
    f"Reduce{kind}" for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")
)
"""Their axes became an input with 18; those of ReduceSum were one before."""
_NEW = frozenset(
    {"BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "CenterCropPad", "Col2Im", "GroupNormalization", "Mish"}
)
"""Operators that 17 does not have."""
_SAME = {"antialias": 0, "keep_aspect_ratio_policy": b"stretch"}
"""Attributes of Resize that came with 18, with the value that says what 17 does."""


class _Cannot(Exception):
    """The graph needs what opset 17 does not have."""


def lowered(model: ModelProto) -> ModelProto:
    """The same graph with opset 17 where it has 18 and needs nothing of it; else `model` itself."""
    if graphs.opset_of(model) != WANTED + 1 or model.functions:
        return model
    copy = ModelProto()
    copy.CopyFrom(model)
    constants = dict(Index.of(copy).constants)
    constants |= {
        node.output[0]: numpy_helper.to_array(item.t)
        for node in copy.graph.node if node.op_type == "Constant" for item in node.attribute if item.name == "value"
    }  # fmt: skip
    try:
        for node in copy.graph.node:
            if any(True for _ in graphs.subgraphs(node)):
                raise _Cannot
            _rewrite(node, constants)
    except _Cannot:
        return model
    used = {name for node in copy.graph.node for name in node.input} | {one.name for one in copy.graph.output}
    kept = [tensor for tensor in copy.graph.initializer if tensor.name in used]
    del copy.graph.initializer[:]
    copy.graph.initializer.extend(kept)
    for entry in copy.opset_import:
        if entry.domain in graphs.STANDARD_DOMAINS:
            entry.version = WANTED
    copy.ir_version = min(copy.ir_version, WANTED_IR)
    try:
        onnx.checker.check_model(copy, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
        return model
    return copy


def _rewrite(node: NodeProto, constants: dict[str, Array]) -> None:
    """One node in the form of 17. Raises _Cannot."""
    if node.domain not in graphs.STANDARD_DOMAINS:
        return
    if node.op_type in _NEW:
        raise _Cannot
    if node.op_type in _REDUCTIONS:
        _reduction(node, constants)
    elif node.op_type == "Pad" and len(node.input) > 3 and node.input[3]:
        raise _Cannot
    elif node.op_type == "Resize":
        _resize(node)
    elif node.op_type == "Split":
        _without(node, {"num_outputs"})  # 17 splits evenly, too, and its checker refuses what can't be
    elif node.op_type in ("ScatterElements", "ScatterND") and graphs.text(node, "reduction", "none") in ("max", "min"):
        raise _Cannot


def _reduction(node: NodeProto, constants: dict[str, Array]) -> None:
    if graphs.integer(node, "noop_with_empty_axes", 0):
        raise _Cannot
    _without(node, {"noop_with_empty_axes"})
    if len(node.input) < 2 or not node.input[1]:
        return
    axes = constants.get(node.input[1])
    if axes is None:
        raise _Cannot
    del node.input[1:]
    if axes.size:
        node.attribute.append(helper.make_attribute("axes", [int(axis) for axis in np.atleast_1d(axes)]))


def _resize(node: NodeProto) -> None:
    if graphs.ints(node, "axes"):
        raise _Cannot
    for name, value in _SAME.items():
        if graphs.attribute(node, name, value) != value:
            raise _Cannot
    _without(node, set(_SAME))


def _without(node: NodeProto, names: set[str]) -> None:
    kept = [item for item in node.attribute if item.name not in names]
    del node.attribute[:]
    node.attribute.extend(kept)
