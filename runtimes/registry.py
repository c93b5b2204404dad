"""The runtimes that the product knows, by name. Knows no graph; importing it imports no vendor's package."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from edge_sdk.errors import BadUsage, NotThere
from edge_sdk.runtimes.ort import OrtRuntime
from edge_sdk.runtimes.ov import OvRuntime
from edge_sdk.runtimes.protocol import Availability, Runtime
from edge_sdk.runtimes.trt import TensorRtRtxRuntime, TensorRtRuntime


def runtimes() -> tuple[Runtime, ...]:
    """All of them, usable here or not, in the order in which reports list them. A new one is a line here."""
    return (
        OrtRuntime(),
        OvRuntime(),
        TensorRtRuntime(),
        TensorRtRtxRuntime(),
    )


def of_gpus() -> tuple[str, ...]:
    """Names of those that run on GPUs alone: where one is usable, it is what the machine is for."""
    return tuple(one.name for one in runtimes() if one.default_device != "CPU")


_SHORT = {"ort": "onnxruntime", "onnx": "onnxruntime", "ov": "openvino", "trt": "tensorrt", "rtx": "tensorrt-rtx"}
"""What people say for them, for the suggestion alone: "ort" looks more like tensorrt."""


def runtime(name: str, known: Sequence[Runtime] | None = None) -> Runtime:
    """The one called `name` of `known`, None = `runtimes()`. Raises BadUsage with the nearest name if there is none."""
    by_name = {one.name: one for one in (runtimes() if known is None else known)}
    if name in by_name:
        return by_name[name]
    near = [_SHORT[name.lower()]] if _SHORT.get(name.lower()) in by_name else []
    near = near or difflib.get_close_matches(name, by_name, n=1, cutoff=0.4)
    raise BadUsage(
        f"there is no runtime {name}", do=f"Did you mean {near[0]}" if near else f"One of {', '.join(by_name)}"
    )


def require(found: Availability) -> None:
    """Nothing if the runtime is usable, else NotThere with its own reason."""
    if not found.usable:
        raise NotThere(f"{found.runtime} can't be used here: {found.reason}", do=found.do)
