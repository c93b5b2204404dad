"""Masks of every variant on every runtime, held against annotated segments. Knows graphs and pictures; no family.

The protocol: for every segment of every annotator, of `least_area` px and more at the picture's own size, one box
prompt without jitter, [min x, min y, max x + 1, max y + 1], and apart from it one point at the segment's innermost
pixel. The mask that one prompt gives is the one that `predict` gives; the best of the alternatives, which only somebody
who knows the segment can choose, stands beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_sdk import preprocess
from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.calibration import Variant
from edge_sdk.errors import NotThere
from edge_sdk.export.each_runtime import RanOn, Tick, on_each_runtime
from edge_sdk.export.tasks.segmentation.annotations import AnnotatedPicture, BitMask
from edge_sdk.export.tasks.segmentation.prompting import box_of, controls, innermost, iou, on_grid
from edge_sdk.progress import Progress, silent
from edge_sdk.runtimes import registry, targets
from edge_sdk.runtimes.protocol import CompileOptions, Session
from edge_sdk.tasks.base import Setup
from edge_sdk.tasks.segmentation.decoding import Decoded, Decoder, EncodedImage, answer, chosen_mask
from edge_sdk.tasks.segmentation.frame import Frame
from edge_sdk.tasks.segmentation.prompts import Prompt, checked
from edge_sdk.tasks.segmentation.segmenter import encoder_feeds
from edge_sdk.tasks.segmentation.settings import DECODER, ENCODER, REFINER, SegmentationSettings
from edge_sdk.tensors import BATCH

KINDS = ("box", "point")
"""Of prompts, in the order of the columns of `SegmentScores`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segments:
    """The segments of an evaluation, S of them, picture by picture. picture: int64 (S,), index of the picture of each.
    parts, kinds: by picture. area: float64 (S,), share of the picture. controls: float64 (S, 2), IoU of the whole box
    and of the ellipse in it."""

    picture: NDArray[np.int64]
    parts: tuple[str, ...]
    kinds: tuple[str, ...]
    area: NDArray[np.float64]
    controls: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.picture)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SegmentScores(RanOn):
    """Of one variant on one runtime. by_role: the variant of each role. chosen, oracle: float64 (S, 2), IoU of the mask
    that `predict` gives and of the best alternative, by KINDS of prompts; None where it did not run (`problem`).

    truth_on_grid: float64 (S,), IoU of the segment itself, averaged over the cells of the mask that a box gives, and
    brought back; a grid that is fitted to the segment is a little nearer. None where it was not asked for.
    """

    by_role: Mapping[str, str] = field(default_factory=dict)
    chosen: NDArray[np.float64] | None = None
    oracle: NDArray[np.float64] | None = None
    truth_on_grid: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Looked:
    """One picture, prepared, and its segments."""

    tensor: NDArray[np.uint8]
    frame: Frame
    masks: tuple[BitMask, ...]


def looked_at(pictures: Sequence[AnnotatedPicture], record: Preprocessing, *, least_area: int) -> Iterator[_Looked]:
    """Each picture as the network takes it, with its segments of at least `least_area` px. Raises BadInput."""
    for one in pictures:
        pixels = one.pixels()
        prepared = preprocess.apply(pixels, record, where=str(one.path))
        masks = tuple(mask for mask in one.masks(*pixels.shape[:2]) if np.count_nonzero(mask) >= least_area)
        yield _Looked(tensor=prepared.tensor, frame=Frame.of(prepared.geometry, record.width), masks=masks)


def segments_of(pictures: Sequence[AnnotatedPicture], record: Preprocessing, *, least_area: int) -> Segments:
    """What is evaluated, and the controls. Raises BadInput."""
    picture, area, floors = [], [], []
    for index, one in enumerate(looked_at(pictures, record, least_area=least_area)):
        picture += [index] * len(one.masks)
        area += [float(mask.mean()) for mask in one.masks]
        floors += [controls(mask) for mask in one.masks]
    return Segments(
        picture=np.array(picture, np.int64), area=np.array(area), controls=np.array(floors).reshape(-1, 2),
        parts=tuple(one.part for one in pictures), kinds=tuple(one.kind for one in pictures),
    )  # fmt: skip


