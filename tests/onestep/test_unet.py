"""The UNet and its graph: shapes of all layouts, and one call of the graph is one call of the network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from edge_sdk.errors import BadUsage, NotThere
from edge_sdk.export.onestep import graph, unet
from edge_sdk.export.onestep.distillation import OneStep
from edge_sdk.export.onestep.edm import Denoiser
from edge_sdk.export.onestep.unet import BlockLayout, UNet, UNetLayout
from edge_sdk.export.tasks.generation.real import pictures_of
from edge_sdk.runtimes import registry, trt_confirm
from edge_sdk.runtimes.protocol import CompileOptions
from edge_sdk.tasks.generation.noise import noise

SIGMA_DATA, SIGMA = 0.6, 3.0
LAYOUTS = {
    "one stage": {"channels": 1, "side": 4, "base": 8, "multiples": (1,)},
    "two stages": {"channels": 1, "side": 8, "base": 8, "multiples": (1, 2)},
    "attention": {"channels": 3, "side": 16, "base": 8, "multiples": (1, 2, 2), "blocks": 2, "attention": (4, 8)},
    "classes": {"channels": 3, "side": 8, "base": 8, "multiples": (2, 1), "classes": 5},
}


def drawn_weights(net: UNet) -> UNet:
    """Every weight away from zero, so that nothing passes unseen."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for one in net.parameters():
            one.add_(torch.randn(one.shape, generator=generator) * 0.15)
    return net.eval()


def song(name: str) -> UNet:
    return drawn_weights(UNet(unet.layout(**LAYOUTS[name])))  # type: ignore[arg-type]


def dhariwal(classes: int) -> UNet:
    """Two stages of the other form, with two heads where the channels are 128."""
    blocks = [
        BlockLayout(key="8x8_block0", before=32, after=32),
        BlockLayout(key="4x4_down", before=32, after=32, change=0.5),
        BlockLayout(key="4x4_block0", before=32, after=128, attention=True),
    ]  # fmt: skip
    back = [
        BlockLayout(key="4x4_in0", before=128, after=128, attention=True),
        BlockLayout(key="4x4_block0", before=256, after=128), BlockLayout(key="4x4_block1", before=160, after=128),
        BlockLayout(key="8x8_up", before=128, after=128, change=2.0),
        BlockLayout(key="8x8_block0", before=160, after=32), BlockLayout(key="8x8_block1", before=64, after=32),
    ]  # fmt: skip
    layout = UNetLayout(
        form="dhariwal", channels=3, side=8, base=32, first=32, encoder=tuple(blocks), decoder=tuple(back),
        classes=classes,
    )  # fmt: skip
    return drawn_weights(UNet(layout))


NETWORKS = [*LAYOUTS, "dhariwal", "dhariwal classes"]


def network(name: str) -> UNet:
    return dhariwal(4 if "classes" in name else 0) if "dhariwal" in name else song(name)


def asked(net: UNet, count: int) -> tuple[np.ndarray, Tensor | None]:
    """Noise, and labels in turn."""
    of = net.layout
    labels = torch.arange(count) % of.classes if of.classes else None
    return noise(5, range(count), (of.channels, of.side, of.side)), labels


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_one_call_of_the_graph_is_one_call_of_the_network(name: str, runtime: str) -> None:
    net = network(name)
    start, labels = asked(net, 3)
    with torch.no_grad():
        wanted = pictures_of(OneStep(Denoiser(net, SIGMA_DATA), SIGMA)(torch.from_numpy(start), labels).numpy())
    assert wanted.std() > 20  # neither black nor white
    session = registry.runtime(runtime).compile(
        graph.generator_graph(net, SIGMA, SIGMA_DATA), CompileOptions(threads=1, axes={"N": 3})
    )
    feeds = {"noise": start} if labels is None else {"noise": start, "label": labels.numpy()}
    found = session.run(feeds)["image"]
    assert found.dtype == np.uint8
    assert found.shape == wanted.shape
    apart = np.abs(found.astype(int) - wanted)
    assert apart.max() <= 1
    assert np.mean(apart > 0) < 0.01


@pytest.mark.parametrize("name", ["attention", "dhariwal"])
def test_no_arithmetic_of_levels_is_left(name: str) -> None:
    import onnx

    model = onnx.load_from_string(graph.generator_graph(network(name), SIGMA, SIGMA_DATA))
    there = {node.op_type for node in model.graph.node}
    assert not there & {"Sin", "Cos", "Log", "Sqrt", "Pow", "Gemm", "Shape"}
    assert [one.name for one in model.graph.input] == ["noise"]


@pytest.mark.parametrize("name", ["attention", "dhariwal classes"])
def test_tensorrt_takes_the_graph(name: str) -> None:
    """It refuses uint8 anywhere but as an output."""
    net = network(name)
    try:
        confirmed = trt_confirm.confirm(graph.generator_graph(net, SIGMA, SIGMA_DATA))
    except NotThere as exc:
        pytest.skip(f"TensorRT-RTX is not here: {exc}")
    assert (confirmed.accepted, confirmed.errors) == (True, ())


def test_labels_are_looked_up_in_one_table() -> None:
    import onnx

    model = onnx.load_from_string(graph.generator_graph(network("classes"), SIGMA, SIGMA_DATA))
    assert [node.op_type for node in model.graph.node].count("Gather") == 1
    assert not {node.op_type for node in model.graph.node} & {"Sin", "Cos", "Log", "Gemm"}


@pytest.mark.parametrize("side", [3, 6, 2])
def test_a_side_that_cannot_be_halved_is_refused(side: int) -> None:
    with pytest.raises(BadUsage, match="halved"):
        unet.layout(channels=1, side=side, base=8, multiples=(1, 2, 2))
    with pytest.raises(BadUsage, match="multiple of 4"):
        unet.layout(channels=1, side=8, base=6)


def test_a_network_with_classes_needs_labels() -> None:
    with pytest.raises(BadUsage, match="5 classes"):
        song("classes")(torch.zeros(1, 3, 8, 8), torch.zeros(1))


def test_parameters_are_counted_without_making_them() -> None:
    layout = unet.layout(channels=1, side=8, base=16)
    assert unet.parameters_of(layout) == sum(one.numel() for one in UNet(layout).parameters())
