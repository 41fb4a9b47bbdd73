"""The way in: what is put into a session's inbox, and how Claude comes to read it."""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from claude_mpm.errors import SessionEnded
from claude_mpm.journal.answers import messages_to_resend, settle
from claude_mpm.journal.inbox import Inbox
from claude_mpm.wire import StreamJson

if TYPE_CHECKING:
    from collections.abc import Iterable

    from claude_mpm.journal.answers import Answer
    from claude_mpm.journal.layout import SessionFolder
    from claude_mpm.wire import Wire

_STREAM_JSON = StreamJson()


class Input:
    """Keeps messages for Claude and gives them to it: through a host, or through a pipe.

    Args:
        folder: the session's folder.
        durable: whether a message is on the disk itself before Claude hears of it.
    """

    __slots__ = ("_folder", "_inbox", "_pipe", "ended")

    def __init__(self, folder: SessionFolder, *, durable: bool = True) -> None:
        self.ended = False
        self._folder = folder
        self._inbox = Inbox(folder, durable=durable)
        self._pipe: Any = None

    def open_before_host(self) -> None:
        """Make it possible to announce messages to a host that is yet to come."""
        self._inbox.open_before_host()

    def host_is_there(self) -> None:
        """Called when Claude has answered: from now on only a living host counts."""
        if self._pipe is None and not self.ended:
            self._inbox.host_is_there()

    def use_pipe(self, pipe: Any) -> None:
        """Give messages through a process's standard input, not through a host."""
        self._pipe = pipe

    def put(self, wire: Wire, text: str, prompt_uuid: str, *, command: bool = False) -> str:
        """Keep a prompt and return its name in the inbox; Claude does not hear of it yet.

        Args:
            wire: what Claude speaks.
            text: the prompt.
            prompt_uuid: its identity.
            command: whether Claude Code takes it as typed.

        Raises:
            SessionEnded: Claude takes no input any more.
            StorageError: the disk did not take it.
        """
        self._check_open()
        return self._inbox.put(wire.prompt(text, prompt_uuid, command=command))

    def announce(self, name: str) -> None:
        """Give Claude a message of the inbox.

        Raises:
            SessionEnded: Claude takes no input any more; the message stays in the inbox.
        """
        if self._pipe is None:
            self._inbox.announce(name)
        else:
            self._write(self._inbox.read(name))

    def take_back(self, name: str) -> None:
        """Remove a message from the inbox of a session without a host."""
        self._inbox.remove(name)

    def control(self, subtype: str, request_id: str | None = None, **fields: Any) -> None:
        """Send a control request of ours, such as `interrupt`."""
        self.send(_STREAM_JSON.control(request_id or new_request_id(), subtype, **fields))

    def refuse(self, request_id: str, subtype: str) -> None:
        """Answer a request of an unknown kind with an error, so that Claude goes on.

        Raises:
            MPMError: Claude takes no input any more, or the disk did not take the message.
        """
        reason = f"Unsupported control request subtype: {subtype[:100]}"
        self.send(_STREAM_JSON.refuse(request_id, reason))

    def answer(self, answer: Answer) -> Answer:
        """Answer a question of Claude's that has no answer; return the answer that it has then."""
        self._check_open()
        stands, name = settle(self._folder, self._inbox, answer)
        if name is not None:
            self.announce(name)
        return stands

    def answer_again(self, questions: Iterable[str]) -> None:
        """Give Claude the answers that it may not have got from one who died; it takes them once.

        Args:
            questions: the ids of those that have an answer which Claude does not seem to have.
        """
        for name in messages_to_resend(self._folder, self._inbox, questions):
            self.announce(name)

    def send(self, message: bytes) -> None:
        """Keep a message of the wire, and give it to Claude.

        Raises:
            SessionEnded: Claude takes no input any more.
            StorageError: the disk did not take it.
        """
        self._check_open()
        self.announce(self._inbox.put(message))

    def end(self) -> None:
        """End Claude's input.

        Raises:
            SessionEnded: it takes none any more.
        """
        self.ended = True
        if self._pipe is None:
            self._inbox.end()
        else:
            with suppress(OSError, ValueError):  # what it did not read, it does not want
                self._pipe.close()

    def close(self) -> None:
        """Close the way to the host; safe to call twice."""
        self._inbox.close()

    def _write(self, message: bytes) -> None:
        try:
            self._pipe.write(message.decode() if hasattr(self._pipe, "encoding") else message)
            self._pipe.flush()
        except (OSError, ValueError) as error:
            raise SessionEnded(f"Claude takes no input any more: {error}") from error

    def _check_open(self) -> None:
        name = self._folder.path.name
        if (ending := self._folder.ending()) is not None:
            raise SessionEnded(
                f"session {name} takes no input: {ending};"
                f" `claude-mpm resume {name}` goes on with it"
            )
        if self._folder.closed.exists():
            raise SessionEnded(
                f"session {name} takes no input: nobody followed it, so it ends after its turn;"
                f" then `claude-mpm resume {name}` goes on with it"
            )
        if self.ended:
            raise SessionEnded(f"session {name} takes no input: it is being stopped")


def new_request_id() -> str:
    """Return a name for a control request of ours."""
    return f"mpm_{uuid.uuid4().hex[:12]}"
