"""Which operators of a float32 graph half numbers hold, and why the others stay float32. Decides; writes nothing.

By the values of constants, by the ranges of the calibration samples, and by how far a division may reach. Nothing is
run: a CPU computes half graphs in float32 and hides what overflows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto, TensorProto

from edge_sdk.calibration import ops
from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.ops import operator
from edge_sdk.calibration.statistics.observe import TensorStatistics
from edge_sdk.tensors import Array

LARGEST_HALF = 65504.0
HEADROOM = 8.0
"""Samples do not show the largest value that a device will see."""
SMALLEST_NORMAL = 2.0**-14
"""Below it half numbers lose digits, and below 2^-24 everything: 1e-12 is zero."""
SMALLEST_TOP = 2.0**-10
"""A tensor whose largest value is smaller has too few digits in half."""
MOST_LOST = 2.0**-9
"""Of the norm of a weight, by rounding to half: normal numbers lose 2^-12 of it."""
_LIMIT = LARGEST_HALF / HEADROOM


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfNodes:
    """names: nodes that compute in half. lost: node -> why its values don't fit half numbers, for those that could
    compute in half otherwise."""

    names: frozenset[str]
    lost: Mapping[str, str]


def half_nodes(index: Index, seen: Mapping[str, TensorStatistics], keep_fp32: frozenset[str]) -> HalfNodes:
    """Of a clean graph. seen: ranges of float tensors on the calibration samples; a tensor that was not seen counts as
    safe, but for what divisions by a small number make."""
    steep = _steep(index)
    pictures = ops.picture_tensors(index)
    names, lost = set(), {}
    for node in index.model.graph.node:
        if node.name in keep_fp32 or not _could(node, index, pictures):
            continue
        reason = _reason(node, index, seen, steep)
        if reason:
            lost[node.name] = reason
        else:
            names.add(node.name)
    return HalfNodes(names=frozenset(names), lost=lost)


def notes(found: HalfNodes) -> list[str]:
    """A sentence on each operator that stays float32 because of values."""
    return [f"fp16: {name} stays in float32: {reason}" for name, reason in found.lost.items()]


def real(name: str, index: Index) -> bool:
    """Whether a tensor is float32."""
    constant = index.constants.get(name)
    if constant is not None:
        return bool(constant.dtype == np.float32)
    return index.types.get(name) == TensorProto.FLOAT


def _could(node: NodeProto, index: Index, pictures: frozenset[str]) -> bool:
    """Whether a node computes in half wherever its values fit."""
    if not operator(node).half or any(index.captured(name) for name in node.output):  # a subgraph reads it as float32
        return False
    return not any(name in pictures for name in node.output) and any(real(name, index) for name in node.output)


def _reason(
    node: NodeProto, index: Index, seen: Mapping[str, TensorStatistics], steep: Mapping[str, tuple[float, float]]
) -> str:
    if operator(node).kind == "product" and len(set(node.input)) == 1:
        return "a square, which takes twice the exponents"
    for name in (*node.input, *node.output):
        if not name or not real(name, index):
            continue
        constant = index.constants.get(name)
        if constant is not None:
            reason = _weight(name, constant) if operator(node).kind == "matrix" else _number(name, constant)
        elif name in steep:
            reach, floor = steep[name]
            reason = f"{name} may reach {reach:.3g}, as it is divided by no more than {floor:.3g} at worst"
        else:
            reason = _tensor(name, seen.get(name))
        if reason:
            return reason
    return ""


def _weight(name: str, constant: Array) -> str:
    """Why half numbers don't hold a weight or a bias; "" if they do. Among many summands a tiny one may get lost."""
    top = float(np.abs(constant).max(initial=0.0))
    if not top <= _LIMIT:
        return f"its constant {name} reaches {top:.3g}"
    wanted = constant.astype(np.float64)
    lost = float(np.linalg.norm(wanted - constant.astype(np.float16)))
    if lost > MOST_LOST * float(np.linalg.norm(wanted)):
        return f"its constant {name}, of {top:.3g} at most, would lose {lost / np.linalg.norm(wanted):.1%}"
    return ""


def _number(name: str, constant: Array) -> str:
    """The same for a constant each of whose values counts: an epsilon that keeps a division from zero, a mask."""
    sizes = np.abs(constant[constant != 0])
    if not sizes.size:
        return ""
    if not float(sizes.max()) <= _LIMIT:
        return f"its constant {name} reaches {float(sizes.max()):.3g}"
    if float(sizes.min()) < SMALLEST_NORMAL:
        return f"its constant {name} holds {float(sizes.min()):.3g}, below the normal half numbers"
    return ""


def _tensor(name: str, seen: TensorStatistics | None) -> str:
    if seen is None or not seen.count:
        return ""
    top = max(-seen.low, seen.high)
    if not top <= _LIMIT:
        return f"{name} reaches {top:.3g} on the samples"
    if 0.0 < top < SMALLEST_TOP:
        return f"{name} is {top:.3g} at most on the samples, too small for digits in half"
    return ""


def _steep(index: Index) -> dict[str, tuple[float, float]]:
    """Tensor -> how far it may reach beyond half numbers, and the smallest divisor: constants divided by what only an
    epsilon keeps from zero, and copies of that. Samples may never show it: a constant row of a LayerNorm does."""
    found: dict[str, tuple[float, float]] = {}
    for node in index.model.graph.node:
        if operator(node).kind == "copy" and not operator(node).moves_all and node.input[0] in found:
            found |= dict.fromkeys(node.output, found[node.input[0]])
            continue
        divisor = operator(node).divisor
        above = _numerator(node, index)
        floor = None if above is None or divisor is None else _floor(node.input[divisor], index)
        if above is not None and floor and above / floor > _LIMIT:
            found[node.output[0]] = (above / floor, floor)
    return found


def _numerator(node: NodeProto, index: Index) -> float | None:
    """The largest constant that a node divides; None if it divides none."""
    divisor = operator(node).divisor
    if divisor == 0:
        return 1.0
    constant = None if divisor is None else index.constants.get(node.input[0])
    return None if constant is None or not constant.size else float(np.abs(constant).max())


def _floor(tensor: str, index: Index) -> float | None:
    """The smallest value that a tensor of no negative values may have, by the epsilon in it; None if not known."""
    maker = index.producer.get(tensor)
    if maker is None:
        return None
    if operator(maker).root:
        inner = _floor(maker.input[0], index)
        return None if inner is None else float(np.sqrt(inner))
    names = {"any": maker.input[:], "second": maker.input[1:2], "": []}[operator(maker).floor]
    constants = [index.constants[name] for name in names if name in index.constants]
    smallest = [float(one.min()) for one in constants if one.size and one.dtype.kind == "f"]
    return smallest[0] if smallest and smallest[0] > 0 else None
