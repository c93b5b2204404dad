"""The ONNX graphs of a SAM-like network, written node by node and folded in float64. Knows no training and no data.

All have operator set 17 and constant shapes but for the axes "N" (prompts) and "T" (tokens), and no node whose shape
depends on values.
"""
