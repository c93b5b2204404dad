"""Distils a PDN-S teacher that may ship: from EfficientNet-Lite0, on pictures whose licence allows it and on textures.

    python benchmarks/distill_teacher.py train RUN_FOLDER --budget-min 90 --threads 1
    python benchmarks/distill_teacher.py finish RUN_FOLDER --evaluate ../shared/data/aliens/train/good

`train` resumes from the checkpoint in RUN_FOLDER and may be stopped at any time. `finish` writes the weights and their
provenance into export/efficientad/weights/ from whatever checkpoint there is, and judges them on held-out pictures.
Needs scikit-image for its pictures (pip install scikit-image); only files of a stated free licence are taken.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent))
from record import options

from edge_sdk import folders, preprocess

if TYPE_CHECKING:
    from edge_sdk.export.efficientad.pdn.distill import DistillOptions, FeatureTarget
    from edge_sdk.export.efficientad.pdn.network import Pdn
    from edge_sdk.export.training import checkpoint

TRAIN = {
    "astronaut.png": "public domain", "coffee.png": "CC0", "retina.jpg": "CC0", "rocket.jpg": "public domain",
    "hubble_deep_field.jpg": "public domain", "ihc.png": "no known restrictions", "brick.png": "CC0",
    "gravel.png": "CC0", "camera.png": "CC0", "cell.png": "CC0", "coins.png": "no known restrictions",
    "text.png": "no known restrictions", "clock_motion.png": "public domain",
}  # fmt: skip
HELD_OUT = {"chelsea.png": "CC0", "grass.png": "CC0"}
"""Files of the scikit-image wheel (skimage/data) with the licences that its _fetchers.py states."""


@cache
def recipe() -> DistillOptions:
    """What the teacher that ships was made with, but for the time."""
    from edge_sdk.export.efficientad.pdn.distill import DistillOptions

    return DistillOptions(
        size="s", channels=384, side=256, window=28, batch=4, statistics_pictures=300, learning_rate=3e-4,
        warm_steps=50, cosine=True, bf16=True, steps=60_000,
    )  # fmt: skip


TEXTURES = 0.4
"""Share of the procedural pictures."""


class Source:
    """Random crops of the photographs, 0.5 to 2 times their scale, turned, mirrored, jittered; or a texture."""

    def __init__(self, names: dict[str, str], *, textures: float) -> None:
        import skimage

        self._textures = textures
        folder = Path(skimage.__file__).parent / "data"
        self._photos = [preprocess.read_rgb8(folder / name, bit_depth=None) for name in names]
        areas = np.array([photo.shape[0] * photo.shape[1] for photo in self._photos], np.float64)
        self._odds = np.sqrt(areas) / np.sqrt(areas).sum()

    def __call__(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        from edge_sdk.export.pictures.textures import texture

        if rng.random() < self._textures:
            return _jitter(texture(rng, 512), rng)
        photo = self._photos[int(rng.choice(len(self._photos), p=self._odds))]
        # A crop of c px becomes 512 px for the backbone and 256 px for the teacher: scale 0.5..2 for the teacher.
        side = min(int(256 / 2.0 ** rng.uniform(-1.0, 1.0)), *photo.shape[:2])
        y, x = (int(rng.integers(0, length - side + 1)) for length in photo.shape[:2])
        crop = np.rot90(photo[y : y + side, x : x + side], int(rng.integers(4)))
        return _jitter(crop[:, ::-1] if rng.random() < 0.5 else crop, rng)


def _jitter(picture: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Contrast, brightness and the balance of the channels; what leaves 0..255 is cut, as a camera cuts it."""
    gain = rng.uniform(0.6, 1.4) * rng.uniform(0.9, 1.1, 3)
    values = (picture.astype(np.float32) - 128.0) * gain + 128.0 + rng.uniform(-40, 40)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def train(folder: Path, budget_min: float) -> None:
    """Trains on, and says how far it is twice a minute."""
    from edge_sdk.export.efficientad.pdn.backbones import Lite0Stages
    from edge_sdk.export.efficientad.pdn.distill import DistillOptions, distill

    wanted = DistillOptions(**{**asdict(recipe()), "time_budget_s": budget_min * 60.0})
    last = [time.monotonic()]

    def say(done: int, total: int, note: str) -> None:
        if time.monotonic() - last[0] > 30.0 or done == total:
            last[0] = time.monotonic()
            print(f"{time.strftime('%H:%M:%S')} {done}/{total} {note}", flush=True)

    done = distill(Lite0Stages(), Source(TRAIN, textures=TEXTURES), wanted, folder=folder, progress=say)
    print(json.dumps(done.facts))


