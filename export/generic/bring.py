"""From models as users have them to a family with its samples, all checked: what `quantize` and `export` share.

The steps: a front for pictures where they are stated, axes, samples, the task's settings. Knows no task's meaning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from edge_sdk import tasks
from edge_sdk.calibration import graphs
from edge_sdk.calibration.sizes import check_sample
from edge_sdk.calibration.trials import THOROUGH, Trials
from edge_sdk.counted import counted
from edge_sdk.errors import BadUsage
from edge_sdk.export.family import FloatGraph
from edge_sdk.export.generic import front, metadata
from edge_sdk.export.generic.answered import as_answered
from edge_sdk.export.generic.family import Generic, RoleSamples
from edge_sdk.export.generic.golden import check_differ
from edge_sdk.export.generic.picture import PictureOptions, check_range, stated
from edge_sdk.export.generic.picture_folder import PictureInput
from edge_sdk.export.generic.samples import FEW, RANDOM_ONLY, ArraySamples, RandomSamples, is_arrays, samples_of
from edge_sdk.export.generic.settings import TENSOR, fields_of, other_task, settings_of
from edge_sdk.export.models.model import UserModel, changed
from edge_sdk.export.pack import axes_of
from edge_sdk.shown import shown
from edge_sdk.tensors import BATCH


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """What a user states of models, besides the models.

    data: by role, a folder, an .npz file or "random:64". axes: the largest size of each free axis, by its name in the
    files. exclude: by role, nodes that stay float in int8. variants: besides fp32, None = all. trials: what is
    tried for int8. picture: fields of `PictureOptions`, {} = no input takes pictures. task, settings: the task's name,
    "" = tensor, and fields of its settings. seed: of random samples. metadata: whether what the file of an only model
    says of itself counts where nothing is stated.
    """

    data: Mapping[str, str]
    axes: Mapping[str, int] = field(default_factory=dict)
    exclude: Mapping[str, Sequence[str]] = field(default_factory=dict)
    variants: tuple[str, ...] | None = None
    trials: Trials = THOROUGH
    picture: Mapping[str, Any] = field(default_factory=dict)
    task: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    metadata: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Brought:
    """What a bundle is built of. notes: what was found out and changed, for people; warnings: what is wrong with the
    result for the same reason."""

    family: Generic
    samples: RoleSamples
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def brought(models: Mapping[str, UserModel], wanted: Stated) -> Brought:
    """The models by role with what is stated of them. The first sample of each role is read. Raises BadInput, BadUsage,
    before anything is computed."""
    _check_roles(models, wanted)
    wanted, said = _with_metadata(models, wanted)
    task = wanted.task or TENSOR
    settings = settings_of(task, wanted.settings)
    options = stated(wanted.picture, where="") if wanted.picture else None
    picture: tuple[str, PictureInput] | None = None
    given = models
    if options is not None:
        check_range(options)
        role, options = _role_of_picture(models, options)
        made, takes = _with_front(models[role], options)
        models, picture = {**models, role: made}, (role, takes)
    float_graphs: dict[str, FloatGraph] = {}
    samples: dict[str, ArraySamples] = {}
    warnings: list[str] = []
    axes = _Axes(wanted.axes, given, models)
    for role, model in models.items():
        float_graphs[role] = FloatGraph(
            onnx=model.onnx, axes=axes.of(role), keep_fp32_in_int8=tuple(wanted.exclude.get(role, ())),
            variants=wanted.variants, trials=wanted.trials,
        )  # fmt: skip
        sizes = axes_of(float_graphs[role], model.facts.inputs)
        read = samples[role] = samples_of(
            wanted.data[role], model.facts.inputs, sizes, seed=wanted.seed,
            picture=picture[1] if picture is not None and picture[0] == role else None,
        )  # fmt: skip
        if isinstance(read, RandomSamples):  # before one is drawn; calibration checks the first that it reads
            check_sample(graphs.parsed(model.onnx), read.shapes)
            warnings += [RANDOM_ONLY] if RANDOM_ONLY not in warnings else []
        else:
            check_differ(role, read)
            calibrates = wanted.variants is None or bool(wanted.variants)
            warnings += [_few(len(read), role, models)] if calibrates and len(read) < FEW else []
        answered = as_answered(model, next(iter(read)))
        float_graphs[role] = replace(float_graphs[role], onnx=answered.onnx)
        said += answered.notes[len(model.notes) :]
    notes = (*(note for model in models.values() for note in model.notes), *said, *axes.notes)
    return Brought(
        family=Generic(
            float_graphs=float_graphs, task=task, settings=settings,
            preprocessing=None if picture is None else picture[1].record,
        ),
        samples=RoleSamples(by_role=samples), notes=notes, warnings=tuple(warnings),
    )  # fmt: skip


def _few(count: int, role: str, models: Mapping[str, UserModel]) -> str:
    of = f" of {role}" if len(models) > 1 else ""
    return (
        f"warning: calibrated on {counted(count, 'sample')}{of} alone: other inputs may leave their ranges. Give "
        f"{FEW} or more; a hundred are usual."
    )


def _check_roles(models: Mapping[str, UserModel], wanted: Stated) -> None:
    for what, given in (("--data", wanted.data), ("--exclude", wanted.exclude)):
        if strange := [role for role in given if role not in models]:
            raise BadUsage(f"there is no model {shown(strange[0])}", where=what, hint=f"Of {', '.join(models)}")
    if missing := [role for role in models if role not in wanted.data]:
        raise BadUsage(
            f"the model {missing[0]} has no samples", where="--data", hint=f"Give --data {missing[0]}=FOLDER, too"
        )


def _with_metadata(models: Mapping[str, UserModel], wanted: Stated) -> tuple[Stated, list[str]]:
    """What is stated, and what the file of an only model proposes where nothing is; what was taken, in words.

    Its preprocessing is left out where the samples are arrays: they are what the network itself takes.
    """
    found = metadata.proposed(next(iter(models.values())).metadata) if len(models) == 1 else metadata.Proposed()
    if not wanted.metadata:
        found = metadata.Proposed()
    if "labels" in wanted.settings and not wanted.task and not found.labels and found.task not in tasks.names():
        raise BadUsage(  # as names alone they would change nothing
            f"the task {TENSOR} scores no classes", where="--labels",
            hint=other_task("--labels", "scores", fields_of),
        )  # fmt: skip
    if not found.tool:
        return wanted, []
    role = next(iter(models))
    picture = {} if is_arrays(wanted.data[role]) else dict(found.picture)
    if not models[role].free_sides:
        picture.pop("size", None)
    picture = {name: value for name, value in picture.items() if name not in wanted.picture}
    task = found.task if not wanted.task and found.task in tasks.names() else ""
    named = wanted.task or task or TENSOR
    labels = bool(found.labels) and "labels" not in wanted.settings and "labels" in fields_of(named)
    settings = {**(found.settings if task else {}), **({"labels": found.labels} if labels else {}), **wanted.settings}
    stated_now = replace(wanted, picture={**picture, **wanted.picture}, task=named, settings=settings)
    note = metadata.in_words(found, picture, labels=labels, task=bool(task))
    return stated_now, [note, *found.notes] if picture else [note]


def _role_of_picture(models: Mapping[str, UserModel], options: PictureOptions) -> tuple[str, PictureOptions]:
    """The role whose graph gets the front, and the options with the input's own name."""
    if len(models) == 1:
        return next(iter(models)), options
    role, found, name = options.input.partition("/")
    if not found or role not in models:
        raise BadUsage(
            "which of the models takes pictures is not said", where="--picture-input",
            hint=f"Write --picture-input ROLE/INPUT, where ROLE is one of {', '.join(models)}",
        )  # fmt: skip
    return role, msgspec.structs.replace(options, input=name)


