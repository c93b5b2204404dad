"""A number with its noun, as text: "1 picture", "3 pictures". Knows nothing else."""

from __future__ import annotations


def counted(count: int, noun: str, plural: str = "") -> str:
    """`count` and `noun` in singular or plural. plural: where it is not the noun with an "s"."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"
