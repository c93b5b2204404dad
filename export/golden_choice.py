"""Which of the samples at hand become golden ones.

A golden sample asks whether a device computes what the file says. Where an answer hangs on an edge (the best score and
the second one are alike in one step of a text, say), the last bit of a sum decides it, which every runtime rounds in
its own way: such a sample asks about roundings. Quantization moves an answer more than any rounding, so that a sample
on an edge is one on which int8 is many times as far from float as on the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edge_sdk.export.tasks.base import Golden
from edge_sdk.tensors import Array

EDGE = 4.0
"""Times the distance of as many samples as are kept: farther off counts as on an edge. A third of the lines of a text
recogniser are."""


def kept(
    golden: Sequence[Golden], feeds: Sequence[Mapping[str, Mapping[str, Array]]], distances: Sequence[float]
) -> list[int]:
    """Indices of those to pack: all that are not spare, where one on an edge gives its place to the nearest spare one
    that is on none. feeds: by sample and role; of those kept, some differ in each role, if need be with the edge.
    distances: between int8 and float, by sample."""
    chosen = [index for index, one in enumerate(golden) if not one.spare]
    spare = sorted((index for index, one in enumerate(golden) if one.spare), key=distances.__getitem__)
    edge = EDGE * sorted(distances)[len(chosen) - 1]
    for place, index in enumerate(chosen):
        if distances[index] > edge and spare and distances[spare[0]] <= edge:
            tried = [*chosen[:place], spare[0], *chosen[place + 1 :]]
            if not any(alike([feeds[one][role] for one in tried]) for role in feeds[index]):
                chosen = tried
                del spare[0]
    return chosen


def alike(feeds: Sequence[Mapping[str, Array]]) -> bool:
    """Whether all samples feed a graph the same."""
    return all(np.array_equal(one[name], array) for one in feeds for name, array in feeds[0].items())
