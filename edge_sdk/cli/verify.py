"""The verb `verify`: golden samples through every runtime present."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_sdk.cli import terminal
from edge_sdk.cli.options import Bundle, Json, Keys, Runtimes, Trust, Variants, policy

if TYPE_CHECKING:
    from edge_sdk.verify import VerifyReport


def verify(
    bundle: Bundle, runtime: Runtimes = None, variant: Variants = None, json: Json = False,
    trust: Trust = "if-present", keys: Keys = None,
    device: Annotated[str | None, typer.Option(help="The runtime's own device name.")] = None,
) -> None:  # fmt: skip
    """Replay the golden samples on every runtime present, alone and in batches, twice. Exit 1 if one answer is off.

    Example: edge-sdk verify line3.edge --runtime openvino
    """
    from edge_sdk import verify as library

    report = library.verify(
        bundle, runtimes=runtime or (), variants=variant or (), device=device, trust=policy(trust, keys),
        progress=terminal.on_stderr(),
    )  # fmt: skip
    terminal.emit(report.to_json(), as_json=json, text=_text(report, bundle))
    raise typer.Exit(0 if report.passed else 1)


def _text(report: VerifyReport, bundle: Path) -> str:
    rows = []
    for row in report.rows:
        for part, checks in (("alone", row.outputs), ("batch", row.batch_outputs)):
            for output in sorted({c.output.split("[")[0] for c in checks}):
                mine = [c for c in checks if c.output.split("[")[0] == output]
                worst = max(mine, key=lambda c: c.worst / c.allowed if c.allowed else c.worst)
                verdict = "pass" if all(c.passed for c in mine) else "FAIL"
                rows.append((
                    row.graph, row.runtime, row.precision, part, output, str(len(mine)), f"{worst.relative:.1e}",
                    f"{worst.worst / worst.allowed:.0%} of allowed" if worst.allowed else "exact", verdict,
                ))  # fmt: skip
        if row.problem:
            rows.append((row.graph, row.runtime, row.precision, "-", "-", "-", "-", row.problem, "FAIL"))
        elif not row.repeatable:
            rows.append((row.graph, row.runtime, row.precision, "twice", "-", "2", "-", "two runs differ", "FAIL"))
    header = ("graph", "runtime", "precision", "run", "output", "checks", "relative", "worst", "verdict")
    lines = [terminal.table(header, rows)]
    lines.append(
        f"pictures: {report.pictures} of {report.samples} become their tensor exactly"
        + (f" (off by up to {report.worst_picture_difference} grey levels)" if report.worst_picture_difference else "")
    )
    lines += [f"not here: {name} ({why})" for name, why in report.absent]
    lines.append(f"{bundle}: {'verified' if report.passed else 'NOT verified'}")
    return "\n".join(lines)


COMMANDS = (verify,)
