"""Optional imports and foreign exceptions: the two places where another package's failure becomes ours."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from edge_sdk.errors import BadInput, EdgeError, NotThere


def need(module: str, *, extra: str) -> ModuleType:
    """Import `module` on first use, or raise NotThere that says which extra brings it. Installs nothing, ever."""
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as exc:
        if isinstance(exc, ModuleNotFoundError) and exc.name is not None and f"{module}.".startswith(f"{exc.name}."):
            raise NotThere(f"{module} is not installed", do=f'pip install "edge-sdk[{extra}]"') from exc
        raise NotThere(f"{module} is installed but does not load: {exc}", do="edge-sdk devices says why") from exc


@contextmanager
def vendor_errors(
    vendor: str,
    *,
    where: str,
    do: str = "",
    raises: type[EdgeError] = BadInput,
    catch: tuple[type[Exception], ...] = (Exception,),
) -> Iterator[None]:
    """Whatever `vendor`'s library raises inside the block leaves it as `raises`, with the first line of its text."""
    try:
        yield
    except EdgeError:
        raise
    except catch as exc:
        text = (str(exc).strip().splitlines() or [type(exc).__name__])[0][:400]
        raise raises(f"{vendor} refused: {text}", where=where, do=do) from exc
