"""The tensor task: named arrays in and out, for any graph; bad arrays and files are named."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, helper, numpy_helper

import edge_sdk
from edge_sdk.bundle.manifest import Provenance, Tolerance
from edge_sdk.calibration import Variant
from edge_sdk.cli import main
from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.export.family import Exported, FloatGraph
from edge_sdk.export.generic.samples import FolderSamples, samples_of
from edge_sdk.export.pack import Parts, pack
from edge_sdk.export.tasks.base import Golden
from edge_sdk.npz import npz, read_npz
from edge_sdk.tasks.base import MODEL
from edge_sdk.tasks.tensor import TensorModel, TensorSettings, TensorTask, check_numbers
from edge_sdk.verify import verify


def _graph() -> bytes:
    """Two inputs, one with a batch, one whole: "y" = x W + shift (N, 3), "most" = largest of y by row, int64."""
    rng = np.random.default_rng(3)
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["p"]),
        helper.make_node("Add", ["p", "shift"], ["y"]),
        helper.make_node("ArgMax", ["y"], ["most"], axis=1, keepdims=0),
    ]
    weight = numpy_helper.from_array(rng.normal(size=(5, 3)).astype(np.float32), "W")
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        nodes, "g",
        [value("x", TensorProto.FLOAT, ["N", 5]), value("shift", TensorProto.FLOAT, [3])],
        [value("y", TensorProto.FLOAT, ["N", 3]), value("most", TensorProto.INT64, ["N"])], [weight],
    )  # fmt: skip
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _sample(seed: int, rows: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "x": rng.normal(size=(rows, 5)).astype(np.float32),
        "shift": rng.normal(size=3).astype(np.float32),
    }


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tensor") / "model.edge"
    parts = _parts(_graph(), {"N": 8}, [_sample(seed, rows=1 + seed) for seed in range(3)])
    pack(parts, path).close()
    return path


@pytest.fixture
def model(bundle: Path, tmp_path: Path):  # type: ignore[no-untyped-def]
    with edge_sdk.load_as(TensorModel, bundle, threads=1, max_batch=4, cache=tmp_path) as loaded:
        yield loaded


def _edge(*words: str) -> int:
    """Exit code of one call of the command line."""
    with pytest.raises(SystemExit) as left:
        main.run([*words])
    return int(left.value.code or 0)


def _want(sample: dict[str, np.ndarray]) -> np.ndarray:
    weight = numpy_helper.to_array(onnx.load_from_string(_graph()).graph.initializer[0])
    return np.asarray(sample["x"] @ weight + sample["shift"])


@pytest.mark.parametrize("rows", [1, 4, 7])
def test_arrays_go_in_and_come_out_by_name_whatever_the_number_of_rows(model: TensorModel, rows: int) -> None:
    sample = _sample(9, rows)
    result = model.predict(sample)
    np.testing.assert_allclose(result["y"], _want(sample), rtol=1e-5)
    assert result["most"].tolist() == _want(sample).argmax(1).tolist()
    assert result.ran.variant == "fp32"
    assert set(result.ran.stages_ms) == {"read", "infer", "overhead", "total"}


def test_a_bundle_of_arrays_is_verified_alone_and_in_batches(bundle: Path) -> None:
    report = verify(bundle)
    assert report.passed, report.text()
    assert report.reproduced == 3
    assert {c.output for row in report.rows for c in row.batch_outputs} == {"y", "most"}


def test_an_npz_file_is_read_and_one_is_written(model: TensorModel, tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", **_sample(4, 2))
    result = model.predict(tmp_path / "in.npz")
    assert result.source.endswith("in.npz")
    result.save(tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as file:
        np.testing.assert_array_equal(file["y"], result["y"])
    answer = json.loads(result.to_json())
    assert answer["outputs"]["y"]["shape"] == [2, 3]
    assert answer["outputs"]["y"]["values"] == [float(v) for v in result["y"].ravel()]
    assert answer["ran"]["roles"]["model"]["variant"] == "fp32"
    assert "most int64 2, 0 to" in result.line() or "most int64 2, 1 to" in result.line()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"x": np.zeros((1, 5), np.float32)}, "no array for input shift"),
        ({**_sample(0), "z": np.zeros(1)}, "no input z"),
        ({**_sample(0), "x": np.zeros((1, 5))}, "x is float64, the graph takes float32"),
        ({**_sample(0), "x": np.zeros((1, 6), np.float32)}, r"x has shape \(1, 6\)"),
        ({**_sample(0), "x": np.zeros((0, 5), np.float32)}, "x"),
        ({}, "no array for input x"),
        ({"image": np.zeros((1, 5), np.float32), "shift": np.zeros(3, np.float32)}, "no array for input x"),
        ({**_sample(0), "x": [[1.0, 2.0], [3.0]]}, "x is no array"),
        (7, "an object of type int holds no named arrays"),
        (None, "an object of type NoneType holds no named arrays"),
        ({**_sample(0), "x": None}, "x is None, not an array of numbers"),
        ({**_sample(0), "x": {"x": 1}}, "x is a dict, not an array of numbers"),
        ({**_sample(0), "x": np.array([None])}, "x is a ndarray, not an array of numbers"),
        ({**_sample(0), "x": "words"}, "x is <U5, the graph takes float32"),
        ("nowhere.npz", "can't read it"),
    ],
)
def test_what_does_not_fit_is_named(model: TensorModel, given: Any, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        model.predict(given)


class _OnAGpu:
    """An array of another package that is not in the memory of the CPU."""

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError("can't convert device type tensor to numpy")


def test_an_array_that_does_not_come_to_the_cpu_is_named(model: TensorModel) -> None:
    with pytest.raises(BadInput, match="x is no array: can't convert device type tensor"):
        model.predict({**_sample(0), "x": _OnAGpu()})


@pytest.mark.parametrize(
    ("feeds", "said"),
    [
        (None, "fp32: the feeds are None, not arrays by input name. Feed x, shift in a dict"),
        ([1], "the feeds are a list"),
        ({}, "no array for input x"),
        ({**_sample(0), "x": None}, "x is None, not an array"),
        ({"x": None, "shift": None}, "x is None, not an array"),
        ({**_sample(0), "x": [[1.0] * 5] * 9}, "x is a list, not an array"),  # of more rows than one call takes
        ({**_sample(0), "z": None}, "no input z"),
        ({**_sample(0), "x": np.array(1, np.float32)}, r"x has shape \(\)"),
    ],
)
def test_feeds_of_one_role_that_do_not_fit_are_named(model: TensorModel, feeds: Any, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        model.run(MODEL, feeds)
    assert model.run(MODEL, _sample(0))["y"].shape == (1, 3)


@pytest.mark.parametrize("role", ["decoder", None, 5, ["model"], {"model"}])
def test_a_role_that_is_not_there_is_refused(model: TensorModel, role: Any) -> None:
    with pytest.raises(BadUsage, match=r"there is no role .*One of model"):
        model.run(role, _sample(0))


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        (None, "got None"), (5, "got an int"), (_sample(0), "got one"), ("x.npz", "got one"),
        (Path("x.npz"), "got one"), (b"x", "got one"), (np.array(1, np.float32), "got a ndarray"),
    ],
)  # fmt: skip
def test_what_is_no_batch_of_sources_is_named(model: TensorModel, sources: Any, said: str) -> None:
    with pytest.raises(BadInput, match=f"predict_batch takes several sources, {said}.*Use predict"):
        model.predict_batch(sources)


def test_a_batch_may_be_made_as_it_is_read(model: TensorModel) -> None:
    results = model.predict_batch(_sample(seed, rows=2) for seed in range(3))
    assert [result["y"].shape for result in results] == [(2, 3)] * 3


@pytest.mark.parametrize("bad", [None, 5, {}, {"x": None}])
def test_what_was_submitted_and_does_not_fit_is_named_in_the_future(model: TensorModel, bad: Any) -> None:
    with pytest.raises(BadInput):
        model.submit(bad).result(60)
    assert model.submit(_sample(0)).result(60)["y"].shape == (1, 3)


@pytest.mark.parametrize(
    ("name", "place", "said"),
    [
        ("x", (2, 4), r"x holds NaN at \[2, 4\]"),
        ("x", (0, 0), r"x holds NaN at \[0, 0\]"),
        ("shift", (1,), r"at \[1\]"),
    ],
)
def test_a_value_that_is_no_number_is_refused_with_its_place(
    model: TensorModel, name: str, place: tuple[int, ...], said: str, tmp_path: Path
) -> None:
    """Of the same NaN one runtime makes NaN and another one a number that looks right."""
    sample = _sample(1, rows=3)
    sample[name][place] = np.nan
    np.savez(tmp_path / "nan.npz", **sample)
    for source in (sample, tmp_path / "nan.npz"):
        with pytest.raises(BadInput, match=f"{said}.*missing"):
            model.predict(source)
    assert np.isnan(model.run(MODEL, sample)["y"]).any()  # the graph alone takes what it is fed


def test_infinities_pass(model: TensorModel) -> None:
    sample = _sample(1)
    sample["shift"][0] = -np.inf  # as in the mask of an attention
    assert model.predict(sample)["y"][0, 0] == -np.inf


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_scalar_that_is_no_number_is_refused(dtype: Any) -> None:
    with pytest.raises(BadInput, match="gain is NaN"):
        check_numbers({"mask": np.array([True]), "gain": np.array(np.nan, dtype)})


def test_a_golden_sample_that_predict_would_refuse_is_not_packed(tmp_path: Path) -> None:
    sample = _sample(0)
    sample["x"][0, 3] = np.nan
    with pytest.raises(BadInput, match=r"x holds NaN at \[0, 3\]"):
        pack(_parts(_graph(), {"N": 8}, [sample, _sample(1)]), tmp_path / "x.edge")


def test_more_rows_at_once_than_the_bundle_was_exported_for_are_refused(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BadUsage, match="max_batch is 9, the bundle was exported for up to 8"):
        edge_sdk.load(bundle, max_batch=9, cache=tmp_path)


_NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0/\\", exclude_categories=["Cs"]), min_size=1)


@given(
    st.dictionaries(
        _NAMES | st.sampled_from(["file", "allow_pickle", "args"]),
        arrays.arrays(st.sampled_from([np.float32, np.int64, np.bool_, np.uint8]), arrays.array_shapes(min_dims=0)),
        max_size=4,
    )
)
def test_any_arrays_under_any_names_come_back_from_the_file(given: dict[str, np.ndarray]) -> None:
    with np.load(io.BytesIO(npz(given))) as file:
        assert set(file.files) == set(given)
        for name, array in given.items():
            np.testing.assert_array_equal(file[name], array)
            assert file[name].dtype == array.dtype


def _pickled(path: Path) -> None:
    np.savez(path, x=np.array([{"a": 1}], dtype=object))


def _one_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def _bomb(path: Path) -> None:
    archive = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1)  # the usual 6 takes 20 seconds
    with archive, archive.open("x.npy", "w", force_zip64=True) as f:
        for _ in range(2049):
            f.write(bytes(1 << 20))


def _members(**content: bytes) -> Callable[[Path], None]:
    """Makes a zip file of such members: nothing else about them is right."""

    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in content.items():
                archive.writestr(name.replace("_npy", ".npy"), data)

    return make


def _damaged(path: Path) -> None:
    """A stream of deflate that breaks off in the middle of a byte's meaning; the names and sizes are right."""
    _members(x_npy=bytes(range(256)) * 40)(path)
    data = bytearray(path.read_bytes())
    data[60:90] = b"\xff" * 30
    path.write_bytes(data)


