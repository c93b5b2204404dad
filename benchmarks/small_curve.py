r"""How the small size of TinySAM learns: mIoU after hours of training, as `predict` answers, in PyTorch.

    python benchmarks/small_curve.py 1.2 one.safetensors --data ../shared/data/objects --bsds ../shared/data/bsds500 \
        --out docs/results/small_curve.json

Weights are a `model.safetensors`, or the `checkpoint.safetensors` of a run in progress, whose averaged weights count.
Each call adds one row to --out, or replaces the row of the same hours. Segments of 100 px and more of the test
pictures, of 401 px and more of BSDS500, from every annotator; one box, and apart from it one point at the innermost
pixel; on one picture of as many as EVERY says, at the frame's size: quicker than benchmarks/segmentation_miou.py, and
a point or two beside it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent))
import bsds
from checkpoints import restore
from record import options, write_record

if TYPE_CHECKING:
    from torch import Tensor

    from edge_sdk.export.tinysam.small.decoder import Prompts
    from edge_sdk.export.tinysam.small.model import SmallModel

EVERY = {"tools": 4, "grains": 1, "nuclei": 2, "bsds500": 8}
"""One test picture of as many is measured."""
LEAST = {"bsds500": 401}
"""px of a segment; of others 100."""
ROWS = 16
"""Prompts of one run of the decoder."""
Shown = tuple[NDArray[np.uint8], list[NDArray[np.bool_]]]


def parser() -> argparse.ArgumentParser:
    out = options(__doc__)
    out.add_argument("hours", type=float, help="of training, all segments together")
    out.add_argument("weights", type=Path, help="model.safetensors, or checkpoint.safetensors")
    out.add_argument("--steps", type=int, default=None, help="of training, for the record")
    out.add_argument("--data", type=Path, required=True, help="folder of objects, with images/test and labels/test")
    out.add_argument("--bsds", type=Path, required=True, help="folder of BSDS500")
    out.add_argument("--threads", type=int, default=1)
    out.add_argument("--out", type=Path, required=True)
    return out


def model_in(path: Path) -> SmallModel:
    """The model of a file of either kind."""
    from edge_sdk.export.tinysam.small.model import SHIPPED, SmallModel
    from edge_sdk.export.training import checkpoint
    from edge_sdk.export.training.averaged import Pair

    if path.name != checkpoint.NAME:
        return SmallModel.load(path)
    pair = Pair(SmallModel.load(SHIPPED))
    restore(pair, path)
    return pair.kept.eval()


def pictures(asked: argparse.Namespace, kind: str) -> Iterator[Shown]:
    """Pictures with all annotators' segments."""
    import cv2

    if kind == "bsds500":
        for one in bsds.pictures(asked.bsds, "test")[:: EVERY[kind]]:
            yield one.read(), list(one.segments()[0])
        return
    for path in sorted((asked.data / "images" / "test").glob(f"{kind}_*.jpg"))[:: EVERY[kind]]:
        labels = cv2.imread(str(asked.data / "labels" / "test" / f"{path.stem}.png"), cv2.IMREAD_UNCHANGED)
        numbers = [n for n in np.unique(labels) if n]
        yield cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB), [labels == n for n in numbers]


def ious(model: SmallModel, shown: Shown, least: int) -> dict[str, list[float]]:
    """IoU of each segment with each prompt, at the frame's size."""
    import torch

    from edge_sdk.export.tasks.segmentation.prompting import box_of, innermost
    from edge_sdk.export.tinysam import BOTTOM_RIGHT, POSITIVE, TOP_LEFT
    from edge_sdk.export.tinysam.scenes.annotated import Annotated, scaled
    from edge_sdk.export.tinysam.small.decoder import BOXED, Prompts

    picture, masks = shown
    large = np.array([mask for mask in masks if int(mask.sum()) >= least]).reshape(-1, *picture.shape[:2])
    one = scaled(Annotated(picture, large), model.side)
    kept = [mask for mask in one.masks if mask.any()]
    height, width = one.picture.shape[:2]
    image = torch.zeros(1, model.side, model.side, 3, dtype=torch.uint8)
    image[0, :height, :width] = torch.from_numpy(one.picture)
    features = model.encoder(image, torch.tensor([[float(height), float(width)]]))
    out: dict[str, list[float]] = {"box": [], "point": []}
    for start in range(0, len(kept), ROWS):
        part = kept[start : start + ROWS]
        boxes = torch.from_numpy(np.array([box_of(mask) for mask in part], np.float32)).reshape(1, -1, 2, 2)
        points = torch.from_numpy(np.array([innermost(mask) for mask in part], np.float32)).reshape(1, -1, 1, 2)
        for name, tokens, labels, chosen in (
            ("box", boxes, [TOP_LEFT, BOTTOM_RIGHT], BOXED), ("point", points, [POSITIVE], None),
        ):  # fmt: skip
            asked = Prompts(tokens, torch.tensor(labels).expand(tokens.shape[:-1]))
            found = answered(model, features, asked, chosen)[:, :height, :width]
            for mask, truth in zip(found, part, strict=True):
                out[name].append(float((mask & truth).sum() / (mask | truth).sum()))
    return out


def answered(model: SmallModel, features: dict[str, Tensor], asked: Prompts, chosen: int | None) -> NDArray[np.bool_]:
    """Masks (P, side, side) after the rounds that a bundle states. chosen: which of the three, None = by predicted
    IoU."""
    import torch

    from edge_sdk.export.tinysam.small.decoder import ROUNDS, Prompts, answer, onto_frame
    from edge_sdk.export.tinysam.small.windows import place

    lift, side = 10.0, float(model.side)
    for round_ in range(ROUNDS + 1):
        masks, iou, windows = answer(model.decoder, features, asked)
        rows = torch.arange(masks.shape[1])
        best = iou[0].argmax(-1) if chosen is None else torch.full_like(rows, chosen)
        mask, window = masks[0, rows, best][None], windows[0, rows, best][None]
        if round_ < ROUNDS:
            asked = Prompts(asked.points, asked.labels, onto_frame(mask, window, side))
    placed = place(mask.clamp(-lift, lift) + lift, window, model.side, side) - lift
    return np.asarray((placed[0] > 0).numpy())


def main() -> None:
    asked = parser().parse_args()
    import torch

    torch.set_num_threads(asked.threads)
    model = model_in(asked.weights)
    row: dict[str, Any] = {"hours": asked.hours, "steps": asked.steps}
    total = 0
    with torch.no_grad():
        for kind in EVERY:
            found: dict[str, list[float]] = {"box": [], "point": []}
            for shown in pictures(asked, kind):
                for name, values in ious(model, shown, LEAST.get(kind, 100)).items():
                    found[name] += values
            total += len(found["box"])
            row[kind] = {name: round(100 * float(np.mean(values)), 1) for name, values in found.items()}
            row[kind]["segments"] = len(found["box"])
            print(kind, row[kind], flush=True)
    rows = json.loads(asked.out.read_text("utf-8"))["figures"]["rows"] if asked.out.exists() else []
    rows = sorted([one for one in rows if one["hours"] != asked.hours] + [row], key=lambda one: float(one["hours"]))
    write_record(asked.out, {"rows": rows}, seeds=[0], samples=total)


if __name__ == "__main__":
    main()
