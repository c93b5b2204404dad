"""Scores of every variant on every runtime, on pictures that training never saw. Knows graphs, no family, no label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_sdk import preprocess
from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.calibration import Variant
from edge_sdk.errors import EdgeError
from edge_sdk.export.family import Picture
from edge_sdk.progress import Progress, silent
from edge_sdk.runtimes import registry, targets
from edge_sdk.runtimes.protocol import CompileOptions, Runtime, Session


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scored:
    """Raw scores of one variant on one runtime, in the order of the pictures. problem: why it could not run."""

    variant: str
    layout: str
    runtime: str
    version: str = ""
    device: str = ""
    precision: str = ""
    convolutions: str = ""
    threads: int = 0
    size_bytes: int = 0
    scores: NDArray[np.float64]
    problem: str = ""


def prepared(pictures: Sequence[Picture], record: Preprocessing, *, progress: Progress = silent) -> list[NDArray[Any]]:
    """Network inputs of pictures, uint8 (tiles, h, w, 3) each."""
    out = []
    for done, picture in enumerate(pictures):
        progress(done, len(pictures), "reading test pictures")
        out.append(preprocess.apply(preprocess.decode(picture.path), record, where=str(picture.path)).tensor)
    return out


def scores(session: Session, inputs: Sequence[NDArray[Any]], *, tick: Callable[[], None]) -> NDArray[np.float64]:
    """Raw scores float64 (len(inputs),) of one compiled graph; of tiles the highest."""
    name = session.inputs[0].name
    out = []
    for tensor in inputs:
        out.append(max(float(session.run({name: tile[None]})["score"][0]) for tile in tensor))
        tick()
    return np.array(out, np.float64)


def score_all(
    variants: Sequence[Variant],
    inputs: Sequence[NDArray[Any]],
    *,
    threads: int | None = None,
    progress: Progress = silent,
) -> list[Scored]:
    """Every variant on every runtime that is here and takes its layout. threads: as in `CompileOptions`."""
    present = [r for r in registry.runtimes() if r.probe().usable]
    jobs = [(v, r) for v in variants for r in present if targets.takes(r.name, v.variant, v.layout)]
    done, total = 0, len(jobs) * len(inputs)
    out = []
    for variant, runtime in jobs:
        began = done

        def tick(note: str = f"scoring {variant.variant} on {runtime.name}") -> None:
            nonlocal done
            done += 1
            progress(done, total, note)

        out.append(_score_one(variant, runtime, inputs, threads, tick))
        done = began + len(inputs)
    return out


def _score_one(
    variant: Variant, runtime: Runtime, inputs: Sequence[NDArray[Any]], threads: int | None, tick: Callable[[], None]
) -> Scored:
    blank = Scored(
        variant=variant.variant, layout=variant.layout, runtime=runtime.name, scores=np.full(len(inputs), np.nan)
    )
    options = CompileOptions(graph_name=variant.variant, threads=threads, int8_convolutions=variant.int8_convolutions)
    try:
        session = runtime.compile(variant.graph, options)
    except EdgeError as exc:  # a variant that a runtime refuses is a row that says so, not the end of the report
        return replace(blank, problem=str(exc))
    try:
        told = session.explain()
        return replace(
            blank, version=told.version, device=told.device, precision=told.precision, threads=told.threads,
            convolutions=", ".join(f"{n} {kind}" for kind, n in sorted(told.layers_by_precision.items())),
            size_bytes=len(variant.graph), scores=scores(session, inputs, tick=tick),
        )  # fmt: skip
    except EdgeError as exc:
        return replace(blank, problem=str(exc))
    finally:
        session.close()
