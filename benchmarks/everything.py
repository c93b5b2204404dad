r"""Everything mode: the hierarchical way against the flat one, and both against segment-anything's, run eagerly.

    edge-sdk export tinysam --out runs/tinysam_small.edge
    python benchmarks/everything.py modes runs/tinysam_small.edge --data ../shared/data/objects --kind "([a-z]+)_" \
        --out docs/results/everything_modes.json
    python benchmarks/everything.py modes runs/tinysam_small.edge --data ../shared/data/bsds500 --least-area 401 \
        --out docs/results/everything_modes_bsds500.json
    python benchmarks/tinysam_bundle.py runs/tinysam.edge
    python benchmarks/everything.py reference runs/tinysam.edge --shares docs/results/everything_modes.json \
        --out docs/results/everything_reference.json

modes: each test picture is searched both ways in turn, the encoder included. mIoU is the mean over all marked segments
of the best IoU among the masks that were found; not every object is marked, so a mask on what is not marked costs
nothing. Intervals: bootstrap over pictures, paired. Beside it, of the coarse points' masks, the share that passes the
predicted IoU, the share of those that is stable at full size, and the share of fine points that is left out.

reference: a bundle of tinysam_bundle.py and the same network in PyTorch, a process each for every run, on one drawn
picture: time of the search without the encoder, and peak memory of the process. Random weights have no thresholds of
their own, and the ratios depend on what they let through: the eager side brings every mask to full size, ours those
that pass. So thresholds are measured such that the shares of a trained network pass, which --shares reads from a record
of `modes`, the same on all sides. The hierarchical way runs with three confident logits: one that leaves out no fine
point, one that leaves out the share of the record, and one that leaves out half of them; the second counts. Masks of
random weights reach from rim to rim, so that one would suppress all others: with --nms 1 none is, and all that pass are
brought to full size on all sides. Without --shares the numbers of --pass-iou, --pass-stability and --covered are
assumed, and the record says so.
A try in a minute: a bundle with --side 256, --size 240 320 --points 8. Resumable: rows that were measured stay in a
file beside --out until the record is written.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from children import run as run_child
from record import Rows, options, write_record

from edge_sdk.runtimes import probe

DRAWS = 2000
"""Of the bootstrap over pictures."""
WAYS = ("flat", "hierarchical")
EAGER = "eager"
SHARES = ("pass_iou", "pass_stability", "covered")
NONE_LEFT_OUT, HALF_LEFT_OUT = "hierarchical, no point left out", "hierarchical, half left out"
KINDS = (*WAYS, NONE_LEFT_OUT, HALF_LEFT_OUT)
"""Searches of our side; "hierarchical" leaves out the share that is stated."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = options(__doc__)
    parts = out.add_subparsers(dest="part", required=True)
    modes = parts.add_parser("modes", help="hierarchical against flat, on annotated pictures")
    modes.add_argument("--data", type=Path, required=True, help="folder with images/test and labels/test, or COCO JSON")
    modes.add_argument("--kind", default=None, help="regular expression that names what a picture shows")
    modes.add_argument("--least-area", type=int, default=100, help="segments of at least so many px")
    modes.add_argument("--pictures", type=int, default=None, help="at most so many, spread evenly")
    modes.add_argument("--points", type=int, default=None, help="per side; as the bundle says otherwise")
    modes.add_argument(
        "--confident-logit",
        type=float,
        default=None,
        help="by grid with this one, whatever the bundle states",
    )
    reference = parts.add_parser("reference", help="both ways against segment-anything's, on one drawn picture")
    reference.add_argument("--size", type=int, nargs=2, default=[960, 1280], metavar=("H", "W"), help="px")
    reference.add_argument("--points", type=int, default=32, help="per side")
    reference.add_argument("--repeats", type=int, default=3, help="runs of ours, each way; of the eager one, one less")
    reference.add_argument("--shares", type=Path, default=None, help="a record of `modes`, for the three shares below")
    reference.add_argument("--pass-iou", type=float, default=0.33, help="share of masks whose predicted IoU passes")
    reference.add_argument("--pass-stability", type=float, default=0.3, help="share of those that are stable enough")
    reference.add_argument("--nms", type=float, default=1.0, help="IoU of boxes; 1 = no mask suppresses another")
    reference.add_argument("--covered", type=float, default=0.5, help="share of fine points that are left out")
    reference.add_argument("--broadcast", action="store_true", help="the eager side does not repeat the embedding")
    reference.add_argument("--one", default=None, help=argparse.SUPPRESS)
    for part in (modes, reference):
        part.add_argument("bundle", type=Path, help="A segmentation bundle.")
        part.add_argument("--variant", default=None, help="fp32 where nothing is stated")
        part.add_argument("--runtime", default="onnxruntime")
        part.add_argument("--threads", type=int, default=probe.default_threads())
        part.add_argument("--out", type=Path, required=True, help="The JSON to write.")
        part.add_argument("--note", nargs="*", default=[], help="kept in the record: what else the machine was doing")
    return out


