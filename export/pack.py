"""The only writer of bundles: graphs by role, golden samples, site records and report become one file, which is proven
before it gets its name. Knows no family and no task's meaning."""

from __future__ import annotations

import math
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from edge_sdk import __version__, tasks
from edge_sdk.bundle.manifest import Graph, Manifest, Provenance, Tolerance
from edge_sdk.bundle.signing import SigningKey
from edge_sdk.bundle.store import REPORT, Bundle, write_bundle
from edge_sdk.calibration import Quantized, Variant
from edge_sdk.calibration.comparison.counts import ran_in_int8
from edge_sdk.decision.record import Record
from edge_sdk.errors import BadBundle, BadUsage, CheckFailed, EdgeError
from edge_sdk.export.checked import checked
from edge_sdk.export.family import MAX_BATCH, Exported, FloatGraph
from edge_sdk.export.golden_samples import Packed, golden_samples
from edge_sdk.export.tasks.base import ANY_OUTPUT, Golden, float_variant
from edge_sdk.golden import Expected
from edge_sdk.loading import checked_task
from edge_sdk.progress import Progress, silent
from edge_sdk.replay import predict_problem, reproduced
from edge_sdk.runtimes import registry, targets
from edge_sdk.runtimes.onnx_file import read_facts
from edge_sdk.runtimes.protocol import CompileOptions
from edge_sdk.shown import shown
from edge_sdk.tasks.base import Setup, Task, task_code
from edge_sdk.tensors import BATCH, TensorSpec

Tolerances: TypeAlias = Callable[[str, str], Mapping[str, Tolerance]]
"""(role, variant) -> by output, ANY_OUTPUT = all others."""
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
    roles = task.roles_of(parts.exported.graphs)
    graphs = [Packed(graph, variant) for role in roles for graph, variant in _graphs(parts, role)]
    for one in graphs:
        role = one.graph.role
        if (one.graph.inputs, one.graph.outputs) != (setup.inputs[role], setup.outputs[role]):
            raise BadUsage(  # no device would load such a bundle
                f"the graph {one.graph.name} takes or answers other tensors than the float graph of {role}",
                hint="Export the model again, with the shapes of its inputs and outputs",
            )
    golden, members = golden_samples(parts.golden, task, setup, graphs, threads=threads, progress=progress)
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
        targets=checked(pairs, roles), provenance=parts.provenance, extra=dict(parts.extra),
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


def setup_of(exported: Exported, task: Task, *, family: str, where: str) -> Setup:
    """What the task needs to make feeds, looked at as it will be on the device. Raises BadUsage, BadBundle.

    family: its name, for messages.
    """
    roles = task.roles_of(exported.graphs)
    if missing := [role for role in roles if role not in exported.graphs]:
        raise BadUsage(f"the family {family} exports no graph for {missing[0]}", hint=f"{task.name} needs it")
    if unknown := sorted(set(exported.graphs) - set(roles)):
        raise BadUsage(f"the task {task.name} has no role {unknown[0]}", hint=f"Its roles are {', '.join(roles)}")
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
    if not all(math.isfinite(bound) and bound >= 0 for bound in msgspec.structs.astuple(found)):
        raise BadUsage(
            f"the tolerance of the output {output} is {found.absolute} + {found.relative} x the largest golden value, "
            f"distance {found.distance}",
            where=where, hint="All are finite numbers of at least 0",
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
            hint=f"State its largest size: --axis {unstated[0]}=64",
        )
    if unknown := [axis for axis in graph.axes if axis not in free]:
        raise BadUsage(f"the graph has no free axis {unknown[0]!r}", hint=f"It has {', '.join(free) or 'none'}")
    return {axis: stated[axis] for axis in free}


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
