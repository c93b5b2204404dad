"""Parts of a sentence: "1 picture", "3 pictures"; "a, b or c". Knows nothing else."""

from __future__ import annotations

from collections.abc import Iterable


def counted(count: int, noun: str, plural: str = "") -> str:
    """`count` and `noun` in singular or plural. plural: where it is not the noun with an "s"."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def listed(words: Iterable[str], joined: str = "or") -> str:
    """The words with commas between them and `joined` before the last: "a", "a or b", "a, b or c"; "" for none."""
    *first, last = list(words) or [""]
    return f"{', '.join(first)} {joined} {last}" if first else last
