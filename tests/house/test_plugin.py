"""A package of others adds a runtime, two tasks and their families by entry points, and all of edge-sdk takes them.

tests/plugin/ is installed into an environment of its own, which sees what is installed here; everything runs there.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from installed import PRODUCT, Site, environment

import edge_sdk
from edge_sdk import tasks
from edge_sdk.bundle.store import Bundle
from edge_sdk.errors import BadBundle

pytestmark = pytest.mark.long

PACKAGE = Path(__file__).resolve().parents[1] / "plugin"
FILES = {
    "pyproject.toml": "names the entry points",
    "edge_sdk_trial/__init__.py": "",
    "edge_sdk_trial/py.typed": "",
    "edge_sdk_trial/operators.py": "runtime: the operators in numpy",
    "edge_sdk_trial/runtime.py": "runtime: probe, compile, run, explain",
    "edge_sdk_trial/pairs.py": "task: settings, predictor, result, how it is checked",
    "edge_sdk_trial/seeds.py": "task: the same, and its kind of site record",
    "edge_sdk_trial/pairs_export.py": "export part of a task: data, golden samples, its options",
    "edge_sdk_trial/seeds_export.py": "export part of a task: the record that bundles are packed with",
    "edge_sdk_trial/pairs_family.py": "family: options, graphs by role, calibration samples",
    "edge_sdk_trial/seeds_family.py": "family: the same, and golden samples",
    "edge_sdk_trial/networks.py": "families: the float graphs",
    "edge_sdk_trial/drawn_weights.py": "families: what the two share",
    "use.py": "not installed: a user's program",
}
"""Every file that adding them takes. None is one of the product's."""
GROUPS = {
    "edge_sdk.runtimes": {"slow-numpy"},
    "edge_sdk.tasks": {"pairs", "seeds"},
    "edge_sdk.export_tasks": {"pairs", "seeds"},
    "edge_sdk.families": {"tiny-pairs", "tiny-seeds"},
}
RUNTIMES = {"onnxruntime", "openvino", "slow-numpy"}


def _digest() -> str:
    """Of every file of the product."""
    tops = ("edge_sdk", "runtimes", "calibration", "export")
    found = [file for top in tops for file in (PRODUCT / top).rglob("*.py")]
    return hashlib.sha256(b"".join(file.read_bytes() for file in sorted(found))).hexdigest()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """With the package in it."""
    made = environment(tmp_path_factory.mktemp("plugin"))
    made.install(PACKAGE)
    return made


@dataclass(frozen=True, slots=True)
class Bundles:
    """What the families made. question: an .npz file that `predict` takes for pairs."""

    pairs: Path
    seeds: Path
    question: Path


@pytest.fixture(scope="module")
def bundles(site: Site) -> Bundles:
    """`edge-sdk train` of both families."""
    rng = np.random.default_rng(20261128)
    pictures = site.folder / "pictures"
    pictures.mkdir()
    for index in range(12):
        coarse = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
        cv2.imwrite(str(pictures / f"{index:02}.png"), cv2.resize(coarse, (56, 40), interpolation=cv2.INTER_CUBIC))
    before = _digest()
    pairs, seeds = site.verbs(
        ("train", "tiny-pairs", "pictures", "--out", "pairs.edge", "--channels", "12", "--groups", "6", "--json"),
        ("train", "tiny-seeds", "--out", "seeds.edge", "--reviewed", "20"),
    )
    assert pairs.code == 0, pairs.err
    assert seeds.code == 0, seeds.err
    assert pairs.json["bundle"] == "pairs.edge"
    assert "wrote seeds.edge" in seeds.out
    assert _digest() == before
    question = site.folder / "question.npz"
    points = rng.random((3, 2, 2), np.float32)
    np.savez(question, picture=rng.integers(0, 256, (40, 56, 3), dtype=np.uint8), points=points)
    return Bundles(site.folder / "pairs.edge", site.folder / "seeds.edge", question)


def test_the_package_is_made_of_new_files_alone(site: Site) -> None:
    assert {str(file.relative_to(PACKAGE)) for file in PACKAGE.rglob("*") if _kept(file)} == set(FILES)
    ask = (
        "import json; from importlib import metadata; d = metadata.distribution('edge-sdk-trial'); "
        "print(json.dumps([str(f) for f in d.files] + [[e.group, e.name] for e in d.entry_points]))"
    )
    answer = json.loads(site.run("-c", ask).stdout)
    installed = {Path(one).parts[0] for one in answer if isinstance(one, str)}
    assert installed == {"edge_sdk_trial", "edge_sdk_trial-1.0.dist-info"}
    groups: dict[str, set[str]] = {}
    for group, name in (one for one in answer if not isinstance(one, str)):
        groups.setdefault(group, set()).add(name)
    assert groups == GROUPS


