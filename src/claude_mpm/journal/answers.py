"""The answers to Claude's permission requests: the first answer to each, and no other.

They are lines of one file, written under its lock. So if several processes answer at the same
time, one of them is first, and the others read its answer.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.errors import StorageError
from claude_mpm.journal.line_log import append_line, open_log, whole_lines
from claude_mpm.journal.prompts import answer_messages
from claude_mpm.journal.storage import give_to_owner, storage_errors
from claude_mpm.validation import NOT_JSON, local_time
from claude_mpm.wire import StreamJson

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from claude_mpm.journal.inbox import Inbox
    from claude_mpm.journal.layout import SessionFolder

_DONE = {"allow": "allowed", "deny": "denied"}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one permission request, as it is stored in the session's folder.

    Args:
        question: the id of Claude's request.
        tool: the tool that Claude asked for.
        decision: "allow" or "deny".
        reason: the user's reason; empty if none was given.
        by: who answered: "terminal", "command", "web", "api" or "deadline".
        at: when, in seconds since the epoch.
        response: what is sent to Claude, in its protocol.
    """

    question: str
    tool: str
    decision: str
    reason: str = ""
    by: str = "api"
    at: float = 0.0
    response: dict[str, Any] = {}

    def __str__(self) -> str:
        """Return who answered, when and what, in one line."""
        reason = f": {self.reason}" if self.reason.strip() else ""
        done = _DONE.get(self.decision, self.decision)
        text = f"{done} by {self.by} at {local_time(self.at)}{reason}"
        return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def read_answers(folder: SessionFolder) -> dict[str, Answer]:
    """Return the answers of a session by the request's id, oldest first.

    Raises:
        StorageError: the file is damaged.
    """
    try:
        data = folder.answers.read_bytes()
    except FileNotFoundError:
        return {}
    return _decode(folder, data)


def settle(folder: SessionFolder, inbox: Inbox, answer: Answer) -> tuple[Answer, str | None]:
    """Store an answer if its request has none yet, and put it into the inbox.

    An answer that was stored by a process that died before it was in the inbox is put there now.

    Returns:
        The valid answer, and the name of its message if it was put now.

    Raises:
        StorageError: it could not be stored, or the file is damaged.
    """
    with storage_errors(folder.answers), _locked(folder) as file:
        data = os.pread(file, os.fstat(file).st_size, 0)
        valid = _decode(folder, data).get(answer.question)
        if valid is None:
            valid = answer
            append_line(file, msgspec.json.encode(answer) + b"\n")
        elif answer.question in answer_messages(folder):
            return valid, None
        return valid, inbox.put(StreamJson().answer(valid.question, valid.response))


def messages_to_resend(
    folder: SessionFolder, inbox: Inbox, questions: Iterable[str]
) -> Iterator[str]:
    """Yield the messages that answer `questions`; Claude ignores an answer that it had before.

    Args:
        questions: the ids of the requests to which Claude does not seem to have an answer.

    Raises:
        StorageError: a message could not be stored, or the file is damaged.
    """
    sent, stored = answer_messages(folder), read_answers(folder)
    for question in questions:
        if question in sent:
            yield sent[question]
        elif question in stored:
            _, name = settle(folder, inbox, stored[question])
            if name is not None:
                yield name


@contextmanager
def _locked(folder: SessionFolder) -> Iterator[int]:
    """Open the file and lock it; the kernel releases the lock of a process that dies."""
    file = open_log(folder.answers)
    try:
        give_to_owner(file, folder.path)
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file
    finally:
        os.close(file)


def _decode(folder: SessionFolder, data: bytes) -> dict[str, Answer]:
    try:
        answers = [msgspec.json.decode(line, type=Answer) for line in whole_lines(data)]
    except NOT_JSON as error:
        raise StorageError(
            f"{folder.answers}: a line is damaged ({error}); take that line out"
        ) from error
    return {answer.question: answer for answer in answers}
