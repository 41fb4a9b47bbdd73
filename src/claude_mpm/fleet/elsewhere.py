"""Sessions of other machines in the named places: what is known of each, and since when.

Each place is asked in a process of its own, and what it says is remembered; one that does not
answer is known by what it said last.

python -m claude_mpm.fleet.elsewhere < QUESTION
"""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.conversation.question import input_of
from claude_mpm.environments.far_sessions import MOST
from claude_mpm.errors import MPMError, StorageError
from claude_mpm.fleet.asking import NO_ANSWER, PATIENCE, Question, ask_each, environment_of
from claude_mpm.folders import check_private, make_private
from claude_mpm.journal.layout import is_session_name
from claude_mpm.journal.storage import storage_errors, write_whole
from claude_mpm.processors.tickets.processor import TicketProcessor
from claude_mpm.processors.validated_numbers import amount, time_of
from claude_mpm.records import Ticket
from claude_mpm.redaction import Redactor, secrets_of
from claude_mpm.sessions.state import SessionState
from claude_mpm.sessions.status import State, state_while_it_runs
from claude_mpm.validation import NOT_JSON, error_line
from claude_mpm.wire.framing import LineFramer
from claude_mpm.wire.stream_json import StreamJson

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from claude_mpm.environments.far_sessions import FarSession
    from claude_mpm.fleet.asking import Answer
    from claude_mpm.fleet.places import Place
    from claude_mpm.sessions.store import Store
    from claude_mpm.wire.events import Event

_log = logging.getLogger(__name__)
GLANCE = 1 << 15  # bytes of the end of each journal: enough for what a session does
LOOK = 1 << 20  # as much as there may be, where tickets are looked for
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_MOST_TICKETS, _MOST_QUESTIONS = 200, 20  # of one session
_LONGEST = 4000  # characters of one text
_LONGEST_KEY = 1200  # characters
_LARGEST = 1 << 24  # bytes of what is remembered of a place


class OpenQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """A permission that Claude asks for.

    Args:
        asked_at: seconds since the epoch; None where the journal does not say.
    """

    question: str
    tool: str
    input: dict[str, Any]
    asked_at: float | None = None


class SessionElsewhere(msgspec.Struct, frozen=True, kw_only=True):
    """A session that another machine has started in a named place, as it was seen last.

    Args:
        place: the name of the place.
        session: its id, as whoever started it has it.
        key: what tells it from all others in the place.
        state: a `State`, or "running" where no more can be known.
        seen_at: when that was so, in seconds since the epoch.
        created_at: when it was started; None where the place does not say.
        cost_usd: the sum, where the end of its journal says it.
        tickets: those at the end of its journal, and those that were seen before.
        whole: whether all of its journal was read.
        refusal: why it cannot be followed from here; empty where it can.
    """

    place: str
    session: str
    key: str
    state: str
    seen_at: float
    created_at: float | None = None
    cwd: str = ""
    prompt: str = ""
    cost_usd: float | None = None
    questions: tuple[OpenQuestion, ...] = ()
    tickets: tuple[Ticket, ...] = ()
    whole: bool = False
    refusal: str = ""

    @property
    def runs(self) -> bool:
        """Whether its Claude ran then."""
        return self.state not in (State.ENDED, State.LOST)