def _kept(file: Path) -> bool:
    return file.is_file() and "__pycache__" not in file.parts


def test_devices_lists_the_runtime_and_train_the_families(site: Site) -> None:
    devices, families, options = site.verbs(
        ("devices", "--json"), ("train", "--help"), ("train", "tiny-pairs", "--help")
    )
    found = {row["runtime"]: row for row in devices.json["runtimes"]}["slow-numpy"]
    assert (found["devices"], found["reason"]) == (["CPU"], "")
    assert "tiny-seeds" in families.out
    for option in ("PICTURES", "--channels", "--groups", "--seed"):
        assert option in options.out


def test_what_is_wrong_with_their_options_and_data_is_said(site: Site, bundles: Bundles) -> None:
    (site.folder / "empty").mkdir()
    few, nothing, channels, device, planned = site.verbs(
        ("train", "tiny-pairs", "empty", "--out", "few.edge"),
        ("train", "tiny-pairs", "--out", "few.edge"),
        ("train", "tiny-seeds", "--out", "few.edge", "--channels", "1000"),
        ("train", "tiny-seeds", "--out", "few.edge", "--device", "cuda"),
        ("train", "tiny-pairs", "pictures", "--out", "new.edge", "--dry-run", "--json"),
    )
    assert (few.code, nothing.code, channels.code, device.code) == (3, 2, 2, 2)
    assert "no pictures" in few.err
    assert "PICTURES" in nothing.err
    assert "channels" in channels.err
    assert "draws its weights, on the CPU" in device.err
    assert planned.json["pictures"] == 12
    assert not (site.folder / "new.edge").exists()


def test_int8_runs_in_every_runtime_here_and_the_bundle_says_in_how_many_operators(bundles: Bundles) -> None:
    for path, roles in ((bundles.pairs, {"encoder", "decoder"}), (bundles.seeds, {"model"})):
        with Bundle.open(path) as bundle:
            graphs = [graph for graph in bundle.manifest.graphs if graph.variant == "int8"]
        for role in roles:
            ran: dict[str, int] = {}
            for graph in graphs:
                ran |= graph.int8_ran if graph.role == role else {}
            assert set(ran) == RUNTIMES, (path, role, ran)
            assert min(ran.values()) > 0, (path, role, ran)


def test_axes_preprocessing_and_records_are_in_the_bundles(bundles: Bundles) -> None:
    with Bundle.open(bundles.pairs) as bundle:
        by_role = {graph.role: graph for graph in bundle.manifest.graphs}
        assert by_role["encoder"].axes == {"N": 256}
        assert by_role["decoder"].axes == {"P": 16, "K": 4}
        assert bundle.manifest.provenance.samples == 12
        assert not bundle.decisions
    with Bundle.open(bundles.seeds) as bundle:
        assert bundle.manifest.preprocessing is None
        (record,) = bundle.decisions
        assert (record.kind, record.words) == ("reviewed-seeds", "looked at before packing")


def test_verify_runs_every_role_on_every_runtime_and_pairs_the_whole_way(site: Site, bundles: Bundles) -> None:
    pairs, seeds, numpy_alone = site.verbs(
        ("verify", "pairs.edge", "--json"), ("verify", "seeds.edge"),
        ("verify", "seeds.edge", "--runtime", "slow-numpy", "--variant", "int8", "--json"),
    )  # fmt: skip
    assert (pairs.code, seeds.code, numpy_alone.code) == (0, 0, 0), (pairs.out, seeds.out)
    rows = pairs.json["rows"]
    assert {(row["role"], row["runtime"]) for row in rows} == {(r, n) for r in ("encoder", "decoder") for n in RUNTIMES}
    assert pairs.json["reproduced"] == pairs.json["samples"] == 3
    ways = {(way["runtime"], way["variants"]["decoder"]) for way in pairs.json["whole_way"]}
    assert ways >= {(name, variant) for name in RUNTIMES for variant in ("fp32", "int8-w7", "fp16")}
    assert "worst_value" in pairs.json["headline"]["facts"]
    assert "seeds.edge: verified" in seeds.out
    assert {row["runtime"] for row in numpy_alone.json["rows"]} == {"slow-numpy"}


