"""EfficientAD in all its sizes: how each is trained, and the graph that it becomes. Knows no other family."""

INPUT = "image"
"""Name of the only input of every graph, uint8 (N, height, width, 3): calibration samples are fed under it."""
