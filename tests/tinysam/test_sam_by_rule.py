"""The rule that fills the networks: the worked example of the parity fixtures. If this fails, so does all of parity."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from by_rule import normals, picture, places, prepared, values


def test_the_worked_example(parity: dict[str, Any]) -> None:
    example = parity["rule_example"]
    key = example["key"]
    np.testing.assert_allclose(normals(key, (32, 3, 3, 3)).reshape(-1)[:6], example["normals"], rtol=1e-7)
    np.testing.assert_allclose(values(key, (32, 3, 3, 3)).reshape(-1)[:6], example["values"], rtol=1e-6)


def test_the_first_values_of_each_kind_of_weight(parity: dict[str, Any]) -> None:
    shapes = {name: tuple(shape) for name, shape in parity["keys"]["tinysam"]}
    for name, first in parity["rule_first3"].items():
        np.testing.assert_allclose(values(name, shapes[name]).reshape(-1)[:3], first, rtol=1e-6, err_msg=name)


def test_the_picture_and_how_it_is_prepared(parity: dict[str, Any]) -> None:
    image, entry = picture(768, 1024), parity["preprocessed_1024"]
    assert int(image.sum(dtype=np.int64)) == parity["picture"]["sum"]
    for y, x, channels in parity["picture"]["pixels_yxc"]:
        assert image[y, x].tolist() == channels
    got = prepared(1024).reshape(-1)
    want = torch.tensor(entry["value"])
    assert got[torch.from_numpy(places(entry, got.numel()))] == pytest.approx(want, abs=1e-6)
