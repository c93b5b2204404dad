"""The ONNX graph of a generator that is a network of diffusers', traced, its one sigma folded. Knows no training.

torch's exporter writes the network; what depends on sigma alone becomes constants before it does: the embedding of the
step, and without classes what each block makes of it. The grey levels behind it are the family's own (`graph.grey`).
"""

from __future__ import annotations

import copy
from typing import Any

import onnx
import onnx.compose
import torch
from torch import Tensor, nn

from edge_sdk.calibration.graphs import opset_of
from edge_sdk.export.models.input_spec import FreeAxis, InputSpec
from edge_sdk.export.models.torch_module import exported
from edge_sdk.export.onestep.diffusers_teacher import DiffusersTeacher, parts
from edge_sdk.export.onestep.graph import GREY, GREY_PLUS, write_picture
from edge_sdk.export.onestep.teacher import TeacherFacts
from edge_sdk.export.onnx_graph import GraphBuilder
from edge_sdk.tasks.generation.asked import LABEL, NOISE
from edge_sdk.tensors import BATCH

MOST_ROWS = 63
"""Of the batch while it is traced: from 64 on diffusers (0.35 to 0.42) copies tensors, a branch that the exporter can't
follow and that changes no value. The graph takes any number."""


class Fixed(nn.Module):
    """Answers the same (1, width) whatever it is asked."""

    value: Tensor

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.register_buffer("value", value)

    def forward(self, _: Tensor) -> Tensor:
        return self.value


class OneCall(nn.Module):
    """Standard normal noise (N, C, H, W), and labels (N,) of a network with classes, to pictures in [-1, 1], by one
    call at `sigma`."""

    def __init__(self, teacher: DiffusersTeacher, sigma: float) -> None:
        super().__init__()
        self.channels = teacher.facts.channels
        self.network = folded(teacher, sigma)
        # Pictures in [0, 1] are half as far apart: x is then sigma / 2 z + 1 / 2, and the answer goes back.
        half, self.shift = (2.0, 0.5) if teacher.layout.from_zero else (1.0, 0.0)
        found = parts(teacher.layout.prediction, sigma / half)
        self.into, self.noise = float(found.into), sigma / half
        self.skip, self.out = half * float(found.skip), half * float(found.out)
        self.back = 1.0 if teacher.layout.from_zero else 0.0

    def forward(self, noise: Tensor, label: Tensor | None = None) -> Tensor:
        noisy = self.noise * noise + self.shift
        step = torch.zeros(1)  # it is folded, and looked at by nobody
        answer = self.network(self.into * noisy, step, label, return_dict=False)[0][:, : self.channels]
        out: Tensor = self.skip * noisy + self.out * answer - self.back
        return out


@torch.no_grad()
def folded(teacher: DiffusersTeacher, sigma: float) -> nn.Module:
    """A copy of the network that knows one step alone: its embedding is a constant, and without classes so is what each
    block adds. Computed in float64."""
    network: Any = copy.deepcopy(teacher.network).to("cpu").eval().requires_grad_(False)
    step = teacher.steps(torch.tensor([sigma / 2.0 if teacher.layout.from_zero else sigma]))
    embedded = exact(network.time_embedding)(network.time_proj(step).to(torch.float64))
    network.time_proj, network.time_embedding = nn.Identity(), Fixed(embedded.to(torch.float32))
    if network.class_embedding is None:
        for block in network.modules():
            if getattr(block, "time_emb_proj", None) is not None:
                active = embedded if block.skip_time_act else block.nonlinearity(embedded)
                block.time_emb_proj = Fixed(exact(block.time_emb_proj)(active).to(torch.float32))
    made: nn.Module = network
    return made


def exact(module: nn.Module) -> nn.Module:
    """A copy in float64. Of parts: diffusers warns of a whole network's."""
    return copy.deepcopy(module).to(torch.float64)


def generator_graph(teacher: DiffusersTeacher, sigma: float) -> tuple[bytes, tuple[str, ...]]:
    """The serialized model, as `graph.generator_graph` makes it, and the names of its first and last convolution.

    Raises CheckFailed where it does not answer what the network answers, BadInput where torch can't export it.
    """
    facts = teacher.facts
    rows = FreeAxis(name=BATCH, low=1, high=MOST_ROWS)
    inputs = [InputSpec(name=NOISE, dtype="float32", axes=(rows, facts.channels, facts.side, facts.side))]
    if facts.classes:
        inputs.append(InputSpec(name=LABEL, dtype="int64", axes=(rows,)))
    user, _ = exported(OneCall(teacher, sigma).eval(), inputs, where="the generator")
    model = onnx.load_from_string(user.onnx)
    convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"]
    behind = onnx.load_from_string(_grey_levels(facts, opset_of(model)))
    behind.ir_version = model.ir_version
    whole = onnx.compose.merge_models(model, behind, io_map=[(model.graph.output[0].name, _DRAWN)])
    return whole.SerializeToString(), (convolutions[0], convolutions[-1])


_DRAWN = "drawn"


def _grey_levels(facts: TeacherFacts, opset: int) -> bytes:
    """The graph from pictures in [-1, 1], (N, C, H, W), to the output "image"."""
    g = GraphBuilder("grey levels", opset=opset)
    drawn = g.input(_DRAWN, "float32", (BATCH, facts.channels, facts.side, facts.side))
    grey = g.arithmetic("Add", g.arithmetic("Mul", drawn, GREY, name="stretched"), GREY_PLUS, name="grey")
    write_picture(g, grey, channels=facts.channels, side=facts.side)
    return g.finish()
