"""The portable contract in executable form: what in a graph some runtime refuses, misreads or runs in float.

Reads anything that parses, valid or not: a linter that stops at the first violation helps nobody. Knows no samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import GraphProto, ModelProto, ValueInfoProto

from edge_sdk.calibration import graphs
from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.lint.checks import check_values
from edge_sdk.calibration.lint.rule_table import FIRST, LAYOUT_RULES, RULES
from edge_sdk.calibration.lint.rules import RUNTIMES, Rule, Violation
from edge_sdk.calibration.lint.rules_graph import external
from edge_sdk.errors import BadInput, BadUsage

__all__ = ["RUNTIMES", "Violation", "lint"]

_FEWEST_INPUTS = 2
"""Rules look at the first inputs of a node and at its first output; a node of a broken graph may have none."""


def lint(
    graph: bytes, targets: Sequence[str] = (), *, where: str = "", layout: bool | None = None, outside_because: str = ""
) -> tuple[Violation, ...]:
    """Every violation of the contract in one ONNX graph and in those inside it (branches of If, bodies of Loop and of
    functions), in the order of the rules; empty if it is portable.

    targets: of "tensorrt", "openvino", "onnxruntime"; only what affects one of them is reported. None given: all three,
    and then the layout is not checked, because no layout is best for all three. layout: True or False checks the layout
    or skips it, whatever the targets. outside_because: why weights in other files could not be read.
    Raises BadInput, naming `where`, if the bytes are not ONNX at all.
    """
    model = parsed(graph, where=where)
    runtimes = known(targets)
    rules = (*RULES, *(LAYOUT_RULES if (len(set(targets)) == 1 if layout is None else layout) else ()))
    held = [rule for rule in rules if rule.holds(runtimes)]
    outside = tuple(FIRST.words(external(model, outside_because), runtimes))
    if outside:  # nothing else can be read
        return outside
    check_values(model, where=where)
    return tuple(sorted(_found(model, held, runtimes, path=""), key=lambda v: v.rule))


def known(targets: Sequence[str]) -> tuple[str, ...]:
    """`targets`, all runtimes for none. BadUsage for one that is none."""
    unknown = set(targets) - set(RUNTIMES)
    if unknown:
        raise BadUsage(f"targets are {', '.join(RUNTIMES)}, not {', '.join(sorted(unknown))}")
    return tuple(targets) or RUNTIMES


def parsed(graph: bytes, *, where: str = "") -> ModelProto:
    """A model that may break any rule. BadInput: not ONNX, or tensors that can't be read."""
    model = ModelProto()
    try:
        model.ParseFromString(graph)
    except DecodeError as exc:
        raise BadInput("this is not an ONNX graph", where=where, hint="Export the model again") from exc
    graphs.check_types(model, where=where)
    graphs.free_axes(model)
    return model


def _found(model: ModelProto, rules: Sequence[Rule], runtimes: Sequence[str], *, path: str) -> Iterator[Violation]:
    index = Index.of(_readable(graphs.with_types(model)))
    for rule in rules:
        for violation in rule.check(index, runtimes) if not (path and rule.whole) else ():
            yield replace(violation, node=f"{path}{violation.node}")
    for name, inner in _inside(model, index):
        yield from _found(inner, rules, runtimes, path=f"{path}{name}/")


def _inside(model: ModelProto, index: Index) -> Iterator[tuple[str, ModelProto]]:
    """The graphs of a graph's nodes and, of a whole model, of its functions, as models that can be indexed."""
    for node in index.model.graph.node:
        for attribute in node.attribute:
            for graph in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
                yield f"{node.name}/{attribute.name}", _alone(graph, model, index)
    for function in model.functions:
        graph = GraphProto(node=function.node)
        graph.input.extend(ValueInfoProto(name=name) for name in function.input)
        graph.output.extend(ValueInfoProto(name=name) for name in function.output)
        inner = ModelProto(graph=graph, opset_import=function.opset_import, ir_version=model.ir_version)
        inner.metadata_props.add(key=graphs.INNER)
        yield function.name, inner


def _alone(graph: GraphProto, model: ModelProto, index: Index) -> ModelProto:
    """A graph inside another one as a model: what it takes from outside are inputs, or initializers where they are
    constants there."""
    inner = ModelProto(graph=graph, opset_import=model.opset_import, ir_version=model.ir_version)
    inner.metadata_props.add(key=graphs.INNER)
    for name in graphs.taken_from_outside(graph):
        constant = index.constants.get(name)
        if constant is not None:
            inner.graph.initializer.append(graphs.tensor(name, constant))
        else:
            inner.graph.input.append(graphs.info_of(name, index))
    return inner


def _readable(model: ModelProto) -> ModelProto:
    """`model`, its nodes without a name called by operator and output (a violation has to say where it is), and with
    empty names for inputs and outputs that a broken node lacks."""
    for node in model.graph.node:
        node.input.extend([""] * (_FEWEST_INPUTS - len(node.input)))
        node.output.extend([""] * (1 - len(node.output)))
        if not node.name:
            node.name = f"{node.op_type} -> {node.output[0]}"
    return model
