"""Prompts: what is taken, the tokens that it becomes, and what is refused in which words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_sdk.errors import BadInput
from edge_sdk.tasks.segmentation.frame import Frame
from edge_sdk.tasks.segmentation.prompts import checked, tokens_of

FRAME = Frame(height=48, width=64, side=128, extent_height=96, extent_width=128)
POINT, BOX = [10.0, 20.0], [5.0, 6.0, 30.0, 40.0]


def tokens(**given: Any) -> tuple[list[Any], list[Any]]:
    xy, labels = tokens_of(checked(FRAME, **given), FRAME)
    assert (xy.dtype, labels.dtype) == (np.float32, np.int32)
    return xy.tolist(), labels.tolist()


def test_points_get_the_padding_token_of_sam() -> None:
    assert tokens(points=[POINT]) == ([[[20, 40], [0, 0]]], [[1, -1]])
    assert tokens(points=[POINT, [0, 0]], labels=[1, 0]) == ([[[20, 40], [0, 0], [0, 0]]], [[1, 0, -1]])


def test_a_box_gets_none_and_follows_the_points() -> None:
    assert tokens(boxes=BOX) == ([[[10, 12], [60, 80]]], [[2, 3]])
    assert tokens(points=[POINT], labels=[0], boxes=BOX) == ([[[20, 40], [10, 12], [60, 80]]], [[0, 2, 3]])


def test_a_mask_alone_has_one_hidden_token() -> None:
    assert tokens(masks=[np.zeros((4, 4), np.float32)]) == ([[[0, 0]]], [[-2]])


def test_prompts_of_a_batch_are_made_equally_long_by_hidden_tokens() -> None:
    xy, labels = tokens(points=[[POINT], [POINT, POINT, POINT]])
    assert labels == [[1, -1, -2, -2], [1, 1, 1, -1]]
    assert xy[0][2:] == [[0, 0], [0, 0]]


@pytest.mark.parametrize("several", [[[POINT], [POINT]], np.array([[POINT], [POINT]]), [np.array([POINT])] * 2])
def test_several_prompts_are_a_list_or_one_more_axis(several: Any) -> None:
    assert len(checked(FRAME, points=several)) == 2


def test_the_centre_is_the_middle_of_the_picture() -> None:
    (one,) = checked(FRAME, points="centre")
    assert one.points.tolist() == [[31.5, 23.5]]


def test_the_outer_edges_belong_to_the_picture() -> None:
    assert checked(FRAME, points=[[-0.5, 47.5]])
    assert checked(FRAME, boxes=[0, 0, 64, 48])


def test_a_flat_pair_is_one_point_and_a_number_its_label() -> None:
    (flat,), (nested,) = checked(FRAME, points=POINT, labels=0), checked(FRAME, points=[POINT], labels=[0])
    assert (flat.points.tolist(), flat.labels.tolist()) == (nested.points.tolist(), nested.labels.tolist())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "there is no prompt. Pass points=, boxes= or masks="),
        ({"points": []}, "there are no points in a prompt"),
        ({"points": [[]]}, "there are no points in a prompt"),
        ({"boxes": []}, "there are no boxes in a prompt"),
        ({"boxes": np.zeros((0, 4))}, "there are no boxes in a prompt"),
        ({"points": np.zeros((0, 2))}, "there are no points in a prompt"),
        ({"points": np.zeros((0, 1, 2))}, "there are no points in a prompt"),
        ({"masks": []}, "there are no masks in a prompt. Leave masks out, or give"),
        ({"points": [POINT], "masks": []}, "there are no masks in a prompt"),
        ({"points": [POINT], "labels": []}, "there are no labels in a prompt"),
        (
            {"points": [1, 2, 3]},
            r"points have shape \(3,\). Pass x and y of each point, such as points=\[\[300, 200\]\]",
        ),
        ({"points": [[1, 2, 3]]}, r"a prompt's points have shape \(1, 3\)"),
        ({"points": "30,20"}, r"points are the text '30,20'. Pass .*points=\[\[300, 200\]\], or \"centre\""),
        ({"points": [["a", "b"]]}, r"the points are not numbers: .*points=\[\[300, 200\]\]"),
        ({"boxes": "1,2,3,4"}, r"the boxes are not numbers: .*boxes=\[10, 20, 200, 120\]"),
        ({"points": [POINT], "labels": ["a"]}, r"the labels are not numbers: .*Pass 1 \(on the object\) or 0"),
        ({"points": [[POINT], [POINT]], "labels": [1, 1]}, "there are labels for 1 prompt, and points for 2"),
        ({"points": [[POINT], [POINT]], "labels": [[1], [1, 0]]}, "2 labels for 1 point in prompt 1"),
        ({"points": [[10**400, 1]]}, "the points are not numbers"),
        ({"points": [[1.0, float("nan")]]}, "the points hold NaN or infinity"),
        ({"points": [[64.0, 3.0]]}, r"the point \(64, 3\) is outside the picture of 64 x 48 px"),
        ({"points": [[3.0, -1.0]]}, r"the point \(3, -1\) is outside"),
        ({"points": [POINT], "labels": [2]}, "a point has the label 2"),
        ({"points": [POINT], "labels": [-1]}, "a point has the label -1"),
        ({"points": [POINT], "labels": [0.5]}, "a point has the label 0.5"),
        ({"points": [POINT], "labels": [1, 1]}, "2 labels for 1 point. Give one label for each point"),
        ({"labels": [1]}, "there are labels and no points"),
        ({"boxes": [1, 2, 3]}, r"a box has shape \(3,\)"),
        ({"boxes": [30, 6, 5, 40]}, "the corners of the box 30, 6, 5, 40 are swapped"),
        ({"boxes": [5, 6, 5, 40]}, "the box 5, 6, 5, 40 has no area"),
        ({"boxes": [5, 6, 65, 40]}, r"the corner of the box 5, 6, 65, 40, \(65, 40\) is outside"),
        ({"boxes": [5, 6, float("inf"), 40]}, "the boxes hold NaN or infinity"),
        ({"points": [[POINT], [POINT]], "boxes": BOX}, "the numbers of prompts differ: points of 2, boxes of 1"),
    ],
)
def test_what_is_no_prompt_is_refused_in_words(given: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        checked(FRAME, **given)


def test_more_tokens_than_the_graph_takes_are_refused() -> None:
    wanted = checked(FRAME, points=[POINT] * 6)
    assert tokens_of(wanted, FRAME, most=7)[0].shape == (1, 7, 2)
    with pytest.raises(BadInput, match=r"a prompt has 7 tokens, the bundle takes 6\. Give 5 points, or 4 beside a box"):
        tokens_of(wanted, FRAME, most=6)


def test_a_graph_of_a_fixed_number_of_tokens_gets_that_number() -> None:
    xy, labels = tokens_of(checked(FRAME, points=[POINT]), FRAME, tokens=5, most=5)
    assert xy.shape == (1, 5, 2)
    assert labels.tolist() == [[1, -1, -2, -2, -2]]