# ---- hierarchical against flat


def stated_options(segmenter: Any, way: str, asked: argparse.Namespace) -> Any:
    """The bundle's options, but for what is asked for. Exits where there is no hierarchical search."""
    stated = {"points_per_side": asked.points, "confident_logit": asked.confident_logit}
    known = {name: value for name, value in stated.items() if value is not None}
    options_ = segmenter.everything_options.changed(**known)
    if options_.confident_logit is None and options_.box_agreement is None:
        raise SystemExit(
            f"{asked.bundle.name} states no box_agreement and no confident_logit: name one with --confident-logit"
        )
    return options_.changed(hierarchical=way == "hierarchical")


def found_in(segmenter: Any, pixels: Any, chosen: Any) -> tuple[Any, dict[str, float]]:
    """The result of one way, with the seconds that it took: wall and CPU, from the picture on."""
    segmenter.cache.clear()
    start, cpu_start = time.perf_counter(), time.process_time()
    found = segmenter.everything(pixels, options=chosen)
    return found, {"wall": time.perf_counter() - start, "cpu": time.process_time() - cpu_start}


def passing(segmenter: Any, pixels: Any, chosen: Any) -> dict[str, int]:
    """Of the masks at the coarse points: how many there are, pass the predicted IoU, and are stable at full size too;
    and how many points are coarse and fine."""
    import numpy as np

    from edge_sdk.tasks.segmentation.everything.full_size import part_above
    from edge_sdk.tasks.segmentation.everything.points import coarse_points, fine_points
    from edge_sdk.tasks.segmentation.everything.stability import stability
    from edge_sdk.tasks.segmentation.prompts import checked

    encoded, alternatives = segmenter.set_image(pixels), list(segmenter.settings.multimask)
    frame, offset = encoded.frame, chosen.stability_offset
    coarse = coarse_points(chosen.points_per_side, frame.width, frame.height)
    answered = segmenter.decoder.answer(encoded, checked(frame, points=coarse[:, None]))
    scores, threshold, stable = answered.iou[:, alternatives], segmenter.settings.mask_threshold, 0
    passed = [(int(n), alternatives[k]) for n, k in np.argwhere(scores > np.float32(chosen.predicted_iou))]
    for row in passed:
        part = part_above(answered.masks[row], answered.window(*row), frame, level=threshold - offset)
        stable += stability(part.logits, threshold=threshold, offset=offset) >= chosen.stability
    fine = len(fine_points(chosen.points_per_side, frame.width, frame.height))
    return {"points": len(coarse), "masks": scores.size, "passed": len(passed), "stable": int(stable), "fine": fine}


