"""One ONNX graph on one runtime: its answers to samples, its calls for a comparison of speed, its int8 share of work.

Each use is a process of its own: a foreign graph may crash a runtime.

    python benchmarks/networks_runs.py GRAPH.onnx openvino SAMPLES OUT.npz
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from record import options

if TYPE_CHECKING:
    from edge_sdk.profiling.predicting import Calls
    from edge_sdk.runtimes.protocol import Session

SEMANTICS = "onnx-semantics"
"""Stands for a runtime: ONNX Runtime without graph optimisation."""


def compiled(graph: Path, runtime: str, threads: int = 1) -> Session:
    """A session with the product's own settings for that runtime. Raises EdgeError."""
    from edge_sdk.runtimes import registry
    from edge_sdk.runtimes.protocol import CompileOptions

    plain = runtime == SEMANTICS
    asked = CompileOptions(threads=threads, reference=plain, graph_name=graph.name)
    return registry.runtime("onnxruntime" if plain else runtime).compile(graph, asked)


def calls(*, graph: str, runtime: str, samples: str, threads: int) -> Calls:
    """Runtime calls on the samples of a folder in turn; a factory for `edge_sdk.profiling.processes.Side`."""
    from networks_samples import read

    from edge_sdk.profiling.predicting import Calls

    session = compiled(Path(graph), runtime, threads)
    facts = session.explain()
    return Calls(session.run, read(Path(samples))[:8], {
        "what": "runtime call", "version": facts.version, "layers": dict(facts.layers_by_precision),
        "settings": dict(facts.settings),
    })  # fmt: skip


def int8_share(graph: bytes, feeds: Mapping[str, Any]) -> dict[str, Any]:
    """Multiply-accumulates of a sample, and what share of them the graph states in int8: by its Q/DQ, with the shapes
    that it has on `feeds`. operators: how many such products and convolutions; largest: the MACs of each, descending.
    """
    import onnx

    from edge_sdk.calibration.ops import DEQUANTIZE, operator

    model = onnx.load_from_string(graph)
    nodes = [node for node in model.graph.node if operator(node).kind == "matrix"]
    shapes = _shapes(model, [name for node in nodes for name in (*node.input[:2], node.output[0])], feeds)
    dequantized = {node.output[0] for node in model.graph.node if node.op_type == DEQUANTIZE}
    counted = [(_macs(node, shapes), dequantized.issuperset(node.input[:2])) for node in nodes]
    total, largest = sum(macs for macs, _ in counted), sorted((macs for macs, int8 in counted if int8), reverse=True)
    return {"macs": total, "stated_int8": sum(largest) / total, "operators": len(largest), "largest": largest}


def really_ran(share: Mapping[str, Any], ran: int) -> float:
    """The least share of MACs that ran in int8 where the runtime shows `ran` int8 operators: what it left in float may
    be the largest ones."""
    left = max(share["operators"] - ran, 0)
    return float(sum(share["largest"][left:]) / share["macs"])


def _shapes(model: Any, names: list[str], feeds: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shapes of tensors of a graph, by running it: inference doesn't follow every Reshape."""
    import onnx
    import onnxruntime

    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    shapes |= {name: np.shape(array) for name, array in feeds.items()}
    wanted = [name for name in dict.fromkeys(names) if name not in shapes]
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    settings.intra_op_num_threads = 1
    settings.log_severity_level = 3  # it warns of each initializer that these outputs don't need
    session = onnxruntime.InferenceSession(probe.SerializeToString(), settings)
    return shapes | {name: array.shape for name, array in zip(wanted, session.run(wanted, dict(feeds)), strict=True)}


def _macs(node: Any, shapes: Mapping[str, tuple[int, ...]]) -> int:
    left, weight, made = (shapes[name] for name in (*node.input[:2], node.output[0]))
    if node.op_type == "Conv":
        return int(np.prod(made) * np.prod(weight[1:]))
    if node.op_type == "ConvTranspose":
        return int(np.prod(left) * np.prod(weight[1:]))
    return int(np.prod(made) * left[-1])


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = options(__doc__)
    out.add_argument("graph", type=Path)
    out.add_argument("runtime", help=f"or {SEMANTICS}")
    out.add_argument("samples", type=Path, help="a folder of .npz files")
    out.add_argument("out", type=Path, help="an .npz file: the first output's answers, and what ran")
    return out


def main() -> None:
    """Answers every sample once."""
    asked = parser().parse_args()
    from networks_samples import read

    session = compiled(asked.graph, asked.runtime)
    name = session.outputs[0].name
    answers = [session.run(feeds)[name] for feeds in read(asked.samples)]
    np.savez_compressed(asked.out, answers=np.stack(answers), int8=session.explain().int8_operators)


if __name__ == "__main__":
    main()
