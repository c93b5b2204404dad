"""`edge-sdk quantize`: any ONNX file and samples become a bundle that every other verb takes, or one sentence says why
not, before anything is computed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from one_way import ONE_WAY
from onnx import TensorProto, helper, numpy_helper

import edge_sdk
from edge_sdk.bundle.store import Bundle
from edge_sdk.cli import main
from edge_sdk.errors import BadInput, NotThere
from edge_sdk.export.generic.samples import samples_of
from edge_sdk.export.models.drawn import RANGES
from edge_sdk.export.models.model import read_model
from edge_sdk.extras import first_sentence
from edge_sdk.loading import load_as
from edge_sdk.runtimes import registry
from edge_sdk.tasks.tensor import TensorModel
from edge_sdk.tensors import TensorSpec
from edge_sdk.verify import verify

IMAGE, NUMBERS = "input/image:0", "numbers"


def model(*, batch: int | str | None = "N", axis: int | str = 6) -> onnx.ModelProto:
    """A convolution and a product of two inputs; batch None: neither has a batch axis."""
    rng = np.random.default_rng(1)

    def weight(name: str, shape: tuple[int, ...]) -> onnx.TensorProto:
        return numpy_helper.from_array((rng.normal(size=shape) * 0.3).astype(np.float32), name)

    rows: list[int | str] = [1] if batch is None else [batch]
    nodes = [
        helper.make_node("Conv", [IMAGE, "w"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], "pool"),
        helper.make_node("MatMul", [NUMBERS, "m"], ["answer"], "matmul"),
        helper.make_node("Identity", ["p"], ["pooled"], "end"),
    ]
    graph = helper.make_graph(
        nodes, "g",
        [
            helper.make_tensor_value_info(IMAGE, TensorProto.FLOAT, [*rows, 3, 16, 16]),
            helper.make_tensor_value_info(NUMBERS, TensorProto.FLOAT, [*([] if batch is None else rows), axis, 16]),
        ],
        [
            helper.make_tensor_value_info("pooled", TensorProto.FLOAT, [*rows, 8, 1, 1]),
            helper.make_tensor_value_info(
                "answer", TensorProto.FLOAT, [axis, 16] if batch is None else [*rows, axis, 16]
            ),
        ],
        [weight("w", (8, 3, 3, 3)), weight("m", (16, 16))],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    return made


def arrays(count: int, *, axis: int = 6) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    return {
        IMAGE: rng.normal(size=(count, 3, 16, 16)).astype(np.float32),
        NUMBERS: rng.normal(size=(count, axis, 16)).astype(np.float32),
    }


def save(path: Path, given: dict[str, np.ndarray]) -> Path:
    np.savez(path, **given)  # type: ignore[arg-type]
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a model and its samples."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    onnx.save(model(), "m.onnx")
    save(Path("s.npz"), arrays(8))
    return tmp_path


def edge(*words: str) -> int:
    """Exit code of one call."""
    with pytest.raises(SystemExit) as left:
        main.run([*words])
    return int(left.value.code or 0)


def quantize(*words: str, data: str = "s.npz", model: str = "m.onnx", out: str = "m.edge") -> int:
    return edge("quantize", model, "--data", data, "--out", out, "--threads", "1", *ONE_WAY, *words)


def test_a_file_and_its_samples_become_a_bundle_that_every_verb_takes(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert quantize("--name", "Line 3") == 0
    text = capsys.readouterr().out
    assert "8 samples read" in text
    assert "int8.conv-relu-q: 2 operators in int8; measured here:" in text
    assert "edge-sdk verify m.edge" in text
    report = verify("m.edge")
    assert report.passed, report.text()
    assert report.reproduced == report.samples == 3
    with Bundle.open("m.edge") as bundle:
        assert (bundle.manifest.name, bundle.manifest.task, bundle.manifest.family) == ("Line 3", "tensor", "generic")
        assert bundle.manifest.preprocessing is None
        assert {g.variant for g in bundle.manifest.graphs} == {"fp32", "int8", "int8-w7", "fp16"}
        assert all(g.axes == {"N": 256} for g in bundle.manifest.graphs)
        assert bundle.graph("fp32") == Path("m.onnx").read_bytes()
        assert bundle.manifest.provenance.samples == 8
    for verb in (["inspect"], ["profile", "--min-time", "0.1s", "--max-time", "1s"], ["lint"]):
        if verb != ["lint"]:
            assert edge(verb[0], "m.edge", *verb[1:]) == 0
    assert edge("lint", "m.onnx") == 0
    capsys.readouterr()
    save(Path("one.npz"), {name: array[:2] for name, array in arrays(8).items()})
    assert edge("predict", "m.edge", "one.npz", "--variant", "fp32", "--json") == 0
    assert set(json.loads(capsys.readouterr().out.splitlines()[0])["outputs"]) == {"pooled", "answer"}
    with load_as(TensorModel, "m.edge", variant="fp32", runtime="onnxruntime", threads=1) as loaded:
        answer = loaded.predict(arrays(8))["answer"]
    weight = numpy_helper.to_array(model().graph.initializer[1])
    np.testing.assert_allclose(answer, arrays(8)[NUMBERS] @ weight, rtol=1e-4, atol=1e-5)


def folder_of_samples(here: Path) -> str:
    (here / "samples").mkdir()
    for k in range(3):
        save(here / "samples" / f"{k}.npz", {name: array[k : k + 1] for name, array in arrays(3).items()})
    return "samples"


def random_samples(here: Path) -> str:
    return "random:3"


def one_file(here: Path) -> str:
    return str(save(here / "three.npz", arrays(3)))


@pytest.mark.parametrize("given", [folder_of_samples, random_samples, one_file])
def test_samples_come_in_three_ways(given: Callable[[Path], str], here: Path) -> None:
    assert quantize("--variant", "int8", data=given(here)) == 0
    with Bundle.open("m.edge") as bundle:
        assert {g.variant for g in bundle.manifest.graphs} == {"fp32", "int8"}
        assert bundle.manifest.provenance.samples == 3
        assert [set(sample.source) for sample in bundle.manifest.golden] == [{IMAGE, NUMBERS}] * 3


@pytest.mark.parametrize("name", ["batch", "Batch_Size", "bs", "", "unk__6", "p2o.DynamicDimension.0"])
def test_the_batch_is_found_by_the_names_that_exporters_give_it(
    here: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Taken for any free axis, all rows of a file would be one sample."""
    onnx.save(model(batch=name), "m.onnx")
    assert quantize("--variant", "int8") == 0
    said = capsys.readouterr()
    assert "8 samples read" in said.out
    assert (f"the axis {name} is the batch" in said.err) == bool(name)
    with Bundle.open("m.edge") as bundle:
        assert all(graph.axes == {"N": 256} for graph in bundle.manifest.graphs)
        assert all(spec.batched for graph in bundle.manifest.graphs for spec in (*graph.inputs, *graph.outputs))
    assert verify("m.edge").passed
    if name:
        assert quantize("--variant", "fp32", "--overwrite", "--axis", f"{name}=4") == 0
        with Bundle.open("m.edge") as bundle:
            assert [graph.axes for graph in bundle.manifest.graphs] == [{"N": 4}]


