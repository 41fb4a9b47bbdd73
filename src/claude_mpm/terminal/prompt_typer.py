"""Types the messages of a session's inbox, when Claude is ready for them.

A prompt takes three steps. It is pasted; once Claude shows it, Enter is pressed; and it is
delivered when its line is in Claude's transcript. The status that Claude reports in
`sessions/PID.json` is only a hint: keys wait for it, but it proves nothing.
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.journal.inbox import END_OF_INPUT
from claude_mpm.terminal.claude_config import BUSY, IDLE, WAITING, ClaudeStatus
from claude_mpm.validation import NOT_JSON

if TYPE_CHECKING:
    from collections.abc import Iterator

ENTER, ESCAPE, CTRL_C = b"\r", b"\x1b", b"\x03"

# Claude Code treats a short paste as typed by the user. Longer ones it shows as "[Pasted text]",
# and marks them for the model as quoted. So a prompt is pasted in short pieces.
# (Observed: 2.1.330 marks pastes of more than 800 characters, or many lines.)
_PIECE_CHARACTERS, _PIECE_LINES = 600, 2
# A longer prompt is a single paste anyway: thousands of pieces would take too long.
_MAX_IN_PIECES = 40_000
# Control characters would act as keys, such as the end of the paste.
_REMOVED_CHARACTERS = {
    code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"
}
_REPEAT_INTERVAL = 1.0  # seconds until a key that had no effect is pressed again
_MAX_END_ATTEMPTS = 5  # how often Claude is asked to end
# Seconds without output after which a paste is completely shown, an Enter had no effect, and an
# Enter had another effect than to send the prompt.
_PASTE_SHOWN, _NO_EFFECT, _AT_REST = 0.1, 0.5, 5.0
_MAX_PASTE_WAIT = 2.0  # seconds until Enter is pressed in spite of continuous output
# Seconds until a prompt that was taken back counts as not accepted: after Claude's reaction, and
# without one.
_TAKEN_BACK, _TAKEN_BACK_UNNOTICED = 1.0, 10.0
# Seconds for which Claude may report its status from before it accepted a prompt. A turn can end
# before Claude has reported another one.
_STALE_STATUS = 1.0
# The same where an interrupt waits, which a Claude that is taken for idle would not be given: under
# load, Claude reports that it works long after it has begun.
_STALE_FOR_INTERRUPT = 30.0
# Seconds between a Ctrl-C that may have interrupted a turn and the next one: two at once end
# Claude.
_CTRL_C_APART = 2.0
_FIRST_QUESTION = 5.0  # seconds of silence during the first start after which it must be asking
_MAX_LATE = 16  # prompts whose lines may still appear later
_UNAMBIGUOUS_LENGTH = 40  # characters that nobody else types by chance
_PERSON_SOURCES = frozenset({"typed", "queued"})
_QUEUE_STATES = {"enqueue": "queued", "absorbed_mid_turn": "started"}
_TURN_END = "turn_duration"  # the line that Claude writes when a turn has ended
_RELEVANT_MARKERS = (
    b'"promptSource"', b'"queue-operation"', b"<command-name>", b'"informational"',
    f'"{_TURN_END}"'.encode(),
)  # fmt: skip
_COMMAND = re.compile(
    r"<command-name>(.*?)</command-name>(?:.*<command-args>(.*?)</command-args>)?", re.DOTALL
)
_UNKNOWN = re.compile(r"Unknown (?:slash )?command: (/?\S+)")


class PromptReport(msgspec.Struct, frozen=True):
    """What a line of a transcript reports about a prompt.

    Args:
        uuid: of the line; empty if it has none.
        text: the prompt, with single spaces.
        state: "started" if it runs, "queued" if Claude will run it, "refused" if it will not;
            "ended" where no prompt is meant, and the turn has ended.
        reason: Claude's explanation.
        prompt: the uuid of the prompt in the inbox.
    """

    uuid: str
    text: str
    state: str = "started"
    reason: str = ""
    prompt: str = ""


class _TranscriptLine(msgspec.Struct, rename="camel"):
    type: str = ""
    subtype: str = ""
    uuid: str = ""
    prompt_source: str = ""
    operation: str = ""
    reason: str = ""
    content: Any = None
    message: dict[str, Any] = {}


_decode = msgspec.json.Decoder(_TranscriptLine, strict=False).decode


class _PendingPrompt(msgspec.Struct):
    """A prompt of the inbox.

    Args:
        words: the text of its line in the transcript, with single spaces.
        status_before: Claude's status when it was typed.
        since: when it was typed, or when Claude was last seen not idle.
        entered: when Enter was pressed last; None before.
        queued: whether it was reported that Claude seems to have it.
        taken_back_at: when it was removed from the input line; None if it was not.
        taken_back_state: its state then: "refused", "cancelled".
    """

    uuid: str
    text: str
    words: str
    status_before: ClaudeStatus = ClaudeStatus()
    since: float | None = None
    entered: float | None = None
    queued: bool = False
    taken_back_at: float | None = None
    taken_back_state: str = ""

    def type(self, status: ClaudeStatus, now: float) -> None:
        """Note that it has been typed, at a time of the monotonic clock."""
        self.status_before, self.since = status, now

    def wait_from(self, now: float) -> None:
        """Set the time from which Claude has to accept it."""
        self.since = now

    def enter(self, now: float) -> None:
        """Note that Enter was pressed."""
        self.entered = now

    def queue(self) -> None:
        """Note that Claude seems to have it."""
        self.queued = True

    def take_back(self, state: str, now: float) -> None:
        """Note that it was removed from the input line, and the state to report for it."""
        self.taken_back_at, self.taken_back_state = now, state


class PromptTyper:
    """Turns messages into keys: prompts, interrupts, and the end of input.

    A prompt is typed when Claude is idle. It is refused only if its line did not appear within
    `first_event_timeout`, and not after it was removed from the input line either. An interrupt is
    Escape. The end is Ctrl-C twice, once no prompt is left.

    Args:
        first_event_timeout: seconds for Claude to accept a prompt; None for no limit.
        session: the session's name, for messages to the user.
        is_claude: whether the program is Claude; messages for other programs are typed as they are.

    Attributes:
        keys: the keys to press; the caller clears it.
        notes: lines for the journal; the caller removes those that it has written.
        others_type: whether someone types on a screen too; our lines are then matched by text.
        ended: whether the input has ended.
    """

    def __init__(
        self, first_event_timeout: float | None = None, session: str = "", *, is_claude: bool = True
    ) -> None:
        self.keys = bytearray()
        self.notes: list[dict[str, str]] = []
        self.others_type = False
        self.ended = False
        self._timeout = first_event_timeout
        self._session = session
        self._is_claude = is_claude
        self._waiting: deque[_PendingPrompt] = deque()
        self._typed: _PendingPrompt | None = None
        self._late: deque[_PendingPrompt] = deque(maxlen=_MAX_LATE)
        self._line_uuids: set[str] = set()  # of prompts' lines, since a line may appear again
        self._last_status = ClaudeStatus()  # when the last prompt was typed
        self._accepted_at = -_STALE_FOR_INTERRUPT  # when that prompt was; in the past before any
        self._reported_first_start = False
        self._interrupting = self._escaped = False
        self._next_press = 0.0  # when a key may be pressed again
        self._next_ctrl_c = 0.0  # when the input line may be cleared
        self._tries = 0

    @property
    def has_typed(self) -> bool:
        """Whether a prompt was typed whose line has not appeared."""
        return self._typed is not None

    def is_stale(self, status: ClaudeStatus) -> bool:
        """Return whether a status is from before the last prompt, and so is not the turn's end."""
        return status == (self._typed.status_before if self._typed else self._last_status)

    @property
    def gives_up(self) -> bool:
        """Whether Claude was asked to end repeatedly, without success."""
        return self.ended and self._is_claude and self._tries > _MAX_END_ATTEMPTS

    # --- what comes in ----------------------------------------------------------------------

    def share(self) -> None:
        """Note that someone types on a screen, too."""
        self.others_type = True

    def end(self) -> None:
        """Note that the input has ended."""
        self.ended = True

    def receive(self, name: str, message: bytes) -> None:
        """Take a message of the inbox, or the name that ends the input."""
        if name == END_OF_INPUT:
            self.end()
        elif not self._is_claude:
            self.keys += message
        else:
            self._receive_message(msgspec.json.decode(message))

    def _receive_message(self, message: dict[str, Any]) -> None:
        request = message.get("request") or {}
        if message["type"] == "user":
            text = message["message"]["content"]
            self._waiting.append(
                _PendingPrompt(message["uuid"], text, normalize_spaces(_clean(text)))
            )
        elif request.get("subtype") == "interrupt":
            self._interrupting = True
            while self._waiting and request.get("cancel_queued"):
                self._note(self._waiting.popleft().uuid, "cancelled")

    def match(self, line: bytes) -> PromptReport | None:
        """Return what a new line of a transcript reports about a prompt of ours; None if nothing.

        Nothing changes before `confirm`, so that a line may be read twice.
        """
        if not any(mark in line for mark in _RELEVANT_MARKERS):
            return None
        report = parse_prompt_report(line)
        if report is None or report.uuid in self._line_uuids:
            return None
        if report.state == "ended":
            return report
        candidates = [self._typed, *self._late] if self._typed else [*self._late]
        for prompt in candidates:
            if self._is_of(report, prompt):
                return msgspec.structs.replace(report, prompt=prompt.uuid)
        return report if report.uuid else None

    def confirm(self, report: PromptReport, now: float) -> None:
        """Apply a report that `match` returned, once it is in the journal."""
        if report.uuid:
            self._line_uuids.add(report.uuid)
        if report.state == "ended":
            # From now on no status is from before the prompt: in a short turn, none has changed.
            self._last_status = ClaudeStatus()
            return
        typed = self._typed
        if typed is None or report.prompt != typed.uuid:
            came_back = typed is None and any(p.uuid == report.prompt for p in self._late)
            self._late = deque((p for p in self._late if p.uuid != report.prompt), _MAX_LATE)
        elif report.state == "queued":
            came_back = False
            typed.queue()
        else:
            came_back = typed.taken_back_at is not None
            self._last_status, self._accepted_at = typed.status_before, now
            self._finish_typing()
        if came_back and report.state == "started":
            # Claude had it when it was removed, so its turn was interrupted in place of that, and
            # the prompt may be in the input line again.
            self._interrupting = self._escaped = True

    def _is_of(self, report: PromptReport, prompt: _PendingPrompt) -> bool:
        if report.state == "refused":
            return prompt.words.split(" ")[0] == report.text
        if prompt is self._typed and not self.others_type:
            # Claude may have changed the text: to an image, or to another name of a command.
            return report.text.startswith("/") <= prompt.words.startswith("/")
        if len(prompt.words) >= _UNAMBIGUOUS_LENGTH:
            return prompt.words in report.text  # it may be marked as pasted
        return report.text.endswith(prompt.words)  # there may have been text in the input line

    # --- what is pressed --------------------------------------------------------------------

    def act(self, status: ClaudeStatus, now: float, shown: float = 0.0) -> None:
        """Add the keys that are due to `keys`.

        Args:
            status: Claude's.
            now: seconds on the monotonic clock.
            shown: when the last output came.
        """
        if self._typed is not None:
            self._advance(self._typed, status, now, shown)
        elif status == self._last_status and now < self._accepted_at + self._stale_time():
            return
        elif self._interrupting:
            self._interrupt(status, now)
        elif self._waiting and status.status == IDLE:
            self._type(self._waiting.popleft(), status, now)
        elif self._waiting and not status.session_id and self._is_claude:
            self._wait_for_start(self._waiting[0], now, shown)
        elif self.ended and not self._waiting:
            self._press_end_keys(status, now)

    def _stale_time(self) -> float:
        # The keys that end Claude interrupt a turn as well.
        waits = self._interrupting and not self.ended
        return _STALE_FOR_INTERRUPT if waits else _STALE_STATUS

    def _type(self, prompt: _PendingPrompt, status: ClaudeStatus, now: float) -> None:
        self._typed = prompt
        prompt.type(status, now)
        self._next_press, self._tries = 0.0, 0
        self.keys += paste_keys(prompt.text)

    def _advance(
        self, prompt: _PendingPrompt, status: ClaudeStatus, now: float, shown: float
    ) -> None:
        """Advance a typed prompt: press Enter, wait for its line, or take it back."""
        if prompt.taken_back_at is not None:
            self._wait_after_take_back(prompt, prompt.taken_back_at, now, shown)
        elif status.status in (BUSY, WAITING):
            self._take_hint(prompt, status, now)
        elif self._interrupting:
            self._take_back(prompt, "cancelled", now)
        elif self._is_late(prompt, now):
            self._take_back(prompt, "refused", now)
        elif status.status == IDLE and _may_enter(prompt, now, shown):
            prompt.enter(now)
            self.keys += ENTER

    def _take_hint(self, prompt: _PendingPrompt, status: ClaudeStatus, now: float) -> None:
        """Handle a status that is not idle: Claude may have the prompt, or may ask the user."""
        prompt.wait_from(now)
        if self._interrupting:
            self._interrupt(status, now)
        elif status.status == BUSY and prompt.entered and not prompt.queued:
            prompt.queue()
            self._note(prompt.uuid, "queued")
        elif status.status == WAITING and prompt.words.startswith("/") and prompt.entered:
            self._note(prompt.uuid, "started")  # a command that opens a dialog leaves no line
            self._finish_typing()

    def _is_late(self, prompt: _PendingPrompt, now: float) -> bool:
        since = now if prompt.since is None else prompt.since
        return self._timeout is not None and now >= since + self._timeout

    def _take_back(self, prompt: _PendingPrompt, state: str, now: float) -> None:
        prompt.take_back(state, now)
        self.keys += CTRL_C
        self._next_ctrl_c = now + _CTRL_C_APART

    def _wait_after_take_back(
        self, prompt: _PendingPrompt, since: float, now: float, shown: float
    ) -> None:
        noticed = shown > since and now >= shown + _TAKEN_BACK
        if noticed or now >= since + _TAKEN_BACK_UNNOTICED:
            self._late.append(prompt)
            self._note(prompt.uuid, prompt.taken_back_state)
            self._interrupting = self._escaped = False
            self._finish_typing()

    def _finish_typing(self) -> None:
        self._typed = None
        self._next_press, self._tries = 0.0, 0

    def _wait_for_start(self, prompt: _PendingPrompt, now: float, shown: float) -> None:
        """Report once that Claude asks a question of its first start; refuse prompts in time."""
        since = now if prompt.since is None else prompt.since
        prompt.wait_from(since)
        reason = "Claude waits at a question of its first start"
        if not self._reported_first_start and now >= max(shown, since) + _FIRST_QUESTION:
            self._reported_first_start = True
            message = f"{reason}: `claude-mpm attach {self._session}` shows it"
            state = {"state": WAITING, "status": "first start", "message": message}
            self.notes.append({"type": "system", "subtype": "host_state", **state})
        if self._is_late(prompt, now):
            self._note(self._waiting.popleft().uuid, "refused", reason)

    def _interrupt(self, status: ClaudeStatus, now: float) -> None:
        if status.status in (BUSY, WAITING):
            self._escaped = True
            if now >= self._next_press:
                self._press(ESCAPE, now)
            return
        if self._escaped and now < self._next_ctrl_c:
            return
        if self._escaped:
            self.keys += CTRL_C  # Claude puts a prompt without an answer back into the input line
        self._interrupting = self._escaped = False
        self._next_press, self._tries = 0.0, 0

    def _press_end_keys(self, status: ClaudeStatus, now: float) -> None:
        if status.status == BUSY or now < self._next_press:
            return
        if not self._is_claude:
            self._press(b"\x04", now)
        elif status.status == WAITING:
            self._press(ESCAPE, now)
        else:
            self._press(CTRL_C * 2, now)

    def _press(self, keys: bytes, now: float) -> None:
        self.keys += keys
        self._next_press = now + _REPEAT_INTERVAL
        self._tries += 1

    def _note(self, uuid: str, state: str, reason: str = "") -> None:
        self.notes.append(lifecycle(uuid, state, reason))


