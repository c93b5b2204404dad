"""Whole SAM-like networks of the family: published weights, and files of our own, to graphs. Knows no training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.export import tensors_file
from edge_sdk.export.family import Exported, FloatGraph, Trained
from edge_sdk.export.tasks.segmentation.annotations import SegmentationData
from edge_sdk.export.tinysam import ENCODER_TRIALS, published, saved
from edge_sdk.export.tinysam.graph.decoder import decoder_graph
from edge_sdk.export.tinysam.graph.encoder import encoder_graph
from edge_sdk.export.tinysam.graph.prompts import prompt_nodes
from edge_sdk.export.tinysam.layout import IMAGE_SIZE, VitLayout
from edge_sdk.export.tinysam.options import EVERYTHING, PROMPTS, TOKENS, TinySamOptions, framed, options_of
from edge_sdk.export.tinysam.ranges.guided import guided
from edge_sdk.export.tinysam.run_plan import RunPlan, teacherless_identity, wants_training
from edge_sdk.export.tinysam.sam import Sam
from edge_sdk.export.tinysam.scenes.sources import digest_of, photographs_in
from edge_sdk.export.tinysam.small.model import FORMAT as SMALL
from edge_sdk.export.tinysam.thresholds import stated
from edge_sdk.export.training.identity import digest
from edge_sdk.progress import Progress
from edge_sdk.tasks.segmentation.settings import DECODER, ENCODER, REFINER, EverythingSettings, SegmentationSettings

CODE = "tinysam-whole/1"
CONFIDENT_LOGIT = 8.5
"""Of the published TinySAM (its paper, table 5): belongs to its logits and to no other model's."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SamLike:
    """A network read from a file. what: its name for people. notes: what is to be known of the file, a line each.
    everything: the thresholds that belong to its weights."""

    net: Sam
    what: str
    everything: EverythingSettings
    notes: tuple[str, ...] = ()


def is_ours(path: Path) -> bool:
    """Whether a file was written by `saved.write`."""
    return path.suffix == ".safetensors" and tensors_file.kind_of(path) == saved.FORMAT


def read(path: Path, *, side: int | None = None) -> SamLike:
    """The network of a weights file: our own, or as TinySAM, MobileSAM and SAM are published. side: of the frame, px,
    None = its own. Raises BadInput."""
    if is_ours(path):
        net, facts = saved.read(path, image_size=side)
        return SamLike(net=net, what=str(facts.get("what", "SAM-like, trained here")), everything=stated(facts))
    if tensors_file.kind_of(path) == SMALL:
        raise BadInput(
            "this is the small size, whose masks cover windows, not the whole frame", where=str(path),
            hint="Name the file of TinySAM, MobileSAM or SAM, or of a student that was distilled from one",
        )  # fmt: skip
    found = published.load(path, image_size=side or IMAGE_SIZE)
    notes = [f"not used of {path.name}: {one}" for one in found.unused]
    if found.resized:
        notes.append("its tables of positions are for 1024 px and were resized: expect a lower quality")
    confident = None if _is_sam(found.net) else CONFIDENT_LOGIT
    everything = EverythingSettings(confident_logit=confident)
    return SamLike(net=found.net, what=found.encoder, notes=tuple(notes), everything=everything)


def plan(data: SegmentationData | None, options: TinySamOptions) -> RunPlan:
    """Raises BadInput for a file that holds no such network, BadUsage for a training."""
    assert options.weights is not None
    if wants_training(data, options):
        raise BadUsage(
            "these weights are exported as they are: only the small size is trained on annotated pictures alone",
            hint="Leave the folder, --steps and --time-budget out; or leave --weights out to train the small size; or "
            "name a --teacher to distil from",
        )
    found = read(options.weights, side=options.side)
    identity = teacherless_identity(
        options, code=CODE, data="none" if data is None else data.digest,
        photographs=digest_of(photographs_in(options.photographs)), start=digest_of([options.weights]),
    )  # fmt: skip
    return RunPlan(until=None, identity=identity, network=f"{found.what}, from {options.weights.name}")


def train(
    data: SegmentationData | None, options: TinySamOptions, *, folder: Path, progress: Progress, run_plan: RunPlan
) -> Trained:
    """Nothing is learned: the network is kept in the run folder."""
    assert options.weights is not None
    found = read(options.weights, side=options.side)
    keep(found, folder)
    return Trained(
        folder=folder, options=options, run=digest(run_plan.identity), steps=0, training_s=0.0, samples=0,
        facts={"network": found.what, "side": found.net.layout.image_size, "notes": list(found.notes)},
    )  # fmt: skip


def keep(found: SamLike, folder: Path) -> None:
    """Writes the network into a run folder, where `graphs` finds it. Raises CantWrite."""
    facts = {"what": found.what, EVERYTHING: msgspec.to_builtins(found.everything)}
    saved.write(found.net, folder / saved.NAME, facts=facts)


def graphs(trained: Trained) -> Exported:
    """Encoder, decoder and refiner of the network in the run folder."""
    path = trained.folder / saved.NAME
    if not path.is_file():
        raise BadInput("there is no model in this folder", where=str(trained.folder), hint="Give the command again")
    found = read(path)
    net = found.net
    after = {role: decoder_graph(net, refiner=role == REFINER) for role in (DECODER, REFINER)}
    search = guided(options_of(trained), after[DECODER])
    made = {
        ENCODER: FloatGraph(onnx=encoder_graph(net.image_encoder), trials=ENCODER_TRIALS, range_search=search),
        **{
            role: FloatGraph(onnx=onnx, keep_fp32=prompt_nodes(onnx), axes={"N": PROMPTS, "T": TOKENS})
            for role, onnx in after.items()
        },
    }  # fmt: skip
    return Exported(graphs=made, settings=settings_of(found), preprocessing=framed(net.layout.image_size))


def settings_of(found: SamLike) -> SegmentationSettings:
    """SAM answers prompts of several tokens with its mask 0; TinySAM never does, and MobileSAM has the same keys."""
    return SegmentationSettings(
        multimask=tuple(range(1, found.net.layout.decoder.masks)), single=0 if _is_sam(found.net) else None,
        everything=found.everything,
    )  # fmt: skip


def _is_sam(net: Sam) -> bool:
    return isinstance(net.layout.encoder, VitLayout)
