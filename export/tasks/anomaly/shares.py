"""Good pictures divided by what they are for. Knows no network and no family.

Pictures of one physical part are not independent, so every split here is by part and never cuts one in two.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_sdk.counted import counted
from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.export.anomaly.data import AnomalyData, Picture, PictureSet, Shares


def divided(pictures: PictureSet, *, holdout: float, quantiles: float, seed: int) -> AnomalyData:
    """The pictures with their `shares`."""
    return AnomalyData(
        pictures=pictures, shares=shares(pictures.train, holdout=holdout, quantiles=quantiles, seed=seed)
    )


def shares(pictures: Sequence[Picture], *, holdout: float, quantiles: float, seed: int) -> Shares:
    """Good pictures divided by part: a share `holdout` of all, then a share `quantiles` of the rest.

    A threshold from parts that scaled the map would be theirs, not that of the next part.
    """
    parts = len({p.part for p in pictures})
    if parts < 3:
        raise BadInput(
            f"{counted(parts, 'good part')} {'is' if parts == 1 else 'are'} too few: one to train on, one to scale the "
            "map and one for the threshold are the least",
            hint="Add pictures of good parts; a hundred and more are usual",
        )  # fmt: skip
    rest, held_out = split(pictures, holdout, seed)
    training, scaling = split(rest, quantiles, seed + 1)
    return Shares(training=training, scaling=scaling, held_out=held_out, holdout=holdout, quantiles=quantiles)


def split(pictures: Sequence[Picture], share: float, seed: int) -> tuple[tuple[Picture, ...], tuple[Picture, ...]]:
    """(kept, held out): about `share` of the parts are held out, at least one and never all; order is kept.

    Which parts is a matter of their names and `seed` alone, not of the pictures' order or number.
    """
    parts = sorted({p.part for p in pictures})
    count = held_out_count(len(parts), share)
    out = {parts[i] for i in np.random.default_rng(seed).permutation(len(parts))[:count]}
    return tuple(p for p in pictures if p.part not in out), tuple(p for p in pictures if p.part in out)


def held_out_count(parts: int, share: float) -> int:
    """How many of `parts` parts `split` holds out. BadInput for fewer than two, BadUsage for a share outside 0..1."""
    if not 0.0 < share < 1.0:
        raise BadUsage(f"a share of {share:g} can't be held out", hint="Use a number between 0 and 1")
    if parts < 2:
        raise BadInput(
            f"{parts} part is too few: one to train on and one to hold out is the least", hint="Add good parts"
        )
    return min(max(round(share * parts), 1), parts - 1)
