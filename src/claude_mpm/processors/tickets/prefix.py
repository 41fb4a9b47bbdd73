"""What stands before a marker: list signs, emphasis, a program's output, words of a sentence."""

from __future__ import annotations

import re
from dataclasses import dataclass

from claude_mpm.patterns import lazy_pattern
from claude_mpm.processors.tickets.markdown import EMOJI
from claude_mpm.processors.tickets.state import CHECK_SIGNS, phrases

# How far a marker is looked at to the left, in characters; also bounds the work per marker.
WINDOW = 120

_PREFIX = lazy_pattern(
    rf"""[ ]{{0,3}}(?:\#{{1,6}}[ \t]+)?(?:
    \[[ xX~/-]\]
    |[-*+•◦▪‣·–—][ \t]+
    |(?:\d{{1,3}}(?:\.\d{{1,3}})*[.)]|\d{{1,3}}(?:\.\d{{1,3}})+|[A-Za-z][.)]|\(\d{{1,3}}\))[ \t]+
    |[0-9]\ufe0f?\u20e3|{EMOJI}|[*_~\[【（\s]
    )*+""",
    re.VERBOSE,
)
_OPENING = "*_~([【（"
_DONE = lazy_pattern(rf"\[[xX-]\]|[{CHECK_SIGNS}]|~~")
_EMPHASIS = lazy_pattern(r"\*{1,3}(?![ \t*])|_{1,3}")
_BRACKET = lazy_pattern(r"[(\[【（](?![ xX~/-]\]|\d)")

# Whole lines that are output of a program, or a command: they quote, they do not say.
_LEVEL = r"(?:DEBUG|INFO|WARN|WARNING|ERROR|FATAL|TRACE|NOTICE)"
_OUTPUT = lazy_pattern(
    rf"""\s*+(?:
      \[?\d{{4}}-\d\d-\d\d[T ]\d\d:\d\d          # ISO time
    | [\[(]?[\w/.,+\ -]{{0,24}}?\d\d:\d\d:\d\d     # time of day
    | \[\s*\d+\.\d+\]                             # kernel log
    | <\d{{1,3}}>                                 # syslog priority
    | [\w.-]{{1,40}}\ +\|\s                         # docker compose
    | (?:not\ )?ok\ \d | E\s{{2,}} | (?:FAILED|PASSED|SKIPPED|XFAIL|XPASS)\s  # TAP, pytest
    | (?:\[[^\[\]]{{1,60}}\]\s?)*+{_LEVEL}(?:\s+(?=\[|\d|\S{{1,20}}:)|:|\s*\|)
    | \[{_LEVEL}\]
    | (?!(?:note|nb|ps|fyi|btw|next|later|also|left|reminder|summary|update|remaining):)
      [a-z][\w.-]{{0,40}}(?:\[\d+\])?:\s          # program:
    | (?:Warning|Error|Notice|Fatal):\s | thread\ '
    | (?:Caused\ by:\ )?[\w.]{{1,80}}(?:Error|Exception|Warning):   # last line of a traceback
    | [VDIWEF]/\w+:                               # Android's log
    | (?=[a-f]*\d)[0-9a-f]{{7,40}}\s               # commit, seconds since 1970
    | \d\d:\d\d\s+\[?{_LEVEL}                      # hours and minutes
    | \d+(?::(?!\d\d\s)|[|\t→]|-\s{{2,}}|\s+[-+]\s)          # line number
    | (?:[-*+]\s++)?[^\s`]{{1,300}}?(?::\d+[:-]|\(\d+\):)  # path:line
    | (?:[-*+]\s++)?[^\s`]{{1,300}}?-\d+-\s        # path-line- of grep's context
    | (?:[-*+]\s++)?[^\s`*:]{{0,300}}\.[A-Za-z]\w{{0,5}}:       # file:
    | (?:[-*+]\s++)?(?:[A-Za-z]:\\|[.~]{{0,2}}/|[\w.-]{{1,80}}/[\w.-]{{1,80}}/)[^\s`*:]{{1,300}}:
    | [$%❯]\s | >>>\s | (?:PS\ )?[A-Z]:\\[^>\s]*>    # prompt
    | [\w.-]{{1,60}}@[\w.-]{{1,60}}[: ][^\s]{{0,200}}[$\#]\s | [~/][^\s]{{0,200}}\s[$%❯]\s
    | (?:[$%❯\#!+]\s?)?(?:sudo\s+)?(?:git|e?f?grep|rg|ag|ack|sed|awk|echo|printf|cat|curl|wget
        |np[mx]|yarn|pnpm|pip|python3?|node|docker|kubectl|gh|cargo|claude|bash|sh|cd|ls|export
        |findstr|sls)\s
    | @@\s | [-+](?=\S)(?![-+*_\s]) | [-+](?:\ {{5,}}|\ +(?:\#|//)) | diff\s
    | //|/\*|<!--|;;|\#(?![\#\s])|--\s                    # comment
    )""",
    re.VERBOSE,
)
_EXAMPLE = lazy_pattern(
    r"\b(?:e\.g\.|i\.e\.|for example|for instance|such as|like)[,:]?\s*$", re.IGNORECASE
)
_CODE_COMMENT = lazy_pattern(r"(?://+!?|/\*+|<!--|;;|(?<!\w)#+|[;)},]\s*--|\"\"\"|''')\s*$")

