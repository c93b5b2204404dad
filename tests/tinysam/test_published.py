"""Published weights load by name, strictly; whatever else is named is refused with what it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edge_sdk.errors import BadInput, NotThere
from edge_sdk.export.tinysam import positions, published
from edge_sdk.export.tinysam.layout import ENCODERS, SamLayout, VitLayout
from edge_sdk.export.tinysam.sam import Sam

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    """As TinySAM's file: with the classifier that never runs."""
    of_head = {"norm_head.weight": (320,), "norm_head.bias": (320,), "head.weight": (1000, 320), "head.bias": (1000,)}
    net = Sam(SamLayout())
    return net.state_dict() | {f"image_encoder.{name}": torch.zeros(shape) for name, shape in of_head.items()}


def saved(tensors: Any, folder: Path) -> Path:
    path = folder / "weights.pth"
    torch.save(tensors, path)
    return path


def same(one: State, other: State) -> bool:
    return all(torch.equal(other[name], tensor) for name, tensor in one.items())


def test_a_published_file_loads_and_says_what_it_left(state: State, tmp_path: Path) -> None:
    found = published.load(saved(state, tmp_path))
    assert (found.encoder, found.resized) == ("tinyvit-5m", False)
    assert found.unused == ("4 keys: of a classifier that never runs",)
    assert not found.net.training
    assert same(found.net.state_dict(), state)


WRAPPED: dict[str, Callable[[State], Any]] = {
    "model": lambda state: {"model": state, "epoch": 3},
    "state_dict": lambda state: {"state_dict": state},
    "of several GPUs": lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    "half": lambda state: {name: t.half() if t.is_floating_point() else t for name, t in state.items()},
    "without counts": lambda state: {n: t for n, t in state.items() if not n.endswith("num_batches_tracked")},
    "with what is never in a file": lambda state: (
        state
        | {"image_encoder.layers.1.blocks.0.attn.attention_bias_idxs": torch.zeros(49, 49, dtype=torch.long)}
        | {"image_encoder.layers.1.blocks.0.attn.ab": torch.zeros(4, 49, 49), "pixel_mean": torch.zeros(3, 1, 1)}
    ),
}


@pytest.mark.parametrize("how", WRAPPED)
def test_wrappers_are_taken_off(how: str, state: State, tmp_path: Path) -> None:
    found = published.load(saved(WRAPPED[how](state), tmp_path), image_size=256)
    rounding = 1e-3 if how == "half" else 0.0
    for name, tensor in found.net.state_dict().items():
        torch.testing.assert_close(tensor, state[name], rtol=rounding, atol=rounding)


def without(*words: str) -> Callable[[State], State]:
    return lambda state: {name: tensor for name, tensor in state.items() if not any(word in name for word in words)}


def plus(name: str, *shape: int) -> Callable[[State], State]:
    return lambda state: state | {name: torch.zeros(shape)}


def renamed(old: str, new: str) -> Callable[[State], State]:
    return lambda state: {name.replace(old, new): tensor for name, tensor in state.items()}


def of_vit(name: str) -> State:
    """SAM's ViT-B in 4 bytes a key, but one key that is a number alone."""
    with torch.device("meta"):
        shapes = {
            key: tensor.shape for key, tensor in Sam(SamLayout(encoder=ENCODERS["sam-vit-b"])).state_dict().items()
        }
    return {key: torch.zeros(1).expand(shape) for key, shape in shapes.items()} | {name: torch.tensor(0.0)}


