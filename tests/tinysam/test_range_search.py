"""Searched ranges: torch answers what ONNX Runtime does, gradients tell in sequential mode alone, the option."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from by_rule import sam
from command import called
from onnx import ModelProto, TensorProto, helper
from small_nets import SIDE, network

from edge_sdk.calibration import QuantizeOptions, graphs
from edge_sdk.calibration.comparison import fidelity
from edge_sdk.calibration.int8_graph import Int8Graph
from edge_sdk.calibration.prepare import Prepared, prepare
from edge_sdk.calibration.source import Source
from edge_sdk.calibration.statistics.observe import Reader
from edge_sdk.calibration.trials import Trials
from edge_sdk.errors import BadInput, BadUsage, CheckFailed
from edge_sdk.export import calibrating
from edge_sdk.export.tinysam import saved
from edge_sdk.export.tinysam.family import TinySAM
from edge_sdk.export.tinysam.graph.decoder import decoder_graph
from edge_sdk.export.tinysam.graph.encoder import encoder_graph
from edge_sdk.export.tinysam.layout import DecoderLayout, Lite0Layout, SamLayout, TinyVitLayout, VitLayout
from edge_sdk.export.tinysam.options import TinySamOptions
from edge_sdk.export.tinysam.ranges.search import SHARES, Sample, Search, divergence, stage_of
from edge_sdk.export.tinysam.ranges.torch_graph import TorchGraph
from edge_sdk.export.tinysam.small import graph as small_graph
from edge_sdk.progress import silent
from edge_sdk.tensors import Array

LAYOUT = SamLayout(
    encoder=TinyVitLayout(
        image_size=64, dims=(8, 16, 16, 32), depths=(1, 1, 1, 1), heads=(1, 1, 1), windows=(8, 4, 4), width=32
    ),
    decoder=DecoderLayout(heads=2, mlp=32, prior=True),
)
LAYOUTS = {
    "TinyViT": LAYOUT,
    "ViT": SamLayout(
        encoder=VitLayout(image_size=64, dim=32, depth=2, heads=2, whole=(1,), window=3, width=32),
        decoder=replace(LAYOUT.decoder, prior=False),
    ),
    "Lite0": SamLayout(encoder=Lite0Layout(image_size=64, width=32), decoder=LAYOUT.decoder),
}  # fmt: skip


def graphs_of(name: str) -> tuple[ModelProto, ModelProto, int]:
    """Encoder and decoder of a network, and its side in px."""
    if name == "small":
        net = network()
        encoder = small_graph.encoder_graph(net.encoder, SIDE)
        return graphs.parsed(encoder), graphs.parsed(small_graph.decoder_graph(net.decoder, refiner=False)[0]), SIDE
    whole = sam(LAYOUTS[name])
    encoder, decoder = encoder_graph(whole.image_encoder), decoder_graph(whole, refiner=False)
    return graphs.parsed(encoder), graphs.parsed(decoder), LAYOUTS[name].image_size


def samples(side: int, count: int = 2) -> list[Sample]:
    """Pictures of coarse noise, the lower quarter of the frame unused, and a point, a box and two points."""
    rng = np.random.default_rng(3)
    made = []
    for _ in range(count):
        coarse = rng.integers(0, 256, (1, side // 8, side // 8, 3)).repeat(8, axis=1).repeat(8, axis=2)
        made.append(
            Sample(
                {"image": coarse.astype(np.uint8), "extent": np.array([0.75 * side, side], np.float32)},
                {
                    "points": rng.uniform(0, 0.7 * side, (3, 2, 2)).astype(np.float32),
                    "labels": np.array([[1, -1], [2, 3], [1, 0]], np.int32),
                },
            )
        )
    return made


@pytest.mark.parametrize("name", [*LAYOUTS, "small"])
def test_torch_answers_what_onnx_runtime_does(name: str) -> None:
    encoder, decoder, side = graphs_of(name)
    (sample,) = samples(side, 1)
    embedded = fidelity.outputs(encoder, [sample.encoder], 1)[0]
    feeds = {**embedded, **sample.prompts}
    for model, given in ((encoder, sample.encoder), (decoder, feeds)):
        wanted, got = fidelity.outputs(model, [given], 1)[0], TorchGraph(model).run(given)
        assert set(got) == set(wanted)
        for output, array in wanted.items():
            np.testing.assert_allclose(got[output].numpy(), array, rtol=0, atol=2e-5 * max(1.0, np.abs(array).max()))


def one_node(kind: str, *shapes: tuple[int, ...], **settings: Any) -> ModelProto:
    value, names = helper.make_tensor_value_info, [f"x{k}" for k in range(len(shapes))]
    inputs = [value(name, TensorProto.FLOAT, shape) for name, shape in zip(names, shapes, strict=True)]
    node = helper.make_node(kind, names, ["y"], "the node", **settings)
    return helper.make_model(helper.make_graph([node], "g", inputs, [value("y", TensorProto.FLOAT, None)]))


def test_an_operator_that_no_graph_of_the_family_has_is_named() -> None:
    with pytest.raises(BadInput, match=r"the node: HardSwish is not an operator of the family's graphs"):
        TorchGraph(one_node("HardSwish", (1, 2)))


def int8_by_minmax(prepared: Prepared) -> Int8Graph:
    source = Source(
        observed=prepared.base, real=prepared.model, variant="int8-w7", exclude=(), margin=1.0, methods=("minmax",)
    )
    return source.graphs(source.ranges("minmax"))[0]


def searching(name: str = "TinyViT", *, bias_correction: bool = True) -> Search:
    encoder, decoder, side = graphs_of(name)
    given = samples(side)
    options = QuantizeOptions(variants=("int8-w7",), threads=1, bias_correction=bias_correction)
    prepared = prepare(graphs.dump(encoder), [one.encoder for one in given], options)
    return Search(prepared.model, decoder, int8_by_minmax(prepared), given, seed=1)


@pytest.fixture(scope="module")
def search() -> Search:
    return searching()


def largest(search: Search, tops: dict[str, float]) -> dict[str, float]:
    """By stage, the largest gradient of any sample while `tops` are int8."""
    return {
        stage.name: max(float(g.abs().max()) for at in range(2) for g in search.gradients(at, stage, tops).values())
        for stage in search.stages() if not set(stage.groups) & set(tops)
    }  # fmt: skip


def test_gradients_tell_nothing_where_nothing_is_int8(search: Search) -> None:
    assert set(largest(search, {}).values()) == {0.0}
    assert list(largest(search, {})) == ["patch_embed", "layers.0", "layers.1", "layers.2", "layers.3", "neck"]


def test_in_sequential_mode_the_first_stage_alone_has_no_gradient(search: Search) -> None:
    search.tops("hessian")
    first, *others = search.largest_gradients.items()
    assert first == ("patch_embed", 0.0)
    assert [name for name, _ in others] == ["layers.0", "layers.1", "layers.2", "layers.3", "neck"]
    assert min(value for _, value in others) > 1e-6


def test_a_stage_has_all_operators_of_its_groups() -> None:
    """In the small size a lateral convolution reads what a later block of the trunk reads."""
    search = searching("small")
    stages = search.stages()
    for found, wanted in (
        ([node.name for stage in stages for node in stage.operators], [n.name for n in search.whole().operators]),
        ([group for stage in stages for group in stage.groups], list(search.whole().groups)),
    ):
        assert sorted(found) == sorted(wanted)
    of = {node.name: stage.name for stage in stages for node in stage.operators}
    assert (of["trunk/4/expand"], of["lateral8"]) == ("trunk/4", "trunk/5")


def test_answers_drawn_from_the_float_network_have_a_gradient_at_every_operator(search: Search) -> None:
    whole = search.whole()
    found = search.gradients(0, whole, {}, torch.Generator().manual_seed(0))
    assert set(found) == {node.name for node in whole.operators}
    assert min(float(one.abs().max()) for one in found.values()) > 1e-6


def test_the_error_of_an_operator_is_that_of_the_int8_graph() -> None:
    """Of the first one, which reads what the float graph has there: written by calibration, run by ONNX Runtime."""
    search = searching(bias_correction=False)
    stage = search.stages()[0]
    node = stage.operators[0]
    alone = replace(stage, operators=(node,), groups=stage.groups[:1])
    sample = search.samples[0].encoder
    real, rounded = (
        Reader(model, (node.output[0],), optimised=False, threads=1).run(sample)[node.output[0]]
        for model in (search.encoder, search.made.model)
    )
    (errors,) = search.errors(0, alone, {node.name: torch.ones(1)}).values()
    assert errors[SHARES.index(1.0)] == pytest.approx(float(((real - rounded) ** 2).sum()), rel=1e-3)


def weighted(search: Search, seed: int) -> dict[str, Array]:
    """By group, the error by Fisher information with each share, summed over the samples."""
    rng, whole = torch.Generator().manual_seed(seed), search.whole()
    total = {group: np.zeros(len(SHARES)) for group in whole.groups}
    for at in range(len(search.samples)):
        squared = {name: one**2 for name, one in search.gradients(at, whole, {}, rng).items()}
        for group, found in search.errors(at, whole, squared).items():
            total[group] += found
    return total


def test_searched_ranges_lose_less_than_minmax_by_the_weighted_error(search: Search) -> None:
    tops, points = search.tops("fisher"), search.made.planned.plan.points
    kept, before = 0.0, 0.0
    for group, errors in weighted(search, search.seed).items():
        (top,) = {tops[name] for name, point in points.items() if point.group == group}
        share = int(np.argmin(np.abs(np.array(SHARES) * search.seen[group] - top)))
        assert errors[share] == errors.min()
        kept, before = kept + errors[share], before + errors[SHARES.index(1.0)]
    assert kept < 0.9 * before


def test_a_search_repeats_itself_and_follows_its_seed(search: Search) -> None:
    first = search.tops("fisher")
    assert search.tops("fisher") == first
    other = Search(search.encoder, search.decoder, search.made, search.samples, seed=2)
    assert other.tops("fisher").keys() == first.keys()
    assert np.ptp([errors.min() for errors in weighted(search, 1).values()]) > 0
    assert any(np.any(weighted(search, 1)[group] != errors) for group, errors in weighted(search, 2).items())


def test_progress_counts_pictures_of_all_stages(search: Search) -> None:
    seen: list[tuple[int, int, str]] = []
    search.tops("hessian", lambda *now: seen.append(now))
    assert [done for done, _, _ in seen] == list(range(13))
    assert {total for _, total, _ in seen} == {12}
    assert seen[3] == (3, 12, "int8-w7: hessian range search, layers.0, picture 2")


def test_weights_that_are_not_finite_end_the_search(search: Search) -> None:
    decoder = ModelProto()
    decoder.CopyFrom(search.decoder)
    name = next(n.input[1] for n in decoder.graph.node if n.op_type == "MatMul")
    for one in decoder.graph.initializer:
        if one.name == name:
            one.CopyFrom(graphs.tensor(name, np.full(tuple(one.dims), np.nan, np.float32)))
    broken = Search(search.encoder, decoder, search.made, search.samples)
    with pytest.raises(CheckFailed, match="all stages: a gradient of masks and IoUs is not finite"):
        broken.tops("fisher")


def test_divergence_is_zero_for_the_same_answers_and_grows() -> None:
    rng = torch.Generator().manual_seed(0)
    wanted = {"masks": torch.randn(2, 3, 4, 4, generator=rng), "iou": torch.rand(2, 3, generator=rng)}
    apart = [float(divergence({k: v + step for k, v in wanted.items()}, wanted)) for step in (0.0, 0.1, 1.0)]
    assert apart[0] == pytest.approx(0.0, abs=1e-6)
    assert 0.5 < apart[1] < apart[2]  # the IoUs alone are 6 * 0.1 apart


@pytest.mark.parametrize(
    ("operator", "stage"),
    [
        ("layers.0.blocks.1/conv2", "layers.0"), ("layers.2.downsample/conv1", "layers.2"), ("neck/2", "neck"),
        ("blocks.11/attn/q", "blocks.11"), ("trunk/4/expand", "trunk/4"), ("patch_embed", "patch_embed"),
        ("smooth8/mix", "smooth8"),
    ],
)  # fmt: skip
def test_operators_of_a_stage_become_int8_together(operator: str, stage: str) -> None:
    assert stage_of(operator) == stage


@pytest.mark.parametrize("verb", ["export", "train"])
def test_a_search_that_is_not_known_is_refused_at_once(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = called(capsys, verb, "tinysam", "--range-search", "parallel", "--out", tmp_path / "a.edge")
    assert (code, "--range-search is fisher or hessian, not parallel" in err) == (2, True)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "rule.safetensors"
    saved.write(sam(LAYOUT), path, facts={})
    return path


@pytest.mark.parametrize("label", ["fisher", "hessian"])
def test_an_int8_encoder_is_made_of_the_ranges_that_were_searched(weights: Path, tmp_path: Path, label: Any) -> None:
    family, options = TinySAM(), TinySamOptions(weights=weights, range_search=label, threads=1)
    exported = family.graphs(family.train(None, options, folder=tmp_path, progress=silent))
    encoder = replace(exported.graphs["encoder"], variants=("int8-w7",), trials=Trials())
    given = samples(LAYOUT.image_size)
    feeds = {"encoder": [one.encoder for one in given], "decoder": [one.prompts for one in given]}
    notes: list[str] = []
    made = calibrating.quantized(
        encoder, feeds["encoder"], samples_of=feeds.__getitem__, threads=1, force=True,
        progress=lambda done, total, note: notes.append(note),
    )  # fmt: skip
    before, after = made.report.attempts
    assert (before.ranges, before.kept, after.ranges, after.kept) == ("minmax", False, label, True)
    assert after.errors["embedding"] < 0.9 * before.errors["embedding"]
    # Of the graphs that are handed out, one for each plan: attempts are measured on the first.
    assert made.report.errors["int8-w7"]["embedding"] < before.errors["embedding"]
    assert any(row.cut > 0.0 for row in made.report.tensors)  # minmax cuts nothing
    assert f"int8-w7: {label} range search" in notes


def test_a_search_without_the_decoders_samples_is_refused(weights: Path, tmp_path: Path) -> None:
    family, options = TinySAM(), TinySamOptions(weights=weights, range_search="fisher", threads=1)
    exported = family.graphs(family.train(None, options, folder=tmp_path, progress=silent))
    with pytest.raises(BadUsage, match="a range search reads the samples of every role"):
        calibrating.quantized(exported.graphs["encoder"], [one.encoder for one in samples(LAYOUT.image_size)])


def test_another_search_is_no_other_run(weights: Path, tmp_path: Path) -> None:
    """A checkpoint is resumed, and a bundle made again, with other ranges."""
    family = TinySAM()
    plain = family.plan(None, TinySamOptions(weights=weights), folder=tmp_path)
    asked = TinySamOptions(weights=weights, range_search="fisher")
    assert family.plan(None, asked, folder=tmp_path).run == plain.run
    trained = family.train(None, asked, folder=tmp_path, progress=silent)
    found = {role: one.range_search is not None for role, one in family.graphs(trained).graphs.items()}
    assert found == {"encoder": True, "decoder": False, "refiner": False}