class PlaceSeen(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the sessions of a place.

    Args:
        sessions: the newest first.
        seen_at: when the place said so, in seconds since the epoch; None where it never has.
        seconds: how long it was waited for.
        reason: why it has not answered now; empty where it has.
        more: how many sessions there are that were not looked at.
    """

    place: str
    sessions: tuple[SessionElsewhere, ...] = ()
    seen_at: float | None = None
    seconds: float = 0.0
    reason: str = ""
    more: int = 0


def look(
    store: Store,
    places: Sequence[Place],
    plugins: Sequence[str] = (),
    *,
    end: int = GLANCE,
    patience: float | None = None,
) -> list[PlaceSeen]:
    """Ask places for the sessions of other machines, and remember what they say.

    Args:
        store: of this machine, whose own sessions are left out.
        plugins: modules that register their orchestrators.
        end: how many bytes of each journal's end are read, at most.
        patience: seconds after which a place counts as one that does not answer; two by default.
    """
    questions = [Question(place, list(plugins), end) for place in places]
    answers = ask_each("elsewhere", questions, patience or PATIENCE)
    seen = [_seen(store.path, place, answer) for place, answer in zip(places, answers, strict=True)]
    return _without_own(store, seen)


def last_known(store: Store, places: Sequence[Place]) -> list[PlaceSeen]:
    """Return what places said last, without asking them; as `look`."""
    return _without_own(store, [_recall(store.path, place.name) for place in places])


def own_keys(store: Store) -> set[str]:
    """Return what tells this machine's sessions from others in the places where they live."""
    keys = set()
    for folder in store.sessions():
        try:
            link = msgspec.json.decode(folder.link_file.read_bytes(), type=_Linked)
        except (FileNotFoundError, *NOT_JSON):
            link = _Linked()
        made = folder.read_container()
        keys |= {link.folder, link.session, made.id if made is not None else ""}
    return keys - {""}


class _Linked(msgspec.Struct):
    """What all links' files say of the session on the far side: one of the two."""

    folder: str = ""
    session: str = ""


def _without_own(store: Store, seen: Sequence[PlaceSeen]) -> list[PlaceSeen]:
    own = own_keys(store)
    return [
        msgspec.structs.replace(each, sessions=tuple(s for s in each.sessions if s.key not in own))
        for each in seen
    ]


# --- what is remembered ----------------------------------------------------------------------


def _seen(state: Path, place: Place, answer: Answer) -> PlaceSeen:
    before = _recall(state, place.name)
    reason = answer.reason
    if not reason:
        try:
            seen = msgspec.json.decode(answer.data, type=PlaceSeen)
        except NOT_JSON:
            reason = NO_ANSWER
        else:
            reason = seen.reason
    if reason:
        return msgspec.structs.replace(before, reason=reason, seconds=answer.seconds)
    seen = _with_tickets_before(seen, before)
    if _FILE_NAME.fullmatch(place.name):
        try:
            _remember(state / "elsewhere", seen)
        except StorageError as error:  # what was seen is shown anyway
            _log.warning("what a place has said is not remembered: %s", error)
    return msgspec.structs.replace(seen, seconds=answer.seconds)


def _remember(folder: Path, seen: PlaceSeen) -> None:
    with storage_errors(folder):
        make_private(folder)
        write_whole(folder / f"{seen.place}.json", msgspec.json.encode(seen) + b"\n")


def _recall(state: Path, name: str) -> PlaceSeen:
    """Return what a place said last; nothing where it has not, or that cannot be read."""
    file = state / "elsewhere" / f"{name}.json"
    if not _FILE_NAME.fullmatch(name):
        return PlaceSeen(place=name)
    try:
        check_private(file.parent)
        with file.open("rb") as known:
            return msgspec.json.decode(known.read(_LARGEST), type=PlaceSeen)
    except (OSError, StorageError, *NOT_JSON):
        return PlaceSeen(place=name)


def _with_tickets_before(seen: PlaceSeen, before: PlaceSeen) -> PlaceSeen:
    """Return what was seen, with the tickets that have left the ends of the journals since."""
    known = {session.key: session.tickets for session in before.sessions}
    sessions = []
    for session in seen.sessions:
        tickets = {ticket.key: ticket for ticket in (*known.get(session.key, ()), *session.tickets)}
        kept = tuple([*tickets.values()][-_MOST_TICKETS:])
        sessions.append(msgspec.structs.replace(session, tickets=kept))
    return msgspec.structs.replace(seen, sessions=tuple(sessions))


# --- in the process that asks ----------------------------------------------------------------


def ask(place: Place, plugins: Sequence[str], end: int) -> PlaceSeen:
    """Ask one place, for as long as that takes."""
    try:
        listed = environment_of(place, plugins).far_sessions(end)
    except (MPMError, TypeError, ValueError, OSError) as error:
        reason = _redactor().text(error_line(str(error)) or type(error).__name__)
        return PlaceSeen(place=place.name, reason=reason[:_LONGEST])
    now = time.time()
    valid = [far for far in listed.sessions[:MOST] if is_session_name(far.name)]
    sessions = [read_session(place.name, far, now) for far in valid if len(far.key) < _LONGEST_KEY]
    return PlaceSeen(
        place=place.name, sessions=tuple(sessions), seen_at=now, more=max(0, listed.more)
    )


def read_session(place: str, far: FarSession, now: float) -> SessionElsewhere:
    """Return what the end of a session's journal says."""
    state, tickets, cost = SessionState(), dict[str, Ticket](), None
    processor = TicketProcessor(far.name)
    for event in _events(far):
        state.apply(event)
        if event.kind == "result":
            cost = amount(event.data.total_cost_usd) or cost
        for found in processor(event):
            tickets[found.data.key] = found.data
    redactor = _redactor()
    known = [redactor.record(ticket) for ticket in tickets.values()][-_MOST_TICKETS:]
    asked = [*state.asked.values()][:_MOST_QUESTIONS]
    return SessionElsewhere(
        place=place,
        session=far.name,
        key=far.key,
        state=far.word or _state(far, state),
        seen_at=now,
        created_at=None if far.age is None else now - far.age,
        cwd=far.state.facts.get("cwd", "")[:_LONGEST],
        prompt=redactor.text(_prompt(far.messages))[:_LONGEST],
        cost_usd=cost,
        questions=tuple(_question(redactor, a.request_id, a.request, a.at) for a in asked),
        tickets=tuple(each for each in known if isinstance(each, Ticket)),
        whole=far.state.size <= len(far.end),
        refusal=far.refusal,
    )


def _redactor() -> Redactor:
    """Return what takes this machine's own secrets out of what a place has said, too."""
    return Redactor(secrets=secrets_of(os.environ))


def _events(far: FarSession) -> Iterator[Event]:
    framer, wire = LineFramer(), StreamJson()
    lines = framer.feed(far.end if far.end.endswith(b"\n") else far.end + b"\n")
    if far.state.size > len(far.end):  # of the first line, only the end is there
        lines = lines[1:]
    for line in lines:
        yield from wire.decode(line)


def _state(far: FarSession, state: SessionState) -> State:
    if far.state.exit is not None:
        return State.ENDED
    if far.state.dead:
        return State.LOST
    if not far.state.size:
        return State.STARTING
    return state_while_it_runs(state, asks=bool(state.asked))


def _question(redactor: Redactor, name: str, request: dict[str, Any], at: str) -> OpenQuestion:
    given = redactor.value(input_of(request))
    size = len(msgspec.json.encode(given))
    return OpenQuestion(
        question=name[:_LONGEST],
        tool=str(request.get("tool_name", ""))[:_LONGEST],
        input=given if size <= _LONGEST else {"…": f"{size} bytes; attach shows all"},
        asked_at=time_of(at),
    )


def _prompt(messages: Sequence[bytes]) -> str:
    """Return the newest prompt among messages; empty where there is none, or it is cut short."""
    for message in messages:
        try:
            content = msgspec.json.decode(message, type=_Prompt).message.content
        except NOT_JSON:
            continue
        return content if isinstance(content, str) else ""
    return ""


class _Content(msgspec.Struct):
    content: Any = ""


class _Prompt(msgspec.Struct, tag_field="type", tag="user"):
    message: _Content


def main() -> None:
    """Answer the question on standard input."""
    question = msgspec.json.decode(sys.stdin.buffer.read(), type=Question)
    seen = ask(question.place, question.plugins, question.end)
    sys.stdout.buffer.write(msgspec.json.encode(seen))


if __name__ == "__main__":
    main()