def _npy(array: np.ndarray, *, version: tuple[int, int] | None = None) -> bytes:
    data = io.BytesIO()
    np.lib.format.write_array(data, array, version=version)
    return data.getvalue()


_HEADER = b"((((" * 2000
_NPY = b"\x93NUMPY\x01\x00"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.write_bytes(b""), "no .npz file"),
        (lambda path: path.write_bytes(b"PK\x03\x04 and more"), "no .npz file"),
        (lambda path: path.mkdir(), "this is a folder, not an .npz file"),
        (_one_array, "no .npz file"),
        (_pickled, "no .npz file of plain arrays"),
        (_members(notes=b"no array"), "notes, which is no array"),
        (_members(x_npy=b"no array"), "x"),
        (_members(x_npy=_NPY + len(_HEADER).to_bytes(2, "little") + _HEADER), "no .npz file"),
        (_damaged, "no .npz file"),
        (_members(x_npy=_npy(np.zeros((2, 2))).replace(b"(2, 2)", b"(9, 9)")), r"has 160 bytes, .*\(9, 9\) need 776"),
        (_members(x_npy=_npy(np.zeros((2, 2))) + b"more"), r"x has 164 bytes, .*\(2, 2\) need 160"),
        (_members(x_npy=_npy(np.zeros(2), version=(3, 0))), r"no .npz file of plain arrays: x is of the version 3\.0"),
        (_bomb, "at most 2147483648 are read"),
    ],
)
def test_a_file_that_is_no_npz_or_too_large_is_refused(make: Any, said: str, tmp_path: Path) -> None:
    make(tmp_path / "x.npz")
    with pytest.raises(BadInput, match=said):
        read_npz(tmp_path / "x.npz")


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_both_forms_of_a_header_are_read(version: tuple[int, int], tmp_path: Path) -> None:
    want = np.arange(6, dtype=np.int16).reshape(2, 3)
    _members(x_npy=_npy(want, version=version))(tmp_path / "x.npz")
    np.testing.assert_array_equal(read_npz(tmp_path / "x.npz")["x"], want)


