"""Tickets of the record filed in a tracker, once each, whatever dies in between.

What is to be filed is written to a ledger before it is filed, and where it was filed after it. A
program that died in between left an intention: then the tracker is asked whether it has the ticket,
by the fingerprint in its text, before it is filed again.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from abc import ABC, abstractmethod
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import msgspec

from claude_mpm.errors import MPMError, StorageError
from claude_mpm.folders import locked, make_private
from claude_mpm.journal.line_log import append_line, open_log, whole_lines
from claude_mpm.journal.storage import storage_errors
from claude_mpm.validation import NOT_JSON

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from claude_mpm.records import Ticket
    from claude_mpm.redaction import Redactor

LABEL = "claude-mpm"
# How long, in seconds, a tracker may not show what it has taken. (Measured on GitHub: 2 to 10.)
LAG = 20.0
_MARK = re.compile(r"<!-- claude-mpm ([0-9a-f]{16}) -->")
_MARK_BEGIN = "<!-- claude-mpm"
_MOST_TITLE = 250  # characters; GitHub takes 256
_MOST_BODY = 60_000  # GitHub takes 65,536


class TrackerFailed(MPMError):
    """A tracker refused, or could not be reached."""


@dataclass(frozen=True)
class Issue:
    """A ticket as a tracker gets it, without secrets and paths of this machine.

    Args:
        fingerprint: the same for the same ticket, in whatever session it was said.
        body: the description, with priority and tags as text.
        priority: the ticket's, such as "high"; empty for none.
    """

    fingerprint: str
    title: str
    body: str
    type: str
    priority: str = ""

    @property
    def marked_body(self) -> str:
        """The body with the fingerprint in it, which is not shown."""
        return f"{self.body[:_MOST_BODY]}\n\n<!-- claude-mpm {self.fingerprint} -->\n".lstrip()


@dataclass(frozen=True)
class Filed:
    """What a tracker has.

    Args:
        number: its name for it, such as "12".
        state: "open" or "closed".
    """

    number: str
    state: str


def fingerprint_in(text: str | None) -> str | None:
    """Return the fingerprint in the text of an issue; None if there is none."""
    found = _MARK.search(text or "")
    return found[1] if found else None


class Tracker(ABC):
    """A place for issues. Third parties register theirs under the entry point group.

    Args:
        target: what stands behind the name in `--to NAME:TARGET`.

    Attributes:
        default_target: the target of `--to NAME` alone; None where one has to be given.
        keeps_open: descriptors for a program that files in its name.
    """

    default_target: ClassVar[str | None] = None
    keeps_open: tuple[int, ...] = ()

    def __init__(self, target: str) -> None:
        self.target = target

    @contextmanager
    def keeping_open(self, *descriptors: int) -> Iterator[None]:
        """Have each program that files in its name keep descriptors open as long as it runs.

        Those of a lock keep others from pushing also where whoever called the program was killed.
        """
        self.keeps_open = descriptors
        try:
            yield
        finally:
            self.keeps_open = ()

    @property
    @abstractmethod
    def address(self) -> str:
        """What identifies the tracker, whatever it is called here."""

    @abstractmethod
    def is_public(self) -> bool:
        """Return whether strangers can read what is filed."""

    @abstractmethod
    def filed(self) -> dict[str, Filed]:
        """Return all that was filed from here or elsewhere, by its fingerprint.

        Raises:
            TrackerFailed: it cannot be asked.
        """

    @abstractmethod
    def create(self, issue: Issue) -> str:
        """File an issue and return its number.

        Raises:
            TrackerFailed: it was not taken, or nobody knows.
        """

    @abstractmethod
    def comment(self, number: str, text: str) -> None:
        """Add a comment.

        Raises:
            TrackerFailed: it was not taken.
        """


class ClosingTracker(Tracker):
    """A tracker whose issues are closed when their tickets were closed here."""

    @abstractmethod
    def close(self, number: str) -> None:
        """Close an issue; one that is closed stays so.

        Raises:
            TrackerFailed: it was not closed, or nobody knows.
        """


# --- the ledger -----------------------------------------------------------------------------


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of the ledger.

    Args:
        what: "intended" before an issue is filed, "created" after it, "repeated" before a comment
            says that it was named again, "closed" once its ticket and the issue are both closed.
        at: seconds since the epoch.
        session: where it was named again.
    """

    what: Literal["intended", "created", "repeated", "closed"]
    fingerprint: str
    at: float
    number: str = ""
    session: str = ""


