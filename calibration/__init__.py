"""A float graph and samples in, int8 and fp16 graphs and a report out. Knows graphs, no family.

>>> quantized = quantize(graph, samples, options=QuantizeOptions(keep_fp32=("difference", "square")))

Importing it imports nothing heavy: `trials` is read where onnx is not.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_sdk.calibration.bound.accuracy import AccuracyBound as AccuracyBound
    from edge_sdk.calibration.options import QuantizeOptions as QuantizeOptions
    from edge_sdk.calibration.quantizer import quantize as quantize
    from edge_sdk.calibration.report import CalibrationReport as CalibrationReport
    from edge_sdk.calibration.report import LayerRow as LayerRow
    from edge_sdk.calibration.report import Quantized as Quantized
    from edge_sdk.calibration.report import TensorRow as TensorRow
    from edge_sdk.calibration.report import Variant as Variant
    from edge_sdk.calibration.trials import Trials as Trials

_HOMES = {
    "AccuracyBound": "bound.accuracy", "QuantizeOptions": "options", "quantize": "quantizer", "Trials": "trials",
    **dict.fromkeys(("CalibrationReport", "LayerRow", "Quantized", "TensorRow", "Variant"), "report"),
}  # fmt: skip
__all__ = [
    "AccuracyBound", "CalibrationReport", "LayerRow", "QuantizeOptions", "Quantized", "TensorRow", "Trials", "Variant",
    "quantize",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'edge_sdk.calibration' has no attribute {name!r}")
    return getattr(importlib.import_module(f"edge_sdk.calibration.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
