"""Random float graphs as users' tools write them, and what `quantize` makes of each. Seeded; knows no test.

A graph is a chain of blocks on pictures (1, C, H, W) or on rows (1, T, D): convolutions of all kinds, attention, gates,
concats, pools, resizes, subgraphs, several inputs and outputs, opsets 9 to 24, nodes without names.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edge_sdk.calibration import Quantized, QuantizeOptions, Variant, quantize
from edge_sdk.calibration.trials import ONE, Trials
from edge_sdk.errors import EdgeError
from edge_sdk.export.tasks.base import TOLERANCES
from edge_sdk.runtimes import registry
from edge_sdk.runtimes.probe import cpu
from edge_sdk.runtimes.protocol import CompileOptions

Feeds = dict[str, NDArray[Any]]
OPSETS = (9, 11, 12, 13, 15, 17, 17, 17, 18, 19, 21, 22, 24)
TOLERANCE = TOLERANCES["int8"].relative
"""Of the largest value: how far OpenVINO's answer may be from ONNX semantics to the letter."""
ONE_STEP_A_LAYER = 0.15
"""The same for onnxruntime's int8 kernels: a tie of a rounding that falls the other way in a net of few channels is
seen in the output. A wrong kernel is off by the signal itself."""
SAMPLES, FRESH = 8, 16


