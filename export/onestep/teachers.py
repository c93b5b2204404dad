"""The teacher that a user names: a file of a run here, or a network of EDM's by its keys. Reads no pickle."""

from __future__ import annotations

from pathlib import Path

from edge_sdk.errors import BadInput
from edge_sdk.export import tensors_file
from edge_sdk.export.onestep import edm_keys, saved
from edge_sdk.export.onestep.edm import USUAL_SIGMA_DATA
from edge_sdk.export.onestep.teacher import NetworkTeacher


def read(path: Path, *, sigma_data: float | None = None) -> NetworkTeacher:
    """The denoiser, in evaluation mode. sigma_data: of EDM's networks, whose files don't say it; None = EDM's own, 0.5.

    Raises BadInput for whatever is wrong with the file, and for one of another kind.
    """
    if path.is_file() and tensors_file.kind_of(path) == saved.FORMAT:
        return saved.read(path)[0]
    if path.is_dir():
        raise BadInput(
            "this is a folder",
            where=str(path),
            hint="Name teacher.safetensors of a run folder, or a file of EDM's keys",
        )
    return edm_keys.read(path, edm_keys.Stated(sigma_data=sigma_data or USUAL_SIGMA_DATA))
