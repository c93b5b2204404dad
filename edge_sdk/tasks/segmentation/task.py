"""The segmentation task: settings, checks, golden samples, command line, meaning of errors. Knows no family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_sdk import preprocess
from edge_sdk.bundle.store import Bundle
from edge_sdk.counted import counted, percent
from edge_sdk.errors import BadBundle, BadUsage
from edge_sdk.golden import OutputCheck
from edge_sdk.shown import shown
from edge_sdk.tasks.base import (
    Answers,
    Given,
    Headline,
    Loaded,
    PromptForm,
    Result,
    Running,
    Setup,
    Task,
    settings_of,
)
from edge_sdk.tasks.images import PICTURE, given_pictures, left_out, record_of, ring
from edge_sdk.tasks.segmentation import prompts as prompting
from edge_sdk.tasks.segmentation.decoding import Decoder, decoder_feeds, given_back
from edge_sdk.tasks.segmentation.everything.options import EverythingIn, parsed
from edge_sdk.tasks.segmentation.frame import Frame
from edge_sdk.tasks.segmentation.masks import FILES
from edge_sdk.tasks.segmentation.prompts import BACKGROUND, CENTRE, FOREGROUND, Prompted
from edge_sdk.tasks.segmentation.segmenter import PromptSegmenter, encoder_feeds
from edge_sdk.tasks.segmentation.settings import (
    DECODER,
    ENCODER,
    IOU,
    MASKS,
    REFINER,
    SegmentationSettings,
    box_map_problem,
    graphs_problem,
    mask_shape,
    settings_problem,
)
from edge_sdk.tensors import Array

POINTS, LABELS, BOXES = "points", "labels", "boxes"
"""Arrays of a golden sample's source beside the picture: as `predict` takes them."""
EVERYTHING = "everything"
"""Name of the prompt that states options of everything mode."""
ROWS = 64
"""Prompts of one call, where `load` is given no `max_batch`: few calls for many prompts, and their masks stay small."""


