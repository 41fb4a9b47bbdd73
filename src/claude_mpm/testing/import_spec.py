"""Naming a function so that another process can call it: its module, its name, its arguments."""

from __future__ import annotations

import functools
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable


class ImportSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A function and what it is called with, as JSON can carry it."""

    module: str
    name: str
    arguments: list[Any] = []
    keywords: dict[str, Any] = {}

    def function(self) -> Callable[..., Any]:
        """Return the function with its arguments, in a process that can import it."""
        found = _find(importlib.import_module(self.module), self.name)
        return functools.partial(found, *self.arguments, **self.keywords)


def name_of(make: Callable[..., Any]) -> ImportSpec:
    """Return how another process calls `make`: a function, a class, or a partial of one.

    Raises:
        ValueError: another process cannot import it; the message says what to do.
    """
    arguments: list[Any] = []
    keywords: dict[str, Any] = {}
    function: Any = make
    while isinstance(function, functools.partial):
        arguments = [*function.args, *arguments]
        keywords = {**function.keywords, **keywords}
        function = function.func
    module, name = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
    if _find(sys.modules.get(module), name) is not function:
        raise ValueError(
            f"{make!r} must be importable, so that another process can make the same place:"
            " give a function or class from the top of a module, or functools.partial of one"
        )
    return ImportSpec(module=_importable(module), name=name, arguments=arguments, keywords=keywords)


def _find(module: object, name: str) -> Any:
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def _importable(module: str) -> str:
    """Return the name under which another process finds the program that runs here."""
    if module != "__main__":
        return module
    program = sys.modules[module]
    spec = getattr(program, "__spec__", None)
    return str(spec.name) if spec else Path(getattr(program, "__file__", "") or "").stem
