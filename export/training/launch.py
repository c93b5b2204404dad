"""Which of several processes this one is, as the launcher says that started it. Imports no training framework.

torchrun speaks to the processes that it starts by these variables alone, and so does the library that joins them;
without it there is one process.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from edge_sdk.errors import BadUsage
from edge_sdk.shown import shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """rank: 0 = the first, which alone writes and shows anything. size: how many processes. local: of them on this
    machine."""

    rank: int = 0
    size: int = 1
    local: int = 1


def found() -> Launch:
    """This process among those that torchrun started; alone it is one of one. Raises BadUsage for what torchrun never
    says."""
    rank, size, local = (
        _number(name, least) for name, least in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_WORLD_SIZE", 1))
    )
    if rank >= size or local > size:
        raise _not_torchrun(f"RANK is {rank}, LOCAL_WORLD_SIZE {local} and WORLD_SIZE {size}")
    return Launch(rank=rank, size=size, local=local)


def _number(name: str, least: int) -> int:
    text = os.environ.get(name, str(least))
    if not (text.isascii() and text.isdigit()) or int(text) < least:
        raise _not_torchrun(f"{name} is {shown(text)!r}")
    return int(text)


def _not_torchrun(what: str) -> BadUsage:
    return BadUsage(
        f"torchrun sets no such number of processes: {what}",
        where="environment", hint="Unset RANK, WORLD_SIZE and LOCAL_WORLD_SIZE, or start with torchrun",
    )  # fmt: skip
