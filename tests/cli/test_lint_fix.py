"""`edge-sdk lint --fix`: what it shows, what it writes, what it refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from edge_sdk.cli.main import run

sys.path.insert(0, str(Path(__file__).parents[1] / "calibration"))
from broken_graphs import conv, edited, twice


def edge(words: list[str]) -> int:
    """Exit code of one call."""
    with pytest.raises(SystemExit) as left:
        run(words)
    return int(left.value.code or 0)


@pytest.fixture
def shifted(tmp_path: Path) -> Path:
    """uint8 with zero point 128, and uint8 weights: both mended exactly."""
    path = tmp_path / "model.onnx"
    model = edited(twice)
    for tensor in model.graph.initializer:
        if tensor.name in ("z", "zo"):
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.array(128, np.uint8), tensor.name))
    path.write_bytes(model.SerializeToString())
    return path


def test_a_dry_run_shows_what_would_change_and_writes_nothing(
    shifted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = shifted.read_bytes()
    assert edge(["lint", str(shifted), "--fix"]) == 0
    text = capsys.readouterr().out
    assert "L02" in text
    assert "L59" in text
    assert "nothing written" in text
    assert shifted.read_bytes() == before
    assert [p.name for p in shifted.parent.iterdir()] == ["model.onnx"]


def test_the_mended_graph_is_written_and_portable(shifted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = shifted.with_name("mended.onnx")
    assert edge(["lint", str(shifted)]) == 1
    capsys.readouterr()
    assert edge(["lint", str(shifted), "--fix", "--out", str(out), "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    assert edge(["lint", str(out)]) == 0
    assert {one["rule"] for one in info["fixed"]} == {"L02", "L59"}
    assert all(one["exact"] for one in info["fixed"])
    assert info["violations"] == []
    assert info["out"] == str(out)


def test_what_changes_values_is_left_to_fix_all_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "model.onnx", tmp_path / "mended.onnx"
    path.write_bytes(conv(z=np.uint8(0)).SerializeToString())
    assert edge(["lint", str(path), "--fix"]) == 1
    text = capsys.readouterr().out
    assert "nothing to fix" in text
    assert "--fix-all" in text
    assert edge(["lint", str(path), "--fix-all", "--out", str(out), "--json"]) == 0
    done = json.loads(capsys.readouterr().out)["fixed"]
    assert [(one["rule"], one["exact"]) for one in done] == [("L03", False)]
    assert "2.01 times" in done[0]["what"]


def test_a_file_that_is_there_is_kept(shifted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = shifted.with_name("mended.onnx")
    out.write_bytes(b"mine")
    assert edge(["lint", str(shifted), "--fix", "--out", str(out)]) == 2
    assert "the file already exists" in capsys.readouterr().err
    assert out.read_bytes() == b"mine"
    assert edge(["lint", str(shifted), "--fix", "--out", str(out), "--overwrite"]) == 0
    assert onnx.load(out).graph.node


def test_options_that_do_not_go_together_are_refused(
    shifted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert edge(["lint", str(shifted), "--out", str(tmp_path / "x.onnx")]) == 2
    assert "Give --fix or --fix-all" in capsys.readouterr().err
    assert edge(["lint", str(tmp_path / "x.edge"), "--fix"]) == 2
    assert "a bundle's graphs are not fixed" in capsys.readouterr().err
    assert edge(["lint", str(tmp_path), "--fix"]) == 3
    assert "this is a folder" in capsys.readouterr().err


def test_weights_beside_the_model_are_read_and_stored_inside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "model.onnx", tmp_path / "out.onnx"
    onnx.save(conv(), path, save_as_external_data=True, size_threshold=0, location="weights.bin")
    assert edge(["lint", str(path)]) == 0
    assert "L70" not in capsys.readouterr().out
    assert edge(["lint", str(path), "--fix", "--out", str(out)]) == 0
    (tmp_path / "weights.bin").unlink()
    assert [t.name for t in onnx.load(out).graph.initializer] == [t.name for t in conv().graph.initializer]


@pytest.mark.parametrize("case", ["missing", "outside", "short"])
def test_weights_that_can_not_be_read_are_one_row(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "models" / "model.onnx"
    path.parent.mkdir()
    onnx.save(conv(), path, save_as_external_data=True, size_threshold=0, location="weights.bin")
    weights = path.with_name("weights.bin")
    if case == "outside":
        model = onnx.load(path, load_external_data=False)
        for tensor in model.graph.initializer:
            next(one for one in tensor.external_data if one.key == "location").value = "../weights.bin"
        path.write_bytes(model.SerializeToString())
        weights.rename(tmp_path / "weights.bin")
    elif case == "missing":
        weights.unlink()
    else:
        weights.write_bytes(b"")
    assert edge(["lint", str(path), "--json"]) == 1
    assert [one["rule"] for one in json.loads(capsys.readouterr().out)["violations"]] == ["L70"]
    assert edge(["lint", str(path), "--fix"]) == 3
    assert "weights.bin" in capsys.readouterr().err


def test_weight_pairs_that_can_saturate_are_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for top, said in ((127, True), (64, False)):
        path = tmp_path / f"{top}.onnx"
        path.write_bytes(conv(w=np.full((2, 4, 1, 1), top, np.int8)).SerializeToString())
        assert edge(["lint", str(path), "--fix-all"]) == 0
        assert ("100.0% of weight pairs can saturate in 16 bits" in capsys.readouterr().out) is said
        assert edge(["lint", str(path), "--fix"]) == 0
        assert "saturate" not in capsys.readouterr().out
