from __future__ import annotations

import hashlib
import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edge_sdk.decision.record import (
    Record,
    UnknownRecord,
    canonical_json,
    check_chain,
    digest_of,
    members_of,
    read,
    read_as,
    sealed,
)
from edge_sdk.decision.threshold import Threshold, verdict
from edge_sdk.errors import BadBundle, BadInput

finite = st.floats(allow_nan=False, allow_infinity=False)
shares = st.floats(0.0, 1.0)
decisions = st.builds(
    Threshold,
    rule=st.sampled_from(["conformal", "conformal-pac", "cost", "fixed"]),
    threshold=finite,
    requested_rate=st.none() | shares,
    parts=st.integers(0, 10**6),
    rank=st.none() | st.integers(1, 10**6),
    rate_interval=st.none() | st.tuples(shares, shares).map(lambda ends: (min(ends), max(ends))),
    cross_fit=st.booleans(),
    words=st.text(),
    warnings=st.lists(st.text(min_size=1), max_size=2).map(tuple),
)


def chain(*unsealed: Threshold) -> list[Threshold]:
    records: list[Threshold] = []
    for one in unsealed:
        records.append(sealed(one, records[-1] if records else None))
    return records


@given(unsealed=st.lists(decisions, max_size=4))
def test_a_sealed_chain_checks_out_before_and_after_a_trip_through_json(unsealed: list[Threshold]) -> None:
    records = chain(*unsealed)
    check_chain(records)
    text = msgspec.json.encode(records)
    check_chain(msgspec.json.decode(text, type=list[Threshold]))
    check_chain(json.loads(text))
    check_chain(json.loads(json.dumps(json.loads(text))))


@given(first=decisions, second=decisions, data=st.data())
def test_any_changed_field_breaks_the_chain_at_that_record(
    first: Threshold, second: Threshold, data: st.DataObject
) -> None:
    assume(first.threshold != 1.0 and second.threshold != 1.0)
    records = chain(first, second)
    index = data.draw(st.integers(0, 1))
    changed = msgspec.structs.replace(records[index], threshold=math.nextafter(records[index].threshold, 1.0))
    forged = [changed if number == index else record for number, record in enumerate(records)]
    with pytest.raises(BadBundle, match=f"decision {index + 1} of 2 was altered"):
        check_chain(forged)


def test_a_record_taken_out_put_twice_or_moved_is_found() -> None:
    one, two, three = chain(*(Threshold(rule="fixed", threshold=float(value)) for value in (1, 2, 3)))
    for broken in ([one, three], [two, three], [one, one], [two, one]):
        with pytest.raises(BadBundle, match=r"x\.edge: .*does not follow the one before it"):
            check_chain(broken, where="x.edge")


def test_the_canonical_form_is_the_documented_one() -> None:
    record = Threshold(rule="fixed", threshold=0.5, author="Åsa", digest="ignored")
    text = '{"author":"Åsa","kind":"threshold","parts":0,"pictures":0,"rule":"fixed","threshold":0.5}'
    assert canonical_json(record) == text.encode()
    assert digest_of(record) == hashlib.sha256(canonical_json(record)).hexdigest()


def test_a_field_of_a_newer_version_is_hashed_where_it_is_read_as_json() -> None:
    newer: dict[str, Any] = {"rule": "fixed", "threshold": 0.5, "parts": 0, "pictures": 0, "of_tomorrow": "x"}
    newer["digest"] = digest_of(newer)
    check_chain([newer])
    with pytest.raises(BadBundle, match="altered"):
        check_chain([newer | {"of_tomorrow": "y"}])


def test_a_whole_number_given_as_threshold_has_the_digest_of_its_float() -> None:
    assert sealed(Threshold(rule="fixed", threshold=1), None) == sealed(Threshold(rule="fixed", threshold=1.0), None)


@pytest.mark.parametrize("threshold", [math.nan, math.inf, -math.inf])
def test_a_threshold_that_is_not_finite_is_not_sealed(threshold: float) -> None:
    with pytest.raises(BadInput, match="decides nothing"):
        sealed(Threshold(rule="fixed", threshold=threshold), None)


def test_a_record_is_not_chained_to_one_without_a_digest() -> None:
    with pytest.raises(BadInput, match="no digest"):
        sealed(Threshold(rule="fixed", threshold=1.0), Threshold(rule="fixed", threshold=1.0))


def test_a_score_equal_to_the_threshold_is_good_and_the_next_float_is_a_defect() -> None:
    decision = sealed(Threshold(rule="fixed", threshold=0.5), None)
    assert verdict(0.5, decision).label == "good"
    assert verdict(math.nextafter(0.5, 1.0), decision).label == "defect"
    assert verdict(0.5, decision).record == decision.digest
    assert verdict(0.5, None).label == "undecided"


def test_a_nan_score_gets_no_verdict() -> None:
    with pytest.raises(BadInput, match="NaN"):
        verdict(math.nan, Threshold(rule="fixed", threshold=0.5))


def test_a_record_that_json_cannot_hold_is_refused_in_our_words() -> None:
    with pytest.raises(BadBundle, match="decision 1 of 1 can't be hashed"):
        check_chain([{"rule": "fixed", "threshold": math.inf, "digest": "x"}])
    with pytest.raises(BadInput, match="a decision can't be written as JSON"):
        sealed(Threshold(rule="fixed", threshold=1.0, threshold_interval=(math.nan, 1.0)), None)


@pytest.mark.parametrize(
    "changes",
    [{"requested_rate": 7.5}, {"expected_rate": -0.1}, {"rate_interval": (0.4, 0.2)}, {"parts": -1}, {"rank": -3}],
)
def test_a_threshold_with_a_number_that_cannot_be_is_not_sealed(changes: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="an invalid number"):
        sealed(Threshold(rule="fixed", threshold=1.0, **changes), None)


class Abstention(Record, frozen=True, kw_only=True, tag="abstention"):
    """A record of a task that lives elsewhere."""

    entropy: float


def test_a_record_of_a_kind_that_is_not_known_here_keeps_its_fields_and_its_place_in_the_chain() -> None:
    first = sealed(Abstention(entropy=0.7, words="ask a person"), None)
    second = sealed(Threshold(rule="fixed", threshold=1.0), first)
    stored = [members_of(first), members_of(second)]
    check_chain(stored)
    unknown, known = (read(members) for members in stored)
    assert isinstance(unknown, UnknownRecord)
    assert (unknown.kind, unknown.words, unknown.digest) == ("abstention", "ask a person", first.digest)
    assert known == second
    assert members_of(unknown) == members_of(first)
    assert read_as(unknown, Abstention) == first
    assert read_as(unknown, Threshold) is None
    check_chain([unknown, known])
