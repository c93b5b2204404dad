"""What reaches beyond an axis is refused by every runtime, at any size, and what does not is answered alike.

OpenVINO itself answers zeros, what lies in its memory, or the answer of the run before.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from runtime_graphs import Sketch

from edge_sdk.errors import BadInput
from edge_sdk.runtimes import registry
from edge_sdk.runtimes.protocol import CompileOptions

FOUND = {found.runtime: found for found in (runtime.probe() for runtime in registry.runtimes())}
pytestmark = pytest.mark.skipif(
    not all(name in FOUND and FOUND[name].usable for name in ("onnxruntime", "openvino")),
    reason="compares onnxruntime and openvino",
)
MOST = 9


def whole(*numbers: Any) -> np.ndarray:
    return np.array(numbers, np.int64)


SEVENS = np.full((2, 1), 7, np.float32)
REACHING: dict[str, tuple[str, list[np.ndarray], dict[str, Any], list[Any], int]] = {
    "Gather": ("Gather", [whole(0, 4)], {"axis": 1}, [2, 2], 5),
    "Gather one": ("Gather", [np.array(4)], {"axis": 1}, [2], 5),
    "Gather from the end": ("Gather", [whole(-5)], {"axis": -1}, [2, 1], 5),
    "Gather of int32": ("Gather", [np.array([2, 1], np.int32)], {"axis": 1}, [2, 2], 3),
    "Gather the first": ("Gather", [whole(0)], {"axis": 1}, [2, 1], 1),
    "GatherElements": ("GatherElements", [whole([0, 4], [1, 0])], {"axis": 1}, [2, 2], 5),
    "GatherND": ("GatherND", [whole([0, 4], [1, 0])], {}, [2], 5),
    "GatherND of a batch": ("GatherND", [whole([3], [1])], {"batch_dims": 1}, [2], 4),
    "ScatterElements": ("ScatterElements", [whole([4], [0]), SEVENS], {"axis": 1}, [2, "L"], 5),
    "ScatterElements from the end": ("ScatterElements", [whole([-3], [0]), SEVENS], {"axis": 1}, [2, "L"], 3),
    "ScatterElements added": (
        "ScatterElements", [whole([4], [0]), SEVENS], {"axis": 1, "reduction": "add"}, [2, "L"], 5,
    ),
    "ScatterND": ("ScatterND", [whole([0, 4], [1, 0]), SEVENS[:, 0]], {}, [2, "L"], 5),
    "Pad": ("Pad", [whole(0, -2, 0, -1)], {}, [2, "M"], 4),
    "Slice": ("Slice", [whole(3), whole(5), whole(1)], {}, [2, "M"], 1),
}  # fmt: skip
"""Operator, its constants, its attributes, the shape that is stated of its answer, the smallest size that it takes."""


def graph(
    operator: str, constants: list[np.ndarray], stated: list[Any], *, size: Any = "L", **attributes: Any
) -> bytes:
    """The operator between two others, so that nothing sees it from outside."""
    g = Sketch()
    names = [g.constant(f"c{k}", value) for k, value in enumerate(constants)]
    g.add("Relu", [g.add(operator, [g.add("Relu", ["x"], "before"), *names], "after", **attributes)], "y")
    return g.model([("x", TensorProto.FLOAT, [2, size])], [("y", TensorProto.FLOAT, stated)])


def fed(size: int) -> dict[str, np.ndarray]:
    return {"x": np.arange(1, 2 * size + 1, dtype=np.float32).reshape(2, size)}


@pytest.mark.parametrize("case", REACHING)
@pytest.mark.parametrize("cached", [False, True])
def test_a_size_is_refused_by_both_or_answered_alike(case: str, cached: bool, tmp_path: Path) -> None:
    operator, constants, attributes, stated, least = REACHING[case]
    options = CompileOptions(axes={"L": MOST}, graph_name="reach", cache_dir=tmp_path if cached else None)
    model = graph(operator, constants, stated, **attributes)
    for _ in range(2):
        ours = registry.runtime("openvino").compile(model, options)
        theirs = registry.runtime("onnxruntime").compile(model, options)
        for size in (MOST, 1, 5, 2, 4, 3):
            if operator == "Pad" and size == least - 1:
                continue  # nothing is left: an empty answer of ONNX Runtime
            if size < least:
                for session in (ours, theirs):
                    with pytest.raises(BadInput, match="If it runs with another size of L"):
                        session.run(fed(size))
            else:
                np.testing.assert_array_equal(ours.run(fed(size))["y"], theirs.run(fed(size))["y"])
        ours.close()
        theirs.close()


@pytest.mark.parametrize("size", [2, 3, MOST])
def test_the_best_of_too_few_are_refused(size: int) -> None:
    g = Sketch()
    g.nodes.append(helper.make_node("TopK", ["x", g.constant("k", whole(3))], ["y", "at"], name="best", axis=1))
    model = g.model([("x", TensorProto.FLOAT, [2, "L"])], [("y", TensorProto.FLOAT, [2, 3])])
    for name in ("openvino", "onnxruntime"):
        session = registry.runtime(name).compile(model, CompileOptions(axes={"L": MOST}, graph_name="best"))
        session.run(fed(MOST))
        if size < 3:
            with pytest.raises(BadInput, match="best: "):
                session.run(fed(size))
        else:
            np.testing.assert_array_equal(session.run(fed(size))["y"], fed(size)["x"][:, :-4:-1])
        session.close()


@pytest.mark.parametrize("case", [case for case, (operator, *_, least) in REACHING.items() if least > 3])
def test_where_no_size_is_free_the_graph_is_refused(case: str) -> None:
    operator, constants, attributes, stated, _ = REACHING[case]
    model = graph(operator, constants, [2 if size == "L" else size for size in stated], size=2, **attributes)
    with pytest.raises(BadInput, match=r"after needs \d elements on an axis that has 2"):
        registry.runtime("openvino").compile(model, CompileOptions(graph_name="reach"))


def test_an_axis_that_was_asked_for_at_size_1_is_refused_when_it_is_run() -> None:
    session = registry.runtime("openvino").compile(graph("Gather", [whole(4)], [2, 1], axis=1), CompileOptions())
    with pytest.raises(BadInput, match="after needs 5 elements on an axis that has 1"):
        session.run(fed(1))
    session.close()


def test_layers_are_not_timed_at_a_size_that_does_not_fit() -> None:
    options = CompileOptions(axes={"L": MOST}, profile_layers=True)
    session = registry.runtime("openvino").compile(graph("Gather", [whole(4)], [2, 1], axis=1), options)
    with pytest.raises(BadInput, match="after needs 5 elements on an axis that has 2"):
        session.layer_times(fed(2))
    session.close()


def test_the_answer_of_the_run_before_is_no_answer() -> None:
    """The index is fed, so that no graph tells of it: the shape of what comes back does."""
    g = Sketch()
    g.add("ScatterElements", ["x", "i", g.constant("u", SEVENS)], "y", axis=1)
    inputs = [("x", TensorProto.FLOAT, [2, "L"]), ("i", TensorProto.INT64, [2, 1])]
    model = g.model(inputs, [("y", TensorProto.FLOAT, [2, "L"])])
    session = registry.runtime("openvino").compile(model, CompileOptions(axes={"L": MOST}, graph_name="fed"))
    assert session.run(fed(MOST) | {"i": whole([4], [0])})["y"].shape == (2, MOST)
    for _ in range(2):
        with pytest.raises(BadInput, match="fed: openvino refused: "):
            session.run(fed(2) | {"i": whole([4], [0])})
    assert session.run(fed(2) | {"i": whole([1], [0])})["y"].tolist() == [[1.0, 7.0], [7.0, 4.0]]
    session.close()


@pytest.mark.parametrize("stated", [["L", 2], [1, 2], ["K", 2]])
def test_an_answer_whose_stated_shape_is_not_so_is_given(stated: list[Any]) -> None:
    """Files state wrong names of axes; what OpenVINO infers is what must come out."""
    g = Sketch()
    g.add("Concat", ["x", "x"], "y", axis=0)
    model = g.model([("x", TensorProto.FLOAT, ["L", 2])], [("y", TensorProto.FLOAT, stated)])
    session = registry.runtime("openvino").compile(model, CompileOptions(axes={"L": MOST}))
    for size in (3, MOST, 3):
        x = np.arange(2 * size, dtype=np.float32).reshape(size, 2)
        np.testing.assert_array_equal(session.run({"x": x})["y"], np.concatenate([x, x]))
    session.close()
