"""Equalises channels before quantization: factors that make int8 activations and weights err least together.

One scale holds all channels of an activation, and a channel of a hundredth of the largest keeps one step of it. A
factor per channel moves that into the weights, which have scales of their own. Knows statistics and weights, no plan.

Outputs of Softmax and GELU take no factor per channel: a scale of its own for small values and for large ones ("twin
quantization") would be two Q/DQ branches and a selection, which no runtime fuses. It has no portable form.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.rewrite.rescale import Fold, folds
from edge_sdk.calibration.statistics.observe import TensorStatistics
from edge_sdk.calibration.statistics.weights import by_output, inputs_of
from edge_sdk.runtimes.variants import TOP
from edge_sdk.tensors import Array

ALPHAS = (0.25, 0.5, 0.65)
"""How much of the difference between channels goes from the activations to the weights. No more: with all channels of
one size a value beyond those of calibration is cut in each of them, and weights of 64 steps lose what was won."""
SPREAD = 64.0
"""A channel that calibration saw small may be larger elsewhere: it gets no more than this above the largest one."""
GAIN = 0.9
"""A fold is worth it where the expected squared error of its readers falls to this share or less."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Equalisation:
    """factors: (fold.size,), > 0. alpha: of ALPHAS. before, after: `error` without and with the factors."""

    fold: Fold
    factors: NDArray[np.float64]
    alpha: float
    before: float
    after: float


def equalisations(
    model: ModelProto,
    statistics: Mapping[str, TensorStatistics],
    operators: Collection[str],
    *,
    untouched: Collection[str] = (),
    weight_limit: int = TOP,
) -> list[Equalisation]:
    """Factors for each group of tensors whose channels differ so much that int8 gains by it; none where none do.

    operators, untouched: of `rescale.folds`. statistics: with squares and channel_tops of the tensors that `operators`
    read; tensors without are left alone.
    """
    index = Index.of(model)
    found = []
    for fold in folds(model, operators, untouched=untouched):
        readers = _readers(fold, index, statistics)
        if not readers:
            continue
        before = error(readers, np.ones(fold.size), weight_limit)
        tried = {alpha: factors(readers, fold.size, alpha) for alpha in ALPHAS}
        errors = {alpha: error(readers, by, weight_limit) for alpha, by in tried.items()}
        best = min(errors, key=lambda alpha: errors[alpha])
        if errors[best] <= before * GAIN:
            found.append(
                Equalisation(fold=fold, factors=tried[best], alpha=best, before=before, after=errors[best])
            )  # fmt: skip
    return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reader:
    """An int8 operator. values: its weight (O, I / group, taps) float64. channels: (O, I / group), which channel of the
    data each multiplies. factors: (I,), which factor each channel takes. tops, squares: (I,) of the data."""

    values: NDArray[np.float64]
    channels: NDArray[np.intp]
    factors: NDArray[np.intp]
    tops: NDArray[np.float64]
    squares: NDArray[np.float64]


def factors(readers: Sequence[Reader], size: int, alpha: float) -> NDArray[np.float64]:
    """tops ** alpha / weights ** (1 - alpha) for each factor (size,), with a geometric mean of 1 (SmoothQuant, eq. 4).

    tops: relative to the largest of the tensor, geometric mean over tensors. weights: of each channel the largest,
    relative to the largest of its output channel, which has a scale of its own.
    """
    logs, counts, largest = np.zeros(size), np.zeros(size), np.zeros(size)
    for one in readers:
        np.add.at(logs, one.factors, np.log(np.maximum(one.tops / one.tops.max(), 1.0 / SPREAD)))
        np.add.at(counts, one.factors, 1.0)
        sizes = np.abs(one.values).max(axis=2)
        row = np.maximum(sizes.max(axis=1, keepdims=True), np.finfo(np.float64).tiny)
        np.maximum.at(largest, one.factors[one.channels], sizes / row)
    read = counts > 0.0
    found = alpha * logs / np.maximum(counts, 1.0) - (1.0 - alpha) * np.log(np.maximum(largest, 1.0 / SPREAD))
    found = np.where(read, found, found[read].mean())
    return np.asarray(np.exp(found - found.mean()), np.float64)


def error(readers: Sequence[Reader], factors: NDArray[np.float64], limit: int) -> float:
    """Expected share of the squared output of the readers that int8 adds, mean over output channels.

    factors: (size,). Roundings are taken as independent, a step squared by 12 each, channels as uncorrelated.
    """
    shares = [np.zeros(0)]
    for one in readers:
        by = factors[one.factors]
        step = float((one.tops / by).max()) / TOP
        rounded = np.minimum((step * by) ** 2 / 12.0, one.squares)  # what vanishes loses itself alone
        scale = by[one.channels][..., None]
        scaled = one.values * scale
        steps = np.abs(scaled).max(axis=(1, 2), keepdims=True) / limit
        lost = np.minimum(steps**2 / 12.0, scaled**2) / scale**2
        power = (one.values**2).sum(axis=2)
        added = (power * rounded[one.channels] + lost.sum(axis=2) * one.squares[one.channels]).sum(axis=1)
        signal = (power * one.squares[one.channels]).sum(axis=1)
        shares.append(added[signal > 0.0] / signal[signal > 0.0])
    found = np.concatenate(shares)
    return float(found.mean()) if found.size else 0.0


def _readers(fold: Fold, index: Index, statistics: Mapping[str, TensorStatistics]) -> list[Reader]:
    """Those whose data was seen."""
    nodes = {node.name: node for node in index.model.graph.node}
    found = []
    for edit in fold.readers:
        node = nodes[edit.node]
        seen, given = statistics.get(node.input[0]), fold.read[node.input[0]]
        if seen is None or not seen.bounded or len(seen.channel_tops) != len(given) or not seen.channel_tops.any():
            continue
        stored: Array = index.constants[node.input[1]]
        values = by_output(node, stored.astype(np.float64))
        where = by_output(node, np.broadcast_to(inputs_of(node, stored.shape), stored.shape))
        shape = values.shape[:2]
        found.append(
            Reader(
                values=values.reshape(*shape, -1), channels=where.reshape(*shape, -1)[..., 0], factors=given,
                tops=seen.channel_tops.astype(np.float64), squares=seen.squares,
            )
        )  # fmt: skip
    return found
