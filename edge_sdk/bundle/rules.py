"""What a manifest must hold beyond its types: places, sizes and numbers that agree with each other and the archive.

Pure; knows names and sizes of members, never their content.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from edge_sdk.bundle.layout import name_fault
from edge_sdk.bundle.manifest import (
    SCHEMA,
    ElidedRange,
    GoldenSample,
    Graph,
    Manifest,
    Preprocessing,
    StoredArray,
)
from edge_sdk.errors import BadBundle
from edge_sdk.extras import UPDATE
from edge_sdk.strict_json import GET_AGAIN
from edge_sdk.tensors import BATCH, TensorSpec

MANIFEST = "manifest.json"
DECISIONS = "decision.json"
SEALED_SIGNATURE = "signatures/sealed.sig"
SITE_SIGNATURE = "signatures/site.sig"
RESERVED = (MANIFEST, SEALED_SIGNATURE, DECISIONS, SITE_SIGNATURE)
"""Members that no manifest declares, in the order in which they stand; sealed members come behind the first."""

MAX_GRAPHS = 64
MAX_GRAPH_BYTES = 2**31 - 1  # protobuf's own limit
MAX_GROWTH = {"raw": 8}
"""By coder, how much larger the elided ranges of one graph may be than the members that fill them. A small member that
is repeated without limit would be a decompression bomb."""
MAX_TENSORS = 64
"""Inputs of one graph, and outputs of one."""
MAX_TENSOR_NAME = 200
MAX_AXIS = 2**20
MAX_SIDE_PX = 16_384
_SHA256 = re.compile(r"[0-9a-f]{64}")
_GRAPH_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,79}")
_AXIS = re.compile(r"[A-Za-z0-9_][^\x00-\x1f]{0,79}")
_VERSION = re.compile(r"[0-9A-Za-z.+-]{1,40}")


class Broken(Exception):
    """A rule that does not hold, as a sentence part; becomes BadBundle in `read_manifest`."""


def read_manifest(value: Any, *, where: str) -> Manifest:
    """The typed manifest of parsed JSON. Raises BadBundle: newer schema, missing or ill-typed fields."""
    newer = _check_schema(value, where)
    try:
        return msgspec.convert(value, Manifest)
    except msgspec.ValidationError as exc:
        note = f" (its schema {value['schema']} is newer than {SCHEMA}, which this version reads)" if newer else ""
        hint = _update(value) if newer else GET_AGAIN
        raise BadBundle(f"{MANIFEST} is not a manifest{note}: {exc}", where=where, hint=hint) from exc


def check_manifest(manifest: Manifest, sizes: Mapping[str, int], *, where: str) -> None:
    """All rules. sizes: of every sealed member in the archive, the manifest left out. Raises BadBundle."""
    try:
        _check_members(manifest, sizes)
        if manifest.preprocessing is not None:
            _check_preprocessing(manifest.preprocessing)
        _check_graphs(manifest)
        for index, sample in enumerate(manifest.golden):
            _check_golden(f"golden sample {index}", sample, manifest)
    except Broken as exc:
        raise BadBundle(f"{MANIFEST}: {exc}", where=where, hint=GET_AGAIN) from exc


def _check_schema(value: Any, where: str) -> bool:
    """True if the minor version is newer than this reader's."""
    schema = value.get("schema") if isinstance(value, dict) else None
    match = re.fullmatch(r"([0-9]{1,4})\.([0-9]{1,4})", schema) if isinstance(schema, str) else None
    if match is None:
        raise BadBundle(f"{MANIFEST} states no schema version", where=where, hint=GET_AGAIN)
    major, minor = int(match[1]), int(match[2])
    own_major, own_minor = (int(part) for part in SCHEMA.split("."))
    if major > own_major:
        what = f"has schema {schema}; this version reads {own_major}.x"
        raise BadBundle(what, where=where, hint=_update(value))
    if major < own_major:
        raise BadBundle(f"has schema {schema}, older than any release", where=where, hint="Pack the model again")
    return minor > own_minor


def _update(value: Any) -> str:
    provenance = value.get("provenance")
    version = provenance.get("product_version") if isinstance(provenance, dict) else None
    if isinstance(version, str) and _VERSION.fullmatch(version):
        return f"It was written by edge-sdk {version}. {UPDATE}"
    return UPDATE


def _check_members(manifest: Manifest, sizes: Mapping[str, int]) -> None:
    for name, member in manifest.members.items():
        if fault := name_fault(name):
            raise Broken(f"the member name {name[:80]!r} {fault}")
        _need(name not in RESERVED, f"{name} can't be a sealed member")
        _need(bool(_SHA256.fullmatch(member.sha256)), f"the sha256 of {name} is not 64 hexadecimal digits")
    if missing := sorted(set(manifest.members) - set(sizes)):
        raise Broken(f"the member {missing[0]} is not in the archive")
    if extra := sorted(set(sizes) - set(manifest.members)):
        raise Broken(f"the archive holds {extra[0]}, which is not declared")
    for name, size in sizes.items():
        stated = manifest.members[name].size_bytes
        _need(stated == size, f"{name} has {size} bytes, the manifest says {stated}")


