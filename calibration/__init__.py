"""A float graph and samples in, int8 and fp16 graphs and a report out. Knows graphs, no family.

>>> quantized = quantize(graph, samples, options=QuantizeOptions(keep_fp32=("difference", "square")))
"""

from __future__ import annotations

from edge_sdk.calibration.bound import AccuracyBound
from edge_sdk.calibration.options import QuantizeOptions
from edge_sdk.calibration.quantizer import quantize
from edge_sdk.calibration.report import CalibrationReport, LayerRow, Quantized, TensorRow, Variant

__all__ = [
    "AccuracyBound",
    "CalibrationReport",
    "LayerRow",
    "QuantizeOptions",
    "Quantized",
    "TensorRow",
    "Variant",
    "quantize",
]
