"""The command line, called in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_sdk.cli.main import run


def called(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    """Exit code, stdout, and stderr in one line."""
    with pytest.raises(SystemExit) as left:
        run([str(word) for word in words])
    out = capsys.readouterr()
    return int(left.value.code or 0), out.out, " ".join(out.err.split())
