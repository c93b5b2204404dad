"""Fields of options dataclasses, and what a command line must know of each. Knows no command line and no family.

>>> @dataclass(frozen=True, kw_only=True)
... class MyOptions(FamilyOptions):
...     size: str = option("small", help="small or large.", choices=("small", "large"))
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from edge_sdk.counted import did_you_mean, listed
from edge_sdk.errors import BadUsage

Kind = Literal["text", "texts", "int", "float", "flag", "path", "seconds", "rate"]
"""How the text of an option is read. "seconds": "90s", "10min", kept as float. "rate": "1%" or "0.01", kept as text,
which alone is exact. "path": a file or folder, kept as Path. "texts": may be repeated, kept as a tuple of text."""
_VALUES: Mapping[Kind, type | tuple[type, ...]] = {
    "text": str, "rate": str, "int": int, "float": (int, float), "seconds": (int, float), "path": Path,
    "texts": tuple,
}  # fmt: skip
_METADATA = "edge_sdk.option"


@dataclass(frozen=True, kw_only=True)
class TaskOptions:
    """What exporting a task adds to the command line; a task that adds something has a subclass with fields of its own.

    data_name, data_help: what the command line calls the data. data_needed: whether it must be given any.
    Raises BadUsage for a value that its field does not allow.
    """

    data_name: ClassVar[str] = "DATA"
    data_help: ClassVar[str] = "What to train on, where the family needs anything."
    data_needed: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionSpec:
    """One field that a command line may set. field: its name. name: of the option, "--" and all. help: one sentence.

    least, most: what a number may be, both included. choices: every value that there is, () = any. training: only a
    training reads it; exporting: only an export of what is trained already, so that no training offers it. as_is: a
    flag that trains nothing, so that weights are exported as they are.
    """

    field: str = ""
    name: str = ""
    kind: Kind = "text"
    help: str = ""
    least: float | None = None
    most: float | None = None
    choices: tuple[Any, ...] = ()
    training: bool = False
    exporting: bool = False
    as_is: bool = False

    def check(self, value: Any) -> None:
        """BadUsage for a value that is not one of `choices` or not between `least` and `most`. None is always right."""
        if value is None:
            return
        if self.choices and value not in self.choices:
            words = [str(choice) for choice in self.choices]
            raise BadUsage(
                f"{self.name} is {listed(words)}, not {value}",
                hint=f"{did_you_mean(str(value), words)}Write {self.name} {words[0]}",
            )
        low = self.least is not None and value < self.least
        if low or (self.most is not None and value > self.most):
            below = f" and at most {self.most:g}" if self.most is not None else ""
            nearest = self.least if low or self.most is None else self.most
            raise BadUsage(
                f"{self.name} is at least {self.least or 0:g}{below}, not {value}",
                hint=f"Write {self.name} {nearest or 0:g}, or leave it out",
            )


def option(
    default: Any, *, help: str, kind: Kind = "text", name: str = "", least: float | None = None,
    most: float | None = None, choices: tuple[Any, ...] = (), training: bool = False, exporting: bool = False,
    as_is: bool = False,
) -> Any:  # fmt: skip
    """A dataclass field with what a command line needs to offer it. name: default: "--" and the field's name. The rest
    as in `OptionSpec`.

    Raises TypeError for a default that the command line could not give back: of another type than `kind` (None apart),
    or none of `choices`.
    """
    if kind not in get_args(Kind):
        raise TypeError(f"{kind} is no kind of option")
    if default is not None and not _is(default, kind):
        raise TypeError(f"the default {default!r} is no value of an option of kind {kind!r}: state its kind")
    if default is not None and choices and default not in choices:
        raise TypeError(f"the default {default!r} is none of the choices {', '.join(repr(one) for one in choices)}")
    spec = OptionSpec(
        name=name, kind=kind, help=help, least=least, most=most, choices=choices, training=training,
        exporting=exporting, as_is=as_is,
    )  # fmt: skip
    return field(default=default, metadata={_METADATA: spec})


def _is(default: Any, kind: Kind) -> bool:
    """Whether the text of an option of `kind` could be read as `default`. True is no number."""
    if kind == "flag" or isinstance(default, bool):
        return kind == "flag" and isinstance(default, bool)
    return isinstance(default, _VALUES[kind])


def specs_of(options: type[Any]) -> Mapping[str, OptionSpec]:
    """What a command line may set of an options dataclass, by field, in the order in which they stand there."""
    out = {}
    for one in fields(options):
        spec = one.metadata.get(_METADATA)
        if isinstance(spec, OptionSpec):
            out[one.name] = replace(spec, field=one.name, name=spec.name or f"--{one.name.replace('_', '-')}")
    return out


def defaults_of(options: type[Any]) -> Mapping[str, Any]:
    """The default of each field that has one."""
    return {one.name: one.default for one in fields(options) if one.default is not MISSING}


def as_is_of(options: type[Any]) -> OptionSpec | None:
    """The flag that exports weights as they are, None = there is none."""
    return next((spec for spec in specs_of(options).values() if spec.as_is), None)


def check(options: Any) -> None:
    """BadUsage for the first field whose value its `option` does not allow, and for one that only a training reads
    beside the flag that trains nothing."""
    specs, defaults = specs_of(type(options)), defaults_of(type(options))
    for name, spec in specs.items():
        spec.check(getattr(options, name))
    flag = as_is_of(type(options))
    if flag is None or not getattr(options, flag.field):
        return
    for name, spec in specs.items():
        if spec.training and getattr(options, name) != defaults[name]:
            raise BadUsage(
                f"{spec.name} is for a training, and {flag.name} trains nothing", hint="Leave one of them out"
            )
