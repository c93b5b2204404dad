r"""mIoU of a segmentation bundle on annotated pictures, as `predict` answers, for each variant on each runtime.

    python benchmarks/segmentation_miou.py model.edge --data ../shared/data/objects --kind "([a-z]+)_" \
        --out docs/results/miou_objects.json
    python benchmarks/segmentation_miou.py model.edge --data ../shared/data/bsds500 --least-area 401 \
        --out docs/results/miou_bsds500.json

For every segment of every annotator: one box prompt without jitter, [min x, min y, max x + 1, max y + 1], and apart
from it one point at the segment's innermost pixel. IoU of the mask that `predict` gives, at the picture's own size;
mIoU is the plain mean over segments, its interval a bootstrap over pictures. Beside it: the mean of pictures' means,
the best of the alternatives, by size of the segments, and what the whole box and the ellipse in it reach.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from record import Rows, options, write_record

AT_ONCE = 64


def parser() -> argparse.ArgumentParser:
    out = options(__doc__)
    out.add_argument("bundle", type=Path, help="A segmentation bundle.")
    out.add_argument("--data", type=Path, required=True, help="Folder with images/test and labels/test, or COCO JSON.")
    out.add_argument("--kind", default=None, help="Regular expression that names what a picture shows.")
    out.add_argument("--least-area", type=int, default=100, help="Segments of at least so many px.")
    out.add_argument("--pictures", type=int, default=None, help="At most so many test pictures, spread evenly.")
    out.add_argument("--variants", nargs="+", default=["fp32", "int8-w7"], help="Variants of the bundle.")
    out.add_argument("--runtimes", nargs="+", default=["onnxruntime", "openvino"], help="Runtimes.")
    out.add_argument(
        "--refine", type=int, default=None, help="Rounds in which a mask is given back; default: the bundle's."
    )
    out.add_argument("--best", action="store_true", help="Also the alternative that fits best: twice the time.")
    out.add_argument("--out", type=Path, required=True, help="The JSON to write.")
    return out


def scores(segmenter: Any, pictures: Sequence[Any], asked: argparse.Namespace) -> dict[str, list[Any]]:
    """By column, one entry a segment."""
    import numpy as np

    from edge_sdk.export.tasks.segmentation.prompting import box_of, controls, innermost, iou

    columns: dict[str, list[Any]] = {name: [] for name in ("picture", "kind", "share", "box", "point", "box_best",
                                                            "point_best", "whole", "ellipse")}  # fmt: skip
    for number, picture in enumerate(pictures):
        pixels = picture.pixels()
        encoded = segmenter.set_image(pixels)
        for masks in batches(m for m in picture.masks(*pixels.shape[:2]) if int(m.sum()) >= asked.least_area):
            prompts: Mapping[str, Mapping[str, Any]] = {
                "box": {"boxes": np.stack([box_of(mask) for mask in masks])},
                "point": {"points": np.stack([innermost(mask)[None] for mask in masks])},
            }
            for kind, prompt in prompts.items():
                one = segmenter.predict(encoded, **prompt, refine=asked.refine)
                columns[kind] += [iou(found.array, mask) for found, mask in zip(one.masks, masks, strict=True)]
                if not asked.best:
                    continue
                every = segmenter.predict(encoded, **prompt, multimask=True, refine=asked.refine)
                best = [0.0] * len(masks)
                for found in every.masks:
                    best[found.prompt] = max(best[found.prompt], iou(found.array, masks[found.prompt]))
                columns[f"{kind}_best"] += best
            for mask in masks:
                whole, ellipse = controls(mask)
                columns["whole"].append(whole)
                columns["ellipse"].append(ellipse)
                columns["share"].append(float(mask.mean()))
                columns["picture"].append(number)
                columns["kind"].append(picture.kind)
    return columns


def batches(masks: Iterator[Any]) -> Iterator[list[Any]]:
    """AT_ONCE masks at a time."""
    kept: list[Any] = []
    for mask in masks:
        kept.append(mask)
        if len(kept) == AT_ONCE:
            yield kept
            kept = []
    if kept:
        yield kept


def summary(columns: Mapping[str, Sequence[Any]], seed: int = 0) -> dict[str, Any]:
    """mIoU in percent, over all segments and by class."""
    import numpy as np

    from edge_sdk.export.tasks.segmentation.metrics import AREAS

    picture = np.asarray(columns["picture"])
    kinds, share = np.asarray(columns["kind"]), np.asarray(columns["share"])
    groups = {"all": np.ones(len(picture), bool)}
    groups |= {f"kind {name}": kinds == name for name in sorted(set(columns["kind"])) if name}
    groups |= {f"size {name}": (share >= low) & (share < high) for name, (low, high) in AREAS.items()}
    rng, out = np.random.default_rng(seed), {}
    for group, inside in groups.items():
        row: dict[str, Any] = {"segments": int(inside.sum()), "pictures": len(np.unique(picture[inside]))}
        for name in ("box", "point", "box_best", "point_best", "whole", "ellipse") if inside.any() else ():
            if not columns[name]:
                continue
            values = np.asarray(columns[name])[inside]
            row[name] = round(100 * float(values.mean()), 2)
            if name in ("box", "point"):
                sums = np.bincount(picture[inside], values, minlength=picture.max() + 1)
                counts = np.bincount(picture[inside], minlength=picture.max() + 1)
                there = np.flatnonzero(counts)
                row[f"{name}_by_picture"] = round(100 * float((sums[there] / counts[there]).mean()), 2)
                drawn = rng.choice(there, (1000, len(there)))
                means = sums[drawn].sum(1) / counts[drawn].sum(1)
                row[f"{name}_interval"] = [round(100 * float(v), 2) for v in np.quantile(means, (0.025, 0.975))]
        out[group] = row
    return out


def measured(asked: argparse.Namespace, variant: str, runtime: str) -> dict[str, Any]:
    """One row: a variant on a runtime."""
    import edge_sdk
    from edge_sdk.export.tasks.segmentation.options import SegmentationOptions
    from edge_sdk.export.tasks.segmentation.reading import read_data

    data = read_data(asked.data, SegmentationOptions(kind=asked.kind))
    pictures = list(data.test)
    if asked.pictures is not None and asked.pictures < len(pictures):
        pictures = [pictures[at * len(pictures) // asked.pictures] for at in range(asked.pictures)]
    with edge_sdk.load(asked.bundle, variant=variant, runtime=runtime, self_check=False) as segmenter:
        found = summary(scores(segmenter, pictures, asked))
        ran = {role: one.computes for role, one in segmenter.explanations.items()}
    print(f"{variant} on {runtime}: {found['all']}", flush=True)
    return {"variant": variant, "runtime": runtime, "ran": ran, "pictures": len(pictures), "miou": found}


def main() -> None:
    asked = parser().parse_args()
    rows = Rows(asked.out, asked)
    found = [
        rows.row(f"{variant} {runtime}", lambda v=variant, r=runtime: measured(asked, v, r))
        for variant in asked.variants
        for runtime in asked.runtimes
    ]
    write_record(asked.out, {"rows": found}, seeds=[0], samples=found[0]["miou"]["all"]["segments"])
    rows.discard()


if __name__ == "__main__":
    main()
