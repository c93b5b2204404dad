"""What a run must have in common with the checkpoint that it resumes from, as text that can be shown.

Knows no network, no kind of data and no family: whoever trains says what its data and weights are.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import nn

from edge_sdk.export.option import specs_of

LASTING = frozenset({"steps", "time_budget_s", "checkpoint_every_s", "threads", "device"})
"""Not part of a run's identity, in options and recipes alike: how long it lasts and where it is computed, not what is
learned."""
LISTING = "pictures"
"""Text in `made_of` with a line per training sample, which only serves to tell how "data" changed. A family whose
samples are something else leaves it out: the name is in checkpoints, so it is one for all."""


def identify(options: Any, recipe: object = None, *, code: str, **made_of: str) -> dict[str, str]:
    """Text by name, in the order in which differences are worth telling.

    options, recipe: dataclasses; a recipe's names begin with "recipe.". An option of kind "path" is left out, since
    what lies there counts and not where it lies: `made_of` says what. made_of: digests or names of data and weights.
    code: bumped when older checkpoints can no longer be resumed.
    """
    paths = {name for name, spec in specs_of(type(options)).items() if spec.kind == "path"}
    chosen = {name: text for name, text in _texts("", options) if name not in paths}
    learned_by = {} if recipe is None else dict(_texts("recipe.", recipe))
    return {**chosen, **made_of, **learned_by, "code": code}


def differences(stored: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What differs, a sentence each; how the data changed where both have a LISTING."""
    names = [*now, *(name for name in stored if name not in now)]
    return [_difference(name, stored, now) for name in names if stored.get(name) != now.get(name) and name != LISTING]


def _difference(name: str, stored: Mapping[str, str], now: Mapping[str, str]) -> str:
    if name == "data" and LISTING in stored and LISTING in now:
        before, after = (Counter(identity[LISTING].split("\n")) for identity in (stored, now))
        added, removed = (after - before).total(), (before - after).total()
        if added or removed:
            return f"the {LISTING} changed since it began: {added} added, {removed} removed"
        return f"the {LISTING} have the names that they had when it began, but other contents or parts"
    return f"{name} was {stored.get(name, 'not there')}, is {now.get(name, 'not there')} now"


def digest(identified: Mapping[str, str]) -> str:
    """16 hexadecimal digits, for the name of a file."""
    return hashlib.sha256(json.dumps(dict(identified), sort_keys=True).encode()).hexdigest()[:16]


def digest_of_weights(net: nn.Module) -> str:
    """16 hexadecimal digits of all tensors of a network and their names."""
    total = hashlib.sha256()
    for name, tensor in net.state_dict().items():
        total.update(name.encode() + tensor.cpu().numpy().tobytes())
    return total.hexdigest()[:16]


def _texts(prefix: str, value: object) -> Iterator[tuple[str, str]]:
    """(name, text) of each field, those of dataclasses inside too."""
    assert is_dataclass(value)
    for field in fields(value):
        inner: Any = getattr(value, field.name)
        if field.name in LASTING:
            continue
        if is_dataclass(inner):
            yield from _texts(f"{prefix}{field.name}.", inner)
        else:
            yield prefix + field.name, inner if isinstance(inner, str) else json.dumps(inner, default=_plain)


def _plain(value: object) -> object:
    """What JSON has no word for: a dataclass in a tuple, or a path."""
    return dict(_texts("", value)) if is_dataclass(value) else str(value)
