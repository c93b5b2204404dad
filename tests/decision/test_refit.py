"""A threshold fitted on site goes into the bundle that it was fitted for, and into no other."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import tiny

from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.bundle.signing import TrustPolicy
from edge_sdk.bundle.store import Bundle
from edge_sdk.decision.conformal import conformal
from edge_sdk.decision.threshold import Threshold
from edge_sdk.errors import BadUsage
from edge_sdk.tasks.anomaly import refit


def test_a_bundle_that_took_the_place_of_the_one_scored_keeps_its_own_threshold(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    path = tmp_path / "line3.edge"
    shutil.copy(tiny_bundle, path)
    made = refit.by_hand(path, 0.25, refit.Stated(author="Ida"), trust=TrustPolicy())
    tiny.write(path, preprocessing=Preprocessing(width=64, height=64, bit_depth=12)).close()
    with pytest.raises(BadUsage, match="replaced since"):
        refit.put_in_force(path, made)
    with Bundle.open(path) as other:
        threshold = other.in_force(Threshold)
        assert threshold is not None
        assert threshold.threshold != 0.25
    shutil.copy(tiny_bundle, path)
    assert refit.put_in_force(path, made).threshold == 0.25


@pytest.mark.parametrize(("above", "suspect"), [(0, False), (25, False), (26, True), (100, True)])
def test_more_than_a_quarter_of_good_pictures_above_the_threshold_look_like_defects(above: int, suspect: bool) -> None:
    low, high = (conformal([first + step for step in range(20)], rate="10%") for first in (0.0, 5.0))
    assert bool(refit._suspect(above, 100, low, high)) == suspect
    assert not refit._suspect(above, 100, high, low)  # a lower threshold lets no defect pass
