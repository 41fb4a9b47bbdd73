"""What a place is made with, among the keyword arguments of an orchestrator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from claude_mpm.environments.base import Environment

_WRITABLE = (str, int, float, bool, list, tuple)
_SECRET = frozenset({"token", "variables"})  # may be secret; a resume is given them again


def take_place_settings(place: type[Environment], options: dict[str, Any]) -> dict[str, Any]:
    """Take from the options what the constructor of the place has an argument for, and return it.

    A place has no argument with the name of an option of every orchestrator.
    """
    return {name: options.pop(name) for name in place_settings(place) if name in options}


def place_settings(place: type[Environment]) -> tuple[str, ...]:
    """Return the names of what a place can be made with."""
    code = getattr(place.__init__, "__code__", None)
    if code is None:  # it has no constructor of its own
        return ()
    names: tuple[str, ...] = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return names[1:]


def recorded(settings: dict[str, Any]) -> dict[str, Any]:
    """Return what of it can be written down, for a resume in another process; no secrets."""
    return {
        name: value
        for name, value in settings.items()
        if isinstance(value, _WRITABLE) and name not in _SECRET
    }
