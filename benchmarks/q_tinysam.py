"""int8 of promptable segmentation: ranges, calibration pictures, attention products; what masks and IoUs lose by each.

    python benchmarks/q_tinysam.py --out docs/results/q_tinysam.json

Two networks. "tinyvit": a TinyViT encoder and SAM's decoder at 256 px, --size as `layout.small` names them, weights by
the rule of the parity fixtures (errors of such a network are larger than of a trained one, and masks are no objects).
"small": the small size with the weights that ship. Pictures and prompts are drawn by code as in calibration; those that
errors are measured on calibrate nothing. Ranges minmax, percentile and mse are the product's own, and so is what stays
float and whether channels are equalised; "kept" marks the row that the product's calibration takes. output, fisher and
hessian are searched (`edge_sdk.export.tinysam.ranges.search`). Errors are by the letter of ONNX, against the float
graphs with the same prompts: relative L2 of the embedding, mean IoU of the masks' signs, mean distance of the predicted
IoUs. Times of OpenVINO stand beside how busy the machine was: on a busy one they say little.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from record import ROOT, Rows, options, write_record

if TYPE_CHECKING:
    from edge_sdk.export.family import FloatGraph

METHODS = ("minmax", "percentile-99.99", "mse")
WEIGHTINGS = ("output", "fisher", "hessian")
SIDES = {"tinyvit": ("embedding",), "small": ("features_2", "features_4")}
"""What each encoder answers."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = options(__doc__)
    out.add_argument("--out", type=Path, required=True)
    out.add_argument("--networks", nargs="+", choices=list(SIDES), default=list(SIDES))
    out.add_argument("--size", default="d", help="Of the TinyViT network: a, b or d.")
    out.add_argument("--pictures", type=int, nargs="+", default=[8, 32], help="Calibration pictures.")
    out.add_argument("--evaluation", type=int, default=8, help="Pictures that errors are measured on.")
    out.add_argument("--variant", default="int8-w7")
    out.add_argument("--seed", type=int, default=0)
    out.add_argument("--threads", type=int, default=2)
    return out


@dataclass(frozen=True)
class Subject:
    """graphs: float, by role, with what the family says of their calibration. calibration, evaluation: feeds by role
    and sample."""

    graphs: Mapping[str, FloatGraph]
    calibration: Mapping[str, Sequence[Mapping[str, Any]]]
    evaluation: Mapping[str, Sequence[Mapping[str, Any]]]


def subject(name: str, asked: argparse.Namespace, folder: Path) -> Subject:
    """A network with feeds of its encoder and decoder."""
    from edge_sdk.export.tinysam.family import TinySAM
    from edge_sdk.export.tinysam.options import TinySamOptions
    from edge_sdk.progress import silent

    folder.mkdir()
    weights = None
    if name == "tinyvit":
        sys.path.insert(0, str(ROOT / "tests" / "tinysam"))
        from by_rule import sam

        from edge_sdk.export.tinysam import saved
        from edge_sdk.export.tinysam.layout import small

        weights = folder / "rule.safetensors"
        saved.write(sam(small(asked.size)), weights, facts={})
    family, made = TinySAM(), TinySamOptions(as_is=True, weights=weights, seed=asked.seed)
    trained = family.train(None, made, folder=folder, progress=silent)
    exported, count = family.graphs(trained), max(asked.pictures) + asked.evaluation
    samples_of = family.samples(None, trained, exported, count)
    feeds = {role: list(samples_of(role)) for role in ("encoder", "decoder")}
    return Subject(
        graphs={role: exported.graphs[role] for role in feeds},
        calibration={role: found[: -asked.evaluation] for role, found in feeds.items()},
        evaluation={role: found[-asked.evaluation :] for role, found in feeds.items()},
    )  # fmt: skip


