"""Which of the samples at hand become golden ones.

A golden sample asks whether a device computes what the file says. Where an answer is near a decision boundary (in one
step of a text, two letters are equally probable), the last bit of a sum decides it, and every runtime rounds that in
its own way: such a sample fails on a device that is right. Quantization moves answers further than any rounding, so
that samples near a boundary are known by it: their int8 answers are farther from float than those of others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from edge_sdk.export.tasks.base import Golden
from edge_sdk.tensors import Array

Feeds: TypeAlias = Mapping[str, Mapping[str, Array]]
"""Of one sample, by role and input."""
FAR = 2.0
"""A sample is near a boundary if it is this many times as far as the nearest others, as many as are kept: a third of a
text recogniser's samples are, so that a median would not do. One that was 2.1 times as far flipped in OpenVINO."""
NEAR = 0.01
"""Relative difference up to which no sample is near a boundary."""


def kept(golden: Sequence[Golden], feeds: Sequence[Feeds], distances: Sequence[float | None]) -> list[int]:
    """Indices of those to pack: all that are not spare, each near a boundary replaced by the nearest spare one that is
    not. Those kept differ in each role, if any do.

    feeds: by sample. distances: between int8 and float, by sample; None of one whose answer says nothing, such as
    zeros: it replaces none.
    """
    chosen = [index for index, one in enumerate(golden) if not one.spare]
    spare = [index for index, one in enumerate(golden) if one.spare]
    if not differ([feeds[one] for one in chosen]):
        tried = ([*chosen[:-1], one] for one in spare)
        chosen = next((some for some in tried if differ([feeds[one] for one in some])), chosen)
    known = {index: distance for index, distance in enumerate(distances) if distance is not None}
    if not known:
        return chosen
    nearest = sorted(known.values())[: len(chosen)]
    boundary = max(NEAR, FAR * nearest[-1])
    offered = sorted((one for one in spare if known.get(one, np.inf) <= boundary), key=known.__getitem__)
    for place in range(len(chosen)):
        if known.get(chosen[place], 0.0) > boundary:
            tried = ([*chosen[:place], one, *chosen[place + 1 :]] for one in offered if one not in chosen)
            chosen = next((some for some in tried if differ([feeds[one] for one in some])), chosen)
    return chosen


def differ(feeds: Sequence[Feeds]) -> bool:
    """Whether in each role some samples are fed differently."""
    return not any(alike([one[role] for one in feeds]) for role in feeds[0])


def alike(feeds: Sequence[Mapping[str, Array]]) -> bool:
    """Whether all samples feed a graph the same."""
    return all(np.array_equal(one[name], array) for one in feeds for name, array in feeds[0].items())
