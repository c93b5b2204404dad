from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.export.tasks.anomaly.pixel import Method, PixelQuality, PixelTally, Sample, regions_of

MAP = np.array([[0.3, 0.9, 0.1, 0.1], [0.2, 0.1, 0.2, 0.1], [0.1, 0.2, 0.8, 0.7], [0.1, 0.4, 0.6, 0.3]], np.float32)
MASK = np.zeros((4, 4), np.uint8)
MASK[0, 0] = 255
MASK[2:, 2:] = 255


def synthetic(seed: int, count: int = 12, size: int = 48) -> list[Sample]:
    """Smooth noise with blobs that the map finds more or less; every third picture is good."""
    rng = np.random.default_rng(seed)
    samples = []
    for index in range(count):
        noise = ndimage.gaussian_filter(rng.normal(size=(size, size)), 2)
        mask = ndimage.gaussian_filter(rng.normal(size=(size, size)), 3) > 0.13
        found = ndimage.gaussian_filter(mask.astype(float), 1.5) * rng.uniform(0, 1) + 1.5 * noise + 1
        samples.append(Sample(map=found.astype(np.float32), mask=None if index % 3 == 0 else mask))
    return samples


def pixel_quality(samples: list[Sample], *, limit: float = 0.30, method: Method = "histogram") -> PixelQuality:
    """Of pictures given one after the other."""
    tally = PixelTally(limit=limit, method=method)
    for sample in samples:
        tally.add(sample)
    return tally.quality()


def brute_force_aupro(samples: list[Sample], limit: float) -> float:
    """The definition, threshold by threshold, with scipy's labels."""
    regions, clean = [], []
    for sample in samples:
        mask = np.zeros(sample.map.shape, bool) if sample.mask is None else sample.mask > 0
        labels, found = ndimage.label(mask, structure=np.ones((3, 3)))
        regions += [sample.map[labels == number] for number in range(1, found + 1)]
        clean.append(sample.map[~mask])
    background = np.sort(np.concatenate(clean))
    levels = np.unique(np.concatenate([*regions, background]))[::-1]
    rate = 1 - np.searchsorted(background, levels, "left") / background.size
    overlap = np.mean([1 - np.searchsorted(np.sort(one), levels, "left") / one.size for one in regions], axis=0)
    rate, overlap = np.concatenate([[0], rate]), np.concatenate([[0], overlap])
    grid = np.unique(np.concatenate([rate[rate <= limit], [limit]]))
    area = 0.0
    for left, right in itertools.pairwise(grid):
        # vertical steps: the curve leaves `left` at its highest value and reaches `right` at its lowest
        start = overlap[rate <= left][-1]
        at = np.flatnonzero(rate >= right)[0]
        share = (right - left) / (rate[at] - left)
        area += (right - left) * (start + start + share * (overlap[at] - start)) / 2
    return float(area / limit)


def test_the_small_example_by_both_methods() -> None:
    for method in ("exact", "histogram"):
        measured = pixel_quality([Sample(map=MAP, mask=MASK)], method=method)  # type: ignore[arg-type]
        assert measured.aupro == pytest.approx(0.507576, abs=1e-6)
        assert measured.auroc == pytest.approx(0.872727, abs=1e-6)
        assert (measured.regions, measured.defect_pixels, measured.background_pixels) == (2, 5, 11)


def test_regions_that_touch_by_a_corner_are_one() -> None:
    mask = MASK.copy()
    mask[1, 1] = 255
    assert pixel_quality([Sample(map=MAP, mask=mask)], method="exact").aupro == pytest.approx(0.444444, abs=1e-6)
    assert regions_of(mask).max() == 1


@given(seed=st.integers(0, 1000), limit=st.sampled_from([0.05, 0.3, 1.0]))
@settings(max_examples=15, deadline=None)
def test_the_sorted_form_is_the_definition_threshold_by_threshold(seed: int, limit: float) -> None:
    samples = synthetic(seed, count=4, size=24)
    coarse = [Sample(map=np.round(sample.map, 1), mask=sample.mask) for sample in samples]  # the limit cuts a tie
    for each in (samples, coarse):
        measured = pixel_quality(each, limit=limit, method="exact")
        assert measured.aupro == pytest.approx(brute_force_aupro(each, limit), abs=1e-6)


