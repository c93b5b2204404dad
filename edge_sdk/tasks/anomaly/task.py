"""The anomaly task: settings, replay of golden samples, meaning of errors. Knows no family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from edge_sdk import preprocess
from edge_sdk.bundle.store import Bundle
from edge_sdk.counted import percent
from edge_sdk.decision.threshold import Threshold
from edge_sdk.errors import BadBundle
from edge_sdk.golden import OutputCheck
from edge_sdk.preprocess import grid_problem
from edge_sdk.shown import shown
from edge_sdk.tasks import images
from edge_sdk.tasks.anomaly.detector import ANOMALY, AnomalyDetector, AnomalySettings
from edge_sdk.tasks.base import MODEL, Answers, Given, Headline, Loaded, Running, Setup, Task, settings_of
from edge_sdk.tensors import Array


class Anomaly(Task):
    """One graph: uint8 NHWC in, float32 "map" (N, h, w) and "score" (N,) out."""

    name: ClassVar[str] = ANOMALY
    settings: ClassVar[type[msgspec.Struct]] = AnomalySettings
    predictor: ClassVar[type[Running[Any, Any]]] = AnomalyDetector

    def check(self, setup: Setup, *, where: str) -> None:
        if setup.preprocessing is None:
            raise BadBundle("an anomaly bundle needs preprocessing", where=where, hint="Export it again")
        if problem := grid_problem(setup.settings.grid):
            raise BadBundle(f"the manifest's settings: {problem}", where=where, hint="Export it again")
        if missing := {"map", "score"} - {spec.name for spec in setup.outputs[MODEL]}:
            raise BadBundle(
                f"an anomaly graph answers map and score; this one has no {' and no '.join(sorted(missing))}",
                where=where, hint="Export it again",
            )  # fmt: skip

    def open(self, loaded: Loaded) -> AnomalyDetector:
        return AnomalyDetector(loaded, settings_of(loaded.bundle, AnomalySettings))

    def feeds(self, setup: Setup, source: Mapping[str, Array], role: str, answers: Answers) -> dict[str, Array]:
        assert setup.preprocessing is not None  # see `check`
        return {setup.inputs[role][0].name: images.picture_tensor(_with_picture(source), setup.preprocessing)}

    def source(self, stored: Mapping[str, Array]) -> bytes:
        return _with_picture(stored)[images.PICTURE].tobytes()

    def given(self, words: Sequence[str], bundle: Bundle) -> list[Given]:
        return images.given_pictures(words)

    def left_out(self, words: Sequence[str]) -> list[str]:
        return images.left_out(words)

    def workload(self, bundle: Bundle, given: Sequence[Given] = ()) -> list[Any]:
        depth = images.record_of(bundle).bit_depth
        decoded = [preprocess.read_rgb8(one.source, bit_depth=depth) for one in given]  # a camera gives pixels
        return decoded or list(images.ring(bundle))

    def headline(self, bundle: Bundle, checks: Sequence[OutputCheck]) -> Headline:
        """The largest error of a score, relative to the threshold in force."""
        worst = max((check.worst for check in checks if check.output == "score"), default=None)
        record = bundle.in_force(Threshold)
        threshold = None if record is None else record.threshold
        lines: tuple[str, ...] = ()
        if worst is not None and threshold:
            share = worst / abs(threshold)
            lines = (f"scores: off by up to {percent(share)} of the threshold in force, {threshold:.6g}",)
        return Headline(lines=lines, facts={"worst_score": worst, "threshold": threshold})

    def summary(self, bundle: Bundle) -> list[tuple[str, str]]:
        settings = settings_of(bundle, AnomalySettings)
        grid = settings.grid
        return [("score", settings.reduction), ("map", f"a cell per {grid.stride_px:g} px")]


def _with_picture(source: Mapping[str, Array]) -> Mapping[str, Array]:
    """`source`. Raises BadBundle for a golden sample that has no picture: it comes from a file."""
    if images.PICTURE not in source:
        has = ", ".join(map(shown, source)) or "nothing"
        raise BadBundle(f"a golden sample has no array {images.PICTURE!r}, only {has}", hint="Export the bundle again")
    return source
