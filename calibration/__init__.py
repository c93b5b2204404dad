"""A float graph and samples in, int8 and fp16 graphs and a report out. Knows graphs, no family.

>>> quantized = quantize(graph, samples, options=QuantizeOptions(float_tail=("difference", "square")))
"""

from __future__ import annotations

from edge_sdk.calibration.quantizer import (
    CalibrationReport,
    LayerRow,
    Quantized,
    QuantizeOptions,
    TensorRow,
    Variant,
    quantize,
)

__all__ = ["CalibrationReport", "LayerRow", "QuantizeOptions", "Quantized", "TensorRow", "Variant", "quantize"]
