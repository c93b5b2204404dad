"""What a user states about TinySAM. Imports no training framework."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeAlias, get_args

from edge_sdk.bundle.manifest import Preprocessing
from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.export.family import FamilyOptions, Trained
from edge_sdk.export.option import option
from edge_sdk.export.tinysam.layout import STUDENTS

SIDE = 384
"""Frame of the small size, px: at 256 the cells of small objects hold too few pixels."""
SIDE_MULTIPLE = 32
MOST_PX = 1024
PROMPTS, TOKENS = 64, 16
"""Most prompts of a call, and most tokens of a prompt."""
EVERYTHING = "everything"
"""Key of a model's facts: the thresholds of everything mode that were measured for it."""
OF_DISTILLATION = ("student", "views", "batch")
"""Options that only a training with --teacher reads."""
RangeSearchName: TypeAlias = Literal["fisher", "hessian"]
OF_CALIBRATION = ("range_search",)
"""Options that change how int8 is made and nothing that is learned: no part of a run's identity."""
DEMO = (
    "Takes the small size with the weights that ship and trains nothing. On eight photographs: a click, a box and "
    "everything mode, with the latency of each, and mIoU of every variant. Takes about ten minutes on an idle machine "
    "with two cores. Calibrates int8 on fewer samples than edge-sdk train does."
)
"""What `edge-sdk demo` says of this family's demo."""
NOT_TAUGHT: Mapping[str, str] = MappingProxyType(
    {
        "scratch": "it starts the small size from its trunk, and a student starts anew anyway",
        "photographs": "a student sees the pictures of FOLDER alone",
    }
)
"""Options that make no sense beside --teacher, and why."""


@dataclass(frozen=True, kw_only=True)
class TinySamOptions(FamilyOptions):
    """side: of the frame that a picture's longest side is scaled to, px, a multiple of 32; None = the network's own,
    384 of the small size and 1024 of published ones. weights: a model to start from, or to export as it is where
    nothing is trained: of a run folder, or as TinySAM, MobileSAM and SAM are published; None = what ships. scratch:
    start from the trunk alone. rate: learning rate at the start; None = the recipe's. as_is: the weights stay as they
    are, data or not. photographs: folder of pictures that nobody marked, for surfaces and regions.

    teacher: a network whose answers a student is trained to give, published or of our own. student: its encoder, one of
    `layout.STUDENTS`; None = the first, or the network of `weights`. views: versions of each picture that a student
    sees, 0 = a new one each time; batch: pictures a step, of each process; None = the recipe's.

    range_search: how the ranges of the encoder's int8 inputs are searched besides the range methods
    (`ranges.search.Weighting`), None = they are not.
    """

    side: int | None = option(
        None, kind="int", least=64, most=MOST_PX,
        help="Side of the frame, px: a multiple of 32. Default: 384, of published weights 1024.",
    )  # fmt: skip
    weights: Path | None = option(
        None, kind="path",
        help="Model to start from, or to export: model.safetensors of a run folder, or the published file of TinySAM, "
        "MobileSAM or SAM. Default: the model that ships.",
    )  # fmt: skip
    scratch: bool = option(
        False, kind="flag", training=True, help="Start from the pretrained trunk alone, not from --weights."
    )
    rate: float | None = option(
        None, kind="float", least=1e-6, most=0.1, training=True,
        help="Peak learning rate; it follows a cosine schedule. Default: 0.0015 from scratch, 0.0005 for a model "
        "that is already trained, 0.002 for a new student.",
    )  # fmt: skip
    as_is: bool = option(
        False, kind="flag", as_is=True, help="Train nothing. FOLDER is used for calibration and evaluation only."
    )  # fmt: skip
    photographs: Path | None = option(
        None,
        kind="path",
        help="Folder of further pictures, without annotations: synthetic scenes take textures from "
        "them, too. Such scenes are for training, and calibrate int8 where there is no FOLDER.",
    )
    teacher: Path | None = option(
        None, kind="path", training=True,
        help="Distil a student from this SAM-like network: the published file of TinySAM, MobileSAM or SAM, or "
        "model.safetensors from the run folder of such a network. The student learns on the pictures of FOLDER.",
    )  # fmt: skip
    student: str | None = option(
        None, choices=tuple(STUDENTS), training=True,
        help=f"Encoder of the student: {', '.join(STUDENTS)}. Default: {next(iter(STUDENTS))}, or the network of "
        "--weights.",
    )  # fmt: skip
    views: int | None = option(
        None, kind="int", least=0, most=1000, training=True,
        help="Views of each picture that the student is trained on; the teacher's embeddings of them are cached in the "
        "run folder. 0: a new view every time, and no cache. Default: 8.",
    )  # fmt: skip
    batch: int | None = option(
        None, kind="int", least=1, most=1024, training=True,
        help="Pictures a step of a distillation, for each process. Default: 4.",
    )  # fmt: skip

    range_search: RangeSearchName | None = option(
        None, choices=get_args(RangeSearchName),
        help="Search ranges of the encoder's int8 inputs by gradients of masks and predicted IoUs: fisher, or hessian, "
        "as Q-TinySAM in sequential mode. Takes minutes at 256 px, longer for larger frames; used if it is the closest "
        "to float32. Default: no search.",
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.side is not None and self.side % SIDE_MULTIPLE:
            raise BadUsage(
                f"a side of {self.side} px is not a multiple of {SIDE_MULTIPLE}",
                hint=f"Take {round(self.side / SIDE_MULTIPLE) * SIDE_MULTIPLE}",
            )
        if self.scratch and self.weights is not None:
            raise BadUsage(
                "--scratch and --weights can't be combined: --scratch starts without weights",
                hint="Give one of the two",
            )
        self._check_teacher()
        for name in ("weights", "teacher"):  # here, before torch is imported
            path: Path | None = getattr(self, name)
            if path is not None and not path.is_file():
                raise BadInput("the file of weights does not exist", where=f"--{name} {path}", hint="Check the path")

    def _check_teacher(self) -> None:
        if self.teacher is None:
            if given := [name for name in OF_DISTILLATION if getattr(self, name) is not None]:
                raise BadUsage(f"--{given[0]} needs --teacher", hint=f"Name a teacher, or leave --{given[0]} out")
            return
        for name, why in NOT_TAUGHT.items():
            if getattr(self, name):
                raise BadUsage(
                    f"--{name.replace('_', '-')} can't be combined with --teacher: {why}", hint="Give one of the two"
                )
        if self.student is not None and self.weights is not None:
            raise BadUsage(
                "--weights and --student can't be combined: each of them says which network the student is",
                hint="Give one of the two",
            )

    def preprocessing(self) -> Preprocessing | None:
        return None if self.side is None else framed(self.side)


def framed(side: int) -> Preprocessing:
    """A picture's longest side becomes `side` px; it lies at the top left, and the rest of the frame is zero."""
    return Preprocessing(width=side, height=side, mode="longest-side", fill=0)


def options_of(trained: Trained) -> TinySamOptions:
    """The options that a model was made with. Raises BadUsage for a model of another family."""
    if not isinstance(trained.options, TinySamOptions):
        raise BadUsage("this model was not made by TinySAM", where=str(trained.folder))
    return trained.options
