"""An ONNX file as a user has it becomes the bytes of one graph, weights and all. Knows no data and no task."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from edge_sdk import plain_file
from edge_sdk.bundle.rules import Broken, check_tensors
from edge_sdk.calibration import graphs
from edge_sdk.calibration.sizes import check_constants
from edge_sdk.errors import BadInput
from edge_sdk.extras import need, vendor_errors
from edge_sdk.runtimes.onnx_file import MAX_RANK, OnnxFacts, read_standard
from edge_sdk.shown import shown

MAX_BYTES = 2**31 - 1
"""Protobuf's own limit for one message, which a graph with its weights inside is."""


def read_model(path: Path) -> tuple[bytes, OnnxFacts]:
    """The file's graph with its weights inside, and what it takes and answers.

    Weights that the file keeps in others are read from beside it: from files in its own folder or below, never through
    a link or a path that leads out. Shapes of outputs that the file leaves out are inferred. Raises BadInput: no such
    file, not ONNX, an opset that is not read, too large, an operator that is not standard, an input that no runtime
    here takes or no bundle holds.
    """
    data = _bytes(path)
    onnx = need("onnx", extra="quantize")
    model = onnx.ModelProto()
    with vendor_errors("onnx", where=shown(path), hint="Name an ONNX file"):
        model.ParseFromString(data)
    outside = [tensor for tensor in graphs.tensors(model) if onnx.external_data_helper.uses_external_data(tensor)]
    if outside:
        data = _inlined(onnx, path, model, outside)
    facts = _facts(data, path)
    model = graphs.checked(model, where=shown(path))  # before sizes are taken from what the weights claim
    if facts.unshaped:
        data = model.SerializeToString()
        facts = _facts(data, path)
    if facts.unshaped:
        raise BadInput(
            f"it does not say how many axes its output {shown(facts.unshaped[0])} has, and nothing tells it",
            where=shown(path), hint="Export the model again, with the shapes of its outputs",
        )  # fmt: skip
    _check_tensors(facts, path)
    check_constants(model)
    return data, facts


def _check_tensors(facts: OnnxFacts, path: Path) -> None:
    """Raises BadInput, before anything is computed, for inputs and outputs that no bundle can hold."""
    for spec in (*facts.inputs, *facts.outputs):
        if shown(spec.name) != spec.name:
            raise BadInput(
                f"the name of its tensor {shown(spec.name)[:80]!r} holds control characters", where=shown(path),
                hint="Export the model with plain names of its inputs and outputs",
            )  # fmt: skip
        if len(spec.shape) > MAX_RANK:
            raise BadInput(
                f"its tensor {spec.name[:80]} has {len(spec.shape)} axes, a bundle holds at most {MAX_RANK}",
                where=shown(path), hint="Join axes with a Reshape inside the model",
            )  # fmt: skip
    try:
        check_tensors("model", facts.inputs, facts.outputs)
    except Broken as exc:
        raise BadInput(str(exc), where=shown(path), hint="Export the model with plain names and shapes") from exc


def _facts(data: bytes, path: Path) -> OnnxFacts:
    try:
        return read_standard(data, name=shown(path.name))
    except BadInput as exc:
        raise BadInput(str(exc.args[0]), where=shown(path), hint=exc.hint) from exc


def _bytes(path: Path) -> bytes:
    if os.path.isfile(path) and (size := path.stat().st_size) > MAX_BYTES:
        raise BadInput(f"it has {size} bytes, an ONNX file has at most {MAX_BYTES}", where=shown(path))
    return plain_file.read(path, what="an ONNX file")


def _inlined(onnx: Any, path: Path, model: Any, outside: list[Any]) -> bytes:
    """The bytes of the model with every tensor of `outside` inside it."""
    total = 0
    for tensor in outside:
        file = _beside(path, {entry.key: entry.value for entry in tensor.external_data}.get("location", ""))
        total += _size(tensor, file)
        if total > MAX_BYTES:
            raise BadInput(
                f"its weights take more than {MAX_BYTES} bytes, which one graph can't hold", where=shown(path),
                hint="Split the model, or store its weights in half precision",
            )  # fmt: skip
    with vendor_errors("onnx", where=shown(path), hint="Export the model again, its weights inside"):
        for tensor in outside:
            onnx.external_data_helper.load_external_data_for_tensor(tensor, str(path.parent))
            tensor.data_location = onnx.TensorProto.DEFAULT
            del tensor.external_data[:]
        inlined: bytes = model.SerializeToString()
    return inlined


def _beside(path: Path, location: str) -> Path:
    """The file of a tensor's weights. Raises BadInput for one that is not a plain file in the model's own folder."""
    name, windows = PurePosixPath(location), PureWindowsPath(location)
    leads_out = name.is_absolute() or bool(windows.anchor) or ".." in (*name.parts, *windows.parts)
    file = path.parent / name
    links = [place for place in (file, *file.parents) if place != path.parent and path.parent in place.parents]
    # os.path: unlike the methods of Path, also of a name that is too long
    if not location or leads_out or any(os.path.islink(place) for place in links):
        raise BadInput(
            f"it keeps weights in {shown(location[:80])!r}, which is not a file in its own folder", where=shown(path),
            hint="Export the model again, its weights inside or beside it",
        )  # fmt: skip
    if not os.path.isfile(file):
        raise BadInput(
            f"it keeps weights in {shown(location[:80])}, which is not there", where=shown(path),
            hint="Copy that file beside it, or export the model again with its weights inside",
        )  # fmt: skip
    return file


def _size(tensor: Any, file: Path) -> int:
    """Bytes of a tensor in its file, as that is: what a tensor claims is not trusted."""
    stated = {entry.key: entry.value for entry in tensor.external_data}.get("length", "")
    here = file.stat().st_size
    number = stated.isdecimal() and len(stated) < 20  # Python refuses to read more than 4300 digits
    return min(int(stated), here) if number and int(stated) else here
