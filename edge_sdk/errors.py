"""Every error that the product raises: what happened, where, what to do. Knows no other module of the product."""

from __future__ import annotations

from typing import ClassVar


class EdgeError(Exception):
    """What happened, where, what to do. Every subclass sets `exit_code`, the exit code of the command line."""

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what)  # args == (what,): survives pickle, so process pools keep where and hint
        self.where, self.hint = where, hint

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        end = "" if self.hint.endswith((".", "?", "!")) else "."
        return f"{where}{self.args[0]}" + (f". {self.hint}{end}" if self.hint else "")

    def to_json(self) -> dict[str, dict[str, str]]:
        """What a verb prints with `--json`."""
        what = {"kind": type(self).__name__, "what": str(self.args[0]), "where": self.where, "hint": self.hint}
        return {"error": what}


class CheckFailed(EdgeError):
    """A check did not hold: verify, lint, compare."""

    exit_code = 1


class BoundNotMet(CheckFailed):
    """A promised accuracy bound, or a requested false-reject rate, can't be met with what was given."""


class BadUsage(EdgeError):
    """The call itself is wrong: an option, an argument, a combination of them."""

    exit_code = 2


class BadInput(EdgeError):
    """A picture, a folder, a tensor or a graph that can't be used."""

    exit_code = 3


class BadBundle(BadInput):
    """A bundle that is cut, altered, hostile, or newer than this reader."""


class NotTrusted(BadBundle):
    """The trust policy asks for a signature that is missing, wrong, or from an unknown key."""


class CantWrite(BadInput):
    """A file that can't be written: full disk, no permission. What stood there before is untouched."""


class NotThere(EdgeError):
    """An extra, a runtime, a driver or a device that is not on this machine."""

    exit_code = 4


class WrongPrecision(NotThere):
    """A runtime compiled the graph to another device or precision than was asked for."""


class Stopped(EdgeError):
    """Stopped by the user; a checkpoint was kept."""

    exit_code = 5
