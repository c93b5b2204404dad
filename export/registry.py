"""The families that are known here, by name: the product's own, and those of other packages. Importing it imports none.

A new family is a folder beside this file and a line in `_HOMES`; a package of others adds one through the entry point
group `edge_sdk.families`, whose entries are callables without arguments that make a `Family`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_sdk import plugins
from edge_sdk.counted import did_you_mean
from edge_sdk.errors import BadUsage
from edge_sdk.extras import need
from edge_sdk.shown import shown

if TYPE_CHECKING:
    from edge_sdk.export.family import Family, FamilyOptions

GROUP = "edge_sdk.families"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Home:
    """Where one of our families lives. options: its dataclass, in a module that imports no training framework."""

    module: str
    attribute: str
    options: tuple[str, str]
    task: str
    about: str

    @property
    def demo(self) -> str:
        """What its demo does: `DEMO` in the module of its options."""
        words: str = need(self.options[0], extra="export").DEMO
        return words


_HOMES: Mapping[str, _Home] = {
    "efficientad": _Home(
        module="edge_sdk.export.efficientad.family", attribute="EfficientAD",
        options=("edge_sdk.export.efficientad.options", "EfficientAdOptions"), task="anomaly",
        about="EfficientAD: finds defects, learns from photos of good parts alone.",
    ),
    "tinysam": _Home(
        module="edge_sdk.export.tinysam.family", attribute="TinySAM",
        options=("edge_sdk.export.tinysam.options", "TinySamOptions"), task="segmentation",
        about="TinySAM: segments the object at a point or in a box, or every object of a picture.",
    ),
    "onestep": _Home(
        module="edge_sdk.export.onestep.family", attribute="OneStepGenerators",
        options=("edge_sdk.export.onestep.options", "OneStepOptions"), task="generation",
        about="One-step generators: draws pictures like those it learned from, in one call of a network.",
    ),
}  # fmt: skip
"""In the order of `names`; the first is what `edge-sdk demo` shows unless another one is named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What a command line must know of a family before it trains. task: whose bundles it makes."""

    name: str
    options: type[FamilyOptions]
    task: str
    about: str


def names() -> tuple[str, ...]:
    """Names of all families: the product's own, then those of other packages."""
    return tuple(dict.fromkeys((*_HOMES, *plugins.offered(GROUP))))


def abouts() -> dict[str, str]:
    """One sentence on each family; loads none."""
    return {
        name: _HOMES[name].about
        if name in _HOMES
        else f"From the package {plugins.package_of(plugins.offered(GROUP)[name])}."
        for name in names()
    }


def demo_about(name: str) -> str:
    """What the demo of a family does and how long it takes, "" = it has none or says nothing. Raises as `family`; only
    a plug-in is loaded for it."""
    if name in _HOMES:
        return _HOMES[name].demo
    found = family(name).demo
    return "" if found is None else found.about


def family(name: str) -> Family:
    """The family called `name`. Raises BadUsage if there is none, NotThere where its packages are missing or its
    plug-in does not load. The product's own names can't be taken by others."""
    if name in _HOMES:
        home = _HOMES[name]
        own: Family = getattr(need(home.module, extra="export"), home.attribute)()
        return own
    offered = plugins.offered(GROUP)
    if name not in offered:
        raise BadUsage(
            f"there is no family {shown(name)[:80]}", hint=f"{did_you_mean(name, names())}One of {', '.join(names())}"
        )
    from edge_sdk.export.family import Family as Kind

    made: Family = plugins.made(offered[name], Kind)
    return made


def described(name: str) -> Described:
    """Its options and task; imports a training framework only where a plug-in does. Raises as `family`."""
    if name in _HOMES:
        home = _HOMES[name]
        module, attribute = home.options
        options: type[FamilyOptions] = getattr(need(module, extra="export"), attribute)
        return Described(name=name, options=options, task=home.task, about=home.about)
    made = family(name)
    return Described(name=name, options=made.options, task=made.task, about=abouts()[name])
