"""The verb `threshold`: show or refit a bundle's threshold on site.

The only verb that knows a task by name: thresholds are the site records of `anomaly` and mean nothing to other tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from edge_sdk.cli import terminal
from edge_sdk.cli.options import Bundle, Json, Keys, Runtime, Threads, Trust, Variant, policy
from edge_sdk.counted import counted
from edge_sdk.decision.threshold import Threshold
from edge_sdk.errors import BadUsage

if TYPE_CHECKING:
    from edge_sdk.bundle.signing import TrustPolicy


def threshold(
    bundle: Bundle,
    good: Annotated[
        Path | None, typer.Option(help="Folder of pictures of good parts from this camera, not used in training.")
    ] = None,
    defects: Annotated[
        Path | None, typer.Option(help="Folder of defective pictures: uses the cost rule; --rate is ignored.")
    ] = None,
    rate: Annotated[
        str | None, typer.Option(help="Requested false-reject rate of good parts. Default: 1%.")
    ] = None,
    confidence: Annotated[str | None, typer.Option(help="Hold the rate with this confidence, such as 95%.")] = None,
    fixed: Annotated[float | None, typer.Option(help="Set this threshold directly.")] = None,
    cost_miss: Annotated[
        float | None, typer.Option(help="Cost of a missed defect, in any unit. Default: 10.")
    ] = None,
    cost_reject: Annotated[float | None, typer.Option(help="Cost of a rejected good part. Default: 1.")] = None,
    prevalence: Annotated[str | None, typer.Option(help="Share of defective parts on the line. Default: 1%.")] = None,
    group: Annotated[
        str | None, typer.Option(help="Regular expression that names the part in a file name, or TABLE.csv:COLUMN.")
    ] = None,
    author: Annotated[str, typer.Option(help="Who decides; stored in the record.")] = "",
    key: Annotated[Path | None, typer.Option(help="The site's .key file: signs the decisions.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the result, write nothing.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Write it even if many of the good pictures score like defects.")
    ] = False,
    runtime: Runtime = None, variant: Variant = None, threads: Threads = None,
    trust: Trust = "if-present", keys: Keys = None, json: Json = False,
) -> None:  # fmt: skip
    """Refit the threshold from good pictures, without a new export. Without options, show the history.

    Example: edge-sdk threshold line3.edge --good photos/good --rate 1%
    """
    from edge_sdk import atomic
    from edge_sdk.bundle.store import Bundle as Opened
    from edge_sdk.decision.rates import parse_rate
    from edge_sdk.loading import load_as
    from edge_sdk.tasks.anomaly import refit
    from edge_sdk.tasks.anomaly.detector import AnomalyDetector
    from edge_sdk.tasks.anomaly.evidence import look_at

    costs = {"--cost-miss": cost_miss, "--cost-reject": cost_reject, "--prevalence": prevalence}
    rates = {"--rate": rate, "--confidence": confidence}
    where = {"--group": group, "--runtime": runtime, "--variant": variant, "--threads": threads}
    kept = {"--author": author or None, "--key": key, "--dry-run": dry_run or None}
    if good is not None and fixed is not None:
        raise BadUsage("--good and --fixed exclude each other", hint="Give one of them")
    if good is None:
        pictures = {"--defects": defects, **rates, **costs, **where, "--force": force or None}
        _refuse(pictures if fixed is not None else {**pictures, **kept}, "without --good", "Add --good FOLDER")
    elif defects is None:
        _refuse(costs, "without --defects", "Add --defects FOLDER, or leave it out")
    else:
        _refuse(rates, "with --defects, which uses the cost rule", "Use --cost-miss, --cost-reject and --prevalence")
    if good is None and fixed is None:
        _show(bundle, policy(trust, keys), as_json=json)
        return
    if trust == "required" and key is None and not dry_run:
        raise BadUsage(
            "without --key the decisions would be unsigned, and --trust required refuses such a bundle",
            hint="Add --key FILE with the site's key",
        )
    signer = terminal.signing_key(key) if key else None
    if not dry_run and bundle.is_file():
        atomic.folder(bundle.parent)  # fails before the pictures are scored, not after
    evidence = refit.Stated(group=group or "", author=author)
    if fixed is not None:
        made = refit.by_hand(bundle, fixed, evidence, trust=policy(trust, keys))
    else:
        asked: dict[str, Any] = {
            "good": good, "defects": defects, "rate": rate, "cost_miss": cost_miss, "cost_reject": cost_reject,
            "confidence": None if confidence is None else float(parse_rate(confidence, "confidence")),
            "prevalence": None if prevalence is None else float(parse_rate(prevalence, "prevalence")),
        }  # fmt: skip
        request = refit.Request(**{name: value for name, value in asked.items() if value is not None})
        with Opened.open(bundle, trust=policy(trust, keys), lazy=True) as opened:
            refit.require_anomaly(opened)  # `load_as` would say it to a program, not to a command line
        with (
            load_as(
                AnomalyDetector, bundle, runtime=runtime, variant=variant, threads=threads, trust=policy(trust, keys)
            ) as detector,
            terminal.progress() as progress,
        ):
            made = refit.from_pictures(detector, request, evidence, progress=progress)
        for folder in filter(None, (good, defects)):
            terminal.left_out(folder)
    record = made.decision
    if not dry_run:
        record = refit.put_in_force(bundle, made, key=signer, force=force)
        if made.signed_by and signer is None:
            terminal.note(
                f"warning: the decisions were signed by key {made.signed_by} and are now unsigned: --trust required "
                "will refuse this bundle. Sign them again with --key FILE"
            )
    for words in (*made.left_out, *filter(None, [look_at(made.highest)])):
        terminal.note(f"note: {words}")
    text = f"{_text(record, 'not written' if dry_run else 'in force')}\n{made.change}"
    terminal.emit({**made.to_json(), "decision": msgspec.to_builtins(record)}, as_json=json, text=text)
    terminal.note("dry run: nothing was written" if dry_run else f"{bundle}: decision {record.digest[:12]} is in force")


def _show(bundle: Path, trust: TrustPolicy, *, as_json: bool) -> None:
    """The history, and which decision is in force."""
    from edge_sdk.bundle.store import Bundle as Opened
    from edge_sdk.tasks.anomaly.refit import require_anomaly

    with Opened.open(bundle, trust=trust) as opened:
        require_anomaly(opened)
        thresholds = [record for record in opened.decisions if isinstance(record, Threshold)]
        shown = {
            "decisions": msgspec.to_builtins(thresholds), "in_force": thresholds[-1].digest if thresholds else ""
        }  # fmt: skip
        terminal.emit(shown, as_json=as_json, text=_history(thresholds))


def _refuse(options: Mapping[str, object], why: str, hint: str) -> None:
    """Raises BadUsage if an option was given that has no effect."""
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise BadUsage(f"{', '.join(given)} has no effect {why}", hint=hint)


def _history(decisions: Sequence[Threshold]) -> str:
    if not decisions:
        return "no decision yet: verdicts are undecided. Give --good FOLDER"
    *earlier, last = decisions
    return "\n".join([*(_text(d, "replaced") for d in earlier), _text(last, "in force")])


def _text(d: Threshold, state: str) -> str:
    behind = f"{counted(d.pictures, 'picture')} of {counted(d.parts, 'part')}, " if d.pictures else ""
    by = f" by {d.author}" if d.author else ""
    lines = [f"{state}: score > {d.threshold:.6g}  ({d.rule}, {behind}{d.created_utc}{by})", f"  {d.words}"]
    return "\n".join([*lines, *(f"  warning: {w}" for w in d.warnings)])


COMMANDS = (threshold,)
