"""Calibration by percentile or entropy keeps every activation of every sample in memory.

python samples/complaints/calibration_memory.py
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from networks import Samples, chain
from replay import Claim, Replay, Row, child, run

from edge_sdk.errors import NotThere
from edge_sdk.profiling.machine import memory

SIDE, LAYERS = 96, 6
FEW, MANY = 8, 32
MIB = 2**20


def replay(folder: Path) -> Replay:
    """What one calibration adds to the memory of a process of its own, with FEW samples and with MANY."""
    if memory().rss_peak_bytes is None:
        raise NotThere("this system does not report the peak memory of a process", hint="Run it on Linux or macOS")
    theirs, entropy, mine = (
        [_peak(tool, count) for count in (FEW, MANY)] for tool in ("Percentile", "Entropy", "edge-sdk")
    )
    return Replay(
        usual="quantize_static, calibrate_method=Percentile",
        ours="quantize, percentile-99.99",
        rows=(
            Row(f"memory that {FEW} samples take", theirs[0], mine[0], "MiB"),
            Row(f"memory that {MANY} samples take", theirs[1], mine[1], "MiB"),
            Row("and each further sample", _growth(theirs), _growth(mine), "MiB"),
            Row("each further sample, calibrate_method=Entropy", _growth(entropy), None, "MiB"),
        ),
        claims=(
            Claim(f"{MANY} samples take the usual tool at least twice the memory of {FEW}", theirs[1] > 2 * theirs[0]),
            Claim("and edge-sdk at most a quarter more", mine[1] < 1.25 * mine[0]),
        ),
    )


def _growth(peaks: list[float]) -> float:
    """MiB per sample between FEW and MANY, to a tenth: below it allocators decide."""
    return round(max(peaks[1] - peaks[0], 0.0) / (MANY - FEW), 1)


def _peak(tool: str, count: int) -> float:
    """MiB that calibration adds to its process at most."""
    words, environment = child([__file__, "--child", tool, str(count)])
    done = subprocess.run(words, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


def _calibrate(tool: str, count: int) -> float:
    """The child's side. Everything is imported before the first look at the memory."""
    import ours
    import usual

    usual.onnxruntime()
    from onnxruntime.quantization import CalibrationMethod

    from edge_sdk.calibration import QuantizeOptions, quantize
    from edge_sdk.calibration.trials import Trials

    graph, samples = chain(SIDE, layers=LAYERS), Samples((1, 3, SIDE, SIDE), count)
    usual.answer(chain(SIDE, layers=2), samples[0])  # the runtime's own memory, once
    before = memory().rss_peak_bytes or 0
    if tool == "edge-sdk":
        options = QuantizeOptions(
            variants=(ours.variant_here(),), trials=Trials(range_methods=("percentile-99.99",)), threads=1
        )
        quantize(graph, samples, options=options)
    else:
        with tempfile.TemporaryDirectory() as folder:
            usual.quantized(graph, samples, Path(folder), calibrate_method=CalibrationMethod[tool])
    return ((memory().rss_peak_bytes or 0) - before) / MIB


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(_calibrate(sys.argv[2], int(sys.argv[3]))))
    else:
        run(__file__, replay)
