"""Files of our own networks: what is written comes back with its layout, and another file is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from edge_sdk.errors import BadInput
from edge_sdk.export import tensors_file
from edge_sdk.export.tinysam import saved
from edge_sdk.export.tinysam.layout import (
    ENCODERS,
    DecoderLayout,
    Lite0Layout,
    SamLayout,
    VitLayout,
    small,
    small_decoder,
)
from edge_sdk.export.tinysam.sam import Sam

NET = SamLayout(encoder=VitLayout(image_size=64, dim=16, depth=2, heads=2, whole=(1,), width=32))

LITE = SamLayout(encoder=Lite0Layout(image_size=64, width=32), decoder=small_decoder(32, mlp=32))


@pytest.mark.parametrize("half", [False, True])
def test_a_network_comes_back(half: bool, tmp_path: Path) -> None:
    net, path = Sam(small("d", image_size=64, width=64, mlp=32)), tmp_path / "net.safetensors"
    saved.write(net, path, facts={"steps": 3}, half=half)
    back, facts = saved.read(path)
    assert (back.layout, dict(facts), back.training) == (net.layout, {"steps": 3}, False)
    for name, tensor in back.state_dict().items():
        torch.testing.assert_close(tensor, net.state_dict()[name], rtol=1e-3 if half else 0, atol=1e-6 if half else 0)
    assert saved.read(path, image_size=128)[0].layout == net.layout.at(128)


@pytest.mark.parametrize("layout", [SamLayout(), SamLayout(encoder=ENCODERS["sam-vit-h"]), small("b"), NET, LITE])
def test_every_layout_comes_back(layout: SamLayout) -> None:
    assert saved.layout_described(saved.described_layout(layout)) == layout


def test_what_is_wrong_with_a_file_is_said(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    saved.write(Sam(NET), path)
    assert saved.read(path, image_size=128)[0].layout == NET.at(128)  # its position tables resized
    with pytest.raises(BadInput, match=r"100 px is not a multiple of 16 px.*Take 96"):
        saved.read(path, image_size=100)
    described = {"layout": saved.described_layout(NET), "facts": {}}
    state = Sam(NET).state_dict()
    state["mask_decoder.iou_token.weight"] = torch.zeros(2, 32)
    tensors_file.write(path, state, kind=saved.FORMAT, described=described)
    with pytest.raises(
        BadInput,
        match=r"no network of this family: mask_decoder\.iou_token\.weight has the shape \(2, 32\), not \(1, 32\)",
    ):
        saved.read(path)
    tensors_file.write(path, {"a": torch.zeros(1)}, kind="other/1")
    with pytest.raises(BadInput, match="its format is other/1, not tinysam/1"):
        saved.read(path)
    net = Sam(SamLayout(encoder=NET.encoder, decoder=DecoderLayout(mlp=8, heads=2)))
    with torch.no_grad():
        net.mask_decoder.iou_token.weight.fill_(1e6)
    with pytest.raises(BadInput, match=r"iou_token\.weight holds values that float16 can't hold"):
        saved.write(net, path, half=True)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"mask_decoder.iou_token.weight": torch.full((1, 32), torch.nan)}, r"iou_token\.weight holds NaN or infinity"),
        ({"mask_decoder.iou_token.weight": torch.full((1, 32), torch.inf)}, r"iou_token\.weight holds NaN or infinity"),
        ({"mask_decoder.iou_token.weight": torch.zeros(1, 32, dtype=torch.int32)}, r"iou_token\.weight holds int32"),
        ({"image_encoder.pos_embed": torch.tensor(0.0)}, r"pos_embed has the shape \(\), not \(1, 4, 4, 16\)"),
        ({"image_encoder.blocks.1.attn.rel_pos_w": torch.tensor(0.0)}, r"rel_pos_w has the shape \(\), not \(7, 8\)"),
        ({"image_encoder.blocks.1.attn.rel_pos_w": torch.zeros(5, 8)}, r"rel_pos_w has the shape \(5, 8\), not"),
        ({"further": torch.zeros(1)}, "further is not known"),
    ],
)
@pytest.mark.parametrize("image_size", [None, 128])
def test_weights_that_are_not_the_layouts_are_named(
    changed: dict[str, torch.Tensor], said: str, image_size: int | None, tmp_path: Path
) -> None:
    path = tmp_path / "net.safetensors"
    described = {"layout": saved.described_layout(NET), "facts": {}}
    tensors_file.write(path, Sam(NET).state_dict() | changed, kind=saved.FORMAT, described=described)
    with pytest.raises(BadInput, match=said) as caught:
        saved.read(path, image_size=image_size)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "layout", [7, [], {"encoder": []}, {"encoder": {"kind": "vit"}, "decoder": 3}, {"encoder": {}}]
)
def test_layouts_that_are_none_are_refused(layout: object, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    tensors_file.write(path, {}, kind=saved.FORMAT, described={"layout": layout, "facts": {}})
    with pytest.raises(BadInput, match="no network of this family"):
        saved.read(path)
