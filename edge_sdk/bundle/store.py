"""Bundles on disk: write one, open one with every check, extend its decisions. Knows no task and no runtime.

Opening trusts nothing: sizes before content, headers before sizes, the manifest before what it declares.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import msgspec
import numpy as np

from edge_sdk import strict_json
from edge_sdk.atomic import exclusive, writing
from edge_sdk.bundle import agreement, layout
from edge_sdk.bundle.elided import Stored, cut, fill
from edge_sdk.bundle.layout import Entry, Writer, read_entries
from edge_sdk.bundle.manifest import Graph, Manifest, Member, StoredArray
from edge_sdk.bundle.rules import (
    DECISIONS,
    MANIFEST,
    RESERVED,
    SEALED_SIGNATURE,
    SITE_SIGNATURE,
    check_manifest,
    read_manifest,
)
from edge_sdk.bundle.signing import Part, SignatureStatus, SigningKey, Trust, TrustPolicy, check_signatures
from edge_sdk.bundle.site import Site, read_site
from edge_sdk.decision.record import R, Record, read_as
from edge_sdk.errors import BadBundle, BadInput, BadUsage
from edge_sdk.runtimes.onnx_file import read_standard
from edge_sdk.shown import unreadable, url_of
from edge_sdk.strict_json import GET_AGAIN
from edge_sdk.tensors import Array, DType

REPORT = "report.json"
_NO_WAIT: int = getattr(os, "O_NONBLOCK", 0) | getattr(
    os, "O_BINARY", 0
)  # opening a named pipe would wait for its writer
_SIGNED: Mapping[Part, tuple[str, str]] = {
    "sealed": (MANIFEST, SEALED_SIGNATURE), "site": (DECISIONS, SITE_SIGNATURE),
}  # fmt: skip
"""By part, the member that is signed and the one that holds the signature."""
_COPY_AGAIN = "Copy the file again from where it was packed"
_NOT_WRITTEN = "Nothing was written. Fix what the bundle is made of, and pack again"


class Bundle:
    """One open `.edge` file. All methods may be called from any thread; `close` ends its use, views stay valid.

    path: as given. manifest: what is in it. digest: sha256 of manifest.json, the identity of the sealed part.
    decisions: oldest first, their chain verified. signature: who signed, and the trust policy in force.
    size_bytes: of the file. entries: every member with its place in the file.
    """

    def __init__(self, path: Path, data: memoryview, *, trust: TrustPolicy) -> None:
        """Checks everything but the members' content; `Bundle.open` is what callers want."""
        self.path, where = path, str(path)
        self.size_bytes = len(data)
        self._data: memoryview | None = data
        self._checked: set[str] = set()
        _check_kind(data, where)
        self.entries = {entry.name: entry for entry in read_entries(data, where=where)}
        _check_order(tuple(self.entries), where)
        raw = self._small(MANIFEST, where)
        self.digest = hashlib.sha256(raw).hexdigest()
        self.manifest: Manifest = read_manifest(strict_json.parse(raw, name=MANIFEST, where=where), where=where)
        sizes = {name: entry.size_bytes for name, entry in self.entries.items() if name not in RESERVED}
        check_manifest(self.manifest, sizes, where=where)
        site_raw = self._small(DECISIONS, where) if DECISIONS in self.entries else None
        self._site = Site() if site_raw is None else read_site(site_raw, self.digest, where=where)
        self.signature: SignatureStatus = check_signatures(
            trust,
            sealed=(raw, self._optional(SEALED_SIGNATURE, where)),
            site=None if site_raw is None else (site_raw, self._optional(SITE_SIGNATURE, where)),
            where=where,
        )

    @staticmethod
    def open(path: Path | str, *, trust: Trust = "if-present", lazy: bool = False) -> Bundle:
        """Map the file and check all of it. lazy: the sha256 of a member is checked when it is first read, not now.

        Raises BadBundle: cut, altered, hostile, newer than this version. NotTrusted: the policy is not met.
        """
        path = Path(path)
        bundle = Bundle(path, _mapped(path), trust=TrustPolicy.of(trust))
        if not lazy:
            for name in bundle.manifest.members:
                bundle.read(name)
        return bundle

    @property
    def decisions(self) -> tuple[Record, ...]:
        return self._site.decisions

    def in_force(self, kind: type[R]) -> R | None:
        """The last record of `kind`. None: there is none yet. Raises BadBundle: one that can't be true, or with fields
        of other types."""
        return next((found for one in reversed(self.decisions) if (found := self._as(one, kind)) is not None), None)

    def records(self, kinds: Sequence[type[Record]]) -> tuple[Record, ...]:
        """`decisions`, oldest first, those of `kinds` as such (see `Task.records`). Raises BadBundle as `in_force`."""
        typed = ([self._as(one, kind) for kind in kinds] for one in self.decisions)
        return tuple(
            next((found for found in candidates if found is not None), one)
            for one, candidates in zip(self.decisions, typed, strict=True)
        )

    def _as(self, record: Record, kind: type[R]) -> R | None:
        try:
            found = read_as(record, kind)
        except msgspec.ValidationError as exc:
            what = f"a record of kind {record.kind!r} can't be read: {exc}"
            raise BadBundle(what, where=str(self.path), hint=_COPY_AGAIN) from exc
        if found is not None and (problem := found.problem()):  # of kinds that only a task knows, nobody has looked yet
            raise BadBundle(problem, where=str(self.path), hint=_COPY_AGAIN)
        return found

    def read(self, member: str) -> memoryview:
        """The bytes of a sealed member, read-only, mapped. Raises BadInput: no such member; BadBundle: altered."""
        if member not in self.manifest.members:
            raise BadInput(
                f"there is no sealed member {member[:80]!r}", where=str(self.path), hint="edge-sdk inspect lists them"
            )
        view = self._view(self.entries[member])
        if member not in self._checked:
            if hashlib.sha256(view).hexdigest() != self.manifest.members[member].sha256:
                raise BadBundle(f"the content of {member} was altered", where=str(self.path), hint=_COPY_AGAIN)
            self._checked.add(member)
        return view

    def array(self, stored: StoredArray) -> Array:
        """A stored array, read-only. Raises as `read`."""
        data = np.frombuffer(self.read(stored.member), np.dtype(stored.dtype).newbyteorder("<"))
        return data.reshape(stored.shape).astype(stored.dtype, copy=False)

    def graph(self, name: str) -> bytes:
        """The whole ONNX file of a graph, its elided ranges filled, its sha256 checked, its weights all inside.

        Raises BadInput: no such graph. BadBundle: altered, not a plain ONNX file, or another graph than the manifest's
        entry describes.
        """
        graph = self._graph(name)
        whole = fill(self.read(graph.member), graph.elided, self.read)
        if hashlib.sha256(whole).hexdigest() != graph.sha256:
            what = f"the graph {name}, put together, is not the one that was packed"
            raise BadBundle(what, where=str(self.path), hint=_COPY_AGAIN)
        try:
            facts = read_standard(whole, name=name)
        except BadInput as exc:
            raise BadBundle(str(exc.args[0]), where=str(self.path), hint=exc.hint) from exc
        if differs := agreement.difference(graph, facts):
            raise BadBundle(differs, where=str(self.path), hint=GET_AGAIN)
        return whole

    def report(self) -> dict[str, Any] | None:
        """What the packer measured, if it kept a report."""
        if REPORT not in self.manifest.members:
            return None
        report = strict_json.parse(bytes(self.read(REPORT)), name=REPORT, where=str(self.path))
        if not isinstance(report, dict):
            raise BadBundle(f"{REPORT} is not a JSON object", where=str(self.path), hint=_COPY_AGAIN)
        return report

    def close(self) -> None:
        """Release the file. Views that were returned stay valid; nothing more can be read. May be called twice."""
        self._data = None  # the map itself goes with the last view of it

    def __enter__(self) -> Bundle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _graph(self, name: str) -> Graph:
        for graph in self.manifest.graphs:
            if graph.name == name:
                return graph
        known = ", ".join(graph.name for graph in self.manifest.graphs)
        raise BadInput(f"there is no graph {name[:80]!r}", where=str(self.path), hint=f"It has {known}")

    def _view(self, entry: Entry) -> memoryview:
        if (data := self._data) is None:
            raise BadUsage("the bundle is closed", where=str(self.path), hint="Read before close(), or open it again")
        return data[entry.start : entry.end]

    def _small(self, name: str, where: str) -> bytes:
        """A member that no manifest declares: limited in size, and checked by its CRC-32."""
        entry = self.entries[name]
        if entry.size_bytes > strict_json.MAX_BYTES:
            what = f"{name} has {entry.size_bytes} bytes, at most {strict_json.MAX_BYTES} are read"
            raise BadBundle(what, where=where, hint=GET_AGAIN)
        data = bytes(self._view(entry))
        if zlib.crc32(data) != entry.crc32:
            raise BadBundle(f"the content of {name} was altered", where=where, hint=_COPY_AGAIN)
        return data

    def _optional(self, name: str, where: str) -> bytes | None:
        return self._small(name, where) if name in self.entries else None


