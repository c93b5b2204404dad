"""Speed of TinySAM at 1024 px, TinyViT-5M: `PromptSegmenter` against the official pipeline run eagerly by PyTorch.

Three things, each a pair of processes that call in turn, with the same threads: a picture and one box, end to end
(`set_image` and `predict`; nothing is found in the cache); 64 points on a picture that is encoded already, through the
decoder to one mask each of the picture's size; and the same with all three masks of each point. The official code
brings all three to full size before it chooses one, ours those that are answered: the second says what a user gains,
the third what the decoder and the placing of masks alone do. By runtime, in fp32 and in the int8 that this CPU computes
rightly: int8 where it adds products in 32 bits, else int8-w7; where it is int8, int8-w7 capped to AVX2 too, PyTorch
capped as well (how: avx2_cpu.py).

    python benchmarks/tinysam_bundle.py runs/tinysam.edge
    python benchmarks/tinysam_speed.py runs/tinysam.edge --out docs/results/tinysam_speed.json

The networks have seeded random weights, the same on both sides; the time does not depend on them. A try in a minute:
--points 8, and a bundle with --side 256. Resumable: pairs that were measured stay in a file beside --out until the
record is written.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import avx2_cpu
from pairs import Pair, calls, measured
from record import Rows, options, write_record

from edge_sdk.profiling.compare import CompareOptions
from edge_sdk.profiling.processes import Side
from edge_sdk.profiling.warmup import WarmupOptions
from edge_sdk.runtimes import probe

HERE = Path(__file__).resolve().parent
RUNTIMES = ("onnxruntime", "openvino")
KINDS = ("box", "points", "three-masks")
WANTED = {
    ("box", "int8"): "speedup >= 3", ("box", "int8-w7"): "speedup >= 2.5", ("points", "int8"): "speedup >= 4",
    ("points", "int8-w7"): "speedup >= 4",
}  # fmt: skip
TORCH_AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
PICTURES = 3
"""Of a picture's size, in turn."""


def eager(*, kind: str, side: int, seed: int, size: list[int], points: int, threads: int, repeated: bool) -> Any:
    """The official pipeline, as a factory of `profiling.compare`."""
    import torch
    from tinysam_bundle import network
    from tinysam_eager import Eager

    from edge_sdk.profiling.predicting import Calls

    torch.set_num_threads(threads)
    one = Eager(network(side=side, seed=seed), repeated=repeated)
    facts = {"what": f"{kind}, PyTorch", "version": torch.__version__, "threads": torch.get_num_threads()}
    facts["instruction_set"] = torch.backends.cpu.get_cpu_capability()
    pictures = _pictures(size)
    if kind == "box":
        box = _box(size)

        def whole(picture: Any) -> Any:
            one.set_image(picture)
            return one.box(box)

        return Calls(whole, pictures, facts)
    one.set_image(pictures[0])
    every = kind == "three-masks"
    return Calls(lambda given: one.points(given, every=every), [_points(size, points)], facts)


def ours(*, kind: str, bundle: str, variant: str, runtime: str, size: list[int], points: int, threads: int) -> Any:
    """The same by a bundle. Not self-checked: int8 of random weights may be far from float, and takes as long."""
    import edge_sdk
    from edge_sdk.profiling.predicting import Calls
    from edge_sdk.tasks.segmentation.settings import DECODER, ENCODER

    one = edge_sdk.load_as(
        edge_sdk.PromptSegmenter, bundle, variant=variant, runtime=runtime, threads=threads, self_check=False
    )
    one.cache.limit(pictures=0, size_bytes=0)
    ran = one.explanations
    facts = {
        "what": f"{kind}, predict", "variant": one.variant, "threads": ran[ENCODER].threads,
        "computes": {role: ran[role].computes for role in (ENCODER, DECODER)},
        "layers_by_precision": {role: dict(ran[role].layers_by_precision) for role in (ENCODER, DECODER)},
    }  # fmt: skip
    pictures = _pictures(size)
    if kind == "box":
        box = _box(size)

        def whole(picture: Any) -> Any:
            return one.predict(one.set_image(picture), boxes=box)

        return Calls(whole, pictures, facts)
    encoded = one.set_image(pictures[0])

    def placed(given: Any) -> list[Any]:
        found = one.predict(encoded, points=given[:, None], multimask=kind == "three-masks")
        return [mask.array for mask in found.masks]  # those that `predict` did not place for want of memory too

    return Calls(placed, [_points(size, points)], facts)


def _pictures(size: list[int]) -> list[Any]:
    from tinysam_bundle import picture

    return [picture(height=size[0], width=size[1], seed=seed) for seed in range(PICTURES)]


