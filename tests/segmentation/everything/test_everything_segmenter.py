"""Everything mode of a loaded bundle: its own thresholds, crops in the caller's colours, what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import disk_graphs
import numpy as np
import pytest
from numpy.typing import NDArray

import edge_sdk
from edge_sdk.errors import BadInput, BadUsage, Stopped
from edge_sdk.tasks.segmentation.everything.options import EverythingOptions
from edge_sdk.tasks.segmentation.segmenter import PromptSegmenter
from edge_sdk.tasks.segmentation.settings import EverythingSettings, SegmentationSettings
from edge_sdk.tensors import Array

PICTURE = disk_graphs.picture(7)
"""48 x 64 px. Around each point the graphs answer disks of 4, 8 and 16 px, and predict 0.69, 0.89 and 0.79."""
LOOSE = {"points_per_side": 4, "predicted_iou": 0.85, "stability": 0.5}


def opened(path: Path, color: Any = "rgb") -> PromptSegmenter:
    return edge_sdk.load_as(PromptSegmenter, path, runtime="onnxruntime", threads=1, self_check=False, color=color)


@pytest.mark.parametrize("name", ["segmenter", "windowed"])
def test_each_point_of_the_grid_is_answered_by_its_disk(name: str, request: pytest.FixtureRequest) -> None:
    one: PromptSegmenter = request.getfixturevalue(name)
    found = one.everything(PICTURE, options=one.everything_options.changed(**LOOSE))
    assert len(found) == 16
    assert {mask.point for mask in found.masks} == {(x, y) for x in (8, 24, 40, 56) for y in (6, 18, 30, 42)}
    inner = [mask for mask in found.masks if mask.point == (24.0, 18.0)]
    assert inner[0].area_px == pytest.approx(np.pi * 8**2, rel=0.1)
    x0, y0, x1, y1 = inner[0].box
    assert ((x0 + x1) / 2, (y0 + y1) / 2) == (pytest.approx(24.5, abs=1), pytest.approx(18.5, abs=1))
    assert found.counts.asked == 16
    assert set(found.ran.roles) == {"encoder", "decoder", "refiner"}
    assert {"encode", "search"} <= set(found.ran.stages_ms)
    assert len(json.loads(found.to_json())["masks"]) == 16


def test_the_thresholds_are_those_of_the_bundle(tmp_path: Path) -> None:
    stated = EverythingSettings(points_per_side=8, predicted_iou=0.85, stability=0.5, confident_logit=1.5)
    settings = SegmentationSettings(multimask=(1, 2, 3), single=0, everything=stated)
    with opened(disk_graphs.write(tmp_path / "a.edge", settings=settings)) as one:
        assert one.everything_options.confident_logit == 1.5
        assert one.everything(PICTURE).counts.points == 64
        hierarchical = one.everything(PICTURE, options=one.everything_options.changed(hierarchical=True))
        assert hierarchical.counts.points == 49
        assert hierarchical.counts.left_out > 0


def test_options_that_state_one_thing_leave_the_rest_to_the_bundle(tmp_path: Path) -> None:
    """However they are given; and no logit is confident that neither the bundle nor the caller calls so."""
    stated = EverythingSettings(points_per_side=8, predicted_iou=0.85, stability=0.5)
    settings = SegmentationSettings(multimask=(1, 2, 3), single=0, everything=stated)
    flat: list[Any] = [EverythingOptions(), {}, {"points_per_batch": 7}, EverythingOptions(hierarchical=False)]
    fine: list[Any] = [EverythingOptions(hierarchical=True), {"hierarchical": True}]
    with opened(disk_graphs.write(tmp_path / "a.edge", settings=settings)) as one:
        wanted = [mask.box for mask in one.everything(PICTURE).masks]
        for given in flat:
            assert [mask.box for mask in one.everything(PICTURE, options=given).masks] == wanted
            assert [mask.box for mask in one.everything_stream(PICTURE, options=given)] == wanted
        for given in fine:
            with pytest.raises(BadUsage, match="needs confident_logit, which this bundle does not state"):
                one.everything(PICTURE, options=given)
        assert one.everything(PICTURE, options={"hierarchical": True, "confident_logit": 1.5}).counts.left_out > 0


def test_a_stream_gives_the_masks_of_the_result_and_a_picture_is_encoded_once(segmenter: PromptSegmenter) -> None:
    options = segmenter.everything_options.changed(**LOOSE)
    encoded = segmenter.set_image(PICTURE)
    streamed = [mask.box for mask in segmenter.everything_stream(encoded, options=options)]
    assert streamed == [mask.box for mask in segmenter.everything(PICTURE, options=options).masks]
    assert len(segmenter.cache) == 1


def test_a_file_is_named_and_drawn(segmenter: PromptSegmenter, tmp_path: Path) -> None:
    path = tmp_path / "part.png"
    cv2.imwrite(str(path), PICTURE[:, :, ::-1])
    found = segmenter.everything(path, options=segmenter.everything_options.changed(**LOOSE))
    assert found.line().startswith("16 masks, ")
    assert str(path) in found.line()
    found.save(tmp_path / "plot.png")
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "plot.png"))[:, :, ::-1], found.plot(PICTURE))


@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_crops_are_cut_from_the_picture_in_its_colours_and_not_cached(disks: Path, color: str) -> None:
    fed: list[NDArray[np.uint8]] = []
    with opened(disks, color) as one:
        right = one._loaded.models["encoder"].session.run

        def run(feeds: Mapping[str, Array], *rest: Any) -> Any:
            fed.append(feeds["image"])
            return right(feeds, *rest)

        one._loaded.models["encoder"].session.run = run  # type: ignore[method-assign]
        given = PICTURE if color == "rgb" else np.ascontiguousarray(PICTURE[:, :, ::-1])
        found = one.everything(given, options=one.everything_options.changed(**LOOSE, crop_layers=1))
        assert len(one.cache) == 1
    assert len(fed) == 5
    np.testing.assert_array_equal(fed[0][0, :48], PICTURE)
    means = [image[0, :48].reshape(-1, 3).mean(axis=0) for image in fed]
    assert all((mean.argsort() == means[0].argsort()).all() for mean in means)
    assert len({mask.crop for mask in found.masks}) > 1
    assert all(mask.rle.width == 64 for mask in found.masks)


def test_what_cannot_be_looked_at_is_refused(segmenter: PromptSegmenter) -> None:
    options = segmenter.everything_options
    with pytest.raises(BadUsage, match="this bundle does not state"):
        segmenter.everything(PICTURE, options=options.changed(hierarchical=True))
    with pytest.raises(BadUsage, match="crops of an encoded picture can't be looked at"):
        segmenter.everything(segmenter.set_image(PICTURE), options=options.changed(crop_layers=1))
    with pytest.raises(BadInput, match="not a picture"):
        segmenter.everything(None)
    with pytest.raises(BadUsage, match="points_per_side is 0"):
        segmenter.everything(PICTURE, options=type(options)(points_per_side=0))
    with pytest.raises(BadUsage, match="options of everything mode are given as str"):
        segmenter.everything(PICTURE, options="flat")  # type: ignore[arg-type]
    segmenter.close()
    with pytest.raises(BadUsage, match="closed"):
        segmenter.everything(PICTURE)


def test_progress_can_stop_it_and_it_can_be_asked_again(segmenter: PromptSegmenter) -> None:
    def stop(done: int, total: int, note: str) -> None:
        if done:
            raise Stopped(f"at {done} of {total}")

    options = segmenter.everything_options.changed(**LOOSE, points_per_batch=4)
    with pytest.raises(Stopped, match="at 4 of 16"):
        segmenter.everything(PICTURE, options=options, progress=stop)
    assert len(segmenter.everything(PICTURE, options=options)) == 16
