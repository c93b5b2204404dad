"""What several test areas share: where the experiment data lie, and tiny pictures."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from numpy.typing import NDArray

import edge_sdk  # noqa: F401  (no telemetry of ONNX Runtime, whichever test imports it first)

if _workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):  # before torch counts cores: they are shared
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // _workers)))

# No test asserts time: a slow machine must not turn a law red.
settings.register_profile("edge-sdk", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("edge-sdk")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that are marked as long come first."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)  # keeps the order otherwise


ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # tiny.py, the bundle that several areas use
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # tests that import openvino send nothing


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real pictures beside the checkout; tests that need it are skipped where it is missing."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real pictures are not here: put them at {folder} to run this")
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    """Seeded: the same numbers in every run."""
    return np.random.default_rng(20261124)


@pytest.fixture
def photo(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A small picture with structure at several scales, uint8 (48, 64, 3) RGB."""
    ys, xs = np.mgrid[0:48, 0:64]
    waves = 60 * np.sin(xs / 7.0) + 40 * np.cos(ys / 5.0)
    base = 128 + waves[..., None] * np.array([1.0, 0.6, -0.8]) + rng.normal(0, 8, (48, 64, 3))
    return np.clip(np.rint(base), 0, 255).astype(np.uint8)


FULL_DISK = """
import resource, sys
from pathlib import Path
import pytest
path = Path(sys.argv[1])
def room_for(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
"""


@pytest.fixture
def on_a_full_disk() -> Callable[[str, Path], None]:
    """Runs code, which knows `path` and pytest, in a process of its own; after `room_for(bytes)` no file may grow
    beyond that."""
    if sys.platform == "win32":
        pytest.skip("limits on the size of files are POSIX's")

    def run(code: str, path: Path) -> None:
        call = [sys.executable, "-c", FULL_DISK + code, str(path)]
        done = subprocess.run(call, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    return run


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with fp32, fp16, int8 and int8-w7 graphs and a decision; don't write to it."""
    import tiny

    path = tmp_path_factory.mktemp("bundle") / "tiny.edge"
    tiny.write(path).close()
    return path


@pytest.fixture(scope="session")
def tensor_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same graphs as a bundle of the task "tensor"; don't write to it."""
    import tiny

    path = tmp_path_factory.mktemp("bundle") / "tensors.edge"
    tiny.write_tensors(path).close()
    return path