def test_an_axis_that_only_looks_like_a_batch_keeps_its_name(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Behind position 0 the same name is a size, which no batch can be."""
    onnx.save(model(batch="batch", axis="batch"), "m.onnx")
    given = {name: array[:6] for name, array in arrays(8).items()}
    assert quantize("--axis", "batch=6", "--variant", "fp32", data=str(save(here / "six.npz", given))) == 0
    assert "is the batch" not in capsys.readouterr().err
    with Bundle.open("m.edge") as bundle:
        assert [graph.axes for graph in bundle.manifest.graphs] == [{"batch": 6}]


WITHOUT = """
import sys

for name in ("torch", "torchvision", "scipy", "safetensors", "jinja2", "nncf", "skimage"):
    sys.modules[name] = None  # its import fails
from edge_sdk.cli.main import run

run()
"""


@pytest.mark.parametrize("words", [("quantize", "m.onnx", "--data", "s.npz", "--out", "m.edge"), ("lint", "m.onnx")])
def test_what_trains_models_is_not_needed_to_quantize_one(here: Path, words: Sequence[str]) -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_inputs_without_a_batch_axis_are_stacked(here: Path) -> None:
    onnx.save(model(batch=None), "m.onnx")
    stacked = {IMAGE: arrays(4)[IMAGE][:, None], NUMBERS: arrays(4)[NUMBERS]}
    assert quantize("--variant", "fp32", data=str(save(here / "stacked.npz", stacked))) == 0
    assert quantize(
        "--variant", "fp32", "--overwrite", data=str(save(here / "one.npz", {k: v[0] for k, v in stacked.items()}))
    ) == 0  # fmt: skip
    with Bundle.open("m.edge") as bundle:
        assert [g.axes for g in bundle.manifest.graphs] == [{}]
        assert bundle.manifest.golden[0].feeds["model"][NUMBERS].shape == (6, 16)


def scaled(here: Path) -> None:
    """y = Relu(x * k): k is a scalar, of no axes."""
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", ["N", 4]), ("k", []), ("y", ["N", 4]))
    ]
    nodes = [helper.make_node("Mul", ["x", "k"], ["p"], "mul"), helper.make_node("Relu", ["p"], ["y"], "relu")]
    graph = helper.make_graph(nodes, "g", ends[:2], ends[2:])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(here / "scaled.onnx")
    )


@pytest.mark.parametrize("data", ["stack", "folder", "random"])
def test_a_scalar_input_is_calibrated_however_the_samples_come(data: str, here: Path) -> None:
    scaled(here)
    x, k = np.ones((3, 4), np.float32), np.arange(3, dtype=np.float32)
    save(here / "stack.npz", {"x": x, "k": k})
    (here / "folder").mkdir()
    for row in range(3):
        save(here / "folder" / f"{row}.npz", {"x": x[:1], "k": k[row]})
    given = {"stack": "stack.npz", "folder": "folder", "random": "random:3"}[data]
    assert quantize("--variant", "fp16", model="scaled.onnx", data=given) == 0
    specs = (
        TensorSpec(name="x", dtype="float32", shape=("N", 4)), TensorSpec(name="k", dtype="float32", shape=()),
    )  # fmt: skip
    for feeds in samples_of(given, specs, {"N": 4}, seed=0):
        assert isinstance(feeds["k"], np.ndarray)
        assert feeds["k"].shape == ()


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="nobody can write to /proc, not even root")
def test_a_folder_that_takes_no_file_is_noticed_before_anything_is_read(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert quantize(model="absent.onnx", out="/proc/self/m.edge") == 3
    assert "/proc/self: can't be written" in capsys.readouterr().err


def test_a_free_axis_needs_its_largest_size(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx.save(model(axis="points"), "m.onnx")
    assert quantize() == 2
    assert "the size of the free axis 'points' is not bounded" in capsys.readouterr().err
    assert quantize("--axis", "points=9", "--axis", "N=4", "--variant", "fp32") == 0
    with Bundle.open("m.edge") as bundle:
        assert bundle.manifest.graphs[0].axes == {"N": 4, "points": 9}
    assert verify("m.edge").passed


@pytest.mark.parametrize("data", ["long.npz", "folder"])
def test_samples_are_held_against_the_stated_size_of_an_axis(
    here: Path, data: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dry run said that they fit, and the run itself failed after minutes."""
    onnx.save(model(axis="points"), "m.onnx")
    save(Path("long.npz"), arrays(20, axis=10))
    Path("folder").mkdir()
    for k in range(2):
        save(Path("folder") / f"{k}.npz", {name: array[k : k + 1] for name, array in arrays(2, axis=10).items()})
    assert quantize("--axis", "points=8", "--dry-run", data=data) == 3
    said = capsys.readouterr().err
    assert f"{'folder/0.npz' if data == 'folder' else data}: numbers has size 10 on the axis points, --axis" in said
    assert "State --axis points=10" in said
    assert quantize("--axis", "points=10", "--dry-run", data=data) == 0


def test_equal_samples_are_found_before_the_calibration(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(Path("zeros.npz"), {name: np.zeros_like(array) for name, array in arrays(20).items()})
    assert quantize("--dry-run", data="zeros.npz") == 2
    assert "all golden samples feed the graph of model the same" in capsys.readouterr().err
    save(Path("one.npz"), {name: np.ones_like(array) for name, array in arrays(1).items()})
    assert quantize("--dry-run", data="one.npz") == 2
    assert "feed the graph of model the same" in capsys.readouterr().err


@pytest.mark.skipif(not registry.runtime("openvino").probe().usable, reason="needs openvino")
def test_a_graph_that_one_runtime_does_not_compile_is_written_and_loaded_by_another(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """OpenVINO 2026.4 has no determinant: what was written must open where it was written, and say why it is so."""
    square = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 3])]
    answer = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])]
    graph = helper.make_graph([helper.make_node("Det", ["x"], ["y"], name="det")], "det", square, answer)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "det.onnx")
    assert quantize("--variant", "fp32", model="det.onnx", data="random:4") == 0
    assert "warning: load refuses the bundle on openvino" in capsys.readouterr().out
    with edge_sdk.load("m.edge", cache=tmp_path) as loaded:
        assert loaded.explanation.runtime == "onnxruntime"
        assert "it refused the graph when the bundle was packed" in loaded.explain()
    with pytest.raises(NotThere, match="it refused the graph when the bundle was packed"):
        edge_sdk.load("m.edge", runtime="openvino", cache=tmp_path)
    with Bundle.open("m.edge") as bundle:
        assert list(bundle.manifest.graphs[0].refused) == ["openvino"]
        assert "openvino" not in bundle.manifest.targets["x86-vnni"].partition("nothing fits")[0]
    report = verify("m.edge")
    assert report.passed
    assert [name for name, _ in report.left_out] == ["fp32 on openvino"]
    assert edge("inspect", "m.edge") == 0
    assert "refused    fp32 on openvino, when packed: " in capsys.readouterr().out


