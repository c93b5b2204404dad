"""Laws of symmetric int8: what scales, rounding and weight limits promise for every input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_sdk.calibration.plan import Point, QuantizationPlan
from edge_sdk.calibration.statistics import magnitudes
from edge_sdk.calibration.statistics.bias_correction import bias_shift
from edge_sdk.calibration.statistics.observe import Observer, TensorStatistics
from edge_sdk.calibration.statistics.ranges import Range, fit, quantize, quantize_weights
from edge_sdk.calibration.statistics.scales import scale_of, scales
from edge_sdk.errors import BadInput, BadUsage

REALS = st.floats(-1e4, 1e4, width=32)
ARRAYS = hnp.arrays(np.float32, hnp.array_shapes(max_dims=3, max_side=6), elements=REALS)
WEIGHTS = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 3)), elements=st.floats(-4, 4, width=32)
)


@given(real=ARRAYS)
def test_within_the_range_a_round_trip_moves_no_value_by_more_than_half_a_step(real: np.ndarray) -> None:
    scale = scale_of(float(np.abs(real).max()))
    q, clipped = quantize(real, scale)
    assert clipped == 0
    assert np.abs(q.astype(int)).max() <= 127
    gap = np.abs((q.astype(np.float32) * scale).astype(np.float64) - real)
    assert gap.max() <= float(scale) * (0.5 + 1e-4)


@given(q=hnp.arrays(np.int8, 20), top=st.floats(1e-6, 1e6))
def test_what_lies_on_the_grid_comes_back_as_it_was(q: np.ndarray, top: float) -> None:
    scale = scale_of(top)
    assert np.array_equal(quantize(q.astype(np.float32) * scale, scale)[0], q)


@given(x=ARRAYS, low=REALS, high=REALS, top=st.floats(1e-3, 1e4))
def test_quantizing_may_change_places_with_a_cut_at_any_bounds(
    x: np.ndarray, low: float, high: float, top: float
) -> None:
    low, high = np.float32(min(low, high)), np.float32(max(low, high))
    scale = scale_of(top)
    after = quantize(np.clip(x, low, high), scale)[0]
    ends = (quantize(np.asarray(end), scale)[0] for end in (low, high))
    assert np.array_equal(after, np.clip(quantize(x, scale)[0], *ends))


def test_halves_go_to_the_even_neighbour_as_in_the_runtimes() -> None:
    halves = np.asarray([0.5, 1.5, 2.5, -0.5, -1.5, -2.5], np.float32)
    assert quantize(halves, np.float32(1.0))[0].tolist() == [0, 2, 2, 0, -2, -2]


def test_values_beyond_the_range_are_cut_and_counted() -> None:
    q, clipped = quantize(np.asarray([0.0, 200.0, -200.0, 5.0], np.float32), np.float32(1.0))
    assert (q.tolist(), clipped) == ([0, 127, -128, 5], 2)


def test_the_lowest_of_256_values_is_no_cut() -> None:
    q, clipped = quantize(np.asarray([-128.0, -128.4, 127.4], np.float32), np.float32(1.0))
    assert (q.tolist(), clipped) == ([-128, -128, 127], 0)
    assert quantize(np.asarray([-128.6, 127.6], np.float32), np.float32(1.0))[1] == 2


def test_a_range_reaches_as_far_as_the_farther_side_of_zero() -> None:
    assert fit(TensorStatistics(tensor="t", low=-5.0, high=1.0, count=2, samples=1)).top == 5.0
    assert fit(TensorStatistics(tensor="t", low=-1.0, high=5.0, count=2, samples=1)).top == 5.0
    assert fit(TensorStatistics(tensor="t", low=0.0, high=0.0, count=2, samples=1)).top == 0.0


@pytest.mark.parametrize("top", [float("nan"), float("inf"), -1.0])
def test_a_range_that_can_not_be_has_no_scale(top: float) -> None:
    with pytest.raises(BadInput, match="has no scale"):
        scale_of(top)


METHODS: tuple[str, ...] = ("percentile-99.99", "percentile-99.999", "mse", "entropy")


@pytest.mark.parametrize("method", METHODS)
def test_a_method_that_weighs_values_needs_a_histogram(method: str) -> None:
    with pytest.raises(BadUsage, match=f"the range method {method} needs a histogram"):
        fit(TensorStatistics(tensor="t", low=-1.0, high=1.0, count=2, samples=1), method)


@given(weights=WEIGHTS, limit=st.sampled_from([127, 64]))
def test_weights_keep_their_limit_and_every_scale_is_usable(weights: np.ndarray, limit: int) -> None:
    packed = quantize_weights(weights, axis=0, limit=limit)
    assert np.abs(packed.values.astype(int)).max() <= limit
    assert packed.scale.shape == (len(weights),)
    assert (packed.scale >= np.finfo(np.float32).tiny).all()
    error = np.abs(packed.values * packed.scale[:, None, None].astype(np.float64) - weights)
    assert (error <= packed.scale[:, None, None] * (0.5 + 1e-4)).all()


def test_a_dead_channel_takes_the_median_scale_of_the_others() -> None:
    weights = np.zeros((4, 1, 1), np.float32)
    weights[1:, 0, 0] = [1.0, 2.0, 4.0]
    packed = quantize_weights(weights, axis=0)
    assert packed.dead == 1
    assert packed.scale[0] == np.float32(2.0 / 127)
    assert not packed.values[0].any()


def test_a_nearly_dead_channel_leaves_its_bias_room_in_32_bits() -> None:
    weights = np.asarray([[[1.0]], [[1e-12]]], np.float32)
    packed = quantize_weights(weights, axis=0, bias=np.asarray([0.5, 0.5], np.float32), input_scale=0.01)
    assert packed.widened == 1
    assert 0.5 / (0.01 * float(packed.scale[1])) < 2**31


def test_nan_weights_are_refused() -> None:
    with pytest.raises(BadInput, match="NaN"):
        quantize_weights(np.asarray([[np.nan]], np.float32), axis=0)


@settings(deadline=None)
@given(parts=st.lists(ARRAYS, min_size=1, max_size=5))
@example(parts=[np.array([1e-45], np.float32), np.array([1.0], np.float32)])
def test_a_histogram_filled_in_parts_counts_every_value_once(parts: list[np.ndarray]) -> None:
    observer = Observer("t", histogram=True)
    for part in parts:
        observer.add(part)
    seen = observer.result()
    assert seen.histogram is not None
    assert seen.histogram.sum() == seen.count == sum(p.size for p in parts)
    assert seen.low == min(p.min() for p in parts)
    assert seen.high == max(p.max() for p in parts)


def test_a_percentile_cuts_about_the_share_it_names() -> None:
    observer = Observer("t", histogram=True)
    values = np.abs(np.random.default_rng(0).standard_normal(200_000)).astype(np.float32)
    for part in np.split(values, 10):
        observer.add(part)
    found = fit(observer.result(), "percentile-99.99")
    assert 0 < found.cut <= 1e-4
    assert found.top == pytest.approx(np.quantile(values, 0.9999), rel=0.02)
    assert fit(observer.result(), "minmax").top == values.max()


@given(
    values=hnp.arrays(
        np.float32, st.integers(1, 50), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)
    )
)
@example(values=np.array([0.0, -0.0, 1e-45, -3.4028235e38], np.float32))
def test_every_float32_lies_in_the_bin_whose_ends_enclose_it(values: np.ndarray) -> None:
    (held,) = np.nonzero(bins := magnitudes.counts(values))
    assert bins.sum() == values.size
    for value in np.abs(values.astype(np.float64)):
        assert np.any((magnitudes.EDGES[held] <= value) & (value < magnitudes.EDGES[held + 1]))
    wide = magnitudes.EDGES[1:-1] > 1e-37
    assert (magnitudes.EDGES[2:-1] / magnitudes.EDGES[1:-2])[wide[:-1]].max() <= 1 + 1 / 64


def squared_error(values: np.ndarray, top: float) -> float:
    """As measured: what int8 with that top makes of the values."""
    scale = scale_of(top)
    q = np.clip(np.rint(values / scale), -127, 127)
    return float(np.sum((q * scale.astype(np.float64) - values.astype(np.float64)) ** 2))


def seen_of(values: np.ndarray) -> TensorStatistics:
    observer = Observer("t", histogram=True)
    for part in np.array_split(values, 3):
        observer.add(part)
    return observer.result()


SHAPES = {
    "normal": lambda rng, n: rng.standard_normal(n),
    "half of it zero": lambda rng, n: np.maximum(rng.standard_normal(n), 0.0),
    "long tail": lambda rng, n: rng.standard_t(2, n),
    "two sizes": lambda rng, n: rng.standard_normal(n) * np.where(rng.random(n) < 0.001, 50.0, 1.0),
    "even": lambda rng, n: rng.uniform(-1.0, 1.0, n),
}


@pytest.mark.parametrize("outlier", [0.0, 30.0, 1e3, 1e6])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("method", METHODS)
def test_no_method_is_worse_than_minmax_whatever_lies_among_the_samples(
    method: str, shape: str, outlier: float
) -> None:
    values = SHAPES[shape](np.random.default_rng(3), 50_000).astype(np.float32)
    values[17] = max(outlier, float(values[17]))
    seen = seen_of(values)
    ours, whole = (squared_error(values, fit(seen, how).top) for how in (method, "minmax"))
    assert ours <= 1.03 * whole


@pytest.mark.parametrize("shape", SHAPES)
def test_mse_finds_the_top_of_the_least_error_that_a_search_finds(shape: str) -> None:
    values = SHAPES[shape](np.random.default_rng(4), 20_000).astype(np.float32)
    found = squared_error(values, fit(seen_of(values), "mse").top)
    most = float(np.abs(values).max())
    assert found <= 1.03 * min(squared_error(values, most * share) for share in np.geomspace(0.02, 1.0, 120))


def test_entropy_cuts_the_thin_end_of_a_normal_tensor() -> None:
    values = np.random.default_rng(5).standard_normal(400_000).astype(np.float32)
    found = fit(seen_of(values), "entropy")
    assert 3.0 < found.top < np.abs(values).max()
    assert 0.0 < found.cut < 2e-3


@pytest.mark.parametrize("method", METHODS)
def test_a_tensor_of_zeros_has_no_top(method: str) -> None:
    assert fit(seen_of(np.zeros(9, np.float32)), method).top == 0.0


@given(seed=st.integers(0, 1000), group=st.sampled_from([1, 2, 6]))
def test_the_corrected_bias_gives_every_channel_its_mean_back(seed: int, group: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.random((50, 6))  # 1 x 1 convolution: positions x channels
    real = rng.standard_normal((6, 6 // group, 1)).astype(np.float32)
    rounded = np.rint(real * 4).astype(np.float64) / 4
    shift = bias_shift(real, rounded, x.mean(axis=0), group=group)
    for o in range(6):
        width = 6 // group  # input channels of a group, and output channels too
        own = x[:, o // width * width :][:, :width]
        gap = own @ (real[o, :, 0].astype(np.float64) - rounded[o, :, 0])
        assert gap.mean() == pytest.approx(shift[o], abs=1e-9)


def _range(tensor: str, top: float) -> Range:
    return Range(tensor=tensor, low=-top, high=top, top=top, cut=0.0)


@given(tops=st.lists(st.floats(0.01, 100.0), min_size=2, max_size=5))
def test_tensors_that_share_a_scale_take_the_widest_range_of_them(tops: list[float]) -> None:
    names = [f"t{i}" for i in range(len(tops))]
    plan = QuantizationPlan(operators=(), points={name: Point(tensor=name, group="one") for name in names})
    found = scales(plan, {name: _range(name, top) for name, top in zip(names, tops, strict=True)})
    assert set(found.values()) == {scale_of(max(tops))}


_FRACTIONS = st.builds(lambda p, q: p / q, st.integers(5, 40), st.integers(10, 25))


@given(before=st.floats(0.01, 100.0), ratio=st.one_of(st.floats(0.2, 4.0), _FRACTIONS))
@example(before=1.0, ratio=1.1)
@example(before=1.0, ratio=0.25)
def test_a_mean_of_four_on_one_grid_never_falls_half_way_on_the_next(before: float, ratio: float) -> None:
    """Runtimes round halves differently. The range after the pool is widened for that, by little, and never cut."""
    points = {"x": Point(tensor="x", group="x"), "y": Point(tensor="y", group="y")}
    plan = QuantizationPlan(operators=(), points=points, averages={"y": "x"})
    asked = scale_of(before * ratio)
    found = scales(plan, {"x": _range("x", before), "y": _range("y", before * ratio)})
    assert asked <= found["y"] < 1.3 * asked
    sums = np.arange(-4 * 127, 4 * 127 + 1)
    on_the_next = sums / 4 * float(found["x"]) / float(found["y"])
    halves = np.abs(on_the_next - np.floor(on_the_next) - 0.5) < 1e-6
    assert halves.mean() < 0.02
