"""Regions of a map, to the pixel; and how many calls may be under way."""

from __future__ import annotations

import threading

import numpy as np

from edge_sdk.in_flight import InFlight
from edge_sdk.tasks.anomaly.result import Region, regions_above


def test_a_region_has_the_box_the_area_and_the_peak_of_its_own_pixels() -> None:
    anomaly = np.zeros((8, 12), np.float32)
    anomaly[2, 3:7] = anomaly[5, 3] = anomaly[2:6, 3] = 2.0  # an L; what lies in its box but apart is another region
    anomaly[5, 6] = 9.0
    anomaly[0, 0] = 1.0  # at the threshold, not above it
    assert regions_above(anomaly, 1.0) == (
        Region(box=(6, 5, 7, 6), area_px=1, peak=9.0),
        Region(box=(3, 2, 7, 6), area_px=7, peak=2.0),
    )


def test_pixels_that_touch_at_a_corner_are_one_region() -> None:
    anomaly = np.eye(4, dtype=np.float32)
    assert [r.box for r in regions_above(anomaly, 0.5)] == [(0, 0, 4, 4)]


def test_submit_waits_while_as_many_calls_as_agreed_are_under_way() -> None:
    go, accepted = threading.Event(), []
    work: InFlight[int, bool] = InFlight(lambda _: go.wait(30), workers=1, most=2, name="work")

    def submit_three() -> None:
        for k in range(3):
            accepted.append(work.submit(k))

    caller = threading.Thread(target=submit_three)
    caller.start()
    try:
        caller.join(0.3)
        assert (caller.is_alive(), len(accepted)) == (True, 2)
    finally:
        go.set()
        caller.join()
        work.close()
    assert [future.result() for future in accepted] == [True] * 3