def _unreadable(path: Path, **given: np.ndarray) -> Path:
    """An .npz file whose headers are right and whose values fail their checksum: who unpacks them notices."""
    np.savez(path, **given)
    data = bytearray(path.read_bytes())
    for array in (
        array for array in given.values() if array.nbytes > 2**14
    ):  # smaller ones are unpacked for their header
        data[data.index(array.tobytes()[-8:])] ^= 1
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "no .npz file of plain arrays: Bad CRC-32"),
        ({"x": np.ones((3000, 6), np.float32)}, r"nan\.npz: x has shape \(3000, 6\), the graph takes \('N', 5\)"),
        ({"x": np.ones((3000, 5))}, "x is float64, the graph takes float32"),
        ({"x": np.ones((0, 5), np.float32)}, r"x has size 0 on axis 0 \(N\).*Feed 1 or more"),
        ({"shift": np.ones((5000, 1), np.float32)}, r"shift has shape \(5000, 1\)"),
        ({"z": np.ones((3000, 5), np.float32)}, "the graph has no input z. It takes x, shift"),
    ],
)
def test_an_array_of_a_file_that_does_not_fit_is_refused_before_it_is_unpacked(
    model: TensorModel, change: dict[str, np.ndarray], said: str, tmp_path: Path
) -> None:
    """300 kB of a compressed file may be 300 MB of zeros."""
    file = _unreadable(tmp_path / "nan.npz", **{**_sample(1, rows=3000), **change})
    with pytest.raises(BadInput, match=said):
        model.predict(file)


