"""How the values of each output moved: by the letter of the standard, and as each runtime here answers.

An error alone hides a moved scale, and a runtime may answer what the standard does not say. Knows no plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from edge_sdk.calibration import graphs
from edge_sdk.calibration.comparison import fidelity
from edge_sdk.calibration.comparison.running import opened, takers
from edge_sdk.calibration.comparison.score_scale import score_scale
from edge_sdk.calibration.prepare import Prepared
from edge_sdk.calibration.report import ScaleRow, Variant
from edge_sdk.calibration.saturation.prediction import Predicted
from edge_sdk.errors import EdgeError
from edge_sdk.tensors import Array

STANDARD = "ONNX semantics"
PREDICTED = "without VNNI, predicted"


def scale_rows(
    prepared: Prepared, variants: Sequence[Variant], predictions: Sequence[Predicted] = ()
) -> tuple[ScaleRow, ...]:
    """For each variant and output of floats, on the compared samples: one row by the standard, one for each runtime of
    this machine's CPU that takes the variant and is not known to answer it wrongly, one for each of `predictions`. A
    runtime that refuses has none."""
    rows: list[ScaleRow] = []
    for name in dict.fromkeys(variant.variant for variant in variants):
        first = next(variant for variant in variants if variant.variant == name)
        by: dict[str, Sequence[Mapping[str, Array]]] = {}
        by[STANDARD] = fidelity.outputs(graphs.parsed(first.graph), prepared.compared, prepared.options.threads)
        for runtime, variant in takers(variants, name).items():
            try:
                with opened(
                    variant, runtime, axes=prepared.subject.axes, threads=prepared.options.threads
                ) as answer:  # fmt: skip
                    by[runtime] = [answer(feeds) for feeds in prepared.compared]
            except EdgeError:
                continue  # `verify` and the packer say so, with the reason
        by |= {f"{one.runtime} {PREDICTED}": one.answers for one in predictions if one.variant == name}
        rows += [row for where, got in by.items() for row in _rows(name, where, prepared.wanted, got)]
    return tuple(rows)


def _rows(
    variant: str, by: str, wanted: Sequence[Mapping[str, Array]], got: Sequence[Mapping[str, Array]]
) -> list[ScaleRow]:
    """got: of all or of the first samples."""
    found = []
    for output in wanted[0] if wanted else ():
        old, new = [one[output] for one in wanted[: len(got)]], [one[output] for one in got]
        scale = score_scale(old, new, classes=_is_of_classes(old))
        if scale is not None:
            found.append(ScaleRow(variant=variant, by=by, output=output, scale=scale))
    return found


def _is_of_classes(arrays: Sequence[Array]) -> bool:
    """Whether an output looks like a classifier's: a few numbers for each row, the largest of which is the answer."""
    return all(array.ndim == 2 and 1 < array.shape[1] <= np.iinfo(np.uint16).max for array in arrays)
