"""Who may use a server: tokens, what each is allowed, and where their hashes are kept."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import msgspec

from claude_mpm.errors import StorageError, UsageError
from claude_mpm.folders import check_private, check_secret, locked, make_private
from claude_mpm.journal.storage import storage_errors, write_whole
from claude_mpm.validation import NOT_JSON

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ANONYMOUS = "anonymous"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_Count = Annotated[int, msgspec.Meta(ge=1)]
_Positive = Annotated[float, msgspec.Meta(gt=0)]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one token is allowed.

    Args:
        sessions: how many may run at once.
        message_bytes: the longest message for Claude, in bytes.
        rate: messages a second, over all its connections; who sends faster is read more slowly.
        idle: seconds without a message after which a connection is closed.
    """

    sessions: _Count = 8
    message_bytes: _Count = 16 << 20
    rate: _Positive = 200.0
    idle: _Positive = 3600.0


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """One token as it is kept: without the token itself.

    Args:
        id: part of the token, and of the names of its sessions.
        sha256: hash of the token. A slow hash with a salt protects passwords, which can be
            guessed; 256 random bits cannot, so the fast one is as good, and a client that tries
            tokens costs the server nothing.
        created_at: seconds since the epoch.
        claude_config: the folder of Claude's own settings and conversations for its sessions;
            empty for one of the token's own.
    """

    name: str
    id: str
    sha256: str
    created_at: float
    limits: Limits = Limits()
    claude_config: str = ""


class Tokens:
    """The tokens of a server; the file is read again whenever it has changed.

    Args:
        state_dir: the server's state folder.
    """

    def __init__(self, state_dir: Path) -> None:
        self.file = state_dir / "tokens.json"
        self._seen: tuple[int, int, int] | None = None
        self._tokens: dict[str, Token] = {}

    def all(self) -> list[Token]:
        """Return every token, oldest first.

        Raises:
            StorageError: the file is damaged, or can be read by others.
        """
        return list(self._read().values())

    def find(self, given: str) -> Token | None:
        """Return the token that a client has shown; None where it is none of ours."""
        known = self._read().get(given.rpartition("_")[0].removeprefix("mpm_"))
        kept = known.sha256 if known is not None else _hash("")
        return known if hmac.compare_digest(kept.encode(), _hash(given).encode()) else None

    def holds(self, token: Token) -> bool:
        """Tell whether a token that was found once is still valid."""
        return self._read().get(token.id) == token

    def add(self, name: str, limits: Limits, claude_config: str = "") -> str:
        """Make a token and return it; nobody can read it again.

        Raises:
            UsageError: the name is taken, or cannot be one.
            StorageError: it could not be kept.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} cannot be a token's name: use letters, digits, _ -")
        token_id = secrets.token_hex(4)
        secret = f"mpm_{token_id}_{secrets.token_hex(32)}"
        token = Token(
            name=name,
            id=token_id,
            sha256=_hash(secret),
            created_at=time.time(),
            limits=limits,
            claude_config=claude_config,
        )
        with self._changing():
            tokens = self._read()
            if any(each.name == name for each in tokens.values()) or name == ANONYMOUS:
                raise UsageError(
                    f"there is a token {name!r} already; revoke it, or choose another name"
                )
            self._write([*tokens.values(), token])
        return secret

    def revoke(self, name: str) -> None:
        """Make a token invalid, for connections that stand already, too.

        Raises:
            UsageError: there is no such token.
        """
        with self._changing():
            tokens = self.all()
            left = [token for token in tokens if token.name != name]
            if len(left) == len(tokens):
                raise UsageError(
                    f"no token is named {name!r}; `claude-mpm serve token list` lists them"
                )
            self._write(left)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold off other processes that change the file: none of two changes may be lost."""
        with storage_errors(self.file):
            make_private(self.file.parent)
            with locked(self.file):
                yield

    def _read(self) -> dict[str, Token]:
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
            tokens = msgspec.json.decode(data, type=list[Token])
        except NOT_JSON as error:
            raise StorageError(f"{self.file}: not a list of tokens ({error})") from error
        self._seen, self._tokens = seen, {token.id: token for token in tokens}
        return self._tokens

    def _write(self, tokens: list[Token]) -> None:
        with storage_errors(self.file):
            write_whole(self.file, msgspec.json.format(msgspec.json.encode(tokens)) + b"\n")


def anonymous() -> Token:
    """Return what a client without a token is allowed, where it is let in at all."""
    return Token(name=ANONYMOUS, id=ANONYMOUS, sha256="", created_at=0.0)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
