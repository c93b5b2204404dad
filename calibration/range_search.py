"""A search for ranges from outside: one more candidate beside the range methods. Knows no way to search."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from onnx import ModelProto

from edge_sdk.calibration.int8_graph import Int8Graph
from edge_sdk.calibration.statistics.observe import Feeds
from edge_sdk.progress import Progress


class RangeSearch(Protocol):
    """What it finds is measured as any candidate, and kept where it is nearest to the float graph."""

    @property
    def label(self) -> str:
        """Its name in `Attempt.ranges`: none of `trials.RANGE_METHODS`."""

    def tops(
        self, model: ModelProto, made: Int8Graph, samples: Iterable[Feeds], progress: Progress
    ) -> Mapping[str, float]:
        """By tensor, the largest magnitude that int8 keeps, > 0 and finite; tensors that are left out keep minmax.

        model: the cleaned float graph. made: the int8 graph of the first plan by minmax: `made.planned` says which
        tensors share a scale, `made.ranges` what was seen. samples: of the calibration, as often as asked. An EdgeError
        passes the search over: its message is in the report and in the log.
        """
