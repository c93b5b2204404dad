"""Inputs of the real networks: photographs, rendered lines and pages of text, prepared as each network's authors state.

Knows no file of a network and no runtime. A picture is uint8 (h, w, 3) RGB. Everything is drawn from a seed, so that
calibration and evaluation samples of one seed are the same on every machine that has the same fonts.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Picture: TypeAlias = NDArray[np.uint8]
Input: TypeAlias = NDArray[np.float32]

FONTS = (
    "DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf", "DejaVuSansCondensed.ttf",
    "LiberationSans-Regular.ttf", "LiberationSerif-Italic.ttf", "LiberationMono-Bold.ttf",
    "LiberationSansNarrow-Regular.ttf",
)  # fmt: skip
"""Of the packages fonts-dejavu and fonts-liberation; those that are missing are left out."""

WORDS = (
    "account", "address", "amount", "april", "balance", "batch", "before", "between", "box", "bridge", "building",
    "camera", "careful", "carton", "centre", "change", "check", "colour", "company", "contents", "copper", "corner",
    "country", "customer", "damaged", "date", "delivery", "depth", "design", "diameter", "distance", "drawing",
    "edge", "electric", "engine", "entrance", "every", "factory", "fragile", "friday", "garden", "general", "glass",
    "green", "ground", "handle", "harbour", "height", "house", "invoice", "iron", "keep", "label", "lamp", "large",
    "left", "length", "letter", "licence", "light", "limit", "line", "London", "machine", "maximum", "measure",
    "metal", "minute", "model", "monday", "motor", "mountain", "narrow", "nearest", "north", "notice", "number",
    "office", "open", "order", "output", "page", "paper", "part", "payment", "people", "plastic", "platform",
    "please", "pressure", "price", "printed", "product", "quality", "quantity", "rail", "received", "red", "remove",
    "repair", "return", "right", "river", "room", "safety", "sample", "screw", "section", "serial", "service",
    "sheet", "side", "signal", "south", "speed", "square", "station", "steel", "store", "street", "summer", "surface",
    "table", "ticket", "total", "train", "under", "unit", "valve", "village", "volume", "warning", "water", "weight",
    "west", "wheel", "width", "window", "winter", "wood", "work", "yellow",
)  # fmt: skip
PAGE = 640
"""Side of a rendered page and of a detector's photograph, pixels: a multiple of 32."""
LINE_HEIGHT = 48
"""Of a line as the recogniser and the direction classifier take it, pixels."""


# ---- pictures


def photographs(folder: Path) -> Iterator[Picture]:
    """The .jpg files of a folder, in the order of their names. SystemExit where there are none."""
    files = sorted(folder.glob("*.jpg"))
    if not files:
        raise SystemExit(f"{folder} holds no .jpg files: --data names the folder that has bsds500")
    for file in files:
        with Image.open(file) as image:
            yield np.asarray(image.convert("RGB"))


@cache
def _font(name: str, size: int) -> ImageFont.FreeTypeFont | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


def _some_font(rng: np.random.Generator, low: int, high: int) -> ImageFont.FreeTypeFont:
    """A font of `low` to `high` pixels. SystemExit where none of FONTS is installed."""
    size = int(rng.integers(low, high + 1))
    found = [font for name in FONTS if (font := _font(name, size))]
    if not found:
        raise SystemExit(f"none of {', '.join(FONTS)} is installed: apt install fonts-dejavu fonts-liberation")
    return found[rng.integers(len(found))]


