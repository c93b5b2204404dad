"""Channels are equalised before quantization: where factors may go, that answers stay the same, when it is tried."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from calibration_nets import Feeds
from onnx import ModelProto
from random_graphs import Net as RandomNet
from random_graphs import samples_for
from test_float_rewrites import Net

from edge_sdk.calibration import QuantizeOptions, graphs, quantize
from edge_sdk.calibration.comparison import fidelity
from edge_sdk.calibration.engines.portable import EQUALISED, Portable
from edge_sdk.calibration.plan import plan
from edge_sdk.calibration.prepare import prepare
from edge_sdk.calibration.rewrite.clean import clean, with_names
from edge_sdk.calibration.rewrite.rescale import folds, rescaled
from edge_sdk.calibration.statistics.equalise import GAIN, SPREAD, equalisations
from edge_sdk.calibration.trials import ONE, THOROUGH, Trials
from edge_sdk.errors import EdgeError

PICTURE, ROWS = [1, 16, 8, 8], [1, 6, 16]


def conv(net: Net, x: str, after: int = 16, k: int = 1, group: int = 1, before: int = 16, bias: bool = True) -> str:
    more = [net.constant(net.rng.normal(0, 1, after).astype(np.float32))] if bias else []
    weight = net.constant(net.rng.normal(0, 0.3, (after, before // group, k, k)).astype(np.float32))
    return net.add("Conv", x, weight, *more, group=group, pads=[k // 2] * 4)


def product(net: Net, x: str) -> str:
    return net.add("MatMul", x, net.constant(net.rng.normal(0, 0.3, (16, 16)).astype(np.float32)))


def norm(net: Net, x: str) -> str:
    return net.add("LayerNormalization", x, net.draw(16), net.draw(16))


def convs(net: Net) -> None:
    conv(net, net.add("Relu", conv(net, "x", k=3)), k=3)


def into_depthwise(net: Net) -> None:
    conv(net, net.add("Relu", conv(net, "x")), k=3, group=16)


def from_depthwise(net: Net) -> None:
    conv(net, net.add("LeakyRelu", conv(net, "x", k=3, group=16, bias=False), alpha=0.1), group=4)


def residual(net: Net) -> None:
    stream = conv(net, "x")
    for _ in range(2):
        stream = net.add("Add", stream, conv(net, net.add("HardSwish", conv(net, stream, k=3))))
    conv(net, net.add("MaxPool", stream, kernel_shape=[2, 2]))


def concat(net: Net) -> None:
    parts = [net.add("Relu", conv(net, "x", after)) for after in (8, 16)]
    conv(net, net.add("Concat", *parts, axis=1), before=24)
    conv(net, parts[0], before=8)


def squeeze_and_excite(net: Net) -> None:
    x = net.add("Relu", conv(net, "x"))
    gate = net.add("HardSigmoid", conv(net, net.add("Relu", conv(net, net.add("GlobalAveragePool", x)))))
    conv(net, net.add("Mul", x, gate))


def transposed(net: Net) -> None:
    x = net.add("ConvTranspose", "x", net.draw(16, 8, 2, 2), net.draw(8))
    net.add("ConvTranspose", net.add("PRelu", x, net.draw(8, 1, 1)), net.draw(8, 4, 2, 2))


def before_products(net: Net) -> None:
    x = norm(net, "x")
    net.add("Add", product(net, x), product(net, x))


def products(net: Net) -> None:
    product(net, net.add("Relu", net.add("Add", product(net, "x"), net.draw(16))))


def gemms(net: Net) -> None:
    x = net.add("Gemm", "x", net.draw(16, 16), net.draw(16), transB=1)
    net.add("Gemm", net.add("Relu", x), net.draw(16, 16))


def scaled(net: Net) -> None:
    conv(net, net.add("Sub", net.add("Mul", conv(net, "x"), net.draw(16, 1, 1)), net.draw(1, 16, 1, 1)))


FOUND: dict[str, tuple[list[int], Callable[[Net], None], int]] = {
    "Conv, Relu, Conv": (PICTURE, convs, 1),
    "Conv, Relu, depthwise": (PICTURE, into_depthwise, 1),
    "depthwise, LeakyRelu, grouped": (PICTURE, from_depthwise, 1),
    "a residual stream": (PICTURE, residual, 1),
    "a Concat that shares an input": (PICTURE, concat, 1),
    "squeeze and excite": (PICTURE, squeeze_and_excite, 2),
    "ConvTranspose, PRelu": (PICTURE, transposed, 1),
    "LayerNorm, two MatMul": (ROWS, before_products, 1),
    "MatMul, bias, Relu, MatMul": (ROWS, products, 1),
    "Gemm, Relu, Gemm": ([4, 16], gemms, 1),
    "a scale and a shift of each channel": (PICTURE, scaled, 1),
}  # fmt: skip


def build(shape: list[int], block: Callable[[Net], None]) -> ModelProto:
    net = Net(shape)
    block(net)
    return net.model()


def matrices(model: ModelProto) -> list[str]:
    return [n.name for n in model.graph.node if n.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul")]


def moved(model: ModelProto, operators: Any, seed: int = 0) -> ModelProto:
    """With factors of 1/8 to 8 in all folds."""
    rng = np.random.default_rng(seed)
    return rescaled(model, [(one, 2.0 ** rng.uniform(-3, 3, one.size)) for one in folds(model, operators)])


def gap(before: ModelProto, after: ModelProto, samples: list[Feeds]) -> float:
    left, right = (fidelity.outputs(one, samples, 1) for one in (before, after))
    return max(fidelity.errors(left, right)[0].values(), default=0.0)


def drawn(shape: list[int]) -> list[Feeds]:
    return [{"x": np.random.default_rng(n).normal(0, 2, shape).astype(np.float32)} for n in range(3)]


def alike(shape: list[int]) -> list[Feeds]:
    """As large in every channel."""
    return [{"x": np.random.default_rng(n).uniform(-1, 1, shape).astype(np.float32)} for n in range(3)]


@pytest.mark.parametrize("name", FOUND)
def test_factors_go_where_they_pass_exactly_and_the_graph_answers_the_same(name: str) -> None:
    shape, block, count = FOUND[name]
    model = build(shape, block)
    found = folds(model, matrices(model))
    assert len(found) == count
    assert all(one.read for one in found)
    after = moved(model, matrices(model))
    assert graphs.dump(after) != graphs.dump(model)
    assert gap(model, after, drawn(shape)) < 1e-5


def test_a_residual_stream_moves_as_a_whole() -> None:
    model = build(PICTURE, residual)
    (found,) = folds(model, matrices(model))
    assert found.size == 16
    assert set(found.read) == {"Conv_0", "Add_4", "MaxPool_9"}  # the first branch, the second, the end
    assert found.scaled == {*found.read, "Add_8", "Conv_3", "Conv_7"}


ENDS: dict[str, Callable[[Net, str], str]] = {
    "HardSwish": lambda net, x: net.add("HardSwish", x),
    "Sigmoid": lambda net, x: net.add("Sigmoid", x),
    "Clip": lambda net, x: net.add("Clip", x, net.constant(np.float32(0)), net.constant(np.float32(6))),
    "Softmax": lambda net, x: net.add("Softmax", x, axis=1),
    "SiLU": lambda net, x: net.add("Mul", x, net.add("Sigmoid", x)),
    "GELU": lambda net, x: net.add(
        "Mul", net.add("Mul", x, net.add("Add", net.add("Erf", x), net.constant(np.float32(1)))),
        net.constant(np.float32(0.5)),
    ),
    "Pad with a value": lambda net, x: net.add(
        "Pad", x, net.constant(np.array([0, 0, 1, 1, 0, 0, 1, 1])), net.constant(np.float32(1))
    ),
    "Reshape": lambda net, x: net.add("Reshape", x, net.constant(np.array([1, 16, 4, 16]))),
    "a shift of all channels": lambda net, x: net.add("Add", x, net.constant(np.float32(3))),
    "a constant divided by it": lambda net, x: net.add("Div", net.draw(1, 16, 1, 1), x),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDS)
def test_what_factors_cant_pass_exactly_ends_the_fold(name: str) -> None:
    net = Net(PICTURE)
    end = ENDS[name](net, conv(net, "x"))
    last = conv(net, end)
    model = net.model(last)
    assert folds(model, matrices(model)) == ()


def test_a_second_reader_that_takes_no_factor_ends_the_fold() -> None:
    net = Net(PICTURE)
    x = net.add("Relu", conv(net, "x"))
    model = net.model(conv(net, x), net.add("Sigmoid", x))
    assert folds(model, matrices(model)) == ()


def test_no_factor_reaches_an_output_of_the_graph() -> None:
    net = Net(PICTURE)
    x = net.add("Relu", conv(net, "x"))
    model = net.model(conv(net, x), x)
    assert folds(model, matrices(model)) == ()


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_node_that_the_caller_excluded_is_not_touched(number: int) -> None:
    model = build(PICTURE, convs)
    left_out = model.graph.node[number].name
    assert len(folds(model, matrices(model))) == 1
    assert folds(model, matrices(model), untouched=(left_out,)) == ()


def test_a_fold_is_read_by_an_int8_operator_and_made_by_any() -> None:
    model = build(PICTURE, convs)
    first, last = matrices(model)
    assert [list(one.read) for one in folds(model, [last])] == [["Relu_1"]]
    assert folds(model, [first]) == ()


def test_a_constant_that_others_read_is_copied() -> None:
    net = Net(PICTURE)
    shared = net.draw(16, 16, 1, 1)
    x = net.add("Relu", net.add("Conv", "x", shared))
    net.add("HardSwish", net.add("Conv", x, shared))
    net.add("Conv", net.x, shared)
    model = net.model()
    after = moved(model, matrices(model))
    assert gap(model, after, drawn(PICTURE)) < 1e-5
    weights = [node.input[1] for node in after.graph.node if node.op_type == "Conv"]
    assert len(set(weights)) == 3
    assert weights[2] == shared


@pytest.mark.parametrize("part", range(4))
def test_random_graphs_answer_the_same_with_factors_in_every_fold(part: int) -> None:
    count = 0
    for seed in range(part * 25, part * 25 + 25):
        try:
            net = RandomNet(seed).model()
            model = clean(with_names(graphs.load(net.SerializeToString()))).model
        except EdgeError:
            continue
        operators = plan(model).operators
        found = folds(model, operators)
        count += len(found)
        if found:
            tensors = [name for one in found for name in one.scaled]
            assert len(tensors) == len(set(tensors))
            assert gap(model, moved(model, operators, seed), samples_for(net, 2, seed)) < 1e-5, seed
    assert count > 5


# ---- which factors, and when


def uneven(net: Net) -> None:
    """One channel is 200 times the others."""
    sizes = np.where(np.arange(16) == 3, 20.0, 0.1).astype(np.float32)
    weight = net.rng.normal(0, 0.3, (16, 16, 1, 1)).astype(np.float32)
    x = net.add("Relu", net.add("Conv", "x", net.constant(weight * sizes[:, None, None, None])))
    weight = net.rng.normal(0, 0.3, (16, 16, 3, 3)).astype(np.float32)
    net.add("Conv", x, net.constant(weight / sizes[None, :, None, None]), pads=[1] * 4)


def even(net: Net) -> None:
    x = net.add("Relu", net.add("Conv", "x", net.constant(np.eye(16, dtype=np.float32)[..., None, None])))
    net.add("Conv", x, net.draw(16, 16, 3, 3), pads=[1] * 4)


class Passes:
    """Samples that count how often they are read from the start."""

    def __init__(self, feeds: list[Feeds]) -> None:
        self._feeds, self.passes = feeds, 0

    def __iter__(self) -> Iterator[Feeds]:
        self.passes += 1
        return iter(self._feeds)


def options(**more: Any) -> QuantizeOptions:
    trials = more.pop("trials", Trials(equalise=True))
    return QuantizeOptions(variants=("int8", "int8-w7"), trials=trials, threads=1, **more)


def test_channels_that_differ_are_equalised_and_int8_is_nearer() -> None:
    samples = Passes(drawn(PICTURE))
    report = quantize(build(PICTURE, uneven).SerializeToString(), samples, options=options()).report
    for variant in ("int8", "int8-w7"):
        plain, other = (one for one in report.attempts if one.variant == variant)
        assert (plain.mode, other.mode, other.kept) == ("", EQUALISED, True)
        assert max(other.errors.values()) < 0.5 * max(plain.errors.values())


def test_variants_share_one_more_pass_over_the_samples() -> None:
    counts = []
    for equalise in (False, True):
        samples = Passes(drawn(PICTURE))
        trials = Trials(equalise=equalise, range_methods=("minmax", "mse"))
        quantize(build(PICTURE, uneven).SerializeToString(), samples, options=options(trials=trials, force=True))
        counts.append(samples.passes)
    assert counts[1] == counts[0] + 1


def test_channels_that_are_alike_cost_nothing() -> None:
    prepared = prepare(build(PICTURE, even).SerializeToString(), alike(PICTURE), options())
    assert Portable().modes(prepared) == ("",)


def test_it_is_tried_by_default_for_a_users_own_model_and_costs_families_nothing() -> None:
    assert THOROUGH.equalise
    assert not ONE.equalise
    prepared = prepare(build(PICTURE, uneven).SerializeToString(), drawn(PICTURE), options(trials=ONE))
    assert Portable().modes(prepared) == ("",)
    assert not any(one.squares.size or one.channel_tops.size for one in prepared.base.seen.values())


def test_an_excluded_operator_keeps_its_weights_and_leaves_nothing_to_equalise() -> None:
    model = build(PICTURE, uneven)
    asked = options(exclude=(matrices(model)[0],))
    assert Portable().modes(prepare(model.SerializeToString(), drawn(PICTURE), asked)) == ("",)


def test_biases_are_not_corrected_where_that_is_not_wanted_though_channels_are_watched() -> None:
    model = build(PICTURE, even).SerializeToString()
    observed, plain = (
        quantize(model, alike(PICTURE), options=options(bias_correction=False, trials=Trials(equalise=equalise)))
        for equalise in (True, False)
    )
    assert observed.get("int8").graph == plain.get("int8").graph


def test_statistics_of_what_changed_are_those_of_a_pass_over_the_rescaled_graph() -> None:
    prepared = prepare(build(PICTURE, uneven).SerializeToString(), drawn(PICTURE), options())
    source = Portable().source(prepared, EQUALISED, "int8", ())
    assert source is not None
    again = prepare(graphs.dump(source.observed.model), drawn(PICTURE), options())
    for name, one in again.base.seen.items():
        assert source.observed.seen[name].high == pytest.approx(one.high, rel=1e-5)
        np.testing.assert_allclose(source.observed.seen[name].means, one.means, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("limit", [63, 64, 127])
def test_factors_are_chosen_for_the_steps_that_weights_have(limit: int) -> None:
    prepared = prepare(build(PICTURE, uneven).SerializeToString(), drawn(PICTURE), options())
    operators = matrices(prepared.model)
    (one,) = equalisations(prepared.model, prepared.base.seen, operators, weight_limit=limit)
    assert one.after <= GAIN * one.before
    assert one.factors.max() / one.factors.min() <= SPREAD**2
    assert np.log(one.factors).mean() == pytest.approx(0.0, abs=1e-9)
    (wide,) = equalisations(prepared.model, prepared.base.seen, operators, weight_limit=127)
    assert one.before >= wide.before


def test_a_graph_without_operators_has_no_folds() -> None:
    net = Net(PICTURE)
    net.add("Relu", "x")
    assert folds(net.model(), ()) == ()


@pytest.mark.parametrize(("variants", "limit"), [(("int8",), 127), (("int8", "int8-w7"), 64), (("int8-w7",), 64)])
def test_variants_share_the_factors_of_the_one_with_the_fewest_steps(
    monkeypatch: pytest.MonkeyPatch, variants: tuple[str, ...], limit: int
) -> None:
    limits: list[int] = []

    def noted(*given: Any, weight_limit: int, **more: Any) -> Any:
        limits.append(weight_limit)
        return equalisations(*given, weight_limit=weight_limit, **more)

    monkeypatch.setattr("edge_sdk.calibration.engines.portable.equalisations", noted)
    asked = QuantizeOptions(variants=variants, trials=Trials(equalise=True), threads=1)
    prepared = prepare(build(PICTURE, uneven).SerializeToString(), drawn(PICTURE), asked)
    assert Portable().modes(prepared) == ("", EQUALISED)
    assert limits == [limit]
