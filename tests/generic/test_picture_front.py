"""The front of a float network: the same answers from uint8 pictures as from normalized floats, in every layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from float_nets import SIDE, classifier
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edge_sdk.errors import BadInput, BadUsage, EdgeError
from edge_sdk.export.generic.front import LUMA, checked, scale_and_shift, with_front
from edge_sdk.export.generic.picture import PictureOptions, fields_of_file, stated

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def run(model: bytes, feeds: dict[str, np.ndarray]) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, feeds)[0])


def normalized(pixels: np.ndarray, options: PictureOptions, *, channels: int = 3) -> np.ndarray:
    """What the network was trained to see, NHWC float64: the definition, step by step."""
    values = pixels.astype(np.float64) / (255.0 if options.pixel_range == "0..1" else 1.0)
    if options.color == "bgr":
        values = values[..., ::-1]
    if channels == 1:
        values = (values @ np.array(LUMA))[..., None]
    return np.asarray((values - np.array(options.mean)) / np.array(options.std))


PIXELS = np.random.default_rng(1).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.mark.parametrize("opset", [11, 17, 18])
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        (("N", 3, SIDE, SIDE), PictureOptions(**IMAGENET)),
        (("N", 3, SIDE, SIDE), PictureOptions(**IMAGENET, color="bgr")),
        (("N", 3, SIDE, SIDE), PictureOptions(mean=(103.5, 116.3, 123.7), pixel_range="0..255", color="bgr")),
        (("N", 3, "H", "W"), PictureOptions(**IMAGENET, size=(SIDE, SIDE))),
        (("N", 1, SIDE, SIDE), PictureOptions(mean=(0.5,), std=(0.25,))),
    ],
)
def test_pixels_through_the_front_are_answered_as_normalized_floats(
    shape: tuple[int | str, ...], options: PictureOptions, opset: int
) -> None:
    model = classifier(shape, opset=opset)
    made = with_front(model, options, where="m.onnx")
    wanted = normalized(PIXELS, options, channels=int(shape[1])).transpose(0, 3, 1, 2).astype(np.float32)
    got = run(checked(made.model, where="m.onnx"), {"image": PIXELS})
    np.testing.assert_allclose(got, run(model.SerializeToString(), {"image": wanted}), rtol=1e-4, atol=1e-4)
    assert made.added
    assert (made.preprocessing.height, made.preprocessing.width) == (SIDE, SIDE)
    first = [node.op_type for node in made.model.graph.node][:2]
    assert first == ["Cast", "Transpose"]  # no operator but Cast may see uint8 (specs/runtimes.md, L38)


def test_grey_is_the_grey_of_opencv_but_for_its_rounding() -> None:
    grey = PIXELS.astype(np.float64) @ np.array(LUMA)
    np.testing.assert_allclose(grey[0], cv2.cvtColor(PIXELS[0], cv2.COLOR_RGB2GRAY), atol=0.51)


@pytest.mark.parametrize("turned", [True, False])
def test_a_network_that_takes_nhwc_keeps_one_transpose_at_most(turned: bool) -> None:
    """Networks of TensorFlow begin with a Transpose to NCHW, which becomes that of the front."""
    perm = [0, 3, 1, 2]
    first = [helper.make_node("Transpose", ["image"], ["x"], "turn", perm=perm)]
    if not turned:  # the picture is also read as it is
        first = [
            helper.make_node("Mul", ["image", "image"], ["square"], "square"),
            helper.make_node("Transpose", ["square"], ["x"], "turn", perm=perm),
        ]
    model = classifier(("N", SIDE, SIDE, 3), first=first, reads="x")
    options = PictureOptions(**IMAGENET)
    made = with_front(model, options, where="m.onnx").model
    assert [node.op_type for node in made.graph.node].count("Transpose") == 1
    got = run(checked(made, where="m.onnx"), {"image": PIXELS})
    floats = normalized(PIXELS, options).astype(np.float32)
    np.testing.assert_allclose(got, run(model.SerializeToString(), {"image": floats}), rtol=1e-4, atol=1e-4)


def test_a_branch_that_reads_the_picture_from_outside_reads_what_the_front_makes() -> None:
    branches = []
    for name, op in (("then", "Relu"), ("else", "Neg")):
        inner = helper.make_node(op, ["image"], [f"{name}_out"], f"{name}_node")
        output = helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, None)
        branches.append(helper.make_graph([inner], name, [], [output]))
    chosen = helper.make_node("If", ["yes"], ["x"], "if", then_branch=branches[0], else_branch=branches[1])
    yes = helper.make_node("Constant", [], ["yes"], "yes", value=onnx.numpy_helper.from_array(np.array(True)))
    model = classifier(first=[yes, chosen], reads="x")
    options = PictureOptions(**IMAGENET)
    got = run(checked(with_front(model, options, where="m").model, where="m"), {"image": PIXELS})
    floats = normalized(PIXELS, options).transpose(0, 3, 1, 2).astype(np.float32)
    np.testing.assert_allclose(got, run(model.SerializeToString(), {"image": floats}), rtol=1e-4, atol=1e-4)


def test_other_inputs_stay_as_they_are_and_names_that_are_taken_are_not_taken_twice() -> None:
    model = classifier()
    model.graph.input.append(helper.make_tensor_value_info("picture/float", TensorProto.FLOAT, ["N", 5]))
    model.graph.node.append(helper.make_node("Add", ["logits", "picture/float"], ["sum"], "picture/nchw"))
    model.graph.output.append(helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["N", 5]))
    made = with_front(model, PictureOptions(**IMAGENET), where="m").model
    checked(made, where="m")
    assert [one.name for one in made.graph.input] == ["image", "picture/float"]
    names = [name for node in made.graph.node for name in (node.name,)]
    assert len(set(names)) == len(names)


numbers = st.floats(-4, 4).map(lambda value: round(value, 4))


@given(
    pixel=st.integers(0, 255), mean=numbers, std=st.floats(0.01, 8).map(lambda value: round(value, 4)),
    pixel_range=st.sampled_from(["0..1", "0..255"]),
)  # fmt: skip
def test_scale_and_shift_are_the_normalization(pixel: int, mean: float, std: float, pixel_range: Any) -> None:
    options = PictureOptions(mean=(mean,), std=(std,), pixel_range=pixel_range)
    scale, shift = scale_and_shift(options)
    wanted = (pixel / (255 if pixel_range == "0..1" else 1) - mean) / std
    assert float(scale[0] * pixel + shift[0]) == pytest.approx(wanted, rel=1e-9, abs=1e-9)


def two_pictures() -> onnx.ModelProto:
    model = classifier()
    model.graph.input.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, ["N", 3, 8, 8]))
    return model


def uint8() -> onnx.ModelProto:
    cast = helper.make_node("Cast", ["image"], ["float"], "cast", to=TensorProto.FLOAT)
    turn = helper.make_node("Transpose", ["float"], ["x"], "turn", perm=[0, 3, 1, 2])
    model = classifier(("N", SIDE, SIDE, 3), first=[cast, turn], reads="x")
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    return model


REFUSED: list[tuple[onnx.ModelProto, dict[str, Any], type[EdgeError], str]] = [
    (classifier(("N", 3, "H", "W")), {}, BadUsage, "has no fixed height and width. State .*--size 224x224"),
    (classifier(), {"size": (8, 8)}, BadUsage, "has 16 x 16 px .height x width., not"),
    (classifier(("N", 1, SIDE, SIDE)), IMAGENET, BadUsage, "has one channel, mean or std has three numbers"),
    (classifier(("N", 1, SIDE, SIDE)), {"color": "bgr"}, BadUsage, "has one channel, which has no order"),
    (classifier((8, 3, SIDE, SIDE)), {}, BadInput, r"no input takes a picture, only image float \(8, 3, 16, 16\)"),
    (two_pictures(), {}, BadUsage, "the inputs image and other could all be the picture. Name it with --picture-input"),
    (two_pictures(), {"input": "absent"}, BadUsage, "the graph has no input absent"),
    (uint8(), IMAGENET, BadUsage, "the input image is uint8: the graph normalizes by itself"),
]  # fmt: skip


@pytest.mark.parametrize(("model", "fields", "kind", "said"), REFUSED, ids=[said[:30] for *_, said in REFUSED])
def test_what_does_not_fit_the_network_is_named(
    model: onnx.ModelProto, fields: dict[str, Any], kind: type[EdgeError], said: str
) -> None:
    with pytest.raises(kind, match=f"^m.onnx: .*{said}"):
        with_front(model, PictureOptions(**fields), where="m.onnx")


def test_a_graph_that_takes_uint8_already_keeps_its_nodes() -> None:
    made = with_front(uint8(), PictureOptions(resize="letterbox", fill=114), where="m")
    assert not made.added
    assert made.model.graph.node == uint8().graph.node
    assert (made.preprocessing.mode, made.preprocessing.fill) == ("letterbox", 114)


def test_one_of_two_inputs_that_could_be_a_picture_is_named() -> None:
    assert with_front(two_pictures(), PictureOptions(input="other"), where="m").input == "other"


FILES: list[tuple[str, type[EdgeError], str]] = [
    ('{"mean": [0.5], "sdt": [1]}', BadUsage, "unknown field `sdt`.*The fields are input, mean, std"),
    ('{"mean": "0.5"}', BadUsage, "mean 0.5: a number, or three"),
    ('{"std": [0]}', BadUsage, r"std is above 0, not \[0.0\]"),
    ('{"mean": [1, 2]}', BadUsage, "mean is one finite number or three"),
    ('{"fill": 256}', BadUsage, "fill is edge or a grey level from 0 to 255"),
    ('{"size": [0, 5]}', BadUsage, "size is height and width from 1 to 16384 px"),
    ('{"resize": "crop"}', BadUsage, "resize crop: stretch, letterbox or longest-side"),
    ('{"bit_depth": 9}', BadUsage, "bit_depth"),
    ("[1]", BadInput, "this is no JSON object"),
    ("mean: 0.5", BadInput, "this is no JSON object"),
    ("\xff\xfe", BadInput, "this is no JSON object"),
    (" " * 70_000, BadInput, "at most 65536 are read"),
]


@pytest.mark.parametrize(("text", "kind", "said"), FILES, ids=[text[:20] for text, *_ in FILES])
def test_what_is_wrong_with_a_file_of_preprocessing_is_named(
    text: str, kind: type[EdgeError], said: str, tmp_path: Path
) -> None:
    file = tmp_path / "p.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(kind, match=f"(?s)p.json: .*{said}"):
        fields_of_file(file)


def test_a_file_states_what_options_state(tmp_path: Path) -> None:
    wanted = PictureOptions(**IMAGENET, color="bgr", resize="letterbox", fill=114, size=(480, 640))
    (tmp_path / "p.json").write_text(
        json.dumps({**IMAGENET, "color": "bgr", "resize": "letterbox", "fill": 114, "size": [480, 640]})
    )
    assert stated(fields_of_file(tmp_path / "p.json"), where="p") == wanted
