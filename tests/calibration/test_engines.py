"""Two engines behind one call: what is tried, what is kept, and that another `exclude` costs no pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from calibration_nets import TAIL, Feeds, mobile, pdn, pictures
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edge_sdk.calibration import Quantized, QuantizeOptions, graphs, quantize
from edge_sdk.calibration.comparison import fidelity
from edge_sdk.calibration.engines import ENGINES
from edge_sdk.calibration.engines.nncf import FEWEST_SMOOTHED, Nncf, taken_apart
from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.prepare import Prepared, prepare
from edge_sdk.calibration.quantizer import finished
from edge_sdk.calibration.trials import ENGINE_NAMES, Trials
from edge_sdk.errors import BadUsage
from edge_sdk.runtimes.variants import KINDS

METHODS = ("minmax", "mse", "percentile-99.99")
without_nncf = pytest.mark.skipif(bool(Nncf().missing()), reason=Nncf().missing() or "nncf is here")


class Passes:
    """Samples that count how often they are read from the start."""

    def __init__(self, feeds: list[Feeds]) -> None:
        self._feeds, self.passes = feeds, 0

    def __len__(self) -> int:
        return len(self._feeds)

    def __iter__(self) -> Iterator[Feeds]:
        self.passes += 1
        return iter(self._feeds)


def both(model: Any, **more: Any) -> Quantized:
    options = QuantizeOptions(
        variants=("int8", "int8-w7"),
        keep_fp32=TAIL,
        trials=Trials(engines=ENGINE_NAMES, range_methods=METHODS),
        threads=1,
        **more,
    )
    return quantize(model.SerializeToString(), pictures(8), options=options)


def test_the_options_name_the_engines_that_there_are() -> None:
    assert tuple(ENGINES) == ENGINE_NAMES


@without_nncf
@pytest.mark.parametrize("net", [mobile, pdn])
def test_of_all_candidates_the_nearest_to_the_float_graph_is_kept(net: Any) -> None:
    made = both(net())
    for variant in ("int8", "int8-w7"):
        tried = [one for one in made.report.attempts if one.variant == variant]
        assert {(one.engine, one.ranges) for one in tried} == {
            *(("portable", method) for method in METHODS), *(("nncf", method) for method in METHODS),
            ("nncf", "nncf's ranges"),
        }  # fmt: skip
        kept = [one for one in tried if one.kept]
        assert len(kept) == 1
        assert kept[0].errors["map"] == min(one.errors["map"] for one in tried)
        assert made.report.errors[variant] == pytest.approx(kept[0].errors)  # the graph that is handed out is that one
        assert all(one.seconds >= 0 for one in tried)


@without_nncf
def test_what_nncf_found_is_written_by_the_portable_contract() -> None:
    """Weights are NNCF's own integers; Q/DQ are int8 with zero point 0, or the linter would have refused them."""
    options = QuantizeOptions(variants=("int8",), keep_fp32=TAIL, trials=Trials(engines=("nncf",)), threads=1)
    made = quantize(mobile().SerializeToString(), pictures(8), options=options)
    assert made.get("int8").int8_planned == 8
    assert all(one.engine == "nncf" for one in made.report.attempts)
    assert made.report.errors["int8"]["map"] < 0.1


@without_nncf
def test_taking_nncfs_graph_apart_leaves_the_float_graph_up_to_rounded_weights() -> None:
    import nncf

    prepared = prepare(mobile().SerializeToString(), pictures(8), QuantizeOptions(variants=("int8",), threads=1))
    quantized = nncf.quantize(prepared.model, nncf.Dataset(pictures(8)), subset_size=8)
    found = taken_apart(quantized, prepared.model)
    wanted, got = (fidelity.outputs(one, prepared.compared, 1) for one in (prepared.model, found.model))
    assert fidelity.errors(wanted, got)[0]["map"] < 0.02
    assert len(found.weights) == 9
    assert all(np.abs(one.values).max() <= 127 for one in found.weights.values())
    assert found.tops["t34"] == pytest.approx(6.0, rel=0.02)  # behind a ReLU6


def test_one_candidate_is_not_measured_against_nothing() -> None:
    made = quantize(pdn().SerializeToString(), pictures(4), options=QuantizeOptions(variants=("int8",), threads=1))
    assert [(one.engine, one.ranges, one.kept, one.errors) for one in made.report.attempts] == [
        ("portable", "minmax", True, {})
    ]


