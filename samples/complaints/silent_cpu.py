"""A session is asked for CUDA alone, where there is none, and runs on the CPU as if nothing were wrong.

python samples/complaints/silent_cpu.py
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import usual
from networks import Samples, chain
from replay import Claim, Replay, Row, run

from edge_sdk.errors import NotThere
from edge_sdk.runtimes import registry
from edge_sdk.runtimes.ort import PROVIDERS
from edge_sdk.runtimes.protocol import CompileOptions


def replay(folder: Path) -> Replay:
    """What was asked for, what was got, and whether a caller could know."""
    ort, graph = usual.onnxruntime(), chain(16, layers=2)
    feeds = Samples((1, 3, 16, 16), 1)[0]
    there = set(ort.get_available_providers())
    missing = [device for device, wanted in PROVIDERS.items() if wanted[0] not in there]
    if not missing:
        raise NotThere("every provider is there: nothing can fall back", hint="Run it where onnxruntime has no CUDA")
    device, provider = missing[0], PROVIDERS[missing[0]][0]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        session = ort.InferenceSession(graph, providers=[provider])
    session.disable_fallback()
    got, answered = session.get_providers(), bool(np.isfinite(session.run(None, feeds)[0]).all())
    refusal, code = _refusal(graph, device)
    return Replay(
        usual=f'InferenceSession(providers=["{provider}"])',
        ours=f'compile(device="{device}")',
        rows=(
            Row("device that was asked for", provider, device),
            Row("device that was got", ", ".join(got), "none" if refusal else device),
            Row("errors raised", 0, int(bool(refusal))),
            Row("Python warnings", len(said), 0),
            Row("answers after disable_fallback()", "yes" if answered else "no", "no" if refusal else "yes"),
            Row("exit code of the command line", None, code),
            Row("message", None, refusal),
        ),
        claims=(
            Claim(
                "the usual session runs on the CPU, which nobody asked for",
                got == ["CPUExecutionProvider"] and answered,
            ),
            Claim("edge-sdk refuses, and names the device", device in refusal and code == NotThere.exit_code),
        ),
    )


def _refusal(graph: bytes, device: str) -> tuple[str, int]:
    """What edge-sdk raises, and the exit code that it stands for; ("", 0) if it compiles."""
    try:
        registry.runtime("onnxruntime").compile(graph, CompileOptions(device=device, threads=1)).close()
    except NotThere as exc:
        return str(exc.args[0]), exc.exit_code
    return "", 0


if __name__ == "__main__":
    run(__file__, replay)