def test_a_free_axis_of_a_file_that_is_too_long_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    value, kind = helper.make_tensor_value_info, TensorProto.FLOAT
    graph = _identity(value("x", kind, ["N", "L"]), outputs=[value("y", kind, ["N", "L"])])
    samples = [{"x": np.full((1, 2), number, np.float32)} for number in (1, 2)]
    path = _packed(tmp_path / "free.edge", graph, {"N": 4, "L": 9}, samples)
    with edge_sdk.load(path, cache=tmp_path) as model:
        for length, said in ((10, r"x has size 10 on axis 1 \(L\), .* for 1 to 9"), (9, "Bad CRC-32")):
            with pytest.raises(BadInput, match=said):
                model.predict(_unreadable(tmp_path / "x.npz", x=np.full((3000, length), 7.5, np.float32)))


def test_a_folder_names_its_npz_files(bundle: Path, tmp_path: Path) -> None:
    for name in ("b", "a"):
        np.savez(tmp_path / f"{name}.npz", **_sample(1))
    (tmp_path / "notes.txt").write_text("x")
    with edge_sdk.Bundle.open(bundle) as opened:
        given = TensorTask().given([str(tmp_path)], opened)
        assert [Path(one.name).name for one in given] == ["a.npz", "b.npz"]
        (tmp_path / "empty").mkdir()
        with pytest.raises(BadInput, match=r"no \.npz files"):
            TensorTask().given([str(tmp_path / "empty")], opened)


