"""The anomaly task: a picture in, score, verdict, map, regions out. Knows any graph with map and score, no family."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_sdk import preprocess
from edge_sdk.bundle.manifest import Graph
from edge_sdk.bundle.store import Bundle
from edge_sdk.decision import Decision, judge
from edge_sdk.errors import BadBundle, BadInput, BadUsage, CheckFailed
from edge_sdk.golden import golden_tensor
from edge_sdk.in_flight import InFlight
from edge_sdk.preprocess import Color, Prepared
from edge_sdk.results import AnomalyResult, Ran
from edge_sdk.runtimes.protocol import Explanation, Session
from edge_sdk.stages import Stages

Source: TypeAlias = Any
"""A path, encoded bytes, a numpy picture, or a PIL picture."""

_IN_FLIGHT = 16

SMALL = 0.25
"""Share of the network's side below which a picture is noted: most of what the network then sees is interpolated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    """One picture on its way. name: for errors and results. file: where it came from, None for pixels and bytes."""

    name: str
    file: Path | None
    prepared: Prepared
    notes: tuple[str, ...]


class AnomalyDetector:
    """A loaded anomaly bundle. `predict` may be called from any thread; use it as a context manager, or `close` it.

    explanation: what was asked of the runtime and what was got. why: why this variant and runtime were chosen.
    """

    def __init__(
        self, bundle: Bundle, graph: Graph, session: Session, *, color: Color = "rgb", max_batch: int = 1,
        why: str = "", self_check: str = "",
    ) -> None:  # fmt: skip
        if bundle.manifest.grid is None:
            raise BadBundle("an anomaly bundle needs the grid of its map", where=str(bundle.path), do="Export it again")
        if missing := {"map", "score"} - {spec.name for spec in graph.outputs}:
            raise BadBundle(
                f"an anomaly graph answers map and score; {graph.name} has no {' and no '.join(sorted(missing))}",
                where=str(bundle.path), do="Export it again",
            )  # fmt: skip
        self.bundle, self.why = bundle, why
        self._grid, self._record = bundle.manifest.grid, bundle.manifest.preprocessing
        self._input, self._session, self._color, self._max_batch = graph.inputs[0].name, session, color, max_batch
        self._decision: Decision | None = bundle.decision
        self.explanation: Explanation = session.explain()
        self._ran = Ran(
            bundle=bundle.digest, variant=graph.variant, layout=graph.layout, runtime=self.explanation.runtime,
            runtime_version=self.explanation.version, device=self.explanation.device,
            precision=self.explanation.computes, threads=self.explanation.threads,
            decision=self._decision.digest if self._decision else "", stages_ms={}, self_check=self_check,
        )  # fmt: skip
        tones = {preprocess.is_grey(golden_tensor(bundle, sample)) for sample in bundle.manifest.golden}
        self._golden_grey = tones.pop() if len(tones) == 1 else None  # None: both, or nothing to tell it from
        self._lock, self._closed = threading.Lock(), False
        self._in_flight = InFlight(self.predict, workers=1, most=_IN_FLIGHT, name="anomaly detector")

    def __repr__(self) -> str:
        e = self.explanation
        closed = ", closed" if self._closed else ""
        return f"<AnomalyDetector {self.bundle.path}: {self.variant} on {e.runtime} {e.device}{closed}>"

    @property
    def variant(self) -> str:
        """The variant that runs: "fp32", "fp16", "int8", "int8-w7"."""
        return self._ran.variant

    def predict(self, image: Source) -> AnomalyResult:
        """One picture: a path, encoded bytes, a PIL picture, or an array uint8 or uint16 (H, W), (H, W, 3), (H, W, 4).

        Arrays are in the colour order given to `load`. Raises BadInput (the picture, one of a single colour too),
        CheckFailed (the runtime's answer is not finite), BadUsage (closed).
        """
        self._open()
        clock = Stages()
        taken = self._taken(image, clock)
        cells, scores = clock("infer", self._run, taken.prepared.tensor)
        result = clock("postprocess", self._read, cells, scores, taken)
        return replace(result, ran=replace(self._ran, stages_ms=clock.ms()))

    __call__ = predict

    def predict_batch(self, images: Iterable[Source]) -> tuple[AnomalyResult, ...]:
        """Several pictures, in order; run together up to the `max_batch` given to `load`. Stage times are per batch."""
        self._open()
        if isinstance(images, (str, bytes, Path)) or (isinstance(images, np.ndarray) and images.ndim < 4):
            raise BadInput("predict_batch takes several pictures, this is one", do="Use predict, or put it into a list")
        clock = Stages()
        batch = [self._taken(image, clock) for image in images]
        if not batch:
            return ()
        cells, scores = clock("infer", self._run, np.concatenate([one.prepared.tensor for one in batch]))
        results, at = [], 0
        for one in batch:
            end = at + len(one.prepared.tensor)
            results.append(clock("postprocess", self._read, cells[at:end], scores[at:end], one))
            at = end
        ran = replace(self._ran, stages_ms=clock.ms())
        return tuple(replace(r, ran=ran) for r in results)

    def submit(self, image: Source) -> Future[AnomalyResult]:
        """`predict` in a thread of this detector; waits when 16 pictures are in flight. An error is in the Future."""
        return self._in_flight.submit(image)

    def warm_up(self, runs: int = 3) -> None:
        """Runs the graph on a grey picture, so that the first real one does not pay for first-run costs."""
        self._open()
        grey = np.full((1, self._record.height, self._record.width, 3), 127, np.uint8)
        for _ in range(runs):
            self._run(grey)

    def run_tensor(self, tensor: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The graph alone on prepared input uint8 (n, h, w, 3): (map (n, h, w), score (n,)). For profiling."""
        self._open()
        return self._run(tensor)

    def explain(self) -> str:
        """What was asked, what runs, and why: lines for a person."""
        e, d = self.explanation, self._decision
        lines = [
            f"bundle     {self.bundle.path} ({self.bundle.digest[:12]}), {self.bundle.signature.words}",
            f"variant    {self._ran.variant}, layout {self._ran.layout}: {self.why}",
            f"runtime    {e.runtime} {e.version}, cache {e.compile_cache}",
            f"device     asked {e.device_requested}, got {e.device}",
            f"precision  {e.computes}; of what the graph leaves open: asked {e.precision_requested}, got {e.precision}",
            f"threads    {e.threads}",
            f"decision   {'none' if d is None else _in_words(d)}",
            f"self-check {self._ran.self_check or 'not done'}",
        ]
        lines += [f"avoided    known fault {name}" for name in e.workarounds]
        lines += [f"warning    {text}" for text in e.warnings]
        return "\n".join(lines)

    def close(self) -> None:
        """Finishes what was submitted, then frees the session and the file. May be called twice."""
        self._in_flight.close()  # before the mark: what was submitted may still run
        with self._lock:
            first, self._closed = not self._closed, True
        if not first:
            return
        self._session.close()
        self.bundle.close()

    def __enter__(self) -> AnomalyDetector:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _open(self) -> None:
        if self._closed:
            raise BadUsage("this detector is closed", do="Load the bundle again")

    def _taken(self, image: Source, clock: Stages) -> _Taken:
        """The caller's picture, decoded and prepared."""
        file, name, color, pixels, depth = None, "picture", self._color, image, self._record.bit_depth
        if isinstance(image, (str, Path)):
            file, name = Path(image), str(image)
            color, pixels = "rgb", clock("decode", preprocess.decode, file, bit_depth=depth)
        elif isinstance(image, bytes):
            name, color, pixels = "bytes", "rgb", clock("decode", preprocess.decode, image, bit_depth=depth)
        elif hasattr(image, "mode") and hasattr(image, "convert"):  # a PIL picture knows its own colours
            color, pixels = "rgb", preprocess.of_pil(image, where=name)
        elif not hasattr(image, "__array__"):
            raise _no_picture(image)
        pixels = np.asarray(pixels)
        prepared = clock("resize", preprocess.apply, pixels, self._record, color=color, where=name)
        return _Taken(name=name, file=file, prepared=prepared, notes=self._unusual(pixels, prepared))

    def _run(self, tensor: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        parts = [
            self._session.run({self._input: tensor[at : at + self._max_batch]})
            for at in range(0, len(tensor), self._max_batch)
        ]
        if len(parts) == 1:
            return parts[0]["map"], parts[0]["score"]
        return np.concatenate([p["map"] for p in parts]), np.concatenate([p["score"] for p in parts])

    def _read(self, cells: NDArray[np.float32], scores: NDArray[np.float32], taken: _Taken) -> AnomalyResult:
        score = float(scores.max())  # several scores only for tiles: the worst speaks
        if not (np.isfinite(score) and bool(np.isfinite(cells).all())):
            raise CheckFailed(
                f"the runtime answered score {score} and a map with {int(np.count_nonzero(~np.isfinite(cells)))} cells "
                "that are no number",
                where=taken.name,
                do="Run edge-sdk verify on this device",
            )
        if taken.prepared.is_one_colour:
            # Whatever the network answers to it, a line reads the verdict, and "good" would let the part pass.
            raise BadInput(
                "every pixel has the same value, which is no picture of a part", where=taken.name,
                do="Is the lens covered?",
            )  # fmt: skip
        return AnomalyResult(
            score=score, verdict=judge(score, self._decision), cells=cells, grid=self._grid,
            geometry=taken.prepared.geometry, ran=self._ran, source=taken.name, file=taken.file,
            bit_depth=self._record.bit_depth, notes=taken.notes,
        )  # fmt: skip

    def _unusual(self, pixels: NDArray[Any], prepared: Prepared) -> tuple[str, ...]:
        """What a person should know of a picture beside its verdict."""
        geometry, record = prepared.geometry, self._record
        notes = []
        if min(geometry.width / record.width, geometry.height / record.height) < SMALL:
            notes.append(
                f"the picture has {geometry.width} x {geometry.height} px, the network looks at {record.width} x "
                f"{record.height}: is it the right one?"
            )
        if self._golden_grey is not None and (grey := preprocess.is_grey(prepared.tensor)) != self._golden_grey:
            here, there = ("grey", "in colour") if grey else ("in colour", "grey")
            notes.append(f"the picture is {here}, the bundle's golden samples are {there}: its score may be off")
        depth = record.bit_depth
        if pixels.dtype == np.uint16 and depth and (top := int(pixels.max())).bit_length() < depth - 1:
            notes.append(f"no value is above {top}, and they are read as {depth} bits: is the camera's depth another?")
        return tuple(notes)


def _in_words(d: Decision) -> str:
    of = f"; by the scores of {d.variant} on {d.runtime}" if d.variant else ""
    return f"{d.rule}, score > {d.threshold:.6g}, {d.words}{of}"


def _no_picture(given: object) -> BadInput:
    accepted = "Pass a path, encoded bytes, a PIL picture or a numpy array"
    if given is None:
        return BadInput("None is not a picture: the file or camera it came from gave nothing", do=accepted)
    if isinstance(given, (list, tuple)):
        return BadInput(
            f"this is a {type(given).__name__} of {len(given)}, predict takes one picture",
            do=f"Use predict_batch for several. {accepted}",
        )
    return BadInput(f"an object of type {type(given).__name__} is not a picture", do=accepted)
