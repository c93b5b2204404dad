"""A torch module becomes an ONNX graph, proven to answer what the module answers. Knows no data, no bundle, no task."""

from __future__ import annotations

import inspect
import itertools
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from io import StringIO
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edge_sdk.bundle.manifest import Tolerance
from edge_sdk.errors import BadInput, CheckFailed, EdgeError
from edge_sdk.export.models.drawn import drawn
from edge_sdk.export.models.factory import at_line
from edge_sdk.export.models.input_spec import FreeAxis, InputSpec, free_axes, largest
from edge_sdk.export.models.lower import lowered
from edge_sdk.export.models.model import UserModel, checked_model
from edge_sdk.export.models.traced import cast_first, without_traces
from edge_sdk.extras import first_sentence
from edge_sdk.runtimes import registry
from edge_sdk.runtimes.protocol import CompileOptions, Session
from edge_sdk.shown import shown
from edge_sdk.tensors import BATCH, Array

OPSET = 18
"""The least that torch's exporter (2.6 to 2.13) writes; `lowered` goes further where it can."""
ROUNDING = Tolerance(absolute=1e-5, relative=1e-4)
"""What two orders of the same float32 sums may differ by; relative to the largest value of an output."""
MAX_DIFFERENT = 1e-3
"""Share of an integer output's values that may differ: those that rounding decides, as between two equal maxima."""
CASES = 12
"""Inputs that an export is tried on, at the most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How the graph compares with its module on seeded inputs. worst: by output, the largest absolute difference and
    the same relative to its largest value; of integers the share of values that differ. cases: how many inputs.

    left_out: sizes at which the module itself raises, in words.
    """

    worst: Mapping[str, tuple[float, float]]
    cases: int
    left_out: tuple[str, ...] = ()

    def line(self) -> str:
        """For a person."""
        name, (apart, relative) = max(self.worst.items(), key=lambda one: one[1][1])
        text = (
            f"the graph answers what the module answers, on {self.cases} seeded inputs: {name} is off by {apart:.1e} "
        )
        text += f"at most, {relative:.1e} of its largest value"
        return text + (f"; the module itself does not run at {', '.join(self.left_out)}" if self.left_out else "")


def exported(
    module: nn.Module, inputs: Sequence[InputSpec], *, where: str, seed: int = 0, threads: int | None = None
) -> tuple[UserModel, Parity]:
    """The graph of `module`, in evaluation mode and float32, and how far it is from the module.

    inputs: in the order in which `forward` takes them, or by the names of its arguments; free axes bounded. The graph
    has their names; outputs have the keys of a dict, the names of a named tuple, or "output", "output_1". where: what
    the module is called in messages. Raises BadInput: torch can't export it, a kind of output that is not a tensor;
    CheckFailed: the graph answers otherwise than the module, beyond rounding.
    """
    module = module.float()  # int8 needs a float32 graph, and fp16 is a variant of one
    ordered = _as_forward_takes(module, inputs)
    answered = _answers(module, ordered, _arrays(ordered, _traced(ordered), seed), where)
    model = cast_first(lowered(_graph(module, ordered, tuple(answered), where)))
    without_traces(model, ordered)
    user = checked_model(model, model.SerializeToString(), where=where)
    return user, _parity(module, user, ordered, seed=seed, threads=threads)


def _as_forward_takes(module: nn.Module, inputs: Sequence[InputSpec]) -> tuple[InputSpec, ...]:
    """The inputs in the order of forward's arguments, where each is called as one of them; else as they are given."""
    with suppress(ValueError, TypeError):
        names = list(inspect.signature(module.forward).parameters)
        if {one.name for one in inputs} <= set(names):
            return tuple(sorted(inputs, key=lambda one: names.index(one.name)))
    return tuple(inputs)


def _traced(inputs: Sequence[InputSpec]) -> dict[str, int]:
    return {axis.name: axis.traced for axis in free_axes(inputs)}


