"""The networks in torch answer what the official code answers, within 1e-4: embeddings, stages, masks, IoU, positions.

Official weights are not here: the fixtures were made by official code with weights by rule, as these networks are.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from by_rule import apart, filled, prepared
from prompt_cases import prompt_of
from torch import Tensor, nn

from edge_sdk.export.tinysam.layout import ENCODERS, SamLayout
from edge_sdk.export.tinysam.sam import Sam, encoder_of

LIMIT = 1e-4
"""Relative: L2 over the samples, and the largest difference against the standard deviation."""
SLOW = "EDGE_SDK_SLOW_TESTS"
slow = pytest.mark.skipif(SLOW not in os.environ, reason=f"takes a minute and 4 GB: set {SLOW}=1 to run this")


def close(entry: dict[str, Any], got: Tensor, *, spread: float = 0.0) -> None:
    relative, largest = apart(entry, got.numpy(), spread or entry["std"])
    assert relative <= LIMIT
    assert largest <= LIMIT


@pytest.mark.parametrize("size", [256, 512, 1024])
def test_the_embedding(size: int, parity: dict[str, Any], embedding: Callable[[int], Tensor]) -> None:
    entry = parity["encoder_tinyvit_1024"] if size == 1024 else parity[f"tinysam_{size}"]["encoder"]
    got = embedding(size)
    assert list(got.shape) == entry["shape"]
    close(entry["samples"], got, spread=entry["std"])
    assert float(got.double().abs().sum()) == pytest.approx(entry["sum_abs"], rel=1e-5)


def watched(net: nn.Module, names: list[str], picture: Tensor) -> dict[str, Tensor]:
    """Outputs of the modules called `names` in one run on `picture`."""
    seen: dict[str, Tensor] = {}
    for name in names:
        net.get_submodule(name).register_forward_hook(lambda _m, _i, out, name=name: seen.__setitem__(name, out))
    with torch.no_grad():
        net(picture)
    return seen


def test_every_stage_of_tiny_vit(parity: dict[str, Any]) -> None:
    entry = parity["encoder_tinyvit_1024"]["stages"]
    net = encoder_of(ENCODERS["tinyvit-5m"]).eval()
    filled(net, "image_encoder.")
    for name, got in watched(net, list(entry), prepared(1024)).items():
        if "downsample" in name:  # the official code goes over to tokens here already
            got = got.flatten(2).transpose(1, 2)
        assert got.numel() == np.prod(entry[name]["shape"]), name
        close(entry[name], got)


@pytest.mark.parametrize("size", [256, 512, pytest.param(1024, marks=slow)])
def test_the_embedding_and_every_block_of_sam_vit_b(size: int, parity: dict[str, Any]) -> None:
    entry = parity[f"vit_b_{size}"]
    net = encoder_of(ENCODERS["sam-vit-b"].at(size)).eval()
    filled(net, "image_encoder.")
    got = watched(net, [*entry["stages"], "neck"], prepared(size))
    close(entry["samples"], got.pop("neck"), spread=entry["std"])
    for name, tensor in got.items():
        close(entry["stages"][name], tensor)


def test_the_dense_positions(parity: dict[str, Any], tiny_sam: Callable[[int], Sam]) -> None:
    close(parity["dense_pe_1024"], tiny_sam(1024).prompt_encoder.dense_positions())


CASES = (
    "point", "points3", "box", "box_point", "box_points2", "batch4_points", "batch2_boxes", "explicit_padding", "none",
    "point_maskformula", "mask_only", "points2_previous_mask", "box_maskformula",
)  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_decoder_at_1024(
    case: str, parity: dict[str, Any], tiny_sam: Callable[[int], Sam], embedding: Callable[[int], Tensor]
) -> None:
    check_case(parity["decoder_1024"], case, tiny_sam(1024), embedding(1024))


@pytest.mark.parametrize("case", ["point", "box", "point_maskformula"])
@pytest.mark.parametrize("size", [256, 512])
def test_the_decoder_at_other_sizes(
    size: int, case: str, parity: dict[str, Any], tiny_sam: Callable[[int], Sam], embedding: Callable[[int], Tensor]
) -> None:
    check_case(parity[f"tinysam_{size}"]["decoder"], case, tiny_sam(size), embedding(size))


def check_case(entries: dict[str, Any], case: str, net: Sam, embedding: Tensor) -> None:
    entry = entries[case]
    prompt = prompt_of(entries, case, net, embedding)
    assert list(prompt.points.shape[:2]) == entry["sparse_shape"][:2]
    with torch.no_grad():
        tokens = net.prompt_encoder.tokens(prompt.points, prompt.labels)
        got = net.decode(embedding, prompt.points, prompt.labels, prompt.masks)
    assert list(got.masks.shape) == entry["low_res_shape"]
    if "sparse_samples" in entry:
        close(entry["sparse_samples"], tokens, spread=1.0)
    np.testing.assert_allclose(got.iou.numpy(), entry["iou"], rtol=0, atol=LIMIT)
    for one in entry["masks"]:
        close(one, got.masks[one["prompt"], one["mask"]])
        positive = int((got.masks[one["prompt"], one["mask"]] > 0).sum())
        assert abs(positive - one["positive"]) <= 5  # logits within rounding of 0


@pytest.mark.parametrize("published", ["tinysam", "sam_vit_b_image_encoder"])
def test_every_published_key_is_there_with_its_shape(published: str, parity: dict[str, Any]) -> None:
    vit = published != "tinysam"
    state = Sam(SamLayout(encoder=ENCODERS["sam-vit-b" if vit else "tinyvit-5m"])).state_dict()
    wanted = {name: list(shape) for name, shape in parity["keys"][published]}
    wanted |= {} if vit else {name: [] for name in parity["keys"]["tinysam_int64_scalars"]}
    unused = {name for name in wanted if name.startswith(("image_encoder.norm_head.", "image_encoder.head."))}
    assert len(unused) == (0 if vit else 4)  # of a classifier that is in the files and never runs
    mine = {name: list(tensor.shape) for name, tensor in state.items() if not vit or name.startswith("image_encoder.")}
    assert mine == {name: shape for name, shape in wanted.items() if name not in unused}
