"""The same picture and the same weights, another score: each runtime and each caller resizes in its own way.

python samples/complaints/resized_by_hand.py
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import ours
import picture_bundle
import torch
import torch.nn.functional as F
import usual
from numpy.typing import NDArray
from picture_bundle import SIDE, Picture
from replay import Claim, Replay, Row, run

import edge_sdk
from edge_sdk import preprocess
from edge_sdk.calibration.lint.linter import lint
from edge_sdk.tasks.base import MODEL


def replay(folder: Path) -> Replay:
    """How far each score is from that of the training side, percent."""
    picture = picture_bundle.photo()
    file, plain = picture_bundle.resizing_file(*picture.shape[:2]), picture_bundle.plain_file()
    feeds, by_hand = {"image": _float(picture)}, {"image": _float(cv2.resize(picture, (SIDE, SIDE)))}
    trained = _trained(plain, feeds["image"])
    theirs = [usual.answer(file, feeds), usual.openvino_answer(file, feeds), usual.answer(plain, by_hand)]
    photo, bundle, exported = folder / "photo.png", folder / "photo.edge", picture_bundle.exported()
    cv2.imwrite(str(photo), picture)
    picture_bundle.write(bundle)
    prepared = preprocess.apply(picture, exported.preprocessing).tensor
    expected = ours.session(exported.graphs[MODEL].onnx, "onnxruntime", reference=True).run({"image": prepared})[
        "score"
    ]
    mine = [_score(bundle, photo, runtime, folder) for runtime in ("onnxruntime", "openvino")]
    off = [100 * abs(float(score[0]) / trained - 1) for score in theirs]
    our_off = [100 * abs(score / float(expected[0]) - 1) for score in mine]
    rules = [one.rule for one in lint(file, ("openvino",))]
    return Replay(
        usual="a file that resizes inside, torch's interpolate(antialias=True)",
        ours="load(bundle).predict(photo.png)",
        rows=(
            Row("score on the training side", trained, float(expected[0])),
            Row("score in ONNX Runtime is off by", off[0], our_off[0], "%"),
            Row("score in OpenVINO is off by", off[1], our_off[1], "%"),
            Row("resized by hand with cv2.resize, off by", off[2], None, "%"),
            Row("rule of edge-sdk lint that names it", ", ".join(rules) or "none", None),
        ),
        claims=(
            Claim("the usual file is right in ONNX Runtime (within 0.1 %)", off[0] < 0.1),
            Claim("and 10 % off or more in OpenVINO, without a word", off[1] >= 10),
            Claim("a caller that resizes with cv2.resize is 10 % off or more", off[2] >= 10),
            Claim("edge-sdk is within 0.1 % in both, from the encoded picture", max(our_off) < 0.1),
            Claim("edge-sdk lint names the operator", "L41" in rules),
        ),
    )


def _float(picture: Picture) -> NDArray[np.float32]:
    """(1, 3, h, w), 0 to 1."""
    return np.ascontiguousarray(picture.transpose(2, 0, 1)[None], np.float32) / 255


def _trained(plain: bytes, image: NDArray[np.float32]) -> float:
    """The score as a training script computes it: torch, and its own resize."""
    weights = {
        one.name: torch.from_numpy(onnx.numpy_helper.to_array(one).copy())
        for one in onnx.load_from_string(plain).graph.initializer
    }
    with torch.inference_mode():
        x = F.interpolate(torch.from_numpy(image), size=(SIDE, SIDE), mode="bilinear", antialias=True)
        x = F.conv2d(x, weights["conv1/weight"], weights["conv1/bias"], padding=1).relu()
        x = F.conv2d(x, weights["conv2/weight"], weights["conv2/bias"], padding=1)
        return float((x * x).mean(1).max())


def _score(bundle: Path, photo: Path, runtime: str, folder: Path) -> float:
    options = {"runtime": runtime, "threads": 1, "cache": folder / "cache"}
    with edge_sdk.load_as(edge_sdk.AnomalyDetector, bundle, **options) as detector:
        return float(detector.predict(photo).score)


if __name__ == "__main__":
    run(__file__, replay)
