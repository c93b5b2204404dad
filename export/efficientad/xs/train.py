"""Trains XS on one product's good parts: statistics, steps, map quantiles, scores of the held-out parts.

Knows the shared loop and the XS networks; no other size of the family, no ONNX.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.counted import counted
from edge_sdk.errors import BadUsage
from edge_sdk.export.anomaly.data import AnomalyData, Picture, Shares, data_identity
from edge_sdk.export.efficientad import saved
from edge_sdk.export.efficientad.options import EfficientAdOptions
from edge_sdk.export.efficientad.saved import EfficientAdTrained
from edge_sdk.export.efficientad.statistics import ChannelStatistics, MapQuantiles, StatisticsSum, map_quantiles
from edge_sdk.export.efficientad.xs.features import FeatureBank, Views, view_bytes
from edge_sdk.export.efficientad.xs.graph import keep_fp32_in_int8, merged_graph, raw_maps
from edge_sdk.export.efficientad.xs.model import XsConfig, XsModel, new_model
from edge_sdk.export.family import Exported, FloatGraph
from edge_sdk.export.pictures.store import PictureStore
from edge_sdk.export.training import device, loop
from edge_sdk.export.training.checkpoint import Position
from edge_sdk.export.training.device import CPU, Compute, array
from edge_sdk.export.training.identity import digest, digest_of_weights, identify
from edge_sdk.export.training.loop import Moment
from edge_sdk.export.trunk.lite0 import BLOCKS, Trunk, load_trunk
from edge_sdk.preprocess import Grid
from edge_sdk.profiling.machine import machine
from edge_sdk.progress import Progress
from edge_sdk.tasks.anomaly.detector import AnomalySettings
from edge_sdk.tasks.base import MODEL

CODE = "xs/1"
"""Bump when older checkpoints can no longer be resumed."""


class XsTraining:
    """What one step of XS does (the protocol `Trainable`)."""

    def __init__(
        self, model: XsModel, bank: FeatureBank, config: XsConfig, *, bf16: bool, compute: Compute = CPU
    ) -> None:
        self._model, self._bank, self._config = compute.place(model), bank, config
        self._bf16, self._compute = bf16, compute
        self._optimizer = torch.optim.AdamW(
            model.student.parameters(), lr=config.rate, betas=(0.9, 0.99), weight_decay=config.weight_decay
        )

    @property
    def module(self) -> nn.Module:
        return self._model.student

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        return self._optimizer

    def rate(self, now: Moment) -> float:
        return loop.cosine(now.done) * min(1.0, (now.step + 1) / self._config.warm_steps)

    def losses(self, rng: np.random.Generator, now: Moment) -> Mapping[str, Tensor]:
        features = self._bank.features(self._draw(rng, now.step))
        layout = self._model.layout
        start = self._model.standardised(layout.start, features[layout.start])
        with self._compute.autocast(enabled=self._bf16):
            learned = self._model.student(start)
        squared = {
            tap: (learned[tap].float() - self._model.standardised(tap, features[tap])).square() for tap in layout.taps
        }
        terms = {f"tap_{tap}": values.mean() for tap, values in squared.items()}
        if now.done >= self._config.hard_from and self._config.hard_weight > 0.0:
            terms["hard"] = self._config.hard_weight * torch.stack([self._hard(v) for v in squared.values()]).sum()
        return terms

    def _hard(self, squared: Tensor) -> Tensor:
        """Mean of each picture's largest values."""
        each = squared.flatten(1)
        count = max(1, int(self._config.hard_share * each.shape[1]))
        return each.topk(count, dim=1, sorted=False).values.mean()

    def _draw(self, rng: np.random.Generator, step: int) -> list[int]:
        """View numbers of one step. A few new views come into play with each step, so that the cost of making them is
        spread; the rest are drawn from those in play, which depend on the step alone and so survive a resume."""
        config = self._config
        before = min(len(self._bank) + step * config.fresh, self._bank.views)
        new = list(range(before, min(before + config.fresh, self._bank.views)))
        return new + [int(k) for k in rng.integers(0, before, config.batch - len(new))]


