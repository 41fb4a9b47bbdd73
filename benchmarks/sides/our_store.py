"""Make a state folder of many small sessions that have ended: STATE SESSIONS TICKETS.

A session has one prompt, whose answer names its share of the tickets.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from pathlib import Path

from common import tell

from claude_mpm.journal.layout import Meta, SessionFolder, Start

state, sessions, tickets = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])


def events(name: str, number: int, prompt: str) -> list[dict[str, object]]:
    """Return what Claude writes in a session of one turn."""
    named = "\n".join(
        f"TODO: look at part {n} of session {number}" for n in range(tickets // sessions)
    )
    said = {"id": "msg_1", "role": "assistant", "content": [{"type": "text", "text": named}]}
    turn = {
        "is_error": False,
        "num_turns": 1,
        "result": named,
        "total_cost_usd": 0.01,
        "user_message_uuids": [prompt],
        "usage": {"input_tokens": 10, "output_tokens": 90},
    }
    told: list[dict[str, object]] = [
        {"type": "control_response", "response": {"subtype": "success", "request_id": "mpm_1"}},
        {"type": "system", "subtype": "session_state_changed", "state": "running"},
        {"type": "command_lifecycle", "command_uuid": prompt, "state": "started"},
        {"type": "system", "subtype": "init", "claude_code_version": "2.1.330"},
        {"type": "assistant", "message": said},
        {"type": "result", "subtype": "success", **turn},
        {"type": "command_lifecycle", "command_uuid": prompt, "state": "completed"},
        {"type": "system", "subtype": "session_state_changed", "state": "idle"},
    ]
    return [{**each, "session_id": name, "uuid": str(uuid.uuid4())} for each in told]


def make(number: int) -> None:
    """Make one session, as a controller and a host leave it."""
    name, prompt = str(uuid.uuid4()), str(uuid.uuid4())
    folder = SessionFolder(state / "sessions" / name)
    folder.create()
    at = time.time() - number
    folder.write_meta(
        Meta(session_id=name, claude_session_id=name, orchestrator="local", environment="local",
             wire="stream-json", cwd="/home/user/project", created_at=at,
             starts=[Start(at=at, offset=0, claude_version="2.1.330")])
    )  # fmt: skip
    message = {"type": "user", "message": {"role": "user", "content": f"Look at session {number}"},
               "uuid": prompt}  # fmt: skip
    (folder.inbox / "000001").write_text(json.dumps(message) + "\n")
    lines = (json.dumps(each) + "\n" for each in events(name, number, prompt))
    folder.journal.append("".join(lines).encode())
    folder.hosted.touch()
    folder.exit_file.write(b"0\n")


for number in range(sessions):
    make(number)
tell(sessions=sessions)
