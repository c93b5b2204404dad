"""The typed manifest of a bundle: what is in the file and what it means. Knows no bytes of the archive, no runtime.

Unknown fields of the same major schema are ignored here; a reader never rewrites a manifest, so they are kept.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from edge_sdk.tensors import DType, TensorSpec

SCHEMA = "1.0"
"""major.minor of the manifests written; readers take any minor of this major."""


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One sealed member of the archive, the manifest itself and signatures left out."""

    size_bytes: int
    sha256: str


class ElidedRange(msgspec.Struct, frozen=True, kw_only=True):
    """A byte range of a graph that is stored elsewhere: `length` bytes at `offset` of the whole graph file.

    They are the `length` bytes at `source_offset` of `member` (coder "raw").
    """

    offset: int
    length: int
    member: str
    source_offset: int
    coder: Literal["raw"] = "raw"


class Tolerance(msgspec.Struct, frozen=True, kw_only=True):
    """How far an output may be from its golden value: max |a - b| <= absolute + relative * max |golden|, the last over
    all golden samples of that output; or, where `distance` is not 0, |a - b|_2 <= distance * max |golden|_2.

    distance: for int8. Of a map of a million values some stand at an edge, where one step of one layer flips them.
    """

    absolute: float
    relative: float
    distance: float = 0.0


class Graph(msgspec.Struct, frozen=True, kw_only=True):
    """One ONNX graph. sha256 and size_bytes are of the whole file, its elided ranges filled.

    role: what it does in its task ("model"; "encoder", "decoder"). variant: its numbers ("fp32", "fp16", "int8",
    "int8-w7"). layout: "plain", or where Q/DQ stand for int8: "conv-relu-q" (TensorRT, OpenVINO) or "conv-q-relu-q"
    (ONNX Runtime). runtimes: those that it was planned for, () = every one that takes its layout. axes: the largest
    size of each free axis that is named in `inputs`; "N" is the batch: its rows do not depend on each other.
    int8_planned: how many convolutions and products were planned in int8. int8_ran: by runtime, how many the runtime
    ran in int8 when the bundle was packed; a runtime that was not there is not in it. refused: by runtime, why it did
    not compile the graph then: `load` passes it over there, as what a known fault makes wrong.
    """

    name: str
    role: str = "model"
    variant: str
    layout: Literal["plain", "conv-relu-q", "conv-q-relu-q"] = "plain"
    runtimes: tuple[str, ...] = ()
    member: str
    size_bytes: int
    sha256: str
    opset: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    axes: dict[str, int] = {}
    elided: tuple[ElidedRange, ...] = ()
    int8_planned: int = 0
    int8_ran: dict[str, int] = {}
    refused: dict[str, str] = {}
    tolerance: dict[str, Tolerance] = {}


class Preprocessing(msgspec.Struct, frozen=True, kw_only=True):
    """How a picture becomes the graph's input; interpreted by edge_sdk/preprocess.py alone.

    width, height: of the network input, px, `border` included. mode: "stretch" (fills, aspect lost), "letterbox"
    (aspect kept, centred), "longest-side" (aspect kept, at the top left), "tiles" (native resolution, windows of
    width x height that overlap by at least `overlap` px). fill: grey level 0..255 around a kept aspect, or "edge".
    border: px on each side, filled with the picture's edge, so that the picture's rim has cells of its own.
    bit_depth: of 16-bit pictures, 10, 12 or 16; None: 16-bit pictures are refused.
    """

    width: int
    height: int
    mode: Literal["stretch", "letterbox", "longest-side", "tiles"] = "stretch"
    fill: int | Literal["edge"] = "edge"
    border: int = 0
    overlap: int = 0
    bit_depth: int | None = 16


class StoredArray(msgspec.Struct, frozen=True, kw_only=True):
    """One array as a sealed member: raw bytes, little-endian, C order."""

    member: str
    dtype: DType
    shape: tuple[int, ...]


class GoldenSample(msgspec.Struct, frozen=True, kw_only=True):
    """What a user would give, what must become of it, and what each graph must answer to that.

    source: the user's input as the task stores it (an encoded picture, a seed, points), by the task's own names. feeds:
    by role and input; the feeds of a later role hold what the fp32 graphs of earlier roles answered, so that each graph
    is checked alone. outputs: by graph and output. Where an input's first axis is the batch "N", the sample's rows ran
    one at a time, and outputs are joined along it.
    """

    source: dict[str, StoredArray] = {}
    feeds: dict[str, dict[str, StoredArray]]
    outputs: dict[str, dict[str, StoredArray]]
    label: str = ""


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Where the bundle comes from: enough to make it again. samples, data_digest: of the data to train on."""

    created_utc: str
    product_version: str
    command: tuple[str, ...]
    packages: dict[str, str]
    data_digest: str = ""
    samples: int = 0
    seed: int | None = None
    licence: str = ""
    notes: dict[str, str] = {}


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """manifest.json. task: whose predictor runs it ("anomaly"). family: who made it; the device never looks at it.

    settings: what the task keeps; only the task reads it. preprocessing: None for tasks without pictures. targets: by
    target profile, which graphs fit it by linter and opset, or why none does, in words; nothing was run there. extra:
    whatever a family wants to keep.
    """

    schema: str = SCHEMA
    name: str
    family: str
    task: str
    settings: dict[str, Any] = {}
    preprocessing: Preprocessing | None = None
    graphs: tuple[Graph, ...]
    golden: tuple[GoldenSample, ...] = ()
    targets: dict[str, str] = {}
    provenance: Provenance
    members: dict[str, Member] = {}
    extra: dict[str, Any] = {}
