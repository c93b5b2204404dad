"""Where a training computes: the CPU or a GPU, and how arrays and networks come there. Knows no network and no loss.

Tensors are made of arrays here and nowhere else, so that none of them is left on another device than the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_sdk.errors import NotThere
from edge_sdk.runtimes.probe import cpu

BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
"""Of CPUs that multiply bfloat16 by themselves."""
M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Compute:
    """One device. Its name is not part of a run's identity: a checkpoint is resumed on another one."""

    device: torch.device

    @property
    def name(self) -> str:
        """ "cpu", or the GPU as its driver calls it."""
        return str(torch.cuda.get_device_name(self.device)) if self.device.type == "cuda" else str(self.device)

    @property
    def bf16(self) -> bool:
        """Whether it multiplies bfloat16 by itself, so that passes take about half the time."""
        if self.device.type == "cuda":
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
        return self.device.type == "cpu" and bool(BF16_FLAGS & set(cpu().flags))

    def tensor(self, array: NDArray[Any]) -> Tensor:
        """The array there. On the CPU it shares the array's memory."""
        return torch.from_numpy(array).to(self.device)

    def place(self, module: M) -> M:
        """The network there, in the memory format that convolutions take best; the same object."""
        # torch leaves memory_format out of the annotations of `to`, here and in the families.
        placed: M = module.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return placed

    def autocast(self, *, enabled: bool) -> AbstractContextManager[Any]:
        """Inside, convolutions and products are computed in bfloat16."""
        return torch.autocast(self.device.type, torch.bfloat16) if enabled else nullcontext()


CPU = Compute(torch.device("cpu"))


def chosen(wanted: str) -> Compute:
    """wanted: "cpu", "cuda", or "auto" = a GPU where torch finds one. Raises NotThere where there is none."""
    found = torch.cuda.is_available()
    if wanted == "cuda" and not found:
        raise NotThere(
            "torch finds no GPU here" if torch.version.cuda else "this torch is built for the CPU alone",
            where="--device cuda",
            hint="Leave --device out to train on the CPU, or install torch for CUDA (see pytorch.org) and a driver",
        )
    return Compute(torch.device("cuda")) if found and wanted != "cpu" else CPU


def on_cpu(tensor: Tensor) -> Tensor:
    """Detached, on the CPU; the tensor itself if it is there."""
    return tensor.detach().cpu()


def array(tensor: Tensor) -> NDArray[Any]:
    """Its values as an array."""
    return np.asarray(on_cpu(tensor).numpy())


@contextmanager
def computing(threads: int) -> Iterator[None]:
    """torch's process-wide settings for a training, put back after it."""
    before, tf32 = torch.get_num_threads(), torch.backends.cudnn.allow_tf32
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # activations of dead channels would otherwise cost as much as ten live ones
    # A GPU would round convolutions to 10 bits; answers must be those of the float32 graph.
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = tf32
        torch.set_flush_denormal(False)
        torch.set_num_threads(before)
