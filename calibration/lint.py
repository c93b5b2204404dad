"""The portable contract in executable form: what in a graph some runtime refuses, misreads or runs in float.

Reads anything that parses, valid or not: a linter that stops at the first fault helps nobody. Knows no samples.
"""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import ModelProto, TensorProto

from edge_sdk.calibration import graphs
from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.rules import RUNTIMES, Violation
from edge_sdk.calibration.rules_graph import RULES as GRAPH_RULES
from edge_sdk.calibration.rules_quant import LAYOUT_RULES
from edge_sdk.calibration.rules_quant import RULES as QUANT_RULES
from edge_sdk.errors import BadInput, BadUsage

__all__ = ["RUNTIMES", "Violation", "lint"]


def lint(
    graph: bytes, targets: Sequence[str] = (), *, where: str = "", layout: bool | None = None
) -> tuple[Violation, ...]:
    """Every breach of the contract in one ONNX graph, in the order of the rules; empty if it is portable.

    targets: of "tensorrt", "openvino", "onnxruntime"; only what affects one of them is reported. None given: all three,
    and then the layout is not checked, because no layout is best for all three. layout: True or False checks the layout
    or skips it, whatever the targets.
    Raises BadInput, naming `where`, if the bytes are not ONNX at all.
    """
    unknown = set(targets) - set(RUNTIMES)
    if unknown:
        raise BadUsage(f"targets are {', '.join(RUNTIMES)}, not {', '.join(sorted(unknown))}")
    model = ModelProto()
    try:
        model.ParseFromString(graph)
    except DecodeError as exc:
        raise BadInput("this is not an ONNX graph", where=where, hint="Export the model again") from exc
    outside = tuple(_outside(model))
    if outside:  # nothing else can be read
        return outside
    index = Index.of(_labelled(graphs.with_types(model)))
    check_layout = len(set(targets)) == 1 if layout is None else layout
    rules = (*QUANT_RULES, *GRAPH_RULES, *(LAYOUT_RULES if check_layout else ()))
    found = (violation for rule in rules if rule.holds(targets or RUNTIMES) for violation in rule.check(index))
    return tuple(sorted(found, key=lambda v: v.rule))


def _outside(model: ModelProto) -> list[Violation]:
    return [
        Violation(
            rule="L70",
            node=t.name,
            what="the weight lies in another file: no runtime can load the graph from memory",
            hint="Save it inside: onnx.save(model, path, save_as_external_data=False)",
        )
        for t in model.graph.initializer
        if t.data_location == TensorProto.EXTERNAL
    ]


def _labelled(model: ModelProto) -> ModelProto:
    """`model`, its nodes without a name called by operator and output: a violation has to say where it is."""
    for node in model.graph.node:
        if not node.name and node.output:
            node.name = f"{node.op_type} -> {node.output[0]}"
    return model
