"""The mask that a network of our own starts from: the prompt's own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from by_rule import sam

from edge_sdk.export.tinysam import BOTTOM_RIGHT, HIDDEN, NEGATIVE, PADDING, POSITIVE, TOP_LEFT
from edge_sdk.export.tinysam.layout import Lite0Layout, SamLayout, small, small_decoder
from edge_sdk.export.tinysam.prior import GAIN, OFFSET, Prior
from edge_sdk.export.tinysam.sam import Sam


def answered(points: list[list[float]], labels: list[int]) -> torch.Tensor:
    """Cells of 4 px in a frame of 32: (4, 8, 8)."""
    with torch.no_grad():
        out: torch.Tensor = Prior(4, 32, 8)(torch.tensor([points]), torch.tensor([labels]))[0]
    return out


def test_a_box_is_answered_with_itself_and_a_cell_with_its_share() -> None:
    logits = answered([[0.0, 0.0], [4.0, 8.0], [14.0, 16.0]], [HIDDEN, TOP_LEFT, BOTTOM_RIGHT])
    share = torch.zeros(8, 8)
    share[2:4, 1:3], share[2:4, 3] = 1.0, 0.5
    torch.testing.assert_close(logits, (GAIN * share + OFFSET).expand(4, 8, 8))


def test_a_point_is_answered_with_a_bump_and_the_masks_with_wider_ones() -> None:
    logits = answered([[17.0, 9.0], [0.0, 0.0]], [POSITIVE, PADDING])
    for mask in logits:
        assert divmod(int(mask.argmax()), 8) == (2, 4)
    heights = logits.sum((1, 2)) - 64 * OFFSET
    assert 0 < heights[1] < heights[2] < heights[3]


def test_points_beside_a_box_hidden_ones_and_negative_ones_change_nothing() -> None:
    corners, labels = [[4.0, 8.0], [14.0, 16.0]], [TOP_LEFT, BOTTOM_RIGHT]
    alone = answered(corners, labels)
    for label in (POSITIVE, NEGATIVE, HIDDEN):
        torch.testing.assert_close(answered([[30.0, 30.0], *corners], [label, *labels]), alone)
    nothing = answered([[3.0, 3.0]], [NEGATIVE])
    torch.testing.assert_close(nothing, torch.full((4, 8, 8), OFFSET))


def test_published_networks_have_no_prior_and_no_key_of_one() -> None:
    with torch.device("meta"):
        assert not [name for name in Sam(SamLayout()).state_dict() if name.startswith("prior.")]


def test_a_network_of_ours_answers_a_box_before_it_has_learned_anything() -> None:
    torch.manual_seed(0)
    net = Sam(small("d", image_size=128, width=64, mlp=128, prior=True)).eval()
    points, labels = torch.tensor([[[32.0, 32.0], [96.0, 80.0]]]), torch.tensor([[TOP_LEFT, BOTTOM_RIGHT]])
    with torch.no_grad():
        found = net(torch.randn(1, 3, 128, 128), points, labels).masks[0] > 0
    wanted = torch.zeros(32, 32, dtype=torch.bool)
    wanted[8:20, 8:24] = True
    for mask in found:
        assert int((mask & wanted).sum()) / int((mask | wanted).sum()) > 0.9


def test_the_encoder_on_the_trunk_that_ships_answers_an_embedding_and_trains_its_later_blocks() -> None:
    layout = SamLayout(encoder=Lite0Layout(image_size=64, width=64), decoder=small_decoder(64, mlp=64))
    net = Sam(layout)
    embedding = net.encode(torch.randn(2, 3, 64, 64))
    assert embedding.shape == (2, 64, 4, 4)
    embedding.square().sum().backward()  # type: ignore[no-untyped-call]
    trained = {name for name, p in net.image_encoder.named_parameters() if p.grad is not None}
    assert "blocks.3.expand.weight" in trained
    assert not [name for name in trained if name.startswith(("stem.", "blocks.0.", "blocks.1.", "blocks.2."))]


def test_the_fixtures_network_is_the_same_with_the_prior_off(tiny_sam: Callable[[int], Sam]) -> None:
    assert tiny_sam(256).prior is None
    assert sam(SamLayout().at(256)).prior is None
