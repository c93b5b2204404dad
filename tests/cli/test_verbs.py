"""The command line: every verb helps with an example that is right, exit codes mean what they say."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import msgspec
import numpy as np
import onnx
import pytest
import tiny
import typer

from edge_sdk import tasks
from edge_sdk.bundle.manifest import Manifest, Preprocessing
from edge_sdk.bundle.store import Bundle
from edge_sdk.cli import dataclass_options, main, terminal
from edge_sdk.cli import lint as verb_lint
from edge_sdk.errors import BadUsage
from edge_sdk.export import registry as families
from edge_sdk.export.family import FamilyOptions
from edge_sdk.runtimes import registry

ROOT = Path(__file__).resolve().parents[2]
VERBS = sorted(c.name or "" for c in main.app.registered_commands)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def edge(*words: str) -> int:
    """Exit code of one call."""
    with pytest.raises(SystemExit) as left:
        main.run(list(words))
    return int(left.value.code or 0)


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy that a verb may write to."""
    return Path(shutil.copy(tiny_bundle, tmp_path / "line 3 ä.edge"))


def _pictures(folder: Path, count: int, *, damaged: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        rgb = tiny.picture(200 + i, damaged=damaged)
        (folder / f"part{i // 2:02d}_{i}.png").write_bytes(cv2.imencode(".png", rgb[:, :, ::-1])[1].tobytes())
    return folder


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_helps_with_an_example_of_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert edge(verb, "--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"Example: edge-sdk {verb} " in text or text.count(f"Example: edge-sdk {verb}") == 1


def _parses(words: list[str]) -> None:
    """Raises if the verb or one of its options does not exist."""
    group = typer.main.get_command(main.app)
    command = group.commands[words[0]]  # type: ignore[attr-defined]
    command.make_context(words[0], words[1:], resilient_parsing=False)


def test_every_command_of_the_readme_and_of_the_help_exists() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.S))
    lines = [line.split("#")[0] for line in blocks.splitlines() if "edge-sdk " in line and "pip" not in line]
    lines += [
        m for c in main.app.registered_commands for m in re.findall(r"Example: (edge-sdk .*)", c.callback.__doc__ or "")
    ]
    assert len(lines) >= 12
    for line in lines:
        _parses(shlex.split(line)[1:])