class Net:
    """Appends nodes. `x` is the current tensor, `shape` its sizes."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.opset = int(self.rng.choice(OPSETS))
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[tuple[str, int]] = []
        self.functions: list[Any] = []
        self.halves = self.rng.random() < 0.1
        self.x, self.shape = "", ()
        self._count = 0

    # ---- pieces

    def name(self) -> str:
        self._count += 1
        return f"t{self._count}"

    def constant(self, value: Any) -> str:
        name = self.name()
        array = np.asarray(value)
        if self.halves and array.dtype == np.float32 and array.size > 8:  # weights in half precision behind a Cast
            with np.errstate(over="ignore"):  # a mask of -1e9 is one of -inf in half
                self.constants.append(numpy_helper.from_array(array.astype(np.float16), f"{name}_half"))
            self.nodes.append(helper.make_node("Cast", [f"{name}_half"], [name], f"cast_{name}", to=1))
        else:
            self.constants.append(numpy_helper.from_array(array, name))
        return name

    def op(self, kind: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any) -> str:
        names = [self.name() for _ in range(outputs)]
        self.nodes.append(
            helper.make_node(kind, list(inputs), names, f"{kind}_{self._count}", domain=domain or None, **attributes)
        )
        return names[0]

    def weight(self, *shape: int, fan: int) -> NDArray[np.float32]:
        spread = np.exp(self.rng.normal(0, 0.4, (shape[0], *[1] * (len(shape) - 1))))  # channels differ
        return (self.rng.standard_normal(shape) * spread * np.sqrt(1.5 / fan)).astype(np.float32)

    def axes(self, kind: str, x: str, axes: list[int], **attributes: Any) -> str:
        """ReduceMean, ReduceSum, Squeeze ...: axes are an attribute or an input, by opset."""
        since = {"ReduceMean": 18, "ReduceMax": 18, "ReduceSum": 13, "Squeeze": 13, "Unsqueeze": 13}[kind]
        if self.opset >= since:
            return self.op(kind, x, self.constant(np.array(axes)), **attributes)
        return self.op(kind, x, axes=axes, **attributes)

    def clip(self, x: str, low: float, high: float) -> str:
        if self.opset < 11:
            return self.op("Clip", x, min=low, max=high)
        return self.op("Clip", x, self.constant(np.float32(low)), self.constant(np.float32(high)))

    def activate(self, x: str) -> str:
        kinds: list[Callable[[], str]] = [
            lambda: self.op("Relu", x), lambda: self.op("Relu", x), lambda: self.clip(x, 0.0, 6.0),
            lambda: self.op("LeakyRelu", x, alpha=0.1), lambda: self.op("Sigmoid", x), lambda: self.op("Tanh", x),
            lambda: self.op("Mul", x, self.op("Sigmoid", x)), lambda: self.op("Elu", x),
            lambda: self.op("Mul", x, self.op("HardSigmoid", x, alpha=1 / 6, beta=0.5)), lambda: self.gelu(x),
            lambda: self.op("PRelu", x, self.constant(np.full((1,) * (len(self.shape) - 1), 0.2, np.float32))),
            lambda: x,
        ]  # fmt: skip
        if self.opset >= 14:
            kinds.append(lambda: self.op("HardSwish", x))
        if self.opset >= 20:
            kinds.append(lambda: self.op("Gelu", x))
        return kinds[self.rng.integers(len(kinds))]()

    def gelu(self, x: str) -> str:
        inner = self.op("Erf", self.op("Div", x, self.constant(np.float32(np.sqrt(2)))))
        outer = self.op("Mul", x, self.op("Add", inner, self.constant(np.float32(1))))
        return self.op("Mul", outer, self.constant(np.float32(0.5)))

    def bias(self, size: int) -> list[str]:
        values = (self.rng.standard_normal(size) * 0.2).astype(np.float32)
        kind = self.rng.integers(6)
        if kind == 0:
            return []
        if kind == 1:
            return [self.op("Reshape", self.constant(values.reshape(1, size, 1, 1)), self.constant(np.array([size])))]
        return [self.constant(values)]

    def convolve(self, x: str, before: int, after: int, k: int, *, group: int = 1, **attributes: Any) -> str:
        weight = self.constant(self.weight(after, before // group, k, k, fan=before // group * k * k))
        return self.op("Conv", x, weight, *self.bias(after), kernel_shape=[k, k], group=group, **attributes)

    # ---- blocks on pictures

    def conv(self) -> None:
        _, c, h, w = self.shape
        k = int(self.rng.choice([1, 3, 3, 5]))
        k, after = min(k, h, w), int(self.rng.integers(2, 9)) * 2
        stride = 2 if min(h, w) >= 12 and self.rng.random() < 0.3 else 1
        pad = int(self.rng.integers(k // 2 + 1))
        group = 2 if self.rng.random() < 0.15 and c % 2 == 0 else 1
        self.x = self.convolve(self.x, c, after, k, group=group, strides=[stride] * 2, pads=[pad] * 4)
        sizes = [(s + 2 * pad - k) // stride + 1 for s in (h, w)]
        self.shape = (1, after, *sizes)
        if self.rng.random() < 0.4:
            self.norm()
        self.x = self.activate(self.x)

    def depthwise(self) -> None:
        _, c, _, _ = self.shape
        self.x = self.activate(self.convolve(self.x, c, c, 3, group=c, pads=[1] * 4))

    def norm(self) -> None:
        c = self.shape[1]
        scale, var = (self.rng.uniform(0.5, 1.5, c).astype(np.float32) for _ in range(2))
        shift, mean = (self.rng.normal(0, 0.3, c).astype(np.float32) for _ in range(2))
        self.x = self.op("BatchNormalization", self.x, *map(self.constant, (scale, shift, mean, var)))

    def transposed(self) -> None:
        _, c, h, w = self.shape
        if max(h, w) > 20:
            return self.conv()
        after = int(self.rng.integers(2, 7)) * 2
        group = 2 if self.rng.random() < 0.2 and c % 2 == 0 else 1
        weight = self.constant(self.weight(c, after // group, 2, 2, fan=c // group))
        self.x = self.op("ConvTranspose", self.x, weight, *self.bias(after), strides=[2, 2], group=group)
        self.shape = (1, after, 2 * h, 2 * w)
        if self.rng.random() < 0.3:
            self.norm()
        self.x = self.activate(self.x)

    def residual(self) -> None:
        _, c, _, _ = self.shape
        inner = self.activate(self.convolve(self.x, c, c, 3, pads=[1] * 4))
        if self.rng.random() < 0.5:
            inner = self.convolve(inner, c, c, 1)
        self.x = self.activate(self.op("Add", inner, self.x))

    def concat(self) -> None:
        _, c, h, w = self.shape
        parts = [self.x] if self.rng.random() < 0.5 else []
        widths = [c] * len(parts)
        for _ in range(2):
            widths.append(int(self.rng.integers(1, 5)) * 2)
            parts.append(self.activate(self.convolve(self.x, c, widths[-1], 1)))
        self.x, self.shape = self.op("Concat", *parts, axis=1), (1, sum(widths), h, w)

    def gate(self) -> None:
        """Squeeze and excite."""
        _, c, _, _ = self.shape
        pooled = self.op("GlobalAveragePool", self.x)
        if self.rng.random() < 0.3:
            pooled = self.axes("ReduceMean", self.x, [2, 3], keepdims=1)
        squeezed = self.op("Relu", self.convolve(pooled, c, max(2, c // 2), 1))
        shut = self.convolve(squeezed, max(2, c // 2), c, 1)
        kind = self.op("Sigmoid", shut) if self.rng.random() < 0.7 else self.op("HardSigmoid", shut)
        self.x = self.op("Mul", self.x, kind)

    def pool(self) -> None:
        _, c, h, w = self.shape
        if min(h, w) < 4:
            return self.conv()
        kind = str(self.rng.choice(["MaxPool", "AveragePool"]))
        self.x, self.shape = self.op(kind, self.x, kernel_shape=[2, 2], strides=[2, 2]), (1, c, h // 2, w // 2)

    def resize(self) -> None:
        _, c, h, w = self.shape
        if max(h, w) > 16:
            return self.pool()
        mode = str(self.rng.choice(["nearest", "linear"]))
        scales = self.constant(np.array([1, 1, 2, 2], np.float32))
        if self.opset < 10:
            self.x = self.op("Upsample", self.x, scales, mode=mode)
        elif self.opset < 11:
            self.x = self.op("Resize", self.x, scales, mode=mode)
        else:
            where = "asymmetric" if mode == "nearest" else str(self.rng.choice(["half_pixel", "align_corners"]))
            more = {"nearest_mode": "floor"} if mode == "nearest" else {}
            roi = self.constant(np.zeros(0, np.float32)) if self.opset < 13 else ""
            self.x = self.op("Resize", self.x, roi, scales, mode=mode, coordinate_transformation_mode=where, **more)
        self.shape = (1, c, 2 * h, 2 * w)

    def shuffle(self) -> None:
        _, c, h, w = self.shape
        if c % 2:
            return self.conv()
        parts = self.op("Reshape", self.x, self.constant(np.array([1, 2, c // 2, h, w])))
        turned = self.op("Transpose", parts, perm=[0, 2, 1, 3, 4])
        self.x = self.op("Reshape", turned, self.constant(np.array([1, c, h, w])))

    def split(self) -> None:
        """Half of the channels go through a convolution, as in CSP networks."""
        c = self.shape[1]
        if c % 2:
            return self.conv()
        left, right = self.name(), self.name()
        sizes = [c // 2, c // 2]
        if self.opset >= 13:
            self.nodes.append(
                helper.make_node("Split", [self.x, self.constant(np.array(sizes))], [left, right], f"s_{left}", axis=1)
            )
        else:
            self.nodes.append(helper.make_node("Split", [self.x], [left, right], f"s_{left}", axis=1, split=sizes))
        done = self.activate(self.convolve(left, c // 2, c // 2, 3, pads=[1] * 4))
        self.x = self.op("Concat", done, right, axis=1)

    def pad(self) -> None:
        _, c, h, w = self.shape
        mode = str(self.rng.choice(["constant", "reflect", "edge"]))
        pads = [0, 0, 1, 1, 0, 0, 1, 1]
        if self.opset < 11:
            self.x = self.op("Pad", self.x, pads=pads, mode=mode)
        else:
            self.x = self.op("Pad", self.x, self.constant(np.array(pads)), mode=mode)
        self.shape = (1, c, h + 2, w + 2)

    def branch(self) -> None:
        """If: its branches read what only they read."""
        gain = self.constant(np.float32(self.rng.uniform(0.5, 2)))
        mean = self.axes("ReduceMean", self.x, [0, 1, 2, 3], keepdims=0)
        asked = self.op("Greater", mean, self.constant(np.float32(0)))
        branches = {}
        for part, nodes in (("then", [("Mul", [self.x, gain])]), ("else", [("Neg", [self.x])])):
            kind, reads = nodes[0]
            out = f"{part}_{self.name()}"
            value = helper.make_tensor_value_info(out, 1, None)
            body = helper.make_graph([helper.make_node(kind, reads, [out], f"n_{out}")], part, [], [value])
            branches[f"{part}_branch"] = body
        self.x = self.op("If", asked, **branches)

    def normalised(self) -> None:
        """Division by the length of a vector, with an epsilon that half precision can't hold."""
        length = self.op("Sqrt", self.op("Add", self.axes("ReduceSum", self.op("Mul", self.x, self.x), [1], keepdims=1),
                                         self.constant(np.float32(1e-6))))  # fmt: skip
        self.x = self.op("Div", self.x, length)

    def local(self) -> None:
        """A function of the model's own."""
        if not self.functions:
            body = [helper.make_node("Relu", ["a"], ["b"])]
            imports = [helper.make_opsetid("", self.opset)]
            self.functions.append(helper.make_function("local", "Act", ["a"], ["b"], body, imports))
        self.x = self.op("Act", self.x, domain="local")

    # ---- blocks on rows

    def linear(self, x: str, before: int, after: int) -> str:
        product = self.op("MatMul", x, self.constant(self.weight(after, before, fan=before).T.copy()))
        if self.rng.random() < 0.3:
            return product
        return self.op("Add", product, self.constant((self.rng.standard_normal(after) * 0.2).astype(np.float32)))

    def layer_norm(self, x: str) -> str:
        d = self.shape[-1]
        if self.opset >= 17:
            return self.op("LayerNormalization", x, *(self.constant(np.full(d, v, np.float32)) for v in (1, 0)))
        centred = self.op("Sub", x, self.axes("ReduceMean", x, [2], keepdims=1))
        spread = self.axes("ReduceMean", self.op("Mul", centred, centred), [2], keepdims=1)
        return self.op("Div", centred, self.op("Sqrt", self.op("Add", spread, self.constant(np.float32(1e-5)))))

    def mlp(self) -> None:
        d = self.shape[-1]
        inner = self.activate(self.linear(self.layer_norm(self.x), d, 2 * d))
        out = self.linear(inner, 2 * d, d)
        self.x = self.op("Add", out, self.x) if self.rng.random() < 0.7 else out

    def attention(self) -> None:
        _, t, d = self.shape
        x = self.layer_norm(self.x) if self.rng.random() < 0.7 else self.x
        q, k, v = (self.linear(x, d, d) for _ in range(3))
        scores = self.op("MatMul", q, self.op("Transpose", k, perm=[0, 2, 1]))
        scores = self.op("Mul", scores, self.constant(np.float32(d**-0.5)))
        if self.rng.random() < 0.5:
            low = -np.inf if self.rng.random() < 0.5 else -1e9
            scores = self.op("Add", scores, self.constant(np.where(np.tri(t, dtype=bool), 0, low).astype(np.float32)))
        mixed = self.op("MatMul", self.op("Softmax", scores, axis=-1 if self.opset >= 13 else 2), v)
        self.x = self.op("Add", self.linear(mixed, d, d), self.x)

    # ---- whole graphs

    def output(self, tensor: str, kind: int = TensorProto.FLOAT) -> None:
        self.outputs.append((tensor, kind))

    def start_picture(self) -> None:
        size = int(self.rng.choice([8, 12, 16]))
        if self.rng.random() < 0.3:
            self.inputs.append(helper.make_tensor_value_info("image", TensorProto.UINT8, [1, size, size, 3]))
            real = self.op("Transpose", self.op("Cast", "image", to=1), perm=[0, 3, 1, 2])
            self.x = self.op("Mul", real, self.constant(np.float32(1 / 255)))
        else:
            self.inputs.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, size, size]))
            self.x = "x"
        self.shape = (1, 3, size, size)

    def pictures(self) -> None:
        self.start_picture()
        blocks = [
            self.conv, self.conv, self.conv, self.depthwise, self.transposed, self.residual, self.concat, self.gate,
            self.pool, self.resize, self.shuffle, self.split, self.pad, self.branch, self.normalised, self.local,
        ]  # fmt: skip
        self.conv()
        for _ in range(int(self.rng.integers(1, 6))):
            blocks[self.rng.integers(len(blocks))]()
            if self.rng.random() < 0.1:
                self.output(self.x)
        match self.rng.integers(4):
            case 0:
                self.head()
            case 1:
                self.x = self.convolve(self.x, self.shape[1], 4, 1)
            case 2:
                self.x = self.op("Sub", self.convolve(self.x, self.shape[1], 4, 1), self.threshold())
            case _:
                self.conv()
        self.output(self.x)

    def threshold(self) -> str:
        self.inputs.append(helper.make_tensor_value_info("thr", TensorProto.FLOAT, [1]))
        return "thr"

    def head(self) -> None:
        c = self.shape[1]
        self.x = self.op("Flatten", self.op("GlobalAveragePool", self.x))
        self.shape = (1, c)
        for after in (int(self.rng.integers(4, 17)), 5)[int(self.rng.integers(2)) :]:
            weight, transposed = self.weight(after, c, fan=c), bool(self.rng.integers(2))
            bias = [self.constant(np.zeros(after, np.float32))] if self.rng.random() < 0.8 or self.opset < 11 else []
            name = self.constant(weight if transposed else weight.T.copy())
            self.x, c = self.op("Gemm", self.x, name, *bias, transB=int(transposed)), after
            if after != 5:
                self.x = self.activate(self.x)
        if self.rng.random() < 0.5:
            self.output(self.op("ArgMax", self.x, axis=1), TensorProto.INT64)
            self.x = self.op("Softmax", self.x, axis=1)

    def rows(self) -> None:
        t, d = int(self.rng.choice([1, 4, 6, 20])), int(self.rng.choice([8, 16, 24]))
        self.inputs.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, t, d]))
        self.x, self.shape = "x", (1, t, d)
        for _ in range(int(self.rng.integers(1, 4))):
            [self.mlp, self.attention][self.rng.integers(2)]()
        self.x = self.linear(self.x, d, 6)
        self.output(self.x)

    def model(self) -> ModelProto:
        (self.rows if self.rng.random() < 0.25 else self.pictures)()
        seen: dict[str, int] = {}
        for tensor, kind in self.outputs:
            seen.setdefault(tensor, kind)
        names = {tensor: f"out{number}" for number, tensor in enumerate(seen)}
        ends = [helper.make_node("Identity", [t], [name], f"end_{name}") for t, name in names.items()]
        infos = [helper.make_tensor_value_info(names[t], kind, None) for t, kind in seen.items()]
        nodes = [*self.nodes, *ends]
        if self.rng.random() < 0.2:
            for node in nodes:
                node.name = ""
        imports = [helper.make_opsetid("", self.opset), *(helper.make_opsetid(f.domain, 1) for f in self.functions)]
        graph = helper.make_graph(nodes, "random", self.inputs, infos, self.constants)
        made = helper.make_model(graph, opset_imports=imports, functions=self.functions)
        made.ir_version = 10
        return made


