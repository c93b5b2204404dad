"""The only writer of bundles: graphs by role, golden samples, site records and report become one file.

Golden samples are made as the device will replay them: by the task itself, role by role, each role fed with what the
fp32 graphs of the roles before it answer by the letter of ONNX. Knows no family and no task's meaning.
"""

from __future__ import annotations

import itertools
import math
import platform
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np

from edge_sdk import __version__, tasks
from edge_sdk.bundle.manifest import GoldenSample, Graph, Manifest, Provenance, StoredArray, Tolerance
from edge_sdk.bundle.signing import SigningKey
from edge_sdk.bundle.store import REPORT, Bundle, stored_array, write_bundle
from edge_sdk.calibration import Quantized, Variant
from edge_sdk.calibration.counts import ran_in_int8
from edge_sdk.calibration.layout import assert_equal
from edge_sdk.decision.record import Record
from edge_sdk.errors import BadBundle, BadUsage, CheckFailed, EdgeError
from edge_sdk.export.checked import checked
from edge_sdk.export.family import MAX_BATCH, Exported, FloatGraph
from edge_sdk.export.tasks.base import ANY_OUTPUT, Golden, float_variant
from edge_sdk.golden import Expected, answers, difference, in_batches, neighbour
from edge_sdk.loading import checked_task
from edge_sdk.progress import Progress, silent
from edge_sdk.replay import predict_problem, reproduced
from edge_sdk.runtimes import registry, targets
from edge_sdk.runtimes.onnx_file import read_facts
from edge_sdk.runtimes.protocol import CompileOptions, Session
from edge_sdk.shown import shown
from edge_sdk.tasks.base import Setup, Task, golden_samples_of, task_code
from edge_sdk.tensors import BATCH, Array, TensorSpec

