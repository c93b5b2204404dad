"""One row of the linter's answer. Knows no rule."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """rule: "L03". node: name of the node or tensor. what: what is wrong and who minds. do: how to mend it."""

    rule: str
    node: str
    what: str
    do: str

    def __str__(self) -> str:
        return f"{self.rule} {self.node}: {self.what}. {self.do}."
