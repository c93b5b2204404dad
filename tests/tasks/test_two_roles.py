"""A task of two graphs, of which one has no int8: what `load` picks for each, and that `verify` runs just that."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny

import edge_sdk
from edge_sdk import loading, replay, tasks
from edge_sdk.bundle.store import Bundle
from edge_sdk.errors import BadUsage, CheckFailed
from edge_sdk.export.calibrating import quantized
from edge_sdk.export.family import Exported, FloatGraph
from edge_sdk.export.golden_pictures import sample
from edge_sdk.export.pack import Parts, pack, provenance
from edge_sdk.export.tasks.base import ANY_OUTPUT, TOLERANCES, Golden
from edge_sdk.loading import choose
from edge_sdk.verify import verify

TRIAL = Path(__file__).resolve().parents[1] / "plugin"
SIDE = 32


@pytest.fixture(scope="module")
def pairs() -> Iterator[Any]:
    """The modules of the trial package, its task known here as if the package were installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(TRIAL)
        from edge_sdk_trial import networks, pairs, pairs_family

        patch.setitem(tasks._HOMES, "pairs", ("edge_sdk_trial.pairs", "Pairs"))
        yield SimpleNamespace(networks=networks, task=pairs, family=pairs_family)
        for name in [name for name in sys.modules if name.startswith("edge_sdk_trial")]:
            del sys.modules[name]


