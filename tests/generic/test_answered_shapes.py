"""Output shapes that a file states: what onnx's inference says is replaced by what the graph answers, the rest refused
before any work is done. No message for readers of bundles comes while one is written."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import ModelProto, helper

from edge_sdk.bundle.store import Bundle
from edge_sdk.cli.main import run
from edge_sdk.errors import BadInput
from edge_sdk.export.generic.bring import Stated, brought
from edge_sdk.export.models.model import read_model
from edge_sdk.runtimes.onnx_file import read_facts


def pooled(stated: list[int | str] | None, *, op: str = "AveragePool", batch: int | str = 1) -> ModelProto:
    """A 1 x 1 convolution and a pool of 9 x 9 values that answers 5 x 5, where onnx's inference says 6 x 6."""
    weight = helper.make_tensor("w", 1, [2, 2, 1, 1], [1.0, 0.5, -0.5, 1.0])
    counted = {"count_include_pad": 1} if op == "AveragePool" else {}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node(
            op, ["c"], ["y"], name="pool", kernel_shape=[2, 2], strides=[2, 2], pads=[1] * 4, ceil_mode=1, **counted
        ),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", 1, [batch, 2, 9, 9])],
        [helper.make_tensor_value_info("y", 1, stated)], [weight],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def brought_shape(model: ModelProto, folder: Path) -> tuple[tuple[int | str, ...], tuple[str, ...]]:
    path = folder / "m.onnx"
    onnx.save(model, path)
    made = brought({"model": read_model(path)}, Stated(data={"model": "random:2"}))
    facts = read_facts(made.family.float_graphs["model"].onnx, where="m")
    return tuple(facts.outputs[0].shape), made.notes


@pytest.mark.parametrize("batch", [1, "N"])
@pytest.mark.parametrize("op", ["AveragePool", "MaxPool"])
@pytest.mark.parametrize("states", ["nothing", "what onnx infers", "what is answered"])
def test_an_inferred_size_gives_way_to_the_answered_one(states: str, op: str, batch: int | str, tmp_path: Path) -> None:
    sides = {"nothing": None, "what onnx infers": 6, "what is answered": 5}[states]
    stated = None if sides is None else [batch, 2, sides, sides]
    shape, notes = brought_shape(pooled(stated, op=op, batch=batch), tmp_path)
    assert shape[1:] == (2, 5, 5)
    said = [note for note in notes if "the runtime answers 1x2x5x5, which counts" in note]
    assert len(said) == (states == "what onnx infers")


@pytest.mark.parametrize("stated", [[1, 2, 7, 7], [1, 2, 5, 8], [2, 2, 5, 5], [1, 2, 25]])
def test_a_size_from_elsewhere_is_refused_before_any_work(stated: list[int], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"declared .*, the runtime answers 1x2x5x5"):
        brought_shape(pooled([*stated]), tmp_path)


@pytest.mark.parametrize("stated", [None, [1, 2, 6, 6]])
def test_such_a_model_is_quantized(
    stated: list[int | str] | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "p1.onnx", tmp_path / "x.edge"
    onnx.save(pooled(stated), path)
    with pytest.raises(SystemExit) as left:
        run(["quantize", str(path), "--data", "random:4", "--out", str(out)])
    assert not left.value.code, capsys.readouterr().err
    with Bundle.open(out) as bundle:
        assert {tuple(graph.outputs[0].shape) for graph in bundle.manifest.graphs} == {(1, 2, 5, 5)}
