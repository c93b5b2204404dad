"""Does a manifest say of a graph what its ONNX file says? Knows one entry and the facts of one file, no archive.

Runtimes compile by the file and everything else goes by the manifest: which arrays a task feeds, which golden samples
fit, which targets take the opset. Where the two differ, one of them is wrong and no check further on would notice.
"""

from __future__ import annotations

from collections.abc import Sequence

from edge_sdk.bundle.manifest import Graph
from edge_sdk.runtimes.onnx_file import OnnxFacts
from edge_sdk.tensors import TensorSpec


def difference(graph: Graph, facts: OnnxFacts) -> str:
    """The first difference between an entry and the file's facts, as a sentence; "" if there is none."""
    title = f"the graph {graph.name}"
    if facts.unshaped:  # the reader would have to take the manifest's word for it
        return f"{title} does not give the shape of its output {facts.unshaped[0][:80]!r}"
    if graph.opset != facts.opset:
        return f"the manifest says that {title} has opset {graph.opset}, its file has {facts.opset}"
    return _of_specs(f"inputs of {title}", graph.inputs, facts.inputs) or _of_specs(
        f"outputs of {title}", graph.outputs, facts.outputs
    )


def _of_specs(what: str, stated: Sequence[TensorSpec], found: Sequence[TensorSpec]) -> str:
    """In the file's order, too: some tasks feed the first input, whatever its name."""
    if [spec.name for spec in stated] != [spec.name for spec in found]:
        return f"the manifest says that the {what} are {_names(stated)}, its file has {_names(found)}"
    for said, is_ in zip(stated, found, strict=True):
        if said != is_:
            return f"the manifest says that of the {what} {_words(said)}, its file says {_words(is_)}"
    return ""


def _names(specs: Sequence[TensorSpec]) -> str:
    names = [repr(spec.name[:80]) for spec in specs[:8]]
    return ", ".join([*names, "..."] if len(specs) > 8 else names) or "none"


def _words(spec: TensorSpec) -> str:
    """A tensor as "x is float32 (N, 3)"."""
    sizes = ", ".join(str(size)[:80] for size in spec.shape)
    return f"{spec.name[:80]} is {spec.dtype} ({sizes})"
