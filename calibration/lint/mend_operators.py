"""Menders of single operators: standard forms of a vendor's operators, and exact rewrites of what a runtime misreads.

Each takes a draft whose nodes have names of their own, and the names of those that break its rule. Knows no samples.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
from onnx import NodeProto, TensorProto, helper

from edge_sdk.calibration import graphs
from edge_sdk.calibration.lint.draft import Draft
from edge_sdk.calibration.ops import LOWEST, operator
from edge_sdk.calibration.rewrite.clean import resizes_by_scale
from edge_sdk.runtimes.operators import DEQUANTIZE, PAIR, QUANTIZE, traits

_Form = Callable[[Draft, NodeProto], "list[NodeProto] | None"]
_GELU_SINCE = 20
_SCALAR_SINCE = 13  # Q and DQ per channel


def standard_forms(draft: Draft, found: Collection[str]) -> None:
    """Operators of com.microsoft in operators of the standard, where one says the same."""
    _rewrite(draft, found, _FORMS)


def quantized_operators(draft: Draft, found: Collection[str]) -> None:
    """QLinearConv and QLinearMatMul as Q/DQ around Conv and MatMul, which is how the standard defines them."""
    _rewrite(draft, found, {"QLinearConv": _qlinear_conv, "QLinearMatMul": _qlinear_matmul})


def _rewrite(draft: Draft, found: Collection[str], forms: Mapping[str, _Form]) -> None:
    places: dict[str, Sequence[NodeProto]] = {}
    for node in draft.nodes:
        form = forms.get(node.op_type) if node.name in found else None
        made = form(draft, node) if form is not None else None
        if made is not None:
            places[node.name] = made
            draft.say(node.name, f"{node.op_type} is {', '.join(dict.fromkeys(n.op_type for n in made))}")
    draft.edit(places)


def _gelu(draft: Draft, node: NodeProto) -> list[NodeProto]:
    return _gelu_of(draft, node.input[0], node.output[0])


def _gelu_of(draft: Draft, x: str, y: str) -> list[NodeProto]:
    if graphs.opset_of(draft.model) >= _GELU_SINCE:
        return [draft.node("Gelu", [x], y)]
    root, one, half = (
        draft.store(f"{y}_{key}", np.float32(v)) for key, v in (("root", 2**0.5), ("one", 1), ("half", 0.5))
    )
    ratio, erf, outer, product = (draft.tensor(f"{y}_{part}") for part in ("ratio", "erf", "outer", "product"))
    return [
        draft.node("Div", [x, root], ratio), draft.node("Erf", [ratio], erf), draft.node("Add", [erf, one], outer),
        draft.node("Mul", [x, outer], product), draft.node("Mul", [product, half], y),
    ]  # fmt: skip


def _bias_gelu(draft: Draft, node: NodeProto) -> list[NodeProto]:
    biased = draft.tensor(f"{node.output[0]}_biased")
    return [draft.node("Add", node.input, biased), *_gelu_of(draft, biased, node.output[0])]


def _quick_gelu(draft: Draft, node: NodeProto) -> list[NodeProto]:
    x, y = node.input[0], node.output[0]
    alpha = draft.store(f"{y}_alpha", np.float32(graphs.number(node, "alpha", 1.702)))
    scaled, gate = draft.tensor(f"{y}_scaled"), draft.tensor(f"{y}_gate")
    return [
        draft.node("Mul", [x, alpha], scaled), draft.node("Sigmoid", [scaled], gate), draft.node("Mul", [x, gate], y),
    ]  # fmt: skip


def _fast_gelu(draft: Draft, node: NodeProto) -> list[NodeProto]:
    """0.5 x (1 + tanh(x (0.7978845608 + 0.0356774081 x^2))), after the bias if there is one."""
    y, before = node.output[0], []
    x = node.input[0]
    if len(node.input) > 1 and node.input[1]:
        x = draft.tensor(f"{y}_biased")
        before = [draft.node("Add", node.input, x)]
    a, b, one, half = (
        draft.store(f"{y}_{key}", np.float32(value))
        for key, value in (("a", 0.7978845608028654), ("b", 0.035677408136300125), ("one", 1), ("half", 0.5))
    )
    square, inner, sum_, product, tanh, outer, cut = (draft.tensor(f"{y}_{k}") for k in range(7))
    return [
        *before, draft.node("Mul", [x, x], square), draft.node("Mul", [square, b], inner),
        draft.node("Add", [inner, a], sum_), draft.node("Mul", [x, sum_], product), draft.node("Tanh", [product], tanh),
        draft.node("Add", [tanh, one], outer), draft.node("Mul", [x, half], cut), draft.node("Mul", [cut, outer], y),
    ]  # fmt: skip


def _fused_matmul(draft: Draft, node: NodeProto) -> list[NodeProto] | None:
    made, names = [], list(node.input[:2])
    if any(graphs.integer(node, key, 0) for key in ("transBatchA", "transBatchB")):
        return None
    for i, key in enumerate(("transA", "transB")):
        if graphs.integer(node, key, 0):
            rank = len(draft.index.shapes.get(names[i], ())) or draft.index.constants.get(names[i], np.zeros(())).ndim
            if rank < 2:
                return None
            turned = draft.tensor(f"{names[i]}_turned")
            made.append(draft.node("Transpose", [names[i]], turned, perm=[*range(rank - 2), rank - 1, rank - 2]))
            names[i] = turned
    alpha, y = graphs.number(node, "alpha", 1.0), node.output[0]
    product = y if alpha == 1.0 else draft.tensor(f"{y}_product")
    made.append(draft.node("MatMul", names, product))
    if alpha != 1.0:
        made.append(draft.node("Mul", [product, draft.store(f"{y}_alpha", np.float32(alpha))], y))
    return made


def _fused_conv(draft: Draft, node: NodeProto) -> list[NodeProto] | None:
    """Conv, the sum with a fourth input, and the activation, in that order."""
    kind, y = graphs.text(node, "activation", ""), node.output[0]
    numbers = [float(v) for v in graphs.attribute(node, "activation_params", []) or []]  # type: ignore[attr-defined]
    steps: list[tuple[str, list[str], dict[str, float]]] = []
    if len(node.input) > 3 and node.input[3]:
        steps.append(("Add", [node.input[3]], {}))
    if kind == "Clip" and len(numbers) == 2:
        steps.append(("Clip", [draft.store(f"{y}_bound", np.float32(v)) for v in numbers], {}))
    elif kind == "LeakyRelu" and len(numbers) == 1:
        steps.append((kind, [], {"alpha": numbers[0]}))
    elif kind and not numbers and traits(kind).kind == "activation":
        steps.append((kind, [], {}))
    elif kind:
        return None
    name = draft.tensor(f"{y}_conv") if steps else y
    conv = draft.node("Conv", [n for n in node.input[:3] if n], name)
    conv.attribute.extend(a for a in node.attribute if not a.name.startswith("activation"))
    made = [conv]
    for i, (op, more, attributes) in enumerate(steps):
        end = y if i == len(steps) - 1 else draft.tensor(f"{y}_{op}")
        made.append(draft.node(op, [made[-1].output[0], *more], end, **attributes))
    return made


def _qlinear(op: str, inputs: int) -> _Form:
    """QLinear* of com.microsoft: tensor, scale and zero point of each input, then those of the output."""

    def form(draft: Draft, node: NodeProto) -> list[NodeProto]:
        y = node.output[0]
        real = [draft.tensor(f"{node.input[3 * i]}_real") for i in range(inputs)]
        made = [draft.node(DEQUANTIZE, list(node.input[3 * i : 3 * i + 3]), real[i]) for i in range(inputs)]
        middle = draft.node(op, real, draft.tensor(f"{y}_real"))
        middle.attribute.extend(node.attribute)
        return [*made, middle, draft.node(QUANTIZE, [middle.output[0], *node.input[3 * inputs :]], y)]

    return form


def _standard_pair(draft: Draft, node: NodeProto) -> list[NodeProto] | None:
    kind = draft.index.types.get(node.input[2], 0) if len(node.input) > 2 else 0
    if kind not in (TensorProto.INT8, TensorProto.UINT8):
        return None
    made = draft.node(node.op_type, node.input, node.output[0])
    made.attribute.extend(node.attribute)
    return [made]


def _qlinear_conv(draft: Draft, node: NodeProto) -> list[NodeProto] | None:
    x, w, y = list(node.input[:3]), list(node.input[3:6]), node.output[0]
    step, steps = (draft.index.constants.get(name) for name in (x[1], w[1]))
    weight = draft.tensor(f"{w[0]}_real")
    made = [draft.node(DEQUANTIZE, x, draft.tensor(f"{x[0]}_real")), draft.node(DEQUANTIZE, w, weight)]
    if steps is None or step is None or graphs.opset_of(draft.model) < _SCALAR_SINCE:
        return None
    if steps.size > 1:
        made[1].attribute.append(helper.make_attribute("axis", 0))
    names = [made[0].output[0], weight]
    if len(node.input) > 8 and node.input[8]:
        bias = draft.index.constants.get(node.input[8])
        if bias is None:
            return None
        real = bias.astype(np.float64) * step.astype(np.float64).reshape(()) * steps.astype(np.float64).reshape(-1)
        names.append(draft.store(f"{node.input[8]}_float", real.astype(np.float32)))
    middle = draft.node("Conv", names, draft.tensor(f"{y}_real"))
    middle.attribute.extend(node.attribute)
    return [*made, middle, draft.node(QUANTIZE, [middle.output[0], *node.input[6:8]], y)]


def _qlinear_matmul(draft: Draft, node: NodeProto) -> list[NodeProto] | None:
    steps = draft.index.constants.get(node.input[4])
    if steps is None or graphs.opset_of(draft.model) < _SCALAR_SINCE:
        return None
    made = _qlinear("MatMul", 2)(draft, node)
    if made is not None and steps.size > 1:
        made[1].attribute.append(helper.make_attribute("axis", 1))
    return made


_FORMS: dict[str, _Form] = {
    "Gelu": _gelu, "BiasGelu": _bias_gelu, "QuickGelu": _quick_gelu, "FastGelu": _fast_gelu,
    "FusedMatMul": _fused_matmul, "FusedConv": _fused_conv, "QLinearAdd": _qlinear("Add", 2),
    "QLinearMul": _qlinear("Mul", 2), "QLinearSigmoid": _qlinear("Sigmoid", 1),
    "QLinearLeakyRelu": _qlinear("LeakyRelu", 1), **dict.fromkeys(PAIR, _standard_pair),
}  # fmt: skip
REWRITTEN = frozenset(_FORMS)
"""Operators of com.microsoft that `standard_forms` writes in those of the standard."""


def cast_first(draft: Draft, found: Collection[str]) -> None:
    """What only moves a uint8 tensor, and is read by Cast to float alone, changes places with that Cast."""
    index = draft.index
    places: dict[str, Sequence[NodeProto]] = {}
    for node in index.model.graph.node:
        if node.name not in found or operator(node).kind != "copy" or operator(node).moves_all or len(node.output) != 1:
            continue
        cast = index.only_reader(node.output[0])
        if cast is None or cast.op_type != "Cast" or cast.name in places:
            continue
        early = draft.tensor(f"{node.input[0]}_cast")
        first, second = NodeProto(), NodeProto()
        first.CopyFrom(cast)
        second.CopyFrom(node)
        first.input[0], first.output[0] = node.input[0], early
        second.input[0], second.output[0] = early, cast.output[0]
        places |= {node.name: (first, second), cast.name: ()}
        draft.say(node.name, f"{cast.name} comes first")
    draft.edit(places)


def spread_bias(draft: Draft, found: Collection[str]) -> None:
    """The bias behind a product has two axes, [1, N], with which ONNX Runtime leaves MatMul and Add apart."""
    index = draft.index
    for node in index.model.graph.node:
        sum_ = index.only_reader(node.output[0]) if node.name in found else None
        for at, name in enumerate(sum_.input if sum_ is not None else ()):
            bias = index.constants.get(name)
            if sum_ is not None and bias is not None and bias.ndim == 1:
                sum_.input[at] = draft.store(f"{name}_row", bias.reshape(1, -1))
                draft.say(node.name, f"its bias has the shape [1, {bias.size}]")
    draft.drop_unread()


def kept_in_float(draft: Draft, found: Collection[str]) -> None:
    """A Max with the lowest float, which changes nothing, stands behind an operator whose weights shall stay float."""
    places: dict[str, Sequence[NodeProto]] = {}
    for node in draft.nodes:
        if node.name in found:
            target, lowest = node.output[0], draft.store("lowest_float", LOWEST)
            node.output[0] = draft.tensor(f"{target}_float")
            places[node.name] = (node, draft.node("Max", [node.output[0], lowest], target))
            draft.say(node.name, "a Max behind it keeps its weights float")
    draft.edit(places)


def plain_cubic(draft: Draft, found: Collection[str]) -> None:
    """exclude_outside 0: at the border the edge is repeated."""
    if draft.exact:
        return
    for node in draft.nodes:
        if node.name in found:
            for item in [a for a in node.attribute if a.name == "exclude_outside"]:
                node.attribute.remove(item)
            draft.say(node.name, "exclude_outside is 0", exact=False)
    draft.changed()


def scaled_resize(draft: Draft, found: Collection[str]) -> None:
    """Scales in the place of sizes, where they mean the same."""
    nodes = [node for node in draft.nodes if node.name in found]
    for tensor in resizes_by_scale(nodes, draft.index):
        draft.model.graph.initializer.append(tensor)
    for node in nodes:
        if len(node.input) == 3:
            draft.say(node.name, "scales in the place of sizes")
    draft.changed()
