"""`inspect`: a summary of a bundle. Knows no terminal; the command line prints it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from edge_sdk import tasks
from edge_sdk.bundle.manifest import Graph, Manifest, Preprocessing
from edge_sdk.bundle.rules import DECISIONS, SITE_SIGNATURE
from edge_sdk.bundle.signing import SignatureStatus, Trust
from edge_sdk.bundle.store import Bundle
from edge_sdk.decision.record import Record
from edge_sdk.errors import EdgeError
from edge_sdk.tasks.base import Task, task_code


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberSummary:
    """offset: of the data from the file's start, a multiple of 64."""

    name: str
    part: Literal["sealed", "site"]
    offset: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphSummary:
    """size_bytes: of the whole ONNX file; stored_bytes: of its own member, elided ranges left out."""

    name: str
    role: str
    variant: str
    layout: str
    size_bytes: int
    stored_bytes: int
    elided: int
    opset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleSummary:
    """One checked bundle. task: (name, text) of what the task keeps in it.

    shared_bytes_saved: graphs whole, less graphs and weights as they are stored.
    """

    path: str
    size_bytes: int
    digest: str
    manifest: Manifest
    task: tuple[tuple[str, str], ...]
    members: tuple[MemberSummary, ...]
    graphs: tuple[GraphSummary, ...]
    decisions: tuple[Record, ...]
    signature: SignatureStatus
    shared_bytes_saved: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, for `--json`."""
        value: dict[str, Any] = msgspec.to_builtins(self)
        return value


def inspect(path: Path | str, *, trust: Trust = "if-present") -> BundleSummary:
    """Open a bundle with every check and summarize it. Raises as `Bundle.open`."""
    with Bundle.open(path, trust=trust) as bundle:
        manifest = bundle.manifest
        task, unknown = _task(bundle)
        return BundleSummary(
            path=str(path),
            size_bytes=bundle.size_bytes,
            digest=bundle.digest,
            manifest=manifest,
            task=(*_input(manifest.preprocessing), *(_settings(task, bundle) if task is not None else unknown)),
            members=tuple(
                MemberSummary(
                    name=entry.name,
                    part="site" if entry.name in (DECISIONS, SITE_SIGNATURE) else "sealed",
                    offset=entry.start,
                    size_bytes=entry.size_bytes,
                )
                for entry in bundle.entries.values()
            ),
            graphs=tuple(_graph(graph, manifest) for graph in manifest.graphs),
            decisions=bundle.records(task.records if task is not None else ()),
            signature=bundle.signature,
            shared_bytes_saved=_saved(manifest),
        )


def _task(bundle: Bundle) -> tuple[Task | None, list[tuple[str, str]]]:
    """The bundle's task; for an unknown task None and why, since everything else can still be shown."""
    try:
        return tasks.task(bundle.manifest.task, where=str(bundle.path)), []
    except EdgeError as exc:
        return None, [("task", str(exc.args[0]))]


def _settings(task: Task, bundle: Bundle) -> list[tuple[str, str]]:
    """What the task shows of its settings; a fault of its code is shown in their place, as an unknown task is."""
    try:
        with task_code(task, "summary", where=str(bundle.path)):
            return task.summary(bundle)
    except EdgeError as exc:
        return [("task", str(exc.args[0]))]


def _input(p: Preprocessing | None) -> list[tuple[str, str]]:
    """How pictures become the input, for tasks that take pictures."""
    if p is None:
        return []
    wide = f"are read as {p.bit_depth} bits" if p.bit_depth else "are refused"
    border = f", border {p.border} px" if p.border else ""
    return [("input", f"{p.width} x {p.height} px, {p.mode}{border}, 16-bit pictures {wide}")]


def _graph(graph: Graph, manifest: Manifest) -> GraphSummary:
    return GraphSummary(
        name=graph.name,
        role=graph.role,
        variant=graph.variant,
        layout=graph.layout,
        size_bytes=graph.size_bytes,
        stored_bytes=manifest.members[graph.member].size_bytes,
        elided=len(graph.elided),
        opset=graph.opset,
    )


def _saved(manifest: Manifest) -> int:
    stored = {graph.member for graph in manifest.graphs}
    stored |= {part.member for graph in manifest.graphs for part in graph.elided}
    return sum(graph.size_bytes for graph in manifest.graphs) - sum(manifest.members[m].size_bytes for m in stored)
