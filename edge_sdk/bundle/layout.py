"""The bytes of the archive: a ZIP file of stored members, aligned to 64 bytes, in one canonical form.

Knows names, offsets, sizes and checksums; no manifest, no graph, no signature. The reader compares every header byte
with the one form that the writer makes: every ZIP tool sees the same members in a file that it accepts.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO

from edge_sdk.errors import BadBundle, BadInput

ALIGNMENT = 64
MAX_MEMBERS = 4096
MAX_NAME = 200
MAX_FILE = 2**32 - 2  # no ZIP64: protobuf ends at 2 GiB, one bundle need not be larger than a FAT file

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_PAD = struct.Struct("<HHH")
_PAD_ID = 0xD935  # the padding field that Android's zipalign made common: every ZIP tool skips it
_VERSION = 20
_MADE_BY = (3 << 8) | _VERSION  # 3: the upper half of the external attributes is a Unix mode
_FLAGS = 0x0800  # names are UTF-8
_TIME, _DATE = 0, 0x21  # 1980-01-01 00:00:00: the same input gives the same bytes
_MODE = 0o100644 << 16
_ENCRYPTED, _DESCRIPTOR = 0x0001, 0x0008
_SAFE = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._+-]*[A-Za-z0-9_+-])?")  # one step of a name: no dot first or last
_COPY_AGAIN = "Copy the file again from where it was packed"
_PACK_AGAIN = "Don't use this file; get one that edge-sdk packed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One member. header: offset of its local header; start, end: of its data, start a multiple of 64."""

    name: str
    crc32: int
    size_bytes: int
    header: int

    @property
    def start(self) -> int:
        return self.header + len(local_header(self))

    @property
    def end(self) -> int:
        return self.start + self.size_bytes


def name_fault(name: str) -> str:
    """Empty if a member may be called `name`, else what is wrong with it, as a sentence part."""
    if len(name) > MAX_NAME:
        return f"is longer than {MAX_NAME} characters"
    if name.endswith("/"):
        return "is a folder"
    if "\\" in name or ":" in name:
        return "holds a backslash or a drive letter"
    if name.startswith("/"):
        return "is an absolute path"
    if ".." in name.split("/"):
        return "leads out of the archive"
    if not all(map(_SAFE.fullmatch, name.split("/"))):
        return "holds something other than letters, digits and . _ + - /"
    return ""


def local_header(entry: Entry) -> bytes:
    """The header in front of a member's data, padded so that the data starts at a multiple of 64."""
    name = entry.name.encode("ascii")
    pad = -(entry.header + _LOCAL.size + len(name) + _PAD.size) % ALIGNMENT
    extra = _PAD.pack(_PAD_ID, 2 + pad, ALIGNMENT) + bytes(pad)
    sizes = (entry.crc32, entry.size_bytes, entry.size_bytes, len(name), len(extra))
    return _LOCAL.pack(b"PK\x03\x04", _VERSION, _FLAGS, 0, _TIME, _DATE, *sizes) + name + extra


def central_header(entry: Entry) -> bytes:
    """The member's line in the table of contents at the end of the file."""
    name = entry.name.encode("ascii")
    sizes = (entry.crc32, entry.size_bytes, entry.size_bytes, len(name))
    fixed = (b"PK\x01\x02", _MADE_BY, _VERSION, _FLAGS, 0, _TIME, _DATE)
    return _CENTRAL.pack(*fixed, *sizes, 0, 0, 0, 0, _MODE, entry.header) + name


