"""The last window of a pool that rounds up, by the rule of torch and ONNX Runtime; shapes by onnx's inference with it.

A last window that would start in the padding behind the input is dropped. onnx 1.23's inference counts it where a pool
rounds up (ceil_mode), so that everything behind such a pool would have sizes that ONNX Runtime does not answer. Knows
no other operator.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from onnx import ModelProto, NodeProto, ValueInfoProto, helper, shape_inference

from edge_sdk.runtimes.operators import POOLS

Sizes = Sequence["int | None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LastWindow:
    """What becomes of the last window along one axis, for some of the sizes that the axis may have. dropped: it would
    start behind the input, and is left out. partial: it is kept, and reaches beyond the padded input. only: it is the
    first one, too, because the kernel is larger than the padded input. end: padding behind the input with which a pool
    that rounds down has the same windows, whatever the size."""

    dropped: bool
    partial: bool
    only: bool
    end: int


def last_windows(node: NodeProto, sizes: Sizes) -> tuple[LastWindow, ...]:
    """Of each spatial axis of a pool that rounds up; empty for any other node, and where `sizes` (of those axes, None =
    free) are not as many."""
    each = axes(node) if _rounds_up(node) else []
    if len(each) != len(sizes) or any(stride < 1 for _, stride, _, _ in each):
        return ()
    return tuple(_last(size, *axis) for size, axis in zip(sizes, each))


def _last(size: int | None, kernel: int, stride: int, pads: tuple[int, int], dilation: int) -> LastWindow:
    reach = (kernel - 1) * dilation + 1
    rest = 0 if size is None else size + sum(pads) - reach
    if rest <= -stride:  # no window at all
        return LastWindow(dropped=False, partial=False, only=False, end=pads[1])
    # How far the last window reaches beyond the padded input. With as much as `first` it starts in the padding.
    over = range(stride) if size is None else range(-rest % stride, -rest % stride + 1)
    first = reach - pads[1]
    dropped, partial = over[-1] >= first, over[-1] > 0 and max(over[0], 1) < first
    # Every window that starts before the padding: with first - 1 more of padding none of them is missing.
    more = min(over[-1], first - 1) if partial else 0
    return LastWindow(dropped=dropped, partial=partial, only=rest < 0, end=pads[1] + more)


def inferred(model: ModelProto, *, data_prop: bool = False) -> ModelProto:
    """onnx's `infer_shapes`, with pools as runtimes compute them. Raises as that does."""
    made = shape_inference.infer_shapes(model, data_prop=data_prop)
    pools = [at for at, node in enumerate(model.graph.node) if _rounds_up(node)]
    work: ModelProto | None = None
    for _ in pools:
        at, pads = next(_miscounted(made, pools), (-1, ()))
        if at < 0:
            break
        if work is None:
            work = unstated(model)
        _round_down(work.graph.node[at], pads)
        pools = [other for other in pools if other != at]
        made = shape_inference.infer_shapes(work, data_prop=data_prop)
    return made if work is None else _with_shapes(model, made)


def axes(node: NodeProto) -> list[tuple[int, int, tuple[int, int], int]]:
    """(kernel, stride, pads, dilation) of each spatial axis of a pool whose pads are stated."""
    stated = {a.name: tuple(int(v) for v in a.ints) for a in node.attribute}
    kernel = stated.get("kernel_shape", ())
    rank = len(kernel)
    strides, dilations = (stated.get(name) or (1,) * rank for name in ("strides", "dilations"))
    pads = stated.get("pads") or (0,) * 2 * rank
    return list(zip(kernel, strides, zip(pads[:rank], pads[rank:]), dilations))


def _rounds_up(node: NodeProto) -> bool:
    words = {a.name: a.s for a in node.attribute}
    numbers = {a.name: a.i for a in node.attribute}
    return (
        node.op_type in POOLS and node.domain in ("", "ai.onnx") and numbers.get("ceil_mode", 0) == 1
        and words.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID", b"") and bool(node.input)
    )  # fmt: skip


def _miscounted(made: ModelProto, pools: Iterable[int]) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Position of each pool with a window that is dropped, and the pads with which rounding down gives its sizes."""
    graph = made.graph
    known = _shapes((*graph.input, *graph.value_info, *graph.output))
    for at in pools:
        node = graph.node[at]
        sizes = known.get(node.input[0], ())[2:]
        last = last_windows(node, sizes)
        # the count along a free axis is as onnx leaves it: unknown
        if any(one.dropped for size, one in zip(sizes, last) if size is not None):
            yield at, (*(pads[0] for _, _, pads, _ in axes(node)), *(one.end for one in last))


def _round_down(node: NodeProto, pads: Sequence[int]) -> None:
    kept = [a for a in node.attribute if a.name not in ("ceil_mode", "auto_pad", "pads")]
    del node.attribute[:]
    node.attribute.extend(kept)
    node.attribute.append(helper.make_attribute("pads", list(pads)))


def unstated(model: ModelProto) -> ModelProto:
    """A copy that says nothing of the shapes behind its inputs: what the file states may come of the same inference."""
    copy = ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]
    for info in copy.graph.output:
        info.type.tensor_type.ClearField("shape")
    return copy


def _with_shapes(model: ModelProto, made: ModelProto) -> ModelProto:
    """A copy of `model` with the shapes of `made`; where those are not known, as it states them."""
    copy = ModelProto()
    copy.CopyFrom(model)
    graph, found = copy.graph, {info.name: info for info in (*made.graph.value_info, *made.graph.output)}
    shaped = {name: info for name, info in found.items() if info.type.tensor_type.HasField("shape")}
    kept = [info for info in graph.value_info if info.name not in shaped]
    del graph.value_info[:]
    graph.value_info.extend([*kept, *(info for info in made.graph.value_info if info.name in shaped)])
    for info in graph.output:
        new = shaped.get(info.name)
        if new is None:
            continue
        dims, other = info.type.tensor_type.shape.dim, new.type.tensor_type.shape.dim
        if len(dims) != len(other) or not info.type.tensor_type.HasField("shape"):
            info.type.CopyFrom(new.type)
            continue
        for dim, size in zip(dims, other):  # names of free axes stay
            if size.HasField("dim_value"):
                dim.dim_value = size.dim_value
    return copy


def _shapes(infos: Iterable[ValueInfoProto]) -> Mapping[str, Sizes]:
    return {
        info.name: tuple(d.dim_value if d.HasField("dim_value") else None for d in info.type.tensor_type.shape.dim)
        for info in infos
    }
