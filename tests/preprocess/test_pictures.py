"""What each kind of picture file or array becomes, and how a bad one is refused."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_sdk import folders, preprocess
from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.errors import BadInput, BadUsage

RECORD = Preprocessing(width=32, height=24)


def _png(array: NDArray[np.generic]) -> bytes:
    return bytes(cv2.imencode(".png", array)[1])


def test_a_colour_png_comes_back_as_rgb(photo: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(preprocess.decode(_png(photo[:, :, ::-1])), photo)


def test_alpha_is_dropped_and_grey_is_repeated(photo: NDArray[np.uint8]) -> None:
    alpha = np.dstack([photo[:, :, ::-1], np.full(photo.shape[:2], 7, np.uint8)])
    np.testing.assert_array_equal(preprocess.decode(_png(alpha)), photo)
    grey = preprocess.decode(_png(photo[:, :, 0]))
    np.testing.assert_array_equal(grey, np.repeat(photo[:, :, :1], 3, axis=2))


@pytest.mark.parametrize(("depth", "top"), [(10, 1023), (12, 4095), (16, 65535)])
def test_16_bits_are_scaled_by_the_stated_depth_to_the_whole_range(depth: int, top: int) -> None:
    ramp = np.linspace(0, top, 300).astype(np.uint16).reshape(10, 30)
    out = preprocess.to_rgb8(preprocess.decode(_png(ramp)), bit_depth=depth)
    expected = np.floor(ramp.astype(np.float64) * 255 / top + 0.5)
    np.testing.assert_array_equal(out[:, :, 0], expected.astype(np.uint8))
    assert out.min() == 0
    assert out.max() == 255


def test_a_value_above_the_stated_depth_is_refused_not_clipped() -> None:
    with pytest.raises(BadInput, match="value of 1024 does not fit the bundle's bit depth of 10"):
        preprocess.to_rgb8(np.full((4, 4), 1024, np.uint16), bit_depth=10, where="cam")


def test_16_bits_are_refused_where_the_bundle_was_made_for_8() -> None:
    with pytest.raises(BadInput, match="the bundle takes 8"):
        preprocess.to_rgb8(np.zeros((4, 4), np.uint16), bit_depth=None)


def test_exif_orientation_is_applied(photo: NDArray[np.uint8]) -> None:
    jpeg = bytes(cv2.imencode(".jpg", photo[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])[1])
    tiff = b"II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 0x0112, 3, 1, 6) + b"\0\0\0\0"  # 6: turn by 90 degrees
    segment = b"Exif\0\0" + tiff
    turned = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]
    plain, out = preprocess.decode(jpeg), preprocess.decode(turned)
    np.testing.assert_array_equal(out, np.rot90(plain, -1))


def test_a_cmyk_jpeg_becomes_rgb(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="Pillow writes the CMYK file: pip install pillow")
    file = tmp_path / "cmyk.jpg"
    image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(file, quality=95)  # no cyan: red
    red = preprocess.decode(file)
    assert red.shape == (16, 16, 3)
    assert red[8, 8, 0] > 200
    assert red[8, 8, 1] < 60


@pytest.mark.parametrize("cut", [0.3, 0.7, 0.98])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_picture_that_is_cut_is_refused_and_named(
    photo: NDArray[np.uint8], tmp_path: Path, suffix: str, cut: float
) -> None:
    data = bytes(cv2.imencode(suffix, photo)[1])
    file = tmp_path / f"part 7ä{suffix}"
    file.write_bytes(data[: int(len(data) * cut)])
    with pytest.raises(BadInput, match=r"part 7ä.*cut short"):
        preprocess.decode(file)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.png", b"", "empty"),
        ("notes.txt", b"hello", "not a picture"),
        ("anim.gif", b"GIF89a" + bytes(40), "a GIF file, which is not read"),
        ("phone.heic", bytes(4) + b"ftypheic" + bytes(40), "HEIC or AVIF file, which is not read"),
        ("noise.jpg", b"\xff\xd8\xff\xe0\0\4ab\xff\xd9", "it has no picture"),
    ],
)
def test_what_is_no_picture_is_refused_and_named(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(BadInput, match=words) as caught:
        preprocess.decode(file)
    assert name in str(caught.value)


def test_a_missing_file_and_a_folder_are_distinguished(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No such file"):
        preprocess.decode(tmp_path / "absent.png")
    with pytest.raises(BadInput, match="folder, not a picture"):
        preprocess.decode(tmp_path)
    (tmp_path / "link.png").symlink_to("/dev/zero")
    with pytest.raises(BadInput, match="a pipe or a device, not a picture"):  # it would be read without end
        preprocess.decode(tmp_path / "link.png")


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.full((4, 4, 3), np.nan, np.float32), "48 of its values are NaN"),
        (np.zeros((4, 4, 3), np.float64), "the range of a float picture is unknown"),
        (np.zeros((4, 4), bool), "bool"),
        (np.zeros((4, 4, 2), np.uint8), "shape"),
        (np.zeros((1, 4, 4, 3), np.uint8), "shape"),
        (np.zeros((0, 4, 3), np.uint8), "empty"),
    ],
)
def test_an_array_that_is_no_picture_is_refused_with_the_reason(array: NDArray[np.generic], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        preprocess.apply(array, RECORD)  # type: ignore[arg-type]


def test_the_dtype_decides_and_never_the_content() -> None:
    for level in (0, 1, 2, 255):
        out = preprocess.apply(np.full((10, 10, 3), level, np.uint8), RECORD).tensor
        assert int(out.min()) == int(out.max()) == level


def test_an_array_larger_than_any_picture_is_refused_before_it_is_copied() -> None:
    seen = np.broadcast_to(np.uint8(0), (12_000, 12_000))
    with pytest.raises(BadInput, match="12000 x 12000 is more than"):
        preprocess.to_rgb8(seen, bit_depth=None)


def test_a_file_of_floats_is_refused() -> None:
    data = bytes(cv2.imencode(".tiff", np.full((8, 8, 3), 0.5, np.float32))[1])
    with pytest.raises(BadInput, match=r"heat\.tiff: this is a floating-point TIFF"):
        preprocess.decode(data, where="heat.tiff")


def test_bgr_is_turned_and_an_unknown_order_is_refused(photo: NDArray[np.uint8]) -> None:
    rgb = preprocess.apply(photo, RECORD).tensor
    bgr = preprocess.apply(np.ascontiguousarray(photo[:, :, ::-1]), RECORD, color="bgr").tensor
    np.testing.assert_array_equal(rgb, bgr)
    with pytest.raises(BadUsage, match="rgb"):
        preprocess.apply(photo, RECORD, color="gbr")  # type: ignore[arg-type]


def test_the_callers_picture_is_never_written_to(photo: NDArray[np.uint8]) -> None:
    before = photo.copy()
    photo.setflags(write=False)
    same_size = Preprocessing(width=photo.shape[1], height=photo.shape[0])
    tensor = preprocess.apply(photo, same_size).tensor
    np.testing.assert_array_equal(photo, before)
    assert tensor.flags.c_contiguous


def test_a_folder_is_searched_by_one_rule_and_hidden_files_are_never_pictures(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", "notes.txt", "._a.jpg", "deeper/c.bmp", ".trash/d.png", "folder.png/e.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    here = folders.pictures_in(tmp_path, recursive=False)
    assert [p.name for p in here] == ["a.jpg", "b.PNG"]
    below = folders.pictures_in(tmp_path, recursive=True)
    assert [p.relative_to(tmp_path).as_posix() for p in below] == ["a.jpg", "b.PNG", "deeper/c.bmp", "folder.png/e.tif"]
    hidden = tmp_path / ".trash"
    assert [p.name for p in folders.pictures_in(hidden, recursive=True)] == ["d.png"]  # it was named itself


def test_a_folder_without_pictures_is_refused_unless_none_is_fine(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=f"{tmp_path.name}: there are no pictures in it"):
        folders.pictures_in(tmp_path, recursive=True)
    assert folders.pictures_in(tmp_path, recursive=True, at_least=0) == ()
    with pytest.raises(BadInput, match="not a folder"):
        folders.pictures_in(tmp_path / "absent", recursive=True, at_least=0)


def test_what_a_folder_search_leaves_out_is_counted_by_kind(tmp_path: Path) -> None:
    for name in ("a.png", "1.heic", "2.HEIC", "3.gif", "raw", ".hidden.heic"):
        (tmp_path / name).write_bytes(b"")
    words = folders.left_out(tmp_path, recursive=True)
    assert words == "left out: 4 files that are not read as a picture (.heic 2, .gif 1, no suffix 1)"
    (tmp_path / "a.png").unlink()
    with pytest.raises(BadInput, match=r"there are no pictures in it; left out: 4 files .*heic 2.* Pictures are PNG"):
        folders.pictures_in(tmp_path, recursive=False)
    clean = tmp_path / "clean"
    clean.mkdir()
    assert folders.left_out(clean, recursive=True) == ""
