"""The figures of distill_bsds.py: what a distilled network answers, trivial masks, comparisons. Trains nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import bsds
import numpy as np
from bsds import Mask, Picture, Scores
from numpy.typing import NDArray

from edge_sdk.export.tasks.segmentation import prompting

if TYPE_CHECKING:
    from torch import Tensor

    from edge_sdk.export.tinysam.sam import Sam

TRIVIAL = ("box", "ellipse")
HEADLINE = "highest predicted IoU"
"""The mask that counts: of the three, the one that the network itself takes."""


def answers_of(net: Sam) -> bsds.Answer:
    """The masks of a network: HEADLINE, mask 0, and each of the three."""
    import torch

    from edge_sdk.export.tinysam.distill.prompts import of_boxes
    from edge_sdk.export.tinysam.sam import normalised_frames
    from edge_sdk.export.tinysam.scenes import annotated

    side = net.layout.image_size

    def answer(one: Picture, segments: NDArray[np.bool_], boxes: NDArray[np.float32]) -> Iterator[dict[str, Mask]]:
        picture = one.read()
        h, w = picture.shape[:2]
        small = annotated.scaled(annotated.Annotated(picture, np.zeros((0, h, w), bool)), side).picture
        frame = torch.zeros(1, side, side, 3, dtype=torch.uint8)
        frame[0, : small.shape[0], : small.shape[1]] = torch.from_numpy(small)
        scale = torch.tensor([small.shape[1] / w, small.shape[0] / h])
        asked = of_boxes(torch.from_numpy(boxes) * torch.cat([scale, scale]))
        with torch.no_grad():
            embedding = net.encode(normalised_frames(frame, torch.tensor([small.shape[:2]], dtype=torch.float32)))
            for k in range(0, len(boxes), 16):
                found = net.decode(embedding, asked.points[k : k + 16], asked.labels[k : k + 16])
                full = at_full_size(found.masks, side, small.shape[:2], (h, w))
                for masks, iou in zip(full, found.iou.numpy()):
                    named = {"mask 0": masks[0]} | {f"mask {m}": masks[m] for m in range(1, len(masks))}
                    yield named | {HEADLINE: masks[1 + int(iou[1:].argmax())]}

    return answer


def at_full_size(masks: Tensor, side: int, extent: tuple[int, ...], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Logits (n, K, h, w) over a frame to masks (n, K, *size): bilinear to the frame, cropped, bilinear again, > 0."""
    from torch.nn import functional

    framed = functional.interpolate(masks, size=(side, side), mode="bilinear", align_corners=False)
    full = functional.interpolate(
        framed[..., : extent[0], : extent[1]], size=size, mode="bilinear", align_corners=False
    )
    return np.asarray((full > 0).numpy())


def controls(side: int) -> bsds.Answer:
    """Trivial masks, and the true segment on the mask grid and back: averaged, and fitted."""
    from edge_sdk import preprocess
    from edge_sdk.bundle.manifest import Preprocessing
    from edge_sdk.tasks.segmentation.frame import Frame

    record = Preprocessing(width=side, height=side, mode="longest-side")

    def answer(one: Picture, segments: NDArray[np.bool_], boxes: NDArray[np.float32]) -> Iterator[dict[str, Mask]]:
        frame = Frame.of(preprocess.apply(one.read(), record).geometry, side)
        grid = bsds.GridFit(frame, side // 4)
        for segment, (x0, y0, x1, y1) in zip(segments, boxes.astype(int), strict=True):
            box, inside = np.zeros_like(segment), np.zeros_like(segment)
            box[y0:y1, x0:x1] = True
            inside[y0:y1, x0:x1] = prompting.ellipse(y1 - y0, x1 - x0)
            yield {
                "box": box, "ellipse": inside, "grid averaged": frame.place(grid.averaged(segment)),
                "grid fitted": frame.place(grid.fitted(segment)),
            }  # fmt: skip

    return answer


def summed(scores: Mapping[str, Scores]) -> dict[str, Any]:
    """The figures of one network: the headline, mask 0, and the best of three by looking at the truth."""
    three = [scores[name] for name in sorted(scores) if name.startswith("mask ") and name != "mask 0"]
    best = Scores(np.max([one.iou for one in three], axis=0), three[0].share, three[0].picture)
    sums, counts = scores[HEADLINE].sums()
    return {
        **scores[HEADLINE].summary(), "mask_0": scores["mask 0"].summary()["miou"],
        "best_of_three": best.summary()["miou"], "per_picture": [np.round(sums, 4).tolist(), counts.tolist()],
    }  # fmt: skip


def compared(
    rows: Mapping[str, Mapping[int, dict[str, Any]]], teacher: dict[str, Any], floors: Mapping[str, Any]
) -> dict[str, Any]:
    """Mean and spread of each stage's seeds, what the student keeps of its teacher and of the teacher's lead over the
    best trivial mask (None where it has none), and "full" against the others with the standard error over pictures, all
    seeds together. floors: the row of `trivial`."""
    floor = max(float(floors[name]["miou"]) for name in TRIVIAL)
    lead = teacher["miou"] - floor
    means = {stage: float(np.mean([row["miou"] for row in of.values()])) for stage, of in rows.items()}
    sums = {stage: np.mean([row["per_picture"][0] for row in of.values()], axis=0) for stage, of in rows.items()}
    counts = np.array(teacher["per_picture"][1])
    out: dict[str, Any] = {
        "best_trivial": floor,
        "miou": {
            stage: {
                "mean": round(means[stage], 2), "seeds": {str(seed): row["miou"] for seed, row in of.items()},
                "share_of_teacher": round(means[stage] / teacher["miou"], 4),
                "share_of_teachers_gain": round((means[stage] - floor) / lead, 4) if lead > 0 else None,
            }
            for stage, of in rows.items()
        }
    }  # fmt: skip
    for other in ("output", "none"):
        if "full" in rows and other in rows:
            drawn = bsds.bootstrap(sums["full"], counts) - bsds.bootstrap(sums[other], counts)
            out[f"full_over_{other}"] = {
                "mean": round(means["full"] - means[other], 2), "standard_error": round(float(drawn.std()), 2),
                "seeds": {str(seed): round(rows["full"][seed]["miou"] - row["miou"], 2)
                          for seed, row in rows[other].items() if seed in rows["full"]},
            }  # fmt: skip
    return out
