"""Parts of a sentence: "1 picture", "3 pictures"; "a, b or c"; "Did you mean a?". Knows nothing else."""

from __future__ import annotations

from collections.abc import Iterable


def counted(count: int, noun: str, plural: str = "") -> str:
    """`count` and `noun` in singular or plural. plural: where it is not the noun with an "s"."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def listed(words: Iterable[str], joined: str = "or") -> str:
    """The words with commas between them and `joined` before the last: "a", "a or b", "a, b or c"; "" for none."""
    *first, last = list(words) or [""]
    return f"{', '.join(first)} {joined} {last}" if first else last


def closest(word: str, names: Iterable[str]) -> str:
    """The name that is spelled most like `word`, "" if none is close."""
    from difflib import get_close_matches  # on the way to an error only

    return next(iter(get_close_matches(word, list(names), n=1)), "")


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """The beginning of a hint, "Did you mean tinysam? ", for a name that there is not; "" if none is close."""
    found = closest(word, names)
    return f"Did you mean {found}? " if found else ""
