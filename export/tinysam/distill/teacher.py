"""A teacher: any SAM-like network, and its embeddings on disk. Knows no student and no loss.

The encoder is the teacher's costly part and sees the same frames in every epoch, so its embeddings are stored: fp16,
a file each, under the digest of the frame's pixels in a folder of the teacher's weights and the frame's size. A
mirrored or cropped picture has pixels of its own and so an embedding of its own: mirroring it would be wrong.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_sdk import atomic
from edge_sdk.errors import BadUsage, CheckFailed
from edge_sdk.export.tinysam.decoder import Decoded
from edge_sdk.export.tinysam.sam import normalised_frames
from edge_sdk.export.tinysam.scenes.mixture import Frame
from edge_sdk.export.training.device import CPU, Compute
from edge_sdk.progress import Progress

MOST_BYTES = 4 * 2**30
"""Of one teacher's embeddings on disk: 2,000 frames at 1024 px, 30,000 at 256."""
LARGEST = float(np.finfo(np.float16).max)


class Decodes(Protocol):
    """What answers prompts."""

    def decode(self, embedding: Tensor, points: Tensor, labels: Tensor) -> Decoded:
        """Masks of prompts on one picture, whose embedding has batch 1: as `Sam.decode`."""


class Promptable(Decodes, Protocol):
    """A SAM-like network, as `Sam` is one: encode a frame once, decode prompts as often as needed."""

    def encode(self, pictures: Tensor) -> Tensor:
        """Normalised frames (B, 3, S, S) to embeddings (B, width, g, g)."""


class EmbeddingStore:
    """Arrays by digest in a folder; what is not there, or is damaged, is missing. Safe for several processes.

    most_bytes: when the folder holds as much, nothing more is stored.
    """

    def __init__(self, folder: Path, *, most_bytes: int = MOST_BYTES) -> None:
        """Raises CantWrite where the folder can't be made."""
        self._folder, self._most = atomic.folder(folder), most_bytes
        self._bytes = sum(path.stat().st_size for path in folder.glob("*.npy"))

    @property
    def full(self) -> bool:
        """Whether nothing more is stored."""
        return self._bytes >= self._most

    def read(self, key: str) -> NDArray[np.float16] | None:
        """What was stored under this name."""
        try:
            found = np.load(io.BytesIO((self._folder / f"{key}.npy").read_bytes()), allow_pickle=False)
        except (FileNotFoundError, ValueError, EOFError):
            return None
        return found if isinstance(found, np.ndarray) and found.dtype == np.float16 else None

    def write(self, key: str, values: NDArray[np.float16]) -> None:
        """Stores it, unless the store is full. Raises CantWrite."""
        if self.full:
            return
        file = io.BytesIO()
        np.save(file, values)
        atomic.write(self._folder / f"{key}.npy", file.getvalue())
        self._bytes += len(file.getvalue())


class Teacher:
    """net: frozen, in evaluation mode. digest: of its weights, part of the folder's name and of a run's identity.

    folder: where embeddings are stored; None = nowhere, each is computed when it is asked for.
    """

    def __init__(
        self, net: torch.nn.Module, *, digest: str, size: int, folder: Path | None = None,
        most_bytes: int = MOST_BYTES, compute: Compute = CPU,
    ) -> None:  # fmt: skip
        self._net = compute.place(net.eval().requires_grad_(False))
        self._compute, self._size, self.digest = compute, size, digest
        self.store = EmbeddingStore(folder / f"{digest}-{size}", most_bytes=most_bytes) if folder is not None else None
        self.computed = 0

    @torch.no_grad()
    def embeddings(self, frames: Sequence[Frame]) -> Tensor:
        """float32 (B, width, g, g), rounded to fp16 whether they were stored or not, so that a run's steps do not
        depend on what the store held. Raises CheckFailed for values beyond fp16."""
        keys = [key_of(frame) for frame in frames]
        found = [self.store.read(key) if self.store is not None else None for key in keys]
        missing = [k for k, one in enumerate(found) if one is None]
        for k in missing:
            found[k] = values = self._encoded(frames[k])
            if self.store is not None:
                self.store.write(keys[k], values)
        stacked = np.stack([one for one in found if one is not None]).astype(np.float32)
        return self._compute.tensor(stacked)

    @torch.no_grad()
    def decode(self, embedding: Tensor, points: Tensor, labels: Tensor) -> Decoded:
        """As `Promptable.decode`."""
        net: Promptable = self._net  # type: ignore[assignment]  # a module answers for its attributes as Any
        return net.decode(embedding, points, labels)

    def fill(self, frames: Iterable[Frame], total: int, *, progress: Progress) -> None:
        """Computes and stores the embeddings of `total` frames; those that are stored already are read over."""
        for done, frame in enumerate(frames, 1):
            self.embeddings([frame])
            progress(done, total, f"teacher's embeddings, {self.computed} computed")
            if self.store is not None and self.store.full:
                progress(done, total, f"the store of embeddings is full after {done} of {total} frames")
                return

    def _encoded(self, frame: Frame) -> NDArray[np.float16]:
        """One frame at a time: in a batch, sums come in another order, and what is stored would not be what is computed
        beside other frames."""
        net: Promptable = self._net  # type: ignore[assignment]  # as above
        values = net.encode(normalised_frames(*stacked([frame], self._compute)))[0]
        if not bool((values.abs() <= LARGEST).all()):  # NaN is not
            raise CheckFailed("the teacher's embedding holds values that fp16 has no number for")
        self.computed += 1
        return np.asarray(values.to(torch.float16).cpu().numpy(), np.float16)


def key_of(frame: Frame) -> str:
    """The digest of a frame's pixels and of which part of it is picture."""
    total = hashlib.sha256(np.array(frame.extent, np.int64).tobytes())
    total.update(frame.image.tobytes())
    return total.hexdigest()[:32]


def stacked(frames: Sequence[Frame], compute: Compute) -> tuple[Tensor, Tensor]:
    """Pictures uint8 (B, S, S, 3) and extents float32 (B, 2), as `normalised_frames` takes them."""
    images = compute.tensor(np.stack([f.image for f in frames]))
    return images, compute.tensor(np.array([f.extent for f in frames], np.float32))


def check_pair(teacher: Decoded, student: Decoded) -> None:
    """BadUsage where what teacher and student answer can't be compared: other widths, masks or grids."""
    for what, theirs, ours in (
        ("tokens", teacher.tokens.shape, student.tokens.shape), ("masks", teacher.masks.shape, student.masks.shape),
    ):  # fmt: skip
        if theirs != ours:
            raise BadUsage(
                f"the teacher's {what} have the shape {tuple(theirs)}, the student's {tuple(ours)}",
                hint="Give both the same image size, embedding width and number of masks",
            )
