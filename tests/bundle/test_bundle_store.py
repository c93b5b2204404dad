"""Bundles come back as they were packed, the same input gives the same bytes, and a changed byte is never read."""

from __future__ import annotations

import io
import json
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from attacks import archive, members_of
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tiny_bundle import KEY, decision, manifest, members, onnx_graph, two_layouts, weights, write_tiny

from edge_sdk import strict_json
from edge_sdk.bundle.layout import MAX_MEMBERS, Writer
from edge_sdk.bundle.manifest import Manifest
from edge_sdk.bundle.signing import TrustPolicy
from edge_sdk.bundle.store import Bundle, append_decision, sign_bundle, write_bundle
from edge_sdk.decision.record import Record, UnknownRecord
from edge_sdk.decision.threshold import Threshold
from edge_sdk.errors import BadBundle, BadInput, BadUsage
from edge_sdk.summary import inspect


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only: signed, with two decisions."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.edge"
    write_tiny(path).close()
    return path


def test_what_was_packed_comes_back(tiny: Path) -> None:
    with Bundle.open(tiny) as bundle:
        for name, graph in two_layouts().items():
            assert bundle.graph(name) == graph
            onnx.checker.check_model(onnx.load_from_string(bundle.graph(name)))
        for name, data in members().items():
            assert bytes(bundle.read(name)) == data
        assert bundle.report() == {"auroc": 0.5}
        assert [record.threshold for record in bundle.decisions] == [1.0, 2.0]
        assert bundle.in_force(Threshold) == bundle.decisions[-1]
        assert bundle.manifest.extra == manifest(["x"]).extra
        assert bundle.manifest.golden == manifest(list(two_layouts())).golden


STEP = r"[a-z0-9_][a-z0-9._+-]{0,6}[A-Za-z0-9_+-]"
NAMES = st.from_regex(rf"more/{STEP}(/{STEP}){{0,2}}", fullmatch=True)


@given(
    arrays=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 700)), min_size=1, max_size=5),
    second=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 700)), min_size=1, max_size=5),
    more=st.dictionaries(NAMES, st.binary(max_size=300), max_size=4),
    thresholds=st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=3),
)
@settings(max_examples=40, deadline=None)
def test_any_graphs_members_and_thresholds_come_back(tmp_path_factory, arrays, second, more, thresholds) -> None:  # type: ignore[no-untyped-def]
    lower = {name.lower() for name in more}
    assume(len(lower) == len(more) and not any(f"{a}/" in b for a in lower for b in lower))  # those are refused
    path = tmp_path_factory.mktemp("any") / "x.edge"
    graphs = {
        "a": onnx_graph("a", [weights(seed, count) for seed, count in arrays]),
        "b": onnx_graph("b", [weights(seed, count) for seed, count in second]),
    }
    decisions = [decision(threshold) for threshold in thresholds]
    sizes = {name: max(count for _, count in found) for name, found in (("a", arrays), ("b", second))}
    made = manifest(["a", "b"], golden=False, sizes=sizes)
    written = write_bundle(path, manifest=made, graphs=graphs, members=more, decisions=decisions)
    with written, Bundle.open(path) as bundle:
        assert {name: bundle.graph(name) for name in graphs} == graphs
        assert {name: bytes(bundle.read(name)) for name in more} == more
        assert [record.threshold for record in bundle.decisions] == thresholds
        assert all(entry.start % 64 == 0 for entry in bundle.entries.values())
    with zipfile.ZipFile(path) as other:  # a second reader sees the same
        assert other.testzip() is None
        assert {name: other.read(name) for name in more} == more


def test_every_member_starts_at_a_multiple_of_64_and_can_be_mapped(tiny: Path) -> None:
    data = tiny.read_bytes()
    with Bundle.open(tiny) as bundle:
        for entry in bundle.entries.values():
            assert entry.start % 64 == 0
        entry = bundle.entries["golden/0/map.f32"]
        mapped = np.memmap(tiny, "<f4", "r", entry.start, (4,))
        np.testing.assert_array_equal(mapped, np.arange(4, dtype=np.float32))
        assert data[entry.start : entry.end] == bytes(bundle.read(entry.name))
        del mapped


def test_the_same_input_gives_the_same_bytes(tiny: Path, tmp_path: Path) -> None:
    write_tiny(tmp_path / "again.edge").close()
    assert (tmp_path / "again.edge").read_bytes() == tiny.read_bytes()


