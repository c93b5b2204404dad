"""The bytes of a file that a user names; never of a folder, a pipe or a device, whose reading may not end."""

from __future__ import annotations

import os
from pathlib import Path

from edge_sdk.errors import BadInput
from edge_sdk.shown import shown, unreadable


def read(path: Path, *, what: str, where: str = "") -> bytes:
    """All of them. what: should be there, with its article: "a picture". where: of errors, "" = the path.

    Raises BadInput as `check` does, and where the system refuses.
    """
    check(path, what=what, where=where)
    try:
        return path.read_bytes()
    except OSError as exc:
        raise unreadable(where or path, exc) from exc


def check(path: Path, *, what: str, where: str = "") -> None:
    """Raises BadInput for what is there and is no regular file; a link counts as what it leads to."""
    if os.path.exists(path) and not os.path.isfile(path):  # both answer for a name that is too long, too
        kind = "a folder" if os.path.isdir(path) else "a pipe or a device"
        raise BadInput(f"this is {kind}, not {what}", where=where or shown(path), hint=f"Name a file: {what}")
