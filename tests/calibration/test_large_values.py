"""Values near the end of float32, 3.4e38, of which it holds no squares and no sums: no warning, and no other answer.

Warnings are errors in this suite: each place that overflows fails its test.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto
from test_float_rewrites import Net

from edge_sdk.calibration import QuantizeOptions, quantize
from edge_sdk.calibration.comparison import fidelity
from edge_sdk.calibration.comparison.score_scale import score_scale
from edge_sdk.calibration.engines.nncf import Nncf
from edge_sdk.calibration.rewrite.clean import with_names
from edge_sdk.calibration.statistics.equalise import equalisations
from edge_sdk.calibration.statistics.observe import Observer, observe
from edge_sdk.calibration.statistics.ranges import fit
from edge_sdk.calibration.trials import RANGE_METHODS, THOROUGH, Trials
from edge_sdk.cli.main import run
from edge_sdk.tensors import Array

LARGE = [1e20, 1e38, 3e38]


def convolutions() -> tuple[ModelProto, list[int]]:
    """Channels of several sizes between two convolutions, a mean and a product; outputs far smaller than the inputs."""
    net = Net([1, 3, 12, 12])
    sizes = np.geomspace(1.0, 30.0, 8, dtype=np.float32).reshape(-1, 1, 1, 1)
    first, second = (net.rng.normal(0, 1e-3, (8, inputs, 3, 3)).astype(np.float32) for inputs in (3, 8))
    net.add("Conv", "x", net.constant(first * sizes), pads=[1] * 4)
    net.add("Relu", net.x)
    net.add("Conv", net.x, net.constant(second))
    net.add("Add", net.x, net.x)
    net.add("Flatten", net.add("GlobalAveragePool", net.x))
    net.add("Gemm", net.x, net.constant(net.rng.normal(0, 1e-2, (8, 4)).astype(np.float32)))
    return net.model(), net.shape


def products() -> tuple[ModelProto, list[int]]:
    """Answers nearly as large as the inputs."""
    net = Net([4, 32])
    net.add("MatMul", "x", net.constant(net.rng.normal(0, 0.05, (32, 32)).astype(np.float32)))
    net.add("MatMul", net.add("Relu", net.x), net.constant(net.rng.normal(0, 0.05, (32, 16)).astype(np.float32)))
    return net.model(), net.shape


def samples(shape: list[int], top: float, count: int = 6) -> list[dict[str, Array]]:
    rng = np.random.default_rng(1)
    return [{"x": (rng.uniform(-1, 1, shape) * top).astype(np.float32)} for _ in range(count)]


@pytest.mark.parametrize("trials", [Trials(), THOROUGH], ids=["light", "thorough"])
@pytest.mark.parametrize("top", LARGE)
@pytest.mark.parametrize("build", [convolutions, products])
def test_quantize_answers_as_it_does_for_small_values(
    build: Callable[[], tuple[ModelProto, list[int]]], top: float, trials: Trials
) -> None:
    model, shape = build()
    data, options = model.SerializeToString(), QuantizeOptions(variants=("int8",), threads=1, trials=trials)
    large, small = (quantize(data, samples(shape, one), options=options).report for one in (top, 1.0))
    assert large.errors["int8"]
    if trials == THOROUGH:  # NNCF leaves itself out of one of the two, so that another candidate may be nearest
        errors = [next(one.errors for one in report.attempts if one.ranges == "minmax") for report in (large, small)]
        assert errors[0]
        assert errors[0] == pytest.approx(errors[1], rel=0.05)
    else:
        assert large.errors["int8"] == pytest.approx(small.errors["int8"], rel=0.05)


@pytest.mark.skipif(bool(Nncf().missing()), reason=Nncf().missing() or "nncf is here")
def test_an_engine_whose_own_arithmetic_overflows_is_left_out_with_a_word() -> None:
    model, shape = convolutions()
    options = QuantizeOptions(variants=("int8",), threads=1, trials=THOROUGH)
    made = quantize(model.SerializeToString(), samples(shape, 3e38), options=options)
    why = {one.why for one in made.report.attempts if one.engine == "nncf"}
    assert len(why) == 1
    assert "overflow" in why.pop()
    assert any(one.kept and one.engine == "portable" for one in made.report.attempts)


def test_the_verb_says_nothing_of_overflows(tmp_path: Path) -> None:
    model, shape = convolutions()
    onnx.save(model, tmp_path / "m.onnx")
    (tmp_path / "samples").mkdir()
    for number, sample in enumerate(samples(shape, 1e38)):
        np.savez(tmp_path / "samples" / f"{number}.npz", **sample)
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\n")
    more = ["--task", "classification", "--scores", "logits", "--labels", str(tmp_path / "labels.txt")]
    for options in ([], more):
        command = ["quantize", str(tmp_path / "m.onnx"), "--data", str(tmp_path / "samples"), "--overwrite"]
        with pytest.raises(SystemExit) as left:
            run([*command, "--out", str(tmp_path / "m.edge"), *options])
        assert not left.value.code


@given(exponent=st.integers(-125, 127), dead=st.booleans(), dtype=st.sampled_from([np.float32, np.float16]))
def test_mean_squares_of_channels_are_those_of_float64_at_every_size(exponent: int, dead: bool, dtype: type) -> None:
    values = np.random.default_rng(0).uniform(-1.99, 1.99, (2, 5, 7)).astype(np.float32)
    if dead:
        values[:, 3] = 0.0
    values = np.ldexp(values, max(min(exponent, 14), -8) if dtype == np.float16 else exponent).astype(dtype)
    observer = Observer("x", channel_axis=1, sizes=True)
    for _ in range(2):
        observer.add(values)
    wanted = np.square(values.astype(np.float64)).mean(axis=(0, 2))
    np.testing.assert_allclose(observer.result().squares, wanted, rtol=0.01)


@pytest.mark.parametrize("exponent", [-100, 100, 126])
def test_factors_between_channels_do_not_depend_on_the_unit(exponent: int) -> None:
    model, shape = convolutions()
    model = with_names(model)
    names = [node.name for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    read = [node.input[0] for node in model.graph.node if node.name in names]

    def found(unit: float) -> list[Array]:
        given = ({"x": one["x"] * np.float32(unit)} for one in samples(shape, 1.0))
        seen = observe(model, given, read, channel_axes=dict.fromkeys(read, 1), sizes=True, threads=1)
        return [one.factors for one in equalisations(model, seen, names)]

    wanted, got = found(1.0), found(2.0**exponent)
    assert wanted
    assert len(got) == len(wanted)
    for one, other in zip(got, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4)


def test_answers_at_both_ends_of_float32_are_compared() -> None:
    end = np.linspace(-3.4e38, 3.4e38, 8).astype(np.float32).reshape(2, 4)
    assert fidelity.error([end, end], [-end, -end]) == pytest.approx(2.0)
    scale = score_scale([end, end], [-end, -end], classes=True)
    assert scale is not None
    assert scale.relative_error == pytest.approx(2.0)
    assert scale.spread_ratio == pytest.approx(1.0)
    assert scale.rank_correlation == pytest.approx(-1.0)


@pytest.mark.parametrize("method", RANGE_METHODS)
def test_a_range_is_fitted_up_to_the_largest_float(method: str) -> None:
    observer = Observer("x", histogram=True)
    observer.add(np.linspace(-3.4e38, 3.4e38, 1001).astype(np.float32))
    assert fit(observer.result(), method).top == pytest.approx(3.4e38, rel=0.02)
