"""Which orchestrators there are, and where each comes from."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.errors import RegistrationError, UnknownOrchestrator
from claude_mpm.orchestration.built_in import BUILT_IN
from claude_mpm.orchestration.orchestrator import MPMOrchestrator
from claude_mpm.validation import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.metadata import EntryPoint

ENTRY_POINT_GROUP = "claude_mpm.orchestrators"


class Registration(msgspec.Struct, frozen=True):
    """One orchestrator that can be chosen by name.

    Args:
        source: "built in", "entry point of PACKAGE", or the module that registered it.
    """

    name: str
    cls: type[MPMOrchestrator]
    source: str


_registered: dict[str, Registration] = {
    name: Registration(name, cls, "built in") for name, cls in BUILT_IN.items()
}
_failed: dict[str, RegistrationError] = {}
_entry_points_loaded = False


def register_orchestrator(name: str, cls: type[MPMOrchestrator]) -> None:
    """Make an orchestrator known under a name.

    Raises:
        RegistrationError: the name is taken by another class, or `cls` is no MPMOrchestrator.
    """
    _register(name, cls, getattr(cls, "__module__", "this program"))


def create_orchestrator(name: str, *args: Any, **options: Any) -> Any:
    """Return a new orchestrator.

    Args:
        name: under which it is registered.
        args: handed to its class, as `options` are.

    Raises:
        UnknownOrchestrator: nothing is registered under the name.
    """
    return find_orchestrator(name).cls(*args, **options)


def find_orchestrator(name: str) -> Registration:
    """Return what is registered under a name.

    Raises:
        UnknownOrchestrator: nothing is.
        RegistrationError: an installed package's orchestrator cannot be loaded.
    """
    if name not in _registered:
        _load_entry_points()
    if name in _registered:
        return _registered[name]
    if name in _failed:
        raise _failed[name]
    near = nearest(name, _registered)
    hint = f"did you mean {near!r}? " if near else ""
    raise UnknownOrchestrator(
        f"no orchestrator {name!r}; {hint}there are: {', '.join(sorted(_registered))}"
    )


def orchestrators() -> list[Registration]:
    """Return all that is registered, also by installed packages, in the order of names."""
    _load_entry_points()
    return [_registered[name] for name in sorted(_registered)]


def failed_orchestrators() -> dict[str, RegistrationError]:
    """Return why orchestrators of installed packages could not be loaded, by their names."""
    _load_entry_points()
    return dict(_failed)


def load_plugins(modules: Iterable[str]) -> None:
    """Import modules that register orchestrators.

    Raises:
        RegistrationError: one of them cannot be imported.
    """
    for module in modules:
        try:
            importlib.import_module(module)
        except RegistrationError:
            raise
        except (Exception, SystemExit) as error:
            raise RegistrationError(
                f"plugin {module!r} cannot be imported: {_one_line(error)}"
            ) from error


def _register(name: str, cls: type[MPMOrchestrator], source: str) -> None:
    if not isinstance(name, str) or not name:
        raise RegistrationError(f"an orchestrator's name must be a word, not {name!r}")
    if not (isinstance(cls, type) and issubclass(cls, MPMOrchestrator)):
        raise RegistrationError(
            f"orchestrator {name!r}: {cls!r} is no class derived from MPMOrchestrator"
        )
    known = _registered.get(name)
    if known is not None and _identity(known.cls) != _identity(cls):
        raise RegistrationError(
            f"orchestrator {name!r} is registered already ({known.source}); choose another name"
        )
    _registered[name] = Registration(name, cls, source)


def _identity(cls: type) -> tuple[str, str]:
    """Tell classes apart by where they are defined, so that a module may be imported again."""
    return cls.__module__, cls.__qualname__


def _load_entry_points() -> None:
    global _entry_points_loaded
    if _entry_points_loaded:
        return
    _entry_points_loaded = True
    from importlib.metadata import entry_points

    for entry in entry_points(group=ENTRY_POINT_GROUP):
        try:
            _load_entry_point(entry)
        except RegistrationError as error:
            # It must not stop those who want another one.
            _failed[entry.name] = error


def _load_entry_point(entry: EntryPoint) -> None:
    package = entry.dist.name if entry.dist else "an installed package"
    try:
        cls = entry.load()
    except Exception as error:
        raise RegistrationError(
            f"orchestrator {entry.name!r} of {package} cannot be loaded: {_one_line(error)}"
        ) from error
    _register(entry.name, cls, f"entry point of {package}")


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
