"""Typing what is put into a session's inbox, when Claude is ready for it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.journal.inbox import END_OF_INPUT
from claude_mpm.terminal.claude_config import BUSY, IDLE, WAITING, Activity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ENTER, ESCAPE, CTRL_C = b"\r", b"\x1b", b"\x03"

# Claude Code takes what is pasted as the person's own words as long as it is short. Longer pieces
# it shows as "[Pasted text]", and marks them for the model as something quoted. So a prompt comes
# in short pieces. (Observed: 2.1.330 marks what has more than 800 characters, or many lines.)
_PIECE_CHARACTERS, _PIECE_LINES = 600, 2
# A prompt that is longer than this is one paste all the same: thousands of pieces take their time.
_MOST_IN_PIECES = 40_000
# Control characters would be keys, and end the paste or do worse.
_NO_KEYS = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}
# Seconds until a key that had no effect is pressed again.
_AGAIN, _ENTER_AGAIN = 1.0, 0.5
_MOST_ENTERS, _MOST_ENDS = 20, 5  # how often
# Seconds for which Claude may say of itself what was so before it took a prompt. A turn can be over
# before it has said anything else.
_STALE = 1.0


class _Prompt(msgspec.Struct, frozen=True):
    uuid: str
    text: str


class PromptTyper:
    """Turns messages into keys: prompts, interrupts, and the end.

    A prompt is typed when Claude says that it is idle; until it says otherwise, Enter is pressed
    again. An interrupt is Escape. The end is Ctrl-C twice, once nothing is left to be answered.

    Args:
        press: sends keys to the program.
        tell: called with the uuid of a prompt and what became of it: "started", "refused",
            "cancelled".
        is_claude: whether the program is Claude; else messages are typed as they are.
    """

    def __init__(
        self,
        press: Callable[[bytes], None],
        tell: Callable[[str, str], None],
        *,
        is_claude: bool,
    ) -> None:
        self._press = press
        self._tell = tell
        self._is_claude = is_claude
        self._waiting: deque[_Prompt] = deque()
        self._typed: _Prompt | None = None
        self._before = Activity()  # what Claude said when the last prompt was typed
        self._stale_until = 0.0
        self._interrupting = self._escaped = False
        self._next = 0.0  # not before this moment is a key pressed again
        self._tries = 0
        self.ended = False

    @property
    def has_typed(self) -> bool:
        """Whether a prompt was typed and is not known to have arrived."""
        return self._typed is not None

    def hear(self, name: str, message: bytes) -> None:
        """Take a message of the inbox, or the name that ends the input."""
        if name == END_OF_INPUT:
            self.ended = True
        elif not self._is_claude:
            self._press(message)
        else:
            self._take(msgspec.json.decode(message))

    def _take(self, message: dict[str, Any]) -> None:
        request = message.get("request") or {}
        if message["type"] == "user":
            self._waiting.append(_Prompt(message["uuid"], message["message"]["content"]))
        elif request.get("subtype") == "interrupt":
            self._interrupting = True
            while self._waiting and request.get("cancel_queued"):
                self._tell(self._waiting.popleft().uuid, "cancelled")

    def act(self, activity: Activity, now: float, *, arrived: bool = False) -> None:
        """Press what is to be pressed at this moment.

        Args:
            activity: what Claude says of itself.
            now: the moment, in seconds.
            arrived: whether the prompt that was typed is in the transcript.
        """
        if self._typed is not None:
            self._see_to_it(self._typed, activity, now, arrived)
        elif activity == self._before and now < self._stale_until:
            return
        elif self._interrupting:
            self._interrupt(activity, now)
        elif self._waiting and activity.status == IDLE:
            self._type(self._waiting.popleft(), activity, now)
        elif self.ended and not self._waiting:
            self._leave(activity, now)

    def _type(self, prompt: _Prompt, activity: Activity, now: float) -> None:
        self._typed, self._before = prompt, activity
        self._next, self._tries = now + _ENTER_AGAIN, 1
        self._press(typed(prompt.text) + ENTER)

    def _see_to_it(self, prompt: _Prompt, activity: Activity, now: float, arrived: bool) -> None:
        if arrived or activity != self._before:
            self._stale_until = now + _STALE
            self._finish_typing(prompt, "started")
        elif now >= self._next and self._tries < _MOST_ENTERS:
            self._press_again(ENTER, now, _ENTER_AGAIN)  # the paste was still being taken in
        elif now >= self._next:
            self._finish_typing(prompt, "refused")

    def _finish_typing(self, prompt: _Prompt, state: str) -> None:
        self._typed = None
        self._next, self._tries = 0.0, 0
        self._tell(prompt.uuid, state)

    def _interrupt(self, activity: Activity, now: float) -> None:
        if activity.status in (BUSY, WAITING):
            self._escaped = True
            if now >= self._next:
                self._press_again(ESCAPE, now)
            return
        if self._escaped:
            self._press(CTRL_C)  # a prompt without an answer is back in the line to be edited
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

    @property
    def gives_up(self) -> bool:
        """Whether Claude was asked to end, again and again, and has not."""
        return self.ended and self._is_claude and self._tries > _MOST_ENDS

    def _press_again(self, keys: bytes, now: float, pause: float = _AGAIN) -> None:
        self._press(keys)
        self._next = now + pause
        self._tries += 1


def typed(prompt: str) -> bytes:
    """Return a prompt as bracketed pastes; it is not sent before `ENTER`."""
    text = prompt.replace("\r\n", "\n").replace("\r", "\n").translate(_NO_KEYS)
    if text.startswith("!"):
        text = f" {text}"  # at the beginning, it would be a command for the shell
    return b"".join(f"\x1b[200~{piece}\x1b[201~".encode() for piece in _pieces(text))


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
