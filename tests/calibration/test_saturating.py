"""What is predicted for CPUs without VNNI is what both runtimes answer there: of each operator, and of a network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import without_vnni
from calibration_nets import pdn, pictures, relative, run
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from edge_sdk.calibration import Quantized, QuantizeOptions, Trials, graphs, quantize
from edge_sdk.calibration.saturation.loss import Order, lost_in_pairs, pair_count, unsafe_pairs
from edge_sdk.calibration.saturation.prediction import MOST_SAMPLES, Emulation
from edge_sdk.export import calibrated

INT8 = st.integers(-128, 127)
ORDERS = st.sampled_from(["taps", "flat"])


def scalar_loop(columns: NDArray[np.uint8], weights: NDArray[np.int8], order: Order) -> tuple[NDArray[np.int64], int]:
    """`lost_in_pairs`, one product at a time."""
    inputs, taps, positions = columns.shape
    places = [(i, t) for t in range(taps) for i in range(inputs)]
    groups = [places] if order == "flat" else [[place for place in places if place[1] == t] for t in range(taps)]
    lost, cut = np.zeros((len(weights), positions), np.int64), 0
    for o in range(len(weights)):
        for p in range(positions):
            for group in groups:
                products = [int(weights[o, i, t]) * int(columns[i, t, p]) for i, t in group]
                for at in range(0, len(products), 2):
                    total = sum(products[at : at + 2])
                    held = min(max(total, -32768), 32767)
                    lost[o, p] += total - held
                    cut += total != held
    return lost, cut


@given(sizes=st.tuples(*[st.integers(1, 5)] * 4), order=ORDERS, data=st.data())
def test_the_emulation_is_the_scalar_loop_in_both_orders(
    sizes: tuple[int, int, int, int], order: Order, data: st.DataObject
) -> None:
    outputs, inputs, taps, positions = sizes
    weights = data.draw(hnp.arrays(np.int8, (outputs, inputs, taps), elements=INT8))
    columns = data.draw(hnp.arrays(np.uint8, (inputs, taps, positions)))
    lost, cut = lost_in_pairs(columns, weights, order)
    wanted, counted = scalar_loop(columns, weights, order)
    assert np.array_equal(lost, wanted)
    assert cut == counted
    assert cut <= pair_count(inputs, taps, order) * outputs * positions


@given(weights=hnp.arrays(np.int8, (3, 5, 2), elements=INT8), columns=hnp.arrays(np.uint8, (5, 2, 4)), order=ORDERS)
def test_nothing_is_lost_where_the_static_bound_says_safe(
    weights: NDArray[np.int8], columns: NDArray[np.uint8], order: Order
) -> None:
    safe = (weights // 2).astype(np.int8)  # within [-64, 63]
    assert unsafe_pairs(safe) == 0.0
    for one in (weights, safe):
        lost, cut = lost_in_pairs(columns, one, order)
        assert unsafe_pairs(one) > 0.0 or (cut == 0 and not lost.any())


def test_many_positions_are_added_in_parts_to_the_same_sums(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = rng.integers(-127, 128, (6, 4, 3)).astype(np.int8)
    columns = rng.integers(0, 256, (4, 3, 50)).astype(np.uint8)
    wanted, counted = lost_in_pairs(columns, weights, "flat")
    monkeypatch.setattr("edge_sdk.calibration.saturation.loss.MOST_SUMS", 7)
    lost, cut = lost_in_pairs(columns, weights, "flat")
    assert np.array_equal(lost, wanted)
    assert cut == counted > 0


OPERATORS: dict[str, tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "even channels": ("Conv", (16, 32, 3, 3), (1, 32, 9, 9), {}),
    "odd channels, pads, strides": ("Conv", (16, 5, 3, 3), (2, 5, 9, 9), {"pads": [0, 1, 2, 1], "strides": [2, 2]}),
    "a picture": ("Conv", (16, 3, 4, 4), (1, 3, 12, 12), {}),
    "dilations": ("Conv", (16, 32, 3, 3), (1, 32, 9, 9), {"dilations": [2, 2]}),
    "auto_pad": ("Conv", (8, 6, 2, 2), (1, 6, 9, 9), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    "1 x 1": ("Conv", (24, 7, 1, 1), (1, 7, 9, 9), {}),
    "groups": ("Conv", (16, 8, 3, 3), (1, 32, 9, 9), {"group": 4}),
    "groups of odd channels": ("Conv", (16, 3, 3, 3), (1, 12, 9, 9), {"group": 4}),
    "one dimension": ("Conv", (16, 5, 3), (1, 5, 30), {"pads": [1, 1]}),
    "three dimensions": ("Conv", (16, 8, 3, 3, 3), (1, 8, 6, 6, 6), {}),
    "MatMul": ("MatMul", (63, 32), (2, 20, 63), {}),
    "MatMul of one row": ("MatMul", (64, 32), (1, 64), {}),
    "Gemm": ("Gemm", (32, 64), (5, 64), {"transB": 1}),
}


@pytest.mark.parametrize("runtime", without_vnni.RUNTIMES)
def test_each_operator_answers_as_emulated_to_the_step(runtime: str, tmp_path: Any, rng: np.random.Generator) -> None:
    start = started(runtime)
    made = {}
    for name, (op, of_weights, shape, attributes) in OPERATORS.items():
        weights = np.clip(rng.laplace(0, 45, of_weights), -127, 127).astype(np.int8)
        graph = without_vnni.int8_operator(op, weights, shape, signed=runtime == "openvino", scale=0.25, **attributes)
        made[name] = (graph, [np.abs(rng.normal(0, 0.6, shape)).astype(np.float32)])
    got = without_vnni.answers(runtime, made, tmp_path, start)
    for name, (graph, (x,)) in made.items():
        emulation = Emulation(graphs.parsed(graph), runtime, threads=1)
        apart = np.abs(emulation.run({"x": x})["y"] - got[name][0]) / 0.25
        assert emulation.rows()[0].pairs_cut > 0.001, name
        assert np.abs(run(graph, {"x": x})["y"] - got[name][0]).max() / 0.25 > 1.5, f"{name}: nothing saturated"
        assert apart.max() < 1.5, name  # a step: where float sums lie between two
        assert np.mean(apart > 0.5) < 0.01, name


@pytest.mark.parametrize(
    "name", ["odd channels, pads, strides", "groups of odd channels", "three dimensions", "MatMul"]
)
def test_output_positions_that_are_laid_out_in_parts_give_the_same_answer(
    name: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    op, of_weights, shape, attributes = OPERATORS[name]
    weights = np.clip(rng.laplace(0, 45, of_weights), -127, 127).astype(np.int8)
    graph = without_vnni.int8_operator(op, weights, shape, signed=True, scale=0.25, **attributes)
    feeds = {"x": np.abs(rng.normal(0, 0.6, shape)).astype(np.float32)}
    whole, parts = (Emulation(graphs.parsed(graph), "openvino", threads=1) for _ in range(2))
    wanted = whole.run(feeds)["y"]
    monkeypatch.setattr("edge_sdk.calibration.saturation.layers.MOST_COLUMN_BYTES", 200)
    assert np.array_equal(parts.run(feeds)["y"], wanted)
    assert parts.rows() == whole.rows()


def started(runtime: str) -> tuple[str, ...]:
    """How `runtime` starts without VNNI; skips where it can't."""
    pytest.importorskip(runtime, reason=f"{runtime} is not installed: its kernels without VNNI are not tested here")
    start = without_vnni.command(runtime)
    if isinstance(start, str):
        pytest.skip(f"{runtime} without VNNI is not tested here: {start}")
    return start


