"""Scores of every variant on every runtime, on pictures that training never saw. Knows graphs, no family, no label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.calibration import Variant
from edge_sdk.errors import EdgeError
from edge_sdk.export.anomaly.data import Picture
from edge_sdk.export.pictures.store import PictureStore
from edge_sdk.export.tasks.anomaly.masks import MEGAPIXELS, MapTally, Masks
from edge_sdk.export.tasks.anomaly.pixel import PixelQuality
from edge_sdk.preprocess import Prepared
from edge_sdk.progress import Progress, silent
from edge_sdk.runtimes import registry, targets
from edge_sdk.runtimes.protocol import CompileOptions, Runtime, Session


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VariantScores:
    """Raw scores of one variant on one runtime, in the order of the pictures. pixels: of its maps, where masks were
    given and looked at; notes: what must be said of them. problem: why it could not run."""

    variant: str
    layout: str
    runtime: str
    version: str = ""
    device: str = ""
    precision: str = ""
    convolutions: str = ""
    threads: int = 0
    size_bytes: int = 0
    scores: NDArray[np.float64]
    pixels: PixelQuality | None = None
    notes: tuple[str, ...] = ()
    problem: str = ""


def prepared(
    pictures: Sequence[Picture], store: PictureStore, record: Preprocessing, *, progress: Progress = silent
) -> list[Prepared]:
    """Network inputs of pictures, and the way back to their pixels."""
    out = []
    for done, picture in enumerate(pictures):
        progress(done, len(pictures), "reading pictures")
        out.append(store.prepared(picture.path, record))
    return out


def score_all(
    variants: Sequence[Variant],
    inputs: Sequence[Prepared],
    *,
    masks: Masks | None = None,
    threads: int | None = None,
    progress: Progress = silent,
) -> list[VariantScores]:
    """Every variant on every runtime that is here, in the layout that `load` takes there.

    masks: of the same pictures, for pixel metrics of each variant on the first runtime that takes it; of the first
    variant alone where the pictures are large. threads: as in `CompileOptions`.
    """
    present = [r for r in registry.runtimes() if r.probe().usable]
    jobs = [(v, r) for v in variants for r in present if targets.taken(variants, v.variant, r.name) is v]
    done, total = 0, len(jobs) * len(inputs)
    out: list[VariantScores] = []
    for variant, runtime in jobs:
        began = done

        def tick(note: str = f"scoring {variant.variant} on {runtime.name}") -> None:
            nonlocal done
            done += 1
            progress(done, total, note)

        wanted = masks if _maps_wanted(variant, out, inputs) else None
        out.append(_score_one(variant, runtime, inputs, wanted, threads, tick))
        done = began + len(inputs)
    return out


def _maps_wanted(variant: Variant, so_far: Sequence[VariantScores], inputs: Sequence[Prepared]) -> bool:
    """Runtimes differ by rounding alone: one of them a variant is enough, and the rest would cost as much again."""
    done = {s.variant for s in so_far if not s.problem}
    megapixels = sum(i.geometry.width * i.geometry.height for i in inputs) / 1e6
    return variant.variant not in done and (not done or megapixels <= MEGAPIXELS)


def _score_one(
    variant: Variant, runtime: Runtime, inputs: Sequence[Prepared], masks: Masks | None, threads: int | None,
    tick: Callable[[], None],
) -> VariantScores:  # fmt: skip
    blank = VariantScores(
        variant=variant.variant, layout=variant.layout, runtime=runtime.name, scores=np.full(len(inputs), np.nan)
    )
    options = CompileOptions(graph_name=variant.variant, threads=threads, int8_convolutions=variant.int8_convolutions)
    try:
        session = runtime.compile(variant.graph, options)
    except EdgeError as exc:  # a variant that a runtime refuses is a row that says so, not the end of the report
        return replace(blank, problem=str(exc))
    try:
        maps = None if masks is None else MapTally(masks)
        scores = _scores(session, inputs, maps, tick)
        pixels, notes = (None, ()) if maps is None else maps.summary()
        e = session.explain()
        return replace(
            blank, version=e.version, device=e.device, precision=e.precision, threads=e.threads,
            convolutions=", ".join(f"{n} {kind}" for kind, n in sorted(e.layers_by_precision.items())),
            size_bytes=len(variant.graph), scores=scores, pixels=pixels, notes=notes,
        )  # fmt: skip
    except EdgeError as exc:
        return replace(blank, problem=str(exc))
    finally:
        session.close()


def _scores(
    session: Session, inputs: Sequence[Prepared], maps: MapTally | None, tick: Callable[[], None]
) -> NDArray[np.float64]:
    """Raw scores float64 (len(inputs),) of one compiled graph, of tiles the highest; maps go to `maps` and are gone."""
    name = session.inputs[0].name
    out = []
    for number, item in enumerate(inputs):
        answers = [session.run({name: tile[None]}) for tile in item.tensor]
        out.append(max(float(answer["score"][0]) for answer in answers))
        if maps is not None:
            maps.add(number, np.concatenate([answer["map"] for answer in answers]), item.geometry)
        tick()
    return np.array(out, np.float64)