class Evaluation:
    """Float answers on the evaluation pictures, and how far others are from them."""

    def __init__(self, on: Subject, names: Sequence[str], threads: int) -> None:
        from edge_sdk.calibration import graphs

        self._on, self._names, self._threads = on, names, threads
        self._models = {role: graphs.parsed(graph.onnx) for role, graph in on.graphs.items()}
        self._embedded = self._encoded(self._models["encoder"])
        self._masked = self._decoded(self._models["decoder"], self._embedded)

    def row(self, encoder: Any = None, decoder: Any = None) -> dict[str, Any]:
        """Errors with these int8 models in place of the float ones."""
        import numpy as np

        from edge_sdk.calibration.comparison import fidelity

        embedded = self._embedded if encoder is None else self._encoded(encoder)
        got = self._decoded(decoder or self._models["decoder"], embedded)
        off = [fidelity.relative([w[n] for w in self._embedded], [g[n] for g in embedded]) for n in self._names]
        ious, distances = [], []
        for wanted, made in zip(self._masked, got, strict=True):
            want, have = wanted["masks"] > 0, made["masks"] > 0
            union = np.logical_or(want, have).sum((-2, -1))
            common = np.logical_and(want, have).sum((-2, -1))
            ious.append(np.where(union, common / np.maximum(union, 1), 1.0).mean())
            distances.append(np.abs(wanted["iou"] - made["iou"]).mean())
        return {
            "embedding_error_percent": round(100 * max(off), 2),
            "mask_iou_percent": round(100 * float(np.mean(ious)), 2),
            "predicted_iou_error": round(float(np.mean(distances)), 4),
        }  # fmt: skip

    def _encoded(self, model: Any) -> list[dict[str, Any]]:
        from edge_sdk.calibration.comparison import fidelity

        return fidelity.outputs(model, self._on.evaluation["encoder"], self._threads)

    def _decoded(self, model: Any, embedded: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        from edge_sdk.calibration.comparison import fidelity

        feeds = [{**prompts, **made} for prompts, made in zip(self._on.evaluation["decoder"], embedded, strict=True)]
        return fidelity.outputs(model, feeds, self._threads)


def prepared(on: Subject, role: str, count: int, asked: argparse.Namespace) -> Any:
    """One role, observed on `count` pictures, as the product asks for it but for the ranges that are compared."""
    from edge_sdk.calibration.prepare import prepare
    from edge_sdk.export.calibrating import options_for

    wanted = options_for(on.graphs[role], threads=asked.threads)
    trials = replace(wanted.trials, range_methods=METHODS, engines=("portable",))
    wanted = replace(wanted, variants=(asked.variant,), trials=trials)
    return prepare(on.graphs[role].onnx, list(on.calibration[role][:count]), wanted)


def candidates(on: Subject, role: str, found: Any, asked: argparse.Namespace) -> tuple[list[Any], Any]:
    """Each of METHODS, channels as they are and equalised where the family wants that, as
    `calibration.candidates.Candidate`; and the one that the product keeps: the nearest of what it tries itself."""
    from edge_sdk.calibration.candidates import best

    order = {name: at for at, name in enumerate(METHODS)}
    made = sorted(
        best(found, found.subject.exclude).candidates[asked.variant],
        key=lambda one: (one.attempt.mode, order[one.attempt.ranges]),
    )
    own = on.graphs[role].trials.range_methods
    return made, min((one for one in made if one.attempt.ranges in own), key=lambda one: one.error)


def int8(found: Any, ranges: Any, variant: str, exclude: Sequence[str] | None = None) -> Any:
    """The int8 graph of the first plan, channels as they are. ranges: a method's name, or ranges. exclude: nodes that
    stay float, None = those that the product leaves so."""
    from edge_sdk.calibration.engines.portable import Portable

    source = Portable().source(found, "", variant, found.subject.exclude if exclude is None else exclude)
    assert source is not None
    return source.graphs(source.ranges(ranges) if isinstance(ranges, str) else ranges)[0]


def with_attention(model: Any, samples: Sequence[Mapping[str, Any]], threads: int) -> Any:
    """The int8 graph with Q/DQ on both sides of the products of two activations: a softmax at 1/127, else minmax."""
    import numpy as np
    from onnx import helper

    from edge_sdk.calibration import graphs
    from edge_sdk.calibration.statistics.observe import Reader

    model = graphs.parsed(graphs.dump(model))  # the caller keeps its own
    index = graphs.Index.of(model)
    dequantized = {n.output[0] for n in model.graph.node if n.op_type == "DequantizeLinear"}
    products = [n for n in model.graph.node if n.op_type == "MatMul" and not dequantized & set(n.input)]
    sides = list(dict.fromkeys(name for node in products for name in node.input))
    reader, tops = Reader(model, tuple(sides), optimised=False, threads=threads), dict.fromkeys(sides, 0.0)
    for feeds in samples:
        for name, array in reader.run(feeds).items():
            tops[name] = max(tops[name], float(np.abs(array).max()))
    nodes, stored = [], [*model.graph.initializer, graphs.tensor("attention_zero", np.asarray(0, np.int8))]
    chosen = {node.name for node in products}
    made: set[str] = set()
    for node in model.graph.node:
        if node.name in chosen:
            for place, name in enumerate(node.input):
                if name not in made:
                    made.add(name)
                    softmax = index.producer[name].op_type == "Softmax"
                    step = np.asarray((1.0 if softmax else tops[name]) / 127.0, np.float32)
                    stored.append(graphs.tensor(f"{name}/attention_scale", step))
                    read = [f"{name}/attention_scale", "attention_zero"]
                    nodes += [
                        helper.make_node(
                            "QuantizeLinear", [name, *read], [f"{name}/attention_q"], f"{name}/attention_q"
                        ),
                        helper.make_node(
                            "DequantizeLinear", [f"{name}/attention_q", *read], [f"{name}/attention_dq"], f"{name}/dq"
                        ),
                    ]
                node.input[place] = f"{name}/attention_dq"
        nodes.append(node)
    return graphs.rebuilt(model, nodes, stored)


def milliseconds(model: Any, feeds: Mapping[str, Any], axes: Mapping[str, int]) -> float:
    """CPU time of one run in OpenVINO on one thread: the median of 7."""
    import numpy as np

    from edge_sdk.calibration import graphs
    from edge_sdk.runtimes.ov import OvRuntime
    from edge_sdk.runtimes.protocol import CompileOptions

    session = OvRuntime().compile(graphs.dump(model), CompileOptions(threads=1, axes=axes))
    session.run(feeds)
    times = []
    for _ in range(7):
        start = time.process_time()
        session.run(feeds)
        times.append(1000 * (time.process_time() - start))
    session.close()
    return round(float(np.median(times)), 1)


def searches(
    on: Subject, found: Any, minmax: Any, count: int, asked: argparse.Namespace
) -> tuple[dict[str, Any], dict[str, float], dict[str, float]]:
    """By weighting: the int8 graph with searched ranges, and seconds. The largest gradients by stage of the sequential
    mode, and of the parallel one under "parallel"."""
    import torch

    from edge_sdk.calibration import graphs
    from edge_sdk.calibration.statistics.ranges import stated
    from edge_sdk.export.tinysam.ranges.search import Sample, Search

    torch.set_num_threads(asked.threads)
    pairs = zip(on.calibration["encoder"][:count], on.calibration["decoder"][:count], strict=True)
    samples = [Sample(encoder, {k: v for k, v in decoder.items() if k != "embedding"}) for encoder, decoder in pairs]
    search = Search(found.model, graphs.parsed(on.graphs["decoder"].onnx), minmax, samples, asked.seed)
    made, seconds = {}, {}
    for weighting in WEIGHTINGS:
        start = time.monotonic()
        tops = search.tops(weighting)
        ranges = {name: stated(found.base.seen[name], tops[name]) for name in minmax.ranges if name in tops}
        made[weighting] = int8(found, {**minmax.ranges, **ranges}, asked.variant)
        seconds[weighting] = round(time.monotonic() - start, 1)
    parallel = [search.gradients(at, search.whole(), {}) for at in range(len(samples))]
    largest = {"parallel": max(float(g.abs().max()) for one in parallel for g in one.values())}
    largest |= search.largest_gradients
    return made, seconds, {stage: float(f"{value:.2g}") for stage, value in largest.items()}


def busy() -> dict[str, Any]:
    """How much else the machine is doing: load average of a minute, and the share of the last 10 s in which some
    process waited for a CPU; None where the system does not say."""
    from edge_sdk.profiling.machine import counters

    now = counters()
    return {"load_of_a_minute": now.load[0] if now.load else None, "pressure_percent": now.pressure_percent}


def of_encoder(
    on: Subject, evaluation: Evaluation, name: str, count: int, asked: argparse.Namespace
) -> list[dict[str, Any]]:
    """Rows of one encoder by ranges; of TinyViT also the searched ones, and with attention in int8; of the small one
    with fewer operators in float."""
    from edge_sdk.calibration.comparison.operator_errors import operator_errors
    from edge_sdk.calibration.macs import cost

    start = time.monotonic()
    found = prepared(on, "encoder", count, asked)
    about = {"network": name, "role": "encoder", "pictures": count}
    rows: list[dict[str, Any]] = []

    def add(model: Any, **facts: Any) -> None:
        share = {"int8_macs_percent": round(100 * cost(model).int8_share, 1)}
        rows.append({**about, "attention": "float", **facts, **share, **evaluation.row(model)})
        print(rows[-1], flush=True)

    float_ = {"in_float": list(found.subject.exclude)}
    tried, taken = candidates(on, "encoder", found, asked)
    for one in tried:
        add(
            one.graphs[0].model, ranges=one.attempt.ranges, equalised=bool(one.attempt.mode), kept=one is taken,
            seconds=round(time.monotonic() - start, 1), seconds_are_of="observing and all candidates", **float_,
        )  # fmt: skip
    plain = {method: int8(found, method, asked.variant) for method in METHODS}
    best = plain["mse"].model
    if name == "tinyvit":
        searched, spent, gradients = searches(on, found, plain["minmax"], count, asked)
        for ranges, made in searched.items():
            add(made.model, ranges=ranges, seconds=spent[ranges], seconds_are_of="the search", **float_)
        attention = with_attention(best, on.calibration["encoder"][:count], asked.threads)
        feeds, before = on.evaluation["encoder"][0], busy()
        times = {
            what: milliseconds(model, feeds, {})
            for what, model in (("fp32", found.model), ("int8", best), ("int8 with attention", attention))
        }
        add(
            attention, ranges="mse", attention="int8", largest_gradients=gradients, openvino_ms=times,
            busy={"before": before, "after": busy()},
        )  # fmt: skip
    if name == "small":
        for kept in (found.subject.exclude[:1], ()):
            add(int8(found, "mse", asked.variant, kept).model, ranges="mse", in_float=list(kept))
    worst = operator_errors(found.model, best, on.evaluation["encoder"][:2], asked.threads)
    rows.append(
        {**about, "ranges": "mse", "worst_operators_percent": {k: round(100 * v, 2) for k, v in [*worst.items()][:8]}}
    )
    return rows


def of_decoder(
    on: Subject, evaluation: Evaluation, name: str, count: int, asked: argparse.Namespace
) -> list[dict[str, Any]]:
    """Rows of one decoder by ranges behind the float encoder, and of encoder and decoder as the product keeps them."""
    from edge_sdk.calibration.macs import cost

    found, rows = prepared(on, "decoder", count, asked), []
    tried, taken = candidates(on, "decoder", found, asked)
    for one in tried:
        model = one.graphs[0].model
        spent = cost(model, {"N": 1, "T": 2})
        kinds = {
            kind: round(100 * sum(n.macs for n in spent.nodes.values() if n.kind == kind and n.int8) / macs, 1)
            for kind, macs in spent.by_kind.items()
        }
        row = {
            "network": name, "role": "decoder", "pictures": count, "ranges": one.attempt.ranges,
            "equalised": bool(one.attempt.mode), "kept": one is taken,
            "int8_macs_percent": round(100 * spent.int8_share, 1), "int8_macs_percent_by_kind": kinds,
            "operators": len(one.graphs[0].planned.plan.operators), **evaluation.row(None, model),
        }  # fmt: skip
        rows.append(row)
        if one is taken:
            _, encoder = candidates(on, "encoder", prepared(on, "encoder", count, asked), asked)
            both = evaluation.row(encoder.graphs[0].model, model)
            ranges = {"encoder": encoder.attempt.ranges, "decoder": one.attempt.ranges}
            rows.append({**row, "role": "encoder and decoder", "ranges": ranges, **both})
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """All rows, a group of them at a time: what is measured is kept."""
    asked = parser().parse_args()
    rows = Rows(asked.out, asked)
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in asked.networks:
            made: list[tuple[Subject, Evaluation]] = []

            def ready(name: str = name, made: list[tuple[Subject, Evaluation]] = made) -> tuple[Subject, Evaluation]:
                if not made:
                    on = subject(name, asked, Path(folder) / name)
                    made.append((on, Evaluation(on, SIDES[name], asked.threads)))
                return made[0]

            measures: dict[str, Callable[..., list[dict[str, Any]]]] = {"encoder": of_encoder, "decoder": of_decoder}
            for role, measure in measures.items():
                for count in asked.pictures:
                    found += rows.row(
                        f"{name} {role} {count}",
                        lambda measure=measure, name=name, count=count: measure(*ready(), name, count, asked),
                    )
    write_record(asked.out, {"rows": found}, seeds=[asked.seed], samples=asked.evaluation)
    rows.discard()


if __name__ == "__main__":
    main()
