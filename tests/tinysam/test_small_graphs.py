"""The small size's graphs answer what the network answers, in both runtimes, and TensorRT takes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from runtimes_of import RUNTIMES, Run
from small_nets import SIDE, network

from edge_sdk.calibration import QuantizeOptions, quantize
from edge_sdk.errors import NotThere
from edge_sdk.export.tinysam.options import PROMPTS, TOKENS
from edge_sdk.export.tinysam.small.decoder import FRAME_MASK, Prompts, answer
from edge_sdk.export.tinysam.small.graph import decoder_graph, encoder_graph
from edge_sdk.runtimes import trt_confirm

LIMIT = 1e-4
"""Of the spread of an output. Norms are folded in float64; ONNX Runtime and torch sum convolutions in other orders."""
AXES = {"N": PROMPTS, "T": TOKENS}
ROLES = ("encoder", "decoder", "refiner")
Feeds = dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def graphs() -> dict[str, tuple[bytes, tuple[str, ...]]]:
    """By role, the graph and the nodes that stay in float."""
    net = network()
    return {
        "encoder": (encoder_graph(net.encoder, SIDE), ()),
        "decoder": decoder_graph(net.decoder),
        "refiner": decoder_graph(net.decoder, refiner=True),
    }


@pytest.fixture(scope="module")
def running(graphs: dict[str, tuple[bytes, tuple[str, ...]]]) -> Callable[[str, str], Run]:
    """A role in a runtime, made once."""
    made: dict[tuple[str, str], Run] = {}

    def of(runtime: str, role: str) -> Run:
        if (runtime, role) not in made:
            made[runtime, role] = RUNTIMES[runtime](graphs[role][0])
        return made[runtime, role]

    return of


@pytest.fixture(scope="module")
def image() -> Feeds:
    rng = np.random.default_rng(5)
    return {
        "image": rng.integers(0, 256, (1, SIDE, SIDE, 3)).astype(np.uint8),
        "extent": np.array([SIDE * 3 // 4, SIDE], np.float32),
    }


@pytest.fixture(scope="module")
def features(image: Feeds) -> Feeds:
    with torch.no_grad():
        found = network().encoder(torch.from_numpy(image["image"]), torch.from_numpy(image["extent"])[None])
    return {name: tensor.numpy() for name, tensor in found.items()}


CASES: dict[str, tuple[list[list[list[float]]], list[list[int]]]] = {
    "a point": ([[[40, 50]]], [[1]]),
    "a point at the corner": ([[[0, 0]]], [[1]]),
    "points beside a point": ([[[40, 50], [60, 20], [70, 90]]], [[1, 0, 1]]),
    "a box": ([[[20, 30], [60, 70]]], [[2, 3]]),
    "a box of a pixel": ([[[20, 30], [21, 31]]], [[2, 3]]),
    "the whole frame": ([[[0, 0], [SIDE, SIDE]]], [[2, 3]]),
    "a box with points": ([[[30, 40], [25, 65], [20, 30], [60, 70]]], [[1, 0, 2, 3]]),
    "several prompts": ([[[40, 50], [9, 9]], [[20, 30], [60, 70]], [[5, 100], [7, 90]]], [[1, -2], [2, 3], [1, 1]]),
}


def fed(case: str, features: Feeds, mask: NDArray[np.float32] | None) -> Feeds:
    points, labels = CASES[case]
    feeds = features | {"points": np.array(points, np.float32), "labels": np.array(labels, np.int32)}
    return feeds if mask is None else feeds | {"mask": mask}


def close(got: NDArray[Any], want: NDArray[Any], *, what: str) -> None:
    spread = max(float(want.std()), 1e-3)
    assert float(np.abs(got - want).max()) <= LIMIT * max(spread, float(np.abs(want).max())), what


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_encoder(runtime: str, image: Feeds, features: Feeds, running: Callable[[str, str], Run]) -> None:
    got = running(runtime, "encoder")(image)
    for name, want in features.items():
        close(got[name], want, what=name)
    beside = image | {"image": image["image"].copy()}
    beside["image"][:, SIDE * 3 // 4 :] = 255
    for name, same in running(runtime, "encoder")(beside).items():
        np.testing.assert_array_equal(same, got[name])


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("role", ["decoder", "refiner"])
def test_decoder_and_refiner(role: str, runtime: str, features: Feeds, running: Callable[[str, str], Run]) -> None:
    rng = np.random.default_rng(9)
    for case, (points, labels) in CASES.items():
        mask = None
        if role == "refiner":
            mask = np.full((len(points), 1, FRAME_MASK, FRAME_MASK), -6, np.float32)
            mask[:, :, 20:60, 30:50] = rng.normal(4, 1, (len(points), 1, 40, 20))
        given = torch.from_numpy(mask[:, 0])[None] if mask is not None else None
        asked = Prompts(torch.tensor([points], dtype=torch.float32), torch.tensor([labels]), given)
        with torch.no_grad():
            held = {name: torch.from_numpy(value) for name, value in features.items()}
            masks, iou, windows = answer(network().decoder, held, asked)
        got = running(runtime, role)(fed(case, features, mask))
        for name, want in (("masks", masks), ("iou", iou), ("windows", windows)):
            close(got[name], want[0].numpy(), what=f"{case}: {name}")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_hidden_tokens_change_nothing(runtime: str, features: Feeds, running: Callable[[str, str], Run]) -> None:
    feeds = fed("a box with points", features, None)
    want = running(runtime, "decoder")(feeds)
    points = np.concatenate([feeds["points"], np.full((1, 5, 2), 77, np.float32)], 1)
    labels = np.concatenate([feeds["labels"], np.array([[-2, -1, -2, -2, -2]], np.int32)], 1)
    got = running(runtime, "decoder")(feeds | {"points": points, "labels": labels})
    for name, value in want.items():
        close(got[name], value, what=name)


@pytest.mark.parametrize("role", ROLES)
def test_no_shape_depends_on_values(role: str, graphs: dict[str, tuple[bytes, tuple[str, ...]]]) -> None:
    model = onnx.load_from_string(graphs[role][0])
    assert not {node.op_type for node in model.graph.node} & {"NonZero", "Loop", "If", "Range", "Shape", "OneHot"}
    assert [one.domain for one in model.opset_import] == [""]
    for info in (*model.graph.input, *model.graph.output):
        named = {dim.dim_param for dim in info.type.tensor_type.shape.dim if dim.dim_param}
        assert named <= set(AXES), info.name


@pytest.mark.parametrize("role", ROLES)
def test_tensorrt_takes_the_graphs_in_fp16_and_int8(
    role: str, graphs: dict[str, tuple[bytes, tuple[str, ...]]], image: Feeds, features: Feeds
) -> None:
    graph, kept = graphs[role]
    mask = np.zeros((1, 1, FRAME_MASK, FRAME_MASK), np.float32) if role == "refiner" else None
    feeds = image if role == "encoder" else fed("a box with points", features, mask)
    axes = {} if role == "encoder" else AXES
    options = QuantizeOptions(variants=("fp16", "int8"), threads=1, axes=axes, keep_fp32=kept)
    made = quantize(graph, [feeds], options=options)
    variants = {one.variant: one.graph for one in made.variants if one.layout != "conv-q-relu-q"}
    assert {"fp16", "int8"} <= set(variants)
    try:
        for variant, one in variants.items():
            answered = trt_confirm.confirm(one, axes=axes)
            assert (answered.accepted, answered.errors) == (True, ()), variant
    except NotThere as exc:
        pytest.skip(f'TensorRT-RTX is not here ({exc}): pip install ".[tensorrt-rtx]" to run this')
