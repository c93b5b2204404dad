"""The verb `threshold`: show or refit the decision of a bundle on site."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from edge_sdk.cli import terminal
from edge_sdk.cli.options import Bundle, Json, Keys, Runtime, Threads, Trust, Variant, policy
from edge_sdk.errors import BadUsage

if TYPE_CHECKING:
    from edge_sdk.decision import Decision


def threshold(
    bundle: Bundle,
    good: Annotated[Path | None, typer.Option(help="Folder of good pictures from this camera.")] = None,
    defects: Annotated[
        Path | None, typer.Option(help="Folder of defective pictures: the cost rule is used.")
    ] = None,
    rate: Annotated[str, typer.Option(help="False-reject rate asked for, of good parts.")] = "1%",
    confidence: Annotated[
        float | None, typer.Option(help="Hold the rate with this confidence, percent.")
    ] = None,
    fixed: Annotated[float | None, typer.Option(help="Set this threshold by hand.")] = None,
    cost_miss: Annotated[float, typer.Option(help="Cost of a missed defect, against --cost-reject.")] = 10.0,
    cost_reject: Annotated[float, typer.Option(help="Cost of a good part rejected.")] = 1.0,
    prevalence: Annotated[float, typer.Option(help="Share of defects on the line, percent.")] = 1.0,
    group: Annotated[
        str | None, typer.Option(help="Regular expression that names the part in a file name, or TABLE.csv:COLUMN.")
    ] = None,
    author: Annotated[str, typer.Option(help="Who decides; kept in the record.")] = "",
    key: Annotated[Path | None, typer.Option(help="The site's .key file: signs the decisions.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Compute and show, write nothing.")] = False,
    runtime: Runtime = None, variant: Variant = None, threads: Threads = None,
    trust: Trust = "if-present", keys: Keys = None, json: Json = False,
) -> None:  # fmt: skip
    """Refit the threshold from good pictures, without exporting again; the history is kept. Without options: show it.

    Example: edge-sdk threshold line3.edge --good photos/good --rate 1%
    """
    from edge_sdk import refit
    from edge_sdk.bundle.signing import SigningKey
    from edge_sdk.bundle.store import Bundle as Opened
    from edge_sdk.bundle.store import append_decision

    if good is None and fixed is None:
        with Opened.open(bundle, trust=policy(trust, keys)) as opened:
            told = msgspec.to_builtins(opened.decisions)
            terminal.emit({"decisions": told}, as_json=json, text=_text(opened.decisions))
        return
    if good is not None and fixed is not None:
        raise BadUsage("--good and --fixed are two ways to decide", do="Give one of them")
    evidence = refit.Stated(group=group or "", author=author)
    if fixed is not None:
        record = refit.by_hand(bundle, fixed, evidence, trust=policy(trust, keys))
    else:
        assert good is not None
        request = refit.Request(
            good=good, defects=defects, rate=rate, confidence=None if confidence is None else confidence / 100,
            cost_miss=cost_miss, cost_reject=cost_reject, prevalence=prevalence / 100,
        )  # fmt: skip
        record = refit.from_pictures(
            bundle, request, evidence, runtime=runtime, variant=variant, threads=threads, trust=policy(trust, keys),
            progress=terminal.on_stderr(),
        )  # fmt: skip
        for folder in filter(None, (good, defects)):
            terminal.left_out(folder)
    if not dry_run:
        with append_decision(bundle, record, key=SigningKey.load(key) if key else None) as written:
            record = written.decisions[-1]
    terminal.emit({"decision": msgspec.to_builtins(record)}, as_json=json, text=_text((record,)))
    terminal.note("dry run: nothing was written" if dry_run else f"{bundle}: decision {record.digest[:12]} is in force")


def _text(decisions: tuple[Decision, ...]) -> str:
    if not decisions:
        return "no decision yet: verdicts are undecided. Give --good FOLDER"
    lines = []
    for d in decisions:
        lines.append(
            f"score > {d.threshold:.6g}  ({d.rule}, {d.pictures} pictures of {d.parts} parts, {d.created_utc})"
        )
        lines.append(f"  {d.words}")
        lines += [f"  warning: {w}" for w in d.warnings]
    return "\n".join(lines)


COMMANDS = (threshold,)
