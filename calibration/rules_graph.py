"""The linter's rules on graphs and float operators: names, types, and what some runtime refuses or misreads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
from onnx import NodeProto, TensorProto

from edge_sdk.calibration import graphs
from edge_sdk.calibration.graphs import NEWEST_TAKEN, OLDEST_TAKEN, STANDARD_DOMAINS, Index
from edge_sdk.calibration.ops import operator
from edge_sdk.calibration.rules import ALL, OV, OV_ORT, TRT, TRT_OV, Breach, Rule, broken_operators
from edge_sdk.runtimes.operators import PAIR

_OURS = "com.microsoft"
_TOP_K = 3840  # TensorRT's limit
_RESIZE_REFUSED = ("half_pixel_symmetric", "tf_crop_and_resize")


def _domain(domain: str) -> Callable[[Index], Iterator[Breach]]:
    def find(index: Index) -> Iterator[Breach]:
        for node in index.model.graph.node:
            known = node.domain in STANDARD_DOMAINS or node.domain == _OURS or node.domain.startswith(f"{_OURS}.")
            if (node.domain not in STANDARD_DOMAINS and known) if domain else not known:
                yield node.name, f"{node.op_type} is of domain {node.domain}, not standard ONNX"

    return find


def _functions(index: Index) -> Iterator[Breach]:
    for function in index.model.functions:
        yield function.name, "the model defines a function: OpenVINO refuses it"


def _sparse(index: Index) -> Iterator[Breach]:
    for tensor in index.model.graph.sparse_initializer:
        yield tensor.values.name, "a sparse initializer: OpenVINO and TensorRT refuse it"


def _type(kind: int, why: str) -> Callable[[Index], Iterator[Breach]]:
    def find(index: Index) -> Iterator[Breach]:
        for name, found in index.types.items():
            if found == kind:
                yield name, why
        for tensor in index.model.graph.initializer:
            if tensor.data_type == kind and tensor.name not in index.types:
                yield tensor.name, why

    return find


def _big_integers(index: Index) -> Iterator[Breach]:
    for name, array in index.constants.items():
        wide = array.dtype == np.int64 and array.size > 0 and int(np.abs(array).max()) >= 2**31
        if wide and any(r.op_type != "Slice" for r in index.readers.get(name, ())):  # there it means "to the end"
            yield name, "an integer beyond 32 bits: OpenVINO cuts it silently"


def _uint8_readers(index: Index) -> Iterator[Breach]:
    for node in index.model.graph.node:
        if node.op_type in ("Cast", *PAIR):
            continue
        if any(index.types.get(name) == TensorProto.UINT8 for name in node.input):
            yield node.name, f"{node.op_type} reads a uint8 tensor: TensorRT takes uint8 in Cast alone"


def _cast_to_uint8(index: Index) -> Iterator[Breach]:
    for node in index.model.graph.node:
        inside = node.output[0] not in index.outputs if node.output else False
        if node.op_type == "Cast" and graphs.integer(node, "to", 0) == TensorProto.UINT8 and inside:
            yield node.name, "Cast to uint8 inside the graph: TensorRT refuses it"


def _op(op: str, why: str, wrong: Callable[[NodeProto, Index], bool]) -> Callable[[Index], Iterator[Breach]]:
    def find(index: Index) -> Iterator[Breach]:
        for node in index.model.graph.node:
            if node.op_type == op and wrong(node, index):
                yield node.name, why

    return find


def _random(index: Index) -> Iterator[Breach]:
    yield from broken_operators("L55")(index)
    trained = _op("Dropout", "Dropout: random, because its training_mode is true", _drops)
    yield from trained(index)


def _drops(node: NodeProto, index: Index) -> bool:
    """Whether a Dropout is known to be one of training (opset 12 and later): input 1 is its ratio, 2 its mode."""
    ratio, training = (index.constants.get(name) for name in (*node.input, "", "", "")[1:3])
    return training is not None and bool(training.any()) and (ratio is None or bool(ratio.any()))


def _large_k(node: NodeProto, index: Index) -> bool:
    k = index.constants.get(node.input[1]) if len(node.input) > 1 else None
    return k is not None and int(k.reshape(-1)[0]) > _TOP_K


def _node_names(index: Index) -> Iterator[Breach]:
    for name, count in Counter(n.name for n in index.model.graph.node).items():
        if name and count > 1:  # a node without a name is taken everywhere
            yield name, f"{count} nodes have this name: ONNX Runtime refuses the graph"


def _tensor_names(index: Index) -> Iterator[Breach]:
    made = Counter(name for n in index.model.graph.node for name in n.output if name)
    made.update({*index.inputs, *(t.name for t in index.model.graph.initializer)})
    for name, count in made.items():
        if count > 1:
            yield name, "several nodes write this tensor: ONNX Runtime and TensorRT refuse it, OpenVINO takes one"


def _listed(index: Index) -> Iterator[Breach]:
    for info in index.model.graph.input:
        if info.name in index.constants:
            yield info.name, "an initializer is also an input: it could be overridden, so nothing folds it"


def _unfinished(index: Index) -> Iterator[Breach]:
    """An infinite value is a mask where it is added or chosen, and broken where it is multiplied or scales."""
    for name, array in index.constants.items():
        if array.dtype.kind != "f" or np.isfinite(array).all():
            continue
        if np.isnan(array).any() or any(_multiplies(node) for node in index.readers.get(name, ())):
            yield name, f"{int(np.count_nonzero(~np.isfinite(array)))} values are NaN or infinite"


def _multiplies(node: NodeProto) -> bool:
    return operator(node).kind == "matrix" or node.op_type in (*PAIR, "BatchNormalization")


def _imports(index: Index) -> Iterator[Breach]:
    if sum(o.domain in STANDARD_DOMAINS for o in index.model.opset_import) > 1:
        yield "(graph)", "the standard operator set is imported twice"


def _opset(index: Index) -> Iterator[Breach]:
    version = graphs.opset_of(index.model)
    if not OLDEST_TAKEN <= version <= NEWEST_TAKEN:
        yield "(graph)", f"opset {version}: the runtimes in the field take {OLDEST_TAKEN} to {NEWEST_TAKEN}"


def _unsorted(index: Index) -> Iterator[Breach]:
    known = {*index.inputs, *index.constants, ""}
    for node in index.model.graph.node:
        if not all(name in known for name in node.input):
            yield node.name, "a node stands before the one that makes its input"
        known.update(node.output)


RULES = (
    Rule(
        number="L31",
        affects=TRT_OV,
        hint="Export with standard operators, not from an optimised file",
        find=_domain(_OURS),
    ),
    Rule(number="L32", affects=ALL, hint="Replace the operator by standard ones", find=_domain("")),
    Rule(number="L33", affects=OV, hint="Inline it: onnx.inliner.inline_local_functions", find=_functions),
    Rule(number="L34", affects=TRT_OV, hint="Store the weight dense", find=_sparse),
    Rule(
        number="L35",
        affects=OV,
        hint="Use float32",
        find=_type(TensorProto.DOUBLE, "float64: OpenVINO computes in float32"),
    ),
    Rule(number="L36", affects=OV, hint="Keep integers below 2^31", find=_big_integers),
    Rule(
        number="L37",
        affects=OV_ORT,
        hint="Use float32 or float16",
        find=_type(TensorProto.BFLOAT16, "bfloat16: ONNX Runtime has no kernel for it"),
    ),
    Rule(number="L38", affects=TRT, hint="Cast to float32 first", find=_uint8_readers),
    Rule(number="L39", affects=TRT, hint="Stay float, Cast at the output alone", find=_cast_to_uint8),
    Rule(
        number="L41",
        affects=TRT_OV,
        hint="Average first, or resize in preprocessing",
        find=_op(
            "Resize",
            "antialias: OpenVINO ignores it, TensorRT refuses it",
            lambda n, _: graphs.integer(n, "antialias", 0) == 1,
        ),
    ),
    Rule(
        number="L42",
        affects=TRT_OV,
        hint="Give explicit sizes",
        find=_op(
            "Resize",
            "keep_aspect_ratio_policy: OpenVINO gives another shape, TensorRT refuses it",
            lambda n, _: graphs.text(n, "keep_aspect_ratio_policy", "stretch") != "stretch",
        ),
    ),
    Rule(
        number="L43",
        affects=OV,
        hint="Use exclude_outside = 0",
        find=_op(
            "Resize",
            "exclude_outside: OpenVINO computes other values",
            lambda n, _: graphs.integer(n, "exclude_outside", 0) == 1,
        ),
    ),
    Rule(
        number="L44",
        affects=TRT_OV,
        hint="Use half_pixel, align_corners or asymmetric",
        find=_op(
            "Resize",
            "this coordinate mode is refused by OpenVINO or TensorRT",
            lambda n, _: graphs.text(n, "coordinate_transformation_mode", "half_pixel") in _RESIZE_REFUSED,
        ),
    ),
    Rule(
        number="L46",
        affects=OV,
        hint="Pad explicitly, and use ceil_mode = 0",
        find=_op(
            "AveragePool",
            "ceil_mode with count_include_pad: OpenVINO computes other values",
            lambda n, _: graphs.integer(n, "ceil_mode", 0) == 1 and graphs.integer(n, "count_include_pad", 0) == 1,
        ),
    ),
    Rule(
        number="L47",
        affects=TRT,
        hint="Write the pool without dilation",
        find=_op(
            "AveragePool",
            "dilations: TensorRT refuses them",
            lambda n, _: any(d > 1 for d in graphs.ints(n, "dilations")),
        ),
    ),
    Rule(
        number="L48",
        affects=TRT,
        hint="Use the values alone",
        find=_op(
            "MaxPool", "the indices output: TensorRT refuses it", lambda n, _: len(n.output) > 1 and bool(n.output[1])
        ),
    ),
    Rule(
        number="L49",
        affects=OV,
        hint="Write it as a Concat of Slices",
        find=_op("Pad", "mode wrap: OpenVINO refuses it", lambda n, _: graphs.text(n, "mode", "constant") == "wrap"),
    ),
    Rule(
        number="L51",
        affects=TRT,
        hint="Compute it outside the graph",
        find=broken_operators("L51"),
    ),
    Rule(
        number="L52",
        affects=TRT,
        hint="Compute it outside the graph",
        find=broken_operators("L52"),
    ),
    Rule(
        number="L53",
        affects=TRT,
        hint="Take at most 3840, or compute it outside the graph",
        find=_op("TopK", "k > 3840: TensorRT fails in the build", _large_k),
    ),
    Rule(
        number="L55",
        affects=ALL,
        hint="Export the model for inference (model.eval()), or make the noise an input of the graph",
        find=_random,
    ),
    Rule(number="L59", affects=ALL, hint="Give every node a name of its own", find=_node_names),
    Rule(number="L60", affects=ALL, hint="Rename one of the tensors", find=_tensor_names),
    Rule(number="L61", affects=ALL, hint="Remove it from the inputs", find=_listed),
    Rule(number="L62", affects=ALL, hint="Train or export the model again", find=_unfinished),
    Rule(number="L66", affects=TRT, hint="Decompose it", find=broken_operators("L66")),
    Rule(number="L67", affects=TRT_OV, hint="Use numbers", find=_type(TensorProto.STRING, "a string tensor")),
    Rule(number="L68", affects=ALL, hint="Convert the opset", find=_opset),
    Rule(number="L69", affects=ALL, hint="Keep one import", find=_imports),
    Rule(
        number="L77",
        affects=TRT,
        hint="Give scales in place of sizes, or fix the batch",
        find=_op("Resize", "sizes for some axes while the batch is free: TensorRT refuses it", graphs.resized_by_size),
    ),
    Rule(number="L75", affects=ALL, hint="Sort the nodes", find=_unsorted),
)
