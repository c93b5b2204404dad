"""The verb `lint`: what a runtime would refuse, misread or run in float, and a graph without it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_sdk.cli import terminal
from edge_sdk.cli.options import Json, Keys, Trust, policy
from edge_sdk.errors import BadUsage
from edge_sdk.plain_file import read

if TYPE_CHECKING:
    from onnx import ModelProto

    from edge_sdk.calibration.lint.draft import Mended

_FILE = "an .onnx file"
Graph = Annotated[Path, typer.Argument(help="An .onnx file, or a .edge file: all its graphs.", show_default=False)]
For = Annotated[
    list[str] | None,
    typer.Option("--for", help="onnxruntime, openvino or tensorrt; several times. Default: all, layout not checked."),
]
Fix = Annotated[bool, typer.Option("--fix", help="Fix what can be fixed exactly. Without --out: only show what.")]
FixAll = Annotated[
    bool, typer.Option("--fix-all", help="As --fix, and what changes values as well; each line says so.")
]
Out = Annotated[Path | None, typer.Option(help="Where the fixed graph is written.", show_default=False)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Overwrite OUT unconditionally.")]


def lint(
    graph: Graph, target: For = None, fix: Fix = False, fix_all: FixAll = False, out: Out = None,
    overwrite: Overwrite = False, json: Json = False, trust: Trust = "if-present", keys: Keys = None,
) -> None:  # fmt: skip
    """Check graphs against the portable int8 contract, without running them. Exit 1 if a rule is broken.

    Example: edge-sdk lint model.onnx --for openvino --for tensorrt

    Example: edge-sdk lint model.onnx --fix --out fixed.onnx
    """
    from edge_sdk.extras import need

    need("onnx", extra="quantize")
    from edge_sdk.calibration.lint.linter import lint as check

    mends = fix or fix_all
    _refuse(graph, out, mends=mends, overwrite=overwrite)
    asked = tuple(target or ())
    given, why = (b"", "") if graph.suffix == ".edge" else _weights_inside(graph, refuse=mends)
    model, done, notes = _mended(given, asked, exact=not fix_all, where=str(graph)) if mends else (None, (), ())
    if model is not None:
        given = bytes(model.SerializeToString())
    found = [
        (name, one.rule, one.node, one.what, one.hint, _option(one.fix))
        for name, data, targets in _graphs(graph, given, asked, trust, keys)
        for one in check(data, targets, where=str(graph), outside_because=why)
    ]
    if out is not None and model is not None:
        _write(out, model)
    keys_of_violation = ("graph", "rule", "node", "what", "hint", "fixed_by")
    info: dict[str, object] = {
        "graph": str(graph), "for": list(asked),
        "violations": [dict(zip(keys_of_violation, one, strict=True)) for one in found],
    }  # fmt: skip
    if mends:
        info |= {"fixed": [_facts(one) for one in done], "out": None if out is None else str(out), "notes": list(notes)}
    terminal.emit(info, as_json=json, text="\n".join([_text(graph, out, done if mends else None, found), *notes]))
    raise typer.Exit(1 if found else 0)


def _refuse(graph: Path, out: Path | None, *, mends: bool, overwrite: bool) -> None:
    """BadUsage for options that don't go together, before anything is read."""
    if mends and graph.suffix == ".edge":
        raise BadUsage("a bundle's graphs are not fixed", where=str(graph), hint="Fix the .onnx file it is made of")
    if out is None:
        return
    if not mends:
        raise BadUsage("--out is for a fixed graph", hint="Give --fix or --fix-all, too")
    if out.is_dir() or (out.exists() and not overwrite):
        raise BadUsage("the file already exists", where=f"--out {out}", hint="Name another file, or give --overwrite")


def _weights_inside(path: Path, *, refuse: bool) -> tuple[bytes, str]:
    """The file with the weights that it keeps beside it, read as `quantize` reads them; as it is, and why, where they
    can't be. refuse: raise BadInput for that."""
    from edge_sdk.calibration import graphs
    from edge_sdk.calibration.lint.linter import parsed
    from edge_sdk.errors import BadInput
    from edge_sdk.export.models.external import check_places, read_into

    data = read(path, what=_FILE)
    model = parsed(data, where=str(path))
    outside = [t for t in graphs.tensors(model) if t.data_location == t.EXTERNAL]
    if not outside:
        return data, ""
    try:
        check_places(path, outside)
    except BadInput as exc:
        if refuse:
            raise
        return data, str(exc.args[0])
    read_into(path, outside)
    return bytes(model.SerializeToString()), ""


def _mended(
    graph: bytes, asked: tuple[str, ...], *, exact: bool, where: str
) -> tuple[ModelProto, tuple[Mended, ...], tuple[str, ...]]:
    from edge_sdk.calibration.graphs import Index
    from edge_sdk.calibration.lint.linter import parsed
    from edge_sdk.calibration.lint.mend_check import mended
    from edge_sdk.calibration.saturation.layers import unsafe_share

    model, done, notes = mended(parsed(graph, where=where), asked, exact=exact)
    if not exact and (share := unsafe_share(Index.of(model))):
        notes += (
            f"{share:.1%} of weight pairs can saturate in 16 bits on x86 CPUs without VNNI; quantize the float model "
            "with edge-sdk quantize, variant int8-w7",
        )  # fmt: skip
    return model, done, notes


def _write(out: Path, model: ModelProto) -> None:
    from edge_sdk import atomic
    from edge_sdk.calibration import graphs

    atomic.write(out, graphs.dump(model))


def _text(graph: Path, out: Path | None, done: tuple[Mended, ...] | None, found: Sequence[tuple[str, ...]]) -> str:
    """What was fixed, where it went, and what is left."""
    parts = []
    if done is not None:
        rows = [(one.rule, one.node, one.what, "no" if one.exact else "yes") for one in done]
        parts.append(terminal.table(("rule", "node", "fixed", "changes values"), rows) if rows else "nothing to fix")
        if out is None and rows:
            parts.append("nothing written: give --out FILE for that")
        elif out is not None:
            parts.append(f"written: {out}")
    header = ("graph", "rule", "node", "what", "what to do", "fixed by")
    parts.append(terminal.table(header, found) if found else f"{graph if out is None else out}: portable")
    return "\n".join(parts)


def _option(fix: str) -> str:
    return {"exact": "--fix", "values": "--fix-all"}.get(fix, "")


def _facts(one: Mended) -> dict[str, str | bool]:
    return {"rule": one.rule, "node": one.node, "what": one.what, "exact": one.exact}


def _graphs(
    path: Path, given: bytes, asked: tuple[str, ...], trust: str, keys: Path | None
) -> Iterator[tuple[str, bytes, tuple[str, ...]]]:
    """Name, bytes and what to check for: of an ONNX file `given`; a bundle's graph is checked for each runtime that its
    layout is meant for."""
    from edge_sdk.bundle.store import Bundle
    from edge_sdk.calibration.lint.linter import RUNTIMES
    from edge_sdk.runtimes import targets

    if path.suffix != ".edge":
        yield path.name, given, asked
        return
    with Bundle.open(path, trust=policy(trust, keys)) as bundle:
        for graph in bundle.manifest.graphs:
            for runtime in asked or RUNTIMES:
                if runtime not in RUNTIMES or targets.takes(runtime, graph):
                    yield f"{graph.name} for {runtime}", bundle.graph(graph.name), (runtime,)


COMMANDS = (lint,)
