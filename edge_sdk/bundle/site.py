"""decision.json, the part of a bundle that lives on site: a hash-chained list of decisions, bound to one sealed part.

Knows no archive. Records of a newer minor schema keep the fields that this version does not know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from edge_sdk import strict_json
from edge_sdk.bundle.rules import DECISIONS, check_decision
from edge_sdk.decision import Decision, check_chain, sealed
from edge_sdk.errors import BadBundle
from edge_sdk.extras import UPDATE

SCHEMA = "1.0"
MAX_DECISIONS = 10_000
_PACK_AGAIN = "Get the file again, or fit the threshold again with edge-sdk threshold"


class Decisions(msgspec.Struct, frozen=True, kw_only=True):
    """decision.json. sealed: sha256 of the manifest that the decisions are for. decisions: oldest first."""

    schema: str = SCHEMA
    sealed: str
    decisions: tuple[Decision, ...]


class Site:
    """The decisions of one bundle. `records` are the JSON objects as they stand in the file, known fields or not."""

    def __init__(self, records: Sequence[Mapping[str, Any]] = (), decisions: Sequence[Decision] = ()) -> None:
        self.records, self.decisions = tuple(records), tuple(decisions)

    def followed_by(self, decision: Decision) -> Site:
        """One decision more, its predecessor and digest filled in. Raises BadInput: a threshold not finite."""
        link = sealed(decision, self.decisions[-1] if self.decisions else None)
        check_decision(link, name="the new decision", where="")
        return Site((*self.records, msgspec.to_builtins(link)), (*self.decisions, link))

    def encode(self, sealed_digest: str) -> bytes:
        """The bytes of decision.json for the sealed part with this digest."""
        value = {"schema": SCHEMA, "sealed": sealed_digest, "decisions": list(self.records)}
        return strict_json.canonical(value, name=DECISIONS)


def read_site(data: bytes, sealed_digest: str, *, where: str) -> Site:
    """Raises BadBundle: not such a file, for another bundle, a record altered, removed, moved, or impossible."""
    value = strict_json.parse(data, name=DECISIONS, where=where)
    try:
        typed = msgspec.convert(value, Decisions)
    except msgspec.ValidationError as exc:
        raise BadBundle(f"{DECISIONS} is not a list of decisions: {exc}", where=where, do=_PACK_AGAIN) from exc
    if typed.schema.split(".")[0] != SCHEMA.split(".")[0]:
        what = f"{DECISIONS} has schema {typed.schema[:20]!r}; this version reads {SCHEMA.split('.')[0]}.x"
        raise BadBundle(what, where=where, do=UPDATE)
    if typed.sealed != sealed_digest:
        raise BadBundle(f"{DECISIONS} was made for another bundle", where=where, do=_PACK_AGAIN)
    if not 1 <= len(typed.decisions) <= MAX_DECISIONS:
        what = f"{DECISIONS} holds {len(typed.decisions)} decisions; 1 to {MAX_DECISIONS} are read"
        raise BadBundle(what, where=where, do=_PACK_AGAIN)
    records = value["decisions"]
    check_chain(records, where=where)
    for number, decision in enumerate(typed.decisions, start=1):
        check_decision(decision, name=f"decision {number}", where=where)
    return Site(records, typed.decisions)
