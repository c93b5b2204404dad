"""The merged PDN graph: exact against the training model, the same in torch and every runtime, at any batch."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch
from numpy.typing import NDArray

from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.errors import BadInput, NotThere
from edge_sdk.export.efficientad.pdn.autoencoder import AutoencoderLayout
from edge_sdk.export.efficientad.pdn.graph import RAW_MAPS, Conv, merged_graph
from edge_sdk.export.efficientad.pdn.model import PdnModel, random_model
from edge_sdk.export.efficientad.pdn.network import PdnLayout, PdnSize, normalised
from edge_sdk.export.efficientad.statistics import StatisticsSum, map_quantiles
from edge_sdk.runtimes import trt_confirm
from edge_sdk.runtimes.ov import core_of

torch.set_num_threads(1)

SIZES = [(256, 256), (288, 288), (256, 320)]
"""(height, width)"""


def model_of(size: PdnSize = "s", *, padding: bool = False, whole_picture: bool = True, seed: int = 0) -> PdnModel:
    inner = (4, 6, 6) if size == "s" else (4, 6, 6, 6)
    layout = PdnLayout(size=size, channels=5, inner=inner, padding=padding)
    return random_model(layout, AutoencoderLayout(channels=5, width=8, whole_picture=whole_picture), seed=seed)


def pictures(count: int, height: int, width: int) -> NDArray[np.uint8]:
    """Smooth and rough parts, saturated ones among them, so that the border of the picture is far from its mean."""
    rng = np.random.default_rng(3)
    ys, xs = np.mgrid[0:height, 0:width]
    waves = 120 + 110 * np.sin(xs / 31.0)[None, :, :, None] * np.cos(ys / 17.0)[None, :, :, None]
    return np.clip(waves + rng.normal(0, 30, (count, height, width, 3)), 0, 255).astype(np.uint8)


def float64_of(model: PdnModel, images: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    cells, score = copy.deepcopy(model).double()(torch.from_numpy(images))
    return cells.numpy(), score.numpy()


def in_onnxruntime(graph: bytes, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return dict(zip(("map", "score"), session.run(["map", "score"], {"image": images}), strict=True))


def in_openvino(graph: bytes, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    core = core_of(openvino)
    found: Any = core.compile_model(core.read_model(graph, b""), "CPU", hints)(images)
    return {name: np.asarray(found[name]) for name in ("map", "score")}


@pytest.mark.parametrize("size", ["s", "m"])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_graph_equals_the_training_model_in_both_runtimes(size: PdnSize, height: int, width: int) -> None:
    model = model_of(size)
    images = pictures(2, height, width)
    want, score = float64_of(model, images)
    assert want.shape == (2, *model.teacher.layout.grid(height, width))
    reach = np.abs(want).max()
    assert np.abs(model(torch.from_numpy(images))[0].numpy() - want).max() <= 1e-5 * reach
    graph, _ = merged_graph(model, width=width, height=height)
    for found in (in_onnxruntime(graph, images), in_openvino(graph, images)):
        assert found["map"].dtype == np.float32
        assert np.abs(found["map"] - want).max() <= 1e-5 * reach
        np.testing.assert_allclose(found["score"], score, rtol=1e-5)
        np.testing.assert_array_equal(found["score"], found["map"].max(axis=(1, 2)))


@pytest.mark.parametrize(("padding", "whole_picture"), [(True, True), (False, False), (True, False)])
def test_padded_networks_and_the_published_autoencoder_fold_exactly_too(padding: bool, whole_picture: bool) -> None:
    model = model_of(padding=padding, whole_picture=whole_picture)
    images = pictures(1, 288, 256)
    want, _ = float64_of(model, images)
    graph, _ = merged_graph(model, width=256, height=288)
    assert want.shape[1:] == ((72, 64) if padding else (64, 56))
    for found in (in_onnxruntime(graph, images), in_openvino(graph, images)):
        assert np.abs(found["map"] - want).max() <= 1e-5 * np.abs(want).max()


def test_a_batch_gives_what_its_pictures_give_alone() -> None:
    images = pictures(3, 256, 256)
    graph, _ = merged_graph(model_of(), width=256, height=256)
    for run in (in_onnxruntime, in_openvino):
        together = run(graph, images)
        for k in range(3):
            alone = run(graph, images[k : k + 1])
            np.testing.assert_allclose(together["map"][k], alone["map"][0], rtol=0, atol=1e-6)
            np.testing.assert_allclose(together["score"][k], alone["score"][0], rtol=0, atol=1e-6)


def test_the_naive_fold_is_wrong_at_the_border_of_a_padded_convolution_and_ours_is_not() -> None:
    model = model_of()
    first = next(iter(model.autoencoder.encoder.children()))
    raw = torch.from_numpy(pictures(1, 64, 64)).permute(0, 3, 1, 2).double()
    mean = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64).view(1, 3, 1, 1)
    with torch.no_grad():
        want = copy.deepcopy(first).double()(normalised(raw.permute(0, 2, 3, 1), dtype=torch.float64))
    reach = float(want.abs().max())

    def folded(x: torch.Tensor, conv: Conv) -> torch.Tensor:
        return torch.nn.functional.conv2d(x, torch.from_numpy(conv.weight), torch.from_numpy(conv.bias), 2, 1)

    naive = (folded(raw, Conv.of(first).on_raw_pixels()) - want).abs()[0].amax(dim=0)
    assert float(naive[1:-1, 1:-1].max()) < 1e-9 * reach
    assert float(naive[0].max()) > 0.1 * reach, "zeros around raw pixels are black, not the mean colour"
    ours = folded(raw - 255.0 * mean, Conv.of(first).on_centred_pixels())
    assert float((ours - want).abs().max()) < 1e-9 * reach


def test_the_student_is_split_in_two_convolutions_and_the_tail_names_what_follows() -> None:
    model = model_of()
    graph, tail = merged_graph(model, width=256, height=256)
    nodes = {node.name: node for node in onnx.load_from_string(graph).graph.node}
    assert sum(node.op_type == "Conv" for node in nodes.values()) == 4 + 5 + 6 + 8
    assert {"student/local", "student/overall", "teacher/target", "autoencoder/deconv8"} <= set(nodes)
    assert {nodes[name].op_type for name in tail} <= {"Sub", "Mul", "ReduceMean", "Squeeze", "Add", "ReduceMax"}
    assert tail[-2:] == ("map", "score")
    assert set(RAW_MAPS) < set(tail)
    assert {nodes[name].op_type for name in RAW_MAPS} == {"ReduceMean"}
    assert not any(nodes[name].op_type == "Conv" for name in tail)


def test_the_graph_keeps_its_contract_of_names_shapes_and_operator_set() -> None:
    graph, _ = merged_graph(model_of(), width=320, height=256)
    model = onnx.load_from_string(graph)
    assert [opset.version for opset in model.opset_import] == [17]
    (image,) = model.graph.input
    shape = [d.dim_param or d.dim_value for d in image.type.tensor_type.shape.dim]
    assert (image.name, shape) == ("image", ["N", 256, 320, 3])
    outputs = {o.name: [d.dim_param or d.dim_value for d in o.type.tensor_type.shape.dim] for o in model.graph.output}
    assert outputs == {"map": ["N", 56, 72], "score": ["N"]}


@pytest.mark.parametrize("size", ["s", "m"])
def test_tensorrt_parses_and_builds_the_graph_without_a_warning_about_types(size: PdnSize) -> None:
    graph, _ = merged_graph(model_of(size), width=288, height=288)
    try:
        found = trt_confirm.confirm(graph, axes={"N": 2})
    except NotThere as exc:
        pytest.skip(f"TensorRT-RTX is not here: {exc}")
    assert found.accepted, found.errors
    assert found.warnings == ()


def test_what_was_saved_comes_back_with_statistics_and_quantiles(tmp_path: Path) -> None:
    model = model_of("m", seed=4)
    path = tmp_path / "model.safetensors"
    model.save(path, Preprocessing(width=256, height=256))
    again = PdnModel.load(path)
    images = torch.from_numpy(pictures(1, 256, 256))
    assert torch.equal(again(images)[0], model(images)[0])
    assert (again.local, again.overall) == (model.local, model.overall)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BadInput, match=r"model\.safetensors: not a trained PDN model"):
        PdnModel.load(path)


def test_statistics_of_a_large_mean_are_exact_and_dead_channels_get_a_floor() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0.0, 1.0, (6, 4, 9, 9))
    values[:, 1] += 4000.0  # float32 sums of squares give a negative variance here
    values[:, 2] = 7.0
    total = StatisticsSum(4)
    for block in (values[:1], values[1:3], values[3:]):
        total.add(torch.from_numpy(block.astype(np.float32)))
    found = total.result()
    exact = values.astype(np.float32).astype(np.float64).transpose(1, 0, 2, 3).reshape(4, -1)
    np.testing.assert_allclose(found.mean, exact.mean(axis=1), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.std[[0, 1, 3]], exact.std(axis=1)[[0, 1, 3]], rtol=1e-9)
    assert found.clamped == 1
    assert found.std[2] == pytest.approx(1e-3 * np.median(exact.std(axis=1)))
    with pytest.raises(BadInput, match="never vary"):
        StatisticsSum(4).result()


def test_map_quantiles_scale_good_cells_to_0_and_a_tenth() -> None:
    maps = np.random.default_rng(1).gamma(2.0, 1.0, (5, 40, 40)).astype(np.float32)
    found = map_quantiles(maps)
    scaled = found.gain * (maps - found.low)
    assert np.quantile(scaled, 0.9) == pytest.approx(0.0, abs=1e-6)
    assert np.quantile(scaled, 0.995) == pytest.approx(0.1, abs=1e-6)
    assert (found.clamped, found.pictures_above) == (False, 5)


def test_maps_that_never_vary_get_a_bounded_scale_and_say_so() -> None:
    found = map_quantiles(np.full((2, 8, 8), 3.0, np.float32))
    assert found.clamped
    assert found.high - found.low == pytest.approx(0.003)
    with pytest.raises(BadInput, match="no finite map cells"):
        map_quantiles(np.full((1, 2, 2), np.nan, np.float32))
