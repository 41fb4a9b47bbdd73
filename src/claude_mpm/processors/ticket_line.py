"""Markers of tickets in one line of prose."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from claude_mpm.processors.markdown_text import is_protected, protected_spans

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from claude_mpm.processors.markdown_text import Span

# How far a marker is looked at to the left, in characters; also bounds the work per marker.
_WINDOW = 120

_EMOJI = (
    "[\u2190-\u21ff\u2300-\u27bf\u2900-\u297f\u2b00-\u2bff\u3030\u303d\u3297\u3299\ufe0f\u200d"
    "\u20e3\U0001f000-\U0001faff]"
)
_PREFIX_TOKEN = re.compile(
    rf"""(?P<check>\[[ xX~/-]\][ \t]+|[☐☑][ \t]*)
    |(?P<bullet>(?:[-*+]|[•◦▪‣·–—])[ \t]+)
    |(?P<number>(?:\d{{1,3}}(?:\.\d{{1,3}})*[.)]|\d{{1,3}}(?:\.\d{{1,3}})+|[A-Za-z][.)]|\(\d{{1,3}}\))[ \t]+)
    |(?P<heading>\#{{1,6}}[ \t]+)
    |(?P<emphasis>\*{{1,3}}|_{{1,3}}|~~)
    |(?P<bracket>[\[【])
    |(?P<sign>(?:[0-9]\ufe0f?\u20e3|{_EMOJI})+)
    |(?P<space>\s+)""",
    re.VERBOSE,
)
_OPENING = re.compile(r"(?:\*{1,3}|_{1,3}|~~|[\[【])+$")
_DONE_SIGNS = ("✅", "✔", "☑", "✓")

# Whole lines that are output of a program, or a command: they quote, they do not say.
_LEVEL = r"(?:DEBUG|INFO|WARN|WARNING|ERROR|FATAL|TRACE|NOTICE)"
_OUTPUT = re.compile(
    rf"""\s*+(?:
      \[?\d{{4}}-\d\d-\d\d[T ]\d\d:\d\d          # ISO time
    | [\[(]?[\w/.,+\ -]{{0,24}}?\d\d:\d\d:\d\d     # time of day
    | \[\s*\d+\.\d+\]                             # kernel log
    | <\d{{1,3}}>                                 # syslog priority
    | (?:\[[^\[\]]{{1,60}}\]\s?)*+{_LEVEL}\s+(?=\S{{1,20}}:) | \[{_LEVEL}\] | {_LEVEL}: | {_LEVEL}\s*\|
    | [a-z][\w.-]{{0,40}}(?:\[\d+\])?:\s          # program:
    | [\w.]{{1,80}}(?:Error|Exception|Warning):   # last line of a traceback
    | \d+(?:[:|\t→]|-\s{{2,}})                    # line number
    | (?:[-*+]\s++)?[^\s`]{{0,300}}?(?::\d+[:-]|\(\d+\):)  # path:line
    | (?:[-*+]\s++)?[^\s`]{{1,300}}?-\d+-\s        # path-line- of grep's context
    | (?:[-*+]\s++)?[^\s`*:]*[./\\][^\s`*:]*[A-Za-z]:(?:\s|\S)  # path:
    | [$%❯]\s | >>>\s | PS\ ?[A-Z]?:?[^>\s]*>     # prompt
    | [\w.-]{{1,60}}@[\w.-]{{1,60}}[: ][^\s]{{0,200}}[$\#]\s | [~/][^\s]{{0,200}}\s[$%❯]\s
    | (?:sudo\s+)?(?:git|e?f?grep|rg|ag|ack|sed|awk|echo|printf|cat|curl|wget|np[mx]|yarn|pnpm|pip
        |python3?|node|docker|kubectl|gh|cargo|claude|bash|sh|cd|ls|export)\s
    | @@\s | [-+](?=\S)(?![-+*_\s]) | [-+](?:\ {{5,}}|\ +(?:\#|//)) | diff\s
    | //|/\*|<!--|;;|\#(?![\#\s])|--\s                    # comment
    )""",
    re.VERBOSE,
)
_EXAMPLE = re.compile(
    r"\b(?:e\.g\.|i\.e\.|for example|for instance|such as|like)[,:]?\s*$", re.IGNORECASE
)
_CODE_COMMENT = re.compile(r"(?://+!?|/\*+|<!--|;;|(?<!\w)#+|[;)},]\s*--|\"\"\"|''')\s*$")

_NEGATION = frozenset(
    "no not never without zero neither nor any isn't aren't wasn't weren't don't doesn't didn't"
    " cannot can't kein keine keinen nicht ohne pas sin нет ни".split()
)
_FINISHED = frozenset(
    "fixed resolved closed completed finished done removed deleted implemented addressed solved"
    " cleared dropped eliminated fixing removing closing resolving".split()
)
_MENTION = frozenset(
    "for word marker markers keyword prefix string pattern tag label contains contain containing"
    " like named called says reads with use uses using write writes every each all literal text"
    " replace replaced format e.g. i.e.".split()
)
_MENTION_AFTER = re.compile(
    r"(?:is|are|was|were|and|or|to|comments?|markers?|lines?|items?|entry|entries|tags?|prefix(?:es)?"
    r"|sections?|headers?|blocks?|fields?|columns?|keywords?|format|syntax"
    r"|left|remains?|remaining|annotations?|labels?|notes?|in (?:the|this|that|any))\b",
    re.IGNORECASE,
)
_CLAUSE_END = re.compile(r"[.!?,;:…。，；：、！？]\s|[()|—–]|\s-{1,2}\s|[。，；：、！？]")
_CLAUSE_START = re.compile(
    r"(?:^|[.!?,;:…—–/|()\[。，；：、！？]|\s-{1,2}|\b(?:and|also|plus|but|then|so|und|et|y))\s*$",
    re.IGNORECASE,
)
_JOINT = re.compile(r"[\s,/*_]{0,8}(?:and|or)?[\s*_]{0,8}")
_ADJACENT = re.compile(
    r"[\s(\[—–,;!?…。，；：、！？（¿¡\u0590-\u05ff\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"
)


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
class _Prefix:
    """What stands before a marker at the start of a line."""

    level: int = 0
    emphasis: str = ""
    bracket: str = ""
    done: bool = False
    struck: bool = False


@dataclass(slots=True)
class _Candidate:
    match: re.Match[str]
    at_start: bool
    prefix: _Prefix
    before: str
    clause_start: bool


class MarkerPattern:
    """The compiled form of a set of marker words."""

    def __init__(self, words: Iterable[str]) -> None:
        ordered = sorted(words, key=len, reverse=True)
        self._needles = tuple(word.lower() for word in ordered)
        alternatives = "|".join(re.escape(word) for word in ordered) or r"(?!)"
        self._pattern = re.compile(
            rf"""(?<![A-Za-z0-9\u00c0-\u052f@$\#/\\=&?.'’-])(?P<word>{alternatives})
            (?P<close_word>\*{{1,3}}|_{{1,3}}|[\]】])?
            (?:[ ]?\((?!s\))(?P<owner>[^()\n]{{1,80}})\)|[ ]?\[(?P<owner2>[^\[\]\n]{{1,40}})\])?
            (?:[ ]@[\w.-]{{1,40}})?
            (?P<number>[ ]?[\#№]\d{{1,6}}(?:\.\d+)?|[ ]\d{{1,3}}(?:\.\d+)?)?
            (?:[ ]\((?P<owner3>[^()\n]{{1,40}})\))?
            (?:[ ]?{_EMOJI}{{1,4}})?
            (?P<close_number>\*{{1,3}}|_{{1,3}}|[\]】])?
            (?P<gap>[ ]{{0,2}})[:：](?![:=])
            (?P<close_colon>\*{{1,3}}|_{{1,3}}(?!\w))?""",
            re.VERBOSE | re.IGNORECASE,
        )

    def may_match(self, text: str) -> bool:
        """Return whether `text` can have a marker at all: cheap, for the many lines without."""
        if ":" not in text and "：" not in text:
            return False
        lowered = text.lower()
        for needle in self._needles:  # a loop is faster than any() here, and this runs per line
            if needle in lowered:
                return True
        return False

    def markers(self, line: str, *, done_section: bool) -> list[Marker]:
        """Return the markers of one line of prose, left to right.

        With `done_section` the line is under a heading of finished work, where only a marker in
        capitals counts. Runs in time linear to the line.
        """
        found = list(self._candidates(line, protected_spans(line)))
        if not found or _OUTPUT.match(line):
            return []
        kept: list[_Candidate] = []
        passed_over = -1
        for candidate in found:
            if 0 <= passed_over and _JOINT.fullmatch(line, passed_over, candidate.match.start()):
                passed_over = candidate.match.end()  # "TODO: and FIXME: comments" names both
            elif _counts(candidate, line, done_section=done_section, inside=bool(kept)):
                kept.append(candidate)
                passed_over = -1
            else:
                passed_over = candidate.match.end()
        ends = [*(candidate.match.start() for candidate in kept[1:]), len(line)]
        return [
            _marker(candidate, line, end, last=candidate is kept[-1])
            for candidate, end in zip(kept, ends, strict=False)
        ]

    def _candidates(self, line: str, spans: list[Span]) -> Iterator[_Candidate]:
        for match in self._pattern.finditer(line):
            start = match.start()
            if is_protected(spans, start):
                continue
            prefix = _line_prefix(line, start)
            before = line[max(0, start - _WINDOW) : start]
            yield _Candidate(
                match,
                prefix is not None,
                prefix or _inline_prefix(before),
                before,
                prefix is not None or _starts_clause(before),
            )


def _line_prefix(line: str, end: int) -> _Prefix | None:
    """Return what stands before `end` if it is only signs of Markdown and the like."""
    if end > _WINDOW:
        return None
    return _scan_prefix(line[:end])


@lru_cache(maxsize=512)
def _scan_prefix(text: str) -> _Prefix | None:
    position, level = 0, 0
    emphasis = bracket = ""
    done = struck = False
    while position < len(text):
        token = _PREFIX_TOKEN.match(text, position)
        if token is None:
            return None
        kind, value = token.lastgroup, token[0]
        if kind == "heading":
            if text[:position].strip() or position > 3:
                return None
            level = len(value.strip())
        elif kind == "check":
            done = value[:2].lower() in ("[x", "[-") or value[0] == "☑"
        elif kind == "sign":
            done = done or value.startswith(_DONE_SIGNS)
        elif kind == "emphasis":
            struck = struck or value == "~~"
            emphasis = value
        elif kind == "bracket":
            bracket = "["
        position = token.end()
    return _Prefix(level, emphasis if not struck else "", bracket, done, struck)


def _inline_prefix(before: str) -> _Prefix:
    opening = _OPENING.search(before)
    signs = opening[0] if opening else ""
    bracket = "[" if "[" in signs or "【" in signs else ""
    if not bracket and before.rstrip("*_").endswith("("):
        bracket = "("
    emphasis = signs.strip("[【~")
    return _Prefix(emphasis=emphasis, bracket=bracket, struck="~~" in signs)


def _bare(before: str) -> str:
    """Return the text before a marker without the emphasis and emoji that belong to it."""
    text = _OPENING.sub("", before)
    return re.sub(rf"{_EMOJI}+\s*$", "", text[-_WINDOW:]) if not text.isascii() else text


def _starts_clause(before: str) -> bool:
    opening = _OPENING.search(before)
    bare = _bare(before)
    return bool(opening or bare != before or _CLAUSE_START.search(bare))


def _counts(candidate: _Candidate, line: str, *, done_section: bool, inside: bool) -> bool:
    prefix, match = candidate.prefix, candidate.match
    word = match["word"]
    if prefix.done or prefix.struck or not _closes_what_opened(candidate):
        return False
    if prefix.bracket == "[" and "](" in line[match.start() : match.end() + 400]:
        return False  # a link to an existing ticket
    if word != word.upper():
        return (
            candidate.at_start
            and word[0].isupper()
            and not done_section
            and _capitalised_counts(candidate)
        )
    if candidate.at_start:
        return not _mentions_another(line, match.end())
    if match["gap"] or (inside and not candidate.clause_start):
        return False
    return _said_in_prose(candidate, line)


def _capitalised_counts(candidate: _Candidate) -> bool:
    """Tell a named defect from a heading of a report, a prompt or a plan."""
    prefix, match = candidate.prefix, candidate.match
    number = (match["number"] or "").strip()
    if number.startswith("#") and len(number) > 3:
        return False  # "Issue #14538:" cites the tracker, "Bug #2:" counts findings
    if not prefix.level or prefix.emphasis:
        return True
    return prefix.level > 2 and match["word"].lower() in ("bug", "issue", "fixme")


def _closes_what_opened(candidate: _Candidate) -> bool:
    match, prefix = candidate.match, candidate.prefix
    for group in ("close_word", "close_number", "close_colon"):
        closing = match[group]
        if closing in ("]", "】"):
            if not prefix.bracket:
                return False
        elif closing and group != "close_colon" and not prefix.emphasis:
            return False
    return True


def _mentions_another(line: str, end: int) -> bool:
    """Tell `TODO: and FIXME: comments`, which names the words, from a ticket."""
    return re.match(r"\s*(?:and|or|,|/)\s+[A-Z]{3,}:", line[end : end + _WINDOW]) is not None


def _said_in_prose(candidate: _Candidate, line: str) -> bool:
    bare = _bare(candidate.before)
    joined = candidate.before[len(bare) :]  # emphasis or emoji between the text and the marker
    if bare and not _ADJACENT.match(bare[-1]) and (not joined or joined[0] == "_"):
        return False
    if _CODE_COMMENT.search(bare) or _EXAMPLE.search(bare):
        return False
    end = candidate.match.end()
    if not candidate.clause_start and line[end : end + 1].strip():
        return candidate.match[0][-1] == "："  # no blank is needed after a full-width colon
    words = _CLAUSE_END.split(bare)[-1].casefold().replace("’", "'").split()[-3:]
    if _NEGATION.intersection(words) or _FINISHED.intersection(words):
        return False
    if candidate.clause_start:
        return not _mentions_another(line, end)
    if words and words[-1].strip("*_") in _MENTION:
        return False
    return _MENTION_AFTER.match(line[end : end + 40].lstrip()) is None


def _marker(candidate: _Candidate, line: str, end: int, *, last: bool) -> Marker:
    match, prefix = candidate.match, candidate.prefix
    closed = any(
        (match[group] or "]") not in "]】"
        for group in ("close_word", "close_number", "close_colon")
    )
    bracket = prefix.bracket
    if (match["close_word"] or match["close_number"] or " ") in "]】":
        bracket = ""
    title_end = end if not bracket else _closing(line, match.end(), end, bracket)
    severity = " ".join(_bare(candidate.before).split()[-1:])
    return Marker(
        word=match["word"],
        title_start=match.end(),
        title_end=title_end,
        emphasis="" if closed else prefix.emphasis,
        owner=match["owner"] or match["owner2"] or match["owner3"] or "",
        heading=prefix.level > 0,
        severity=severity if severity.strip("[]()").isupper() else "",
        another_follows=not last,
    )


def _closing(line: str, start: int, end: int, bracket: str) -> int:
    """Return where the bracket that stands before the marker is closed, else `end`."""
    depth = 0
    for sign in re.finditer(r"[()]" if bracket == "(" else r"[\[\]]", line[start:end]):
        depth += 1 if sign[0] == bracket else -1
        if depth < 0:
            return start + sign.start()
    return end