class SegmentationTask(Task):
    """Three graphs: picture to features; features and prompts to masks; the same for prompts with a mask each.

    A golden sample's source is an encoded picture with points, labels and boxes, answered with one round of refinement,
    so that it reaches all three.
    """

    name: ClassVar[str] = "segmentation"
    roles: ClassVar[tuple[str, ...]] = (ENCODER, DECODER, REFINER)
    settings: ClassVar[type[msgspec.Struct]] = SegmentationSettings
    predictor: ClassVar[type[Running[Any, Any]]] = PromptSegmenter
    batch_rows: ClassVar[Mapping[str, int]] = {DECODER: ROWS, REFINER: ROWS}
    prompts: ClassVar[Mapping[str, PromptForm]] = {
        "point": PromptForm(form="X,Y", example="100,50", about="a pixel on the object"),
        "background": PromptForm(form="X,Y", example="60,70", about="a pixel beside the object"),
        "box": PromptForm(form="X0,Y0,X1,Y1", example="20,30,90,80", about="a box around the object, one mask each"),
        EVERYTHING: PromptForm(
            form="OPTIONS", example="flat,points_per_side=16",
            about="every object, the default; OPTIONS are flat or hierarchical and NAME=VALUE, separated by commas",
        ),
    }  # fmt: skip
    files: ClassVar[Mapping[str, str]] = FILES

    def check(self, setup: Setup, *, where: str) -> None:
        problem = graphs_problem(setup.preprocessing, setup.inputs, setup.outputs)
        problem = problem or settings_problem(setup.settings, mask_shape(setup.outputs[DECODER])[0])
        problem = problem or box_map_problem(setup.settings.box_map, setup.outputs[ENCODER])
        if problem:
            raise BadBundle(f"this is not a valid {self.name} bundle: {problem}", where=where, hint="Export it again")

    def open(self, loaded: Loaded) -> PromptSegmenter:
        return PromptSegmenter(loaded, settings_of(loaded.bundle, SegmentationSettings))

    def feeds(self, setup: Setup, source: Mapping[str, Array], role: str, answers: Answers) -> dict[str, Array]:
        assert setup.preprocessing is not None  # see `check`
        decoded = preprocess.decode(source[PICTURE].tobytes(), where="golden picture")
        prepared = preprocess.apply(decoded, setup.preprocessing)
        frame = Frame.of(prepared.geometry, setup.preprocessing.width)
        return self.feeds_of(setup, prepared.tensor, frame, source, role, answers)

    def feeds_of(
        self, setup: Setup, tensor: NDArray[np.uint8], frame: Frame, source: Mapping[str, Array], role: str,
        answers: Answers,
    ) -> dict[str, Array]:  # fmt: skip
        """`feeds` of a picture that is prepared already: uint8 (1, side, side, 3), lying in `frame`."""
        if role == ENCODER:
            return encoder_feeds(tensor, frame)
        decoder = Decoder(_no_run, setup.inputs, setup.outputs, {})
        wanted = prompting.checked(frame, points=source.get(POINTS), labels=source.get(LABELS), boxes=source.get(BOXES))
        if role == REFINER:
            found = decoder.read(answers[DECODER], frame)
            wanted = given_back(wanted, found, frame, setup.settings, decoder.prompt_cells)
        return decoder_feeds(answers[ENCODER], *decoder.arrays(wanted, frame))

    def source(self, stored: Mapping[str, Array]) -> Prompted:
        return Prompted(
            picture=stored[PICTURE].tobytes(), points=stored.get(POINTS), labels=stored.get(LABELS),
            boxes=stored.get(BOXES), refine=1,
        )  # fmt: skip

    def given(self, words: Sequence[str], bundle: Bundle) -> list[Given]:
        """Pictures: files, and folders with everything below them; all masks of each are asked for."""
        settings = settings_of(bundle, SegmentationSettings).everything
        return [
            replace(one, source=EverythingIn(picture=one.source, settings=settings), file=one.source)
            for one in given_pictures(words)
        ]

    def prompted(self, given: Given, prompts: Sequence[tuple[str, str]]) -> Given:
        """The picture with points and boxes, or with options of everything mode."""
        chosen = [text for name, text in prompts if name == EVERYTHING]
        if chosen:
            if len(prompts) > 1:
                raise BadUsage(
                    f"{EVERYTHING} asks for every object and can't be combined with other prompts",
                    hint=f"Give {EVERYTHING} alone, with all its options in one value, or leave it out",
                )
            return replace(given, source=given.source.stating(parsed(chosen[0])))
        points = [(name, self._numbers(name, text)) for name, text in prompts if name != "box"]
        boxes = [self._numbers(name, text) for name, text in prompts if name == "box"]
        if points and len(boxes) > 1:
            raise BadUsage(
                "points can't be combined with several boxes: each box is a prompt of its own",
                hint="Give one box beside points, or none",
            )
        if points and not boxes and all(name == "background" for name, _ in points):
            raise BadUsage(
                "background alone does not say where the object is",
                hint="Give --prompt point=X,Y or --prompt box=X0,Y0,X1,Y1 too",
            )
        labels = [FOREGROUND if name == "point" else BACKGROUND for name, _ in points]
        asked = Prompted(
            picture=given.source.picture, points=[xy for _, xy in points] or None, labels=labels or None,
            boxes=(boxes[0] if points else boxes) if boxes else None,
        )  # fmt: skip
        return replace(given, source=asked)

    def _numbers(self, name: str, text: str) -> NDArray[np.float64]:
        """The coordinates of a prompt, as many as its form has. Raises BadUsage."""
        form = self.prompts[name]
        count = len(form.form.split(","))
        try:
            values = np.array([float(part) for part in text.split(",")])
        except ValueError:
            values = np.empty(0)
        if len(values) != count:
            raise BadUsage(
                f"{name}={shown(text)} is not {count} numbers", where="--prompt",
                hint=f"Write {name}={form.form} in px of the picture, such as {name}={form.example}",
            )  # fmt: skip
        return values

    def answer(self, predictor: PromptSegmenter, source: EverythingIn | Prompted) -> Result:
        if isinstance(source, EverythingIn):
            return predictor.everything(source.picture, options=source.options)
        return predictor.predict(source)

    def left_out(self, words: Sequence[str]) -> list[str]:
        return left_out(words)

    def workload(self, bundle: Bundle, given: Sequence[Given] = ()) -> list[Any]:
        """One prompt a picture, as a click on each of RING different pictures, or in the middle of each of those given;
        none is asked twice in a row, so that every call encodes."""
        if given:
            depth = record_of(bundle).bit_depth
            pictures = [preprocess.read_rgb8(one.source.picture, bit_depth=depth) for one in given]
            return [Prompted(picture=picture, points=CENTRE) for picture in pictures]
        golden = super().workload(bundle)
        # ring() makes picture i of golden picture i % count, in its size
        return [
            replace(golden[i % len(golden)], picture=picture, refine=None) for i, picture in enumerate(ring(bundle))
        ]

    def headline(self, bundle: Bundle, checks: Sequence[OutputCheck]) -> Headline:
        """The largest error of a mask logit, which share of mask cells it can have moved across the threshold, and the
        largest error of a predicted IoU."""
        found = [check for check in checks if check.output == MASKS and check.role in (DECODER, REFINER)]
        if not found or not all(np.isfinite(check.worst) for check in found):
            return Headline()
        worst = max(check.worst for check in found)
        threshold = settings_of(bundle, SegmentationSettings).mask_threshold
        share = max(_open_share(bundle, check, threshold) for check in found)
        iou = max((check.worst for check in checks if check.output == IOU), default=0.0)
        shown_checks = [check for check in checks if check.output in (MASKS, IOU)]
        within = "; all within what the bundle allows" if all(check.passed for check in shown_checks) else ""
        lines = (
            f"masks: logits off by up to {worst:.3g}, which can change at most {percent(share, 2)} of the cells of a "
            f"mask; predicted IoU off by up to {iou:.3g}{within}",
        )
        facts = {"worst_mask_logit": worst, "cells_that_may_change": share, "worst_predicted_iou": iou}
        return Headline(lines=lines, facts=facts)

    def summary(self, bundle: Bundle) -> list[tuple[str, str]]:
        settings, record = settings_of(bundle, SegmentationSettings), record_of(bundle)
        outputs = next(graph.outputs for graph in bundle.manifest.graphs if graph.role == DECODER)
        _, cells = mask_shape(outputs)
        count = counted(len(settings.multimask), "alternative")
        rows = [
            ("picture", f"longest side {record.width} px"),
            ("masks", f"{count} a prompt, {cells} x {cells} cells"),
        ]
        rows.append(("prompts", "; ".join(f"{name}={kind.form} ({kind.about})" for name, kind in self.prompts.items())))
        rows.append(("files", "; ".join(f"{name}, NAME{suffix}" for name, suffix in self.files.items())))
        if settings.labels:
            rows.append(("labels", ", ".join(map(shown, settings.labels))))
        return rows


def _open_share(bundle: Bundle, check: OutputCheck, threshold: float) -> float:
    """Largest share of the cells of one golden sample's masks that are as near to the threshold as `check` is off."""
    sample = bundle.manifest.golden[check.sample]
    roles = {graph.name: graph.role for graph in bundle.manifest.graphs}
    logits = [bundle.array(arrays[MASKS]) for name, arrays in sample.outputs.items() if roles[name] == check.role]
    return max(float((np.abs(one - threshold) <= check.worst).mean()) for one in logits)


def _no_run(role: str, feeds: Mapping[str, Array]) -> dict[str, Array]:
    raise AssertionError("golden feeds are made without a session")