def _arrays(inputs: Sequence[InputSpec], sizes: Mapping[str, int], seed: int) -> dict[str, Array]:
    rng = np.random.default_rng([seed, *sizes.values()])
    return {one.name: drawn(one.dtype, one.shape(sizes), rng) for one in inputs}


def _answers(
    module: nn.Module, inputs: Sequence[InputSpec], feeds: Mapping[str, Array], where: str
) -> dict[str, Array]:
    """What the module answers, by name of the output. Raises BadInput where it raises."""
    try:
        with torch.no_grad():
            got = module(*(torch.from_numpy(np.ascontiguousarray(feeds[one.name])) for one in inputs))
    except Exception as exc:
        shapes = ", ".join(f"{one.name} {one.dtype}{list(feeds[one.name].shape)}" for one in inputs)
        what = f"the module raises for {shapes}: {type(exc).__name__}: {first_sentence(exc)}{at_line(exc)}"
        raise BadInput(what, where=where, hint="State the inputs that it takes with --input") from exc
    found = {name: value for name, value in _named(got, where).items() if value is not None}
    if not found:
        raise BadInput("the module answers nothing", where=where, hint="Let it return tensors")
    for name, value in found.items():
        if not isinstance(value, Tensor):
            raise BadInput(
                f"the module's output {name} is a {type(value).__name__}, not a tensor", where=where,
                hint="Let the factory return a module that answers tensors: one, a tuple or a dict of them",
            )  # fmt: skip
    return {name: value.numpy() for name, value in found.items()}


def _named(got: Any, where: str) -> dict[str, Any]:
    if isinstance(got, Mapping):
        return {str(name): value for name, value in got.items()}
    if isinstance(got, (tuple, list)):
        fields = getattr(got, "_fields", None) or [
            f"output_{place}" if place else "output" for place in range(len(got))
        ]
        return dict(zip(fields, got, strict=True))
    return {"output": got}


def _graph(module: nn.Module, inputs: Sequence[InputSpec], outputs: Sequence[str], where: str) -> Any:
    axes = {
        axis.name: torch.export.Dim(axis.name, min=axis.low, max=axis.high) for axis in free_axes(inputs)
    }  # fmt: skip
    shapes = tuple(
        {place: axes[axis.name] for place, axis in enumerate(one.axes) if isinstance(axis, FreeAxis)} for one in inputs
    )
    feeds = _arrays(inputs, _traced(inputs), 0)
    example = tuple(torch.from_numpy(feeds[one.name]) for one in inputs)
    try:
        with torch.no_grad(), _quiet():
            program = torch.onnx.export(
                module, example, None, dynamo=True, opset_version=OPSET, input_names=[one.name for one in inputs],
                output_names=list(outputs), dynamic_shapes=shapes, verbose=False, optimize=True,
            )  # fmt: skip
            assert program is not None
            return program.model_proto
    except Exception as exc:
        cause: BaseException = exc
        while cause.__cause__ is not None:  # the exporter's own advice comes first, what is wrong last
            cause = cause.__cause__
        said = next(iter(str(cause).splitlines()), type(cause).__name__).rstrip(" .:")
        raise BadInput(
            f"torch can't export it: {said}{at_line(cause)}", where=where,
            hint="Branches and loops on values of a tensor have no graph: write them with torch.where or torch.cond. A "
            "free axis that the code fixes or divides is stated as a number in --input, or with a range it takes",
        ) from exc  # fmt: skip


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says of packages that it does not find, and of its own insides."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # torch sets the levels of its own loggers, so that the root's does not count
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield  # it prints whole graphs where it fails
    finally:
        logging.disable(before)


