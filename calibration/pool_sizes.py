"""How many windows a pool has, by the rule of torch and ONNX Runtime; shapes by onnx's inference with that rule.

A last window that would start in the padding behind the input is dropped. onnx 1.23's inference counts it where a pool
rounds up (ceil_mode), so that everything behind such a pool would have sizes that no runtime answers. Knows no other
operator.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from onnx import ModelProto, NodeProto, ValueInfoProto, helper, shape_inference

from edge_sdk.runtimes.operators import POOLS

Sizes = Sequence["int | None"]


def windows(
    size: int, kernel: int, *, stride: int = 1, pads: tuple[int, int] = (0, 0), dilation: int = 1, up: bool
) -> int:
    """Windows along one axis of `size` values. up: whether the count is rounded up."""
    reach, whole = (kernel - 1) * dilation + 1, size + sum(pads)
    count = (whole - reach + (stride - 1) * up) // stride + 1
    return count - 1 if up and (count - 1) * stride >= size + pads[0] else count


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
        sizes, each = known.get(node.input[0], ())[2:], axes(node)
        if len(sizes) != len(each) or any(stride < 1 for _, stride, _, _ in each):
            continue
        dropped, ends = False, []
        for size, (kernel, stride, pads, dilation) in zip(sizes, each):
            reach = (kernel - 1) * dilation + 1
            if size is None:  # then every count is as onnx leaves it: unknown
                ends.append(pads[1])
                continue
            count = windows(size, kernel, stride=stride, pads=pads, dilation=dilation, up=True)
            dropped |= count < (size + sum(pads) - reach + stride - 1) // stride + 1
            ends.append(max(pads[1], (count - 1) * stride + reach - size - pads[0]))
        if dropped:
            yield at, (*(pads[0] for _, _, pads, _ in each), *ends)


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
