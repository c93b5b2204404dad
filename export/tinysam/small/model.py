"""The small size as one network, and its file. Knows no training and no ONNX."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from torch import nn

from edge_sdk.export import tensors_file
from edge_sdk.export.tinysam.options import SIDE_MULTIPLE
from edge_sdk.export.tinysam.small.decoder import WindowDecoder
from edge_sdk.export.tinysam.small.encoder import SmallEncoder

FORMAT = "edge-sdk.tinysam-small/1"
SHIPPED = Path(str(resources.files("edge_sdk.export.tinysam"))) / "weights" / "tinysam_small.safetensors"
"""The weights that ship, in half precision; where they come from lies beside them as .json."""


class SmallModel(nn.Module):
    """Encoder and decoder. side: of the frame, px. Weights fit any side that is a multiple of 32. facts: what else is
    known of the weights, as JSON; it is kept in their file."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.encoder, self.decoder = SmallEncoder(), WindowDecoder(side)
        self.side = side
        self.facts: Mapping[str, Any] = {}

    def save(self, path: Path, *, facts: Mapping[str, Any] | None = None, half: bool = False) -> None:
        """Replaces `path`, durably. facts: None = the model's own. half: weights in float16. Raises CantWrite."""
        tensors = self.state_dict()
        if half:
            tensors = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
        known = dict(self.facts if facts is None else facts)
        tensors_file.write(path, tensors, kind=FORMAT, described={"side": self.side, "facts": known})

    @classmethod
    def load(cls, path: Path, *, side: int | None = None) -> SmallModel:
        """The network in evaluation mode, float32. side: px, None = as it was trained. Raises BadInput."""
        with tensors_file.opened(
            path, kind=FORMAT, what="not weights of TinySAM's small size",
            hint="Name model.safetensors of a run folder, or leave --weights out to take what ships",
        ) as file:  # fmt: skip
            px = int(side or file.described["side"])
            if px < SIDE_MULTIPLE or px % SIDE_MULTIPLE:
                raise ValueError(f"a side of {px} px is no multiple of {SIDE_MULTIPLE}")
            model, stored = cls(px), file.tensors
            if wrong := tensors_file.misfit(stored, model.state_dict()):
                raise ValueError(wrong)
            model.load_state_dict(stored)
            model.facts = dict(file.described.get("facts", {}))
        return model.eval()
