"""A working copy of a graph that menders edit, and the list of what they did to it. Knows no rule and no runtime."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from onnx import ModelProto, NodeProto, helper

from edge_sdk.calibration import graphs
from edge_sdk.calibration.graphs import Index
from edge_sdk.runtimes.operators import PAIR
from edge_sdk.tensors import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Mended:
    """One change. rule: the lint rule that it ends. node: name of the node or tensor. what: what was done. exact: False
    if outputs change by it; by how much, `what` says where it is known."""

    rule: str
    node: str
    what: str
    exact: bool = True

    def __str__(self) -> str:
        return f"{self.rule} {self.node}: {'' if self.exact else 'changes values: '}{self.what}"


class Draft:
    """Edited in place; `model` is the result. exact: whether only what keeps the outputs is allowed. rule: the one
    being mended, for the list `done`."""

    def __init__(self, model: ModelProto, *, exact: bool = False) -> None:
        self.model = ModelProto()
        self.model.CopyFrom(model)
        self.exact = exact
        self.rule = ""
        self.done: list[Mended] = []
        self._index: Index | None = None
        self._names = graphs.tensor_names(model)
        self._node_names = {node.name for node in model.graph.node}

    @property
    def index(self) -> Index:
        """Producers, readers, types and constants of the graph as it is now; its nodes are those of the draft."""
        if self._index is None:
            graph = self.model.graph
            graph.ClearField("value_info")
            graph.value_info.extend(graphs.with_types(self.model).graph.value_info)
            self._index = Index.of(self.model)
        return self._index

    @property
    def nodes(self) -> tuple[NodeProto, ...]:
        """The nodes of the main graph. An edit of one of them needs `changed()`."""
        return tuple(self.model.graph.node)

    def changed(self) -> None:
        """To be called after an edit of the model that was not made by a method of this class."""
        self._index = None

    def say(self, node: str, what: str, *, exact: bool = True) -> None:
        """Record a change."""
        self.done.append(Mended(rule=self.rule, node=node, what=what, exact=exact))

    def store(self, stem: str, value: Array) -> str:
        """A new initializer; its name."""
        name = graphs.fresh(stem, self._names)
        self.model.graph.initializer.append(graphs.tensor(name, value))
        self.changed()
        return name

    def tensor(self, stem: str) -> str:
        """A name that no tensor has."""
        return graphs.fresh(stem, self._names)

    def node(
        self, op: str, inputs: Sequence[str], output: str, **attributes: int | float | str | Sequence[int]
    ) -> NodeProto:
        """A new node with a name of its own; `edit` puts it in."""
        name = graphs.fresh(f"{output}_{op}", self._node_names)
        made = helper.make_node(op, list(inputs), [output], name=name)
        made.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        return made

    def edit(self, places: Mapping[str, Sequence[NodeProto]]) -> None:
        """For each named node, what stands in its place: nothing, other nodes, or itself with others around it. Nodes
        of an index taken before are no part of the graph after this."""
        self.arrange([kept for node in self.nodes for kept in places.get(node.name, (node,))])

    def arrange(self, nodes: Sequence[NodeProto]) -> None:
        """These nodes, in this order, in the place of all that there were."""
        copies = []
        for node in nodes:
            copy = NodeProto()
            copy.CopyFrom(node)
            copies.append(copy)
        del self.model.graph.node[:]
        self.model.graph.node.extend(copies)
        self.changed()

    def restart(self, model: ModelProto) -> None:
        """Go on with another model, whose nodes have names of their own."""
        self.model = model
        self._names = graphs.tensor_names(self.model)
        self._node_names = {node.name for node in self.model.graph.node}
        self.changed()

    def reconnect(self, old: str, new: str, readers: Iterable[NodeProto] | None = None) -> None:
        """Let `readers` (all that there are) read `new` in the place of `old`; subgraphs are left as they are."""
        for node in self.index.readers.get(old, ()) if readers is None else readers:
            for i, name in enumerate(node.input):
                if name == old:
                    node.input[i] = new
        self.changed()

    def drop_unread(self) -> None:
        """Take out Q and DQ that nothing reads any more, and initializers likewise."""
        while True:
            index = self.index
            unread = [
                node for node in self.nodes
                if node.op_type in PAIR and not any(index.readers.get(n) or n in index.outputs for n in node.output)
            ]  # fmt: skip
            if not unread:
                break
            self.edit({node.name: () for node in unread})
        kept = [t for t in self.model.graph.initializer if t.name in self.index.readers or t.name in self.index.outputs]
        if len(kept) < len(self.model.graph.initializer):
            names = {t.name for t in kept}
            for at in reversed(range(len(self.model.graph.initializer))):
                if self.model.graph.initializer[at].name not in names:
                    del self.model.graph.initializer[at]
            self.changed()
