"""The type of a lint rule: number, affected runtimes, and a function that finds breaches; known faults in force.

Knows no rule.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import TypeAlias

from edge_sdk.calibration.draft import Draft
from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.ops import operator
from edge_sdk.runtimes import faults

RUNTIMES = ("tensorrt", "openvino", "onnxruntime")


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """rule: "L03". node: name of the node or tensor. what: what is wrong, and for which runtimes. hint: the fix."""

    rule: str
    node: str
    what: str
    hint: str

    def __str__(self) -> str:
        return f"{self.rule} {self.node}: {self.what}. {self.hint}."


Breach: TypeAlias = tuple[str, str]
"""Name of the node or tensor, and what is wrong with it."""


Mender: TypeAlias = Callable[[Draft, Collection[str]], None]
"""Edits a draft so that the named nodes or tensors break a rule no more; what it can't mend it leaves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """affects: the runtimes that refuse the graph, compute something else, or fall back to float because of it. fault:
    the pattern of the known faults without which nothing is wrong (runtimes.faults), "" = always. menders: what may end
    a breach, tried in order; none: a human has to choose."""

    number: str
    affects: tuple[str, ...]
    hint: str
    find: Callable[[Index], Iterator[Breach]]
    fault: str = ""
    menders: tuple[Mender, ...] = ()

    def holds(self, runtimes: Iterable[str]) -> bool:
        """Whether it is a rule for one of `runtimes`, in the version that is here."""
        affected = set(self.affects).intersection(runtimes)
        return bool(affected) and (not self.fault or self.fault in known_faults(affected))

    def check(self, index: Index) -> Iterator[Violation]:
        """Every breach of this rule in one graph."""
        for node, what in self.find(index):
            yield Violation(rule=self.number, node=node, what=what, hint=self.hint)


def known_faults(runtimes: Iterable[str]) -> frozenset[str]:
    """Patterns of the faults that int8 graphs for `runtimes` are planned around: those of the versions installed here,
    and all of a runtime that is not here. Read from the packages, since an import takes a second."""
    return frozenset().union(*(faults.planned_around(one, _installed(one)) for one in runtimes))


def _installed(runtime: str) -> str | None:
    try:
        return metadata.version(runtime)  # OpenVINO's and ONNX Runtime's packages have the runtimes' names
    except metadata.PackageNotFoundError:
        return None


ALL = RUNTIMES
TRT = ("tensorrt",)
OV = ("openvino",)
ORT = ("onnxruntime",)
TRT_OV = ("tensorrt", "openvino")
OV_ORT = ("openvino", "onnxruntime")


def broken_operators(number: str) -> Callable[[Index], Iterator[Breach]]:
    """Operators that break rule `number` wherever they stand, by the operator table."""

    def find(index: Index) -> Iterator[Breach]:
        for node in index.model.graph.node:
            row = operator(node)
            if row.broken_rule == number:
                yield node.name, f"{node.op_type}: {row.broken_why}"

    return find
