"""A graph that others made, written as one of the generation task: noise in, grey levels out. Trains and runs nothing.

The graph itself stays as it is, with the names of its nodes and tensors. In front of it stand the factor on the noise,
constants for inputs that nothing feeds, and a table for classes; behind it the range becomes grey levels, rounded half
up as in `graph`. A constant is one row where the graph spreads that over its batch by itself, so that all it decides
folds away; `rows="each"` repeats it for every picture.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from edge_sdk.calibration import graphs
from edge_sdk.calibration.ops import operator
from edge_sdk.calibration.rewrite.clean import inlined, with_names
from edge_sdk.counted import did_you_mean, listed
from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.export.models.model import UserModel
from edge_sdk.export.onestep.wrapping import Wrapping, constant
from edge_sdk.shown import shown
from edge_sdk.tasks.generation.asked import IMAGE, LABEL, NOISE, VALUES, GenerationSettings
from edge_sdk.tensors import BATCH, Array, TensorSpec

LEVELS = 255.0
LEAST_OPSET = 11
"""From which Clip takes its ends as inputs, as the nodes here do."""
Rows = Literal["one", "each"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Which tensor of a user's graph does what. label: None where it takes no class. answer: of the picture.
    noise_shape: of one picture's noise, with the stated size; of fewer axes than three where the graph has fewer."""

    noise: TensorSpec
    label: TensorSpec | None
    fixed: tuple[tuple[TensorSpec, Array], ...]
    answer: TensorSpec
    noise_shape: tuple[int, ...]

    @property
    def batched(self) -> bool:
        """Whether it draws several pictures in one call."""
        return self.noise.batched

    @property
    def free_sizes(self) -> dict[str, int]:
        """Sizes of the noise's free axes by name, the batch apart."""
        named = zip(self.noise.shape[1:], self.noise_shape, strict=True)
        return {name: size for name, size in named if isinstance(name, str)}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Wrapped:
    """A graph of the generation task. onnx: serialized. kept: nodes that stay float in int8. shape: of a picture:
    height, width, channels. rows: pictures of one call at the most, None = the graph draws one."""

    onnx: bytes
    settings: GenerationSettings
    kept: tuple[str, ...]
    noise_shape: tuple[int, ...]
    shape: tuple[int, int, int]
    rows: int | None


def parts_of(model: UserModel, stated: Wrapping) -> Parts:
    """What the names, types and shapes of the graph's tensors tell. Raises BadUsage for names that it does not have,
    an input of which nothing is stated, a constant that does not fit; BadInput for types and shapes of no generator."""
    if model.facts.opset < LEAST_OPSET:
        raise BadInput(
            f"it has opset {model.facts.opset}; {LEAST_OPSET} is the least that is wrapped", where=model.where,
            hint="Export the model with opset 17, which every target reads",
        )  # fmt: skip
    inputs = {spec.name: spec for spec in model.facts.inputs}
    for option, name in (
        ("--noise", stated.noise),
        ("--label", stated.label),
        *(("--fix", one) for one in stated.fixed),
    ):
        if name:
            _known(name, inputs, option)
    twice = [name for name in (stated.noise, stated.label) if name and name in stated.fixed]
    if twice or (stated.label and stated.label == stated.noise):
        raise BadUsage(f"two things are stated of the input {shown((twice or [stated.label])[0])}", hint="State one")
    left = [name for name in inputs if name not in stated.fixed and name != stated.label]
    name = stated.noise or _only_noise(left, inputs)
    if others := [one for one in left if one != name]:
        spec = inputs[others[0]]
        raise BadUsage(
            f"nothing says what its input {shown(spec.name)} is given, {_type(spec)}", where=model.where,
            hint=f"Fix it with --fix {shown(spec.name)}=VALUE, or name it with --label or --noise",
        )  # fmt: skip
    noise = inputs[name]
    label = inputs[stated.label] if stated.label else None
    if label is not None:
        _check_label(label, stated, model.where)
    fixed = tuple(
        (inputs[one], constant(one, text, inputs[one].dtype, _of_one_row(inputs[one])))
        for one, text in stated.fixed.items()
    )
    return Parts(
        noise=noise, label=label, fixed=fixed, answer=_answer(model, stated),
        noise_shape=_noise_shape(noise, stated, model),
    )  # fmt: skip