def test_predict_evaluates_a_folder_and_names_what_it_could_not_read(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _pictures(tmp_path / "neue teile", 2)
    _pictures(tmp_path / "neue teile" / "bad", 1, damaged=True)
    (folder / "notes.txt").write_text("not a picture")
    assert edge("predict", str(bundle), str(folder), "--out", str(tmp_path / "out")) == 0
    output = capsys.readouterr()
    assert "neue teile: left out: 1 file that is not read as a picture (.txt 1)" in output.err
    lines = output.out.splitlines()
    assert [line.split()[0] for line in lines] == ["defect", "good", "good"]
    drawn = [p.relative_to(tmp_path / "out").as_posix() for p in sorted((tmp_path / "out").rglob("*.png"))]
    assert drawn == ["bad/part00_0.png", "part00_0.png", "part00_1.png"]
    (folder / "cut.png").write_bytes((folder / "part00_0.png").read_bytes()[:300])
    assert edge("predict", str(bundle), str(folder), "--json") == 3
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sum("error" in one for one in answers) == 1
    assert sum("score" in one for one in answers) == 3


def test_overlays_of_pictures_with_one_name_do_not_overwrite_each_other(bundle: Path, tmp_path: Path) -> None:
    first, second = _pictures(tmp_path / "a" / "good", 1), _pictures(tmp_path / "b" / "good", 1)
    (first / "part00_0.bmp").write_bytes(cv2.imencode(".bmp", tiny.picture(5))[1].tobytes())
    assert edge("predict", str(bundle), str(first), str(second), "--out", str(tmp_path / "out")) == 0
    drawn = [p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.png")]
    assert sorted(drawn) == ["a/good/part00_0.png", "a/good/part00_0_2.png", "b/good/part00_0.png"]


@pytest.mark.parametrize("as_folder", [False, True])
def test_the_result_of_a_single_input_lies_in_the_folder_itself(as_folder: bool, bundle: Path, tmp_path: Path) -> None:
    folder = _pictures(tmp_path / "new", 1)
    given = folder if as_folder else folder / "part00_0.png"
    assert edge("predict", str(bundle), str(given), "--out", str(tmp_path / "out")) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["part00_0.png"]


def test_results_replace_no_input_and_nothing_else_unless_it_is_asked_for(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The overlay of part.png is called part.png."""
    folder = _pictures(tmp_path / "new", 2)
    pictures = {path: path.read_bytes() for path in folder.iterdir()}
    (tmp_path / "link").symlink_to(folder)
    for out in (folder, tmp_path / "link"):
        for more in ((), ("--overwrite",)):
            assert edge("predict", str(bundle), str(folder), "--out", str(out), *more) == 2
            assert "would replace the input" in capsys.readouterr().err
            assert {path: path.read_bytes() for path in folder.iterdir()} == pictures
    results, call = tmp_path / "out", ("predict", str(bundle), str(folder), "--out", str(tmp_path / "out"))
    results.mkdir()
    (results / "part00_1.png").write_text("mine")
    assert edge(*call) == 2
    assert "1 file would be replaced, the first is" in capsys.readouterr().err
    assert [path.read_text() for path in results.iterdir()] == ["mine"]
    assert edge(*call, "--overwrite") == 0
    assert len([path for path in results.iterdir() if path.stat().st_size > 100]) == 2


def test_an_out_that_is_a_file_is_called_one(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = _pictures(tmp_path / "new", 1)
    assert edge("predict", str(bundle), str(folder), "--out", str(folder / "part00_0.png")) == 3
    assert "this is a file, not a folder" in capsys.readouterr().err


@pytest.mark.parametrize("link_to", ["the folder", "a folder in it", "a file in it"])
def test_a_file_that_is_reached_by_two_names_is_run_once_and_the_other_name_is_shown(
    link_to: str, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _pictures(tmp_path / "new", 1)
    inner = _pictures(folder / "inner", 1)
    target = {"the folder": folder, "a folder in it": inner, "a file in it": inner / "part00_0.png"}[link_to]
    link = (tmp_path / "link.png") if target.is_file() else (tmp_path / "link")
    link.symlink_to(target)
    assert edge("predict", str(bundle), str(folder), str(link), "--json") == 0
    answers = capsys.readouterr()
    assert len(answers.out.splitlines()) == 2
    notes = answers.err.splitlines()
    assert len(notes) == (2 if target == folder else 1)
    assert all(note.startswith(str(link)) and "same file as" in note for note in notes)


def test_an_input_that_the_runtime_refuses_is_named_by_its_file(
    tensor_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "a right.npz", image=np.zeros((1, 64, 64, 3), np.uint8))
    np.savez(tmp_path / "b wrong.npz", picture=np.zeros((1, 64, 64, 3), np.uint8))
    assert edge("predict", str(tensor_bundle), str(tmp_path), "--json") == 3
    answers = capsys.readouterr()
    right, wrong = (json.loads(line) for line in answers.out.splitlines())
    assert right["source"] == str(tmp_path / "a right.npz")
    assert wrong["source"] == str(tmp_path / "b wrong.npz")
    assert f"edge-sdk: {tmp_path}/b wrong.npz: the graph has no input picture" in answers.err
    assert "It takes image" in answers.err
    assert answers.err.splitlines()[-1] == "1 of 2 inputs gave no result"


URLS = ("https://example.com/a.edge", "s3://bucket/a.edge", "file:///home/a.edge")


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize(
    "verb", ["verify", "predict", "profile", "inspect", "lint", "a picture", "an array", "quantize"]
)
def test_a_url_is_refused_as_it_was_written_with_the_advice_to_download_the_file(
    verb: str, url: str, bundle: Path, tensor_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = {
        "predict": ("predict", url, "photos"),
        "a picture": ("predict", str(bundle), url.replace(".edge", ".png")),
        "an array": ("predict", str(tensor_bundle), url.replace(".edge", ".npz")),
        "quantize": ("quantize", url, "--data", "random:2", "--out", str(tmp_path / "m.edge")),
    }.get(verb, (verb, url))
    assert edge(*words) == 3
    said = capsys.readouterr().err
    assert said.startswith(f"edge-sdk: {url.removesuffix('.edge')}")
    assert "this is a URL, only files are read. Download the file first." in said


@pytest.mark.parametrize("verb", sorted({*VERBS, "train"} - {"threshold", "quantize", "export"}))  # --task names tasks
def test_the_help_of_a_verb_for_every_task_names_no_task_and_no_family_but_in_its_example(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert edge(verb, "--help") == 0
    before, _, after = capsys.readouterr().out.partition("Example:")
    options = after.split("\n\n", 1)[-1].split("Families:")[0]  # a list of families names them
    for word in (*tasks.names(), *families.names(), "map", "defect"):
        if word != "tensor":  # which every model has
            assert not re.search(rf"\b{word}", f"{before}{options}", re.I), word


@pytest.mark.parametrize("url", ["https://example.com/photos", "s3://bucket/photos"])
@pytest.mark.parametrize("verb", ["train", "train --ood", "threshold --good", "threshold --defects"])
def test_a_url_in_the_place_of_a_folder_is_called_a_url(
    verb: str, url: str, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = _pictures(tmp_path / "good", 4)
    words = {
        "train": ("train", "efficientad", url, "--out", str(tmp_path / "m.edge")),
        "train --ood": ("train", "efficientad", str(good), "--ood", url, "--out", str(tmp_path / "m.edge")),
        "threshold --good": ("threshold", str(bundle), "--good", url),
        "threshold --defects": ("threshold", str(bundle), "--good", str(good), "--defects", url),
    }[verb]
    assert edge(*words) == 3
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == f"edge-sdk: {url}: this is a URL, only local folders are read. Download its files first."


def test_verify_passes_and_a_damaged_bundle_is_bad_input(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert edge("verify", str(bundle), "--runtime", "onnxruntime", "--json") == 0
    assert json.loads(capsys.readouterr().out)["passed"] is True
    bundle.write_bytes(bundle.read_bytes()[:-40])
    assert edge("verify", str(bundle), "--json") == 3
    captured = capsys.readouterr()
    assert "line 3 ä.edge" in json.loads(captured.out)["error"]["where"]
    assert captured.err.startswith("edge-sdk: ")


def test_a_graph_of_a_bundle_is_evaluated_only_for_the_runtimes_that_it_was_planned_for(
    bundle: Path, tmp_path: Path
) -> None:
    def for_openvino_alone(manifest: Manifest) -> Manifest:
        alone = [msgspec.structs.replace(graph, runtimes=("openvino",)) for graph in manifest.graphs]
        return msgspec.structs.replace(manifest, graphs=tuple(alone))

    tiny.rewritten(bundle, tmp_path / "planned.edge", described=for_openvino_alone)
    for path, checked in ((bundle, {"onnxruntime", "openvino", "tensorrt"}), (tmp_path / "planned.edge", {"openvino"})):
        assert {runtime for _, _, (runtime,) in verb_lint._graphs(path, b"", (), "if-present", None)} == checked


def test_lint_names_the_rule_the_node_and_what_to_do(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = bundle.parent / "broken.onnx"
    with Bundle.open(bundle) as opened:
        whole = onnx.load_from_string(opened.graph("fp32"))
    assert edge("lint", str(bundle), "--for", "onnxruntime") == 0
    assert "portable" in capsys.readouterr().out
    whole.graph.node[0].domain = "com.example"
    broken.write_bytes(whole.SerializeToString())
    assert edge("lint", str(broken), "--json") == 1
    violations = json.loads(capsys.readouterr().out)["violations"]
    assert violations
    assert all(one["rule"] and one["what"] and one["hint"] for one in violations)
    broken.write_bytes(b"no graph")
    assert edge("lint", str(broken)) == 3
    assert f"{broken}: this is not an ONNX graph" in capsys.readouterr().err
    assert edge("lint", str(broken.with_name("nowhere.onnx"))) == 3
    assert edge("lint", str(bundle), "--for", "abacus") == 2


def test_threshold_refits_on_site_keeps_the_history_and_leaves_the_sealed_part(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Bundle.open(bundle) as before:
        digest, first = before.digest, before.decisions[0]
    good = _pictures(tmp_path / "good", 24)
    call = ("threshold", str(bundle), "--good", str(good), "--rate", "10%", "--author", "Ida", "--json")
    assert edge(*call, "--group", r"(part\d+)_", "--dry-run") == 0
    with Bundle.open(bundle) as same:
        assert len(same.decisions) == 1
    capsys.readouterr()
    (good / "phone.heic").write_bytes(b"")
    assert edge(*call, "--group", r"(part\d+)_") == 0
    said = capsys.readouterr()
    assert "good: left out: 1 file that is not read as a picture (.heic 1)" in said.err
    answer = json.loads(said.out)["decision"]
    assert (answer["parts"], answer["pictures"], answer["author"]) == (12, 24, "Ida")
    top = json.loads(said.out)["highest"]
    assert len({one["file"] for one in top}) == 3
    assert top[0]["score"] >= top[1]["score"] >= top[2]["score"]
    assert f"look at the good pictures with the highest scores: {top[0]['file']}" in said.err
    with Bundle.open(bundle) as after:
        assert after.digest == digest
        assert after.decisions[0] == first
        assert after.decisions[1].predecessor == first.digest
    assert edge("threshold", str(bundle)) == 0
    states = [line.split(":")[0] for line in capsys.readouterr().out.splitlines() if "score >" in line]
    assert states == ["replaced", "in force"]
    assert edge("threshold", str(bundle), "--json") == 0
    assert json.loads(capsys.readouterr().out)["in_force"] == answer["digest"]


def test_a_cut_picture_is_left_out_of_a_refit_with_its_name(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = _pictures(tmp_path / "good", 24)
    cut = good / "part03_6.png"
    cut.write_bytes(cut.read_bytes()[:300])
    assert edge("threshold", str(bundle), "--good", str(good), "--rate", "10%") == 0
    output = capsys.readouterr()
    assert "23 pictures of 23 parts" in output.out
    assert "warning: 1 picture of --good left out: can't be scored (the PNG is cut short" in output.out
    assert "note: 1 picture of --good left out: can't be scored (the PNG is cut short" in output.err
    assert str(cut) in output.err


def test_a_refit_shows_the_old_threshold_and_asks_about_pictures_that_it_would_reject(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Bundle.open(bundle) as opened:
        before = opened.decisions[0].threshold
    call = ("threshold", str(bundle), "--rate", "10%", "--dry-run", "--json", "--good")
    assert edge(*call, str(_pictures(tmp_path / "good", 12))) == 0
    alike = json.loads(capsys.readouterr().out)
    assert (alike["before"]["threshold"], alike["above_before"] < 6) == (before, True)
    assert not any("check that they show" in words for words in alike["decision"]["warnings"])
    assert edge(*call[:-2], "--good", str(_pictures(tmp_path / "other", 12, damaged=True))) == 0
    text = capsys.readouterr().out
    assert "not written: score > " in text
    assert f"threshold: {before:.6g} -> " in text
    assert "the old one would reject 12 of the 12 good pictures" in text
    assert "12 of 12 good pictures score above the previous threshold" in text


def test_a_folder_of_defects_given_as_good_raises_no_threshold_unless_forced(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = bundle.read_bytes()
    _pictures(tmp_path / "mixed", 9)
    for i in range(3):  # a quarter of 12 may pass: the rule is above a quarter
        rgb = tiny.picture(300 + i, damaged=True)
        (tmp_path / f"mixed/bad_{i}.png").write_bytes(cv2.imencode(".png", rgb[:, :, ::-1])[1].tobytes())
    defects = _pictures(tmp_path / "defects", 12, damaged=True)
    call = ("threshold", str(bundle), "--rate", "10%", "--good", str(defects))
    assert edge(*call) == 1
    said = capsys.readouterr().err
    assert "the threshold was not written: 12 of 12 good pictures score above the previous threshold" in said
    assert "--dry-run names those with the highest scores" in said
    assert bundle.read_bytes() == before
    assert edge(*call[:-1], str(tmp_path / "mixed"), "--dry-run", "--json") == 0
    assert json.loads(capsys.readouterr().out)["suspect"] == ""
    # Swapped folders: the cost rule is held by the same.
    swapped = ("--good", str(defects), "--defects", str(_pictures(tmp_path / "good", 4)))
    assert edge("threshold", str(bundle), *swapped) == 1
    assert bundle.read_bytes() == before
    assert edge(*call, "--force", "--json") == 0
    forced = json.loads(capsys.readouterr().out)
    assert forced["suspect"] in forced["decision"]["warnings"]
    with Bundle.open(bundle) as opened:
        assert len(opened.decisions) == 2


def test_too_few_good_pictures_are_counted_with_those_left_out(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = _pictures(tmp_path / "good", 6)
    first = (good / "part00_0.png").read_bytes()
    for i in range(20):
        (good / f"copy{i}.png").write_bytes(first)
    _pictures(good / "inner", 4)
    assert edge("threshold", str(bundle), "--good", str(good), "--rate", "1%") == 1
    said = capsys.readouterr().err
    assert "1 % needs at least 99 good pictures; there are 6." in said
    assert "30 pictures given, 24 left out: 4: in subfolders, which may hold anything; 20: duplicates of others" in said


def test_threshold_on_a_bundle_of_another_task_names_the_task_and_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.edge"
    model = tmp_path / "model.onnx"
    model.write_bytes(tiny.graph().graphs["model"].onnx)
    assert edge("quantize", str(model), "--data", "random:4", "--out", str(other), "--variant", "fp32") == 0
    capsys.readouterr()
    for words in ((), ("--fixed", "0.5"), ("--good", str(_pictures(tmp_path / "good", 4)))):
        assert edge("threshold", str(other), *words) == 2
        said = capsys.readouterr().err
        assert "this is a bundle for the task tensor, and only bundles for anomaly have a threshold" in said
        assert "edge-sdk inspect" in said
        assert "load_as" not in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rate", "5%"), "--rate has no effect without --good"),
        (("--author", "Ida", "--dry-run"), "--author, --dry-run has no effect without --good"),
        (("--fixed", "1", "--confidence", "95%"), "--confidence has no effect without --good"),
        (("--fixed", "1", "--defects", "bad", "--cost-miss", "3"), "--defects, --cost-miss has no effect"),
        (("--good", "good", "--prevalence", "2%"), "--prevalence has no effect without --defects"),
        (("--good", "good", "--defects", "bad", "--rate", "5%"), "--rate has no effect with --defects"),
        (("--good", "good", "--fixed", "1"), "exclude each other"),
        (("--fixed", "1", "--force"), "--force has no effect without --good"),
        (("--good", "good", "--confidence", "95"), "Write 95% or 0.95"),
        (("--good", "good", "--rate", "5"), "Write 5% or 0.05"),
        (("--good", "good", "--defects", "bad", "--prevalence", "2"), "Write 2% or 0.02"),
    ],
)
def test_an_option_of_threshold_that_would_be_ignored_or_misread_is_wrong_usage(
    bundle: Path, tmp_path: Path, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good").mkdir()
    assert edge("threshold", str(bundle), *words) == 2
    assert said in capsys.readouterr().err


def test_a_refit_reads_12_bit_pictures_as_the_bundle_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = tmp_path / "camera.edge"
    tiny.write(bundle, preprocessing=Preprocessing(width=64, height=64, bit_depth=12)).close()
    for depth in (8, 12):
        (tmp_path / str(depth)).mkdir()
    for i in range(12):
        rgb = tiny.picture(200 + i)[:, :, ::-1]
        cv2.imwrite(str(tmp_path / f"8/{i:02d}.png"), rgb)
        cv2.imwrite(str(tmp_path / f"12/{i:02d}.png"), np.rint(rgb * (4095 / 255)).astype(np.uint16))
    cv2.imwrite(str(tmp_path / "12/16-bit.png"), np.arange(65536, dtype=np.uint16).reshape(256, 256))
    digests = []
    for depth in (8, 12):
        assert edge("threshold", str(bundle), "--good", str(tmp_path / str(depth)), "--rate", "10%", "--json") == 0
        digests.append(json.loads((output := capsys.readouterr()).out)["decision"]["scores_digest"])
    assert digests[0] == digests[1]
    assert "does not fit the bundle's bit depth of 12" in output.err
    assert "16-bit.png" in output.err


def test_a_rate_that_the_pictures_do_not_support_is_refused_with_what_they_do(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = _pictures(tmp_path / "good", 6)
    assert edge("threshold", str(bundle), "--good", str(good), "--rate", "0.1%") == 1
    assert "needs at least 999 good" in capsys.readouterr().err
    with Bundle.open(bundle) as same:
        assert len(same.decisions) == 1


def test_a_signed_bundle_is_trusted_by_its_key_and_by_no_other(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    for folder in (mine, other):
        folder.mkdir()
        assert edge("keygen", str(folder / "k")) == 0
    assert edge("keygen", str(mine / "k")) != 0  # never overwritten
    assert edge("sign", str(bundle), "--key", str(mine / "k.key")) == 0
    check = ("inspect", str(bundle), "--trust", "if-present", "--keys")
    assert edge(*check, str(mine)) == 0
    assert edge(*check, str(other)) == 3
    assert "edge-sdk: " in capsys.readouterr().err


def test_a_refit_without_the_key_says_that_the_decisions_lost_their_signature(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert edge("keygen", str(tmp_path / "k")) == 0
    assert edge("threshold", str(bundle), "--fixed", "0.5", "--key", str(tmp_path / "k.key")) == 0
    assert "warning" not in capsys.readouterr().err
    assert edge("threshold", str(bundle), "--fixed", "0.6") == 0
    assert "the decisions were signed by key" in capsys.readouterr().err
    assert edge("threshold", str(bundle), "--fixed", "0.7") == 0
    assert "warning" not in capsys.readouterr().err


def test_a_refit_that_its_own_trust_policy_would_refuse_is_not_begun(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert edge("keygen", str(tmp_path / "k")) == 0
    asked = ("threshold", str(bundle), "--fixed", "0.5", "--trust", "required", "--keys", str(tmp_path))
    before = bundle.read_bytes()
    assert edge(*asked) == 2
    assert "Add --key FILE" in capsys.readouterr().err
    assert bundle.read_bytes() == before


def test_a_key_that_is_not_there_is_reported_before_any_picture_is_scored(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = _pictures(tmp_path / "good", 24)
    assert edge("threshold", str(bundle), "--good", str(good), "--rate", "10%", "--key", "no.key") == 3
    said = capsys.readouterr().err
    assert "no.key" in said
    assert "scor" not in said


def test_inspect_groups_devices_of_which_the_same_is_said(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert edge("inspect", str(bundle), "--json") == 0
    targets = json.loads(capsys.readouterr().out)["manifest"]["targets"]
    assert edge("inspect", str(bundle)) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("target ")]
    assert len(lines) == len(set(targets.values())) < len(targets)
    assert all(any(name in line.split(": ")[0] for line in lines) for name in targets)


def test_inspect_shows_and_extracts(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert edge("inspect", str(bundle), "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["manifest"]["task"] == "anomaly"
    assert edge("inspect", str(bundle), "--extract", "fp32", "--to", str(tmp_path / "m.onnx")) == 0
    import onnx

    onnx.checker.check_model(onnx.load(tmp_path / "m.onnx"))


def test_devices_lists_every_runtime_with_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert edge("devices", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert [r["runtime"] for r in answer["runtimes"]] == [r.name for r in registry.runtimes()]
    assert all(r["devices"] or r["reason"] for r in answer["runtimes"])


def test_profile_tells_stages_and_what_ran(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert edge("profile", str(bundle), "--min-time", "0.2s", "--max-time", "2s", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert {"total", "infer", "resize"} <= set(answer["stages"])
    assert answer["schema"] == "edge-sdk.profile/2"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("train", "efficientad", "/nowhere", "--out", "x.edge"), 3, "/nowhere"),
        (("train", "efficientad", ".", "--out", "x.zip"), 2, "x.edge"),
        (("train", "efficientad", ".", "--out", "absent/x.edge"), 2, "mkdir -p absent"),
        (("train", "efficientad", ".", "--out", "x.edge", "--time-budget", "soon"), 2, "10min"),
        (("train", "efficientad", ".", "--out", "x.edge", "--confidence", "95"), 2, "Write 95% or 0.95"),
        (("train", "efficientad", ".", "--out", "x.edge", "--rate", "5"), 2, "Write 5% or 0.05"),
        (("train", "efficientad", ".", "--out", "x" * 251 + ".edge"), 2, "xx.edge: the name is too long"),
        (("train", "efficientad", ".", "--out", "x.edge", "--run", "x" * 256), 2, "xx: the name is too long"),
        (("quantize", "absent.onnx", "--data", "random:4", "--out", "x" * 251 + ".edge"), 2, "the name is too long"),
        (("quantize", "absent.onnx", "--data", "random:4", "--out", "x" * 5000 + "/a.edge"), 2, "the name is too long"),
        (("verify", "absent.edge"), 3, "absent.edge"),
        (("verify",), 2, "bundle"),
        (("nonsense",), 2, "nonsense"),
        (("verify", "x.edge", "--trust", "maybe"), 2, "maybe"),
        (("lint", "absent.onnx"), 3, "absent.onnx: can't read it"),
    ],
)
def test_a_wrong_call_has_its_exit_code_and_says_what_is_wrong(
    words: tuple[str, ...], code: int, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert edge(*words) == code
    assert said in capsys.readouterr().err


def test_units_of_time_are_read_and_wrong_ones_are_refused() -> None:
    assert [terminal.seconds(t) for t in ("90s", "1.5min", "2 H", "1h30min", "1h 5s")] == [90, 90, 7200, 5400, 3605]
    assert [terminal.duration(s) for s in (30.0, 300.0, 5400.0)] == ["30s", "5min", "1h30min"]
    assert all(terminal.seconds(terminal.duration(s)) == s for s in (1, 59, 60, 61, 3600, 5400))
    for wrong in ("", "ten", "-3s", "0s", "5 parsecs", "5min soon", "min", "1h30"):
        with pytest.raises(BadUsage, match="not a time"):
            terminal.seconds(wrong)
    with pytest.raises(BadUsage, match=r"'10' has no unit\. Write 10s for seconds or 10min for minutes"):
        terminal.seconds("10")


def test_the_time_left_of_a_training_that_goes_on_is_estimated_from_what_this_process_did() -> None:
    clock, stream = iter([100.0, 120.0]), io.StringIO()
    with terminal.progress(stream=stream, seconds_now=lambda: next(clock)) as progress:
        progress(500, 1000, "training")
        progress(600, 1000, "training")
    assert stream.getvalue().splitlines() == [" 50 % training", " 60 % training, about 1 min 20 s left"]


def test_the_end_of_a_step_is_reported_however_soon_it_comes() -> None:
    clock, stream = iter([100.0, 101.0, 101.5]), io.StringIO()
    with terminal.progress(stream=stream, seconds_now=lambda: next(clock)) as progress:
        for done in range(3):
            progress(done, 2, "reading")
    assert stream.getvalue().splitlines() == ["  0 % reading", "100 % reading"]


def _on_a_terminal(code: str, **environ: str) -> bytes:
    """What a person sees of `code` on a pseudo-terminal."""
    ours, theirs = os.openpty()
    env = {**os.environ, "TERM": "xterm", **environ}
    with subprocess.Popen([sys.executable, "-c", code], stdin=theirs, stdout=theirs, stderr=theirs, env=env):
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # a terminal's end is an error on some systems
            while more := os.read(ours, 65536):
                shown += more
    os.close(ours)
    return shown


BREAKS = """
from edge_sdk.cli import terminal
with terminal.progress() as progress:
    progress(1, 10, "working")
    raise SystemExit("it broke")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="terminals of POSIX")
def test_a_step_that_breaks_leaves_the_terminal_a_clean_line_and_its_cursor() -> None:
    shown = _on_a_terminal(BREAKS)
    hidden, back, line, error = (shown.rindex(part) for part in (b"\x1b[?25l", b"\x1b[?25h", b"working", b"it broke"))
    assert hidden < line < back < error
    assert b"\x1b[2K" in shown[line:error]  # the bar's line is wiped


def test_a_key_with_a_password_is_made_and_signs_once_it_is_given(bundle: Path, tmp_path: Path) -> None:
    def answered(*words: str, given: str) -> subprocess.CompletedProcess[str]:
        code = "import sys; from edge_sdk.cli import main; main.run(sys.argv[1:])"
        command = [sys.executable, "-W", "ignore", "-c", code, *words]  # no terminal: the password comes by stdin
        return subprocess.run(command, input=given, capture_output=True, text=True, check=False, start_new_session=True)

    made = answered("keygen", str(tmp_path / "k"), "--password", given="secret\nsecret\n")
    assert made.returncode == 0, made.stderr
    for given, code in (("wrong\n", 3), ("secret\n", 0)):
        signed = answered("sign", str(bundle), "--key", str(tmp_path / "k.key"), given=given)
        assert signed.returncode == code, signed.stderr
    assert "signed by unknown key" in signed.stdout


TABLE = """
from edge_sdk.cli import terminal
why = "[red] package missing: pip install " + "something " * 12
terminal.emit(None, as_json=False, text=terminal.table(("runtime", "why"), [("one", why), ("größer", "-")]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="terminals of POSIX")
@pytest.mark.parametrize("columns", [20, 40, 80])
def test_a_table_on_a_narrow_terminal_is_folded_inside_its_columns(columns: int) -> None:
    shown = _on_a_terminal(TABLE, COLUMNS=str(columns), PYTHONIOENCODING="utf-8").decode()
    lines = shown.rstrip().split("\r\n")
    assert max(map(len, lines)) <= columns
    assert "\x1b" not in shown
    assert lines[0].split() == ["runtime", "why"]
    second = lines[0].index("why")
    folded = "".join(line[second:].replace(" ", "") for line in lines[1:])
    assert folded == "[red]packagemissing:pipinstall" + "something" * 12 + "-"


@pytest.mark.skipif(sys.platform == "win32", reason="terminals of POSIX")
def test_a_table_on_a_wide_terminal_and_in_a_pipe_has_a_line_a_row() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TABLE], capture_output=True, check=True,
        env={**os.environ, "COLUMNS": "20", "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert len(done.stdout.decode().splitlines()) == 3
    assert _on_a_terminal(TABLE, COLUMNS="200", PYTHONIOENCODING="utf-8").splitlines() == done.stdout.splitlines()


ANSWER = """
import sys
from edge_sdk.cli import main, terminal
terminal.emit({"name": "größer"}, as_json=True, text="")
terminal.emit({}, as_json=False, text="größer")
terminal.note("größer")
main.run(["inspect", "größer.edge", "--json"])
"""


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "latin-1", "cp437"])
def test_no_answer_is_lost_to_a_letter_that_the_terminal_lacks(encoding: str) -> None:
    env = {**os.environ, "PYTHONIOENCODING": f"{encoding}:strict"}
    done = subprocess.run([sys.executable, "-c", ANSWER], capture_output=True, env=env, check=False)
    assert done.returncode == 3, done.stderr
    as_json, text, error = done.stdout.decode(encoding).splitlines()
    assert json.loads(as_json) == {"name": "größer"}
    assert text == ("gr\\xf6\\xdfer" if encoding == "ascii" else "größer")
    assert json.loads(error)["error"]["where"].endswith("größer.edge")


@pytest.mark.parametrize("verb", ["predict", "profile", "train", "demo"])
def test_a_folder_that_takes_no_file_is_reported_before_any_work(
    verb: str, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, file = _pictures(tmp_path / "good", 6), tmp_path / "a file"
    file.write_text("no folder")
    call = {
        "predict": ("predict", str(bundle), str(good), "--out", str(file)),
        "train": (
            "train",
            "efficientad",
            str(good),
            "--out",
            str(tmp_path / "x.edge"),
            "--run",
            str(file),
            "--steps",
            "1",
        ),
        "demo": ("demo", "--out", str(file / "inside")),
        "profile": ("profile", str(bundle), "--samples", str(file / "calls.csv")),
    }[verb]
    assert edge(*call) == 3
    output = capsys.readouterr()
    assert output.out == ""
    assert f"edge-sdk: {file}" in output.err
    assert "training" not in output.err


def test_an_error_of_the_operating_system_that_no_step_foresaw_is_one_line(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert edge("predict", str(bundle), "x" * 300) == 3
    text = capsys.readouterr().err
    assert text.startswith(f"edge-sdk: {'x' * 300}: ")
    assert "File name too long" in text


def test_a_picture_that_opencv_can_not_decode_is_one_line_of_ours(bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "cut.bmp"
    file.write_bytes(cv2.imencode(".bmp", tiny.picture(1))[1].tobytes()[:-300])
    command = [sys.executable, "-c", "from edge_sdk.cli.main import run; run()", "predict", str(bundle), str(file)]
    environ = {name: value for name, value in os.environ.items() if name != "OPENCV_LOG_LEVEL"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 3
    assert [line[:10] for line in done.stderr.splitlines()] == ["edge-sdk: ", "1 of 1 inp"]


@pytest.mark.parametrize("verb", ["verify", "predict", "profile"])
def test_a_device_that_is_not_here_is_exit_code_4_and_no_failed_check(
    verb: str, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = (str(_pictures(tmp_path / "new", 1)),) if verb == "predict" else ()
    assert edge(verb, str(bundle), *more, "--device", "GPU.7") == 4
    output = capsys.readouterr()
    assert output.out == ""
    assert "device GPU.7" in output.err
    assert "edge-sdk devices lists what each runtime has" in output.err


def test_verify_checks_the_runtimes_that_have_the_device(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert edge("verify", str(bundle), "--device", "CPU", "--variant", "fp32", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert {row["device"] for row in answer["rows"]} == {"CPU"}
    assert edge("verify", str(bundle), "--device", "NPU", "--runtime", "onnxruntime") == 4
    assert "onnxruntime can't be used here: it has no device NPU here, only CPU" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("short", "meant"), [("ort", "onnxruntime"), ("ov", "openvino"), ("TRT", "tensorrt"), ("openvin", "openvino")]
)
def test_a_short_name_of_a_runtime_gets_the_right_suggestion(
    short: str, meant: str, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert edge("verify", str(bundle), "--runtime", short) == 2
    assert f"there is no runtime {short}. Did you mean {meant}." in capsys.readouterr().err


@pytest.mark.parametrize("sample", ["folder_to_csv.py", "opencv_camera.py"])
def test_a_sample_that_is_run_without_arguments_tells_how(sample: str) -> None:
    def called(*words: str) -> subprocess.CompletedProcess[str]:
        call = [sys.executable, str(ROOT / "samples" / sample), *words]
        return subprocess.run(call, capture_output=True, text=True, check=False)

    bare, helped = called(), called("--help")
    assert (bare.returncode, helped.returncode) == (2, 0)
    assert f"usage: {sample}" in bare.stderr
    assert f"python samples/{sample} line3.edge" in helped.stdout
    assert "Traceback" not in bare.stderr


def test_a_field_that_a_family_defines_again_without_option_is_no_option_of_train() -> None:
    """A family without training leaves out --steps and --time-budget so (docs/add-a-family.md)."""

    @dataclass(frozen=True, kw_only=True)
    class Weights(FamilyOptions):
        steps: int | None = None
        time_budget_s: float | None = None

    assert [one.name for one in dataclass_options.parameters(Weights)] == ["seed", "threads", "device"]
    made = dataclass_options.made(Weights, {"seed": 3, "threads": 1, "device": "cpu"})
    assert (made.steps, made.time_budget_s, made.seed) == (None, None, 3)


@pytest.mark.parametrize(
    "verb", [("devices",), ("inspect", "BUNDLE"), ("predict", "BUNDLE", "x.png"), ("lint", "BUNDLE")]
)
def test_a_verb_that_is_stopped_says_so_and_exits_with_its_own_code(
    verb: tuple[str, ...], bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for place in ("edge_sdk.runtimes.probe.devices_report", "edge_sdk.bundle.store.Bundle.open"):
        monkeypatch.setattr(place, stopped)
    words = [str(bundle) if word == "BUNDLE" else word for word in verb]
    assert edge(*words) == 5
    output = capsys.readouterr()
    assert "Stopped. Finished files are kept" in output.err
    assert output.out == ""
    assert edge(*words, "--json") == 5
    output = capsys.readouterr()
    assert "Stopped. Finished files are kept" in output.err
    assert json.loads(output.out)["error"]["kind"] == "Stopped"
    assert "Finished files are kept" in json.loads(output.out)["error"]["hint"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("quantize", "m.onnx", "--out", "m.edge"), "--data"),
        (("predict", "m.edge"), "INPUTS"),
        (("verify", "m.edge", "--nonsense"), "--nonsense"),
        (("profile", "m.edge", "--threads", "no"), "--threads"),
        (("nonsense",), "nonsense"),
    ],
)
def test_wrong_usage_of_any_kind_is_one_object_with_json(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert edge(*words) == 2
    plain = capsys.readouterr()
    assert plain.out == ""
    assert edge(*words, "--json") == 2
    output = capsys.readouterr()
    error = json.loads(output.out)["error"]
    assert error["kind"] == "BadUsage"
    assert said.lower() in error["what"].lower()
    assert output.err == plain.err