@pytest.fixture(scope="module")
def mixed(pairs: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The encoder with every variant, the decoder in fp32 alone."""
    path = tmp_path_factory.mktemp("mixed") / "mixed.edge"
    write(pairs, path, pictures=(0, 1, 2))
    return path


def write(pairs: Any, path: Path, *, pictures: Sequence[int], variants: tuple[str, ...] | None = None) -> None:
    """One golden sample for each of `pictures`, with points of its own. variants: of the encoder, besides fp32."""
    weights = pairs.networks.pairs_weights(3, channels=12)
    encoder = FloatGraph(onnx=pairs.networks.encoder(weights), variants=variants)
    decoder = FloatGraph(onnx=pairs.networks.decoder(weights), axes=pairs.family.AXES, variants=())
    rng = np.random.default_rng(5)
    golden = [
        Golden(
            source={
                **sample("", tiny.picture(seed, damaged=seed == 2)).source,
                "points": rng.random((1 + number, 2, 2), np.float32),
            }
        )
        for number, seed in enumerate(pictures)
    ]
    samples = [{"image": rng.integers(0, 256, (1, SIDE, SIDE, 3), dtype=np.uint8)} for _ in range(8)]
    parts = Parts(
        name="mixed", family="of others", task="pairs", golden=golden, provenance=provenance(),
        exported=Exported(
            graphs={"encoder": encoder, "decoder": decoder}, preprocessing=pairs.family.INPUT,
            settings=pairs.task.PairsSettings(values=("left", "middle", "right")),
        ),
        quantized={"encoder": quantized(encoder, samples, threads=1)},
        tolerances=lambda role, variant: {ANY_OUTPUT: TOLERANCES[variant]},
    )  # fmt: skip
    pack(parts, path, threads=1).close()


def test_verify_runs_the_combination_that_load_picks_on_each_runtime(mixed: Path, tmp_path: Path) -> None:
    report = verify(mixed)
    assert report.passed, report.text()
    ways = {(way.runtime, *way.variants.values()): way for way in report.whole_way}
    assert len(ways) == len(report.whole_way)
    for check in report.predict:
        with edge_sdk.load(mixed, runtime=check.runtime, threads=1, cache=tmp_path) as loaded:
            picked = {role: run.variant for role, run in loaded._ran.roles.items()}
        assert picked["encoder"].startswith("int8"), picked
        assert picked["decoder"] == "fp32"
        assert check.variants == picked
        assert f"predict on {check.runtime} (encoder {picked['encoder']}, decoder fp32): a golden" in report.text()
        assert ways[(check.runtime, *picked.values())].allowed is None  # quantization error: reported, not bounded
        assert ways[check.runtime, "fp32", "fp32"].allowed == replay.FP32_TOLERANCE


def test_verify_of_one_variant_runs_no_other(mixed: Path) -> None:
    report = verify(mixed, runtimes=["onnxruntime"], variants=["fp32"])
    assert [way.variants for way in report.whole_way] == [{"encoder": "fp32", "decoder": "fp32"}]
    assert [check.variants for check in report.predict] == [{"encoder": "fp32", "decoder": "fp32"}]


def test_a_predictor_that_fails_on_what_load_picks_alone_is_not_verified(
    mixed: Path, pairs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    right: Callable[..., Any] = pairs.task.PairsPredictor.predict

    def predict(self: Any, question: Any) -> Any:
        if self._ran.roles["encoder"].variant != "fp32":
            question = replace(question, points=question.points[..., ::-1].copy())
        return right(self, question)

    monkeypatch.setattr(pairs.task.PairsPredictor, "predict", predict)
    report = verify(mixed, runtimes=["onnxruntime"])
    assert all(row.passed for row in report.rows)
    assert not report.passed
    assert "it feeds decoder something else than Task.feeds does" in report.text()


@pytest.mark.parametrize("stale", [False, True])
def test_a_predictor_may_keep_what_the_encoder_answered_for_the_next_prompt(
    pairs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stale: bool
) -> None:
    """The embedding of the last picture is kept; one that is kept for another picture is found out."""
    run: Callable[..., Any] = pairs.task.PairsPredictor.run

    def kept(self: Any, role: str, feeds: Mapping[str, Any]) -> Any:
        if role == "encoder":
            last = self.__dict__.setdefault("last", {})
            key = b"" if stale else feeds["image"].tobytes()
            if key not in last:
                last.clear()
                last[key] = run(self, role, feeds)
            return last[key]
        return run(self, role, feeds)

    monkeypatch.setattr(pairs.task.PairsPredictor, "run", kept)
    path = tmp_path / "kept.edge"
    if stale:
        with pytest.raises(CheckFailed, match="it feeds encoder something else than"):
            write(pairs, path, pictures=(0, 1), variants=())
        assert not path.exists()
    else:
        write(pairs, path, pictures=(0, 0, 1), variants=())
        assert verify(path, runtimes=["onnxruntime"]).passed


def test_feeds_of_another_type_are_other_feeds() -> None:
    """A runtime may refuse them, or take their bytes for something else."""
    one = {"x": np.ones(3, np.float32)}
    assert replay._same(one, {"x": np.ones(3, np.float32)})
    assert not replay._same({"x": np.ones(3, np.float64)}, one)
    assert not replay._same({**one, "y": np.ones(3, np.float32)}, one)


def test_a_graph_that_every_golden_sample_feeds_the_same_is_not_packed(pairs: Any, tmp_path: Path) -> None:
    with pytest.raises(BadUsage, match="all golden samples feed the graph of encoder the same"):
        write(pairs, tmp_path / "same.edge", pictures=(1, 1), variants=())


def test_a_fault_of_one_role_is_asked_for_by_the_graphs_of_that_role(
    mixed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by those of the first role, which the others may not even have."""
    asked: set[tuple[str, str]] = set()

    def known(bundle: Bundle, graph: Any, runtime: Any) -> str:
        asked.add((graph.role, graph.variant))
        return "wrong here" if graph.role == "encoder" else ""

    monkeypatch.setattr(loading, "known_fault", known)
    with Bundle.open(mixed) as bundle:
        choices = choose(bundle, runtime="onnxruntime", variant={"encoder": "fp32"})
    assert {role for role, _ in asked} == {"decoder"}
    assert choices["decoder"].variant == "fp32"


@pytest.mark.parametrize(("scale", "passed"), [(1.0, True), (1.005, False)])
def test_fp32_whose_last_answer_is_off_by_half_a_percent_fails_end_to_end(
    mixed: Path, tmp_path: Path, scale: float, passed: bool
) -> None:
    """The bound of one graph is tighter still: what its row finds is another matter."""

    def change(name: str, data: bytes) -> bytes:
        if "/outputs/decoder.fp32/" not in name:
            return data
        return (np.frombuffer(data, "<f4") * np.float32(scale)).tobytes()

    tiny.rewritten(mixed, tmp_path / "off.edge", change)
    report = verify(tmp_path / "off.edge", runtimes=["onnxruntime"], variants=["fp32"])
    (way,) = report.whole_way
    assert (way.passed, way.allowed) == (passed, replay.FP32_TOLERANCE), way
    assert report.text().count("end to end on onnxruntime") == 1
    assert way.line().endswith("  FAIL") is not passed