def test_pixel_auroc_is_scikit_learns_ties_included() -> None:
    samples = [Sample(map=np.round(sample.map, 1), mask=sample.mask) for sample in synthetic(3)]
    labels = np.concatenate([(np.zeros(s.map.shape) if s.mask is None else s.mask).ravel() for s in samples]) > 0
    scores = np.concatenate([s.map.ravel() for s in samples])
    assert pixel_quality(samples, method="exact").auroc == pytest.approx(roc_auc_score(labels, scores), abs=1e-9)


@pytest.mark.parametrize("shift", [0.0, -1.0, -20.0])
def test_the_histogram_is_near_the_exact_metrics_for_any_sign(shift: float) -> None:
    samples = [Sample(map=sample.map + np.float32(shift), mask=sample.mask) for sample in synthetic(4)]
    exact, quick = pixel_quality(samples, method="exact"), pixel_quality(samples, method="histogram")
    # scores 20 steps of 0.2 % from 0: the coarsest case, a bin is then 1/32 wide
    tolerance = 2e-2 if shift == -20.0 else 2e-3
    assert quick.aupro == pytest.approx(exact.aupro, abs=tolerance)
    assert quick.auroc == pytest.approx(exact.auroc, abs=tolerance)
    assert "262144" in quick.method


@given(seed=st.integers(0, 100))
@settings(max_examples=10, deadline=None)
def test_order_of_pictures_and_rising_maps_change_nothing(seed: int) -> None:
    samples = synthetic(seed, count=4, size=24)
    raised = [Sample(map=np.exp(sample.map), mask=sample.mask) for sample in reversed(samples)]
    before, after = pixel_quality(samples, method="exact"), pixel_quality(raised, method="exact")
    assert after.aupro == pytest.approx(before.aupro, abs=1e-4)
    assert after.auroc == pytest.approx(before.auroc, abs=1e-4)


def test_small_regions_weigh_as_much_as_large_ones() -> None:
    mask = np.zeros((20, 20), bool)
    mask[0, 0] = True
    mask[5:15, 5:15] = True
    found_large, found_small = (np.zeros((20, 20), np.float32) for _ in range(2))
    found_large[5:15, 5:15] = 1
    found_small[0, 0] = 1
    large, small = (pixel_quality([Sample(map=one, mask=mask)], method="exact") for one in (found_large, found_small))
    assert large.aupro == pytest.approx(small.aupro)
    assert large.auroc > small.auroc


def test_counts_pass_the_point_where_float32_stops() -> None:
    """2^24 + 2^22 background pixels: a float32 sum would stall below the end."""
    blank = np.zeros((1024, 1024), np.float32)
    mask = np.zeros((1024, 1024), bool)
    mask[0, 0] = True
    hit = blank.copy()
    hit[0, 0] = 1
    samples = [Sample(map=hit, mask=mask)] + [Sample(map=blank, mask=None)] * 20
    measured = pixel_quality(samples)
    assert measured.background_pixels == 21 * 1024 * 1024 - 1
    assert (measured.auroc, measured.aupro) == (1.0, 1.0)


def test_pixels_never_seen_are_left_out_and_counted() -> None:
    seen = np.ones((4, 4), bool)
    seen[0, :] = False
    measured = pixel_quality([Sample(map=MAP, mask=MASK, seen=seen)], method="exact")
    assert (measured.excluded, measured.regions, measured.unseen_regions) == (4, 2, 1)
    assert measured.background_pixels == 8
    assert measured.aupro == pytest.approx((0.125 * 0.75 + 0.175) / 0.3)


def test_a_map_of_another_size_is_refused_and_named() -> None:
    with pytest.raises(BadInput, match=r"part-7: the map is \(4, 4\), its mask \(8, 8\) pixels\. Resize the map"):
        pixel_quality([Sample(map=MAP, mask=np.zeros((8, 8)), name="part-7")])


def test_sets_without_defects_background_or_with_nan_are_refused() -> None:
    with pytest.raises(BadInput, match="no defect pixel"):
        pixel_quality([Sample(map=MAP, mask=None)])
    with pytest.raises(BadInput, match="no defect-free pixel"):
        pixel_quality([Sample(map=MAP, mask=np.ones((4, 4)))])
    with pytest.raises(BadInput, match="a: the map holds NaN"):
        pixel_quality([Sample(map=np.full((4, 4), np.nan), mask=MASK, name="a")])
    with pytest.raises(BadUsage, match="limit"):
        pixel_quality([Sample(map=MAP, mask=MASK)], limit=0.0)
