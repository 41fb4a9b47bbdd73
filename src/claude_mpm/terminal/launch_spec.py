"""What a terminal host is to run: a file that it removes as soon as it has read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from claude_mpm.journal.layout import SessionFolder

NOT_STARTED = 126  # the exit status where the program was never run


class TerminalOrder(msgspec.Struct, frozen=True, kw_only=True):
    """One start of a program on a terminal.

    Args:
        command: the program and its arguments.
        cwd: the folder to work in.
        environ: the program's whole environment.
        linger: seconds to wait for the next follower once the last one is gone.
        linger_limit: seconds that the program then has to end by itself.
        conversation: the id under which Claude keeps the conversation; empty where the program is
            not Claude.
        first_event_timeout: seconds for Claude to take a prompt; None for no limit.
        screen: whether the program waits with its start until a screen is attached.
    """

    command: list[str]
    cwd: str
    environ: dict[str, str]
    linger: float
    linger_limit: float
    conversation: str = ""
    first_event_timeout: float | None = None
    screen: bool = False


def give_order(folder: SessionFolder, order: TerminalOrder) -> None:
    """Put an order where the host of a session looks for it."""
    folder.write(folder.terminal, msgspec.json.encode(order))


def take_order(folder: SessionFolder) -> TerminalOrder:
    """Return the order and remove it: it has the environment, and that may hold secrets."""
    data = folder.terminal.read_bytes()
    folder.terminal.unlink()
    return msgspec.json.decode(data, type=TerminalOrder)
