"""The typed manifest of a bundle: what is in the file and what it means. Knows no bytes of the archive, no runtime.

Unknown fields of the same major schema are ignored here; a reader never rewrites a manifest, so they are kept.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from edge_sdk.tensors import TensorSpec

SCHEMA = "1.0"
"""major.minor of the manifests written; readers take any minor of this major."""


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One sealed member of the archive, the manifest itself and signatures left out."""

    size_bytes: int
    sha256: str


class Hole(msgspec.Struct, frozen=True, kw_only=True):
    """A byte range of a graph that is stored elsewhere: `length` bytes at `offset` of the whole graph file.

    They are the `length` bytes at `source_offset` of `member` (coder "raw").
    """

    offset: int
    length: int
    member: str
    source_offset: int
    coder: Literal["raw"] = "raw"


class Tolerance(msgspec.Struct, frozen=True, kw_only=True):
    """How far an output may be from its golden value: max |a - b| <= absolute + relative * max |golden|, the last
    over all golden samples of that output."""

    absolute: float
    relative: float


class Graph(msgspec.Struct, frozen=True, kw_only=True):
    """One ONNX graph. sha256 and size_bytes are of the whole file, its holes filled.

    role: what it does in its task ("model"; "encoder", "decoder"). variant: its numbers ("fp32", "fp16", "int8",
    "int8-w7"). layout: "plain", or where Q/DQ stand for int8: "conv-relu-q" (TensorRT, OpenVINO) or "conv-q-relu-q"
    (ONNX Runtime). int8_convolutions: how many must run in int8 for the variant to be what it says.
    """

    name: str
    role: str = "model"
    variant: str
    layout: Literal["plain", "conv-relu-q", "conv-q-relu-q"] = "plain"
    member: str
    size_bytes: int
    sha256: str
    opset: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    holes: tuple[Hole, ...] = ()
    int8_convolutions: int = 0
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


class MapGrid(msgspec.Struct, frozen=True, kw_only=True):
    """Where the cells of a map lie: the centre of cell (row i, column j) is at network pixel
    (x, y) = (offset_px + stride_px * j, offset_px + stride_px * i), continuous; (0, 0) is the first pixel's corner."""

    offset_px: float
    stride_px: float


class GoldenSample(msgspec.Struct, frozen=True, kw_only=True):
    """One encoded picture with what must come of it. picture: PNG member. tensor: uint8 NHWC member (raw bytes).

    tensor_shape: (inputs, height, width, 3); more than one input only for tiles. outputs: per graph name, per output
    name, the member with the expected float32 bytes, little-endian; axis 0 is the inputs, each run alone.
    """

    picture: str
    tensor: str
    tensor_shape: tuple[int, ...]
    outputs: dict[str, dict[str, str]]
    output_shapes: dict[str, tuple[int, ...]]
    label: str = ""


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """Where the bundle comes from: enough to make it again. samples, data_digest: of the pictures to train on."""

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
    """manifest.json. task: the predictor's ("anomaly"). family: who made it; the device never looks at it.

    grid: for tasks with a map. reduction: how the graph made its score of the map, in words. targets: by
    target profile, which graph fits it by linter and opset, or why none does, in words; nothing was run there. extra:
    whatever a family wants to keep.
    """

    schema: str = SCHEMA
    name: str
    family: str
    task: str
    preprocessing: Preprocessing
    graphs: tuple[Graph, ...]
    golden: tuple[GoldenSample, ...] = ()
    labels: tuple[str, ...] = ()
    grid: MapGrid | None = None
    reduction: str = ""
    targets: dict[str, str] = {}
    provenance: Provenance
    members: dict[str, Member] = {}
    extra: dict[str, Any] = {}
