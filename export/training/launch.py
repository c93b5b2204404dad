"""Which of several processes this one is, as the launcher says that started it. Imports no training framework.

torchrun speaks to the processes that it starts by these variables alone; without it there is one process.
"""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """rank: 0 = the first, which alone writes and shows anything. size: how many processes. local: of them on this
    machine."""

    rank: int = 0
    size: int = 1
    local: int = 1


def found() -> Launch:
    """This process among those that torchrun started; alone it is one of one."""
    rank, size, local = (
        int(os.environ.get(name, default))
        for name, default in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_WORLD_SIZE", "1"))
    )
    return Launch(rank=rank, size=size, local=local)
