"""Quality of every variant on every runtime, on pictures that training never saw. Knows scores, no family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_sdk import preprocess
from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.calibration import Variant
from edge_sdk.errors import EdgeError
from edge_sdk.export.family import Picture
from edge_sdk.progress import Progress, silent
from edge_sdk.quality import detection
from edge_sdk.runtimes import registry, targets
from edge_sdk.runtimes.protocol import CompileOptions, Runtime, Session


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scored:
    """Raw scores of one variant on one runtime, in the order of the pictures. problem: why it could not run."""

    variant: str
    layout: str
    runtime: str
    version: str = ""
    device: str = ""
    precision: str = ""
    convolutions: str = ""
    size_bytes: int = 0
    scores: NDArray[np.float64]
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table. auroc and its interval: None without defects among the pictures. flips: verdicts that
    differ from the reference row; kept: least share of its reference score kept by a strong defect (20 strongest)."""

    variant: str
    layout: str
    runtime: str
    version: str
    device: str
    precision: str
    convolutions: str
    size_bytes: int
    pictures: int
    auroc: float | None = None
    auroc_low: float | None = None
    auroc_high: float | None = None
    auroc_change: float | None = None
    flips: int | None = None
    flips_to_defect: int | None = None
    flips_upper: float | None = None
    kept_least: float | None = None
    spearman: float | None = None
    false_rejects: int | None = None
    good: int = 0
    misses: int | None = None
    defects: int = 0
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values for one JSON object."""
        return asdict(self)


def prepared(pictures: Sequence[Picture], record: Preprocessing, *, progress: Progress = silent) -> list[NDArray[Any]]:
    """Network inputs of pictures, uint8 (tiles, h, w, 3) each."""
    out = []
    for done, picture in enumerate(pictures):
        progress(done, len(pictures), "reading test pictures")
        out.append(preprocess.apply(preprocess.decode(picture.path), record, where=str(picture.path)).tensor)
    return out


def scores(session: Session, inputs: Sequence[NDArray[Any]], *, tick: Callable[[], None]) -> NDArray[np.float64]:
    """Raw scores float64 (len(inputs),) of one compiled graph; of tiles the highest."""
    name = session.inputs[0].name
    out = []
    for tensor in inputs:
        out.append(max(float(session.run({name: tile[None]})["score"][0]) for tile in tensor))
        tick()
    return np.array(out, np.float64)


def score_all(
    variants: Sequence[Variant], inputs: Sequence[NDArray[Any]], *, progress: Progress = silent
) -> list[Scored]:
    """Every variant on every runtime that is here and takes its layout. The first row, fp32, is the reference."""
    present = [r for r in registry.runtimes() if r.probe().usable]
    jobs = [(v, r) for v in variants for r in present if targets.takes(r.name, v.variant, v.layout)]
    done, total = 0, len(jobs) * len(inputs)
    out = []
    for variant, runtime in jobs:
        began = done

        def tick(note: str = f"scoring {variant.variant} on {runtime.name}") -> None:
            nonlocal done
            done += 1
            progress(done, total, note)

        out.append(_score_one(variant, runtime, inputs, tick))
        done = began + len(inputs)
    return out


def _score_one(variant: Variant, runtime: Runtime, inputs: Sequence[NDArray[Any]], tick: Callable[[], None]) -> Scored:
    blank = Scored(
        variant=variant.variant, layout=variant.layout, runtime=runtime.name, scores=np.full(len(inputs), np.nan)
    )
    options = CompileOptions(graph_name=variant.variant, int8_convolutions=variant.int8_convolutions or None)
    try:
        session = runtime.compile(variant.graph, options)
    except EdgeError as exc:  # a variant that a runtime refuses is a row that says so, not the end of the report
        return replace(blank, problem=str(exc))
    try:
        told = session.explain()
        return replace(
            blank, version=told.version, device=told.device, precision=told.precision,
            convolutions=", ".join(f"{n} {kind}" for kind, n in sorted(told.layers_by_precision.items())),
            size_bytes=len(variant.graph), scores=scores(session, inputs, tick=tick),
        )  # fmt: skip
    except EdgeError as exc:
        return replace(blank, problem=str(exc))
    finally:
        session.close()


def rows(scored: Sequence[Scored], labels: Sequence[str], threshold: float | None) -> list[Row]:
    """The table: each row held against the first. labels: "good" or the kind of defect, by picture."""
    good = np.array([label == "good" for label in labels])
    reference = scored[0].scores
    return [_row(s, reference, good, threshold) for s in scored]


def _row(s: Scored, reference: NDArray[np.float64], good: NDArray[np.bool_], threshold: float | None) -> Row:
    out: dict[str, Any] = {
        "variant": s.variant, "layout": s.layout, "runtime": s.runtime, "version": s.version, "device": s.device,
        "precision": s.precision, "convolutions": s.convolutions, "size_bytes": s.size_bytes, "problem": s.problem,
        "pictures": len(good), "good": int(good.sum()), "defects": int((~good).sum()),
    }  # fmt: skip
    if s.problem:
        return Row(**out)
    out["spearman"] = detection.spearman(reference, s.scores)
    if good.any() and not good.all():
        area = detection.auroc_with_interval(s.scores[good], s.scores[~good])
        out |= {"auroc": area.value, "auroc_low": area.low, "auroc_high": area.high}
        out["auroc_change"] = area.value - detection.auroc(reference[good], reference[~good])
        kept = detection.kept_score(
            reference[~good], s.scores[~good], strongest=20, origin=float(np.median(reference[good]))
        )
        out["kept_least"] = kept.least
    if threshold is not None:
        flips = detection.verdict_flips(reference, s.scores, threshold=threshold)
        out |= {
            "flips": len(flips.good_to_defect) + len(flips.defect_to_good), "flips_upper": flips.upper,
            "flips_to_defect": len(flips.good_to_defect),
            "false_rejects": int((s.scores[good] > threshold).sum()),
            "misses": int((s.scores[~good] <= threshold).sum()),
        }  # fmt: skip
    return Row(**out)
