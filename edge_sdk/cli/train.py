"""The verb `train`: data to bundle, with the options of one family and its task. Knows no family, no task."""

from __future__ import annotations

import errno
import inspect
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from edge_sdk.cli import dataclass_options, terminal
from edge_sdk.cli.options import Json
from edge_sdk.counted import counted, did_you_mean, listed
from edge_sdk.errors import BadUsage
from edge_sdk.extras import need_exporting
from edge_sdk.shown import shortened, shown

if TYPE_CHECKING:
    from edge_sdk.export.build import BuildPlan
    from edge_sdk.export.family import FamilyOptions
    from edge_sdk.export.option import TaskOptions
    from edge_sdk.export.tasks.base import Built


class Families(TyperGroup):
    """One command per family, built on first use: listing the names imports no family."""

    def list_commands(self, ctx: Any) -> list[str]:
        from edge_sdk.export import registry

        return list(registry.names())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        from edge_sdk.export import registry

        if cmd_name not in registry.names():
            names = ", ".join(registry.names())
            raise BadUsage(
                f"there is no family {shown(cmd_name)}",
                hint=f"{did_you_mean(cmd_name, registry.names())}"
                f"edge-sdk train FAMILY DATA --out NAME.edge, where FAMILY is one of {names}",
            )
        alone = typer.Typer(rich_markup_mode=None, add_completion=False)
        alone.command(name=cmd_name)(command_of(cmd_name, fixed=_of_exports(cmd_name)))
        return typer.main.get_command(alone)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        from edge_sdk.export import registry

        with formatter.section("Families"):
            formatter.write_dl(list(registry.abouts().items()))


