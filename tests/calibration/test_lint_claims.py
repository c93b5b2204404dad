"""What the lint table says that runtimes do with a graph, held against the runtimes that are here.

A rule that says "refused" is refused in every one of its graphs; "wrong" and "float" are seen in one at least; a
runtime that a rule does not name takes each of its graphs and answers as the standard does.
"""

from __future__ import annotations

import importlib.util
from functools import cache

import pytest
from broken_graphs import BROKEN as GRAPHS
from rule_claims import feeds_for, onnxruntime_effect, openvino_effect, standard, tensorrt_effect

from edge_sdk.calibration import graphs as onnx_graphs
from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.lint.rule_table import RULES
from edge_sdk.calibration.lint.rules import RUNTIMES, Rule
from edge_sdk.errors import NotThere
from edge_sdk.runtimes import trt_build, trt_confirm
from edge_sdk.runtimes.faults import CHAINED
from edge_sdk.runtimes.probe import cpu

pytestmark = pytest.mark.long

NUMBERS = range(len(GRAPHS))
NAMES = [f"{rule}-{number}" for number, (rule, _) in enumerate(GRAPHS)]
EXTERNAL = "L70"
"""Not one of RULES: it is checked before them."""


def need(runtime: str) -> None:
    if runtime == "tensorrt":
        try:
            trt_build.load(trt_confirm.RUNTIME)
        except NotThere as exc:
            pytest.skip(f'TensorRT-RTX is not here ({exc}): pip install ".[tensorrt-rtx]" to run this')
    elif importlib.util.find_spec(runtime) is None:
        pytest.skip(f'{runtime} is not here: pip install ".[{runtime}]" to run this')


@cache
def observed(number: int, runtime: str) -> str:
    """What `runtime` makes of a graph: "refused", "wrong", "float" or ""."""
    model = GRAPHS[number][1]()
    if runtime == "tensorrt":
        return tensorrt_effect(model)[0]
    feeds = feeds_for(model)
    effect = {"openvino": openvino_effect, "onnxruntime": onnxruntime_effect}[runtime]
    return effect(model, feeds, standard(model, feeds))


@cache
def broken(number: int) -> tuple[int, ...]:
    """Positions in RULES of the rules of the graph's own number that it breaks."""
    rule, build = GRAPHS[number]
    index = Index.of(onnx_graphs.with_types(build())) if rule != EXTERNAL else None
    return () if index is None else tuple(
        at for at, one in enumerate(RULES) if one.number == rule and next(one.find(index), None) is not None
    )  # fmt: skip


def claimed(number: int, runtime: str) -> set[str]:
    return {RULES[at].claims[runtime] for at in broken(number) if runtime in RULES[at].claims}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("number", NUMBERS, ids=NAMES)
def test_refused_is_refused_and_what_is_not_named_is_taken(number: int, runtime: str) -> None:
    need(runtime)
    if GRAPHS[number][0] == EXTERNAL:
        assert observed(number, runtime) == "refused"
        return
    said, seen = claimed(number, runtime), observed(number, runtime)
    if "refused" in said:
        assert seen == "refused"
    elif said.isdisjoint({"unsure", "open"}):
        assert seen != "refused"
        if "wrong" not in said:
            assert seen != "wrong"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("effect", ["wrong", "float"])
def test_other_values_and_float_are_seen(effect: str, runtime: str) -> None:
    need(runtime)
    unseen = [
        rule for at, rule in enumerate(RULES) if rule.claims.get(runtime) == effect and not shown(at, rule, runtime)
    ]
    assert [f"{rule.number} {rule.title}" for rule in unseen] == []


def shown(at: int, rule: Rule, runtime: str) -> bool:
    if rule.fault == CHAINED and not cpu().adds_in_32_bits:
        return True  # OpenVINO takes the faulty kernel on CPUs with VNNI or AMX alone: run this on one to see it
    return any(at in broken(n) and observed(n, runtime) == rule.claims[runtime] for n in NUMBERS)


def test_every_rule_of_the_table_has_a_graph() -> None:
    found = {at for number in NUMBERS for at in broken(number)}
    assert [RULES[at].title for at in range(len(RULES)) if at not in found] == []
