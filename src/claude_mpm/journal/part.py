"""The names of files in a folder of which there are many at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path


class _Folder(Protocol):
    path: Path


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