GROUP = typer.Typer(
    name="train",
    cls=Families,
    help="Train a model of a family, quantize it, evaluate it, and write one bundle.\n\n"
    "edge-sdk train FAMILY --help lists the options of a family. Ctrl-C stops and keeps a checkpoint; the same command "
    "resumes from it.\n\nExample: edge-sdk train efficientad photos/good --out line3.edge --time-budget 10min",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def _of_exports(family: str) -> dict[str, Any]:
    """The options of a family that no training offers, as they are by default."""
    from edge_sdk.export import registry
    from edge_sdk.export.option import defaults_of, specs_of

    options = registry.described(family).options
    return {name: defaults_of(options)[name] for name, spec in specs_of(options).items() if spec.exporting}


def command_of(family: str, *, fixed: Mapping[str, Any] | None = None, doc: str = "") -> Callable[..., None]:
    """The command of one family: its signature joins the options of the family, its task, and every training. fixed:
    values of parameters that are not asked for. doc: the help text, "" = that of a training."""
    from edge_sdk.export import registry, tasks
    from edge_sdk.export.family import FamilyOptions
    from edge_sdk.export.option import specs_of

    home = registry.described(family)
    task = tasks.options_of(home.task)
    common = tuple(name for name in specs_of(FamilyOptions) if name not in ("steps", "time_budget_s"))
    own = dataclass_options.parameters(home.options, but=common)
    last = [one for one in dataclass_options.parameters(home.options) if one.name in common]
    every = inspect.signature(_options, eval_str=True).parameters

    def command(**given: Any) -> None:
        _train(family, home.options, task, fixed_values | given)

    places = [_data(task), every["out"], *own, *dataclass_options.parameters(task), *last]
    places += [parameter for name, parameter in every.items() if name != "out"]
    fixed_values = dict(fixed or {})
    places = [place for place in places if place.name not in fixed_values]
    _check_unique(places, family, home.task)
    # typer reads a command's options from its signature; for mypy a function has no such attribute.
    command.__signature__ = inspect.Signature(places)  # type: ignore[attr-defined]
    command.__annotations__ = {place.name: place.annotation for place in places}
    command.__doc__ = (
        f"{home.about}\n\n{doc}"
        if doc
        else (
            f"{home.about}\n\nCtrl-C stops and keeps a checkpoint; the same command resumes from it.\n\n"
            f"Example: edge-sdk train {family} {task.data_name} --out {family}.edge"
        )
    )
    return command


def _check_unique(places: Sequence[inspect.Parameter], family: str, task: str) -> None:
    """Raises BadUsage if a family or task of another package reuses the name of an option."""
    names = [place.name for place in places]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadUsage(
            f"the option {twice[0]} is defined twice: by {family}, by its task {task}, or by edge-sdk train",
            hint="Rename it in the package that defines it",
        )  # fmt: skip


def _data(task: type[TaskOptions]) -> inspect.Parameter:
    argument = typer.Argument(metavar=task.data_name, help=task.data_help, show_default=False)
    if task.data_needed:
        return inspect.Parameter("data", inspect.Parameter.KEYWORD_ONLY, annotation=Annotated[Path, argument])
    optional = Annotated[Path | None, argument]
    return inspect.Parameter("data", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=optional)


def _options(
    *,
    out: Annotated[Path, typer.Option(help="The bundle to write, NAME.edge.", show_default=False)],
    run: Annotated[Path | None, typer.Option(help="Run folder with checkpoints. Default: OUT.run beside OUT.")] = None,
    key: Annotated[Path | None, typer.Option(help="Sign the bundle with this .key file (edge-sdk keygen).")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Overwrite OUT unconditionally.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Accept int8 graphs with a large error.")] = False,
    calibration_samples: Annotated[
        int | None, typer.Option(min=1, help="Samples that int8 is calibrated on, of each graph. Default: 64.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check all inputs and show the plan; train nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Options of every family."""


def checked_out(out: Path, run: Path | None = None) -> None:
    """Raises BadUsage if --out or --run can't be written, before the work starts."""
    for option, path in (("--out", out), ("--run", run)):
        if path is not None and _too_long(path):
            raise BadUsage("the name is too long", where=f"{option} {shortened(path)}", hint="Give a shorter name")
    if out.suffix != ".edge":
        raise BadUsage(f"--out {out} does not end in .edge", hint=f"Write --out {out.with_suffix('.edge')}")
    if shown(out) != str(out) or shown(run or "") != str(run or ""):  # safetensors takes only text as path
        raise BadUsage(f"--out {shown(out)} or --run is not a plain UTF-8 name", hint="Use a plain UTF-8 name")
    if not out.parent.is_dir():
        raise BadUsage(f"the folder of --out {out} does not exist", hint=f"mkdir -p {out.parent}")


def _too_long(path: Path) -> bool:
    """Whether no file of this name can be, which its file system alone knows."""
    try:
        path.lstat()
    except OSError as exc:
        return exc.errno == errno.ENAMETOOLONG
    return False


def _train(
    family: str, family_options: type[FamilyOptions], task_options: type[TaskOptions], given: Mapping[str, Any]
) -> None:
    out, run, key, json = given["out"], given["run"], given["key"], given["json"]
    checked_out(out, run)
    options = dataclass_options.made(family_options, given)
    stated = dataclass_options.made(task_options, given)
    need_exporting()
    from edge_sdk.export import build as library
    from edge_sdk.export import registry, tasks
    from edge_sdk.export.tasks.base import Reading
    from edge_sdk.export.training import launch
    from edge_sdk.progress import silent

    follows = launch.found().rank > 0  # of several processes the first alone says anything

    folder = run or out.with_suffix(".run")
    wanted = library.BuildOptions(
        name=out.stem, out=out, key=terminal.signing_key(key) if key else None, overwrite=given["overwrite"],
        force=given["force"], samples=given["calibration_samples"] or library.CALIBRATION_SAMPLES,
    )  # fmt: skip
    task = tasks.export_task(registry.described(family).task)
    # Data first: importing the family takes seconds, and bad data should fail at once.
    with terminal.progress() as progress:
        how = Reading(
            seed=options.seed, preprocessing=options.preprocessing(), scratch=folder,
            progress=silent if follows else progress,
        )  # fmt: skip
        data = task.read(given["data"], stated, how)
    plan = library.plan(registry.family(family), data, options, stated, wanted, folder=folder)
    _check_trains(plan, task_options)
    if follows:
        if not given["dry_run"]:
            library.follow(plan)
        return
    for line in plan.checked.left_out:
        terminal.note(line)
    if given["dry_run"]:
        terminal.emit(_plan_json(plan), as_json=json, text=_plan_text(plan))
        return
    for line in (f"training: {_ending(plan)}", *plan.checked.notes):
        terminal.note(line)
    with terminal.progress() as progress:
        built = library.make(plan, progress=progress)
    refused = refused_here(built)
    terminal.emit(_built_json(built) | {"refused_here": refused}, as_json=json, text=_built_text(built, plan, refused))


def _check_trains(plan: BuildPlan, task: type[TaskOptions]) -> None:
    """Raises BadUsage for a training of nothing that was not asked for: a forgotten folder would give the weights that
    ship under the name of the user's own model."""
    from edge_sdk.export.option import as_is_of

    flag = as_is_of(type(plan.options))
    if plan.training.trains or flag is None or getattr(plan.options, flag.field):
        return
    raise BadUsage(
        "there is nothing to train on" if plan.data is None else "nothing would be trained",
        hint=f"Name a {task.data_name}, or export the weights as they are: edge-sdk export {plan.family.name}, or "
        f"{flag.name}",
    )


def _plan_json(plan: BuildPlan) -> dict[str, object]:
    training = plan.training
    return {
        **plan.checked.facts, **training.facts, "steps": training.steps, "time_budget_s": training.time_budget_s,
        "threads": plan.threads, "run": str(plan.folder), "kept_step": training.kept_step,
        "trains": training.trains, "finished": training.finished, "bundle": str(plan.wanted.out),
        "replaces": plan.replaces,
    }  # fmt: skip


def _plan_text(plan: BuildPlan) -> str:
    training, out = plan.training, plan.wanted.out
    rows = [
        *plan.checked.rows,
        *training.rows,
        ("training", _ending(plan)),
        ("threads", str(plan.threads)),
        ("run folder", f"{plan.folder}: {_kept(training.kept_step)}"),
        ("bundle", f"{out}: {'replaces the bundle of the same run' if plan.replaces else 'will be written'}"),
    ]
    return "\n".join([*(f"{name:<20} {text}" for name, text in rows), *plan.checked.notes])


def _ending(plan: BuildPlan) -> str:
    training = plan.training
    then = listed((*training.after, "quantization", "evaluation"), "and")
    if not training.trains:
        return "none; the weights are exported as they are" + (f"; then {then}" if training.after else "")
    if training.finished:
        return "already complete; the bundle is built from the saved model"
    ends = [counted(training.steps, "step")] if training.steps is not None else []
    ends += [terminal.clock(training.time_budget_s)] if training.time_budget_s is not None else []
    first = ", whichever comes first" if len(ends) > 1 else ""
    return f"{' or '.join(ends) or 'none'}{first}; then {then}"


def _kept(step: int | None) -> str:
    return "new" if step is None else f"holds a checkpoint of this run at step {step}"


def _built_json(built: Built) -> dict[str, object]:
    from edge_sdk.export.tasks import export_task

    task = export_task(built.made.family.task)
    refused = {"not_packed": dict(built.refused)} if built.refused else {}
    return {"bundle": str(built.path), **built.evaluation.to_json(), **refused, **task.facts(built)}


def quality(built: Built) -> list[str]:
    """What the task measured, as lines."""
    lines = built.evaluation.lines()
    return [line if isinstance(line, str) else terminal.table(line.header, line.rows) for line in lines]


def _built_text(built: Built, plan: BuildPlan, refused: Mapping[str, str]) -> str:
    said = [_trained(built, plan), *not_packed(built), *plan.task.lines(built)]
    return "\n".join([*quality(built), "", *said, "", *written(built, plan.task, refused)])


def not_packed(built: Built) -> list[str]:
    """A line for each variant that the task refused."""
    return [f"not packed: {variant}: {why}" for variant, why in built.refused.items()]


def refused_here(built: Built) -> dict[str, str]:
    """By runtime, why a device like this one would refuse the bundle: better read now than there."""
    from edge_sdk.loading import refused

    return refused(built.path)


def written(built: Built, task: Any, refused: Mapping[str, str]) -> list[str]:
    """The file that was written, what `refused_here` found, and the next commands."""
    size, name = built.path.stat().st_size / 1e6, shlex.quote(str(built.path))
    steps = (f"edge-sdk verify {name}", *task.next_steps(name))
    warnings = [
        f"warning: load refuses the bundle on {runtime} unless a variant is named that runs there: {why}"
        for runtime, why in refused.items()
    ]
    return [f"wrote {built.path} ({size:.1f} MB). Next:", *(f"  {step}" for step in steps), *warnings]


def _trained(built: Built, plan: BuildPlan) -> str:
    done, training = built.trained, plan.training
    if not training.trains:
        return "nothing was trained: the weights are exported as they are"
    text = f"{counted(done.steps, 'step')} in {terminal.clock(done.training_s)} on {counted(done.samples, 'sample')}"
    if training.finished:
        return f"already trained: {text}"
    text = f"trained: {text}"
    if training.steps is not None and done.steps < training.steps:
        return f"{text}; the time budget ended before {counted(training.steps, 'step')}"
    return text
