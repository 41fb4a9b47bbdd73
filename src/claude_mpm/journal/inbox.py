"""What Claude is sent: whole files, named to the host one by one."""

from __future__ import annotations

import errno
import itertools
import os
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from claude_mpm.errors import SessionEnded
from claude_mpm.journal.storage import give_to_owner, storage_errors

if TYPE_CHECKING:
    from claude_mpm.journal.layout import SessionFolder

END_OF_INPUT = "EOF"


class Inbox:
    """Puts messages into a session's inbox and tells the host their names.

    Claude ends at one malformed line, so a message reaches it only as a whole file: it is
    written beside the inbox, synced, and linked under the next free number.

    Args:
        folder: the session's.
        durable: whether a message is on the disk itself before Claude hears of it.
    """

    def __init__(self, folder: SessionFolder, *, durable: bool = True) -> None:
        self._folder = folder
        self._durable = durable
        self._feed: int | None = None
        # The reader closes the feed of a host that is gone, while others may be announcing.
        self._using_feed = threading.RLock()

    def put(self, message: bytes) -> str:
        """Keep a message and return its name; the host does not hear of it yet.

        Raises:
            StorageError: the disk did not take it.
        """
        inbox = self._folder.inbox
        with storage_errors(inbox):
            descriptor, draft = tempfile.mkstemp(dir=self._folder.path, prefix=".message-")
            try:
                with open(descriptor, "wb") as stream:
                    give_to_owner(descriptor, inbox)
                    stream.write(message)
                    stream.flush()
                    if self._durable:
                        os.fsync(stream.fileno())
                name = _link_under_next_number(draft, inbox)
                if self._durable:
                    _sync_names(inbox)
                return name
            finally:
                Path(draft).unlink()

    def names(self) -> list[str]:
        """Return the names of all messages, oldest first."""
        return sorted(filter(_is_number, os.listdir(self._folder.inbox)), key=int)

    def read(self, name: str) -> bytes:
        """Return a message as it was put.

        Raises:
            FileNotFoundError: there is none of that name.
        """
        if not _is_number(name):  # such as what a place has written into the feed
            raise FileNotFoundError(errno.ENOENT, "no message", name)
        return (self._folder.inbox / name).read_bytes()

    def open_before_host(self) -> None:
        """Hold the feed open so that names can be announced before the host is there."""
        with self._using_feed:
            self.close()
            self._feed = self._folder.feed.open_fifo(os.O_RDWR)

    def host_is_there(self) -> None:
        """Let go of the feed's reading end, so that only a living host counts as its reader."""
        with self._using_feed:
            self.close()
            self._open()

    def announce(self, name: str) -> None:
        """Tell the host to give Claude the message `name`.

        Raises:
            SessionEnded: there is no host any more; the message stays in the inbox.
        """
        linked = self._folder.link_file.exists()
        if linked:  # one that dies leaves to the next what it has not delivered
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
        """End Claude's input, after all that was announced before."""
        self.announce(END_OF_INPUT)

    def close(self) -> None:
        """Let go of the feed; safe to call twice."""
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
    """Tell whether a name is that of a message; what others leave there is none."""
    return name.isascii() and name.isdigit()


def _sync_names(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
