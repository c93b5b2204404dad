"""Test pictures with their maps, for the report page. Knows the detector; no family, no HTML."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge_sdk.export.anomaly.data import Picture
from edge_sdk.export.pictures.inline import data_uri, shrunk
from edge_sdk.export.sections import Example
from edge_sdk.loading import load_as
from edge_sdk.shown import shown
from edge_sdk.tasks.anomaly.detector import AnomalyDetector
from edge_sdk.tasks.anomaly.result import AnomalyResult
from edge_sdk.verify import VerifyReport


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
    file = shown(f"{picture.path.parent.name}/{picture.path.name}")
    return Example(
        uri=data_uri(shrunk(result.plot())), file=file, truth=picture.label,
        answer=result.verdict.label, detail=f"score {result.score:.3f}", tone="alert" if result.is_defect else "pass",
        wrong=result.is_defect != (picture.label != "good"),
    )  # fmt: skip
