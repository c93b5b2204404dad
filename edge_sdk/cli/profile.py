"""The verb `profile`: how long a bundle takes here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from edge_sdk.cli import terminal
from edge_sdk.cli.options import Bundle, Device, Json, Keys, Runtime, Threads, Trust, Variant, policy
from edge_sdk.errors import BadUsage


def profile(
    bundle: Bundle, runtime: Runtime = None, variant: Variant = None, device: Device = None, threads: Threads = None,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder of pictures to call with; default: made of the golden samples.")
    ] = None,
    min_time: Annotated[str, typer.Option(help="Measure at least so long.")] = "10s",
    max_time: Annotated[str, typer.Option(help="Stop after so long, with what there is.")] = "60s",
    samples: Annotated[Path | None, typer.Option(help="Also write every call to this CSV file.")] = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Times of single layers instead, in a run of their own.")
    ] = False,
    trust: Trust = "if-present", keys: Keys = None, json: Json = False,
) -> None:  # fmt: skip
    """Latency of whole predict calls, batch 1: stages, median, p90, p99, and how steady the machine was.

    --layers shows instead where the time goes inside the runtime.

    Example: edge-sdk profile line3.edge --variant int8 --runtime openvino
    """
    from edge_sdk import atomic
    from edge_sdk.folders import pictures_in
    from edge_sdk.loading import load
    from edge_sdk.preprocess import read_rgb8
    from edge_sdk.profiling.predicting import ring
    from edge_sdk.profiling.run import ProfileOptions
    from edge_sdk.profiling.run import profile as measure

    if layers:
        from edge_sdk.profiling.layers import layers as of_layers

        if pictures is not None or samples is not None:
            raise BadUsage("--layers is a run of its own", do="Leave out --pictures and --samples")
        told = of_layers(
            bundle, runtime=runtime, variant=variant, device=device, threads=threads, trust=policy(trust, keys)
        )
        terminal.emit(told.to_json(), as_json=json, text=told.text())
        return
    if samples is not None:
        atomic.folder(samples.parent)  # before the measuring, not after it
    options = ProfileOptions(min_time_s=terminal.seconds(min_time), max_time_s=terminal.seconds(max_time))
    with load(
        bundle, runtime=runtime, variant=variant, device=device, threads=threads, trust=policy(trust, keys)
    ) as detector:
        files = pictures_in(pictures, recursive=True) if pictures else ()
        if pictures is not None:
            terminal.left_out(pictures)
        depth = detector.bundle.manifest.preprocessing.bit_depth
        called = [read_rgb8(p, bit_depth=depth) for p in files] or ring(detector.bundle)
        with terminal.progress() as progress:
            report = measure(
                detector, called, options=options, progress=progress, command=sys.argv,
                subject={"bundle_sha256": detector.bundle.digest, "variant": detector.variant},
            )  # fmt: skip
    if samples is not None:
        report.samples.write(samples)
    terminal.emit(report.to_json(), as_json=json, text=report.text())


COMMANDS = (profile,)