def test_inspect_shows_roles_settings_and_the_records_of_the_task(site: Site, bundles: Bundles) -> None:
    pairs, seeds, extracted = site.verbs(
        ("inspect", "pairs.edge"), ("inspect", "seeds.edge"),
        ("inspect", "pairs.edge", "--extract", "decoder.fp32", "--to", "decoder.onnx"),
    )  # fmt: skip
    for words in ("task pairs", "values     left, middle, right", "decoder.int8.conv-relu-q", "slow-numpy 2"):
        assert words in pairs.out
    assert "decision 1  in force: seeds 0 to 19" in seeds.out
    assert "noise      8 x 4 x 4" in seeds.out
    assert extracted.code == 0, extracted.err
    assert (site.folder / "decoder.onnx").stat().st_size > 1000


def test_predict_takes_what_the_tasks_take_and_writes_what_they_answer(site: Site, bundles: Bundles) -> None:
    pairs, saved, seeds, refused, wrong = site.verbs(
        ("predict", "pairs.edge", "question.npz", "--variant", "encoder=int8-w7,decoder=fp32", "--json"),
        ("predict", "pairs.edge", "question.npz", "--runtime", "slow-numpy", "--out", "answers"),
        ("predict", "seeds.edge", "7", "10-12", "--out", "drawn"), ("predict", "seeds.edge", "7", "1000"),
        ("predict", "seeds.edge", "photo.png"),
    )  # fmt: skip
    assert (pairs.code, saved.code, seeds.code, refused.code, wrong.code) == (0, 0, 0, 3, 3)
    assert len(pairs.json["rows"]) == 3
    ran = {role: one["variant"] for role, one in pairs.json["ran"]["roles"].items()}
    assert ran == {"encoder": "int8-w7", "decoder": "fp32"}
    assert "3 groups of points" in saved.out
    assert [file.name for file in (site.folder / "answers").rglob("*.npz")] == ["question.npz"]
    assert sorted(file.stem for file in (site.folder / "drawn").iterdir()) == [f"seed-{n}" for n in (10, 11, 12, 7)]
    assert "nobody has reviewed seed 1000" in refused.err
    assert refused.out.startswith("seed 7")
    assert "'photo.png' is no seed" in wrong.err


def test_profile_times_whole_calls_and_layers_of_each_role(site: Site, bundles: Bundles) -> None:
    short = ("--min-time", "0.2s", "--max-time", "1s", "--json")
    pairs, seeds, slow, layers = site.verbs(
        ("profile", "pairs.edge", *short), ("profile", "seeds.edge", *short),
        ("profile", "seeds.edge", "--runtime", "slow-numpy", *short),
        ("profile", "pairs.edge", "--runtime", "onnxruntime", "--layers", "--json"),
    )  # fmt: skip
    for found in (pairs, seeds, slow, layers):
        assert found.code == 0, found.err
    assert {"encode", "decode"} <= set(pairs.json["stages"])
    assert {"noise", "draw"} <= set(seeds.json["stages"])
    assert [one["role"] for one in layers.json["roles"]] == ["encoder", "decoder"]


def test_int8_is_compared_with_fp32_in_whole_calls_and_in_each_role(site: Site, bundles: Bundles) -> None:
    (pairs,) = site.verbs(
        ("profile", "pairs.edge", "--worth", "--runtime", "onnxruntime", "--variant", "int8-w7", "--max-time", "3s",
         "--json"),
    )  # fmt: skip
    assert pairs.code == 0, pairs.err
    asked = [(one["question"]["part"], one["question"]["by_role"]) for one in pairs.json["answers"]]
    both = {"encoder": "int8-w7", "decoder": "int8-w7"}
    assert asked == [("predict", both), ("encoder", both), ("decoder", both)]
    assert set(pairs.json["answers"][0]["errors"]) == {"encoder", "decoder"}


def test_they_are_signed_and_a_device_that_asks_for_it_takes_them(site: Site, bundles: Bundles) -> None:
    copies = [shutil.copy(path, site.folder / f"signed-{path.name}").name for path in (bundles.pairs, bundles.seeds)]
    (site.folder / "keys").mkdir()
    refused, made, *signed = site.verbs(
        ("predict", copies[1], "7", "--trust", "required", "--keys", "keys"), ("keygen", "keys/export"),
        *(("sign", name, "--key", "keys/export.key") for name in copies),
    )  # fmt: skip
    assert refused.code != 0
    assert [one.code for one in (made, *signed)] == [0, 0, 0]
    trust = ("--trust", "required", "--keys", "keys")
    pairs, unsigned, record, seeds = site.verbs(
        ("predict", copies[0], "question.npz", *trust), ("predict", copies[1], "7", *trust),
        ("sign", copies[1], "--site", "--key", "keys/export.key"), ("predict", copies[1], "7", *trust),
    )  # fmt: skip
    assert (pairs.code, unsigned.code, record.code, seeds.code) == (0, 3, 0, 0)
    assert "edge-sdk sign --site signs it" in unsigned.err  # the record was packed without a key


