"""A `claude` for batches: the chaos stand-in, and on demand one whose account has a rate limit."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any


def emit(**event: Any) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def refused() -> bool:
    """Return whether the account's limit stands: from its first prompt on, for two seconds."""
    file = Path(os.environ["LIMITED"])
    draft = file.with_name(f"limit-{os.getpid()}")
    draft.write_text(str(time.time() + 2))
    is_first = False
    with suppress(FileExistsError):  # whole, and that of the first of those who come at once
        os.link(draft, file)
        is_first = True
    draft.unlink()
    return is_first or time.time() < float(file.read_text())


def answer(message: dict[str, Any]) -> None:
    uuid, text = message["uuid"], message["message"]["content"]
    emit(type="command_lifecycle", command_uuid=uuid, state="started")
    no = refused()
    until = Path(os.environ["LIMITED"]).read_text()
    with open(os.environ["LIMITED"] + ".log", "a", encoding="utf-8") as log:
        log.write(json.dumps({"at": time.time(), "refused": no, "text": text}) + "\n")
    if no:
        info = {"status": "rejected", "resetsAt": float(until)}
        emit(type="rate_limit_event", rate_limit_info=info)
    else:
        block = {"type": "text", "text": f"Claude heard: {text}"}
        emit(type="assistant", message={"id": "m", "role": "assistant", "content": [block]})
    emit(
        type="result", subtype="success", is_error=no, result="limit" if no else "done",
        terminal_reason="api_error" if no else "completed", api_error_status=429 if no else None,
        total_cost_usd=0.01, user_message_uuids=[uuid], usage={},
    )  # fmt: skip
    emit(type="command_lifecycle", command_uuid=uuid, state="completed")
    emit(type="system", subtype="session_state_changed", state="idle")


def main() -> None:
    for line in sys.stdin:
        message = json.loads(line)
        if message["type"] == "control_request":
            response = {"subtype": "success", "request_id": message["request_id"], "response": {}}
            emit(type="control_response", response=response)
        elif message["type"] == "user":
            answer(message)


if __name__ == "__main__":
    main()
