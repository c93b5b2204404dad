"""The samples run on a bundle; that each starts and helps is tested in tests/house."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import tiny

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures and a file that is none."""
    root = tmp_path_factory.mktemp("photos")
    cv2.imwrite(str(root / "a good.png"), tiny.picture(5))
    cv2.imwrite(str(root / "b damaged.png"), tiny.picture(6, damaged=True))
    (root / "c notes.txt").write_text("no picture", "utf-8")
    return root


def _run(script: str, *words: object, cache: Path) -> subprocess.CompletedProcess[str]:
    import os

    call = [sys.executable, str(ROOT / "samples" / script), *map(str, words)]
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    return subprocess.run(call, capture_output=True, text=True, check=False, env=environment)


def test_folder_to_csv_writes_a_line_a_picture_and_names_what_is_none(
    tiny_bundle: Path, folder: Path, tmp_path: Path
) -> None:
    done = _run("folder_to_csv.py", tiny_bundle, folder, cache=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [(row["file"], row["verdict"]) for row in rows] == [("a good.png", "good"), ("b damaged.png", "defect")]
    assert "c notes.txt" in done.stderr


def test_several_processes_evaluate_every_file_in_order(tiny_bundle: Path, folder: Path, tmp_path: Path) -> None:
    done = _run("several_processes.py", tiny_bundle, folder, cache=tmp_path)
    assert done.returncode == 0, done.stderr
    first, second, third = done.stdout.splitlines()
    assert first.startswith("good")
    assert second.startswith("defect")
    assert third.startswith("no result")


def test_the_camera_sample_says_which_source_gave_no_frame(tiny_bundle: Path, tmp_path: Path) -> None:
    """With a window and a camera it needs a person; a source without frames is what can be tried anywhere."""
    if not hasattr(cv2, "waitKey") or "GUI:                           NONE" in cv2.getBuildInformation():
        pytest.skip("this OpenCV has no windows: install opencv-python instead of the headless wheel to run it")
    done = _run("opencv_camera.py", tiny_bundle, "--camera", tmp_path / "nothing.mp4", cache=tmp_path)
    assert done.returncode == 1
    assert "gave no frame" in done.stderr
