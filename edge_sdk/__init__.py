"""edge-sdk on the device: a bundle in, typed results out. `load(path)` gives a predictor; imports nothing heavy."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_sdk.bundle.signing import TrustPolicy as TrustPolicy
    from edge_sdk.bundle.store import Bundle as Bundle
    from edge_sdk.errors import BadBundle as BadBundle
    from edge_sdk.errors import BadInput as BadInput
    from edge_sdk.errors import BadUsage as BadUsage
    from edge_sdk.errors import CantWrite as CantWrite
    from edge_sdk.errors import CheckFailed as CheckFailed
    from edge_sdk.errors import EdgeError as EdgeError
    from edge_sdk.errors import NotThere as NotThere
    from edge_sdk.errors import NotTrusted as NotTrusted
    from edge_sdk.errors import WrongPrecision as WrongPrecision
    from edge_sdk.loading import load as load
    from edge_sdk.loading import load_as as load_as
    from edge_sdk.tasks.anomaly.detector import AnomalyDetector as AnomalyDetector
    from edge_sdk.tasks.anomaly.result import AnomalyResult as AnomalyResult
    from edge_sdk.tasks.classification.classifier import Classifier as Classifier
    from edge_sdk.tasks.classification.result import Classification as Classification
    from edge_sdk.tasks.generation.asked import Asked as Asked
    from edge_sdk.tasks.generation.generator import Generator as Generator
    from edge_sdk.tasks.generation.result import Batch as Batch
    from edge_sdk.tasks.generation.result import Drawn as Drawn
    from edge_sdk.tasks.segmentation.everything.options import EverythingOptions as EverythingOptions
    from edge_sdk.tasks.segmentation.everything.result import Everything as Everything
    from edge_sdk.tasks.segmentation.prompts import Prompted as Prompted
    from edge_sdk.tasks.segmentation.result import Segmentation as Segmentation
    from edge_sdk.tasks.segmentation.segmenter import PromptSegmenter as PromptSegmenter
    from edge_sdk.tasks.tensor import TensorModel as TensorModel
    from edge_sdk.tasks.tensor import TensorResult as TensorResult

__version__ = "0.1.0"

# onnxruntime 1.32 writes a device id into the home folder and looks up an events host when it is imported, by whomever:
# by us, or by onnxscript on our behalf. Only this variable, set before, prevents both; disable_telemetry_events() does
# not. Set whatever the user has set: that edge-sdk sends nothing is a promise without exceptions.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

_HOMES = {
    "AnomalyDetector": "edge_sdk.tasks.anomaly.detector",
    "AnomalyResult": "edge_sdk.tasks.anomaly.result",
    "Asked": "edge_sdk.tasks.generation.asked",
    "Batch": "edge_sdk.tasks.generation.result",
    "Bundle": "edge_sdk.bundle.store",
    "Classification": "edge_sdk.tasks.classification.result",
    "Classifier": "edge_sdk.tasks.classification.classifier",
    "Drawn": "edge_sdk.tasks.generation.result",
    "Everything": "edge_sdk.tasks.segmentation.everything.result",
    "EverythingOptions": "edge_sdk.tasks.segmentation.everything.options",
    "Generator": "edge_sdk.tasks.generation.generator",
    "PromptSegmenter": "edge_sdk.tasks.segmentation.segmenter",
    "Prompted": "edge_sdk.tasks.segmentation.prompts",
    "Segmentation": "edge_sdk.tasks.segmentation.result",
    "TensorModel": "edge_sdk.tasks.tensor",
    "TensorResult": "edge_sdk.tasks.tensor",
    "TrustPolicy": "edge_sdk.bundle.signing",
    "load": "edge_sdk.loading",
    "load_as": "edge_sdk.loading",
    # what `load`, a predictor or its results raise; the others end commands of the command line alone
    **dict.fromkeys(
        (
            "BadBundle", "BadInput", "BadUsage", "CantWrite", "CheckFailed", "EdgeError", "NotThere", "NotTrusted",
            "WrongPrecision",
        ),
        "edge_sdk.errors",
    ),
}  # fmt: skip
__all__ = [
    "AnomalyDetector", "AnomalyResult", "Asked", "BadBundle", "BadInput", "BadUsage", "Batch", "Bundle", "CantWrite",
    "CheckFailed", "Classification", "Classifier", "Drawn", "EdgeError", "Everything", "EverythingOptions", "Generator",
    "NotThere", "NotTrusted", "PromptSegmenter", "Prompted", "Segmentation", "TensorModel", "TensorResult",
    "TrustPolicy", "WrongPrecision", "__version__", "load", "load_as",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'edge_sdk' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
