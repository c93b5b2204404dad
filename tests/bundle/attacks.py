"""Hostile and damaged bundles, and a second, naive writer of the archive that lets every header field lie."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto
from tiny_bundle import KEY, OTHER_KEY, onnx_model, weights, write_tiny

from edge_sdk.bundle.signing import TrustPolicy
from edge_sdk.bundle.store import Bundle


@dataclass(frozen=True)
class Raw:
    """One member as it will stand in the archive; None = what is true."""

    name: bytes
    data: bytes
    method: int = 0
    flags: int = 0x0800
    attributes: int = 0o100644 << 16
    crc: int | None = None
    packed: int | None = None
    size: int | None = None
    local_name: bytes | None = None
    local_size: int | None = None
    header: int | None = None
    gap: bytes = b""


def archive(members: list[Raw], *, tail: bytes = b"", count: int | None = None, comment: bytes = b"") -> bytes:
    """The archive of docs/bundle-format.md, written a second time and with nothing checked."""
    out, table = b"", b""
    for raw in members:
        out += raw.gap
        header = len(out) if raw.header is None else raw.header
        crc = zlib.crc32(raw.data) if raw.crc is None else raw.crc
        packed = len(raw.data) if raw.packed is None else raw.packed
        size = len(raw.data) if raw.size is None else raw.size
        name = raw.name if raw.local_name is None else raw.local_name
        local_size = size if raw.local_size is None else raw.local_size
        pad = -(len(out) + 36 + len(name)) % 64
        fixed = (20, raw.flags, raw.method, 0, 0x21, crc, packed, local_size, len(name), 6 + pad)
        out += struct.pack("<4s5H3I2H", b"PK\x03\x04", *fixed) + name
        out += struct.pack("<HHH", 0xD935, 2 + pad, 64) + bytes(pad) + raw.data
        fields = (0x0314, 20, raw.flags, raw.method, 0, 0x21, crc, packed, size, len(raw.name), 0, 0, 0, 0)
        table += struct.pack("<4s6H3I5H2I", b"PK\x01\x02", *fields, raw.attributes, header) + raw.name
    number = len(members) if count is None else count
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, number, number, len(table), len(out), len(comment))
    return out + table + end + comment + tail


def members_of(path: Path) -> list[Raw]:
    with Bundle.open(path, trust=TrustPolicy(mode="off")) as bundle:
        raw = path.read_bytes()
        return [Raw(entry.name.encode(), raw[entry.start : entry.end]) for entry in bundle.entries.values()]


@dataclass(frozen=True)
class Attack:
    """name: of the file. make: writes it. message: what the error must say. use: goes on to load the graphs."""

    name: str
    message: str
    make: Callable[[Path], object]
    trust: Callable[[Path], TrustPolicy] = field(default=lambda folder: TrustPolicy())
    use: bool = False


# --- tools ---------------------------------------------------------------------------------------------------------


def _good(path: Path, *, decisions: int = 0, signed: bool = False) -> list[Raw]:
    write_tiny(path, decisions=decisions, key=KEY if signed else None)
    return members_of(path)


def _bytes(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """A good file whose bytes are changed."""

    def make(path: Path) -> None:
        _good(path, decisions=1, signed=True)
        path.write_bytes(change(path.read_bytes()))

    return make


def _members(change: Callable[[list[Raw]], list[Raw]], **options: Any) -> Callable[[Path], None]:
    """A good archive whose list of members is changed."""

    def make(path: Path) -> None:
        path.write_bytes(archive(change(_good(path)), **options))

    return make


def _second(**lies: Any) -> Callable[[Path], None]:
    """A good archive whose second member has a header that lies."""
    return _members(lambda found: [found[0], replace(found[1], **lies), *found[2:]])


def _added(name: bytes, data: bytes = b"1", **lies: Any) -> Callable[[Path], None]:
    return _members(lambda found: [*found, Raw(name, data, **lies)])


def _manifest(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """A sound archive whose manifest is another one: `change` alters the object in place, or returns the bytes."""

    def edit(found: list[Raw]) -> list[Raw]:
        value = json.loads(found[0].data)
        answer = change(value)
        data = answer if isinstance(answer, bytes) else json.dumps(value).encode()
        return [replace(found[0], data=data), *found[1:]]

    return _members(edit)


def _set(*path: Any, to: Any) -> Callable[[Path], None]:
    def change(value: Any) -> None:
        for step in path[:-1]:
            value = value[step]
        value[path[-1]] = to

    return _manifest(change)


def _elided(**changes: Any) -> Callable[[Path], None]:
    """The second elided range of the first graph is changed, the graph's member kept at the size that they leave."""

    def change(value: dict[str, Any]) -> None:
        value["graphs"][0]["elided"][1].update(changes)

    return _manifest(change)


