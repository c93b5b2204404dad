"""A torch module of the user's own: its factory is imported and called, its weights are read. Knows no graph.

The factory is the user's code and runs with all that it can do; a weights file is data, and nothing in it is run.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
import site
import sys
import sysconfig
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from edge_sdk import plain_file
from edge_sdk.counted import counted
from edge_sdk.errors import BadInput, BadUsage
from edge_sdk.extras import first_sentence
from edge_sdk.runtimes.feeds import kind_of
from edge_sdk.shown import shown

PICKLED = frozenset({".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle"})
"""Suffixes of files that torch.save and pickle write. Reading one runs what it says."""
CONVERT = (
    'Write it as safetensors, where it comes from: python -c "import torch, safetensors.torch as s; '
    "s.save_file(torch.load('{name}', weights_only=True), '{stem}.safetensors')\""
)
_LISTED = 5
"""Names of weights that one error lists."""


def made(word: str, *, arguments: Mapping[str, Any], folder: Path) -> nn.Module:
    """The module that "package.module:factory" makes, ready for inference. folder: searched for packages, too.

    Raises BadUsage: not of that form, no such module or attribute, nothing that can be called; BadInput: the import or
    the factory raises, whose message, file and line it holds, or what it returns is no nn.Module.
    """
    factory = _found(word, folder)
    if isinstance(factory, nn.Module) and not arguments:
        return factory.eval()
    if not callable(factory) or isinstance(factory, nn.Module):
        what = "a module, which takes no --arg" if isinstance(factory, nn.Module) else kind_of(factory)
        raise BadUsage(f"{word} is {what}, not a function or class that makes a module")
    result = _called(factory, word, arguments)
    if not isinstance(result, nn.Module):
        raise BadInput(
            f"{word} returns {kind_of(result)}, not a torch.nn.Module",
            hint="Name a callable that returns the model",
        )
    return result.eval()


def arguments_of(words: Sequence[str]) -> dict[str, Any]:
    """Keyword arguments from "key=value"; a value is a Python literal where it is one, else text. Raises BadUsage."""
    found: dict[str, Any] = {}
    for word in words:
        key, sign, text = word.partition("=")
        if not sign or not key.isidentifier():
            raise BadUsage(f"--arg {shown(word)[:80]} is not key=value", hint="Write --arg width=32")
        if key in found:
            raise BadUsage(f"--arg {key} is given twice")
        try:
            found[key] = ast.literal_eval(text) if len(text) <= 10_000 else text
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            found[key] = text
    return found


def load(module: nn.Module, path: Path) -> None:
    """Fill the parameters and buffers of a module from a .safetensors file, all of them and no others.

    Raises BadInput: no such file, a pickle, not safetensors, and by name weights that are missing, unexpected, or of
    another shape.
    """
    where = shown(path)
    if path.suffix.lower() in PICKLED:
        hint = CONVERT.format(name=path.name, stem=path.stem)
        raise BadInput("this is a pickle by its name, which can run any code when it is read", where=where, hint=hint)
    plain_file.check(path, what="a .safetensors file")
    if not path.exists():
        raise BadInput("there is no such file", where=where, hint="Check the path of --weights")
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        weights = load_file(path)
    except (SafetensorError, OSError, ValueError) as exc:
        raise BadInput(
            f"this is no safetensors file: {first_sentence(exc)}", where=where,
            hint=CONVERT.format(name=path.name, stem=path.stem),
        ) from exc  # fmt: skip
    own = module.state_dict()
    if problems := _misfits(own, weights):
        raise BadInput(
            f"the weights are not those of this module: {'; '.join(problems)}", where=where,
            hint="Give the factory the --arg values that the weights were trained with, or other weights",
        )  # fmt: skip
    module.load_state_dict(weights, strict=False)  # what is missing shares its memory with what is there


def _misfits(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> list[str]:
    """What is wrong, a phrase for each kind."""
    there = {_memory(own[name]) for name in weights if name in own}
    missing = [name for name in own if name not in weights and _memory(own[name]) not in there]
    unexpected = [name for name in weights if name not in own]
    shapes = [
        f"{name} has {tuple(weights[name].shape)}, the module {tuple(own[name].shape)}"
        for name in own if name in weights and weights[name].shape != own[name].shape
    ]  # fmt: skip
    kinds = (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
    return [f"{counted(len(names), 'tensor')} {kind}: {_listed(names)}" for kind, names in kinds if names]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(shown, names[:_LISTED])) + ", ..." * (len(names) > _LISTED)


def _memory(tensor: Tensor) -> object:
    """Equal for two names of one parameter: safetensors keeps shared memory once."""
    return (tensor.data_ptr(), tensor.shape) if tensor.numel() else id(tensor)


def _found(word: str, folder: Path) -> Any:
    name, sign, attribute = word.partition(":")
    if name.endswith(".py") and sign:
        file = Path(name).with_suffix("")
        parts = (file.name,) if file.is_absolute() or ".." in file.parts else file.parts
        raise BadUsage(
            f"{shown(word)[:80]!r} names a file, not a module",
            hint=f"Write {shown('.'.join(parts))}:{shown(attribute)}",
        )
    if not sign or not attribute or not all(part.isidentifier() for part in name.split(".")):
        raise BadUsage(f"{shown(word)[:80]!r} is not package.module:factory", hint="Write my_package.networks:make")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        found: Any = importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if exc.name is not None and f"{name}.".startswith(f"{exc.name}."):
            raise BadUsage(
                f"there is no module {exc.name}",
                where=word,
                hint="The current folder and installed packages are searched",
            ) from exc
        raise _fails(f"importing {name}", exc) from exc
    except (Exception, SystemExit) as exc:
        raise _fails(f"importing {name}", exc) from exc
    for part in attribute.split("."):
        if not hasattr(found, part):
            near = difflib.get_close_matches(part, [one for one in vars(found) if not one.startswith("_")], n=3)
            hint = f"Did you mean {' or '.join(near)}?".rstrip("?") if near else ""
            raise BadUsage(f"{name} has no {shown(attribute)[:80]}", where=shown(word)[:160], hint=hint)
        found = getattr(found, part)
    return found


def _called(factory: Callable[..., Any], word: str, arguments: Mapping[str, Any]) -> Any:
    try:
        inspect.signature(factory).bind(**arguments)
    except TypeError as exc:
        raise BadUsage(f"{word} can't be called with these --arg: {exc}", hint="Give --arg key=value for each") from exc
    except ValueError:  # a built-in states no signature
        pass
    try:
        return factory(**arguments)
    except (Exception, SystemExit) as exc:
        raise _fails(word, exc) from exc


def _fails(what: str, exc: BaseException) -> BadInput:
    return BadInput(f"{what} fails: {type(exc).__name__}: {' '.join(str(exc).split())[:400]}{at_line(exc)}")


def at_line(exc: BaseException) -> str:
    """ " (net.py, line 12)": the innermost line of the user's own code that an exception passed, "" = none."""
    ours = Path(__file__).resolve().parent
    outside = [sysconfig.get_paths()["stdlib"], *site.getsitepackages(), sysconfig.get_paths()["purelib"]]
    frames = [
        frame for frame in traceback.extract_tb(exc.__traceback__)
        if not frame.filename.startswith("<")
        and ours not in Path(frame.filename).resolve().parents
        and not any(Path(place) in Path(frame.filename).parents for place in outside)
    ]  # fmt: skip
    if isinstance(exc, SyntaxError) and exc.filename:
        return f" ({Path(exc.filename).name}, line {exc.lineno})"
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
