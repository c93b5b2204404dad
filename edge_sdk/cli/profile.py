"""The verb `profile`: latency of a bundle on this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from edge_sdk.cli import terminal
from edge_sdk.cli.options import (
    Bundle,
    Device,
    Json,
    Keys,
    Runtime,
    Threads,
    Trust,
    Variant,
    named,
    policy,
    variants,
)
from edge_sdk.errors import BadUsage


def profile(
    bundle: Bundle, runtime: Runtime = None, variant: Variant = None, device: Device = None, threads: Threads = None,
    inputs: Annotated[
        str | None,
        typer.Option(
            help="A file or folder that predict takes, with 8 or more inputs. Default: made from the golden samples."
        ),
    ] = None,
    min_time: Annotated[str, typer.Option(help="Measure for at least this time.")] = "10s",
    max_time: Annotated[str, typer.Option(help="Stop after this time and report what was measured.")] = "60s",
    samples: Annotated[Path | None, typer.Option(help="Also write the time of every call to this CSV file.")] = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Measure single layers instead, in a separate run.")
    ] = False,
    trust: Trust = "if-present", keys: Keys = None, json: Json = False,
) -> None:  # fmt: skip
    """Measure the latency of predict calls, one at a time: by stage, with median, p90 and p99, and the machine's noise.

    --layers measures the time of each layer inside the runtime instead.

    Example: edge-sdk profile line3.edge --variant int8 --runtime openvino
    """
    from edge_sdk import atomic, tasks
    from edge_sdk.loading import load
    from edge_sdk.profiling.predicting import workload
    from edge_sdk.profiling.run import ProfileOptions
    from edge_sdk.profiling.run import profile as measure
    from edge_sdk.tasks.base import task_code

    wanted, trusted = variants(variant), policy(trust, keys)
    given = named([inputs] if inputs is not None else [], "--inputs")
    if layers:
        from edge_sdk.profiling.layers import layers as of_layers

        if inputs is not None or samples is not None:
            raise BadUsage("--layers needs a separate run", hint="Leave out --inputs and --samples")
        reports = of_layers(bundle, runtime=runtime, variant=wanted, device=device, threads=threads, trust=trusted)
        plain = {"schema": "edge-sdk.layers/2", "roles": [one.to_json() for one in reports]}
        terminal.emit(plain, as_json=json, text="\n\n".join(one.text(terminal.table) for one in reports))
        return
    if samples is not None:
        atomic.folder(samples.parent)  # before the measuring, not after it
    options = ProfileOptions(min_time_s=terminal.seconds(min_time), max_time_s=terminal.seconds(max_time))
    with load(bundle, runtime=runtime, variant=wanted, device=device, threads=threads, trust=trusted) as predictor:
        called = workload(predictor, given)
        task = tasks.task(predictor.bundle.manifest.task)
        with task_code(task, "left_out", where=str(bundle)):
            left_out = task.left_out(given)
        for line in left_out:
            terminal.note(line)
        with terminal.progress() as progress, task_code(task, "predict", where=str(bundle)):
            report = measure(
                predictor, called, options=options, progress=progress, command=sys.argv,
                subject={"bundle_sha256": predictor.bundle.digest, "variant": predictor.variant},
            )  # fmt: skip
    if samples is not None:
        report.samples.write(samples)
    terminal.emit(report.to_json(), as_json=json, text=report.text(terminal.table))


COMMANDS = (profile,)
