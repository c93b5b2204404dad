"""What it costs the next `predict` that a caller looks at the map: predict, map and regions against predict alone.

The two are asked in turn, in fresh processes, with one thread and with all: a thread pool that still spins after the
map takes cores from the runtime only where the runtime uses them all.

    python benchmarks/pdn_bundle.py runs/pdn_s.edge
    python benchmarks/map_threads.py runs/pdn_s.edge runs/xs.edge --out docs/results/map_threads.json
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
WANTED = 1.1
"""Highest allowed time of predict with map and regions, over that of predict alone."""


def looked_at(*, bundle: str, variant: str | None, runtime: str, threads: int) -> Any:
    """`predict`, then map and regions, as whoever draws an overlay asks for them."""
    from edge_sdk.profiling.predicting import RING, Calls, predict

    alone = predict(bundle=bundle, variant=variant, runtime=runtime, threads=threads)

    def call(_: Any) -> Any:
        result = alone()
        return result.map, result.regions

    shapes = [list(call(None)[0].shape) for _ in range(RING)]
    return Calls(call, [None], {**alone.facts, "what": "predict, map and regions", "maps": shapes})


def measure(asked: argparse.Namespace) -> None:
    """Every bundle on every runtime with every thread count, then the record."""
    from record import write_record
    from speed import portable, side

    from edge_sdk.profiling.compare import CompareOptions, compare
    from edge_sdk.runtimes import probe

    rows = []
    for threads in asked.threads or sorted({1, probe.default_threads()}):
        for bundle in asked.bundles:
            for runtime in asked.runtimes:
                alone = side(bundle.resolve(), asked.variant, runtime, threads)
                shown = side(
                    bundle.resolve(), asked.variant, runtime, threads, factory="map_threads:looked_at", folder=HERE
                )
                found = compare(alone, shown, options=CompareOptions(max_time_s=asked.max_time))
                name, p = f"{bundle.stem} {found.a.facts['variant']}, {runtime}, {threads} threads", found.ratios.p
                print(f"{p.value:.3f} [{p.low:.3f}, {p.high:.3f}]  {name} (wanted <= {WANTED})", flush=True)
                rows.append({
                    "name": name, "threads": threads, "wanted": f"<= {WANTED}", "map_over_alone": p.value,
                    "interval_95": [p.low, p.high], "medians_ms": [found.a.median_ms, found.b.median_ms],
                    "comparison": portable(found.to_json()),
                })  # fmt: skip
    figures = {"instruction_set": probe.cpu().isa, "ratios": rows}
    samples = sum(row["comparison"]["ratios"]["calls"] for row in rows)
    write_record(asked.out, figures, seeds=[0], samples=samples, notes=asked.note)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--variant", help="default: what suits this machine")
    parser.add_argument("--runtimes", nargs="+", default=["openvino", "onnxruntime"])
    parser.add_argument("--threads", type=int, nargs="+", help="default: 1, and all physical cores")
    parser.add_argument("--out", type=Path, default=Path("docs/results/map_threads.json"))
    parser.add_argument("--max-time", type=float, default=30.0, help="seconds of measuring a pair")
    parser.add_argument("--note", nargs="*", default=[], help="kept in the record: what else the machine was doing")
    measure(parser.parse_args())


if __name__ == "__main__":
    main()
