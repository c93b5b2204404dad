"""The optimiser of this family's trainings: AdamW in three groups. Knows no loss and no schedule."""

from __future__ import annotations

import torch
from torch import nn


def adamw(
    net: nn.Module, *, pretrained: str, rate: float, pretrained_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """pretrained: prefix of the parameters that come trained, "" = none: they have their own rate and no decay. Norms,
    biases and single numbers have no decay either. The groups' order is in checkpoints."""
    named = [(name, p) for name, p in net.named_parameters() if p.requires_grad]
    trunk = [p for name, p in named if pretrained and name.startswith(pretrained)]
    known = {id(p) for p in trunk}
    plain, decayed = ([p for _, p in named if id(p) not in known and (p.ndim > 1) is many] for many in (False, True))
    groups = [
        {"params": trunk, "lr": pretrained_rate, "weight_decay": 0.0},
        {"params": decayed, "lr": rate, "weight_decay": weight_decay},
        {"params": plain, "lr": rate, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]])
