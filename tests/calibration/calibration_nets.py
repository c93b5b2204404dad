"""Small float nets in the shapes that calibration meets: pools, residual sums, depthwise, a float tail."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edge_sdk.runtimes.probe import cpu

Feeds = dict[str, NDArray[Any]]


class Builder:
    """Appends nodes; every method returns the name of the tensor that it made."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng, self.nodes, self.constants, self._count = rng, [], [], 0

    def constant(self, value: Any) -> str:
        self._count += 1
        self.constants.append(numpy_helper.from_array(np.asarray(value), f"c{self._count}"))
        return f"c{self._count}"

    def op(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        self._count += 1
        name = name or f"{kind}_{self._count}"
        self.nodes.append(helper.make_node(kind, list(inputs), [f"t{self._count}"], name=name, **attributes))
        return f"t{self._count}"

    def conv(
        self, x: str, before: int, after: int, k: int = 3, *, pad: int = 0, stride: int = 1, group: int = 1
    ) -> str:
        fan = before // group * k * k
        weight = self.rng.standard_normal((after, before // group, k, k)) * np.sqrt(2 / fan)
        bias = self.rng.standard_normal(after) * 0.2
        return self.op(
            "Conv",
            x,
            self.constant(weight.astype(np.float32)),
            self.constant(bias.astype(np.float32)),
            kernel_shape=[k, k],
            pads=[pad] * 4,
            strides=[stride] * 2,
            group=group,
        )

    def relu(self, x: str) -> str:
        return self.op("Relu", x)

    def clip(self, x: str, low: float = 0.0, high: float = 6.0) -> str:
        # both spellings of a bound occur in exported graphs: rank 0 and [1]
        return self.op("Clip", x, self.constant(np.float32(low)), self.constant(np.full(1, high, np.float32)))

    def average(self, x: str) -> str:
        return self.op("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])

    def maximum(self, x: str) -> str:
        return self.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])

    def picture(self, *, normalised: bool = False) -> str:
        x = self.op("Transpose", self.op("Cast", "image", to=TensorProto.FLOAT), perm=[0, 3, 1, 2])
        if not normalised:
            return x
        scale, shift = (np.full((1, 3, 1, 1), v, np.float32) for v in (1 / 128, -127 / 128))
        return self.op("Add", self.op("Mul", x, self.constant(scale)), self.constant(shift))

    def model(self, outputs: dict[str, str], *, size: int = 24, batch: int | str = "N", opset: int = 17) -> ModelProto:
        """outputs: name -> tensor."""
        nodes = [*self.nodes, *(helper.make_node("Identity", [t], [n], name=f"{n}_out") for n, t in outputs.items())]
        graph = helper.make_graph(
            nodes,
            "net",
            [helper.make_tensor_value_info("image", TensorProto.UINT8, [batch, size, size, 3])],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        model.ir_version = 8
        return onnx.shape_inference.infer_shapes(model)


TAIL = ("difference", "square", "mean")


def pdn(seed: int = 0, *, width: int = 16, first_scale: float = 0.02) -> ModelProto:
    """Two stacks Conv, Relu, AveragePool, Conv on the raw picture, and the map of their squared difference."""
    b = Builder(np.random.default_rng(seed))
    raw = b.picture()
    x = b.op("Mul", raw, b.constant(np.float32(first_scale)), name="shrink") if first_scale != 1.0 else raw
    ends = []
    for _ in range(2):
        h = b.average(b.relu(b.conv(x, 3, width, 4)))
        h = b.relu(b.conv(h, width, width, 3))
        ends.append(b.conv(h, width, 8, 1))
    return b.model({"map": tail(b, *ends)})


def raw_pdn(seed: int = 0, *, width: int = 16) -> ModelProto:
    """The same with the scale folded into the first convolutions, which read the raw picture."""
    model = pdn(seed, width=width, first_scale=1.0)
    for weight in [t for t in model.graph.initializer if list(t.dims[1:]) == [3, 4, 4]]:
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(0.02), weight.name))
    return model


def mobile(seed: int = 0) -> ModelProto:
    """A trunk with ReLU6, depthwise convolutions and a residual sum; a student that reads an early block."""
    b = Builder(np.random.default_rng(seed))
    h = b.clip(b.conv(b.picture(normalised=True), 3, 8, 3, pad=1, stride=2))
    y = b.clip(b.conv(h, 8, 24, 1))
    y = b.clip(b.conv(y, 24, 24, 3, pad=1, group=24))
    early = b.op("Add", b.conv(y, 24, 8, 1), h)
    y = b.clip(b.conv(early, 8, 24, 1))
    y = b.clip(b.conv(y, 24, 24, 3, pad=1, stride=2, group=24))
    deep = b.conv(y, 24, 12, 1)
    student = b.conv(b.relu(b.conv(early, 8, 16, 3, pad=1, stride=2)), 16, 12, 1)
    return b.model({"map": tail(b, deep, student)})


def tail(b: Builder, left: str, right: str) -> str:
    difference = b.op("Sub", left, right, name="difference")
    square = b.op("Mul", difference, difference, name="square")
    return b.op("ReduceMean", square, name="mean", axes=[1], keepdims=1)


def any_net(seed: int) -> ModelProto:
    """A random chain of what may stand between two int8 convolutions."""
    rng = np.random.default_rng(seed)
    b = Builder(rng)
    x, channels, pools = b.picture(normalised=bool(rng.integers(2))), 3, 0
    for _ in range(int(rng.integers(2, 5))):
        after = int(rng.integers(2, 7)) * 2
        pad = 1 if pools == 2 else int(rng.integers(2))  # the picture must not shrink to nothing
        x, channels = b.conv(x, channels, after, int(rng.choice([1, 3])), pad=pad), after
        match rng.integers(7):
            case 0:
                x = b.relu(x)
            case 1:
                x = b.clip(x, 0.0, float(rng.uniform(0.5, 6.0)))
            case 2:
                x = b.clip(x, float(rng.uniform(-2, 0.2)), float(rng.uniform(0.5, 3.0)))
            case 3:
                x = b.op("LeakyRelu", x, alpha=0.1)
            case 4:
                x = b.op("Add", b.conv(x, channels, channels, 3, pad=1), x)
            case 5:
                x = b.relu(b.op("Add", b.conv(x, channels, channels, 1), b.relu(x)))
            case _:
                x = b.op("Concat", b.relu(x), b.conv(x, channels, 4, 1), axis=1)
                channels += 4
        if rng.integers(3) == 0 and pools < 2:
            pools += 1
            x = b.average(x) if rng.integers(2) else b.maximum(x)
    return b.model({"out": b.conv(x, channels, 4, 1)}, size=20)


def pictures(count: int, size: int = 24, seed: int = 1) -> list[Feeds]:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 1, size // 4, size // 4, 3)).repeat(4, axis=2).repeat(4, axis=3)
    return [{"image": np.clip(c + rng.normal(0, 9, c.shape), 0, 255).astype(np.uint8)} for c in coarse]


def run(graph: bytes, feeds: Feeds, *, optimised: bool = False) -> dict[str, NDArray[Any]]:
    """ONNX Runtime on one thread; without optimisation it is the standard to the letter."""
    session = _session(graph, optimised=optimised)
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds)))


def optimised_ops(graph: bytes, folder: Any) -> Counter[str]:
    """Operator types after ONNX Runtime's optimiser: what it will really run."""
    file = folder / "optimised.onnx"
    _session(graph, optimised=True, saved=str(file))
    return Counter(n.op_type for n in onnx.load(file).graph.node)


def _session(graph: bytes, *, optimised: bool, saved: str = "") -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimised else level.ORT_DISABLE_ALL
    if not cpu().adds_in_32_bits:  # as the product does: 16-bit sums of wide weights saturate
        options.add_session_config_entry("session.x64quantprecision", "1")
    if saved:
        options.optimized_model_filepath = saved
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def relative(got: NDArray[Any], wanted: NDArray[Any]) -> float:
    return float(np.linalg.norm(got - wanted) / np.linalg.norm(wanted))
