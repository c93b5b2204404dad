"""A bundle of the user's own models: what `quantize` and `export` do once they have the graphs, and what they print."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from edge_sdk import atomic, tasks
from edge_sdk.cli import terminal
from edge_sdk.cli.model_options import (
    ModelOptions,
    axes_of,
    bound_of,
    by_role,
    one_each,
    picture_of,
    settings_of,
    trials_of,
    variants_of,
)
from edge_sdk.cli.train import checked_out, not_packed, quality, refused_here, written
from edge_sdk.counted import counted
from edge_sdk.errors import BadBundle, BadInput, BadUsage
from edge_sdk.runtimes.variants import KINDS, MADE_BY_DEFAULT
from edge_sdk.shown import shown

if TYPE_CHECKING:
    from edge_sdk.export.build import BuildOptions
    from edge_sdk.export.generic.bring import Brought, Stated
    from edge_sdk.export.models.model import UserModel
    from edge_sdk.export.option import TaskOptions
    from edge_sdk.export.tasks.base import Built, ExportTask


def check(options: ModelOptions) -> None:
    """Raise BadUsage for what is wrong with the options alone, before anything heavy is imported or a file is read."""
    out = options.out
    checked_out(out)
    if out.is_dir() or (out.exists() and not options.overwrite):
        raise BadUsage("the file already exists", where=f"--out {out}", hint="Name another file, or give --overwrite")
    variants_of(options.variant)
    axes_of(options.axis or ())
    if not options.dry_run:
        atomic.folder(out.parent)


def made(models: Mapping[str, UserModel], options: ModelOptions, *, axes: Mapping[str, int] | None = None) -> None:
    """Read a sample, show the plan or build the bundle, and print what came out. models: by role. axes: largest sizes
    that are known besides those of --axis."""
    from edge_sdk.export import build as library
    from edge_sdk.export.family import FamilyOptions
    from edge_sdk.export.generic.bring import brought
    from edge_sdk.export.tasks import export_task

    wanted = _wanted(options)
    may_replace = library.unless_changed(wanted)  # from here on, since reading many samples takes long
    found = brought(models, stated(models, options, axes or {}))
    for note in found.notes:
        terminal.note(note)
    task, of_task = export_task(found.family.task), task_options(found.family.task, options)
    task.check(found.samples, of_task)
    warnings = _checked(found, task, of_task, options)  # at once, and in a dry run; the build says them at its end
    if options.dry_run:
        found = replace(found, warnings=(*found.warnings, *(f"warning: {one}" for one in warnings)))
        terminal.emit(_plan_json(found, options), as_json=options.json, text=_plan_text(found, options))
        return
    with terminal.progress() as progress:
        trained = found.family.train(
            found.samples, FamilyOptions(seed=options.seed, threads=options.threads), folder=options.out.parent
        )
        built = library.build(
            found.family, found.samples, trained, of_task, wanted, may_replace=may_replace, progress=progress
        )
    notes = [*found.warnings, *_too_new(built)]
    refused = refused_here(built)
    measured = quality(built)
    text = [*_lines(built), *([""] if measured else []), *measured, *not_packed(built), *task.lines(built), *notes, "",
            *written(built, task, refused)]  # fmt: skip
    facts = {**_json(built), **task.facts(built), "notes": notes, "refused_here": refused}
    terminal.emit(facts, as_json=options.json, text="\n".join(text))


def _checked(found: Brought, task: ExportTask, of_task: TaskOptions, options: ModelOptions) -> tuple[str, ...]:
    """Whatever would stop the build before or after its calibration, with the options named instead of the bundle that
    is not there yet; warnings. Raises BadInput, BadUsage."""
    from edge_sdk.export.family import Exported
    from edge_sdk.export.pack import setup_of

    family = found.family
    exported = Exported(graphs=family.float_graphs, settings=family.settings, preprocessing=family.preprocessing)
    try:
        task.check_exported(exported, of_task)
        setup_of(exported, tasks.task(family.task), family=family.name, where=f"--task {family.task}")
    except BadBundle as exc:  # nothing was exported that could be exported again
        raise BadInput(str(exc.args[0]), where=exc.where, hint=exc.hint if "--" in exc.hint else "") from exc
    except BadInput as exc:
        if exc.where != "--labels" or options.labels is None:
            raise
        raise BadInput(f"it holds {exc.args[0]}", where=f"--labels {shown(options.labels)}", hint=exc.hint) from exc
    return task.check_answers(exported, lambda role: next(iter(found.samples.by_role[role])))


def task_options(task: str, options: ModelOptions) -> TaskOptions:
    """What the command line states of exporting the task. Raises BadUsage for an option that the task does not have."""
    from edge_sdk.export.option import specs_of
    from edge_sdk.export.tasks import options_of

    kind = options_of(task)
    given = {name: value for name in ("test", "group") if (value := getattr(options, name)) is not None}
    if unknown := [name for name in given if name not in specs_of(kind)]:
        from edge_sdk.export.generic.settings import other_task

        hint = other_task("it", unknown[0], lambda name: specs_of(options_of(name)))
        raise BadUsage(f"the task {task} takes no --{unknown[0]}", hint=hint)
    return kind(**given)


def stated(models: Mapping[str, UserModel], options: ModelOptions, axes: Mapping[str, int]) -> Stated:
    """The options as the library takes them."""
    from edge_sdk.export.generic.bring import Stated

    roles = tuple(models)
    return Stated(
        data=one_each(by_role(options.data, roles, "--data"), "--data"), axes={**axes, **axes_of(options.axis or ())},
        exclude=by_role(options.exclude or (), roles, "--exclude"), variants=variants_of(options.variant),
        trials=trials_of(options), picture=picture_of(options), task=options.task or "", settings=settings_of(options),
        seed=options.seed, metadata=options.metadata,
    )  # fmt: skip


def _wanted(options: ModelOptions) -> BuildOptions:
    from edge_sdk.export.build import BuildOptions

    return BuildOptions(
        name=options.out.stem if options.name is None else options.name, out=options.out,
        key=terminal.signing_key(options.key) if options.key else None, force=options.force,
        bound=bound_of(options), overwrite=options.overwrite,
    )  # fmt: skip


def _plan_json(found: Brought, options: ModelOptions) -> dict[str, object]:
    from edge_sdk.runtimes.onnx_file import read_facts

    family = found.family
    models = {}
    for role, graph in family.float_graphs.items():
        facts = read_facts(graph.onnx, where=role)
        models[role] = {
            "inputs": msgspec.to_builtins(facts.inputs), "outputs": msgspec.to_builtins(facts.outputs),
            "opset": facts.opset, "axes": dict(graph.axes), "samples": len(found.samples.by_role[role]),
            "variants": None if graph.variants is None else list(graph.variants),
        }  # fmt: skip
    return {
        "models": models, "task": family.task, "settings": msgspec.to_builtins(family.settings),
        "preprocessing": msgspec.to_builtins(family.preprocessing), "bundle": str(options.out),
        "notes": [*found.notes, *found.warnings],
    }  # fmt: skip


def _plan_text(found: Brought, options: ModelOptions) -> str:
    from edge_sdk.runtimes.onnx_file import read_facts

    family, rows = found.family, list[tuple[str, str]]()
    for role, graph in family.float_graphs.items():
        facts = read_facts(graph.onnx, where=role)
        several = len(family.float_graphs) > 1
        rows += [("model", role)] if several else []
        rows += [("input", _words(spec)) for spec in facts.inputs] + [
            ("output", _words(spec)) for spec in facts.outputs
        ]
        rows += [("samples", f"{len(found.samples.by_role[role])}, the first one was read and fits")]
        wanted = ("fp32", *(MADE_BY_DEFAULT if graph.variants is None else graph.variants))
        rows += [("variants", ", ".join(name for name in KINDS if name in wanted))]
    rows += [("task", family.task)]
    if (record := family.preprocessing) is not None:
        rows += [("pictures", f"{record.height} x {record.width} px, {record.mode}, fill {record.fill}")]
    rows += [("bundle", f"{options.out}: {'would be replaced' if options.out.exists() else 'would be written'}")]
    return "\n".join([*(f"{name:<9} {text}" for name, text in rows), *found.warnings])


def _words(spec: object) -> str:
    from edge_sdk.tensors import TensorSpec

    assert isinstance(spec, TensorSpec)
    return f"{spec.name}: {spec.dtype} ({', '.join(map(str, spec.shape))})"


def _json(built: Built) -> dict[str, object]:
    import msgspec

    from edge_sdk.bundle.store import Bundle

    reports = {role: msgspec.to_builtins(one.report) for role, one in built.made.quantized.items()}
    with Bundle.open(built.path) as bundle:
        counts = {graph.name: graph.int8_ran for graph in bundle.manifest.graphs}
    return {"bundle": str(built.path), **built.evaluation.to_json(), "int8_ran": counts, "calibration": reports}


def _lines(built: Built) -> list[str]:
    """Error of each variant against the float graph, and what each runtime ran in int8."""
    from edge_sdk.bundle.store import Bundle
    from edge_sdk.export import calibrated
    from edge_sdk.export.sections import Table

    out = []
    for one in built.made.quantized.values():
        for block in calibrated.blocks(one.report):
            out.append(terminal.table(block.header, block.rows) if isinstance(block, Table) else block.text)
        out += calibrated.sentences(one.report)
    with Bundle.open(built.path) as bundle:
        for graph in bundle.manifest.graphs:
            ran = ", ".join(f"{count} on {runtime}" for runtime, count in graph.int8_ran.items())
            planned = counted(graph.int8_planned, "operator")
            out += [f"{graph.name}: {planned} in int8; measured here: {ran}"] if ran else []
    return out


def _too_new(built: Built) -> list[str]:
    """A line that names the target profiles which read none of the graphs, if there are any, and what to do.

    The graphs are not converted down: onnx 1.23 has no way back from opset 20 for Gelu, or from 18 for ReduceMean.
    """
    from edge_sdk.bundle.store import Bundle
    from edge_sdk.runtimes.targets import TARGETS

    with Bundle.open(built.path) as bundle:
        oldest = min(graph.opset for graph in bundle.manifest.graphs)
    cannot = [target for target in TARGETS if not target.refusal and target.opset < oldest]
    if not cannot:
        return []
    read = min(target.opset for target in cannot)
    names = ", ".join(target.name for target in cannot)
    return [f"The graphs have opset {oldest}, which {names} can't read: export the model with opset {read} for them."]
