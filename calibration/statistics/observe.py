"""What passes through a graph: range, count and histogram of its tensors, sample by sample. Knows no quantization."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, helper

from edge_sdk.calibration import graphs
from edge_sdk.calibration.statistics import magnitudes
from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.extras import need, vendor_errors
from edge_sdk.progress import Progress, silent
from edge_sdk.tensors import Array

Feeds = Mapping[str, Array]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TensorStatistics:
    """Statistics of one tensor over all samples.

    low, high: smallest and largest value, infinite where one is; 0 if no sample held any value. count: how many
    values. histogram: of |x|, as `magnitudes.counts`; None if it was not asked for.
    means, squares, channel_tops: per channel, float64 (C,) mean and mean square, float32 (C,) largest magnitude; empty
    if not asked for. All values finite and, but for means, at least 0.
    """

    tensor: str
    low: float
    high: float
    count: int
    samples: int
    histogram: NDArray[np.int64] | None = None
    means: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    squares: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    channel_tops: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    @property
    def bounded(self) -> bool:
        """Whether a scale can hold it: at least one value was seen, and none was infinite."""
        return self.count > 0 and bool(np.isfinite(self.low) and np.isfinite(self.high))


class Observer:
    """Statistics of one tensor while samples pass: fixed memory, however many there are.

    channel_axis: the axis along which its channels lie, None = nothing per channel is wanted. sizes: whether squares
    and channel_tops are wanted besides means.
    """

    def __init__(
        self, tensor: str, *, histogram: bool = False, channel_axis: int | None = None, sizes: bool = False
    ) -> None:
        self._tensor, self._axis, self._sizes = tensor, channel_axis, sizes
        self._low, self._high, self._count, self._samples = np.inf, -np.inf, 0, 0
        self._bins: NDArray[np.int64] | None = np.zeros(magnitudes.BINS, np.int64) if histogram else None
        self._sums: NDArray[np.float64] = np.zeros(0)
        self._squares: NDArray[np.float64] = np.zeros(0)
        self._tops: NDArray[np.float32] = np.zeros(0, np.float32)
        self._positions = 0

    def add(self, values: Array) -> None:
        """Take one sample's values: none (a sample without detections), or -inf among them (a mask). BadInput for NaN
        and +inf: no mask is that, a sum that overflows is."""
        self._samples += 1
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())  # NaN comes through
        if np.isnan(low) or not np.isfinite(high):
            bad = int(np.count_nonzero(~np.isfinite(values)))
            raise BadInput(
                f"tensor {self._tensor} holds {bad} values that are NaN or infinite, at sample {self._samples - 1}",
                hint="Look at that sample and at the model's weights: calibration needs finite numbers",
            )
        self._low, self._high = min(self._low, low), max(self._high, high)
        self._count += values.size
        if not np.isfinite(low):
            return  # no scale can hold it: histogram and means are of no use
        if self._axis is not None:
            self._add_channels(values, self._axis % values.ndim)
        if self._bins is not None:
            self._bins = self._bins + magnitudes.counts(values)

    def _add_channels(self, values: Array, axis: int) -> None:
        others = tuple(i for i in range(values.ndim) if i != axis)
        sums = values.sum(axis=others, dtype=np.float64)
        self._sums = self._sums + sums if self._sums.size else sums
        self._positions += values.size // values.shape[axis]
        if self._sizes:
            tops = np.maximum(values.max(axis=others), -values.min(axis=others)).astype(np.float32)
            squares = _squares(values, tops, axis, others)
            self._squares = self._squares + squares if self._squares.size else squares
            self._tops = np.maximum(self._tops, tops) if self._tops.size else tops

    def result(self) -> TensorStatistics:
        positions = max(self._positions, 1)
        return TensorStatistics(
            tensor=self._tensor,
            low=self._low if self._count else 0.0,
            high=self._high if self._count else 0.0,
            count=self._count,
            samples=self._samples,
            histogram=self._bins,
            means=self._sums / positions,
            squares=self._squares / positions,
            channel_tops=self._tops,
        )


def _squares(values: Array, tops: NDArray[np.float32], axis: int, others: tuple[int, ...]) -> NDArray[np.float64]:
    """Sums of squares by channel, float64 (C,). tops: the channels' largest magnitudes."""
    # Squared as shares of the channel's largest value: float32 holds no square of 1e20 or of 1e-23. Not in float64: 1 %
    # would do, and a float64 copy of a large tensor is not worth it.
    by = np.where(tops > 0.0, tops, np.float32(1.0))
    shares = values / np.expand_dims(by, others)
    return np.asarray(np.square(shares, out=shares).sum(axis=others, dtype=np.float64) * by.astype(np.float64) ** 2)