def finish(folder: Path, evaluated: list[Path], out: Path) -> None:
    """Takes the teacher of the checkpoint, evaluates it, writes weights, provenance and figures."""
    import torch

    from edge_sdk.export.efficientad.pdn.backbones import Lite0Stages
    from edge_sdk.export.efficientad.pdn.distill import FeatureTarget, evaluate
    from edge_sdk.export.efficientad.pdn.network import Pdn, PdnLayout
    from edge_sdk.export.efficientad.pdn.published import save_teacher
    from edge_sdk.export.training import checkpoint

    target = FeatureTarget(Lite0Stages(), recipe())
    teacher = Pdn(PdnLayout(size=recipe().size, channels=target.channels, inner=recipe().inner)).eval()
    found = folder / checkpoint.NAME
    identity, position, facts = _take(teacher, target, folder)
    metrics = {"skimage held out": evaluate(teacher, target, _held_out(), side=recipe().side)}
    metrics["textures held out"] = evaluate(teacher, target, _textures(), side=recipe().side)
    for pictures in evaluated:
        metrics["/".join(pictures.resolve().parts[-3:])] = evaluate(
            teacher, target, _folder(pictures), side=recipe().side
        )
    provenance = {
        "what": "PDN-S teacher, 33 x 33 px field, stride 4, for unpadded use; float16",
        "backbone": "EfficientNet-Lite0, blocks 4 and 10 at 512 px (Apache-2.0, see efficientnet_lite0_trunk.json)",
        "pictures": {**TRAIN, f"procedural textures, {TEXTURES:.0%}": "made by this product"},
        "pictures_source": "scikit-image wheel, skimage/data; licences as stated in its _fetchers.py",
        "held_out": metrics,
        "options": {k: v for k, v in asdict(recipe()).items() if k != "time_budget_s"},
        "identity": dict(identity), "steps": position.step, "seconds": round(position.elapsed_s), **facts,
        "input": "RGB / 255, normalised by the ImageNet mean and std",
        "licence": "Apache-2.0",
        "command": "python benchmarks/distill_teacher.py train RUN_FOLDER, then finish RUN_FOLDER",
        "machine": f"{platform.machine()}, 1 thread, torch {torch.__version__}",
        "checkpoint_sha256": hashlib.sha256(found.read_bytes()).hexdigest(),
    }  # fmt: skip
    save_teacher(teacher, out, provenance=provenance)
    print(json.dumps(metrics, indent=1), f"{out}: {out.stat().st_size} bytes", sep="\n")


def _take(
    teacher: Pdn, target: FeatureTarget, folder: Path
) -> tuple[dict[str, str], checkpoint.Position, dict[str, object]]:
    from edge_sdk.export.efficientad.pdn.backbones import Lite0Stages
    from edge_sdk.export.efficientad.pdn.distill import identity_of, read_target
    from edge_sdk.export.training import checkpoint

    identity = identity_of(Lite0Stages(), recipe())
    stored = checkpoint.read(folder, identity)
    if stored is None:
        sys.exit(f"{folder} holds no checkpoint yet")
    teacher.load_state_dict({n[7:]: t for n, t in stored.tensors.items() if n.startswith("module/")})
    return identity, stored.position, read_target(target, folder, identity)


def _held_out() -> Iterator[NDArray[np.uint8]]:
    source, rng = Source(HELD_OUT, textures=0.0), np.random.default_rng(99)
    for _ in range(24):
        yield source(rng)


def _textures() -> Iterator[NDArray[np.uint8]]:
    from edge_sdk.export.pictures.textures import texture

    rng = np.random.default_rng(98)
    for _ in range(24):
        yield texture(rng, 512)


def _folder(folder: Path) -> Iterator[NDArray[np.uint8]]:
    files = folders.pictures_in(folder, recursive=False)
    for path in files[:: max(1, len(files) // 24)][:24]:
        yield preprocess.read_rgb8(path, bit_depth=None)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    out = options(__doc__)
    out.add_argument("step", choices=("train", "finish"))
    out.add_argument("folder", type=Path)
    out.add_argument("--budget-min", type=float, default=90.0)
    out.add_argument("--threads", type=int, default=1)
    out.add_argument("--out", type=Path, help="where finish writes the weights; default: over those that ship")
    out.add_argument("--evaluate", type=Path, nargs="*", default=[], help="folders of product pictures, for figures")
    return out


def main() -> None:
    """One of the two steps."""
    asked = parser().parse_args()
    import torch

    from edge_sdk.export.efficientad.pdn.published import OURS

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(asked.threads)
    if asked.step == "train":
        train(asked.folder, asked.budget_min)
    else:
        finish(asked.folder, asked.evaluate, asked.out or OURS)


if __name__ == "__main__":
    main()