def samples_for(model: ModelProto, count: int, seed: int) -> list[Feeds]:
    """Smooth pictures, normal numbers: the same for the same seed."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        feeds: Feeds = {}
        for info in model.graph.input:
            shape = [d.dim_value for d in info.type.tensor_type.shape.dim]
            if info.type.tensor_type.elem_type == TensorProto.UINT8:
                feeds[info.name] = rng.integers(0, 256, shape).astype(np.uint8)
            else:
                feeds[info.name] = rng.standard_normal(shape).astype(np.float32)
        found.append(feeds)
    return found


# ---- what is made of one --------------------------------------------------------------------------------------------


@dataclass
class Found:
    """seed, opset: of the graph. refused: the sentence, "" = quantized. failed: what should not be. ours, peer: worst
    relative error over float outputs, of the plans for all runtimes, and of onnxruntime.quantization (None: refused).
    int8: claimed by layout and runtimes. openvino, onnxruntime: largest distance from ONNX semantics, by largest value.
    halved: whether OpenVINO loses a bit of some weights on this CPU, which is a known fault and one that it warns of.
    """

    seed: int
    opset: int
    nodes: int
    refused: str = ""
    failed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    ours: float | None = None
    peer: float | None = None
    int8: dict[str, int] = field(default_factory=dict)
    openvino: float | None = None
    onnxruntime: float | None = None
    halved: bool = False


def examine(seed: int, *, with_peer: bool = True, trials: Trials = ONE) -> Found | None:
    """Quantize the graph of `seed` with `trials` and hold it to all that is promised; None if ONNX Runtime does not run
    it."""
    model = Net(seed).model()
    graph = model.SerializeToString()
    samples, fresh = samples_for(model, SAMPLES, seed), samples_for(model, FRESH, seed + 1_000_000)
    found = Found(seed=seed, opset=model.opset_import[0].version, nodes=len(model.graph.node))
    try:
        wanted = answers(graph, fresh)
    except Exception:  # noqa: BLE001 - onnxruntime's errors have no common type
        return None
    # Where 16-bit sums saturate, wide weights are wrong in OpenVINO whatever is set: a known fault of such CPUs.
    compared = "int8" if cpu().adds_in_32_bits else "int8-w7"
    options = QuantizeOptions(variants=("int8", "int8-w7"), threads=1, trials=trials)
    try:
        made = quantize(graph, samples, options=options)
    except EdgeError as exc:
        found.refused = f"{type(exc).__name__}: {exc}"
        return found
    except Exception as exc:  # noqa: BLE001 - that is what is looked for
        found.failed.append(f"bare {type(exc).__name__}: {exc}"[:300])
        return found
    found.notes = list(made.report.notes)
    found.int8 = {f"{v.layout} {' '.join(v.runtimes)}".strip(): v.int8_convolutions for v in made.variants}
    int8 = [v for v in made.variants if v.variant == "int8"]
    errors = [_error(wanted, answers(v.graph, fresh)) for v in int8]
    found.ours = max(errors, default=0.0)
    if with_peer:
        found.peer = _peer(model, samples, fresh, wanted)
    for runtime, layout in (("onnxruntime", "conv-q-relu-q"), ("openvino", "conv-relu-q")):
        for name in ("int8", "int8-w7"):
            variant = _of(made, name, layout, runtime)
            if variant is not None:
                gap = _gap(variant, runtime, fresh, found, compare=name == compared)
                if gap is not None:
                    setattr(found, runtime, gap)
    return found


def _of(made: Quantized, name: str, layout: str, runtime: str) -> Variant | None:
    try:
        return made.get(name, layout, runtime=runtime)
    except EdgeError:
        return None


def _gap(variant: Variant, runtime: str, feeds: list[Feeds], found: Found, *, compare: bool) -> float | None:
    """Compile with the claim, and compare with the letter of the standard."""
    options = CompileOptions(threads=1, int8_convolutions=variant.int8_convolutions)
    try:
        session = registry.runtime(runtime).compile(variant.graph, options)
    except EdgeError as exc:
        found.failed.append(f"{runtime} {variant.variant}: {exc}"[:300])
        return None
    if not compare:
        return None
    found.halved |= any("openvino-int8-transposed-halved" in one for one in session.explain().warnings)
    letter = answers(variant.graph, feeds)
    gap = 0.0
    for name in letter[0]:
        if letter[0][name].dtype.kind != "f":
            continue
        largest = max(float(np.abs(one[name]).max()) for one in letter)
        for one, given in zip(letter, feeds, strict=True):
            gap = max(gap, float(np.abs(session.run(given)[name] - one[name]).max()) / max(largest, 1e-6))
    return gap


def answers(graph: bytes, feeds: list[Feeds]) -> list[Feeds]:
    """ONNX Runtime with every optimisation off."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return [dict(zip(names, session.run(names, one), strict=True)) for one in feeds]


