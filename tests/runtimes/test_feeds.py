"""What a session is fed, checked against specs with any number of free axes at any position."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_sdk.errors import BadInput
from edge_sdk.runtimes.feeds import check, largest
from edge_sdk.tensors import DType, TensorSpec

NAMES = st.sampled_from(["N", "P", "K", "axis2"])
SPECS = st.lists(
    st.tuples(st.sampled_from(get_args(DType)), st.lists(NAMES | st.integers(1, 3), max_size=4)), min_size=1, max_size=4
).map(
    lambda rows: tuple(
        TensorSpec(name=f"x{i}", dtype=dtype, shape=tuple(shape)) for i, (dtype, shape) in enumerate(rows)
    )
)
SIZES = st.fixed_dictionaries({name: st.integers(0, 5) for name in ("N", "P", "K", "axis2")})


def arrays(specs: tuple[TensorSpec, ...], sizes: dict[str, int]) -> dict[str, np.ndarray]:
    return {
        spec.name: np.zeros([sizes[n] if isinstance(n, str) else n for n in spec.shape], spec.dtype) for spec in specs
    }


@given(SPECS, SIZES, SIZES)
def test_sizes_within_the_largest_pass_and_others_are_named(
    specs: tuple[TensorSpec, ...], sizes: dict[str, int], most: dict[str, int]
) -> None:
    free = {n for spec in specs for n in spec.shape if isinstance(n, str)}
    axes = {name: size for name, size in most.items() if size}
    assert largest(specs, axes) == {name: axes.get(name, 1) for name in free}
    wrong = {name for name in free if not 1 <= sizes[name] <= axes.get(name, 1)}
    if not wrong:
        got = check(arrays(specs, sizes), specs, axes=axes, where="graph")
        assert got == {name: sizes[name] for name in free}
        return
    with pytest.raises(BadInput) as caught:
        check(arrays(specs, sizes), specs, axes=axes, where="graph")
    said = str(caught.value)
    tensor = next(spec for spec in specs if f"graph: {spec.name} has size" in said)
    assert any(f"size {sizes[n]} on axis {tensor.shape.index(n)} ({n})" in said for n in wrong & set(tensor.shape))
    assert any(f"1 to {axes[n]}" in said if axes.get(n, 1) > 1 else "compiled for 1." in said for n in wrong)


@given(SPECS, st.data())
def test_one_name_is_one_size_in_all_inputs(specs: tuple[TensorSpec, ...], data: st.DataObject) -> None:
    uses = [(spec, axis, n) for spec in specs for axis, n in enumerate(spec.shape) if isinstance(n, str)]
    shared = [use for use in uses if sum(use[2] == other[2] for other in uses) > 1]
    if not shared:
        return
    spec, axis, name = data.draw(st.sampled_from(shared))
    fed = arrays(specs, {"N": 2, "P": 2, "K": 2, "axis2": 2})
    shape = list(fed[spec.name].shape)
    shape[axis] = 3
    fed[spec.name] = np.zeros(shape, spec.dtype)
    with pytest.raises(BadInput, match=rf"has size [23] on axis \d \({name}\), x\d on axis \d has [23]\. One name"):
        check(fed, specs, axes={"N": 3, "P": 3, "K": 3, "axis2": 3}, where="graph")


@given(SPECS, st.sampled_from([1, 2.0, "text", None, [1], np.float32(1)]))
def test_what_is_no_array_is_refused_by_name(specs: tuple[TensorSpec, ...], value: object) -> None:
    fed = arrays(specs, {"N": 1, "P": 1, "K": 1, "axis2": 1})
    with pytest.raises(BadInput, match=f"{specs[-1].name} is (an? .*|None), not an array"):
        check({**fed, specs[-1].name: value}, specs, axes={}, where="graph")  # type: ignore[dict-item]


@given(SPECS, st.sampled_from([None, 5, "x", [1], np.zeros(3), object()]))
def test_what_maps_no_names_to_arrays_is_refused(specs: tuple[TensorSpec, ...], fed: object) -> None:
    with pytest.raises(BadInput, match=r"the feeds are (an? \w+|None), not arrays by input name\. Feed x0.* in a dict"):
        check(fed, specs, axes={}, where="graph")  # type: ignore[arg-type] - the fault that is tested
