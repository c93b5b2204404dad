"""The share of a bundle's multiply-adds that really runs in int8, by role, int8 variant and runtime.

    python benchmarks/int8_share.py model.edge --out docs/results/int8_share.json

"written" counts the multiply-adds between Q/DQ in the graph (`calibration.macs`); "ran" those of the operators that the
runtime's executed graph has in int8, which its own profiler names with kernel and precision. Names of fused operators
are brought back to those of the graph; a multiply-add whose operator is not found there counts as float and is listed.
Free axes have the sizes of a golden sample, one prompt or row of it.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from record import options, write_record

if TYPE_CHECKING:
    from onnx import ModelProto

    from edge_sdk.bundle.manifest import Graph
    from edge_sdk.bundle.store import Bundle
    from edge_sdk.calibration.macs import GraphCost
    from edge_sdk.runtimes.protocol import LayerTime

RUNTIMES = ("onnxruntime", "openvino")
WANTED = {"encoder": ">= 0.9"}
ENDINGS = re.compile(r"(/WithoutBiases|_token_\d+|_nchwc|/MatmulTransposeFusion/|/MatMulScaleFusion/)+$")
"""What ONNX Runtime 1.32 and OpenVINO 2026.4 add to the names of operators that they fuse."""


INT8 = ("i8", "u8")
TYPES = {
    "GroupConvolution": "Convolution", "ConvolutionBackpropData": "Deconvolution",
    "GroupConvolutionBackpropData": "Deconvolution",
}  # fmt: skip
"""OpenVINO's profiler names types of the graph where `operators` has those of the executed one."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = options(__doc__)
    out.add_argument("bundle", type=Path, help="A bundle with int8 variants and golden samples.")
    out.add_argument("--roles", nargs="+", default=None, help="Some of the bundle's; all where none is named.")
    out.add_argument("--variants", nargs="+", default=["int8", "int8-w7"])
    out.add_argument("--runtimes", nargs="+", choices=RUNTIMES, default=list(RUNTIMES))
    out.add_argument("--threads", type=int, default=1)
    out.add_argument("--out", type=Path, required=True, help="The JSON to write.")
    out.add_argument("--note", nargs="*", default=[], help="kept in the record: what else the machine was doing")
    return out


def int8_layers(layers: Sequence[LayerTime], runtime: str) -> tuple[frozenset[str], frozenset[str]]:
    """Names of the convolutions and products of an executed graph, without ENDINGS: those in int8, and all."""
    from edge_sdk.runtimes import operators

    kernels, floats = operators.int8_kernels(runtime), operators.float_kernels(runtime)
    products = [(base(one.name), TYPES.get(one.op, one.op), one.precision) for one in layers]
    products = [one for one in products if one[1] in kernels | floats]
    # Where a kernel's name says nothing of its precision, its type does.
    ran = [name for name, op, precision in products if op in kernels and (op not in floats or precision in INT8)]
    return frozenset(ran), frozenset(name for name, _, _ in products)


def base(name: str) -> str:
    """A fused operator's name without what the runtime added to it."""
    return ENDINGS.sub("", name)


def fused(model: ModelProto, node: str) -> Iterator[str]:
    """The names under which a runtime may list an operator, its own first: then those of what follows it up to the next
    convolution or product, which may be fused into it and give it their name."""
    from edge_sdk.calibration import graphs
    from edge_sdk.runtimes.operators import traits

    index = graphs.Index.of(model)
    waiting = [next(one for one in model.graph.node if one.name == node)]
    seen = set()
    while waiting:
        one = waiting.pop(0)
        if one.name in seen:
            continue
        seen.add(one.name)
        yield one.name
        for name in one.output:
            waiting += [next_ for next_ in index.readers.get(name, ()) if traits(next_.op_type).kind != "matrix"]


def ran(model: ModelProto, spent: GraphCost, layers: Sequence[LayerTime], runtime: str) -> dict[str, bool | None]:
    """Of each operator of `spent`: whether it ran in int8; None where the executed graph does not show it."""
    int8, every = int8_layers(layers, runtime)
    left, out = set(every), dict[str, bool | None].fromkeys(spent.nodes)
    for node in [name for name in spent.nodes if name in every]:  # own names first: they are certain
        out[node] = node in int8
        left.discard(node)
    for node in [name for name in spent.nodes if out[name] is None]:
        found = next((name for name in fused(model, node) if name in left), None)
        if found is not None:
            out[node] = found in int8
            left.discard(found)
    return out


