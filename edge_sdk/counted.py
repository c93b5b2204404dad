"""Parts of a sentence: "3 pictures"; "a, b or c"; "85.0 %"; "-0.4 pp"; "Did you mean a?". Knows nothing else."""

from __future__ import annotations

from collections.abc import Iterable


def counted(count: int, noun: str, plural: str = "") -> str:
    """`count` and `noun` in singular or plural. plural: where it is not the noun with an "s"."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def listed(words: Iterable[str], joined: str = "or") -> str:
    """The words with commas between them and `joined` before the last: "a", "a or b", "a, b or c"; "" for none."""
    *first, last = list(words) or [""]
    return f"{', '.join(first)} {joined} {last}" if first else last


def percent(share: float, digits: int = 1) -> str:
    """A share of 1 as "85.0 %", with a space as in the documents."""
    return f"{100 * share:.{digits}f} %"


def signed(value: float, digits: int) -> str:
    """ "+0.3", "-0.3", and "0.0" without a sign for what rounds to it."""
    text = f"{value:+.{digits}f}"
    return text if text.strip("+-0.") else text[1:]


def points(change: float, interval: tuple[float, float] | None = None, digits: int = 1) -> str:
    """The change of a share as percentage points: "-0.4 pp", with its interval "-0.4 [-0.6, -0.2] pp"."""
    ends = "" if interval is None else f" [{', '.join(signed(100 * end, digits) for end in interval)}]"
    return f"{signed(100 * change, digits)}{ends} pp"


def closest(word: str, names: Iterable[str]) -> str:
    """The name that is spelled most like `word`, "" if none is close."""
    from difflib import get_close_matches  # on the way to an error only

    return next(iter(get_close_matches(word, list(names), n=1)), "")


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """The beginning of a hint, "Did you mean tinysam? ", for a name that there is not; "" if none is close."""
    found = closest(word, names)
    return f"Did you mean {found}? " if found else ""
