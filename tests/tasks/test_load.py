"""load: what it chooses where nothing is asked for, and arguments of the wrong kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import msgspec
import pytest

import edge_sdk
from edge_sdk import loading
from edge_sdk.bundle.manifest import Graph
from edge_sdk.bundle.store import Bundle
from edge_sdk.cli.train import written
from edge_sdk.errors import BadUsage, CheckFailed
from edge_sdk.loading import options_for
from edge_sdk.runtimes import faults, probe
from edge_sdk.runtimes.onnx_file import OnnxFacts
from edge_sdk.runtimes.probe import CpuFacts
from edge_sdk.runtimes.protocol import CompileOptions, Session
from edge_sdk.tasks.anomaly.detector import AnomalyDetector


def test_a_variant_that_a_known_fault_makes_wrong_is_passed_over_and_named(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with edge_sdk.load(tiny_bundle, cache=tmp_path, self_check=False) as best:
        chosen = best.variant, best.explanation.runtime
    assert chosen[0].startswith("int8")

    def unusable(runtime: str, version: str, graph: OnnxFacts, cpu: CpuFacts) -> str:
        return "products saturate" if runtime == chosen[1] else ""

    monkeypatch.setattr(faults, "unusable_reason", unusable)
    with edge_sdk.load(tiny_bundle, cache=tmp_path, self_check=False) as other:
        assert (other.variant, other.explanation.runtime) != chosen
        assert f"not run    {chosen[0]} on {chosen[1]} CPU: products saturate" in other.explain()
    with edge_sdk.load(tiny_bundle, cache=tmp_path, variant=chosen[0], self_check=False) as asked:
        assert (asked.variant, asked.explanation.runtime) == chosen


@pytest.mark.skipif(probe.cpu().adds_in_32_bits, reason="this CPU adds int8 products in 32 bits")
def test_int8_that_saturates_here_is_not_what_load_takes(tiny_bundle: Path, tmp_path: Path) -> None:
    """Of OpenVINO without VNNI; variant by variant, as if the bundle held no other."""
    with edge_sdk.load(tiny_bundle, target="x86-vnni", cache=tmp_path) as detector:  # whose first choice is int8
        assert (detector.variant, detector.explanation.runtime) != ("int8", "openvino")


def test_a_runtime_that_would_refuse_the_bundle_is_known_before_it_is_on_a_device(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert loading.refused(tiny_bundle) == {}
    right = loading._self_check

    def check(bundle: Bundle, graph: Graph, session: Session, cache: Path, *, max_batch: int) -> str:
        if session.explain().runtime == "onnxruntime":
            raise CheckFailed("the score is off by 3")
        return right(bundle, graph, session, cache, max_batch=max_batch)

    monkeypatch.setattr(loading, "_self_check", check)
    assert loading.refused(tiny_bundle) == {"onnxruntime": "the score is off by 3"}
    lines = written(Mock(path=tiny_bundle), Mock(next_steps=lambda name: ()), loading.refused(tiny_bundle))
    refused = "warning: load refuses the bundle on onnxruntime unless a variant is named that runs there: "
    assert f"{refused}the score is off by 3" in lines[-1]


@pytest.mark.parametrize(
    ("asked", "rows"), [(1, (1, 1, 1)), (4, (4, 1, 4)), (256, (256, 1, 256)), (300, (300, 300, 300))]
)
def test_a_batch_for_one_graph_leaves_another_its_single_rows(
    monkeypatch: pytest.MonkeyPatch, asked: int, rows: tuple[int, ...]
) -> None:
    """A number that no graph takes is left, so that compiling refuses it by the graph's name."""
    axes = {"encoder": {"N": 256}, "decoder": {"N": 1, "P": 9}, "head": {"P": 9}}
    monkeypatch.setattr(loading, "graph_of", lambda bundle, role, runtime, wanted: Mock(axes=axes[role]))
    assert tuple(loading._rows(Mock(), dict.fromkeys(axes, Mock()), asked, {}).values()) == rows


def test_a_runtime_is_held_to_what_it_ran_in_int8_when_the_bundle_was_packed(tiny_bundle: Path) -> None:
    """One that was not there is held to what the graph has; a fault of one runtime costs no other one its check."""
    with Bundle.open(tiny_bundle) as bundle:
        graph = next(graph for graph in bundle.manifest.graphs if graph.layout != "plain")
    known = msgspec.structs.replace(graph, int8_ran={"openvino": 1})
    claimed = options_for(known, "another", CompileOptions(), device="CPU").int8_convolutions
    assert claimed > 1
    assert options_for(known, "openvino", CompileOptions(), device="CPU").int8_convolutions == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"variant": {1: 2}}, "variant is a name, or names by role"),
        ({"variant": 7}, "variant is a name, or names by role"),
        ({"variant": {"encoder": "int8"}}, "no role encoder. One of model"),
        ({"runtime": {"model": "openvino"}}, "runtime is a name, not"),
        ({"device": 0}, "device is a name, not 0"),
        ({"max_batch": "a"}, "max_batch is a number of at least 1, not 'a'"),
        ({"max_batch": 0}, "max_batch is a number of at least 1"),
        ({"threads": "x"}, "threads is a number of at least 1"),
        ({"threads": True}, "threads is a number of at least 1"),
        ({"color": "BRG"}, "color is"),
        ({"trust": "always"}, "always"),
    ],
)
def test_arguments_of_another_kind_are_named(tiny_bundle: Path, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(BadUsage, match=said):
        edge_sdk.load(tiny_bundle, **arguments)


def test_a_cache_may_be_named_by_text(tiny_bundle: Path, tmp_path: Path) -> None:
    with edge_sdk.load(tiny_bundle, cache=str(tmp_path / "cache")):
        assert (tmp_path / "cache").is_dir()


def test_swapped_arguments_of_load_as_are_named(tiny_bundle: Path) -> None:
    with pytest.raises(BadUsage, match="the predictor's class, then the path"):
        edge_sdk.load_as(tiny_bundle, AnomalyDetector)  # type: ignore[type-var, arg-type]  # the mistake itself
    with pytest.raises(BadUsage, match="path of a bundle is a str or a Path, not NoneType"):
        edge_sdk.load(None)  # type: ignore[arg-type]  # the mistake itself
