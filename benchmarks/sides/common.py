"""What the sides share: Claude started by hand, on raw pipes, and started by us."""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from typing import Any

FLAGS = ("-p", "--verbose", "--input-format", "stream-json", "--output-format", "stream-json")


def tell(**numbers: float) -> None:
    """Print what was measured, for the harness."""
    print(json.dumps(numbers))


def tell_pairs(**sides: list[float]) -> None:
    """Print the ratio of two sides, whose turns were taken in pairs, with its middle half."""
    above, below = sides.values()
    middle = len(above) // 2
    ratios = sorted(a / b for a, b in zip(above, below, strict=True))
    medians = {name: sorted(each)[middle] for name, each in sides.items()}
    ratio, quarter = sorted(above)[middle] / sorted(below)[middle], len(above) // 4
    tell(ratio=ratio, low=ratios[quarter], high=ratios[-1 - quarter], **medians)


class ByHand:
    """Claude on two raw pipes, read by a bare loop."""

    def __init__(self, claude: str, *arguments: str, env: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [claude, *FLAGS, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS": "1", **(env or {})},
        )
        assert self.process.stdin and self.process.stdout
        self._write, self._read = self.process.stdin.fileno(), self.process.stdout.fileno()
        self._tail = b""

    def lines(self) -> list[bytes]:
        """Return the next whole lines; an empty list at the end."""
        while chunk := os.read(self._read, 1 << 16):
            *lines, self._tail = (self._tail + chunk).split(b"\n")
            if lines:
                return lines
        return []

    def send(self, **message: Any) -> None:
        """Write one message."""
        os.write(self._write, json.dumps(message).encode() + b"\n")

    def wait_for(self, *words: bytes) -> float:
        """Read until a line has all the words; return the moment."""
        while lines := self.lines():
            if any(all(word in line for word in words) for line in lines):
                return time.perf_counter()
        raise RuntimeError(f"the output ended without {words!r}")

    def initialize(self) -> float:
        """Send `initialize` and wait for its answer; return the moment."""
        self.send(type="control_request", request_id="one", request={"subtype": "initialize"})
        return self.wait_for(b'"control_response"')

    def prompt(self, text: str) -> None:
        """Give a prompt."""
        message = {"role": "user", "content": text}
        self.send(
            type="user", message=message, parent_tool_use_id=None, session_id="",
            uuid=str(uuid.uuid4()),
        )  # fmt: skip

    def end(self) -> None:
        """End the input and wait."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