def lifecycle(uuid: str, state: str, reason: str = "") -> dict[str, str]:
    """Return the line with the state of a prompt, as on the `stream-json` wire."""
    fields = {"reason": reason} if reason else {}
    return {"type": "command_lifecycle", "command_uuid": uuid, "state": state, **fields}


def parse_prompt_report(line: bytes) -> PromptReport | None:
    """Return what a transcript's line reports about any prompt; None if nothing.

    A prompt is a `user` line with its source, a command of Claude Code is a line with its name, and
    a prompt during a running turn is an operation of the queue. (Observed: 2.1.330.)
    """
    try:
        parsed = _decode(line)
    except NOT_JSON:
        return None
    if parsed.subtype == _TURN_END:
        return PromptReport(parsed.uuid, "", "ended")
    text = _text(parsed.message.get("content") if parsed.type == "user" else parsed.content)
    command = _COMMAND.search(text)
    if parsed.type == "queue-operation":
        state = _QUEUE_STATES.get(parsed.reason or parsed.operation)
        is_report = text.startswith("<task-notification>")
        return PromptReport("", normalize_spaces(text), state) if state and not is_report else None
    if command and (parsed.type == "user" or parsed.subtype == "local_command"):
        return PromptReport(parsed.uuid, normalize_spaces(f"{command[1]} {command[2] or ''}"))
    if parsed.type == "user" and parsed.prompt_source in _PERSON_SOURCES:
        return PromptReport(parsed.uuid, normalize_spaces(text))
    unknown = _UNKNOWN.match(text) if parsed.subtype == "informational" else None
    return PromptReport(parsed.uuid, unknown[1], "refused", text) if unknown else None


