"""The verb `quantize`: make a bundle from any ONNX file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_sdk import atomic
from edge_sdk.cli import terminal
from edge_sdk.cli.options import Json
from edge_sdk.cli.train import checked_out, refused_here, written
from edge_sdk.counted import counted
from edge_sdk.errors import BadUsage
from edge_sdk.extras import QUANTIZING, need_exporting
from edge_sdk.shown import shown

if TYPE_CHECKING:
    from edge_sdk.export.tasks.base import Built

VARIANTS = ("fp32", "fp16", "int8", "int8-w7")


def quantize(
    model: Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="An ONNX file in float32.", show_default=False)],
    data: Annotated[
        str, typer.Option(help="A folder of .npz files, one .npz file of samples, or random:64.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="The bundle to write, NAME.edge.", show_default=False)],
    name: Annotated[str | None, typer.Option(help="Name of the bundle. Default: the file name of OUT.")] = None,
    variant: Annotated[
        list[str] | None, typer.Option(help="fp16, int8 or int8-w7, besides fp32; may be repeated. Default: all.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(help="Leave this node out of int8; may be repeated.")
    ] = None,
    axis: Annotated[
        list[str] | None, typer.Option(help="Largest size of a free axis, such as N=8; may be repeated.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Accept int8 graphs with a large error.")
    ] = False,
    key: Annotated[Path | None, typer.Option(help="Sign the bundle with this .key file (edge-sdk keygen).")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of random samples.")] = 0,
    threads: Annotated[int | None, typer.Option(min=1, help="Default: all available physical cores.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Overwrite OUT unconditionally.")] = False,
    json: Json = False,
) -> None:  # fmt: skip
    """Quantize an ONNX file with calibration samples, and write one bundle with its variants.

    An .npz file holds one array per input name. Samples are the rows of an input with a batch axis; other inputs are
    stacked along a new first axis. In a folder, each .npz file is one sample. random:64 draws 64 uniform samples:
    floats from -1 to 1, int8 to uint16 over their whole range, other integers 0 or 1. Random samples are enough to try
    a model, not to calibrate it.

    Example: edge-sdk quantize model.onnx --data samples.npz --out model.edge
    """
    checked_out(out)
    if out.is_dir() or (out.exists() and not overwrite):
        raise BadUsage("the file already exists", where=f"--out {out}", hint="Name another file, or give --overwrite")
    if unknown := [one for one in variant or () if one not in VARIANTS]:
        raise BadUsage(f"--variant is {', '.join(VARIANTS)}, not {shown(unknown[0])}")
    axes = _axes(axis or ())
    atomic.folder(out.parent)
    need_exporting(QUANTIZING, extra="quantize")
    from edge_sdk.calibration import graphs
    from edge_sdk.calibration.sizes import check_sample
    from edge_sdk.export import build as library
    from edge_sdk.export.family import FamilyOptions, FloatGraph
    from edge_sdk.export.generic.family import Generic
    from edge_sdk.export.generic.model import read_model
    from edge_sdk.export.generic.samples import RANDOM_ONLY, RandomSamples, samples_of
    from edge_sdk.export.option import TaskOptions
    from edge_sdk.export.pack import axes_of
    from edge_sdk.export.tasks import export_task
    from edge_sdk.tensors import BATCH

    onnx, facts = read_model(model)
    if facts.batch_name:
        terminal.note(f"the axis {shown(facts.batch_name)} is the batch: its rows are samples, and run in batches")
        if {BATCH, facts.batch_name} <= set(axes):
            raise BadUsage(
                f"{BATCH} and {shown(facts.batch_name)} are one axis, the batch", where="--axis", hint="State one size"
            )
        axes = {BATCH if axis_name == facts.batch_name else axis_name: size for axis_name, size in axes.items()}
    if strange := sorted(set(axes) - {one for spec in facts.inputs for one in spec.axes}):
        raise BadUsage(f"the graph has no free axis {shown(strange[0])}", where="--axis")
    graph = FloatGraph(
        onnx=onnx, axes=axes, keep_fp32_in_int8=tuple(exclude or ()),
        variants=None if not variant else tuple(one for one in dict.fromkeys(variant) if one != "fp32"),
    )  # fmt: skip
    wanted = library.BuildOptions(
        name=out.stem if name is None else name, out=out, key=terminal.signing_key(key) if key else None, force=force,
        evaluate=False, overwrite=overwrite,
    )  # fmt: skip
    may_replace = library.unless_changed(wanted)  # from here on, since reading many samples takes long
    samples = samples_of(data, facts.inputs, axes_of(graph, facts.inputs), seed=seed)
    if isinstance(samples, RandomSamples):  # before one is drawn; of others calibration checks the first that it reads
        check_sample(graphs.parsed(onnx), samples.shapes)
    family, options = Generic(graph=graph), FamilyOptions(seed=seed, threads=threads)
    with terminal.progress() as progress:
        trained = family.train(samples, options, folder=out.parent)
        built = library.build(
            family, samples, trained, TaskOptions(), wanted, may_replace=may_replace, progress=progress
        )
    notes = [*([RANDOM_ONLY] if isinstance(samples, RandomSamples) else []), *_too_new(built)]
    refused = refused_here(built)
    text = [*_lines(built), *notes, "", *written(built, export_task("tensor"), refused)]
    terminal.emit(_json(built) | {"notes": notes, "refused_here": refused}, as_json=json, text="\n".join(text))


def _axes(words: Sequence[str]) -> dict[str, int]:
    """Sizes by the name of the axis. Raises BadUsage, also for an axis that is named twice."""
    axes: dict[str, int] = {}
    for name, size in map(_axis, words):
        if name in axes:
            raise BadUsage(f"the axis {shown(name)[:80]} is given twice", where="--axis", hint="State one size")
        axes[name] = size
    return axes


def _axis(word: str) -> tuple[str, int]:
    from edge_sdk.bundle.rules import MAX_AXIS

    name, found, size = word.rpartition("=")
    if not found or not name or not size.isdecimal():
        raise BadUsage(f"--axis {shown(word)} names no axis and size", hint="Write --axis N=8")
    # the length first: Python refuses to read more than 4300 digits
    if len(size.lstrip("0")) > len(str(MAX_AXIS)) or not 1 <= int(size) <= MAX_AXIS:
        raise BadUsage(f"--axis {shown(word)[:80]}: a size is from 1 to {MAX_AXIS:,}", hint="Write --axis N=8")
    return name, int(size)


def _json(built: Built) -> dict[str, object]:
    import msgspec

    from edge_sdk.bundle.store import Bundle

    reports = {role: msgspec.to_builtins(one.report) for role, one in built.made.quantized.items()}
    with Bundle.open(built.path) as bundle:
        counts = {graph.name: graph.int8_ran for graph in bundle.manifest.graphs}
    return {"bundle": str(built.path), "int8_ran": counts, "calibration": reports}


def _lines(built: Built) -> list[str]:
    """Error of each variant against the float graph, and what each runtime ran in int8."""
    from edge_sdk.bundle.store import Bundle
    from edge_sdk.export import calibrated

    out = []
    for one in built.made.quantized.values():
        table = calibrated.table(one.report)
        out += [terminal.table(table.header, table.rows)] if table.rows else []
        out.append(calibrated.words(one.report))
    with Bundle.open(built.path) as bundle:
        for graph in bundle.manifest.graphs:
            ran = ", ".join(f"{count} on {runtime}" for runtime, count in graph.int8_ran.items())
            planned = counted(graph.int8_planned, "operator")
            out += [f"{graph.name}: {planned} in int8; measured here: {ran}"] if ran else []
    return out


def _too_new(built: Built) -> list[str]:
    """A line that names the target profiles which read none of the graphs, if there are any, and what to do.

    The graphs are not converted down: onnx 1.23 has no way back from opset 20 for Gelu, or from 18 for ReduceMean.
    """
    from edge_sdk.bundle.store import Bundle
    from edge_sdk.runtimes.targets import TARGETS

    with Bundle.open(built.path) as bundle:
        oldest = min(graph.opset for graph in bundle.manifest.graphs)
    cannot = [target for target in TARGETS if not target.refusal and target.opset < oldest]
    if not cannot:
        return []
    read = min(target.opset for target in cannot)
    names = ", ".join(target.name for target in cannot)
    return [f"The graphs have opset {oldest}, which {names} can't read: export the model with opset {read} for them."]


COMMANDS = (quantize,)
