"""Packs the published TinySAM, TinyViT-5M and SAM's decoder, with seeded random weights: speed needs no training.

It segments nothing. Its weights keep activations at their size from layer to layer, and the kernels of the mask's
upscaling are constant over their 2 x 2 cells, so that masks are pieces and not speckle. int8 is calibrated on drawn
pictures.

    python benchmarks/tinysam_bundle.py runs/tinysam.edge
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent))
from record import options

if TYPE_CHECKING:
    from edge_sdk.export.tinysam.sam import Sam

EMBEDDINGS = ("point_embeddings", "not_a_point_embed", "no_mask_embed", "iou_token", "mask_tokens")
UPSCALING = "mask_decoder.output_upscaling."
LOGITS = 6.0
"""Factor of the masks' last weights: logits as far from 0 as those of a trained network, or no mask were stable."""
SHAPES = 24
"""Of a picture."""


def network(*, side: int, seed: int) -> Sam:
    """The network for frames of `side` px, in evaluation mode."""
    import torch

    from edge_sdk.export.tinysam.layout import SamLayout
    from edge_sdk.export.tinysam.sam import Sam

    net = Sam(SamLayout().at(side))
    drawn = torch.Generator().manual_seed(seed)
    for name, weight in net.named_parameters():
        with torch.no_grad():
            if any(word in name for word in EMBEDDINGS):
                weight.normal_(0.0, 0.5, generator=drawn)
            elif name.endswith((".bias", "attention_biases")):
                weight.normal_(0.0, 0.1, generator=drawn)
            elif weight.ndim == 1:
                weight.fill_(1.0)
            elif name.startswith(UPSCALING):
                weight.copy_(torch.randn(*weight.shape[:2], 1, 1, generator=drawn) / len(weight) ** 0.5)
            else:
                weight.normal_(0.0, float(weight[0].numel()) ** -0.5, generator=drawn)
    with torch.no_grad():
        for kernels in net.mask_decoder.output_hypernetworks_mlps:
            kernels.layers[-1].weight.mul_(LOGITS)
            kernels.layers[-1].bias.mul_(LOGITS)
    matrix = net.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
    matrix.copy_(torch.randn(matrix.shape, generator=drawn))
    return net.requires_grad_(False).eval()


def picture(*, height: int, width: int, seed: int) -> NDArray[np.uint8]:
    """uint8 (height, width, 3): ellipses in many colours on a ground that is lit from one side, with noise."""
    return _drawn(height, width, seed)[0]


def _drawn(height: int, width: int, seed: int) -> tuple[NDArray[np.uint8], list[NDArray[np.bool_]]]:
    """A picture, and what of each ellipse is seen."""
    import cv2

    rng = np.random.default_rng(seed)
    labels = np.zeros((height, width), np.uint8)
    colours = rng.integers(20, 236, (SHAPES + 1, 3)).astype(np.float32)
    for number in range(1, SHAPES + 1):
        middle, axes = rng.uniform((0, 0), (width, height)), rng.uniform(0.02, 0.15, 2) * min(height, width)
        box = (tuple(map(float, middle)), tuple(map(float, 2 * axes + 2)), float(rng.uniform(0, 180)))
        cv2.ellipse(labels, box, number, cv2.FILLED)
    light = 1.0 + 0.3 * (np.arange(width, dtype=np.float32) / width - 0.5)
    noise = rng.normal(0.0, 4.0, (height, width, 1)).astype(np.float32)
    pixels = np.clip(np.rint(colours[labels] * light[:, None] + noise), 0, 255).astype(np.uint8)
    seen = [labels == number for number in range(1, SHAPES + 1)]
    return pixels, [mask for mask in seen if mask.any()]


@dataclass(frozen=True)
class Drawn:
    """A drawn picture as a sample of calibration."""

    side: int
    seed: int

    @property
    def path(self) -> Path:
        """Its name."""
        return Path(f"drawn {self.seed}")

    def pixels(self) -> NDArray[np.uint8]:
        """uint8 (h, w, 3), 4 : 3."""
        return _drawn(self.side * 3 // 4, self.side, self.seed)[0]

    def masks(self, height: int, width: int) -> Iterator[NDArray[np.bool_]]:
        """bool (height, width) each."""
        yield from _drawn(height, width, self.seed)[1]


def write(out: Path, *, side: int, seed: int, samples: int, variants: tuple[str, ...], threads: int) -> Any:
    """The bundle at `out`, opened. variants: besides fp32. samples: of each graph's calibration."""
    from edge_sdk import tasks
    from edge_sdk.export.calibrating import quantized
    from edge_sdk.export.family import Trained
    from edge_sdk.export.pack import Parts, pack, provenance, setup_of
    from edge_sdk.export.tasks.segmentation.golden import golden
    from edge_sdk.export.tasks.segmentation.samples import PromptSamples
    from edge_sdk.export.tasks.segmentation.task import SegmentationExport
    from edge_sdk.export.tinysam import sam_like, saved
    from edge_sdk.export.tinysam.options import TinySamOptions

    with tempfile.TemporaryDirectory() as folder:
        saved.write(network(side=side, seed=seed), Path(folder) / saved.NAME)
        kept = Trained(folder=Path(folder), options=TinySamOptions(), run="", steps=0, training_s=0.0, samples=0)
        found = sam_like.graphs(kept)
    graphs = {role: replace(graph, variants=variants) for role, graph in found.graphs.items()}
    exported = replace(found, graphs=graphs)
    setup = setup_of(exported, tasks.task("segmentation"), family="tinysam", where=out.name)
    pictures = [Drawn(side, at) for at in range(samples)]
    shown = PromptSamples(pictures=pictures, exported=exported, setup=setup, count=samples, threads=threads)
    made = {}
    for role, graph in graphs.items():
        # Errors of random weights say nothing.
        made[role] = quantized(graph, shown.of(role), threads=threads, force=True)
        print(f"{role} is quantized", flush=True)
    parts = Parts(
        name="random TinySAM", family="tinysam", task="segmentation", exported=exported, quantized=made,
        golden=golden([], exported, setup), tolerances=SegmentationExport().tolerances,
        provenance=provenance(seed=seed),
    )  # fmt: skip
    out.parent.mkdir(parents=True, exist_ok=True)
    return pack(parts, out, threads=threads)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = options(__doc__)
    out.add_argument("out", type=Path)
    out.add_argument("--side", type=int, default=1024, help="px of the frame, a multiple of 32")
    out.add_argument("--seed", type=int, default=0, help="of the weights")
    out.add_argument("--samples", type=int, default=4, help="of each graph's calibration")
    out.add_argument("--variants", nargs="*", default=["int8", "int8-w7"], help="besides fp32")
    out.add_argument("--threads", type=int, default=2, help="of the calibration")
    return out


def main() -> None:
    """Writes the bundle."""
    asked = parser().parse_args()
    with write(
        asked.out, side=asked.side, seed=asked.seed, samples=asked.samples, variants=tuple(asked.variants),
        threads=asked.threads,
    ) as bundle:  # fmt: skip
        print(f"{bundle.path}: {bundle.size_bytes} bytes, {len(bundle.manifest.graphs)} graphs")


if __name__ == "__main__":
    main()
