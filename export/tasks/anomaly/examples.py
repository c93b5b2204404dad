"""Test pictures with their maps, for the report page. Knows the detector; no family, no HTML."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_sdk import preprocess
from edge_sdk.export.anomaly.data import Picture
from edge_sdk.export.sections import Example
from edge_sdk.loading import load_as
from edge_sdk.shown import shown
from edge_sdk.tasks.anomaly.detector import AnomalyDetector
from edge_sdk.tasks.anomaly.result import AnomalyResult
from edge_sdk.verify import VerifyReport

SIDE = 480
"""Longest side of a picture on the page, px."""


def examples_of(bundle: Path, verified: VerifyReport, pictures: Sequence[Picture]) -> list[Example]:
    """`examples` by what `load` takes here; where something answers wrongly, by the first that doesn't; by none if all
    do."""
    right = next((row for row in verified.rows if row.passed), None)
    if right is None:
        return []
    variant, runtime = (None, None) if verified.passed else (right.variant, right.runtime)
    with load_as(AnomalyDetector, bundle, variant=variant, runtime=runtime) as detector:
        return examples(detector, pictures)


def examples(detector: AnomalyDetector, pictures: Sequence[Picture], *, count: int = 12) -> list[Example]:
    """Overlays: defects from the strongest to the weakest found, good parts, and last the worst mistakes: good ones
    with the highest scores, defects with the lowest."""
    results = [(p, detector.predict(p.path)) for p in pictures]
    rejected = sorted((x for x in results if x[1].is_defect and x[0].label == "good"), key=lambda x: -x[1].score)
    missed = sorted((x for x in results if not x[1].is_defect and x[0].label != "good"), key=lambda x: x[1].score)
    right = [(p, r) for p, r in results if r.is_defect == (p.label != "good")]
    bad = sorted((x for x in right if x[0].label != "good"), key=lambda x: -x[1].score)
    good = sorted((x for x in right if x[0].label == "good"), key=lambda x: -x[1].score)
    spread = [bad[round(i * (len(bad) - 1) / 6)] for i in range(7)] if len(bad) >= 7 else bad
    chosen = [*spread, *good[:1], *good[-1:], *rejected[:1], *missed[:2]]
    return [_example(p, r) for p, r in chosen[:count]]


def _example(picture: Picture, result: AnomalyResult) -> Example:
    drawn = result.plot()
    scale = SIDE / max(drawn.shape[:2])
    if scale < 1:
        drawn = preprocess.resize(drawn, round(drawn.shape[1] * scale), round(drawn.shape[0] * scale))
    return Example(
        uri=_data_uri(drawn), file=shown(f"{picture.path.parent.name}/{picture.path.name}"), truth=picture.label,
        answer=result.verdict.label, detail=f"score {result.score:.3f}", alert=result.is_defect,
        wrong=result.is_defect != (picture.label != "good"),
    )  # fmt: skip


def _data_uri(rgb: NDArray[np.uint8]) -> str:
    data = cv2.imencode(".jpg", rgb[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 84])[1]
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")