def _text(content: object) -> str:
    if isinstance(content, list):
        texts = [block.get("text") for block in content if isinstance(block, dict)]
        return "\n".join(text for text in texts if isinstance(text, str))
    return content if isinstance(content, str) else ""


def _may_enter(prompt: _PendingPrompt, now: float, shown: float) -> bool:
    """Return whether Enter may be pressed, because it can only send the prompt.

    Output since the last Enter may be a dialog, or the turn.
    """
    assert prompt.since is not None
    if prompt.entered is None:
        whole = now >= shown + _PASTE_SHOWN or now >= prompt.since + _MAX_PASTE_WAIT
        return shown > prompt.since and whole
    if shown <= prompt.entered:
        return now >= prompt.entered + _NO_EFFECT
    return now >= shown + _AT_REST


def normalize_spaces(text: str) -> str:
    """Return a text with single spaces: Claude replaces tabs by spaces, and trims."""
    return " ".join(text.split())


def _clean(prompt: str) -> str:
    text = prompt.replace("\r\n", "\n").replace("\r", "\n").translate(_REMOVED_CHARACTERS)
    if text.startswith("!"):
        text = f" {text}"  # a leading `!` would run a shell command
    # A trailing backslash would turn Enter into a new line; the space is trimmed.
    return f"{text} " if text.endswith("\\") else text


def paste_keys(prompt: str) -> bytes:
    """Return a prompt as bracketed pastes; it is sent with `ENTER`."""
    return b"".join(f"\x1b[200~{piece}\x1b[201~".encode() for piece in _pieces(_clean(prompt)))


def _pieces(text: str) -> Iterator[str]:
    if len(text) > _MAX_IN_PIECES:
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
