"""What pictures are compared by: a classifier trained on them, a pretrained trunk, or a graph of the user's own."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_sdk.errors import BadInput
from edge_sdk.export.models.model import UserModel, read_model
from edge_sdk.export.tasks.generation.measures import Features
from edge_sdk.runtimes import registry
from edge_sdk.runtimes.protocol import CompileOptions, Session
from edge_sdk.shown import shown
from edge_sdk.tensors import BATCH, TensorSpec

CLASSIFIER, TRUNK = "classifier", "trunk"
MOST_FEATURES = 4096
"""Numbers of one picture: their covariance is a square of that."""
_BATCH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Eyes:
    """name: CLASSIFIER, TRUNK, the name of a file, or "" = whichever suits the pictures. model: the file's graph."""

    name: str = ""
    model: UserModel | None = None

    @property
    def digest(self) -> str:
        """Of what was stated."""
        held = b"" if self.model is None else self.model.onnx
        return hashlib.sha256(self.name.encode("utf-8", "surrogateescape") + b"\0" + held).hexdigest()


def stated(word: str | None) -> Eyes:
    """What `--features` names. Raises BadInput for a file that is no such graph."""
    if word is None or word in (CLASSIFIER, TRUNK):
        return Eyes(name=word or "")
    model = read_model(Path(word))
    _taken(model)
    return Eyes(name=Path(word).name, model=model)


def _taken(model: UserModel) -> TensorSpec:
    """The input that takes pictures. Raises BadInput for a graph that takes none, or answers no numbers of each."""
    hint = (
        "Features come from a graph that takes float32 (N, 1 or 3, H, W) in [-1, 1] or uint8 (N, H, W, 1 or 3), and "
        f"answers at most {MOST_FEATURES} floats of each picture; one in front of any head that saturates"
    )
    inputs = model.facts.inputs
    if len(inputs) != 1:
        raise BadInput(f"it has {len(inputs)} inputs, and pictures alone are there", where=model.where, hint=hint)
    (spec,), out = inputs, model.facts.outputs[0]
    place = {"float32": 1, "uint8": 3}.get(spec.dtype)
    if place is None or len(spec.shape) != 4 or spec.shape[place] not in (1, 3) or spec.shape[0] != BATCH:
        raise BadInput(
            f"its input {shown(spec.name)}, {spec.dtype} {spec.shape}, takes no batch of pictures", where=model.where,
            hint=hint,
        )  # fmt: skip
    if out.dtype != "float32" or len(out.shape) not in (2, 4) or out.shape[0] != BATCH:
        raise BadInput(
            f"its first output {shown(out.name)}, {out.dtype} {out.shape}, is not a row of floats for each picture",
            where=model.where, hint=hint,
        )  # fmt: skip
    return spec


class GraphEyes:
    """Features of a user's graph; of maps the mean of each channel. side: of the pictures, px."""

    def __init__(self, model: UserModel, side: int) -> None:
        self._model, self._spec = model, _taken(model)
        axes = {axis: _BATCH if axis == BATCH else side for axis in self._spec.axes}
        options = CompileOptions(graph_name=Path(model.where).name, axes=axes)
        self._session: Session = registry.runtime("onnxruntime").compile(model.onnx, options)

    def features(self, pictures: NDArray[np.float32]) -> Features:
        """(n, numbers) of pictures (N, C, H, W) in [-1, 1]. Raises BadInput for answers that are no features."""
        parts = [self._of(pictures[at : at + _BATCH]) for at in range(0, len(pictures), _BATCH)]
        found = np.concatenate(parts)
        if found.shape[1] > MOST_FEATURES or not np.isfinite(found).all():
            raise BadInput(
                f"it answers {found.shape[1]} numbers of each picture, at most {MOST_FEATURES} are compared"
                if found.shape[1] > MOST_FEATURES
                else "it answers NaN or infinity for some pictures",
                where=self._model.where,
            )  # fmt: skip
        return found

    def _of(self, pictures: NDArray[np.float32]) -> Features:
        spec, planes = self._spec, pictures.transpose(0, 2, 3, 1)
        first = spec.dtype == "float32"
        channels = spec.shape[1] if first else spec.shape[3]
        planes = np.stack([_sized(one, spec.shape[2:4] if first else spec.shape[1:3]) for one in planes])
        if channels == 3:
            planes = np.broadcast_to(planes, (*planes.shape[:3], 3))
        elif planes.shape[3] == 3:
            planes = planes.mean(axis=3, keepdims=True)
        fed = (
            np.ascontiguousarray(planes.transpose(0, 3, 1, 2), np.float32)
            if first
            else np.rint((planes + 1.0) * 127.5).astype(np.uint8)
        )
        (out, *_) = self._session.run({spec.name: fed}).values()
        answer = np.asarray(out, np.float32)
        return answer.mean(axis=(2, 3)) if answer.ndim == 4 else answer


def _sized(picture: NDArray[np.float32], wanted: tuple[int | str, ...]) -> NDArray[np.float32]:
    """(H, W, C) at the sides that a graph states; free ones stay."""
    height, width = (
        side if isinstance(side, int) else own for side, own in zip(wanted, picture.shape[:2], strict=True)
    )
    if (height, width) == picture.shape[:2]:
        return picture
    scaled = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(scaled, np.float32).reshape(height, width, picture.shape[2])
