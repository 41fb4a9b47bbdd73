"""The names of files in a folder of which there are many at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from claude_mpm.journal.exchange import ExchangeFile

if TYPE_CHECKING:
    from pathlib import Path


class _Folder(Protocol):
    path: Path

    @property
    def given(self) -> Path: ...
    @property
    def exchange(self) -> Path: ...


class Part:
    """A file of a folder, as an attribute: a path is made when it is asked for, and not kept.

    Args:
        name: of the file.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, folder: _Folder, owner: type | None = None) -> Path:
        """Return its path in a folder."""
        return folder.path / self._name


class GivenPart(Part):
    """A file that a place may read, and not write."""

    def __get__(self, folder: _Folder, owner: type | None = None) -> Path:
        """Return its path in the folder of what is given."""
        return folder.given / self._name


class ExchangePart:
    """A file that a place writes.

    Args:
        name: of the file.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, folder: _Folder, owner: type | None = None) -> ExchangeFile:
        """Return it; no path, since nobody may open it as one."""
        return ExchangeFile(folder.exchange, self._name)