_MENTION_AFTER = lazy_pattern(
    r"(?:is|are|was|were|and|or|to|comments?|markers?|lines?|items?|entry|entries|tags?"
    r"|prefix(?:es)?|sections?|headers?|blocks?|fields?|columns?|keywords?|format|syntax"
    r"|left|remains?|remaining|annotations?|labels?|notes?|in)\b",
    re.IGNORECASE,
)
_CLAUSE_END = lazy_pattern(r"[.!?,;:…。，；：、！？]\s|[()|—–]|\s-{1,2}\s|[。，；：、！？]")
_CLAUSE_START = lazy_pattern(
    rf"(?:^|[.!?,;:…—–/|()\[。，；：、！？]|\s-{{1,2}}|[-=]>|{EMOJI}|\s\+|\t|\s\s"
    r"|\b(?:and|also|plus|but|then|so|und|et|y))\s*$",
    re.IGNORECASE,
)
_ADJACENT = lazy_pattern(
    r"[\s(\[—–,;!?…。，；：、！？（¿¡\u0590-\u05ff\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff"
    r"\uac00-\ud7af]"
)
_TICKED = lazy_pattern(rf"\s{{0,20}}(?:[-*+]\s{{1,4}})?(?:\[[xX]\]|[{CHECK_SIGNS}])")


@dataclass(frozen=True, slots=True)
class Prefix:
    """What stands before a marker.

    Attributes:
        text: the words before it, without the signs that open what the marker is in.
        signs: those signs.
        at_start: whether there are no words, but only signs of Markdown and the like.
        starts_clause: whether a sentence or a part of one begins with the marker.
        level: of the heading that the line is, or 0.
        emphasis: what opens the emphasis in which the marker is.
        bracket: what opens the bracket in which the marker is.
        done: whether the signs say that the work is done.
    """

    text: str
    signs: str
    at_start: bool
    starts_clause: bool
    level: int
    emphasis: str
    bracket: str
    done: bool


def prefix_of(line: str, start: int) -> Prefix:
    """Return what stands before the marker at `start`."""
    before = line[max(0, start - WINDOW) : start]
    at_start = start <= WINDOW and _PREFIX.fullmatch(before) is not None
    text = before.rstrip(_OPENING)
    signs = before if at_start else before[len(text) :]
    emphasis, brackets = _EMPHASIS.findall(signs), _BRACKET.findall(signs)
    return Prefix(
        text=text,
        signs=signs,
        at_start=at_start,
        starts_clause=bool(signs) or _CLAUSE_START.search(text[-12:]) is not None,
        level=before.count("#") if at_start else 0,
        emphasis=emphasis[-1] if emphasis else "",
        bracket=brackets[-1] if brackets else "",
        done=_DONE.search(signs) is not None,
    )


def is_output(line: str) -> bool:
    """Return whether a whole line is a log, grep's output, a command, a diff or a comment."""
    return _OUTPUT.match(line) is not None


def is_ticked(line: str) -> bool:
    """Return whether a line is an item of a list that is marked as done."""
    return _TICKED.match(line) is not None


def is_only_mentioned(prefix: Prefix, following: str) -> bool:
    """Return whether a marker within a line is in code, denied, told as done, or spoken of.

    Args:
        prefix: what stands before the marker.
        following: what stands behind it.
    """
    text = prefix.text
    if text and prefix.signs[:1] in ("", "_", "(") and not _ADJACENT.match(text[-1]):
        return True  # a part of a longer word, or a call
    if _CODE_COMMENT.search(text[-12:]) or _EXAMPLE.search(text[-20:]):
        return True
    last = _CLAUSE_END.split(text)[-1].casefold().replace("’", "'").split()[-3:]
    if any(word.endswith("n't") or word in phrases("DENIAL") for word in last):
        return True
    if prefix.starts_clause:
        return False
    is_named = bool(last) and last[-1].strip("*_") in phrases("MENTION")
    return is_named or _MENTION_AFTER.match(following.lstrip()) is not None
