"""What exporting for the tensor task adds: golden samples from calibration samples. Knows no meaning, no family."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import ClassVar

import numpy as np

from edge_sdk.errors import BadUsage
from edge_sdk.export.family import Samples
from edge_sdk.export.tasks.base import ExportTask, Golden, Made, OffersGolden
from edge_sdk.tasks.base import MODEL

COUNT = 3


class TensorExport(ExportTask):
    """Nothing is decided and nothing evaluated: what the outputs mean is not known here."""

    name: ClassVar[str] = "tensor"

    def golden(self, made: Made) -> Sequence[Golden]:
        """The family's own, or `spread` over its samples: two different ones are needed."""
        if isinstance(made.family, OffersGolden):
            return made.family.golden(made.data, made.trained)
        return spread(made.family.samples(made.data, made.trained, made.exported, COUNT)(MODEL))


def spread(samples: Samples) -> list[Golden]:
    """The first, a middle and the last sample, then the spare ones; of a single one, its values in reverse order are
    the second."""
    wanted, spare = numbers(len(samples)), spares(len(samples))
    read = {n: dict(feeds) for n, feeds in enumerate(islice(samples, wanted[-1] + 1)) if n in (*wanted, *spare)}
    golden = [Golden(source=read[n], label=f"sample {n}", spare=n in spare) for n in (*wanted, *spare)]
    if len(golden) == 1:
        turned = {name: np.ascontiguousarray(np.flip(array)) for name, array in golden[0].source.items()}
        golden.append(Golden(source=turned, label="sample 0, reversed"))
    return golden


def numbers(count: int) -> list[int]:
    """Which of `count` samples become golden ones: at most COUNT of them. Raises BadUsage where there are none."""
    if not count:
        raise BadUsage("there are no samples to make golden samples of", hint="Give some")
    return sorted({0, count // 2, count - 1})


def spares(count: int) -> list[int]:
    """Which of `count` samples may replace a golden one: those at each eighth, apart from `numbers`."""
    return sorted({count * eighth // 8 for eighth in range(1, 8)} - set(numbers(count)))
