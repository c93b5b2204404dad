"""What int8 was measured to gain by instruction set, as rows of data. Pure: measures nothing, knows no bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge_sdk.runtimes.probe import Isa


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownGain:
    """int8 over fp32 in one runtime on one instruction set: low to high times as fast, with one thread or two.

    Of MEASURED_ON. source: the record that holds the figures; what has none is no row.
    """

    runtime: str
    isa: Isa
    low: float
    high: float
    source: str


MEASURED_ON = "stacks of convolutions with 128 to 384 channels"
_AVX2, _VNNI = "docs/results/speed_avx2.json", "docs/results/speed.json"

KNOWN: tuple[KnownGain, ...] = (
    KnownGain(runtime="openvino", isa="avx2", low=1.93, high=1.99, source=_AVX2),
    KnownGain(runtime="openvino", isa="vnni", low=3.89, high=3.89, source=_VNNI),
    KnownGain(runtime="onnxruntime", isa="avx2", low=1.56, high=1.76, source=_AVX2),
    KnownGain(runtime="onnxruntime", isa="vnni", low=3.17, high=3.17, source=_VNNI),
)
"""On AMX nothing with a record was measured, on ARM nothing at all. Few layers, narrow ones, and graphs that are partly
float gain less: EfficientAD-XS, with 12 of 71 convolutions in int8, 1.2 to 1.6 on all of these.
"""

TITLES: Mapping[Isa, str] = {
    "amx": "a CPU with AMX", "vnni": "a CPU with VNNI", "avx2": "a CPU with AVX2 and no VNNI",
    "sse": "a CPU without AVX2", "neon": "an ARM CPU", "unknown": "this CPU",
}  # fmt: skip

WEAKER: Mapping[Isa, Mapping[Isa, str]] = {
    "amx": {"vnni": "AVX512_CORE_VNNI", "avx2": "AVX2"}, "vnni": {"avx2": "AVX2"},
}  # fmt: skip
"""Of a CPU's instruction set, those that OpenVINO can be limited to, and by which value of ONEDNN_MAX_CPU_ISA. ONNX
Runtime asks the CPU and has no such variable; no CPU can be given instructions that it lacks.
"""


def known(runtime: str, isa: Isa) -> KnownGain | None:
    """The row of a runtime on an instruction set; None where nothing was measured."""
    return next((row for row in KNOWN if (row.runtime, row.isa) == (runtime, isa)), None)


def others(isa: Isa) -> tuple[Isa, ...]:
    """The instruction sets of other x86 CPUs, whether or not they have a row; none for a CPU of another kind."""
    x86: tuple[Isa, ...] = ("amx", "vnni", "avx2")
    return tuple(one for one in x86 if one != isa) if isa in (*x86, "sse") else ()
