"""Options shared by several verbs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeAlias, cast

import typer

from edge_sdk.bundle.signing import Mode, TrustPolicy
from edge_sdk.counted import listed
from edge_sdk.errors import BadUsage
from edge_sdk.runtimes.variants import KINDS

Bundle: TypeAlias = Annotated[Path, typer.Argument(help="A .edge file.", show_default=False)]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="One JSON object on stdout instead of text.")]
JsonLines: TypeAlias = Annotated[
    bool, typer.Option("--json", help="One JSON object per input on stdout, each on its own line, instead of text.")
]
Runtimes: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--runtime", help="A runtime listed by edge-sdk devices; may be repeated."),
]
Variants: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--variant", help=f"{listed(KINDS)}; may be repeated."),
]
Runtime: TypeAlias = Annotated[str | None, typer.Option("--runtime", help="Use this runtime or fail.")]
Variant: TypeAlias = Annotated[
    str | None,
    typer.Option("--variant", help="Use this variant or fail; for each role: encoder=int8,decoder=fp32."),
]
Device: TypeAlias = Annotated[
    str | None,
    typer.Option("--device", help="Use this device or fail: CPU, GPU, NPU, CUDA, as edge-sdk devices lists."),
]
Threads: TypeAlias = Annotated[
    int | None, typer.Option(min=1, help="Number of threads. Default: one per available physical core.")
]
Trust: TypeAlias = Annotated[str, typer.Option(help="Signature policy: required, if-present or off.")]
Keys: TypeAlias = Annotated[Path | None, typer.Option(help="Folder of trusted .pub keys.")]


def named(words: Sequence[str], option: str) -> list[str]:
    """The inputs that a command line names. Raises BadUsage for an empty one: a path of no letters is this folder."""
    if not all(words):
        raise BadUsage(f"{option} names nothing", hint="Name files or folders; . is the current one")
    return list(words)


def variants(text: str | None) -> str | dict[str, str] | None:
    """A variant for every role, or by role ("encoder=int8,decoder=fp32")."""
    if text is None or "=" not in text:
        return text
    pairs = [part.partition("=") for part in text.split(",")]
    if any(not (role and sign and name) for role, sign, name in pairs):
        raise BadUsage(f"--variant {text!r} is not valid", hint="Write int8, or encoder=int8,decoder=fp32")
    return {role.strip(): name.strip() for role, _, name in pairs}


def policy(trust: str, keys: Path | None) -> TrustPolicy:
    """The trust policy from --trust and --keys."""
    if trust not in ("required", "if-present", "off"):
        raise BadUsage(f"--trust is required, if-present or off, not {trust!r}")
    return TrustPolicy(mode=cast(Mode, trust), keys=keys)