def _check_preprocessing(record: Preprocessing) -> None:
    sides = (record.width, record.height)
    _need(all(1 <= side <= MAX_SIDE_PX for side in sides), f"a network input of {sides[0]} x {sides[1]} px can't be")
    _need(0 <= 2 * record.border < min(sides), f"a border of {record.border} px leaves no picture")
    _need(0 <= record.overlap < min(sides), f"tiles can't overlap by {record.overlap} px")
    _need(record.fill == "edge" or 0 <= record.fill <= 255, f"the fill {record.fill} is not a grey level")
    _need(record.bit_depth in (None, 10, 12, 16), f"a bit depth of {record.bit_depth} is not known")


def _check_graphs(manifest: Manifest) -> None:
    names = [graph.name for graph in manifest.graphs]
    _need(1 <= len(names) <= MAX_GRAPHS, f"{len(names)} graphs; 1 to {MAX_GRAPHS} are read")
    _need(len(set(names)) == len(names), "two graphs have one name")
    for graph in manifest.graphs:
        _need(bool(_GRAPH_NAME.fullmatch(graph.name)), f"the graph name {graph.name[:80]!r} is not plain")
        _need(bool(_GRAPH_NAME.fullmatch(graph.role)), f"the role {graph.role[:80]!r} is not plain")
        _check_graph(graph, manifest)


def _check_graph(graph: Graph, manifest: Manifest) -> None:
    name = f"graph {graph.name}"
    _need(graph.member in manifest.members, f"the {name} is in {graph.member[:80]!r}, which is not declared")
    _need(bool(_SHA256.fullmatch(graph.sha256)), f"the sha256 of the {name} is not 64 hexadecimal digits")
    _need(1 <= graph.opset <= 1000, f"the {name} can't have opset {graph.opset}")
    counts = (graph.int8_planned, *graph.int8_ran.values())
    _need(min(counts) >= 0, f"the {name} counts {min(counts)} int8 operators")
    _check_specs(name, graph)
    outputs = {spec.name for spec in graph.outputs}
    for output, tolerance in graph.tolerance.items():
        _need(output in outputs, f"the {name} has a tolerance for {output[:80]!r}, which is no output")
        fits = 0 <= tolerance.absolute <= 1e9 and 0 <= tolerance.relative <= 1 and 0 <= tolerance.distance <= 1
        _need(fits, f"the tolerance of {output} can't be")
    member = manifest.members[graph.member]
    limit = min(MAX_GRAPH_BYTES, member.size_bytes + _most_filled(graph, manifest))
    _need(0 < graph.size_bytes <= limit, f"the {name} can't have {graph.size_bytes} bytes (at most {limit})")
    _check_elided(name, graph.elided, graph.size_bytes, manifest)
    stored = graph.size_bytes - sum(part.length for part in graph.elided)
    _need(
        member.size_bytes == stored,
        f"the {name} has {stored} bytes outside its elided ranges, {graph.member} {member.size_bytes}",
    )
    _need(bool(graph.elided) or member.sha256 == graph.sha256, f"the {name} and {graph.member} have different sha256")


def _most_filled(graph: Graph, manifest: Manifest) -> int:
    """How many bytes the elided ranges of a graph may fill at most, by the members that they take them from."""
    sources = {(part.coder, part.member) for part in graph.elided if part.member in manifest.members}
    return sum(MAX_GROWTH[coder] * manifest.members[member].size_bytes for coder, member in sources)


def _check_elided(name: str, elided: Sequence[ElidedRange], size: int, manifest: Manifest) -> None:
    end = 0
    for index, part in enumerate(elided):
        title = f"elided range {index} of the {name}"
        _need(part.length > 0 and part.offset >= 0, f"{title} has no place")
        _need(part.offset >= end, f"{title} overlaps the one before it, or is out of order")
        end = part.offset + part.length
        _need(end <= size, f"{title} reaches past the end of the graph")
        _need(part.member in manifest.members, f"{title} is filled from {part.member[:80]!r}, which is not declared")
        source = manifest.members[part.member].size_bytes
        fits = part.source_offset >= 0 and part.source_offset + part.length <= source
        _need(fits, f"{title} takes bytes past the end of {part.member}")


