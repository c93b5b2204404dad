"""What a user's graph answers to its first noise, before minutes of calibration: is it a generator of pictures?

Runs the bare graph and the wrapped one side by side, so that a bundle starts from a graph that is proven to answer what
the file answers. Knows no calibration and no command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_sdk.counted import percent
from edge_sdk.errors import BadInput, CheckFailed, EdgeError
from edge_sdk.export.models.model import UserModel
from edge_sdk.export.onestep import wrapped as graph
from edge_sdk.export.onestep.wrapped import LEVELS, Parts, Wrapped
from edge_sdk.export.onestep.wrapping import Wrapping
from edge_sdk.runtimes import registry
from edge_sdk.runtimes.protocol import CompileOptions, Session
from edge_sdk.shown import shown
from edge_sdk.tasks.generation.asked import Asked
from edge_sdk.tasks.generation.generator import BATCH_ROWS, feeds_of
from edge_sdk.tasks.generation.noise import noise
from edge_sdk.tensors import BATCH, Array

SEED = 2**62 + 2**60
"""Of the first noise: neither golden, nor calibrating, nor measured."""
MOST_CUT, WARNED_CUT = 0.9, 0.05
"""Shares of an answer's values beyond the stated range: a wrong range, and one that is worth a warning."""
LEAST_LEVELS = 4.0
"""Grey levels that an answer must span, or the stated range is not its own."""
ALIKE = 1e-4
"""What two orders of the same float32 sums may differ by, relative to the largest value."""
COMPANY = 1e-3
"""The same of one picture in a batch and alone."""
BATCH_PIXELS = BATCH_ROWS * 64 * 64
"""Pixels of one call: the network's memory grows with them."""

Values = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Proven:
    """A wrapped graph that answers what the file answers. spread: lowest and highest value that it was seen to answer.
    notes: warnings."""

    wrapped: Wrapped
    spread: tuple[float, float]
    notes: tuple[str, ...] = ()


def proven(model: UserModel, stated: Wrapping, *, threads: int | None = None) -> Proven:
    """The wrapped graph. Raises as `wrapped.parts_of` and `wrapped.wrapped`, and BadInput: a graph that does not run,
    answers NaN, ignores its noise, mixes its pictures, or lies beyond the stated range; CheckFailed where the wrapped
    graph answers otherwise."""
    parts = graph.parts_of(model, stated)
    answers = _bare(model, stated, parts, threads)
    _check_alone(answers, parts, model.where)
    notes = _range_notes(answers.of_all, stated, model.where)
    made = _like_the_file(model, stated, parts, answers, threads)
    return Proven(wrapped=made, spread=(float(answers.of_all.min()), float(answers.of_all.max())), notes=notes)


@dataclass(frozen=True, slots=True, eq=False)
class _Answers:
    """of_all: to two noises, in one batch where the graph takes one. of_second: to the second one alone."""

    of_all: Values
    of_second: Values


def _bare(model: UserModel, stated: Wrapping, parts: Parts, threads: int | None) -> _Answers:
    """What the file itself answers to two noises of the last class: a graph of fewer classes says so."""
    session = _session(model.onnx, model.where, threads, parts.free_sizes)
    try:
        runs = [(0, 1)] if parts.batched else [(0,), (1,)]
        found = [_run(session, _feeds(parts, stated, rows), model.where)[parts.answer.name] for rows in (*runs, (1,))]
    finally:
        session.close()
    for rows, answer in zip((*runs, (1,)), found, strict=True):
        if answer.ndim != 4 or len(answer) != len(rows):
            raise BadInput(
                f"its output {shown(parts.answer.name)} is not one picture for each noise: {list(answer.shape)} of "
                f"{len(rows)} noise{'s' * (len(rows) > 1)}", where=model.where, hint="Name another one with --output",
            )  # fmt: skip
    return _Answers(np.concatenate(found[:-1]).astype(np.float32), found[-1].astype(np.float32))


def _check_alone(answers: _Answers, parts: Parts, where: str) -> None:
    """Raises BadInput for answers of no generator: NaN, one picture for all noise, pictures that mix."""
    if not (np.isfinite(answers.of_all).all() and np.isfinite(answers.of_second).all()):
        raise BadInput(
            "it answers NaN or infinity to its first noise", where=where,
            hint="Check --noise-scale and --fix: levels that a network was not trained for overflow it",
        )  # fmt: skip
    most = float(np.abs(answers.of_all).max())
    if np.abs(answers.of_all[0] - answers.of_second[0]).max() <= ALIKE * most:
        raise BadInput(
            f"it draws one picture whatever its input {shown(parts.noise.name)} holds", where=where,
            hint="Name another input with --noise, or state the level with --noise-scale and --fix",
        )  # fmt: skip
    if np.abs(answers.of_all[1] - answers.of_second[0]).max() > COMPANY * most:
        raise BadInput(
            "one of its pictures changes with those that are drawn beside it", where=where,
            hint="Export it for a batch of one picture",
        )  # fmt: skip