def test_another_exclude_costs_no_pass_over_the_samples() -> None:
    samples = Passes(pictures(6))
    options = QuantizeOptions(variants=("int8",), keep_fp32=TAIL, threads=1)
    prepared = prepare(mobile().SerializeToString(), samples, options)
    before = samples.passes
    names = [name for one in prepared.base.planned() for name in one.plan.operators]
    for left_out in names:
        made = finished(prepared, (left_out,))
        assert made.get("int8").int8_planned == len(names) - 1
        assert left_out in made.report.left_float
    assert samples.passes == before


def test_a_graph_that_is_prepared_once_becomes_what_one_made_for_that_exclude_is() -> None:
    options = QuantizeOptions(variants=("int8",), keep_fp32=TAIL, threads=1)
    model, samples = mobile().SerializeToString(), pictures(6)
    prepared = prepare(model, samples, options)
    for name in [name for one in prepared.base.planned() for name in one.plan.operators][::3]:
        direct = QuantizeOptions(variants=("int8",), keep_fp32=TAIL, exclude=(name,), threads=1)
        assert (
            finished(prepared, (name,)).get("int8").graph == quantize(model, samples, options=direct).get("int8").graph
        )


@pytest.mark.parametrize("wrong", [{"engines": ("tensorrt",)}, {"engines": ()}, {"compared": 0}, {"tune_s": -1.0}])
def test_options_that_name_nothing_known_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadUsage):
        Trials(**wrong)


def test_time_and_memory_of_the_pass_are_reported() -> None:
    report = quantize(pdn().SerializeToString(), pictures(4), options=QuantizeOptions(threads=1)).report
    assert report.pass_seconds > 0
    assert report.pass_peak_bytes is None or report.pass_peak_bytes > 2**20


def test_how_outputs_moved_is_reported_by_the_standard_and_by_each_runtime_here() -> None:
    trials = Trials(scales=True)
    options = QuantizeOptions(variants=("int8-w7", "fp16"), keep_fp32=TAIL, trials=trials, threads=1)
    report = quantize(mobile().SerializeToString(), pictures(6), options=options).report
    by = {(row.variant, row.by): row.scale for row in report.scales}
    assert {("int8-w7", "ONNX semantics"), ("int8-w7", "onnxruntime"), ("fp16", "ONNX semantics")} <= set(by)
    standard = by["int8-w7", "ONNX semantics"]
    assert standard.relative_error == pytest.approx(report.errors["int8-w7"]["map"], rel=1e-6)
    assert standard.rank_correlation is not None
    assert standard.rank_correlation > 0.99
    assert standard.spread_ratio == pytest.approx(1.0, abs=0.05)


def test_ranges_tuned_one_tensor_at_a_time_are_kept_only_where_they_are_nearer() -> None:
    options = QuantizeOptions(
        variants=("int8", "int8-w7"), keep_fp32=TAIL, trials=Trials(range_methods=METHODS, tune_s=20.0), threads=1
    )
    report = quantize(mobile().SerializeToString(), pictures(6), options=options).report
    for variant in options.variants:
        tried = [one for one in report.attempts if one.variant == variant]
        assert tried[-1].ranges == "tuned"
        kept = next(one for one in tried if one.kept)
        assert kept.errors["map"] == min(one.errors["map"] for one in tried)
    first = next(one for one in report.attempts if one.ranges == "tuned")
    assert first.errors["map"] < min(one.errors["map"] for one in report.attempts[:3])


def test_no_time_for_tuning_leaves_ranges_as_they_were() -> None:
    options = QuantizeOptions(variants=("int8",), keep_fp32=TAIL, trials=Trials(tune_s=1e-9), threads=1)
    attempts = quantize(mobile().SerializeToString(), pictures(6), options=options).report.attempts
    assert [(one.ranges, one.kept) for one in attempts] == [("minmax", True), ("tuned", False)]
    assert attempts[0].errors == attempts[1].errors


def _stored_weights(graph: bytes) -> dict[str, Any]:
    """By the operator that reads it, each stored int8 weight."""
    index = Index.of(graphs.parsed(graph))
    sources = {n.output[0]: n.input[0] for n in index.model.graph.node if n.op_type == "DequantizeLinear"}
    matrices = (n for n in index.model.graph.node if n.op_type in ("Conv", "Gemm", "MatMul"))
    found = {n.name: index.constants.get(sources.get(n.input[1], "")) for n in matrices}
    return {name: weight for name, weight in found.items() if weight is not None and weight.dtype == np.int8}


