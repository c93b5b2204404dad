"""int8 graphs as other tools make them, of the same file and the same samples, each in a process of its own.

    python benchmarks/networks_peers.py ort-default MODEL.onnx SAMPLES OUT.onnx

networks.py calls it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from networks_samples import read
from record import options

Feeds = list[dict[str, Any]]


def ort_default(model: Path, feeds: Feeds, out: Path) -> None:
    """onnxruntime.quantization.quantize_static with nothing stated."""
    from onnxruntime.quantization import quantize_static

    quantize_static(str(model), str(out), _reader(feeds))


def ort_portable(model: Path, feeds: Feeds, out: Path) -> None:
    """The settings that TensorRT takes: symmetric, per channel, float bias, after its own preparation."""
    from onnxruntime.quantization import QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    ready = out.with_name(f"{out.stem}.prepared.onnx")
    quant_pre_process(str(model), str(ready))
    quantize_static(
        str(ready), str(out), _reader(feeds), per_channel=True, activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
    )  # fmt: skip


def nncf_default(model: Path, feeds: Feeds, out: Path) -> None:
    """nncf.quantize with nothing stated; all samples are read."""
    os.environ["CI"] = "true"  # or nncf reports its use
    import nncf
    import onnx

    made = nncf.quantize(onnx.load(str(model)), nncf.Dataset(feeds), subset_size=len(feeds))
    onnx.save(made, str(out))


PEERS: Mapping[str, Callable[[Path, Feeds, Path], None]] = MappingProxyType(
    {"ort-default": ort_default, "ort-portable": ort_portable, "nncf-default": nncf_default}
)


def _reader(feeds: Feeds) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def __init__(self) -> None:
            self._left = iter(feeds)

        def get_next(self) -> dict[str, Any] | None:
            return next(self._left, None)

    return Reader()


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = options(__doc__)
    out.add_argument("peer", choices=list(PEERS))
    out.add_argument("model", type=Path)
    out.add_argument("samples", type=Path, help="a folder of .npz files")
    out.add_argument("out", type=Path)
    return out


def main() -> None:
    """Makes one graph."""
    asked = parser().parse_args()
    PEERS[asked.peer](asked.model, read(asked.samples), asked.out)


if __name__ == "__main__":
    main()
