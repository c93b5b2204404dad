"""From one comparison to an answer: is int8 worth it here? Pure: knows times and an error, no bundle and no runtime."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from edge_sdk.profiling.paired import LARGE, Estimate, Ruling

Verdict: TypeAlias = Literal["worth it", "little gain", "no gain", "slower", "undecided"]

LEAST_GAIN = 1.25
"""How many times as fast int8 must be: users of other tools call 20 % for half a point of accuracy not worth it."""
VISIBLE_ERROR = 0.01
"""Relative L2 error of an output from which half a point of accuracy may be lost. A rule of thumb: only the task's own
metric knows."""
SHORT_CALL_MS = 1.0
"""A call that takes less spends much of it in what every call costs: 5 to 50 us in the runtimes' own calls, tenths of a
ms in predict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What explains a small gain. call_ms: median of the float side. runtime_share: of the call's time that is the
    runtime's own, None = not known. int8_operators, operators: convolutions and products that ran in int8, and all.
    error: largest of int8's outputs on calibration samples, relative (0.01 = 1 %), None = not known.
    """

    call_ms: float
    runtime_share: float | None = None
    int8_operators: int = 0
    operators: int = 0
    error: float | None = None


def verdict(speedup: Estimate, ruling: Ruling, *, enough_pairs: bool) -> Verdict:
    """The answer for int8 as side B of a comparison that was ruled both ways. speedup: of B, above 1 = int8 is faster.

    enough_pairs: as many as the rule asks for; with fewer only a plain difference counts.
    """
    plain = speedup.low > LARGE or speedup.high < 1 / LARGE
    if ruling.verdict == "inconclusive" or not (enough_pairs or plain):
        return "undecided"
    if ruling.verdict == "same":
        return "no gain"
    if ruling.verdict == "slower":
        return "slower"
    return "worth it" if speedup.value >= LEAST_GAIN else "little gain"


def sentence(
    found: Verdict, speedup: Estimate, *, what: str, against: str, where: str, error: float | None, margin: float
) -> str:
    """The answer in words. what: "int8-w7"; against: "fp32" or "bf16"; where: "on openvino"."""
    over = f" over {against}" if against != "fp32" else ""
    ratio = f"{speedup.value:.2f}x ({speedup.low:.2f} to {speedup.high:.2f})"
    cost = f" at error {percent(error)} of output" if error is not None else ", its error is not known"
    return {
        "worth it": f"{what} is worth it {where}{over}: {ratio} faster{cost}",
        "little gain": f"{what} gains little {where}{over}: {ratio} faster{cost}",
        "no gain": f"{what} is not worth it {where}{over}: {ratio}, within the margin of {percent(margin)}",
        "slower": f"{what} is not worth it {where}{over}: slower, {ratio}",
        "undecided": f"{what} {where}{over}: undecided, {ratio} as fast; give more time (--max-time)",
    }[found]


def reasons(found: Verdict, of: Circumstances, *, against: str = "fp32") -> tuple[str, ...]:
    """Why int8 gains so little, as sentences; none where it is worth it or that is not known. Several may hold."""
    if found in ("worth it", "undecided"):
        return ()
    out = []
    if against == "bf16" and found != "little gain":
        out.append("the CPU computes bf16 as fast, without calibration: other tools take it by themselves here")
    if of.runtime_share is not None and of.runtime_share < 0.7 and found != "slower":
        out.append(f"the runtime's own call is {percent(of.runtime_share)} of the time: nothing around it gets faster")
    if of.call_ms < SHORT_CALL_MS:
        out.append(f"a call takes {of.call_ms:.2g} ms: int8 saves little in layers this small, and converting costs")
    if of.operators and of.int8_operators < 0.5 * of.operators:
        out.append(f"only {of.int8_operators} of {of.operators} convolutions and products run in int8")
    if found == "little gain" and of.error is not None and of.error >= VISIBLE_ERROR:
        out.append(
            "where half a point of accuracy counts, the error may cost more than the gain: keep fp32, or leave the "
            "layers that cause it in float (edge-sdk quantize --exclude)"
        )
    return tuple(out)


def percent(share: float) -> str:
    """0.00834 is "0.83 %", 1.2 is "120 %"."""
    return f"{100 * share:.2g} %" if share < 1 else f"{100 * share:.0f} %"
