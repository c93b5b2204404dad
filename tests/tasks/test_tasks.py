"""Task to predictor: one table, a clear word for what this version does not do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

import edge_sdk
from edge_sdk import predictors
from edge_sdk.bundle.store import Bundle, write_bundle
from edge_sdk.errors import BadBundle
from edge_sdk.export import registry


def _changed(source: Path, target: Path, **changes: Any) -> Path:
    """The same bundle with fields of its manifest replaced."""
    with Bundle.open(source) as b:
        graphs = {g.name: b.graph(g.name) for g in b.manifest.graphs}
        members = {n: bytes(b.read(n)) for n in b.manifest.members if not n.startswith(("graphs/", "weights/"))}
        manifest = msgspec.structs.replace(b.manifest, members={}, **changes)
    write_bundle(target, manifest=manifest, graphs=graphs, members=members).close()
    return target


def test_a_task_of_a_newer_version_is_refused_by_name(tiny_bundle: Path, tmp_path: Path) -> None:
    path = _changed(tiny_bundle, tmp_path / "newer.edge", task="pose")
    with pytest.raises(BadBundle, match=r"newer\.edge: its task is 'pose', this version knows anomaly.*newer edge-sdk"):
        edge_sdk.load(path)


def test_load_gives_the_predictor_of_the_bundles_task(tiny_bundle: Path, tmp_path: Path) -> None:
    with edge_sdk.load(tiny_bundle, threads=1, cache=tmp_path) as loaded:
        assert type(loaded) is predictors.predictor(loaded.bundle.manifest.task)


def _offers(kind: type, names: Sequence[str]) -> list[str]:
    return [name for name in names if not callable(getattr(kind, name, None))]


def test_every_predictor_has_the_one_shape_of_use() -> None:
    shape = ("predict", "predict_batch", "submit", "warm_up", "close", "explain", "__enter__", "__exit__", "__call__")
    for task in predictors.tasks():
        assert _offers(predictors.predictor(task), shape) == []


def test_every_family_makes_a_task_that_the_device_side_does() -> None:
    assert {registry.family(name).task for name in registry.names()} <= set(predictors.tasks())


def test_an_anomaly_bundle_without_grid_or_score_is_refused_when_it_is_loaded(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    path = _changed(tiny_bundle, tmp_path / "gridless.edge", grid=None)
    with pytest.raises(BadBundle, match=r"gridless\.edge: an anomaly bundle needs the grid"):
        edge_sdk.load(path, threads=1, cache=tmp_path)
    with Bundle.open(tiny_bundle) as b:
        graph = next(g for g in b.manifest.graphs if g.name == "fp32")
        blind = msgspec.structs.replace(graph, outputs=tuple(o for o in graph.outputs if o.name != "score"))
        with pytest.raises(BadBundle, match="fp32 has no score"):
            predictors.predictor("anomaly")(b, blind, session=None)  # refused before a session is looked at
