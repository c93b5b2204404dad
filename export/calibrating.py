"""From a float graph of a family to its variants: what the family says of it, in calibration's words. Knows no task."""

from __future__ import annotations

from dataclasses import replace

from edge_sdk.calibration import AccuracyBound, CalibrationReport, Quantized, QuantizeOptions, quantize
from edge_sdk.errors import BadUsage
from edge_sdk.export.family import FloatGraph, Samples, SamplesOf
from edge_sdk.progress import Progress, silent


def quantized(
    graph: FloatGraph, samples: Samples, *, bound: AccuracyBound | None = None, threads: int | None = None,
    force: bool = False, samples_of: SamplesOf | None = None, progress: Progress = silent,
) -> Quantized:  # fmt: skip
    """The variants besides fp32 that the family wants. bound: how much int8 may lose. force: hand out int8 graphs that
    are far from the float one. samples_of: of the other roles, for a graph with a range search.

    Raises as `calibration.quantize`, and BadUsage where a range search lacks `samples_of`.
    """
    if graph.variants == ():
        return Quantized(variants=(), report=_NOTHING)
    options = options_for(graph, threads=threads, force=force)
    if graph.range_search is not None:
        if samples_of is None:
            raise BadUsage("a range search reads the samples of every role", hint="Give samples_of=")
        options = replace(options, range_search=graph.range_search(samples_of))
    return quantize(graph.onnx, samples, options=options, bound=bound, progress=progress)


def options_for(graph: FloatGraph, *, threads: int | None = None, force: bool = False) -> QuantizeOptions:
    """What calibration is asked for."""
    every = QuantizeOptions().variants
    return QuantizeOptions(
        variants=every if graph.variants is None else graph.variants, keep_fp32=graph.keep_fp32,
        exclude=graph.keep_fp32_in_int8, output_correction=graph.output_correction, axes=graph.axes,
        trials=graph.trials, threads=threads, force=force or graph.measured,
    )  # fmt: skip


_NOTHING = CalibrationReport(
    samples=0, compared=0, tensors=(), layers=(), left_float={}, output_corrections={}, errors={},
    notes=("only the float graph was asked for",),
)  # fmt: skip
