"""Several processes that train one network: who is the first, mean gradients, one clock. Knows no loop and no network.

Each process sees frames of its own; gradients are averaged after every backward pass, so all take the same step. A
launcher starts the processes and says to each which one it is: torchrun, read by Lightning Fabric, which also picks
the device and the way to talk (NCCL between GPUs, gloo between CPUs). torchrun's option nproc-per-node says how many
processes there are: one a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from edge_sdk.errors import NotThere
from edge_sdk.export.training import launch
from edge_sdk.export.training.device import CPU, Compute, chosen
from edge_sdk.extras import need

T = TypeVar("T")


class Together(Protocol):
    """What a training must know of the processes beside it. Every method is called by all of them, or by none."""

    @property
    def rank(self) -> int:
        """0 = the first, which alone writes and shows progress."""

    @property
    def size(self) -> int:
        """How many processes."""

    @property
    def compute(self) -> Compute:
        """Where this process computes."""

    def average(self, values: Sequence[Tensor]) -> None:
        """Replaces each by its mean over all processes."""

    def agreed(self, value: T) -> T:
        """The first process's value."""


class Alone:
    """One process."""

    rank, size = 0, 1

    def __init__(self, compute: Compute = CPU) -> None:
        self.compute = compute

    def average(self, values: Sequence[Tensor]) -> None:
        """Nothing to do."""

    def agreed(self, value: T) -> T:
        """The value."""
        return value


ALONE = Alone()


class Launched:
    """One of the processes that torchrun started. `launched` makes it."""

    def __init__(self, fabric: Any) -> None:
        self._fabric = fabric
        self.compute = Compute(fabric.device)

    @property
    def rank(self) -> int:
        return int(self._fabric.global_rank)

    @property
    def size(self) -> int:
        return int(self._fabric.world_size)

    def average(self, values: Sequence[Tensor]) -> None:
        """All in one message: hundreds of small ones would take longer than the step."""
        flat = torch.cat([value.detach().reshape(-1).float() for value in values])
        mean = self._fabric.all_reduce(flat, reduce_op="mean")
        parts = mean.split([value.numel() for value in values])
        with torch.no_grad():
            for value, part in zip(values, parts, strict=True):
                value.copy_(part.view_as(value))

    def agreed(self, value: T) -> T:
        out: T = self._fabric.broadcast(value)
        return out


def launched(*, accelerator: str = "auto") -> Launched:
    """This process among those that torchrun started; alone it is one of one. accelerator: "cpu", "cuda" or "auto".

    Raises NotThere without Lightning Fabric.
    """
    fabric_module = need("lightning_fabric", extra="several-gpus")
    # Fabric asks for the numbers that torchrun has set already, and refuses others.
    here = launch.found()
    nodes = here.size // here.local
    fabric = fabric_module.Fabric(accelerator=accelerator, strategy="ddp", devices=here.local, num_nodes=nodes)
    fabric.launch()
    return Launched(fabric)


def joined(device: str) -> Together:
    """This process among those that torchrun started, or alone. device: "auto", "cpu" or "cuda". Raises NotThere."""
    compute = checked(device)
    return launched(accelerator=compute.device.type) if launch.found().size > 1 else Alone(compute)


def checked(device: str) -> Compute:
    """Where `joined` would compute. Raises NotThere where there is no such device, no GPU for each process, or no
    package by which several processes speak."""
    compute, here = chosen(device), launch.found()
    if here.size > 1:
        need("lightning_fabric", extra="several-gpus")
    if compute.device.type == "cuda" and here.local > torch.cuda.device_count():
        raise NotThere(
            f"{here.local} processes were started on this machine, and torch finds {torch.cuda.device_count()} GPUs",
            hint="Start one process a GPU, or train on the CPU with --device cpu",
        )
    return compute
