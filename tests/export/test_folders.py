"""Folders of pictures: layouts, what is left out, parts, and splits that never cut a part in two."""

from __future__ import annotations

import os
import shutil
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.export.anomaly.data import Picture, data_digest
from edge_sdk.export.tasks.anomaly.pictures import read_pictures
from edge_sdk.export.tasks.anomaly.shares import split
from edge_sdk.grouping import Grouping


def write(path: Path, *, grey: int | None = None, side: int = 8) -> Path:
    """grey None: a colour of its own for each folder and name, so that no picture is another's copy."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = zlib.crc32(f"{path.parent.name}/{path.name}".encode()).to_bytes(4, "big")[:3]
    cv2.imwrite(str(path), np.full((side, side, 3), list(colour) if grey is None else grey, np.uint8))
    return path


def mvtec(root: Path) -> Path:
    for i in range(4):
        write(root / "train" / "good" / f"{i}.png", grey=i)
    write(root / "test" / "good" / "9.png")
    write(root / "test" / "crack" / "7.png")
    write(root / "ground_truth" / "crack" / "7_mask.png", grey=255)
    return root


def test_the_mvtec_layout_gives_labels_and_masks(tmp_path: Path) -> None:
    data = read_pictures(mvtec(tmp_path))
    assert [p.path.name for p in data.train] == ["0.png", "1.png", "2.png", "3.png"]
    assert {(p.label, p.mask is not None) for p in data.test} == {("good", False), ("crack", True)}
    assert data.group == ""
    assert len({p.part for p in data.train}) == 4


def test_a_folder_named_good_beside_folders_named_after_defects(tmp_path: Path) -> None:
    write(tmp_path / "Normal" / "a.jpg")
    write(tmp_path / "scratch" / "b.jpg")
    write(tmp_path / "normal_test" / "c.jpg")
    write(tmp_path / "mask" / "scratch" / "b.png", grey=255)
    data = read_pictures(tmp_path)
    assert [p.path.name for p in data.train] == ["a.jpg"]
    assert sorted((p.label, p.mask is not None) for p in data.test) == [("good", False), ("scratch", True)]


def test_good_parts_and_masks_are_never_defects_whatever_their_folder_is_called(tmp_path: Path) -> None:
    write(mvtec(tmp_path / "a") / "test" / "normal_test" / "n.png")
    write(tmp_path / "a" / "test" / "masks" / "m.png")
    write(tmp_path / "b" / "good" / "g.png")
    write(tmp_path / "b" / "ok" / "o.png")
    write(tmp_path / "b" / "dent" / "d.png")
    found = [sorted((p.path.name, p.label) for p in read_pictures(tmp_path / name).test) for name in ("a", "b")]
    assert found == [[("7.png", "crack"), ("9.png", "good"), ("n.png", "good")], [("d.png", "dent"), ("o.png", "good")]]


def test_a_flat_folder_is_good_parts_and_says_what_it_left_out(tmp_path: Path) -> None:
    write(tmp_path / "b.png")
    write(tmp_path / "a.png")
    write(tmp_path / "old" / "c.png")
    (tmp_path / "notes.txt").write_text("line 3")
    (tmp_path / ".DS_Store").write_bytes(b"")
    data = read_pictures(tmp_path)
    assert [p.path.name for p in data.train] == ["a.png", "b.png"]
    assert any("left out: 1 file that is not read as a picture (.txt 1)" in note for note in data.notes)
    assert any("old/" in note for note in data.notes)


def test_a_truncated_picture_among_many_is_listed_and_left_out(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write(tmp_path / f"{name}.png", side=64)
    whole = (tmp_path / "b.png").read_bytes()
    (tmp_path / "b.png").write_bytes(whole[: len(whole) // 2])
    data = read_pictures(tmp_path)
    assert [p.path.name for p in data.train] == ["a.png", "c.png"]
    ((path, why),) = data.unreadable
    assert path.name == "b.png"
    assert "cut short" in why


def test_copies_of_a_picture_count_once_and_are_reported(tmp_path: Path) -> None:
    """Else one copy could be in training and another in the share for the threshold, or in the test."""
    mvtec(tmp_path)
    for name in ("train/good/copy.png", "train/good/again.png", "test/good/copy.png"):
        shutil.copy(tmp_path / "train/good/1.png", tmp_path / name)
    data = read_pictures(tmp_path)
    assert [p.path.name for p in data.train] == ["0.png", "1.png", "2.png", "3.png"]
    assert [p.path.name for p in data.test] == ["7.png", "9.png"]
    (note,) = data.notes
    assert "copies left out, since a part counts once: 3 of 9 pictures" in note
    assert "train/good/again.png that of train/good/1.png" in note


def test_a_picture_that_is_good_and_defective_is_refused(tmp_path: Path) -> None:
    mvtec(tmp_path)
    shutil.copy(tmp_path / "train/good/1.png", tmp_path / "test/crack/8.png")
    with pytest.raises(
        BadInput, match=r"test/crack/8\.png \(crack\) and train/good/1\.png \(good\) are the same picture"
    ):
        read_pictures(tmp_path)


def test_a_folder_without_pictures_is_named_and_the_layouts_listed(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("nothing here")
    with pytest.raises(BadInput, match=r"no pictures in it.*train/good") as caught:
        read_pictures(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nowhere: this is not a folder"):
        read_pictures(tmp_path / "nowhere")


def test_a_folder_of_broken_pictures_only_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"not a picture")
    with pytest.raises(BadInput, match="its only picture can't be read"):
        read_pictures(tmp_path)


def test_the_first_group_of_a_pattern_names_the_part(tmp_path: Path) -> None:
    for name in ("p1_left", "p1_right", "p2_left"):
        write(tmp_path / f"{name}.png")
    data = read_pictures(tmp_path, group=r"(p\d+)_")
    assert [p.part for p in data.train] == ["p1", "p1", "p2"]
    assert data.group != ""


def test_a_pattern_without_groups_names_the_part_by_its_whole_match(tmp_path: Path) -> None:
    write(tmp_path / "x17_a.png")
    assert read_pictures(tmp_path, group=r"x\d+").train[0].part == "x17"


def test_a_pattern_that_does_not_fit_every_picture_is_wrong_usage(tmp_path: Path) -> None:
    write(tmp_path / "p1_a.png")
    write(tmp_path / "other.png")
    with pytest.raises(BadUsage, match=r"does not fit other\.png"):
        read_pictures(tmp_path, group=r"p\d")


def test_a_pattern_that_is_no_regular_expression_is_wrong_usage_before_any_picture_is_looked_for(
    tmp_path: Path,
) -> None:
    with pytest.raises(BadUsage, match="not a regular expression"):
        read_pictures(tmp_path, group="(")


def test_a_table_names_the_parts(tmp_path: Path) -> None:
    mvtec(tmp_path)
    rows = ["split,class,file,tile"]
    rows += [f"train,good,{i}.png,t{i // 2}" for i in range(4)] + ["test,good,9.png,t9", "test,crack,7.png,t7"]
    (tmp_path / "tiles.csv").write_text("\n".join(rows))
    data = read_pictures(tmp_path, group="tiles.csv:tile")
    assert [p.part for p in data.train] == ["t0", "t0", "t1", "t1"]
    assert {p.part for p in data.test} == {"t7", "t9"}


def test_a_table_is_asked_for_the_whole_path_first_and_for_a_bare_name_only_where_it_is_one_part(
    tmp_path: Path,
) -> None:
    rows = ["split,class,file,tile", ",,a.png,root", "train,good,a.png,t1", "train,good,b.png,t2", "test,bad,b.png,t3"]
    rows.append("train,good,c.png,t4")
    (tmp_path / "tiles.csv").write_text("\n".join(rows), encoding="utf-8-sig")  # as spreadsheets write it
    part_of = Grouping(tmp_path, "tiles.csv:tile")
    assert part_of(tmp_path / "train/good/a.png") == "t1"
    assert part_of(tmp_path / "a.png") == "root"
    assert part_of(tmp_path / "elsewhere/c.png") == "t4"
    with pytest.raises(BadUsage, match=r"no row names elsewhere/b\.png"):
        part_of(tmp_path / "elsewhere/b.png")


def test_a_table_without_the_column_is_bad_input(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text("file,tile\na.png,1\n")
    with pytest.raises(BadInput, match="no column 'part'"):
        read_pictures(tmp_path, group="t.csv:part")


@given(
    parts=st.lists(st.integers(0, 12).map(str), min_size=2, max_size=40).filter(lambda names: len(set(names)) > 1),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**31),
)
def test_a_split_never_cuts_a_part_and_keeps_every_picture(parts: list[str], share: float, seed: int) -> None:
    pictures = [Picture(path=Path(f"{i}.png"), part=part) for i, part in enumerate(parts)]
    kept, held_out = split(pictures, share, seed)
    assert not {p.part for p in kept} & {p.part for p in held_out}
    assert sorted((*kept, *held_out), key=lambda p: int(p.path.stem)) == pictures
    assert kept
    assert held_out


@given(order=st.permutations(range(12)), seed=st.integers(0, 99))
def test_which_parts_are_held_out_does_not_depend_on_the_order(order: list[int], seed: int) -> None:
    pictures = [Picture(path=Path(f"{i}.png"), part=str(i // 2)) for i in range(12)]
    shuffled = [pictures[i] for i in order]
    assert set(split(pictures, 0.3, seed)[1]) == set(split(shuffled, 0.3, seed)[1])


def test_a_folder_of_other_kinds_of_files_is_refused_with_the_kinds(tmp_path: Path) -> None:
    for name in ("a.heic", "b.heic"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(BadInput, match=r"no pictures in it; .*left out: 2 files .*\.heic 2"):
        read_pictures(tmp_path)


def test_one_part_can_not_be_split() -> None:
    pictures = [Picture(path=Path(f"{i}.png"), part="same") for i in range(5)]
    with pytest.raises(BadInput, match="1 part is too few"):
        split(pictures, 0.2, 0)


def test_the_digest_follows_contents_and_parts_but_not_the_folder(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name / "x.png", grey=10)
    one, two = (data_digest(read_pictures(tmp_path / name).train) for name in ("a", "b"))
    assert one == two
    assert data_digest(read_pictures(tmp_path / "a", group="x").train) != one
    write(tmp_path / "b" / "x.png", grey=11)
    assert data_digest(read_pictures(tmp_path / "b").train) != one


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux alone")
def test_names_that_are_no_utf8_are_read_grouped_and_digested_by_their_bytes(tmp_path: Path) -> None:
    """Also by a table of parts, which holds the same bytes."""
    (tmp_path / "parts.csv").write_bytes(b"file,part\nteil_\xe4.png,p\nteil_\xf6.png,q\nplain.png,p\n")
    plain, first = write(tmp_path / "plain.png"), write(tmp_path / "a.png")
    digests = set()
    for name in (b"teil_\xe4.png", b"teil_\xf6.png"):
        first = first.rename(tmp_path / os.fsdecode(name))
        data = read_pictures(tmp_path, group="parts.csv:part")
        assert [(picture.path, picture.part) for picture in data.train] == [
            (plain, "p"), (first, "p" if name == b"teil_\xe4.png" else "q"),
        ]  # fmt: skip
        digests.add(data_digest(read_pictures(tmp_path).train))
    assert len(digests) == 2
    with pytest.raises(BadUsage, match=r"it does not fit teil_\\xf6\.png"):
        read_pictures(tmp_path, group="plain")


def test_a_link_that_leads_nowhere_is_reported_and_one_to_a_folder_is_followed(tmp_path: Path) -> None:
    for i in range(3):
        write(tmp_path / "set" / "good" / f"{i}.png")
        write(tmp_path / "elsewhere" / f"{i}.png")
    (tmp_path / "set" / "scratch").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "dent").symlink_to("/nowhere")
    (tmp_path / "set" / "good" / "gone.png").symlink_to("/nowhere")
    data = read_pictures(tmp_path / "set")
    assert [picture.label for picture in data.test] == ["scratch"] * 3
    assert "dent: a link that leads nowhere, left out" in data.notes
    assert [(path.name, why) for path, why in data.unreadable] == [
        ("gone.png", "can't read it: No such file or directory")
    ]