def test_a_second_writer_of_the_format_makes_the_same_archive(tiny: Path) -> None:
    assert archive(members_of(tiny)) == tiny.read_bytes()


def test_two_graphs_that_share_weights_store_them_once(tiny: Path) -> None:
    with Bundle.open(tiny) as bundle:
        a, b = bundle.manifest.graphs
        stored = [name for name in bundle.manifest.members if name.startswith("weights/")]
        assert len(stored) == 2
        assert [part.member for part in a.elided] == [part.member for part in b.elided]
        assert {bytes(bundle.read(name)) for name in stored} == {weights(0).tobytes(), weights(1).tobytes()}
    assert inspect(tiny).shared_bytes_saved == 2 * 2048


def test_a_graph_that_shares_nothing_is_stored_as_it_is(tmp_path: Path) -> None:
    graph = onnx_graph("alone", [weights(0), weights(1)])
    made = manifest(["alone"], golden=False)
    with write_bundle(tmp_path / "x.edge", manifest=made, graphs={"alone": graph}, members={}) as bundle:
        assert bytes(bundle.read("graphs/alone.onnx")) == graph
        assert bundle.manifest.graphs[0].elided == ()
    with zipfile.ZipFile(tmp_path / "x.edge") as other:
        onnx.checker.check_model(onnx.load_from_string(other.read("graphs/alone.onnx")))


def test_reading_gives_a_view_that_can_not_be_written_and_outlives_the_bundle(tiny: Path) -> None:
    with Bundle.open(tiny) as bundle:
        view = bundle.read("golden/0/x.f32")
    assert view.readonly
    assert bytes(view) == members()["golden/0/x.f32"]
    with pytest.raises(BadUsage, match=r"tiny\.edge: the bundle is closed"):
        bundle.read("golden/0/x.f32")
    bundle.close()


def test_asking_for_what_is_not_there_says_what_is(tiny: Path) -> None:
    with Bundle.open(tiny) as bundle:
        with pytest.raises(BadInput, match=r"no graph 'fp64'\. It has int8\.a, int8\.b"):
            bundle.graph("fp64")
        with pytest.raises(BadInput, match=r"no sealed member 'decision\.json'"):
            bundle.read("decision.json")


def test_a_bundle_cut_anywhere_is_refused_and_named(tiny: Path, tmp_path: Path) -> None:
    cut, data = tmp_path / "cut.edge", tiny.read_bytes()
    for size in [*range(0, len(data), 101), *range(len(data) - 80, len(data))]:
        cut.write_bytes(data[:size])
        with pytest.raises(BadBundle, match=r"cut\.edge"):
            Bundle.open(cut)


def test_one_flipped_bit_anywhere_is_refused_and_named(tiny: Path, tmp_path: Path) -> None:
    flipped, data = tmp_path / "flipped.edge", tiny.read_bytes()
    for at in range(0, len(data), 17):
        flipped.write_bytes(data[:at] + bytes([data[at] ^ (1 << at % 8)]) + data[at + 1 :])
        with pytest.raises(BadBundle, match=r"flipped\.edge"):
            Bundle.open(flipped)


def test_opened_lazily_an_altered_member_is_refused_when_it_is_read(tiny: Path, tmp_path: Path) -> None:
    with Bundle.open(tiny) as bundle:
        at = bundle.entries["report.json"].start
    data = tiny.read_bytes()
    path = tmp_path / "lazy.edge"
    path.write_bytes(data[:at] + b"[" + data[at + 1 :])
    with Bundle.open(path, lazy=True) as bundle:
        assert bundle.graph("int8.a")
        with pytest.raises(BadBundle, match=r"lazy\.edge: the content of report\.json was altered"):
            bundle.report()


