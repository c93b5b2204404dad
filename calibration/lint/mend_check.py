"""Mends that were run: the graph before and after answers the same, or what makes the difference is left out.

Knows no rule. ONNX Runtime without optimisation, on seeded inputs, where the graph can be run at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import ModelProto, TensorProto, helper

from edge_sdk.calibration.lint.draft import Mended
from edge_sdk.calibration.lint.mend import mend
from edge_sdk.calibration.sizes import check_constants, check_sample
from edge_sdk.calibration.statistics.observe import Reader
from edge_sdk.errors import CheckFailed, EdgeError
from edge_sdk.runtimes.operators import ENDLESS, PAIR, RANDOM
from edge_sdk.tensors import Array

ROUNDING, STEPS = 1e-3, 0.05
"""Of the largest value: of float arithmetic in another order; where a graph quantizes, a tie may fall the other way."""
_FREE_SIDES = (8, 64, 224)
"""Sizes that are tried for free axes behind the first."""
_Answers = Mapping[str, Array]


def mended(
    model: ModelProto, targets: Sequence[str] = (), *, exact: bool = True
) -> tuple[ModelProto, tuple[Mended, ...], tuple[str, ...]]:
    """As `mend`, and notes on rules that were left out because outputs changed by them: their shapes, or, of what
    claims to be exact, their values by more than rounding. Raises CheckFailed where no single rule is to blame."""
    made, done = mend(model, targets, exact=exact)
    ran = _run(model) if done else None
    if ran is None:
        return made, done, ()
    left: tuple[str, ...] = ()
    notes: list[str] = []
    for values in (True,) if exact else (True, False):  # what claims to be exact is held to it with --fix-all, too
        rule, problem = _blamed(model, targets, exact=values, without=left, ran=ran)
        if rule:
            left += (rule,)
            notes.append(f"{rule} was left as it is: with its fix, {problem}")
    made, done = mend(model, targets, exact=exact, without=left)
    return made, done, tuple(notes)


def _blamed(
    model: ModelProto, targets: Sequence[str], *, exact: bool, without: tuple[str, ...],
    ran: tuple[_Answers, _Answers],
) -> tuple[str, str]:  # fmt: skip
    """The rule whose fix has to be left out, and what it does; "" = none has to be."""
    made, done = mend(model, targets, exact=exact, without=without)
    problem = _problem(model, made, done, *ran)
    for rule in dict.fromkeys(one.rule for one in done) if problem else ():
        other, rest = mend(model, targets, exact=exact, without=(*without, rule))
        if not _problem(model, other, rest, *ran):
            return rule, problem
    if problem:
        raise CheckFailed(
            f"the fixes change what the graph answers: {problem}",
            hint="Fix the violations where the model is exported; edge-sdk lint without --fix names them",
        )
    return "", ""


def _run(model: ModelProto) -> tuple[_Answers, _Answers] | None:
    """Inputs, and what the graph answers; None where it can't be run."""
    if any(node.op_type in (*ENDLESS, *RANDOM) for node in model.graph.node):
        return None
    for side in _FREE_SIDES:
        feeds = _feeds(model, side)
        if feeds is None:
            return None
        answers = _answers(model, feeds)
        if answers is not None:
            return feeds, answers
    return None


def _answers(model: ModelProto, feeds: _Answers) -> _Answers | None:
    try:
        check_constants(model)
        check_sample(model, {name: array.shape for name, array in feeds.items()})
        return Reader.of_outputs(model).run(feeds)
    except EdgeError:
        return None


def _feeds(model: ModelProto, side: int) -> dict[str, Array] | None:
    stored, rng = {t.name for t in model.graph.initializer}, np.random.default_rng(0)
    feeds: dict[str, Array] = {}
    for info in model.graph.input:
        if info.name in stored:
            continue
        kind = info.type.tensor_type.elem_type
        if kind in (TensorProto.UNDEFINED, TensorProto.STRING):
            return None
        dtype = helper.tensor_dtype_to_np_dtype(kind)
        dims = info.type.tensor_type.shape.dim
        shape = [d.dim_value if d.HasField("dim_value") else side if at else 1 for at, d in enumerate(dims)]
        if np.prod(shape, dtype=np.float64) > 2**28:
            return None
        if dtype.kind == "f":
            feeds[info.name] = rng.normal(size=shape).astype(dtype)
        elif dtype in (np.uint8, np.int8):
            feeds[info.name] = rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, endpoint=True).astype(
                dtype
            )
        else:
            feeds[info.name] = rng.integers(0, 2, shape).astype(dtype)
    return feeds


def _problem(before: ModelProto, after: ModelProto, done: Sequence[Mended], feeds: _Answers, wanted: _Answers) -> str:
    """How the answers differ, in words; "" where they do not."""
    got = _answers(after, feeds)
    if got is None:
        return "ONNX Runtime does not run the graph any more"
    exact = all(one.exact for one in done)
    steps = any(node.op_type in PAIR or "QLinear" in node.op_type for node in (*before.graph.node, *after.graph.node))
    for name, one in wanted.items():
        other = got.get(name)
        if other is None or other.shape != one.shape:
            return f"output {name} has shape {other.shape if other is not None else None}, before {one.shape}"
        if not exact or not one.size or one.dtype.kind not in "fiub":
            continue
        left, right = one.astype(np.float64), other.astype(np.float64)
        finite = np.isfinite(left)
        apart = np.abs(left - right)[finite].max(initial=0.0) / max(np.abs(left[finite]).max(initial=0.0), 1e-30)
        index = one.dtype.kind in "ib" and one.dtype.itemsize > 1
        if not np.array_equal(finite, np.isfinite(right)) or (
            apart > (STEPS if steps else ROUNDING) and not (index and steps)
        ):
            return f"output {name} differs by {apart:.2g} of its largest value"
    return ""
