"""One call against the teacher's 35: wall clock of a picture in the same runtime, and against eager PyTorch.

Pairs of processes that call in turn, with the same threads. A call draws a batch, from its seeds to uint8 pictures:
noise is made on the host in either. The teacher's sampler is Heun's of EDM, 18 steps, its state in float64, its network
a graph of the runtime with all that depends on sigma as a table. Eager PyTorch calls the generator's own network once.

    edge-sdk train onestep parts.zip --base 16 --out runs/parts.edge
    python benchmarks/onestep_speed.py runs/parts.edge --out docs/results/onestep_speed.json

The run folder beside the bundle (runs/parts.run) holds both networks. Resumable: pairs that were measured stay in a
file beside --out until the record is written.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pairs import Pair, calls, measured
from record import Rows, options, write_record

from edge_sdk.profiling.compare import CompareOptions
from edge_sdk.profiling.processes import Side
from edge_sdk.profiling.warmup import WarmupOptions
from edge_sdk.runtimes import probe

HERE = Path(__file__).resolve().parent
RUNTIMES = ("onnxruntime", "openvino")
SEED = 11
RING = 4
"""Batches of other seeds, in turn."""


def ours(*, bundle: str, variant: str, runtime: str, rows: int, threads: int) -> Any:
    """The bundle's generator, as a factory of `profiling.compare`."""
    import edge_sdk
    from edge_sdk.profiling.predicting import Calls
    from edge_sdk.tasks.base import MODEL

    one = edge_sdk.load_as(edge_sdk.Generator, bundle, variant=variant, runtime=runtime, threads=threads)
    ran = one.explanations[MODEL]
    facts = {
        "what": f"one call, {rows} pictures", "variant": one.variant, "threads": ran.threads, "computes": ran.computes,
    }  # fmt: skip
    return Calls(lambda first: one.generate(rows, seed=SEED, first=first), _ring(rows), facts)


def teacher(*, run: str, runtime: str, rows: int, threads: int) -> Any:
    """The sampler on a runtime."""
    import torch

    from edge_sdk.export.onestep import saved
    from edge_sdk.export.onestep.sampler import sampled_on
    from edge_sdk.profiling.predicting import Calls

    torch.set_num_threads(threads)
    net, _ = saved.read(Path(run) / saved.TEACHER)
    one = sampled_on(net, runtime, threads=threads)
    facts = {"what": f"{one.calls} calls, {rows} pictures", "threads": threads}
    return Calls(lambda first: one.draw(*_asked(net.facts, first, rows)), _ring(rows), facts)


def eager(*, run: str, rows: int, threads: int) -> Any:
    """The generator's network, called once by PyTorch."""
    import torch

    from edge_sdk.export.onestep import saved
    from edge_sdk.export.onestep.distillation import OneStep
    from edge_sdk.export.tasks.generation.real import pictures_of
    from edge_sdk.profiling.predicting import Calls

    torch.set_num_threads(threads)
    net, said = saved.read(Path(run) / saved.GENERATOR)
    one = OneStep(net, float(said[saved.START])).eval()

    @torch.inference_mode()
    def draw(first: int) -> Any:
        noise, labels = _asked(net.facts, first, rows)
        given = None if labels is None else torch.from_numpy(labels)
        return pictures_of(one(torch.from_numpy(noise), given).numpy())

    facts = {"what": f"one call, {rows} pictures, PyTorch", "version": torch.__version__, "threads": threads}
    facts["instruction_set"] = torch.backends.cpu.get_cpu_capability()
    return Calls(draw, _ring(rows), facts)


def _ring(rows: int) -> list[int]:
    return [rows * at for at in range(RING)]


def _asked(facts: Any, first: int, rows: int) -> tuple[Any, Any]:
    """Noise and labels of pictures `first` to `first + rows - 1`."""
    import numpy as np

    from edge_sdk.tasks.generation.noise import noise

    drawn = noise(SEED, range(first, first + rows), (facts.channels, facts.side, facts.side))
    labels = np.arange(first, first + rows, dtype=np.int64) % facts.classes if facts.classes else None
    return drawn, labels


def pairs(asked: argparse.Namespace, run: Path, variants: list[str], rows: int) -> list[Pair]:
    """The sampler against one call in fp32, and eager PyTorch against one call of each variant."""
    common = {"rows": rows, "threads": asked.threads}
    words = f"{rows} pictures, {asked.threads} threads"
    plain = Side(
        name=f"eager PyTorch, {words}", factory="onestep_speed:eager", folder=HERE, threads=asked.threads,
        arguments={"run": str(run), **common},
    )  # fmt: skip
    out = []
    for runtime in asked.runtimes:
        sampled = Side(
            name=f"sampler on {runtime}, {words}", factory="onestep_speed:teacher", folder=HERE, threads=asked.threads,
            arguments={"run": str(run), "runtime": runtime, **common},
        )  # fmt: skip
        for variant in variants:
            one = Side(
                name=f"one call, {variant} on {runtime}, {words}", factory="onestep_speed:ours", folder=HERE,
                threads=asked.threads,
                arguments={"bundle": str(asked.bundle.resolve()), "variant": variant, "runtime": runtime, **common},
            )  # fmt: skip
            if variant == "fp32":
                out.append(Pair(f"{one.name}, over the teacher's sampler", sampled, one, "speedup >= 30"))
            out.append(Pair(f"{one.name}, over eager PyTorch", plain, one, "no bound"))
    return out


def measure(asked: argparse.Namespace) -> None:
    """Every pair, then the record."""
    run, cpu = asked.bundle.with_suffix(".run").resolve(), probe.cpu()
    variants = ["fp32", "int8" if cpu.adds_in_32_bits else "int8-w7"]
    limits = CompareOptions(
        max_time_s=asked.max_time, pairs=tuple(asked.pairs), quiet_pairs=min(asked.pairs), both_ways=True,
        warmup=WarmupOptions(min_calls=2, window_calls=2, max_calls=6, max_s=asked.max_time),
    )  # fmt: skip
    rows, found = Rows(asked.out, asked), []
    for count in asked.rows:
        found += measured(pairs(asked, run, variants, count), rows, limits)
    metrics = {"instruction_set": cpu.isa, "flags": list(cpu.flags), "bundle": asked.bundle.stem, "ratios": found}
    write_record(asked.out, metrics, seeds=[SEED], samples=calls(found), notes=asked.note)
    rows.discard()
    print(json.dumps({row["name"]: round(row["speedup"], 2) for row in found}, indent=1))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = options(__doc__)
    out.add_argument("bundle", type=Path, help="of edge-sdk train onestep, its run folder beside it")
    out.add_argument("--out", type=Path, default=Path("docs/results/onestep_speed.json"))
    out.add_argument("--threads", type=int, default=2, help="of each run, both sides")
    out.add_argument("--rows", type=int, nargs="+", default=[1, 64], help="pictures of one call")
    out.add_argument("--runtimes", nargs="+", choices=RUNTIMES, default=list(RUNTIMES))
    out.add_argument("--max-time", type=float, default=300.0, help="seconds of measuring a pair, at most")
    out.add_argument("--pairs", type=int, nargs="+", default=[8, 16], help="of blocks of calls")
    out.add_argument("--note", nargs="*", default=[], help="kept in the record: what else the machine was doing")
    return out


if __name__ == "__main__":
    measure(parser().parse_args())
