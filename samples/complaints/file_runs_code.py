"""A checkpoint runs its author's code when it is loaded, and nothing notices an altered ONNX file.

    python samples/complaints/file_runs_code.py

The code that runs creates an empty file in a temporary folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import picture_bundle
import torch
import usual
from networks import Samples
from replay import Claim, Replay, Row, run

import edge_sdk
from edge_sdk.errors import BadInput
from edge_sdk.export import tensors_file
from edge_sdk.export.models.model import read_model

SECRET = b"another program's file".ljust(64)
ZEROS = {"image": np.zeros(16, np.float32)}
RAN, REFUSED, READ = "its code ran", "refused", "read"


def replay(folder: Path) -> Replay:
    """What each reader does with a hostile file of each kind."""
    checkpoint, marker = folder / "weights.pth", folder / "marker"
    torch.save({"weight": torch.zeros(2), "more": _Touches(marker)}, checkpoint)
    code = {
        "usual": _outcome(lambda: torch.load(checkpoint, weights_only=False), marker),
        "default": _outcome(lambda: torch.load(checkpoint), marker),
        "ours": _outcome(lambda: tensors_file.weights_of(checkpoint), marker, refusal=BadInput),
    }
    (folder / "secret").write_bytes(SECRET)
    (folder / "model").mkdir()
    os.link(folder / "secret", folder / "model" / "linked")
    outside, linked = (
        _reads(folder / "model" / name, place) for name, place in (("a.onnx", "../secret"), ("b.onnx", "linked"))
    )
    ours_outside, ours_linked = (
        _outcome(lambda file=file: read_model(file), refusal=BadInput) for file in (outside, linked)
    )
    changed, our_change = _changed_bit(folder)
    return Replay(
        usual="torch.load(weights_only=False), InferenceSession",
        ours="weights_of, quantize, load",
        rows=(
            Row("a checkpoint with a call in its pickle", code["usual"], code["ours"]),
            Row("the same by torch.load's default", code["default"], None),
            Row("an ONNX file whose weights lie in ../secret", _outcome(lambda: _secret(outside)), ours_outside),
            Row("weights in a hard link to the secret", _outcome(lambda: _secret(linked)), ours_linked),
            Row("a bias with one changed bit", changed, our_change),
        ),
        claims=(
            Claim("the usual way of loading a checkpoint runs its code", code["usual"] == RAN),
            Claim("an altered ONNX file is loaded, and its score is another", changed.startswith("score")),
            Claim("edge-sdk refuses each of them", {code["ours"], ours_outside, ours_linked, our_change} == {REFUSED}),
        ),
    )  # fmt: skip


class _Touches:
    """An object whose pickle is a call: whoever unpickles it creates the file."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, int]]:
        return os.open, (str(self._marker), os.O_CREAT | os.O_WRONLY)


def _outcome(read: Callable[[], Any], marker: Path | None = None, *, refusal: type[Exception] = Exception) -> str:
    """What became of one try. refusal: the error that counts as one; vendors raise many types. marker: of the code."""
    try:
        read()
        out = READ
    except refusal:
        out = REFUSED
    if marker is None or not marker.exists():
        return out
    marker.unlink()
    return RAN


def _reads(file: Path, place: str) -> Path:
    """An ONNX file that adds what lies at `place` to its input."""
    helper, tensor = onnx.helper, onnx.TensorProto(name="w", dims=[16], data_type=onnx.TensorProto.FLOAT)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", place), ("offset", "0"), ("length", str(len(SECRET)))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [16]) for name in ("image", "sum")]
    graph = helper.make_graph(
        [helper.make_node("Add", ["image", "w"], ["sum"], name="add")], "g", ends[:1], ends[1:], [tensor]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    file.write_bytes(model.SerializeToString())
    return file


def _secret(file: Path) -> None:
    session = usual.onnxruntime().InferenceSession(file, providers=["CPUExecutionProvider"])
    if session.run(None, ZEROS)[0].tobytes() != SECRET:
        raise ValueError("it answers something else")


def _changed_bit(folder: Path) -> tuple[str, str]:
    """An ONNX file and a bundle of the same network, each with one bit of one bias turned over."""
    file, bundle = picture_bundle.plain_file(), folder / "photo.edge"
    bias = next(one for one in onnx.load_from_string(file).graph.initializer if one.name == "conv2/bias").raw_data
    side = picture_bundle.SIDE
    feeds = Samples((1, 3, side, side), 1)[0]
    before, after = (float(usual.answer(data, feeds)[0]) for data in (file, _turned(file, bias)))
    picture_bundle.write(bundle)
    bundle.write_bytes(_turned(bundle.read_bytes(), bias))
    theirs = f"score {before:.3g} became {after:.3g}" if before != after else "not noticed"
    try:
        edge_sdk.load(bundle, cache=folder / "cache").close()
    except BadInput:
        return theirs, REFUSED
    return theirs, READ


def _turned(data: bytes, value: bytes) -> bytes:
    """`data` with one bit of the first float32 of `value`, which it holds, turned over: a bit of the exponent."""
    out = bytearray(data)
    out[data.index(value) + 3] ^= 0x02
    return bytes(out)


if __name__ == "__main__":
    run(__file__, replay)
