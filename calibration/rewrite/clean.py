"""Bring an exported graph into the form that planning takes: one opset, no functions, nothing left to fold.

onnx's version converter and inliner and onnxscript's constant folding do the work, then `transposes`, `hard_swish` and
`fold`. What a step here may never do is change an answer: the caller compares (`same_answers`). Knows no quantization,
no runtime.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, inliner, version_converter

from edge_sdk.calibration import graphs
from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.pool_sizes import inferred
from edge_sdk.calibration.rewrite import fold, hard_swish, transposes
from edge_sdk.calibration.sizes import check_constants, elements
from edge_sdk.errors import BadInput
from edge_sdk.extras import need, vendor_errors
from edge_sdk.runtimes.operators import PAIR

OLDEST, USUAL, NEWEST = 13, 17, graphs.NEWEST_TAKEN
"""Opsets that graphs leave with. 13: Q/DQ per channel. 17: what older ones become, since every target reads it."""

_RESIZE_CHANGED = 11


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cleaned:
    """model: what `quantize` works on. names: node of the original, named -> node that does its work; without those
    that were folded away. notes: sentences on what could not be cleaned."""

    model: ModelProto
    names: Mapping[str, str]
    notes: tuple[str, ...] = ()


def clean(model: ModelProto, *, optimise: bool = True, keep: Collection[str] = ()) -> Cleaned:
    """A copy with functions inlined, the opset converted, constants and BatchNormalization folded, and tidied.

    optimise: False leaves out the folding. keep: names of nodes that arithmetic folding leaves alone. Raises BadInput
    for an opset that can't be converted, for a constant that is too large to compute, for a graph that is quantized
    already, and for one that can't be sorted.
    """
    first = with_names(model)
    plain = _converted(inlined(first))
    check_constants(plain)
    notes: tuple[str, ...] = ()
    folded = plain
    if optimise:
        try:
            folded = graphs.with_outputs_of(plain, _optimised(plain))
        except BadInput as exc:
            notes = (f"the graph is used as it is, not folded: {exc.args[0]}",)
    made = tidy(folded)
    if optimise and not notes:
        made = tidy(fold.folded(hard_swish.joined(transposes.moved(made), keep), keep))
    if any(node.op_type in PAIR and node.domain in graphs.STANDARD_DOMAINS for node in made.graph.node):
        raise BadInput("the graph is quantized already", hint="Give the float graph that it was made of")
    return Cleaned(model=made, names=_followed(first, made), notes=notes)


def with_names(model: ModelProto) -> ModelProto:
    """A copy in which every node has a name of its own: OPERATOR_POSITION where the file has none, or has it twice."""
    copy = ModelProto()
    copy.CopyFrom(model)
    _named(list(copy.graph.node))
    return copy


def tidy(model: ModelProto) -> ModelProto:
    """A copy with sorted nodes, unique names, constants as initializers, no text of the tool that wrote it.

    Node names that exist and are unique stay: callers name nodes by them. Type and shape of every tensor are inferred
    anew. The opset stays; the IR version becomes the smallest that the opset allows.
    """
    graph = model.graph
    constants = [n for n in graph.node if n.op_type == "Constant" and n.domain in graphs.STANDARD_DOMAINS]
    kept = [n for n in graph.node if n not in constants] if constants else list(graph.node)
    tensors = [graphs.renamed(t, t.name) for t in graph.initializer] + [_constant(n) for n in constants]
    kept = _without_identities(kept, {o.name for o in graph.output})
    nodes = _named(in_order(kept, {t.name for t in tensors} | {i.name for i in graph.input} | {""}))
    tensors += resizes_by_scale(nodes, Index.of(inferred(model)))
    used = {name for node in nodes for name in graphs.reads(node)} | {o.name for o in graph.output}
    inside = {t.name for t in tensors}
    inputs = [i for i in graph.input if i.name not in inside]
    return graphs.rebuilt(model, nodes, [t for t in tensors if t.name in used], inputs)


def inlined(model: ModelProto) -> ModelProto:
    """The model without functions of its own: their nodes stand where they were called."""
    if not model.functions:
        return model
    with vendor_errors("onnx's inliner", where="functions of the model", hint="Export the model without functions"):
        return with_names(inliner.inline_local_functions(model))


def _converted(model: ModelProto) -> ModelProto:
    have = graphs.opset_of(model)
    if OLDEST <= have <= NEWEST:
        return model
    wanted = USUAL if have < OLDEST else NEWEST
    hint = f"Export the model with an opset of {OLDEST} to {NEWEST}"
    with vendor_errors("onnx's version converter", where=f"opset {have} to {wanted}", hint=hint):
        made = version_converter.convert_version(model, wanted)
        if have < _RESIZE_CHANGED:
            _resizes_as_before(made.graph)
        onnx.checker.check_model(made)
    return with_names(made)


def _resizes_as_before(graph: onnx.GraphProto) -> None:
    """Upsample and Resize counted from the corner before opset 11; onnx 1.23's converter leaves the new default in."""
    for node in graph.node:
        for inner in graphs.subgraphs(node):
            _resizes_as_before(inner)
        if node.op_type == "Resize":
            kept = [a for a in node.attribute if a.name not in ("coordinate_transformation_mode", "nearest_mode")]
            del node.attribute[:]
            node.attribute.extend(kept)
            node.attribute.append(helper.make_attribute("coordinate_transformation_mode", "asymmetric"))
            node.attribute.append(helper.make_attribute("nearest_mode", "floor"))


