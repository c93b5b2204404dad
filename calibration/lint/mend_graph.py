"""Menders of a graph as a whole: names, order, imports, functions, how weights are stored. Exact, all of them.

Knows no quantization and no samples.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from onnx import NodeProto, inliner, numpy_helper

from edge_sdk.calibration import graphs
from edge_sdk.calibration.lint.draft import Draft
from edge_sdk.calibration.rewrite.clean import in_order, with_names
from edge_sdk.errors import BadInput
from edge_sdk.extras import vendor_errors
from edge_sdk.tensors import Array


def own_names(draft: Draft, found: Collection[str]) -> None:
    """Every second node of a name gets another one."""
    taken = {node.name for node in draft.nodes}
    seen: set[str] = set()
    for node in draft.nodes:
        old = node.name
        if old in found and old in seen:
            node.name = graphs.fresh(old, taken)
            draft.say(old, f"the second one is {node.name}")
        seen.add(old)
    draft.changed()


def inlined(draft: Draft, found: Collection[str]) -> None:
    """Functions of the model are written out where they are called."""
    with vendor_errors("onnx's inliner", where="functions of the model", hint="Export the model without functions"):
        made = inliner.inline_local_functions(draft.model)
    for name in sorted(found):
        draft.say(name, "written out where it is called")
    draft.restart(with_names(made))


def dense(draft: Draft, found: Collection[str]) -> None:
    """Sparse weights are stored in full."""
    graph = draft.model.graph
    for sparse in list(graph.sparse_initializer):
        values, indices = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
        whole = np.zeros(int(np.prod(sparse.dims)), values.dtype)
        if indices.ndim == 2:
            indices = np.ravel_multi_index(tuple(indices.T), tuple(sparse.dims))
        whole[indices] = values
        full: Array = whole.reshape(tuple(sparse.dims))
        graph.initializer.append(graphs.tensor(sparse.values.name, full))
        graph.sparse_initializer.remove(sparse)
        draft.say(sparse.values.name, "stored in full")
    draft.changed()


def unlisted(draft: Draft, found: Collection[str]) -> None:
    """Initializers are no inputs."""
    for info in [i for i in draft.model.graph.input if i.name in found]:
        draft.model.graph.input.remove(info)
        draft.say(info.name, "no input of the graph any more")
    draft.changed()


def one_import(draft: Draft, found: Collection[str]) -> None:
    """The newest import of the standard operator set stays."""
    version = graphs.opset_of(draft.model)
    others = [o for o in draft.model.opset_import if o.domain not in graphs.STANDARD_DOMAINS]
    kept = [type(o)() for o in others]
    for copy, one in zip(kept, others, strict=True):
        copy.CopyFrom(one)
    del draft.model.opset_import[:]
    draft.model.opset_import.add(domain="", version=version)
    draft.model.opset_import.extend(kept)
    for name in found:
        draft.say(name, f"one import, opset {version}")
    draft.changed()


def ordered(draft: Draft, found: Collection[str]) -> None:
    """Every node stands behind those that make its inputs; what can't be sorted (a cycle) stays."""
    index = draft.index
    try:
        nodes: list[NodeProto] = in_order(list(draft.nodes), {*index.inputs, *index.constants, ""})
    except BadInput:
        return
    for name in sorted(found):
        draft.say(name, "stands behind what it reads")
    draft.arrange(nodes)
