"""The verbs `keygen` and `sign`: make keys and sign bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_sdk.cli import terminal
from edge_sdk.cli.options import Bundle


def keygen(
    name: Annotated[Path, typer.Argument(help="Writes NAME.key (secret) and NAME.pub.", show_default=False)],
    password: Annotated[
        bool, typer.Option("--password", help="Ask for a password and encrypt the secret key with it.")
    ] = False,
) -> None:
    """Make an Ed25519 key pair. Existing files are never overwritten.

    Example: edge-sdk keygen line3-export
    """
    from edge_sdk.bundle.signing import SigningKey

    key, words = SigningKey.generate(), None
    if password:
        words = typer.prompt("Password for the new key", hide_input=True, confirmation_prompt=True, err=True)
    secret, public = name.with_name(name.name + ".key"), name.with_name(name.name + ".pub")
    key.save(secret, password=words)
    key.public.save(public)
    terminal.out(
        f"{secret}  keep it secret\n{public}  copy it to the key folder of each device ({key.public.fingerprint})"
    )


def sign(
    bundle: Bundle, key: Annotated[Path, typer.Option(help="A .key file made by keygen.", show_default=False)],
    site: Annotated[bool, typer.Option("--site", help="Sign the site decisions instead of the sealed part.")] = False,
) -> None:  # fmt: skip
    """Sign the sealed part of a bundle. An existing signature is replaced.

    Example: edge-sdk sign line3.edge --key line3-export.key
    """
    from edge_sdk.bundle.store import sign_bundle

    with sign_bundle(bundle, terminal.signing_key(key), part="site" if site else "sealed") as signed:
        terminal.out(f"{bundle}: {signed.signature.words}")


COMMANDS = (keygen, sign)
