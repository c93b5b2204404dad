"""Graphs whose free axes are not free inside, in OpenVINO. Knows OpenVINO's graph; no file, no session.

An export noted a size that it saw as a constant (a Reshape to 2 x 3, a Squeeze of an axis of 1), while the file says
that the axis is free. For another size OpenVINO 2026.4 may raise nothing, answer with whatever lies in its memory, and
write beyond it. Its shape inference finds the contradiction in a graph that is not compiled: it raises, or infers
another shape for an output than the file states. Constants that reach beyond an axis are found by `ov_reach`. What is
left, an index that is fed or computed, shows in an answer whose shape is not the inferred one (`Answers`), or not at
all: a Gather of such an index answers 0.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from edge_sdk.runtimes import ov_reach
from edge_sdk.tensors import Array, TensorSpec


class SizesChecked:
    """Checks sizes before they are run, of a graph that contradicts its free axes. model: an openvino.Model that is not
    compiled; it is changed. outputs: as the file states them, in the order of the model's."""

    def __init__(self, model: Any, outputs: Sequence[TensorSpec], reaches: Sequence[ov_reach.Reach]) -> None:
        self._model, self._outputs, self._reaches = model, outputs, reaches
        self._fit, self._lock = set[tuple[tuple[int, ...], ...]](), threading.Lock()

    @classmethod
    def of(
        cls, model: Any, largest: Mapping[str, int], inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
    ) -> SizesChecked | None:
        """None where the smallest and the largest sizes fit what the model infers for all of them, as they do in any
        graph without such a constant; whatever shape the file states for an output. model: its axes are bounded. Raises
        RuntimeError where no axis is free and constants reach beyond one: such a graph has no right answer."""
        if not largest:
            _check_reaches(ov_reach.reaches(model))
            return None
        trial, bounds = model.clone(), [one.get_partial_shape() for one in model.outputs]
        reaches = ov_reach.reaches(trial)
        if max(largest.values()) == 1:
            return cls(trial, outputs, reaches) if any(one.beyond() for one in reaches) else None
        try:
            for sizes in (largest, dict.fromkeys(largest, 1)):
                trial.reshape(_sized(trial, inputs, sizes))
                _check_reaches(reaches)
                if not all(map(_within, (one.get_partial_shape() for one in trial.outputs), bounds)):
                    return cls(trial, outputs, reaches)
        except RuntimeError:
            return cls(trial, outputs, reaches)
        return None

    def check(self, feeds: Mapping[str, Array]) -> None:
        """Raises RuntimeError for sizes that contradict the graph, or the outputs that the file states."""
        shapes = {name: array.shape for name, array in feeds.items() if name in _input_names(self._model)}
        with self._lock:
            if (key := tuple(shapes.values())) in self._fit:
                return
            self._model.reshape({name: list(shape) for name, shape in shapes.items()})
            _check_reaches(self._reaches)
            for spec, output in zip(self._outputs, self._model.outputs, strict=True):
                shape = output.get_partial_shape()
                sizes = [size.get_length() if size.is_static else -1 for size in shape] if shape.rank.is_static else []
                if shape.rank.is_static and not _stated(sizes, spec.shape):
                    raise RuntimeError(f"{spec.name} would have the shape {shape}, and the graph states {spec.shape}")
            self._fit.add(key)


class Answers:
    """Checks the shapes of answers. graph: the ONNX file. outputs: as it states them, in the order of the model's.

    A shape that is as the file states it is taken. Another one is no fault yet, files state sizes that are not so: it
    is compared with what OpenVINO infers.
    """

    def __init__(self, core: Any, graph: bytes, outputs: Sequence[TensorSpec]) -> None:
        self._core, self._graph, self._outputs = core, graph, outputs
        self._fit = set[tuple[object, ...]]()

    def check(self, feeds: Mapping[str, Array], sizes: Mapping[str, int], answers: Mapping[str, Array]) -> None:
        """Raises RuntimeError for an answer of a shape that can't be. sizes: of the free axes that were fed."""
        if all(_stated_with(sizes, answers[spec.name].shape, spec.shape) for spec in self._outputs):
            return
        key = tuple((name, array.shape) for one in (feeds, answers) for name, array in sorted(one.items()))
        if key in self._fit:
            return
        model = self._core.read_model(io.BytesIO(self._graph))
        kept = _input_names(model)
        model.reshape({name: list(array.shape) for name, array in feeds.items() if name in kept})
        for spec, output in zip(self._outputs, model.outputs, strict=True):
            shape, inferred = answers[spec.name].shape, output.get_partial_shape()
            if not inferred.compatible(type(inferred)(list(shape))):
                raise RuntimeError(f"{spec.name} came out with the shape {shape}, and must have {inferred}")
        self._fit.add(key)


def _check_reaches(reaches: Sequence[ov_reach.Reach]) -> None:
    if beyond := next(filter(None, (one.beyond() for one in reaches)), ""):
        raise RuntimeError(beyond)


def _stated_with(sizes: Mapping[str, int], shape: Sequence[int], stated: Sequence[int | str]) -> bool:
    """Whether an answer's shape is as the file states it, with the sizes of free axes that were fed."""
    return all(sizes.get(name, size) == size for size, name in zip(shape, stated) if isinstance(name, str))


def _within(found: Any, bounds: Any) -> bool:
    """Whether an inferred shape lies in the bounds of another one."""
    return bool(bounds.compatible(found))


def _stated(sizes: Sequence[int], stated: Sequence[int | str]) -> bool:
    """Whether sizes, -1 = not known, are those that the file states."""
    return len(sizes) == len(stated) and all(
        isinstance(one, str) or size in (-1, one) for size, one in zip(sizes, stated, strict=True)
    )


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
