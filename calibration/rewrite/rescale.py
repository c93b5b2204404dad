"""Moves one factor per channel from what reads tensors to what makes them. Exact in float; knows no statistics.

x -> x / f in every constant that makes a tensor, w -> w * f in every weight that reads it: the graph answers what it
answered. Tensors that Relu, pools, sums or a Concat tie to each other take the same factors: a residual stream moves as
a whole. Factors end in weights, in gamma and beta of normalization and in constants with a value per channel; what is
not positively homogeneous (HardSwish, GELU, Clip, Sigmoid, Softmax) lets none through. (Nagel et al. 2019, "Data-Free
Quantization Through Weight Equalization and Bias Correction"; Xiao et al. 2023, "SmoothQuant".)
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto

from edge_sdk.calibration import graphs, ops
from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.ops import operator
from edge_sdk.calibration.statistics.weights import channels_in, inputs_of, weight_axis
from edge_sdk.runtimes.operators import is_product
from edge_sdk.tensors import Array

Channels = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Edit:
    """One constant: input `position` of `node`. channels: which factor each of its entries takes, >= 0, broadcast
    against it. divides: by the factor; else it is multiplied."""

    node: str
    position: int
    channels: Channels
    divides: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fold:
    """Tensors that take factors together. size: how many factors. read: by tensor that int8 operators read, the factor
    of each channel (C,). readers: weights of these. others: all other constants. scaled: all tensors that change."""

    size: int
    read: Mapping[str, Channels]
    readers: tuple[Edit, ...]
    others: tuple[Edit, ...]
    scaled: frozenset[str]


def folds(model: ModelProto, operators: Collection[str], *, untouched: Collection[str] = ()) -> tuple[Fold, ...]:
    """Where factors can go, in the order of the graph; no tensor is in two of them.

    operators: names of the nodes with stored weights that become int8; each fold is read by one of them at least. Those
    that stay float take factors as well, but for `untouched`: names of nodes that no factor may reach.
    """
    index = Index.of(model)
    found: list[Fold] = []
    tried: set[str] = set()
    for node in model.graph.node:
        if node.name not in operators or node.input[0] in tried:
            continue
        region = _Region(index, frozenset(untouched))
        whole = region.grow(node)
        tried |= region.tensors.keys() if whole else {node.input[0]}
        if whole:
            found.append(region.fold(operators))
    return tuple(found)


def rescaled(model: ModelProto, chosen: Iterable[tuple[Fold, NDArray[np.float64]]]) -> ModelProto:
    """A copy with the factors of each fold moved: (size,), > 0."""
    index = Index.of(model)
    changed: dict[tuple[str, int], NDArray[np.float64]] = {}
    nodes = {node.name: node for node in model.graph.node}
    for fold, factors in chosen:
        for edit in (*fold.others, *fold.readers):
            key = (edit.node, edit.position)
            old = changed.get(key)
            value = index.constants[nodes[edit.node].input[edit.position]].astype(np.float64) if old is None else old
            by = factors[edit.channels]
            changed[key] = value / by if edit.divides else value * by
    names = graphs.tensor_names(model)
    constants: dict[str, Array] = dict(index.constants)
    made = []
    for node in model.graph.node:
        copy = NodeProto()
        copy.CopyFrom(node)
        for position in range(len(copy.input)):
            if (node.name, position) in changed:  # others may read the same constant
                copy.input[position] = graphs.fresh(f"{node.input[position]}_equalised", names)
                constants[copy.input[position]] = changed[node.name, position].astype(np.float32)
        made.append(copy)
    used = {name for node in made for name in graphs.reads(node)} | set(index.outputs)
    return graphs.rebuilt(model, made, [graphs.tensor(n, array) for n, array in constants.items() if n in used])


class _Region:
    """Grows from one tensor over all that must take the same factors.

    tensors: by name, the channels (C, 1, ...) aligned with their last axes; two numbers that meet become one.
    """

    def __init__(self, index: Index, untouched: frozenset[str]) -> None:
        self._index, self._untouched = index, untouched
        self._pictures = ops.picture_tensors(index)
        self.tensors: dict[str, Channels] = {}
        self._parents: list[int] = []
        self._edits: list[Edit] = []
        self._passed: set[str] = set()
        self._gates: set[str] = set()
        self._todo: list[str] = []

    def grow(self, reader: NodeProto) -> bool:
        """Whether all that `reader` and its like read can take factors."""
        weight = self._index.constants[reader.input[1]]
        size, behind = channels_in(reader, weight.shape), 0 if is_product(reader.op_type) else weight.ndim - 2
        if size < 2 or not self._join(reader.input[0], self._new(size, behind)):
            return False
        while self._todo:
            name = self._todo.pop()
            maker = self._index.producer.get(name)
            if maker is None or not self._make(maker, name):
                return False
            if not all(self._read(node, name) for node in self._index.readers.get(name, ())):
                return False
        return self._gates.isdisjoint(self.tensors)

    def fold(self, operators: Collection[str]) -> Fold:
        roots = np.array([self._root(number) for number in range(len(self._parents))])
        kept, numbers = np.unique(roots, return_inverse=True)
        edits = [replace(edit, channels=numbers[edit.channels]) for edit in self._edits]
        nodes = {node.name: node for node in self._index.model.graph.node}
        readers = tuple(one for one in edits if not one.divides and one.node in operators and one.position == 1)
        read = {nodes[one.node].input[0] for one in readers}
        return Fold(
            size=len(kept), read={name: numbers[c].ravel() for name, c in self.tensors.items() if name in read},
            readers=readers, others=tuple(one for one in edits if one not in readers), scaled=frozenset(self.tensors),
        )  # fmt: skip

    # ---- channels

    def _new(self, size: int, behind: int) -> Channels:
        first = len(self._parents)
        self._parents += range(first, first + size)
        return np.arange(first, first + size).reshape(size, *[1] * behind)

    def _root(self, number: int) -> int:
        while self._parents[number] != number:
            number = self._parents[number]
        return number

    def _join(self, tensor: str, channels: Channels) -> bool:
        """Let `tensor` take the factors `channels`. False where it can't take any, or has other channels."""
        index, shape = self._index, self._index.shapes.get(tensor, ())
        if tensor in self.tensors:
            if self.tensors[tensor].shape != channels.shape:
                return False
            for one, other in zip(self.tensors[tensor].ravel().tolist(), channels.ravel().tolist(), strict=True):
                self._parents[self._root(one)] = self._root(other)
            return True
        if tensor in index.outputs or tensor in self._pictures or tensor not in index.producer:
            return False
        if index.captured(tensor) or len(shape) < channels.ndim or shape[-channels.ndim] != len(channels):
            return False
        self.tensors[tensor] = channels
        self._todo.append(tensor)
        return True

    # ---- nodes

    def _make(self, node: NodeProto, tensor: str) -> bool:
        """Whether the maker of a tensor takes its factors, or hands them on."""
        if not self._known(node):
            return False
        channels = self.tensors[tensor]
        if operator(node).kind == "matrix":
            return self._weights(node, channels)
        if operator(node).norm:
            return self._norm(node, channels)
        return self._pass(node, channels, backwards=True)

    def _read(self, node: NodeProto, tensor: str) -> bool:
        """Whether a reader of a tensor takes its factors, or hands them on."""
        if not self._known(node):
            return False
        if operator(node).kind != "matrix":
            return not operator(node).norm and self._pass(node, self.tensors[tensor], backwards=False, came=tensor)
        weight = self._index.constants.get(node.input[1])
        if weight is None or weight.dtype != np.float32 or list(node.input).count(tensor) > 1:
            return False
        if node.input[0] != tensor or weight.ndim < 2 or (is_product(node.op_type) and weight.ndim > 2):
            return False
        channels, behind = self.tensors[tensor], 0 if is_product(node.op_type) else weight.ndim - 2
        if graphs.integer(node, "transA", 0) or channels.ndim - 1 != behind:
            return False
        if len(channels) != channels_in(node, weight.shape):
            return False
        self._edit(node, 1, channels.ravel()[inputs_of(node, weight.shape)], divides=False)
        return True

    def _known(self, node: NodeProto) -> bool:
        standard = node.domain in graphs.STANDARD_DOMAINS and len(node.output) == 1
        return standard and node.name not in self._untouched

    def _weights(self, node: NodeProto, channels: Channels) -> bool:
        """Output channels of a stored weight, and the bias."""
        weight = self._index.constants.get(node.input[1])
        axis = weight_axis(node)  # None: groups of a ConvTranspose
        if weight is None or axis is None or weight.dtype != np.float32:
            return False
        behind = 0 if is_product(node.op_type) else weight.ndim - 2
        if behind != channels.ndim - 1 or weight.ndim - behind != 2 or weight.shape[axis] != len(channels):
            return False
        self._edit(node, 1, channels.reshape([-1 if i == axis else 1 for i in range(weight.ndim)]))
        return self._take(node, (2,), channels.ravel())

    def _norm(self, node: NodeProto, channels: Channels) -> bool:
        """Gamma and beta: of the last axis alone, or of axis 1."""
        last = operator(node).norm == "last"
        rank = len(self._index.shapes.get(node.output[0], ()))
        gamma = self._index.constants.get(node.input[1])
        fits = gamma is not None and gamma.shape == (len(channels),)
        placed = channels.ndim == 1 if last else channels.ndim == rank - 1
        return fits and placed and self._take(node, (1, 2), channels.ravel())

    def _take(self, node: NodeProto, positions: tuple[int, ...], flat: Channels) -> bool:
        """The constants at `positions`, a value for each channel; one that is absent needs nothing."""
        for position in positions:
            name = node.input[position] if len(node.input) > position else ""
            if not name:
                continue
            value = self._index.constants.get(name)
            if value is None or value.dtype != np.float32 or value.shape != flat.shape:
                return False
            self._edit(node, position, flat)
        return True

    def _pass(self, node: NodeProto, channels: Channels, *, backwards: bool, came: str = "") -> bool:
        """Hand factors on to the other tensors of a node. backwards: they come from its output, else from `came`."""
        varying = [name for name in dict.fromkeys(node.input) if name and name not in self._index.constants]
        if node.op_type == "Concat":
            return self._concat(node)
        if not varying or not self._same_rank(varying, node.output[0], channels):
            return False
        arithmetic = operator(node).arithmetic
        if arithmetic and len(varying) == 1 and len(node.input) == 2:
            return len(set(node.input)) == 2 and self._constant(node, varying[0], channels, backwards=backwards)
        if arithmetic == "*" and len(varying) == 2:
            gate = self._gate(varying, channels)
            if gate in ("", came):
                return False
            self._gates.add(gate)
            varying.remove(gate)
        elif arithmetic not in ("+", "-") and not (len(varying) == 1 and self._homogeneous(node, channels)):
            return False
        return all(self._join(name, channels) for name in (*varying, node.output[0]))

    def _same_rank(self, names: Iterable[str], output: str, channels: Channels) -> bool:
        """Whether the channels lie on the same axis of all of them."""
        shapes = [self._index.shapes.get(name, ()) for name in (*names, output)]
        return len({len(shape) for shape in shapes}) == 1 and len(shapes[0]) >= channels.ndim

    def _homogeneous(self, node: NodeProto, channels: Channels) -> bool:
        """Whether f(x / c) is f(x) / c for each channel alone. Pools have no channels on their last axis."""
        if node.op_type == "Pad":
            return ops.copies(node, self._index)
        if node.op_type == "Resize" and graphs.text(node, "coordinate_transformation_mode", "") == "tf_crop_and_resize":
            return False  # what lies outside has a value of its own
        return operator(node).by_channel and (channels.ndim > 1 or operator(node).kind == "activation")

    def _gate(self, varying: list[str], channels: Channels) -> str:
        """Of two factors of a product the one that is the same everywhere in a channel; "" if none or both are."""
        flat = [
            name for name in varying
            if channels.ndim > 1 and all(size == 1 for size in self._index.shapes[name][1 - channels.ndim :])
        ]  # fmt: skip
        return flat[0] if len(flat) == 1 else ""

    def _constant(self, node: NodeProto, varying: str, channels: Channels, *, backwards: bool) -> bool:
        """Arithmetic with one constant: a product with one value per channel takes the factors."""
        position, arithmetic = 1 if node.input[0] == varying else 0, operator(node).arithmetic
        value = self._index.constants[node.input[position]]
        if value.dtype != np.float32 or (arithmetic == "/" and position == 0):
            return False
        own = value.ndim >= channels.ndim and value.shape[-channels.ndim] == len(channels)
        if arithmetic in ("*", "/"):
            if own:
                self._edit(node, position, channels, divides=backwards == (arithmetic == "*"))
                return True
            return value.size == 1 and all(self._join(name, channels) for name in (varying, node.output[0]))
        if not own or not all(self._join(name, channels) for name in (varying, node.output[0])):
            return False
        if node.name not in self._passed:
            self._passed.add(node.name)
            self._edit(node, position, channels)
        return True

    def _concat(self, node: NodeProto) -> bool:
        """Each input of a Concat of channels takes the factors of its own."""
        names = (*node.input, node.output[0])
        known = next(self.tensors[name] for name in names if name in self.tensors)
        shapes, behind = [self._index.shapes.get(name, ()) for name in names], known.ndim - 1
        rank = len(shapes[-1])
        if rank <= behind or any(len(shape) != rank for shape in shapes):
            return False
        if graphs.integer(node, "axis", 0) % rank != rank - 1 - behind:
            return False
        sizes = [shape[-1 - behind] for shape in shapes]
        fixed = [size for size in sizes if size]
        if len(fixed) < len(sizes) or sum(fixed[:-1]) != fixed[-1]:
            return False
        own = [self.tensors.get(name) for name in node.input]
        parts = [self._new(size, behind) if one is None else one for one, size in zip(own, fixed[:-1], strict=True)]
        if not all(self._join(name, part) for name, part in zip(node.input, parts, strict=True)):
            return False
        return self._join(node.output[0], np.concatenate(parts))

    def _edit(self, node: NodeProto, position: int, channels: Channels, *, divides: bool = True) -> None:
        self._edits.append(Edit(node=node.name, position=position, channels=channels, divides=divides))
