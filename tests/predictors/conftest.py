"""The tiny bundle, packed once a session."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with fp32, fp16, int8 and int8-w7 graphs and a decision."""
    import tiny

    path = tmp_path_factory.mktemp("bundle") / "tiny.edge"
    tiny.write(path).close()
    return path
