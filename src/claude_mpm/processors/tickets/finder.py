"""Tickets in what the assistant says."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from claude_mpm.patterns import lazy_pattern
from claude_mpm.processors.tickets import words
from claude_mpm.processors.tickets.line import Marker, MarkerPattern
from claude_mpm.processors.tickets.markdown import BlockTracker
from claude_mpm.processors.tickets.state import (
    field_says_done,
    is_finished,
    is_no_title,
    says_done,
    word_set,
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
_STATUS = word_set(words.STATUS)
_FIELDS = word_set(words.FIELDS) | _STATUS
# People write no tickets in longer lines; data has some, and takes time.
_LONGEST_LINE = 20_000
_LIST_ITEM = lazy_pattern(r"\s*(?:[-*+•]|\d{1,3}[.)])\s")


@dataclass(frozen=True, slots=True)
class FoundTicket:
    """One ticket as it stands in a text; `line` counts from 0 within the text."""

    type: str
    title: str
    line: int
    description: str = ""
    priority: str = ""
    tags: tuple[str, ...] = ()


@dataclass(slots=True)
class _Pending:
    """The tickets of the last line that had some: lines below may still belong to the last one."""

    tickets: list[FoundTicket]
    indent: int
    heading: bool
    opens_list: bool
    may_be_gherkin: bool
    lines: list[str] = field(default_factory=list)
    length: int = 0

    def add_line(self, text: str) -> None:
        """Add a line to the description, unless that would be too long."""
        if text and self.length + len(text) <= _MAX_DESCRIPTION:
            self.lines.append(text)
            self.length += len(text)

    def drop_last(self) -> None:
        """Discard the ticket to which the lines belong, since they deny it."""
        del self.tickets[-1:]
        self.lines.clear()

    def finished(self) -> list[FoundTicket]:
        if self.lines and self.tickets:
            last = self.tickets[-1]
            text = "\n".join([*filter(None, [last.description]), *self.lines])
            self.tickets[-1] = replace(last, description=text)
        return self.tickets


class _Scanner:
    """Holds what must be known of earlier lines of one text."""

    def __init__(self, types: Mapping[str, str], pattern: MarkerPattern) -> None:
        self._types = types
        self._pattern = pattern
        self._blocks = BlockTracker()
        self._pending: _Pending | None = None
        self._number = -1
        self.in_block = False

    def feed(self, line: str) -> list[FoundTicket]:
        self._number += 1
        line = line.rstrip("\r\n")
        self.in_block = self._blocks.feed(line)
        if self.in_block or len(line) > _LONGEST_LINE:
            return self.flush()
        tickets, opening = self._tickets_of(line)
        if tickets:
            done = self.flush()
            self._pending = _pending(line, tickets, opening)
            return done
        if self._pending is None or _continues(self._pending, line):
            return []
        return self.flush()

    def skips(self, text: str, lines: Sequence[str]) -> bool:
        if self._pending is not None or self._pattern.may_match(text):
            return False
        if not self._blocks.is_unmoved_by(text, lines):
            return False
        self._number += len(lines)
        return True

    def flush(self) -> list[FoundTicket]:
        pending, self._pending = self._pending, None
        return pending.finished() if pending else []

    def _tickets_of(self, line: str) -> tuple[list[FoundTicket], Marker | None]:
        if not self._pattern.may_match(line):
            return [], None
        if self._blocks.section == "done":
            return [], None
        markers = self._pattern.markers(line, section=self._blocks.section)
        tickets = [ticket for marker in markers if (ticket := self._ticket(line, marker))]
        return tickets, markers[-1] if markers else None

    def _ticket(self, line: str, marker: Marker) -> FoundTicket | None:
        text = line[marker.title_start : marker.title_end]
        text, rest = _split_emphasis(text, marker.emphasis)
        if marker.heading:
            text = text.rstrip().rstrip("#")
        raw, severity = split_severity(text.strip())
        title = clean_title(raw, another_follows=marker.another_follows)
        if is_no_title(title) or is_finished(title) or (rest and is_finished(rest)):
            return None
        priority = severity or priority_of(marker.owner) or priority_of(marker.severity)
        description = "" if priority_of(rest) else rest.strip(" -\u2013\u2014:.")
        return FoundTicket(
            type=self._types[marker.word.upper()],
            title=title,
            line=self._number,
            description=description,
            priority=priority or priority_of(rest),
        )


@cache
def _compiled(markers: tuple[tuple[str, str], ...]) -> tuple[dict[str, str], MarkerPattern]:
    """Return what all sessions with the same markers share."""
    types = {word.upper(): kind for word, kind in markers}
    return types, MarkerPattern(types)


class TicketFinder:
    """Finds the tickets in text that the assistant wrote, whole or line by line.

    `markers` maps each marker word to the type of its tickets; the case of a word says nothing.
    """

    def __init__(self, markers: Mapping[str, str] = DEFAULT_MARKERS) -> None:
        self._types, self._pattern = _compiled(tuple(markers.items()))
        self._scanner = self._new_scanner()

    def find(self, text: str) -> list[FoundTicket]:
        """Return the tickets of `text`, one whole text block of the assistant, in its order."""
        if not self._pattern.may_match(text):
            return []
        scanner = self._new_scanner()
        found = [ticket for line in text.split("\n") for ticket in scanner.feed(line)]
        return found + scanner.flush()

    def feed(self, line: str) -> list[FoundTicket]:
        """Read the next line of a text, and return the tickets that are complete.

        A ticket comes back when a line shows that nothing more belongs to it, or with `flush`.
        """
        return self._scanner.feed(line)

    @property
    def in_block(self) -> bool:
        """Whether the line that was fed last is something else than prose, such as code."""
        return self._scanner.in_block

    def skips(self, text: str, lines: Sequence[str]) -> bool:
        """Skip the next lines if they contain nothing; else return False, for `feed`.

        Args:
            text: the whole text.
            lines: the same text, line by line.
        """
        return self._scanner.skips(text, lines)

    def flush(self) -> list[FoundTicket]:
        """End the text that `feed` took, and return its last tickets; the next line is line 0."""
        found = self._scanner.flush()
        self._scanner = self._new_scanner()
        return found

    def _new_scanner(self) -> _Scanner:
        return _Scanner(self._types, self._pattern)


def _split_emphasis(text: str, emphasis: str) -> tuple[str, str]:
    """Split at the end of the bold part that the marker stands in: title, and what follows."""
    if not emphasis:
        return text, ""
    pattern = re.escape(emphasis) + (r"(?!\w)" if emphasis[0] == "_" else r"(?!\*)")
    closing = re.search(pattern, text)
    if closing is None:
        return text, ""
    title, rest = text[: closing.start()], text[closing.end() :]
    if re.match(r"\s?[a-z]", rest):  # the sentence goes on after the bold words
        return title + rest, ""
    return title, rest.strip()


def _pending(line: str, tickets: list[FoundTicket], marker: Marker | None) -> _Pending:
    return _Pending(
        tickets,
        indent=_indent(line),
        heading=marker is not None and marker.heading,
        opens_list=line.rstrip().rstrip("*_").endswith(":"),
        may_be_gherkin=marker is not None and marker.word == "Feature",
    )


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _continues(pending: _Pending, line: str) -> bool:
    """Add `line` to the ticket above it, if it belongs there."""
    if not line.strip():
        return pending.heading or pending.may_be_gherkin
    if pending.may_be_gherkin and _SCENARIO.match(line):
        pending.drop_last()
        return True
    match = _FIELD.match(line) if ":" in line or "：" in line else None
    if match and _set_field(pending, match["key"].strip(), match["value"].strip(" *_")):
        return True
    deeper = _indent(line) > pending.indent
    if deeper and not match and says_done(_LIST_ITEM.sub("", line, count=1).strip()):
        pending.drop_last()
    elif deeper or (pending.opens_list and _LIST_ITEM.match(line)):
        pending.add_line(line.strip())
    else:
        return False
    return True


def _set_field(pending: _Pending, key: str, value: str) -> bool:
    """Take a field of the ticket above; return whether it is one."""
    if field_says_done(key, value):
        pending.drop_last()
        return True
    name = key.casefold()
    if name not in _FIELDS or not (key[:1].isupper() or name in _STATUS) or not pending.tickets:
        return False
    last = pending.tickets[-1]
    if name in ("description", "details"):
        pending.add_line(value)
    elif name in ("priority", "severity"):
        pending.tickets[-1] = replace(last, priority=priority_of(value) or last.priority)
    elif name in ("tags", "labels"):
        names = (name.strip(" `\"'#[]") for name in value.split(","))
        pending.tickets[-1] = replace(last, tags=last.tags + tuple(filter(None, names)))
    return True