def wrapped(
    model: UserModel, stated: Wrapping, parts: Parts, answered: tuple[int, ...], *, most_rows: int, rows: Rows
) -> Wrapped:
    """The graph with its front and its back. answered: shape of the answer to one picture's noise, batch and all.
    most_rows: of one call. Raises BadInput for an answer that is no picture."""
    where = model.where
    last = _channels_last(answered, parts, where)
    writer = _Writer(graphs.parsed(model.onnx), parts, rows)
    noise = writer.noise(stated.scale)
    label = writer.label(stated) if parts.label is not None else LABEL
    writer.constants()
    image = writer.image(stated, last=last)
    values = writer.values(last=last) if stated.values else ""
    _, *sides = answered
    shape = (sides[0], sides[1], sides[2]) if last else (sides[1], sides[2], sides[0])
    settings = GenerationSettings(
        labels=stated.names, noise_input=noise, label_input=label, image_output=image, values_output=values
    )
    made = writer.model(shape, image=image, values=values)
    return Wrapped(
        onnx=graphs.dump(made), settings=settings, kept=kept_float(made, noise),
        noise_shape=writer.noise_shape, shape=shape, rows=most_rows if parts.batched else None,
    )  # fmt: skip


def kept_float(model: ModelProto, noise: str) -> tuple[str, ...]:
    """Products that stay float in int8: the first that read the noise, the last in front of the answer, and all that
    the noise does not reach: embeddings of classes and levels, whose errors would reach every layer and whose share of
    the work is next to nothing."""
    products = {node.name for node in model.graph.node if operator(node).kind == "matrix"}
    before: dict[str, bool] = {noise: False}  # tensors that the noise reaches: whether a product lies before them
    kept: set[str] = set()
    for node in model.graph.node:  # sorted
        reached = [before[name] for name in graphs.reads(node) if name in before]
        if node.op_type == "Shape":
            reached = []  # a shape says nothing of the noise itself
        behind = any(reached)
        if node.name in products and not behind:
            kept.add(node.name)
        if reached:
            before.update(dict.fromkeys(node.output, behind or node.name in products))
    follows: set[str] = set()  # tensors behind which a product lies
    for node in reversed(model.graph.node):
        behind = any(name in follows for name in node.output)
        if node.name in products and not behind:
            kept.add(node.name)
        if behind or node.name in products:
            follows.update(graphs.reads(node))
    return tuple(node.name for node in model.graph.node if node.name in kept)


