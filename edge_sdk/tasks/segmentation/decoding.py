"""Prompts in, mask grids and predicted IoU out, for one encoded picture: in how many calls, which mask of a prompt is
chosen, and rounds in which it is given back. Knows no picture and no result.

The predictor, the evaluation and golden samples all answer prompts by what stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_sdk.errors import CheckFailed
from edge_sdk.stages import Stages
from edge_sdk.tasks.segmentation.frame import Frame, Window
from edge_sdk.tasks.segmentation.prompts import UNAMBIGUOUS, Prompt, mask_grids, tokens_of
from edge_sdk.tasks.segmentation.settings import (
    DECODER,
    IOU,
    LABELS,
    MASK,
    MASKS,
    POINTS,
    REFINER,
    WINDOWS,
    SegmentationSettings,
    mask_shape,
    mask_side,
)
from edge_sdk.tensors import BATCH, Array, TensorSpec

CALL_BYTES = 2**24
"""Of masks that one call of a graph answers: 16 prompts of a network of 1024 px, more than any call takes of a small
one. A decoder needs some 50 times as much memory meanwhile: with 64 prompts of TinySAM 3.7 GB in onnxruntime 1.32, with
16 1.0 GB, and they take no longer each (benchmarks/everything.py)."""
Run = Callable[[str, Mapping[str, Array]], dict[str, Array]]
"""Runs the graph of a role on prepared feeds, in calls of at most the rows that it takes (`Running.run`)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EncodedImage:
    """One picture as the encoder answered it; any number of prompts may be asked of it, from any thread.

    features: the encoder's outputs by name, read-only. frame: where the picture lies. digest: of its content. bundle:
    digest of the bundle that encoded it. name: for errors and results; file: where it lies, None if pixels or bytes
    were given. notes: what a person should look at.
    """

    features: Mapping[str, Array]
    frame: Frame
    digest: str
    bundle: str
    name: str = "picture"
    file: Path | None = None
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<EncodedImage {self.name}: {self.frame.width} x {self.frame.height} px>"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decoded:
    """What the decoder answered to N prompts, K masks each.

    masks: float32 (N, K, m, m), logits. iou: float32 (N, K), predicted IoU, not clamped: values above 1 and below 0
    occur. windows: float32 (N, K, 4), x0, y0, x1, y1 in frame px: what each grid covers. whole_frame: the graph states
    no windows, and each grid covers the whole frame.
    """

    masks: NDArray[np.float32]
    iou: NDArray[np.float32]
    windows: NDArray[np.float32]
    whole_frame: bool

    def __len__(self) -> int:
        return len(self.masks)

    def window(self, prompt: int, mask: int) -> Window | None:
        """As `Frame.place` takes it: None = the whole frame."""
        if self.whole_frame:
            return None
        x0, y0, x1, y1 = (float(edge) for edge in self.windows[prompt, mask])
        return x0, y0, x1, y1


