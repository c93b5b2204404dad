"""The verb `profile`: latency of a bundle on this machine, its layers, and whether int8 is worth it."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from edge_sdk.bundle.signing import Trust
from edge_sdk.cli import options, terminal
from edge_sdk.errors import BadUsage


def profile(
    bundle: options.Bundle,
    runtime: options.Runtime = None, variant: options.Variant = None, device: options.Device = None,
    threads: options.Threads = None,
    inputs: Annotated[
        str | None,
        typer.Option(
            help="A file or folder that predict takes, with 8 or more inputs. Default: made from the golden samples."
        ),
    ] = None,
    min_time: Annotated[str, typer.Option(help="Measure for at least this time.")] = "10s",
    max_time: Annotated[
        str,
        typer.Option(
            help="Stop after this time and report what was measured. --worth shares it out among its comparisons, "
            "which start two processes and make 8 pairs of calls each: some seconds, however short the time is."
        ),
    ] = "60s",
    samples: Annotated[Path | None, typer.Option(help="Also write the time of every call to this CSV file.")] = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Measure single layers instead, in a separate run.")
    ] = False,
    worth: Annotated[
        bool, typer.Option("--worth", help="Compare int8 with fp32 on every runtime here instead.")
    ] = False,
    trust: options.Trust = "if-present", keys: options.Keys = None, json: options.Json = False,
) -> None:  # fmt: skip
    """Measure the latency of predict calls, one at a time: by stage, with median, p90 and p99, and the machine's noise.

    --layers measures the time of each layer inside the runtime instead. --worth says whether int8 is worth it here: by
    runtime how many times as fast as fp32 it is, with a 95 % interval, at which error; it takes a minute.

    Example: edge-sdk profile line3.edge --variant int8 --runtime openvino
    """
    named = options.named([inputs] if inputs is not None else [], "--inputs")
    chosen: dict[str, Any] = {"device": device, "threads": threads}
    trusted = options.policy(trust, keys)
    if layers or worth:
        _check_alone(layers=layers, worth=worth, inputs=inputs, samples=samples)
    if worth:
        chosen |= {"runtimes": _one(runtime), "variants": _one(variant), "inputs": tuple(named)}
        _worth(bundle, chosen, trusted, seconds=terminal.seconds(max_time), json=json)
        return
    chosen |= {"runtime": runtime, "variant": options.variants(variant), "trust": trusted}
    if layers:
        _layers(bundle, chosen, json=json)
        return
    _latency(
        bundle, chosen, named, min_time_s=terminal.seconds(min_time), max_time_s=terminal.seconds(max_time),
        samples=samples, json=json,
    )  # fmt: skip


def _one(name: str | None) -> tuple[str, ...]:
    return () if name is None else (name,)


def _check_alone(*, layers: bool, worth: bool, inputs: str | None, samples: Path | None) -> None:
    """Raise BadUsage for options of a latency run beside --layers or --worth."""
    if layers and worth:
        raise BadUsage("--layers and --worth are two separate runs", hint="Give one of them")
    if samples is not None or (layers and inputs is not None):
        refused = "--samples" if worth else "--inputs and --samples"
        raise BadUsage(f"--{'worth' if worth else 'layers'} needs a separate run", hint=f"Leave out {refused}")


def _layers(bundle: Path, chosen: Mapping[str, Any], *, json: bool) -> None:
    from edge_sdk.profiling.layers import layers

    reports = layers(bundle, **chosen)
    plain = {"schema": "edge-sdk.layers/2", "roles": [one.to_json() for one in reports]}
    terminal.emit(plain, as_json=json, text="\n\n".join(one.text(terminal.table) for one in reports))


def _worth(bundle: Path, chosen: Mapping[str, Any], trusted: Trust, *, seconds: float, json: bool) -> None:
    from edge_sdk.profiling.worth import WorthOptions, worth

    asked = WorthOptions(seconds=seconds, **chosen)
    with terminal.progress() as progress:
        found = worth(bundle, options=asked, trust=trusted, progress=progress)
    terminal.emit(found, as_json=json, text=found.text(terminal.table))


def _latency(
    bundle: Path, chosen: Mapping[str, Any], named: Sequence[str], *, min_time_s: float, max_time_s: float,
    samples: Path | None, json: bool,
) -> None:  # fmt: skip
    from edge_sdk import atomic, tasks
    from edge_sdk.cli.inputs import note_left_out
    from edge_sdk.loading import load
    from edge_sdk.profiling.predicting import TaskCalls, workload
    from edge_sdk.profiling.run import ProfileOptions
    from edge_sdk.profiling.run import profile as measure

    if samples is not None:
        atomic.folder(samples.parent)  # before the measuring, not after it
    limits = ProfileOptions(min_time_s=min_time_s, max_time_s=max_time_s)
    with load(bundle, **chosen) as predictor:
        called = workload(predictor, named)
        note_left_out(tasks.task(predictor.bundle.manifest.task), named, where=str(bundle))
        with terminal.progress() as progress:
            report = measure(
                TaskCalls(predictor), called, options=limits, progress=progress, command=sys.argv,
                subject={"bundle_sha256": predictor.bundle.digest, "variant": predictor.variant},
            )  # fmt: skip
    if samples is not None:
        report.samples.write(samples)
    terminal.emit(report.to_json(), as_json=json, text=report.text(terminal.table))


COMMANDS = (profile,)
