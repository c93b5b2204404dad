"""Graphs whose free axes are not free inside, in OpenVINO. Knows OpenVINO's graph; no file, no session.

An export noted a size that it saw as a constant (a Reshape to 2 x 3), while the file says that the axis is free. For
another size OpenVINO 2026.4 raises nothing and answers with whatever lies in its memory. Its shape inference does find
the contradiction, in a graph that is not compiled.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from edge_sdk.tensors import Array, TensorSpec


class SizesChecked:
    """Checks sizes before they are run. model: an openvino.Model that is not compiled; it is changed."""

    def __init__(self, model: Any) -> None:
        self._model, self._fit, self._lock = model, set[tuple[tuple[int, ...], ...]](), threading.Lock()

    @classmethod
    def of(cls, model: Any, largest: Mapping[str, int], inputs: Sequence[TensorSpec]) -> SizesChecked | None:
        """None where the smallest and the largest sizes fit, as they do in any graph without such a constant."""
        if max(largest.values()) == 1:
            return None
        trial = model.clone()
        try:
            for sizes in (largest, dict.fromkeys(largest, 1)):
                trial.reshape(_sized(trial, inputs, sizes))
        except RuntimeError:
            return cls(trial)
        return None

    def check(self, feeds: Mapping[str, Array]) -> None:
        """Raises RuntimeError, OpenVINO's own, for sizes that don't fit."""
        shapes = {name: array.shape for name, array in feeds.items() if name in _input_names(self._model)}
        with self._lock:
            if (key := tuple(shapes.values())) not in self._fit:
                self._model.reshape({name: list(shape) for name, shape in shapes.items()})
                self._fit.add(key)


def _input_names(model: Any) -> set[str]:
    return {name for one in model.inputs for name in one.get_names()}


def _sized(model: Any, inputs: Sequence[TensorSpec], sizes: Mapping[str, int]) -> dict[str, list[int]]:
    """The shape of each input that the model kept, with these sizes of free axes."""
    kept = _input_names(model)
    return {
        one.name: [size if isinstance(size, int) else sizes[size] for size in one.shape]
        for one in inputs
        if one.name in kept
    }
