"""Golden samples of a generic bundle: some of the samples that it was calibrated on, in the form of a user's source.

Knows no task beyond the names by which it calls the tensors of several graphs.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edge_sdk.errors import BadUsage
from edge_sdk.export.generic.picture_folder import PictureFolder
from edge_sdk.export.generic.samples import ArraySamples, FolderSamples, StackedSamples
from edge_sdk.export.tasks.base import Golden
from edge_sdk.export.tasks.tensor import numbers, spares, spread
from edge_sdk.tasks.sources import full_name


def check_differ(role: str, samples: ArraySamples) -> None:
    """Raise BadUsage, before minutes of calibration, where all samples that may be golden ones are the same. Reads nine
    of them at most; what has no sample by number is looked at when the bundle is packed."""
    if not isinstance(samples, PictureFolder | StackedSamples | FolderSamples):
        return
    first, *others = [samples.sample(number) for number in (*numbers(len(samples)), *spares(len(samples)))]
    if not others:  # as `spread` and `pictures` turn an only one
        others = [
            {name: np.flip(array, (1 if isinstance(samples, PictureFolder) else None)) for name, array in first.items()}
        ]
    if all(np.array_equal(one[name], array) for one in others for name, array in first.items()):
        raise BadUsage(
            f"all golden samples feed the graph of {role} the same", where="--data",
            hint="Give samples that differ: of equal ones, a constant answer would pass",
        )  # fmt: skip


def golden(by_role: Mapping[str, ArraySamples]) -> list[Golden]:
    """Two or three, at least two of which differ, and spare ones; of several graphs each holds a sample of every
    role."""
    if len(by_role) == 1:
        (samples,) = by_role.values()
        return pictures(samples) if isinstance(samples, PictureFolder) else spread(samples)
    found = {role: spread(samples) for role, samples in by_role.items()}
    kept = max(sum(not one.spare for one in some) for some in found.values())
    return [
        Golden(
            spare=number >= kept,
            source={
                full_name(role, name, several=True): array
                for role, some in found.items()
                for name, array in some[number % len(some)].source.items()
            },
            label="; ".join(f"{role}: {some[number % len(some)].label}" for role, some in found.items()),
        )
        for number in range(max(map(len, found.values())))
    ]


def pictures(samples: PictureFolder) -> list[Golden]:
    """As `spread`, each an encoded picture; of a single one, the second stands upside down."""
    wanted, spare = numbers(len(samples)), spares(len(samples))
    found = [Golden(source=samples.source(n), label=f"sample {n}", spare=n in spare) for n in (*wanted, *spare)]
    if len(found) == 1:
        found.append(Golden(source=samples.source(0, upside_down=True), label="sample 0, upside down"))
    return found
