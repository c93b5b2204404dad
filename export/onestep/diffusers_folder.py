"""A folder that diffusers' save_pretrained wrote: which network it holds and how its noise is made. Runs no code of it.

Reads JSON and names of files; imports neither diffusers nor torch, so that what is wrong is said at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from edge_sdk import plain_file, strict_json
from edge_sdk.errors import BadBundle, BadInput
from edge_sdk.export.onestep.schedules import BETA_SCHEDULES, MAX_STEPS, Betas, sigmas
from edge_sdk.shown import shown

NETWORK = "UNet2DModel"
UNET, CONFIG, SCHEDULER = "unet", "config.json", "scheduler_config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
Prediction = Literal["epsilon", "v_prediction", "sample"]
MAX_SIDE, MAX_STAGES, MAX_LAYERS, MAX_WIDTH, MAX_CLASSES = 4096, 16, 16, 16_384, 65_536
"""More than any network has: what a file claims is held against these before anything is made of it."""
BLOCKS: Mapping[str, tuple[str, ...]] = {
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"),
}
"""Others skip from stage to stage, or attend to a text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffusersLayout:
    """config: the arguments of diffusers' UNet2DModel. betas: of its training. prediction: what it answers."""

    config: Mapping[str, Any]
    betas: Betas
    prediction: Prediction

    @property
    def channels(self) -> int:
        """Of a picture."""
        return int(self.config.get("in_channels", 3))

    @property
    def side(self) -> int:
        """Of a picture, px."""
        size = self.config["sample_size"]
        return int(size if isinstance(size, int) else size[0])

    @property
    def classes(self) -> int:
        """0 = it takes no labels."""
        return int(self.config.get("num_class_embeds") or 0)

    @property
    def from_zero(self) -> bool:
        """Whether its pictures lie in [0, 1], which it centres itself; those of others lie in [-1, 1]."""
        return bool(self.config.get("center_input_sample", False))


def holds_a_network(path: Path) -> bool:
    """Whether a folder looks like one of diffusers' networks, or of a pipeline with one, of whatever class."""
    return any((path / name).is_file() for name in (f"{UNET}/{CONFIG}", CONFIG))


def read(path: Path) -> tuple[DiffusersLayout, Path]:
    """The network of a pipeline's or of a network's folder, and the file of its weights. Raises BadInput: another
    network, a network that can't teach here, no noise schedule, weights that are not there or are a pickle."""
    place = path / UNET if (path / UNET / CONFIG).is_file() else path
    config = _config(place / CONFIG)
    schedule = next((one for one in _schedulers(path, place) if one.is_file()), None)
    if schedule is None:
        raise BadInput(
            f"this folder does not say with which noise the network was trained: it has no {SCHEDULER}",
            where=str(path), hint=f"Put the {SCHEDULER} of its pipeline beside {CONFIG}",
        )  # fmt: skip
    betas, prediction = _noise(schedule)
    return layout(config, betas, prediction, where=str(place / CONFIG)), _weights(place)


def _schedulers(path: Path, place: Path) -> tuple[Path, ...]:
    return path / "scheduler" / SCHEDULER, place / SCHEDULER, path / SCHEDULER


def described(of: DiffusersLayout) -> dict[str, Any]:
    """As JSON holds it."""
    return {"config": dict(of.config), "betas": dataclasses.asdict(of.betas), "prediction": of.prediction}


def layout_described(found: Mapping[str, Any], *, where: str) -> DiffusersLayout:
    """The inverse of `described`. Raises KeyError, TypeError or BadInput."""
    betas = Betas(**{**found["betas"], "trained": tuple(found["betas"]["trained"])})
    return layout(found["config"], betas, found["prediction"], where=where)


def layout(config: Mapping[str, Any], betas: Betas, prediction: Any, *, where: str) -> DiffusersLayout:
    """Checked as far as a distillation depends on it; the rest is diffusers' to check. Raises BadInput."""
    if prediction not in get_args(Prediction):
        raise BadInput(
            f"prediction_type is {shown(repr(prediction))[:60]}", where=where,
            hint=f"Read are {', '.join(get_args(Prediction))}",
        )  # fmt: skip
    wrong = _size_wrong(config) or _kind_wrong(config) or _extent_wrong(config)
    if wrong:
        raise BadInput(wrong, where=where, hint=_HINT)
    return DiffusersLayout(config={**config, "dropout": 0.0}, betas=betas, prediction=prediction)


_HINT = f"docs/onestep.md says which networks of diffusers' {NETWORK} teach"


