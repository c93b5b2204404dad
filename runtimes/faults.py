"""Known faults of runtime versions, as rows of data: what goes wrong, where, and the setting that avoids it.

Knows graphs by pattern and CPUs by facts, no family. Each row has a test that shows the fault on the installed version,
so that a row can be dropped when its version range ends.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from edge_sdk.runtimes import probe
from edge_sdk.runtimes.onnx_file import FLOAT, INT8, UINT8, Node, OnnxFacts, int8_weights_beyond_64
from edge_sdk.runtimes.operators import DEQUANTIZE, INDEXED, QUANTIZE, RETYPED, has_int8, is_product, traits
from edge_sdk.runtimes.probe import CpuFacts
from edge_sdk.runtimes.protocol import Availability

Detector = Callable[[OnnxFacts, CpuFacts], bool]

CHAINED, BEHIND_CONCAT = "chained-int8-matmul", "signed-int8-convolution-behind-concat"
SATURATES_ONEDNN = "wide-int8-weights-in-16-bit-sums-onednn"
"""Patterns that int8 graphs are planned around as well (calibration/plan.py)."""
SLOW_PRODUCTS = "int8-products-without-vnni"
"""What the adapter for OpenVINO rewrites (`ov_products`)."""
HALVES = "int8-transposed-convolution-avx512-without-vnni"
FED_INDEX = "index-that-is-fed"
FLOAT_WEIGHTS = "float-weights-between-pairs"
"""What the layout for ONNX Runtime is written around (calibration/layout.py)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """since, fixed_in: first version known to have it, first known not to (None: not fixed yet). pattern: a name in
    DETECTORS. setting: what the adapter hands to the vendor where the pattern holds; empty if no setting helps, and
    then `avoided_by` says what does. unusable: without that, answers are wrong, not merely slow."""

    id: str
    runtime: str
    since: str
    fixed_in: str | None = None
    pattern: str
    what: str
    setting: Mapping[str, str] = field(default_factory=dict)
    avoided_by: str
    unusable: bool = False

    def __str__(self) -> str:
        return f"{self.id}: {self.what}; avoided by {self.avoided_by}"

    def in_version(self, version: str) -> bool:
        """Whether `version` lies in the range of this row."""
        have = _numbers(version)
        return _numbers(self.since) <= have and (self.fixed_in is None or have < _numbers(self.fixed_in))


FAULTS: tuple[Fault, ...] = (
    Fault(
        id="openvino-int8-mlp-garbage",
        runtime="openvino",
        since="2026.4",
        pattern=CHAINED,
        what="chained int8 MatMul or Gemm without bias are fused into one kernel that returns garbage for few rows",
        setting={"SNIPPETS_MODE": "DISABLE"},
        avoided_by="SNIPPETS_MODE=DISABLE",
    ),
    Fault(
        id="openvino-int8-behind-concat",
        runtime="openvino",
        since="2026.4",
        pattern=BEHIND_CONCAT,
        what="a signed int8 convolution of a Concat answers a third to a half off",
        setting={"LP_TRANSFORMS_MODE": "NO"},
        avoided_by="LP_TRANSFORMS_MODE=NO (all runs in float), or int8 of edge_sdk.calibration: that one is float",
    ),
    Fault(
        id="openvino-bf16-by-itself",
        runtime="openvino",
        since="2022.1",
        pattern="cpu-computes-bf16",
        what="float32 graphs are computed in bfloat16, about three digits, where the CPU has it",
        setting={"INFERENCE_PRECISION_HINT": "f32"},
        avoided_by="INFERENCE_PRECISION_HINT, always set and read back",
    ),
    Fault(
        id="openvino-int8-saturates",
        runtime="openvino",
        since="2022.1",
        pattern=SATURATES_ONEDNN,
        what="pairs of int8 products are added in 16 bits and saturate: up to all of the signal is lost",
        avoided_by="the variant int8-w7, whose weights stay within [-64, 64]",
        unusable=True,
    ),
    Fault(
        id="openvino-int8-transposed-halved",
        runtime="openvino",
        since="2026.4",
        pattern=HALVES,
        what="with AVX-512 and no VNNI, the int8 weights of a ConvTranspose are halved: they lose a bit",
        avoided_by="leaving ConvTranspose in float (`exclude`), or a CPU with VNNI",
    ),
    Fault(
        id="openvino-int8-products-slow",
        runtime="openvino",
        since="2026.4",
        pattern=SLOW_PRODUCTS,
        what="without VNNI, int8 products run in a plain gemm that is hardly faster than float32",
        avoided_by="1x1 convolutions in their place, the same sums",
    ),
    Fault(
        id="openvino-index-beyond-the-end",
        runtime="openvino",
        since="2026.4",
        pattern=FED_INDEX,
        what="an index beyond the end of an axis is no error: Gather answers 0, the others what lies in memory",
        avoided_by="feeding no such index, or onnxruntime, which refuses it; indices that are constants are checked",
    ),
    Fault(
        id="onnxruntime-int8-saturates",
        runtime="onnxruntime",
        since="1.8",
        pattern="wide-int8-weights-in-16-bit-sums",
        what="pairs of int8 products are added in 16 bits and saturate: up to all of the signal is lost",
        setting={"session.x64quantprecision": "1"},
        avoided_by="session.x64quantprecision (exact, slower), or the variant int8-w7",
    ),
    Fault(
        id="onnxruntime-int8-relu-in-float",
        runtime="onnxruntime",
        since="1.8",
        pattern="relu-before-symmetric-quantize",
        what="Conv, Relu, QuantizeLinear in symmetric int8 runs in float and dequantizes the weights in every run",
        avoided_by="the layout conv-q-relu-q, equal bit by bit; int8_convolutions in CompileOptions refuses the other",
    ),
    Fault(
        id="onnxruntime-int8-read-twice-in-float",
        runtime="onnxruntime",
        since="1.8",
        pattern="symmetric-quantize-read-twice",
        what="an int8 activation with several readers puts the convolution before it, and its readers, into float",
        avoided_by="uint8 with zero point 128 in the layout conv-q-relu-q, the same numbers shifted",
    ),
    Fault(
        id="onnxruntime-float-weights-quantized",
        runtime="onnxruntime",
        since="1.21",
        pattern=FLOAT_WEIGHTS,
        what="float weights of a Conv, ConvTranspose or Gemm between Q/DQ pairs become int8, one scale for all",
        avoided_by="a Max with the lowest float behind that operator: edge_sdk.calibration and lint --fix write it",
    ),
)


