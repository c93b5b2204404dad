"""The runtimes that the product knows, by name. Knows no graph; importing it imports no vendor's package."""

from __future__ import annotations

import difflib

from edge_sdk.errors import BadUsage, NotThere
from edge_sdk.runtimes.ort import OrtRuntime
from edge_sdk.runtimes.ov import OvRuntime
from edge_sdk.runtimes.protocol import Availability, Runtime
from edge_sdk.runtimes.trt import TensorRtRtxRuntime, TensorRtRuntime


def runtimes() -> tuple[Runtime, ...]:
    """All of them, usable here or not, in the order in which reports list them."""
    return (OrtRuntime(), OvRuntime(), TensorRtRuntime(), TensorRtRtxRuntime())


def runtime(name: str) -> Runtime:
    """The runtime called `name`. Raises BadUsage with the nearest name if there is none."""
    known = {one.name: one for one in runtimes()}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    raise BadUsage(
        f"there is no runtime {name}", do=f"Did you mean {near[0]}" if near else f"One of {', '.join(known)}"
    )


def require(found: Availability) -> None:
    """Nothing if the runtime is usable, else NotThere with its own reason."""
    if not found.usable:
        raise NotThere(f"{found.runtime} can't be used here: {found.reason}", do=found.do)
