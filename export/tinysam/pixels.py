"""How pixels become numbers for a network: the published mean and spread. Knows no torch and no network."""

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)
"""Of RGB 0..255: what every published SAM was trained with."""