def stored_array(member: str, array: Array) -> tuple[StoredArray, bytes]:
    """How an array is described and what its member holds."""
    little = np.ascontiguousarray(array, np.asarray(array).dtype.newbyteorder("<"))
    shape = tuple(np.asarray(array).shape)  # of a scalar (), which ascontiguousarray makes (1,)
    return StoredArray(member=member, dtype=cast(DType, little.dtype.name), shape=shape), little.tobytes()


def write_bundle(
    path: Path,
    *,
    manifest: Manifest,
    graphs: Mapping[str, bytes],
    members: Mapping[str, bytes],
    decisions: Sequence[Record] = (),
    key: SigningKey | None = None,
    prove: Callable[[Bundle], None] | None = None,
) -> Bundle:
    """Pack one file and return it, opened. An existing file at `path` is kept unless the new one passes every check.

    graphs: whole ONNX files by the names in `manifest.graphs`, whose member, size, sha256 and elided ranges are filled
    in here, as is `manifest.members`; weights of at least 1 KiB that occur more than once are stored once. members:
    golden samples, report, whatever else is sealed, by name. decisions: oldest first; their chain is made here. key:
    signs both parts. prove: raises for a finished file that must not get its name.
    Raises BadInput, BadBundle (what was given breaks a rule of the format), CantWrite.
    """
    names = [graph.name for graph in manifest.graphs]
    if sorted(names) != sorted(graphs):
        raise BadUsage(
            f"the manifest names the graphs {sorted(names)}, given are {sorted(graphs)}", hint="Name all of them"
        )
    if reserved := sorted(set(members) & set(RESERVED)):
        raise BadUsage(f"{reserved[0]} is written by the packer itself", hint="Give the member another name")
    stored, weights = cut(graphs)
    graph_members = {_graph_member(name, stored[name]): stored[name].data for name in names}
    sealed: dict[str, bytes] = {**members, **graph_members, **weights}
    if len(sealed) != len(members) + len(graph_members) + len(weights):
        raise BadUsage(
            "a member has the name of a graph or of weights", hint="Use other folders than graphs/, weights/"
        )
    complete = msgspec.structs.replace(
        manifest,
        graphs=tuple(_described(graph, graphs[graph.name], stored[graph.name]) for graph in manifest.graphs),
        members={name: Member(size_bytes=len(data), sha256=_sha256(data)) for name, data in sorted(sealed.items())},
    )
    raw = strict_json.canonical(_builtins(complete), name=MANIFEST)
    site = Site()
    for decision in decisions:
        site = site.followed_by(decision)

    def write(archive: Writer) -> None:
        archive.add(MANIFEST, raw)
        for name, data in sorted(sealed.items()):
            archive.add(name, data)
        if key is not None:
            archive.add(SEALED_SIGNATURE, key.sign(raw, "sealed"))
        _add_site(archive, site, _sha256(raw), key)

    return _written(Path(path), write, prove)