def train(
    data: AnomalyData, options: EfficientAdOptions, *, folder: Path, progress: Progress,
    config: XsConfig | None = None, trunk: Trunk | None = None,
    length: tuple[loop.LoopPlan, Mapping[str, str]] | None = None,
) -> EfficientAdTrained:  # fmt: skip
    """Trains, or resumes from the checkpoint in `folder`; a finished run is measured again, not trained again.

    trunk: as given to `plan`, None = it is loaded here. length: what `plan` answered, None = it is asked here.
    """
    config = config or XsConfig()
    trunk = trunk or trunk_of(options, config)
    until, identity = length or plan(data, options, config=config, trunk=trunk)
    record, parts, store = options.preprocessing(), data.shares, data.store
    compute = device.chosen(options.device)
    augmentation = config.turning if options.any_orientation else config.fixed
    views = Views(augmentation=augmentation, each=config.views, seed=options.seed, memory_bytes=config.memory_bytes)
    bank = FeatureBank(parts.training, store, record, trunk, config.layout.blocks, views, compute=compute)
    bank.fill(len(bank), progress=progress)
    statistics = statistics_of((bank.features([k]) for k in range(len(bank))), config.layout.blocks)
    model = new_model(config.layout, trunk, statistics, seed=options.seed)
    # Losses stay float32, whatever the student's passes are computed in.
    lesson = XsTraining(model, bank, config, bf16=compute.bf16, compute=compute)
    position = loop.run(lesson, until, folder=folder, identity=identity, seed=options.seed, progress=progress)
    model.eval()
    _fit_weights(model, bank, config, options.seed, compute, progress=progress)
    progress(0, 0, "map quantiles and scores of the held-out parts")
    scaling, held_out = (trunk_features(model, p, store, record, compute) for p in (parts.scaling, parts.held_out))
    model.quantiles = quantiles_of(model, scaling, config.quantiles)
    scores = scores_of(model, held_out)
    model.save(folder / saved.MODEL, record)
    return EfficientAdTrained(
        folder=folder, options=options, preprocessing=record, held_out=parts.held_out, scores=scores, scored_by="torch",
        run=digest(identity), steps=position.step, training_s=round(position.elapsed_s, 1),
        samples=len(parts.training), history=position.history,
        facts=_facts(model, position, bank, parts) | {"bf16": compute.bf16, "device": compute.name},
    )  # fmt: skip


def trunk_of(options: EfficientAdOptions, config: XsConfig) -> Trunk:
    """The frozen trunk. Raises BadInput for weights that aren't the trunk's."""
    return load_trunk(config.layout.taps[-1], options.teacher)


def plan(
    data: AnomalyData, options: EfficientAdOptions, *, config: XsConfig, trunk: Trunk
) -> tuple[loop.LoopPlan, dict[str, str]]:
    """How long a training lasts, and what a checkpoint must have in common with it to be resumed.

    Raises BadUsage for a size that can't run or that this machine has no memory for with so many pictures.
    """
    config.layout.check(*options.sides)
    _check_memory(len(data.shares.training), options, config)
    budget = config.time_budget_s if options.steps is None and options.time_budget_s is None else options.time_budget_s
    length = loop.LoopPlan(steps=options.steps, time_budget_s=budget, checkpoint_every_s=config.checkpoint_every_s)
    return length, identify(options, config, code=CODE, **data_identity(data), teacher=digest_of_weights(trunk))


def _check_memory(pictures: int, options: EfficientAdOptions, config: XsConfig) -> None:
    """One view of every picture is kept; running out of memory would end the process without a word."""
    here, (width, height) = machine(), options.sides
    room = min(size for size in (here.memory_bytes, here.memory_max_bytes, sys.maxsize) if size is not None)
    kept = pictures * view_bytes(config.layout.blocks, width, height)
    if kept > room:
        raise BadUsage(
            f"{counted(pictures, 'picture')} at {width} x {height} px take {kept / 1e9:.1f} GB of memory, and "
            f"there are {room / 1e9:.1f}",
            hint="Give a smaller --width and --height, or fewer pictures",
        )


