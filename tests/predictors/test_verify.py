"""verify: a bundle whose golden answers are right passes on every runtime; one wrong value is found and named."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import tiny

from edge_sdk.bundle.store import Bundle, write_bundle
from edge_sdk.errors import BadUsage, CheckFailed, NotThere
from edge_sdk.loading import load
from edge_sdk.verify import verify


def _altered(source: Path, target: Path, change) -> None:  # type: ignore[no-untyped-def]
    """The same bundle with members changed by `change(name, bytes) -> bytes`, hashes made right again."""
    with Bundle.open(source) as b:
        graphs = {g.name: b.graph(g.name) for g in b.manifest.graphs}
        members = {
            name: change(name, bytes(b.read(name)))
            for name in b.manifest.members
            if not name.startswith(("graphs/", "weights/"))
        }
        manifest = msgspec.structs.replace(b.manifest, members={})
    write_bundle(target, manifest=manifest, graphs=graphs, members=members).close()


def test_every_variant_passes_on_every_runtime_alone_and_in_batches(tiny_bundle: Path) -> None:
    report = verify(tiny_bundle)
    assert report.passed
    assert report.pictures == report.samples == 3
    ran = {(r.variant, r.layout, r.runtime) for r in report.rows}
    assert ("int8", "conv-q-relu-q", "onnxruntime") in ran
    assert ("int8", "conv-relu-q", "openvino") in ran
    assert ("int8", "conv-relu-q", "onnxruntime") not in ran  # it would run in float there
    assert len(ran) == len(report.rows)
    for row in report.rows:
        assert {c.output for c in row.outputs} == {"map", "score"}
        assert {c.output for c in row.batch_outputs} == {f"{o}[{p}]" for o in ("map", "score") for p in range(3)}


def test_one_wrong_golden_value_is_found_and_named(tiny_bundle: Path, tmp_path: Path) -> None:
    def change(name: str, data: bytes) -> bytes:
        if name != "golden/1/fp32.map.f32":
            return data
        values = np.frombuffer(data, "<f4").copy()
        values[17] += 0.001 * np.abs(values).max()
        return values.tobytes()

    path = tmp_path / "wrong.edge"
    _altered(tiny_bundle, path, change)
    report = verify(path, runtimes=["onnxruntime"])
    assert not report.passed
    failed = [(row.graph, c.sample, c.output) for row in report.rows for c in row.outputs if not c.passed]
    assert failed == [("fp32", 1, "map")]


def test_a_picture_that_no_longer_becomes_its_tensor_is_found(tiny_bundle: Path, tmp_path: Path) -> None:
    def change(name: str, data: bytes) -> bytes:
        return bytes([data[0] ^ 1]) + data[1:] if name == "golden/0/tensor.u8" else data

    path = tmp_path / "resized.edge"
    _altered(tiny_bundle, path, change)
    report = verify(path, runtimes=["onnxruntime"], variants=["fp32"])
    assert (report.pictures, report.worst_picture_difference) == (2, 1)
    assert not report.passed


def test_the_first_load_refuses_a_runtime_that_answers_wrongly(tiny_bundle: Path, tmp_path: Path) -> None:
    def change(name: str, data: bytes) -> bytes:
        return (np.frombuffer(data, "<f4") * 2).tobytes() if ".score.f32" in name else data

    path = tmp_path / "lying.edge"
    _altered(tiny_bundle, path, change)
    with pytest.raises(CheckFailed, match=r"lying\.edge.*score is off by"):
        load(path, threads=1, cache=tmp_path)


def test_asking_for_what_is_not_there_is_an_error_not_a_shorter_report(tiny_bundle: Path) -> None:
    with pytest.raises(BadUsage, match="no variant int4"):
        verify(tiny_bundle, variants=["int4"])
    with pytest.raises(NotThere, match="tensorrt"):
        verify(tiny_bundle, runtimes=["tensorrt"])


def test_the_golden_picture_starts_encoded(tiny_bundle: Path) -> None:
    with Bundle.open(tiny_bundle) as bundle:
        sample = bundle.manifest.golden[0]
        assert bytes(bundle.read(sample.picture)).startswith(b"\x89PNG")
        assert sample.tensor_shape == (1, tiny.SIDE, tiny.SIDE, 3)