QKV = "image_encoder.layers.3.blocks.0.attn.qkv.weight"
REFUSED: dict[str, tuple[Callable[[State], Any], str]] = {
    "HQ-SAM": (plus("mask_decoder.hf_token.weight", 1, 256), "this is HQ-SAM"),
    "SAM 2": (renamed("image_encoder.", "image_encoder.trunk."), "this is SAM 2"),
    "classifier": (
        lambda state: {"model": {n[14:]: t for n, t in state.items() if n.startswith("image_encoder.")}},
        "this is a TinyViT classifier",
    ),
    "11M": (plus(QKV, 1344, 448), r"TinyViT-11M \(1344 rows"),
    "unknown width": (
        lambda _: {"image_encoder.patch_embed.proj.weight": torch.zeros(192, 3, 16, 16)}, "192 wide, which no ViT",
    ),
    "missing": (without("iou_token"), "1 of its 435 keys are missing, the first is mask_decoder.iou_token.weight"),
    "encoder alone": (without("mask_decoder.", "prompt_encoder."), "137 of its 435 keys are missing"),
    "decoder alone": (without("image_encoder."), "no encoder of TinySAM, MobileSAM or SAM is in it"),
    "shape": (plus("mask_decoder.mask_tokens.weight", 3, 256), r"mask_tokens.weight has the shape \(3, 256\), not \(4"),
    "unknown key": (plus("mask_decoder.extra.weight", 1), "1 keys belong to no network known here"),
    "NaN": (
        lambda state: state | {"mask_decoder.iou_token.weight": torch.full((1, 256), torch.nan)},
        "iou_token.weight holds NaN",
    ),
    "infinity": (
        lambda state: state | {"mask_decoder.iou_token.weight": torch.full((1, 256), -torch.inf).half()},
        "iou_token.weight holds NaN or infinity",
    ),
    "whole numbers": (
        lambda state: state | {"mask_decoder.iou_token.weight": torch.zeros(1, 256, dtype=torch.int64)},
        "iou_token.weight holds int64, not floats",
    ),
    "no axes": (plus("mask_decoder.iou_token.weight"), r"iou_token.weight has the shape \(\), not \(1, 256\)"),
    "rows of a number": (plus(QKV), r"qkv.weight has the shape \(\), not one of 2 axes"),
    "rows of a vector": (plus(QKV, 960), r"qkv.weight has the shape \(960,\), not one of 2 axes"),
    "width of a number": (
        lambda _: {"image_encoder.patch_embed.proj.weight": torch.tensor(768.0)},
        r"patch_embed.proj.weight has the shape \(\), not one of 4 axes",
    ),
    "position tables of a number": (
        lambda _: of_vit("image_encoder.pos_embed"), r"pos_embed has the shape \(\), not \(1, 64, 64, 768\)",
    ),
    "a table of a number": (
        lambda _: of_vit("image_encoder.blocks.2.attn.rel_pos_h"), r"rel_pos_h has the shape \(\), not \(127, 64\)",
    ),
    "empty": (lambda _: {}, "it is empty"),
    "empty inside": (lambda _: {"model": {}}, "it is empty"),
    "no state dict": (lambda _: {"a": 1}, "holds no state dict: a is an int"),
    "key": (lambda state: state | {1: torch.zeros(1)}, "its key 1 is an int, not a str"),
    "list": (lambda state: [*state.values()], "holds no state dict: it is a list"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_other_files_are_refused_by_name(what: str, state: State, tmp_path: Path) -> None:
    change, message = REFUSED[what]
    path = saved(change(state), tmp_path)
    with pytest.raises(BadInput, match=message) as caught:
        published.load(path)
    assert str(path) in str(caught.value)
    assert caught.value.hint


def test_a_pickled_module_is_refused_and_the_float_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"would run its code\. Q-TinySAM .*tinysam\.pth"):
        published.load(saved(nn.Linear(1, 1), tmp_path))


def test_a_file_that_is_not_there_or_no_weights_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotThere, match="the file of weights does not exist"):
        published.load(tmp_path / "nowhere.pth")
    (tmp_path / "weights.pth").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(BadInput, match=r"not a PyTorch file|more than tensors"):
        published.load(tmp_path / "weights.pth")


@pytest.mark.parametrize("encoder", ["sam-vit-b", "sam-vit-l", "sam-vit-h"])
def test_sams_encoders_are_known_by_their_keys_and_have_the_published_number(encoder: str) -> None:
    layout = SamLayout(encoder=ENCODERS[encoder])
    with torch.device("meta"):
        state = Sam(layout).state_dict()
    assert published.encoder_in(state, where="x") == encoder
    of_encoder = [tensor for name, tensor in state.items() if name.startswith("image_encoder.")]
    published_as = {"sam-vit-b": 89_670_912, "sam-vit-l": 308_278_272, "sam-vit-h": 637_026_048}
    assert sum(tensor.numel() for tensor in of_encoder) == published_as[encoder]
    assert len(state) == len(of_encoder) + 17 + 120


def test_tables_of_another_size_are_resized_once_and_window_tables_stay() -> None:
    layout = VitLayout(dim=16, depth=2, heads=2, whole=(1,), image_size=128, window=3)
    old = Sam(SamLayout(encoder=layout)).state_dict()
    ramp = torch.linspace(0, 1, 15)[:, None].expand(15, 8)
    old["image_encoder.blocks.1.attn.rel_pos_h"] = ramp.clone()
    old["image_encoder.pos_embed"] = torch.full_like(old["image_encoder.pos_embed"], 0.25)
    half = layout.at(64)
    new = positions.resized(old, half)
    net = Sam(SamLayout(encoder=half))
    net.load_state_dict(new)
    table = new["image_encoder.blocks.1.attn.rel_pos_h"]
    assert table.shape == (7, 8)
    torch.testing.assert_close(table[3], ramp[7])  # distance 0 stays the middle
    torch.testing.assert_close(new["image_encoder.pos_embed"], torch.full((1, 4, 4, 16), 0.25))
    assert new["image_encoder.blocks.0.attn.rel_pos_h"] is old["image_encoder.blocks.0.attn.rel_pos_h"]
    assert same(positions.resized(old, layout), old)
