"""What a bundle says of the target profiles: the first variant that fits, or every reason against."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from edge_sdk.bundle.manifest import Graph
from edge_sdk.bundle.store import Bundle
from edge_sdk.export.checked import checked
from edge_sdk.runtimes.targets import TARGETS


@pytest.fixture
def graphs(tiny_bundle: Path) -> list[tuple[Graph, bytes]]:
    """The graphs of the tiny bundle with their bytes."""
    with Bundle.open(tiny_bundle) as b:
        return [(graph, bytes(b.graph(graph.name))) for graph in b.manifest.graphs]


def test_a_bundle_says_for_every_supported_target_what_it_would_run(tiny_bundle: Path) -> None:
    with Bundle.open(tiny_bundle) as b:
        found = b.manifest.targets
    assert set(found) == {target.name for target in TARGETS if not target.refusal}
    assert found["jetson-orin-jp6"].startswith(
        "int8 on tensorrt CUDA (int8.conv-relu-q): the linter finds no fault, opset"
    )
    assert found["x86-avx2"].startswith("int8-w7 on openvino CPU")
    assert found["any-cpu"].startswith("fp32 on onnxruntime CPU (fp32)")
    assert all(words.endswith("; not tried on such a device") for words in found.values())


def test_a_newer_opset_and_a_fault_are_passed_over_with_the_reason(graphs: list[tuple[Graph, bytes]]) -> None:
    newer = [(msgspec.structs.replace(g, opset=21), data) for g, data in graphs]
    found = checked(newer)
    assert found["jetson-orin-jp6"].startswith("nothing fits: int8 on tensorrt has opset 21, it reads up to 17")
    assert found["jetson-orin-jp7"].startswith("int8 on tensorrt")
    other = {g.name: data for g, data in graphs}
    wrong = [(g, other["int8.conv-q-relu-q"] if g.name == "int8.conv-relu-q" else data) for g, data in graphs]
    assert checked(wrong)["jetson-orin-jp6"].startswith("int8 on onnxruntime")  # uint8 activations: not TensorRT's
    assert "no int8 on tensorrt" in checked([])["jetson-orin-jp6"]


def test_each_reason_is_said_once() -> None:
    for words in checked([]).values():
        reasons = words.removeprefix("nothing fits: ").split("; ")
        assert len(reasons) == len(set(reasons))