def observe(
    model: ModelProto,
    samples: Iterable[Feeds],
    tensors: Sequence[str],
    *,
    histogram: bool = False,
    channel_axes: Mapping[str, int] = MappingProxyType({}),
    sizes: bool = False,
    optimised: bool = True,
    threads: int | None = None,
    progress: Progress = silent,
    total: int = 0,
    keep: Spread | None = None,
) -> dict[str, TensorStatistics]:
    """Run every sample once and observe `tensors` (any float tensors of the graph, by name).

    histogram: of all of them. channel_axes: of those whose channels are wanted one by one, the axis of these; sizes:
    whether squares and channel_tops of them are wanted besides means.
    optimised: ONNX Runtime's graph optimisation; False is the standard to the letter, and slower. total: how many
    samples there are, 0 = not known. keep: is shown every sample. BadInput: no samples, a sample that does not fit,
    values that are NaN or infinite.
    """
    observers = {
        name: Observer(name, histogram=histogram, channel_axis=channel_axes.get(name), sizes=sizes) for name in tensors
    }
    session = Reader(model, tuple(tensors), optimised=optimised, threads=threads)
    done = 0
    for sample in samples:
        _add(session.run(sample, where=f"sample {done}"), observers)
        if keep is not None:
            keep.add(sample)
        done += 1
        progress(done, total, "calibration samples")
    if done == 0:
        raise BadInput("there are no calibration samples", hint="Give at least one, better some hundred")
    return {name: observer.result() for name, observer in observers.items()}


def _add(answers: Mapping[str, Array], observers: Mapping[str, Observer]) -> None:
    # A function of its own, so that no name holds an array when the next sample runs: one that is left makes ONNX
    # Runtime's arena grow by a power of two (49 tensors at 512 x 512: peak 1.08 GB instead of 0.82).
    for name, values in answers.items():
        observers[name].add(values)


