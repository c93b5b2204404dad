"""EfficientAD-S end to end: anomalib's own OpenVINO inferencer on its own export, against this project's predict().

`setup` makes an environment of anomalib's own in FOLDER and exports its EfficientAd there (about 2 GB, some minutes);
`measure` compares, each pair in one interleaved run of two processes, and writes the record:

    python benchmarks/pdn_bundle.py runs/pdn_s.edge
    python benchmarks/anomalib_peer.py setup runs/peer
    python benchmarks/anomalib_peer.py measure runs/peer --pdn runs/pdn_s.edge --out docs/results/anomalib_peer.json

Both sides get the same uint8 RGB arrays of 256 x 256 in memory, so that neither decodes nor resizes, the same number of
threads and the same OpenVINO. anomalib's answer is score, label, map and mask at 256 x 256; ours is taken with its map
at 256 x 256 and its regions, which it would otherwise make only when asked. Weights are random on both sides.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
import avx2_cpu
from anomalib_subject import FACTS, PICTURES, SIDE
from pairs import Pair, calls, measured
from record import Rows, options, write_record

from edge_sdk.profiling.compare import CompareOptions
from edge_sdk.profiling.processes import Side
from edge_sdk.profiling.warmup import WarmupOptions
from edge_sdk.runtimes import probe

if TYPE_CHECKING:
    from edge_sdk.profiling.predicting import Calls

HERE = Path(__file__).resolve().parent
PICTURES_KEPT = 8
"""Asked for in turn, so that no call can be answered from what the last one left."""
ANOMALIB = "anomalib[openvino]==2.7.0"
TORCH = ("torch==2.13.0", "torchvision==0.28.0")
NOTES = (
    "Random weights on both sides: the figures are of speed alone. anomalib's exported graph holds the arithmetic that "
    "a trained one holds (statistics, quantiles and threshold are set).",
    "anomalib's graph is its fp32 export of fixed size 256 x 256, its default but for the size; the batch stays free, "
    "as it exports it. Its int8 exports were not measured.",
    "Both judge 56 x 56 cells of a 256 x 256 picture. With the 16 px border that this project's training adds by "
    "default, so that the rim is judged too, PDN-S has 64 x 64 cells and costs more; that is not measured here.",
    "OpenVINO's own choice of precision is bfloat16 on some CPUs; what ran is in `facts` of each side.",
)


def ours(*, bundle: str, variant: str, threads: int, pictures: str) -> Calls:
    """Whole predict() calls on OpenVINO, map and regions included."""
    import edge_sdk
    from edge_sdk.profiling.predicting import Calls

    detector = edge_sdk.load_as(edge_sdk.AnomalyDetector, bundle, variant=variant, runtime="openvino", threads=threads)

    def call(picture: Any) -> Any:
        result = detector.predict(picture)
        return result, result.map, result.regions

    ring = list(np.load(pictures))
    e, (result, anomaly_map, regions) = detector.explanation, call(ring[0])
    facts = {
        "what": "predict(), map and regions", "variant": detector.variant, "version": e.version, "threads": e.threads,
        "precision": e.precision, "settings": dict(e.settings), "convolutions": dict(e.layers_by_precision),
        "outputs": {"map": list(anomaly_map.shape), "verdict": result.verdict.label, "regions": len(regions)},
    }  # fmt: skip
    return Calls(call, ring, facts)


def setup(folder: Path, torch: list[str]) -> None:
    """An environment with anomalib, pictures for both sides, and anomalib's export, all in `folder`."""
    import venv
    from importlib import metadata

    folder.mkdir(parents=True, exist_ok=True)
    if not interpreter(folder).exists():
        venv.create(folder / "env", with_pip=True)
    # the same OpenVINO on both sides, or the ratio would tell one version from another
    wanted = [*torch, ANOMALIB, f"openvino=={metadata.version('openvino')}"]
    pip = [str(interpreter(folder)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *wanted], check=True)
    np.save(folder / PICTURES, np.stack(list(toys())))
    subprocess.run([str(interpreter(folder)), str(HERE / "anomalib_subject.py"), str(folder)], check=True)
    print((folder / FACTS).read_text(encoding="utf-8"))


def interpreter(folder: Path) -> Path:
    """anomalib's Python."""
    return folder / "env" / "bin" / "python"


def toys() -> Iterator[np.ndarray]:
    """PICTURES_KEPT of the shipped toy pictures, uint8 RGB of SIDE x SIDE."""
    from importlib import resources

    from edge_sdk import folders, preprocess

    with resources.as_file(resources.files("edge_sdk.export.efficientad") / "aliens" / "train" / "good") as shipped:
        for path in islice(folders.pictures_in(shipped, recursive=False), PICTURES_KEPT):
            yield preprocess.resize(preprocess.read_rgb8(path, bit_depth=None), SIDE, SIDE)