def _parity(
    module: nn.Module, model: UserModel, inputs: Sequence[InputSpec], *, seed: int, threads: int | None
) -> Parity:
    """Both on seeded inputs of several sizes, the graph by the letter of ONNX. Raises CheckFailed."""
    options = CompileOptions(reference=True, graph_name="the export", threads=threads, axes=largest(inputs))
    session = registry.runtime("onnxruntime").compile(model.onnx, options)
    worst: dict[str, tuple[float, float]] = {}
    left_out, cases = list[str](), 0
    try:
        for sizes in _sizes(inputs):
            feeds, words = _arrays(inputs, sizes, seed), " ".join(f"{name}={size}" for name, size in sizes.items())
            try:
                want = _answers(module, inputs, feeds, model.where)
            except BadInput:
                if not cases:
                    raise
                left_out.append(words)
                continue
            cases += 1
            for name, found in _compared(session, feeds, want, words, model.where).items():
                worst[name] = max(worst.get(name, (0.0, 0.0)), found, key=lambda one: one[1])
    finally:
        session.close()
    return Parity(worst=worst, cases=cases, left_out=tuple(left_out))


def _sizes(inputs: Sequence[InputSpec]) -> list[dict[str, int]]:
    """Sizes of the free axes: as traced first, then each axis at every size that it is tried at, each with every
    batch."""
    axes = free_axes(inputs)
    traced = _traced(inputs)
    batches = next((axis.tried for axis in axes if axis.name == BATCH), ())
    others = [traced]
    for axis in axes:
        others += [traced | {axis.name: size} for size in axis.tried if axis.name != BATCH]
    cases = itertools.product(others, batches) if batches else ((one, 0) for one in others)
    sizes = [one | ({BATCH: batch} if batch else {}) for one, batch in cases]
    return [dict(one) for one in dict.fromkeys(tuple(size.items()) for size in sizes)][:CASES]


def _compared(
    session: Session, feeds: Mapping[str, Array], want: Mapping[str, Array], sizes: str, where: str
) -> dict[str, tuple[float, float]]:
    at, hint = f" at {sizes}" if sizes else "", "Export the model from code whose shapes follow from its inputs"
    try:
        got = session.run(dict(feeds))
    except EdgeError as exc:
        raise CheckFailed(f"the exported graph does not run{at}: {exc.args[0]}", where=where, hint=hint) from exc
    found = {}
    for name, wanted in want.items():
        if name not in got or got[name].shape != wanted.shape:
            shape = tuple(got[name].shape) if name in got else "no output of that name"
            what = f"the exported graph's output {shown(name)} has the shape {shape}{at}, the module's {wanted.shape}"
            raise CheckFailed(what, where=where, hint=hint)
        apart, relative, allowed = _difference(got[name], wanted)
        if not relative <= allowed:
            raise CheckFailed(
                f"the exported graph is not the module: the output {shown(name)} differs by {apart:.3g}{at}, "
                f"{relative:.3g} of its largest value, beyond rounding ({allowed:.1g})", where=where,
                hint="A module that draws random numbers, or keeps a state between calls, has no graph of its answers",
            )  # fmt: skip
        found[name] = (apart, relative)
    return found


def _difference(got: Array, want: Array) -> tuple[float, float, float]:
    """(largest difference, the same relative to the largest value or the share of values that differ, allowed)."""
    if not np.issubdtype(want.dtype, np.floating):
        share = float(np.mean(got != want)) if want.size else 0.0
        return share, share, MAX_DIFFERENT
    if not want.size or np.array_equal(got, want, equal_nan=True):
        return 0.0, 0.0, ROUNDING.relative
    with np.errstate(invalid="ignore"):
        apart = float(np.max(np.abs(got.astype(np.float64) - want.astype(np.float64))))
    largest_value = float(np.max(np.abs(want.astype(np.float64))))
    allowed = ROUNDING.relative + (ROUNDING.absolute / largest_value if largest_value else 0.0)
    if not np.isfinite(apart):
        return apart, apart, allowed
    return apart, apart / largest_value if largest_value else (0.0 if apart <= ROUNDING.absolute else np.inf), allowed
