"""How alike each cell of a window is to points, to what is covered and to the rest, as nodes. Knows no geometry.

The counterpart of `WindowDecoder.seeds` and `WindowDecoder.alike`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_sdk.export.tinysam import NEGATIVE, POSITIVE
from edge_sdk.export.tinysam.graph.parts import float64, reshape, transpose
from edge_sdk.export.tinysam.small.decoder import CELLS, HEADS, KEY, LEAST_SQUARE, WindowDecoder
from edge_sdk.export.tinysam.small.encoder import F4
from edge_sdk.export.tinysam.small.graph_maps import MapNodes
from edge_sdk.export.tinysam.small.graph_parts import Arithmetic
from edge_sdk.export.tinysam.small.graph_prompts import PointNodes
from edge_sdk.export.tinysam.small.graph_resample import CutNodes, Resampling
from edge_sdk.export.tinysam.small.graph_windows import K


@dataclass(frozen=True, slots=True, eq=False)
class Likeness(Arithmetic):
    """resampling: a writer into the same graph. net: whose keys are compared."""

    resampling: Resampling
    net: WindowDecoder

    def of(self, cut: CutNodes, maps: MapNodes, points: PointNodes) -> str:
        """Likeness of each cell of the windows: (3 N, 16, 32, 32). cut: of the features at stride 4."""
        g, op, count = self.g, self.op, CELLS * CELLS
        keys = g.conv(cut.cells, float64(self.net.key.weight), np.zeros(HEADS * KEY), name="key")
        cells = self._unit(reshape(g, keys, (-1, K, HEADS, KEY, count), name="alike/keys"), 3, name="alike/cells")
        seeds = self.unsqueezed(self._seeds(cut, points), 1, name="alike/seeds5")  # (N, 1, HEADS, T, KEY)
        to_tokens = op("MatMul", seeds, cells, name="alike/tokens")
        out = []
        for label, flag in ((POSITIVE, maps.positive), (NEGATIVE, maps.negative)):
            is_ = self.unsqueezed(flag, 1, 2, 4, name=f"alike/is{label}")
            those = op("Mul", to_tokens, is_, name=f"alike/of{label}")
            most = op("ReduceMax", those, name=f"alike/most{label}", axes=[3], keepdims=0)
            out.append(op("Relu", most, name=f"alike/{label}"))
        covered = op("Add", maps.box, maps.start, name="alike/covered")
        rest = op("Sub", self.scalar(1.0), covered, name="alike/uncovered")
        rest = op("Mul", rest, maps.inside, name="alike/rest")
        out += [self._to_mean(cells, share, name=f"alike/{what}") for what, share in (("in", covered), ("out", rest))]
        return reshape(g, op("Concat", *out, name="alike/all", axis=2), (-1, 4 * HEADS, CELLS, CELLS), name="alike")

    def _seeds(self, cut: CutNodes, points: PointNodes) -> str:
        """Keys under each token, of length 1: (N, HEADS, T, KEY)."""
        g = self.g
        weight = float64(self.net.key.weight).reshape(HEADS * KEY, F4).T
        constant = g.constant("seed/key/weight", np.asarray(weight, np.float32))
        seen = self.resampling.under("features_4", points.at, table=cut.table)
        keys = self.op("MatMul", seen, constant, name="seed/key")
        unit = self._unit(reshape(g, keys, (0, 0, HEADS, KEY), name="seed/heads"), 3, name="seed/unit")
        return transpose(g, unit, (0, 2, 1, 3), name="seed")

    def _to_mean(self, cells: str, share: str, *, name: str) -> str:
        """Likeness of the cells to their mean, weighted with `share` (N, 3, 32, 32): (N, 3, HEADS, cells)."""
        g, op = self.g, self.op
        flat = reshape(g, share, (0, K, 1, CELLS * CELLS, 1), name=f"{name}/share")
        mean = self._unit(op("MatMul", cells, flat, name=f"{name}/sum"), 3, name=f"{name}/mean")
        mean = transpose(g, mean, (0, 1, 2, 4, 3), name=f"{name}/row")
        near = op("MatMul", mean, cells, name=f"{name}/near")
        return op("Relu", g.squeeze(near, 3, name=f"{name}/flat"), name=name)

    def _unit(self, x: str, axis: int, *, name: str) -> str:
        """Of length 1 along an axis."""
        op = self.op
        square = op("Mul", x, x, name=f"{name}/square")
        square = op("ReduceSum", square, self.axes(axis), name=f"{name}/sum", keepdims=1)
        some = op("Add", square, self.scalar(LEAST_SQUARE), name=f"{name}/some")
        return op("Div", x, op("Sqrt", some, name=f"{name}/length"), name=name)
