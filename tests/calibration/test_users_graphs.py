"""Graphs that users' tools write, by kind: each kind failed once. Errors are relative to the float graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx
import pytest
from calibration_nets import Builder, Feeds, pictures, relative, run
from onnx import ModelProto, TensorProto, helper

from edge_sdk.calibration import Quantized, QuantizeOptions, quantize
from edge_sdk.calibration.lint.linter import lint
from edge_sdk.calibration.lint.rules import RUNTIMES
from edge_sdk.calibration.plan import plan
from edge_sdk.calibration.rewrite.clean import clean
from edge_sdk.calibration.statistics.observe import Spread
from edge_sdk.errors import CheckFailed
from edge_sdk.runtimes import registry
from edge_sdk.runtimes.protocol import CompileOptions

A, B = "conv-relu-q", "conv-q-relu-q"
INT8 = QuantizeOptions(variants=("int8",), threads=1, first_conv="int8")


def net(build: Callable[[Builder, str], str], *, size: int = 12, opset: int = 17) -> ModelProto:
    """image -> normalised picture -> what `build` makes of it -> out."""
    b = Builder(np.random.default_rng(0))
    return b.model({"out": build(b, b.picture(normalised=True))}, size=size, batch=1, opset=opset)


def quantized(model: ModelProto, options: QuantizeOptions = INT8, size: int = 12, samples: int = 6) -> Quantized:
    return quantize(model.SerializeToString(), pictures(samples, size), options=options)


def holds(made: Quantized, model: ModelProto, bound: float, size: int = 12) -> None:
    assert made.variants
    for variant in made.variants:
        for feeds in pictures(2, size, seed=5):
            error = relative(run(variant.graph, feeds)["out"], run(model.SerializeToString(), feeds)["out"])
            assert error < bound, (variant.layout, variant.runtimes)


def claims_are_true(made: Quantized) -> None:
    """Each runtime compiles what is meant for it, and runs what it claims in int8: else WrongPrecision."""
    for runtime, layout in (("onnxruntime", B), ("openvino", A)):
        for variant in made.variants:
            if variant.layout == layout and (not variant.runtimes or runtime in variant.runtimes):
                options = CompileOptions(threads=1, int8_convolutions=variant.int8_convolutions)
                registry.runtime(runtime).compile(variant.graph, options).close()


ACTIVATIONS: dict[str, Callable[[Builder, str], str]] = {
    "SiLU": lambda b, c: b.op("Mul", c, b.op("Sigmoid", c)),
    "SiLU, gate first": lambda b, c: b.op("Mul", b.op("Sigmoid", c), c),
    "hard swish of parts": lambda b, c: b.op("Mul", c, b.op("HardSigmoid", c, alpha=1 / 6, beta=0.5)),
    "HardSwish": lambda b, c: b.op("HardSwish", c),
    "LeakyRelu": lambda b, c: b.op("LeakyRelu", c, alpha=0.1),
    "PRelu": lambda b, c: b.op("PRelu", c, b.constant(np.full((8, 1, 1), 0.2, np.float32))),
    "Sigmoid": lambda b, c: b.op("Sigmoid", c),
    "Tanh": lambda b, c: b.op("Tanh", c),
    "Elu": lambda b, c: b.op("Elu", c),
    "Gelu of parts": lambda b, c: b.op(
        "Mul", b.op("Mul", c, b.constant(np.float32(0.5))),
        b.op("Add", b.op("Erf", b.op("Div", c, b.constant(np.float32(2**0.5)))), b.constant(np.float32(1))),
    ),
    "Relu": lambda b, c: b.relu(c),
    "Clip": lambda b, c: b.clip(c),
}  # fmt: skip


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("transposed", [False, True])
def test_every_activation_leaves_the_claimed_convolutions_in_int8(activation: str, transposed: bool) -> None:
    def build(b: Builder, x: str) -> str:
        if transposed:
            weight = b.constant((b.rng.standard_normal((3, 8, 2, 2)) * 0.4).astype(np.float32))
            c = b.op("ConvTranspose", x, weight, strides=[2, 2])
        else:
            c = b.conv(x, 3, 8)
        return b.conv(ACTIVATIONS[activation](b, c), 8, 4, 1)

    model = net(build)
    made = quantized(model)
    holds(made, model, 0.05)
    claims_are_true(made)
    counts = {runtime: made.get("int8", runtime=runtime).int8_convolutions for runtime in ("openvino", "tensorrt")}
    assert counts == {"openvino": 2, "tensorrt": 2}
    # onnxruntime has no int8 kernel for a transposed convolution, and says so
    assert made.get("int8", B, runtime="onnxruntime").int8_convolutions == (1 if transposed else 2)
    assert not lint(made.get("int8", B).graph, ("onnxruntime",))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_head_can_be_left_float_behind_every_activation(activation: str) -> None:
    def build(b: Builder, x: str) -> str:
        c = ACTIVATIONS[activation](b, b.conv(x, 3, 8))
        weight = b.constant((b.rng.standard_normal((4, 8, 1, 1)) * 0.4).astype(np.float32))
        return b.op("Conv", c, weight, name="head")

    model = net(build)
    made = quantized(model, QuantizeOptions(variants=("int8",), threads=1, first_conv="int8", exclude=("head",)))
    holds(made, model, 0.05)
    claims_are_true(made)
    assert {variant.int8_convolutions for variant in made.variants} == {1}


@pytest.mark.parametrize("gate", ["Sigmoid", "HardSigmoid"])
@pytest.mark.parametrize("pool", ["GlobalAveragePool", "ReduceMean"])
def test_squeeze_and_excite_runs_in_int8_everywhere(gate: str, pool: str) -> None:
    def build(b: Builder, x: str) -> str:
        h = b.relu(b.conv(x, 3, 8))
        pooled = b.op(pool, h) if pool == "GlobalAveragePool" else b.op(pool, h, axes=[2, 3], keepdims=1)
        shut = b.op(gate, b.conv(b.relu(b.conv(pooled, 8, 4, 1)), 4, 8, 1))
        return b.conv(b.op("Mul", h, shut), 8, 4, 1)

    model = net(build)
    made = quantized(model)
    holds(made, model, 0.1)  # onnxruntime.quantization's on these pictures: 0.061
    claims_are_true(made)
    assert {variant.int8_convolutions for variant in made.variants} == {4}


def test_an_operator_that_openvino_answers_wrongly_costs_openvino_alone() -> None:
    def build(b: Builder, x: str) -> str:
        joined = b.op("Concat", *(b.relu(b.conv(x, 3, 8, 1)) for _ in range(2)), axis=1)
        return b.conv(joined, 16, 4, 1)

    model = net(build)
    made = quantized(model, samples=24)  # branches with scales of their own
    holds(made, model, 0.05)
    claims_are_true(made)
    counts = {runtime: made.get("int8", runtime=runtime).int8_convolutions for runtime in RUNTIMES}
    assert counts == {"tensorrt": 3, "openvino": 2, "onnxruntime": 3}
    assert {variant.runtimes for variant in made.variants} == {("openvino",), ("tensorrt",), ("onnxruntime",)}
    shared = [variant.plan for variant in made.variants if "openvino" not in variant.runtimes]
    assert len(set(shared)) == 1  # one plan in two layouts
    assert made.variants[0].runtimes == ("openvino",)  # careful ones first: `get` without a runtime is safe anywhere


def rows_net(between: str, rows: int) -> ModelProto:
    b = Builder(np.random.default_rng(0))
    for kind, name, shape in (("in", "x", [rows, 32]), ("out", "y", [rows, 16])):
        b.__dict__[kind] = helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    first, second = (b.constant((b.rng.standard_normal(s) * 0.2).astype(np.float32)) for s in ((32, 32), (32, 16)))
    h = b.op("MatMul", "x", first)
    h = b.op("MatMul", b.op(between, h) if between else h, second)
    b.nodes[-1].output[0] = "y"
    graph = helper.make_graph(b.nodes, "rows", [b.__dict__["in"]], [b.__dict__["out"]], b.constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    return made


@pytest.mark.parametrize("between", ["", "Relu", "Sigmoid", "Tanh", "Elu", "HardSwish"])
@pytest.mark.parametrize("rows", [1, 8, 16])
def test_chained_products_are_right_in_openvino_and_named_by_the_linter(between: str, rows: int) -> None:
    """Garbage of 1e4 and more otherwise, for few rows (OpenVINO 2026.4)."""
    model = rows_net(between, rows)
    rng = np.random.default_rng(1)
    samples: list[Feeds] = [{"x": rng.standard_normal((rows, 32)).astype(np.float32)} for _ in range(8)]
    made = quantize(model.SerializeToString(), samples, options=QuantizeOptions(variants=("int8-w7",), threads=1))
    ours = made.get("int8-w7", A, runtime="openvino")
    session = registry.runtime("openvino").compile(ours.graph, CompileOptions(threads=1))
    for feeds in samples[:3]:
        assert relative(session.run(feeds)["y"], run(model.SerializeToString(), feeds)["y"]) < 0.1
    full = made.get("int8-w7", A, runtime="tensorrt")
    assert (ours.int8_convolutions, full.int8_convolutions) == ((1, 2) if rows < 16 else (2, 2))
    assert [fault.rule for fault in lint(full.graph, ("openvino",))] == (["L71"] if rows < 16 else [])
    assert not lint(ours.graph, ("openvino",))


@pytest.mark.parametrize("tiny", [1e-12, 1e-9, 1e-6])
@pytest.mark.parametrize("guard", ["Add", "Max", "Clip"])
def test_an_epsilon_that_half_numbers_lose_stays_float(tiny: float, guard: str) -> None:
    """A black picture divides by it: NaN in half, finite in float."""

    def build(b: Builder, x: str) -> str:
        h = b.op("Conv", x, b.constant(np.full((4, 3, 1, 1), 0.3, np.float32)))
        length = b.op("ReduceSum", b.op("Abs", h), b.constant(np.array([1])))
        guarded = b.op(guard, length, b.constant(np.float32(tiny)))
        return b.op("Div", h, guarded)

    b = Builder(np.random.default_rng(0))
    real = b.op("Transpose", b.op("Cast", "image", to=1), perm=[0, 3, 1, 2])
    model = b.model({"out": build(b, b.op("Mul", real, b.constant(np.float32(1 / 255))))}, size=12, batch=1)
    made = quantized(model, QuantizeOptions(variants=("fp16",), threads=1))
    black = {"image": np.zeros((1, 12, 12, 3), np.uint8)}
    assert np.isfinite(run(made.variants[0].graph, black)["out"]).all()


def test_a_sample_without_any_value_in_a_tensor_counts_as_no_value() -> None:
    """No detection is an empty tensor. One that is empty on all samples is named."""

    def build(b: Builder, x: str) -> str:
        c = b.conv(x, 3, 4, 1)
        none = b.op("Slice", c, *(b.constant(np.array([v])) for v in (0, 0, 1)))
        return b.op("Concat", b.relu(c), b.op("Sigmoid", none), axis=1)

    for variants in (("int8",), ("fp16",)):
        model = net(build)
        holds(quantized(model, QuantizeOptions(variants=variants, threads=1, first_conv="int8")), model, 0.05)


@pytest.mark.parametrize("low", [-np.inf, -1e9, -3e38])
@pytest.mark.parametrize("variant", ["int8", "fp16"])
def test_a_mask_of_an_attention_is_no_broken_weight(low: float, variant: str) -> None:
    b = Builder(np.random.default_rng(0))
    weights = [b.constant((b.rng.standard_normal((16, 16)) * 0.2).astype(np.float32)) for _ in range(3)]
    q, k = (b.op("MatMul", "x", w) for w in weights[:2])
    mask = b.constant(np.where(np.tri(6, dtype=bool), 0, low).astype(np.float32))
    scores = b.op("Add", b.op("MatMul", q, b.op("Transpose", k, perm=[0, 2, 1])), mask)
    b.op("MatMul", b.op("MatMul", b.op("Softmax", scores, axis=-1), "x"), weights[2])
    b.nodes[-1].output[0] = "y"
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 6, 16]) for name in "xy"]
    graph = helper.make_graph(b.nodes, "masked", ends[:1], ends[1:], b.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    rng = np.random.default_rng(1)
    samples = [{"x": rng.standard_normal((1, 6, 16)).astype(np.float32)} for _ in range(8)]
    made = quantize(model.SerializeToString(), samples, options=QuantizeOptions(variants=(variant,), threads=1))
    for one in made.variants:
        for feeds in samples:
            got, want = run(one.graph, feeds)["y"], run(model.SerializeToString(), feeds)["y"]
            assert relative(got, want) < 0.1
    if variant == "int8":
        assert {one.int8_convolutions for one in made.variants} == {3}


@pytest.mark.parametrize("kind", [np.float32, np.int64, np.uint8])
def test_a_picture_and_something_else(kind: type) -> None:
    """The picture's range is that of 0 and 255, whatever else the graph takes."""
    b = Builder(np.random.default_rng(0))
    c = b.conv(b.picture(normalised=True), 3, 4)
    model = b.model({"out": b.op("Sub", c, b.op("Cast", "thr", to=1))}, size=12, batch=1)
    other = helper.make_tensor_value_info("thr", helper.np_dtype_to_tensor_dtype(np.dtype(kind)), [1])
    model.graph.input.append(other)
    samples = [{**feeds, "thr": np.ones(1, kind)} for feeds in pictures(4, 12)]
    made = quantize(model.SerializeToString(), samples, options=INT8)
    row = next(row for row in made.report.tensors if row.role == "picture")
    assert (row.low, row.high) == pytest.approx((-127 / 128, 1.0))
    for one in made.variants:
        assert relative(run(one.graph, samples[0])["out"], run(model.SerializeToString(), samples[0])["out"]) < 0.05


