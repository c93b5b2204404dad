"""Pairs between which values only move: their groups, and pairs behind a copy. Knows no rule and no runtime."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from onnx import NodeProto

from edge_sdk.calibration import ops
from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.lint.draft import Draft
from edge_sdk.calibration.lint.pairs import has_zero, kind, stored, zero, zero_or_default
from edge_sdk.runtimes.operators import DEQUANTIZE, QUANTIZE


def copy_groups(index: Index, names: Iterable[str]) -> list[set[str]]:
    """Groups of Q nodes between which values only move, those of `names` alone; in the order of the graph."""
    parent: dict[str, str] = {}

    def root(item: str) -> str:
        while parent.setdefault(item, item) != item:
            item = parent[item]
        return item

    def join(items: Iterable[str]) -> None:
        first, *rest = map(root, items)
        for other in rest:
            parent[root(other)] = first

    wanted = set(names)
    for node in index.model.graph.node:
        if ops.copies(node, index):
            join([*(name for name in ops.moved(node) if name not in index.constants), *node.output])
        elif node.name in wanted:
            readers = index.readers[node.output[0]]
            made = [dq.output[0] for dq in readers]
            maker = index.producer.get(node.input[0])
            before = [node.input[0]] if maker is not None and ops.copies(maker, index) else []
            join([f"{node.name} (Q)", *made, *before])
    groups: dict[str, set[str]] = {}
    for node in index.model.graph.node:
        if node.name in wanted:
            groups.setdefault(root(f"{node.name} (Q)"), set()).add(node.name)
    return list(groups.values())


def paired_behind_copies(draft: Draft, found: Collection[str]) -> None:
    """An int8 operator whose data come through copies (MaxPool, Reshape) from a DQ gets a pair of the same scale in
    front: what lies on the grid already is kept bit by bit."""
    index = draft.index
    sources: dict[str, NodeProto] = {}
    for node in index.model.graph.node:
        if node.name in found and len(node.input) > 1 and stored(node.input[1], index):
            source = _behind_copies(node.input[0], index)
            if source is not None and source.output[0] != node.input[0]:
                sources[node.input[0]] = source
    places: dict[str, list[NodeProto]] = {}
    for tensor, source in sources.items():
        q = draft.node(QUANTIZE, [tensor, *source.input[1:]], draft.tensor(f"{tensor}_q"))
        dq = draft.node(DEQUANTIZE, [q.output[0], *source.input[1:]], draft.tensor(f"{tensor}_dq"))
        for node in index.readers[tensor]:
            if node.name in found and node.input[0] == tensor:
                node.input[0] = dq.output[0]
                draft.say(node.name, "a pair in front, of the scale that its data have already")
        maker = index.producer[tensor]
        places.setdefault(maker.name, [maker]).extend((q, dq))
    draft.edit(places)


def _behind_copies(tensor: str, index: Index) -> NodeProto | None:
    """The DQ, per tensor, from which values only move into `tensor`; None if there is none, or several that differ."""
    todo, found = [tensor], []
    seen: set[str] = set()
    while todo:
        name = todo.pop()
        maker = index.producer.get(name)
        if maker is None:
            return None
        if name in seen:
            continue
        seen.add(name)
        if maker.op_type == DEQUANTIZE:
            found.append(maker)
        elif ops.copies(maker, index):
            todo += ops.moved(maker)
        else:
            return None
    scales = [index.constants.get(node.input[1]) for node in found]
    same = all(s is not None and s.size == 1 and s.item() == scales[0].item() for s in scales)  # type: ignore[union-attr]
    points = {_point(node, index) for node in found}
    return found[0] if same and len(points) == 1 and None not in points else None


def _point(node: NodeProto, index: Index) -> tuple[int, int] | None:
    computed = has_zero(node) and zero(node, index) is None
    if computed or (point := zero_or_default(node, index)).size != 1:
        return None
    return kind(node, index), int(point.item())
