"""The engines by name: what turns a prepared float graph into int8 graphs."""

from __future__ import annotations

from collections.abc import Mapping

from edge_sdk.calibration.engines.base import Engine
from edge_sdk.calibration.engines.nncf import Nncf
from edge_sdk.calibration.engines.portable import Portable

ENGINES: Mapping[str, Engine] = {engine.name: engine for engine in (Portable(), Nncf())}

__all__ = ["ENGINES", "Engine"]
