"""Torch modules as users write them, and some that can't be exported; found by its import name."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Pair(NamedTuple):
    """What a module may answer."""

    logits: Tensor
    cells: Tensor


class Net(nn.Module):
    """float32 NCHW pictures to logits (N, 5) and a map."""

    def __init__(self, width: int = 8, *, named: bool = False) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, width, 3, stride=2), nn.BatchNorm2d(width)
        self.second, self.head = nn.Conv2d(width, 16, 3), nn.Linear(16, 5)
        self.drop, self.named = nn.Dropout(), named

    def forward(self, image: Tensor) -> Pair | dict[str, Tensor]:
        x = torch.relu(self.second(torch.relu(self.norm(self.first(image)))))
        logits = self.head(self.drop(x.mean((2, 3))))
        return Pair(logits, x) if self.named else {"logits": logits, "cells": x}


def make(width: int = 8, named: bool = False) -> Net:
    torch.manual_seed(0)
    net = Net(width, named=named)
    nn.init.uniform_(net.norm.running_mean, -0.5, 0.5)
    nn.init.uniform_(net.norm.running_var, 0.5, 2.0)
    return net


def half() -> nn.Module:
    return make().half()


class Pixels(nn.Module):
    """Takes uint8 NHWC pictures itself, and turns them before it casts them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)

    def forward(self, image: Tensor) -> Tensor:
        return torch.relu(self.first(image.permute(0, 3, 1, 2).float() / 255))


class Order(nn.Module):
    """Two inputs; the order of `--input` is not that of forward."""

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return a - 2 * b, (a > b).to(torch.int64)


class Tied(nn.Module):
    """One parameter by two names, which safetensors keeps once."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.two.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.two(torch.relu(self.one(x))))


class Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return x + 1
        return x - 1


class Random(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x)


class Specialized(nn.Module):
    """Another path for sizes that are no multiple of 4, which tracing at one that is does not see."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 3 if x.shape[1] % 4 == 0 else x * 2


class Text(nn.Module):
    def forward(self, x: Tensor) -> str:
        return "text"


def failing() -> nn.Module:
    raise RuntimeError("no licence for\nthis model")


def number() -> int:
    return 5


SIZE = 3
READY = Order()
