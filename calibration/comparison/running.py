"""Variants as the runtimes of this machine run them: answers, and speed side by side. Knows no plan and no search."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np

from edge_sdk.calibration.bound.accuracy import Answer
from edge_sdk.calibration.report import Variant
from edge_sdk.calibration.statistics.observe import Feeds
from edge_sdk.golden import answers
from edge_sdk.runtimes import faults, registry, targets
from edge_sdk.runtimes.onnx_file import read_facts
from edge_sdk.runtimes.protocol import Availability, CompileOptions
from edge_sdk.tensors import Array

ROUND_S = 3.0
"""Of timing all graphs of one runtime in turn."""
FEWEST_ROUNDS, MOST_ROUNDS = 5, 200


@contextmanager
def opened(variant: Variant, runtime: str, *, axes: Mapping[str, int], threads: int | None) -> Iterator[Answer]:
    """The variant, compiled; it answers rows of a batch one at a time. Raises as `Runtime.compile`."""
    options = CompileOptions(threads=threads, axes=axes, graph_name=variant.variant)
    session = registry.runtime(runtime).compile(variant.graph, options)
    try:

        def answer(feeds: Mapping[str, Array]) -> dict[str, Array]:
            return answers(session, feeds)

        yield answer
    finally:
        session.close()


def takers(variants: Sequence[Variant], name: str) -> dict[str, Variant]:
    """By runtime of this machine's CPU, the graph of the variant `name` that it would take. None for a runtime whose
    answer is known to be wrong here: `load` passes over it as well."""
    found = {}
    for runtime in registry.runtimes():
        if runtime.name in registry.of_gpus():
            continue
        here = runtime.probe()
        graph = targets.taken(variants, name, runtime.name)
        if graph is not None and here.usable and not _wrong(here, graph):
            found[runtime.name] = graph
    return found


def _wrong(here: Availability, variant: Variant) -> str:
    return faults.wrong_here(here, variant.layout, lambda: read_facts(variant.graph, where=variant.variant))


def times_faster(
    real: Variant, others: Sequence[Variant], runtime: str, sample: Feeds, *, axes: Mapping[str, int],
    threads: int | None,
) -> list[float]:  # fmt: skip
    """How many times as fast as `real` each of `others` is: the median over rounds in which each runs once, in turn.

    All in this process, so that a row of a table is had in seconds: `edge-sdk profile` compares two processes and gives
    intervals.
    """
    with ExitStack() as stack:
        runs = [stack.enter_context(opened(one, runtime, axes=axes, threads=threads)) for one in (real, *others)]
        for run in runs:
            run(sample)
        rounds: list[list[float]] = []
        until = time.perf_counter() + ROUND_S
        while len(rounds) < FEWEST_ROUNDS or (time.perf_counter() < until and len(rounds) < MOST_ROUNDS):
            rounds.append([_seconds(run, sample) for run in runs])
    taken = np.array(rounds)
    return [float(ratio) for ratio in np.median(taken[:, :1] / taken[:, 1:], axis=0)]


def _seconds(run: Answer, sample: Feeds) -> float:
    began = time.perf_counter()
    run(sample)
    return time.perf_counter() - began