class _Writer:
    """New nodes before and behind a user's graph. Names of its own tensors stay; new ones are fresh."""

    def __init__(self, model: ModelProto, parts: Parts, rows: Rows) -> None:
        self._model, self._parts, self._rows = with_names(inlined(model)), parts, rows
        self._names = graphs.tensor_names(self._model) | {node.name for node in self._model.graph.node}
        self._front: list[NodeProto] = []
        self._back: list[NodeProto] = []
        self._constants: list[TensorProto] = []
        self._inputs: dict[str, ValueInfoProto] = {}
        self._shape = parts.noise_shape + (1,) * (3 - len(parts.noise_shape))

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Of one picture's noise, three axes."""
        return self._shape

    def noise(self, scale: float) -> str:
        """The input for noise; the graph's own where nothing is done to it."""
        own = self._parts.noise.name
        padded = self._shape != self._parts.noise_shape
        name = own if scale == 1.0 and not padded else self._fresh(NOISE)
        self._input(name, "float32", self._shape)
        x = name
        if padded:
            sizes = self._constant("noise/shape", np.array([0, *self._parts.noise_shape], np.int64))
            x = self._before("Reshape", [x, sizes], own if scale == 1.0 else self._fresh("noise/flat"))
        if scale != 1.0:
            self._before("Mul", [x, self._constant("noise/scale", np.array(scale, np.float32))], own)
        return name

    def label(self, stated: Wrapping) -> str:
        """The input for classes, int64 (N,); a table makes of it what the graph takes."""
        spec = self._parts.label
        assert spec is not None
        plain = spec.dtype == "int64" and len(spec.shape) == 1 and not stated.label_values
        name = spec.name if plain else self._fresh(LABEL)
        self._input(name, "int64", ())
        if not plain:
            rows = self._constant("label/rows", label_rows(spec, stated))
            self._before("Gather", [rows, name], spec.name, axis=0)
        return name

    def constants(self) -> None:
        """Inputs that nothing feeds."""
        for spec, value in self._parts.fixed:
            if not spec.batched:
                self._constants.append(graphs.tensor(spec.name, value))
            elif self._rows == "one":
                self._constants.append(graphs.tensor(spec.name, value[:1]))
            else:
                self._repeated(spec.name, value[:1])

    def image(self, stated: Wrapping, *, last: bool) -> str:
        """The answer in grey levels."""
        x = self._parts.answer.name
        if stated.low is not None and stated.high is not None:
            scale = LEVELS / (stated.high - stated.low)
            plus = -stated.low * scale + 0.5  # Cast truncates, and nothing is negative: half up
            x = self._behind("Mul", [x, self._constant("grey/scale", np.array(scale, np.float32))], "grey/scaled")
            x = self._behind("Add", [x, self._constant("grey/plus", np.array(plus, np.float32))], "grey")
            ends = [self._constant(f"grey/{end:g}", np.array(end, np.float32)) for end in (0.0, LEVELS)]
            x = self._behind("Clip", [x, *ends], "grey/held")
            if not last:
                x = self._behind("Transpose", [x], "grey/turned", perm=[0, 2, 3, 1])
            return self._behind("Cast", [x], IMAGE, to=TensorProto.UINT8)  # last: TensorRT has uint8 outputs alone
        if last:
            return self._behind("Identity", [x], IMAGE)
        return self._behind("Transpose", [x], IMAGE, perm=[0, 2, 3, 1])

    def values(self, *, last: bool) -> str:
        """The answer itself, (N, C, H, W)."""
        if last:
            return self._behind("Transpose", [self._parts.answer.name], VALUES, perm=[0, 3, 1, 2])
        return self._behind("Identity", [self._parts.answer.name], VALUES)

    def model(self, shape: tuple[int, int, int], *, image: str, values: str) -> ModelProto:
        """All of it, sorted, with nothing that only a tool reads."""
        height, width, channels = shape
        outputs = [self._value(image, TensorProto.UINT8, shape)]
        if values:
            outputs.append(self._value(values, TensorProto.FLOAT, (channels, height, width)))
        copy = ModelProto()
        copy.CopyFrom(self._model)
        del copy.graph.output[:]
        copy.graph.output.extend(outputs)
        del copy.graph.value_info[:]  # sizes of the batch and of free axes may be others now
        nodes = _needed([*self._front, *copy.graph.node, *self._back], (image, *([values] if values else [])))
        read = {name for node in nodes for name in graphs.reads(node)}
        stored = [tensor for tensor in (*copy.graph.initializer, *self._constants) if tensor.name in read]
        return graphs.rebuilt(copy, nodes, stored, inputs=list(self._inputs.values()))

    def _repeated(self, name: str, row: Array) -> None:
        """One row for each picture: as many as the noise has."""
        first = next(iter(self._inputs))
        ends = [self._constant(f"rows/{at}", np.array([at], np.int64)) for at in (0, 1)]
        count = self._before("Shape", [first], self._fresh("rows/noise"))
        count = self._before("Slice", [count, *ends], self._fresh("rows/count"))
        rest = self._constant(self._fresh(f"rows/{name}"), np.array(row.shape[1:], np.int64))
        shape = self._before("Concat", [count, rest], self._fresh("rows/shape"), axis=0)
        self._before("Expand", [self._constant(self._fresh(f"row/{name}"), row), shape], name)

    def _input(self, name: str, dtype: str, shape: tuple[int, ...]) -> None:
        element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self._inputs[name] = self._value(name, element, shape)

    def _value(self, name: str, element: int, shape: tuple[int, ...]) -> ValueInfoProto:
        rows: int | str = BATCH if self._parts.batched else 1
        return helper.make_tensor_value_info(name, element, [rows, *shape])

    def _constant(self, name: str, values: Array) -> str:
        if all(one.name != name for one in self._constants):
            name = self._fresh(name)
            self._constants.append(graphs.tensor(name, values))
        return name

    def _before(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self._front.append(helper.make_node(op, inputs, [output], self._node(output), **attributes))
        return output

    def _behind(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        output = self._fresh(output)
        self._back.append(helper.make_node(op, inputs, [output], self._node(output), **attributes))
        return output

    def _node(self, output: str) -> str:
        """A node's name: its output's, unless a node of the graph has that."""
        taken = {node.name for node in (*self._model.graph.node, *self._front, *self._back)}
        return output if output not in taken else graphs.fresh(output, self._names)

    def _fresh(self, name: str) -> str:
        return graphs.fresh(name, self._names)


def label_rows(spec: TensorSpec, stated: Wrapping) -> Array:
    """(classes, ...): what the graph's input is given for each class."""
    count = len(stated.names)
    width = spec.shape[1] if len(spec.shape) == 2 else 1
    if width == count and count > 1 and not stated.label_values:
        return np.eye(count, dtype=spec.dtype)
    values = np.array(stated.label_values or range(count), np.float64).astype(spec.dtype)
    return values.reshape(count, *(1 for _ in spec.shape[1:]))


def _check_label(spec: TensorSpec, stated: Wrapping, where: str) -> None:
    """Raises BadInput for an input that is no class, BadUsage for another number of classes."""
    hint = "A class is one number for each picture, or a row of numbers of which one is 1"
    if spec.dtype not in ("int64", "int32", "float32") or len(spec.shape) not in (1, 2):
        raise BadInput(f"its input {shown(spec.name)} is no class, {_type(spec)}", where=where, hint=hint)
    width = spec.shape[1] if len(spec.shape) == 2 else 1
    if width == 1:
        if spec.dtype != "float32" and any(value != int(value) for value in stated.label_values):
            raise BadUsage(
                f"the input {shown(spec.name)} takes whole numbers, {_type(spec)}", where="--label-values", hint=hint
            )
        return
    if width != len(stated.names) or stated.label_values:
        what = "no --label-values" if stated.label_values else f"not {len(stated.names)}"
        raise BadUsage(
            f"the input {shown(spec.name)} takes a row of {width} classes, {what}", where="--labels",
            hint=f"Name {width} classes, without values",
        )  # fmt: skip


def _known(name: str, inputs: Iterable[str], option: str) -> None:
    names = list(inputs)
    if name not in names:
        raise BadUsage(
            f"the graph has no input {shown(name)[:80]}", where=option,
            hint=f"{did_you_mean(name, names)}Its inputs are {_names(names)}",
        )  # fmt: skip


def _only_noise(left: list[str], inputs: dict[str, TensorSpec]) -> str:
    found = [name for name in left if inputs[name].dtype == "float32" and 2 <= len(inputs[name].shape) <= 4]
    if len(found) != 1:
        raise BadUsage(
            "nothing says which input takes the noise" if left else "no input is left for the noise",
            hint=f"Name it with --noise: {', '.join(f'{shown(one.name)}, {_type(one)}' for one in inputs.values())}"[
                :400
            ],
        )
    return found[0]


def _noise_shape(spec: TensorSpec, stated: Wrapping, model: UserModel) -> tuple[int, ...]:
    """Of one picture's noise, with the size that is stated."""
    if spec.dtype != "float32" or not 2 <= len(spec.shape) <= 4 or spec.shape[0] not in (BATCH, 1):
        raise BadInput(
            f"its input {shown(spec.name)} takes no noise, {_type(spec)}", where=model.where,
            hint="Noise is float32: a batch, or one picture, then channels, height and width",
        )  # fmt: skip
    free = spec.axes[1:] if spec.batched else spec.axes
    if not free and stated.size is not None:
        raise BadUsage("--picture-size is of a graph that leaves its size free", hint="Leave it out")
    if not free:
        return tuple(int(size) for size in spec.shape[1:])
    sides = [at for at, size in enumerate(spec.shape) if at and isinstance(size, str)]
    if len(sides) != 2 or stated.size is None:
        raise BadUsage(
            f"its input {shown(spec.name)} leaves {listed(free, 'and')} free, {_type(spec)}", where=model.where,
            hint="State height and width: --picture-size 128x192" if len(sides) == 2 else "Export it with a fixed size",
        )  # fmt: skip
    found = dict(zip(sides, stated.size, strict=True))
    return tuple(found[at] if at in found else int(size) for at, size in enumerate(spec.shape) if at)


def _answer(model: UserModel, stated: Wrapping) -> TensorSpec:
    outputs = {spec.name: spec for spec in model.facts.outputs}
    if stated.output and stated.output not in outputs:
        raise BadUsage(
            f"the graph has no output {shown(stated.output)[:80]}", where="--output",
            hint=f"{did_you_mean(stated.output, outputs)}Its outputs are {_names(outputs)}",
        )  # fmt: skip
    if not stated.output and len(outputs) > 1:
        raise BadUsage(
            f"the graph has {len(outputs)} outputs, and nothing says which is the picture", where=model.where,
            hint=f"Name it with --output: {_names(outputs)}",
        )  # fmt: skip
    spec = outputs[stated.output] if stated.output else next(iter(outputs.values()))
    if spec.dtype not in ("float32", "uint8") or len(spec.shape) != 4:
        raise BadInput(f"its output {shown(spec.name)} is no picture, {_type(spec)}", where=model.where, hint=_PICTURE)
    if (spec.dtype == "uint8") != (stated.low is None):
        raise BadUsage(
            "the range of its pictures is not stated" if stated.low is None else "uint8 has its range: 0..255",
            where="--range", hint="State black and white: --range -1..1" if stated.low is None else "Leave it out",
        )  # fmt: skip
    if spec.dtype == "uint8" and stated.values:
        raise BadUsage("--values keeps what grey levels round, and the answer is uint8 already", hint="Leave it out")
    return spec


_PICTURE = "A picture is float32 or uint8: a batch, then 1 or 3 channels before or behind height and width"


def _channels_last(answered: tuple[int, ...], parts: Parts, where: str) -> bool:
    """Whether the answer is (N, H, W, C). Raises BadInput for no picture of 1 or 3 channels."""
    if len(answered) == 4 and answered[1] in (1, 3):
        return False
    if len(answered) == 4 and answered[3] in (1, 3):
        return True
    raise BadInput(f"its output {shown(parts.answer.name)} is no picture, {list(answered)}", where=where, hint=_PICTURE)


def _of_one_row(spec: TensorSpec) -> tuple[int | str, ...]:
    """The shape of a constant: one row of a batch."""
    return (1, *spec.shape[1:]) if spec.batched else spec.shape


def _names(names: Iterable[str]) -> str:
    return listed(map(shown, list(names)[:20]), "and")


def _type(spec: TensorSpec) -> str:
    return f"{spec.dtype}[{', '.join(map(str, spec.shape))}]"


def _needed(nodes: list[NodeProto], outputs: tuple[str, ...]) -> list[NodeProto]:
    """Those that `outputs` depend on, in their order."""
    wanted, found = set(outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            found.append(node)
            wanted.update(graphs.reads(node))
    return found[::-1]
