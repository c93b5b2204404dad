"""A picture file becomes what a network takes. Knows no network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_sdk import preprocess
from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.export.family import Picture


def prepared(picture: Picture, record: Preprocessing) -> NDArray[np.uint8]:
    """uint8 (height, width, 3): the picture as the device will see it."""
    return np.asarray(preprocess.apply(preprocess.decode(picture.path), record, where=str(picture.path)).tensor[0])