class Ledger:
    """What was filed in one tracker, as a file that only grows. Use it in `with`: one at a time.

    Args:
        folder: where ledgers are; made if it is missing.
        address: of the tracker.

    Attributes:
        lock: the descriptor whose holders alone use it.
    """

    def __init__(self, folder: Path, address: str) -> None:
        name = hashlib.sha256(address.encode()).hexdigest()[:16]
        self._file = folder / f"{name}.jsonl"
        self._stack = ExitStack()
        self.lock = -1
        self.intended: dict[str, float] = {}
        self.created: dict[str, str] = {}
        self.closed: set[str] = set()
        self.named: dict[str, set[str]] = {}  # the sessions that named it, by the fingerprint

    def __enter__(self) -> Self:
        make_private(self._file.parent)
        self.lock = self._stack.enter_context(locked(self._file))
        for entry in self._read():
            self._apply(entry)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def write(self, entry: Entry) -> None:
        """Add a line; it is on the disk when this returns.

        Raises:
            StorageError: it could not be kept.
        """
        with storage_errors(self._file):
            log = open_log(self._file)
            try:
                append_line(log, msgspec.json.encode(entry) + b"\n")
            finally:
                os.close(log)
        self._apply(entry)

    def _apply(self, entry: Entry) -> None:
        if entry.what == "intended":
            self.intended[entry.fingerprint] = entry.at
        elif entry.what == "created":
            self.created[entry.fingerprint] = entry.number
        elif entry.what == "closed":
            self.closed.add(entry.fingerprint)
        if entry.session:
            self.named.setdefault(entry.fingerprint, set()).add(entry.session)

    def _read(self) -> Iterator[Entry]:
        try:
            data = self._file.read_bytes()
        except FileNotFoundError:
            return
        for number, line in enumerate(whole_lines(data), 1):
            try:
                yield msgspec.json.decode(line, type=Entry)
            except NOT_JSON as error:
                raise StorageError(
                    f"{self._file}: line {number} is damaged; mend or remove it, and push again"
                ) from error


