"""Site records: decisions of a site, each linked to its predecessor by digest. Pure; knows no task's numbers.

A kind of record is a subclass with its own tag and a line in `KINDS`; a task of another package lists its kinds in
`Task.records`. A record of an unknown kind keeps its fields, so that the chain still verifies and a task that knows the
kind can read it.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from edge_sdk import strict_json
from edge_sdk.errors import BadBundle, BadInput


class Record(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """What every kind of site record holds. predecessor: digest of the record before it, "" for the first. digest:
    `digest_of` this record. words: what was decided and on what evidence, for a person. created_utc: ISO 8601.
    """

    words: str = ""
    warnings: tuple[str, ...] = ()
    author: str = ""
    created_utc: str = ""
    predecessor: str = ""
    digest: str = ""

    @property
    def kind(self) -> str:
        """Its name in the file: the tag of its type."""
        return str(self.__struct_config__.tag)

    def problem(self) -> str:
        """What is invalid in this record, as a phrase; "" if it is valid."""
        return ""

    def summary(self) -> str:
        """The decision as a short phrase, for a list."""
        return self.words


class UnknownRecord(Record, frozen=True, kw_only=True, tag=""):
    """A record of a kind that is not in `KINDS`. fields: the JSON object as it was read, `kind` among them."""

    fields: dict[str, Any] = {}

    @property
    def kind(self) -> str:
        """What the record calls itself."""
        return str(self.fields.get("kind", ""))

    def summary(self) -> str:
        return f"a record of kind {self.kind!r}, which this version does not read"


R = TypeVar("R", bound=Record)

KINDS: Mapping[str, tuple[str, str]] = {"threshold": ("edge_sdk.decision.threshold", "Threshold")}
"""Kind -> where its type lives. A new one is a line here; kinds of tasks from elsewhere are read by `read_as`."""


def type_of(kind: str) -> type[Record]:
    """The type of a kind in `KINDS`."""
    module, name = KINDS[kind]
    found: type[Record] = getattr(importlib.import_module(module), name)
    return found


def read(members: Mapping[str, Any]) -> Record:
    """The typed record of one JSON object. Raises msgspec.ValidationError where a field has another type."""
    kind = members.get("kind")
    if isinstance(kind, str) and kind in KINDS:
        return msgspec.convert(members, type_of(kind))
    if not isinstance(kind, str) or not kind:
        raise msgspec.ValidationError("a record has no `kind`")
    known = {name: value for name, value in members.items() if name in Record.__struct_fields__}
    return UnknownRecord(
        **msgspec.structs.asdict(msgspec.convert({**known, "kind": "Record"}, Record)), fields=dict(members)
    )


def read_as(record: Record, kind: type[R]) -> R | None:
    """`record` as `kind`, None if it is of another one. For kinds that are not in `KINDS` too."""
    if isinstance(record, kind):
        return record
    if isinstance(record, UnknownRecord) and record.kind == kind.__struct_config__.tag:
        return msgspec.convert(record.fields, kind)
    return None


def members_of(record: Record | Mapping[str, Any]) -> dict[str, Any]:
    """The JSON object of a record; of one that was read, all its fields, known or not."""
    if isinstance(record, UnknownRecord):
        return dict(record.fields)
    members: dict[str, Any] = msgspec.to_builtins(record)
    return members


def canonical_json(record: Record | Mapping[str, Any]) -> bytes:
    """The bytes that are hashed: `strict_json.canonical` of the record.

    Left out: `digest` itself, and members that are null, false, "" or []. So a field that a later version adds with
    such a default changes no older digest. A mapping (the JSON object as read) keeps fields that this version does not
    know, so that records of a newer minor version check out too.
    """
    members = members_of(record)
    kept = {key: value for key, value in members.items() if key != "digest" and not _empty(value)}
    return strict_json.canonical(kept, name="a decision")


def _empty(value: Any) -> bool:
    return value is None or value is False or value == "" or value in ([], ())


def digest_of(record: Record | Mapping[str, Any]) -> str:
    """sha256 of `canonical_json`, in hex."""
    return hashlib.sha256(canonical_json(record)).hexdigest()


def sealed(record: R, predecessor: Record | None) -> R:
    """`record` as the successor of `predecessor` (None: the first of its chain), with its own digest filled in.

    BadInput where it holds a number that can't be, or the predecessor has no digest yet.
    """
    if problem := record.problem():
        raise BadInput(problem, hint="Give finite numbers in range")
    if predecessor is not None and not predecessor.digest:
        raise BadInput("the record before this one has no digest", hint="Seal it first")
    linked = msgspec.structs.replace(record, predecessor=predecessor.digest if predecessor else "", digest="")
    # Round trip through JSON first: an int given for a float would hash as 1 here and as 1.0 when read back.
    linked = msgspec.convert(msgspec.to_builtins(linked), type(record))
    return msgspec.structs.replace(linked, digest=digest_of(linked))


def check_chain(records: Sequence[Record | Mapping[str, Any]], *, where: str = "") -> None:
    """Each record has its own digest and names the one before it; oldest first. BadBundle says which does not."""
    before = ""
    for number, record in enumerate(records, start=1):
        members = members_of(record)
        name = f"decision {number} of {len(records)}"
        try:
            own = digest_of(record)
        except BadInput as exc:
            raise BadBundle(f"{name} can't be hashed: {exc}", where=where) from exc
        if own != members.get("digest"):
            raise BadBundle(
                f"{name} was altered: its digest does not match",
                where=where,
                hint="Copy the file again from its source",
            )
        if members.get("predecessor", "") != before:
            raise BadBundle(
                f"{name} does not follow the one before it: a record was removed, added or moved",
                where=where,
                hint="Copy the file again from its source",
            )
        before = members["digest"]