def test_a_node_that_is_excluded_stays_float(here: Path) -> None:
    assert quantize("--variant", "int8", "--exclude", "conv") == 0
    with Bundle.open("m.edge") as bundle:
        assert {g.int8_planned for g in bundle.manifest.graphs if g.variant == "int8"} == {1}


def test_weights_in_a_file_beside_it_come_into_the_bundle(here: Path) -> None:
    onnx.save(
        model(), "outside.onnx", save_as_external_data=True, location="outside.data", size_threshold=0
    )  # fmt: skip
    assert quantize("--variant", "fp32", model="outside.onnx") == 0
    assert verify("m.edge").passed


def leads_to(location: str, *, key: str = "location") -> Callable[[Path], None]:
    def make(here: Path) -> None:
        outside = model()
        (here / "inner").mkdir()
        onnx.save(outside, here / "bad.onnx", save_as_external_data=True, location="w.data", size_threshold=0)
        found = onnx.load(str(here / "bad.onnx"), load_external_data=False)
        for tensor in found.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == key:
                    entry.value = location
        (here / "bad.onnx").write_bytes(found.SerializeToString())

    return make


def linked(here: Path) -> None:
    leads_to("link.data")(here)
    (here / "link.data").symlink_to(here / "w.data")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (leads_to("../w.data"), "which is not a file in its own folder"),
        (leads_to("inner/../../w.data"), "which is not a file in its own folder"),
        (leads_to("/etc/passwd"), "which is not a file in its own folder"),
        (leads_to("C:\\w.data"), "which is not a file in its own folder"),
        (leads_to(""), "which is not a file in its own folder"),
        (leads_to("inner"), "which is not there"),
        (leads_to("gone.data"), "which is not there"),
        (leads_to("x" * 5000), "which is not there"),
        (leads_to("x/" * 2500 + "x"), "which is not there"),
        (linked, "which is not a file in its own folder"),
        (leads_to("9" * 5000, key="length"), "bad.onnx"),
    ],
    ids=[
        "up",
        "down and up",
        "absolute",
        "windows",
        "empty",
        "folder",
        "gone",
        "a long name",
        "a long path",
        "link",
        "a length of 5000 digits",
    ],
)
def test_weights_are_never_read_from_elsewhere(
    make: Callable[[Path], None], said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(here)
    assert quantize(model="bad.onnx") == 3
    text = capsys.readouterr().err
    assert said in text
    assert "bad.onnx: " in text
    assert len(text) < 1000
    with pytest.raises(BadInput, match=r"bad\.onnx: "):  # no bare error of the system reaches a program either
        read_model(Path("bad.onnx"))


@pytest.mark.parametrize("data", ["s.npz", "random:4"])
@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("unsorted", "must be topologically sorted, however input 'c' of node: name: relu OpType: Relu is not output"),
        ("rows", "(tensor name: m) raw_data size"),
        ("columns", "(tensor name: m) raw_data size"),
        ("values", "(tensor name: m)"),
        ("attribute", "Unrecognized attribute: nonsense for operator Relu"),
    ],
)
def test_a_graph_that_is_not_valid_is_named_with_its_file_before_samples_are_blamed(
    broken: str, said: str, data: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A weight that claims 2^40 rows would otherwise make every sample too large for this machine."""
    made = model()
    weight, nodes = made.graph.initializer[1], made.graph.node
    if broken == "unsorted":
        first = onnx.NodeProto()
        first.CopyFrom(nodes[0])
        del nodes[0]
        nodes.append(first)
    elif broken == "attribute":
        nodes[1].attribute.append(helper.make_attribute("nonsense", 1))
    elif broken == "values":
        weight.float_data.extend(numpy_helper.to_array(weight).ravel())
        weight.ClearField("raw_data")
        weight.dims[1] = 2**40
    else:
        weight.dims[0 if broken == "rows" else 1] = 2**40
    Path("m.onnx").write_bytes(made.SerializeToString())
    assert quantize(data=data) == 3
    text = capsys.readouterr().err
    assert "edge-sdk: m.onnx: the graph is not valid ONNX: " in text
    assert said in text
    assert text.endswith(". Export the model again; onnx.checker.check_model looks at a file.\n")
    assert "exporting" not in text
    assert not Path("m.edge").exists()


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ("one thing.\nAnother one", "one thing"),
        ("Nodes must be sorted, however input 'b' of node: \nname: a OpType: Relu\n is not output of any nodes.\nStack",
         "Nodes must be sorted, however input 'b' of node: name: a OpType: Relu is not output of any nodes"),
        ("Exception from a.cpp:3:\nCheck 'x' failed at b.cpp:4:\nWhile validating 'n':\nWrong shape.\nat c.cpp",
         "While validating 'n': Wrong shape"),
        ("does not specify a valid type in .", "does not specify a valid type in"),
        ("only this:", "only this"),
        ("", "ValueError"),
    ],
)  # fmt: skip
def test_of_another_librarys_error_one_whole_sentence_is_kept(lines: str, sentence: str) -> None:
    assert first_sentence(ValueError(lines)) == sentence


@pytest.mark.parametrize("name", ["x" * 5000, "x" * 5000 + ".npz", "x/" * 2500])
def test_a_program_that_gives_a_name_that_is_too_long_gets_an_error_of_ours_with_part_of_it(name: str) -> None:
    for read in (lambda: samples_of(name, (), {}, seed=0), lambda: read_model(Path(name))):
        with pytest.raises(BadInput) as refused:
            read()
        assert len(str(refused.value)) < 1000


def foreign_operator(here: Path) -> None:
    strange = model()
    strange.graph.node[1].domain = "com.else"
    strange.opset_import.append(helper.make_opsetid("com.else", 1))
    (here / "strange.onnx").write_bytes(strange.SerializeToString())


MISTAKES = [
    (("absent.onnx", "s.npz"), (), 3, "absent.onnx: can't read it"),
    ((".", "s.npz"), (), 3, "this is a folder, not an ONNX file"),
    (("s.npz", "s.npz"), (), 3, "s.npz: "),
    (("/dev/zero", "s.npz"), (), 3, "/dev/zero: this is a pipe or a device, not an ONNX file"),
    (("pipe.onnx", "s.npz"), (), 3, "pipe.onnx: this is a pipe or a device, not an ONNX file"),
    (("odd.onnx", "s.npz"), (), 3, "odd.onnx: its tensor w has the data type 77, which ONNX does not have"),
    (("none.onnx", "s.npz"), (), 3, "none.onnx: its tensor w has the data type 0, which ONNX does not have"),
    (("m.onnx", "flat.npz"), (), 3, "flat.npz: input/image:0 has shape ()"),
    (("strange.onnx", "s.npz"), (), 3, "operators of the domain 'com.else'"),
    (("m.onnx", "absent"), (), 3, "this is no folder and no .npz file"),
    (("m.onnx", ""), (), 2, "--data names nothing. Name a folder of .npz files"),
    (("m.onnx", "y" * 5000), (), 3, "yy...yy"),
    (("m.onnx", "y" * 5000 + ".npz"), (), 3, "y.npz: can't read it: File name too long. Check the path"),
    (("y" * 5000, "s.npz"), (), 3, "y: can't read it: File name too long. Check the path"),
    (("m.onnx", "absent.npz"), (), 3, "absent.npz: can't read it"),
    (("m.onnx", "empty"), (), 3, "there are no .npz files in it"),
    (("m.onnx", "text.npz"), (), 3, "text.npz: this is no .npz file of plain arrays"),
    (("m.onnx", "less.npz"), (), 3, "less.npz: it holds no array input/image:0, only numbers"),
    (("m.onnx", "more.npz"), (), 3, "more.npz: the graph has no input more"),
    (("m.onnx", "double.npz"), (), 3, "float64, the graph takes float32"),
    (("m.onnx", "uneven.npz"), (), 3, "different numbers of samples"),
    (("m.onnx", "wide.npz"), (), 3, "has shape (1, 3, 17, 16), the graph takes ('N', 3, 16, 16)"),
    (("m.onnx", "random:"), (), 2, "names no number of samples. Write random:64"),
    (("m.onnx", "random:0"), (), 2, "names no number of samples"),
    (("m.onnx", "random:100001"), (), 2, "names no number of samples"),
    (("m.onnx", "random:" + "9" * 5000), (), 2, "names no number of samples"),
    (("m.onnx", "s.npz"), ("--axis", "N"), 2, "Write --axis N=8"),
    (("m.onnx", "absent"), ("--axis", "N=0"), 2, "a size is from 1 to 1,048,576"),
    (("m.onnx", "absent"), ("--axis", "N=1048577"), 2, "a size is from 1 to 1,048,576"),
    (("m.onnx", "absent"), ("--axis", "N=99999999999999999999"), 2, "a size is from 1 to 1,048,576"),
    (("m.onnx", "absent"), ("--axis", "N=" + "9" * 5000), 2, "a size is from 1 to 1,048,576"),
    (("m.onnx", "absent"), ("--axis", "N=8", "--axis", "N=2"), 2, "the axis N is given twice. State one size"),
    (("m.onnx", "absent"), ("--axis", "N=8", "--axis", "Q=3", "--axis", "N=8"), 2, "the axis N is given twice"),
    (("batch.onnx", "s.npz"), ("--axis", "batch=4", "--axis", "N=8"), 2, "N and batch are one axis, the batch"),
    (("m.onnx", "s.npz"), ("--axis", "Q=3"), 2, "the graph has no free axis Q"),
    (("m.onnx", "s.npz"), ("--variant", "int4"), 2, "--variant: unknown variant int4; available: fp32, fp16, int8"),
    (("m.onnx", "s.npz"), ("--engine", "foo"), 2, "--engine: unknown engine foo; available: portable, nncf"),
    (("m.onnx", "s.npz"), ("--ranges", "foo"), 2, "--ranges: unknown range method foo; available: minmax, percent"),
    (("m.onnx", "s.npz"), ("--metric", "m:f"), 2, "--metric requires --max-drop"),
    (("m.onnx", "s.npz"), ("--exclude", "nowhere"), 2, "nowhere"),
    (("m.onnx", "s.npz"), ("--key", "absent.key"), 3, "absent.key: can't be read"),
    (("m.onnx", "s.npz"), ("--out", "x.onnx"), 2, "does not end in .edge"),
    (("m.onnx", "s.npz"), ("--out", "there.edge"), 2, "the file already exists"),
]


@pytest.mark.parametrize(
    ("given", "words", "code", "said"), MISTAKES, ids=[" ".join((*g, *w))[:40] for g, w, *_ in MISTAKES]
)
def test_a_mistake_is_one_sentence_and_nothing_is_written(
    given: tuple[str, str], words: tuple[str, ...], code: int, said: str, here: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    foreign_operator(here)
    onnx.save(model(batch="batch"), "batch.onnx")
    (here / "empty").mkdir()
    (here / "text.npz").write_text("no archive")
    (here / "there.edge").write_text("kept")
    whole = arrays(4)
    save(here / "less.npz", {NUMBERS: whole[NUMBERS]})
    save(here / "more.npz", {**whole, "more": whole[NUMBERS]})
    save(here / "double.npz", {**whole, IMAGE: whole[IMAGE].astype(np.float64)})
    save(here / "uneven.npz", {**whole, IMAGE: whole[IMAGE][:2]})
    save(here / "wide.npz", {**whole, IMAGE: np.zeros((4, 3, 17, 16), np.float32)})
    save(here / "flat.npz", {**whole, IMAGE: np.float32(3)})
    os.mkfifo(here / "pipe.onnx")
    for name, kind in (("odd", 77), ("none", 0)):
        strange = model()
        strange.graph.initializer[0].data_type = kind
        (here / f"{name}.onnx").write_bytes(strange.SerializeToString())
    path, data = given
    assert quantize(*words, model=path, data=data) == code
    text = capsys.readouterr().err
    assert said in text
    assert "Traceback" not in text
    assert len(text) < 2000  # a name of any length is shown in part
    assert (here / "there.edge").read_text() == "kept"
    assert not (here / "m.edge").exists()


def wide(axes: int = 4, *, name: str = "x", opset: int = 17, sizes: tuple[int | str, ...] | None = None) -> bytes:
    """A Relu on a tensor of so many axes."""
    shape = list(sizes or [1] * axes)
    ends = [helper.make_tensor_value_info(one, TensorProto.FLOAT, shape) for one in (name, "y")]
    graph = helper.make_graph([helper.make_node("Relu", [name], ["y"], "relu")], "g", ends[:1], ends[1:])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    made.ir_version = 8
    data: bytes = made.SerializeToString()
    return data


def constants_of(op: str, constants: dict[str, np.ndarray], **attributes: object) -> bytes:
    """x + a mean of what `op` makes of constants alone: 6.4 GB and more."""
    nodes = [
        helper.make_node(op, list(constants), ["huge"], "huge", **attributes),
        helper.make_node("Cast", ["huge"], ["real"], "cast", to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["real"], ["mean"], "mean", keepdims=0),
        helper.make_node("Add", ["x", "mean"], ["y"], "add"),
    ]
    ends = [helper.make_tensor_value_info(one, TensorProto.FLOAT, [1, 4]) for one in "xy"]
    stored = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    made = helper.make_model(
        helper.make_graph(nodes, "g", ends[:1], ends[1:], stored), opset_imports=[helper.make_opsetid("", 17)]
    )
    made.ir_version = 8
    data: bytes = made.SerializeToString()
    return data


SIDES = np.array([40_000, 40_000])
LARGE: dict[str, tuple[bytes, tuple[str, ...], int, str]] = {
    "an axis": (wide(sizes=(1, 3, "H", "W")), ("--axis", "H=1000000", "--axis", "W=1000000"), 2, "smaller sizes with"),
    "a fixed size": (wide(sizes=(1, 20_000, 20_000)), (), 2, "one random sample would have 1,600,000,000 bytes"),
    "a size for no bundle": (wide(sizes=(1, 40_000, 40_000)), (), 3, "x would need 6400000000 bytes a sample"),
    "nine axes": (wide(9), (), 3, "its tensor x has 9 axes, a bundle holds at most 8"),
    "a control character": (wide(name="a\x1b[31m\n"), (), 3, "holds control characters"),
    "a long tensor name": (wide(name="x" * 201), (), 3, "has a name of 201 letters"),
    "no name": (wide(), ("--name", ""), 2, "the name '' of the bundle is empty"),
    "blanks": (wide(), ("--name", "  "), 2, "of the bundle is empty"),
    "a long name": (wide(), ("--name", "n" * 100_000), 2, "longer than 255 characters"),
    "a name of two lines": (wide(), ("--name", "a\nb"), 2, "or not plain text"),
    "opset 99": (wide(opset=99), (), 3, "the graph has opset 99; opsets 9 to 25 are read"),
    "opset 26": (wide(opset=26), (), 3, "the graph has opset 26; opsets 9 to 25 are read"),
    "opset 8": (wide(opset=8), (), 3, "the graph has opset 8; opsets 9 to 25 are read"),
    "ConstantOfShape": (constants_of("ConstantOfShape", {"s": SIDES}), (), 3, "ConstantOfShape makes huge of const"),
    "Expand": (constants_of("Expand", {"v": np.float32([1]), "s": SIDES}), (), 3, "Expand makes huge of constants"),
    "Tile": (constants_of("Tile", {"v": np.ones((1, 1), np.float32), "s": SIDES}), (), 3, "Tile makes huge of const"),
    "Range": (
        constants_of("Range", {"a": np.array(0), "b": np.array(10**10), "c": np.array(1)}), (), 3, "Range makes huge"
    ),
    "OneHot": (
        constants_of("OneHot", {"i": np.arange(40_000), "d": np.array(40_000), "v": np.float32([0, 1])}), (), 3,
        "OneHot makes huge of constants",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LARGE)
def test_what_can_never_fit_is_one_sentence_before_anything_is_computed(
    case: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, words, code, said = LARGE[case]
    (here / "large.onnx").write_bytes(data)
    assert quantize(*words, model="large.onnx", data="random:2") == code
    text = capsys.readouterr().err
    assert said in text
    assert "Traceback" not in text
    assert "\x1b" not in text
    assert not (here / "m.edge").exists()


def test_a_sample_that_the_graph_blows_up_beyond_the_memory_is_refused_before_it_runs(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes = [helper.make_node("Expand", ["x", "s"], ["wide"]), helper.make_node("Relu", ["wide"], ["y"])]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", [1, 4]), ("y", ["a", "b", 4]))
    ]
    sizes = numpy_helper.from_array(np.array([2_000_000, 1_000_000, 4]), "s")
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [sizes])
    (here / "large.onnx").write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    )
    assert quantize(model="large.onnx", data="random:2") == 3
    assert "in this graph, this machine has" in capsys.readouterr().err


def test_random_samples_and_targets_that_read_less_are_reported(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx.save(onnx.version_converter.convert_version(model(), 20), "m.onnx")
    assert quantize("--variant", "fp32", data="random:2") == 0
    text = capsys.readouterr().out
    assert "The samples were random: enough to try the bundle, not to calibrate it." in text
    assert "The graphs have opset 20, which jetson-orin-jp6, " in text
    assert "can't read: export the model with opset 17 for them." in text
    assert quantize("--variant", "fp32", "--overwrite", "--json", data="random:2") == 0
    assert len(json.loads(capsys.readouterr().out)["notes"]) == 2
    onnx.save(model(), "m.onnx")
    assert quantize("--variant", "fp32", "--overwrite", "--json") == 0
    assert json.loads(capsys.readouterr().out)["notes"] == []


def test_each_content_of_the_golden_samples_is_stored_once(here: Path) -> None:
    """The source is what is fed, and layouts of one variant answer the same: none of that takes room twice."""
    assert quantize() == 0
    with Bundle.open("m.edge") as bundle:
        golden = [one.sha256 for name, one in bundle.manifest.members.items() if name.startswith("golden/")]
        assert len(set(golden)) == len(golden) > 0
        layouts: dict[str, set[str]] = {}
        for graph in bundle.manifest.graphs:
            answer = bundle.manifest.golden[0].outputs[graph.name]["answer"].member
            layouts.setdefault(graph.variant, set()).add(answer)
        for sample in bundle.manifest.golden:
            assert sample.feeds["model"] == sample.source
    assert len(layouts["fp32"]) == 1
    assert len(set.union(*layouts.values())) < sum(1 for _ in bundle.manifest.graphs)


def test_every_graph_of_a_bundle_lints_clean(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert quantize() == 0
    assert edge("lint", "m.edge") == 0, capsys.readouterr().out
    capsys.readouterr()
    assert edge("inspect", "m.edge") == 0
    text = capsys.readouterr().out
    assert "int8 planned  int8 run" in text
    assert "2             openvino 2" in text


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "bool", "int32", "int64", "float32", "float16"])
def test_random_samples_keep_to_their_stated_range_and_are_the_same_again(dtype: str) -> None:
    spec = TensorSpec(name="x", dtype=dtype, shape=("N", "P", 500))  # type: ignore[arg-type]
    samples = samples_of("random:4", [spec], {"N": 256, "P": 7}, seed=1)
    first, again = ([feeds["x"] for feeds in samples] for _ in range(2))
    low, high = RANGES.get(dtype, (-1, 1) if dtype.startswith("float") else (0, 1))
    for a, b in zip(first, again, strict=True):
        assert (a.dtype, a.shape) == (np.dtype(dtype), (1, 7, 500))
        np.testing.assert_array_equal(a, b)
        assert low <= float(a.min()) <= low + 0.2 * (high - low)
        assert high - 0.2 * (high - low) <= float(a.max()) <= high
    assert not np.array_equal(first[0], first[1])


SPECS = (
    TensorSpec(name="x", dtype="float32", shape=("N", 4)), TensorSpec(name="k", dtype="int64", shape=("P",)),
)  # fmt: skip


def digest_of(word: str | Path, *, seed: int = 1, most: int = 7) -> str:
    return samples_of(str(word), SPECS, {"N": 1, "P": most}, seed=seed).digest


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_other_samples_have_another_digest_and_the_same_ones_the_same(tmp_path: Path, kind: str) -> None:
    def write(place: str, *, name: str = "1.npz", value: float = 0.5, kinds: np.ndarray | None = None) -> str:
        """Two samples; the second one has `value` and `kinds`."""
        (tmp_path / place).mkdir()
        x = np.array([[1, 2, 3, 4], [1, 2, 3, value]], np.float32)
        k = np.stack([np.arange(2), np.arange(2) if kinds is None else kinds])
        if kind == "file":
            np.savez(tmp_path / place / "all.npz", x=x, k=k)
            return digest_of(tmp_path / place / "all.npz")
        for row, file in enumerate(("0.npz", name)):
            np.savez(tmp_path / place / file, x=x[row : row + 1], k=k[row])
        return digest_of(tmp_path / place)

    first = write("first")
    others = {write("value", value=0.25), write("kinds", kinds=np.array([1, 0]))}
    if kind == "folder":
        others.add(write("name", name="2.npz"))
    assert write("again") == first
    assert len(others | {first}) == len(others) + 1


def test_the_digest_of_random_samples_tells_number_seed_and_sizes() -> None:
    first = digest_of("random:3")
    assert digest_of("random:3") == first
    assert len({first, digest_of("random:4"), digest_of("random:3", seed=2), digest_of("random:3", most=8)}) == 4


def test_what_another_run_writes_to_out_meanwhile_is_kept_unless_it_is_to_be_lost(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the reading of the samples on: two runs with one OUT both said that they wrote it."""

    def read(*arguments: Any, **options: Any) -> Any:
        Path("m.edge").write_bytes(b"of another run")
        return samples_of(*arguments, **options)

    monkeypatch.setattr("edge_sdk.export.generic.bring.samples_of", read)
    assert quantize("--variant", "fp32", data="random:2") == 2
    assert "m.edge: this file was written while the bundle was being built" in capsys.readouterr().err
    assert Path("m.edge").read_bytes() == b"of another run"
    assert quantize("--variant", "fp32", "--overwrite", data="random:2") == 0
    Bundle.open("m.edge").close()


@pytest.mark.parametrize("where", [("output",), ("input", "output")])
def test_a_size_of_minus_one_is_a_free_axis(where: tuple[str, ...], here: Path) -> None:
    """So Paddle2ONNX writes the batch, and no answer has that size."""
    made = model(batch="batch")
    for one in where:
        for info in getattr(made.graph, one):
            info.type.tensor_type.shape.dim[0].dim_value = -1
    onnx.save(made, "m.onnx")
    assert edge("lint", "m.onnx") in (0, 1)
    assert quantize("--variant", "int8") == 0
    assert verify("m.edge").passed
    with Bundle.open("m.edge") as bundle:
        for graph in bundle.manifest.graphs:
            stored = onnx.load_from_string(bundle.graph(graph.name))
            infos = (*stored.graph.input, *stored.graph.output, *stored.graph.value_info)
            assert all(dim.dim_value >= 0 for info in infos for dim in info.type.tensor_type.shape.dim)


def test_two_axes_called_question_mark_are_two_sizes(here: Path) -> None:
    """Paddle2ONNX calls every unknown axis so; TensorRT and onnx's inference read one name as one size."""
    made = model(batch="batch")
    for axis in (2, 3):
        made.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = "?"
    onnx.save(made, "m.onnx")
    assert quantize("--variant", "fp32", "--axis", f"{IMAGE}_2=16", "--axis", f"{IMAGE}_3=16") == 0
    with Bundle.open("m.edge") as bundle:
        (graph,) = bundle.manifest.graphs
        assert graph.inputs[0].shape == ("N", 3, f"{IMAGE}_2", f"{IMAGE}_3")
        stored = onnx.load_from_string(bundle.graph(graph.name))
    assert "?" not in {dim.dim_param for value in stored.graph.input for dim in value.type.tensor_type.shape.dim}
