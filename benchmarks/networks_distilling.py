"""Our own vision transformer and MobileNetV3 learn EfficientNet-Lite0's logits on photographs.

Seeded and resumable: a checkpoint a minute, from which the run goes on as if it had not been stopped. The script is
networks_distilled.py.
"""

from __future__ import annotations

import io
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent))
from networks_files import fetched
from networks_samples import photographs
from networks_torch import CLASSES, Lite0, MobileNetV3, Vit, lite0

from edge_sdk import atomic
from edge_sdk.export import tensors_file

STUDENTS: dict[str, type[MobileNetV3] | type[Vit]] = {"mobilenetv3": MobileNetV3, "vit": Vit}
CROPS, BATCH, TEMPERATURE, RATE = 6400, 32, 2.0, 1e-3
CHECKPOINT_S = 60.0


def crop(pictures: Sequence[NDArray[np.uint8]], number: int) -> NDArray[np.uint8]:
    """Crop `number` of the endless supply, (224, 224, 3): 0.4 to all of a picture's shorter side, flipped or not."""
    rng = np.random.default_rng([7, number])
    picture = pictures[rng.integers(len(pictures))]
    side = int(min(picture.shape[:2]) * rng.uniform(0.4, 1.0))
    top, left = (int(rng.integers(length - side + 1)) for length in picture.shape[:2])
    cut = Image.fromarray(picture[top : top + side, left : left + side])
    out = np.asarray(cut.resize((Lite0.SIDE, Lite0.SIDE), Image.Resampling.BILINEAR))
    return out[:, ::-1] if rng.random() < 0.5 else out


def batch(pictures: Sequence[NDArray[np.uint8]], numbers: Sequence[int]) -> Tensor:
    """(len(numbers), 3, 224, 224) of (x - 127) / 128."""
    stacked = np.stack([crop(pictures, number) for number in numbers])
    return (torch.from_numpy(stacked).permute(0, 3, 1, 2).float() - 127) / 128


def teacher_logits(work: Path, pictures: Sequence[NDArray[np.uint8]]) -> Tensor:
    """(CROPS, CLASSES) float16, kept in `work`."""
    file = work / "teacher_logits.safetensors"
    if not file.exists():
        model = lite0(fetched("lite0", work)["efficientnet-lite0-57934424.pth"])
        rows = []
        with torch.inference_mode():
            for first in range(0, CROPS, BATCH):
                rows.append(model(batch(pictures, range(first, first + BATCH))).half())
        tensors_file.write(file, {"logits": torch.cat(rows)})
    logits = dict(tensors_file.weights_of(file))["logits"]
    assert logits.shape == (CROPS, CLASSES)
    return logits


def distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Kullback-Leibler distance at TEMPERATURE, and a little of the squared difference of centred logits."""
    soft = F.kl_div(
        F.log_softmax(student / TEMPERATURE, 1), F.log_softmax(teacher / TEMPERATURE, 1),
        reduction="batchmean", log_target=True,
    )  # fmt: skip
    apart = F.mse_loss(student - student.mean(1, keepdim=True), teacher - teacher.mean(1, keepdim=True))
    return soft * TEMPERATURE**2 + 0.1 * apart


def distilled(name: str, work: Path, data: Path, *, steps: int, seed: int) -> Path:
    """The trained weights of STUDENTS[name], a safetensors file in `work`; trained unless they are there."""
    out, checkpoint = work / f"{name}.safetensors", work / f"{name}.checkpoint"
    if out.exists():
        return out
    pictures = [one for part in ("train", "val") for one in photographs(data / "bsds500" / "images" / part)]
    wanted = teacher_logits(work, pictures)
    torch.manual_seed(seed)
    model = STUDENTS[name]()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.05)
    done = _resumed(checkpoint, model, optimizer)
    model.train()
    written = time.monotonic()
    for step in range(done, steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min((step + 1) / 20, 0.5 * (1 + math.cos(math.pi * step / steps)))
        numbers = np.random.default_rng([seed, step]).integers(0, CROPS, BATCH)
        x = batch(pictures, [int(number) for number in numbers])
        if model.SIDE != Lite0.SIDE:
            x = F.interpolate(x, size=(model.SIDE, model.SIDE), mode="bilinear", antialias=True)
        loss = distance(model(x), wanted[torch.from_numpy(numbers)].float())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % 20 == 0:
            print(f"{name}: step {step + 1} of {steps}, distance {loss.item():.3f}", flush=True)
        if time.monotonic() - written > CHECKPOINT_S:
            _save(checkpoint, model, optimizer, step + 1)
            written = time.monotonic()
    tensors_file.write(out, model.state_dict())
    checkpoint.unlink(missing_ok=True)
    return out


def _save(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    stored = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, stored)
    atomic.write(path, stored.getvalue())


def _resumed(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """How many steps were done; model and optimizer as they were then."""
    if not path.exists():
        return 0
    kept = torch.load(path, weights_only=True)
    model.load_state_dict(kept["model"])
    optimizer.load_state_dict(kept["optimizer"])
    return int(kept["step"])
