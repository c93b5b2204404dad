"""A network that divides by the standard deviation of its picture answers NaN to a black one in half precision.

python samples/complaints/nan_in_half.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import ours
import torch
import usual
from networks import Samples, Sketch
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from replay import Claim, Replay, Row, run

EPSILON = 1e-8
"""Keeps the division from zero in float32; the smallest half number is 6e-8."""
SIDE = 16


def replay(folder: Path) -> Replay:
    """NaN of a black picture, and the error of a textured one, of `module.half()` and of the fp16 variant."""
    graph, weights = normalised()
    samples = Samples((1, 3, SIDE, SIDE), 4)
    black, textured = np.zeros((1, 3, SIDE, SIDE), np.float32), samples[0]["image"]
    mine = ours.graph_of(ours.quantized(graph, samples, "fp16"), "fp16", "onnxruntime")
    converted = _converted(graph)
    answers = {
        name: (in_torch_half(weights, picture), _in_stored_types(mine, picture))
        for name, picture in (("black", black), ("textured", textured))
    }
    wanted = usual.answer(graph, {"image": textured})
    nan = [_nan(got) for got in answers["black"]]
    of_converted = _nan(usual.answer(converted, {"image": black}, as_written=True))
    errors = [usual.relative_error(got, wanted) for got in answers["textured"]]
    return Replay(
        usual="module.half()",
        ours="quantize, fp16",
        rows=(
            Row("NaN in the output, black picture", *nan, "%"),
            Row("error of a textured picture", *errors, "%"),
            Row(f"epsilon {EPSILON:g} is", float(np.float16(EPSILON)), _epsilon(mine)),
            Row("NaN, black picture, onnxruntime.transformers.float16", of_converted, None, "%"),
            Row("epsilon there is", _epsilon(converted), None),
        ),
        claims=(
            Claim("the usual module answers NaN everywhere to a black picture", nan[0] == 100),
            Claim("that of edge-sdk has no NaN", nan[1] == 0),
            Claim("and is within 1 % of float32 elsewhere", errors[1] < 1),
        ),
    )


def normalised() -> tuple[bytes, NDArray[np.float32]]:
    """(x - mean) / sqrt(variance + EPSILON) by channel, and a convolution; the graph and the weight of that."""
    g = Sketch("normalised")
    weight = g.rng.standard_normal((8, 3, 3, 3)).astype(np.float32) * 0.2
    x = g.input("image", "float32", [1, 3, SIDE, SIDE])
    centred = g.node("Sub", [x, g.mean(x, [2, 3], name="mean", keep=True)], name="centred")
    variance = g.mean(g.node("Mul", [centred, centred], name="square"), [2, 3], name="variance", keep=True)
    deviation = g.node("Sqrt", [g.arithmetic("Add", variance, EPSILON, name="guarded")], name="deviation")
    g.conv(g.node("Div", [centred, deviation], name="unit"), weight, np.zeros(8), name="map")
    g.output("map", "float32", [1, 8, SIDE - 2, SIDE - 2])
    return g.finish(), weight


def in_torch_half(weight: NDArray[np.float32], picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same network as a torch module, after `.half()`."""

    class Normalised(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = torch.nn.Conv2d(3, 8, 3, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            centred = x - x.mean((2, 3), keepdim=True)
            variance = (centred * centred).mean((2, 3), keepdim=True)
            return self.map(centred / torch.sqrt(variance + EPSILON))

    module = Normalised()
    module.map.weight.data = torch.from_numpy(weight)
    with torch.inference_mode():
        return module.half()(torch.from_numpy(picture).half()).float().numpy()


def _converted(graph: bytes) -> bytes:
    usual.onnxruntime()
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with usual.without_advice():
        made = convert_float_to_float16(onnx.load_from_string(graph), keep_io_types=True)
    return bytes(made.SerializeToString())


def _in_stored_types(graph: bytes, picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Every operator computed in the types that the graph states, as a GPU does: runtimes on a CPU compute half graphs
    in float32 and hide what is lost."""
    with np.errstate(all="ignore"):
        return np.asarray(ReferenceEvaluator(onnx.load_from_string(graph)).run(None, {"image": picture})[0], np.float32)


def _nan(output: NDArray[np.float32]) -> float:
    """Share of the values, percent."""
    return 100 * float(np.isnan(output).mean())


def _epsilon(graph: bytes) -> float:
    """The scalar constant of a graph that is added to the variance."""
    model = onnx.load_from_string(graph)
    scalars = [onnx.numpy_helper.to_array(one) for one in model.graph.initializer if np.prod(one.dims) == 1]
    return float(min(one.item() for one in scalars if one.dtype.kind == "f"))


if __name__ == "__main__":
    run(__file__, replay)