class Writer:
    """Writes an archive into an open file, member by member. `finish` must come last; nothing is closed here."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._at = file, 0
        self._entries: list[Entry] = []

    def add(self, name: str, data: bytes | memoryview) -> None:
        """Append a member. Raises BadInput: a name that is not safe, too many members, too many bytes."""
        if fault := name_fault(name):
            raise BadInput(f"the member name {name[:80]!r} {fault}", hint="Use letters, digits and . _ + - /")
        entry = Entry(name=name, crc32=zlib.crc32(data), size_bytes=len(data), header=self._at)
        if len(self._entries) >= MAX_MEMBERS or entry.end > MAX_FILE:
            raise BadInput(
                f"a bundle holds at most {MAX_MEMBERS} members and {MAX_FILE} bytes",
                hint="Pack fewer variants or samples",
            )
        self._file.write(local_header(entry))
        self._file.write(data)
        self._keep(entry)

    def copy(self, archive: memoryview, entries: Iterable[Entry]) -> None:
        """Copy the first members of another archive, byte for byte. Must come before the first `add`."""
        entries = tuple(entries)
        self._file.write(archive[: entries[-1].end])
        for entry in entries:
            self._keep(entry)

    def finish(self) -> None:
        """Write the table of contents and the end record."""
        table = b"".join(central_header(entry) for entry in self._entries)
        count = len(self._entries)
        if self._at + len(table) + _END.size > MAX_FILE:
            raise BadInput(f"a bundle holds at most {MAX_FILE} bytes", hint="Pack fewer variants or samples")
        self._file.write(table + _END.pack(b"PK\x05\x06", 0, 0, count, count, len(table), self._at, 0))

    def _keep(self, entry: Entry) -> None:
        self._entries.append(entry)
        self._at = entry.end


def read_entries(archive: memoryview, *, where: str) -> tuple[Entry, ...]:
    """All members in the order of the file. Raises BadBundle unless every byte outside the members' data is canonical.

    Reads headers alone, so that sizes and offsets are known to be valid before any content is read.
    """
    count, table, end = _end_record(archive, where)
    entries: list[Entry] = []
    seen: set[str] = set()
    folders: set[str] = set()
    at, expected = table, 0
    for _ in range(count):
        entry, at = _central_entry(archive, at, end, where)
        name = entry.name.lower()  # names that differ in case alone can't be unpacked into one folder on every system
        if name in seen:
            raise BadBundle(f"the member {entry.name} stands twice", where=where, hint=_PACK_AGAIN)
        seen.add(name)
        folders.update(name[:cut] for cut, letter in enumerate(name) if letter == "/")
        _local_entry(archive, entry, expected, table, where)
        entries.append(entry)
        expected = entry.end
    if both := seen & folders:
        raise BadBundle(f"the member {min(both)} is also a folder", where=where, hint=_PACK_AGAIN)
    if at != end:
        raise BadBundle("the table of contents is longer than its entries", where=where, hint=_PACK_AGAIN)
    if expected != table:
        raise BadBundle(f"{table - expected} bytes before the table belong to no member", where=where, hint=_PACK_AGAIN)
    return tuple(entries)


def _end_record(archive: memoryview, where: str) -> tuple[int, int, int]:
    """Count of members, offset of the table of contents, offset of its end."""
    size = len(archive)
    if size < _END.size + _LOCAL.size:
        raise BadBundle(f"has {size} bytes, too few for a bundle", where=where, hint=_COPY_AGAIN)
    if bytes(archive[:4]) != b"PK\x03\x04":
        raise BadBundle(
            "does not begin as a bundle: another kind of file, or bytes in front",
            where=where,
            hint=f"Name an .edge file; verbs take the bundle before its inputs. {_PACK_AGAIN}",
        )
    magic, disk, table_disk, here, count, length, table, comment = _END.unpack(archive[size - _END.size :])
    if magic != b"PK\x05\x06":
        behind = bytes(archive[-70_000:]).rfind(b"PK\x05\x06")
        if 0 <= behind <= len(archive[-70_000:]) - _END.size:
            raise BadBundle("bytes stand behind the end of the archive", where=where, hint=_PACK_AGAIN)
        raise BadBundle("is cut: the end of the archive is missing", where=where, hint=_COPY_AGAIN)
    if disk or table_disk or here != count or comment:
        raise BadBundle("the end record is not that of a bundle (parts, comment)", where=where, hint=_PACK_AGAIN)
    if 0xFFFF in (here, count) or 0xFFFFFFFF in (length, table):
        raise BadBundle("is a ZIP64 archive, which a bundle never is", where=where, hint=_PACK_AGAIN)
    if not 1 <= count <= MAX_MEMBERS:
        raise BadBundle(f"says it has {count} members, 1 to {MAX_MEMBERS} are read", where=where, hint=_PACK_AGAIN)
    if table + length != size - _END.size:
        raise BadBundle(
            "is cut, or bytes were put in: the table of contents is not where the end record says",
            where=where,
            hint=_COPY_AGAIN,
        )
    return count, table, size - _END.size


def _central_entry(archive: memoryview, at: int, end: int, where: str) -> tuple[Entry, int]:
    """The entry at `at` of the table of contents, and where the next one starts."""
    if at + _CENTRAL.size > end:
        raise BadBundle("the table of contents is shorter than its entries", where=where, hint=_COPY_AGAIN)
    fields = _CENTRAL.unpack(archive[at : at + _CENTRAL.size])
    magic, _, _, flags, method, _, _, crc, packed, size, name_length, extra, comment, _, _, attributes, header = fields
    stop = at + _CENTRAL.size + name_length
    if magic != b"PK\x01\x02" or stop > end:
        raise BadBundle("the table of contents is damaged", where=where, hint=_COPY_AGAIN)
    name = _name(bytes(archive[at + _CENTRAL.size : stop]), where)
    _check_kind(name, flags=flags, method=method, attributes=attributes, where=where)
    if packed != size:
        raise BadBundle(f"the member {name} states two sizes, {packed} and {size}", where=where, hint=_PACK_AGAIN)
    entry = Entry(name=name, crc32=crc, size_bytes=size, header=header)
    if extra or comment or bytes(archive[at:stop]) != central_header(entry):
        raise BadBundle(
            f"the table's entry for {name} is not of the form that a bundle has", where=where, hint=_PACK_AGAIN
        )
    return entry, stop


def _name(raw: bytes, where: str) -> str:
    name = raw.decode("ascii", errors="backslashreplace")
    if fault := name_fault(name):
        raise BadBundle(f"the member name {name[:80]!r} {fault}", where=where, hint=_PACK_AGAIN)
    return name


def _check_kind(name: str, *, flags: int, method: int, attributes: int, where: str) -> None:
    kind = (attributes >> 16) & 0o170000
    if flags & _ENCRYPTED:
        raise BadBundle(f"the member {name} is encrypted", where=where, hint=_PACK_AGAIN)
    if flags & _DESCRIPTOR:
        raise BadBundle(f"the member {name} hides its size behind its data", where=where, hint=_PACK_AGAIN)
    if method:
        raise BadBundle(f"the member {name} is compressed; a bundle stores its members", where=where, hint=_PACK_AGAIN)
    if kind == 0o120000:
        raise BadBundle(f"the member {name} is a symbolic link", where=where, hint=_PACK_AGAIN)
    if kind != 0o100000:
        raise BadBundle(f"the member {name} is not a plain file", where=where, hint=_PACK_AGAIN)


def _local_entry(archive: memoryview, entry: Entry, expected: int, table: int, where: str) -> None:
    """Check that a local header agrees with the table, and that it follows the previous member without a gap."""
    if entry.header < expected:
        raise BadBundle(f"the member {entry.name} overlaps the one before it", where=where, hint=_PACK_AGAIN)
    if entry.header > expected:
        raise BadBundle(f"bytes in front of {entry.name} belong to no member", where=where, hint=_PACK_AGAIN)
    if entry.end > table:
        raise BadBundle(f"the member {entry.name} reaches past the end of the data", where=where, hint=_COPY_AGAIN)
    if bytes(archive[entry.header : entry.start]) != local_header(entry):
        raise BadBundle(f"the header of {entry.name} and the table of contents differ", where=where, hint=_COPY_AGAIN)
