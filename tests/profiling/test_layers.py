"""Times of layers: a run of its own on the graph that load would take; every convolution is there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edge_sdk.cli import main
from edge_sdk.errors import BadUsage
from edge_sdk.profiling.layers import SHOWN, LayerReport, layers
from edge_sdk.runtimes.protocol import LayerTime


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_every_convolution_has_a_time_and_what_ran_is_reported(runtime: str, tiny_bundle: Path, tmp_path: Path) -> None:
    (report,) = layers(tiny_bundle, runtime=runtime, variant="int8", threads=1, cache=tmp_path)
    assert sum("conv" in f"{one.op} {one.name}".lower() for one in report.layers) >= 3
    assert (report.variant, report.explanation.runtime) == ("int8", runtime)
    assert report.total_ms == pytest.approx(sum(one.ms for one in report.layers))
    assert json.loads(json.dumps(report.to_json()))["explanation"]["runtime"] == runtime
    assert report.text().splitlines()[1].split() == ["layer", "op", "kernel", "precision", "ms", "share"]


def test_the_text_names_the_slowest_and_sums_up_the_rest(tiny_bundle: Path, tmp_path: Path) -> None:
    (short,) = layers(tiny_bundle, runtime="onnxruntime", variant="fp32", threads=1, cache=tmp_path)
    many = tuple(LayerTime(name=f"n{i}", op="Conv", kernel="", precision="", ms=float(i)) for i in range(SHOWN + 3))
    lines = replace(short, layers=many).text().splitlines()
    assert lines[2].startswith(f"n{SHOWN + 2} ")
    assert lines[-2] == "and 3 more layers, 3.000 ms"  # n0, n1, n2
    assert isinstance(short, LayerReport)
    nothing = replace(short, layers=())
    assert "sum 0.000 ms" in nothing.text()


def _edge(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        main.run(list(words))
    return int(left.value.code or 0)


def test_the_verb_shows_layers_and_refuses_to_measure_latency_beside(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert _edge("profile", str(tiny_bundle), "--layers", "--runtime", "onnxruntime", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["schema"] == "edge-sdk.layers/2"
    (role,) = answer["roles"]
    assert role["role"] == "model"
    assert role["layers"]
    assert _edge("profile", str(tiny_bundle), "--layers", "--samples", str(tmp_path / "x.csv")) == BadUsage.exit_code
    assert "a separate run" in capsys.readouterr().err
