"""Two layouts of one int8 graph, equal bit for bit: behind the activation function, or on both sides of it.

"conv-relu-q" (A): convolution, Relu, Q, DQ: what TensorRT documents. "conv-q-relu-q" (B): a pair with the same scale
before the Relu as well, without which ONNX Runtime runs the convolution in float. Knows no samples, no scales.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from onnx import ModelProto, NodeProto, helper

from edge_sdk.calibration import graphs
from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.observe import Reader
from edge_sdk.errors import CheckFailed
from edge_sdk.tensors import Array

# Q never falls, so it may change places with min and max: Q(clip(x)) = clip'(Q(x)), and Q(DQ(q)) = q. Hence a pair
# before Relu or Clip (any bounds) changes no bit of the pair behind it. LeakyRelu and the smooth ones scale: not equal.
MONOTONE_CUTS = ("Relu", "Clip")
_FUSED = ("Conv", "Gemm", "MatMul", "Add")


def both_sides(model: ModelProto) -> ModelProto:
    """Layout B of a graph in layout A: a Q/DQ pair with the same scale before each Relu or Clip that has one behind.

    Where the pair behind is read by float operators alone it would change nothing any more, and is left out.
    """
    index = Index.of(model)
    names, node_names = graphs.tensor_names(model), {n.name for n in model.graph.node}
    before: dict[str, list[NodeProto]] = {}  # activation node -> the pair to put in front of it
    renamed: dict[str, str] = {}
    for q in model.graph.node:
        cut = _cut_before(q, index)
        if cut is None:
            continue
        real = cut.input[0]
        made = [graphs.fresh(f"{real}_{part}", names) for part in ("q", "dq")]
        for op, source, target in (("QuantizeLinear", real, made[0]), ("DequantizeLinear", made[0], made[1])):
            pair = helper.make_node(op, [source, *q.input[1:]], [target], name=graphs.fresh(target, node_names))
            before.setdefault(cut.name, []).append(pair)
        renamed[cut.name] = made[1]
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        nodes += before.get(node.name, [])
        copy = NodeProto()
        copy.CopyFrom(node)
        if node.name in renamed:
            copy.input[0] = renamed[node.name]
        nodes.append(copy)
    return graphs.rebuilt(model, nodes, model.graph.initializer)


def assert_equal_layouts(a: bytes, b: bytes, feeds: Iterable[Mapping[str, Array]]) -> int:
    """Run both graphs by the letter of the standard and compare every output bit for bit; how many feeds agreed.

    CheckFailed names the output and the size of the difference.
    """
    readers = []
    for graph in (a, b):
        model = graphs.load(graph)
        readers.append(Reader(model, tuple(o.name for o in model.graph.output), optimised=False))
    count = 0
    for count, sample in enumerate(feeds, 1):
        ours, theirs = (reader.run(sample, where=f"sample {count - 1}") for reader in readers)
        for name, left in ours.items():
            right = theirs[name]
            if left.dtype != right.dtype or left.shape != right.shape or left.tobytes() != right.tobytes():
                gap = float(np.abs(left.astype(np.float64) - right.astype(np.float64)).max())
                raise CheckFailed(
                    f"the two layouts differ in output {name} by up to {gap:g}",
                    where=f"sample {count - 1}",
                    do="This is a fault of the rewrite: please report it with the graph",
                )
    return count


def _cut_before(q: NodeProto, index: Index) -> NodeProto | None:
    """The Relu or Clip between an int8 operator and this QuantizeLinear, if a pair may stand in front of it."""
    if q.op_type != "QuantizeLinear" or q.input[0] in index.outputs:
        return None
    cut = index.producer.get(q.input[0])
    if cut is None or cut.op_type not in MONOTONE_CUTS:
        return None
    maker = index.producer.get(cut.input[0])
    if maker is None or maker.op_type not in _FUSED or index.only_reader(cut.input[0]) is None:
        return None
    sources = {index.producer[name].op_type for name in maker.input if name in index.producer}
    return cut if sources <= {"DequantizeLinear"} and "DequantizeLinear" in sources else None
