"""anomalib's side of `anomalib_peer.py`: exports its EfficientAD-S and calls its inferencer. Knows no edge_sdk.

Runs in the environment that `anomalib_peer.py setup` makes, in that environment's Python:

    FOLDER/env/bin/python benchmarks/anomalib_subject.py FOLDER        (exports; `setup` calls it)

Heavy imports stand inside the functions: torchvision is mended before anomalib imports it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from functools import cache
from importlib import metadata
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

SIDE = 256
"""px: what anomalib's EfficientAd resizes to by itself."""
MODEL = Path("weights/openvino/model.xml")
PICTURES, FACTS = "pictures.npy", "export.json"
MATRIX = frozenset({"Convolution", "Deconvolution", "FullyConnected", "MatMul"})
KEPT = ("INFERENCE_PRECISION_HINT", "INFERENCE_NUM_THREADS", "NUM_STREAMS", "PERFORMANCE_HINT", "EXECUTION_DEVICES")
_libraries: list[Any] = []  # an operator's declaration ends with the object that declared it


@cache
def mend_torchvision() -> str:
    """What was done so that `import torchvision` works beside a torch that it was not built against.

    Its compiled part does not load there, which it takes calmly, but its Python part asks torch for the shapes of two
    of its operators. Declared without a kernel they satisfy it; EfficientAD and its export call neither.
    """
    import torch

    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # or its import sends a usage event
    folder = Path(metadata.distribution("torchvision").locate_file("torchvision"))
    try:
        for compiled in folder.glob("_C*.so"):
            torch.ops.load_library(str(compiled))
            return ""
    except OSError as exc:
        reason = str(exc.__cause__ or exc).splitlines()[0].replace(f"{folder}{os.sep}", "")
    else:
        reason = "it has no compiled part"
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _libraries.append(library)
    return f"nms and qnms declared without kernels, as torchvision's compiled part does not load: {reason}"


def export(folder: Path) -> dict[str, Any]:
    """anomalib's EfficientAd with its default arguments, to OpenVINO, by its own `to_openvino`; what it is made of.

    Weights are random. Teacher statistics, map quantiles, threshold and range are set from FOLDER/pictures.npy by its
    own methods: without them the exporter would fold the arithmetic away that a trained model has.
    """
    mended = mend_torchvision()
    import torch
    from anomalib.models import EfficientAd

    torch.manual_seed(0)
    module = EfficientAd().eval()
    pixels = np.load(folder / PICTURES).astype(np.float32).transpose(0, 3, 1, 2) / 255.0
    batch = torch.from_numpy(pixels)
    fed: Any = [SimpleNamespace(image=batch, gt_label=torch.zeros(len(batch)))]
    with torch.no_grad():
        module.model.mean_std.update(module.teacher_channel_mean_std(fed))
        module.model.quantiles.update(module.map_norm_quantiles(fed))
        raw, after = module.model(batch), module.post_processor
        for kind, values in (("image", raw.pred_score), ("pixel", raw.anomaly_map)):
            getattr(after, f"{kind}_min").copy_(values.min())
            getattr(after, f"{kind}_max").copy_(values.max())
            getattr(after, f"_{kind}_threshold").copy_((values.min() + values.max()) / 2)
        path = module.to_openvino(folder, input_size=(SIDE, SIDE))
    if path != folder / MODEL:
        raise RuntimeError(f"anomalib exported to {path}, not to {folder / MODEL}")
    names = ("anomalib", "torch", "torchvision", "openvino", "onnx", "onnxscript", "lightning", "numpy")
    return {
        "model": "EfficientAd(), all arguments default: PDN-S, 384 channels, 256 x 256",
        "weights": "random, not trained",
        "xml_bytes": path.stat().st_size,
        "bin_bytes": path.with_suffix(".bin").stat().st_size,
        "torchvision_mended": mended,
        "versions": {name: metadata.version(name) for name in names},
    }


class InTurn:
    """A callable without arguments that takes the next of `ring` at each call. facts: what a comparison keeps of it."""

    def __init__(self, call: Callable[[Any], Any], ring: list[Any], facts: dict[str, Any]) -> None:
        self._call, self._following, self.facts = call, cycle(ring), facts

    def __call__(self) -> Any:
        return self._call(next(self._following))


def predict(*, folder: str, threads: int, precision: str | None = None) -> InTurn:
    """Whole `OpenVINOInferencer.predict` calls on arrays in memory, batch 1. precision None: OpenVINO's own choice."""
    inferencer, pictures, facts = _opened(Path(folder), threads, precision)
    answer = inferencer.predict(pictures[0])
    shapes = {name: list(getattr(answer, name).shape) for name in ("pred_score", "anomaly_map", "pred_mask")}
    return InTurn(inferencer.predict, pictures, {"what": "OpenVINOInferencer.predict", **facts, "outputs": shapes})


def bare(*, folder: str, threads: int, precision: str | None = None) -> InTurn:
    """The OpenVINO call alone on the same compiled model, its input prepared, nothing copied but by OpenVINO."""
    inferencer, pictures, facts = _opened(Path(folder), threads, precision)
    request = inferencer.model.create_infer_request()
    tensors = [np.ascontiguousarray(inferencer.pre_process(picture)) for picture in pictures]

    def call(tensor: Any) -> Any:
        return request.infer([tensor], share_inputs=True, share_outputs=True)

    return InTurn(call, tensors, {"what": "bare OpenVINO call", **facts})


def _opened(folder: Path, threads: int, precision: str | None) -> tuple[Any, list[Any], dict[str, Any]]:
    """The inferencer, the pictures (uint8 RGB), and what OpenVINO says that it runs."""
    mend_torchvision()
    from anomalib.deploy import OpenVINOInferencer

    os.chdir(folder)  # it makes its cache folder wherever it stands
    config: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads}
    if precision is not None:
        config["INFERENCE_PRECISION_HINT"] = precision
    inferencer = OpenVINOInferencer(MODEL, device="CPU", config=config)
    facts = {
        "anomalib": metadata.version("anomalib"),
        "openvino": metadata.version("openvino"),
        "config": config,
        "settings": {key: str(inferencer.model.get_property(key)) for key in KEPT},
        "convolutions": _by_precision(inferencer.model),
    }
    return inferencer, list(np.load(PICTURES)), facts


def _by_precision(compiled: Any) -> dict[str, int]:
    """Convolutions and matrix products of the compiled model by the precision that they run in."""
    found = [layer.get_rt_info() for layer in compiled.get_runtime_model().get_ordered_ops()]
    return dict(Counter(str(t["runtimePrecision"].astype(str)) for t in found if t["layerType"].astype(str) in MATRIX))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    out.add_argument("folder", type=Path, help="where setup put the pictures; the export comes beside them")
    return out


def main() -> None:
    """Exports into the folder given, and writes beside it what was exported."""
    folder = parser().parse_args().folder.resolve()
    (folder / FACTS).write_text(json.dumps(export(folder), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