def _range_notes(answers: Values, stated: Wrapping, where: str) -> tuple[str, ...]:
    """Warnings. Raises BadInput for a range that is not that of the answers."""
    if stated.low is None or stated.high is None:
        return ()
    lowest, highest = float(answers.min()), float(answers.max())
    words = f"its first answers lie in {lowest:.4g}..{highest:.4g}, --range says {stated.low:g}..{stated.high:g}"
    margin = 0.01 * (stated.high - stated.low)
    cut = float(np.mean((answers < stated.low - margin) | (answers > stated.high + margin)))
    if cut > MOST_CUT:
        raise BadInput(f"{percent(cut)} of its values would be cut: {words}", where=where, hint="State its own range")
    if (highest - lowest) * LEVELS < LEAST_LEVELS * (stated.high - stated.low):
        raise BadInput(f"its pictures would be one grey: {words}", where=where, hint="State its own range")
    return (f"{percent(cut)} of its values are cut: {words}",) if cut > WARNED_CUT else ()


def _like_the_file(model: UserModel, stated: Wrapping, parts: Parts, answers: _Answers, threads: int | None) -> Wrapped:
    """The wrapped graph, its constants in one row where that answers the same. Raises CheckFailed."""
    sides = sorted(answers.of_all.shape[1:])[-2:]
    most_rows = max(1, min(BATCH_ROWS, BATCH_PIXELS // (sides[0] * sides[1])))
    apart = np.inf
    for rows in ("one", "each") if any(spec.batched for spec, _ in parts.fixed) else ("one",):
        made = graph.wrapped(model, stated, parts, answers.of_all.shape, most_rows=most_rows, rows=rows)
        try:
            apart = _apart(made, stated, parts, answers, model.where, threads)
        except EdgeError:
            if rows == "each":
                raise
            continue
        if apart <= 1.0:
            return made
    raise CheckFailed(
        f"its graph with front and back answers otherwise than the file, {apart:.3g} times what rounding may do",
        where=model.where, hint="Report it with the file",
    )  # fmt: skip


def _apart(made: Wrapped, stated: Wrapping, parts: Parts, answers: _Answers, where: str, threads: int | None) -> float:
    """How far the wrapped graph is from the file, in units of what is allowed."""
    classes = len(stated.names)
    asked = [Asked(seed=SEED, index=at, label=classes - 1 if classes else None) for at in (0, 1)]
    session = _session(made.onnx, where, threads, {})
    try:
        batches = [asked] if parts.batched else [[one] for one in asked]
        found = [_run(session, feeds_of(one, made.noise_shape, made.settings), where) for one in batches]
    finally:
        session.close()
    image = np.concatenate([one[made.settings.image_output] for one in found]).astype(np.float64)
    last = image.shape == answers.of_all.shape and answers.of_all.shape[1] not in (1, 3)
    wanted = answers.of_all.astype(np.float64) if last else answers.of_all.astype(np.float64).transpose(0, 2, 3, 1)
    if stated.low is not None and stated.high is not None:
        wanted = np.clip((wanted - stated.low) / (stated.high - stated.low), 0.0, 1.0) * LEVELS
    apart = float(np.abs(image - wanted).max()) / 1.5  # half of it is rounding
    if made.settings.values_output:
        values = np.concatenate([one[made.settings.values_output] for one in found])
        bare = answers.of_all.transpose(0, 3, 1, 2) if last else answers.of_all
        apart = max(apart, float(np.abs(values - bare).max()) / (ALIKE * float(np.abs(bare).max())))
    return apart


def _feeds(parts: Parts, stated: Wrapping, indices: tuple[int, ...]) -> dict[str, Array]:
    """Of the bare graph."""
    drawn = noise(SEED, indices, parts.noise_shape) * np.float32(stated.scale)
    feeds: dict[str, Array] = {parts.noise.name: drawn}
    for spec, value in parts.fixed:
        feeds[spec.name] = np.repeat(value[:1], len(indices), axis=0) if spec.batched else value
    if parts.label is not None:
        rows = graph.label_rows(parts.label, stated)
        feeds[parts.label.name] = np.repeat(rows[-1:], len(indices), axis=0)
    return feeds


def _session(onnx: bytes, where: str, threads: int | None, sizes: Mapping[str, int]) -> Session:
    options = CompileOptions(graph_name=where, threads=threads, axes={**sizes, BATCH: 2})
    return registry.runtime("onnxruntime").compile(onnx, options)


def _run(session: Session, feeds: Mapping[str, Array], where: str) -> Mapping[str, Array]:
    try:
        return session.run(dict(feeds))
    except EdgeError as exc:
        raise BadInput(
            f"it does not run with what is stated: {exc.args[0]}", where=where,
            hint="Check --fix, --labels and --picture-size against what the model was exported for",
        ) from exc  # fmt: skip
