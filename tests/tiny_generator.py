"""A tiny generator with random weights, packed: 8 x 8 px, with three classes or with none."""

from __future__ import annotations

from pathlib import Path

import torch

from edge_sdk.bundle.store import Bundle
from edge_sdk.export.build import provenance, quantized
from edge_sdk.export.family import Exported, FloatGraph
from edge_sdk.export.onestep import unet
from edge_sdk.export.onestep.family import NoiseSamples
from edge_sdk.export.onestep.graph import KEPT, generator_graph
from edge_sdk.export.onestep.unet import UNet
from edge_sdk.export.pack import Parts, pack
from edge_sdk.export.tasks.base import ANY_OUTPUT, TOLERANCES, Golden
from edge_sdk.tasks.base import MODEL
from edge_sdk.tasks.generation.asked import Asked, GenerationSettings
from edge_sdk.tasks.generation.generator import BATCH_ROWS

NAMES = ("bolt", "nut", "washer")


def network(classes: int) -> UNet:
    """Weights away from zero."""
    net = UNet(unet.layout(channels=1, side=8, base=8, multiples=(1, 2), classes=classes))
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for one in net.parameters():
            one.add_(torch.randn(one.shape, generator=generator) * 0.12)
    return net.eval()


def write(path: Path, *, classes: bool = True) -> Bundle:
    """Packs it; with classes, in all variants."""
    names = NAMES if classes else ()
    graph = FloatGraph(
        onnx=generator_graph(network(len(names)), 2.5, 0.5), keep_fp32_in_int8=KEPT, axes={"N": BATCH_ROWS},
        variants=None if classes else (),
    )  # fmt: skip
    exported = Exported(graphs={MODEL: graph}, settings=GenerationSettings(labels=names))
    golden = [
        Golden(source=Asked(seed=99, index=index, label=index % 3 if classes else None).stored()) for index in range(3)
    ]
    parts = Parts(
        name="tiny", family="onestep", task="generation", exported=exported,
        quantized=quantized(exported, lambda role: NoiseSamples((1, 8, 8), exported.settings, 8), 1), golden=golden,
        tolerances=lambda role, variant: {ANY_OUTPUT: TOLERANCES[variant]}, provenance=provenance(),
    )  # fmt: skip
    return pack(parts, path)
