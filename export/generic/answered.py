"""Output shapes as a file states them, held against what the graph answers, before any work is done. Knows no task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import onnx
from onnx import ModelProto

from edge_sdk.calibration import graphs, pool_sizes
from edge_sdk.calibration.sizes import check_sample
from edge_sdk.calibration.statistics.observe import Reader
from edge_sdk.errors import BadInput, EdgeError
from edge_sdk.export.models.model import UserModel, changed
from edge_sdk.shown import shown
from edge_sdk.tensors import Array

_Shape: TypeAlias = "tuple[int | None, ...]"


def as_answered(model: UserModel, feeds: Mapping[str, Array]) -> UserModel:
    """The model with output shapes as ONNX Runtime answers one sample, and a note of each that changed.

    A fixed size that the file states and the graph does not answer is replaced where onnx's inference gives it:
    exporters state what it says, and it is wrong of pools that round up. BadInput for one from elsewhere, and for
    another number of axes. A graph that can't be run is left to calibration, which says why.
    """
    graph = graphs.parsed(model.onnx)
    try:
        check_sample(graph, {name: array.shape for name, array in feeds.items()})
        answers = Reader.of_outputs(graph).run(feeds)
    except EdgeError:
        return model
    wrong = {name: answer.shape for name, answer in answers.items() if not _fits(_stated(graph, name), answer.shape)}
    if not wrong:
        return model
    guessed = _guessed(graph)
    for name, shape in wrong.items():
        stated = _stated(graph, name)
        said = f"output {shown(name)}: declared {_words(stated)}, the runtime answers {_words(shape)}"
        if len(stated) != len(shape) or any(
            size not in (None, got, guess)
            for size, got, guess in zip(stated, shape, guessed.get(name, shape), strict=True)
        ):
            raise BadInput(said, where=model.where, hint="Export the model again, with the shapes of its outputs")
        model = changed(model, _corrected(graph, name, shape), note=f"{said}, which counts")
    return model


def _fits(stated: _Shape, shape: Sequence[int]) -> bool:
    return len(stated) == len(shape) and all(size in (None, got) for size, got in zip(stated, shape))


def _stated(graph: ModelProto, name: str) -> _Shape:
    info = next(info for info in graph.graph.output if info.name == name)
    return tuple(d.dim_value if d.HasField("dim_value") else None for d in info.type.tensor_type.shape.dim)


def _guessed(graph: ModelProto) -> dict[str, _Shape]:
    """By onnx's own inference, and nothing that the file states of its outputs."""
    try:
        made = onnx.shape_inference.infer_shapes(pool_sizes.unstated(graph))
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return {}
    shapes = {info.name: _stated(made, info.name) for info in made.graph.output}
    return {name: shape for name, shape in shapes.items() if len(shape) == len(_stated(graph, name))}


def _corrected(graph: ModelProto, name: str, shape: Sequence[int]) -> bytes:
    """The graph with those sizes of one output, in place; what it states of tensors inside goes with them."""
    del graph.graph.value_info[:]
    info = next(info for info in graph.graph.output if info.name == name)
    for dim, size in zip(info.type.tensor_type.shape.dim, shape, strict=True):
        if dim.HasField("dim_value"):
            dim.dim_value = size
    return bytes(graph.SerializeToString())


def _words(shape: _Shape) -> str:
    return "x".join("?" if size is None else str(size) for size in shape) or "one number"
