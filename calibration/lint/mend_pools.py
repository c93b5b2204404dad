"""Menders of pools that round up: the same windows by rounding down, which every runtime counts alike.

Each takes a draft whose nodes have names of their own, and the names of those that break its rule. Knows no samples.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from onnx import NodeProto, helper

from edge_sdk.calibration import graphs, pool_sizes
from edge_sdk.calibration.lint.draft import Draft

_PADS_AS_INPUT = 11  # of Pad


def rounded_down(draft: Draft, found: Collection[str]) -> None:
    """ceil_mode 0, and padding behind the input in which the last window ends. Padding that is counted becomes a Pad of
    its own, since what the last window reads beyond it is not. Left alone where ONNX Runtime would refuse padding as
    large as the kernel, which dilations alone ask for."""
    places: dict[str, Sequence[NodeProto]] = {}
    for node in draft.nodes:
        made = _rounded_down(draft, node) if node.name in found else ()
        if made:
            places[node.name] = made
            draft.say(node.name, f"{'its border is a Pad, and ' if len(made) > 1 else ''}ceil_mode is 0")
    draft.edit(places)


def _rounded_down(draft: Draft, node: NodeProto) -> tuple[NodeProto, ...]:
    each = pool_sizes.axes(node)
    sizes = (draft.index.shapes.get(node.input[0]) or (None,) * (2 + len(each)))[2:]
    starts, behind = [pads[0] for _, _, pads, _ in each], [pads[1] for _, _, pads, _ in each]
    ends = [last.end for last in pool_sizes.last_windows(node, sizes)]
    border: list[int] = []
    if graphs.integer(node, "count_include_pad", 0) and ends != behind:
        border, starts, ends = [*starts, *behind], [0] * len(each), [end - pad for end, pad in zip(ends, behind)]
    too_old = any(border) and graphs.opset_of(draft.model) < _PADS_AS_INPUT
    if not ends or too_old or any(end >= kernel for end, (kernel, _, _, _) in zip(ends, each)):
        return ()
    pool = NodeProto()
    pool.CopyFrom(node)
    gone = ("ceil_mode", "auto_pad", "pads", *(("count_include_pad",) if border else ()))
    for item in [a for a in pool.attribute if a.name in gone]:
        pool.attribute.remove(item)
    if any([*starts, *ends]):
        pool.attribute.append(helper.make_attribute("pads", [*starts, *ends]))
    if not any(border):
        return (pool,)
    half = len(each)
    stored = draft.store(f"{node.name}_pads", np.array([0, 0, *border[:half], 0, 0, *border[half:]], np.int64))
    pad = draft.node("Pad", [node.input[0], stored], draft.tensor(f"{node.input[0]}_padded"))
    pool.input[0] = pad.output[0]
    return pad, pool
