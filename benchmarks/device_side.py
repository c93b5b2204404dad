"""The device side alone: what it installs, how long it takes to import, and from a fresh process to the first verdict.

Makes an environment without torch, installs the wheel of this checkout with one runtime, and starts fresh processes.

    python benchmarks/device_side.py --bundle runs/pdn_s.edge --out docs/results/device_side.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from record import ROOT, Rows, options, write_record

from edge_sdk.runtimes import probe

IMPORT = "import time; a = time.perf_counter(); import edge_sdk; print(time.perf_counter() - a)"
FIRST = """
import sys, time
from pathlib import Path
began = time.perf_counter()
import edge_sdk
with edge_sdk.load(sys.argv[1], runtime=sys.argv[2], variant=sys.argv[3], cache=Path(sys.argv[4])) as detector:
    loaded = time.perf_counter()
    import numpy
    detector.predict(numpy.random.default_rng(0).integers(0, 256, (256, 256, 3), numpy.uint8))
    print(time.perf_counter() - began, loaded - began, detector.explanation.compile_cache)
"""


def fresh(python: Path, code: str, *arguments: str) -> list[str]:
    """The words that a fresh process prints."""
    done = subprocess.run([python, "-c", code, *arguments], capture_output=True, text=True, check=True, cwd="/")
    return done.stdout.split()


def installed(folder: Path, runtime: str) -> Path:
    """The interpreter of a new environment with the wheel and one runtime."""
    import venv

    venv.create(folder / runtime, with_pip=True)
    python = folder / runtime / "bin" / "python"
    quiet = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    wheel = next(folder.glob("*.whl"))
    subprocess.run([*quiet, f"{wheel}[{runtime}]"], check=True)
    return python


def size_mb(folder: Path) -> float:
    """MB of an environment's packages, pip and setuptools left out: they are not needed to run."""
    (packages,) = folder.glob("lib/python*/site-packages")
    files = [
        p for p in packages.rglob("*") if p.is_file() and p.relative_to(packages).parts[0][:3] not in ("pip", "set")
    ]
    return sum(p.stat().st_size for p in files) / 1e6


def int8_here() -> str:
    """The int8 variant that `load` chooses on this CPU."""
    return "int8" if probe.cpu().adds_in_32_bits else "int8-w7"


def measure(folder: Path, runtime: str, bundle: Path, repeats: int) -> dict[str, Any]:
    """All figures with one runtime."""
    python = installed(folder, runtime)
    fresh(python, IMPORT)  # byte code is written once
    imports = [float(fresh(python, IMPORT)[0]) for _ in range(repeats)]
    out: dict[str, Any] = {
        "install_mb": size_mb(folder / runtime), "import_s": statistics.median(imports), "import_s_all": imports,
    }  # fmt: skip
    for variant in ("fp32", int8_here()):
        cold, warm = [], []
        for i in range(repeats):
            cache = str(folder / f"cache-{runtime}-{variant}-{i}")
            cold.append(float(fresh(python, FIRST, str(bundle), runtime, variant, cache)[0]))
            started = fresh(python, FIRST, str(bundle), runtime, variant, cache)
            warm.append(float(started[0]))
            out[f"{variant}_cache"] = started[2]
        out |= {f"{variant}_cold_s": statistics.median(cold), f"{variant}_warm_s": statistics.median(warm)}
        out |= {f"{variant}_cold_s_all": cold, f"{variant}_warm_s_all": warm}
    return out


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = options(__doc__)
    out.add_argument("--bundle", type=Path, required=True)
    out.add_argument("--out", type=Path, default=Path("docs/results/device_side.json"))
    out.add_argument("--repeats", type=int, default=5)
    out.add_argument("--runtimes", nargs="+", default=["onnxruntime", "openvino"])
    out.add_argument("--note", nargs="*", default=[], help="kept in the record: what else the machine was doing")
    return out


def main() -> None:
    """Writes one record."""
    asked = parser().parse_args()
    rows, found = Rows(asked.out, asked), {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
        subprocess.run(command, check=True, capture_output=True)
        for runtime in asked.runtimes:
            found[runtime] = rows.row(
                runtime, lambda runtime=runtime: measure(folder, runtime, asked.bundle.resolve(), asked.repeats)
            )
    metrics = {
        **found, "page_cache": "unknown: it can't be dropped without rights", "load": os.getloadavg(),
        "instruction_set": probe.cpu().isa,
    }  # fmt: skip
    write_record(asked.out, metrics, seeds=[], samples=asked.repeats, notes=asked.note)
    rows.discard()
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
