"""A sink: each ticket that Claude names is appended to a file, at the moment it is named.

    python examples/ticket_file.py TICKETS.md "What is left to do here?"

A sink is a function that is given every event. It runs in the thread that reads Claude's output.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from claude_mpm import create_orchestrator

if TYPE_CHECKING:
    from claude_mpm import Event


class TicketFile:
    """Appends tickets to a Markdown list, each once.

    Args:
        path: the file; it is made where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: set[str] = set()

    def __call__(self, event: Event) -> None:
        """Take an event; the engine calls this for every one."""
        if event.kind != "ticket" or event.data.key in self._known:
            return
        self._known.add(event.data.key)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"- [ ] **{event.data.type}** {event.data.title}\n")


def main(path: str, prompt: str) -> int:
    """Ask one thing, keep the tickets of the answer, and return the exit status."""
    with create_orchestrator("local", sinks=[TicketFile(Path(path))]) as claude:
        turn = claude.ask(prompt, timeout=600).wait()
        print(f"{len(turn.tickets)} tickets in {path}")
        return int(turn.verdict.exit_status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], " ".join(sys.argv[2:])))
