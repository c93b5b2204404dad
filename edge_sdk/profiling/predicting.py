"""What a measured process calls: a bundle's predict, or the bare runtime call under it. Knows no statistics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_sdk import preprocess
from edge_sdk.bundle.store import Bundle
from edge_sdk.loading import load

RING = 8
"""Different pictures called in turn: one constant picture flatters caches."""


class Calls:
    """A callable without arguments that takes the next picture of a ring at each call. facts: what it is."""

    def __init__(self, call: Callable[[Any], Any], ring: list[Any], facts: dict[str, Any]) -> None:
        self._call, self._ring, self._next, self.facts = call, ring, 0, facts

    def __call__(self) -> Any:
        self._next = (self._next + 1) % len(self._ring)
        return self._call(self._ring[self._next])


def ring(bundle: Bundle, *, seed: int = 0) -> list[NDArray[np.uint8]]:
    """RING pictures made of the bundle's golden ones: turned upside down and brightened, all of them different."""
    rng = np.random.default_rng(seed)
    golden = [preprocess.decode(bytes(bundle.read(s.picture))) for s in bundle.manifest.golden]
    out = []
    for i in range(RING):
        base = np.asarray(golden[i % len(golden)], np.uint8)
        turned = base[:: 1 if i < RING // 2 else -1]
        out.append(np.clip(turned.astype(np.int16) + int(rng.integers(-12, 13)), 0, 255).astype(np.uint8))
    return out


def predict(
    *, bundle: str, variant: str | None = None, runtime: str | None = None, threads: int | None = None
) -> Calls:
    """Whole `predict` calls on arrays in memory, batch 1."""
    detector = load(Path(bundle), variant=variant, runtime=runtime, threads=threads)
    e = detector.explanation
    facts = {
        "what": "predict", "variant": detector.variant, "runtime": e.runtime, "version": e.version,
        "threads": e.threads,
        "precision": e.precision, "convolutions": dict(e.layers_by_precision), "settings": dict(e.settings),
    }  # fmt: skip
    return Calls(detector.predict, ring(detector.bundle), facts)


def bare(*, bundle: str, variant: str | None = None, runtime: str | None = None, threads: int | None = None) -> Calls:
    """The runtime call alone, on prepared tensors: what `predict` adds is the difference."""
    detector = load(Path(bundle), variant=variant, runtime=runtime, threads=threads)
    record = detector.bundle.manifest.preprocessing
    tensors = [preprocess.apply(p, record).tensor for p in ring(detector.bundle)]
    e = detector.explanation
    facts = {"what": "bare runtime call", "variant": detector.variant, "runtime": e.runtime, "threads": e.threads}
    return Calls(detector.run_tensor, tensors, facts)
