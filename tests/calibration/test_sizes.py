"""The memory of one sample: all tensors together count, since calibration reads them at once."""

from __future__ import annotations

import pytest
from onnx import ModelProto, TensorProto, helper

from edge_sdk.calibration.sizes import check_sample
from edge_sdk.errors import BadInput

ROW = 4 * 256  # bytes of one tensor with one row


def chain() -> ModelProto:
    """Three tensors of 256 floats a row: x, h, y."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 256]) for name in "xy"]
    nodes = [helper.make_node("Relu", ["x"], ["h"], "one"), helper.make_node("Neg", ["h"], ["y"], "two")]
    made = helper.make_model(
        helper.make_graph(nodes, "g", ends[:1], ends[1:]), opset_imports=[helper.make_opsetid("", 17)]
    )
    made.ir_version = 8
    return made


@pytest.mark.parametrize("rows", [1, 5])
def test_the_tensors_of_a_sample_count_together(rows: int) -> None:
    check_sample(chain(), {"x": (rows, 256)}, most=3 * rows * ROW)
    with pytest.raises(BadInput, match=r"one sample would take .* in this graph"):
        check_sample(chain(), {"x": (rows, 256)}, most=3 * rows * ROW - 1)