def _colours(rng: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Ink and paper: mostly dark on light, a third the other way, with contrast from faint to full."""
    paper = rng.integers(150, 256, 3)
    ink = np.maximum(paper - rng.integers(90, 230), 0) + rng.integers(0, 30, 3)
    pair = [tuple(int(value) for value in np.clip(one, 0, 255)) for one in (ink, paper)]
    return (pair[1], pair[0]) if rng.random() < 1 / 3 else (pair[0], pair[1])


def _text(rng: np.random.Generator, words: int) -> str:
    """Words, numbers, dates and codes."""
    parts = []
    for _ in range(words):
        kind = rng.random()
        word = WORDS[rng.integers(len(WORDS))]
        if kind < 0.15:
            word = f"{rng.integers(1, 29)}.{rng.integers(1, 13)}.{rng.integers(1990, 2030)}"
        elif kind < 0.3:
            word = f"{rng.integers(0, 9999) / 10 ** rng.integers(0, 3):g}"
        elif kind < 0.4:
            word = f"{word[:2].upper()}-{rng.integers(100, 99999)}"
        elif kind < 0.6:
            word = word.capitalize()
        parts.append(word)
    return " ".join(parts)


def line(rng: np.random.Generator) -> Picture:
    """One line of text, cut as a detector cuts it: (h, w, 3) of any size."""
    ink, paper = _colours(rng)
    font, text = _some_font(rng, 18, 44), _text(rng, int(rng.integers(1, 4)))
    left, top, right, bottom = font.getbbox(text)
    margin = int(rng.integers(2, 8))
    image = Image.new("RGB", (int(right - left) + 2 * margin, int(bottom - top) + 2 * margin), paper)
    ImageDraw.Draw(image).text((margin - left, margin - top), text, font=font, fill=ink)
    return _noisy(np.asarray(image), rng)


def page(rng: np.random.Generator) -> Picture:
    """A page (PAGE, PAGE, 3) of blocks of text in several fonts and sizes; some stand on a tinted box."""
    _, paper = _colours(rng)
    image = Image.new("RGB", (PAGE, PAGE), paper)
    draw = ImageDraw.Draw(image)
    y = int(rng.integers(10, 60))
    while y < PAGE - 60:
        font, x = _some_font(rng, 14, 40), int(rng.integers(10, PAGE // 3))
        ink, tint = _colours(rng)
        boxed = rng.random() < 0.3
        if not boxed:  # ink that this paper shows
            ink = (10, 10, 30) if sum(paper) > 380 else (240, 240, 230)
        for _ in range(int(rng.integers(1, 5))):
            text = _text(rng, int(rng.integers(1, 7)))
            while text and font.getbbox(text)[2] > PAGE - x - 10:
                text = text.rpartition(" ")[0]
            _, top, right, bottom = font.getbbox(text)
            if not text or y + bottom > PAGE - 10:
                break
            if boxed:
                draw.rectangle((x - 6, y + top - 4, x + right + 6, y + bottom + 4), fill=tint)
            draw.text((x, y), text, font=font, fill=ink)
            y += int(bottom * rng.uniform(1.25, 1.8)) + 6
        y += int(rng.integers(10, 50))
    return _noisy(np.asarray(image), rng)


def _noisy(picture: Picture, rng: np.random.Generator) -> Picture:
    """Sensor noise and a JPEG round trip, as of a scan or a photograph."""
    noise = rng.normal(0.0, rng.uniform(0.0, 8.0), picture.shape)
    return _jpeg(np.clip(picture + noise, 0, 255).astype(np.uint8), quality=int(rng.integers(60, 96)))


def _jpeg(picture: Picture, quality: int) -> Picture:
    stored = io.BytesIO()
    Image.fromarray(picture).save(stored, format="JPEG", quality=quality)
    with Image.open(stored) as image:
        return np.asarray(image.convert("RGB"))


# ---- preparation


def stretched(picture: Picture, height: int, width: int, how: Image.Resampling = Image.Resampling.BILINEAR) -> Picture:
    """Resized, whatever its aspect."""
    return np.asarray(Image.fromarray(picture).resize((width, height), resample=how))


def middle(picture: Picture, short: int, size: int, how: Image.Resampling) -> Picture:
    """Shorter side resized to `short`, then the (size, size) in the middle."""
    height, width = picture.shape[:2]
    by = short / min(height, width)
    resized = stretched(picture, round(height * by), round(width * by), how)
    top, left = ((side - size) // 2 for side in resized.shape[:2])
    return resized[top : top + size, left : left + size]


def planes(picture: Picture, mean: Sequence[float] | float, spread: Sequence[float] | float) -> Input:
    """(1, 3, h, w): (x - mean) / spread of x = 0..255, by channel."""
    values = (picture.astype(np.float32) - np.float32(mean)) / np.float32(spread)
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None])


def signed(picture: Picture) -> Input:
    """(1, 3, h, w) of -1..1, channels as BGR: what PP-OCR reads."""
    return planes(picture[..., ::-1], 127.5, 127.5)


def padded_line(picture: Picture, width: int) -> Input:
    """(1, 3, LINE_HEIGHT, width) for PP-OCR: resized to the height, at most to the width, zeros on the right."""
    height, across = picture.shape[:2]
    inner = min(math.ceil(LINE_HEIGHT * across / height), width)
    out = np.zeros((1, 3, LINE_HEIGHT, width), np.float32)
    out[..., :inner] = signed(stretched(picture, LINE_HEIGHT, inner))
    return out


def caffe(picture: Picture) -> Input:
    """(1, 224, 224, 3) for Open-NSFW: 256 x 256 bilinear, a JPEG round trip, middle, BGR less the means."""
    resized = _jpeg(stretched(picture, 256, 256), quality=75)[16:240, 16:240]
    return (resized[..., ::-1].astype(np.float32) - np.float32([104.0, 117.0, 123.0]))[None]


IMAGENET_MEAN = tuple(255 * v for v in (0.485, 0.456, 0.406))
IMAGENET_SPREAD = tuple(255 * v for v in (0.229, 0.224, 0.225))


def turned(
    make: Callable[[np.random.Generator], Picture], quarters: Sequence[int]
) -> Callable[[np.random.Generator], Picture]:
    """`make`, rotated by one of so many quarter turns."""

    def drawn(rng: np.random.Generator) -> Picture:
        return np.ascontiguousarray(np.rot90(make(rng), int(rng.choice(quarters))))

    return drawn


# ---- files


def write(folder: Path, name: str, inputs: Iterator[Input], count: int) -> None:
    """One .npz file a sample, whose array has the input's name. A folder that has `count` of them is kept."""
    done = folder / "complete"
    if done.exists() and done.read_text() == str(count):
        return
    folder.mkdir(parents=True, exist_ok=True)
    for old in (done, *folder.glob("*.npz")):
        old.unlink(missing_ok=True)
    for number, array in enumerate(inputs, 1):
        np.savez_compressed(folder / f"{number:04d}.npz", **{name: array})
    done.write_text(str(count))


def read(folder: Path) -> list[dict[str, NDArray[Any]]]:
    """The feeds of a folder that `write` made."""
    out = []
    for file in sorted(folder.glob("*.npz")):
        with np.load(file) as arrays:
            out.append({name: arrays[name] for name in arrays.files})
    return out
