"""A caller's picture in whatever form it comes: read by the bundle's bit depth, its colours in the right order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
import tiny
from numpy.typing import NDArray

from edge_sdk.bundle.manifest import Manifest, Preprocessing
from edge_sdk.bundle.store import Bundle
from edge_sdk.errors import BadInput
from edge_sdk.stages import Stages
from edge_sdk.tasks.images import Pictures

RECORD = Preprocessing(width=tiny.SIDE, height=tiny.SIDE, bit_depth=10)


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 16-bit pictures with 10 bits."""

    def described(manifest: Manifest) -> Manifest:
        return msgspec.structs.replace(manifest, preprocessing=RECORD)

    path = tmp_path_factory.mktemp("depth") / "ten.edge"
    tiny.rewritten(tiny_bundle, path, described=described)
    return path


def _taken(bundle: Path, source: Any, color: str = "rgb") -> NDArray[np.uint8]:
    with Bundle.open(bundle) as opened:
        return Pictures(opened, color=color).take(source, Stages()).prepared.tensor  # type: ignore[arg-type] - a parameter


def _pgm(top: int, picture: NDArray[np.uint16]) -> bytes:
    return b"P5 %d %d %d\n" % (picture.shape[1], picture.shape[0], top) + picture.astype(">u2").tobytes()


def test_a_file_its_bytes_and_its_pixels_are_read_by_the_bundles_bit_depth(bundle: Path, tmp_path: Path) -> None:
    grey = (tiny.picture(3, damaged=True)[:, :, 1].astype(np.uint32) * 1023 // 255).astype(np.uint16)
    file = tmp_path / "camera.pgm"
    file.write_bytes(_pgm(1023, grey))
    want = _taken(bundle, grey)
    assert want.max() > 240  # 10 bits fill the range; read as 16 they would be black
    for source in (file, str(file), file.read_bytes(), bytes(cv2.imencode(".png", grey)[1])):
        np.testing.assert_array_equal(_taken(bundle, source), want)


@pytest.mark.parametrize("form", [lambda file: file, str, lambda file: file.read_bytes()], ids=["path", "str", "bytes"])
def test_a_file_that_states_another_bit_depth_is_refused_as_path_and_as_bytes(
    form: Any, bundle: Path, tmp_path: Path
) -> None:
    """Its values fit into 10 bits: nothing else would show that they are a quarter as bright as they should be."""
    file = tmp_path / "camera.pgm"
    file.write_bytes(_pgm(4095, np.full((90, 120), 900, np.uint16)))
    with pytest.raises(BadInput, match="the file's white is 4095, the bundle's 16-bit pictures have 10 bits"):
        _taken(bundle, form(file))


def test_only_arrays_are_in_the_color_order_given_to_load(tiny_bundle: Path, tmp_path: Path) -> None:
    rgb = tiny.picture(3, damaged=True)
    bgr = np.ascontiguousarray(rgb[:, :, ::-1])
    file = tmp_path / "part.png"
    file.write_bytes(bytes(cv2.imencode(".png", bgr)[1]))
    want = _taken(tiny_bundle, rgb)
    assert not np.array_equal(want, want[..., ::-1])
    image = pytest.importorskip("PIL.Image", reason="needs pillow")
    for color, array in (("rgb", rgb), ("bgr", bgr)):
        with image.open(file) as opened:
            for source in (array, file, file.read_bytes(), image.fromarray(rgb), opened):
                np.testing.assert_array_equal(_taken(tiny_bundle, source, color), want)


@pytest.mark.parametrize(
    ("top", "noted"), [(1023, False), (512, False), (511, False), (256, False), (255, True), (20, True)]
)
def test_values_that_use_less_than_half_of_the_bits_are_noted(bundle: Path, top: int, noted: bool) -> None:
    """A camera of 8 bits whose pictures are stored in 16 looks like that, and so does a very dark picture."""
    picture = np.full((90, 120, 3), top // 2, np.uint16)
    picture[0, 0] = top
    with Bundle.open(bundle) as opened:
        notes = Pictures(opened, color="rgb").take(picture, Stages()).notes
    assert any("read as 10 bits: check the bit depth of the camera" in note for note in notes) == noted
