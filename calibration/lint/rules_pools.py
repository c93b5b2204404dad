"""Lint rules on pools: windows that runtimes count or weigh otherwise, attributes that some refuse. Knows no samples.

Measured over one and two axes of sizes 4 to 12, kernels 1 to 4, strides 1 to 4, with and without padding and dilations.
With auto_pad SAME nothing is rounded up, and all agree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from onnx import NodeProto

from edge_sdk.calibration import graphs, pool_sizes
from edge_sdk.calibration.graphs import STANDARD_DOMAINS, Index
from edge_sdk.calibration.lint.mend_pools import rounded_down
from edge_sdk.calibration.lint.rules import OV, TRT, Finder, Found, Rule, claim
from edge_sdk.runtimes.operators import POOLS

_HINT = "Use ceil_mode = 0, and padding in which the last window ends"


def _pools(what: str, wrong: Callable[[NodeProto, Index], bool], *ops: str) -> Finder:
    """Nodes of these types of the standard domain that are wrong."""

    def find(index: Index) -> Iterator[Found]:
        for node in index.model.graph.node:
            if node.op_type in ops and node.domain in STANDARD_DOMAINS and wrong(node, index):
                yield node.name, f"{node.op_type}: {what}"

    return find


def _sizes(node: NodeProto, index: Index) -> pool_sizes.Sizes:
    """Of the spatial axes; of a tensor whose shape is not known, they are free."""
    return (index.shapes.get(node.input[0]) or (None,) * (2 + len(pool_sizes.axes(node))))[2:]


def _dropped(node: NodeProto, index: Index) -> bool:
    return any(last.dropped for last in pool_sizes.last_windows(node, _sizes(node, index)))


def _partial(node: NodeProto, index: Index) -> bool:
    return any(last.partial for last in pool_sizes.last_windows(node, _sizes(node, index))) and not _only(node, index)


def _only(node: NodeProto, index: Index) -> bool:
    return any(last.only for last in pool_sizes.last_windows(node, _sizes(node, index)))


def _padded(node: NodeProto) -> bool:
    return any(before or behind for _, _, (before, behind), _ in pool_sizes.axes(node))


def _counted(node: NodeProto) -> bool:
    return graphs.integer(node, "count_include_pad", 0) == 1


def _beyond_a_border(node: NodeProto, index: Index) -> bool:
    return _counted(node) and _padded(node) and _partial(node, index)


def _beyond_no_border(node: NodeProto, index: Index) -> bool:
    return not _padded(node) and _partial(node, index)


def _empty_mean(node: NodeProto, index: Index) -> bool:
    """Whether the dropped window would be a mean of no value, as TensorRT's parser sees where sizes are fixed."""
    return not _counted(node) and None not in _sizes(node, index) and _dropped(node, index)


def _another_mean(node: NodeProto, index: Index) -> bool:
    return _dropped(node, index) and not _empty_mean(node, index)


def _dilated(node: NodeProto, _: Index) -> bool:
    return any(size > 1 for size in graphs.ints(node, "dilations"))


_BEHIND = "ceil_mode, with a last window that starts past the end of the input"
RULES = (
    Rule(
        number="L46", title="AveragePool with ceil_mode and padding that count_include_pad counts",
        claims=claim("wrong", OV), hint=_HINT, fix="exact", menders=(rounded_down,),
        find=_pools("ceil_mode with count_include_pad", _beyond_a_border, "AveragePool"),
    ),
    Rule(
        number="L47", title="AveragePool, MaxPool or LpPool with dilations", claims=claim("refused", TRT),
        hint="Write the pool without dilation", find=_pools("dilations", _dilated, *POOLS),
    ),
    Rule(
        number="L48", title="MaxPool with its indices", claims=claim("refused", TRT), hint="Use the values alone",
        find=_pools("the indices output", lambda n, _: len(n.output) > 1 and bool(n.output[1]), "MaxPool"),
    ),
    Rule(
        number="L82", title=f"MaxPool with {_BEHIND}", claims=claim("wrong", TRT, OV), hint=_HINT, fix="exact",
        menders=(rounded_down,), find=_pools(_BEHIND, _dropped, "MaxPool"),
    ),
    Rule(
        number="L82", title="AveragePool with such a window, of fixed sizes, padding not counted",
        claims=claim("refused", TRT), hint=_HINT, fix="exact", menders=(rounded_down,),
        find=_pools(_BEHIND, _empty_mean, "AveragePool"),
    ),
    Rule(
        number="L82", title="AveragePool with such a window, of free sizes or with padding counted",
        claims=claim("wrong", TRT), hint=_HINT, fix="exact", menders=(rounded_down,),
        find=_pools(_BEHIND, _another_mean, "AveragePool"),
    ),
    Rule(
        number="L82", title="LpPool with such a window", claims=claim("wrong", TRT), hint=_HINT, fix="exact",
        menders=(rounded_down,), find=_pools(_BEHIND, _dropped, "LpPool"),
    ),
    Rule(
        number="L83", title="LpPool with ceil_mode, without padding, with a last window that ends past the input",
        claims=claim("wrong", OV), hint=_HINT, fix="exact", menders=(rounded_down,),
        find=_pools("ceil_mode without padding", _beyond_no_border, "LpPool"),
    ),
    Rule(
        number="L84", title="AveragePool, MaxPool or LpPool with ceil_mode and a kernel larger than the padded input",
        claims=claim("refused", OV), hint=_HINT, fix="exact", menders=(rounded_down,),
        find=_pools("ceil_mode with a kernel larger than the padded input", _only, *POOLS),
    ),
)  # fmt: skip
