"""Class scores: which output holds them, what they are called, and how they become probabilities. Knows no source."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_sdk.errors import CheckFailed
from edge_sdk.shown import shown
from edge_sdk.tensors import BATCH, TensorSpec

ScoreKind: TypeAlias = Literal["logits", "probabilities"]
SUM_TOLERANCE = 1e-3
"""How far the sum of probabilities may be from 1: half precision leaves 5e-4."""
FLOATS = ("float16", "float32", "float64")
_MULTI_LABEL = (
    "scores that are independent of each other (sigmoid, several labels a picture) are not supported: use the task "
    "tensor"
)


class ClassificationSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a classification bundle keeps in its manifest.

    labels: of the classes, in the order of the output's last axis; two may be called the same. scores: what that output
    holds: "logits" become probabilities by a softmax on the host; "probabilities" are checked. output: its name, "" =
    the graph's only one. top: how many classes a result shows where nothing else is said.
    """

    labels: tuple[str, ...]
    scores: ScoreKind
    output: str = ""
    top: int = 5


def settings_problem(settings: ClassificationSettings, outputs: Sequence[TensorSpec]) -> str:
    """What is invalid in the settings of a bundle whose graph has these outputs, as a sentence part; "" if nothing."""
    if settings.scores not in get_args(ScoreKind):
        return f"scores are {' or '.join(get_args(ScoreKind))}, not {settings.scores!r}; {_MULTI_LABEL}"
    if settings.top < 1:
        return f"top is {settings.top}, at least one class is shown"
    if len(settings.labels) < 2:
        return f"{len(settings.labels)} label is no choice between classes; {_MULTI_LABEL}"
    if odd := next((label for label in settings.labels if not label.strip() or shown(label) != label), None):
        return f"the label {shown(odd)!r} is empty or not plain text"
    found = [spec for spec in outputs if settings.output in ("", spec.name)]
    if len(found) != 1:
        listed = ", ".join(shown(spec.name) for spec in outputs) or "nothing"
        wanted = f"no output {shown(settings.output)}" if settings.output else "several outputs, and none is named"
        return f"the graph has {wanted}: it answers {listed}"
    return _output_problem(found[0], len(settings.labels))


def _output_problem(spec: TensorSpec, labels: int) -> str:
    name, shape = shown(spec.name), " x ".join(map(str, spec.shape)) or "scalar"
    if spec.dtype not in FLOATS:
        return f"the output {name} is {spec.dtype}; class scores are floats, before any ArgMax or TopK"
    if not spec.shape or len(spec.shape) > 2 or (len(spec.shape) == 2 and spec.shape[0] not in (1, BATCH)):
        return f"the output {name} has shape {shape}; class scores are ({BATCH}, classes), one row a sample"
    if isinstance(spec.shape[-1], str):
        return f"the output {name} has shape {shape}, which does not say how many classes there are"
    if spec.shape[-1] != labels:
        return f"there are {labels} labels, and the output {name} has {spec.shape[-1]} classes"
    return ""


def output_of(settings: ClassificationSettings, outputs: Sequence[TensorSpec]) -> TensorSpec:
    """The output that holds the class scores. outputs: those that `settings_problem` found nothing in."""
    return next(spec for spec in outputs if settings.output in ("", spec.name))


def probabilities_of(scores: NDArray[Any], kind: ScoreKind, *, where: str = "") -> NDArray[np.float32]:
    """Probabilities float32 (n, classes), each row with sum 1, of class scores (n, classes); float64 inside.

    Probabilities of a graph are divided by their sum, which half precision moves a little. Raises CheckFailed, naming
    `where`, for scores that are not finite, and for "probabilities" that are negative or whose sum is further from 1
    than SUM_TOLERANCE.
    """
    rows = np.asarray(scores, np.float64)
    if bad := int(np.count_nonzero(~np.isfinite(rows))):
        raise CheckFailed(
            f"the runtime answered {bad} of {rows.size} class scores that are no number", where=where,
            hint="Run edge-sdk verify on this device",
        )  # fmt: skip
    if kind == "logits":
        rows = np.exp(rows - rows.max(-1, keepdims=True))  # of the largest logit e^0: nothing overflows
        return np.asarray(rows / rows.sum(-1, keepdims=True), np.float32)
    sums = rows.sum(-1, keepdims=True)
    if (low := float(rows.min())) < 0 or float(np.abs(sums - 1).max()) > SUM_TOLERANCE:
        worst = float(sums.ravel()[int(np.abs(sums - 1).argmax())])
        raise CheckFailed(
            f"the graph's output is no set of probabilities: its sum is {worst:.6g}, its least value {low:.6g}",
            where=where, hint=f'Export the bundle with scores "logits" if it answers logits; {_MULTI_LABEL}',
        )  # fmt: skip
    return np.asarray(rows / sums, np.float32)


def looks_like_probabilities(scores: NDArray[Any]) -> bool:
    """Whether each row of class scores (n, classes) is one of probabilities: of logits that would be a coincidence."""
    rows = np.asarray(scores, np.float64)
    return bool((rows >= 0).all() and np.allclose(rows.sum(-1), 1.0, rtol=0.0, atol=SUM_TOLERANCE))


def entropy(probabilities: NDArray[Any]) -> float:
    """Entropy of one distribution, in nats: 0 where one class has it all, ln(classes) where all have the same."""
    shares = np.asarray(probabilities, np.float64)
    positive = shares[shares > 0]
    return max(0.0, -math.fsum(positive * np.log(positive)))
