"""What a manifest says of a graph is held against its file: names, their order, types and shapes."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from edge_sdk.bundle.agreement import difference
from edge_sdk.bundle.manifest import Graph
from edge_sdk.runtimes.onnx_file import OnnxFacts
from edge_sdk.tensors import TensorSpec

A, B, C = (TensorSpec(name=name, dtype="float32", shape=("N", 3)) for name in "abc")


AB = "'a', 'b'"
DIFFERS = {
    "other order": ((B, A), f"are {AB}, its file has 'b', 'a'"),
    "one less": ((A,), f"are {AB}, its file has 'a'"),
    "one more": ((A, B, C), f"are {AB}, its file has 'a', 'b', 'c'"),
    "none": ((), f"are {AB}, its file has none"),
    "other name": ((A, C), f"are {AB}, its file has 'a', 'c'"),
    "other type": (
        (A, msgspec.structs.replace(B, dtype="float16")), r"b is float32 \(N, 3\), its file says b is float16 \(N, 3\)"
    ),
    "other shape": (
        (A, msgspec.structs.replace(B, shape=("N", 4))), r"b is float32 \(N, 3\), its file says b is float32 \(N, 4\)"
    ),
    "other axis": (
        (A, msgspec.structs.replace(B, shape=(1, 3))), r"b is float32 \(N, 3\), its file says b is float32 \(1, 3\)"
    ),
}  # fmt: skip


def _said(*, inputs: tuple[TensorSpec, ...] = (A, B), outputs: tuple[TensorSpec, ...] = (A, B), **file: Any) -> str:
    """Of an entry with opset 17 and a, b as inputs and outputs; the arguments are the file's."""
    entry = Graph(
        name="fp32", variant="fp32", member="", size_bytes=0, sha256="", opset=17, inputs=(A, B), outputs=(A, B)
    )
    facts = OnnxFacts(nodes=(), initializers={}, inputs=inputs, outputs=outputs, **{"opsets": {"": 17}, **file})
    return difference(entry, facts)


def test_an_entry_that_agrees_differs_in_nothing() -> None:
    assert _said() == ""


@pytest.mark.parametrize("which", ["inputs", "outputs"])
@pytest.mark.parametrize("kind", DIFFERS)
def test_tensors_that_differ_are_named(kind: str, which: str) -> None:
    """Their order, too: a task may feed the first input, whatever its name."""
    file, said = DIFFERS[kind]
    found = _said(**{which: file})
    assert re.search(rf"the manifest says that (of )?the {which} of the graph fp32 {said}$", found), found


def test_an_opset_and_a_shape_that_the_file_does_not_give_are_named() -> None:
    assert _said(opsets={"": 18}) == "the manifest says that the graph fp32 has opset 17, its file has 18"
    assert _said(unshaped=("b",)) == "the graph fp32 does not give the shape of its output 'b'"