def pairs(folder: Path, pdn: Path, threads: int, avx2: Mapping[str, str] | None) -> list[Pair]:
    """All ratios with so many threads, in the order of the report. avx2: environment of a process capped to
    AVX2, None where this CPU has no more; then int8-w7 is compared, as `load` chooses there."""
    count = f"{threads} thread{'s'[: threads > 1]}"

    def theirs(what: str, precision: str | None, environment: Mapping[str, str] | None = None) -> Side:
        return Side(
            name=f"anomalib {what} {precision or 'as it comes'}", factory=f"anomalib_subject:{what}", folder=HERE,
            arguments={"folder": str(folder), "threads": threads, "precision": precision}, threads=threads,
            python=str(interpreter(folder)), environment=environment or {},
        )  # fmt: skip

    def own(variant: str, environment: Mapping[str, str] | None = None) -> Side:
        arguments = {"bundle": str(pdn), "variant": variant, "threads": threads, "pictures": str(folder / PICTURES)}
        return Side(
            name=f"edge-sdk predict {variant}", factory="anomalib_peer:ours", folder=HERE, threads=threads,
            arguments=arguments, environment=environment or {},
        )  # fmt: skip

    int8 = "int8-w7" if avx2 is None else "int8"
    found = [
        (f"PDN-S {int8} over anomalib in f32", theirs("predict", "f32"), own(int8), "speedup >= 1.8"),
        (f"PDN-S {int8} over anomalib as it comes", theirs("predict", None), own(int8), "speedup >= 1.8"),
        ("PDN-S fp32 over anomalib in f32", theirs("predict", "f32"), own("fp32"), "no bound"),
        ("bare OpenVINO call over anomalib's predict, its graph, f32", theirs("predict", "f32"), theirs("bare", "f32"),
         "no bound"),
    ]  # fmt: skip
    if avx2 is not None:
        name = "PDN-S int8-w7 over anomalib in f32, both capped to AVX2"
        found.insert(2, (name, theirs("predict", "f32", avx2), own("int8-w7", avx2), "speedup >= 1.8"))
    return [Pair(f"{name}, {count}", a, b, wanted) for name, a, b, wanted in found]


def measure(asked: argparse.Namespace, avx2: Mapping[str, str] | None) -> None:
    """Every pair with every thread count, and one record."""
    folder, pdn = asked.folder.resolve(), asked.pdn.resolve()
    cpu, rows, found = probe.cpu(), Rows(asked.out, asked), []
    # 15 calls at least tell whether it is warm, and anomalib's take 0.7 s
    limits = CompareOptions(max_time_s=asked.max_time, pairs=tuple(asked.pairs), warmup=WarmupOptions(max_s=20.0))
    for count in asked.threads:
        found += measured(pairs(folder, pdn, count, avx2), rows, limits)
    peer = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    metrics = {"instruction_set": cpu.isa, "flags": list(cpu.flags), "anomalib": peer, "ratios": found}
    write_record(asked.out, metrics, seeds=[0], samples=calls(found), notes=[*NOTES, *asked.note])
    rows.discard()


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = options(__doc__)
    steps = out.add_subparsers(dest="step", required=True)
    making = steps.add_parser("setup", help="install anomalib into an environment of its own, export its model")
    making.add_argument("folder", type=Path)
    making.add_argument("--torch", nargs="+", default=list(TORCH), help="what pip is asked for; the default is a pair")
    measuring = steps.add_parser("measure", help="compare, and write the record")
    measuring.add_argument("folder", type=Path)
    measuring.add_argument("--pdn", type=Path, required=True, help="PDN-S bundle of pdn_bundle.py, 256 x 256")
    measuring.add_argument("--out", type=Path, default=Path("docs/results/anomalib_peer.json"))
    measuring.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    measuring.add_argument("--max-time", type=float, default=60.0, help="seconds of measuring a pair")
    measuring.add_argument(
        "--pairs", type=int, nargs="+", default=list(CompareOptions().pairs), help="of blocks of calls"
    )
    measuring.add_argument("--note", nargs="*", default=[], help="kept in the record: what else the machine was doing")
    return out


def main() -> None:
    """One of the two steps."""
    asked = parser().parse_args()
    if asked.step == "setup":
        setup(asked.folder.resolve(), asked.torch)
        return
    if not probe.cpu().adds_in_32_bits:
        measure(asked, None)
        return
    with tempfile.TemporaryDirectory() as capped:
        measure(asked, avx2_cpu.environment(Path(capped)))


if __name__ == "__main__":
    main()
