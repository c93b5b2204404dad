"""Where the small size's decoder looks: at the pixel that a point names, by numbers that are known beforehand.

Graph and network are compared elsewhere; what both have wrong in the same way shows here alone.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_nets import SIDE, network
from torch import Tensor

from edge_sdk.export.tinysam.small.decoder import CELLS, Prompts, distances_at, under
from edge_sdk.export.tinysam.small.encoder import REACH, SIDES
from edge_sdk.export.tinysam.small.thresholds import BOX_MAP
from edge_sdk.tasks.segmentation.everything.box_map import _Guesses
from edge_sdk.tasks.segmentation.frame import Frame

PX = st.floats(20, SIDE - 20, width=32)
"""Far enough from the rim that cells lie on both sides, at any stride."""
NEAR, FAR = 4, 5
"""Maps of positive and of negative points."""


@pytest.fixture(scope="module")
def stride_of_sides() -> float:
    """px of the frame that a cell of the guessed distances covers: as the encoder answers them."""
    image = torch.from_numpy(np.zeros((1, SIDE, SIDE, 3), np.uint8))
    with torch.no_grad():
        found = network().encoder(image, torch.tensor([[float(SIDE)] * 2]))[SIDES]
    return SIDE / found.shape[-1]


def positions(stride: float) -> tuple[Tensor, Tensor]:
    """x and y of the centre of each cell of the frame, px, where 0 is the outer edge of the first pixel."""
    cells = int(SIDE / stride)
    centres = (torch.arange(cells, dtype=torch.float32) + 0.5) * stride
    return centres[None].expand(cells, cells), centres[:, None].expand(cells, cells)


def one_point(x: float, y: float, label: int = 1) -> Prompts:
    return Prompts(torch.tensor([[[[x, y]]]]), torch.tensor([[[label]]]))


@settings(deadline=None)
@given(x=PX, y=PX, stride=st.sampled_from([2, 4, 8, 16]))
def test_what_lies_under_a_point_is_read_at_the_centre_of_its_pixel(x: float, y: float, stride: int) -> None:
    """Of features that say where they are: a point names a pixel, whose centre is half a pixel further."""
    features = torch.stack(positions(stride))[None]
    found = under(features, torch.tensor([[[[x, y]]]]), stride)
    torch.testing.assert_close(found, torch.tensor([[[[x + 0.5, y + 0.5]]]]), atol=1e-3, rtol=0)


@settings(deadline=None)
@given(x=PX, y=PX)
def test_distances_are_read_at_the_point_from_cells_of_the_size_that_they_have(
    x: float, y: float, stride_of_sides: float
) -> None:
    """Their logs fall and rise evenly over the frame: so does what is interpolated between cells."""
    across, down = positions(stride_of_sides)
    logs = torch.stack([-3.0 + across / SIDE, -3.0 + down / SIDE, -2.0 - across / SIDE, -2.0 - down / SIDE])[None]
    found = distances_at({SIDES: logs}, torch.tensor([[[[x, y]]]]), float(SIDE))[0, 0, 0]
    at = ((x + 0.5) / SIDE, (y + 0.5) / SIDE)
    wanted = [SIDE * math.exp(log) for log in (-3 + at[0], -3 + at[1], -2 - at[0], -2 - at[1])]
    torch.testing.assert_close(found, torch.tensor(wanted), atol=1e-3, rtol=1e-4)


def known(left: float, top: float, right: float, bottom: float, stride: float) -> dict[str, Tensor]:
    """Features that guess these distances, px, everywhere in a picture of the whole width and 3/4 of the height."""
    cells = int(SIDE / stride)
    logs = torch.log(torch.tensor([left, top, right, bottom]) / SIDE)
    return {
        SIDES: logs[None, :, None, None].expand(1, 4, cells, cells),
        REACH: torch.tensor([[0.75 * SIDE, float(SIDE)]]),
    }


def test_the_box_that_is_guessed_lies_around_the_centre_of_the_points_pixel(stride_of_sides: float) -> None:
    features = known(10.0, 20.0, 30.0, 5.0, stride_of_sides)
    with torch.no_grad():
        one = network().decoder.guessed(features, one_point(50.0, 60.0))
        pair = network().decoder.guessed(
            features, Prompts(torch.tensor([[[[50.0, 60.0], [70.0, 40.0], [9.0, 9.0]]]]), torch.tensor([[[1, 1, 0]]]))
        )
        cut = network().decoder.guessed(features, one_point(120.0, 93.0))
    torch.testing.assert_close(one[0, 0], torch.tensor([40.5, 40.5, 80.5, 65.5]), atol=1e-2, rtol=0)
    torch.testing.assert_close(pair[0, 0], torch.tensor([40.5, 20.5, 100.5, 65.5]), atol=1e-2, rtol=0)
    torch.testing.assert_close(cut[0, 0], torch.tensor([110.5, 73.5, 128.0, 96.0]), atol=1e-2, rtol=0)


def test_everything_mode_reads_the_boxes_that_the_decoder_guesses() -> None:
    """On the device, from the encoder's output as the bundle describes it: at any point, of pictures of any shape."""
    rng, net = np.random.default_rng(3), network()
    points = rng.uniform(9.0, 85.0, (40, 2))
    for height, width in ((SIDE, SIDE), (96, SIDE), (SIDE, 90)):
        image = torch.from_numpy(rng.integers(0, 255, (1, SIDE, SIDE, 3), dtype=np.uint8))
        frame = Frame(width=width, height=height, side=SIDE, extent_height=height, extent_width=width)
        asked = torch.from_numpy(points.astype(np.float32))[None, :, None]
        with torch.no_grad():
            features = net.encoder(image, torch.tensor([[float(height), float(width)]]))
            wanted = net.decoder.guessed(features, Prompts(asked, torch.ones((1, 40, 1))))
        found = _Guesses(features[SIDES][0].numpy(), BOX_MAP, frame).at(points + 0.5)
        np.testing.assert_allclose(found, wanted[0].numpy(), atol=2e-3)


@pytest.mark.parametrize(("label", "map_"), [(1, NEAR), (0, FAR)])
@pytest.mark.parametrize("px", [1.0, 2.0, 3.0])
def test_the_bump_of_a_point_is_highest_in_the_cell_whose_centre_is_that_of_its_pixel(
    label: int, map_: int, px: float
) -> None:
    """Cell 10 across and 6 down of a window with cells of `px`; the next ones are lower, alike on both sides."""
    x, y = 50.0, 60.0
    low = (x + 0.5 - 10.5 * px, y + 0.5 - 6.5 * px)
    window = torch.tensor([[[*low, low[0] + CELLS * px, low[1] + CELLS * px]]])
    with torch.no_grad():
        maps, _ = network().decoder.maps(window, one_point(x, y, label))
    bump = maps[0, 0, map_]
    assert divmod(int(bump.argmax()), CELLS) == (6, 10)
    assert float(bump[6, 10]) == pytest.approx(1.0, abs=1e-4)
    beside = math.exp(-0.5 / 1.2**2)
    for row, column in ((6, 9), (6, 11), (5, 10), (7, 10)):
        assert float(bump[row, column]) == pytest.approx(beside, abs=1e-3)
    assert float(maps[0, 0, NEAR + FAR - map_].abs().max()) == 0.0
