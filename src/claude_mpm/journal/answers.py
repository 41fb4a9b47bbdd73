"""The answers to Claude's questions: of each question the first that was given, and no other.

They are lines of one file, written under its lock, so that of several who answer at once, in
whatever process, one is the first and the others read what it said.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.errors import StorageError
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
    """The answer to one question of Claude's, as it is kept in the session's folder.

    Args:
        question: Claude's name for the question.
        tool: what Claude asked for.
        decision: "allow" or "deny".
        reason: what was said with it; empty where nothing was.
        by: who gave it: "terminal", "command", "api" or "deadline".
        at: when, in seconds since the epoch.
        response: what Claude is told, in the words of its protocol.
    """

    question: str
    tool: str
    decision: str
    reason: str = ""
    by: str = "api"
    at: float = 0.0
    response: dict[str, Any] = {}

    def __str__(self) -> str:
        """Say who answered, when and what, in one line."""
        said = f": {self.reason}" if self.reason.strip() else ""
        done = _DONE.get(self.decision, self.decision)
        text = f"{done} by {self.by} at {local_time(self.at)}{said}"
        return " ".join("".join(each if each.isprintable() else " " for each in text).split())


def read_answers(folder: SessionFolder) -> dict[str, Answer]:
    """Return the answers of a session by the question's name, oldest first.

    Raises:
        StorageError: the file is damaged.
    """
    try:
        data = folder.answers.read_bytes()
    except FileNotFoundError:
        return {}
    return _decode(folder, data)


def settle(folder: SessionFolder, inbox: Inbox, answer: Answer) -> tuple[Answer, str | None]:
    """Keep an answer where its question has none yet, and put it into the inbox.

    What was kept by one who died before it was in the inbox is put there now.

    Returns:
        The answer that stands, and the name of its message where it was put now.

    Raises:
        StorageError: the disk did not take it, or the file is damaged.
    """
    with storage_errors(folder.answers), _locked(folder) as file:
        stands = _decode(folder, _whole_lines(file)).get(answer.question)
        if stands is None:
            stands = answer
            os.write(file, msgspec.json.encode(answer) + b"\n")
            os.fsync(file)
        elif answer.question in answer_messages(folder):
            return stands, None
        return stands, inbox.put(StreamJson().answer(stands.question, stands.response))


def to_tell_again(folder: SessionFolder, inbox: Inbox, questions: Iterable[str]) -> Iterator[str]:
    """Yield the messages that answer `questions`; Claude passes over what it was told before.

    Args:
        questions: the names of those that Claude does not seem to have an answer to.

    Raises:
        StorageError: the disk did not take it, or the file is damaged.
    """
    told, kept = answer_messages(folder), read_answers(folder)
    for question in questions:
        if question in told:
            yield told[question]
        elif question in kept:
            _, name = settle(folder, inbox, kept[question])
            if name is not None:
                yield name


@contextmanager
def _locked(folder: SessionFolder) -> Iterator[int]:
    """Open the file with its lock, which the kernel takes from one who dies."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(folder.answers, flags, 0o600)
    try:
        give_to_owner(file, folder.path)
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file
    finally:
        os.close(file)


def _whole_lines(file: int) -> bytes:
    """Return what is in the file, and cut off a line that was torn by a crash."""
    size = os.fstat(file).st_size
    data = os.pread(file, size, 0)
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < size:
        os.ftruncate(file, len(whole))
    return whole


def _decode(folder: SessionFolder, data: bytes) -> dict[str, Answer]:
    lines = data[: data.rfind(b"\n") + 1].splitlines()
    try:
        answers = [msgspec.json.decode(line, type=Answer) for line in lines]
    except NOT_JSON as error:
        raise StorageError(
            f"{folder.answers}: a line is damaged ({error}); take that line out"
        ) from error
    return {answer.question: answer for answer in answers}
