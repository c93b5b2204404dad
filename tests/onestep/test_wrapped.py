"""Generators that others made: one command from an ONNX file to a bundle that draws what the file answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from foreign_graphs import SIDE, plain, terrain_like

from edge_sdk import Generator, load_as
from edge_sdk.cli import main
from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.export.models.model import read_model
from edge_sdk.export.onestep.wrapped import kept_float
from edge_sdk.export.onestep.wrapped_answers import Proven, proven
from edge_sdk.export.onestep.wrapping import Wrapping, constant, names_in
from edge_sdk.export.onnx_graph import GraphBuilder
from edge_sdk.tasks.generation.noise import noise
from edge_sdk.verify import verify

FEW = ("--threads", "1", "--calibration-samples", "4")
STATED = (
    "--noise", "noisy", "--noise-scale", "80", "--fix", "sigma=80", "--label", "difficulty", "--labels", "1..5",
    "--label-values", "0..1", "--range", "-1..1",
)  # fmt: skip
TERRAIN_WORDS = ("--onnx", "t.onnx", "--noise", "noisy", "--label", "difficulty")
TERRAIN = {
    "noise": "noisy", "scale": 80.0, "fixed": {"sigma": "80"}, "label": "difficulty", "names": tuple("12345"),
    "label_values": (0.0, 0.25, 0.5, 0.75, 1.0), "low": -1.0, "high": 1.0, "values": True,
}  # fmt: skip


def called(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of `edge-sdk export onestep`."""
    with pytest.raises(SystemExit) as left:
        main.run(["export", "onestep", *map(str, words)])
    shown = capsys.readouterr()
    return int(left.value.code or 0), shown.out, shown.err


def bare(path: Path, feeds: dict[str, np.ndarray]) -> np.ndarray:  # type: ignore[type-arg]
    """What the file itself answers."""
    found: np.ndarray = onnxruntime.InferenceSession(path).run(None, feeds)[0]  # type: ignore[type-arg]
    return found


def terrain(path: Path, seed: int, count: int) -> np.ndarray:  # type: ignore[type-arg]
    """The bare terrain graph on the noise that a bundle makes, its five difficulties in turn."""
    drawn = noise(seed, range(count), (1, SIDE, SIDE)) * np.float32(80)
    levels = (np.arange(count) % 5 / 4).astype(np.float32)
    return bare(path, {"noisy": drawn, "sigma": np.full(count, 80, np.float32), "difficulty": levels})