def present(runtime: str, version: str, graph: OnnxFacts, cpu: CpuFacts) -> tuple[Fault, ...]:
    """The rows that hold for this graph on this CPU in this version."""
    rows = (row for row in FAULTS if row.runtime == runtime and row.in_version(version))
    return tuple(row for row in rows if DETECTORS[row.pattern](graph, cpu))


def planned_around(runtime: str, version: str | None) -> frozenset[str]:
    """Patterns of the rows in force for `runtime` in `version`. None: it is not known which version will run the graph,
    and every row counts: int8 that is given up costs speed, int8 that is wrong costs answers."""
    rows = (row for row in FAULTS if row.runtime == runtime)
    return frozenset(row.pattern for row in rows if version is None or row.in_version(version))


def unusable_reason(runtime: str, version: str, graph: OnnxFacts, cpu: CpuFacts) -> str:
    """Why this graph answers wrongly here whatever is set, in words; "" = no such fault is known."""
    rows = [row for row in present(runtime, version, graph, cpu) if row.unusable]
    return "; ".join(f"{row.what}; avoided by {row.avoided_by}" for row in rows)


def wrong_here(found: Availability, layout: str, facts: Callable[[], OnnxFacts], cpu: CpuFacts | None = None) -> str:
    """`unusable_reason` of a graph on a runtime as it was found here. layout: of the graph; one without Q/DQ has no
    such fault, and is not read for nothing. facts: reads it. cpu: None = this machine's."""
    if layout == "plain":
        return ""
    return unusable_reason(found.runtime, found.version or "", facts(), cpu or probe.cpu())


def chained_int8_matmul(graph: OnnxFacts, cpu: CpuFacts) -> bool:
    """An int8 MatMul or Gemm fed by another through nothing but element-wise steps and Q/DQ. Biases are not looked at:
    some make the fault go away, but a false alarm costs little and garbage costs all."""
    producers = graph.producers()
    multiplies = [node for node in graph.nodes if is_product(node.op) and _int8_weight(node, graph, producers)]
    first = {output for node in multiplies for output in node.outputs}
    return any(_reaches(node.inputs[0], first, producers) for node in multiplies)


def int8_products_without_vnni(graph: OnnxFacts, cpu: CpuFacts) -> bool:
    """An int8 MatMul or Gemm with a stored weight, on a CPU whose int8 kernels for them are slow."""
    if cpu.onednn_isa not in ("avx2", "sse"):
        return False
    producers = graph.producers()
    return any(is_product(node.op) and _int8_weight(node, graph, producers) for node in graph.nodes)


def int8_transposed_on_avx512(graph: OnnxFacts, cpu: CpuFacts) -> bool:
    """A ConvTranspose of int8 weights, where oneDNN takes its kernels for AVX-512 without VNNI."""
    if "avx512bw" not in cpu.flags or cpu.onednn_isa != "avx2" or cpu.capped_by.upper() not in ("", "AVX512_CORE"):
        return False
    producers = graph.producers()
    return any(node.op == "ConvTranspose" and _int8_weight(node, graph, producers) for node in graph.nodes)


