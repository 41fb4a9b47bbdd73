"""A stand-in for the `claude` command: the same two wires, and faults on demand.

Environment:
  STAND_IN_LOG     append one JSON line for the start (argv) and one for each prompt
  STAND_IN_LINES   answer each prompt with this many numbered lines
  STAND_IN_RAW     a file whose lines are written before the first answer, as they are
  STAND_IN_EXIT    exit with this status instead of answering the first prompt
  STAND_IN_DEAF    ignore SIGTERM and the end of input
  STAND_IN_VERSION the version that it tells; empty for none
  STAND_IN_MUTE    do not acknowledge prompts
  STAND_IN_LATE    a FIFO: acknowledge the first prompt once somebody has opened it to write
  STAND_IN_ASKS    ask for something that nobody knows, and go on once that is answered
  STAND_IN_OLD     know no request but `initialize`, and do not answer others
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

VERSION = os.environ.get("STAND_IN_VERSION", "2.1.332")  # one that was tried: it is not probed
SESSION = "11111111-2222-4333-8444-555555555555"


def log(**record: Any) -> None:
    path = os.environ.get("STAND_IN_LOG")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def emit(**event: Any) -> None:
    if event["type"] == "command_lifecycle" and os.environ.get("STAND_IN_MUTE"):
        return
    sys.stdout.write(json.dumps({"session_id": SESSION, **event}) + "\n")
    sys.stdout.flush()


def answer(text: str) -> str:
    count = int(os.environ.get("STAND_IN_LINES", "0"))
    return "\n".join(f"line {n}" for n in range(count)) or f"Claude heard: {text}"


def fault() -> None:
    status = os.environ.get("STAND_IN_EXIT")
    if status:
        sys.stderr.write("the stand-in was told to fail\n")
        sys.exit(int(status))
    raw = os.environ.pop("STAND_IN_RAW", None)
    if raw:
        sys.stdout.write(Path(raw).read_text())
        sys.stdout.flush()


def turn(message: dict[str, Any]) -> None:
    text = message["message"]["content"]
    uuid = message.get("uuid")
    log(input=text)
    fault()
    if late := os.environ.pop("STAND_IN_LATE", None):
        Path(late).read_bytes()
    emit(type="command_lifecycle", command_uuid=uuid, state="started")
    if os.environ.get("STAND_IN_ASKS"):
        emit(type="control_request", request_id="w1", request={"subtype": "fold_paper"})
        response = json.loads(sys.stdin.readline())
        log(answer=response)
    content = [{"type": "text", "text": answer(text)}]
    emit(type="assistant", message={"id": "msg_1", "role": "assistant", "content": content})
    emit(
        type="result", subtype="success", is_error=False, result=answer(text), num_turns=1,
        total_cost_usd=0.0, user_message_uuids=[uuid], usage={},
    )  # fmt: skip
    emit(type="command_lifecycle", command_uuid=uuid, state="completed")


def stream_json() -> None:
    for line in sys.stdin:
        message = json.loads(line)
        asks = message.get("request", {}).get("subtype")
        if os.environ.get("STAND_IN_OLD") and asks not in (None, "initialize"):
            continue
        if message["type"] == "control_request":
            told: dict[str, Any] = {"commands": []}
            if VERSION and not os.environ.get("STAND_IN_OLD"):
                told |= {"claude_code_version": VERSION, "version": VERSION}
            response = {"subtype": "success", "request_id": message["request_id"], "response": told}
            emit(type="control_response", response=response)
        elif message["type"] == "user":
            turn(message)


def plain_text() -> None:
    for line in sys.stdin:
        log(input=line.rstrip("\n"))
        fault()
        sys.stdout.write(answer(line.rstrip("\n")) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"{VERSION} (Claude Code)\n")
        sys.exit()
    log(argv=sys.argv[1:])
    deaf = bool(os.environ.get("STAND_IN_DEAF"))
    if deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    stream_json() if "stream-json" in sys.argv else plain_text()
    while deaf:
        signal.pause()
