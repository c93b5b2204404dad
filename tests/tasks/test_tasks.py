"""Task to predictor: one table, a clear word for what this version does not do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tiny

import edge_sdk
from edge_sdk import tasks
from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.bundle.store import Bundle, write_bundle
from edge_sdk.errors import BadBundle, BadUsage
from edge_sdk.export import registry
from edge_sdk.preprocess import Grid
from edge_sdk.tasks.anomaly.detector import AnomalySettings
from edge_sdk.tasks.base import MODEL, Setup
from edge_sdk.tensors import TensorSpec
from edge_sdk.verify import verify


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
        assert type(loaded) is tasks.task(loaded.bundle.manifest.task).predictor


def test_load_as_gives_the_class_that_is_named_or_says_which_it_would_be(tiny_bundle: Path, tmp_path: Path) -> None:
    with edge_sdk.load_as(edge_sdk.AnomalyDetector, tiny_bundle, threads=1, cache=tmp_path) as detector:
        assert detector.predict(tiny.picture(3, damaged=True)).is_defect
    with pytest.raises(BadUsage, match="this is a bundle for anomaly, whose predictor is AnomalyDetector"):
        edge_sdk.load_as(edge_sdk.TensorModel, tiny_bundle, cache=tmp_path)


def _offers(kind: type, names: Sequence[str]) -> list[str]:
    return [name for name in names if not callable(getattr(kind, name, None))]


def test_every_predictor_has_the_one_shape_of_use() -> None:
    shape = ("predict", "predict_batch", "submit", "warm_up", "close", "explain", "__enter__", "__exit__", "__call__")
    for name in tasks.names():
        assert _offers(tasks.task(name).predictor, shape) == []


def test_every_family_makes_a_task_that_the_device_side_does() -> None:
    assert {registry.family(name).task for name in registry.names()} <= set(tasks.names())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, r"the settings of the task anomaly can't be read: .*missing required field `grid`"),
        ({"grid": {"offset_px": 2.0, "stride_px": 0.0}}, "a map stride of 0.0 px is invalid"),
        ({"grid": {"offset_px": 1e9, "stride_px": 4.0}}, "a map offset of .* px is invalid"),
        ({"grid": {"offset_px": "2", "stride_px": 4.0}}, "Expected `float`"),
    ],
)
def test_settings_that_cannot_be_are_refused_when_the_bundle_is_loaded(
    tiny_bundle: Path, tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    path = _changed(tiny_bundle, tmp_path / "odd.edge", settings=settings)
    with pytest.raises(BadBundle, match=rf"odd\.edge: .*{said}"):
        edge_sdk.load(path, threads=1, cache=tmp_path)
    with pytest.raises(BadBundle, match=said):
        verify(path)


def test_an_anomaly_bundle_without_preprocessing_is_refused_when_it_is_loaded(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    path = _changed(tiny_bundle, tmp_path / "blind.edge", preprocessing=None)
    with pytest.raises(BadBundle, match=r"blind\.edge: an anomaly bundle needs preprocessing"):
        edge_sdk.load(path, threads=1, cache=tmp_path)


def test_an_anomaly_bundle_without_a_score_is_refused() -> None:
    spec = TensorSpec(name="map", dtype="float32", shape=("N", 4, 4))
    setup = Setup(
        settings=AnomalySettings(grid=Grid(offset_px=2.0, stride_px=4.0)),
        preprocessing=Preprocessing(width=8, height=8), inputs={MODEL: ()}, outputs={MODEL: (spec,)},
    )  # fmt: skip
    with pytest.raises(BadBundle, match=r"x\.edge: .* has no score"):
        tasks.task("anomaly").check(setup, where="x.edge")


def test_what_users_name_is_in_the_package_itself() -> None:
    """And `import edge_sdk` alone imports none of it: names are looked up when they are used."""
    from edge_sdk import errors

    for name in edge_sdk.__all__:
        assert getattr(edge_sdk, name) is not None
    assert dir(edge_sdk) == sorted(edge_sdk.__all__)
    caught = {name for name, value in vars(errors).items() if isinstance(value, type)} - {"BoundNotMet", "Stopped"}
    for name in caught:  # those two end commands of the command line alone
        assert getattr(edge_sdk, name) is getattr(errors, name), name
    unknown = "BadOutput"
    with pytest.raises(AttributeError, match="has no attribute 'BadOutput'"):
        getattr(edge_sdk, unknown)
