"""An ONNX file as a user has it becomes the bytes of one graph, weights and all. Knows no data and no task."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edge_sdk import plain_file
from edge_sdk.bundle.rules import Broken, check_tensors
from edge_sdk.calibration import graphs
from edge_sdk.calibration.rewrite.widen import types_in, widened
from edge_sdk.calibration.sizes import check_constants
from edge_sdk.errors import BadInput
from edge_sdk.export.models.external import MAX_BYTES, check_memory, read_into
from edge_sdk.extras import need, vendor_errors
from edge_sdk.runtimes.onnx_file import MAX_RANK, OnnxFacts, read_standard
from edge_sdk.shown import shown
from edge_sdk.tensors import BATCH


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class UserModel:
    """A float graph that a bundle can hold. onnx: all of it, weights inside. facts: what it takes and answers.

    metadata: the file's own text by key. where: its file, for messages. notes: what was changed, for people.
    """

    onnx: bytes
    facts: OnnxFacts
    where: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def free_sides(self) -> bool:
        """Whether an input leaves another axis than the batch free."""
        return any(axis != BATCH for spec in self.facts.inputs for axis in spec.axes)


def read_model(path: Path, *, memory: int | None = None) -> UserModel:
    """The file's graph with its weights inside, and what it takes and answers.

    Weights that the file keeps in others are read from beside it: see `external.read_into`, also for `memory`. Raises
    BadInput: no such file, not ONNX, larger than one graph or the memory, and as `checked_model`.
    """
    data = _bytes(path, memory)
    onnx = need("onnx", extra="quantize")
    model = onnx.ModelProto()
    with vendor_errors("onnx", where=shown(path), hint="Name an ONNX file"):
        model.ParseFromString(data)
    outside = [tensor for tensor in graphs.tensors(model) if onnx.external_data_helper.uses_external_data(tensor)]
    if outside:
        read_into(path, outside, memory=memory)
        with vendor_errors("onnx", where=shown(path), hint="Export the model again, its weights inside"):
            data = model.SerializeToString()
    return checked_model(model, data, where=shown(path))


def checked_model(model: Any, data: bytes, *, where: str) -> UserModel:
    """A model, whose bytes are `data`, once it is found to be one that a bundle can hold.

    Half and double precision become float32 (`calibration.rewrite.widen`); shapes of outputs that it leaves out are
    inferred. Raises BadInput: an opset that is not read, not valid, an operator that is not standard, an input that no
    runtime here takes or no bundle holds.
    """
    notes: tuple[str, ...] = ()
    if others := types_in(model):
        graphs.check_types(model, where=where)
        model = widened(graphs.checked(model, where=where), where=where)
        data = model.SerializeToString()
        notes = (f"{where}: {' and '.join(others)} became float32, in its inputs and outputs, too",)
    if graphs.free_axes(model):
        data = model.SerializeToString()
    facts = _facts(data, where)
    model = graphs.checked(model, where=where)  # before sizes are taken from what the weights claim
    if facts.unshaped:
        data = model.SerializeToString()
        facts = _facts(data, where)
    if facts.unshaped:
        raise BadInput(
            f"it does not say how many axes its output {shown(facts.unshaped[0])} has, and nothing tells it",
            where=where, hint="Export the model again, with the shapes of its outputs",
        )  # fmt: skip
    _check_tensors(facts, where)
    check_constants(model)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    return UserModel(onnx=data, facts=facts, where=where, metadata=metadata, notes=notes)


def changed(model: UserModel, data: bytes, *, note: str = "") -> UserModel:
    """The same model with another graph, which was made of its own here."""
    return replace(
        model, onnx=data, facts=_facts(data, model.where), notes=(*model.notes, note) if note else model.notes
    )  # fmt: skip


def _check_tensors(facts: OnnxFacts, where: str) -> None:
    """Raises BadInput, before anything is computed, for inputs and outputs that no bundle can hold."""
    for spec in (*facts.inputs, *facts.outputs):
        if shown(spec.name) != spec.name:
            raise BadInput(
                f"the name of its tensor {shown(spec.name)[:80]!r} holds control characters", where=where,
                hint="Export the model with plain names of its inputs and outputs",
            )  # fmt: skip
        if len(spec.shape) > MAX_RANK:
            raise BadInput(
                f"its tensor {spec.name[:80]} has {len(spec.shape)} axes, a bundle holds at most {MAX_RANK}",
                where=where, hint="Join axes with a Reshape inside the model",
            )  # fmt: skip
    try:
        check_tensors("model", facts.inputs, facts.outputs)
    except Broken as exc:
        raise BadInput(str(exc), where=where, hint="Export the model with plain names and shapes") from exc


def _facts(data: bytes, where: str) -> OnnxFacts:
    try:
        return read_standard(data, name=Path(where).name)
    except BadInput as exc:
        raise BadInput(str(exc.args[0]), where=where, hint=exc.hint) from exc


def _bytes(path: Path, memory: int | None) -> bytes:
    if os.path.isfile(path):
        if (size := path.stat().st_size) > MAX_BYTES:
            raise BadInput(f"it has {size} bytes, an ONNX file has at most {MAX_BYTES}", where=shown(path))
        check_memory(size, where=shown(path), memory=memory)
    return plain_file.read(path, what="an ONNX file")
