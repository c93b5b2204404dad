"""report.html: what a bundle does, on one page that needs no network. Knows sections; no task, no network.

What a task has to show comes from its export part (`cards`, `sections`); speed, verification, calibration, training and
provenance are the same for all.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from edge_sdk import atomic
from edge_sdk.bundle.manifest import Manifest, Provenance
from edge_sdk.bundle.store import Bundle
from edge_sdk.counted import counted
from edge_sdk.export import calibrated, drawing
from edge_sdk.export.family import FamilyOptions, Trained
from edge_sdk.export.option import as_is_of, defaults_of, specs_of
from edge_sdk.export.sections import (
    Block,
    Card,
    Drawing,
    Drawings,
    Folded,
    Section,
    Table,
    Text,
    facts_table,
    filled,
)
from edge_sdk.export.speeds import Key, Ratio, Speeds
from edge_sdk.export.tasks import export_task
from edge_sdk.export.tasks.base import Built
from edge_sdk.extras import need
from edge_sdk.profiling.run import ProfileReport
from edge_sdk.profiling.statistics import shown_ms
from edge_sdk.runtimes import targets
from edge_sdk.verify import VerifyReport

LONG_WORD = 40
"""Characters: a provenance note that is one longer word, such as sums of files, is for programs alone."""
_NBSP = "\u00a0"
_INTERVAL = re.compile(r"\[[^\[\]]*\]")
_UNIT = re.compile(r"(?<=[\d\]]) (%|pp|ms|s|MiB|MB)(?!\w)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the page shows besides the build: speed, verification, what the task shows, the machine of all of it."""

    speeds: Speeds
    verified: VerifyReport
    machine: Mapping[str, str]
    sections: tuple[Section, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Everything that the template shows, in its order."""

    title: str
    lead: str
    cards: tuple[Card, ...]
    sections: tuple[Section, ...]
    licence: str


def measured(built: Built, *, speeds: Speeds, verified: VerifyReport, machine: Mapping[str, str]) -> Measured:
    """With the sections of the task, which may run the bundle for them: the page itself measures nothing."""
    sections = export_task(built.made.family.task).sections(built, verified)
    return Measured(speeds=speeds, verified=verified, machine=machine, sections=tuple(sections))


def write(path: Path, built: Built, measured: Measured) -> None:
    """The page, and `report.json` beside it with every figure on it."""
    page = _page(built, measured)
    jinja = need("jinja2", extra="export")
    environment = jinja.Environment(autoescape=True, undefined=jinja.StrictUndefined, trim_blocks=True)
    environment.filters["unbroken"] = _unbroken
    template = resources.files("edge_sdk.export").joinpath("report.html.j2").read_text("utf-8")
    atomic.write(path, environment.from_string(template).render(r=page))
    task, speeds = export_task(built.made.family.task), measured.speeds
    metrics = {
        **built.evaluation.to_json(), **task.facts(built),
        **{name: value for section in page.sections for name, value in section.facts.items()},
        "latency": {"/".join(k): v.to_json() for k, v in speeds.latency.items()},
        "ratios": {"/".join(k): v.to_json() for k, v in speeds.ratios.items()},
        "machine": dict(measured.machine), "verify": measured.verified.to_json(),
        "training": built.trained.summary(),
        "calibration": {role: msgspec.to_builtins(one.report) for role, one in built.made.quantized.items()},
    }  # fmt: skip
    atomic.write(path.with_suffix(".json"), json.dumps(metrics, indent=1, default=str))


def _page(built: Built, measured: Measured) -> Page:
    with Bundle.open(built.path) as bundle:
        manifest = bundle.manifest
    task, made = export_task(built.made.family.task), manifest.provenance
    return Page(
        title=_title(manifest.name, built),
        lead=_lead(built, made.created_utc, measured.machine),
        cards=(*task.cards(built), *_fastest(measured)),
        sections=tuple(
            replace(section, blocks=tuple(_filled(block) for block in section.blocks))
            for section in (
                *measured.sections,
                *_speeds(manifest, measured.speeds),
                _verified(measured.verified),
                *_calibrations(built),
                _training(built.trained),
                Section(title="Made by", blocks=(_provenance(made),)),
            )
        ),
        licence=made.licence,
    )


def _title(name: str, built: Built) -> str:
    """The bundle's name, and what it does with which family."""
    task, family = export_task(built.made.family.task), built.made.family
    return f"{name}: {task.title} with {family.title}" if task.title else f"{name}: {family.title}"


def _filled(block: Block) -> Block:
    """With no empty column in its tables."""
    if isinstance(block, Folded):
        return replace(block, blocks=tuple(filled(one) if isinstance(one, Table) else one for one in block.blocks))
    return filled(block) if isinstance(block, Table) else block


def _unbroken(cell: str) -> str:
    """A cell that a narrow page breaks between values alone: not inside an interval, not before a unit."""
    cell = _INTERVAL.sub(lambda found: found[0].replace(" ", _NBSP), cell)
    return _UNIT.sub(lambda found: _NBSP + found[1], cell)


def _utc(stamp: str) -> str:
    """An ISO time in UTC as people write it: "2026-11-30 07:36 UTC"; another text as it is."""
    try:
        return f"{datetime.fromisoformat(stamp).astimezone(timezone.utc):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        return stamp


def _stated(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Without those that say nothing: empty texts, lists and objects, and what is unknown."""
    return {name: value for name, value in facts.items() if value is not None and value not in ("", (), [], {})}


def cut_short(trained: Trained) -> str:
    """A warning where the time ended a training before its steps did, "" where it did not."""
    wanted = trained.options.steps
    if wanted is None or trained.steps >= wanted:
        return ""
    return (
        f"Only {trained.steps} of {wanted} training steps fitted into the time: the machine is busy or slow, and every "
        "figure of quality is worse for it. Give it more with --time-budget"
    )


def _lead(built: Built, when: str, machine: Mapping[str, str]) -> str:
    facts = " · ".join(f"{k} {v}" for k, v in machine.items())
    stated, size = options_words(built.trained.options), built.path.stat().st_size
    named = built.trained.facts.get("size")  # of a family with several sizes and no option for them
    network = f"{built.made.family.title}, size {named}" if named else built.made.family.title
    what = f"{network}, {stated}, {size / 1e6:.1f} MB with all variants"
    warning = cut_short(built.trained)
    return f"{warning + '. ' if warning else ''}{what}. Made {_utc(when)}. Machine: {facts}."


def options_words(options: FamilyOptions) -> str:
    """What was stated about a model: text, and what is not as it is by default; the seed; no path, and nothing that
    every training has."""
    defaults, common, out = defaults_of(type(options)), specs_of(FamilyOptions), []
    as_is = as_is_of(type(options))
    for name, spec in specs_of(type(options)).items():
        value = getattr(options, name)
        if name in common or spec.kind == "path" or value is None:
            continue
        if spec.kind == "text" or value != defaults[name]:
            words = "trained weights" if as_is is not None and name == as_is.field else name.replace("_", " ")
            out.append(words if value is True else f"{words} {value}")
    return ", ".join([*out, f"seed {options.seed}"])


def _fastest(measured: Measured) -> tuple[Card, ...]:
    found = min(measured.speeds.latency.items(), key=lambda kv: kv[1].total.p50, default=None)
    if found is None:
        return ()
    (variant, runtime), speed = found
    words = f"{variant} on {runtime}, {measured.machine.get('instruction set', '')}; machine {speed.noise.word}"
    return (Card(value=f"{speed.words('p50')} ms", name="fastest whole predict, median", words=words),)


_STAGES = {
    "infer": "infer: the call of the runtime.",
    "overhead": "overhead: the whole call minus its stages.",
}
SPEED = ("median ms", "p90", "p99", "calls/s", "speed to fp32")


def _speeds(manifest: Manifest, speeds: Speeds) -> tuple[Section, ...]:
    """How fast a variant is on a runtime, and where the time goes, for those that were timed."""
    if not speeds.latency:
        return ()
    sizes = {key: _size(manifest, *key) / 1e6 for key in speeds.latency}
    rows = tuple(
        (*key, f"{sizes[key]:.2f}", *_speed(speed), str(speeds.ratios.get(key, "-")))
        for key, speed in speeds.latency.items()
    )
    whole = "Whole predict call on input in memory, one at a time, on the machine named above."
    stages = {name for speed in speeds.latency.values() for name in speed.stages}
    where = " ".join(["Median of each stage, in ms.", *(words for name, words in _STAGES.items() if name in stages)])
    return (
        Section(
            title="Speed",
            blocks=(
                Text(text=whole), Table(header=("variant", "runtime", "MB", *SPEED), rows=rows),
                *(Text(text=note, small=True) for note in _speed_notes(speeds)),
            ),
        ),
        Section(title="Where the time goes", blocks=(Text(text=where), _stages(speeds.latency))),
    )  # fmt: skip


def _size(manifest: Manifest, variant: str, runtime: str) -> int:
    """Bytes of the graphs of all roles that a runtime takes of a variant, the layout that it likes best of each."""
    roles = dict.fromkeys(graph.role for graph in manifest.graphs)
    taken = (targets.taken([g for g in manifest.graphs if g.role == role], variant, runtime) for role in roles)
    return sum(graph.size_bytes for graph in taken if graph is not None)


def _speed(speed: ProfileReport) -> tuple[str, ...]:
    return (
        _short(speed, "p50"),
        _short(speed, "p90"),
        _short(speed, "p99"),
        shown_ms(1000 / speed.total.mean, speed.stability.verdict),
    )


def _short(speed: ProfileReport, name: str) -> str:
    """The figure, or how many calls it needs; the words in full are in report.json."""
    words = speed.words(name)
    return f"too few calls: {speed.total.n}" if words.startswith(f"{name}:") else words


_LAST = ("infer", "postprocess", "overhead", "total")


def _stages(latency: Mapping[Key, ProfileReport]) -> Table:
    seen = dict.fromkeys(name for speed in latency.values() for name in speed.stages)
    names = (*(name for name in seen if name not in _LAST), *_LAST)
    rows = tuple(
        (*key, *(speed.words("p50", stage=n) if n in speed.stages else "-" for n in names))
        for key, speed in latency.items()
    )
    return Table(header=("variant", "runtime", *names[:-1], "total (median), ms"), rows=rows)


def _speed_notes(speeds: Speeds) -> list[str]:
    """How the numbers were measured, for how long each, and how far they can be trusted. The machine is the same for
    all: it is described once, as it was in the noisiest run."""
    noise = max((speed.noise for speed in speeds.latency.values()), key=lambda one: one.ratio)
    return [
        "One call after the other. p90 and p99 only where enough calls were made for them; in brackets the upper end "
        "of what they may be. Speed to fp32: same runtime, both sides in one interleaved run in two processes. The "
        "runs are short: edge-sdk profile measures for longer.",
        *(_measured(key, speed, speeds.ratios.get(key)) for key, speed in speeds.latency.items()),
        f"Machine: {noise.meaning}.",
    ]


def _measured(key: Key, speed: ProfileReport, ratio: Ratio | None) -> str:
    paired = "" if ratio is None else f" Speed to fp32: {ratio.measured}."
    return (
        f"{key[0]} on {key[1]}: {counted(speed.run.calls, 'call')} in {speed.run.seconds:.1f} s. "
        f"Run: {speed.stability.meaning}.{paired}"
    )


def _verified(verified: VerifyReport) -> Section:
    passed = verified.passed
    outcome = "all within the differences that the bundle allows." if passed else "not all agree, see FAIL below."
    words = (
        "The bundle's golden samples, from what a user would give to every output, replayed through every runtime that "
        f"is here, alone and at each position of a batch, twice: {outcome}"
    )
    return Section(
        title="Verified on this machine" if passed else "Not verified on this machine",
        blocks=(Text(text=words), Folded(title="Every check", blocks=_checks(verified), opened=not passed)),
    )


def _checks(verified: VerifyReport) -> tuple[Table | Text, ...]:
    """What `edge-sdk verify` shows, its table as a table."""
    tables: list[Table] = []

    def kept(header: Sequence[str], rows: Iterable[Sequence[str]], /) -> str:
        tables.append(Table(header=tuple(header), rows=tuple(tuple(row) for row in rows)))
        return ""

    lines = [line for line in verified.text(kept).split("\n") if line]
    return (*tables, *(Text(text=line, small=True) for line in lines))


def _calibrations(built: Built) -> list[Section]:
    several = len(built.made.quantized) > 1
    return [
        Section(
            title=f"Calibration of {role}" if several else "Calibration",
            blocks=(
                Text(
                    text=" ".join(calibrated.sentences(one.report))
                    + " Differences are relative (L2), of graphs computed as the ONNX standard defines."
                ),
                *calibrated.blocks(one.report),
            ),
        )
        for role, one in built.made.quantized.items()
    ]


_OF_TRAINING = ("steps", "training_s", "samples")
"""Facts of every run that say nothing where nothing was trained."""


def _training(trained: Trained) -> Section:
    stated = _stated(trained.summary())
    if not trained.steps and not trained.history:
        own = {name: value for name, value in stated.items() if name not in _OF_TRAINING}
        facts = Folded(title="Facts of the weights", blocks=(facts_table(own),))
        return Section(title="Weights", blocks=(Text(text="Nothing was trained: the weights are unchanged."), facts))
    facts = Folded(title="Facts of the run", blocks=(facts_table(stated),))
    return Section(title="Training", blocks=(*_losses(trained.history), facts))


def _losses(history: Sequence[tuple[int, Mapping[str, float]]]) -> tuple[Block, ...]:
    """The curve of the loss; a sentence for a single value, which is no curve; nothing where no step had a loss."""
    sums = [(step, float(sum(values.values()))) for step, values in history if values]
    losses = [(step, total) for step, total in sums if math.isfinite(total)]
    if not losses:
        return ()
    if len(losses) == 1:
        ((step, loss),) = losses
        return (Text(text=f"Training loss, all terms, up to step {step}: {loss:.4g}."),)
    caption = f"Training loss, the mean of the steps since the value before it: {counted(len(losses), 'value')}."
    return (Drawings(drawings=(Drawing(svg=drawing.curve(losses, "loss, all terms"), caption=caption),)),)


def _provenance(made: Provenance) -> Folded:
    """Without the licence, which stands below it, and without notes that only a program can read."""
    facts = msgspec.to_builtins(made)
    del facts["licence"]
    facts["command"] = shlex.join(made.command)
    facts["notes"] = {name: value for name, value in made.notes.items() if len(value) <= LONG_WORD or " " in value}
    facts["created_utc"] = _utc(made.created_utc)
    if not made.samples:
        del facts["samples"]
    return Folded(title="Command, versions, data", blocks=(facts_table(_stated(facts)),))
