"""A running session that is started nowhere: what Claude would write is given to it by hand."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from claude_mpm.conversation.turn import Turn
from claude_mpm.engine.live_session import LiveSession
from claude_mpm.engine.options import Options
from claude_mpm.environments.local import Local
from claude_mpm.processors.usage import UsageProcessor
from claude_mpm.sessions.store import Store
from claude_mpm.wire import StreamJson
from claude_mpm.wire.framing import Line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from claude_mpm.journal.answers import Answer
    from claude_mpm.wire.events import Event


class Talk(LiveSession):
    """A session with one prompt, and what Claude writes meanwhile; nothing of it is started."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            self,
            Options(wire="stream-json", **options),
            Local(),
            Store(),
            logging.getLogger("test"),
            kind="local",
            place={},
        )
        self.session_id = "talk"
        self.interrupted = 0
        self.ended: list[str] = []
        self.unheard: list[Event] = []
        self.turn = Turn("go", self, timeout=30.0)
        self.turns.add(self.turn)
        self._usage = UsageProcessor("s")
        self._offset = 0

    def announce(self, turn: Turn) -> None:
        pass

    def interrupt(self) -> None:
        self.interrupted += 1

    def stop(self) -> None:
        self.ended.append("stop")

    def kill(self) -> None:
        self.ended.append("kill")

    def unread(self) -> Iterable[Event]:
        return self.unheard

    def keep_reason(self, prompt: str, known: Mapping[str, Any]) -> None:
        pass

    def answer(self, answer: Answer) -> Answer:
        return answer

    def answers(self) -> dict[str, Answer]:
        return {}

    def write(self, *lines: dict[str, Any]) -> None:
        for event in self.events(*lines):
            for each in (event, *self._usage(event)):
                self.state.apply(each)
                self.observe(each)

    def events(self, *lines: dict[str, Any]) -> Iterator[Event]:
        for line in lines:
            data = json.dumps(line).encode()
            end = self._offset + len(data) + 1
            yield from StreamJson().decode(Line(self._offset, data, end))
            self._offset = end

    def heard(self, state: str) -> dict[str, Any]:
        return {"type": "command_lifecycle", "command_uuid": self.turn.uuid, "state": state}

    def result(self, **more: Any) -> dict[str, Any]:
        return {
            "type": "result", "subtype": "success", "num_turns": 1, "result": "the answer",
            "terminal_reason": "completed", "user_message_uuids": [self.turn.uuid], **more,
        }  # fmt: skip
