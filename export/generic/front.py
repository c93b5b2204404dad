"""A float network gets a front that takes uint8 pictures: Cast, Transpose, channel order, scale and shift.

Cast comes first, since no operator but Cast may see uint8; Transpose before arithmetic, as ONNX Runtime runs that order
seven times faster (specs/runtimes.md, section 9). Knows graphs; no data and no task.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, shape_inference

from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.calibration import graphs, pool_sizes
from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.export.generic.picture import CHANNELS, PictureOptions
from edge_sdk.shown import shown
from edge_sdk.tensors import Array

LUMA = (0.299, 0.587, 0.114)
"""Of red, green and blue in the grey that a network of one channel sees: ITU-R BT.601, as OpenCV and Pillow weigh."""
_AXES_AS_INPUT = 18
"""From this opset on, ReduceMean takes its axes as an input."""

Layout = Literal["nchw", "nhwc"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fronted:
    """model: takes uint8 (N or 1, height, width, 3), RGB, in `input`; its other inputs are as before.

    preprocessing: how a picture becomes that input. added: whether the graph got a front, and did not have one already.
    """

    model: ModelProto
    input: str
    preprocessing: Preprocessing
    added: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Picture:
    """The input that takes pictures. height, width: px, or the name of a free axis ("": it has none)."""

    name: str
    layout: Layout
    channels: int
    height: int | str
    width: int | str
    uint8: bool


def with_front(model: ModelProto, options: PictureOptions, *, where: str) -> Fronted:
    """A copy of `model` that takes pictures. where: its file, for messages.

    Raises BadInput for a model without such an input, BadUsage for options that don't fit it: no size where it has
    none, another one where it has, three means for one channel, a normalization of what is no float.
    """
    picture = _found(model, options, where=where)
    _check(picture, options, where=where)
    copy = ModelProto()
    copy.CopyFrom(model)
    height, width = _sized(copy, picture, options, where=where)
    if not picture.uint8:
        _add(copy, picture, options, height, width)
    return Fronted(model=copy, input=picture.name, preprocessing=options.record(height, width), added=not picture.uint8)


def _found(model: ModelProto, options: PictureOptions, *, where: str) -> _Picture:
    inside = {tensor.name for tensor in model.graph.initializer}
    inputs = [info for info in model.graph.input if info.name not in inside]
    if options.input:
        inputs = [info for info in inputs if info.name == options.input]
        if not inputs:
            raise BadUsage(f"the graph has no input {shown(options.input)}", where=where)
    found = [one for info in inputs if (one := _as_picture(info)) is not None]
    if len(found) == 1:
        return found[0]
    if found:
        names = " and ".join(shown(one.name) for one in found)
        raise BadUsage(f"the inputs {names} could all be the picture", where=where, hint="Name it with --picture-input")
    shapes = ", ".join(f"{shown(info.name)} {_words(info)}" for info in inputs)
    raise BadInput(
        f"no input takes a picture, only {shapes}", where=where,
        hint="A picture is float32 of (N, 3, H, W), (N, 1, H, W) or (N, H, W, 3), or uint8 of (N, H, W, 3), one row or "
        "a free batch; other inputs are fed by .npz files, without options of preprocessing",
    )  # fmt: skip


def _as_picture(info: ValueInfoProto) -> _Picture | None:
    """What the input is as a picture, None where it is none."""
    kind, dims = info.type.tensor_type.elem_type, _dims(info)
    if len(dims) != 4 or not (isinstance(dims[0], str) or dims[0] == 1):
        return None
    layout: Layout | None = "nchw" if dims[1] in CHANNELS else "nhwc" if dims[3] in CHANNELS else None
    uint8 = kind == TensorProto.UINT8
    if layout is None or kind not in (TensorProto.FLOAT, TensorProto.UINT8) or (uint8 and dims[3] != 3):
        return None
    layout = "nhwc" if uint8 else layout
    channels, height, width = (dims[1], dims[2], dims[3]) if layout == "nchw" else (dims[3], dims[1], dims[2])
    return _Picture(
        name=info.name, layout=layout, channels=int(channels), height=height, width=width, uint8=uint8
    )  # fmt: skip


def _dims(info: ValueInfoProto) -> list[int | str]:
    return [
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else dim.dim_param
        for dim in info.type.tensor_type.shape.dim
    ]


def _words(info: ValueInfoProto) -> str:
    kind = TensorProto.DataType.Name(info.type.tensor_type.elem_type).lower()
    return f"{kind} ({', '.join(str(size) or '?' for size in _dims(info))})"


def _check(picture: _Picture, options: PictureOptions, *, where: str) -> None:
    name = shown(picture.name)
    if picture.uint8 and options != PictureOptions(
        input=options.input, resize=options.resize, fill=options.fill, size=options.size, bit_depth=options.bit_depth
    ):
        raise BadUsage(
            f"the input {name} is uint8: the graph normalizes by itself, so mean, std, range and channel order are its "
            "own", where=where, hint="Leave --mean, --std, --pixel-range and --color out",
        )  # fmt: skip
    if picture.channels == 1:
        if max(len(options.mean), len(options.std)) > 1:
            raise BadUsage(f"the input {name} has one channel, mean or std has three numbers", where=where)
        if options.color != "rgb":
            raise BadUsage(f"the input {name} has one channel, which has no order of colours", where=where)


def _sized(model: ModelProto, picture: _Picture, options: PictureOptions, *, where: str) -> tuple[int, int]:
    """(height, width) of the network's input; free axes get the stated size in `model`."""
    name, have, wanted = shown(picture.name), (picture.height, picture.width), options.size
    for have_one, side in zip(have, wanted or (), strict=False):
        if isinstance(have_one, int) and have_one != side:
            raise BadUsage(
                f"the input {name} has {have[0]} x {have[1]} px (height x width), not {options.size}", where=where,
                hint="Leave --size out, or export the model with free axes",
            )  # fmt: skip
    if all(isinstance(side, int) for side in have):
        return int(have[0]), int(have[1])
    if wanted is None:
        raise BadUsage(
            f"the input {name} has no fixed height and width", where=where,
            hint="State what pictures are resized to: --size 224x224, height x width",
        )  # fmt: skip
    _fix(model, picture, wanted)
    return wanted


