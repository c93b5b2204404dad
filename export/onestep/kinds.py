"""The kinds of networks that a generator can be: how each is described in files, made again, and written as a graph.

One table. Knows files and graphs of each kind by their modules; trains nothing.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from edge_sdk.errors import BadUsage
from edge_sdk.export.onestep import diffusers_folder, diffusers_teacher, unet
from edge_sdk.export.onestep.diffusers_teacher import DiffusersTeacher
from edge_sdk.export.onestep.graph import KEPT, generator_graph
from edge_sdk.export.onestep.teacher import NetworkTeacher, TeacherFacts
from edge_sdk.export.onestep.unet import UNet
from edge_sdk.export.training.identity import digest, digest_of_weights

Generating: TypeAlias = "NetworkTeacher | DiffusersTeacher"
"""A denoiser whose `network` can be kept and drawn with."""
Graph: TypeAlias = tuple[bytes, tuple[str, ...]]
"""A serialized model, and names of its nodes that stay float in int8."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkKind:
    """name: in files. of: the class of its denoisers. described: a denoiser's network as JSON. made: a denoiser without
    weights on torch's device "meta", of what `described` said; raises KeyError, TypeError, BadUsage, BadInput or
    NotThere. graph: of a denoiser called once, at a sigma."""

    name: str
    of: type[Generating]
    described: Callable[[Any], Mapping[str, Any]]
    made: Callable[[Mapping[str, Any], TeacherFacts], Generating]
    graph: Callable[[Any, float], Graph]


def _own(described: Mapping[str, Any], facts: TeacherFacts) -> NetworkTeacher:
    with torch.device("meta"):
        return NetworkTeacher(UNet(unet.layout_described(described)), facts)


def _own_graph(net: NetworkTeacher, sigma: float) -> Graph:
    assert isinstance(net.network, UNet)
    return generator_graph(net.network, sigma, net.facts.sigma_data), KEPT


def _of_diffusers(described: Mapping[str, Any], facts: TeacherFacts) -> DiffusersTeacher:
    layout = diffusers_folder.layout_described(described, where="the stored network")
    return diffusers_teacher.empty(layout, facts, where="the stored network")


def _diffusers_graph(net: DiffusersTeacher, sigma: float) -> Graph:
    from edge_sdk.export.onestep import diffusers_graph  # torch's exporter: seconds to import

    return diffusers_graph.generator_graph(net, sigma)


UNET = NetworkKind(
    name="unet", of=NetworkTeacher, described=lambda net: dataclasses.asdict(net.network.layout), made=_own,
    graph=_own_graph,
)  # fmt: skip
DIFFUSERS = NetworkKind(
    name="diffusers", of=DiffusersTeacher, described=lambda net: diffusers_folder.described(net.layout),
    made=_of_diffusers, graph=_diffusers_graph,
)  # fmt: skip
KINDS: Mapping[str, NetworkKind] = {kind.name: kind for kind in (UNET, DIFFUSERS)}


def kind_of(net: Generating) -> NetworkKind:
    """The entry of `KINDS`."""
    return next(kind for kind in KINDS.values() if isinstance(net, kind.of))


def generating(net: object) -> Generating:
    """The same. Raises BadUsage for a denoiser that can't be kept."""
    if isinstance(net, (NetworkTeacher, DiffusersTeacher)):
        return net
    raise BadUsage(f"a generator that is a {type(net).__name__} can't be kept: no kind of network is known for it")


def digest_of(net: Generating) -> str:
    """16 hexadecimal digits of a denoiser: its weights, and what is said of its network, which changes what the same
    weights answer."""
    said = json.dumps(kind_of(net).described(net), sort_keys=True)
    return digest({"weights": digest_of_weights(net), "network": said})
