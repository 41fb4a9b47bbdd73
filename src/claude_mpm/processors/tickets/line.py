"""Markers of tickets in one line of prose."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from claude_mpm.patterns import lazy_pattern
from claude_mpm.processors.tickets.markdown import EMOJI, protected_spans
from claude_mpm.processors.tickets.prefix import (
    CLOSING,
    WINDOW,
    Prefix,
    bare_text,
    inline_prefix,
    is_joined,
    is_only_mentioned,
    is_output,
    is_ticked,
    line_prefix,
    mentions_another,
    opens_anew,
    starts_clause,
)
from claude_mpm.processors.tickets.state import says_done

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from claude_mpm.processors.tickets.markdown import Span

# "Issue #14538:" cites a tracker, "Bug #2:" counts findings.
_CITED = lazy_pattern(r"\s?[#№]\d{3,}")
_CLOSINGS = "]】）"
_DEFECTS = ("BUG", "FIXME", "ISSUE")
_JOINT = lazy_pattern(r"[\s,/*_]{0,8}(?:and|or)?[\s*_]{0,8}")


@dataclass(frozen=True, slots=True)
class Marker:
    """One marker that counts: what it is, and where its title begins and ends in the line."""

    word: str
    title_start: int
    title_end: int
    emphasis: str
    owner: str
    heading: bool
    severity: str
    another_follows: bool


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A marker word with its colon, before it is known whether it counts."""

    match: re.Match[str]
    at_start: bool
    prefix: Prefix
    before: str
    bare: str
    clause_start: bool


class MarkerPattern:
    """The compiled form of a set of marker words."""

    def __init__(self, words: Iterable[str]) -> None:
        ordered = sorted(words, key=len, reverse=True)
        # Only what begins with a capital counts; one is looked for far faster than a word.
        self._needles: dict[str, list[str]] = {}
        for word in ordered:
            self._needles.setdefault(word[:1].upper()[:1], []).append(word.lower())
        alternatives = "|".join(re.escape(word) for word in ordered) or r"(?!)"
        self._pattern = lazy_pattern(
            rf"""(?<![A-Za-z0-9\u00c0-\u052f@$\#/\\=&?.'’-])(?P<word>{alternatives})
            (?P<close_word>\*{{1,3}}|_{{1,3}}|[\]】）])?
            (?:[ ]?\((?!s\))(?P<owner>[^()\n]{{1,80}})\)|[ ]?\[(?P<owner2>[^\[\]\n]{{1,40}})\])?
            (?:[ ]@[\w.-]{{1,40}})?
            (?P<number>[ ]?[\#№]\d{{1,6}}(?:\.\d+)?|[ ]\d{{1,3}}(?:\.\d+)?)?
            (?:[ ]\((?P<owner3>[^()\n]{{1,40}})\))?
            (?:[ ]?{EMOJI}{{1,4}})?
            (?P<close_number>\*{{1,3}}|_{{1,3}}|[\]】）])?
            (?P<gap>[ \u00a0\u2009\u202f]{{0,2}})[:：](?![:=])
            (?P<close_colon>\*{{1,3}}|_{{1,3}}(?!\w))?""",
            re.VERBOSE | re.IGNORECASE,
        )

    def may_match(self, text: str) -> bool:
        """Return whether `text` can have a marker at all: cheap, for the many lines without."""
        if ":" not in text and "：" not in text:
            return False
        lowered = ""
        for capital, needles in self._needles.items():
            if capital in text:
                lowered = lowered or text.lower()
                # A loop is twice as fast as any() here, and this runs for every line.
                for needle in needles:
                    if needle in lowered:
                        return True
        return False

    def markers(self, line: str, *, section: str) -> list[Marker]:
        """Return the markers of one line of prose, left to right.

        Below a heading about finished work only a marker in capitals counts, and none of a defect
        where it speaks of defects. Runs in time linear to the line.
        """
        if self._pattern.search(line) is None or is_output(line):
            return []
        kept: list[_Candidate] = []
        passed_over = -1
        for candidate in self._candidates(line):
            if passed_over >= 0 and _JOINT.fullmatch(line, passed_over, candidate.match.start()):
                passed_over = candidate.match.end()  # "TODO: and FIXME: comments" names both
            elif _counts(candidate, line, kept[-1:], section=section):
                kept.append(candidate)
                passed_over = -1
            else:
                passed_over = candidate.match.end()
        ends = [*(candidate.match.start() for candidate in kept[1:]), len(line)]
        return [
            _marker(candidate, line, end, last=candidate is kept[-1])
            for candidate, end in zip(kept, ends, strict=False)
        ]

    def _candidates(self, line: str) -> Iterator[_Candidate]:
        spans = protected_spans(line)
        span: Span | None = (0, 0)
        for match in self._pattern.finditer(line):
            while span and span[1] <= match.start():
                span = next(spans, None)
            if span is None or match.start() < span[0]:
                yield _candidate(line, match)