def _whole(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


def _size_wrong(config: Mapping[str, Any]) -> str:
    size, channels = config.get("sample_size"), config.get("in_channels", 3)
    sides = size if isinstance(size, list) else [size, size]
    if size is None:
        return "it does not state its pictures' size: sample_size"
    if len(sides) != 2 or not all(_whole(side, MAX_SIDE) for side in sides):
        return f"sample_size is {shown(repr(size))[:60]}, no size of a picture"
    if sides[0] != sides[1]:
        return f"its pictures are not square: sample_size is {sides[0]} x {sides[1]}"
    if not _whole(channels, 3) or channels == 2:
        return f"it takes {shown(repr(channels))[:20]} channels, pictures have 1 or 3"
    if config.get("out_channels", 3) not in (channels, 2 * channels):
        return f"it takes {channels} channels and answers {shown(repr(config.get('out_channels', 3)))[:20]}"
    return ""


def _kind_wrong(config: Mapping[str, Any]) -> str:
    for name, wanted in (("time_embedding_type", "positional"), ("class_embed_type", None)):
        if (found := config.get(name, wanted)) != wanted:
            return f"{name} is {shown(repr(found))[:40]}, read is {wanted!r} alone"
    for name, known in BLOCKS.items():
        found = config.get(name)
        if not isinstance(found, list) or (other := [one for one in found if one not in known]):
            what = other[0] if isinstance(found, list) else found
            return f"{name} holds {shown(repr(what))[:60]}, read are {', '.join(known)}"
    classes = config.get("num_class_embeds")
    if classes is not None and not _whole(classes, MAX_CLASSES):
        return f"num_class_embeds is {shown(repr(classes))[:40]}, no number of classes"
    centred = config.get("center_input_sample", False)
    return "" if isinstance(centred, bool) else f"center_input_sample is {shown(repr(centred))[:40]}, not true or false"


def _extent_wrong(config: Mapping[str, Any]) -> str:
    """What would take endless time or memory to make."""
    widths = config.get("block_out_channels")
    if not isinstance(widths, list) or not 1 <= len(widths) <= MAX_STAGES:
        return f"block_out_channels is no list of 1 to {MAX_STAGES} widths"
    if not all(_whole(width, MAX_WIDTH) for width in widths):
        return f"block_out_channels holds a width that is not from 1 to {MAX_WIDTH}"
    if not _whole(config.get("layers_per_block", 2), MAX_LAYERS):
        return f"layers_per_block is not from 1 to {MAX_LAYERS}"
    side, halvings = config["sample_size"], 2 ** (len(widths) - 1)
    side = side if isinstance(side, int) else side[0]
    return f"pictures of {side} px can't be halved {len(widths) - 1} times" if side % halvings else ""


def _config(path: Path) -> dict[str, Any]:
    """The network's arguments."""
    found = _json(path)
    name = found.get("_class_name")
    if name != NETWORK:
        raise BadInput(
            f"the network is of the class {shown(str(name))[:60]}, read is {NETWORK} alone", where=str(path), hint=_HINT
        )
    return {name: value for name, value in found.items() if not name.startswith("_")}


def _noise(path: Path) -> tuple[Betas, Any]:
    """The noise of the training, and what the network predicts, by a scheduler's arguments. What a sampler does besides
    (clip_sample, thresholding, spacing of steps) is no part of a denoiser."""
    found = _json(path)
    if "beta_schedule" not in found and not found.get("trained_betas"):
        raise BadInput(
            f"the scheduler {shown(str(found.get('_class_name')))[:60]} has no betas", where=str(path),
            hint="Read are schedulers of discrete steps, such as DDPMScheduler and DDIMScheduler",
        )  # fmt: skip
    usual = Betas()  # what diffusers takes for fields that a file leaves out
    trained = found.get("trained_betas") or []
    trained = trained if isinstance(trained, list) else [trained]
    steps = len(trained) if trained else found.get("num_train_timesteps", usual.steps)
    schedule = found.get("beta_schedule", usual.schedule)
    if not trained and schedule not in BETA_SCHEDULES:
        raise BadInput(
            f"beta_schedule is {shown(repr(schedule))[:60]}", where=str(path),
            hint=f"Read are {', '.join(BETA_SCHEDULES)}, and trained_betas",
        )  # fmt: skip
    ends = [found.get("beta_start", usual.start), found.get("beta_end", usual.end)]
    if not _whole(steps, MAX_STEPS) or not all(isinstance(one, (int, float)) for one in (*ends, *trained)):
        raise BadInput("its steps or betas are no numbers", where=str(path), hint="Get the file again")
    betas = Betas(
        steps=steps, start=float(ends[0]), end=float(ends[1]), schedule=schedule, trained=tuple(map(float, trained)),
        zero_end=found.get("rescale_betas_zero_snr") is True,
    )  # fmt: skip
    sigmas(betas, where=str(path))
    return betas, found.get("prediction_type", "epsilon")


def _weights(place: Path) -> Path:
    """The file of the weights, which is there."""
    path = place / WEIGHTS
    if path.is_file():
        return path
    pickled = next(iter(sorted(place.glob("*.bin"))), None)
    if pickled is not None:
        raise BadInput(
            f"the weights lie in {pickled.name} alone, a pickle, which is not opened", where=str(place),
            hint=f"Convert it to {WEIGHTS} where you trust it; docs/onestep.md says how",
        )  # fmt: skip
    raise BadInput(f"this folder holds no {WEIGHTS}", where=str(place), hint="Save the network in one such file")


def _json(path: Path) -> dict[str, Any]:
    """One object of bounded size."""
    if path.is_file() and (size := path.stat().st_size) > strict_json.MAX_BYTES:
        raise BadInput(f"it has {size} bytes, at most {strict_json.MAX_BYTES} are read", where=str(path))
    try:
        found = strict_json.parse(plain_file.read(path, what="a JSON file"), name=path.name, where=str(path))
    except BadBundle as exc:
        raise BadInput(str(exc.args[0]), where=str(path), hint="Get the file again from whoever saved it") from exc
    if not isinstance(found, dict):
        raise BadInput("it holds no JSON object", where=str(path), hint="Get the file again from whoever saved it")
    return found