# --- pushing and pulling --------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """What is done with a ticket, or would be.

    Args:
        what: "create", "comment", "close", "known" if the tracker has it, or "left" beyond the
            limit.
    """

    what: Literal["create", "comment", "close", "known", "left"]
    issue: Issue
    session: str
    number: str = ""


def issue_of(ticket: Ticket, redactor: Redactor, folders: Mapping[str, str]) -> Issue:
    """Return a ticket as a tracker gets it.

    Args:
        redactor: takes secrets out.
        folders: what stands for folders of this machine, by their paths.
    """
    title = " ".join(_without_paths(redactor.text(ticket.title), folders).split())
    parts = [ticket.description]
    parts += [f"Priority: {ticket.priority}"] if ticket.priority else []
    parts += [f"Tags: {', '.join(ticket.tags)}"] if ticket.tags else []
    normal = f"{ticket.type}\0{' '.join(ticket.title.split()).casefold()}"
    fingerprint = hashlib.sha256(normal.encode("utf-8", "replace")).hexdigest()[:16]
    body = _without_paths(redactor.text("\n\n".join(filter(None, parts))), folders)
    body = body.replace(_MARK_BEGIN, "<! -- claude-mpm")  # our own mark is the only one
    return Issue(fingerprint, title[:_MOST_TITLE], body, ticket.type, ticket.priority or "")


def _without_paths(text: str, folders: Mapping[str, str]) -> str:
    """Return text with folders replaced where they are meant, and not as a part of other paths."""
    for path in sorted(folders, key=len, reverse=True):
        name = path.rstrip("/")
        if name:  # the root is in every path
            before = r"(?:(?<![\w.~-])|(?<=-[A-Za-z]))"  # nothing, or an option such as -I
            after = "/" if path.endswith("/") else r"(?![\w-]|\.\w)"
            pattern = f"{before}{re.escape(name)}{after}"
            text = re.sub(pattern, lambda _, path=path: folders[path], text)  # type: ignore[misc]
    return text


def plan(
    tickets: Iterable[tuple[Issue, str]],
    ledger: Ledger,
    filed: Mapping[str, Filed],
    *,
    most: int,
) -> list[Step]:
    """Return what is to be done so that a tracker has each ticket once.

    A ticket that another session names again is a comment, at most once for each issue.

    Args:
        tickets: with the session in which each was said, oldest first.
        filed: what the tracker says that it has.
        most: how many issues may be created.
    """
    steps: list[Step] = []
    numbers = {**{name: each.number for name, each in filed.items()}, **ledger.created}
    named = {name: set(sessions) for name, sessions in ledger.named.items()}
    created = 0
    for issue, session in tickets:
        name = issue.fingerprint
        sessions = named.setdefault(name, set())
        if name not in numbers:
            steps.append(Step("create" if created < most else "left", issue, session))
            created += 1
            numbers[name] = ""
        elif numbers[name] and session not in sessions and len(sessions) == 1:
            steps.append(Step("comment", issue, session, numbers[name]))
        else:
            steps.append(Step("known", issue, session, numbers[name]))
        sessions.add(session)
    return steps


def closings(
    closed: Iterable[tuple[Issue, str]],
    still_open: Collection[str],
    ledger: Ledger,
    filed: Mapping[str, Filed],
) -> list[Step]:
    """Return the issues that are to be closed because their tickets were closed here, each once.

    What was filed by others stays as it is, and so does what was closed once and opened again.

    Args:
        closed: the closed tickets, with the session in which each was said.
        still_open: the fingerprints of tickets that any session has open.
        ledger: of the tracker.
        filed: what the tracker says that it has.
    """
    steps: dict[str, Step] = {}
    for issue, session in closed:
        name = issue.fingerprint
        there = filed.get(name)
        if there is None or there.state != "open" or name not in ledger.created:
            continue
        if name not in still_open and name not in ledger.closed:
            steps.setdefault(name, Step("close", issue, session, there.number))
    return list(steps.values())


def push(tracker: Tracker, ledger: Ledger, steps: Iterable[Step]) -> Iterator[Step]:
    """Do what was planned, and yield each step when it is done, with the number of the issue.

    Raises:
        TrackerFailed: the tracker refused; what was done stays, and a further push goes on.
        StorageError: the ledger cannot be written; nothing is filed without it.
    """
    with tracker.keeping_open(ledger.lock):
        for step in steps:
            yield _carry_out(tracker, ledger, step)


def _carry_out(tracker: Tracker, ledger: Ledger, step: Step) -> Step:
    name = step.issue.fingerprint
    if step.what == "create":
        return Step("create", step.issue, step.session, _create(tracker, ledger, step))
    if step.what == "comment":
        # The note comes first: a comment that is missing is better than one more.
        ledger.write(Entry("repeated", name, time.time(), step.number, step.session))
        tracker.comment(step.number, "This was named again in another session.")
    elif step.what == "close" and isinstance(tracker, ClosingTracker):
        tracker.close(step.number)
        ledger.write(Entry("closed", name, time.time(), step.number))
    elif step.what == "known" and name not in ledger.created and step.number:
        entry = Entry("created", name, time.time(), step.number, step.session)
        ledger.write(entry)  # another machine has filed it
    return step


def _create(tracker: Tracker, ledger: Ledger, step: Step) -> str:
    name = step.issue.fingerprint
    number = None
    if name in ledger.intended:  # somebody died, or heard nothing, while it was filed
        number = _settled(tracker, name, ledger.intended[name])
    if number is None:
        ledger.write(Entry("intended", name, time.time()))
        number = tracker.create(step.issue)
    ledger.write(Entry("created", name, time.time(), number, step.session))
    return number


def _settled(tracker: Tracker, name: str, since: float) -> str | None:
    """Return the number of what may have been filed; None once it is certain that it was not.

    A tracker shows what it has taken after a while only, so it is asked until that has passed.
    """
    waiting = threading.Event()  # nobody sets it: a wait that a signal ends
    while True:
        found = tracker.filed().get(name)
        if found is not None:
            return found.number
        left = since + LAG - time.time()
        if not 0 < left <= LAG:  # the clock may have been set
            return None
        waiting.wait(min(left, 2.0))


def pull(
    tickets: Iterable[tuple[Issue, Ticket]], filed: Mapping[str, Filed]
) -> list[tuple[Ticket, str]]:
    """Return the open tickets whose issue is closed, with the number of it."""
    return [
        (ticket, filed[issue.fingerprint].number)
        for issue, ticket in tickets
        if ticket.state == "open"
        and issue.fingerprint in filed
        and filed[issue.fingerprint].state == "closed"
    ]