def _fix(model: ModelProto, picture: _Picture, size: tuple[int, int]) -> None:
    """Give the picture's free axes a size, in every input; what the graph says of other tensors is inferred anew."""
    named = {
        axis: side for axis, side in zip((picture.height, picture.width), size, strict=True)
        if isinstance(axis, str) and axis
    }  # fmt: skip
    for info in model.graph.input:
        dims = info.type.tensor_type.shape.dim
        for dim in dims:
            if dim.dim_param in named:
                dim.dim_value = named[dim.dim_param]
        if info.name == picture.name:
            first = 2 if picture.layout == "nchw" else 1
            for dim, side in zip(dims[first : first + 2], size, strict=True):
                dim.dim_value = side
    del model.graph.value_info[:]
    stated = [ValueInfoProto.FromString(info.SerializeToString()) for info in model.graph.output]
    for info in model.graph.output:  # a size that followed from the free axes is known now
        for dim in info.type.tensor_type.shape.dim[1:]:
            if not dim.HasField("dim_value"):
                dim.Clear()
    inferred = pool_sizes.inferred(model, data_prop=True)
    for info, before, now in zip(model.graph.output, stated, inferred.graph.output, strict=True):
        info.CopyFrom(before)
        for dim, known in zip(info.type.tensor_type.shape.dim, now.type.tensor_type.shape.dim, strict=False):
            if not dim.HasField("dim_value") and known.HasField("dim_value"):
                dim.dim_value = known.dim_value
            elif dim.dim_param in named:
                dim.Clear()  # it can't be of that size for sure: a free axis without a name


def _add(model: ModelProto, picture: _Picture, options: PictureOptions, height: int, width: int) -> None:
    """Write the front before what reads the picture, and let the graph take uint8."""
    graph = model.graph
    turned = _turned(model, picture)
    made = _Front(model, replace(picture, layout="nchw") if turned else picture, options)
    end = made.nodes_from(picture.name)
    for name in (picture.name, *(node.output[0] for node in turned)):
        for node in graph.node:
            _reads_instead(node, name, end)
    rest = [node for node in graph.node if node not in turned]
    del graph.node[:]
    graph.node.extend([*made.nodes, *rest])
    graph.initializer.extend(made.constants)
    info = next(one for one in graph.input if one.name == picture.name)
    rows = ValueInfoProto.FromString(info.SerializeToString()).type.tensor_type.shape.dim[0]
    info.type.CopyFrom(helper.make_tensor_type_proto(TensorProto.UINT8, [1, height, width, 3]))
    info.type.tensor_type.shape.dim[0].CopyFrom(rows)


