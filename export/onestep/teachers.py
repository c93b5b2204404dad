"""The teacher that a user names: a file of a run here, a network of EDM's by its keys, or a folder of diffusers'. Reads
no pickle."""

from __future__ import annotations

from pathlib import Path

from edge_sdk.errors import BadInput
from edge_sdk.export import tensors_file
from edge_sdk.export.onestep import diffusers_folder, diffusers_teacher, edm_keys, saved
from edge_sdk.export.onestep.edm import USUAL_SIGMA_DATA
from edge_sdk.export.onestep.kinds import Generating


def read(path: Path, *, sigma_data: float | None = None) -> Generating:
    """The denoiser, in evaluation mode. sigma_data: of networks of others, whose files don't say it; None = EDM's own,
    0.5.

    Raises BadInput for whatever is wrong with the file or folder, and for one of another kind; NotThere for a folder of
    diffusers' where diffusers is not installed.
    """
    if path.is_file() and tensors_file.kind_of(path) == saved.FORMAT:
        return saved.read(path)[0]
    of_others = sigma_data or USUAL_SIGMA_DATA
    if path.is_dir():
        if not diffusers_folder.holds_a_network(path):
            raise BadInput(
                "this folder holds no network of diffusers'", where=str(path),
                hint="Name a folder with config.json or unet/config.json, teacher.safetensors of a run folder, or a "
                "file of EDM's keys",
            )  # fmt: skip
        return diffusers_teacher.read(path, sigma_data=of_others)
    return edm_keys.read(path, edm_keys.Stated(sigma_data=of_others))
