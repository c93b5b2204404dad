"""Shapes of the networks: sizes, widths, depths, windows; the published ones by name. Knows no torch and no file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TypeAlias

from edge_sdk.errors import BadUsage

IMAGE_SIZE = 1024
"""Side of the frame, in px, that all published weights were trained at."""
PATCH = 16
"""Pixels of the frame per cell of the embedding's grid, in every published network."""


def _check_size(image_size: int, stride: int) -> None:
    if image_size < stride or image_size % stride:
        raise BadUsage(
            f"an image size of {image_size} px is not a multiple of {stride} px, a cell of the embedding",
            hint=f"Take {max(1, round(image_size / stride)) * stride}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyVitLayout:
    """TinyViT encoder (Wu et al. 2022, as in MobileSAM): a stage of MBConvs, then three of window attention.

    image_size: px. dims, depths: of the four stages. heads, windows: of stages 1 to 3. strides: of the merging behind
    stages 0 to 2; the official code says 1 where a merging makes 320, 448 or 576 channels, here it is stated. width: of
    the embedding. The defaults are TinyViT-5M of TinySAM and MobileSAM; windows that divide the grid save padding, but
    make bias tables of other shapes, so those are for networks of our own.
    """

    image_size: int = IMAGE_SIZE
    dims: tuple[int, int, int, int] = (64, 128, 160, 320)
    depths: tuple[int, int, int, int] = (2, 2, 6, 2)
    heads: tuple[int, int, int] = (4, 5, 10)
    windows: tuple[int, int, int] = (7, 14, 7)
    strides: tuple[int, int, int] = (2, 2, 1)
    width: int = 256

    def __post_init__(self) -> None:
        for dim, heads in zip(self.dims[1:], self.heads, strict=True):
            if dim % heads:
                raise BadUsage(f"{dim} channels can't be divided among {heads} heads")
        if min(self.depths) < 1 or min(self.windows) < 1 or not set(self.strides) <= {1, 2}:
            raise BadUsage("each stage has at least one block and a window of at least 1; mergings have stride 1 or 2")
        _check_size(self.image_size, self.stride)

    @property
    def stride(self) -> int:
        """Pixels of the frame per cell of the embedding."""
        return 4 * self.strides[0] * self.strides[1] * self.strides[2]

    @property
    def grid(self) -> int:
        """Cells of the embedding per side."""
        return self.image_size // self.stride

    def side(self, stage: int) -> int:
        """Cells per side in stage 0 to 3."""
        cells = self.image_size // 4
        for stride in self.strides[:stage]:
            cells //= stride
        return cells

    def at(self, image_size: int) -> TinyVitLayout:
        """The same network at another image size; the weights stay as they are."""
        return replace(self, image_size=image_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class VitLayout:
    """SAM's ViT encoder: patches of 16 px, windows of 14 cells, and some blocks that attend to the whole grid.

    image_size: px. dim, depth, heads: of the blocks. whole: indices of the blocks without windows. width: of the
    embedding. The defaults are ViT-B.
    """

    image_size: int = IMAGE_SIZE
    dim: int = 768
    depth: int = 12
    heads: int = 12
    whole: tuple[int, ...] = (2, 5, 8, 11)
    window: int = 14
    width: int = 256

    def __post_init__(self) -> None:
        _check_size(self.image_size, PATCH)
        if self.dim % self.heads:
            raise BadUsage(f"{self.dim} channels can't be divided among {self.heads} heads")

    @property
    def stride(self) -> int:
        """Pixels of the frame per cell of the embedding."""
        return PATCH

    @property
    def grid(self) -> int:
        """Cells of the embedding per side."""
        return self.image_size // PATCH

    def at(self, image_size: int) -> VitLayout:
        """The same network at another image size; its position tables have other shapes (`positions.py`)."""
        return replace(self, image_size=image_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lite0Layout:
    """Encoder of our own on the EfficientNet-Lite0 trunk that ships: it learns from few pictures, since its features
    come trained. image_size: px. width: of the embedding."""

    image_size: int = 256
    width: int = 128

    def __post_init__(self) -> None:
        _check_size(self.image_size, 2 * PATCH)  # its coarsest features have twice the embedding's stride

    @property
    def stride(self) -> int:
        """Pixels of the frame per cell of the embedding."""
        return PATCH

    @property
    def grid(self) -> int:
        """Cells of the embedding per side."""
        return self.image_size // PATCH

    def at(self, image_size: int) -> Lite0Layout:
        """The same network at another image size; the weights stay as they are."""
        return replace(self, image_size=image_size)


EncoderLayout: TypeAlias = TinyVitLayout | VitLayout | Lite0Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderLayout:
    """SAM's two-way mask decoder. heads, mlp, depth: of its transformer; masks: how many it answers, the first being
    the single one. prior: masks start from the prompt's own (`prior.py`), for networks of our own. The width is the
    embedding's. The defaults are the published decoder."""

    heads: int = 8
    mlp: int = 2048
    depth: int = 2
    masks: int = 4
    prior: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SamLayout:
    """A whole network. Raises BadUsage where encoder and decoder don't fit."""

    encoder: EncoderLayout = field(default_factory=TinyVitLayout)
    decoder: DecoderLayout = field(default_factory=DecoderLayout)

    def __post_init__(self) -> None:
        if self.width % 8 or self.width % (2 * self.decoder.heads):
            raise BadUsage(f"an embedding {self.width} wide does not divide by 8 and twice {self.decoder.heads} heads")

    @property
    def width(self) -> int:
        """Channels of the embedding, of every token, and of the decoder."""
        return self.encoder.width

    @property
    def image_size(self) -> int:
        """Side of the frame in px."""
        return self.encoder.image_size

    @property
    def mask_side(self) -> int:
        """Cells per side of a mask of logits, answered or given."""
        return 4 * self.encoder.grid

    def at(self, image_size: int) -> SamLayout:
        """The same network at another image size."""
        return replace(self, encoder=self.encoder.at(image_size))


ENCODERS: Mapping[str, EncoderLayout] = MappingProxyType(
    {
        "tinyvit-5m": TinyVitLayout(),
        "sam-vit-b": VitLayout(),
        "sam-vit-l": VitLayout(dim=1024, depth=24, heads=16, whole=(5, 11, 17, 23)),
        "sam-vit-h": VitLayout(dim=1280, depth=32, heads=16, whole=(7, 15, 23, 31)),
    }
)
"""Encoders of published weights. TinySAM's and MobileSAM's are the same network, "tinyvit-5m"."""


def small(size: str, *, image_size: int = 256, width: int = 128, mlp: int = 512, prior: bool = False) -> SamLayout:
    """A network for our own training, with windows that divide the grid at `image_size` 256. size: "a" (5.7 M
    parameters with width 256) to "d" (1 M). prior: as in `DecoderLayout`."""
    sizes = {
        "a": ((64, 128, 160, 320), (2, 2, 6, 2), (4, 5, 10)),
        "b": ((48, 96, 128, 192), (2, 2, 4, 2), (3, 4, 6)),
        "c": ((32, 64, 96, 128), (1, 2, 4, 2), (2, 3, 4)),
        "d": ((24, 48, 64, 96), (1, 1, 3, 1), (2, 2, 3)),
    }
    if size not in sizes:
        raise BadUsage(f"sizes are {', '.join(sizes)}, not {size!r}")
    dims, depths, heads = sizes[size]
    encoder = TinyVitLayout(
        image_size=image_size, dims=dims, depths=depths, heads=heads, windows=(8, 16, 8), width=width
    )
    return SamLayout(encoder=encoder, decoder=small_decoder(width, mlp=mlp, prior=prior))


def small_decoder(width: int, *, mlp: int = 512, prior: bool = True) -> DecoderLayout:
    """A decoder for our own training that goes with an embedding of this width: teacher and student share it."""
    return DecoderLayout(heads=8 if width >= 128 else 4, mlp=mlp, prior=prior)


STUDENTS: Mapping[str, EncoderLayout] = MappingProxyType(
    {
        "tinyvit-5m": TinyVitLayout(),
        "tinyvit-3m": small("b").encoder,
        "tinyvit-2m": small("c").encoder,
        "tinyvit-1m": small("d").encoder,
        "lite0": Lite0Layout(),
    }
)
"""Encoders that are trained from a teacher, by name and number of parameters. The first is that of TinySAM."""


def student(name: str, teacher: SamLayout) -> SamLayout:
    """A network with one of STUDENTS as encoder, and the rest as its teacher has it: tokens and masks can be compared.

    Raises BadUsage where the embeddings have other grids.
    """
    encoder = replace(STUDENTS[name], image_size=teacher.image_size, width=teacher.width)
    if encoder.grid != teacher.encoder.grid:
        raise BadUsage(
            f"the teacher's embedding has {teacher.encoder.grid} cells a side, that of {name} has {encoder.grid}",
            hint="Take a teacher with a cell for every 16 px, as all published ones have",
        )
    return replace(teacher, encoder=encoder)
