"""Everything mode on the graphs answers what the official generators answer, flat and hierarchical.

The fixtures have loose thresholds and no suppression, so that a random network has masks at all. Masks of such a
network are speckled: nothing about them can be read off low resolution, so every one is measured at full size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnxruntime
import pytest
from by_rule import picture
from numpy.typing import NDArray

from edge_sdk.export.tinysam.graph.decoder import decoder_graph
from edge_sdk.export.tinysam.graph.encoder import encoder_graph
from edge_sdk.export.tinysam.sam import Sam
from edge_sdk.tasks.segmentation.decoding import Decoded, EncodedImage
from edge_sdk.tasks.segmentation.everything.options import resolved
from edge_sdk.tasks.segmentation.everything.points import fine_points
from edge_sdk.tasks.segmentation.everything.search import Search
from edge_sdk.tasks.segmentation.frame import Frame
from edge_sdk.tasks.segmentation.settings import EverythingSettings

SIDE, WIDTH, HEIGHT = 1024, 1024, 768
NAMES = {
    "points_per_side": "points_per_side", "points_per_batch": "points_per_batch", "pred_iou_thresh": "predicted_iou",
    "stability_score_thresh": "stability", "stability_score_offset": "stability_offset", "box_nms_thresh": "nms_iou",
    "high_score_thresh": "confident_logit",
}  # fmt: skip
CLOSE = 1e-3
"""Of ONNX Runtime in fp32: a score this near to its threshold may come or go."""
PIXELS = 2e-4
"""Share of a mask's area: its logits are near 0 in thousands of places."""


def session(graph: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


class Graphs:
    """The decoder's graph as the search needs it. asked: points of the frame."""

    tokens, most_rows = None, 64

    def __init__(self, net: Sam) -> None:
        self.frame = Frame(width=WIDTH, height=HEIGHT, side=SIDE, extent_width=WIDTH, extent_height=HEIGHT)
        image = np.zeros((1, SIDE, SIDE, 3), np.uint8)
        image[0, :HEIGHT] = picture(HEIGHT, WIDTH)
        (embedding,) = session(encoder_graph(net.image_encoder)).run(
            None, {"image": image, "extent": self.frame.extent}
        )
        self.encoded = EncodedImage(features={"embedding": embedding}, frame=self.frame, digest="", bundle="")
        self._decoder, self.asked = session(decoder_graph(net)), np.empty((0, 2))

    def decode(self, encoded: EncodedImage, tokens: NDArray[np.float32], labels: NDArray[np.int32], /) -> Decoded:
        self.asked = np.concatenate([self.asked, tokens[:, 0]])
        feeds = {**encoded.features, "points": tokens, "labels": labels}
        masks, iou = self._decoder.run(["masks", "iou"], feeds)
        windows = np.broadcast_to(np.array(self.frame.whole, np.float32), (*iou.shape, 4))
        return Decoded(masks=masks, iou=iou, windows=windows, whole_frame=True)

    def search(self, config: Mapping[str, Any], **values: Any) -> Search:
        named = {NAMES[name]: value for name, value in config.items()}
        options = resolved(EverythingSettings(), {**named, "stability_slack": 1.0, **values})
        return Search(lambda _: self.encoded, self, options, width=WIDTH, height=HEIGHT, masks=(1, 2, 3))


@pytest.fixture(scope="module")
def graphs(tiny_sam: Callable[[int], Sam]) -> Graphs:
    return Graphs(tiny_sam(SIDE))


def missing(there: list[dict[str, Any]], found: list[dict[str, Any]], config: Mapping[str, Any]) -> list[Any]:
    """Records of `there` that are not in `found`, by point, box, area and scores, and are not close to a threshold."""
    left = []
    for one in there:
        near = (
            abs(one["predicted_iou"] - config["pred_iou_thresh"]) < CLOSE
            or abs(one["stability"] - config["stability_score_thresh"]) < CLOSE
        )
        if not near and not any(_same(one, other) for other in found):
            left.append(one)
    return left


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return (
        one["point"] == other["point"]
        and bool(np.abs(np.subtract(one["bbox"], other["bbox"])).max() <= 1)
        and abs(one["area"] - other["area"]) <= PIXELS * one["area"]
        and abs(one["predicted_iou"] - other["predicted_iou"]) < CLOSE
        and abs(one["stability"] - other["stability"]) < CLOSE
    )


def records(found: Search) -> list[dict[str, Any]]:
    """Masks in the form of the fixtures, whose boxes are x, y, width - 1, height - 1."""
    return [
        {
            "bbox": [x0, y0, x1 - x0 - 1, y1 - y0 - 1], "area": one.area_px, "predicted_iou": one.predicted_iou,
            "stability": one.stability, "point": list(one.point),
        }
        for one in found for x0, y0, x1, y1 in [one.box]
    ]  # fmt: skip


def test_the_flat_mode_answers_the_official_records(graphs: Graphs, parity: dict[str, Any]) -> None:
    there = parity["everything"]["flat_end_to_end"]
    found = records(graphs.search(there["config"]))
    assert missing(there["records"], found, there["config"]) == []
    assert missing(found, there["records"], there["config"]) == []
    assert len(found) == len(there["records"])
    ious = [one["predicted_iou"] for one in found]
    assert ious == sorted(ious, reverse=True)


def test_the_hierarchical_mode_asks_for_the_official_points_and_answers_the_official_records(
    graphs: Graphs, parity: dict[str, Any]
) -> None:
    there = parity["everything"]["hierarchical_end_to_end"]
    graphs.asked = np.empty((0, 2))
    search = graphs.search(there["config"], hierarchical=True)
    found = records(search)
    assert len(fine_points(there["config"]["points_per_side"], WIDTH, HEIGHT)) == there["fine_points"]
    np.testing.assert_allclose(graphs.asked[4:], there["fine_points_px"])
    assert search.counts.asked == 4 + there["fine_points"]
    assert missing(there["records"], found, there["config"]) == []
    assert missing(found, there["records"], there["config"]) == []