@without_nncf
@pytest.mark.parametrize("variant", ["int8", "int8-w7"])
def test_nncfs_own_numbers_are_written_and_those_of_int8_w7_are_within_64(
    monkeypatch: pytest.MonkeyPatch, variant: str
) -> None:
    chosen: dict[str, Any] = {}

    def taking_apart(*models: Any) -> Any:
        found = taken_apart(*models)
        chosen.update({name: -np.abs(one.values) for name, one in found.weights.items()})  # not as in the float graph
        weights = {name: replace(one, values=chosen[name]) for name, one in found.weights.items()}
        return replace(found, weights=weights)

    monkeypatch.setattr("edge_sdk.calibration.engines.nncf.taken_apart", taking_apart)
    options = QuantizeOptions(
        variants=(variant,), keep_fp32=TAIL, trials=Trials(engines=("nncf",)), threads=1, force=True
    )
    made = quantize(mobile().SerializeToString(), pictures(4), options=options)
    written = _stored_weights(made.get(variant).graph)
    limit = KINDS[variant].weight_limit
    assert len(written) == 8
    assert all(np.array_equal(weight, chosen[name]) for name, weight in written.items())
    summed = [weight for weight in written.values() if weight.shape[1] > 1]  # depthwise sums are short
    assert len(summed) == 6
    assert {int(np.abs(weight.astype(int)).max()) for weight in summed} == {limit}


def grouped() -> ModelProto:
    """x -> Conv -> Relu -> Conv of two groups -> ConvTranspose of two groups -> Conv -> y."""
    rng, value = np.random.default_rng(5), helper.make_tensor_value_info
    shapes = {"a": (8, 4, 3, 3), "b": (8, 4, 1, 1), "c": (8, 4, 2, 2), "d": (4, 8, 1, 1)}
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["h0"], "plain"), helper.make_node("Relu", ["h0"], ["h1"]),
        helper.make_node("Conv", ["h1", "b"], ["h2"], "grouped", group=2), helper.make_node("Relu", ["h2"], ["h3"]),
        helper.make_node("ConvTranspose", ["h3", "c"], ["h4"], "up", group=2, strides=[2, 2]),
        helper.make_node("Relu", ["h4"], ["h5"]), helper.make_node("Conv", ["h5", "d"], ["y"], "last"),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g", [value("x", TensorProto.FLOAT, [1, 4, 12, 12])], [value("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(rng.normal(0, 0.4, shape).astype(np.float32), name) for name, shape in shapes.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@without_nncf
def test_weights_of_nncf_that_the_contract_does_not_hold_are_quantized_anew() -> None:
    """NNCF 3.4 leaves grouped weights at 127 where it halves others, and scales a grouped ConvTranspose per channel."""
    feeds = [{"x": np.random.default_rng(seed).normal(size=(1, 4, 12, 12)).astype(np.float32)} for seed in range(8)]
    options = QuantizeOptions(variants=("int8", "int8-w7"), trials=Trials(engines=("nncf",)), threads=1)
    made = quantize(grouped().SerializeToString(), feeds, options=options)
    tops = {variant.variant: largest_weight(graphs.parsed(variant.graph)) for variant in made.variants}
    assert tops == {"int8": 127, "int8-w7": 64}
    assert max(made.report.errors["int8-w7"].values()) < 0.1


def largest_weight(model: ModelProto) -> int:
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    read = [stored[node.input[0]] for node in model.graph.node if node.input and node.input[0] in stored]
    return max(int(np.abs(array.astype(int)).max()) for array in read if array.dtype == np.int8)


@pytest.mark.parametrize(("samples", "modes"), [(FEWEST_SMOOTHED - 1, ("",)), (FEWEST_SMOOTHED, ("", "smoothed"))])
def test_few_samples_are_not_smoothed_since_a_channels_largest_value_is_not_known(
    samples: int, modes: tuple[str, ...]
) -> None:
    node = helper.make_node("Softmax", ["x"], ["y"])
    graph = helper.make_graph([node], "g", [], [])
    prepared = SimpleNamespace(model=helper.make_model(graph), passed=samples)
    assert Nncf().modes(cast(Prepared, prepared)) == modes