def _error(wanted: list[Feeds], got: list[Feeds]) -> float:
    """The worst relative L2 difference of a float output."""
    worst = 0.0
    for name, first in wanted[0].items():
        if first.dtype.kind == "f":
            real, made = (np.concatenate([one[name].ravel() for one in side]) for side in (wanted, got))
            worst = max(worst, float(np.linalg.norm(made - real) / max(np.linalg.norm(real), 1e-9)))
    return worst


def _peer(model: ModelProto, samples: list[Feeds], fresh: list[Feeds], wanted: list[Feeds]) -> float | None:
    """The error of onnxruntime.quantization at its best portable settings; None where it refuses the graph."""
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter(samples)

        def get_next(self) -> Feeds | None:
            return next(self.left, None)

    silence = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(silence), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source, ready, out = (Path(folder) / f"{name}.onnx" for name in ("float", "ready", "int8"))
        try:
            opset = model.opset_import[0].version
            onnx.save(model if opset >= 13 else onnx.version_converter.convert_version(model, 17), source)
            quant_pre_process(source, ready, skip_symbolic_shape=True)
            quantization.quantize_static(
                ready, out, Reader(), quant_format=quantization.QuantFormat.QDQ,
                activation_type=quantization.QuantType.QInt8, weight_type=quantization.QuantType.QInt8,
                per_channel=True,
                extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
            )  # fmt: skip
            return _error(wanted, answers(out.read_bytes(), fresh))
        except Exception:  # noqa: BLE001 - it has no errors of its own
            return None


def failures(found: Found) -> list[str]:
    """What breaks a promise, in words."""
    broken = list(found.failed)
    compared = found.ours is not None and found.peer is not None and bool(found.int8)
    if compared and found.ours > max(1.5 * found.peer, 0.005):
        broken.append(f"error {found.ours:.3g}, onnxruntime.quantization's {found.peer:.3g}")
    openvino = ONE_STEP_A_LAYER if found.halved else TOLERANCE
    for runtime, most in (("openvino", openvino), ("onnxruntime", ONE_STEP_A_LAYER)):
        gap = getattr(found, runtime)
        if gap is not None and not gap <= most:
            broken.append(f"{runtime} is {gap:.3g} of the largest value from ONNX semantics")
    return broken