def share(spent: GraphCost, by_node: Mapping[str, bool | None]) -> float:
    """Of the multiply-adds, 0 to 1."""
    return sum(spent.nodes[name].macs for name, int8 in by_node.items() if int8) / spent.macs if spent.macs else 0.0


def of_graph(bundle: Bundle, graph: Graph, runtime: str, threads: int) -> dict[str, Any]:
    """One row."""
    import numpy as np

    from edge_sdk.calibration import graphs
    from edge_sdk.calibration.macs import cost
    from edge_sdk.golden import Expected
    from edge_sdk.loading import options_for
    from edge_sdk.runtimes import registry
    from edge_sdk.runtimes.protocol import CompileOptions, ProfiledSession
    from edge_sdk.tensors import rows

    data = bundle.graph(graph.name)
    asked = options_for(graph, runtime, CompileOptions(threads=threads, profile_layers=True), device="CPU")
    session = registry.runtime(runtime).compile(data, asked)
    try:
        assert isinstance(session, ProfiledSession)
        expected = Expected.of(bundle, graph)
        feeds = rows(expected.feeds(expected.strongest), session.inputs, 0, 1)
        layers = session.layer_times({name: np.ascontiguousarray(array) for name, array in feeds.items()})
        explained = session.explain()
    finally:
        session.close()
    sizes = {
        str(size): feeds[spec.name].shape[at]
        for spec in graph.inputs for at, size in enumerate(spec.shape) if isinstance(size, str)
    }  # fmt: skip
    model = graphs.parsed(data)
    spent = cost(model, sizes)
    by_node = ran(model, spent, layers, runtime)
    kinds: Counter[str] = Counter()
    for name, int8 in by_node.items():
        kinds[spent.nodes[name].kind] += spent.nodes[name].macs if int8 else 0
    lost = [name for name, int8 in by_node.items() if int8 is None]
    floats = sorted((name for name, int8 in by_node.items() if int8 is False), key=lambda n: -spent.nodes[n].macs)
    return {
        "role": graph.role, "variant": graph.variant, "layout": graph.layout, "runtime": runtime,
        "version": explained.version, "sizes": sizes, "macs": spent.macs, "written": round(spent.int8_share, 4),
        "ran": round(share(spent, by_node), 4), "wanted": WANTED.get(graph.role),
        "ran_by_kind": {kind: round(kinds[kind] / macs, 4) for kind, macs in spent.by_kind.items()},
        "operators": {"ran": sum(int8 is True for int8 in by_node.values()), "all": len(by_node),
                      "of_the_runtime": dict(explained.layers_by_precision)},
        "in_float": {name: round(spent.nodes[name].macs / spent.macs, 4) for name in floats},
        "not_found": {name: round(spent.nodes[name].macs / spent.macs, 4) for name in lost},
    }  # fmt: skip


def main() -> None:
    """Every graph on every runtime that takes it, then the record."""
    asked = parser().parse_args()
    from edge_sdk.bundle.store import Bundle
    from edge_sdk.runtimes import targets

    found = []
    with Bundle.open(asked.bundle) as bundle:
        for graph in bundle.manifest.graphs:
            if graph.variant not in asked.variants or (asked.roles and graph.role not in asked.roles):
                continue
            for runtime in asked.runtimes:
                if targets.takes(runtime, graph):
                    row = of_graph(bundle, graph, runtime, asked.threads)
                    found.append(row)
                    print(f"{graph.name} on {runtime}: {row['ran']:.1%} ran in int8, {row['written']:.1%} written, "
                          f"{len(row['not_found'])} not found", flush=True)  # fmt: skip
        about = {"bundle": asked.bundle.name, "digest": bundle.digest}
    if not found:
        raise SystemExit(f"{asked.bundle} has no graph of the variants {', '.join(asked.variants)} that runs here")
    write_record(asked.out, {**about, "rows": found}, seeds=[], samples=len(found), notes=asked.note)


if __name__ == "__main__":
    main()
