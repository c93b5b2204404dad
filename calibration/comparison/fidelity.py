"""Is the int8 graph still the float graph? Differences on calibration samples, and where they begin. Knows no plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto

from edge_sdk.calibration.bound.accuracy import LARGEST_ERROR
from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.ops import DEQUANTIZE
from edge_sdk.calibration.statistics.observe import Feeds, Reader
from edge_sdk.tensors import Array

_SAME = 1e-3


def error(wanted: Sequence[Array], got: Sequence[Array]) -> float | None:
    """Difference of one output over samples; None where it can't be compared.

    Floats: relative L2 difference, the larger of that over all samples and the median of the samples' own. One sample
    of large values would hide all others in the first. Samples whose wanted values are all zero have none of their own.
    Other types, such as class indices and masks: the mean share of values that differ (see `is_share`), because their
    distance means nothing; of uint8 and uint16, which may be pictures (see `is_picture`), the relative difference where
    that is less, of what is left of the values without their mean: labels may all be large.

    Where a sample's shapes differ, the shape depends on the values (NonZero, detections): a value that comes or goes
    moves all others, so that no position can be compared, on no sample.
    """
    if any(w.shape != g.shape for w, g in zip(wanted, got, strict=True)):
        return None
    pairs = [(w, g) for w, g in zip(wanted, got, strict=True) if w.size]
    if is_share(wanted):
        share = float(np.mean([np.mean(w != g) for w, g in pairs])) if pairs else None
        return min(share, _apart(pairs)) if share and is_picture(wanted) else share
    return _of_energies([_energies(w, g) for w, g in pairs])


def is_share(arrays: Sequence[Array]) -> bool:
    """Whether `error` of an output is the share of values that differ: it holds integers, booleans or strings."""
    return any(array.dtype.kind != "f" for array in arrays)


def is_picture(arrays: Sequence[Array]) -> bool:
    """Whether an output may be a picture, of which a step of one is nothing: unsigned bytes or words."""
    return all(array.dtype in (np.uint8, np.uint16) for array in arrays)


def _apart(pairs: Sequence[tuple[Array, Array]]) -> float:
    """Relative L2 difference of the values less the mean of the wanted ones; infinite where those are all the same."""
    mean = np.concatenate([w.ravel() for w, _ in pairs]).mean()
    if all((w == mean).all() for w, _ in pairs):
        return float("inf")
    return relative([w - mean for w, _ in pairs], [g - mean for _, g in pairs])


def relative(wanted: Sequence[Array], got: Sequence[Array]) -> float:
    """Relative L2 difference over all samples; the plain L2 difference where everything wanted is zero.

    Infinite values must be the same ones: they count as no difference then, else as an infinite one.
    """
    return _relative([_energies(w, g) for w, g in zip(wanted, got, strict=True)])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Energy:
    """Squared L2 norms of one difference and of what was wanted, over the finite values; see `relative`. blank: whether
    all that was wanted is zero."""

    gap: float
    norm: float
    blank: bool


def _energies(wanted: Array, got: Array) -> _Energy:
    blank = bool(not wanted.any())
    none = _Energy(gap=float("inf"), norm=0.0, blank=blank)
    if wanted.shape != got.shape:
        return none
    w, g = wanted.astype(np.float64), got.astype(np.float64)
    odd = ~np.isfinite(w)
    if odd.any():
        if not np.array_equal(w[odd], g[odd], equal_nan=True):
            return none
        w, g = w[~odd], g[~odd]
    if not np.isfinite(g).all():
        return none
    return _Energy(gap=float(np.sum((w - g) ** 2)), norm=float(np.sum(w**2)), blank=blank)


def _relative(energies: Sequence[_Energy]) -> float:
    gap, norm = sum(one.gap for one in energies), sum(one.norm for one in energies)
    return float(np.sqrt(gap / norm)) if norm > 0.0 else float(np.sqrt(gap))


def _of_energies(energies: Sequence[_Energy]) -> float | None:
    """`error` of floats, by sample."""
    own = [_relative([one]) for one in energies if not one.blank]
    return max(_relative(energies), float(np.median(own))) if own else None


def outputs(model: ModelProto, samples: Iterable[Feeds], threads: int | None) -> list[dict[str, Array]]:
    """What a graph answers by the letter of the standard, a sample at a time."""
    reader = Reader.of_outputs(model, threads=threads)
    return [reader.run(feeds, where=f"compared sample {number}") for number, feeds in enumerate(samples)]


def errors(
    wanted: Sequence[Mapping[str, Array]], got: Sequence[Mapping[str, Array]]
) -> tuple[dict[str, float], dict[str, str]]:
    """By output: `error`, or else why there is none."""
    found, missing = {}, {}
    for name in wanted[0] if wanted else ():
        ours, theirs = [w[name] for w in wanted], [g[name] for g in got]
        difference = error(ours, theirs)
        if difference is None:
            missing[name] = _not_compared(ours, theirs)
        else:
            found[name] = difference
    return found, missing


def _not_compared(wanted: Sequence[Array], got: Sequence[Array]) -> str:
    """Why `error` is None."""
    if any(w.shape != g.shape for w, g in zip(wanted, got, strict=True)):
        return "its shape depends on the values, and differs from the float graph's"
    return f"the float graph's is {'zero' if any(w.size for w in wanted) else 'empty'} on every compared sample"


def same_answers(left: ModelProto, right: ModelProto, sample: Feeds, threads: int | None) -> bool:
    """Whether two float graphs give the same outputs on one sample, floats up to the rounding of float32.

    Of integers as many may differ as int8 may change: a class turns where two scores are a rounding apart.
    """
    a, b = (outputs(model, [sample], threads)[0] for model in (left, right))
    return all(_same(a[name], b[name]) for name in a)


def repeats(model: ModelProto, sample: Feeds, threads: int | None) -> bool:
    """Whether a graph answers one sample twice alike. In one session: ONNX Runtime 1.32 gives each session one seed."""
    first, second = outputs(model, [sample, sample], threads)
    return all(_same(first[name], second[name]) for name in first)


def _same(wanted: Array, got: Array) -> bool:
    if wanted.shape != got.shape:
        return False
    if is_share([wanted]):
        return (error([wanted], [got]) or 0.0) <= LARGEST_ERROR
    return relative([wanted], [got]) <= _SAME


def first_bad_layer(model: ModelProto, quantized: ModelProto, samples: Sequence[Feeds], threads: int | None) -> str:
    """The first node of the float graph whose output is off by more than LARGEST_ERROR in the quantized graph."""
    real, made = Index.of(model), Index.of(quantized)
    there = {}  # tensor of the float graph -> what stands for it in the quantized one
    for node in made.model.graph.node:
        source = made.producer.get(node.input[0]) if node.op_type == DEQUANTIZE else None
        if source is not None and source.input[0] in real.producer:
            there[source.input[0]] = node.output[0]
    for name in real.producer:
        if name not in there and name in made.producer and real.types.get(name) == 1:
            there[name] = name
    names = [name for node in model.graph.node for name in node.output if name in there]
    ours, theirs = (
        Reader(model, tuple(names), optimised=False, threads=threads),
        Reader(quantized, tuple(there[name] for name in names), optimised=False, threads=threads),
    )
    energies: dict[str, list[_Energy]] = {name: [] for name in names}
    for feeds in samples:  # one at a time: all layers of all samples would not fit
        wanted, got = ours.run(feeds), theirs.run(feeds)
        for name in names:
            if wanted[name].dtype.kind == "f":
                energies[name].append(_energies(wanted[name], got[there[name]]))
    bad = (name for name in names if (_of_energies(energies[name]) or 0.0) > LARGEST_ERROR)
    return next((real.producer[name].name for name in bad), "")
