"""Maps against masks: streamed, at the picture's own size, and only as often as they are worth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny
from edges import write

from edge_sdk import preprocess
from edge_sdk.export.anomaly.data import Picture
from edge_sdk.export.tasks.anomaly import evaluate, masks
from edge_sdk.export.tasks.base import float_variant
from edge_sdk.preprocess import Geometry, Grid, InputTransform, Prepared, Preprocessing

GRID = Grid(offset_px=2.0, stride_px=4.0)


def test_a_map_is_brought_to_the_size_of_its_mask_and_finds_it(tmp_path: Path) -> None:
    rgb, mask = np.full((60, 40, 3), 90, np.uint8), np.zeros((60, 40, 3), np.uint8)
    mask[30:60, 20:40] = 255
    write(tmp_path / "a.png", rgb)
    write(tmp_path / "m.png", mask)
    picture = Picture(path=tmp_path / "a.png", part="a", label="hole", mask=tmp_path / "m.png")
    geometry = preprocess.apply(rgb, Preprocessing(width=16, height=16)).geometry
    cells = np.zeros((1, 4, 4), np.float32)
    cells[0, 2:, 2:] = 1.0
    wanted = masks.Masks.of([picture], GRID)
    assert wanted is not None
    tally = masks.MapTally(wanted)
    tally.add(0, cells, geometry)
    found, notes = tally.summary()
    assert found is not None
    assert (found.defect_pixels, found.background_pixels, notes) == (600, 1800, ())
    assert found.auroc > 0.99


def test_pictures_without_any_mask_ask_for_no_maps() -> None:
    assert masks.Masks.of([Picture(path=Path("a.png"), part="a", label="hole")], GRID) is None


def test_masks_without_a_defect_pixel_are_a_reason(tmp_path: Path) -> None:
    write(tmp_path / "m.png", np.zeros((8, 8, 3), np.uint8))
    wanted = masks.Masks.of([Picture(path=tmp_path, part="a", label="hole", mask=tmp_path / "m.png")], GRID)
    assert wanted is not None
    tally = masks.MapTally(wanted)
    tally.add(0, np.zeros((1, 2, 2), np.float32), Geometry(width=8, height=8, transforms=(InputTransform(1, 1, 0, 0),)))
    found, notes = tally.summary()
    assert found is None
    assert "no defect pixel" in notes[0]


@pytest.mark.parametrize(("side", "seen"), [(64, ["fp32", "fp16"]), (20_000, ["fp32"])])
def test_large_pictures_have_the_maps_of_the_first_variant_alone(tmp_path: Path, side: int, seen: list[str]) -> None:
    """The picture itself is small: its size is only what it says of itself, and its mask is refused before any work."""
    made = tiny.graph()
    tensor = preprocess.apply(tiny.picture(1, damaged=True), tiny.record_of(made)).tensor
    geometry = Geometry(width=side, height=side, transforms=(InputTransform(64 / side, 64 / side, 0.0, 0.0),))
    picture = Picture(path=tmp_path / "gone.png", part="a", label="hole", mask=tmp_path / "gone.png")
    first = float_variant(made.graphs["model"].onnx)
    second = type(first)(variant="fp16", layout="plain", graph=first.graph, int8_convolutions=0)
    scored = evaluate.score_all(
        [first, second], [Prepared(tensor, geometry)], masks=masks.Masks.of([picture], made.settings.grid), threads=1
    )
    assert [s.variant for s in scored if s.notes] == seen
    assert all("gone.png" in note for s in scored for note in s.notes)
