"""One scale over box pixels and probabilities rounds every score to 0, while the boxes look fine.

python samples/complaints/score_scale.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import ours
import usual
from networks import Samples, boxes_and_scores
from numpy.typing import NDArray
from replay import Claim, Replay, Row, run

BOXES = 4
"""Rows of the output that hold box coordinates; scores are behind them."""


def replay(folder: Path) -> Replay:
    """Scores and boxes of the float and of the int8 graphs."""
    graph, samples, variant = boxes_and_scores(), Samples((1, 3, 32, 32), 16), ours.variant_here()
    feeds, made = samples[0], ours.quantized(graph, samples, variant)
    wanted = usual.answer(graph, feeds)[0]
    theirs = usual.answer(usual.quantized(graph, samples, folder), feeds)[0]
    mine = ours.answer(made, variant, "onnxruntime", feeds)[0]
    rows = [
        Row("highest score; float32 has", _best(wanted), _best(wanted)),
        Row("highest score in int8", _best(theirs), _best(mine)),
        Row("different values of the scores", _values(theirs), _values(mine)),
        Row("largest score error", _moved(theirs, wanted), _moved(mine, wanted)),
        Row("largest box error", _off(theirs, wanted), _off(mine, wanted), "px"),
    ]
    if not usual.missing_nncf():
        by_nncf = usual.answer(usual.quantized_by_nncf(graph, samples), feeds)[0]
        rows.append(Row("largest score error, nncf.quantize", _moved(by_nncf, wanted), None))
    return Replay(
        usual="quantize_static, defaults",
        ours=f"quantize, {variant}",
        rows=rows,
        claims=(
            Claim("boxes of the usual file are within 1 % of 640 px", _off(theirs, wanted) < 6.4),
            Claim("and a score of it is off by more than 0.3", _moved(theirs, wanted) > 0.3),
            Claim("scores of edge-sdk are within 0.03 of float32's", _moved(mine, wanted) < 0.03),
        ),
        notes=usual.missing_nncf(),
    )


def _best(detections: NDArray[np.float32]) -> float:
    return float(detections[BOXES:].max())


def _values(detections: NDArray[np.float32]) -> int:
    return len(np.unique(detections[BOXES:]))


def _moved(detections: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    return float(np.abs(detections[BOXES:] - wanted[BOXES:]).max())


def _off(detections: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    return float(np.abs(detections[:BOXES] - wanted[:BOXES]).max())


if __name__ == "__main__":
    run(__file__, replay)
