"""`edge-sdk export`: a torch module becomes a graph that answers what the module answers, or one sentence why not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import trial_nets
from float_nets import edge, photos
from hypothesis import given
from hypothesis import strategies as st
from one_way import ONE_WAY
from safetensors.torch import save_file

from edge_sdk.bundle.store import Bundle
from edge_sdk.errors import BadInput, BadUsage, CheckFailed, EdgeError
from edge_sdk.export.models import factory
from edge_sdk.export.models.input_spec import FreeAxis, InputSpec, bounded, largest, parsed
from edge_sdk.export.models.lower import lowered
from edge_sdk.export.models.torch_module import exported
from edge_sdk.verify import verify

HERE = Path(__file__).parent


def made(name: str, **arguments: Any) -> torch.nn.Module:
    return factory.made(f"trial_nets:{name}", arguments=arguments, folder=HERE)


def inputs(*words: str) -> tuple[InputSpec, ...]:
    return bounded(parsed(words), {})


@pytest.mark.parametrize("named", [False, True])
def test_a_module_is_exported_with_the_names_and_free_axes_that_are_stated(named: bool) -> None:
    module = made("make", named=named)
    model, parity = exported(module, inputs("image:float32[N,3,H=32..64,W=24..40]"), where="net", threads=1)
    assert [(spec.name, spec.shape) for spec in model.facts.inputs] == [("image", ("N", 3, "H", "W"))]
    assert [(spec.name, len(spec.shape)) for spec in model.facts.outputs] == [("logits", 2), ("cells", 4)]
    assert set(parity.worst) == {"logits", "cells"}
    assert parity.cases >= 6
    assert all(relative < 1e-5 for _, relative in parity.worst.values())
    session = onnxruntime.InferenceSession(model.onnx, providers=["CPUExecutionProvider"])
    picture = np.random.default_rng(2).normal(size=(3, 3, 37, 29)).astype(np.float32)  # sizes that it was not tried at
    with torch.no_grad():
        wanted = module(torch.from_numpy(picture))
    for name, got in zip(("logits", "cells"), session.run(None, {"image": picture}), strict=True):
        want = getattr(wanted, name) if named else wanted[name]
        np.testing.assert_allclose(got, want.numpy(), rtol=1e-4, atol=1e-5)


def test_the_graph_has_opset_17_and_nothing_of_the_machine_that_it_was_made_on() -> None:
    """Six target profiles read no opset above 17, and torch writes 18 and paths of source files."""
    model, _ = exported(made("make"), inputs("image:float32[N,3,32,32]"), where="net", threads=1)
    assert model.facts.opset == 17
    assert str(HERE).encode() not in model.onnx
    assert b"trial_nets" not in model.onnx


def test_a_module_that_takes_uint8_casts_before_all_else() -> None:
    """TensorRT takes uint8 in Cast alone; people write permute first."""
    model, parity = exported(made("Pixels"), inputs("image:uint8[1,H=16..48,W=16..48,3]"), where="net", threads=1)
    assert [node.op for node in model.facts.nodes][:2] == ["Cast", "Transpose"]
    assert model.facts.inputs[0].shape == (1, "H", "W", 3)
    assert parity.worst["output"][1] < 1e-5


def test_inputs_that_are_called_as_forward_calls_them_may_come_in_any_order() -> None:
    model, _ = exported(made("Order"), inputs("b:float32[N,4]", "a:float32[N,4]"), where="net", threads=1)
    assert [spec.name for spec in model.facts.inputs] == ["a", "b"]
    assert [(spec.name, spec.dtype) for spec in model.facts.outputs] == [("output", "float32"), ("output_1", "int64")]


def test_a_module_in_half_precision_is_exported_in_float32() -> None:
    model, _ = exported(made("half"), inputs("image:float32[N,3,32,32]"), where="net", threads=1)
    assert all(spec.dtype == "float32" for spec in (*model.facts.inputs, *model.facts.outputs))


@pytest.mark.parametrize(
    ("name", "stated", "kind", "said"),
    [
        ("Branches", "x:float32[N,8]", BadInput, r"net: torch can't export it: .*trial_nets.py, line \d+.*torch.where"),
        (
            "Random",
            "x:float32[N,8]",
            CheckFailed,
            "is not the module: the output output differs by .* at N=1, .*random",
        ),
        ("Specialized", "x:float32[N,T=2..40]", CheckFailed, "the output output differs by .* at N=1 T="),
        ("Text", "x:float32[N,8]", BadInput, "the module's output output is a str, not a tensor"),
        (
            "make",
            "image:float32[N,4,32,32]",
            BadInput,
            r"the module raises for image float32\[2, 4, 32, 32\]: RuntimeError",
        ),
    ],
)
def test_what_has_no_true_graph_is_refused(name: str, stated: str, kind: type[EdgeError], said: str) -> None:
    with pytest.raises(kind, match=f"(?s){said}"):
        exported(made(name), inputs(stated), where="net", threads=1)


@pytest.mark.parametrize(
    ("word", "arguments", "kind", "said"),
    [
        ("trial_nets", {}, BadUsage, "'trial_nets' is not package.module:factory"),
        ("trial_nets:", {}, BadUsage, "is not package.module:factory"),
        ("no_such_net:make", {}, BadUsage, "there is no module no_such_net. The current folder and installed"),
        ("trial_nets.inner:make", {}, BadUsage, "there is no module trial_nets.inner"),
        ("trial_nets:mke", {}, BadUsage, "trial_nets has no mke. Did you mean make"),
        ("trial_nets.py:make", {}, BadUsage, "names a file, not a module. Write trial_nets:make"),
        ("./nets/trial_nets.py:make", {}, BadUsage, "Write nets.trial_nets:make"),
        ("/home/me/trial_nets.py:make", {}, BadUsage, "Write trial_nets:make"),
        ("trial_nets:SIZE", {}, BadUsage, "trial_nets:SIZE is an int, not a function or class"),
        ("trial_nets:READY", {"a": 1}, BadUsage, "is a module, which takes no --arg"),
        (
            "trial_nets:make",
            {"depth": 1},
            BadUsage,
            "can't be called with these --arg: got an unexpected keyword .*depth",
        ),
        ("trial_nets:failing", {}, BadInput, r"RuntimeError: no licence for this model .trial_nets.py, line \d+"),
        ("trial_nets:number", {}, BadInput, "trial_nets:number returns an int, not a torch.nn.Module"),
        ("broken_net:make", {}, BadInput, r"importing broken_net fails: SyntaxError: .*broken_net.py, line 2"),
        ("raising_net:make", {}, BadInput, r"importing raising_net fails: KeyError: 'gone' .raising_net.py, line 1"),
        ("needing_net:make", {}, BadInput, "importing needing_net fails: ModuleNotFoundError: .*no_such_package"),
    ],
)
def test_what_is_wrong_with_a_factory_is_said_with_its_place(
    word: str, arguments: dict[str, Any], kind: type[EdgeError], said: str, tmp_path: Path
) -> None:
    (tmp_path / "broken_net.py").write_text("x = 1\ndef make(:\n")
    (tmp_path / "raising_net.py").write_text("{}['gone']\n")
    (tmp_path / "needing_net.py").write_text("import no_such_package\n")
    with pytest.raises(kind, match=said):
        factory.made(word, arguments=arguments, folder=tmp_path)


def test_a_module_itself_may_be_named() -> None:
    assert factory.made("trial_nets:READY", arguments={}, folder=HERE) is trial_nets.READY


def test_arguments_are_python_literals_where_they_are_some() -> None:
    words = ["width=32", "name=small", "scale=0.5", "sizes=(1, 2)", "deep=True", "code=__import__('os')"]
    assert factory.arguments_of(words) == {
        "width": 32, "name": "small", "scale": 0.5, "sizes": (1, 2), "deep": True, "code": "__import__('os')",
    }  # fmt: skip
    for bad, said in (
        (["width"], "is not key=value"),
        (["a b=1"], "is not key=value"),
        (["a=1", "a=2"], "given twice"),
    ):
        with pytest.raises(BadUsage, match=said):
            factory.arguments_of(bad)


def test_weights_fill_the_module_and_nothing_else(tmp_path: Path) -> None:
    trained = made("make", width=4)
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    fresh = trial_nets.Net(4)
    factory.load(fresh, tmp_path / "w.safetensors")
    assert all(torch.equal(value, trained.state_dict()[name]) for name, value in fresh.state_dict().items())


def test_a_parameter_of_two_names_is_stored_once(tmp_path: Path) -> None:
    tied = trial_nets.Tied()
    save_file({"one.weight": tied.one.weight.detach()}, tmp_path / "w.safetensors")
    fresh = trial_nets.Tied()
    factory.load(fresh, tmp_path / "w.safetensors")
    assert torch.equal(fresh.two.weight, tied.one.weight)


def changed(**tensors: torch.Tensor | None) -> dict[str, torch.Tensor]:
    state = {**trial_nets.Net(4).state_dict(), **{name.replace("__", "."): value for name, value in tensors.items()}}
    return {name: value for name, value in state.items() if value is not None}


WEIGHTS: list[tuple[str, Any, str]] = [
    ("w.safetensors", changed(head__bias=None), "1 tensor missing: head.bias"),
    ("w.safetensors", changed(more=torch.zeros(1)), "1 tensor unexpected: more"),
    ("w.safetensors", changed(head__bias=torch.zeros(6)), r"of another shape: head.bias has \(6,\), the module \(5,\)"),
    ("w.pth", b"", "this is a pickle by its name.*safetensors, where it comes from: python -c"),
    ("w.safetensors", b"no header", "this is no safetensors file"),
    ("absent.safetensors", None, "there is no such file"),
]


@pytest.mark.parametrize(("name", "content", "said"), WEIGHTS, ids=[said[:30] for *_, said in WEIGHTS])
def test_what_is_wrong_with_weights_is_named(name: str, content: Any, said: str, tmp_path: Path) -> None:
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    elif content is not None:
        save_file(content, tmp_path / name)
    with pytest.raises(BadInput, match=f"{name}: .*{said}"):
        factory.load(trial_nets.Net(4), tmp_path / name)


def test_an_input_is_read_with_its_type_and_axes() -> None:
    found = parsed(["image:uint8[N, H=64..640, W, 3]", "onnx::x:float32[]", "mask:bool[N,H,W=32..64]"])
    height, width = FreeAxis(name="H", low=64, high=640), FreeAxis(name="W", low=32, high=64)
    assert found[0] == InputSpec(name="image", dtype="uint8", axes=(FreeAxis(name="N"), height, width, 3))
    assert found[1] == InputSpec(name="onnx::x", dtype="float32", axes=())
    assert found[2].axes == (FreeAxis(name="N"), height, width)
    assert largest(bounded(found, {"N": 8})) == {"N": 8, "H": 640, "W": 64}
    assert largest(bounded(found, {})) == {"N": 256, "H": 640, "W": 64}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "the module's inputs are not stated"),
        (["image"], "is not NAME:TYPE"),
        (["image:[3]"], "is not NAME:TYPE"),
        (["x:float32[3"], "is not NAME:TYPE"),
        (["x:real[3]"], "there is no type real. One of uint8"),
        (["x:float16[3]"], "a graph is exported in float32"),
        (["x:float32[0]"], "'0' is no size and no free axis"),
        (["x:float32[h]"], "'h' is no size and no free axis"),
        (["x:float32[3,N]"], "N is the batch, axis 0"),
        (["x:float32[H=9..3]"], "sizes of H go from 1"),
        (["x:float32[N,4]", "x:float32[N,4]"], "two inputs are called x"),
        (["x:float32[H=1..3]", "y:float32[H=1..4]"], "the axis H has two ranges"),
    ],
)
def test_what_is_wrong_with_an_input_is_named(words: list[str], said: str) -> None:
    with pytest.raises(BadUsage, match=said):
        parsed(words)


def test_an_axis_that_nobody_bounds_is_refused_before_anything_is_imported() -> None:
    with pytest.raises(BadUsage, match=r"free axis H is not bounded. Write H=64..640"):
        bounded(parsed(["x:float32[H,3]"]), {})
    with pytest.raises(BadUsage, match="no input has a free axis Q"):
        bounded(parsed(["x:float32[3]"]), {"Q": 4})
    with pytest.raises(BadUsage, match=r"--axis H=9 is not the range 1..8"):
        bounded(parsed(["x:float32[H=1..8]"]), {"H": 9})


@given(low=st.integers(1, 700), extra=st.integers(0, 700), name=st.sampled_from(["N", "H"]))
def test_sizes_that_an_axis_is_traced_and_tried_at_lie_in_its_range(low: int, extra: int, name: str) -> None:
    axis = FreeAxis(name=name, low=1 if name == "N" else low, high=low + extra)
    assert axis.high is not None
    assert axis.low <= axis.traced <= axis.high
    assert axis.traced > 1 or axis.high == 1
    assert axis.tried
    assert all(axis.low <= size <= axis.high for size in axis.tried)
    assert len(set(axis.tried)) == len(axis.tried)


def test_a_graph_that_needs_opset_18_keeps_it() -> None:
    value = onnx.helper.make_tensor_value_info
    ends = [value(name, onnx.TensorProto.FLOAT, [1, 4]) for name in "xy"]
    for op, kept in (("Mish", 18), ("Relu", 17)):
        graph = onnx.helper.make_graph([onnx.helper.make_node(op, ["x"], ["y"], op)], "g", ends[:1], ends[1:])
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
        assert lowered(model).opset_import[0].version == kept


@pytest.mark.parametrize("op", ["ReduceMean", "ReduceMax", "ReduceL2", "Split"])
def test_a_graph_of_opset_17_answers_as_that_of_18(op: str) -> None:
    value = onnx.helper.make_tensor_value_info
    axes = onnx.numpy_helper.from_array(np.array([1]), "axes")
    x = np.random.default_rng(1).normal(size=(2, 6, 3)).astype(np.float32)
    if op == "Split":
        nodes = [onnx.helper.make_node(op, ["x"], ["y", "z"], op, axis=1, num_outputs=2)]
        shapes = {"y": [2, 3, 3], "z": [2, 3, 3]}
    else:
        nodes, shapes = [onnx.helper.make_node(op, ["x", "axes"], ["y"], op, keepdims=0)], {"y": [2, 3]}
    graph = onnx.helper.make_graph(
        nodes, "g", [value("x", onnx.TensorProto.FLOAT, [2, 6, 3])],
        [value(name, onnx.TensorProto.FLOAT, shape) for name, shape in shapes.items()], [axes],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    down = lowered(model)
    assert down.opset_import[0].version == 17
    for want, got in zip(*(
        onnxruntime.InferenceSession(one.SerializeToString()).run(None, {"x": x}) for one in (model, down)
    )):  # fmt: skip
        np.testing.assert_array_equal(got, want)


def test_a_module_becomes_a_bundle_with_one_command(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "my_nets.py").write_text((HERE / "trial_nets.py").read_text())
    save_file(made("make", width=4).state_dict(), "w.safetensors")
    photos(work / "photos")
    command = (
        "export", "my_nets:make", *ONE_WAY, "--arg", "width=4", "--weights", "w.safetensors", "--input",
        "image:float32[N,3,H=16..64,W=16..64]", "--data", "photos", "--mean", "0.485,0.456,0.406", "--std",
        "0.229,0.224,0.225", "--size", "24x32", "--threads", "1", "--variant", "int8", "--out", "m.edge",
    )  # fmt: skip
    assert edge(*command, "--dry-run", "--json") == 0
    assert json.loads(capsys.readouterr().out)["models"]["model"]["samples"] == 6
    assert not Path("m.edge").exists()
    assert edge(*command) == 0
    said = capsys.readouterr()
    assert "the graph answers what the module answers, on " in said.err
    assert "export the model with opset 17" not in said.out
    report = verify("m.edge")
    assert report.passed, report.text()
    with Bundle.open("m.edge") as bundle:
        assert bundle.manifest.preprocessing is not None
        assert bundle.manifest.graphs[0].inputs[0].shape == ("N", 24, 32, 3)
        planned = {graph.int8_planned for graph in bundle.manifest.graphs if graph.variant == "int8"}
        assert planned == {1}  # the second convolution; the first reads normalized pixels, the head has five columns


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("my_nets:make", "--input", "image:float32[N,3,H,16]"), 2, "the size of the free axis H is not bounded"),
        (("my_nets:make", "--input", "image"), 2, "is not NAME:TYPE[AXES]"),
        (("absent:make", "--input", "x:float32[N,3]"), 2, "there is no module absent"),
        (
            ("absent:make", "--input", "x:float32[N,3]", "--weights", "no.safetensors"),
            2,
            "no.safetensors: there is no such",
        ),
        (("absent:make", "--input", "x:float32[N,3]", "--out", "m.onnx"), 2, "does not end in .edge"),
    ],
)
def test_a_mistake_is_one_sentence(
    words: tuple[str, ...], code: int, said: str, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert edge("export", words[0], "--data", "random:2", "--out", "m.edge", *ONE_WAY, *words[1:]) == code
    assert said in capsys.readouterr().err
    assert list(work.glob("*.edge")) == []