# ---- what is measured, and how often samples are read --------------------------------------------------------------


class Counting:
    """Samples decoded one at a time; counts passes and how many were decoded."""

    def __init__(self, samples: list[Feeds]) -> None:
        self.samples, self.passes, self.decoded = samples, 0, 0

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Feeds]:
        return self._read()

    def _read(self) -> Iterator[Feeds]:
        self.passes += 1
        for sample in self.samples:
            self.decoded += 1
            yield sample


@pytest.mark.parametrize("variants", [("int8",), ("int8", "int8-w7", "fp16", "fp32")])
@pytest.mark.parametrize("corrected", [False, True])
def test_a_sample_is_decoded_once_and_once_more_for_an_output_correction(
    variants: tuple[str, ...], corrected: bool
) -> None:
    model = net(lambda b, x: b.op("Mul", b.op("Abs", b.conv(x, 3, 4), name="end"), b.constant(np.float32(2))))
    samples = Counting(pictures(9, 12))
    nodes = ("end",) if corrected else ()
    options = QuantizeOptions(
        variants=variants, keep_fp32=("end",), output_correction=nodes, first_conv="int8", threads=1
    )
    quantize(model.SerializeToString(), samples, options=options)
    assert (samples.passes, samples.decoded) == ((2, 18) if corrected else (1, 9))


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("count", [1, 3, 4, 7, 16, 100])
def test_the_compared_samples_are_few_and_spread_over_all(count: int, known: bool) -> None:
    spread = Spread(4, count if known else 0)
    most = 0
    for number in range(count):
        spread.add({"n": np.array(number)})
        most = max(most, len(spread._kept))
    kept = [int(one["n"]) for one in spread.samples()]
    assert most <= 8
    assert len(kept) == min(4, count)
    assert kept == sorted(kept)
    for quarter in range(4) if count >= 16 else ():
        assert any(quarter * count <= 4 * n < (quarter + 1) * count for n in kept)