def _turned(model: ModelProto, picture: _Picture) -> list[NodeProto]:
    """The nodes that read an NHWC picture where all they do is to turn it to NCHW; the front does that once, before its
    arithmetic. Networks of TensorFlow have one such node."""
    index = graphs.Index.of(model)
    readers = list(index.readers.get(picture.name, ()))
    alike = all(node.op_type == "Transpose" and graphs.ints(node, "perm") == (0, 3, 1, 2) for node in readers)
    kept = any(node.output[0] in index.outputs for node in readers)
    return readers if picture.layout == "nhwc" and alike and not kept else []


class _Front:
    """The nodes and constants of one front, and what the last node makes."""

    def __init__(self, model: ModelProto, picture: _Picture, options: PictureOptions) -> None:
        self._taken = graphs.tensor_names(model) | {node.name for node in model.graph.node}
        self._opset, self._picture, self._options = graphs.opset_of(model), picture, options
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def nodes_from(self, name: str) -> str:
        """Append the whole front; the name of what the network reads."""
        nchw, options = self._picture.layout == "nchw", self._options
        axis = 1 if nchw else 3
        scale, shift = scale_and_shift(options)
        x = self._node("Cast", [name], "float", to=TensorProto.FLOAT)
        if nchw:
            x = self._node("Transpose", [x], "nchw", perm=[0, 3, 1, 2])
        if options.color == "bgr":
            x = self._node("Gather", [x, self._constant("order", np.array([2, 1, 0]))], "bgr", axis=axis)
        if self._picture.channels == 1:  # the mean of three channels that weigh three times their share
            weighed = self._node("Mul", [x, self._vector("luma", 3.0 * np.array(LUMA), axis)], "weighed")
            x = self._mean(weighed, axis)
        if (scale != 1.0).any():
            x = self._node("Mul", [x, self._vector("scale", scale, axis)], "scaled")
        if shift.any():
            x = self._node("Add", [x, self._vector("shift", shift, axis)], "normalized")
        return x

    def _mean(self, x: str, axis: int) -> str:
        if self._opset >= _AXES_AS_INPUT:
            return self._node("ReduceMean", [x, self._constant("axes", np.array([axis]))], "grey", keepdims=1)
        return self._node("ReduceMean", [x], "grey", axes=[axis], keepdims=1)

    def _vector(self, name: str, values: Array, axis: int) -> str:
        """A constant of one value a channel, or one for all, that broadcasts along `axis`."""
        shape = [1, 1, 1, 1]
        shape[axis] = len(values)
        return self._constant(name, values.reshape(shape).astype(np.float32))

    def _constant(self, name: str, values: Array) -> str:
        self.constants.append(graphs.tensor(graphs.fresh(f"picture/{name}", self._taken), values))
        return str(self.constants[-1].name)

    def _node(self, op: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        called = graphs.fresh(f"picture/{name}", self._taken)
        self.nodes.append(helper.make_node(op, list(inputs), [called], called, **attributes))
        return called


def scale_and_shift(options: PictureOptions) -> tuple[Array, Array]:
    """float64 (1,) or (3,): the network sees `scale * pixel + shift`, pixel 0..255; (pixel / 255 - mean) / std for mean
    and std of 0..1."""
    mean, std = np.broadcast_arrays(np.array(options.mean, np.float64), np.array(options.std, np.float64))
    top = 255.0 if options.pixel_range == "0..1" else 1.0
    return 1.0 / (top * std), -mean / std


def _reads_instead(node: NodeProto, old: str, new: str) -> None:
    """Let a node, and what its subgraphs take from outside, read `new` where it read `old`."""
    for place, name in enumerate(node.input):
        if name == old:
            node.input[place] = new
    for inner in graphs.subgraphs(node):
        if not any(old in names for names in _makes(inner)):
            for one in inner.node:
                _reads_instead(one, old, new)
            for output in inner.output:
                output.name = new if output.name == old else output.name


def _makes(graph: GraphProto) -> Iterator[set[str]]:
    """Names that a subgraph makes itself, which hide those outside."""
    yield {one.name for one in graph.input}
    yield {one.name for one in graph.initializer}
    yield {name for node in graph.node for name in node.output}


def checked(model: ModelProto, *, where: str) -> bytes:
    """The bytes of a graph that was changed here. Raises BadInput where ONNX's checker refuses it: a size that does not
    fit the network, mostly."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, shape_inference.InferenceError) as exc:
        raise BadInput(
            f"the graph can't take pictures of this size: {str(exc).splitlines()[0][:200]}", where=where,
            hint="State another --size",
        ) from exc  # fmt: skip
    return bytes(model.SerializeToString())
