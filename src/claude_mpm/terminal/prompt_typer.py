"""Typing what is put into a session's inbox, when Claude is ready for it.

A prompt goes in three steps. It is pasted; once Claude shows it, Enter is pressed; and it has
arrived when its own line is in Claude's transcript. What Claude says of itself in
`sessions/PID.json` is a hint: it holds keys back, and proves nothing.
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.journal.inbox import END_OF_INPUT
from claude_mpm.terminal.claude_config import BUSY, IDLE, WAITING, Activity
from claude_mpm.validation import NOT_JSON

if TYPE_CHECKING:
    from collections.abc import Iterator

ENTER, ESCAPE, CTRL_C = b"\r", b"\x1b", b"\x03"

# Claude Code takes what is pasted as the person's own words as long as it is short. Longer pieces
# it shows as "[Pasted text]", and marks them for the model as something quoted. So a prompt comes
# in short pieces. (Observed: 2.1.330 marks what has more than 800 characters, or many lines.)
_PIECE_CHARACTERS, _PIECE_LINES = 600, 2
# A prompt that is longer than this is one paste all the same: thousands of pieces take their time.
_MOST_IN_PIECES = 40_000
# Control characters would be keys, and end the paste or do worse.
_NO_KEYS = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}
_AGAIN = 1.0  # seconds until a key that had no effect is pressed again
_MOST_ENDS = 5  # how often the end is asked for
# Seconds without anything new on the screen: after which a paste is shown whole, after which an
# Enter had no effect, and after which one had another effect than to send the prompt.
_SHOWN, _NO_EFFECT, _AT_REST = 0.1, 0.5, 5.0
_MUST_BE_SHOWN = 2.0  # seconds until Enter is pressed though there is always something new
# Seconds until a prompt that was taken back counts as not taken: after Claude showed that it took
# notice, and where it shows nothing.
_TAKEN_BACK, _NO_NOTICE = 1.0, 10.0
# Seconds for which Claude may say of itself what was so before it took a prompt. A turn can end
# before Claude has said anything else.
_STALE = 1.0
_FIRST_QUESTION = 5.0  # seconds of silence before its first start is over: it asks something
_MOST_LATE = 16  # prompts whose line may come after all
_SURELY_OURS = 40  # characters that nobody else types by chance
_BY_A_PERSON = frozenset({"typed", "queued"})
_IN_THE_QUEUE = {"enqueue": "queued", "absorbed_mid_turn": "started"}
_TELLING = (b'"promptSource"', b'"queue-operation"', b"<command-name>", b'"informational"')
_COMMAND = re.compile(
    r"<command-name>(.*?)</command-name>(?:.*<command-args>(.*?)</command-args>)?", re.DOTALL
)
_UNKNOWN = re.compile(r"Unknown (?:slash )?command: (/?\S+)")


class Heard(msgspec.Struct, frozen=True):
    """What a line of a transcript says of a prompt.

    Args:
        uuid: of the line; empty where it has none.
        text: the prompt, in single blanks.
        state: "started" where it runs, "queued" where Claude will run it, "refused" where not.
        reason: what Claude says of it.
        prompt: the uuid of the prompt in the inbox.
    """

    uuid: str
    text: str
    state: str = "started"
    reason: str = ""
    prompt: str = ""


class _Line(msgspec.Struct, rename="camel"):
    type: str = ""
    subtype: str = ""
    uuid: str = ""
    prompt_source: str = ""
    operation: str = ""
    reason: str = ""
    content: Any = None
    message: dict[str, Any] = {}


_decode = msgspec.json.Decoder(_Line, strict=False).decode


class _Prompt(msgspec.Struct):
    """A prompt of the inbox.

    Args:
        words: what its line in the transcript says, in single blanks.
        before: what Claude said of itself when it was typed.
        since: when it was typed, or when Claude last did something else than to be idle.
        entered: when Enter was pressed last; None before.
        queued: whether it was said that Claude seems to have it.
        back_at: when it was taken back out of the line.
        back_as: what it counts as then: "refused", "cancelled".
    """

    uuid: str
    text: str
    words: str
    before: Activity = Activity()
    since: float | None = None
    entered: float | None = None
    queued: bool = False
    back_at: float | None = None
    back_as: str = ""


class PromptTyper:
    """Turns messages into keys: prompts, interrupts, and the end.

    A prompt is typed when Claude says that it is idle. It is refused only where its line has not
    come within `first_event_timeout`, and does not come either once it was taken back out of the
    input line. An interrupt is Escape. The end is Ctrl-C twice, once nothing is left to answer.

    Args:
        first_event_timeout: seconds for Claude to take a prompt; None for no limit.
        session: the session's name, for a person.
        is_claude: whether the program is Claude; else messages are typed as they are.

    Attributes:
        keys: what is to be pressed; whoever presses it clears it.
        notes: lines for the journal; whoever writes one removes it.
        others_type: whether somebody else types, too: then our lines are known by their text alone.
        ended: whether the input has ended.
    """

    def __init__(
        self, first_event_timeout: float | None = None, session: str = "", *, is_claude: bool = True
    ) -> None:
        self.keys = bytearray()
        self.notes: list[dict[str, str]] = []
        self.others_type = False
        self.ended = False
        self._limit = first_event_timeout
        self._session = session
        self._is_claude = is_claude
        self._waiting: deque[_Prompt] = deque()
        self._typed: _Prompt | None = None
        self._late: deque[_Prompt] = deque(maxlen=_MOST_LATE)
        self._known: set[str] = set()  # uuids of prompts' lines: a copy of one is no other prompt
        self._before = Activity()  # what Claude said when the last prompt was typed
        self._stale_until = 0.0
        self._asked_at_start = False
        self._interrupting = self._escaped = False
        self._next = 0.0  # not before this moment is a key pressed again
        self._tries = 0

    @property
    def has_typed(self) -> bool:
        """Whether a prompt was typed and is not known to have arrived."""
        return self._typed is not None

    def was_said_before(self, activity: Activity) -> bool:
        """Return whether Claude said this before the last prompt: then it is no end of its turn."""
        return activity == (self._typed.before if self._typed else self._before)

    @property
    def gives_up(self) -> bool:
        """Whether Claude was asked to end, again and again, and has not."""
        return self.ended and self._is_claude and self._tries > _MOST_ENDS

    # --- what comes in ----------------------------------------------------------------------

    def hear(self, name: str, message: bytes) -> None:
        """Take a message of the inbox, or the name that ends the input."""
        if name == END_OF_INPUT:
            self.ended = True
        elif not self._is_claude:
            self.keys += message
        else:
            self._take(msgspec.json.decode(message))

    def _take(self, message: dict[str, Any]) -> None:
        request = message.get("request") or {}
        if message["type"] == "user":
            text = message["message"]["content"]
            self._waiting.append(_Prompt(message["uuid"], text, in_words(_clean(text))))
        elif request.get("subtype") == "interrupt":
            self._interrupting = True
            while self._waiting and request.get("cancel_queued"):
                self._note(self._waiting.popleft().uuid, "cancelled")

    def recognise(self, line: bytes) -> Heard | None:
        """Return what a new line of a transcript says of a prompt of ours; None where nothing.

        Nothing changes before `confirm`, so that a line may be looked at twice.
        """
        if not any(mark in line for mark in _TELLING):
            return None
        heard = heard_in(line)
        if heard is None or heard.uuid in self._known:
            return None
        candidates = [self._typed, *self._late] if self._typed else [*self._late]
        for prompt in candidates:
            if self._is_of(heard, prompt):
                return msgspec.structs.replace(heard, prompt=prompt.uuid)
        return heard if heard.uuid else None

    def confirm(self, heard: Heard, now: float) -> None:
        """Take note of what was recognised, once the journal has it."""
        if heard.uuid:
            self._known.add(heard.uuid)
        typed = self._typed
        if typed is None or heard.prompt != typed.uuid:
            self._late = deque((p for p in self._late if p.uuid != heard.prompt), _MOST_LATE)
        elif heard.state == "queued":
            typed.queued = True
        else:
            self._before, self._stale_until = typed.before, now + _STALE
            self._finish_typing()

    def _is_of(self, heard: Heard, prompt: _Prompt) -> bool:
        if heard.state == "refused":
            return prompt.words.split(" ")[0] == heard.text
        if prompt is self._typed and not self.others_type:
            # Claude may have made something else of the text: an image, a command's other name.
            return heard.text.startswith("/") <= prompt.words.startswith("/")
        if len(prompt.words) >= _SURELY_OURS:
            return prompt.words in heard.text  # there may be marks around it that it was pasted
        return heard.text.endswith(prompt.words)  # behind half a line that somebody left there

    # --- what is pressed --------------------------------------------------------------------

    def act(self, activity: Activity, now: float, shown: float = 0.0) -> None:
        """Press what is to be pressed at this moment.

        Args:
            activity: what Claude says of itself.
            now: the moment, in seconds.
            shown: when something new was on the screen last.
        """
        if self._typed is not None:
            self._see_to_it(self._typed, activity, now, shown)
        elif activity == self._before and now < self._stale_until:
            return
        elif self._interrupting:
            self._interrupt(activity, now)
        elif self._waiting and activity.status == IDLE:
            self._type(self._waiting.popleft(), activity, now)
        elif self._waiting and not activity.session_id and self._is_claude:
            self._wait_for_start(self._waiting[0], now, shown)
        elif self.ended and not self._waiting:
            self._leave(activity, now)

    def _type(self, prompt: _Prompt, activity: Activity, now: float) -> None:
        self._typed = prompt
        prompt.before, prompt.since = activity, now
        self._next, self._tries = 0.0, 0
        self.keys += typed(prompt.text)

    def _see_to_it(self, prompt: _Prompt, activity: Activity, now: float, shown: float) -> None:
        """Press Enter for a prompt that was typed, wait for its line, or take it back."""
        if prompt.back_at is not None:
            self._see_that_nothing_comes(prompt, prompt.back_at, now, shown)
        elif activity.status in (BUSY, WAITING):
            self._take_hint(prompt, activity, now)
        elif self._interrupting:
            self._take_back(prompt, "cancelled", now)
        elif self._is_late(prompt, now):
            self._take_back(prompt, "refused", now)
        elif activity.status == IDLE and _may_enter(prompt, now, shown):
            prompt.entered = now
            self.keys += ENTER

    def _take_hint(self, prompt: _Prompt, activity: Activity, now: float) -> None:
        """Claude does something: perhaps it has the prompt, perhaps it asks a person."""
        prompt.since = now
        if self._interrupting:
            self._interrupt(activity, now)
        elif activity.status == BUSY and prompt.entered and not prompt.queued:
            prompt.queued = True
            self._note(prompt.uuid, "queued")
        elif activity.status == WAITING and prompt.words.startswith("/") and prompt.entered:
            self._note(prompt.uuid, "started")  # a command that opens a dialog leaves no line
            self._finish_typing()

    def _is_late(self, prompt: _Prompt, now: float) -> bool:
        since = now if prompt.since is None else prompt.since
        return self._limit is not None and now >= since + self._limit

    def _take_back(self, prompt: _Prompt, state: str, now: float) -> None:
        prompt.back_at, prompt.back_as = now, state
        self.keys += CTRL_C

    def _see_that_nothing_comes(
        self, prompt: _Prompt, since: float, now: float, shown: float
    ) -> None:
        noticed = shown > since and now >= shown + _TAKEN_BACK
        if noticed or now >= since + _NO_NOTICE:
            self._late.append(prompt)
            self._note(prompt.uuid, prompt.back_as)
            self._interrupting = self._escaped = False
            self._finish_typing()

    def _finish_typing(self) -> None:
        self._typed = None
        self._next, self._tries = 0.0, 0

    def _wait_for_start(self, prompt: _Prompt, now: float, shown: float) -> None:
        """Say once that Claude asks a question of its first start; do not wait for it for ever."""
        if prompt.since is None:
            prompt.since = now
        what = "Claude waits at a question of its first start"
        if not self._asked_at_start and now >= max(shown, prompt.since) + _FIRST_QUESTION:
            self._asked_at_start = True
            how = f"`claude-mpm attach {self._session}` shows it"
            state = {"state": WAITING, "status": "first start", "message": f"{what}: {how}"}
            self.notes.append({"type": "system", "subtype": "host_state", **state})
        if self._is_late(prompt, now):
            self._note(self._waiting.popleft().uuid, "refused", what)

    def _interrupt(self, activity: Activity, now: float) -> None:
        if activity.status in (BUSY, WAITING):
            self._escaped = True
            if now >= self._next:
                self._press_again(ESCAPE, now)
            return
        if self._escaped:
            self.keys += CTRL_C  # a prompt without an answer is back in the line to be edited
        self._interrupting = self._escaped = False
        self._next, self._tries = 0.0, 0

    def _leave(self, activity: Activity, now: float) -> None:
        if activity.status == BUSY or now < self._next:
            return
        if not self._is_claude:
            self._press_again(b"\x04", now)
        elif activity.status == WAITING:
            self._press_again(ESCAPE, now)
        else:
            self._press_again(CTRL_C * 2, now)

    def _press_again(self, keys: bytes, now: float) -> None:
        self.keys += keys
        self._next = now + _AGAIN
        self._tries += 1

    def _note(self, uuid: str, state: str, reason: str = "") -> None:
        self.notes.append(lifecycle(uuid, state, reason))


def lifecycle(uuid: str, state: str, reason: str = "") -> dict[str, str]:
    """Return the line that says what became of a prompt, in the words of the `stream-json` wire."""
    told = {"reason": reason} if reason else {}
    return {"type": "command_lifecycle", "command_uuid": uuid, "state": state, **told}


def heard_in(line: bytes) -> Heard | None:
    """Return what a transcript's line says of any prompt; None where it says nothing of one.

    A prompt is a `user` line with its source, a command of Claude Code's a line with its name, and
    one that is slipped into a running turn an operation of the queue. (Observed: 2.1.330.)
    """
    try:
        said = _decode(line)
    except NOT_JSON:
        return None
    text = _text(said.message.get("content") if said.type == "user" else said.content)
    command = _COMMAND.search(text)
    if said.type == "queue-operation":
        state = _IN_THE_QUEUE.get(said.reason or said.operation)
        is_report = text.startswith("<task-notification>")
        return Heard("", in_words(text), state) if state and not is_report else None
    if command and (said.type == "user" or said.subtype == "local_command"):
        return Heard(said.uuid, in_words(f"{command[1]} {command[2] or ''}"))
    if said.type == "user" and said.prompt_source in _BY_A_PERSON:
        return Heard(said.uuid, in_words(text))
    unknown = _UNKNOWN.match(text) if said.subtype == "informational" else None
    return Heard(said.uuid, unknown[1], "refused", text) if unknown else None


def _text(content: object) -> str:
    if isinstance(content, list):
        texts = [block.get("text") for block in content if isinstance(block, dict)]
        return "\n".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def _may_enter(prompt: _Prompt, now: float, shown: float) -> bool:
    """Return whether Enter may be pressed: it sends the prompt, and can mean nothing else.

    What is new on the screen since the last Enter may be a dialog, or the turn.
    """
    assert prompt.since is not None
    if prompt.entered is None:
        whole = now >= shown + _SHOWN or now >= prompt.since + _MUST_BE_SHOWN
        return shown > prompt.since and whole
    if shown <= prompt.entered:
        return now >= prompt.entered + _NO_EFFECT
    return now >= shown + _AT_REST


def in_words(text: str) -> str:
    """Return a text with single blanks: Claude makes blanks of tabs, and trims."""
    return " ".join(text.split())


def _clean(prompt: str) -> str:
    text = prompt.replace("\r\n", "\n").replace("\r", "\n").translate(_NO_KEYS)
    if text.startswith("!"):
        text = f" {text}"  # at the beginning, it would be a command for the shell
    # At the end, it would make a new line of the Enter; the blank is trimmed.
    return f"{text} " if text.endswith("\\") else text


def typed(prompt: str) -> bytes:
    """Return a prompt as bracketed pastes; it is not sent before `ENTER`."""
    return b"".join(f"\x1b[200~{piece}\x1b[201~".encode() for piece in _pieces(_clean(prompt)))


def _pieces(text: str) -> Iterator[str]:
    if len(text) > _MOST_IN_PIECES:
        yield text
        return
    piece: list[str] = []
    lines = 0
    for character in text:
        piece.append(character)
        lines += character == "\n"
        if len(piece) >= _PIECE_CHARACTERS or lines >= _PIECE_LINES:
            yield "".join(piece)
            piece, lines = [], 0
    if piece:
        yield "".join(piece)