def _replaced(changed: Callable[[], bytes]) -> Callable[[Path], None]:
    """The first graph is another ONNX file, whole, with every size and hash right."""

    def edit(found: list[Raw]) -> list[Raw]:
        value, data = json.loads(found[0].data), changed()
        graph = value["graphs"][0]
        summary = {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        graph.update(summary, elided=[])
        value["members"][graph["member"]] = summary
        member = graph["member"].encode()
        others = [replace(raw, data=data) if raw.name == member else raw for raw in found[1:]]
        return [replace(found[0], data=json.dumps(value).encode()), *others]

    return _members(edit)


def _lie(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """The entry of the first graph says something else than its file. No golden sample is left to contradict it."""

    def lie(value: dict[str, Any]) -> None:
        value["golden"][0].update(feeds={}, outputs={})
        change(value["graphs"][0])

    return _manifest(lie)


def _unshaped() -> bytes:
    model = onnx_model("a", [weights(0)])
    model.graph.output[0].type.tensor_type.ClearField("shape")
    return model.SerializeToString()


def _external() -> bytes:
    model = onnx_model("a", [weights(0)])
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return model.SerializeToString()


def _external_in_a_constant() -> bytes:
    model = onnx_model("a", [weights(0)])
    node = model.graph.node.add(op_type="Constant", output=["c"])
    tensor = node.attribute.add(name="value", type=4).t
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return model.SerializeToString()


def _site(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        found = _good(path, decisions=3)
        value = json.loads(found[-1].data)
        answer = change(value)
        data = answer if isinstance(answer, bytes) else json.dumps(value).encode()
        path.write_bytes(archive([*found[:-1], replace(found[-1], data=data)]))

    return make


def _signatures(change: Callable[[dict[bytes, bytes]], object]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        found = _good(path, decisions=1, signed=True)
        named = {raw.name: raw.data for raw in found}
        change(named)
        path.write_bytes(archive([Raw(raw.name, named[raw.name]) for raw in found if raw.name in named]))

    return make


def _required(folder: Path) -> TrustPolicy:
    keys = folder / "keys"
    if not keys.exists():
        keys.mkdir()
        KEY.public.save(keys / "line3.pub")
    return TrustPolicy(mode="required", keys=keys)


def _known_only(folder: Path) -> TrustPolicy:
    return replace(_required(folder), mode="if-present")


def _swapped(named: dict[bytes, bytes]) -> None:
    named[b"signatures/sealed.sig"] = named[b"signatures/site.sig"]


def _by_other_key(named: dict[bytes, bytes]) -> None:
    named[b"signatures/sealed.sig"] = OTHER_KEY.sign(named[b"manifest.json"], "sealed")


def _compressed(found: list[Raw]) -> list[Raw]:
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = squeeze.compress(bytes(50 << 20)) + squeeze.flush()
    return [*found, Raw(b"zeros.bin", bomb, method=8, size=50 << 20)]


def _without(name: bytes) -> Callable[[Path], None]:
    return _members(lambda found: [raw for raw in found if raw.name != name])


def _many(found: list[Raw]) -> list[Raw]:
    return [*found, *(Raw(b"m%04d" % index, b"") for index in range(4200))]


def _bomb_of_elided_ranges(value: dict[str, Any]) -> None:
    """A megabyte for every hundred bytes of manifest: each range takes the same shared weights again."""
    graph = value["graphs"][0]
    source, start = graph["elided"][0], graph["elided"][0]["offset"]
    elided = [{**source, "offset": start + index * source["length"]} for index in range(2000)]
    stored = value["members"][graph["member"]]["size_bytes"]
    graph.update(elided=elided, size_bytes=stored + sum(part["length"] for part in elided))


def _shapes(value: dict[str, Any], *, inputs: list[Any], outputs: list[Any]) -> None:
    """Other shapes of the one input and the one output of the first graph."""
    graph = value["graphs"][0]
    graph["inputs"][0]["shape"], graph["outputs"][0]["shape"] = inputs, outputs
    graph["axes"] = {size: 4 for size in inputs if isinstance(size, str)}


def _deep(value: dict[str, Any]) -> bytes:
    text = json.dumps({**value, "extra": {"deep": 0}}).encode()
    return text.replace(b'"deep": 0', b'"deep": ' + b"[" * 5000 + b"]" * 5000)


def _fairly_deep(value: dict[str, Any]) -> bytes:
    return _deep(value).replace(b"[" * 5000, b"[" * 60).replace(b"]" * 5000, b"]" * 60)


def _key_twice(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode().replace(b'"family"', b'"task": "anomaly", "family"')


def _newer(value: dict[str, Any]) -> bytes:
    return json.dumps({"schema": "3.1", "provenance": {"product_version": "3.1.4"}, "graphs": "elsewhere"}).encode()


def _newer_minor(value: dict[str, Any]) -> None:
    value["schema"] = "1.9"
    value["graphs"][0]["elided"][0]["coder"] = "sparse"


def _flip(offset: Callable[[bytes], int]) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        at = offset(data)
        return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]

    return change


def _gap_before_table(data: bytes) -> bytes:
    """64 bytes more behind the last member, and an end record that knows of them."""
    end = len(data) - 22
    (table,) = struct.unpack_from("<I", data, end + 16)
    return data[:table] + b"hidden__" * 8 + data[table:end] + data[end : end + 16] + struct.pack("<IH", table + 64, 0)


def _claims_a_comment(data: bytes) -> bytes:
    return data[:-2] + struct.pack("<H", 5)


def _stored(value: dict[str, Any]) -> int:
    """Bytes of the first graph's member."""
    size: int = value["members"][value["graphs"][0]["member"]]["size_bytes"]
    return size


def _torn_table(data: bytes) -> bytes:
    """The second entry of the table of contents begins with other letters."""
    second = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 4)
    return data[:second] + b"PX" + data[second + 2 :]


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _move_decision(value: dict[str, Any]) -> None:
    value["decisions"][0], value["decisions"][1] = value["decisions"][1], value["decisions"][0]


def _drop_decision(value: dict[str, Any]) -> None:
    del value["decisions"][1]


def _lower_threshold(value: dict[str, Any]) -> None:
    value["decisions"][2]["threshold"] = 1e9


def _other_sealed(value: dict[str, Any]) -> None:
    value["sealed"] = "0" * 64


def _impossible_rate(value: dict[str, Any]) -> None:
    from edge_sdk.decision.record import digest_of

    record = copy.deepcopy(value["decisions"][0])
    record["requested_rate"] = 7.5
    value["decisions"] = [{**record, "digest": digest_of(record)}]


# --- the folder ----------------------------------------------------------------------------------------------------

FILES = [
    Attack("nothing", "there is no such file", lambda path: None),
    Attack("folder", "not a plain file", lambda path: path.mkdir()),
    Attack("pipe", "not a plain file", _fifo),
    Attack("empty", "has 0 bytes", lambda path: path.write_bytes(b"")),
    Attack("short", "too few for a bundle", lambda path: path.write_bytes(b"PK\x03\x04")),
    Attack("text", "does not begin as a bundle", lambda path: path.write_bytes(b"edge " * 100)),
    Attack("zeros", "does not begin as a bundle", lambda path: path.write_bytes(bytes(1000))),
    Attack("half", "is cut: the end", _bytes(lambda data: data[: len(data) // 2])),
    Attack("last_byte_gone", "is cut: the end", _bytes(lambda data: data[:-1])),
    Attack("middle_gone", "is cut, or bytes were put in", _bytes(lambda data: data[:2000] + data[2064:])),
    Attack("bytes_in_front", "does not begin as a bundle", _bytes(lambda data: b"#!/bin/sh\n" + data)),
    Attack("bytes_behind", "behind the end of the archive", _bytes(lambda data: data + b"more")),
    Attack("zip_behind_zip", "is cut, or bytes were put in", _bytes(lambda data: data + data)),
    Attack("padding_used", "header of manifest.json and the table", _bytes(_flip(lambda data: 60))),
    Attack(
        "flipped_weight", "content of weights/.* was altered", _bytes(_flip(lambda d: d.index(b"signatures/") - 200))
    ),
    Attack("flipped_manifest", "content of manifest.json was altered", _bytes(_flip(lambda d: d.index(b'"tiny"') + 2))),
]

ARCHIVES = [
    Attack("gap_before_table", "64 bytes before the table belong to no member", _bytes(_gap_before_table)),
    Attack("comment_claimed", "the end record is not that of a bundle", _bytes(_claims_a_comment)),
    Attack("torn_table", "the table of contents is damaged", _bytes(_torn_table)),
    Attack("comment", "bytes stand behind|end record", _members(lambda found: found, comment=b"hello")),
    Attack("count_too_low", "longer than its entries", _members(lambda found: found, count=3)),
    Attack("count_too_high", "shorter than its entries|damaged", _members(lambda found: found, count=60)),
    Attack("no_members", "says it has 0 members", _members(lambda found: found, count=0)),
    Attack("zip64", "ZIP64", _members(lambda found: found, count=0xFFFF)),
    Attack("too_many_members", "says it has 42.. members", _members(_many)),
    Attack("parent_name", "leads out of the archive", _added(b"x/../../etc/passwd")),
    Attack("absolute_name", "is an absolute path", _added(b"/etc/passwd")),
    Attack("backslash_name", "backslash", _added(b"x\\..\\y")),
    Attack("drive_name", "drive letter", _added(b"C:/x")),
    Attack("folder_member", "is a folder", _added(b"x/", b"")),
    Attack("hidden_name", "holds something other than", _added(b".ssh/authorized_keys")),
    Attack("zero_name", "holds something other than", _added(b"a\x00b")),
    Attack("foreign_letters", "holds something other than|backslash", _added("µ".encode())),
    Attack("empty_name", "holds something other than", _added(b"")),
    Attack("long_name", "longer than 200 characters", _added(b"n" * 60_000)),
    Attack("symlink", "symbolic link", _added(b"x", b"/etc/passwd", attributes=0o120777 << 16)),
    Attack("device", "not a plain file", _added(b"x", attributes=0o020666 << 16)),
    Attack("twice", "stands twice", _added(b"report.json", b"{}")),
    Attack("twice_but_for_case", "stands twice", _added(b"Report.JSON", b"{}")),
    Attack("zip_bomb", "zeros.bin is compressed", _members(_compressed)),
    Attack("encrypted", "is encrypted", _second(flags=0x0801)),
    Attack("size_behind_data", "hides its size", _second(flags=0x0808)),
    Attack("two_sizes", "states two sizes", _second(size=1 << 30)),
    Attack("size_of_4_gib", "reaches past the end", _second(size=0xFFFFFFF0, packed=0xFFFFFFF0)),
    Attack("local_size_differs", "header of .* and the table of contents differ", _second(local_size=7)),
    Attack("local_name_differs", "header of .* and the table of contents differ", _second(local_name=b"x" * 21)),
    Attack("overlap", "overlaps the one before", _second(header=0)),
    Attack("hidden_bytes", "belong to no member", _second(gap=b"hidden")),
    Attack("undeclared", "which is not declared", _added(b"zzz.bin")),
    Attack("gone", "report.json is not in the archive", _without(b"report.json")),
    Attack("no_manifest", "is a ZIP archive, but no bundle: the first member is 'golden", _without(b"manifest.json")),
    Attack("manifest_last", "the first member is", _members(lambda found: [*found[1:], found[0]])),
    Attack("other_order", "not in their order", _members(lambda found: [found[0], *reversed(found[1:])])),
]

MANIFESTS = [
    Attack("newer_major", r"schema 3\.1; this version reads 1\.x.*edge-sdk 3\.1\.4", _manifest(_newer)),
    Attack("newer_minor", r"its schema 1\.9 is newer than 1\.0", _manifest(_newer_minor)),
    Attack("no_schema", "states no schema version", _set("schema", to=1)),
    Attack("old_schema", "older than any release", _set("schema", to="0.9")),
    Attack("no_object", "states no schema version", _manifest(lambda value: b"[]")),
    Attack("not_json", "not JSON", _manifest(lambda value: b"{")),
    Attack("not_utf8", "not UTF-8", _manifest(lambda value: b"\xff\xfe{}")),
    Attack("huge_manifest", "at most 4194304 are read", _manifest(lambda value: b" " * (5 << 20))),
    Attack("very_deep", "nested deeper than 32", _manifest(_deep)),
    Attack("deep", "nested deeper than 32", _manifest(_fairly_deep)),
    Attack("many_values", "more than 200000 values", _set("extra", to={"x": [0] * 300_000})),
    Attack("key_twice", "'task' stands twice", _manifest(_key_twice)),
    Attack("nan", "NaN is not a number", _set("settings", "grid", "stride_px", to=float("nan"))),
    Attack("infinite", "out of range", _manifest(lambda v: json.dumps(v).encode().replace(b"4.0", b"1e999"))),
    Attack("endless_number", "out of range", _manifest(lambda v: json.dumps(v).encode().replace(b"4.0", b"9" * 9999))),
    Attack("escape_codes", "control characters", _set("name", to="\x1b]0;owned\x07")),
    Attack("half_letter", "surrogate", _set("name", to="\ud800")),
    Attack("missing_field", "missing required field `task`", _manifest(lambda value: value.pop("task"))),
    Attack("wrong_type", r"Expected `int`, got `str`", _set("preprocessing", "width", to="8")),
    Attack("negative_width", "a network input of -8 x 8 px", _set("preprocessing", "width", to=-8)),
    Attack("giant_width", "network input of 10000000", _set("preprocessing", "width", to=10_000_000)),
    Attack("border", "leaves no picture", _set("preprocessing", "border", to=4)),
    Attack("bit_depth", "a bit depth of 9", _set("preprocessing", "bit_depth", to=9)),
    Attack("no_graph", "0 graphs", _set("graphs", to=[])),
    Attack("graph_name", "the graph name .* is not plain", _set("graphs", 0, "name", to="../a")),
    Attack("graph_gone", "which is not declared", _set("graphs", 0, "member", to="graphs/none.onnx")),
    Attack("graph_outside", "which is not declared", _set("graphs", 0, "member", to="/etc/passwd")),
    Attack("giant_graph", "can't have 1000000000000 bytes", _set("graphs", 0, "size_bytes", to=10**12)),
    Attack("giant_tensor", "would need .* bytes a sample", _set("graphs", 0, "inputs", 0, "shape", to=[2**30, 2**30])),
    Attack("negative_shape", "the shape .* can't be", _set("graphs", 0, "outputs", 0, "shape", to=[-1])),
    Attack("axis_without_end", "states no largest size of its axis K", _set(
        "graphs", 0, "inputs", 0, "shape", to=[1, "K"])),
    Attack("endless_axis", "the axis K .* can't be 1000000000000 long", _manifest(
        lambda value: (value["graphs"][0]["inputs"][0].update(shape=["K"]),
                       value["graphs"][0].update(axes={"K": 10**12})))),
    Attack("stray_axis", "has no axis K", _set("graphs", 0, "axes", to={"K": 3})),
    Attack("nameless_axis", "the shape .* can't be", _set("graphs", 0, "outputs", 0, "shape", to=[""])),
    Attack("batch_elsewhere", "map of the graph int8.a has the batch N at another place than axis 0", _manifest(
        lambda value: _shapes(value, inputs=["N", 512], outputs=[512, "N"]))),
    Attack("batch_of_no_input", "has the batch N in its output map, in no input", _manifest(
        lambda value: _shapes(value, inputs=[512], outputs=["N", 512]))),
    Attack("role_name", "the role .* is not plain", _set("graphs", 0, "role", to="../model")),
    Attack("int8_runtime_count", "counts -2 int8 operators", _set("graphs", 0, "int8_ran", to={"onnxruntime": -2})),
    Attack("tolerance", "tolerance of map can't be", _set("graphs", 0, "tolerance", "map", "relative", to=50.0)),
    Attack("elided_unordered", "overlaps the one before", _elided(offset=0)),
    Attack("elided_negative", "has no place", _elided(length=-5)),
    Attack("elided_outside", "reaches past the end of the graph", _elided(offset=10**6)),
    Attack("elided_unfilled", "filled from 'weights/none.bin'", _elided(member="weights/none.bin")),
    Attack("elided_source", "takes bytes past the end", _elided(source_offset=1)),
    Attack("elided_length", "bytes outside its elided ranges", _elided(length=2047)),
    Attack("bomb_of_elided_ranges", "can't have .* bytes", _manifest(_bomb_of_elided_ranges)),
    Attack("golden_shape", "its shape .* needs", _set("golden", 0, "feeds", "model", "x", "shape", to=[99])),
    Attack("golden_gone", "is not declared", _set("golden", 0, "source", "picture", "member", to="none.png")),
    Attack("golden_rank", r"x has shape \(2, 256\), the graph takes \(512,\)", _set(
        "golden", 0, "feeds", "model", "x", "shape", to=[2, 256])),
    Attack("golden_answer_rank", r"map has shape \(1, 512\), the graph takes", _set(
        "golden", 0, "outputs", "int8.a", "map", "shape", to=[1, 512])),
    Attack("golden_dtype", "x is int32, the graph takes float32", _set(
        "golden", 0, "feeds", "model", "x", "dtype", to="int32")),
    Attack("golden_role", "feeds the role 'encoder', which is not there", _manifest(
        lambda value: value["golden"][0]["feeds"].update(encoder=value["golden"][0]["feeds"].pop("model")))),
    Attack("golden_unfed", "no feed for its input", _set("golden", 0, "feeds", "model", to={})),
    Attack("golden_no_role", "no feed for its input", _set("golden", 0, "feeds", to={})),
    Attack("golden_graph", "which is not there", _set("golden", 0, "outputs", to={"fp64": {}})),
    Attack("tile_overlap", "tiles can't overlap by 8 px", _set("preprocessing", "overlap", to=8)),
    Attack("fill", "the fill 256 is not a grey level", _set("preprocessing", "fill", to=256)),
    Attack("twin_graphs", "two graphs have one name", _set("graphs", 1, "name", to="int8.a")),
    Attack("graph_hash", "the sha256 of the graph int8.a is not 64 hexadecimal", _set("graphs", 0, "sha256", to="no")),
    Attack("opset", "can't have opset 0", _set("graphs", 0, "opset", to=0)),
    Attack("int8_count", "counts -1 int8 operators", _set("graphs", 0, "int8_planned", to=-1)),
    Attack("stray_tolerance", "a tolerance for 'depth', which is no output", _set(
        "graphs", 0, "tolerance", "depth", to={"absolute": 0.0, "relative": 0.0})),
    Attack("whole_graph_hash", "have different sha256", _manifest(
        lambda value: value["graphs"][0].update(elided=[], size_bytes=_stored(value), sha256="0" * 64))),
    Attack("twin_tensors", "two outputs of the graph int8.a are called 'map'", _manifest(
        lambda value: value["graphs"][0].update(outputs=2 * value["graphs"][0]["outputs"]))),
    Attack("no_tensors", "the graph int8.a has no inputs", _set("graphs", 0, "inputs", to=[])),
    Attack("many_tensors", "the graph int8.a has 65 outputs; at most 64 are read", _manifest(
        lambda value: value["graphs"][0].update(outputs=65 * value["graphs"][0]["outputs"]))),
    Attack("long_tensor_name", "a name of 201 letters, n{40}...; at most 200 are read", _set(
        "graphs", 0, "inputs", 0, "name", to="n" * 201)),
    Attack("nameless_tensor", "a tensor of the graph .* has no name", _set("graphs", 0, "inputs", 0, "name", to="")),
    Attack("golden_output", "the tensor 'depth' is not known", _set("golden", 0, "outputs", "int8.a", "depth", to={
        "member": "golden/0/map.f32", "dtype": "float32", "shape": [512]})),
    Attack("golden_array", "the array 'nowhere.f32' is not declared", _set(
        "golden", 0, "feeds", "model", "x", "member", to="nowhere.f32")),
    Attack("golden_axis", "the shape .* of golden/0/x.f32 can't be", _set(
        "golden", 0, "feeds", "model", "x", "shape", to=[1, 1, 1, 1, 1, 1, 1, 512, 1])),
    Attack("declared_name", r"the member name '\.\./up' leads out of the archive", _manifest(
        lambda value: value["members"].update({"../up": {"size_bytes": 1, "sha256": "0" * 64}}))),
    Attack("member_hash", "is not 64 hexadecimal", _set("members", "report.json", "sha256", to="no")),
    Attack("member_size", "the manifest says 99", _set("members", "report.json", "size_bytes", to=99)),
    Attack("other_hash", "report.json was altered", _set("members", "report.json", "sha256", to="0" * 64)),
    Attack("reserved_member", "can't be a sealed member", _manifest(
        lambda value: value["members"].update({"decision.json": {"size_bytes": 1, "sha256": "0" * 64}}))),
]  # fmt: skip

GRAPHS = [
    Attack("other_graph", "is not the one that was packed", _set("graphs", 0, "sha256", to="0" * 64), use=True),
    Attack("other_weights", "is not the one that was packed", _manifest(
        lambda v: v["graphs"][0]["elided"][0].update(member=v["graphs"][0]["elided"][1]["member"])), use=True),
    Attack("lie_about_opset", "the graph int8.a has opset 16, its file has 17", _set(
        "graphs", 0, "opset", to=16), use=True),
    Attack("lie_about_input_name", "the inputs of the graph int8.a are 'z', its file has 'x'", _lie(
        lambda graph: graph["inputs"][0].update(name="z")), use=True),
    Attack("lie_about_output_name", "the outputs of the graph int8.a are 'depth', its file has 'map'", _lie(
        lambda graph: (graph["outputs"][0].update(name="depth"), graph.update(tolerance={}))), use=True),
    Attack("lie_about_input_type", r"x is int32 \(512\), its file says x is float32 \(512\)", _lie(
        lambda graph: graph["inputs"][0].update(dtype="int32")), use=True),
    Attack("lie_about_output_type", r"map is float64 \(512\), its file says map is float32 \(512\)", _lie(
        lambda graph: graph["outputs"][0].update(dtype="float64")), use=True),
    Attack("lie_about_size", r"x is float32 \(511\), its file says x is float32 \(512\)", _lie(
        lambda graph: graph["inputs"][0].update(shape=[511])), use=True),
    Attack("lie_about_rank", r"map is float32 \(1, 512\), its file says", _lie(
        lambda graph: graph["outputs"][0].update(shape=[1, 512])), use=True),
    Attack("lie_about_free_axis", r"map is float32 \(K\), its file says map is float32 \(512\)", _lie(
        lambda graph: graph["outputs"][0].update(shape=["K"])), use=True),
    Attack("lie_about_batch", r"x is float32 \(N\), its file says x is float32 \(512\)", _lie(
        lambda graph: (graph["inputs"][0].update(shape=["N"]), graph.update(axes={"N": 4}))), use=True),
    Attack("lie_about_more_outputs", "the outputs of the graph int8.a are 'map', 'more', its file has 'map'", _lie(
        lambda graph: graph["outputs"].append({"name": "more", "dtype": "int8", "shape": []})), use=True),
    Attack("unshaped_output", "does not give the shape of its output 'map'", _replaced(_unshaped), use=True),
    Attack("external_data", "keeps weights in another file", _replaced(_external), use=True),
    Attack("hidden_external", "keeps weights in another file", _replaced(_external_in_a_constant), use=True),
    Attack("foreign_operator", "operators of the domain 'evil'", _replaced(
        lambda: onnx_model("a", [weights(0)], domain="evil").SerializeToString()), use=True),
    Attack("not_a_graph", "protobuf|is not an ONNX model", _replaced(lambda: b"MZ" + bytes(900)), use=True),
    Attack("cut_graph", "is not a whole protobuf file", _replaced(
        lambda: onnx_model("a", [np.zeros(512, np.float32)]).SerializeToString()[:-40]), use=True),
    Attack("endless_graph", "has more than 500000 fields", _replaced(lambda: b"\x08\x01" * 1_100_000), use=True),
]  # fmt: skip

DECISIONS = [
    Attack("threshold_moved", "decision 3 of 3 was altered", _site(_lower_threshold)),
    Attack("decision_removed", "does not follow the one before", _site(_drop_decision)),
    Attack("decisions_swapped", "does not follow the one before", _site(_move_decision)),
    Attack("decisions_of_another", "made for another bundle", _site(_other_sealed)),
    Attack("impossible_rate", "an invalid number", _site(_impossible_rate)),
    Attack("nan_threshold", "NaN is not a number", _site(lambda v: json.dumps(v).encode().replace(b"3.0", b"NaN"))),
    Attack("no_decisions", "holds 0 decisions", _site(lambda value: value.update(decisions=[]))),
    Attack("newer_decisions", "has schema '2.0'", _site(lambda value: value.update(schema="2.0"))),
    Attack("not_decisions", "not a list of decisions", _site(lambda value: b"{}")),
    Attack("kindless", "a record has no `kind`", _site(lambda value: value["decisions"][0].pop("kind"))),
    Attack("wrong_kind", "Expected `str`|has no `kind`", _site(lambda value: value["decisions"][0].update(kind=7))),
]

SIGNATURES = [
    Attack("wrong_signature", "signature of the sealed part by key .* is wrong", _signatures(_swapped)),
    Attack("unknown_key", "signed by the unknown key", _signatures(_by_other_key), trust=_known_only),
    Attack("unknown_key_required", "signed by the unknown key", _signatures(_by_other_key), trust=_required),
    Attack("signature_taken_away", "sealed part is not signed", _signatures(
        lambda named: named.pop(b"signatures/sealed.sig")), trust=_required),
    Attack("decisions_unsigned", "decision.json is not signed", _signatures(
        lambda named: named.pop(b"signatures/site.sig")), trust=_required),
    Attack("decisions_taken_away", "but no decision.json", _signatures(lambda named: named.pop(b"decision.json"))),
    Attack("no_signature", "not a signature", _signatures(
        lambda named: named.update({b"signatures/sealed.sig": b'{"algorithm":"none"}'}))),
    Attack("short_signature", "has the wrong length", _signatures(lambda named: named.update({
        b"signatures/sealed.sig": b'{"algorithm":"ed25519","public_key":"00","signature":""}'}))),
    Attack("key_off_the_curve", "is wrong: one of the two was altered", _signatures(lambda named: named.update({
        b"signatures/sealed.sig": json.dumps({"algorithm": "ed25519", "public_key": "02" + "00" * 31,
                                              "signature": "00" * 64}).encode()}))),
]  # fmt: skip

ATTACKS = [*FILES, *ARCHIVES, *MANIFESTS, *GRAPHS, *DECISIONS, *SIGNATURES]
