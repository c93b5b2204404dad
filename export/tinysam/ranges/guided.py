"""From what a user asks for to a range search of an encoder: its samples, its threads, its errors. Knows no network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from onnx import ModelProto

from edge_sdk.calibration import graphs
from edge_sdk.calibration.int8_graph import Int8Graph
from edge_sdk.errors import BadInput, CheckFailed
from edge_sdk.export.family import Samples, SamplesOf
from edge_sdk.export.tinysam.options import TinySamOptions
from edge_sdk.export.tinysam.ranges.search import Sample, Search, Weighting
from edge_sdk.export.training.device import computing
from edge_sdk.extras import vendor_errors
from edge_sdk.progress import Progress
from edge_sdk.runtimes.probe import default_threads
from edge_sdk.tasks.segmentation.settings import DECODER
from edge_sdk.tensors import Array

PICTURES = 32
"""Most pictures of a search, spread evenly over those of the calibration. Of 8 and 32 neither is better throughout
(docs/results/q_tinysam.json), and time and memory grow with them: masks of 32 are 0.3 GB at 1024 px."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GuidedRanges:
    """A `calibration.range_search.RangeSearch` of an encoder.

    label: how errors are weighted. decoder: the float graph that answers masks and IoUs. prompts: its calibration
    samples, of the same pictures as the encoder's. seed: of the answers that "fisher" draws. threads: of torch.
    """

    label: Weighting
    decoder: bytes
    prompts: Samples
    seed: int
    threads: int

    def tops(
        self, model: ModelProto, made: Int8Graph, samples: Iterable[Mapping[str, Array]], progress: Progress
    ) -> Mapping[str, float]:
        """Raises BadInput for a graph that torch can't run, and CheckFailed for gradients that are not finite and where
        torch runs out of memory."""
        decoder = graphs.parsed(self.decoder)
        with computing(self.threads), vendor_errors(
            "torch", where=f"the range search {self.label}", raises=CheckFailed, catch=(RuntimeError, MemoryError),
            hint="Leave --range-search out, or take a smaller --side",
        ):  # fmt: skip
            search = Search(model, decoder, made, self._samples(model, decoder, samples, progress), self.seed)
            return search.tops(self.label, progress)

    def _samples(
        self, model: ModelProto, decoder: ModelProto, samples: Iterable[Mapping[str, Array]], progress: Progress
    ) -> list[Sample]:
        count = len(self.prompts)
        at = {(2 * k + 1) * count // (2 * PICTURES) for k in range(PICTURES)} if count > PICTURES else range(count)
        asked = {one.name for one in decoder.graph.input} - {one.name for one in model.graph.output}
        found = []
        for number, (encoder, prompts) in enumerate(zip(samples, self.prompts, strict=True)):
            progress(number, count, "prompts of the range search")
            if number in at:
                found.append(Sample(encoder, {name: array for name, array in prompts.items() if name in asked}))
        if not found:
            raise BadInput("there are no pictures to search ranges on", hint="Give more --calibration-samples")
        return found


def guided(options: TinySamOptions, decoder: bytes) -> Callable[[SamplesOf], GuidedRanges] | None:
    """`FloatGraph.range_search` of an encoder whose embedding `decoder` reads; None where the user asks for none."""
    if options.range_search is None:
        return None
    return partial(_search, options.range_search, options, decoder)


def _search(label: Weighting, options: TinySamOptions, decoder: bytes, samples_of: SamplesOf) -> GuidedRanges:
    return GuidedRanges(
        label=label, decoder=decoder, prompts=samples_of(DECODER), seed=options.seed,
        threads=options.threads or default_threads(),
    )  # fmt: skip
