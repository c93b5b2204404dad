"""On the way of a picture no thread pool works beside the runtime's: numpy's BLAS threads spin after a product, and
take cores from the next call of the runtime."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import tiny

WAY = """
import os, sys, time
from pathlib import Path
import numpy as np

def worked(thread):  # ns of CPU time; a thread that is gone works no more
    return int(Path(f"/proc/self/task/{thread}/schedstat").read_text().split()[0])

side = np.ones((512, 512), np.float32)
side @ side  # starts the pool, whatever BLAS it is
pool = [thread for thread in os.listdir("/proc/self/task") if int(thread) != os.getpid()]
if not pool:
    sys.exit(77)

def at_rest():  # they spin for a while after work, and then sleep
    for _ in range(1000):
        before = [worked(thread) for thread in pool]
        time.sleep(0.02)
        if before == [worked(thread) for thread in pool]:
            return before
    raise SystemExit("the threads of BLAS never come to rest")

import edge_sdk
bundle, picture, work = sys.argv[1:]
with edge_sdk.load(bundle) as detector:
    before = at_rest()
    if work == "a product":
        side @ side
    for _ in range(3):
        result = detector.predict(picture)
        assert result.map.shape == (600, 800) and result.regions and result.is_defect
        result.plot(), result.to_json(with_map=True)
    raise SystemExit(0 if at_rest() == before else "the threads of BLAS worked")
"""


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="CPU time by thread is counted by Linux alone")
@pytest.mark.parametrize(("work", "said"), [("pictures", ""), ("a product", "the threads of BLAS worked\n")])
def test_blas_threads_sleep_while_pictures_are_predicted_and_shown(
    work: str, said: str, tiny_bundle: Path, tmp_path: Path
) -> None:
    """The second case shows that the count would tell."""
    picture = tmp_path / "damaged.png"
    rgb = tiny.picture(9, height=600, width=800, damaged=True)
    picture.write_bytes(bytes(cv2.imencode(".png", rgb[:, :, ::-1])[1]))
    call = [sys.executable, "-c", WAY, str(tiny_bundle), str(picture), work]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode == 77:
        pytest.skip(
            "numpy's BLAS has no thread pool here: run it on two cores or more, with OPENBLAS_NUM_THREADS unset"
        )
    assert (done.stderr, done.returncode) == (said, 1 if said else 0)