def append_decision(
    path: Path, decision: Record, *, key: SigningKey | None = None, sealed: str | None = None
) -> Bundle:
    """Append `decision`, which puts it in force. The file is rewritten; its sealed part keeps every byte.

    key: the site's; signs the whole list. Without one the list is left unsigned, since the old signature is for the old
    list. sealed: digest of the bundle that the decision is for; None = whichever is at `path`. Two processes that
    append at once do so one after the other. Raises BadBundle, BadInput, CantWrite, BadUsage (another bundle is there).
    """
    path = Path(path)
    with exclusive(_existing(path)), Bundle.open(path, trust="off") as old:
        if sealed not in (None, old.digest):
            raise BadUsage(
                "the bundle was replaced since this decision was made for it", where=str(path), hint="Decide again",
            )  # fmt: skip
        site = old._site.followed_by(decision)

        def write(archive: Writer) -> None:
            _copy(archive, old, leave_out=(DECISIONS, SITE_SIGNATURE))
            _add_site(archive, site, old.digest, key)

        return _written(path, write)


def sign_bundle(path: Path, key: SigningKey, *, part: Part = "sealed") -> Bundle:
    """Sign one part with `key`, in place of a signature that may be there; the other part keeps its own.

    Raises BadUsage for the site part of a bundle that has no decisions yet.
    """
    path, (message, member) = Path(path), _SIGNED[part]
    with exclusive(_existing(path)), Bundle.open(path, trust="off") as old:
        if message not in old.entries:
            raise BadUsage("there are no decisions in it to be signed", where=str(path), hint="Sign the sealed part")
        signature = key.sign(bytes(old._view(old.entries[message])), part)

        def write(archive: Writer) -> None:
            _copy(archive, old, leave_out=(SEALED_SIGNATURE, DECISIONS, SITE_SIGNATURE))
            for name in (SEALED_SIGNATURE, DECISIONS, SITE_SIGNATURE):
                if name == member:
                    archive.add(name, signature)
                elif name in old.entries:
                    archive.add(name, old._view(old.entries[name]))

        return _written(path, write)


