"""Pretrained networks that a PDN teacher can be distilled from: two stages of features each. Knows no loss."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from edge_sdk.errors import BadInput, NotThere
from edge_sdk.export import tensors_file
from edge_sdk.export.efficientad.pdn.network import normalised
from edge_sdk.export.trunk.lite0 import BLOCKS, load_trunk, stride_of
from edge_sdk.extras import need


class Backbone(Protocol):
    """Two stages of one frozen network. Each normalises pictures in its own way."""

    @property
    def name(self) -> str: ...
    @property
    def strides(self) -> tuple[int, int]:
        """Input pixels per cell of the first and of the second stage; the first is the smaller."""

    @property
    def channels(self) -> tuple[int, int]: ...
    @property
    def centre(self) -> int:
        """The input pixel that the first stage's cell 0 is centred on: 0 where strided layers pad both sides alike."""

    def stages(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Both stages, float (N, C, h, w), of uint8 RGB pictures (N, H, W, 3). No gradient."""


class Lite0Stages:
    """Two blocks of EfficientNet-Lite0, whose weights ship with the product: needs no download and no licence question.

    The default blocks 4 and 10 have strides 8 and 16 as layer2 and layer3 of a ResNet have, 40 and 112 channels.
    """

    def __init__(self, blocks: tuple[int, int] = (4, 10), *, weights: Path | None = None) -> None:
        self._blocks = blocks
        self._trunk = load_trunk(max(blocks), weights)

    @property
    def name(self) -> str:
        return f"EfficientNet-Lite0, blocks {self._blocks[0]} and {self._blocks[1]}"

    @property
    def strides(self) -> tuple[int, int]:
        return stride_of(self._blocks[0]), stride_of(self._blocks[1])

    @property
    def channels(self) -> tuple[int, int]:
        return BLOCKS[self._blocks[0]].outputs, BLOCKS[self._blocks[1]].outputs

    @property
    def centre(self) -> int:
        # TensorFlow's "same" padding puts the odd zero behind: each halving looks one cell further right and down.
        return self.strides[0] - 1

    @torch.no_grad()
    def stages(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        found = self._trunk(pictures, self._blocks)
        return found[self._blocks[0]], found[self._blocks[1]]


class WideResNetStages:
    """layer2 and layer3 of torchvision's wide_resnet101_2, the backbone of the published teachers.

    weights: torchvision's own state dict file (wide_resnet101_2-*.pth), which the user has downloaded. Raises NotThere
    if torchvision or the file is missing, BadInput if the file is something else.
    """

    name = "WideResNet-101-2, layer2 and layer3"
    strides = (8, 16)
    channels = (512, 1024)
    centre = 0

    def __init__(self, weights: Path) -> None:
        models = need("torchvision.models", extra="distill")
        if not weights.is_file():
            raise NotThere(
                "the weights of WideResNet-101-2 are not there",
                where=str(weights), hint="Download wide_resnet101_2 from torchvision's model zoo and name the file",
            )  # fmt: skip
        net = models.wide_resnet101_2(weights=None)
        state = tensors_file.weights_of(weights)
        try:
            net.load_state_dict(state)  # older files lack counts of batches: torch knows them by their version
        except RuntimeError as exc:
            raise BadInput(
                f"not a state dict of WideResNet-101-2: {str(exc).splitlines()[0]}", where=str(weights)
            ) from exc
        if bad := next((name for name, tensor in state.items() if not tensors_file.is_finite(tensor)), ""):
            raise BadInput(f"{bad} holds NaN or infinity", where=str(weights), hint="Copy the file again")
        self._stem = torch.nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool, net.layer1, net.layer2).eval()
        self._deep = net.layer3.eval()

    @torch.no_grad()
    def stages(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        first = torch.as_tensor(self._stem(normalised(pictures)))
        return first, torch.as_tensor(self._deep(first))