def test_predict_of_a_folder_tells_of_what_no_tensor_is_read_from_and_of_nothing_else(
    bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "arrays"
    folder.mkdir()
    np.savez(folder / "a.npz", **_sample(1))
    assert TensorTask().left_out([str(folder)]) == []
    (folder / "notes.txt").write_text("not arrays")
    assert TensorTask().left_out([str(folder), str(folder / "a.npz")]) == [f"{folder}: left out, no .npz files: 1"]
    call = [sys.executable, "-c", "from edge_sdk.cli.main import run; run()", "predict", str(bundle), str(folder)]
    done = subprocess.run(call, capture_output=True, text=True, check=True)
    assert "not read as a picture" not in done.stderr
    assert "left out, no .npz files: 1" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes with names there")
def test_predict_and_quantize_take_the_same_files_of_a_folder(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Regular files in any case and links to them; no folder and no pipe of such a name, which would never end."""
    folder = tmp_path / "in"
    (folder / "d.npz").mkdir(parents=True)
    for name in ("A.NPZ", "b.npz"):
        (folder / name).write_bytes(npz(_sample(1)))
    (folder / "link.Npz").symlink_to(folder / "b.npz")
    os.mkfifo(folder / "pipe.npz")
    (folder / "notes.txt").write_text("not arrays")
    taken = ["A.NPZ", "b.npz", "link.Npz"]
    with edge_sdk.Bundle.open(bundle) as opened:
        assert [Path(one.name).name for one in TensorTask().given([str(folder)], opened)] == taken
        inputs = opened.manifest.graphs[0].inputs
    assert TensorTask().left_out([str(folder)]) == [f"{folder}: left out, no .npz files: 3"]
    samples = samples_of(str(folder), inputs, {"N": 8}, seed=0)
    assert isinstance(samples, FolderSamples)
    assert [file.name for file in samples.files] == taken
    assert _edge("predict", str(bundle), str(folder)) == 0
    assert "no .npz files: 3" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="no links without a right to make them")
def test_a_link_that_leads_nowhere_is_named_by_predict_and_by_quantize(bundle: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **_sample(1))
    (tmp_path / "b.npz").symlink_to(tmp_path / "nowhere")
    with edge_sdk.Bundle.open(bundle) as opened:
        given = TensorTask().given([str(tmp_path)], opened)
        inputs = opened.manifest.graphs[0].inputs
    with pytest.raises(BadInput, match=r"b\.npz: can't read it"):
        read_npz(given[1].source)
    with pytest.raises(BadInput, match=r"b\.npz: can't read it"):
        samples_of(str(tmp_path), inputs, {"N": 8}, seed=0)


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes with names there")
@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_not_a_regular_file_is_refused_before_it_is_opened(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(BadInput, match=r"x\.npz: this is a (folder|pipe or a device), not an \.npz file\. Name a"):
        read_npz(path)


@pytest.mark.parametrize("words", [("predict", "BUNDLE", ""), ("predict", "BUNDLE", "a.npz", ""),
                                   ("profile", "BUNDLE", "--inputs", "")])  # fmt: skip
def test_an_empty_name_of_an_input_is_wrong_usage_and_not_this_folder(
    words: tuple[str, ...], bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    np.savez("a.npz", **_sample(1))
    assert _edge(*(str(bundle) if word == "BUNDLE" else word for word in words)) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert re.search(r"(an input|--inputs) names nothing\. Name files or folders; \. is the current one", output.err)


@pytest.mark.parametrize("suffix", ["", ".npz"])
def test_a_name_that_is_too_long_is_one_input_that_can_not_be_read(
    suffix: str, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "a.npz", **_sample(1))
    assert _edge("predict", str(bundle), "x" * 5000 + suffix, str(tmp_path / "a.npz")) == 3
    output = capsys.readouterr()
    assert len(output.out.splitlines()) == 1
    assert re.search(r"x\.\.\.x+(\.npz)?: can't read it: File name too long\. Check the path", output.err)
    assert "x" * 400 not in output.err


def _file_for_a_folder(out: Path) -> None:
    (out / "a").write_text("mine")


def _link_for_a_folder(out: Path) -> None:
    (out / "a").symlink_to(out / "nowhere")


def _folder_for_a_result(out: Path) -> None:
    (out / "b" / "1.npz").mkdir(parents=True)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (_file_for_a_folder, "results need the folder out/a, which is there and is not a folder"),
        (_link_for_a_folder, "results need the folder out/a, which is there and is not a folder"),
        (_folder_for_a_result, "would stand at out/b/1.npz, where a folder is, or is needed"),
    ],
)
def test_what_is_in_the_way_of_a_result_is_said_before_the_first_one_is_shown(
    make: Callable[[Path], None], said: str, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for folder in ("a", "b"):
        (tmp_path / "in" / folder).mkdir(parents=True)
        np.savez(tmp_path / "in" / folder / "1.npz", **_sample(1))
    (tmp_path / "out").mkdir()
    make(tmp_path / "out")
    before = sorted(tmp_path.rglob("*"))
    assert _edge("predict", str(bundle), "in/a", "in/b", "--out", "out", "--overwrite") == 2
    output = capsys.readouterr()
    assert said in output.err
    assert output.out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_a_result_where_another_one_needs_a_folder_is_refused_before_any_is_shown(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in" / "a.npz").mkdir(parents=True)
    inputs = [tmp_path / "in" / "a.array", tmp_path / "in" / "a.npz" / "b.array"]
    for file in inputs:
        file.write_bytes(npz(_sample(1)))
    assert _edge("predict", str(bundle), *map(str, inputs), "--out", str(tmp_path / "out")) == 2
    output = capsys.readouterr()
    assert "a.npz, where a folder is, or is needed" in output.err
    assert output.out == ""
    assert list((tmp_path / "out").iterdir()) == []


def _identity(*inputs: Any, outputs: list[Any]) -> bytes:
    """Doubles each input; of two inputs, their sum."""
    names = [one.name for one in inputs]
    nodes = [helper.make_node("Add", [names[0], names[-1]], [outputs[0].name])]
    made = helper.make_model(
        helper.make_graph(nodes, "g", list(inputs), outputs), opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    )
    return bytes(made.SerializeToString())


def _parts(onnx_bytes: bytes, axes: dict[str, int], samples: list[dict[str, np.ndarray]]) -> Parts:
    return Parts(
        name="model", family="test", task="tensor", quantized={},
        exported=Exported(graphs={MODEL: FloatGraph(onnx=onnx_bytes, axes=axes)}, settings=TensorSettings()),
        golden=[Golden(source=sample) for sample in samples],
        tolerances=lambda role, variant: {"*": Tolerance(absolute=1e-6, relative=1e-4)},
        provenance=Provenance(created_utc="", product_version="0.1.0", command=(), packages={}),
    )  # fmt: skip


def _packed(path: Path, *parts: Any) -> Path:
    pack(_parts(*parts), path).close()
    return path


def test_a_variant_of_other_tensors_is_refused_before_a_file_is_written(tmp_path: Path) -> None:
    """No device would load the bundle."""
    value, kind = helper.make_tensor_value_info, TensorProto.FLOAT
    whole, other = (
        _identity(value("x", kind, ["N", 2]), outputs=[value("y", kind, shape)]) for shape in (["N", 2], ["N", "k"])
    )
    variant = Variant(variant="fp16", layout="plain", graph=other, int8_convolutions=0)
    with pytest.raises(BadUsage, match="fp16 takes or answers other tensors"):
        pack(
            replace(_parts(whole, {"N": 4}, [_sample(0), _sample(1)]), quantized={MODEL: Mock(variants=(variant,))}),
            tmp_path / "x.edge",
        )
    assert not list(tmp_path.iterdir())


def test_rows_of_two_inputs_must_be_as_many(tmp_path: Path) -> None:
    """Cut to the rows of the first, the second would lose some in silence."""
    value, kind = helper.make_tensor_value_info, TensorProto.FLOAT
    graph = _identity(value("x", kind, ["N", 2]), value("z", kind, ["N", 2]), outputs=[value("y", kind, ["N", 2])])
    rng = np.random.default_rng(0)
    samples = [{n: rng.normal(size=(1, 2)).astype(np.float32) for n in "xz"} for _ in range(2)]
    path = _packed(tmp_path / "two.edge", graph, {"N": 8}, samples)
    for most in (1, 2, 8):
        with edge_sdk.load_as(TensorModel, path, max_batch=most, cache=tmp_path) as model:
            assert model.predict({"x": np.ones((5, 2), np.float32), "z": np.ones((5, 2), np.float32)})["y"].shape == (
                5,
                2,
            )
            for x, z in ((4, 6), (6, 4), (1, 2), (2, 1), (0, 1)):
                with pytest.raises(BadInput, match="size"):
                    model.predict({"x": np.ones((x, 2), np.float32), "z": np.ones((z, 2), np.float32)})
            for name in "xz":  # it has no rows at all, of which others have more than one call takes
                with pytest.raises(BadInput, match=rf"{name} has shape \(\)"):
                    model.predict(
                        {"x": np.ones((9, 2), np.float32), "z": np.ones((9, 2), np.float32)}
                        | {name: np.array(1, np.float32)}
                    )


@pytest.mark.parametrize(
    ("shape", "axes", "sizes"),
    [((), {}, [(), ()]), ((2, "L"), {"L": 9}, [(2, 4), (2, 9)]), (("N", "L"), {"N": 4, "L": 9}, [(1, 4), (2, 9)])],
    ids=["scalar", "free axis", "batch and free axis"],
)
def test_any_shape_is_verified_and_loaded(
    shape: tuple[Any, ...], axes: dict[str, int], sizes: list[tuple[int, ...]], tmp_path: Path
) -> None:
    """Golden samples of other sizes don't fit into one batch; a scalar's error is a number, not an array."""
    value, kind = helper.make_tensor_value_info, TensorProto.FLOAT
    rng = np.random.default_rng(0)
    samples = [{"x": np.asarray(rng.normal(size=size), np.float32)} for size in sizes]
    graph = _identity(value("x", kind, shape), outputs=[value("y", kind, shape)])
    path = _packed(tmp_path / "any.edge", graph, axes, samples)
    report = verify(path)
    assert report.passed, report.text()
    with edge_sdk.load(path, cache=tmp_path) as model:
        np.testing.assert_allclose(model.predict(samples[1])["y"], 2 * samples[1]["x"], rtol=1e-5)
