"""The tokens of a server: their limits, and the file of their hashes."""

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


class TokenLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one token may use.

    Args:
        sessions: how many may run at once.
        message_bytes: the longest message for Claude, in bytes.
        rate: messages per second over all its connections; faster clients are read more slowly.
        idle: seconds without a message after which a connection is closed.
    """

    sessions: _Count = 8
    message_bytes: _Count = 16 << 20
    rate: _Positive = 200.0
    idle: _Positive = 3600.0


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """One token as it is stored: a hash, and not the token itself.

    Args:
        id: part of the token, and of the names of its sessions.
        sha256: hash of the token. A slow, salted hash protects passwords, which can be guessed;
            256 random bits cannot, so a fast hash is as good, and a client that tries tokens costs
            the server nothing.
        created_at: seconds since the epoch.
        claude_config: the folder of Claude's own settings and conversations for its sessions;
            empty for a separate folder of this token.
    """

    name: str
    id: str
    sha256: str
    created_at: float
    limits: TokenLimits = TokenLimits()
    claude_config: str = ""


class Tokens:
    """The tokens of a server; their file is read again whenever it has changed.

    Args:
        state_dir: the server's state folder.
    """

    def __init__(self, state_dir: Path) -> None:
        self.file = state_dir / "tokens.json"
        self._version: tuple[int, int, int] | None = None  # of the file that was read last
        self._tokens: dict[str, Token] = {}

    def all(self) -> list[Token]:
        """Return every token, oldest first.

        Raises:
            StorageError: the file is damaged, or readable by other users.
        """
        return list(self._read().values())

    def find(self, secret: str) -> Token | None:
        """Return the token with this secret; None if there is none."""
        token = self._read().get(secret.rpartition("_")[0].removeprefix("mpm_"))
        expected = token.sha256 if token is not None else _hash("")
        return token if hmac.compare_digest(expected.encode(), _hash(secret).encode()) else None

    def is_valid(self, token: Token) -> bool:
        """Return whether a token that was found before is still valid."""
        return self._read().get(token.id) == token

    def add(self, name: str, limits: TokenLimits, claude_config: str = "") -> str:
        """Make a token and return its secret, which cannot be read again.

        Raises:
            UsageError: the name is taken, or invalid.
            StorageError: it could not be stored.
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
            if any(other.name == name for other in tokens.values()) or name == ANONYMOUS:
                raise UsageError(
                    f"there is a token {name!r} already; revoke it, or choose another name"
                )
            self._write([*tokens.values(), token])
        return secret

    def revoke(self, name: str) -> None:
        """Make a token invalid, for open connections too.

        Raises:
            UsageError: there is no such token.
        """
        with self._changing():
            tokens = self.all()
            remaining = [token for token in tokens if token.name != name]
            if len(remaining) == len(tokens):
                raise UsageError(
                    f"no token is named {name!r}; `claude-mpm serve token list` lists them"
                )
            self._write(remaining)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Exclude other processes that change the file, so that no change is lost."""
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
                self._version, self._tokens = None, {}
                return self._tokens
            check_secret(self.file, status)
            version = (status.st_mtime_ns, status.st_ino, status.st_size)
            if version == self._version:
                return self._tokens
            data = self.file.read_bytes()
        try:
            tokens = msgspec.json.decode(data, type=list[Token])
        except NOT_JSON as error:
            raise StorageError(f"{self.file}: not a list of tokens ({error})") from error
        self._version, self._tokens = version, {token.id: token for token in tokens}
        return self._tokens

    def _write(self, tokens: list[Token]) -> None:
        with storage_errors(self.file):
            write_whole(self.file, msgspec.json.format(msgspec.json.encode(tokens)) + b"\n")


def anonymous() -> Token:
    """Return the token with whose limits clients without a token are served."""
    return Token(name=ANONYMOUS, id=ANONYMOUS, sha256="", created_at=0.0)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
