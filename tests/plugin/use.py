"""A user's program that runs bundles of tasks which edge-sdk does not know. Type-checked strictly, and run.

Called with a pairs bundle, a seeds bundle and an empty folder.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from edge_sdk_trial.pairs import Pairs, PairsPredictor, PairsResult, Question
from edge_sdk_trial.pairs_export import PairsExport
from edge_sdk_trial.pairs_family import TinyPairs
from edge_sdk_trial.runtime import SlowNumpy
from edge_sdk_trial.seeds import Artist, Drawn, Reviewed, Seeds
from edge_sdk_trial.seeds_export import SeedsExport
from edge_sdk_trial.seeds_family import TinySeeds
from numpy.typing import NDArray
from typing_extensions import assert_type

import edge_sdk
from edge_sdk import AnomalyDetector, AnomalyResult, Bundle, TensorModel, TensorResult
from edge_sdk.bundle.store import append_decision
from edge_sdk.errors import BadInput, BadUsage, EdgeError
from edge_sdk.export.family import Family
from edge_sdk.export.tasks.base import ExportTask, OffersGolden
from edge_sdk.runtimes.protocol import Runtime
from edge_sdk.tasks.base import Predictor, Result, Task

RUNTIMES = ("onnxruntime", "openvino", "slow-numpy")

runtime: Runtime = SlowNumpy()
tasks: tuple[Task, ...] = (Pairs(), Seeds())
exports: tuple[ExportTask, ...] = (PairsExport(), SeedsExport())
families: tuple[Family, ...] = (TinyPairs(), TinySeeds())
golden: OffersGolden = TinySeeds()


def of_the_products_own_tasks(line3: Path, tensors: Path) -> None:
    """Only type-checked: what users of other tasks see is what it was before this package was installed."""
    with edge_sdk.load_as(AnomalyDetector, line3) as detector:
        assert_type(detector, AnomalyDetector)
        assert_type(detector.predict("a.png"), AnomalyResult)
        assert_type(detector.predict_batch(["a.png"]), tuple[AnomalyResult, ...])
        assert_type(detector.submit("a.png").result(), AnomalyResult)
    with edge_sdk.load_as(TensorModel, tensors) as model:
        assert_type(model.predict({}), TensorResult)
    with edge_sdk.load(line3) as predictor:
        assert_type(predictor, Predictor[Any, Any])
    edge_sdk.load_as(Path, line3)  # type: ignore[type-var]


def are_predictors(
    pairs: PairsPredictor, artist: Artist, row: PairsResult, drawn: Drawn
) -> tuple[Predictor[Question, PairsResult], Predictor[int, Drawn], Result, Result]:
    """Only type-checked: they fit the protocols."""
    return pairs, artist, row, drawn


def question(groups: int, points: int) -> Question:
    rng = np.random.default_rng(groups * 100 + points)
    picture = np.asarray(rng.integers(0, 256, (40, 50, 3)), np.uint8)
    return Question(picture=picture, points=rng.random((groups, points, 2), np.float32))


def several_sizes_in_one_session(path: Path, name: str) -> None:
    wanted = {"encoder": "int8-w7", "decoder": "fp32"}
    with edge_sdk.load_as(PairsPredictor, path, runtime=name, variant=wanted) as predictor:
        assert predictor.variant == "encoder int8-w7, decoder fp32"
        assert predictor.explanations["encoder"].int8_operators > 0
        assert predictor.explanations["decoder"].int8_operators == 0
        for groups, points in ((1, 1), (3, 2), (16, 4), (2, 3)):
            asked = question(groups, points)
            result = predictor.predict(asked)
            assert result.rows.shape == (groups, 3)
            alone = [
                predictor.predict(Question(picture=asked.picture, points=asked.points[i : i + 1])).rows
                for i in range(groups)
            ]
            np.testing.assert_allclose(result.rows, np.concatenate(alone), atol=1e-5)
            assert all(len(one) == 1 for one in alone)
        many = [predictor.submit(question(groups, 2)) for groups in range(1, 9)]
        assert [len(one.result().rows) for one in many] == list(range(1, 9))
        assert_type(many[0].result(), PairsResult)
        assert len(predictor.predict_batch([question(2, 1), question(1, 2)])) == 2
        assert refusal(lambda: predictor.predict(question(17, 1)), BadInput).startswith("decoder.fp32: points has size")
        ran = result.ran
    assert {role: one.variant for role, one in ran.roles.items()} == {"encoder": "int8-w7", "decoder": "fp32"}
    assert {"decode", "encode", "resize", "total"} <= set(ran.stages_ms)
    assert "closed" in refusal(lambda: predictor.predict(question(1, 1)), BadUsage)
    assert "there is no role enc" in refusal(lambda: edge_sdk.load(path, variant={"enc": "int8"}), BadUsage)
    assert "PairsPredictor, not Artist" in refusal(lambda: edge_sdk.load_as(Artist, path), BadUsage)


def every_runtime_agrees(path: Path) -> None:
    asked = question(5, 3)
    answers: dict[str, NDArray[np.float32]] = {}
    for name in RUNTIMES:
        with edge_sdk.load_as(PairsPredictor, path, runtime=name, variant="fp32") as predictor:
            answers[name] = predictor.predict(asked).rows
            assert predictor.explanation.runtime == name
        # The reduced-range weights: without VNNI, OpenVINO's int8 sums saturate with the others.
        with edge_sdk.load_as(PairsPredictor, path, runtime=name, variant="int8-w7") as predictor:
            counts = {role: one.int8_operators for role, one in predictor.explanations.items()}
            assert min(counts.values()) > 0, (name, counts)
            np.testing.assert_allclose(predictor.predict(asked).rows, answers[name], atol=0.05)
    for name in RUNTIMES[1:]:
        np.testing.assert_allclose(answers[name], answers[RUNTIMES[0]], atol=1e-5)


def what_a_result_offers(path: Path, folder: Path) -> None:
    with edge_sdk.load(path) as predictor:
        assert isinstance(predictor, PairsPredictor)
        assert "values     left, middle, right" in predictor.explain()
        result = predictor.predict(question(2, 2))
    plain = json.loads(result.to_json())
    assert [set(row) for row in plain["rows"]] == [{"left", "middle", "right"}] * 2
    assert plain["ran"]["bundle"] == predictor.bundle.digest
    assert "2 groups of points" in result.line()
    result.save(folder / f"answer{result.suffix}")
    np.testing.assert_array_equal(np.load(folder / "answer.npz")["rows"], result.rows)


def seeds_and_their_record(path: Path, folder: Path) -> None:
    with edge_sdk.load_as(Artist, path, variant="fp32") as artist:
        drawn = artist.predict(7)
        assert_type(drawn, Drawn)
        assert (drawn.picture.dtype, drawn.picture.shape) == (np.dtype(np.uint8), (16, 16, 3))
        np.testing.assert_array_equal(artist.predict(7).picture, drawn.picture)
        assert (artist.predict(8).picture != drawn.picture).any()
        assert artist.reviewed is not None
        assert drawn.ran.record == artist.reviewed.digest
        assert "nobody has reviewed seed 50" in refusal(lambda: artist.predict(50), BadInput)
        assert "'7' is no seed" in refusal(lambda: artist.predict("7"), BadInput)  # type: ignore[arg-type]
        drawn.save(folder / f"seed-7{drawn.suffix}")
        assert (folder / "seed-7.png").read_bytes().startswith(b"\x89PNG")
    on_site = Path(shutil.copy(path, folder / "on-site.edge"))
    append_decision(on_site, Reviewed(least=40, most=60, words="looked at on site")).close()
    assert "seeds from 9 to 3" in refusal(lambda: append_decision(on_site, Reviewed(least=9, most=3)), BadInput)
    with edge_sdk.load_as(Artist, on_site) as artist:
        assert artist.predict(50).ran.record != drawn.ran.record
        assert "record     seeds 40 to 60" in artist.explain()
    with Bundle.open(on_site) as bundle:
        assert [record.summary() for record in bundle.records(Seeds.records)] == ["seeds 0 to 19", "seeds 40 to 60"]


def refusal(call: Any, kind: type[EdgeError]) -> str:
    try:
        call()
    except kind as exc:
        return str(exc)
    raise AssertionError(f"no {kind.__name__}")


if __name__ == "__main__":
    pairs_bundle, seeds_bundle, out = map(Path, sys.argv[1:])
    for one in RUNTIMES:
        several_sizes_in_one_session(pairs_bundle, one)
    every_runtime_agrees(pairs_bundle)
    what_a_result_offers(pairs_bundle, out)
    seeds_and_their_record(seeds_bundle, out)
