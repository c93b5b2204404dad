"""The strongly typed fp16 form of a float32 graph: every tensor's type stands in the graph. Knows no runtime.

Inputs and outputs keep their types. What stays float32: the picture's arithmetic, the float tail, every operator that
sums much or has a steep range, and whatever comes near the largest half number on the calibration samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper

from edge_sdk.calibration import graphs
from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.observe import Observed
from edge_sdk.calibration.place import picture_tensors
from edge_sdk.tensors import Array

LARGEST_HALF = 65504.0
HEADROOM = 8.0  # samples do not show the largest value that a device will see
NEVER_LARGER = frozenset(
    """Relu Clip LeakyRelu MaxPool AveragePool Concat Reshape Transpose Slice Flatten Squeeze Unsqueeze Split Gather
    DepthToSpace SpaceToDepth""".split()  # noqa: SIM905 - twenty quotation marks tell less
)
HALF_OPS = NEVER_LARGER | frozenset(
    """Conv ConvTranspose Gemm MatMul PRelu Sigmoid HardSigmoid HardSwish Tanh Elu Gelu Mish Add Sub Mul Pad
    Resize""".split()  # noqa: SIM905
)
_STAY_FLOAT_INPUTS = {"Resize": (1, 2)}  # roi and scales are coordinates, float32 by the standard


def to_half(model: ModelProto, seen: Mapping[str, Observed], *, float_nodes: Iterable[str] = ()) -> ModelProto:
    """`model` (clean) with half arithmetic and Casts where the two types meet.

    seen: ranges of float tensors on the calibration samples; a tensor that was not seen counts as safe. Values are
    checked by these ranges and not by running on a CPU, whose runtimes compute in float32 and hide an overflow.
    """
    return _Halver(Index.of(model), seen, frozenset(float_nodes)).model()


class _Halver:
    def __init__(self, index: Index, seen: Mapping[str, Observed], float_nodes: frozenset[str]) -> None:
        self._index, self._seen, self._float = index, seen, float_nodes
        self._pictures = picture_tensors(index)
        self._half_nodes = {n.name for n in index.model.graph.node if self._fits(n)}
        self._is_half = {
            name for n in index.model.graph.node if n.name in self._half_nodes for name in n.output if self._real(name)
        }
        self._names = graphs.tensor_names(index.model)
        self._node_names = {n.name for n in index.model.graph.node}
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, Array] = dict(index.constants)
        self._casts: dict[tuple[str, int], str] = {}

    def model(self) -> ModelProto:
        for node in self._index.model.graph.node:
            half = node.name in self._half_nodes
            copy = NodeProto()
            copy.CopyFrom(node)
            for i, name in enumerate(node.input):
                if name and self._real(name) and i not in _STAY_FLOAT_INPUTS.get(node.op_type, ()):
                    copy.input[i] = self._typed(name, half)
            made = [(i, n) for i, n in enumerate(node.output) if n in self._is_half and n in self._index.outputs]
            for i, name in made:
                copy.output[i] = self._casts[name, TensorProto.FLOAT16] = graphs.fresh(f"{name}_half", self._names)
            self._nodes.append(copy)
            for i, name in made:
                self._cast(copy.output[i], name, TensorProto.FLOAT)
        used = {name for n in self._nodes for name in n.input} | set(self._index.outputs)
        tensors = [graphs.tensor(name, array) for name, array in self._constants.items() if name in used]
        return graphs.rebuilt(self._index.model, self._nodes, tensors)

    def _fits(self, node: NodeProto) -> bool:
        if node.op_type not in HALF_OPS or node.domain not in graphs.STANDARD_DOMAINS or node.name in self._float:
            return False
        if node.op_type == "Mul" and len(set(node.input)) == 1:  # a square: half the exponent range is gone
            return False
        if any(name in self._pictures for name in node.output) or not any(self._real(n) for n in node.output):
            return False
        return all(self._small(name) for name in (*node.input, *node.output) if name and self._real(name))

    def _small(self, name: str) -> bool:
        constant = self._index.constants.get(name)
        if constant is not None:
            return constant.size == 0 or float(np.abs(constant).max()) <= LARGEST_HALF / HEADROOM
        seen = self._seen.get(name)
        return seen is None or max(-seen.low, seen.high) <= LARGEST_HALF / HEADROOM

    def _real(self, name: str) -> bool:
        constant = self._index.constants.get(name)
        if constant is not None:
            return bool(constant.dtype == np.float32)
        return self._index.types.get(name) == TensorProto.FLOAT

    def _typed(self, name: str, half: bool) -> str:
        """The name under which a reader of the wanted type finds `name`; writes the Cast that is missing."""
        constant = self._index.constants.get(name)
        if constant is not None:
            return self._half_constant(name, constant) if half else name
        if half == (name in self._is_half):
            return self._casts.get((name, TensorProto.FLOAT16), name) if half else name
        kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
        if not half and name in self._index.outputs:
            return name
        if (name, kind) not in self._casts:
            self._casts[name, kind] = graphs.fresh(f"{name}_{'half' if half else 'single'}", self._names)
            self._cast(name, self._casts[name, kind], kind)
        return self._casts[name, kind]

    def _half_constant(self, name: str, constant: Array) -> str:
        key = (name, TensorProto.FLOAT16)
        if key not in self._casts:
            self._casts[key] = graphs.fresh(f"{name}_half", self._names)
            self._constants[self._casts[key]] = constant.astype(np.float16)
        return self._casts[key]

    def _cast(self, source: str, target: str, kind: int) -> None:
        name = graphs.fresh(f"{target}_cast", self._node_names)
        self._nodes.append(helper.make_node("Cast", [source], [target], name=name, to=kind))
