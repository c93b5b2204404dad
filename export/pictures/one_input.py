"""Training and calibration take one network input a picture: the check. Knows no picture and no network."""

from __future__ import annotations

from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.errors import BadUsage


def require_one_input(record: Preprocessing) -> None:
    """Raises BadUsage for tiles: training and calibration would see the top left tile of each picture and no other."""
    if record.mode == "tiles":
        raise BadUsage(
            f"with the mode {record.mode} a picture becomes several network inputs, and training and calibration take "
            "one a picture",
            hint="Let the family prepare pictures by stretch, letterbox or longest-side, or take all inputs of a "
            "picture from PictureStore.prepared, in training and in calibration samples of its own",
        )
