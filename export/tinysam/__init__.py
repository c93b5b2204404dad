"""TinySAM and its relatives, promptable segmentation: networks, training, graphs. Knows no other family."""

from edge_sdk.calibration.trials import Trials

ENCODER_TRIALS = Trials(range_methods=("minmax", "percentile-99.99", "mse"))
"""Of int8 encoders: GELU and LayerNormalization leave outliers, and no method is best for all of them. By weights of
the rule minmax is 14.2 % off with 8 calibration pictures and 12.9 % with 32, mse 10.2 and 14.9 %
(docs/results/q_tinysam.json); decoders gain nothing."""

IMAGE, EXTENT, EMBEDDING = "image", "extent", "embedding"
"""Encoder: uint8 (1, S, S, 3) RGB and float32 (2,) = (height, width) of the picture in that frame, in px. Its output,
float32 (1, D, g, g), is an input of decoder and refiner."""

POINTS, LABELS, MASK = "points", "labels", "mask"
"""Prompts: float32 (N, T, 2) = (x, y) in px of the frame, int32 (N, T), and of the refiner float32 (N, 1, 4 g, 4 g)."""

MASKS, IOU = "masks", "iou"
"""Decoder and refiner: float32 (N, 4, 4 g, 4 g) logits and float32 (N, 4) predicted IoU."""

HIDDEN, PADDING, NEGATIVE, POSITIVE, TOP_LEFT, BOTTOM_RIGHT = -2, -1, 0, 1, 2, 3
"""Labels of prompt tokens. PADDING: the official padding point, which takes part and changes the result. HIDDEN:
surplus padding, which changes nothing."""
