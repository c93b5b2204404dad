"""A teacher's embeddings on disk: stored once, by content and weights; damage and a full store change no answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_photographs import RECIPE, SIDE, network, photographs
from torch import Tensor, nn

from edge_sdk.errors import CheckFailed
from edge_sdk.export.tinysam.decoder import Decoded
from edge_sdk.export.tinysam.distill.frames import Views
from edge_sdk.export.tinysam.distill.teacher import EmbeddingStore, Teacher, stacked
from edge_sdk.export.tinysam.sam import Sam, normalised_frames
from edge_sdk.export.tinysam.scenes.mixture import Frame
from edge_sdk.export.training.device import CPU
from edge_sdk.export.training.identity import digest_of_weights
from edge_sdk.progress import silent


def frames(folder: Path) -> list[Frame]:
    views = Views(photographs(folder, count=2), SIDE, RECIPE.prompts, RECIPE.views, seed=0)
    return [views.pixels(k) for k in range(views.whole())]


def teacher(folder: Path | None, seed: int = 0, **how: int) -> Teacher:
    net = network(seed)
    return Teacher(net, digest=digest_of_weights(net), size=SIDE, folder=folder, **how)


def test_embeddings_are_computed_once_and_are_the_networks_own(tmp_path: Path) -> None:
    shown, first = frames(tmp_path), teacher(tmp_path / "store")
    values = first.embeddings(shown)
    assert first.computed == 6
    with torch.no_grad():
        wanted = network(0).eval().encode(normalised_frames(*stacked(shown, CPU)))
    torch.testing.assert_close(values, wanted, rtol=2e-3, atol=2e-3)
    second = teacher(tmp_path / "store")
    torch.testing.assert_close(second.embeddings(shown), values, rtol=0, atol=0)
    assert second.computed == 0


def test_without_a_store_the_values_are_the_same(tmp_path: Path) -> None:
    shown = frames(tmp_path)[:2]
    stored, alone = teacher(tmp_path / "store"), teacher(None)
    stored.embeddings(shown)
    torch.testing.assert_close(alone.embeddings(shown), stored.embeddings(shown), rtol=0, atol=1e-3)


def test_a_filling_that_was_stopped_is_resumed_and_shows_its_progress(tmp_path: Path) -> None:
    shown, notes = frames(tmp_path), list[str]()
    teacher(tmp_path / "store").fill(shown[:4], 4, progress=silent)
    second = teacher(tmp_path / "store")
    second.fill(shown, 6, progress=lambda done, total, note: notes.append(f"{done} of {total}: {note}"))
    assert second.computed == 2
    assert notes[-1] == "6 of 6: teacher's embeddings, 2 computed"


def test_another_teachers_embeddings_are_not_taken(tmp_path: Path) -> None:
    shown = frames(tmp_path)[:1]
    one, other = teacher(tmp_path / "store", seed=0), teacher(tmp_path / "store", seed=1)
    assert not torch.equal(one.embeddings(shown), other.embeddings(shown))
    assert other.computed == 1


def test_a_damaged_file_is_computed_anew(tmp_path: Path) -> None:
    shown, one = frames(tmp_path)[:1], teacher(tmp_path / "store")
    values = one.embeddings(shown)
    (path,) = (tmp_path / "store").rglob("*.npy")
    for content in (b"", path.read_bytes()[:-5], np.lib.format.magic(1, 0)):
        path.write_bytes(content)
        torch.testing.assert_close(one.embeddings(shown), values, rtol=0, atol=0)
    assert one.computed == 4


def test_a_full_store_takes_no_more_and_the_answers_go_on(tmp_path: Path) -> None:
    shown = frames(tmp_path)
    one = teacher(tmp_path / "store", most_bytes=2500)  # of 32 x 4 x 4 halves each
    one.embeddings(shown)
    assert len(list((tmp_path / "store").rglob("*.npy"))) == 3
    assert one.embeddings(shown).shape == (6, 32, 4, 4)
    notes: list[str] = []
    one.fill(shown, 6, progress=lambda done, total, note: notes.append(note))
    assert notes[-1] == "the store of embeddings is full after 1 of 6 frames"


def test_arrays_of_another_type_are_no_embeddings(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path)
    np.save(tmp_path / "a.npy", np.zeros(3, np.float32))
    assert store.read("a") is None
    assert store.read("b") is None


class _Wide(nn.Module):
    def encode(self, pictures: Tensor) -> Tensor:
        return torch.full((len(pictures), 8, 4, 4), 1e5)

    def decode(self, embedding: Tensor, points: Tensor, labels: Tensor) -> Decoded:
        raise AssertionError


def test_values_that_fp16_has_no_number_for_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckFailed, match="fp16 has no number for"):
        Teacher(_Wide(), digest="0", size=SIDE).embeddings(frames(tmp_path)[:1])


def test_a_network_with_published_keys_can_be_a_teacher(tmp_path: Path, tiny_sam: Callable[[int], Sam]) -> None:
    net = tiny_sam(256)
    views = Views(photographs(tmp_path, count=1), 256, RECIPE.prompts, RECIPE.views, seed=0)
    one = Teacher(net, digest="rule", size=256, folder=tmp_path / "store")
    embedding = one.embeddings([views.pixels(0)])
    assert embedding.shape == (1, 256, 16, 16)
    points, labels = torch.tensor([[[20.0, 30.0], [0.0, 0.0]]]), torch.tensor([[1, -1]])
    assert one.decode(embedding, points, labels).tokens.shape == (1, 5, 256)
