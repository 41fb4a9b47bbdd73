"""Which folders clients may have their sessions work in."""

from __future__ import annotations

import os
import pwd
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from claude_mpm.errors import UsageError
from claude_mpm.server.message_socket import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence


class Roots:
    """The folders that the operator has named, and what is below them.

    The home of the server's user, its state folder, what is in that, and all folders above the two
    are left out unless they are named themselves: whoever works in one of them has the keys of the
    server's user, and the sessions of other tokens.

    Args:
        named: the folders; empty for `default` alone.
        default: the folder that is worked in where the client asks for none; empty where the place
            has one of its own.
        state: the state folder.
        here: whether the place sees this machine's folders, whose links can be followed.

    Raises:
        UsageError: a named folder is not absolute or not there, or nobody has named one, and
            `default` is one that must be named.
    """

    def __init__(self, named: Sequence[str], default: str, state: Path, *, here: bool) -> None:
        self._here = here
        self._state = Path(os.path.realpath(state))
        self._kept = (*_homes(), self._state) if here else ()
        self._named = [self._root(each) for each in named]
        self._below = self._named or ([self._real(default)] if default else [])
        if here and not named and self._is_kept(self._below[0]):
            raise UsageError(
                f"clients would work in {self._below[0]}, in which are the keys or the sessions of"
                " the server's user; name the folder that they may work in: --root DIR"
            )

    def take(self, cwd: str) -> str:
        """Return a folder that a client has asked for, without links where they can be followed.

        Raises:
            Refused: it is not below a folder that was named.
        """
        if not self._here and not PurePosixPath(cwd).is_absolute():
            raise Refused(f"{cwd[:200]!r} is no absolute path")
        folder = self._real(cwd)
        if folder in self._named:
            return str(folder)
        if self._is_kept(folder) or not any(
            root in (folder, *folder.parents) for root in self._below
        ):
            raise Refused(
                f"clients of this server may not work in {cwd[:200]!r}; `claude-mpm serve --root`"
                " names the folders in which they may"
            )
        return str(folder)

    def _root(self, named: str) -> Path:
        folder = self._real(named)
        if self._here and not folder.is_dir():
            raise UsageError(f"--root: there is no folder {named}")
        if not self._here and not PurePosixPath(named).is_absolute():
            raise UsageError(f"--root: {named} is a folder of another machine; give its whole path")
        return folder

    def _real(self, folder: str) -> Path:
        return Path(os.path.realpath(folder) if self._here else os.path.normpath(folder))

    def _is_kept(self, folder: Path) -> bool:
        above = any(folder in (kept, *kept.parents) for kept in self._kept)
        return above or (self._here and self._state in folder.parents)


def _homes() -> list[Path]:
    """Return the home of this user, as the environment and as the system has it."""
    homes = [os.environ.get("HOME", "")]
    with suppress(KeyError):  # a number without a name
        homes.append(pwd.getpwuid(os.geteuid()).pw_dir)
    return [Path(os.path.realpath(home)) for home in homes if home]