def _candidate(line: str, match: re.Match[str]) -> _Candidate:
    start = match.start()
    prefix = line_prefix(line, start)
    before = line[max(0, start - WINDOW) : start]
    bare = bare_text(before)
    return _Candidate(
        match,
        prefix is not None,
        prefix or inline_prefix(before),
        before,
        bare,
        prefix is not None or starts_clause(before, bare),
    )


def _counts(candidate: _Candidate, line: str, earlier: list[_Candidate], *, section: str) -> bool:
    prefix, match = candidate.prefix, candidate.match
    word = match["word"]
    if prefix.done or prefix.struck or not _closes_what_opened(candidate):
        return False
    if _CITED.fullmatch(match["number"] or "") or any(map(says_done, _owners(match))):
        return False
    if prefix.bracket == "[" and "](" in line[match.start() : match.end() + 400]:
        return False  # a link to an existing ticket
    if section == "defects done" and word.upper() in _DEFECTS:
        return False
    if word != word.upper():
        return (
            candidate.at_start
            and word[0].isupper()
            and not section
            and _capitalised_counts(candidate)
        )
    if candidate.at_start:
        return not mentions_another(line, match.end())
    if " " in match["gap"] or (not candidate.clause_start and is_ticked(line)):
        return False
    if earlier and not candidate.clause_start:
        title = line[max(earlier[0].match.end(), match.start() - WINDOW) : match.start()]
        if not opens_anew(title):
            return False
    return _said_in_prose(candidate, line)


def _capitalised_counts(candidate: _Candidate) -> bool:
    """Return whether this is a named defect, and not a heading of a report, a prompt or a plan."""
    prefix, match = candidate.prefix, candidate.match
    if not prefix.level or prefix.emphasis:
        return True
    return prefix.level > 2 and match["word"].lower() in ("bug", "issue", "fixme")


def _closes_what_opened(candidate: _Candidate) -> bool:
    match, prefix = candidate.match, candidate.prefix
    for group in ("close_word", "close_number", "close_colon"):
        closing = match[group]
        if closing and closing in _CLOSINGS:
            if not prefix.bracket:
                return False
        elif closing and group != "close_colon" and not prefix.emphasis:
            return False
    return True


def _said_in_prose(candidate: _Candidate, line: str) -> bool:
    if is_joined(candidate.before, candidate.bare):
        return False
    end = candidate.match.end()
    if not candidate.clause_start and line[end : end + 1].strip():
        return candidate.match[0][-1] == "："  # no blank is needed after a full-width colon
    if candidate.clause_start and mentions_another(line, end):
        return False
    return not is_only_mentioned(
        candidate.bare, line[end : end + 40], clause_start=candidate.clause_start
    )


def _marker(candidate: _Candidate, line: str, end: int, *, last: bool) -> Marker:
    match, prefix = candidate.match, candidate.prefix
    closed = any(
        (match[group] or "]") not in _CLOSINGS
        for group in ("close_word", "close_number", "close_colon")
    )
    bracket = prefix.bracket
    if (match["close_word"] or match["close_number"] or " ") in _CLOSINGS:
        bracket = ""
    title_end = end if not bracket else _closing(line, match.end(), end, bracket)
    before = candidate.bare[-20:].split()[-2:]
    return Marker(
        word=match["word"],
        title_start=match.end(),
        title_end=title_end,
        emphasis="" if closed else prefix.emphasis,
        owner=next(iter(_owners(match)), ""),
        heading=prefix.level > 0,
        severity=" ".join(word for word in before if word.isupper()),
        another_follows=not last,
    )


def _owners(match: re.Match[str]) -> list[str]:
    """Return what stands in brackets beside the marker: mostly whose the ticket is."""
    return [match[group] for group in ("owner", "owner2", "owner3") if match[group]]


def _closing(line: str, start: int, end: int, bracket: str) -> int:
    """Return where the bracket that stands before the marker is closed, else `end`."""
    depth = 0
    for sign in re.finditer(rf"[{re.escape(bracket + CLOSING[bracket])}]", line[start:end]):
        depth += 1 if sign[0] == bracket else -1
        if depth < 0:
            return start + sign.start()
    return end
