"""Regions that a classical method finds in photographs: masks where nobody marked any. Knows no network.

Felzenszwalb and Huttenlocher 2004 merges pixels while what divides them is no stronger than what varies within. Its
regions end at real edges, and are stuff as often as things: sky, walls, water, shadows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_sdk.export.tinysam.scenes.annotated import Rgb
from edge_sdk.extras import need

SCALES = (80.0, 200.0, 500.0, 1200.0)
"""Merging strengths; each picture is divided once for each."""
LIBRARY = "skimage"
"""What finds them."""
LEAST_SHARE = 0.002
"""Smallest region, in the picture's area."""


def regions(picture: Rgb, scale: float) -> NDArray[np.int32]:
    """Label map (h, w), regions from 1. The same picture and scale give the same regions. Raises NotThere without
    scikit-image."""
    need(LIBRARY, extra="export")
    from skimage.segmentation import felzenszwalb

    least = max(20, int(LEAST_SHARE * picture.shape[0] * picture.shape[1]))
    return np.asarray(felzenszwalb(picture, scale=scale, sigma=1.0, min_size=least), np.int32) + 1
