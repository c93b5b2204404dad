"""The segmentation predictor: a picture is encoded once, then any number of prompts on it. Knows no family."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_sdk import preprocess
from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.preprocess import Prepared
from edge_sdk.progress import Progress, silent
from edge_sdk.shown import shown
from edge_sdk.stages import Stages
from edge_sdk.tasks.arguments import known_arguments
from edge_sdk.tasks.base import Loaded, Running, several
from edge_sdk.tasks.images import Pictures
from edge_sdk.tasks.images import Source as Picture
from edge_sdk.tasks.segmentation import prompts as prompting
from edge_sdk.tasks.segmentation.decoding import Decoded, Decoder, EncodedImage, answer, chosen_mask
from edge_sdk.tasks.segmentation.encoding_cache import EncodingCache, content_key
from edge_sdk.tasks.segmentation.everything.boxes import box_of
from edge_sdk.tasks.segmentation.everything.crops import Crop
from edge_sdk.tasks.segmentation.everything.options import EverythingOptions, Options, all_of, resolved
from edge_sdk.tasks.segmentation.everything.result import Everything
from edge_sdk.tasks.segmentation.everything.search import Search
from edge_sdk.tasks.segmentation.frame import Frame
from edge_sdk.tasks.segmentation.masks import Mask, MasksOfPicture
from edge_sdk.tasks.segmentation.prompts import Points, Prompt, Prompted
from edge_sdk.tasks.segmentation.result import DecodedMask, Segmentation
from edge_sdk.tasks.segmentation.settings import DECODER, ENCODER, EXTENT, IMAGE, MOST_ROUNDS, SegmentationSettings
from edge_sdk.tensors import BATCH, Array

Source: TypeAlias = Any
"""A picture (`images.Source`), an `EncodedImage`, or either of them with prompts as a `Prompted`."""
PLACED_BYTES = 2**28
"""Of masks that `predict` places itself: 22 of a picture of 12 megapixels. Beyond it hundreds of masks would fill the
memory before anybody looks at one."""


class PromptSegmenter(Running[Source, Segmentation]):
    """A loaded segmentation bundle. Every method may be called from any thread; there is no current picture: what
    `set_image` returns is passed on. Use it as a context manager, or `close` it.

    settings: of the bundle. cache: what the encoder answered for the last few pictures, by content.
    """

    noun: ClassVar[str] = "segmenter"

    def __init__(self, loaded: Loaded, settings: SegmentationSettings) -> None:
        super().__init__(loaded)
        self.settings, self.cache = settings, EncodingCache()
        self._pictures = Pictures(loaded.bundle, color=loaded.color)
        sessions = {role: model.session for role, model in loaded.models.items()}
        decoder = loaded.models[DECODER]
        self.decoder = Decoder(
            self.run, {role: one.inputs for role, one in sessions.items()},
            {role: one.outputs for role, one in sessions.items()}, {**decoder.graph.axes, BATCH: decoder.max_batch},
        )  # fmt: skip

    def set_image(self, picture: Picture, /) -> EncodedImage:
        """Encode one picture, or find it among the last few by its content. picture: a path, encoded bytes, a PIL
        picture, or an array uint8 or uint16 (H, W), (H, W, 3), (H, W, 4), in the colour order given to `load`.

        Raises BadInput that names the picture, BadUsage (closed, loaded in another process).
        """
        self.require_open()
        return self._encoded(picture, Stages())

    @known_arguments()
    def predict(
        self, source: Source, /, *, points: Points = None, labels: Any = None, boxes: Any = None, masks: Any = None,
        multimask: bool | None = None, refine: int | None = None,
    ) -> Segmentation:  # fmt: skip
        """Masks for one prompt or several on one picture. Coordinates are px of the caller's picture, x before y; an
        integer is the centre of that pixel.

        points: (P, 2) of one prompt, or (2,), one point; (N, P, 2), or a list of (P, 2) of different lengths, of N
        prompts; or "centre".
        labels: the same without the last axis: 1 = on the object (the default), 0 = beside it. boxes: (4,) or (N, 4):
        x0, y0, x1, y1. masks: one or N of: a `Mask` of an earlier answer on this picture, of everything mode too; the
        caller's own, (H, W) of bool, or of uint8 with 0 and 1 or 0 and 255; logits float32 (r, r) over the whole frame.
        Points, boxes and masks of one prompt are used together.

        multimask: True = all alternatives of each prompt; False, the default = one mask: of a prompt with a box the one
        that the bundle states for boxes, of one of three tokens and more its single mask; where it states none, the
        alternative with the highest predicted IoU. refine: rounds in which the mask so chosen is given back as a mask
        prompt; 0 = none, None = the bundle's number.

        Prompts run together, up to the `max_batch` of the decoder. Masks are placed in the caller's pixels at once, as
        many as fit into PLACED_BYTES; the others when they are first asked for. Raises BadInput that names what is
        wrong (points beside the object alone and empty masks, too), CheckFailed (the runtime's answer is not finite),
        BadUsage (closed, another process, prompts given twice).
        """
        self.require_open()
        clock = Stages()
        asked = _asked(source, points, labels, boxes, masks, multimask, refine)
        encoded = self._encoded(asked.picture, clock)
        wanted = clock("prompts", self._prompts, asked, encoded.frame)
        found, last = answer(self.decoder, encoded, wanted, self.settings, rounds=asked.refine, clock=clock)
        kept = clock("choose", self._masks, last, found, encoded.frame, asked.multimask)
        clock("place", _place, kept)
        return Segmentation(
            masks=tuple(kept), width=encoded.frame.width, height=encoded.frame.height, prompts=len(wanted),
            source=encoded.name, file=encoded.file,
            bit_depth=self._pictures.record.bit_depth, notes=encoded.notes, ran=self.run_info(clock),
        )  # fmt: skip

    __call__ = predict

    @known_arguments()
    def predict_batch(
        self, sources: Iterable[Source], /, *, points: Points = None, labels: Any = None, boxes: Any = None,
        masks: Any = None, multimask: bool | None = None, refine: int | None = None,
    ) -> tuple[Segmentation, ...]:  # fmt: skip
        """The same prompts on each of several pictures, in order; arguments as of `predict`. Prompts of each picture's
        own: pass `Prompted` values as sources."""
        self.require_open()
        return tuple(
            self.predict(
                source, points=points, labels=labels, boxes=boxes, masks=masks, multimask=multimask, refine=refine
            )
            for source in several(sources)
        )

    @known_arguments()
    def submit(
        self, source: Source, /, *, points: Points = None, labels: Any = None, boxes: Any = None, masks: Any = None,
        multimask: bool | None = None, refine: int | None = None,
    ) -> Future[Segmentation]:  # fmt: skip
        """`predict` in a thread of this predictor, as `Running.submit`. Raises BadUsage for prompts given twice, a
        wrong multimask or number of rounds; all other errors are in the Future."""
        return super().submit(_asked(source, points, labels, boxes, masks, multimask, refine))

    def _encoded(self, picture: Source, clock: Stages) -> EncodedImage:
        if isinstance(picture, EncodedImage):
            if picture.bundle != self.bundle.digest:
                raise BadInput(
                    "the picture was encoded by another bundle", where=picture.name, hint="Call set_image of this one"
                )
            return picture
        taken = self._pictures.take(picture, clock)
        frame = Frame.of(taken.prepared.geometry, self._pictures.record.width)
        ran = self._ran.roles[ENCODER]
        key = clock(
            "digest", content_key, taken.prepared.tensor, frame.extent, self.bundle.digest, ran.variant, ran.runtime
        )
        features = self.cache.get(key)
        if features is None:
            features = clock("encode", self._encode, taken.prepared, frame)
            self.cache.put(key, features)
        return EncodedImage(
            features=features, frame=frame, digest=key, bundle=self.bundle.digest, name=taken.name, file=taken.file,
            notes=taken.notes,
        )  # fmt: skip

    def _encode(self, prepared: Prepared, frame: Frame) -> Mapping[str, Array]:
        features = self.run(ENCODER, encoder_feeds(prepared.tensor, frame))
        for array in features.values():
            array.setflags(write=False)  # they are shared by all prompts, and by callers of `set_image`
        return features

    def _prompts(self, asked: Prompted, frame: Frame) -> list[Prompt]:
        given = None if asked.masks is None else self._mask_prompts(asked.masks, frame)
        grids = None if given is None else [grid for grid, _ in given]
        wanted = prompting.checked(frame, points=asked.points, labels=asked.labels, boxes=asked.boxes, masks=grids)
        _on_an_object(wanted, None if given is None else [box for _, box in given])
        if given is None or not self.settings.boxed_masks or asked.points is not None or asked.boxes is not None:
            return wanted
        around = (box for _, box in given)
        return [replace(prompt, box=box) for prompt, box in zip(wanted, around, strict=True)]

    def _mask_prompts(self, masks: Any, frame: Frame) -> list[tuple[NDArray[np.float32], NDArray[np.float64]]]:
        """Of what a caller gives, one or several masks: mask prompts, and float64 (4,), the box around each in px of
        the picture, of no area where it is empty."""
        one = isinstance(masks, Mask) or (isinstance(masks, np.ndarray) and masks.ndim == 2)
        many = isinstance(masks, (list, tuple, MasksOfPicture)) or (isinstance(masks, np.ndarray) and masks.ndim)
        if not one and not many:
            raise _no_mask(masks)
        return [self._mask_prompt(mask, frame) for mask in ([masks] if one else masks)]

    def _mask_prompt(self, mask: Any, frame: Frame) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        cells = self.decoder.prompt_cells
        if isinstance(mask, Mask):
            return mask.as_prompt(frame, cells), np.array(mask.box, np.float64)
        if not isinstance(mask, np.ndarray):
            raise _no_mask(mask)
        if mask.dtype in (np.bool_, np.uint8):
            inside = _own_mask(mask, frame)
            return frame.prompt_of(inside, cells), np.array(box_of(inside), np.float64)
        if mask.dtype != np.float32 or mask.shape != (cells, cells):
            raise _no_mask(mask, f" of {mask.dtype} {mask.shape}", cells)
        if not np.isfinite(mask).all():
            raise BadInput("the mask holds NaN or infinity", hint="Logits are finite numbers")
        return mask, frame.from_cells(np.array(box_of(mask > 0), np.float64), cells)

    def _masks(self, wanted: Sequence[Prompt], found: Decoded, frame: Frame, multimask: bool) -> list[DecodedMask]:
        kept = []
        for row, prompt in enumerate(wanted):
            chosen = self.settings.multimask if multimask else (chosen_mask(found.iou[row], prompt, self.settings),)
            kept += [
                DecodedMask(
                    predicted_iou=float(found.iou[row, index]), logits=found.masks[row, index].copy(), frame=frame,
                    window=found.window(row, index), prompt=row, index=index, threshold=self.settings.mask_threshold,
                )
                for index in chosen
            ]  # fmt: skip
        return kept

    @property
    def everything_options(self) -> EverythingOptions:
        """Every option of everything mode where none is stated: the bundle's thresholds, the defaults of the others.
        `changed` makes others of them."""
        return all_of(resolved(self.settings.everything))

    @known_arguments(options=EverythingOptions.__struct_fields__)
    def everything(self, source: Source, /, *, options: Options = None, progress: Progress = silent) -> Everything:
        """Masks of all that a picture shows. source: a picture, or an `EncodedImage`. options: `EverythingOptions`, or
        values by name; what they don't state is as in `everything_options`. progress: called with the
        number of finished prompts, the number of all prompts, and the number of masks and candidates so far in words;
        before the first prompt, after each call of the decoder, and at the end. An exception that it raises ends the
        search.

        Raises BadInput that names the picture, CheckFailed (the runtime's answer is not finite), BadUsage (options that
        are invalid, crops of an `EncodedImage`, closed, another process).
        """
        clock = Stages()
        search, encoded = self._search(source, options, progress, clock)
        masks = tuple(clock("search", list, search))
        return Everything(
            masks=masks, width=encoded.frame.width, height=encoded.frame.height, counts=search.counts,
            source=encoded.name, file=encoded.file, bit_depth=self._pictures.record.bit_depth, notes=encoded.notes,
            ran=self.run_info(clock),
        )  # fmt: skip

    @known_arguments(options=EverythingOptions.__struct_fields__)
    def everything_stream(self, source: Source, /, *, options: Options = None, progress: Progress = silent) -> Search:
        """As `everything`, as an iterable. Without crops the search of all places comes before the first mask, as masks
        suppress each other; only their resizing to full size is left then. With `crop_layers` the masks of a crop come
        before the next crop is encoded; with `min_region_area_px` all of them come at the end. Stop iterating to
        cancel. Raises as `everything`."""
        return self._search(source, options, progress, Stages())[0]

    def _search(
        self, source: Source, options: Options, progress: Progress, clock: Stages
    ) -> tuple[Search, EncodedImage]:
        self.require_open()
        chosen = resolved(self.settings.everything, options)
        if chosen.crop_layers and isinstance(source, EncodedImage):
            raise BadUsage("crops of an encoded picture can't be looked at", hint="Pass the picture itself")
        encoded = self._encoded(source, clock)
        pixels = self._pictures.rgb8(source) if chosen.crop_layers else None

        def encode(crop: Crop) -> EncodedImage:
            if pixels is None or crop.layer == 0:
                return encoded
            x0, y0, x1, y1 = crop.box
            prepared = preprocess.apply(pixels[y0:y1, x0:x1], self._pictures.record)
            frame = Frame.of(prepared.geometry, self._pictures.record.width)
            # Not cached: the crops of one picture would push out all others.
            return replace(encoded, features=self._encode(prepared, frame), frame=frame, digest="")

        search = Search(
            encode, self.decoder, chosen, width=encoded.frame.width, height=encoded.frame.height,
            masks=self.settings.multimask, threshold=self.settings.mask_threshold, box_map=self.settings.box_map,
            progress=progress,
        )  # fmt: skip
        return search, encoded

    def explain_task(self) -> Sequence[str]:
        count, cells = len(self.settings.multimask), self.decoder.cells
        return (f"masks      {count} alternatives a prompt, {cells} x {cells} cells",)

    def close(self) -> None:
        super().close()
        self.cache.clear()


def _place(masks: Sequence[DecodedMask]) -> None:
    """Make the arrays of the first masks, PLACED_BYTES of them."""
    left = PLACED_BYTES
    for mask in masks:
        left -= mask.frame.width * mask.frame.height
        if left >= 0:
            _ = mask.array


def encoder_feeds(tensor: NDArray[np.uint8], frame: Frame) -> dict[str, Array]:
    """What the encoder is fed: the prepared picture, and where it ends."""
    return {IMAGE: tensor, EXTENT: frame.extent}


def _asked(
    source: Source, points: Points, labels: Any, boxes: Any, masks: Any, multimask: bool | None, refine: int | None
) -> Prompted:
    """The request as one value. Raises BadUsage for prompts given twice, or a number of rounds that is none."""
    given = {"points": points, "labels": labels, "boxes": boxes, "masks": masks, "multimask": multimask}
    given |= {"refine": refine}
    stated = {name: value for name, value in given.items() if value is not None}
    if isinstance(source, Prompted):
        if stated:
            raise BadUsage(f"{next(iter(stated))} is given beside a Prompted, which has its own", hint="Give one")
        asked = source
    else:
        asked = Prompted(picture=source, **stated)
    if not isinstance(asked.multimask, (bool, np.bool_)):
        raise BadUsage(f"multimask is True or False, not {shown(f'{asked.multimask!r:.40}')}")
    rounds = asked.refine
    whole = isinstance(rounds, (int, np.integer)) and not isinstance(rounds, bool)
    if rounds is not None and not (whole and 0 <= rounds <= MOST_ROUNDS):
        raise BadUsage(f"refine is a number of rounds from 0 to {MOST_ROUNDS}, not {asked.refine!r}")
    return asked


def _on_an_object(wanted: Sequence[Prompt], around: Sequence[NDArray[np.float64]] | None) -> None:
    """Raise BadInput for a prompt that says only what the object is not. around: boxes of the prompts' masks, of no
    area where a mask is empty. A network answers such a prompt too, with a mask that is of no object."""
    for number, prompt in enumerate(wanted):
        masked = around is not None and bool((around[number][2:] > around[number][:2]).all())
        if masked or prompt.box is not None or (prompt.labels == prompting.FOREGROUND).any():
            continue
        what = "points beside it" if len(prompt.points) else "an empty mask"
        which = f"prompt {number}" if len(wanted) > 1 else "the prompt"
        raise BadInput(
            f"{which} does not say where the object is, it has {what} alone",
            hint="Give a point on the object (label 1), a box, or a mask that is not empty",
        )


def _own_mask(mask: NDArray[np.bool_] | NDArray[np.uint8], frame: Frame) -> NDArray[np.bool_]:
    """The caller's own mask as bool (height, width)."""
    if mask.shape != (frame.height, frame.width):
        raise BadInput(
            f"the mask has shape {mask.shape}, the picture {(frame.height, frame.width)}",
            hint="Give a mask of the picture's size",
        )
    inside = mask != 0
    if not inside.any():
        raise BadInput(
            "the mask is empty: no pixel of it is on the object",
            hint="Leave masks out, or check what it was made from, such as the value in labels == value",
        )
    if mask.dtype == np.uint8 and inside.any():
        low, high = int(mask[inside].min()), int(mask.max())
        if low != high or high not in (1, 255):
            raise BadInput(
                f"the mask of uint8 holds values from {low} to {high} beside 0",
                hint="Give 0 and 1, or 0 and 255, or bool: of a label map one mask is labels == value",
            )
    return np.asarray(inside)


def _no_mask(given: object, what: str = "", cells: int | None = None) -> BadInput:
    size = "(r, r)" if cells is None else f"({cells}, {cells})"
    return BadInput(
        f"this {type(given).__name__}{what} is not a mask prompt",
        hint=f"Give a Mask of an earlier result, bool or uint8 (H, W) of the picture's size, or float32 {size} logits",
    )
