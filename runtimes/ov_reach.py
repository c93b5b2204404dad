"""Sizes that constants of a graph need: the index 4 needs an axis of 5. Knows OpenVINO's graph; no file, no session.

Beyond the end of an axis OpenVINO 2026.4 raises nothing: Gather answers 0, GatherElements, GatherND and TopK what lies
in memory, and after ScatterElementsUpdate, ScatterNDUpdate, or a Pad that takes away more than there is, the answer is
that of the run before. ONNX Runtime refuses all of them. Indices that are fed or computed are known to nobody before a
run, and are not looked at here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_sdk.tensors import Array

_AXIS_INPUT = {"Gather": 2, "ScatterElementsUpdate": 3, "ScatterUpdate": 3}
"""Which input is the axis, of operators that have it there."""


@dataclass(frozen=True, slots=True, eq=False)
class Reach:
    """node: of OpenVINO, whose first input needs `least` elements on `axis`."""

    node: Any
    axis: int
    least: int

    def beyond(self) -> str:
        """What is wrong with the size that the node's model has now, in words; "" = it is enough, or not known."""
        size = self.node.input(0).get_partial_shape()[self.axis]
        if size.is_dynamic or size.get_length() >= self.least:
            return ""
        return f"{self.node.get_friendly_name()} needs {self.least} elements on an axis that has {size.get_length()}"


def reaches(model: Any) -> list[Reach]:
    """Of an openvino.Model, all that need more than 1 element."""
    return [
        Reach(node, axis, least)
        for node in model.get_ordered_ops()
        if node.get_type_name() in _NEEDS and node.input(0).get_partial_shape().rank.is_static
        for axis, least in _NEEDS[node.get_type_name()](node)
        if least > 1
    ]


def _along_an_axis(node: Any) -> Iterator[tuple[int, int]]:
    """Indices of one axis, which an input or an attribute names."""
    kind, indices = node.get_type_name(), _constant(node, 1)
    axis = _constant(node, _AXIS_INPUT[kind]) if kind in _AXIS_INPUT else np.array(node.get_attributes()["axis"])
    if indices is not None and axis is not None:
        yield int(axis.reshape(-1)[0]), _least(indices)


def _of_several_axes(node: Any) -> Iterator[tuple[int, int]]:
    """Indices (..., k) of k axes after those that both inputs share."""
    if (indices := _constant(node, 1)) is not None and indices.ndim:
        first = node.get_attributes().get("batch_dims", 0)
        yield from ((first + k, _least(indices[..., k])) for k in range(indices.shape[-1]))


def _best(node: Any) -> Iterator[tuple[int, int]]:
    if (count := _constant(node, 1)) is not None:
        yield int(node.get_attributes()["axis"]), int(count)


def _taken_away(node: Any) -> Iterator[tuple[int, int]]:
    before, after = _constant(node, 1), _constant(node, 2)
    if before is not None and after is not None:
        yield from enumerate(int(size) for size in -np.minimum(before, 0) - np.minimum(after, 0))


_NEEDS = {
    "Gather": _along_an_axis,
    "GatherElements": _along_an_axis,
    "ScatterElementsUpdate": _along_an_axis,
    "ScatterUpdate": _along_an_axis,
    "GatherND": _of_several_axes,
    "ScatterNDUpdate": _of_several_axes,
    "TopK": _best,
    "Pad": _taken_away,
}


def _constant(node: Any, position: int) -> Array | None:
    """The value of an input that is stored in the graph, seen through what leaves its numbers as they are."""
    source = node.input(position).get_source_output().get_node()
    while source.get_type_name() in ("Convert", "Broadcast"):
        source = source.input(0).get_source_output().get_node()
    return np.asarray(source.data) if source.get_type_name() == "Constant" else None


def _least(indices: Array) -> int:
    """The size of an axis that has all of these; negative ones count from its end."""
    return max(int(indices.max()) + 1, -int(indices.min())) if indices.size else 0