@pytest.fixture(scope="module")
def made() -> Quantized:
    """The network built to saturate, as the product quantizes it by default, with what it predicts."""
    options = QuantizeOptions(variants=("int8", "int8-w7"), threads=1, trials=Trials(scales=True))
    return quantize(without_vnni.built_to_saturate(), without_vnni.samples(MOST_SAMPLES), options=options)


@pytest.mark.parametrize("runtime", without_vnni.RUNTIMES)
def test_a_network_built_to_saturate_is_as_wrong_as_predicted_and_right_as_int8_w7(
    runtime: str, made: Quantized, tmp_path: Any
) -> None:
    start = started(runtime)
    feeds = without_vnni.samples(MOST_SAMPLES)
    wanted = np.stack([run(without_vnni.built_to_saturate(), one)["out"] for one in feeds])
    pixels = [one["image"] for one in feeds]
    files = {name: (made.get(name, without_vnni.LAYOUTS[runtime]).graph, pixels) for name in ("int8", "int8-w7")}
    got = without_vnni.answers(runtime, files, tmp_path, start)
    real, narrow = (relative(np.stack(got[name]), wanted) for name in files)
    predicted = next(one for one in made.report.saturation if one.runtime == runtime)
    assert (predicted.variant, predicted.samples) == ("int8", MOST_SAMPLES)
    of_exact = made.report.errors["int8"]["out"]
    assert of_exact < 0.03  # by the standard, which VNNI follows
    assert real > 0.1
    row = next(one for one in made.report.scales if one.by == f"{runtime} without VNNI, predicted")
    assert row.scale.relative_error == pytest.approx(real, rel=0.01)
    assert predicted.errors["out"] == pytest.approx(row.scale.relative_error, rel=1e-6)
    assert narrow < 0.03


def test_the_report_says_how_wrong_int8_is_without_vnni_by_how_many_samples_and_what_to_take(made: Quantized) -> None:
    said = " ".join(getattr(block, "text", "") for block in calibrated.blocks(made.report))
    assert f"int8 on a CPU without VNNI, predicted from {MOST_SAMPLES} samples: " in said
    assert "Take int8-w7 there" in said
    assert all("int8-w7" not in (one.variant, *one.errors) for one in made.report.saturation)
    rows = calibrated.saturated_layers(made.report).rows
    assert rows
    assert [float(row[4].split()[0]) for row in rows] == sorted(
        (float(row[4].split()[0]) for row in rows), reverse=True
    )


def test_branches_that_read_one_another_saturate_in_the_order_of_the_graph() -> None:
    """Two stacks, a difference and a square: all that a layer reads is there, and w7 is what the standard says."""
    options = QuantizeOptions(variants=("int8", "int8-w7"), threads=1)
    twice = quantize(pdn().SerializeToString(), pictures(4), options=options)
    feeds = pictures(4)[0]
    for runtime, layout in without_vnni.LAYOUTS.items():
        wide, narrow = (Emulation(graphs.parsed(twice.get(name, layout).graph), runtime) for name in options.variants)
        exact = run(twice.get("int8-w7", layout).graph, feeds)
        assert not narrow.layers
        assert np.array_equal(narrow.run(feeds)["map"], exact["map"])
        assert wide.run(feeds)["map"].shape == exact["map"].shape
        assert len(wide.rows()) == len(wide.layers) > 1


def test_light_trials_predict_nothing() -> None:
    options = QuantizeOptions(variants=("int8",), threads=1)
    assert quantize(pdn().SerializeToString(), pictures(4), options=options).report.saturation == ()