def _broken() -> ModelProto:
    """A quantized tensor of two scales that lie far apart: its smaller half is lost in int8."""

    def build(b: Builder, x: str) -> str:
        weight = (b.rng.standard_normal((8, 3, 1, 1)) * 0.3).astype(np.float32)
        weight[4:] *= 1e4
        h = b.op("Conv", x, b.constant(weight), name="spread")
        small = b.rng.standard_normal((4, 8, 1, 1)).astype(np.float32)
        small[:, 4:] = 0.0
        return b.op("Conv", h, b.constant(small), name="reader")

    return net(build)


def test_an_int8_graph_that_is_another_graph_is_refused_and_names_its_first_bad_layer() -> None:
    with pytest.raises(CheckFailed, match=r"int8 differs from the float graph by \d+%.* in output out.*layer reader"):
        quantized(_broken())
    assert CheckFailed.exit_code == 1


def test_it_can_be_forced_with_a_note(caplog: pytest.LogCaptureFixture) -> None:
    made = quantized(_broken(), QuantizeOptions(variants=("int8",), threads=1, first_conv="int8", force=True))
    assert made.report.errors["int8"]["out"] > 0.2
    (note,) = (note for note in made.report.notes if "differs from the float graph" in note)
    assert "first at layer reader" in note
    assert any(note in record.message for record in caplog.records)


