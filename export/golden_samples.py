"""Golden samples, made as the device will replay them: by the task itself, role by role, each role fed with what the
fp32 graphs of the roles before it answer by the letter of ONNX. Knows no family and no task's meaning.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import msgspec
import numpy as np

from edge_sdk.bundle.manifest import GoldenSample, Graph, StoredArray
from edge_sdk.bundle.store import stored_array
from edge_sdk.calibration import Variant
from edge_sdk.calibration.comparison import fidelity
from edge_sdk.calibration.layout import assert_equal
from edge_sdk.errors import BadUsage, EdgeError
from edge_sdk.export import golden_choice
from edge_sdk.export.tasks.base import Golden
from edge_sdk.golden import answers, difference, in_batches, neighbour
from edge_sdk.progress import Progress
from edge_sdk.runtimes import registry
from edge_sdk.runtimes.protocol import CompileOptions, Session
from edge_sdk.tasks.base import Setup, Task, golden_samples_of
from edge_sdk.tensors import BATCH, Array

_Answers: TypeAlias = dict[str, Array]


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """One graph with its bytes."""

    graph: Graph
    variant: Variant


def golden_samples(
    golden: Sequence[Golden],
    task: Task,
    setup: Setup,
    graphs: Sequence[Packed],
    *,
    threads: int | None,
    progress: Progress,
) -> tuple[tuple[GoldenSample, ...], dict[str, bytes]]:
    """The samples as the manifest describes them, and their members. Of those that are spare, some are packed in place
    of others, see `golden_choice`."""
    golden = _chosen(golden, task, setup, graphs, threads, progress)
    feeds: list[dict[str, dict[str, Array]]] = [{} for _ in golden]
    outputs: list[dict[str, dict[str, Array]]] = [{} for _ in golden]
    float_answers: list[dict[str, _Answers]] = [{} for _ in golden]
    for role in task.roles_of(setup.inputs):
        for index, sample in enumerate(golden):
            feeds[index][role] = _fed(task, setup, sample.source, role, float_answers[index], index)
        if golden_choice.alike([one[role] for one in feeds]):
            raise BadUsage(
                f"all golden samples feed the graph of {role} the same",
                hint="Give samples that differ: of equal ones, a constant answer would pass",
            )
        same: dict[tuple[str, str], tuple[str, list[_Answers]]] = {}  # by variant and plan
        for one in (one for one in graphs if one.graph.role == role):
            name = one.graph.name
            progress(graphs.index(one), len(graphs), f"golden answers of {name}")
            answered = _answers(one, [fed[role] for fed in feeds], threads)
            twin, wanted = same.setdefault((one.variant.variant, one.variant.plan), (name, answered))
            for index, (answer, want) in enumerate(zip(answered, wanted, strict=True)):
                assert_equal(want, answer, where=f"{twin} and {name}, golden sample {index}")
                outputs[index][name] = answer
                if one.variant.variant == "fp32":
                    float_answers[index][role] = answer
    members = _Members()
    samples = tuple(
        _stored(index, sample, feeds[index], outputs[index], members) for index, sample in enumerate(golden)
    )
    return samples, members.by_name


def _chosen(
    golden: Sequence[Golden], task: Task, setup: Setup, graphs: Sequence[Packed], threads: int | None,
    progress: Progress,
) -> Sequence[Golden]:  # fmt: skip
    """Those to pack. Of the others nothing is kept but how far apart their answers are."""
    if not any(one.spare for one in golden):
        return golden
    feeds: list[dict[str, dict[str, Array]]] = [{} for _ in golden]
    floats: list[dict[str, _Answers]] = [{} for _ in golden]
    distances: list[float | None] = [None] * len(golden)
    for role in task.roles_of(setup.inputs):
        for index, sample in enumerate(golden):
            feeds[index][role] = _fed(task, setup, sample.source, role, floats[index], index)
        plans = {(one.variant.variant, one.variant.plan): one for one in graphs if one.graph.role == role}
        fp32, *others = sorted(plans.values(), key=lambda one: one.variant.variant != "fp32")
        if not others and role == task.roles_of(setup.inputs)[-1]:
            continue  # no later graph reads its answers
        for one in (fp32, *others):
            progress(graphs.index(one), len(graphs), f"golden samples chosen by {one.graph.name}")
            with _reference(one, threads) as session:
                for index, fed in enumerate(feeds):
                    answered = answers(session, fed[role])
                    if one is fp32:
                        floats[index][role] = answered
                    else:
                        distances[index] = _farther(distances[index], _distance(floats[index][role], answered))
    return [golden[index] for index in golden_choice.kept(golden, feeds, distances)]


def _distance(wanted: _Answers, got: _Answers) -> float | None:
    """Of the output that differs most, as `fidelity.error`; infinite where a shape does. None where all that is wanted
    is zeros or empty: an answer that says nothing."""
    found: float | None = None
    for name, want in wanted.items():
        if want.shape != got[name].shape:
            return math.inf
        blank = not want.size or (want.size > 1 and want.dtype.kind in "biuf" and not want.any())
        found = found if blank else _farther(found, fidelity.error([want], [got[name]]))
    return found


def _farther(one: float | None, other: float | None) -> float | None:
    known = [distance for distance in (one, other) if distance is not None]
    return max(known, default=None)


class _Members:
    """Members of arrays, each content once: layouts of one plan answer the same bit for bit, and the feeds of a
    model without pictures are its source. A text detector's bundle is a fifth smaller by that."""

    def __init__(self) -> None:
        self.by_name: dict[str, bytes] = {}
        self._names: dict[bytes, str] = {}  # by SHA-256

    def put(self, member: str, array: Array) -> StoredArray:
        """The array under the name `member`, or under that of the first one with the same bytes."""
        stored, data = stored_array(member, array)
        first = self._names.setdefault(hashlib.sha256(data).digest(), member)
        if first == member:
            self.by_name[member] = data
        return msgspec.structs.replace(stored, member=first)


