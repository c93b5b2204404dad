"""decision.json, the part of a bundle that lives on site: a hash-chained list of records, bound to one sealed part.

Knows no archive and no kind of record. Records of a newer minor schema, and of kinds that this version does not know,
keep all their fields.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from edge_sdk import strict_json
from edge_sdk.bundle.rules import DECISIONS
from edge_sdk.decision.record import Record, check_chain, members_of, read, sealed
from edge_sdk.errors import BadBundle
from edge_sdk.extras import UPDATE

SCHEMA = "1.0"
MAX_DECISIONS = 10_000
_PACK_AGAIN = "Get the file again, or decide again on site"


class Decisions(msgspec.Struct, frozen=True, kw_only=True):
    """decision.json. sealed: sha256 of the manifest that the records are for. decisions: oldest first, each with its
    kind, digest and predecessor."""

    schema: str = SCHEMA
    sealed: str
    decisions: tuple[dict[str, Any], ...]


class Site:
    """The records of one bundle. members: the JSON objects as the file has them, unknown fields included."""

    def __init__(self, members: Sequence[Mapping[str, Any]] = (), decisions: Sequence[Record] = ()) -> None:
        self.members, self.decisions = tuple(members), tuple(decisions)

    def followed_by(self, record: Record) -> Site:
        """These records and `record`, its predecessor and digest filled in. Raises BadInput: invalid numbers."""
        link = sealed(record, self.decisions[-1] if self.decisions else None)
        return Site((*self.members, members_of(link)), (*self.decisions, link))

    def encode(self, sealed_digest: str) -> bytes:
        """The bytes of decision.json for the sealed part with this digest."""
        value = {"schema": SCHEMA, "sealed": sealed_digest, "decisions": list(self.members)}
        return strict_json.canonical(value, name=DECISIONS)


def read_site(data: bytes, sealed_digest: str, *, where: str) -> Site:
    """Raises BadBundle: not such a file, for another bundle, a record altered, removed, moved, or impossible."""
    value = strict_json.parse(data, name=DECISIONS, where=where)
    try:
        typed = msgspec.convert(value, Decisions)
        records = tuple(read(members) for members in typed.decisions)
    except msgspec.ValidationError as exc:
        raise BadBundle(f"{DECISIONS} is not a list of decisions: {exc}", where=where, hint=_PACK_AGAIN) from exc
    if typed.schema.split(".")[0] != SCHEMA.split(".")[0]:
        what = f"{DECISIONS} has schema {typed.schema[:20]!r}; this version reads {SCHEMA.split('.')[0]}.x"
        raise BadBundle(what, where=where, hint=UPDATE)
    if typed.sealed != sealed_digest:
        raise BadBundle(f"{DECISIONS} was made for another bundle", where=where, hint=_PACK_AGAIN)
    if not 1 <= len(records) <= MAX_DECISIONS:
        what = f"{DECISIONS} holds {len(records)} decisions; 1 to {MAX_DECISIONS} are read"
        raise BadBundle(what, where=where, hint=_PACK_AGAIN)
    check_chain(typed.decisions, where=where)
    for number, record in enumerate(records, start=1):
        if problem := record.problem():
            raise BadBundle(f"decision {number}: {problem}", where=where, hint=_PACK_AGAIN)
    return Site(typed.decisions, records)
