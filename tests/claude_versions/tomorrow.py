"""A build of tomorrow: the real Claude Code behind a shim that changes what it takes and writes.

`python tomorrow.py CLAUDE CHANGES ARGUMENT...`; CHANGES are words with commas between:
  renamed    it does not take `--system-prompt-snapshot`
  chatty     it writes messages and fields that no build of today has, and asks what none asks
  stateless  it does not say when it is idle
  resultless it says that it is idle, and has given no result
  is-VERSION it says that it is this version, and not 99.0.0
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def version_in(changes: set[str]) -> str:
    said = (each.removeprefix("is-") for each in changes if each.startswith("is-"))
    return next(said, "99.0.0")


def changed(message: dict[str, Any], changes: set[str]) -> Iterator[dict[str, Any]]:
    subtype, version = message.get("subtype"), version_in(changes)
    if "claude_code_version" in message:
        message["claude_code_version"] = version
    if message.get("type") == "control_response":
        body = message["response"].get("response") or {}
        if "claude_code_version" in body:
            body["claude_code_version"] = version
    if "stateless" in changes and subtype == "session_state_changed":
        return
    completed = message.get("type") == "command_lifecycle" and message["state"] == "completed"
    if "resultless" in changes and (message.get("type") == "result" or completed):
        return
    if "chatty" in changes and message.get("type") == "result":
        message["from_tomorrow"] = {"deep": [1]}
        yield {"type": "weather", "sky": "blue"}
        yield {"type": "system", "subtype": "mood", "mood": "good"}
        yield {"type": "control_request", "request_id": "w1", "request": {"subtype": "fold_paper"}}
    yield message


def main() -> int:
    claude, words, *arguments = sys.argv[1:]
    changes = set(words.split(","))
    if arguments == ["--version"]:
        sys.stdout.write(f"{version_in(changes)} (Claude Code)\n")
        return 0
    if "renamed" in changes and "--system-prompt-snapshot" in arguments:
        sys.stderr.write("error: unknown option '--system-prompt-snapshot'\n")
        return 1
    if arguments == ["--help"] and "renamed" in changes:
        sys.stdout.write("  --system-prompt-snapshots <on|off>  Record the system prompt\n")
        return 0
    process = subprocess.Popen([claude, *arguments], stdout=subprocess.PIPE)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    assert process.stdout is not None
    for line in process.stdout:
        for message in changed(json.loads(line), changes):
            sys.stdout.write(json.dumps(message) + "\n")
            sys.stdout.flush()
    return process.wait()


if __name__ == "__main__":
    sys.exit(main())
