"""What a user states about a one-step generator. Imports no training framework."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.export.family import FamilyOptions, Trained
from edge_sdk.export.onestep.recipe import KINDS, LEVELS, DistillRecipe, Kind, Levels, Matching
from edge_sdk.export.onestep.wrapping import wrapping_of
from edge_sdk.export.option import option

TEACHER_STEPS, STEPS = 10_000, 7_000
TEACHER_SHARE = 0.4
"""Of a time budget, for the teacher."""
DEMO = ""
"""No weights ship yet."""


@dataclass(frozen=True, kw_only=True)
class OneStepOptions(FamilyOptions):
    """steps, time_budget_s: of the distillation; of the budget the teacher's training takes TEACHER_SHARE where there
    is one. teacher: a network to distil, None = one is trained first; sigma_data: of one of EDM's or diffusers'.
    teacher_steps: of that training. base: channels of the first stage of a network that is trained here; multiples: of
    each stage, separated by commas; attention: sides of stages that have it. loss, c, alpha, levels, rate, batch: of
    the recipe; None = its own.

    as_is: train nothing, take weights or onnx. weights: a generator that was trained here. onnx: one that others made;
    what is stated of it is `wrapping.Wrapping`, as text.
    """

    export_help: ClassVar[str] = (
        "Make a bundle from a generator that is trained already: --weights of a run folder, or --onnx, a file that "
        "maps noise to a picture in one call. What the inputs of such a file are given, and the range of its answer, "
        "is stated once. DATA only serves to measure quality.\n\n"
        "Example: edge-sdk export onestep --weights parts.run/generator.safetensors --out parts.edge\n\n"
        "Example: edge-sdk export onestep --onnx model.onnx --noise noisy --noise-scale 80 --fix sigma=80 "
        "--label class --labels cat,dog --range -1..1 --out drawn.edge"
    )

    teacher: Path | None = option(
        None, kind="path", training=True,
        help="Teacher to distil: teacher.safetensors of a run folder, the state dict of EDM's DDPM++ or ADM as "
        "safetensors, or a folder of diffusers' UNet2DModel. DATA then only serves to measure quality. Default: one is "
        "trained on DATA.",
    )  # fmt: skip
    sigma_data: float | None = option(
        None, kind="float", least=1e-3, most=100, training=True,
        help="Of a teacher of EDM or diffusers: standard deviation of its pictures in [-1, 1]. Default: 0.5.",
    )  # fmt: skip
    teacher_steps: int | None = option(
        None, kind="int", least=1, training=True, help=f"Steps of the teacher's training. Default: {TEACHER_STEPS}."
    )  # fmt: skip
    base: int | None = option(
        None, kind="int", least=4, most=512, training=True,
        help="Channels of the network's first stage. Default: 16 up to 8 px, 24 up to 16 px, 32 for larger pictures.",
    )  # fmt: skip
    multiples: str | None = option(
        None,
        training=True,
        help="Channels of each stage, in first ones, such as 1,2,2. Default: 1,2, and 1,2,2 from 32 px.",
    )
    attention: str | None = option(
        None, training=True, help="Sides of stages with attention, such as 8. Default: 8 from 32 px, otherwise none."
    )
    loss: Kind = option(
        "pseudo-huber", choices=KINDS, training=True, help=f"Loss of the distillation: {', '.join(KINDS)}."
    )
    c: float | None = option(
        None, kind="float", least=1e-6, most=1e6, training=True,
        help="Of pseudo-huber: difference of pictures from which a pull stops to grow. Default: 0.0375 times the root "
        "of a picture's numbers.",
    )  # fmt: skip
    alpha: float = option(1.2, kind="float", least=-10, most=10, training=True, help="Of sid. 1 is half of l2.")
    levels: Levels = option(
        "log-normal", choices=LEVELS, training=True,
        help="How noise levels of the generator's loss are drawn: log-normal as the teacher's, or grid as SiD.",
    )  # fmt: skip
    rate: float | None = option(
        None, kind="float", least=1e-7, most=0.1, training=True,
        help="Peak learning rate of the generator; its auxiliary network has twice as much. Default: 0.0002, and less "
        "for networks of more than a million weights.",
    )  # fmt: skip
    batch: int | None = option(
        None, kind="int", least=1, most=65_536, training=True, help="Pictures a step, for each process. Default: 64."
    )
    as_is: bool = option(
        False, kind="flag", as_is=True, exporting=True, help="Train nothing, take --weights or --onnx."
    )
    weights: Path | None = option(
        None, kind="path", exporting=True, help="generator.safetensors of a run folder of edge-sdk train onestep."
    )
    onnx: Path | None = option(
        None, kind="path", exporting=True, help="ONNX file of the generator; weights may lie in files beside it."
    )
    noise: str | None = option(
        None, exporting=True,
        help="Input that takes the noise. Default: the only one of which nothing else is stated.",
    )  # fmt: skip
    noise_scale: float = option(
        1.0, kind="float", least=1e-6, most=1e6, exporting=True,
        help="Factor on standard normal noise, for graphs that take sigma times noise: their sigma.",
    )  # fmt: skip
    fix: tuple[str, ...] = option(
        (), kind="texts", exporting=True,
        help="NAME=VALUE of an input that is the same for every picture: a number, numbers with commas, or a .npy "
        "file; may be repeated.",
    )  # fmt: skip
    label: str | None = option(
        None, exporting=True, help="Input that takes the class, as a number or as a row of 0 and 1."
    )
    labels: str | None = option(
        None, exporting=True, help="Names of the classes: cat,dog, or 0..9, or a file with one name a line."
    )
    label_values: str | None = option(
        None, exporting=True,
        help="What --label is given for each class: LOW..HIGH, evenly from the first to the last, or numbers with "
        "commas. Default: 0, 1, 2 and so on.",
    )  # fmt: skip
    output: str | None = option(None, exporting=True, help="Output that is the picture. Default: the only one.")
    value_range: str | None = option(
        None, name="--range", exporting=True,
        help="Values of black and white, such as -1..1, 0..1 or 0..255. What lies beyond is cut.",
    )  # fmt: skip
    picture_size: str | None = option(
        None, exporting=True, help="HEIGHTxWIDTH where the graph leaves them free, such as 128x192."
    )
    values: bool = option(
        False, kind="flag", exporting=True,
        help="Keep the graph's answer as float32 beside the picture, for pictures that are measurements.",
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.teacher is not None and not self.teacher.exists():
            raise BadInput("the teacher does not exist", where=f"--teacher {self.teacher}", hint="Check the path")
        if self.teacher is not None and (given := [n for n in _OF_TEACHERS if getattr(self, n) is not None]):
            raise BadUsage(
                f"--{given[0].replace('_', '-')} is of a teacher that is trained here, and --teacher names one",
                hint="Give one of the two",
            )
        if self.sigma_data is not None and self.teacher is None:
            raise BadUsage("--sigma-data is of a teacher that --teacher names", hint="Leave it out: it is measured")
        for name in ("multiples", "attention"):
            numbers_in(getattr(self, name), f"--{name}")
        if self.weights is not None:
            self._check_weights()
        elif self.as_is:
            wrapping_of(self)

    def _check_weights(self) -> None:
        assert self.weights is not None
        if not self.weights.exists():
            raise BadInput("the weights do not exist", where=f"--weights {self.weights}", hint="Check the path")
        if self.onnx is not None:
            raise BadUsage("--weights and --onnx name two generators", hint="Give one of the two")


_OF_TEACHERS = ("teacher_steps", "base", "multiples", "attention")


def numbers_in(text: str | None, where: str) -> tuple[int, ...] | None:
    """1,2,2 as numbers. Raises BadUsage."""
    if text is None:
        return None
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and 0 < int(part) < 10_000 for part in parts) or len(parts) > 8:
        raise BadUsage(f"{text[:40]!r} are no numbers", where=where, hint="Write them as 1,2,2")
    return tuple(int(part) for part in parts)


def recipe_of(options: OneStepOptions, *, parameters: int) -> DistillRecipe:
    """The recipe with what the user states. parameters: of the network; larger ones take smaller rates."""
    matching = Matching(kind=options.loss, c=options.c, alpha=options.alpha if options.loss == "sid" else 1.0)
    recipe = DistillRecipe(matching=matching, levels=options.levels)
    rate = options.rate or recipe.rate * min(1.0, (1e6 / max(parameters, 1)) ** 0.5)
    made = recipe.at(rate)
    return made if options.batch is None else made.of_batch(options.batch)


def options_of(trained: Trained) -> OneStepOptions:
    """The options that a model was made with. Raises BadUsage for a model of another family."""
    if not isinstance(trained.options, OneStepOptions):
        raise BadUsage("this model was not made by one-step distillation", where=str(trained.folder))
    return trained.options
