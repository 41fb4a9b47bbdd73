"""A stand-in for `claude -p` that keeps its conversations: cheap to start, and easy to kill.

It behaves as Claude Code was measured to: it acknowledges each prompt, knows a prompt that it was
sent before, and writes its record of the conversation a little later than what it says.

What a prompt makes it do:
  step N       say something, run a command that adds N to the file `ran`, and answer with a ticket
  stream       say one line after the other, until it is interrupted
  tool         run a command that ignores signals and leaves the process group
  background   leave such a command running, and answer
  ask          ask for a permission, and wait for the answer
  hang         answer, and never say that it is done
  deaf         say so, and go on for ever whoever asks for the end
  half         stop in the middle of a line
  leave        the same, and end with status 0
  mute         work on in silence; a fresh one, that is told to go on, ends it
  hold         leave a command running that holds the output, and end
  flood N      say as much as makes N events, with N/1000 tickets
  line N       say a line of N characters
"""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import uuid
from pathlib import Path
from typing import Any

_LAG = 0.1  # seconds until the record is written
_PACE = 0.1
_DEAF = "trap '' TERM INT HUP; while :; do sleep 60 & wait; done"
_WORDS = (
    "stream", "tool", "background", "ask", "hang", "deaf", "half", "leave", "mute", "hold", "flood",
    "line",
)  # fmt: skip
_nobody = threading.Event()


class Record:
    """Its own record of the conversation: each prompt with the steps of its turn that are done."""

    def __init__(self, conversation: str) -> None:
        folder = Path(os.environ["CLAUDE_CONFIG_DIR"]) / "projects" / "stand-in"
        self.file = folder / f"{conversation}.jsonl"
        self.turns: dict[str, dict[str, Any]] = {}
        if self.file.exists():
            self.turns = json.loads(self.file.read_text())
        self._changed = threading.Event()
        self._writing = threading.Lock()
        threading.Thread(target=self._write_later, daemon=True).start()

    def note(self, prompt: str, **fields: Any) -> None:
        """Note something about a prompt's turn."""
        self.turns.setdefault(prompt, {"done": []}).update(fields)
        self._changed.set()

    def write(self) -> None:
        """Write it now."""
        with self._writing:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            draft = self.file.with_suffix(".draft")
            draft.write_text(json.dumps(self.turns))
            draft.replace(self.file)

    def _write_later(self) -> None:
        while self._changed.wait():
            self._changed.clear()
            _nobody.wait(_LAG)
            self.write()


class StandIn:
    """One process of it."""

    def __init__(self, conversation: str) -> None:
        self._record = Record(conversation)
        self._input: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._interrupted = threading.Event()
        self._answered = threading.Event()
        self._printing = threading.Lock()
        self._cost = 0.0
        self._muted = self._stays = self._leaves = False

    def run(self, *, go_on: bool) -> None:
        """Answer until the input ends."""
        threading.Thread(target=self._read, daemon=True).start()
        cut = [each for each, turn in self._record.turns.items() if not turn.get("over")]
        if go_on and cut:
            self._emit(type="command_lifecycle", command_uuid=str(uuid.uuid4()), state="started")
            self._turn(cut[-1], self._record.turns[cut[-1]]["text"])
        while (message := self._input.get()) is not None:
            prompt, text = message["uuid"], message["message"]["content"]
            if prompt in self._record.turns:
                self._emit(type="command_lifecycle", command_uuid=prompt, state="completed")
                self._state("idle")
                continue
            for state in ("queued", "started"):
                self._emit(type="command_lifecycle", command_uuid=prompt, state=state)
            self._record.note(prompt, text=text)
            self._turn(prompt, text)
            state = "cancelled" if self._interrupted.is_set() else "completed"
            self._emit(type="command_lifecycle", command_uuid=prompt, state=state)
            self._state("idle")
            if self._leaves:
                return

    def _read(self) -> None:
        for line in sys.stdin:
            message = json.loads(line)
            kind = message["type"]
            if kind == "control_request":
                if message["request"]["subtype"] == "interrupt":
                    self._interrupted.set()
                    self._answered.set()
                name = message["request_id"]
                response = {"subtype": "success", "request_id": name, "response": {}}
                self._emit(type="control_response", response=response)
            elif kind == "control_response":
                self._answered.set()
            else:
                self._input.put(message)
        self._answered.set()
        self._input.put(None)

    def _turn(self, prompt: str, text: str) -> None:
        self._interrupted.clear()
        self._state("running")
        self._emit(type="system", subtype="init")
        known = self._record.turns[prompt]
        for name, step in _script(text):
            if name in known["done"] or self._interrupted.is_set():
                continue
            getattr(self, f"_{step}")(name)
            self._record.note(prompt, done=[*known["done"], name])
            _nobody.wait(_PACE)
        self._record.note(prompt, over=True)
        self._record.write()
        self._cost += 0.01
        reason = "aborted_tools" if self._interrupted.is_set() else "completed"
        self._emit(
            type="result", subtype="success", is_error=False, terminal_reason=reason, result="",
            total_cost_usd=self._cost, user_message_uuids=[prompt], usage={},
        )  # fmt: skip
        if self._stays:
            _nobody.wait()

    def _say(self, text: str) -> None:
        block = {"type": "text", "text": text}
        self._emit(type="assistant", message={"id": text, "role": "assistant", "content": [block]})

    def _run(self, command: str) -> None:
        tool = {"type": "tool_use", "id": command, "name": "Bash", "input": {"command": command}}
        self._emit(type="assistant", message={"id": command, "content": [tool]})
        subprocess.run(["sh", "-c", command], check=False, start_new_session=True)
        done = {"type": "tool_result", "tool_use_id": command, "content": ""}
        self._emit(type="user", message={"role": "user", "content": [done]})

    def _stream(self, _: str) -> None:
        number = 0
        while not self._interrupted.wait(_PACE):
            number += 1
            self._say(f"line {number}")

    def _tool(self, _: str) -> None:
        self._background("tool")
        self._interrupted.wait()

    def _background(self, _: str) -> None:
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        subprocess.Popen(["sh", "-c", _DEAF], start_new_session=True, **quiet)  # type: ignore[call-overload]
        self._say("It runs.")

    def _ask(self, name: str) -> None:
        request = {"subtype": "can_use_tool", "tool_name": "Write", "input": {}, "tool_use_id": "1"}
        self._emit(type="control_request", request_id=str(uuid.uuid4()), request=request)
        self._state("requires_action")
        self._answered.wait()
        self._state("running")

    def _hang(self, _: str) -> None:
        self._say("It is done.")
        _nobody.wait()

    def _deaf(self, _: str) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self._say("It is done.")
        self._stays = True

    def _half(self, _: str) -> None:
        self._say("It begins.")
        with self._printing:
            sys.stdout.write('{"type":"assistant","mess')
            sys.stdout.flush()
        _nobody.wait()

    def _leave(self, _: str) -> None:
        with self._printing:
            sys.stdout.write('{"type":"assistant","mess')
            sys.stdout.flush()
            os._exit(0)

    def _mute(self, _: str) -> None:
        self._muted = True

    def _unmuted(self, text: str) -> None:
        if self._muted:
            _nobody.wait()
        self._say(text)

    def _hold(self, _: str) -> None:
        subprocess.Popen(["sh", "-c", _DEAF], start_new_session=True, stdin=subprocess.DEVNULL)
        self._say("It runs.")
        self._leaves = True

    def _flood(self, text: str) -> None:
        """Say a thousand events in one write: a reader is to be fast, not we."""
        for number in range(0, int(text.split()[1]), 1000):
            with self._printing:
                sys.stdout.write(_thousand_events(f"{text}, {number}"))
                sys.stdout.flush()

    def _line(self, text: str) -> None:
        self._say("x" * int(text.split()[1]))

    def _state(self, state: str) -> None:
        self._emit(type="system", subtype="session_state_changed", state=state)

    def _emit(self, **event: Any) -> None:
        if self._muted:
            return
        with self._printing:
            sys.stdout.write(json.dumps(event) + "\n")
            sys.stdout.flush()


