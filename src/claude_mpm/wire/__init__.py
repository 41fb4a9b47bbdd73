"""How bytes become events, and prompts become bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from claude_mpm.wire.plain_text import PlainLines
from claude_mpm.wire.stream_json import StreamJson
from claude_mpm.wire.transcript import Transcript

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claude_mpm.wire.events import Event
    from claude_mpm.wire.framing import Line


class Wire(Protocol):
    """One way to read a journal and to write a prompt.

    Attributes:
        name: what `meta.json` and the command line call it.
        structured: whether it says where a turn ends and what a tool does.
        joins: whether lines that are there at once may be decoded as one.
        greets: whether Claude answers before it has a prompt, so that a start can be seen.
    """

    @property
    def name(self) -> str: ...
    @property
    def structured(self) -> bool: ...
    @property
    def joins(self) -> bool: ...
    @property
    def greets(self) -> bool: ...
    def decode(self, line: Line) -> list[Event]: ...
    def decode_all(self, lines: Sequence[Line]) -> list[Event]: ...
    def prompt(self, text: str, uuid: str, *, command: bool = False) -> bytes: ...


WIRES: dict[str, Wire] = {wire.name: wire for wire in (StreamJson(), PlainLines(), Transcript())}

__all__ = ["WIRES", "PlainLines", "StreamJson", "Transcript", "Wire"]
