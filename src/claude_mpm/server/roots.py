"""In which folders the sessions of clients may work."""

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
    """The folders that the operator allows, with everything below them.

    The home of the server's user, its state folder with its contents, and all folders above these
    two are excluded unless they are named themselves: a session that works in one of them can read
    the keys of the server's user, and the sessions of other tokens.

    Args:
        named: the folders that the operator named; empty for `default` alone.
        default: the working folder of clients that ask for none; empty if the environment has
            one of its own.
        state: the state folder.
        local: whether sessions see this machine's folders, so that links can be resolved.

    Raises:
        UsageError: a named folder is not absolute or does not exist; or none is named, and
            `default` is one of the excluded.
    """

    def __init__(self, named: Sequence[str], default: str, state: Path, *, local: bool) -> None:
        self._local = local
        self._state = Path(os.path.realpath(state))
        self._private = (*_homes(), self._state) if local else ()
        self._named = [self._check_named(folder) for folder in named]
        self._allowed = self._named or ([self._normalize(default)] if default else [])
        if local and not named and self._is_excluded(self._allowed[0]):
            raise UsageError(
                f"clients would work in {self._allowed[0]}, in which are the keys or the sessions"
                " of the server's user; name the folder that they may work in: --root DIR"
            )

    def resolve(self, cwd: str) -> str:
        """Return the path of a working folder that a client asked for, its links resolved.

        Raises:
            Refused: it is not in an allowed folder.
        """
        if not self._local and not PurePosixPath(cwd).is_absolute():
            raise Refused(f"{cwd[:200]!r} is no absolute path")
        folder = self._normalize(cwd)
        if folder in self._named:
            return str(folder)
        if self._is_excluded(folder) or not any(
            root in (folder, *folder.parents) for root in self._allowed
        ):
            raise Refused(
                f"clients of this server may not work in {cwd[:200]!r}; `claude-mpm serve --root`"
                " names the folders in which they may"
            )
        return str(folder)

    def _check_named(self, named: str) -> Path:
        folder = self._normalize(named)
        if self._local and not folder.is_dir():
            raise UsageError(f"--root: there is no folder {named}")
        if not self._local and not PurePosixPath(named).is_absolute():
            raise UsageError(f"--root: {named} is a folder of another machine; give its whole path")
        return folder

    def _normalize(self, folder: str) -> Path:
        return Path(os.path.realpath(folder) if self._local else os.path.normpath(folder))

    def _is_excluded(self, folder: Path) -> bool:
        above = any(folder in (private, *private.parents) for private in self._private)
        return above or (self._local and self._state in folder.parents)


def _homes() -> list[Path]:
    """Return the home folders of this user: from the environment, and from the user database."""
    homes = [os.environ.get("HOME", "")]
    with suppress(KeyError):  # a user id without an entry
        homes.append(pwd.getpwuid(os.geteuid()).pw_dir)
    return [Path(os.path.realpath(home)) for home in homes if home]
