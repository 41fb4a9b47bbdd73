"""Delegations that the assistant announces in plain text, in the words of our framework."""

from __future__ import annotations

import re
from dataclasses import dataclass

from claude_mpm.patterns import lazy_pattern
from claude_mpm.processors.tickets.markdown import BlockTracker

_PHRASE = "elegating to "
_LINE = lazy_pattern(
    r"""\s{0,12}(?:(?:[-+•]|\*(?=\s)|\d{1,3}[.)])\s{1,4})?(?:(?:→|➡|➜|🤝|[-=]>)\ufe0f?\s{0,2})?
    (?P<bold>\*{1,3}|_{1,3})?[Dd]elegating\ to\ (?:the\ )?(?P<sign>[`@*_]{0,3})
    (?P<agent>[^\W_][\w-]{0,40}(?:\ [\w-]{1,40}){0,2}?)(?:\ [Aa]gent)?[`*_]{0,3}
    \s?:(?P<close>[*_]{0,3})(?:\s++|$)(?P<task>.*)""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class FoundDelegation:
    """An agent and the task that the assistant says it hands over."""

    agent: str
    task: str


def may_announce(text: str) -> bool:
    """Return whether lines can announce a delegation at all: cheap, for the many that do not."""
    return _PHRASE in text


def find_delegation(line: str) -> FoundDelegation | None:
    """Return the delegation that one line of prose announces: `Delegating to <agent>: <task>`.

    It counts at the start of the line only, also in bold, behind an arrow or as a list item. A
    line of a code block looks the same: use `DelegationFinder` where the lines around are known.
    """
    if not may_announce(line[:80]):
        return None
    match = _LINE.match(line)
    if match is None:
        return None
    task = " ".join(match["task"].split())
    bold = match["bold"]
    if bold and not match["close"] and task.endswith(bold) and task.count(bold) == 1:
        task = task.removesuffix(bold).rstrip()
    if not any(character.isalnum() for character in task):
        return None
    return FoundDelegation(agent=match["agent"], task=task)


class DelegationFinder:
    """Finds announced delegations line by line, outside code, quotations, tables and diffs."""

    def __init__(self) -> None:
        self._blocks = BlockTracker()

    def feed(self, line: str) -> FoundDelegation | None:
        """Take the next line of a text, and return the delegation that it announces, if any."""
        line = line.rstrip("\r\n")
        return None if self._blocks.feed(line) else find_delegation(line)