def shares(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Of all pictures together, by SHARES, for the thresholds of `reference`. Points are covered by grid only."""

    def total(name: str) -> int:
        return sum(row["coarse"][name] for row in rows)

    found = {
        "pass_iou": total("passed") / max(1, total("masks")),
        "pass_stability": total("stable") / max(1, total("passed")),
    }  # fmt: skip
    if all(row["by"] == "grid" for row in rows):
        found["covered"] = sum(row["hierarchical"]["left_out"] for row in rows) / max(1, total("fine"))
    return found


def best_ious(found: Sequence[Any], segments: Any) -> list[float]:
    """Of each segment, bool (n, H, W), the highest IoU with one of the masks; 0 where there is none."""
    import numpy as np

    flat = segments.reshape(len(segments), -1).astype(np.float32)  # exact up to 2^24 px
    best = np.zeros(len(flat))
    for one in found:
        mask = one.array.reshape(-1).astype(np.float32)
        shared = flat @ mask
        best = np.maximum(best, shared / (flat.sum(1) + mask.sum() - shared))
    return [float(value) for value in best]


def of_picture(segmenter: Any, picture: Any, number: int, asked: argparse.Namespace) -> dict[str, Any]:
    """A row: both ways on one picture, in an order that changes from one to the next."""
    import numpy as np

    pixels = picture.pixels()
    marked = [mask for mask in picture.masks(*pixels.shape[:2]) if int(mask.sum()) >= asked.least_area]
    row: dict[str, Any] = {"kind": picture.kind, "segments": len(marked), "areas": [int(m.sum()) for m in marked]}
    chosen = stated_options(segmenter, "hierarchical", asked)
    row["coarse"], row["by"] = passing(segmenter, pixels, chosen), "grid" if chosen.box_agreement is None else "boxes"
    for way in WAYS if number % 2 else WAYS[::-1]:
        found, seconds = found_in(segmenter, pixels, stated_options(segmenter, way, asked))
        ious = best_ious(found.masks, np.array(marked)) if marked else []
        row[way] = {
            "seconds": seconds, "asked": found.counts.asked, "points": found.counts.points, "masks": len(found),
            "left_out": found.counts.left_out, "candidates": found.counts.candidates,
            "iou": [round(value, 6) for value in ious],
        }  # fmt: skip
    return row


def compared(rows: Sequence[Mapping[str, Any]], seed: int = 0) -> dict[str, Any]:
    """Time ratios and mIoU of pictures, with intervals of 95 % from a bootstrap over pictures."""
    import numpy as np

    drawn = np.random.default_rng(seed).integers(0, len(rows), (DRAWS, len(rows)))
    counts = np.array([row["segments"] for row in rows])

    def column(way: str, name: str) -> Any:
        return np.array([row[way]["seconds"][name] for row in rows])

    def interval(values: Any) -> list[float]:
        return [float(edge) for edge in np.quantile(values, (0.025, 0.975))]

    out: dict[str, Any] = {"pictures": len(rows), "segments": int(counts.sum()), "shares": shares(rows)}
    for name in ("wall", "cpu"):
        flat, fine = column("flat", name), column("hierarchical", name)
        out[f"speedup_{name}"] = float(flat.sum() / fine.sum())
        out[f"speedup_{name}_95"] = interval(flat[drawn].sum(1) / fine[drawn].sum(1))
        out[f"median_seconds_{name}"] = {"flat": float(np.median(flat)), "hierarchical": float(np.median(fine))}
    sums = {way: np.array([sum(row[way]["iou"]) for row in rows]) for way in WAYS}
    if counts.sum():
        total = np.maximum(counts[drawn].sum(1), 1)
        out["miou"] = {way: 100 * float(sums[way].sum() / counts.sum()) for way in WAYS}
        out["points_lost"] = out["miou"]["flat"] - out["miou"]["hierarchical"]
        out["points_lost_95"] = interval(100 * (sums["flat"] - sums["hierarchical"])[drawn].sum(1) / total)
    for what in ("asked", "points", "masks", "candidates"):
        out[f"mean_{what}"] = {way: float(np.mean([row[way][what] for row in rows])) for way in WAYS}
    return out


def modes(asked: argparse.Namespace) -> None:
    """Every picture, then the record."""
    import edge_sdk
    from edge_sdk.export.tasks.segmentation.options import SegmentationOptions
    from edge_sdk.export.tasks.segmentation.reading import read_data

    data = read_data(asked.data, SegmentationOptions(kind=asked.kind))
    pictures = list(data.test)
    if asked.pictures is not None and asked.pictures < len(pictures):
        pictures = [pictures[at * len(pictures) // asked.pictures] for at in range(asked.pictures)]
    rows = Rows(asked.out, asked)
    with edge_sdk.load(
        asked.bundle, variant=asked.variant or "fp32", runtime=asked.runtime, threads=asked.threads, self_check=False
    ) as segmenter:
        chosen = stated_options(segmenter, "flat", asked)
        found_in(segmenter, pictures[0].pixels(), chosen)  # warm
        found = []
        for number, picture in enumerate(pictures):
            name = f"{number} {picture.path.name}"
            found.append(rows.row(name, lambda p=picture, n=number: of_picture(segmenter, p, n, asked)))
            print(f"{name}: {found[-1]['flat']['masks']} and {found[-1]['hierarchical']['masks']} masks", flush=True)
        about = {
            "bundle": asked.bundle.name, "digest": segmenter.bundle.digest, "variant": segmenter.variant,
            "runtime": asked.runtime, "threads": asked.threads,
            "everything": {name: getattr(chosen, name) for name in chosen.__struct_fields__},
            "computes": {role: one.computes for role, one in segmenter.explanations.items()},
        }  # fmt: skip
    kinds = sorted({row["kind"] for row in found if row["kind"]})
    metrics = {
        **about, "all": compared(found),
        "by_kind": {kind: compared([row for row in found if row["kind"] == kind]) for kind in kinds},
        "by_picture": found, "wanted": {"speedup": ">= 2", "points_lost": "<= 1"},
    }  # fmt: skip
    write_record(asked.out, metrics, seeds=[0], samples=len(found), notes=asked.note)
    rows.discard()
    print(json.dumps(metrics["all"], indent=1))


# ---- against the eager reference


def drawn(asked: argparse.Namespace) -> Any:
    """The picture of all sides."""
    from tinysam_bundle import picture

    return picture(height=asked.size[0], width=asked.size[1], seed=0)


def opened(asked: argparse.Namespace) -> Any:
    import edge_sdk

    return edge_sdk.load(
        asked.bundle, variant=asked.variant or "fp32", runtime=asked.runtime, threads=asked.threads, self_check=False
    )


def wanted_shares(asked: argparse.Namespace) -> dict[str, float]:
    """By SHARES: of the record of `modes`, or as assumed. Exits where the record states none."""
    if asked.shares is None:
        return {name: getattr(asked, name) for name in SHARES}
    found = json.loads(asked.shares.read_text("utf-8")).get("figures", {}).get("all", {}).get("shares")
    if found is None:
        raise SystemExit(f"{asked.shares} states no shares: it is no record of `modes`, or of an older one")
    return {name: float(found.get(name, getattr(asked, name))) for name in SHARES}


def thresholds(asked: argparse.Namespace) -> dict[str, Any]:
    """Of the coarse grid's masks: which let the stated shares pass, at full size; by KINDS of search, the logit that
    leaves out its share of fine points."""
    import numpy as np

    from edge_sdk.tasks.segmentation.everything.full_size import values_at
    from edge_sdk.tasks.segmentation.everything.points import coarse_points, fine_points
    from edge_sdk.tasks.segmentation.everything.stability import stability
    from edge_sdk.tasks.segmentation.prompts import checked

    share = wanted_shares(asked)
    with opened(asked) as segmenter:
        encoded, alternatives = segmenter.set_image(drawn(asked)), list(segmenter.settings.multimask)
        frame = encoded.frame
        coarse = coarse_points(asked.points, frame.width, frame.height)
        answered = segmenter.decoder.answer(encoded, checked(frame, points=coarse[:, None]))
        scores = answered.iou[:, alternatives]
        predicted = float(np.quantile(scores, 1.0 - share["pass_iou"]))
        rows = [(int(n), alternatives[k]) for n, k in np.argwhere(scores > predicted)]
        stable = np.array([
            stability(frame.whole_frame_logits(answered.masks[row]), threshold=0.0, offset=1.0) for row in rows
        ])  # fmt: skip
        # Empty masks aside: their stability is 0 here and no number there.
        least = float(np.quantile(stable[stable > 0.0], 1.0 - share["pass_stability"]))
        fine = fine_points(asked.points, frame.width, frame.height).astype(np.int64)
        highest = np.max(
            [
                values_at(answered.masks[row], answered.window(*row), frame, fine)
                for row, one in zip(rows, stable, strict=True)
                if one >= least
            ],
            axis=0,
        )
        left_out = {NONE_LEFT_OUT: 0.0, "hierarchical": share["covered"], HALF_LEFT_OUT: 0.5}
        return {
            "predicted_iou": predicted, "stability": least, "nms_iou": asked.nms,
            "confident_logit": {name: float(np.quantile(highest, 1 - of)) for name, of in left_out.items()},
        }  # fmt: skip


def side_of(kind: str, asked: argparse.Namespace, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """One search, in a process of its own: seconds, and what was found. kind: EAGER, or one of KINDS."""
    if kind == EAGER:
        return _eager(asked, chosen)
    with opened(asked) as segmenter:
        picture = drawn(asked)
        encoded = segmenter.set_image(picture)
        logit = chosen["confident_logit"].get(kind)
        filters = {name: value for name, value in chosen.items() if name != "confident_logit"}
        wanted = segmenter.everything_options.changed(points_per_side=asked.points, hierarchical=False, **filters)
        if logit is not None:
            wanted = wanted.changed(hierarchical=True, confident_logit=logit)
        segmenter.predict(encoded, points=[[1.0, 1.0]])  # the decoder's first call
        start, cpu_start = time.perf_counter(), time.process_time()
        found = segmenter.everything(encoded, options=wanted)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu_start
        return {
            "seconds": seconds, "cpu_seconds": cpu, "points": found.counts.points, "asked": found.counts.asked,
            "left_out": found.counts.left_out, "candidates": found.counts.candidates, "masks": len(found),
            "computes": {role: one.computes for role, one in segmenter.explanations.items()},
        }  # fmt: skip


def _eager(asked: argparse.Namespace, chosen: Mapping[str, Any]) -> dict[str, Any]:
    import torch
    from tinysam_bundle import network
    from tinysam_eager import Eager, Thresholds

    from edge_sdk.bundle.store import Bundle

    with Bundle.open(asked.bundle) as bundle:
        assert bundle.manifest.preprocessing is not None
        side, seed = bundle.manifest.preprocessing.width, bundle.manifest.provenance.seed
    torch.set_num_threads(asked.threads)
    one = Eager(network(side=side, seed=seed), repeated=not asked.broadcast)
    one.set_image(drawn(asked))
    start, cpu_start = time.perf_counter(), time.process_time()
    limits = Thresholds(
        pred_iou_thresh=chosen["predicted_iou"], stability_score_thresh=chosen["stability"],
        box_nms_thresh=chosen["nms_iou"],
    )  # fmt: skip
    masks, candidates = one.everything(asked.points, thresholds=limits)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu_start
    return {
        "seconds": seconds, "cpu_seconds": cpu, "points": asked.points**2, "asked": asked.points**2,
        "candidates": candidates, "masks": len(masks), "version": torch.__version__,
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
    }  # fmt: skip


def in_a_process(kind: str, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """`side_of` with its peak memory, interpreter and libraries included."""
    request = json.dumps({"kind": kind, "chosen": dict(chosen)})
    done = run_child([sys.executable, __file__, *sys.argv[1:], "--one", request], folder=Path.cwd())
    if done.code:
        raise SystemExit(f"{kind} failed: {done.output[-2000:]}")
    row = {**json.loads(done.last_line), "peak_mib": done.peak_mib}
    print(f"{kind}: {row['seconds']:.1f} s, {row['cpu_seconds']:.1f} CPU s, peak {row['peak_mib']:.0f} MiB, "
          f"{row['candidates']} candidates, {row['masks']} masks", flush=True)  # fmt: skip
    return row


def reference(asked: argparse.Namespace) -> None:
    """Every side in turn, then the record."""
    import numpy as np

    if asked.one is not None:
        request = json.loads(asked.one)
        print(json.dumps(thresholds(asked) if request["kind"] == "thresholds" else
                         side_of(request["kind"], asked, request["chosen"])))  # fmt: skip
        return
    rows = Rows(asked.out, asked)
    chosen = rows.row("thresholds", lambda: _thresholds_apart())
    runs: dict[str, list[dict[str, Any]]] = {kind: [] for kind in (EAGER, *KINDS)}
    for number in range(asked.repeats):
        for kind in (*KINDS, *((EAGER,) if number + 1 < max(2, asked.repeats) else ())):
            runs[kind].append(rows.row(f"{kind} {number}", lambda kind=kind: in_a_process(kind, chosen)))
    median = {kind: float(np.median([one["seconds"] for one in found])) for kind, found in runs.items()}
    peak = {kind: max(one["peak_mib"] for one in found) for kind, found in runs.items()}
    metrics = {
        "bundle": asked.bundle.name, "variant": asked.variant or "fp32", "runtime": asked.runtime,
        "threads": asked.threads, "picture": asked.size, "points_per_side": asked.points, "thresholds": chosen,
        "shares": {**wanted_shares(asked), "of": asked.shares.name if asked.shares else "assumed"},
        "eager_repeats_the_embedding": not asked.broadcast, "instruction_set": probe.cpu().isa, "runs": runs,
        "speedup": {kind: _range(runs[EAGER], runs[kind], median[EAGER] / median[kind]) for kind in KINDS},
        "speedup_over_flat": {kind: median["flat"] / median[kind] for kind in KINDS},
        "memory_ratio": {kind: peak[kind] / peak[EAGER] for kind in KINDS},
        "wanted": {"speedup": {"hierarchical": ">= 5"}, "memory_ratio": "<= 0.5"},
    }  # fmt: skip
    write_record(asked.out, metrics, seeds=[0], samples=asked.repeats, notes=asked.note)
    rows.discard()
    print(
        json.dumps(
            {name: metrics[name] for name in ("shares", "speedup", "speedup_over_flat", "memory_ratio")}, indent=1
        )
    )


def _range(eager: Sequence[Mapping[str, Any]], ours: Sequence[Mapping[str, Any]], value: float) -> dict[str, float]:
    """Of medians, and between the runs that are nearest and furthest."""
    of = [[one["seconds"] for one in side] for side in (eager, ours)]
    return {"of_medians": value, "least": min(of[0]) / max(of[1]), "most": max(of[0]) / min(of[1])}


def _thresholds_apart() -> dict[str, Any]:
    """In a process of their own, so that this one's memory is no child's."""
    request = json.dumps({"kind": "thresholds", "chosen": {}})
    done = subprocess.run(
        [sys.executable, __file__, *sys.argv[1:], "--one", request], capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """One of the two parts."""
    asked = parser().parse_args()
    {"modes": modes, "reference": reference}[asked.part](asked)


if __name__ == "__main__":
    main()