def _with_front(model: UserModel, options: PictureOptions) -> tuple[UserModel, PictureInput]:
    made = front.with_front(graphs.parsed(model.onnx), options, where=model.where)
    record = made.preprocessing
    size = f"{record.height} x {record.width}"
    note = (
        f"pictures become uint8 {size} ({record.mode}), and the graph normalizes them"
        if made.added else f"pictures become uint8 {size} ({record.mode}); the graph is as it was"
    )  # fmt: skip
    takes = PictureInput(name=made.input, record=record)
    return changed(model, front.checked(made.model, where=model.where), note=f"{shown(made.input)}: {note}"), takes


class _Axes:
    """The stated sizes of free axes, for each role. Raises BadUsage for one that no graph has, and for the batch stated
    by two names. given: as the user names their axes; models: of which a front may have fixed some."""

    def __init__(
        self, axes: Mapping[str, int], given: Mapping[str, UserModel], models: Mapping[str, UserModel]
    ) -> None:
        self._axes, self._models = axes, models
        self.notes: list[str] = []
        for called in dict.fromkeys(model.facts.batch_name for model in models.values() if model.facts.batch_name):
            self.notes.append(f"the axis {shown(called)} is the batch: its rows are samples, and run in batches")
            if {BATCH, called} <= set(axes):
                raise BadUsage(
                    f"{BATCH} and {shown(called)} are one axis, the batch", where="--axis", hint="State one size"
                )
        known = {axis for model in given.values() for axis in _called(model)}
        if strange := sorted(set(axes) - known):
            raise BadUsage(f"the graph has no free axis {shown(strange[0])}", where="--axis")

    def of(self, role: str) -> dict[str, int]:
        """By the names of the role's graph."""
        names = _called(self._models[role])
        return {name: self._axes[stated_as] for stated_as, name in names.items() if stated_as in self._axes}


def _called(model: UserModel) -> dict[str, str]:
    """What a user may call each free axis -> what the specs call it."""
    names = {axis: axis for spec in model.facts.inputs for axis in spec.axes}
    called = model.facts.batch_name
    return names | ({called: BATCH} if called and BATCH in names else {})
