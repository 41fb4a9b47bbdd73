"""Markers of tickets in one line of prose."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from claude_mpm.patterns import lazy_pattern
from claude_mpm.processors.tickets.markdown import EMOJI, PROTECTED
from claude_mpm.processors.tickets.prefix import (
    WINDOW,
    Prefix,
    is_only_mentioned,
    is_output,
    is_ticked,
    prefix_of,
)
from claude_mpm.processors.tickets.state import phrases, says_done

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


# "Issue #14538:" cites a tracker, "Bug #2:" counts findings.
_CITED = lazy_pattern(r"\s?[#№]\d{3,}")
_CLOSING = {"[": "]", "【": "】", "(": ")", "（": "）"}
_LONGEST_REMARK = 400  # characters in brackets; bounds the work per marker
_DEFECTS = ("BUG", "FIXME", "ISSUE")
_JOINT = lazy_pattern(r"[\s*_]{0,8}(?:and|or|,|/)[\s*_]{0,8}")


@dataclass(slots=True, eq=False)
class Marker:
    """A marker word with its colon, in one line of prose.

    Attributes:
        line: the whole line.
        match: of the pattern of markers.
        word: the marker word, as it is written.
        prefix: what stands before it.
        closing: the emphasis and brackets that end at it.
        beside: what is in brackets beside it: mostly whose the ticket is.
        following: the next marker of the line that counts, if there is one.
    """

    line: str
    match: re.Match[str]
    word: str
    prefix: Prefix
    closing: str
    beside: tuple[str, ...]
    following: Marker | None = None

    def counts(self, section: str, earlier: Marker | None) -> bool:
        """Return whether this is a ticket, below such a heading and after such a marker."""
        word, prefix, match = self.word, self.prefix, self.match
        if prefix.done or any(map(says_done, self.beside)):
            return False
        before_colon = self.closing.removesuffix(match["close_colon"] or "")
        if not prefix.emphasis and any(sign in before_colon for sign in "*_"):
            return False  # it closes what it does not open: "the **last TODO**: drop it"
        if _CITED.fullmatch(match["number"] or ""):
            return False
        if (
            prefix.bracket == "["
            and "](" in self.line[match.start() : match.end() + _LONGEST_REMARK]
        ):
            return False  # a link to an existing ticket
        if section == "defects done" and word.upper() in _DEFECTS:
            return False
        if word != word.upper():
            return not section and self._capitalised_counts()
        return prefix.at_start or self._is_said(earlier)

    def _capitalised_counts(self) -> bool:
        """Return whether this is a named defect, and not a heading of a report or a plan."""
        word, prefix = self.word, self.prefix
        if not prefix.at_start or not word[0].isupper():
            return False
        if not prefix.level or prefix.emphasis:
            return True
        return prefix.level > 2 and word.upper() in _DEFECTS

    def _is_said(self, earlier: Marker | None) -> bool:
        """Return whether a marker within a line is meant as one."""
        if not self.prefix.starts_clause:
            if is_ticked(self.line):
                return False
            if earlier and not self._begins_another(earlier.match.end()):
                return False
        start = self.match.end()
        if self.prefix.bracket:
            end = _end_of_bracket(self.line, start, start + _LONGEST_REMARK, self.prefix.bracket)
            if says_done(self.line[end + 1 : end + 40]):  # "the leak (BUG: …) is fixed"
                return False
        return not is_only_mentioned(self.prefix, self.line[start : start + 40])

    def _begins_another(self, title_start: int) -> bool:
        """Return whether this begins another ticket, with no sign behind the title before it."""
        start = self.match.start()
        title = self.line[max(title_start, start - WINDOW) : start]
        said = title.casefold().split()
        return len(said) > 1 and said[-1] not in phrases("LEADING") and not title.endswith(")")

    @property
    def text(self) -> str:
        """What follows, to the end of the line, of the bracket, or to the next marker."""
        start = self.match.end()
        end = self.following.match.start() if self.following else len(self.line)
        if self.prefix.bracket and not any(sign in self.closing for sign in "]】）"):
            end = _end_of_bracket(self.line, start, end, self.prefix.bracket)
        return self.line[start:end]

    @property
    def emphasis(self) -> str:
        """What ends the emphasis in which the title begins."""
        return "" if any(sign in self.closing for sign in "*_") else self.prefix.emphasis

    @property
    def hint(self) -> str:
        """What may say the priority: the owner, and words in capitals before the marker."""
        before = self.prefix.text[-20:].split()[-2:]
        return " ".join([*self.beside[:1], *filter(str.isupper, before)])


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
            [ \u00a0\u2009\u202f]{{0,2}}[:：](?![:=])
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
        kept: list[Marker] = []
        all_markers = list(self._all_markers(line))
        named = _named_together(line, all_markers)
        for marker in all_markers:
            earlier = kept[-1] if kept else None
            if marker not in named and marker.counts(section, earlier):
                kept.append(marker)
                if earlier:
                    earlier.following = marker
        return kept

    def _all_markers(self, line: str) -> Iterator[Marker]:
        """Yield what looks like a marker, outside inline code and quotations."""
        spans = PROTECTED.finditer(line)
        span = next(spans, None)
        for match in self._pattern.finditer(line):
            while span and span.end() <= match.start():
                span = next(spans, None)
            if span is None or match.start() < span.start():
                closing = match.group("close_word", "close_number", "close_colon")
                beside = match.group("owner", "owner2", "owner3")
                yield Marker(
                    line,
                    match,
                    match["word"],
                    prefix_of(line, match.start()),
                    "".join(filter(None, closing)),
                    tuple(filter(None, beside)),
                )


def _named_together(line: str, markers: list[Marker]) -> set[Marker]:
    """Return the markers that are only named: "TODO: and FIXME: comments"."""
    return {
        marker
        for pair in pairwise(markers)
        if _JOINT.fullmatch(line, pair[0].match.end(), pair[1].match.start())
        for marker in pair
    }


def _end_of_bracket(line: str, start: int, end: int, bracket: str) -> int:
    """Return where the bracket that stands before the marker is closed, else `end`."""
    depth = 0
    for sign in re.finditer(rf"[{re.escape(bracket + _CLOSING[bracket])}]", line[start:end]):
        depth += 1 if sign[0] == bracket else -1
        if depth < 0:
            return start + sign.start()
    return end