def check_tensors(name: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
    """Raises Broken for inputs or outputs that no bundle may have. name: what they belong to, for the sentence."""
    for kind, specs in (("inputs", inputs), ("outputs", outputs)):
        names = [spec.name for spec in specs]
        _need(bool(names), f"the {name} has no {kind}")
        _need(len(names) <= MAX_TENSORS, f"the {name} has {len(names)} {kind}; at most {MAX_TENSORS} are read")
        twice = next((one for one in names if names.count(one) > 1), None)
        _need(twice is None, f"two {kind} of the {name} are called {(twice or '')[:80]!r}")
        for spec in specs:
            _check_spec(name, spec)


def _check_specs(name: str, graph: Graph) -> None:
    check_tensors(name, graph.inputs, graph.outputs)
    batched = any(spec.batched for spec in graph.inputs)
    for spec in graph.outputs:  # other free axes of outputs may be of any size, which the graph decides
        _need(batched or not spec.batched, f"the {name} has the batch {BATCH} in its output {spec.name}, in no input")
    named = {axis for spec in graph.inputs for axis in spec.axes}
    if missing := sorted(named - set(graph.axes)):
        raise Broken(f"the {name} states no largest size of its axis {missing[0][:80]}")
    for axis, most in graph.axes.items():
        _need(axis in named, f"the {name} has no axis {axis[:80]}")
        _need(1 <= most <= MAX_AXIS, f"the axis {axis} of the {name} can't be {most} long")


def _check_spec(name: str, spec: TensorSpec) -> None:
    _need(bool(spec.name), f"a tensor of the {name} has no name")
    _need(
        len(spec.name) <= MAX_TENSOR_NAME,
        f"a tensor of the {name} has a name of {len(spec.name)} letters, {spec.name[:40]}...; at most "
        f"{MAX_TENSOR_NAME} are read",
    )
    fixed = [size for size in spec.shape if isinstance(size, int)]
    plain = all(_AXIS.fullmatch(axis) for axis in spec.axes)
    _need(plain and len(spec.shape) <= 8 and _is_shape(fixed), f"the shape {spec.shape} of {spec.name} can't be")
    # The rows of a batch run in calls of their own, cut and joined along axis 0: elsewhere the name would be a promise
    # that nothing keeps.
    _need(BATCH not in spec.shape[1:], f"{spec.name} of the {name} has the batch {BATCH} at another place than axis 0")
    whole = _count(fixed) * np.dtype(spec.dtype).itemsize
    _need(whole <= MAX_GRAPH_BYTES, f"{spec.name} would need {whole} bytes a sample")


def _check_golden(name: str, sample: GoldenSample, manifest: Manifest) -> None:
    graphs = {graph.name: graph for graph in manifest.graphs}
    for key, array in sample.source.items():
        _need(len(key) <= 200, f"{name}: a source has a long name")
        _check_array(name, array, manifest)
    inputs: dict[str, list[TensorSpec]] = {}
    for graph in manifest.graphs:
        inputs.setdefault(graph.role, []).extend(graph.inputs)
    for role, feeds in sample.feeds.items():
        _need(role in inputs, f"{name} feeds the role {role[:80]!r}, which is not there")
        _check_fed(name, feeds, inputs[role], manifest)
    for graph_name, outputs in sample.outputs.items():
        _need(graph_name in graphs, f"{name} is for the graph {graph_name[:80]!r}, which is not there")
        graph = graphs[graph_name]
        fed = sample.feeds.get(graph.role, {})
        unfed = [spec.name for spec in graph.inputs if spec.name not in fed]
        _need(not unfed, f"{name} has answers of the graph {graph_name} and no feed for its input {unfed[:1]}")
        _check_fed(name, outputs, graph.outputs, manifest)


def _check_fed(name: str, arrays: Mapping[str, StoredArray], specs: Sequence[TensorSpec], manifest: Manifest) -> None:
    """Golden arrays fit the tensors of every graph that they are for: dtype, rank, fixed sizes.

    A sample of another rank than its graph's input would end the first load in a bare IndexError.
    """
    known = {spec.name for spec in specs}
    for key, array in arrays.items():
        _need(key in known, f"{name}: the tensor {key[:80]!r} is not known")
        _check_array(name, array, manifest)
    for spec in specs:
        if (found := arrays.get(spec.name)) is None:
            continue
        wrong = spec.misfit(found.dtype, found.shape)
        _need(not wrong, f"{name}: {wrong}")


def _check_array(name: str, array: StoredArray, manifest: Manifest) -> None:
    member = array.member
    _need(member in manifest.members, f"{name}: the array {member[:80]!r} is not declared")
    _need(
        len(array.shape) <= 8 and all(0 <= size <= MAX_GRAPH_BYTES for size in array.shape),
        f"{name}: the shape {array.shape} of {member} can't be",
    )
    size, stated = _count(array.shape) * np.dtype(array.dtype).itemsize, manifest.members[member].size_bytes
    _need(size == stated, f"{name}: {member} has {stated} bytes, its shape {array.shape} needs {size}")


def _is_shape(shape: Iterable[int]) -> bool:
    return all(0 <= size <= MAX_GRAPH_BYTES for size in shape)


def _count(shape: Iterable[int]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


def _need(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Broken(otherwise)