Tolerances: TypeAlias = Callable[[str, str], Mapping[str, Tolerance]]
"""(role, variant) -> by output, ANY_OUTPUT = all others."""
_Answers: TypeAlias = dict[str, Array]
MAX_REASON = 300
"""Characters of what a runtime said, as the manifest keeps it: some print the whole graph."""
LEAST_GOLDEN = 2
"""Golden samples of a bundle. With one, nothing else could stand beside it in a batch, and a constant answer passes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parts:
    """What goes into one bundle. quantized: by role, of those that have any variant besides fp32."""

    name: str
    family: str
    task: str
    exported: Exported
    quantized: Mapping[str, Quantized]
    golden: Sequence[Golden]
    tolerances: Tolerances
    records: Sequence[Record] = ()
    report: Mapping[str, Any] = field(default_factory=dict)
    provenance: Provenance
    extra: Mapping[str, Any] = field(default_factory=dict)


def _always() -> None:
    """Replace whatever is there: the default of `may_replace`."""


def pack(
    parts: Parts, out: Path, *, key: SigningKey | None = None, threads: int | None = None,
    may_replace: Callable[[], None] = _always, progress: Progress = silent,
) -> Bundle:  # fmt: skip
    """Writes `out` in one step (the old file stays if anything fails) and returns it, opened.

    threads: for the golden answers and the count of int8 operators, as in `CompileOptions`. may_replace: called when
    the file is finished, before it gets its name; raises to keep what is at `out`. Raises CheckFailed if two layouts of
    one variant do not answer the same, bit by bit, on the golden samples, and as `prove`; BadUsage, BadBundle for
    graphs, settings, tolerances or samples that the task does not take.
    """
    task = tasks.task(parts.task)
    setup = setup_of(parts.exported, task, family=parts.family, where=str(out))
    if (given := len(parts.golden)) < LEAST_GOLDEN:
        raise BadUsage(
            f"the family {parts.family} or the task {task.name} gives {given or 'no'} golden sample{'s'[: given != 1]}",
            hint=f"Give {LEAST_GOLDEN} or more, different from each other: in a batch one stands beside another",
        )
    graphs = [_Packed(graph, variant) for role in task.roles for graph, variant in _graphs(parts, role)]
    for one in graphs:
        role = one.graph.role
        if (one.graph.inputs, one.graph.outputs) != (setup.inputs[role], setup.outputs[role]):
            raise BadUsage(  # no device would load such a bundle
                f"the graph {one.graph.name} takes or answers other tensors than the float graph of {role}",
                hint="Export the model again, with the shapes of its inputs and outputs",
            )
    golden, members = _golden(parts, task, setup, graphs, threads, progress)
    described = []
    for done, one in enumerate(graphs):
        progress(done, len(graphs), f"compiling {one.graph.name} on each runtime")
        ran, refused = compiled_here(one.graph, one.variant, threads)
        described.append(msgspec.structs.replace(one.graph, int8_ran=ran, refused=refused))
    if parts.report:
        members[REPORT] = msgspec.json.encode(dict(parts.report))
    pairs = [(graph, one.variant.graph) for graph, one in zip(described, graphs, strict=True)]
    manifest = Manifest(
        name=parts.name, family=parts.family, task=parts.task, settings=msgspec.to_builtins(parts.exported.settings),
        preprocessing=parts.exported.preprocessing, graphs=tuple(described), golden=golden,
        targets=checked(pairs, task.roles), provenance=parts.provenance, extra=dict(parts.extra),
    )  # fmt: skip
    progress(len(graphs), len(graphs), f"writing {out.name}")
    onnx = {graph.name: data for graph, data in pairs}

    def proved(bundle: Bundle) -> None:
        prove(bundle)
        may_replace()

    return write_bundle(
        out, manifest=manifest, graphs=onnx, members=members, decisions=parts.records, key=key, prove=proved
    )


def prove(bundle: Bundle) -> None:
    """What no device could use is not written: every graph has tolerances that `load` accepts, the task takes the
    finished file, makes the golden feeds of the golden sources again, and its predictor answers all of them. In fp32 on
    ONNX Runtime, since what a runtime makes of the other graphs is for `verify` to say, on each machine. Raises
    CheckFailed, BadBundle."""
    task, golden = checked_task(bundle), bundle.manifest.golden
    for graph in bundle.manifest.graphs:
        try:
            Expected.of(bundle, graph)
        except BadBundle as exc:
            raise CheckFailed(
                f"no device would load the bundle: {exc.args[0]}", where=str(bundle.path),
                hint="Nothing was written. State a smaller tolerance, leave the variant out, or give golden samples "
                "with larger answers",
            ) from exc  # fmt: skip
    exact, worst = reproduced(bundle, task)
    problem = ""
    if exact < len(golden):
        wrong = f"{len(golden) - exact} of {len(golden)} golden samples"
        problem = f"Task.feeds gives {wrong} other feeds than before, by up to {worst:.3g}"
    else:
        graphs = {graph.role: graph for graph in bundle.manifest.graphs if graph.variant == "fp32"}
        problem = predict_problem(bundle, task, graphs, "onnxruntime", None, golden)
    if problem:
        raise CheckFailed(
            f"the task {task.name} can't use the bundle: {problem}", where=str(bundle.path),
            hint="Nothing was written. Mend the task or the family, and pack again",
        )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class _Packed:
    """One graph with its bytes."""

    graph: Graph
    variant: Variant


def setup_of(exported: Exported, task: Task, *, family: str, where: str) -> Setup:
    """What the task needs to make feeds, looked at as it will be on the device. Raises BadUsage, BadBundle.

    family: its name, for messages.
    """
    if missing := [role for role in task.roles if role not in exported.graphs]:
        raise BadUsage(f"the family {family} exports no graph for {missing[0]}", hint=f"{task.name} needs it")
    if unknown := sorted(set(exported.graphs) - set(task.roles)):
        raise BadUsage(f"the task {task.name} has no role {unknown[0]}", hint=f"Its roles are {', '.join(task.roles)}")
    if not isinstance(exported.settings, task.settings):
        given = type(exported.settings).__name__
        raise BadUsage(f"the settings are a {given}, {task.name} takes {task.settings.__name__}")
    _check_settings(exported.settings, task)
    facts = {role: read_facts(graph.onnx, where=role) for role, graph in exported.graphs.items()}
    setup = Setup(
        settings=exported.settings, preprocessing=exported.preprocessing,
        inputs={role: one.inputs for role, one in facts.items()},
        outputs={role: one.outputs for role, one in facts.items()},
    )  # fmt: skip
    with task_code(task, "check", where=where):
        task.check(setup, where=where)
    return setup


def _check_settings(settings: msgspec.Struct, task: Task) -> None:
    """Raises BadUsage for settings that a device would read otherwise than they are, or not at all: JSON has no NumPy
    numbers, no tuples inside Any, and no keys but text."""
    try:
        text = msgspec.json.encode(msgspec.to_builtins(settings))
        read: Any = msgspec.convert(msgspec.json.decode(text), task.settings)
        problem = "" if read == settings else f"{settings!r:.200} is read as {read!r:.200}"
    except Exception as exc:  # noqa: BLE001 (a check of the struct's own may raise anything)
        problem = str(exc)
    if problem:
        raise BadUsage(
            f"the settings of the task {task.name} do not survive being written to a file: {problem}",
            where=task.settings.__name__,
            hint="Give plain Python numbers and text; of a dict, keys of text; of an Any, a list instead of a tuple",
        )


def _graphs(parts: Parts, role: str) -> list[tuple[Graph, Variant]]:
    """Manifest entries of one role with their variants, fp32 first."""
    float_graph = parts.exported.graphs[role]
    made = parts.quantized.get(role)
    variants = (float_variant(float_graph.onnx), *(made.variants if made is not None else ()))
    prefix = f"{role}." if len(parts.exported.graphs) > 1 else ""
    out: dict[str, tuple[Graph, Variant]] = {}
    for one in variants:
        name = prefix + (one.variant if one.layout == "plain" else f"{one.variant}.{one.layout}")
        if name in out:  # the same layout by another plan
            name = f"{name}.{one.runtimes[0]}"
        out[name] = _graph(name, role, float_graph, one, parts.tolerances(role, one.variant)), one
    return list(out.values())


def _graph(name: str, role: str, float_graph: FloatGraph, variant: Variant, bounds: Mapping[str, Tolerance]) -> Graph:
    facts = read_facts(variant.graph, where=name)
    if facts.unshaped:  # whether its rows are a batch could not be told, and golden answers would be joined wrongly
        raise BadUsage(f"the graph {name} does not state the shape of its output {facts.unshaped[0]}")
    return Graph(
        name=name, role=role, variant=variant.variant, layout=variant.layout, runtimes=variant.runtimes, member="",
        size_bytes=0, sha256="",
        opset=facts.opset, inputs=facts.inputs, outputs=facts.outputs, axes=axes_of(float_graph, facts.inputs),
        int8_planned=variant.int8_planned,
        tolerance={
            spec.name: _tolerance(bounds, spec.name, where=f"{role} {variant.variant}") for spec in facts.outputs
        },
    )  # fmt: skip


def _tolerance(bounds: Mapping[str, Tolerance], output: str, *, where: str) -> Tolerance:
    """The stated tolerance of one output. Raises BadUsage where none is stated, or one that no answer can meet.

    where: role and variant.
    """
    found = bounds.get(output, bounds.get(ANY_OUTPUT))
    if found is None:
        raise BadUsage(
            f"the output {output} has no tolerance", where=where,
            hint=f'Return one for {output}, or for "{ANY_OUTPUT}", all other outputs, from ExportTask.tolerances',
        )  # fmt: skip
    if not all(math.isfinite(bound) and bound >= 0 for bound in (found.absolute, found.relative)):
        raise BadUsage(
            f"the tolerance of the output {output} is {found.absolute} + {found.relative} x the largest golden value",
            where=where, hint="Both are finite numbers of at least 0",
        )  # fmt: skip
    return found


def axes_of(graph: FloatGraph, inputs: Sequence[TensorSpec]) -> dict[str, int]:
    """The largest size of each free axis. Raises BadUsage for one that nobody stated, the batch apart, and for one that
    is stated and not there."""
    free = list(dict.fromkeys(axis for spec in inputs for axis in spec.axes))
    stated = {BATCH: MAX_BATCH, **graph.axes}
    if unstated := [axis for axis in free if axis not in stated]:
        raise BadUsage(
            f"the size of the free axis {unstated[0]!r} is not bounded",
            hint=f"State its largest size: --axis {unstated[0]}=64, of a family FloatGraph(axes=...)",
        )
    if unknown := [axis for axis in graph.axes if axis not in free]:
        raise BadUsage(f"the graph has no free axis {unknown[0]!r}", hint=f"It has {', '.join(free) or 'none'}")
    return {axis: stated[axis] for axis in free}


def _golden(
    parts: Parts, task: Task, setup: Setup, graphs: Sequence[_Packed], threads: int | None, progress: Progress
) -> tuple[tuple[GoldenSample, ...], dict[str, bytes]]:
    """The samples as the manifest describes them, and their members."""
    feeds: list[dict[str, dict[str, Array]]] = [{} for _ in parts.golden]
    outputs: list[dict[str, dict[str, Array]]] = [{} for _ in parts.golden]
    float_answers: list[dict[str, _Answers]] = [{} for _ in parts.golden]
    for role in task.roles:
        for index, sample in enumerate(parts.golden):
            feeds[index][role] = _fed(task, setup, sample.source, role, float_answers[index], index)
        if all(_alike(one[role], feeds[0][role]) for one in feeds):
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
    members: dict[str, bytes] = {}
    samples = tuple(
        _stored(index, sample, feeds[index], outputs[index], members) for index, sample in enumerate(parts.golden)
    )
    return samples, members


def _alike(one: Mapping[str, Array], other: Mapping[str, Array]) -> bool:
    return all(np.array_equal(one[name], array) for name, array in other.items())


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


def _answers(one: _Packed, feeds: Sequence[Mapping[str, Array]], threads: int | None) -> list[_Answers]:
    """ONNX semantics to the letter: ONNX Runtime with every graph optimisation off, one row of a batch at a time."""
    options = CompileOptions(reference=True, graph_name=one.graph.name, threads=threads, axes=one.graph.axes)
    session = registry.runtime("onnxruntime").compile(one.variant.graph, options)
    try:
        out = [answers(session, fed) for fed in feeds]
        if one.variant.variant == "fp32":  # the other variants have its structure
            _check_rows(one.graph, session, feeds, out)
        return out
    finally:
        session.close()


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
    f"The axis {BATCH} is the batch, whose rows do not depend on each other. State --axis {BATCH}=1 (of a family "
    f'FloatGraph(axes={{"{BATCH}": 1}})), or give the axis another name in the ONNX file'
)


def _stored(
    index: int, sample: Golden, feeds: Mapping[str, Mapping[str, Array]], outputs: Mapping[str, Mapping[str, Array]],
    members: dict[str, bytes],
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
            out[name], data = stored_array(f"golden/{index}/{folder}/{unique}", array)
            members[out[name].member] = data
        return out

    return GoldenSample(
        source=store("source", sample.source),
        feeds={role: store(f"feeds/{role}", arrays) for role, arrays in feeds.items()},
        outputs={graph: store(f"outputs/{graph}", arrays) for graph, arrays in outputs.items()},
        label=sample.label,
    )


def compiled_here(graph: Graph, variant: Variant, threads: int | None = None) -> tuple[dict[str, int], dict[str, str]]:
    """By runtime that is here and takes the graph: how many operators of an int8 graph it really runs in int8, and why
    it does not compile the graph."""
    ran: dict[str, int] = {}
    refused: dict[str, str] = {}
    options = CompileOptions(graph_name=graph.name, threads=threads, axes=graph.axes | {BATCH: 1})
    for runtime in registry.runtimes():
        if targets.takes(runtime.name, variant) and runtime.probe().usable:
            try:
                count = ran_in_int8(runtime, variant.graph, options)
            except EdgeError as exc:
                refused[runtime.name] = shown(exc.args[0])[:MAX_REASON]
            else:
                ran |= {runtime.name: count} if variant.int8_planned else {}
    return ran, refused


def provenance(
    *, data_digest: str = "", samples: int = 0, seed: int | None = None, licence: str = "",
    notes: Mapping[str, str] | None = None,
) -> Provenance:  # fmt: skip
    """What made this bundle, read from the running process; no path outside the command line itself."""
    versions = {"python": platform.python_version()}
    for package in ("numpy", "torch", "onnx", "onnxruntime", "openvino", "opencv-python-headless"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return Provenance(
        created_utc=datetime.now(timezone.utc).isoformat(timespec="seconds"), product_version=__version__,
        command=(Path(sys.argv[0]).name, *(shown(word) for word in sys.argv[1:])), packages=versions,
        data_digest=data_digest, samples=samples, seed=seed, licence=licence, notes=dict(notes or {}),
    )  # fmt: skip