def wrapping(path: Path, **stated: object) -> Proven:
    """The wrapped graph of a file."""
    return proven(read_model(path), Wrapping(path=path, **stated), threads=1)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def terrain_bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The bare file, and the bundle that one command makes of it."""
    folder = tmp_path_factory.mktemp("terrain")
    file, out = terrain_like(folder / "terrain.onnx"), folder / "terrain.edge"
    with pytest.raises(SystemExit) as left:
        main.run(["export", "onestep", "--onnx", str(file), *STATED, "--values", "--out", str(out), *FEW])
    assert not left.value.code
    return file, out


def test_one_command_makes_a_bundle_that_answers_what_the_file_answers(terrain_bundle: tuple[Path, Path]) -> None:
    file, out = terrain_bundle
    report = verify(out, runtimes=["onnxruntime", "openvino"])
    assert report.passed, report.text()
    with load_as(Generator, out, runtime="onnxruntime", variant="fp32", threads=1) as generator:
        assert (generator.labels, generator.shape, generator.has_values) == (tuple("12345"), (SIDE, SIDE, 1), True)
        batch = generator.generate(10, seed=7)
    wanted = terrain(file, 7, 10)
    assert batch.values is not None
    assert np.abs(batch.values - wanted).max() <= 1e-4 * np.abs(wanted).max()
    grey = np.clip(wanted * 127.5 + 127.5, 0, 255).transpose(0, 2, 3, 1)
    assert np.abs(batch.pixels - grey).max() <= 0.51
    assert batch.pixels.std() > 10
    assert batch[3].values is not None


def test_int8_runs_in_every_runtime(terrain_bundle: tuple[Path, Path]) -> None:
    file, out = terrain_bundle
    for runtime in ("onnxruntime", "openvino"):
        with load_as(Generator, out, runtime=runtime, variant="int8-w7", threads=1) as generator:
            found = generator.generate(10, seed=7).values
            assert "int8" in generator.explain()
        assert found is not None
        apart = found - terrain(file, 7, 10)
        assert 1e-5 < np.sqrt(np.square(apart).mean()) < 0.1


def test_values_are_written_beside_the_pictures(terrain_bundle: tuple[Path, Path], tmp_path: Path) -> None:
    words = ["generate", terrain_bundle[1], "-n", 6, "--seed", 7, "--values", "--runtime", "onnxruntime"]
    for already in (0, 6):
        with pytest.raises(SystemExit) as left:
            main.run([*map(str, words), "--variant", "fp32", "--out", str(tmp_path)])
        assert not left.value.code, already
    manifest = json.loads((tmp_path / "manifest.json").read_text("utf-8"))
    first = manifest["pictures"][0]
    assert (first["file"], first["values"], len(first["values_sha256"])) == ("1/000000.png", "1/000000.npy", 64)
    stored = np.load(tmp_path / "1" / "000000.npy")
    assert (stored.dtype, stored.shape) == (np.float32, (1, SIDE, SIDE))
    assert np.abs(stored - terrain(terrain_bundle[0], 7, 1)[0]).max() < 1e-3


def test_levels_and_classes_stay_float_and_so_do_the_ends(tmp_path: Path) -> None:
    made = wrapping(terrain_like(tmp_path / "t.onnx"), **TERRAIN).wrapped
    assert made.kept == ("embedding", "in", "out")
    assert kept_float(onnx.load_from_string(made.onnx), "noise") == made.kept


def test_a_constant_that_the_graph_spreads_itself_is_one_row(tmp_path: Path) -> None:
    made = wrapping(plain(tmp_path / "p.onnx", extra=("t", "int64")), noise="z", fixed={"t": "3"}, low=-1.0, high=1.0)
    operators = {node.op_type for node in onnx.load_from_string(made.wrapped.onnx).graph.node}
    assert "Expand" not in operators
    other = wrapping(terrain_like(tmp_path / "t.onnx"), **{**TERRAIN, "label": "", "names": (), "label_values": (),
        "fixed": {"sigma": "80", "difficulty": "0.5"}})  # fmt: skip
    assert "Expand" not in {node.op_type for node in onnx.load_from_string(other.wrapped.onnx).graph.node}


@pytest.mark.parametrize(("last", "rows"), [(True, "N"), (False, 1)])
def test_pictures_of_any_shape_layout_and_batch_are_drawn(
    last: bool, rows: int | str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = plain(tmp_path / "p.onnx", last=last, rows=rows), tmp_path / "p.edge"
    code, _, err = called(capsys, "--onnx", file, "--range", "-1..1", "--values", "--out", out, *FEW)
    assert code == 0, err
    with load_as(Generator, out, runtime="onnxruntime", variant="fp32", threads=1) as generator:
        assert (generator.labels, generator.shape) == ((), (8, 12, 3))
        found = generator.generate(3, seed=5)
        assert np.array_equal(found.pixels[2], generator.generate(1, seed=5, first=2).pixels[0])
    wanted = np.concatenate([bare(file, {"z": noise(5, [at], (2, 8, 12))}) for at in range(3)])
    wanted = wanted.transpose(0, 3, 1, 2) if last else wanted
    assert found.values is not None
    assert np.allclose(found.values, wanted, atol=1e-5)


def test_a_free_size_is_stated(tmp_path: Path) -> None:
    file = plain(tmp_path / "p.onnx", sides=("H", "W"))
    with pytest.raises(BadUsage, match=r"leaves H and W free.*--picture-size"):
        wrapping(file, low=-1.0, high=1.0)
    made = wrapping(file, low=-1.0, high=1.0, size=(8, 16)).wrapped
    assert (made.shape, made.noise_shape) == ((8, 16, 3), (2, 8, 16))


@pytest.mark.parametrize("dtype", ["int64", "int32", "float32"])
def test_a_class_is_given_in_the_type_that_the_graph_takes(dtype: str, tmp_path: Path) -> None:
    file = plain(tmp_path / "p.onnx", extra=("kind", dtype))
    made = wrapping(file, label="kind", names=("a", "b", "c"), low=-1.0, high=1.0).wrapped
    assert made.settings.label_input == ("kind" if dtype == "int64" else "label")


@pytest.mark.parametrize(
    ("stated", "error", "said"),
    [
        ({"noise": "nois"}, BadUsage, r"no input nois.*Did you mean noisy"),
        ({"fixed": {}}, BadUsage, r"its input sigma is given, float32\[N\].*--fix sigma=VALUE"),
        ({"fixed": {"sigma": "80", "sigmas": "1"}}, BadUsage, "no input sigmas"),
        ({"fixed": {"sigma": "x"}}, BadUsage, "'x' is no number"),
        ({"fixed": {"sigma": "1,2"}}, BadUsage, "its 2 values do not fill"),
        ({"fixed": {"sigma": "80", "difficulty": "1"}}, BadUsage, "two things are stated of the input difficulty"),
        ({"output": "noisy"}, BadUsage, "no output noisy.*denoised"),
        ({"low": None, "high": None}, BadUsage, "range of its pictures is not stated"),
        ({"low": 0.0, "high": 255.0}, BadInput, "would be one grey"),
        ({"low": 4.0, "high": 5.0}, BadInput, "100.0 % of its values would be cut"),
        ({"size": (8, 8)}, BadUsage, "leaves its size free"),
        ({"scale": 1e-9}, BadInput, "whatever its input noisy"),
        ({"fixed": {"sigma": "-1"}}, BadInput, "NaN or infinity"),
    ],
)
def test_what_does_not_fit_the_graph_is_said(
    stated: dict[str, object], error: type[Exception], said: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=said):
        wrapping(terrain_like(tmp_path / "t.onnx"), **{**TERRAIN, **stated})


@pytest.mark.parametrize(
    ("made", "stated", "said"),
    [
        ({"channels": 2}, {}, r"no picture, \[2, 2, 8, 12\]"),
        ({"rows": 4}, {}, r"takes no noise, float32\[4, 2, 8, 12\]"),
        ({"extra": ("t", "float64")}, {}, "its input t is given"),
        ({"extra": ("t", "bool")}, {"label": "t", "names": ("a", "b")}, r"no class, bool\[N\]"),
        ({"extra": ("t", "int32")}, {"fixed": {"t": "0.5"}}, "this is no int32"),
        ({"extra": ("t", "int64")}, {"label": "t", "names": ("a", "b"), "label_values": (0.0, 0.5)}, "whole numbers"),
    ],
)
def test_what_is_no_generator_is_refused(
    made: dict[str, Any], stated: dict[str, object], said: str, tmp_path: Path
) -> None:
    with pytest.raises((BadInput, BadUsage), match=said):
        wrapping(plain(tmp_path / "p.onnx", **made), low=-1.0, high=1.0, **stated)


def test_a_picture_that_depends_on_those_beside_it_is_refused(tmp_path: Path) -> None:
    g = GraphBuilder("mixed")
    x = g.input("z", "float32", ("N", 1, 8, 8))
    g.node("Sub", [x, g.mean(x, [0], name="mean", keep=True)], name="picture")
    g.output("picture", "float32", ("N", 1, 8, 8))
    (tmp_path / "m.onnx").write_bytes(g.finish())
    with pytest.raises(BadInput, match="changes with those that are drawn beside it"):
        wrapping(tmp_path / "m.onnx", low=-1.0, high=1.0)


def test_values_beyond_the_range_are_counted(tmp_path: Path) -> None:
    found = wrapping(plain(tmp_path / "p.onnx"), low=-0.2, high=0.2)
    assert [note for note in found.notes if "% of its values are cut: its first answers lie in" in note]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "no generator is named"),
        (["--onnx", "nowhere.onnx"], 3, "the file does not exist"),
        (["--onnx", "t.onnx", "--label", "difficulty"], 2, "--label difficulty needs the classes"),
        (["--onnx", "t.onnx", "--labels", "a,b"], 2, "Add --label"),
        (["--onnx", "t.onnx", "--label", "difficulty", "--labels", "a,a"], 2, "some equal names"),
        ([*TERRAIN_WORDS, "--labels", "a,b,c", "--label-values", "1,2"], 2, "2 values for 3 classes"),
        (["--onnx", "t.onnx", "--fix", "sigma"], 2, "is not NAME=VALUE"),
        (["--onnx", "t.onnx", "--range", "1..-1"], 2, "has no width"),
        (["--onnx", "t.onnx", "--range", "1"], 2, "is no range"),
        (["--onnx", "t.onnx", "--picture-size", "8"], 2, "is no size"),
        (["--onnx", "text.onnx", "--range", "-1..1"], 3, "text.onnx"),
        ([*STATED, "--onnx", "t.onnx", "--fix", "sigma=1"], 2, "--fix sigma is given twice"),
    ],
)
def test_what_is_wrong_is_said_at_once(
    words: list[str], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    terrain_like(Path("t.onnx"))
    Path("text.onnx").write_text("no graph")
    left, _, err = called(capsys, *words, "--out", "a.edge", "--dry-run")
    assert (left, said in err) == (code, True), err
    assert sorted(one.name for one in tmp_path.iterdir()) == ["t.onnx", "text.onnx"]


def test_a_dry_run_says_what_would_be_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = terrain_like(tmp_path / "t.onnx")
    code, shown, err = called(capsys, "--onnx", file, *STATED, "--out", tmp_path / "a.edge", "--dry-run", "--json")
    found = json.loads(shown)
    assert (code, found["height"], found["picture_channels"], found["trains"]) == (0, SIDE, 1, False), err
    assert sorted(one.name for one in tmp_path.iterdir()) == ["t.onnx"]


def test_options_of_an_export_are_none_of_a_training(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.run(["train", "onestep", "--help"])
    assert "--noise-scale" not in capsys.readouterr().out
    _, shown, _ = called(capsys, "--help")
    assert "--noise-scale" in shown
    assert "--teacher" not in shown


def test_names_of_classes_are_written_in_three_ways(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    assert names_in("cat,dog") == names_in(str(tmp_path / "names.txt")) == ("cat", "dog")
    assert names_in("9..11") == ("9", "10", "11")


def test_a_constant_fills_the_input_in_its_type(tmp_path: Path) -> None:
    np.save(tmp_path / "text.npy", np.arange(6, dtype=np.float64).reshape(2, 3))
    found = constant("text", str(tmp_path / "text.npy"), "float32", (1, 2, 3))
    assert (found.dtype, found.shape) == (np.float32, (1, 2, 3))
    assert constant("k", "7", "int64", ()).shape == ()
    assert constant("v", "1,2,3", "float32", (1, 3)).tolist() == [[1, 2, 3]]
    for text, dtype in (("256", "uint8"), ("0.5", "int64"), ("1e300", "float32"), ("nan", "float32")):
        with pytest.raises(BadUsage):
            constant("x", text, dtype, (1,))
