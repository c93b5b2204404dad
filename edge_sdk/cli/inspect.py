"""The verb `inspect`: what is in a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_sdk.cli import terminal
from edge_sdk.cli.options import Bundle, Json, Keys, Trust, policy

if TYPE_CHECKING:
    from edge_sdk.bundle.manifest import Graph
    from edge_sdk.summary import BundleSummary


def inspect(
    bundle: Bundle, json: Json = False, trust: Trust = "if-present", keys: Keys = None,
    extract: Annotated[str | None, typer.Option(help="Write this graph as a complete ONNX file (see --to).")] = None,
    to: Annotated[Path | None, typer.Option(help="Output file of --extract. Default: GRAPH.onnx.")] = None,
) -> None:  # fmt: skip
    """Check every hash and signature of a bundle and show its content.

    verify checks everything as well; predict and profile check only the members that they read.

    Example: edge-sdk inspect line3.edge --extract fp32 --to line3.onnx
    """
    from edge_sdk.atomic import writing
    from edge_sdk.bundle.store import Bundle as Opened
    from edge_sdk.summary import inspect as summarize

    if extract is not None:
        target = to or Path(f"{extract}.onnx")
        with Opened.open(bundle, trust=policy(trust, keys)) as opened:
            whole = opened.graph(extract)
        with writing(target) as (file, _):
            file.write(whole)
        terminal.note(f"wrote {target}")
        return
    summary = summarize(bundle, trust=policy(trust, keys))
    terminal.emit(summary.to_json(), as_json=json, text=_text(summary))


def _text(summary: BundleSummary) -> str:
    m = summary.manifest
    lines = [
        f"{summary.path}  {summary.size_bytes / 1e6:.2f} MB, schema {m.schema}, {summary.signature.words}",
        f"digest     {summary.digest}",
        f"model      {m.name}: family {m.family}, task {m.task}",
        *(f"{name:<10} {text}" for name, text in summary.task),
        f"made       {m.provenance.created_utc} by edge-sdk {m.provenance.product_version}: "
        f"{' '.join(m.provenance.command)}",
        f"golden     {len(m.golden)} samples ({', '.join(g.label or '-' for g in m.golden)})",
        f"sharing    weights stored once save {summary.shared_bytes_saved / 1e6:.2f} MB",
        "",
        terminal.table(
            ("graph", "role", "variant", "layout", "opset", "MB", "stored MB", "int8 planned", "int8 run"),
            [
                (
                    g.name, g.role, g.variant, g.layout, str(g.opset), f"{g.size_bytes / 1e6:.2f}",
                    f"{s.stored_bytes / 1e6:.2f}", str(g.int8_planned or "-"), _int8(g),
                )
                for g, s in zip(m.graphs, summary.graphs, strict=True)
            ],
        ),
        "",
        *(f"refused    {g.name} on {name}, when packed: {why}" for g in m.graphs for name, why in g.refused.items()),
        *(f"target     {', '.join(names)}: {words}" for words, names in _by_words(m.targets).items()),
        "",
    ]  # fmt: skip
    for i, d in enumerate(summary.decisions, start=1):
        later = [other for other in summary.decisions[i:] if other.kind == d.kind]
        state = "replaced" if later else "in force"
        lines.append(f"decision {i}  {state}: {d.summary()}, {d.created_utc} {d.author}".rstrip())
        lines.append(f"            {d.words}")
        lines += [f"            warning: {w}" for w in d.warnings]
    if not summary.decisions:
        lines.append("decision    none yet")
    return "\n".join(lines)


def _by_words(said: Mapping[str, str]) -> dict[str, list[str]]:
    """Names by what is said of them: of most targets the same."""
    out: dict[str, list[str]] = {}
    for name, words in said.items():
        out.setdefault(words, []).append(name)
    return out


def _int8(graph: Graph) -> str:
    """By runtime, how many operators ran in int8 when the bundle was packed: fewer or more than were planned."""
    if not graph.int8_planned:
        return "-"
    return ", ".join(f"{runtime} {count}" for runtime, count in graph.int8_ran.items()) or "not measured"


COMMANDS = (inspect,)
