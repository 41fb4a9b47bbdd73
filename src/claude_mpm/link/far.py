"""What a link needs of the place where a session really lives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

from claude_mpm.journal.inbox import END_OF_INPUT

if TYPE_CHECKING:
    from collections.abc import Iterator


TOO_OLD = (
    "the session was started there by a release that lets no second machine follow it; end it and"
    " resume it with this one"
)


class LinkCut(Exception):
    """The place could not be reached, for now; the link tries again."""


class FarFailed(Exception):
    """The place was reached and refused; its words say why, and trying again is no use."""


class FarState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the far session's folder.

    Args:
        host: process id of the far host; 0 if there is none.
        claude: process id of Claude in the place; 0 if there is none.
        exit: Claude's exit status; None while it runs.
        closed: whether the far host has ended the input, because nobody followed.
        dead: whether the far host was killed, so that there is no exit status.
        size: of the far journal, in bytes.
        place: the far host's statement of where it runs, line by line.
        marked: whether this machine is noted there as one that reads a session of another's.
        heard: how many signs of life of each follower have arrived, by its name.
    """

    host: int = 0
    claude: int = 0
    exit: int | None = None
    closed: bool = False
    dead: bool = False
    size: int = 0
    place: str = ""
    marked: bool = False
    heard: dict[str, int] = {}

    @property
    def facts(self) -> dict[str, str]:
        """The values of the statement, by their names."""
        return dict(line.partition("=")[::2] for line in self.place.splitlines())


def far_name(name: str, reader: str) -> str:
    """Return what a message of the inbox is called on the far side, where each has one name.

    Args:
        reader: how this machine is known there; empty for the one that started the session.
    """
    return f"{reader}{name}" if name != END_OF_INPUT else name


class Stream(Protocol):
    """The bytes of a far journal as they come, over one connection."""

    def fileno(self) -> int:
        """Return a descriptor that can be read when there are bytes, and at the end."""
        ...

    def read(self) -> bytes | None:
        """Return the next bytes; empty once the far host has ended or the link was cut.

        None says that there are none yet, though there was something to read.
        """
        ...

    def beat(self) -> None:
        """Send the far side a sign of life; called every few seconds."""
        ...

    def is_heard(self, state: FarState) -> bool:
        """Return whether the far side, by its own account, still hears this connection."""
        ...

    def hold(self) -> None:
        """Keep the far session from being ended by its linger rule."""
        ...

    def release(self) -> None:
        """Let the far session's linger rule run, though we go on reading."""
        ...

    def close(self) -> None:
        """End the connection."""
        ...


class Far(Protocol):
    """A far session. Every method may raise LinkCut or FarFailed."""

    def start(self) -> None:
        """Lay the session there and start its host; nothing happens where it was started before."""
        ...

    def state(self) -> FarState:
        """Return what the far folder says now."""
        ...

    def follow(self, offset: int) -> Stream:
        """Read the far journal from a byte on."""
        ...

    def fetch(self, file: str, offset: int) -> Iterator[bytes]:
        """Yield what one of the far folder's files holds from a byte on; nothing for no file."""
        ...

    def put(self, name: str, message: bytes) -> None:
        """Give Claude a message of the inbox; the name EOF ends its input. Twice is as once."""
        ...

    def signal(self, signum: int) -> None:
        """Send the far host a signal."""
        ...

    def remove(self) -> None:
        """Remove the far folder, all of whose contents are here, once nobody else reads it."""
        ...

    def close(self) -> None:
        """Close what this thread has kept open; safe to call twice."""
        ...
