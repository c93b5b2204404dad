"""edge-sdk on the device: pictures in, typed results out. `load(path)` gives a predictor; imports nothing heavy."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_sdk.bundle.signing import TrustPolicy as TrustPolicy
    from edge_sdk.bundle.store import Bundle as Bundle
    from edge_sdk.errors import EdgeError as EdgeError
    from edge_sdk.loading import load as load
    from edge_sdk.predictors.anomaly import AnomalyDetector as AnomalyDetector
    from edge_sdk.results import AnomalyResult as AnomalyResult

__version__ = "0.1.0"

# onnxruntime 1.32 writes a device id into the home folder and looks up an events host when it is imported, by whomever:
# by us, or by onnxscript on our behalf. Only this variable, set before, prevents both; disable_telemetry_events() does
# not. Set whatever the user has set: that edge-sdk sends nothing is a promise without exceptions.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

_HOMES = {
    "AnomalyDetector": "edge_sdk.predictors.anomaly",
    "AnomalyResult": "edge_sdk.results",
    "Bundle": "edge_sdk.bundle.store",
    "EdgeError": "edge_sdk.errors",
    "TrustPolicy": "edge_sdk.bundle.signing",
    "load": "edge_sdk.loading",
}
__all__ = ["AnomalyDetector", "AnomalyResult", "Bundle", "EdgeError", "TrustPolicy", "__version__", "load"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'edge_sdk' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