def statistics_of(features: Iterable[Mapping[int, Tensor]], blocks: Sequence[int]) -> dict[int, ChannelStatistics]:
    """Mean and spread per channel of each block over batches of trunk features, in float64."""
    sums = {block: StatisticsSum(BLOCKS[block].outputs) for block in blocks}
    for batch in features:
        for block, total in sums.items():
            total.add(batch[block])
    return {block: total.result() for block, total in sums.items()}


def quantiles_of(
    model: XsModel, features: Iterable[Mapping[int, Tensor]], at: tuple[float, float]
) -> tuple[MapQuantiles, ...]:
    """Map quantiles of good pictures' trunk features, one pair per source, each on its tap's own cells."""
    maps: list[list[Tensor]] = [[] for _ in model.layout.sources]
    with torch.inference_mode():
        for batch in features:
            for kept, cells in zip(maps, model.maps(batch), strict=True):
                kept.append(cells)
    return tuple(map_quantiles(array(torch.cat(kept)), low=at[0], high=at[1]) for kept in maps)


def scores_of(model: XsModel, features: Iterable[Mapping[int, Tensor]]) -> tuple[float, ...]:
    """Scores of pictures from their trunk features, at the model's own map quantiles."""
    with torch.inference_mode():
        each = [model.reduced(model.combined(model.maps(batch))) for batch in features]
    return tuple(float(score) for batch in each for score in batch)


def _fit_weights(
    model: XsModel, bank: FeatureBank, config: XsConfig, seed: int, compute: Compute, *, progress: Progress
) -> None:
    """Weighting of the taps that have a map "weighted", from cells drawn evenly from the first views of every part."""
    taps = model.layout.weighted
    if not taps:
        return
    count = min(bank.views, config.weight_views * len(bank))
    each = max(1, config.weight_cells // count)
    cells: dict[int, list[Tensor]] = {tap: [] for tap in taps}
    rng = np.random.default_rng([seed, 4])
    with torch.inference_mode():
        for k in range(count):
            progress(k, count, "errors of the student on good pictures")
            features = bank.features([k])
            learned = model.learned(features)
            for tap in taps:
                wrong = model.difference(tap, learned, features)[0].flatten(1).T
                cells[tap].append(wrong[compute.tensor(rng.permutation(len(wrong))[:each])])
        for tap in taps:
            model.set_weights(tap, torch.cat(cells[tap]))


def trunk_features(
    model: XsModel, pictures: Sequence[Picture], store: PictureStore, record: Preprocessing, compute: Compute = CPU
) -> Iterator[Mapping[int, Tensor]]:
    """The trunk's outputs for each picture as it is, in order."""
    with torch.inference_mode():
        for picture in pictures:
            image = compute.tensor(store.tensor(picture.path, record)[None])
            yield model.trunk(image, model.layout.blocks)


def _facts(model: XsModel, position: Position, bank: FeatureBank, parts: Shares) -> dict[str, Any]:
    narrow = [i for i, q in enumerate(model.quantiles) if q.clamped]
    words = [f"the good parts' map {i} hardly varies: its scale was bounded from below" for i in narrow]
    return {
        "bad_steps": position.bad_steps,
        "segments": [asdict(segment) for segment in position.segments],
        **parts.facts(),
        "views": bank.views,
        "clamped_channels": {str(block): n for block, n in model.clamped_channels.items()},
        "quantiles": [asdict(q) for q in model.quantiles],
        "words": words,
    }


def graphs(trained: EfficientAdTrained) -> Exported:
    """The merged graph of the model in the run folder."""
    record, model = trained.preprocessing, XsModel.load(saved.file_of(trained))
    onnx, tail = merged_graph(model, width=record.width, height=record.height)
    layout, cells = model.layout, model.layout.cells_counted(record.width, record.height)
    settings = AnomalySettings(
        grid=Grid(offset_px=layout.map_stride / 2, stride_px=float(layout.map_stride)),
        reduction=f"mean of the {counted(cells, 'largest cell')} of the map",
    )
    graph = FloatGraph(
        onnx=onnx, keep_fp32=tail, keep_fp32_in_int8=keep_fp32_in_int8(onnx), output_correction=raw_maps(tail)
    )
    return Exported(graphs={MODEL: graph}, settings=settings, preprocessing=record)
