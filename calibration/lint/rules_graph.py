"""Lint rules on a graph as a whole: names, order, imports, types, and how weights are stored. Knows no quantization."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto

from edge_sdk.calibration import graphs
from edge_sdk.calibration.graphs import NEWEST_TAKEN, OLDEST_TAKEN, STANDARD_DOMAINS, Index
from edge_sdk.calibration.lint.mend_graph import dense, inlined, one_import, ordered, own_names, unlisted
from edge_sdk.calibration.lint.rules import ORT, OV, TRT, Finder, Found, Rule, claim
from edge_sdk.calibration.ops import operator
from edge_sdk.runtimes.operators import PAIR


def _functions(index: Index) -> Iterator[Found]:
    for function in index.model.functions:
        yield function.name, "the model defines a function"


def _sparse(index: Index) -> Iterator[Found]:
    for tensor in index.model.graph.sparse_initializer:
        yield tensor.values.name, "a sparse initializer"


def external(model: ModelProto, why: str = "") -> Iterator[Found]:
    """Tensors of any graph of the model that lie in another file: one violation for all. why: they can't be read from
    there, "" = a graph in memory has no files beside it."""
    outside = [t.name or "(attribute)" for t in graphs.tensors(model) if t.data_location == TensorProto.EXTERNAL]
    if outside:
        many = f"{len(outside)} weights lie" if len(outside) > 1 else "a weight lies"
        yield outside[0], f"{many} in another file: {why or 'it is not there when a graph is loaded from memory'}"


def _type(kind: int, why: str) -> Finder:
    def find(index: Index) -> Iterator[Found]:
        for name, found in index.types.items():
            if found == kind:
                yield name, why

    return find


def _brain_floats(index: Index) -> Iterator[Found]:
    for node in index.model.graph.node:
        if node.op_type != "Cast" and any(index.types.get(n) == TensorProto.BFLOAT16 for n in node.input):
            yield node.name, f"{node.op_type} of bfloat16"


def _big_integers(index: Index) -> Iterator[Found]:
    for name, array in index.constants.items():
        wide = array.dtype == np.int64 and array.size > 0 and max(int(array.max()), -int(array.min())) >= 2**31
        if wide and any(r.op_type != "Slice" for r in index.readers.get(name, ())):  # there it means "to the end"
            yield name, "an integer beyond 32 bits"


def _node_names(index: Index) -> Iterator[Found]:
    for name, count in Counter(n.name for n in index.model.graph.node).items():
        if name and count > 1:  # a node without a name is taken everywhere
            yield name, f"{count} nodes have this name"


def _tensor_names(index: Index) -> Iterator[Found]:
    made = Counter(name for n in index.model.graph.node for name in n.output if name)
    made.update({*index.inputs, *(t.name for t in index.model.graph.initializer)})
    for name, count in made.items():
        if count > 1:
            yield name, "several nodes write this tensor"


def _listed(index: Index) -> Iterator[Found]:
    for info in index.model.graph.input:
        if info.name in index.constants:
            yield info.name, "an initializer is also an input: it could be overridden, so nothing folds it"


def _unfinished(index: Index) -> Iterator[Found]:
    """An infinite value is a mask where it is added or chosen, and broken where it is multiplied or scales."""
    for name, array in index.constants.items():
        if array.dtype.kind != "f" or np.isfinite(array).all():
            continue
        if np.isnan(array).any() or any(_multiplies(node) for node in index.readers.get(name, ())):
            yield name, f"{int(np.count_nonzero(~np.isfinite(array)))} values are NaN or infinite"


def _multiplies(node: NodeProto) -> bool:
    return operator(node).kind == "matrix" or node.op_type in (*PAIR, "BatchNormalization")


def _imports(index: Index) -> Iterator[Found]:
    if sum(o.domain in STANDARD_DOMAINS for o in index.model.opset_import) > 1:
        yield "(graph)", "the standard operator set is imported twice"


def _opset(index: Index) -> Iterator[Found]:
    versions = [o.version for o in index.model.opset_import if o.domain in STANDARD_DOMAINS]
    if not versions:
        yield "(graph)", "no standard operator set is imported"
    elif not OLDEST_TAKEN <= max(versions) <= NEWEST_TAKEN:
        yield "(graph)", f"opset {max(versions)}: the runtimes in the field take {OLDEST_TAKEN} to {NEWEST_TAKEN}"


def _unsorted(index: Index) -> Iterator[Found]:
    known = {*index.inputs, *index.constants, *(s.values.name for s in index.model.graph.sparse_initializer), ""}
    for node in index.model.graph.node:
        if not all(name in known for name in graphs.reads(node)):
            yield node.name, "a node stands before the one that makes its input"
        known.update(node.output)


EXTERNAL = Rule(
    number="L70", title="weights in another file that is not there, or not in the folder",
    claims=claim("refused"), whole=True,
    find=lambda index: external(index.model),
    hint="Save it inside: onnx.save(model, path, save_as_external_data=False)",
)  # fmt: skip
"""Nothing else can be checked before this one is mended."""

RULES = (
    Rule(
        number="L33", title="functions defined in the model", claims=claim("refused", OV), fix="exact",
        hint="Inline it: onnx.inliner.inline_local_functions", menders=(inlined,), find=_functions, whole=True,
    ),
    Rule(
        number="L34", title="sparse initializers", claims=claim("refused", OV, TRT), hint="Store the weight dense",
        fix="exact", menders=(dense,), find=_sparse,
    ),
    Rule(
        number="L35", title="float64", claims=claim("wrong", OV), hint="Use float32",
        find=_type(TensorProto.DOUBLE, "float64, which OpenVINO computes in float32"),
    ),
    Rule(
        number="L36", title="an int64 constant beyond 32 bits", claims=claim("wrong", OV),
        hint="Keep integers below 2^31", find=_big_integers,
    ),
    Rule(
        number="L37", title="bfloat16 in any operator but Cast", claims=claim("refused", ORT),
        hint="Use float32 or float16", find=_brain_floats,
    ),
    Rule(
        number="L59", title="two nodes of one name", claims=claim("refused", ORT) | claim("unsure", TRT),
        hint="Give every node a name of its own", fix="exact", menders=(own_names,), find=_node_names,
    ),
    Rule(
        number="L60", title="two tensors of one name", claims=claim("refused", ORT, TRT) | claim("open", OV),
        hint="Rename one of the tensors", find=_tensor_names,
    ),
    Rule(
        number="L61", title="an initializer listed as input", claims=claim("slow"), hint="Remove it from the inputs",
        fix="exact", menders=(unlisted,), find=_listed,
    ),
    Rule(
        number="L62", title="NaN or infinity in a weight", claims=claim("open"), hint="Train or export the model again",
        find=_unfinished,
    ),
    Rule(
        number="L67", title="strings", claims=claim("refused", TRT, OV), hint="Use numbers",
        find=_type(TensorProto.STRING, "a string tensor"),
    ),
    Rule(
        number="L68", title=f"an opset outside {OLDEST_TAKEN} to {NEWEST_TAKEN}", claims=claim("unsure"),
        hint="Convert the opset: onnx.version_converter.convert_version", find=_opset, whole=True,
    ),
    Rule(
        number="L69", title="the standard operator set imported twice", claims=claim("unsure"), hint="Keep one import",
        fix="exact", menders=(one_import,), find=_imports, whole=True,
    ),
    Rule(
        number="L75", title="nodes out of order", claims=claim("unsure"), hint="Sort the nodes", fix="exact",
        menders=(ordered,), find=_unsorted,
    ),
)  # fmt: skip
