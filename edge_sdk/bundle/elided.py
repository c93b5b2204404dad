"""Graphs with elided ranges: weights that several graphs share are cut out, stored once, and put back on loading.

Knows bytes and ranges; the archive, the manifest's rules and the meaning of a graph are elsewhere.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edge_sdk.bundle.manifest import ElidedRange
from edge_sdk.errors import BadInput
from edge_sdk.runtimes.onnx_file import ByteRange, read_standard

MIN_BYTES = 1024
"""Shorter weights stay in the graph: a member and a range cost about 300 bytes of headers, padding and manifest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One graph as it goes into the archive. data: the file without the bytes of its elided ranges."""

    data: bytes
    elided: tuple[ElidedRange, ...]


def cut(graphs: Mapping[str, bytes]) -> tuple[dict[str, Stored], dict[str, bytes]]:
    """(graph name -> its stored form, member name -> weights). A weight that occurs once in all graphs is not cut out.

    Raises BadInput for a file that is not a self-contained ONNX file.
    """
    ranges = {name: _large(graph, name) for name, graph in graphs.items()}
    digests = {name: [_digest(graphs[name], part) for part in parts] for name, parts in ranges.items()}
    seen = Counter(digest for found in digests.values() for digest in found)
    stored: dict[str, Stored] = {}
    weights: dict[str, bytes] = {}
    owners: dict[str, str] = {}
    for name, graph in graphs.items():
        elided: list[ElidedRange] = []
        for part, digest in zip(ranges[name], digests[name], strict=True):
            if seen[digest] < 2:
                continue
            member = f"weights/{digest[:16]}.bin"
            if owners.setdefault(member, digest) != digest:
                raise BadInput(
                    f"two different weights share the name {member}", where=name, hint="Pack the graphs apart"
                )
            weights.setdefault(member, graph[part.offset : part.end])
            elided.append(ElidedRange(offset=part.offset, length=part.length, member=member, source_offset=0))
        stored[name] = Stored(data=_without(graph, elided), elided=tuple(elided))
    return stored, weights


def fill(stored: memoryview, elided: Sequence[ElidedRange], read: Callable[[str], memoryview]) -> bytes:
    """The whole file: `stored` with the bytes of each range put back. Ranges are in order and in range (rules.py)."""
    pieces: list[memoryview] = []
    taken = written = 0
    for part in elided:
        kept = part.offset - written
        pieces.append(stored[taken : taken + kept])
        pieces.append(read(part.member)[part.source_offset : part.source_offset + part.length])
        taken, written = taken + kept, part.offset + part.length
    pieces.append(stored[taken:])
    return b"".join(pieces)


def _large(graph: bytes, name: str) -> list[ByteRange]:
    return [part for part in read_standard(graph, name=name).weights if part.length >= MIN_BYTES]


def _digest(graph: bytes, part: ByteRange) -> str:
    return hashlib.sha256(memoryview(graph)[part.offset : part.end]).hexdigest()


def _without(graph: bytes, elided: Sequence[ElidedRange]) -> bytes:
    view, pieces, at = memoryview(graph), [], 0
    for part in elided:
        pieces.append(view[at : part.offset])
        at = part.offset + part.length
    return b"".join([*pieces, view[at:]])
