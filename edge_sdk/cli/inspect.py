"""The verb `inspect`: what is in a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from edge_sdk.bundle.store import Bundle as Opened
from edge_sdk.cli import terminal
from edge_sdk.cli.options import Bundle, Json, Keys, Trust, policy
from edge_sdk.text_table import text_table


def inspect(
    bundle: Bundle, json: Json = False, trust: Trust = "if-present", keys: Keys = None,
    extract: Annotated[
        str | None, typer.Option(help="Write this graph, whole, as an ONNX file (see --to).")
    ] = None,
    to: Annotated[Path | None, typer.Option(help="Where --extract writes; default: GRAPH.onnx here.")] = None,
) -> None:  # fmt: skip
    """Check every hash and signature of a bundle and show what it holds.

    Example: edge-sdk inspect line3.edge --extract fp32 --to line3.onnx
    """
    with Opened.open(bundle, trust=policy(trust, keys)) as opened:
        if extract is not None:
            target = to or Path(f"{extract}.onnx")
            target.write_bytes(opened.graph(extract))
            terminal.note(f"wrote {target}")
            return
        told = {
            "path": str(bundle), "digest": opened.digest, "size_bytes": bundle.stat().st_size,
            "manifest": msgspec.to_builtins(opened.manifest), "decisions": msgspec.to_builtins(opened.decisions),
            "signature": opened.signature.words,
        }  # fmt: skip
        terminal.emit(told, as_json=json, text=_text(opened))


def _text(opened: Opened) -> str:
    m = opened.manifest
    total = opened.path.stat().st_size
    whole = sum(g.size_bytes for g in m.graphs)
    weights = sum(v.size_bytes for k, v in m.members.items() if k.startswith(("graphs/", "weights/")))
    p = m.preprocessing
    border = f", border {p.border} px" if p.border else ""
    lines = [
        f"{opened.path}  {total / 1e6:.2f} MB, schema {m.schema}, {opened.signature.words}",
        f"digest     {opened.digest}",
        f"model      {m.name}: family {m.family}, task {m.task}; score = {m.reduction}",
        f"input      {p.width} x {p.height} px, {p.mode}{border}, 16-bit pictures: {p.bit_depth or 'refused'}",
        f"made       {m.provenance.created_utc} by edge-sdk {m.provenance.product_version}: "
        f"{' '.join(m.provenance.command)}",
        f"golden     {len(m.golden)} samples ({', '.join(g.label or '-' for g in m.golden)})",
        f"sharing    graphs are {whole / 1e6:.2f} MB, stored in {weights / 1e6:.2f} MB",
        "",
        text_table(
            ("graph", "variant", "layout", "opset", "MB", "int8 convolutions"),
            [
                (g.name, g.variant, g.layout, str(g.opset), f"{g.size_bytes / 1e6:.2f}", str(g.int8_convolutions))
                for g in m.graphs
            ],
        ),
        "",
    ]
    for i, d in enumerate(opened.decisions, start=1):
        lines.append(f"decision {i}  score > {d.threshold:.6g}, {d.rule}, {d.created_utc} {d.author}".rstrip())
        lines.append(f"            {d.words}")
        lines += [f"            warning: {w}" for w in d.warnings]
    if not opened.decisions:
        lines.append("decision    none: verdicts are undecided. edge-sdk threshold sets one from good parts")
    return "\n".join(lines)


COMMANDS = (inspect,)