def _fed(
    task: Task, setup: Setup, source: Mapping[str, Array], role: str, before: Mapping[str, _Answers], index: int
) -> dict[str, Array]:
    """What the task feeds to a role. Raises BadUsage for what its graph does not take."""
    with golden_samples_of(task, where=f"golden sample {index}"):
        fed = task.feeds(setup, source, role, before)
    for spec in setup.inputs[role]:
        wrong = f"there is no {spec.name}" if spec.name not in fed else spec.accepts(fed[spec.name])
        if wrong:
            raise BadUsage(f"golden sample {index} does not fit the graph of {role}: {wrong}")
    return {spec.name: fed[spec.name] for spec in setup.inputs[role]}


@contextmanager
def _reference(one: Packed, threads: int | None) -> Iterator[Session]:
    """ONNX semantics to the letter: ONNX Runtime with every graph optimisation off."""
    options = CompileOptions(reference=True, graph_name=one.graph.name, threads=threads, axes=one.graph.axes)
    session = registry.runtime("onnxruntime").compile(one.variant.graph, options)
    try:
        yield session
    finally:
        session.close()


def _answers(one: Packed, feeds: Sequence[Mapping[str, Array]], threads: int | None) -> list[_Answers]:
    """By the letter of ONNX, one row of a batch at a time."""
    with _reference(one, threads) as session:
        out = [answers(session, fed) for fed in feeds]
        if one.variant.variant == "fp32":  # the other variants have its structure
            _check_rows(one.graph, session, feeds, out)
        return out


def _check_rows(
    graph: Graph, session: Session, feeds: Sequence[Mapping[str, Array]], alone: Sequence[_Answers]
) -> None:
    """Each of the first two samples answers the same beside the other as alone. Raises BadUsage: a batch that is none,
    as in `x - mean(x)` over axis 0, answers one caller by what another one fed. Of two, since in a maximum over rows
    the larger one does not notice."""
    if graph.axes.get(BATCH, 1) < 2 or not any(spec.batched for spec in graph.inputs):
        return
    scales = {
        name: max(float(np.abs(one[name].astype(np.float64)).max(initial=0.0)) for one in alone) for name in alone[0]
    }
    for index, position in itertools.product((0, 1), (0, 1)):
        beside = neighbour(feeds[index], feeds[1 - index])
        try:
            got = in_batches(session, feeds[index], beside, size=2, position=position)
        except EdgeError as exc:
            raise BadUsage(
                f"the graph {graph.name} does not run with two rows on its axis {BATCH}: {exc.args[0]}", hint=_NO_BATCH
            ) from exc
        for name, want in alone[index].items():
            bound, apart = graph.tolerance[name], difference(got[name], want)
            if not apart <= bound.absolute + bound.relative * scales[name]:
                raise BadUsage(
                    f"rows of the axis {BATCH} depend on each other in the graph {graph.name}: the output {name} of "
                    f"one row changes by {apart:.3g} with another row beside it",
                    hint=_NO_BATCH,
                )


_NO_BATCH = (
    f"The axis {BATCH} is the batch, whose rows do not depend on each other. State --axis {BATCH}=1, or give the "
    "axis another name in the ONNX file"
)


def _stored(
    index: int, sample: Golden, feeds: Mapping[str, Mapping[str, Array]], outputs: Mapping[str, Mapping[str, Array]],
    members: _Members,
) -> GoldenSample:  # fmt: skip
    """The manifest's entry of one sample; its arrays go to `members`."""

    def store(folder: str, arrays: Mapping[str, Array]) -> dict[str, StoredArray]:
        out = {}
        same = Counter(
            name.lower() for name in arrays
        )  # a file system may not tell y from Y, so no bundle may hold both
        for number, (name, array) in enumerate(arrays.items()):
            plain = re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:60]
            alone = plain == name and same[name.lower()] == 1
            unique = plain if alone else f"{number}.{plain}"  # no plain name holds a dot
            out[name] = members.put(f"golden/{index}/{folder}/{unique}", array)
        return out

    return GoldenSample(
        source=store("source", sample.source),
        feeds={role: store(f"feeds/{role}", arrays) for role, arrays in feeds.items()},
        outputs={graph: store(f"outputs/{graph}", arrays) for graph, arrays in outputs.items()},
        label=sample.label,
    )