def test_plans_of_one_contract_are_what_the_table_says() -> None:
    model = clean(net(lambda b, x: b.conv(ACTIVATIONS["SiLU"](b, b.conv(x, 3, 8)), 8, 4, 1))).model
    found = {runtime: plan(model, (runtime,), first_conv="int8") for runtime in RUNTIMES}
    assert found["tensorrt"] == found["openvino"]
    assert found["onnxruntime"].operators == found["tensorrt"].operators
    assert set(found["onnxruntime"].points) > set(found["tensorrt"].points)  # Q right behind the convolution too


def test_no_second_list_of_operators() -> None:
    """The operator table is the only place that lists operator types (a rule on one operator names that one)."""
    import ast
    from pathlib import Path

    import edge_sdk.calibration
    import edge_sdk.runtimes
    from edge_sdk.runtimes.operators import OPERATORS

    known = set(OPERATORS) | {schema.name for schema in onnx.defs.get_all_schemas()}
    folders = [Path(str(package.__file__)).parent for package in (edge_sdk.calibration, edge_sdk.runtimes)]
    found = []
    for path in sorted(path for folder in folders for path in folder.glob("*.py") if path.name != "operators.py"):
        for part in ast.walk(ast.parse(path.read_text())):
            if isinstance(part, (ast.Tuple, ast.List, ast.Set)):
                names = [one.value for one in part.elts if isinstance(one, ast.Constant)]
                listed = [name for name in names if isinstance(name, str) and name in known]
                if len(listed) > 1:
                    found.append(f"{path.name}:{part.lineno} {listed}")
    assert found == []
