"""A small classifier of the pictures that a generator learns from, and what its layers see: the eyes of the measures.

Distances are taken in its second layer, before anything saturates. The last layer of a good classifier only knows which
class and how surely: ten blurred class means came out nearer to real digits there than the teacher's own pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from edge_sdk.errors import BadInput
from edge_sdk.export import tensors_file
from edge_sdk.export.tasks.generation.measures import Features
from edge_sdk.export.training.device import array

EPOCHS = 40
STEPS_AT_LEAST, STEPS_AT_MOST = 600, 4000
BATCH, RATE = 64, 2e-3
HELD_OUT = 5
"""One picture of that many says how good the classifier is."""
_BATCH = 500


class Net(nn.Module):
    """(N, C, H, W) in [-1, 1] to logits (N, classes)."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(channels, 32, 3, padding=1), nn.Conv2d(32, 64, 3, stride=2, padding=1)
        self.three = nn.Conv2d(64, 64, 3, stride=2, padding=1)
        self.hidden, self.last = nn.Linear(64 * 4, 32), nn.Linear(32, classes)

    def seen(self, x: Tensor) -> Tensor:
        """The second layer's map."""
        return functional.relu(self.two(functional.relu(self.one(x))))

    def forward(self, x: Tensor) -> Tensor:
        deep = functional.adaptive_avg_pool2d(functional.relu(self.three(self.seen(x))), 2)
        out: Tensor = self.last(torch.tanh(self.hidden(deep.flatten(1))))
        return out


@dataclass(frozen=True, slots=True, eq=False)
class Classifier:
    """net: trained. accuracy: on pictures that it did not learn from, 0 to 1."""

    net: Net
    accuracy: float

    @torch.no_grad()
    def features(self, pictures: NDArray[np.float32]) -> Features:
        """(n, 256): means of each quarter of the second layer's map. pictures: (N, C, H, W) in [-1, 1]."""
        parts = [functional.adaptive_avg_pool2d(self.net.seen(x), 2).flatten(1) for x in _batches(pictures)]
        return np.asarray(array(torch.cat(parts)), np.float32)

    @torch.no_grad()
    def classes(self, pictures: NDArray[np.float32]) -> NDArray[np.int64]:
        """(n,): the likeliest class of each."""
        return np.asarray(array(torch.cat([self.net(x).argmax(1) for x in _batches(pictures)])), np.int64)


def trained(pictures: NDArray[np.float32], labels: NDArray[np.int64], classes: int, *, seed: int = 0) -> Classifier:
    """Learns from four of five pictures (N, C, H, W) in [-1, 1], and is tried on the others."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(pictures))
    held, learned = order[::HELD_OUT], np.setdiff1d(order, order[::HELD_OUT])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Net(pictures.shape[1], classes)
        optimizer = torch.optim.Adam(net.parameters(), lr=RATE)
        steps = min(max(EPOCHS * len(learned) // BATCH, STEPS_AT_LEAST), STEPS_AT_MOST)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            chosen = rng.choice(learned, BATCH)
            loss = functional.cross_entropy(net(torch.from_numpy(pictures[chosen])), torch.from_numpy(labels[chosen]))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it without annotations
            optimizer.step()
            schedule.step()
    made = Classifier(net.eval().requires_grad_(False), 0.0)
    right = made.classes(pictures[held]) == labels[held]
    return Classifier(net, float(right.mean()))


FILE = "classifier.safetensors"
_FORMAT = "generation-classifier/1"


def write(made: Classifier, path: Path, *, of: str) -> None:
    """Keeps a classifier, durably. of: digest of its pictures and its seed. Raises CantWrite."""
    net = made.net
    described = {
        "of": of, "accuracy": made.accuracy, "channels": net.one.in_channels, "classes": net.last.out_features,
    }  # fmt: skip
    tensors_file.write(path, net.state_dict(), kind=_FORMAT, described=described)


def kept(path: Path, *, of: str) -> Classifier | None:
    """What `write` kept of the same pictures and seed, None = nothing that can be used."""
    if not path.is_file():
        return None
    try:
        with tensors_file.opened(path, kind=_FORMAT, what="no classifier", hint="Delete it") as file:
            net = Net(int(file.described["channels"]), int(file.described["classes"]))
            if file.described["of"] != of or tensors_file.misfit(file.tensors, net.state_dict()):
                return None
            net.load_state_dict(file.tensors)
            return Classifier(net.eval().requires_grad_(False), float(file.described["accuracy"]))
    except BadInput:
        return None  # it is only kept to save time


def _batches(pictures: NDArray[np.float32]) -> Iterator[Tensor]:
    for at in range(0, len(pictures), _BATCH):
        yield torch.from_numpy(pictures[at : at + _BATCH])
