"""Ranges of an int8 encoder that are searched by gradients of masks and predicted IoUs. Knows graphs, no training."""
