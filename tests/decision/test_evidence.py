"""Which pictures a threshold fitted on site may rest on; contents are all that counts, so any bytes do here."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.grouping import SEEN, content, seen_note
from edge_sdk.tasks.anomaly.evidence import Gathered, gather, highest, look_at

UNTOLD: dict[str, str] = {}


def files(folder: Path, **contents: str) -> Path:
    """NAME="content" becomes NAME.png."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in contents.items():
        (folder / f"{name}.png").write_text(text)
    return folder


def names(samples: Gathered) -> list[str]:
    return [sample.path.stem for sample in samples.good]


def seen(*paths: Path) -> dict[str, str]:
    return {SEEN: seen_note(content(path) for path in paths)}


def test_a_data_set_with_defects_in_it_is_not_taken_for_a_folder_of_good_parts(tmp_path: Path) -> None:
    files(tmp_path / "train/good", a="1")
    files(tmp_path / "test/crack", b="2")
    files(tmp_path / "test/good", c="3")
    with pytest.raises(BadInput, match="only in the folders test, train inside") as caught:
        gather(tmp_path, None, group="", notes=UNTOLD)
    assert caught.value.hint == f"Name one folder of good parts, such as {tmp_path / 'test/good'}"


def test_folders_inside_good_are_left_out_and_reported(tmp_path: Path) -> None:
    files(tmp_path, a="1")
    files(tmp_path / "scratch", b="2", c="3")
    found = gather(tmp_path, None, group="", notes=seen())
    assert names(found) == ["a"]
    (left_out,) = found.left_out
    assert left_out.why == "2 pictures of --good left out: in subfolders, which may hold anything"
    assert str(left_out).endswith(f"{tmp_path / 'scratch/b.png'}, {tmp_path / 'scratch/c.png'}")


def test_good_parts_and_masks_are_no_defects_whatever_folder_they_were_given_in(tmp_path: Path) -> None:
    good = files(tmp_path / "new", a="1")
    for kind in ("test/crack", "test/Good", "ground_truth/crack"):
        files(tmp_path / "set" / kind, x=kind)
    found = gather(good, tmp_path / "set", group="", notes=seen())
    assert [sample.path.parent.name for sample in found.defects] == ["crack"]
    assert [left_out.why[:33] for left_out in found.left_out] == ["2 pictures of --defects left out:"]
    (tmp_path / "set/test/crack/x.png").unlink()
    with pytest.raises(BadInput, match="no pictures of defects"):
        gather(good, tmp_path / "set", group="", notes=UNTOLD)


def test_a_picture_in_both_folders_is_refused_by_its_content(tmp_path: Path) -> None:
    good, bad = files(tmp_path / "good", a="1", b="2"), files(tmp_path / "bad", c="2", d="3")
    with pytest.raises(BadInput, match=r"1 of the pictures in --defects are in --good too.*c\.png is .*b\.png"):
        gather(good, bad, group="", notes=UNTOLD)


def test_copies_count_once(tmp_path: Path) -> None:
    found = gather(files(tmp_path, a="1", b="1", c="2", d="1"), None, group="", notes=seen())
    assert names(found) == ["a", "c"]
    assert found.left_out[0].why.startswith("2 pictures of --good left out: duplicates of others")


def test_parts_that_the_model_was_trained_on_are_left_out_with_all_their_pictures(tmp_path: Path) -> None:
    files(tmp_path, p1_a="1", p1_b="2", p2_a="3")
    found = seen(tmp_path / "p1_a.png")
    assert names(gather(tmp_path, None, group="", notes=found)) == ["p1_b", "p2_a"]
    by_part = gather(tmp_path, None, group=r"p\d", notes=found)
    assert names(by_part) == ["p2_a"]
    assert by_part.left_out[0].why.startswith("2 pictures of --good left out: the model was trained on these parts")
    assert by_part.warnings == ()


def test_nothing_but_training_pictures_is_refused_with_the_reason(tmp_path: Path) -> None:
    files(tmp_path, a="1", b="2")
    with pytest.raises(BadInput, match=r"none of the 2 pictures is new.*would reject too many good parts"):
        gather(tmp_path, None, group="", notes=seen(tmp_path / "a.png", tmp_path / "b.png"))


def test_a_defect_that_the_model_learned_as_good_is_refused(tmp_path: Path) -> None:
    good, bad = files(tmp_path / "good", a="1"), files(tmp_path / "bad", b="2")
    with pytest.raises(BadInput, match="trained on 1 of the pictures in --defects, as good parts"):
        gather(good, bad, group="", notes=seen(bad / "b.png"))


def test_a_bundle_that_does_not_keep_its_training_pictures_says_that_nothing_was_checked(tmp_path: Path) -> None:
    (warning,) = gather(files(tmp_path, a="1"), None, group="", notes=UNTOLD).warnings
    assert "it was not checked whether these are new" in warning


def test_a_group_that_does_not_fit_is_reported_before_a_file_is_read(tmp_path: Path) -> None:
    (files(tmp_path, a="1") / "gone.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(BadUsage, match="it does not fit"):
        gather(tmp_path, None, group=r"p\d", notes=UNTOLD)
    with pytest.raises(BadUsage, match="not a regular expression"):
        gather(tmp_path, None, group="(", notes=UNTOLD)


def test_what_is_kept_of_five_thousand_training_pictures_is_small_and_holds_nothing_of_them() -> None:
    note = seen_note(f"{number:064x}"[::-1] for number in range(5000))
    assert len(note) == 80_000
    assert set(note) <= set("0123456789abcdef")


def test_the_good_pictures_to_look_at_are_those_with_the_highest_scores() -> None:
    scores = {"a.png": 0.1, "b.png": 0.9, "c.png": 0.3, "d.png": 0.2}
    found = highest(map(Path, scores), scores.values())
    assert [(str(one.path), one.score) for one in found] == [("b.png", 0.9), ("c.png", 0.3), ("d.png", 0.2)]
    assert "b.png (0.9), c.png (0.3), d.png (0.2). If one shows a defect" in look_at(found)
    assert look_at(highest([], [])) == ""
