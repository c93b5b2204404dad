"""Several ONNX files as the roles of one tensor bundle: each tensor is called by role and name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from float_nets import edge
from one_way import ONE_WAY
from onnx import TensorProto, helper, numpy_helper

import edge_sdk
from edge_sdk.bundle.store import Bundle
from edge_sdk.errors import BadInput
from edge_sdk.tasks.tensor import TensorModel
from edge_sdk.verify import verify


def product(rows: int, columns: int, seed: int) -> onnx.ModelProto:
    """y = Relu(x W)."""
    weight = np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "W"], ["p"], "mul"), helper.make_node("Relu", ["p"], ["y"], "relu")]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size])
        for name, size in (("x", rows), ("y", columns))
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [numpy_helper.from_array(weight, "W")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def here(work: Path) -> Path:
    rng = np.random.default_rng(1)
    onnx.save(product(24, 32, 1), "enc.onnx")
    onnx.save(product(32, 16, 2), "dec.onnx")
    np.savez("enc.npz", x=rng.normal(size=(6, 24)).astype(np.float32))
    np.savez("dec.npz", x=rng.normal(size=(5, 32)).astype(np.float32))
    return work


FILES = ("encoder=enc.onnx", "decoder=dec.onnx")
DATA = ("--data", "encoder=enc.npz", "--data", "decoder=dec.npz")


def quantize(*words: str, files: tuple[str, ...] = FILES, data: tuple[str, ...] = DATA) -> int:
    return edge("quantize", *files, *data, "--out", "m.edge", "--threads", "1", "--overwrite", *ONE_WAY, *words)


def test_two_models_become_one_bundle_that_is_verified_and_fed_by_role(here: Path) -> None:
    assert quantize("--variant", "int8", "--exclude", "decoder=mul", "--axis", "N=4") == 0
    report = verify("m.edge")
    assert report.passed, report.text()
    assert report.reproduced == 3
    rng = np.random.default_rng(7)
    feeds = {
        "encoder/x": rng.normal(size=(3, 24)).astype(np.float32),
        "decoder/x": rng.normal(size=(2, 32)).astype(np.float32),
    }  # fmt: skip
    with Bundle.open("m.edge") as bundle:
        assert list(dict.fromkeys(graph.role for graph in bundle.manifest.graphs)) == ["encoder", "decoder"]
        assert all(graph.axes == {"N": 4} for graph in bundle.manifest.graphs)
        planned = {graph.role: graph.int8_planned for graph in bundle.manifest.graphs if graph.variant == "int8"}
        assert planned == {"encoder": 1}  # the decoder's only product is left in float, so it has no int8
    with edge_sdk.load_as(TensorModel, "m.edge", variant="fp32", threads=1) as model:
        assert [spec.name for spec in model.inputs] == ["encoder/x", "decoder/x"]
        result = model.predict(feeds)
        weights = {role: numpy_helper.to_array(onnx.load(file).graph.initializer[0]) for role, file in
                   (("encoder", "enc.onnx"), ("decoder", "dec.onnx"))}  # fmt: skip
        for role, weight in weights.items():
            wanted = np.maximum(feeds[f"{role}/x"] @ weight, 0)
            np.testing.assert_allclose(result[f"{role}/y"], wanted, rtol=1e-4, atol=1e-5)
        alone = model.run("encoder", {"x": feeds["encoder/x"][:1]})["y"]
        np.testing.assert_allclose(alone, result["encoder/y"][:1], rtol=1e-6)
        np.savez("in.npz", **feeds)
        np.testing.assert_array_equal(model.predict(here / "in.npz")["decoder/y"], result["decoder/y"])
        for bad, said in (
            ({"x": feeds["encoder/x"]}, "the graph has no input x. It takes encoder/x, decoder/x"),
            ({"encoder/x": feeds["encoder/x"]}, "no array for input x"),
        ):
            with pytest.raises(BadInput, match=said):
                model.predict(bad)
    assert edge("predict", "m.edge", "in.npz", "--variant", "fp32") == 0
    assert edge("inspect", "m.edge") == 0


MISTAKES = [
    (("enc.onnx", "dec.onnx"), DATA, (), "with several models each is ROLE=FILE, not enc.onnx"),
    (("a b=enc.onnx", "d=dec.onnx"), DATA, (), "a role is letters, digits, - and _"),
    (("d=enc.onnx", "D=dec.onnx"), DATA, (), "two models are called D"),
    (FILES, ("--data", "enc.npz"), (), "--data enc.npz names none of the models encoder, decoder"),
    (FILES, DATA[:2], (), "the model decoder has no samples"),
    (FILES, (*DATA, "--data", "encoder=dec.npz"), (), "--data is given twice for encoder"),
    (FILES, DATA, ("--exclude", "mul"), "--exclude mul names none of the models"),
    (FILES, DATA, ("--mean", "0.5"), "which of the models takes pictures is not said"),
    (
        FILES,
        DATA,
        ("--mean", "0.5", "--picture-input", "encoder/x"),
        "enc.onnx: no input takes a picture, only x float",
    ),
    (FILES, DATA, ("--axis", "M=3"), "the graph has no free axis M"),
]


@pytest.mark.parametrize(("files", "data", "words", "said"), MISTAKES, ids=[said[:40] for *_, said in MISTAKES])
def test_a_mistake_names_the_model(
    files: tuple[str, ...], data: tuple[str, ...], words: tuple[str, ...], said: str, here: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert quantize(*words, files=files, data=data) in (2, 3)
    assert said in capsys.readouterr().err
    assert not (here / "m.edge").exists()