def test_a_new_decision_leaves_every_sealed_byte_in_its_place(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "site.edge"
    path.write_bytes(tiny.read_bytes())
    path.chmod(0o640)
    with Bundle.open(path) as before, append_decision(path, decision(0.25, "refitted on site")) as after:
        sealed = before.entries["decision.json"].header
        assert after.digest == before.digest
        assert [record.threshold for record in after.decisions] == [1.0, 2.0, 0.25]
        assert after.decisions[:2] == before.decisions
        assert after.decisions[-1].predecessor == before.decisions[-1].digest
    assert path.read_bytes()[:sealed] == tiny.read_bytes()[:sealed]
    assert path.stat().st_mode & 0o777 == 0o640


def test_the_first_decision_can_be_made_on_site(tmp_path: Path) -> None:
    path = tmp_path / "none.edge"
    write_tiny(path, decisions=0).close()
    assert inspect(path).decisions == ()
    with append_decision(path, decision(3.0)) as bundle:
        assert [record.predecessor for record in bundle.decisions] == [""]


def test_a_decision_is_not_appended_to_another_bundle_than_it_was_made_for(tmp_path: Path) -> None:
    path = tmp_path / "x.edge"
    write_tiny(path).close()
    before = path.read_bytes()
    with pytest.raises(BadUsage, match=r"x\.edge: .* replaced since"):
        append_decision(path, decision(3.0), sealed="0" * 64)
    assert path.read_bytes() == before
    with Bundle.open(path) as bundle:
        append_decision(path, decision(3.0), sealed=bundle.digest).close()
    assert path.read_bytes() != before


def test_a_decision_that_decides_nothing_is_not_appended(tmp_path: Path) -> None:
    path = tmp_path / "x.edge"
    write_tiny(path).close()
    before = path.read_bytes()
    with pytest.raises(BadInput, match="decides nothing"):
        append_decision(path, decision(float("nan")))
    assert path.read_bytes() == before


def test_decisions_appended_at_once_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.edge"
    write_tiny(path, decisions=0).close()
    threads = [threading.Thread(target=append_decision, args=(path, decision(float(n)))) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(record.threshold for record in inspect(path).decisions) == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_an_open_bundle_stays_what_it_was_while_the_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.edge"
    write_tiny(path).close()
    with Bundle.open(path, lazy=True) as bundle:
        append_decision(path, decision(9.0)).close()
        assert bundle.graph("int8.b") == two_layouts()["int8.b"]
        assert len(bundle.decisions) == 2


def test_a_bundle_behind_a_link_is_rewritten_where_it_lies(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    path, link = tmp_path / "store" / "x.edge", tmp_path / "current.edge"
    write_tiny(path, decisions=0).close()
    link.symlink_to(path)
    append_decision(link, decision()).close()
    assert link.is_symlink()
    assert len(inspect(path).decisions) == 1


def test_unknown_fields_of_a_newer_minor_version_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "newer.edge"
    write_tiny(path, decisions=0, key=None).close()
    found = members_of(path)
    value = json.loads(found[0].data)
    value.update(schema="1.7", colour_of_the_box="blue")
    value["graphs"][0]["energy_j"] = 0.25
    raw = json.dumps(value).encode()
    path.write_bytes(archive([replace(found[0], data=raw), *found[1:]]))
    with append_decision(path, decision(1.0)) as first:
        assert first.manifest.schema == "1.7"
    # A record with a field that this version does not know, as a newer one would write it.
    from edge_sdk.decision.record import digest_of

    found = members_of(path)
    site = json.loads(found[-1].data)
    record = {**site["decisions"][0], "operator_badge": "17", "predecessor": site["decisions"][0]["digest"]}
    record["digest"] = digest_of(record)
    site["decisions"].append(record)
    path.write_bytes(archive([*found[:-1], replace(found[-1], data=json.dumps(site).encode())]))
    with append_decision(path, decision(2.0)) as bundle:
        assert len(bundle.decisions) == 3
    found = members_of(path)
    assert found[0].data == raw
    assert json.loads(found[-1].data)["decisions"][1]["operator_badge"] == "17"


def test_signing_again_replaces_the_signature_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.edge"
    write_tiny(path, key=None).close()
    before = {raw.name: raw.data for raw in members_of(path)}
    with sign_bundle(path, KEY) as bundle:
        assert bundle.signature.sealed.key == KEY.public.fingerprint
    after = {raw.name: raw.data for raw in members_of(path)}
    assert after.pop(b"signatures/sealed.sig")
    assert after == before


def test_the_summary_tells_members_graphs_decisions_and_signature(tiny: Path) -> None:
    found = inspect(tiny, trust=TrustPolicy(mode="off"))
    assert found.size_bytes == tiny.stat().st_size
    assert [graph.name for graph in found.graphs] == ["int8.a", "int8.b"]
    assert [graph.size_bytes - graph.stored_bytes for graph in found.graphs] == [4096, 4096]
    assert [member.name for member in found.members if member.part == "site"] == [
        "decision.json",
        "signatures/site.sig",
    ]
    assert "not checked" in found.signature.words
    assert json.loads(json.dumps(found.to_json()))["digest"] == found.digest


def altered(*, opset: int = 17, extra: dict[str, object] | None = None) -> Manifest:
    made = manifest(list(two_layouts()))
    graphs = tuple(msgspec.structs.replace(graph, opset=opset) for graph in made.graphs)
    return msgspec.structs.replace(made, graphs=graphs, extra=extra or {})


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"graphs": {"other": b"x"}}, BadUsage, "the manifest names the graphs"),
        ({"members": {"../x": b""}}, BadInput, "leads out of the archive"),
        ({"members": {"decision.json": b""}}, BadUsage, "is written by the packer itself"),
        ({"members": {"golden/0/picture.png": b"1" * 15}}, BadBundle, "is not declared"),
        ({"members": {"graphs/int8.a.onnx.elided": b"1"}}, BadUsage, "has the name of a graph"),
        ({"members": {**members(), "report.json": b"[NaN]"}}, BadBundle, "report.json is not JSON"),
        ({"members": {**members(), "report.json": b"[1]"}}, BadBundle, "report.json is not a JSON object"),
        ({"members": {**members(), "x/a": b"", "X/A": b""}}, BadBundle, "stands twice"),
        ({"members": {**members(), "x/a": b"", "x": b""}}, BadBundle, "is also a folder"),
        ({"graphs": {"int8.a": b"no", "int8.b": b"no"}}, BadInput, "the graph int8.a"),
        ({"manifest": altered(extra={"x": float("nan")})}, BadInput, "JSON"),
        ({"manifest": altered(extra={"x": object()})}, BadInput, "can't be written"),
        ({"manifest": altered(opset=0)}, BadBundle, "can't have opset 0"),
    ],
)  # fmt: skip
def test_what_breaks_a_rule_is_not_written(changes, error, message, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "x.edge"
    path.write_bytes(b"the old file")
    graphs = two_layouts()
    given = {"manifest": manifest(list(graphs)), "graphs": graphs, "members": members(), **changes}
    with pytest.raises(error, match=message) as refused:
        write_bundle(path, **given)
    assert "Get the file again" not in str(refused.value)  # that is for who reads a bundle
    assert path.read_bytes() == b"the old file"
    assert [left.name for left in tmp_path.iterdir()] == ["x.edge"]


def test_a_writer_takes_safe_names_alone_and_so_many_members() -> None:
    writer = Writer(io.BytesIO())
    with pytest.raises(BadInput, match="leads out of the archive"):
        writer.add("../up", b"")
    for number in range(MAX_MEMBERS):
        writer.add(f"m{number}", b"")
    with pytest.raises(BadInput, match=f"at most {MAX_MEMBERS} members"):
        writer.add("one-more", b"")


def test_json_of_more_than_4_mib_is_not_parsed() -> None:
    with pytest.raises(BadBundle, match=f"has {strict_json.MAX_BYTES + 2} bytes, at most {strict_json.MAX_BYTES} are"):
        strict_json.parse(b"[]" + b" " * strict_json.MAX_BYTES, name="manifest.json", where="x.edge")


class _Loose(Record, frozen=True, kw_only=True, tag="range"):
    """As a careless writer would have it."""

    least: int
    most: int


class _Range(_Loose, frozen=True, kw_only=True, tag="range"):
    """A kind of record that only a task of another package knows."""

    def problem(self) -> str:
        return "" if self.least <= self.most else f"a range from {self.least} to {self.most} can't be"


def _with(path: Path, *records: Record) -> Path:
    graphs = two_layouts()
    write_bundle(path, manifest=manifest(list(graphs)), graphs=graphs, members=members(), decisions=records).close()
    return path


def test_a_kind_that_only_a_task_knows_is_read_as_such_and_checked(tmp_path: Path) -> None:
    with Bundle.open(_with(tmp_path / "x.edge", _Range(least=1, most=2), _Range(least=3, most=4))) as bundle:
        assert [type(record) for record in bundle.decisions] == [UnknownRecord, UnknownRecord]
        assert [record.kind for record in bundle.decisions] == ["range", "range"]
        assert [(type(one), one.kind) for one in bundle.records((_Range,))] == [(_Range, "range")] * 2
        assert bundle.records(()) == bundle.decisions
        found = bundle.in_force(_Range)
        assert found is not None
        assert (found.least, found.most) == (3, 4)
    with Bundle.open(_with(tmp_path / "bad.edge", _Loose(least=9, most=3))) as bundle:
        for read in (lambda: bundle.in_force(_Range), lambda: bundle.records((_Range,))):
            with pytest.raises(BadBundle, match=r"bad\.edge: a range from 9 to 3 can't be"):
                read()