def _box(size: list[int]) -> Any:
    import numpy as np

    h, w = size
    return np.array([w // 4, h // 4, 3 * w // 4, 3 * h // 4], np.float64)


def _points(size: list[int], count: int) -> Any:
    import numpy as np

    return np.random.default_rng(0).uniform(0, np.array(size[::-1]) - 1.0, (count, 2))


def pairs(
    asked: argparse.Namespace, threads: int, side: int, seed: int, variant: str, capped: Mapping[str, str] | None
) -> list[Pair]:
    """All ratios of one variant. capped: environment of processes without what comes after AVX2, None = as they are."""
    common = {"size": asked.size, "points": asked.points, "threads": threads}
    words = f"{threads} threads" + (" capped to AVX2" if capped is not None else "")
    out = []
    for kind in asked.only:
        what = {"box": "picture and box", "points": f"{asked.points} points"}.get(
            kind, f"{asked.points} points, three masks each"
        )
        reference = Side(
            name=f"{what}, eager PyTorch, {words}", factory="tinysam_speed:eager", folder=HERE, threads=threads,
            environment={} if capped is None else {**capped, **TORCH_AVX2},
            arguments={"kind": kind, "side": side, "seed": seed, "repeated": not asked.broadcast, **common},
        )  # fmt: skip
        for runtime in asked.runtimes:
            name = f"{what}, {variant} on {runtime}, {words}"
            one = Side(
                name=name, factory="tinysam_speed:ours", folder=HERE, threads=threads, environment=capped or {},
                arguments={"kind": kind, "bundle": str(asked.bundle.resolve()), "variant": variant,
                           "runtime": runtime, **common},
            )  # fmt: skip
            out.append(Pair(f"{name}, over eager PyTorch", reference, one, WANTED.get((kind, variant), "no bound")))
    return out


def measure(asked: argparse.Namespace, avx2: Mapping[str, str] | None) -> None:
    """Every pair, then the record."""
    from edge_sdk.bundle.store import Bundle

    with Bundle.open(asked.bundle) as bundle:
        record, seed = bundle.manifest.preprocessing, bundle.manifest.provenance.seed
        assert record is not None
        side = record.width
    cpu, rows, found = probe.cpu(), Rows(asked.out, asked), []
    # A call of the eager side takes seconds: four are warm, and eight pairs an interval.
    limits = CompareOptions(
        max_time_s=asked.max_time, pairs=tuple(asked.pairs), quiet_pairs=min(asked.pairs), both_ways=True,
        warmup=WarmupOptions(min_calls=2, window_calls=2, max_calls=6, max_s=asked.max_time),
    )  # fmt: skip
    int8 = "int8" if cpu.adds_in_32_bits else "int8-w7"
    for threads in asked.threads:
        for variant in ("fp32", int8):
            found += measured(pairs(asked, threads, side, seed, variant, None), rows, limits)
        if avx2 is not None:
            found += measured(pairs(asked, threads, side, seed, "int8-w7", avx2), rows, limits)
    metrics = {
        "instruction_set": cpu.isa, "flags": list(cpu.flags), "int8_here": int8, "frame_px": side,
        "picture": asked.size, "eager_repeats_the_embedding": not asked.broadcast, "ratios": found,
    }  # fmt: skip
    write_record(asked.out, metrics, seeds=[seed], samples=calls(found), notes=asked.note)
    rows.discard()
    print(json.dumps({row["name"]: round(row["speedup"], 2) for row in found}, indent=1))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = options(__doc__)
    out.add_argument("bundle", type=Path, help="of tinysam_bundle.py")
    out.add_argument("--out", type=Path, default=Path("docs/results/tinysam_speed.json"))
    out.add_argument("--threads", type=int, nargs="+", default=[2], help="of each run, both sides")
    out.add_argument("--runtimes", nargs="+", choices=RUNTIMES, default=list(RUNTIMES))
    out.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS), help="some of the ratios")
    out.add_argument("--size", type=int, nargs=2, default=[960, 1280], metavar=("H", "W"), help="of the pictures, px")
    out.add_argument("--points", type=int, default=64)
    out.add_argument(
        "--broadcast", action="store_true",
        help="the eager side does not repeat the embedding for each prompt: stricter than the official code",
    )  # fmt: skip
    out.add_argument("--max-time", type=float, default=600.0, help="seconds of measuring a pair, at most")
    out.add_argument("--pairs", type=int, nargs="+", default=[8, 16], help="of blocks of calls")
    out.add_argument("--note", nargs="*", default=[], help="kept in the record: what else the machine was doing")
    return out


def main() -> None:
    """Measures every pair and writes one record."""
    asked = parser().parse_args()
    if not probe.cpu().adds_in_32_bits:
        measure(asked, None)
        return
    with tempfile.TemporaryDirectory() as folder:
        environment = avx2_cpu.environment(Path(folder))
        avx2_cpu.proven(environment)
        measure(asked, environment)


if __name__ == "__main__":
    main()
