"""Options that several verbs take, each written once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional, TypeAlias, cast

import typer

from edge_sdk.bundle.signing import TrustMode, TrustPolicy
from edge_sdk.errors import BadUsage

Bundle: TypeAlias = Annotated[Path, typer.Argument(help="A .edge file.", show_default=False)]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="One JSON object on stdout instead of text.")]
Runtimes: TypeAlias = Annotated[
    Optional[list[str]],  # noqa: UP045 - typer reads this at run time on Python 3.10
    typer.Option("--runtime", help="onnxruntime, openvino, tensorrt or tensorrt-rtx; may be given several times."),
]
Variants: TypeAlias = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--variant", help="fp32, fp16, int8 or int8-w7; may be given several times."),
]
Runtime: TypeAlias = Annotated[Optional[str], typer.Option("--runtime", help="Use this runtime or fail.")]  # noqa: UP045
Variant: TypeAlias = Annotated[Optional[str], typer.Option("--variant", help="Use this variant or fail.")]  # noqa: UP045
Threads: TypeAlias = Annotated[Optional[int], typer.Option(min=1, help="Default: the physical cores given to us.")]  # noqa: UP045
Trust: TypeAlias = Annotated[str, typer.Option(help="required, if-present or off: what to ask of the signature.")]
Keys: TypeAlias = Annotated[Optional[Path], typer.Option(help="Folder of trusted .pub keys.")]  # noqa: UP045


def policy(trust: str, keys: Path | None) -> TrustPolicy:
    """The trust policy of two options."""
    if trust not in ("required", "if-present", "off"):
        raise BadUsage(f"--trust is required, if-present or off, not {trust!r}")
    return TrustPolicy(mode=cast(TrustMode, trust), keys=keys)
