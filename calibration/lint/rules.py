"""The type of a lint rule: what it finds, what each runtime makes of that, and what mends it; known faults in force.

Knows no single rule.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Literal, TypeAlias

from edge_sdk.calibration.graphs import Index
from edge_sdk.calibration.lint.draft import Draft
from edge_sdk.runtimes import faults

RUNTIMES = ("tensorrt", "openvino", "onnxruntime")
NAMES = {"tensorrt": "TensorRT", "openvino": "OpenVINO", "onnxruntime": "ONNX Runtime"}

Effect: TypeAlias = Literal["refused", "wrong", "float", "slow", "open", "unsure"]
"""What a runtime does with a graph that breaks a rule. refused: does not load, build or run it. wrong: other values
than the standard's, and no error. float: what was to be int8 is computed in float. slow: takes more steps. open: what
it answers is not defined, and may change from run to run. unsure: some graphs of the kind are refused or run in float,
or some versions do so."""

SAYS: Mapping[Effect, tuple[str, str]] = {
    "refused": ("refuses it", "refuse it"), "wrong": ("computes other values", "compute other values"),
    "float": ("runs it in float", "run it in float"), "slow": ("takes more steps", "take more steps"),
    "open": ("may answer anything", "may answer anything"),
    "unsure": ("does not always take it", "do not always take it"),
}  # fmt: skip
"""Of one runtime, and of several."""

Fix: TypeAlias = Literal["", "exact", "values"]
"""Whether `mend` has an answer: none, one that keeps every output, one that changes values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """rule: "L03". node: name of the node or tensor. what: what is wrong, and what each runtime makes of it. hint: the
    fix. fix: whether `edge-sdk lint --fix` mends it ("exact"), or `--fix-all` ("values"). depends: on the values that
    pass through; the graph is quantized all the same."""

    rule: str
    node: str
    what: str
    hint: str
    fix: Fix = ""
    depends: bool = False

    def __str__(self) -> str:
        return f"{self.rule} {self.node}: {self.what}. {self.hint}."


Found: TypeAlias = tuple[str, str]
"""A violation before its rule words it: name of the node or tensor, and what is wrong with it."""

Finder: TypeAlias = Callable[[Index], Iterator[Found]]

Mender: TypeAlias = Callable[[Draft, Collection[str]], None]
"""Edits a draft so that the named nodes or tensors break a rule no more; what it can't mend it leaves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule; several may share a number where runtimes take one form and refuse another.

    title: what is in the graph, for the table of all rules. claims: effect by runtime, for those that are affected;
    each was measured (tests/calibration/test_lint_claims.py). fault: the pattern of the known faults of runtimes
    without which nothing is wrong (runtimes.faults), "" = always. fix: what the menders do to every violation whose
    scales and zero points are stored (tests/calibration/test_mend.py). menders: tried in order. whole: about the model,
    not a graph inside it. depends: nothing is wrong unless values go where they must not.
    """

    number: str
    title: str
    claims: Mapping[str, Effect]
    hint: str
    find: Finder
    fault: str = ""
    fix: Fix = ""
    menders: tuple[Mender, ...] = ()
    whole: bool = False
    depends: bool = False

    def holds(self, runtimes: Iterable[str]) -> bool:
        """Whether it is a rule for one of `runtimes`, in the version that is here."""
        affected = set(self.claims).intersection(runtimes)
        return bool(affected) and (not self.fault or self.fault in known_faults(affected))

    def check(self, index: Index, runtimes: Iterable[str] = RUNTIMES) -> Iterator[Violation]:
        """Every violation of this rule in one graph, in the words for `runtimes`."""
        return self.words(self.find(index), runtimes)

    def words(self, found: Iterable[Found], runtimes: Iterable[str] = RUNTIMES) -> Iterator[Violation]:
        """The violations of what `find`, or another function, found."""
        effects = consequences({one: self.claims[one] for one in RUNTIMES if one in self.claims and one in runtimes})
        for node, what in found:
            yield Violation(
                rule=self.number, node=node, what=f"{what}: {effects}", hint=self.hint, fix=self.fix,
                depends=self.depends,
            )  # fmt: skip


def consequences(claims: Mapping[str, Effect]) -> str:
    """ "TensorRT and OpenVINO refuse it, ONNX Runtime runs it in float" """
    parts = []
    for effect, (one, several) in SAYS.items():
        names = [NAMES[runtime] for runtime, claimed in claims.items() if claimed == effect]
        if names:
            subject = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
            parts.append(f"{subject} {several if len(names) > 1 else one}")
    return ", ".join(parts)


def claim(effect: Effect, *runtimes: str) -> dict[str, Effect]:
    """The same effect for each of `runtimes`; for all if none is named."""
    return dict.fromkeys(runtimes or RUNTIMES, effect)


def known_faults(runtimes: Iterable[str]) -> frozenset[str]:
    """Patterns of the faults that int8 graphs for `runtimes` are planned around: those of the versions installed here,
    and all of a runtime that is not here. Read from the packages, since an import takes a second."""
    return frozenset().union(*(faults.planned_around(one, _installed(one)) for one in runtimes))


def _installed(runtime: str) -> str | None:
    try:
        return metadata.version(runtime)  # OpenVINO's and ONNX Runtime's packages have the runtimes' names
    except metadata.PackageNotFoundError:
        return None


TRT, OV, ORT = RUNTIMES
