"""Which stored embedding belongs to a frame: that of its pixels, of what of it is picture, and of its size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edge_sdk.export.tinysam.decoder import Decoded
from edge_sdk.export.tinysam.distill.teacher import Teacher, key_of
from edge_sdk.export.tinysam.scenes.mixture import Frame

SIDE = 16


def frame(extent: tuple[int, int] = (SIDE, SIDE), *, value: int = 7) -> Frame:
    nothing = np.zeros((0, 4), np.float32)
    image = np.full((SIDE, SIDE, 3), value, np.uint8)
    masks = np.zeros((0, SIDE, SIDE), np.uint8)
    return Frame(image=image, extent=extent, masks=masks, boxes=nothing, points=nothing[:, :2])


class Mean(nn.Module):
    """The mean of what it is given, `gain` times: differs where the padding does."""

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = gain

    def encode(self, pictures: Tensor) -> Tensor:
        return self.gain * pictures.mean((1, 2, 3), keepdim=True)

    def decode(self, embedding: Tensor, points: Tensor, labels: Tensor) -> Decoded:
        raise AssertionError


def test_equal_pixels_of_another_extent_are_another_frame(tmp_path: Path) -> None:
    """Padding is normalised to 0, a picture of the same pixels is not."""
    frames = [frame(), frame((8, SIDE)), frame((SIDE, 8)), frame(value=8)]
    assert len({key_of(one) for one in frames}) == 4
    assert key_of(frame()) == key_of(frame())
    stored = Teacher(Mean(), digest="a", size=SIDE, folder=tmp_path)
    for one in frames[:3]:
        alone = Teacher(Mean(), digest="a", size=SIDE).embeddings([one])
        torch.testing.assert_close(stored.embeddings([one]), alone, rtol=0, atol=0)
    assert stored.computed == 3


@pytest.mark.parametrize(("digest", "size", "computed"), [("a", SIDE, 0), ("b", SIDE, 1), ("a", 2 * SIDE, 1)])
def test_a_store_is_of_one_teacher_at_one_size(digest: str, size: int, computed: int, tmp_path: Path) -> None:
    first = Teacher(Mean(), digest="a", size=SIDE, folder=tmp_path).embeddings([frame()])
    other = Teacher(Mean(gain=1.0 + computed), digest=digest, size=size, folder=tmp_path)
    torch.testing.assert_close(other.embeddings([frame()]), (1.0 + computed) * first, rtol=1e-3, atol=1e-3)
    assert other.computed == computed
    assert {path.parent.name for path in tmp_path.rglob("*.npy")} == {f"a-{SIDE}", f"{digest}-{size}"}
