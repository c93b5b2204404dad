"""How much memory a graph's tensors take, by shape inference alone: a graph that can't fit is refused before it runs.

Knows no samples beyond their shapes, and no quantization.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping

import numpy as np
from onnx import ModelProto, TypeProto, helper, shape_inference

from edge_sdk.calibration import graphs
from edge_sdk.errors import BadInput

MAX_CONSTANT_BYTES = 2**30
"""Of one tensor that the graph computes of constants alone. Twice that no ONNX file could store, and every tool that
folds constants, runtimes included, computes it before it looks at its size (onnxscript 0.7, onnxruntime 1.32)."""


def check_constants(model: ModelProto) -> None:
    """BadInput, naming the node, if a tensor that depends on no input is larger than MAX_CONSTANT_BYTES."""
    sizes = _bytes(model, {})
    constant = {t.name for t in model.graph.initializer} | {""}
    for node in model.graph.node:
        if not all(name in constant for name in graphs.reads(node)):
            continue
        constant.update(node.output)
        for name in node.output:
            if sizes.get(name, 0) > MAX_CONSTANT_BYTES:
                raise BadInput(
                    f"{node.op_type} makes {name} of constants alone, {_words(sizes[name])}; at most "
                    f"{_words(MAX_CONSTANT_BYTES)} are computed", where=node.name,
                    hint="Export the model with a smaller constant, or make it an input",
                )  # fmt: skip


def check_sample(model: ModelProto, shapes: Mapping[str, tuple[int, ...]], *, most: int | None = None) -> None:
    """BadInput if the tensors of one sample take more memory than this machine has: calibration reads them at once.

    shapes: of the sample's inputs. most: bytes, None = this machine's memory. Tensors whose shapes are not known before
    the graph runs don't count.
    """
    most = _memory() if most is None else most
    sizes = _bytes(model, shapes)
    total = sum(sizes.values())
    if total > most:
        largest = max(sizes, key=lambda name: sizes[name])
        raise BadInput(
            f"one sample would take {_words(total)} in this graph, this machine has {_words(most)}; the largest "
            f"tensor is {largest} with {_words(sizes[largest])}",
            hint="Give smaller samples, or a smaller --axis",
        )  # fmt: skip


def elements(model: ModelProto) -> dict[str, int]:
    """How many values each tensor has, stored ones included, where that is known before the graph runs."""
    made = {name: math.prod(d.dim_value for d in kind.shape.dim) for name, kind in _known(model, {}).items()}
    return made | {t.name: math.prod(t.dims) for t in model.graph.initializer}


def shapes(model: ModelProto, given: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor, stored ones included, where that is known before the graph runs. given: of the inputs."""
    made = {name: tuple(d.dim_value for d in kind.shape.dim) for name, kind in _known(model, given).items()}
    return made | {t.name: tuple(t.dims) for t in model.graph.initializer}


def _bytes(model: ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """Size of every tensor whose type and shape are known, its inputs being as `shapes` says."""
    return {
        name: math.prod(d.dim_value for d in kind.shape.dim)
        * np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)).itemsize
        for name, kind in _known(model, shapes).items()
    }


def _known(model: ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, TypeProto.Tensor]:
    """The tensors whose type and sizes inference knows; weights are left out."""
    work = ModelProto()
    work.CopyFrom(model)
    graph = work.graph
    del graph.value_info[:]
    for info in graph.input:
        for dim, size in zip(info.type.tensor_type.shape.dim, shapes.get(info.name, ())):
            dim.dim_value = size
    for info in graph.output:  # what the file states of them may hold for other inputs
        info.type.tensor_type.ClearField("shape")
    for tensor in graph.initializer:
        if math.prod(tensor.dims) > _READ_BY_INFERENCE:
            for values in ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data"):
                tensor.ClearField(values)  # `dims` say enough; inference copies a model several times
    try:
        known = _inferred(work)
        if all(_few(known.get(node.output[0])) for node in graph.node if node.op_type == "Range"):
            known = _inferred(work, data_prop=True)  # follows shapes that the graph computes
    except (shape_inference.InferenceError, RuntimeError, ValueError):  # the caller's checks name what is wrong
        return {}
    return known


def _inferred(model: ModelProto, *, data_prop: bool = False) -> dict[str, TypeProto.Tensor]:
    graph = shape_inference.infer_shapes(model, data_prop=data_prop).graph
    stored = {tensor.name for tensor in graph.initializer}  # an old file lists them as inputs too
    infos = (*graph.input, *graph.value_info, *graph.output)
    kinds = {info.name: info.type.tensor_type for info in infos if info.name not in stored}
    return {name: kind for name, kind in kinds.items() if _complete(kind)}


def _few(kind: TypeProto.Tensor | None) -> bool:
    """Whether a Range is known to be short: onnx 1.23 writes all its values down to follow them."""
    return kind is not None and math.prod(dim.dim_value for dim in kind.shape.dim) <= _READ_BY_INFERENCE


_READ_BY_INFERENCE = 1024
"""Values of a shape, of pads, of repeats: what inference reads has no more."""


def _complete(kind: TypeProto.Tensor) -> bool:
    known = all(dim.HasField("dim_value") for dim in kind.shape.dim)
    return bool(kind.elem_type) and kind.HasField("shape") and known


def _memory() -> int:
    """Bytes of this machine's memory; 16 GiB where the system doesn't say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 16 * 2**30


def _words(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size < 2**50 else f"{size / 2**50:.0f} PiB"