def signed_int8_convolution_behind_concat(graph: OnnxFacts, cpu: CpuFacts) -> bool:
    """A Conv of int8 weights whose activations are int8, not uint8, and come from a Concat. Depthwise ones come out
    right, but are not told apart here."""
    producers = graph.producers()
    convolutions = [node for node in graph.nodes if node.op == "Conv" and _int8_weight(node, graph, producers)]
    return any(_joined(node.inputs[0], graph, producers) for node in convolutions)


def index_that_is_fed(graph: OnnxFacts, cpu: CpuFacts) -> bool:
    """A Gather or Scatter whose indices are an input, as they are. Those that are computed are not looked at: most come
    from shapes, or are cut to what there is."""
    producers, fed = graph.producers(), {spec.name for spec in graph.inputs}
    indices = [node.inputs[1] for node in graph.nodes if node.op in INDEXED and len(node.inputs) > 1]
    return any(_unchanged(name, producers) in fed for name in indices)


def relu_before_symmetric_quantize(graph: OnnxFacts, cpu: CpuFacts) -> bool:
    """A QuantizeLinear to int8 right after the Relu or Clip of a convolution."""
    producers = graph.producers()
    for node in graph.nodes:
        if node.op != QUANTIZE or len(node.inputs) < 3:
            continue
        zero = graph.initializers.get(node.inputs[2])
        activation = producers.get(node.inputs[0])
        if zero is None or zero.dtype != INT8 or activation is None or not traits(activation.op).cuts:
            continue
        before = producers.get(activation.inputs[0])
        if before is not None and has_int8(before.op, "onnxruntime"):
            return True
    return False


def symmetric_quantize_read_twice(graph: OnnxFacts, cpu: CpuFacts) -> bool:
    """A QuantizeLinear to int8 whose value, dequantized, goes to more than one reader."""
    readers = Counter(name for node in graph.nodes for name in set(node.inputs))
    for node in graph.nodes:
        if node.op != DEQUANTIZE or len(node.inputs) < 3:
            continue
        zero = graph.initializers.get(node.inputs[2])
        activation = node.inputs[0] not in graph.initializers and zero is not None and zero.dtype == INT8
        if activation and (readers[node.outputs[0]] > 1 or readers[node.inputs[0]] > 1):
            return True
    return False


def float_weights_between_pairs(graph: OnnxFacts, cpu: CpuFacts) -> bool:
    """An operator that can have a bias (Conv, ConvTranspose, Gemm), of stored float weights, between DequantizeLinear
    and QuantizeLinear, seen through what ONNX Runtime moves these through."""
    producers, readers = graph.producers(), _readers(graph)
    kept = [
        node for node in graph.nodes if node.outputs and traits(node.op).bias is not None and _float_weight(node, graph)
    ]

    def moved(node: Node) -> bool:
        return traits(node.op).onnxruntime_pairs

    def quantized(tensor: str) -> bool:
        todo, seen = [tensor], set[str]()
        while todo:  # no recursion: a chain may be long, and a cycle ends as well
            name = todo.pop()
            if not (found := readers.get(name, ())):
                return False
            seen.add(name)
            others = [node for node in found if node.op != QUANTIZE]
            if not all(moved(node) or traits(node.op).cuts for node in others):
                return False
            todo += [output for node in others for output in node.outputs if output not in seen]
        return True

    def dequantized(tensor: str) -> bool:
        maker = producers.get(_first(tensor, producers, moved))
        return maker is not None and maker.op == DEQUANTIZE

    return any(dequantized(node.inputs[0]) and quantized(node.outputs[0]) for node in kept)


def wide_int8_weights(graph: OnnxFacts) -> bool:
    """An int8 weight beyond [-64, 64]. Those of depthwise convolutions don't count: kernels for these multiply in 32
    bits on every CPU, in ONNX Runtime and OpenVINO (tests/runtimes/test_known_faults.py), so int8-w7 leaves them wide.
    """
    readers = _readers(graph)

    def depthwise(name: str, dims: tuple[int, ...]) -> bool:
        first = readers.get(name, [])
        users = [(node, made.outputs[0]) for made in first for node in readers.get(made.outputs[0], [])]
        return bool(users) and all(made.op == DEQUANTIZE for made in first) and all(
            node.op == "Conv" and node.inputs[1] == read and 1 < node.group == dims[0] and dims[1] == 1
            for node, read in users
        )  # fmt: skip

    stored = graph.initializers.values()
    safe = {one.name for one in stored if one.dtype == INT8 and len(one.dims) > 2 and depthwise(one.name, one.dims)}
    return int8_weights_beyond_64(graph, but=safe)