class Decoder:
    """The decoder and the refiner of one bundle. `decode` and `answer` may be called from any thread.

    count, cells: masks of a prompt, and cells of a side of their grids. most_rows: prompts of one call. prompt_cells:
    of a mask prompt. most_tokens: of a prompt, None = not bounded. tokens: how many a graph takes, None = any number up
    to that.
    """

    def __init__(
        self, run: Run, inputs: Mapping[str, Sequence[TensorSpec]], outputs: Mapping[str, Sequence[TensorSpec]],
        axes: Mapping[str, int],
    ) -> None:  # fmt: skip
        """run: of at most as many prompts as axis N has. inputs, outputs: by role. axes: the largest size of each free
        axis."""
        self._run = run
        self.count, self.cells = mask_shape(outputs[DECODER])
        self.most_rows = max(1, min(axes.get(BATCH, 1), CALL_BYTES // (4 * self.count * self.cells**2)))
        self.prompt_cells = mask_side(inputs[REFINER])
        size = next(spec.shape[1] for spec in inputs[DECODER] if spec.name == POINTS)
        self.tokens = size if isinstance(size, int) else None
        self.most_tokens = size if isinstance(size, int) else axes.get(size)

    def answer(self, encoded: EncodedImage, prompts: Sequence[Prompt]) -> Decoded:
        """The whole answer to each prompt; those with a mask go to the refiner. Raises as `decode`."""
        masked = [i for i, prompt in enumerate(prompts) if prompt.mask is not None]
        plain = [i for i, prompt in enumerate(prompts) if prompt.mask is None]
        parts = [
            self.decode(encoded, *self.arrays([prompts[i] for i in rows], encoded.frame))
            for rows in (plain, masked) if rows
        ]  # fmt: skip
        if len(parts) == 1:
            return parts[0]
        order = np.argsort([*plain, *masked])
        return Decoded(
            masks=np.concatenate([part.masks for part in parts])[order],
            iou=np.concatenate([part.iou for part in parts])[order],
            windows=np.concatenate([part.windows for part in parts])[order], whole_frame=parts[0].whole_frame,
        )  # fmt: skip

    def arrays(
        self, prompts: Sequence[Prompt], frame: Frame
    ) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32] | None]:
        """Tokens, labels and masks, as `decode` takes them, of prompts that all have a mask, or none of which has one.
        Raises BadInput for more tokens than the graph takes."""
        return *tokens_of(prompts, frame, tokens=self.tokens, most=self.most_tokens), mask_grids(prompts)

    def decode(
        self, encoded: EncodedImage, tokens: NDArray[np.float32], labels: NDArray[np.int32],
        masks: NDArray[np.float32] | None = None,
    ) -> Decoded:  # fmt: skip
        """The answers to N prompts. tokens: float32 (N, T, 2), frame px. labels: int32 (N, T), -2 = no token.

        masks: float32 (N, 1, r, r), logits over the whole frame; with them the refiner answers. Runs in calls of at
        most as many prompts as axis N has, whose masks fit into CALL_BYTES. Raises BadInput (shapes), CheckFailed (the
        runtime's answer is not finite).
        """
        if not len(tokens):
            return self.read({}, encoded.frame)
        role = DECODER if masks is None else REFINER
        parts = []
        for start in range(0, len(tokens), self.most_rows):
            some = slice(start, start + self.most_rows)
            given = None if masks is None else masks[some]
            parts.append(self._run(role, decoder_feeds(encoded.features, tokens[some], labels[some], given)))
        answered = (
            {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts[1:] else parts[0]
        )
        return self.read(answered, encoded.frame, role)

    def read(self, answered: Mapping[str, Array], frame: Frame, role: str = DECODER) -> Decoded:
        """What a graph answered as one value; {} = to no prompt. Raises CheckFailed for values that are not finite."""
        masks = answered.get(MASKS, np.empty((0, self.count, self.cells, self.cells), np.float32))
        iou = answered.get(IOU, np.empty((0, self.count), np.float32))
        windows = answered.get(WINDOWS)
        for name, values in ((MASKS, masks), (IOU, iou), (WINDOWS, windows)):
            if values is not None and not np.isfinite(values).all():
                raise CheckFailed(
                    f"the {role} answered {name} that hold NaN or infinity", hint="Run edge-sdk verify on this device"
                )
        whole = np.broadcast_to(np.array(frame.whole, np.float32), (*iou.shape, 4))
        return Decoded(masks=masks, iou=iou, windows=whole if windows is None else windows, whole_frame=windows is None)


def answer(
    decoder: Decoder, encoded: EncodedImage, prompts: Sequence[Prompt], settings: SegmentationSettings, *,
    rounds: int | None = None, clock: Stages | None = None,
) -> tuple[Decoded, Sequence[Prompt]]:  # fmt: skip
    """What `predict` answers: all masks of each prompt, after `rounds` in which the one chosen was given back, and the
    prompts as they were asked last, with that mask, by which `chosen_mask` chooses.

    rounds: None = as the settings say. clock: times the stages. Raises BadInput, CheckFailed, as `Decoder.decode`.
    """
    timed = Stages() if clock is None else clock
    found = timed("decode", decoder.answer, encoded, prompts)
    for _ in range(settings.rounds if rounds is None else rounds):
        prompts = timed("prompts", given_back, prompts, found, encoded.frame, settings, decoder.prompt_cells)
        found = timed("refine", decoder.answer, encoded, prompts)
    return found, prompts


def chosen_mask(iou: NDArray[np.float32], prompt: Prompt, settings: SegmentationSettings) -> int:
    """Index of the one mask that answers a prompt. iou: float32 (K,), predicted. Of equal ones the first."""
    if settings.boxed is not None and prompt.box is not None:
        return settings.boxed
    if settings.masked is not None and prompt.mask is not None:
        return settings.masked
    if settings.single is not None and prompt.token_count >= UNAMBIGUOUS:
        return settings.single
    return max(settings.multimask, key=lambda index: iou[index])


def given_back(
    wanted: Sequence[Prompt], found: Decoded, frame: Frame, settings: SegmentationSettings, cells: int
) -> list[Prompt]:
    """The same prompts, each with the mask that was chosen for it, as a grid of `cells` cells a side."""
    out = []
    for row, prompt in enumerate(wanted):
        index = chosen_mask(found.iou[row], prompt, settings)
        grid = frame.whole_frame_grid(found.masks[row, index], found.window(row, index), cells)
        out.append(replace(prompt, mask=grid))
    return out


def decoder_feeds(
    features: Mapping[str, Array], tokens: NDArray[np.float32], labels: NDArray[np.int32],
    masks: NDArray[np.float32] | None = None,
) -> dict[str, Array]:  # fmt: skip
    """What the decoder is fed, or, with masks, the refiner: the picture's features once, and N prompts."""
    feeds = {**features, POINTS: tokens, LABELS: labels}
    return feeds if masks is None else {**feeds, MASK: masks}