def test_a_demo_of_a_family_that_ships_no_data_says_so(site: Site) -> None:
    (said,) = site.verbs(("demo", "tiny-seeds"))
    assert (said.code, "Traceback" in said.err) == (2, False)
    assert "tiny-seeds" in said.err or "Tiny seeds" in said.err


def test_a_verb_of_another_task_says_so(site: Site, bundles: Bundles) -> None:
    asked = (("pairs.edge",), ("seeds.edge", "--fixed", "0.5"), ("pairs.edge", "--good", "pictures"))
    for said in site.verbs(*(("threshold", *words) for words in asked)):
        assert said.code == 2
        assert "this is a bundle for the task " in said.err


def test_a_program_uses_them_from_python(site: Site, bundles: Bundles) -> None:
    (site.folder / "out").mkdir()
    done = site.run(str(PACKAGE / "use.py"), str(bundles.pairs), str(bundles.seeds), "out")
    assert done.returncode == 0, done.stderr[-3000:]


def test_that_program_and_the_package_hold_under_strict_types_and_other_tasks_keep_theirs(site: Site) -> None:
    for words in ((str(PACKAGE / "use.py"),), ("-p", "edge_sdk_trial")):
        done = site.run("-m", "mypy", "--strict", "--cache-dir", str(site.folder / "mypy"), *words)
        assert done.returncode == 0, done.stdout + done.stderr


def test_where_the_package_does_not_load_whatever_needs_it_names_it_and_the_rest_works(
    site: Site, bundles: Bundles
) -> None:
    shadow = site.folder / "shadow" / "edge_sdk_trial"
    shadow.mkdir(parents=True)
    (shadow / "__init__.py").write_text("raise OSError('half of it is missing')\n")
    devices, listed, *needs_it = site.verbs(
        ("devices", "--json"), ("train", "--help"), ("train", "tiny-seeds", "--out", "new.edge"),
        ("verify", "seeds.edge"), ("predict", "pairs.edge", "question.npz"), ("profile", "pairs.edge"),
        ("predict", "seeds.edge", "7", "--runtime", "slow-numpy"), path=[shadow.parent],
    )  # fmt: skip
    assert "tiny-seeds" in listed.out
    for said in needs_it:
        assert said.code == 4, said.err
        assert "edge-sdk-trial" in said.err
        assert "half of it is missing" in said.err
    rows = {row["runtime"]: row["reason"] for row in devices.json["runtimes"]}
    assert "half of it is missing" in rows["slow-numpy"]
    assert rows["onnxruntime"] == ""
    (shown,) = site.verbs(("inspect", "seeds.edge"), path=[shadow.parent])
    assert shown.code == 0, shown.err
    assert "half of it is missing" in shown.out
    assert "a record of kind 'reviewed-seeds'" in shown.out


def test_without_the_package_a_bundle_of_its_task_is_refused_and_says_what_to_install(bundles: Bundles) -> None:
    known = ", ".join(tasks.OWN)
    with pytest.raises(BadBundle, match=rf"its task is 'pairs', this version knows {known}.*package that adds"):
        edge_sdk.load(bundles.pairs)


SWAPPED = """
import dataclasses, sys
from edge_sdk.verify import verify
from edge_sdk_trial import pairs

right = pairs.PairsPredictor.predict
pairs.PairsPredictor.predict = lambda self, question: right(
    self, dataclasses.replace(question, points=question.points[..., ::-1].copy())
)
report = verify(sys.argv[1], runtimes=["onnxruntime"], variants=["fp32"])
assert all(row.passed for row in report.rows), report.text()
assert not report.passed
print(report.text())
"""


def test_a_predictor_that_feeds_a_later_graph_otherwise_than_its_task_is_not_verified(
    site: Site, bundles: Bundles
) -> None:
    """The first graph's feeds are right: each role is compared."""
    assert "it feeds decoder something else than Task.feeds does" in site.run("-c", SWAPPED, str(bundles.pairs)).stdout