def _optimised(model: ModelProto) -> ModelProto:
    """By onnxscript: constants and inference-time Dropout folded."""
    ir = need("onnx_ir", extra="quantize")
    optimizer, rewriter = (need(f"onnxscript.{part}", extra="quantize") for part in ("optimizer", "rewriter"))
    rules = need("onnxscript.rewriter.rules.common", extra="quantize")
    # A cast or a sum of weights is as large as they are; what is much larger (Expand, Tile) stays computed.
    largest = max((int(np.prod(t.dims)) for t in model.graph.initializer), default=0)
    limit = max(4 * largest, 2**18)
    sizes = elements(model)

    def should_fold(node: Any) -> bool | None:
        """False for what grows beyond the limit: onnxscript 0.7 computes a constant before it looks at its size. True
        for a ConstantOfShape that is small, which it leaves alone whatever its size."""
        read = sum(sizes.get(value.name, 0) for value in node.inputs if value is not None)
        if any(sizes.get(value.name, 0) > max(limit, read) for value in node.outputs):
            return False
        small = all(value.name in sizes for value in node.outputs)
        return True if node.op_type == "ConstantOfShape" and small else None

    with vendor_errors("onnxscript", where="constant folding"), np.errstate(all="ignore"):  # as runtimes compute
        work = ir.serde.deserialize_model(model)
        optimizer.fold_constants_ir(
            work, onnx_shape_inference=True, input_size_limit=limit, output_size_limit=limit, should_fold=should_fold
        )
        wanted = [rules.dropout_inference_rule, rules.dropout_zero_rule]
        work = rewriter.rewrite(work, pattern_rewrite_rules=wanted)
        optimizer.remove_unused_nodes(work)
        made: ModelProto = ir.serde.serialize_model(work)
        onnx.checker.check_model(made)
    return _with_old_names(model, made)


def _with_old_names(before: ModelProto, after: ModelProto) -> ModelProto:
    """`after`, whose nodes that a rule made take the name of the node of their type whose work they do."""
    producers = {name: node for node in before.graph.node for name in node.output}
    known = {node.name for node in before.graph.node}
    for node in after.graph.node:
        if node.name in known or not node.output:
            continue
        old = producers.get(node.output[0])
        while old is not None and old.op_type != node.op_type:
            old = producers.get(old.input[0]) if old.input else None
        if old is not None:
            node.name = old.name
    return after


