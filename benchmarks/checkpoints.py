"""Reads the weights of a run in progress from its checkpoint. Knows no network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def restore(module: nn.Module, path: Path) -> Mapping[str, Any]:
    """Gives `module` the weights that a training has kept in the file `path`, and returns what is stated beside them:
    step, history, identity. Raises BadInput."""
    from edge_sdk.export import tensors_file
    from edge_sdk.export.training import checkpoint

    with tensors_file.opened(
        path, kind=checkpoint.FORMAT, what="the checkpoint is damaged", hint="Train first"
    ) as file:
        prefix = "module/"
        module.load_state_dict({n[len(prefix) :]: t for n, t in file.tensors.items() if n.startswith(prefix)})
        return file.described
