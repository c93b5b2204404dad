"""Small float networks as exporters write them, and pictures on disk: what users bring to `quantize`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_sdk.cli import main

SIDE = 16


def classifier(
    shape: Sequence[int | str] = ("N", 3, SIDE, SIDE), *, classes: int = 5, opset: int = 17, name: str = "image",
    first: Sequence[onnx.NodeProto] = (), reads: str = "",
) -> onnx.ModelProto:  # fmt: skip
    """Two convolutions and a head. first: nodes before them, whose last output `reads` names."""
    rng = np.random.default_rng(3)
    channels = next((size for size in (shape[1], shape[-1]) if size in (1, 3)), 3)

    def weight(called: str, *sizes: int) -> onnx.TensorProto:
        return numpy_helper.from_array((rng.normal(size=sizes) * 0.3).astype(np.float32), called)

    nodes = [
        *first,
        helper.make_node("Conv", [reads or name, "w1"], ["c1"], "conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], "conv2", strides=[2, 2]),
        helper.make_node("Relu", ["c2"], ["r2"], "relu2"),
        helper.make_node("GlobalAveragePool", ["r2"], ["pool"], "pool"),
        helper.make_node("Flatten", ["pool"], ["flat"], "flat"),
        helper.make_node("Gemm", ["flat", "w3"], ["logits"], "head"),
    ]
    graph = helper.make_graph(
        nodes, "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [shape[0], classes])],
        [weight("w1", 8, int(channels), 3, 3), weight("w2", 16, 8, 3, 3), weight("w3", 16, classes)],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(made)
    return made


def photos(folder: Path, count: int = 6, *, height: int = 24, width: int = 40) -> Path:
    """Different pictures; the second half in a subfolder."""
    rng = np.random.default_rng(5)
    (folder / "more").mkdir(parents=True)
    for number in range(count):
        small = rng.integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
        place = folder / "more" if number >= count // 2 else folder
        cv2.imwrite(str(place / f"{number}.png"), cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))
    return folder


def edge(*words: str) -> int:
    """Exit code of one call of the command line."""
    with pytest.raises(SystemExit) as left:
        main.run([*words])
    return int(left.value.code or 0)