DETECTORS: Mapping[str, Detector] = {
    CHAINED: chained_int8_matmul,
    BEHIND_CONCAT: signed_int8_convolution_behind_concat,
    "cpu-computes-bf16": lambda graph, cpu: "avx512_bf16" in cpu.flags or "amx_bf16" in cpu.flags,
    "wide-int8-weights-in-16-bit-sums": lambda graph, cpu: not cpu.adds_in_32_bits and wide_int8_weights(graph),
    SATURATES_ONEDNN: lambda graph, cpu: cpu.onednn_isa in ("avx2", "sse", "unknown") and wide_int8_weights(graph),
    SLOW_PRODUCTS: int8_products_without_vnni,
    HALVES: int8_transposed_on_avx512,
    FED_INDEX: index_that_is_fed,
    "relu-before-symmetric-quantize": relu_before_symmetric_quantize,
    "symmetric-quantize-read-twice": symmetric_quantize_read_twice,
    FLOAT_WEIGHTS: float_weights_between_pairs,
}


def _readers(graph: OnnxFacts) -> dict[str, list[Node]]:
    readers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    return readers


def _int8_weight(node: Node, graph: OnnxFacts, producers: Mapping[str, Node]) -> bool:
    source = producers.get(node.inputs[1])
    if source is None or source.op != DEQUANTIZE:
        return False
    stored = graph.initializers.get(source.inputs[0])
    # a float weight behind QuantizeLinear is int8 as well, once folded
    return (stored is not None and stored.dtype in (INT8, UINT8)) or source.inputs[0] in producers


def _reaches(tensor: str, goals: set[str], producers: Mapping[str, Node]) -> bool:
    seen: set[str] = set()
    todo = [tensor]
    while todo:
        name = todo.pop()
        if name in goals:
            return True
        node = producers.get(name)
        if name in seen or node is None or not traits(node.op).openvino_chain:
            continue
        seen.add(name)
        todo += node.inputs
    return False


def _unchanged(tensor: str, producers: Mapping[str, Node]) -> str:
    """The tensor whose numbers `tensor` has, some or all of them, in another shape or type."""
    return _first(tensor, producers, lambda node: traits(node.op).kind == "copy" or node.op in RETYPED)


def _first(tensor: str, producers: Mapping[str, Node], through: Callable[[Node], bool]) -> str:
    """The tensor that `tensor` comes from, seen through the first input of some operators."""
    for _ in range(len(producers)):  # a cycle ends as well
        node = producers.get(tensor)
        if node is None or not node.inputs or not through(node):
            break
        tensor = node.inputs[0]
    return tensor


def _float_weight(node: Node, graph: OnnxFacts) -> bool:
    stored = graph.initializers.get(node.inputs[1]) if len(node.inputs) > 1 else None
    return stored is not None and stored.dtype == FLOAT


def _joined(tensor: str, graph: OnnxFacts, producers: Mapping[str, Node]) -> bool:
    """Whether `tensor` is a Concat in signed int8, seen through what was found to keep the fault."""
    paired = False
    for _ in graph.nodes:  # a cycle ends as well
        node = producers.get(tensor)
        if node is None:
            return False
        if node.op == "Concat":
            return paired or any(_signed(name, graph, producers) for name in node.inputs)
        if node.op == DEQUANTIZE and not paired:
            paired = _signed(tensor, graph, producers)
            if not paired:
                return False
        varying = [name for name in node.inputs if name and not _constant(name, graph, producers)]
        # "unpaired": without Q/DQ between it and the convolution; with it, the convolution is right
        kept = traits(node.op).openvino_join
        if kept not in (("always",) if paired else ("always", "unpaired")) or len(varying) != 1:
            return False
        tensor = varying[0]
    return False


def _signed(tensor: str, graph: OnnxFacts, producers: Mapping[str, Node]) -> bool:
    node = producers.get(tensor)
    zero = graph.initializers.get(node.inputs[2]) if node is not None and len(node.inputs) > 2 else None
    return node is not None and node.op == DEQUANTIZE and zero is not None and zero.dtype == INT8


def _constant(tensor: str, graph: OnnxFacts, producers: Mapping[str, Node]) -> bool:
    node = producers.get(tensor)
    return tensor in graph.initializers or (
        node is not None and all(name in graph.initializers for name in node.inputs)
    )


def _numbers(version: str) -> tuple[int, ...]:
    """(2026, 4, 1) of "2026.4.1-22982-...": what comes after the dots' numbers is left out."""
    return tuple(int(part) for part in re.match(r"\d+(?:\.\d+)*", version or "0").group().split("."))  # type: ignore[union-attr]
