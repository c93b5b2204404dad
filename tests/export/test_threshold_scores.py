"""The rate of a threshold holds for every graph that was scored, and none that answers wrongly raises it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_sdk.decision.conformal import conformal
from edge_sdk.decision.threshold import rejected
from edge_sdk.export.tasks.anomaly.evaluate import VariantScores
from edge_sdk.export.tasks.anomaly.threshold_scores import FAR, of

near = st.lists(st.floats(-0.9 * FAR, 0.9 * FAR), min_size=20, max_size=20)


def scored(name: str, scores: list[float], runtime: str = "openvino") -> VariantScores:
    return VariantScores(variant=name, layout="plain", runtime=runtime, scores=np.array(scores))


@given(own=st.lists(st.floats(0.01, 1.0), min_size=20, max_size=20), others=st.lists(near, min_size=1, max_size=4))
def test_no_graph_rejects_more_of_the_parts_behind_the_threshold_than_was_stated(
    own: list[float], others: list[list[float]]
) -> None:
    own[0] = 1.0
    graphs = [scored(f"v{i}", [a + b for a, b in zip(own, more, strict=True)]) for i, more in enumerate(others)]
    fitted = of(own, "torch", graphs)
    assert fitted.warnings == ()
    decision = conformal(fitted.scores, rate="20%")
    for scores in (np.array(own), *(one.scores for one in graphs)):
        assert rejected(scores, decision.threshold).sum() <= decision.parts - (decision.rank or 0) == 3
    assert fitted.scores == tuple(np.max([own, *(one.scores for one in graphs)], axis=0))
    assert fitted.variants.split(", ") == ["fp32", *(one.variant for one in graphs)]


def test_a_graph_that_answers_wrongly_does_not_raise_the_threshold_and_is_named() -> None:
    own = [0.2, 0.5, 1.0]
    wrong = scored("int8", [0.2, 0.5, 1.37])
    right = scored("int8-w7", [0.25, 0.5, 0.99], runtime="onnxruntime")
    refused = replace(scored("fp16", [np.nan] * 3), problem="it was refused")
    fitted = of(own, "torch", [wrong, refused, right])
    assert fitted.scores == (0.25, 0.5, 1.0)
    assert (fitted.variants, fitted.runtimes) == ("fp32, int8-w7", "torch, onnxruntime")
    assert fitted.warnings == (
        "the threshold does not count int8 on openvino: its scores of good parts are off by up to 37 % of the largest",
    )
