"""Who may use the page: tokens and one-time links, kept as hashes beside the sessions."""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import re
import secrets
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from claude_mpm.errors import StorageError, UsageError
from claude_mpm.folders import check_private, check_secret, make_private
from claude_mpm.journal.storage import storage_errors, write_whole
from claude_mpm.validation import NOT_JSON

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Role = Literal["read", "steer"]
LINK_SECONDS = 300.0  # how long a one-time link waits to be opened
BROWSER_SECONDS = 30 * 86400.0  # how long a browser stays let in
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_CODE = re.compile(r"[0-9a-f]{64}")


class WebToken(msgspec.Struct, frozen=True, kw_only=True):
    """One token as it is kept: without the token itself.

    Args:
        name: whose it is; "browser" for what a one-time link was exchanged for.
        id: part of the token.
        role: "read" for looking alone, "steer" for everything.
        sha256: hash of the token. It has 256 random bits, which a fast hash protects well enough.
        key_sha256: hash of the browser's second secret; empty for a token of a program.
        created_at: seconds since the epoch.
        expires_at: seconds since the epoch; None for never.
    """

    name: str
    id: str
    role: Role
    sha256: str
    key_sha256: str = ""
    created_at: float
    expires_at: float | None = None

    @property
    def is_browser(self) -> bool:
        """Whether it counts only as a cookie, and with the browser's second secret."""
        return bool(self.key_sha256)


class Admission(NamedTuple):
    """The admission of somebody by a token.

    Args:
        tokens: those that there are.
        token: the one that was shown.
    """

    tokens: WebTokens
    token: WebToken

    def holds(self) -> bool:
        """Return whether the token is still valid.

        Raises:
            StorageError: the file of the tokens is damaged, or can be read by others.
        """
        return self.token in self.tokens.all()


class _Link(msgspec.Struct, frozen=True):
    role: Role
    expires_at: float


class WebTokens:
    """The tokens of a state folder; the file is read again whenever it has changed.

    Args:
        folder: where they are kept; it is made where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / "tokens.json"
        self._links = folder / "links"
        self._seen: tuple[int, int, int] | None = None
        self._tokens: dict[str, WebToken] = {}

    def all(self) -> list[WebToken]:
        """Return every token that is valid, oldest first.

        Raises:
            StorageError: the file is damaged, or can be read by others.
        """
        now = time.time()
        return [each for each in self._read().values() if (each.expires_at or now + 1) > now]

    def find(self, given: str) -> WebToken | None:
        """Return the token that was shown; None where it is none of ours, or has expired."""
        known = self._read().get(given.rpartition("_")[0].removeprefix("mpmw_"))
        kept = known.sha256 if known is not None else _hash("")
        if not hmac.compare_digest(kept, _hash(given)) or known is None:
            return None
        return known if known.expires_at is None or known.expires_at > time.time() else None

    def add(self, name: str, role: Role) -> str:
        """Make a token for a program and return it; nobody can read it again.

        Raises:
            UsageError: the name is taken, or cannot be one.
            StorageError: it could not be kept.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} cannot be a token's name: use letters, digits, _ -")
        with self._alone():
            if any(each.name == name for each in self.all()) or name == "browser":
                raise UsageError(
                    f"there is a token {name!r} already; revoke it, or choose another name"
                )
            return self._add(name, role)

    def make_link_code(self, role: Role) -> str:
        """Return the code of a new one-time link, valid for `LINK_SECONDS`.

        Raises:
            StorageError: it could not be kept.
        """
        code = secrets.token_hex(32)
        link = _Link(role, time.time() + LINK_SECONDS)
        with storage_errors(self._links):
            make_private(self._links)
            check_private(self._links)
            self._remove_expired()
            write_whole(self._links / _hash(code), msgspec.json.encode(link))
        return code

    def redeem(self, code: str) -> tuple[str, str, WebToken] | None:
        """Exchange the code of a link, once, for a browser's token.

        Returns:
            The token, the browser's second secret, and what is kept of both; None where the code is
            none, was used, or has expired.
        """
        link = self._take_link(code) if _CODE.fullmatch(code) else None
        if link is None or link.expires_at < time.time():
            return None
        key = secrets.token_hex(32)
        with self._alone():
            token = self._add("browser", link.role, key=key, expires_in=BROWSER_SECONDS)
        kept = self.find(token)
        return None if kept is None else (token, key, kept)

    def revoke(self, name: str) -> None:
        """Make the tokens of that name, or the one with that id, invalid.

        Raises:
            UsageError: there is none.
        """
        with self._alone():
            tokens = self.all()
            left = [each for each in tokens if name not in (each.name, each.id)]
            if len(left) == len(tokens):
                raise UsageError(
                    f"no token is named {name!r}; `claude-mpm web token list` lists them"
                )
            self._write(left)

    def _take_link(self, code: str) -> _Link | None:
        """Return what a code stands for and forget it; of several who take it, one gets it."""
        file = self._links / _hash(code)
        try:
            link = msgspec.json.decode(file.read_bytes(), type=_Link)
            file.unlink()
        except (FileNotFoundError, *NOT_JSON):
            return None
        return link

    def _remove_expired(self) -> None:
        limit = time.time() - LINK_SECONDS
        for each in self._links.iterdir():
            with suppress(FileNotFoundError):  # its browser has come meanwhile
                if each.stat().st_mtime < limit:
                    each.unlink()

    def _add(self, name: str, role: Role, *, key: str = "", expires_in: float | None = None) -> str:
        token_id, now = secrets.token_hex(8), time.time()
        secret = f"mpmw_{token_id}_{secrets.token_hex(32)}"
        token = WebToken(
            name=name,
            id=token_id,
            role=role,
            sha256=_hash(secret),
            key_sha256=_hash(key) if key else "",
            created_at=now,
            expires_at=now + expires_in if expires_in else None,
        )
        self._write([*self.all(), token])
        return secret

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold off other processes of this user's that change the list; the kernel ends it."""
        with storage_errors(self.file):
            make_private(self.file.parent)
            folder = os.open(self.file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def _read(self) -> dict[str, WebToken]:
        with storage_errors(self.file):
            check_private(self.file.parent)
            try:
                status = self.file.lstat()
            except FileNotFoundError:
                self._seen, self._tokens = None, {}
                return self._tokens
            check_secret(self.file, status)
            seen = (status.st_mtime_ns, status.st_ino, status.st_size)
            if seen == self._seen:
                return self._tokens
            data = self.file.read_bytes()
        try:
            tokens = msgspec.json.decode(data, type=list[WebToken])
        except NOT_JSON as error:
            raise StorageError(
                f"{self.file}: not a list of tokens ({error}); remove it and make new ones"
            ) from error
        self._seen, self._tokens = seen, {token.id: token for token in tokens}
        return self._tokens

    def _write(self, tokens: list[WebToken]) -> None:
        with storage_errors(self.file):
            write_whole(self.file, msgspec.json.format(msgspec.json.encode(tokens)) + b"\n")


def holds_key(token: WebToken, key: str) -> bool:
    """Return whether a browser's second secret is the one of its token."""
    return hmac.compare_digest(token.key_sha256, _hash(key))


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
