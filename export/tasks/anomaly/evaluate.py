"""Scores of every variant on every runtime, on pictures that training never saw. Knows graphs, no family, no label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.calibration import Variant
from edge_sdk.export.anomaly.data import Picture
from edge_sdk.export.each_runtime import RanOn, Tick, on_each_runtime
from edge_sdk.export.pictures.store import PictureStore
from edge_sdk.export.tasks.anomaly.masks import MEGAPIXELS, MapTally, Masks
from edge_sdk.export.tasks.anomaly.pixel import PixelQuality
from edge_sdk.preprocess import Prepared
from edge_sdk.progress import Progress, silent
from edge_sdk.runtimes.protocol import Session


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VariantScores(RanOn):
    """Raw scores of one variant on one runtime, in the order of the pictures. pixels: of its maps, where masks were
    given and looked at; notes: what must be said of them."""

    scores: NDArray[np.float64]
    pixels: PixelQuality | None = None
    notes: tuple[str, ...] = ()


_Found: TypeAlias = tuple[NDArray[np.float64], tuple[PixelQuality | None, tuple[str, ...]]]


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
    out: list[VariantScores] = []

    def work(session: Session, variant: Variant, tick: Tick) -> _Found:
        maps = MapTally(masks) if masks is not None and _maps_wanted(variant, out, inputs) else None
        scores = _scores(session, inputs, maps, tick)
        return scores, (None, ()) if maps is None else maps.summary()

    nothing: _Found = np.full(len(inputs), np.nan), (None, ())
    each = on_each_runtime(variants, len(inputs), work, doing="scoring", threads=threads, progress=progress)
    for ran, found in each:
        scores, (pixels, notes) = found or nothing
        out.append(VariantScores(**ran.facts(), scores=scores, pixels=pixels, notes=notes))
    return out


def _maps_wanted(variant: Variant, so_far: Sequence[VariantScores], inputs: Sequence[Prepared]) -> bool:
    """Runtimes differ by rounding alone: one of them a variant is enough, and the rest would cost as much again."""
    done = {s.variant for s in so_far if not s.problem}
    megapixels = sum(i.geometry.width * i.geometry.height for i in inputs) / 1e6
    return variant.variant not in done and (not done or megapixels <= MEGAPIXELS)


def _scores(session: Session, inputs: Sequence[Prepared], maps: MapTally | None, tick: Tick) -> NDArray[np.float64]:
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
