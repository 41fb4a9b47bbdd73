"""Tickets in what the assistant says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from claude_mpm.patterns import lazy_pattern
from claude_mpm.processors.tickets.line import Marker, MarkerPattern
from claude_mpm.processors.tickets.markdown import BlockTracker
from claude_mpm.processors.tickets.state import (
    CHECK_SIGNS,
    field_says_done,
    is_finished,
    is_no_title,
    phrases,
    says_done,
)
from claude_mpm.processors.tickets.title import clean_title, priority_of, split_severity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT_MARKERS: Mapping[str, str] = MappingProxyType(
    {
        "TODO": "task",
        "TASK": "task",
        "BUG": "bug",
        "FIXME": "bug",
        "FEATURE": "feature",
        "ISSUE": "issue",
        "ENHANCEMENT": "enhancement",
    }
)

# A description is the text below a ticket, and not a whole document.
_MAX_DESCRIPTION = 4000  # characters

_FIELD = lazy_pattern(
    r"\s*(?:(?:[-*+•]|\d{1,3}[.)])\s+)?[*_]{0,3}(?P<key>[^\W\d_][^:：*_|()\n]{1,24}?)"
    r"[*_]{0,3}\s?(?:[:：][*_]{0,3}(?=\s|$)|：)(?P<value>.*)"
)
# What follows a "Feature:" of Gherkin, the language of acceptance tests.
_SCENARIO = lazy_pattern(r"\s*(?:(?:Scenario|Background|Rule|Example)s?\b[^:]{0,20}:|Given\s)")
# People write no tickets in longer lines; data has some, and takes time.
_LONGEST_LINE = 20_000
_LIST_ITEM = lazy_pattern(rf"^(?:(?:[-*+•]|\d{{1,3}}[.)]|\[[xX]\]|[{CHECK_SIGNS}]\ufe0f?)\s+)+")


@dataclass(slots=True)
class FoundTicket:
    """One ticket as it stands in a text; `line` counts from 0 within the text."""

    type: str
    title: str
    line: int
    description: str = ""
    priority: str = ""
    tags: tuple[str, ...] = ()

    def describe(self, text: str) -> None:
        """Add a line to the description, unless that would be too long."""
        if text and len(self.description) + len(text) <= _MAX_DESCRIPTION:
            self.description = f"{self.description}\n{text}".lstrip("\n")

    def set_field(self, name: str, value: str) -> None:
        """Set what the ticket has of a field that is written below it."""
        if name in ("description", "details"):
            self.describe(value)
        elif name in ("priority", "severity"):
            self.priority = priority_of(value) or self.priority
        elif name in ("tags", "labels"):
            names = (tag.strip(" `\"'#[]") for tag in value.split(","))
            self.tags += tuple(filter(None, names))


class _Pending:
    """The tickets of the last line that had some: lines below may still belong to the last one."""

    def __init__(self, line: str, tickets: list[FoundTicket], marker: Marker) -> None:
        self.tickets = tickets
        self._last: FoundTicket | None = tickets[-1]
        self._indent = _indent(line)
        self._is_heading = marker.prefix.level > 0
        self._opens_list = line.rstrip().rstrip("*_").endswith(":")
        self._may_be_gherkin = marker.word == "Feature"

    def takes(self, line: str) -> bool:
        """Take `line` if it belongs to the ticket above it; return whether it does."""
        if not line.strip():
            return self._is_heading or self._may_be_gherkin
        if self._may_be_gherkin and _SCENARIO.match(line):
            return self._deny()
        match = _FIELD.match(line) if ":" in line or "：" in line else None
        if match and self._takes_field(match["key"].strip(), match["value"].strip(" *_")):
            return True
        is_deeper = _indent(line) > self._indent
        text = line.strip()
        if is_deeper and not match and says_done(_LIST_ITEM.sub("", text, count=1)):
            return self._deny()
        if self._last and (is_deeper or (self._opens_list and _LIST_ITEM.match(text))):
            self._last.describe(text)
            return True
        return is_deeper

    def _takes_field(self, key: str, value: str) -> bool:
        if field_says_done(key, value):
            return self._deny()
        name = key.casefold()
        is_field = key[:1].isupper() and name in phrases("FIELDS")
        if not is_field and name not in phrases("STATUS"):
            return False
        if self._last:
            self._last.set_field(name, value)
        return True

    def _deny(self) -> bool:
        """Discard the ticket to which the lines belong, since one of them says so."""
        if self._last:
            self.tickets.pop()
        self._last = None
        return True


@cache
def _compiled(markers: tuple[tuple[str, str], ...]) -> tuple[dict[str, str], MarkerPattern]:
    """Return what all sessions with the same markers share."""
    types = {word.upper(): kind for word, kind in markers}
    return types, MarkerPattern(types)


class TicketFinder:
    """Finds the tickets in text that the assistant wrote, whole or line by line.

    Args:
        markers: each marker word with the type of its tickets; the case of a word says nothing.

    Attributes:
        in_block: whether the line that was fed last is something else than prose, such as code.
    """

    __slots__ = ("_blocks", "_markers", "_number", "_pattern", "_pending", "_types", "in_block")

    def __init__(self, markers: Mapping[str, str] = DEFAULT_MARKERS) -> None:
        self._markers = markers
        self._types, self._pattern = _compiled(tuple(markers.items()))
        self._begin()

    def _begin(self) -> None:
        """Note that the next line is the first one of a text."""
        self._blocks = BlockTracker()
        self._pending: _Pending | None = None
        self._number = -1
        self.in_block = False

    def find(self, text: str) -> list[FoundTicket]:
        """Return the tickets of `text`, one whole text block of the assistant, in its order."""
        if not self._pattern.may_match(text):
            return []
        finder = TicketFinder(self._markers)
        found = [ticket for line in text.split("\n") for ticket in finder.feed(line)]
        return found + finder.flush()

    def feed(self, line: str) -> list[FoundTicket]:
        """Read the next line of a text, and return the tickets that are complete.

        A ticket comes back when a line shows that nothing more belongs to it, or with `flush`.
        """
        self._number += 1
        line = line.rstrip("\r\n")
        self.in_block = self._blocks.feed(line)
        pending: _Pending | None = None
        if not self.in_block and len(line) <= _LONGEST_LINE:
            pending = self._tickets_of(line)
            if pending is None and (self._pending is None or self._pending.takes(line)):
                return []
        done, self._pending = self._pending, pending
        return done.tickets if done else []

    def skips(self, text: str, lines: Sequence[str]) -> bool:
        """Skip the next lines if they contain nothing; else return False, for `feed`.

        Args:
            text: the whole text.
            lines: the same text, line by line.
        """
        if self._pending is not None or self._pattern.may_match(text):
            return False
        if not self._blocks.is_unmoved_by(text, lines):
            return False
        self._number += len(lines)
        return True

    def flush(self) -> list[FoundTicket]:
        """End the text that `feed` took, and return its last tickets; the next line is line 0."""
        pending = self._pending
        self._begin()
        return pending.tickets if pending else []

    def _tickets_of(self, line: str) -> _Pending | None:
        if self._blocks.section == "done" or not self._pattern.may_match(line):
            return None
        markers = self._pattern.markers(line, section=self._blocks.section)
        tickets = [ticket for marker in markers if (ticket := self._ticket(marker))]
        return _Pending(line, tickets, markers[-1]) if tickets else None

    def _ticket(self, marker: Marker) -> FoundTicket | None:
        text, rest = _split_emphasis(marker.text, marker.emphasis)
        raw, severity = split_severity(text.strip())
        title = clean_title(raw, another_follows=marker.following is not None)
        if is_no_title(title) or is_finished(title) or (rest and is_finished(rest)):
            return None
        description = "" if priority_of(rest) else rest.strip(" -\u2013\u2014:.")
        return FoundTicket(
            type=self._types[marker.word.upper()],
            title=title,
            line=self._number,
            description=description,
            priority=severity or priority_of(marker.hint) or priority_of(rest),
        )


def _split_emphasis(text: str, emphasis: str) -> tuple[str, str]:
    """Split at the end of the bold part that the marker stands in: title, and what follows."""
    if not emphasis:
        return text, ""
    pattern = re.escape(emphasis) + (r"(?!\w)" if emphasis[0] == "_" else r"(?!\*)")
    title, *others = re.split(pattern, text, maxsplit=1)
    rest = "".join(others)
    if re.match(r"\s?[a-z]", rest):  # the sentence goes on after the bold words
        return title + rest, ""
    return title, rest.strip()


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
