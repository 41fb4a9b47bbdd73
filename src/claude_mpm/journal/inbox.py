"""The inbox: messages for Claude, as whole files whose names are announced to the host."""

from __future__ import annotations

import errno
import itertools
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from claude_mpm.errors import SessionEnded
from claude_mpm.journal.storage import give_to_owner, new_draft, storage_errors, sync_path

if TYPE_CHECKING:
    from claude_mpm.journal.layout import SessionFolder

END_OF_INPUT = "EOF"


class Inbox:
    """Puts messages into a session's inbox and announces their names to the host.

    Claude ends at a malformed line, so a message reaches it only as a whole file: it is written
    beside the inbox, synced, and linked under the next free number.

    Args:
        folder: the session's.
        durable: whether a message is synced to the disk before it is announced.
    """

    __slots__ = ("_durable", "_feed", "_folder", "_using_feed")

    def __init__(self, folder: SessionFolder, *, durable: bool = True) -> None:
        self._folder = folder
        self._durable = durable
        self._feed: int | None = None
        # Protects the descriptor of the feed: the reading thread closes that of a host that has
        # ended, while other threads may be announcing.
        self._using_feed = threading.RLock()

    def put(self, message: bytes) -> str:
        """Store a message and return its name; it is not announced yet.

        Raises:
            StorageError: it could not be stored.
        """
        inbox = self._folder.inbox
        with storage_errors(inbox):
            descriptor, draft = new_draft(self._folder.path, ".message-")
            try:
                with open(descriptor, "wb") as stream:
                    give_to_owner(descriptor, inbox)
                    stream.write(message)
                    stream.flush()
                    if self._durable:
                        os.fsync(stream.fileno())
                name = _link_under_next_number(draft, inbox)
                if self._durable:
                    sync_path(inbox)
                return name
            finally:
                Path(draft).unlink()

    def names(self) -> list[str]:
        """Return the names of all messages, oldest first."""
        return sorted(filter(_is_number, os.listdir(self._folder.inbox)), key=int)

    def read(self, name: str) -> bytes:
        """Return a message as it was put.

        Raises:
            FileNotFoundError: there is no such message.
        """
        if not _is_number(name):  # such as a name that a place has written into the feed
            raise FileNotFoundError(errno.ENOENT, "no message", name)
        return (self._folder.inbox / name).read_bytes()

    def remove(self, name: str) -> None:
        """Remove a message that no host may read any more; one that is gone is fine.

        Raises:
            StorageError: it cannot be removed.
        """
        with storage_errors(self._folder.inbox):
            (self._folder.inbox / name).unlink(missing_ok=True)

    def open_before_host(self) -> None:
        """Hold the feed open so that names can be announced before the host has started."""
        with self._using_feed:
            self.close()
            self._feed = self._folder.feed.open_fifo(os.O_RDWR)

    def host_is_there(self) -> None:
        """Close the feed's reading end, so that only a running host counts as its reader."""
        with self._using_feed:
            self.close()
            self._open()

    def announce(self, name: str) -> None:
        """Have the host send Claude the message `name`.

        Raises:
            SessionEnded: the host has ended; the message stays in the inbox.
        """
        linked = self._folder.link_file.exists()
        if linked:  # the next link delivers what one that died has not
            self._folder.append(self._folder.announced, name)
        with self._using_feed:
            if self._feed is None:
                self._open()
            try:
                if self._feed is not None:
                    os.write(self._feed, name.encode() + b"\n")
                    return
            except BrokenPipeError:
                self.close()
        if not linked:
            raise SessionEnded(f"session {self._folder.path.name} takes no input: it has ended")

    def end(self) -> None:
        """End Claude's input, after everything that was announced before."""
        self.announce(END_OF_INPUT)

    def close(self) -> None:
        """Close the feed; safe to call twice."""
        with self._using_feed:
            if self._feed is not None:
                os.close(self._feed)
                self._feed = None

    def _open(self) -> None:
        try:
            self._feed = self._folder.feed.open_fifo(os.O_WRONLY)
        except OSError:
            self._feed = None


def _is_number(name: str) -> bool:
    """Return whether a name is that of a message, and not of a file that others left there."""
    return name.isascii() and name.isdigit()


def _link_under_next_number(draft: str, inbox: Path) -> str:
    newest = max(map(int, filter(_is_number, os.listdir(inbox))), default=0)
    for number in itertools.count(newest + 1):
        name = f"{number:06}"
        try:
            os.link(draft, inbox / name)
        except FileExistsError:
            continue  # another controller was faster
        return name
    raise AssertionError("numbers do not end")