def _written(path: Path, write: Callable[[Writer], None], prove: Callable[[Bundle], None] | None = None) -> Bundle:
    """Write to a temporary file, check it as a reader would, and only then rename it to `path`."""
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else None
    with writing(path, mode=mode) as (file, temporary):
        archive = Writer(file)
        write(archive)
        archive.finish()
        file.flush()
        _prove(path, temporary, prove)
    return Bundle.open(path, lazy=True)


def _prove(path: Path, temporary: Path, further: Callable[[Bundle], None] | None) -> None:
    """Run every check of a reader on the temporary file, before it is renamed. A reader's hint to get the file again is
    none for who writes it."""
    try:
        with Bundle(path, _mapped(temporary), trust=TrustPolicy(mode="off")) as bundle:
            for name in bundle.manifest.members:
                bundle.read(name)
            for graph in bundle.manifest.graphs:
                bundle.graph(graph.name)
            bundle.report()
            if further is not None:
                further(bundle)
    except BadBundle as exc:
        if exc.hint != GET_AGAIN:
            raise
        raise BadBundle(exc.args[0], where=str(path), hint=_NOT_WRITTEN) from exc


def _add_site(archive: Writer, site: Site, digest: str, key: SigningKey | None) -> None:
    if site.decisions:
        raw = site.encode(digest)
        archive.add(DECISIONS, raw)
        if key is not None:
            archive.add(SITE_SIGNATURE, key.sign(raw, "site"))


def _copy(archive: Writer, old: Bundle, *, leave_out: Sequence[str]) -> None:
    assert old._data is not None
    archive.copy(old._data, [entry for name, entry in old.entries.items() if name not in leave_out])


def _graph_member(name: str, stored: Stored) -> str:
    # A graph with elided ranges is no ONNX file, and should not be taken for one when it is unpacked by hand.
    return f"graphs/{name}.onnx" + (".elided" if stored.elided else "")


def _described(graph: Graph, whole: bytes, stored: Stored) -> Graph:
    return msgspec.structs.replace(
        graph,
        member=_graph_member(graph.name, stored),
        size_bytes=len(whole),
        sha256=_sha256(whole),
        elided=stored.elided,
    )


def _builtins(manifest: Manifest) -> Any:
    try:
        return msgspec.to_builtins(manifest)
    except TypeError as exc:  # something in `extra` that no JSON can hold
        raise BadInput(
            f"{MANIFEST} can't be written: {exc}", hint="Use numbers, text, lists and maps in extra"
        ) from exc


def _check_kind(data: memoryview, where: str) -> None:
    """Name another ZIP archive as such, instead of the first of the many rules that it breaks."""
    length = int.from_bytes(data[26:28], "little")
    first = bytes(data[30 : 30 + length]).decode("ascii", errors="backslashreplace")
    if bytes(data[:4]) == b"PK\x03\x04" and len(data) > 30 and first != MANIFEST:
        what = f"is a ZIP archive, but no bundle: the first member is {first[:80]!r}, not {MANIFEST}"
        raise BadBundle(what, where=where, hint="Name a .edge file that edge-sdk wrote")


def _check_order(names: Sequence[str], where: str) -> None:
    """manifest.json, sealed members by name, signature, decisions, signature: the sealed part comes first."""
    ranks = [(RESERVED.index(name), "") if name in RESERVED[1:] else (0, name) for name in names[1:]]
    if ranks != sorted(ranks):
        raise BadBundle("the members are not in their order", where=where, hint="Don't use this file; get the original")
    if SITE_SIGNATURE in names and DECISIONS not in names:
        raise BadBundle(f"there is a {SITE_SIGNATURE} but no {DECISIONS}", where=where, hint=_COPY_AGAIN)


def _existing(path: Path) -> Path:
    _mapped(path)
    return path


def _mapped(path: Path) -> memoryview:
    """The file's bytes, read-only. Raises BadBundle: not there, not a plain file, too small, too large."""
    try:
        handle = os.open(path, os.O_RDONLY | _NO_WAIT)
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise BadBundle("is not a plain file", where=str(path), hint="Name the .edge file itself")
            if not 0 < status.st_size <= layout.MAX_FILE:
                what = f"has {status.st_size} bytes, a bundle has 1 to {layout.MAX_FILE}"
                raise BadBundle(what, where=str(path), hint=_COPY_AGAIN)
            return memoryview(mmap.mmap(handle, 0, access=mmap.ACCESS_READ))
        finally:
            os.close(handle)  # the map has its own
    except FileNotFoundError as exc:
        if url_of(path):
            raise unreadable(path, exc) from exc
        raise BadBundle("there is no such file", where=str(path), hint="Check the path") from exc
    except (OSError, ValueError) as exc:
        raise BadBundle(f"can't be read: {exc}", where=str(path), hint="Check the file and its permissions") from exc


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
