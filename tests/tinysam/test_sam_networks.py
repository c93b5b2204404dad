"""What the networks guarantee beside parity: one image for all prompts bit for bit, hidden tokens, no stale table."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from by_rule import filled, prepared
from torch import Tensor

from edge_sdk.errors import BadUsage
from edge_sdk.export.tinysam import HIDDEN
from edge_sdk.export.tinysam.layout import DecoderLayout, SamLayout, TinyVitLayout, VitLayout, small
from edge_sdk.export.tinysam.sam import Sam

LABELS = torch.tensor([[1, -1], [0, -1], [2, 3]])


def points(size: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).uniform(0, size, (3, 2, 2)).astype(np.float32))


def test_one_image_for_all_prompts_gives_the_bits_of_one_image_for_each(
    tiny_sam: Callable[[int], Sam], embedding: Callable[[int], Tensor]
) -> None:
    net, one = tiny_sam(256), embedding(256).contiguous()  # the order in memory changes rounding, too
    with torch.no_grad():
        shared = net.decode(one, points(256), LABELS)
        repeated = net.decode(one.repeat(3, 1, 1, 1), points(256), LABELS)
    assert torch.equal(shared.masks, repeated.masks)
    assert torch.equal(shared.iou, repeated.iou)
    assert shared.tokens.shape == (3, 5, 256)


def test_hidden_tokens_change_nothing_wherever_they_stand(
    tiny_sam: Callable[[int], Sam], embedding: Callable[[int], Tensor]
) -> None:
    net, one = tiny_sam(256), embedding(256)
    hidden = torch.full((3, 2), HIDDEN)
    longer = torch.cat([torch.full((3, 2, 2), 99.0), points(256)], dim=1)
    with torch.no_grad():
        want = net.decode(one, points(256), LABELS)
        got = net.decode(one, longer, torch.cat([hidden, LABELS], dim=1))
    torch.testing.assert_close(got.masks, want.masks, rtol=0, atol=1e-5)
    torch.testing.assert_close(got.iou, want.iou, rtol=0, atol=1e-6)
    torch.testing.assert_close(got.tokens, want.tokens, rtol=0, atol=1e-5)


def test_weights_that_load_in_evaluation_mode_count_at_once() -> None:
    """The official encoder caches its bias tables when it is switched to evaluation, and keeps those of before."""
    layout = small("d", image_size=64, width=64)
    late, early = Sam(layout).eval(), Sam(layout)
    filled(late)
    filled(early)
    with torch.no_grad():
        assert torch.equal(late.encode(prepared(64)), early.eval().encode(prepared(64)))


def test_tiny_vit_runs_at_sizes_other_than_its_layouts(tiny_sam: Callable[[int], Sam]) -> None:
    with torch.no_grad():
        assert tiny_sam(256).encode(prepared(128)).shape == (1, 256, 8, 8)


def test_every_weight_that_runs_gets_a_gradient() -> None:
    layout = SamLayout(
        encoder=TinyVitLayout(
            image_size=64, dims=(8, 16, 16, 32), depths=(1, 1, 1, 1), heads=(1, 1, 2), windows=(4, 4, 2), width=32
        ),
        decoder=DecoderLayout(heads=2, mlp=32),
    )
    net = Sam(layout)
    masks = torch.randn(4, 1, layout.mask_side, layout.mask_side)
    labels = torch.tensor([[1, -1, -2], [0, -1, -2], [2, 3, -2], [1, 2, 3]])
    with_mask = net(prepared(64), torch.rand(4, 3, 2) * 64, labels, masks)
    without = net(prepared(64), torch.rand(4, 3, 2) * 64, labels)
    sum(one.masks.square().mean() + one.iou.square().mean() for one in (with_mask, without)).backward()
    assert [name for name, weight in net.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize(("size", "millions"), [("a", 5.75), ("b", 2.73), ("c", 1.65), ("d", 0.95)])
def test_small_encoders_have_the_stated_number_of_parameters(size: str, millions: float) -> None:
    net = Sam(small(size, width=256))
    assert sum(p.numel() for p in net.image_encoder.parameters()) / 1e6 == pytest.approx(millions, abs=0.006)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SamLayout().at(1000), r"1000 px is not a multiple of 16 px.*Take 992"),
        (lambda: TinyVitLayout(heads=(3, 5, 10)), "128 channels can't be divided among 3 heads"),
        (lambda: TinyVitLayout(strides=(3, 2, 1)), "mergings have stride 1 or 2"),
        (lambda: VitLayout(dim=100), "100 channels can't be divided among 12 heads"),
        (lambda: SamLayout(encoder=TinyVitLayout(width=24)), "24 wide does not divide"),
        (lambda: small("x"), "sizes are a, b, c, d, not 'x'"),
    ],
)
def test_layouts_that_make_no_network_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(BadUsage, match=message):
        make()
