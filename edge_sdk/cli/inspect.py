"""The verb `inspect`: what is in a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_sdk.cli import terminal
from edge_sdk.cli.options import Bundle, Json, Keys, Trust, policy

if TYPE_CHECKING:
    from edge_sdk.bundle.summary import BundleSummary


def inspect(
    bundle: Bundle, json: Json = False, trust: Trust = "if-present", keys: Keys = None,
    extract: Annotated[str | None, typer.Option(help="Write this graph, whole, as an ONNX file (see --to).")] = None,
    to: Annotated[Path | None, typer.Option(help="Where --extract writes; default: GRAPH.onnx here.")] = None,
) -> None:  # fmt: skip
    """Check every hash and signature of a bundle and show what it holds.

    verify checks all of it too; predict and profile check the parts that they read, and no others.

    Example: edge-sdk inspect line3.edge --extract fp32 --to line3.onnx
    """
    from edge_sdk.atomic import writing
    from edge_sdk.bundle.store import Bundle as Opened
    from edge_sdk.bundle.summary import inspect as summarize

    if extract is not None:
        target = to or Path(f"{extract}.onnx")
        with Opened.open(bundle, trust=policy(trust, keys)) as opened:
            whole = opened.graph(extract)
        with writing(target) as (file, _):
            file.write(whole)
        terminal.note(f"wrote {target}")
        return
    told = summarize(bundle, trust=policy(trust, keys))
    terminal.emit(told.to_json(), as_json=json, text=_text(told))


def _text(told: BundleSummary) -> str:
    m, p = told.manifest, told.manifest.preprocessing
    wide = f"are read as {p.bit_depth} bits" if p.bit_depth else "are refused"
    border = f", border {p.border} px" if p.border else ""
    lines = [
        f"{told.path}  {told.size_bytes / 1e6:.2f} MB, schema {m.schema}, {told.signature.words}",
        f"digest     {told.digest}",
        f"model      {m.name}: family {m.family}, task {m.task}; score = {m.reduction}",
        f"input      {p.width} x {p.height} px, {p.mode}{border}, 16-bit pictures {wide}",
        f"made       {m.provenance.created_utc} by edge-sdk {m.provenance.product_version}: "
        f"{' '.join(m.provenance.command)}",
        f"golden     {len(m.golden)} samples ({', '.join(g.label or '-' for g in m.golden)})",
        f"sharing    weights stored once save {told.shared_bytes_saved / 1e6:.2f} MB",
        "",
        terminal.table(
            ("graph", "variant", "layout", "opset", "MB", "stored MB", "int8 convolutions"),
            [
                (
                    g.name, g.variant, g.layout, str(g.opset), f"{g.size_bytes / 1e6:.2f}",
                    f"{s.stored_bytes / 1e6:.2f}", str(g.int8_convolutions),
                )
                for g, s in zip(m.graphs, told.graphs, strict=True)
            ],
        ),
        "",
        *(f"target     {name}: {words}" for name, words in m.targets.items()),
        "",
    ]  # fmt: skip
    for i, d in enumerate(told.decisions, start=1):
        state = "in force" if d is told.decisions[-1] else "replaced"
        lines.append(f"decision {i}  {state}: score > {d.threshold:.6g}, {d.rule}, {d.created_utc} {d.author}".rstrip())
        lines.append(f"            {d.words}")
        lines += [f"            warning: {w}" for w in d.warnings]
    if not told.decisions:
        lines.append("decision    none: verdicts are undecided. edge-sdk threshold sets one from good parts")
    return "\n".join(lines)


COMMANDS = (inspect,)
