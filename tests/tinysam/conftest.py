"""What the tests of TinySAM share: the parity fixtures, and networks filled by their rule."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from by_rule import sam
from torch import Tensor

from edge_sdk.export.tinysam.layout import SamLayout
from edge_sdk.export.tinysam.sam import Sam

torch.set_num_threads(1)  # before any network runs: sums in one order
PARITY = Path(__file__).resolve().parents[3] / "shared" / "parity" / "tinysam" / "fixtures.json"


@pytest.fixture(scope="session")
def parity() -> dict[str, Any]:
    """Numbers of the official code; tests that need them are skipped where they are missing."""
    if not PARITY.is_file():
        pytest.skip(f"the parity fixtures are not here: put them at {PARITY} to run this")
    found: dict[str, Any] = json.loads(PARITY.read_text("utf-8"))
    return found


@pytest.fixture(scope="session")
def tiny_sam() -> Callable[[int], Sam]:
    """The published network at an image size, filled by the rule, made once."""
    made: dict[int, Sam] = {}

    def at(size: int) -> Sam:
        if size not in made:
            made[size] = sam(SamLayout().at(size))
        return made[size]

    return at


@pytest.fixture(scope="session")
def embedding(tiny_sam: Callable[[int], Sam]) -> Callable[[int], Tensor]:
    """The embedding of the fixtures' picture at an image size, made once."""
    from by_rule import prepared

    made: dict[int, Tensor] = {}

    def at(size: int) -> Tensor:
        if size not in made:
            with torch.no_grad():
                made[size] = tiny_sam(size).encode(prepared(size))
        return made[size]

    return at