def _followed(before: ModelProto, after: ModelProto) -> dict[str, str]:
    """Node of `before` -> the node of `after` that has its name, or makes what it made."""
    there = {node.name for node in after.graph.node}
    makers = {name: node.name for node in after.graph.node for name in node.output}
    found = {}
    for node in before.graph.node:
        name = node.name if node.name in there else next((makers[o] for o in node.output if o in makers), "")
        if name:
            found[node.name] = name
    return found


def _constant(node: NodeProto) -> TensorProto:
    for item in node.attribute:
        if item.name == "value":
            return graphs.renamed(item.t, node.output[0])
        if item.type in (AttributeProto.FLOAT, AttributeProto.FLOATS):
            value = np.asarray(helper.get_attribute_value(item), dtype=np.float32)
            return graphs.tensor(node.output[0], value)
        if item.type in (AttributeProto.INT, AttributeProto.INTS):
            return graphs.tensor(node.output[0], np.asarray(helper.get_attribute_value(item), dtype=np.int64))
    raise BadInput("a Constant holds neither numbers nor a tensor", where=node.name or node.output[0])


def _without_identities(nodes: list[NodeProto], outputs: set[str]) -> list[NodeProto]:
    kept_names = outputs | {name for n in nodes for name in graphs.reads(n) if name not in n.input}  # of subgraphs
    alias = {n.output[0]: n.input[0] for n in nodes if n.op_type == "Identity" and n.output[0] not in kept_names}
    kept = []
    for node in nodes:
        if node.op_type == "Identity" and node.output[0] in alias:
            continue
        copy = NodeProto()
        copy.CopyFrom(node)
        for i, name in enumerate(copy.input):
            while name in alias:
                name = alias[name]
            copy.input[i] = name
        kept.append(copy)
    return kept


def in_order(nodes: list[NodeProto], known: set[str]) -> list[NodeProto]:
    """`nodes` in an order in which each reads `known` tensors and those of nodes before it. BadInput for a cycle."""
    waiting, done = list(nodes), []
    known = set(known)
    while waiting:
        ready = [n for n in waiting if all(i in known for i in graphs.reads(n))]
        if not ready:
            raise BadInput("the graph has a cycle, or reads a tensor that nothing makes", where=waiting[0].name)
        # Mostly sorted already: take the longest prefix that is ready, so that the order of the file is kept.
        for node in ready:
            done.append(node)
            known.update(node.output)
        left = {id(n) for n in ready}
        waiting = [n for n in waiting if id(n) not in left]
    return done


def resizes_by_scale(nodes: list[NodeProto], index: Index) -> list[TensorProto]:
    """Give such a Resize its scales in place of its sizes, where they mean the same; the new initializers."""
    made = []
    for node in nodes:
        sizes = index.constants.get(node.input[3]) if graphs.resized_by_size(node, index) else None
        shape = index.shapes.get(node.input[0], ())
        before = [shape[axis] for axis in graphs.ints(node, "axes")] if sizes is not None and len(shape) == 4 else []
        if (
            sizes is None
            or not before
            or not all(before)
            or graphs.text(node, "keep_aspect_ratio_policy", "stretch") != "stretch"
        ):
            continue
        olds = np.asarray(before, np.float32)
        scales = (sizes / olds).astype(np.float32)
        if np.array_equal(np.floor(olds * scales), sizes):  # runtimes take the floor of this product
            made.append(graphs.tensor(f"{node.name}_scales", scales))
            del node.input[2:]
            node.input.append(made[-1].name)
    return made


def _named(nodes: list[NodeProto]) -> list[NodeProto]:
    counts: dict[str, int] = {}
    for node in nodes:
        counts[node.name] = counts.get(node.name, 0) + 1
    taken = {name for name in counts if name}
    for number, node in enumerate(nodes):
        if not node.name or counts[node.name] > 1:
            counts[node.name] -= 1
            node.name = graphs.fresh(f"{node.name or node.op_type}_{number}", taken)
    return nodes