def _script(text: str) -> list[tuple[str, str]]:
    """Return the steps of a turn, each with its kind."""
    found = re.fullmatch(r"step (\d+)", text)
    if found:
        number = found[1]
        return [
            (f"Looking {number}.", "say"),
            (f"echo {number} >>ran", "run"),
            (f"Answer {number}\nTODO: Do thing {number}\nend {number}", "say"),
        ]
    if text == "mute":
        return [("mute", "mute"), ("echo mute >>ran", "run"), ("It is done.", "unmuted")]
    word = text.partition(" ")[0]
    return [(text, word if word in _WORDS else "say")]


def _thousand_events(name: str) -> str:
    """Return 499 calls of a tool, each with its result, and what is said before and after them."""
    lines = [_said({"type": "text", "text": f"TODO: Look into {name}"})]
    for number in range(499):
        tool = f"{name}, {number}"
        call = {"type": "tool_use", "id": tool, "name": "Read", "input": {"file_path": "a/b"}}
        content = [{"type": "tool_result", "tool_use_id": tool, "content": "word " * 40}]
        result = {"type": "user", "message": {"role": "user", "content": content}}
        lines += [_said(call), json.dumps(result)]
    lines.append(_said({"type": "text", "text": f"The end of {name}"}))
    return "\n".join(lines) + "\n"


def _said(block: dict[str, Any]) -> str:
    message = {"id": str(block.get("id")), "role": "assistant", "content": [block]}
    return json.dumps({"type": "assistant", "message": message})


def main(arguments: list[str]) -> int:
    """Run it with the arguments of `claude`; return its exit status."""
    if arguments == ["--version"]:  # of one that was tried, so that it is not probed
        sys.stdout.write("2.1.332 (Claude Code)\n")
        return 0
    given = " ".join(arguments)
    resumed = re.search(r"--resume=(\S+)", given)
    named = re.search(r"--session-id (\S+)", given)
    conversation = (resumed or named or ["", str(uuid.uuid4())])[1]
    stand_in = StandIn(conversation)
    exists = Path(os.environ["CLAUDE_CONFIG_DIR"], "projects", "stand-in", f"{conversation}.jsonl")
    if bool(resumed) != exists.exists():
        problem = "No conversation found" if resumed else "Session ID is already in use"
        sys.stderr.write(f"{problem}: {conversation}\n")
        return 1
    stand_in.run(go_on=bool(resumed) and "CLAUDE_CODE_RESUME_INTERRUPTED_TURN" in os.environ)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