def score_all(
    variants: Mapping[str, Sequence[Variant]], pictures: Sequence[AnnotatedPicture], setup: Setup, *,
    axes: Mapping[str, Mapping[str, int]], least_area: int, threads: int | None = None, progress: Progress = silent,
) -> list[SegmentScores]:  # fmt: skip
    """Every variant of the encoder on every runtime that is here, with the decoder's graph of the same variant, or its
    fp32 graph where it has none, and the refiner's where the settings ask for rounds; in the layouts that `load` takes
    there.

    variants: by role. axes: by role, as in `CompileOptions`. Raises BadInput (pictures that are gone).
    """
    decoders = variants[DECODER]
    roles = (DECODER, REFINER) if setup.settings.rounds else (DECODER,)

    def opened(role: str, name: str, runtime: str) -> Session:
        graph = targets.taken(variants[role], name, runtime)
        if graph is None:
            raise NotThere(f"the {role} has no {name} graph for {runtime}")
        options = CompileOptions(
            graph_name=f"{role} {name}", threads=threads, int8_convolutions=graph.int8_convolutions, axes=axes[role]
        )
        return registry.runtime(runtime).compile(graph.graph, options)

    def work(session: Session, variant: Variant, tick: Tick) -> tuple[str, NDArray[np.float64]]:
        runtime = session.explain().runtime
        name = variant.variant if any(one.variant == variant.variant for one in decoders) else "fp32"
        with ExitStack() as stack:
            answering = {role: stack.enter_context(closing(opened(role, name, runtime))) for role in roles}
            found = []
            gridded = variant is variants[ENCODER][0] and runtime == "onnxruntime"  # it is the same in all rows
            for one in looked_at(pictures, _record(setup), least_area=least_area):
                found.append(_scored(one, session, answering, setup, axes[DECODER], gridded=gridded))
                tick()
        return name, np.concatenate(found)

    each = on_each_runtime(
        variants[ENCODER], len(pictures), work, doing="segmenting with", threads=threads, axes=axes[ENCODER],
        progress=progress,
    )  # fmt: skip
    out = []
    for ran, found in each:
        if found is None:
            out.append(SegmentScores(**ran.facts()))
            continue
        name, scores = found
        out.append(
            SegmentScores(
                **ran.facts(),
                by_role={ENCODER: ran.variant, DECODER: name},
                chosen=scores[:, :2],
                oracle=scores[:, 2:4],
                truth_on_grid=None if np.isnan(scores[:, 4]).all() else scores[:, 4],
            )
        )
    return out


def _record(setup: Setup) -> Preprocessing:
    assert setup.preprocessing is not None  # `SegmentationTask.check` refuses a model without
    return setup.preprocessing


def _scored(
    one: _Looked, encoder: Session, answering: Mapping[str, Session], setup: Setup, axes: Mapping[str, int], *,
    gridded: bool,
) -> NDArray[np.float64]:  # fmt: skip
    """float64 (segments, 5): chosen and oracle, by KINDS of prompts, then the truth on the grid, NaN unless `gridded`.

    answering: decoder and refiner, compiled for these axes.
    """
    out = np.full((len(one.masks), 5), np.nan)
    if not one.masks:
        return out
    features = encoder.run(encoder_feeds(one.tensor, one.frame))
    encoded = EncodedImage(features=features, frame=one.frame, digest="", bundle="")
    decoder = Decoder(lambda role, feeds: answering[role].run(feeds), setup.inputs, setup.outputs, axes)
    boxes = checked(one.frame, boxes=[box_of(mask) for mask in one.masks])
    points = checked(one.frame, points=[innermost(mask)[None] for mask in one.masks])
    for column, asked in enumerate((boxes, points)):
        answered, prompts = answer(decoder, encoded, asked, setup.settings)
        for row, (prompt, truth) in enumerate(zip(prompts, one.masks, strict=True)):
            out[row, [column, 2 + column]] = _agreement(answered, row, prompt, truth, one.frame, setup.settings)
            if gridded and asked is boxes:
                window = answered.window(row, chosen_mask(answered.iou[row], prompt, setup.settings))
                best = one.frame.place(on_grid(truth, one.frame, window, decoder.cells), window)
                out[row, 4] = iou(best, truth)
    return out


def _agreement(
    answered: Decoded, row: int, prompt: Prompt, truth: BitMask, frame: Frame, settings: SegmentationSettings
) -> tuple[float, float]:
    """IoU of the mask that `predict` gives, and of the best of the alternatives."""
    chosen = chosen_mask(answered.iou[row], prompt, settings)
    found = {
        index: iou(
            frame.place(answered.masks[row, index], answered.window(row, index), threshold=settings.mask_threshold),
            truth,
        )
        for index in {chosen, *settings.multimask}
    }
    return found[chosen], max(found[index] for index in settings.multimask)


ROWS = 32
"""Prompts of one call: few enough that the masks of all of them stay in the caches."""


def axes_for(most: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """By role, the largest size of each free axis in an evaluation. most: of the graphs."""
    return {
        role: {name: min(size, ROWS) if name == BATCH else size for name, size in axes.items()}
        for role, axes in most.items()
    }