class Spread:
    """Keeps a few of the samples that pass, evenly spread, in fixed memory: callers give one kind after the other.

    wanted: how many. total: how many will pass, 0 = not known.
    """

    def __init__(self, wanted: int, total: int = 0) -> None:
        self._wanted, self._total, self._seen, self._stride = wanted, total, 0, 1
        self._kept: dict[int, Feeds] = {}

    def add(self, sample: Feeds) -> None:
        number, self._seen = self._seen, self._seen + 1
        if number % self._stride == 0 and (not self._total or number in self._positions(self._total)):
            self._kept[number] = sample
        if len(self._kept) > 2 * self._wanted and not self._total:  # every other one goes
            self._stride *= 2
            self._kept = {n: kept for n, kept in self._kept.items() if n % self._stride == 0}

    @property
    def passed(self) -> int:
        """How many samples were shown."""
        return self._seen

    def samples(self) -> list[Feeds]:
        """At most `wanted` of them, in their order; exact positions where `total` was right."""
        if not self._kept:
            return []
        nearest = {min(self._kept, key=lambda n: (abs(n - at), n)) for at in self._positions(self._seen)}
        return [self._kept[n] for n in sorted(nearest)]

    def _positions(self, total: int) -> set[int]:
        return {(2 * k + 1) * total // (2 * self._wanted) for k in range(self._wanted)}


class Reader:
    """One graph in ONNX Runtime on the CPU, read at any of its tensors."""

    def __init__(
        self,
        model: ModelProto,
        tensors: tuple[str, ...],
        *,
        optimised: bool = True,
        threads: int | None = None,
    ) -> None:
        ort = need("onnxruntime", extra="quantize")
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads or 0
        level = ort.GraphOptimizationLevel
        # Not ENABLE_ALL: its blocked layout (NCHWc) holds each observed tensor twice, and saves no time where each is
        # brought back (49 tensors at 512 x 512, onnxruntime 1.32: peak 0.84 against 1.77 GB, CPU 3.6 against 4.1 s).
        options.graph_optimization_level = level.ORT_ENABLE_EXTENDED if optimised else level.ORT_DISABLE_ALL
        hint = "Calibration runs the model in onnxruntime: export it again so that it loads there"
        with vendor_errors("onnxruntime", where="calibration", hint=hint):
            graph = graphs.dump(_with_outputs(model, tensors))
            self._session: Any = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._tensors = list(tensors)
        self._inputs = {i.name: (i.type, i.shape) for i in self._session.get_inputs()}

    @classmethod
    def of_outputs(cls, model: ModelProto, *, optimised: bool = False, threads: int | None = None) -> Reader:
        """Read the graph's own outputs, by the letter of the standard unless `optimised`."""
        outputs = tuple(o.name for o in model.graph.output)
        return cls(model, outputs, optimised=optimised, threads=threads)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of what a sample must hold."""
        return tuple(self._inputs)

    def run(self, feeds: Feeds, *, where: str = "") -> dict[str, Array]:
        """The tensors' values for one sample. BadInput names the feed that does not fit."""
        missing, unknown = self._inputs.keys() - feeds.keys(), feeds.keys() - self._inputs.keys()
        if missing or unknown:
            raise BadInput(f"the graph takes {sorted(self._inputs)}, the sample has {sorted(feeds)}", where=where)
        for name, array in feeds.items():
            if not isinstance(array, np.ndarray):
                raise BadInput(f"input {name} is a {type(array).__name__}, not an array", where=where)
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise BadInput(f"input {name} holds NaN or infinity", where=where, hint="Look at that sample")
        if not self._tensors:  # nothing to observe; ONNX Runtime refuses a run without outputs
            return {}
        with vendor_errors("onnxruntime", where=where):
            return dict(zip(self._tensors, self._session.run(self._tensors, dict(feeds)), strict=True))


def extremes(model: ModelProto, tensors: Sequence[str]) -> tuple[ModelProto, tuple[Feeds, ...]]:
    """The part of the graph that makes `tensors` of its pictures, with the darkest and the brightest of those.

    tensors: made of uint8 inputs and constants alone (`ops.picture_tensors`).
    """
    part = graphs.cut(model, tensors)
    feeds: list[dict[str, Array]] = [{}, {}]
    for info in part.graph.input:
        shape = tuple(d.dim_value or 1 for d in info.type.tensor_type.shape.dim)
        for feed, value in zip(feeds, (0, 255), strict=True):
            feed[info.name] = np.full(shape, value, np.uint8)
    return part, tuple(feeds)


def again(samples: Iterable[Feeds]) -> Iterable[Feeds]:
    """`samples`, if they can be read more than once. BadUsage for a generator: it is empty the second time."""
    if iter(samples) is samples:
        raise BadUsage(
            "the calibration samples can be read only once",
            hint="Pass a list, or an object whose __iter__ starts anew each time",
        )
    return samples


def _with_outputs(model: ModelProto, tensors: Sequence[str]) -> ModelProto:
    index = graphs.Index.of(model)
    copy = ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    known = {v.name: v for v in (*model.graph.output, *model.graph.value_info, *model.graph.input)}
    for name in tensors:
        if name not in index.producer and name not in index.inputs:
            raise BadUsage(f"the graph has no tensor {name}")
        info = known.get(name)
        copy.graph.output.append(info if info is not None else helper.make_empty_tensor_value_info(name))
    return copy
