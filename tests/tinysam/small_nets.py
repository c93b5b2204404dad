"""The small size for tests: at a small side, with norms and heads that are not as they begin. Knows no test."""

from __future__ import annotations

from functools import cache

import torch
from torch import nn

from edge_sdk.export.tinysam.small.model import SmallModel

SIDE = 128


@cache
def network(seed: int = 0) -> SmallModel:
    """The trunk that ships with everything behind it drawn at random, in evaluation mode; made once, not to be changed.

    Statistics of norms are drawn too, or folding them would not be seen; the last convolution is drawn larger than a
    training begins with, or every mask would be the map that it starts from.
    """
    torch.manual_seed(seed)
    net = SmallModel(SIDE)
    for name, module in net.named_modules():
        if isinstance(module, nn.BatchNorm2d) and ".blocks." not in f".{name}" and ".stem." not in f".{name}":
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0.0, 0.3)
            module.running_var.uniform_(0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.2)
    nn.init.normal_(net.decoder.logit.weight, std=0.3)
    nn.init.normal_(net.encoder.sides[-1].weight, std=0.1)
    return net.eval()
