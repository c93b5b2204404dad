"""Bundles of arithmetic graphs, written once, and predictors of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import disk_graphs
import pytest

from edge_sdk.tasks.segmentation.segmenter import PromptSegmenter


@pytest.fixture(scope="session")
def disks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose masks cover the whole frame."""
    return disk_graphs.write(tmp_path_factory.mktemp("disks") / "disks.edge")


@pytest.fixture(scope="session")
def windows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose masks cover windows around the prompts."""
    return disk_graphs.write(tmp_path_factory.mktemp("windows") / "windows.edge", windowed=True)


@pytest.fixture
def segmenter(disks: Path) -> Iterator[PromptSegmenter]:
    with disk_graphs.opened(disks) as one:
        yield one


@pytest.fixture
def windowed(windows: Path) -> Iterator[PromptSegmenter]:
    with disk_graphs.opened(windows) as one:
        yield one
