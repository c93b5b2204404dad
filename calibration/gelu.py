"""GELU written out: x / 2 * (1 + erf(x / sqrt 2)), which is one activation to whoever plans, and to every runtime.

The operator Gelu has opset 20; below it exporters write five nodes, in orders of their own; the halving may lie in the
sum, as x * (1 / 2 + erf(x / sqrt 2) / 2). OpenVINO fuses them all where nothing stands between and the halving is
there, ONNX Runtime 1.32 those that divide by the root, halve at the end, and have no axes in their constants. Knows the
chain; no scales, no runtime.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from edge_sdk.calibration import graphs
from edge_sdk.calibration.graphs import Index
from edge_sdk.runtimes.operators import traits

_ROOT = float(np.sqrt(2.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Gelu:
    """One chain. source: what it reads. end: what it answers. nodes: its five, in any order."""

    source: str
    end: str
    nodes: tuple[NodeProto, ...]

    def is_only_reader(self, index: Index) -> bool:
        """Whether nothing else reads the source, so that it may be fused into what makes it."""
        inside = {node.name for node in self.nodes}
        readers = index.readers.get(self.source, ())
        unread = self.source not in index.outputs and not index.captured(self.source)
        return unread and all(node.name in inside for node in readers)


def gelus(index: Index) -> Iterator[Gelu]:
    """All chains of a graph, in its order."""
    for node in index.model.graph.node:
        found = _around(node, index) if _standard(node) == "Erf" else None
        if found is not None:
            yield found


def reading(tensor: str, index: Index) -> Gelu | None:
    """The chain that reads `tensor`."""
    for node in index.readers.get(tensor, ()):
        erf = index.only_reader(node.output[0]) if node.output else None
        found = _around(erf, index) if erf is not None and _standard(erf) == "Erf" else None
        if found is not None and found.source == tensor:
            return found
    return None


def answering(tensor: str, index: Index) -> Gelu | None:
    """The chain that answers `tensor`."""
    todo = [tensor]
    for _ in range(3):  # Erf lies at most three products and sums before the end
        makers = [index.producer.get(name) for name in todo]
        todo = [name for node in makers if node is not None for name in node.input if name not in index.constants]
        for name in todo:
            node = index.producer.get(name)
            found = _around(node, index) if node is not None and _standard(node) == "Erf" else None
            if found is not None and found.end == tensor:
                return found
    return None


def _around(erf: NodeProto, index: Index) -> Gelu | None:
    ratio = index.producer.get(erf.input[0])
    if ratio is None or index.only_reader(erf.input[0]) is None:
        return None
    source = _by(ratio, 1 / _ROOT, index)
    outer = index.only_reader(erf.output[0])
    if not source or outer is None:
        return None
    if _by(outer, 0.5, index) == erf.output[0]:
        return _halved_inside(source, (ratio, erf, outer), index)
    if not _adds(outer, 1.0, index):
        return None
    product = index.only_reader(outer.output[0])
    if product is None or _arithmetic(product) != "*":
        return None
    other = next((name for name in product.input if name != outer.output[0]), "")
    maker = index.producer.get(other)
    if maker is not None and index.only_reader(other) is not None and _by(maker, 0.5, index) == source:
        return _chain(source, (ratio, erf, outer, maker, product), product)  # (x / 2) * (1 + erf)
    if other != source and _by(product, 0.5, index) != outer.output[0]:
        return None
    end = index.only_reader(product.output[0])
    if end is None:
        return None
    halved = _by(end, 0.5, index) == product.output[0] if other == source else (
        _arithmetic(end) == "*" and set(end.input) == {source, product.output[0]}
    )  # fmt: skip
    return _chain(source, (ratio, erf, outer, product, end), end) if halved else None


def _halved_inside(source: str, nodes: tuple[NodeProto, ...], index: Index) -> Gelu | None:
    """x * (1 / 2 + erf / 2). nodes: up to the half of erf."""
    total = index.only_reader(nodes[-1].output[0])
    if total is None or not _adds(total, 0.5, index):
        return None
    product = index.only_reader(total.output[0])
    if product is None or _arithmetic(product) != "*" or set(product.input) != {source, total.output[0]}:
        return None
    return _chain(source, (*nodes, total, product), product)


def _chain(source: str, nodes: tuple[NodeProto, ...], last: NodeProto) -> Gelu:
    return Gelu(source=source, end=str(last.output[0]), nodes=nodes)


def _standard(node: NodeProto) -> str:
    return node.op_type if node.domain in graphs.STANDARD_DOMAINS else ""


def _arithmetic(node: NodeProto) -> str:
    return traits(_standard(node)).arithmetic


def _adds(node: NodeProto, term: float, index: Index) -> bool:
    pairs = (node.input, reversed(node.input))
    return _arithmetic(node) == "+" and any(_is(a, term, index, beside=b) for a, b in pairs)


def _by(node: NodeProto, factor: float, index: Index) -> str:
    """What a node multiplies by `factor`, or divides by its inverse; "" if it does not."""
    if _arithmetic(node) == "*":
        pairs = (node.input, reversed(node.input))
        return next((str(b) for a, b in pairs if _is(a, factor, index, beside=b)), "")
    if _arithmetic(node) == "/" and _is(node.input[1], 1 / factor, index, beside=node.input[0]):
        return str(node.input[0])
    return ""


def _is(name: str, value: float, index: Index, *, beside: str) -> bool:
    """Whether a constant of one element is that number, to what exporters write. It has no more axes than the tensor
    `beside` it, as far as that one's are known, or the answer would get new ones."""
    array = index.constants.get(name)
    if array is None or array.size != 1 or array.dtype != np.float32:
        return False
    if array.ndim > max(1, len(index.shapes.get(beside, ()))):
        return False
    return bool(np.isclose(array.reshape(-1)[0], value, rtol=1e-5, atol=0.0))
