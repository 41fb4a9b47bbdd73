"""What stands before a marker: list signs, emphasis, a program's output, words of a sentence."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from claude_mpm.patterns import lazy_pattern
from claude_mpm.processors.tickets.markdown import EMOJI
from claude_mpm.processors.tickets.state import CHECK_SIGNS, phrases

# How far a marker is looked at to the left, in characters; also bounds the work per marker.
WINDOW = 120

_PREFIX_TOKEN = lazy_pattern(
    rf"""(?P<check>\[[ xX~/-]\][ \t]*|[☐☑][ \t]*)
    |(?P<bullet>(?:[-*+]|[•◦▪‣·–—])[ \t]+)
    |(?P<number>(?:
        \d{{1,3}}(?:\.\d{{1,3}})*[.)]|\d{{1,3}}(?:\.\d{{1,3}})+|[A-Za-z][.)]|\(\d{{1,3}}\)
     )[ \t]+)
    |(?P<heading>\#{{1,6}}[ \t]+)
    |(?P<emphasis>\*{{1,3}}|_{{1,3}}|~~)
    |(?P<bracket>[\[【（])
    |(?P<sign>(?:[0-9]\ufe0f?\u20e3|{EMOJI})+)
    |(?P<space>\s+)""",
    re.VERBOSE,
)
_OPENING = "*_~[【（"
CLOSING = {"[": "]", "【": "】", "(": ")", "（": "）"}
_EMOJI_TAIL = lazy_pattern(rf"{EMOJI}+\s*$")
_DONE_SIGNS = tuple(CHECK_SIGNS)

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
    | (?:\[[^\[\]]{{1,60}}\]\s?)*+{_LEVEL}(?:\s+(?=\S{{1,20}}:)|:|\s*\|)
    | \[{_LEVEL}\]
    | (?!(?:note|nb|ps|fyi|btw|next|later|also|left|reminder|summary|update|remaining):)
      [a-z][\w.-]{{0,40}}(?:\[\d+\])?:\s          # program:
    | (?:Caused\ by:\ )?[\w.]{{1,80}}(?:Error|Exception|Warning):   # last line of a traceback
    | [VDIWEF]/\w+:                               # Android's log
    | \d+(?:[:|\t→]|-\s{{2,}}|\s+[-+]\s)          # line number
    | (?:[-*+]\s++)?[^\s`]{{1,300}}?(?::\d+[:-]|\(\d+\):)  # path:line
    | (?:[-*+]\s++)?[^\s`]{{1,300}}?-\d+-\s        # path-line- of grep's context
    | (?:[-*+]\s++)?[^\s`*:]{{0,300}}\.[A-Za-z]\w{{0,5}}:       # file:
    | (?:[-*+]\s++)?(?:[A-Za-z]:\\|[.~]{{0,2}}/|[\w.-]{{1,80}}/[\w.-]{{1,80}}/)[^\s`*:]{{1,300}}:
    | [$%❯]\s | >>>\s | (?:PS\ )?[A-Z]:\\[^>\s]*>    # prompt
    | [\w.-]{{1,60}}@[\w.-]{{1,60}}[: ][^\s]{{0,200}}[$\#]\s | [~/][^\s]{{0,200}}\s[$%❯]\s
    | (?:[$%❯\#!]\s?)?(?:sudo\s+)?(?:git|e?f?grep|rg|ag|ack|sed|awk|echo|printf|cat|curl|wget
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
    r"|left|remains?|remaining|annotations?|labels?|notes?|in (?:the|this|that|any))\b",
    re.IGNORECASE,
)
_CLAUSE_END = lazy_pattern(r"[.!?,;:…。，；：、！？]\s|[()|—–]|\s-{1,2}\s|[。，；：、！？]")
_CLAUSE_START = lazy_pattern(
    r"(?:^|[.!?,;:…—–/|()\[。，；：、！？]|\s-{1,2}|[-=]>|→|\s\+|\t|\s\s|\b(?:and|also|plus|but|then|so|und|et|y))\s*$",
    re.IGNORECASE,
)
_ADJACENT = lazy_pattern(
    r"[\s(\[—–,;!?…。，；：、！？（¿¡\u0590-\u05ff\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff"
    r"\uac00-\ud7af]"
)
_TICKED = lazy_pattern(r"\s{0,20}(?:[-*+]\s{1,4})?(?:\[[xX]\]|[✅✔☑✓])")
_ANOTHER = lazy_pattern(r"\s{0,4}(?:and|or|,|/)\s{1,4}[A-Z]{3,}:")


@dataclass(frozen=True, slots=True)
class Prefix:
    """The signs before a marker: heading level, emphasis, bracket, and whether they say done."""

    level: int = 0
    emphasis: str = ""
    bracket: str = ""
    done: bool = False
    struck: bool = False


def is_output(line: str) -> bool:
    """Return whether a whole line is a log, grep's output, a command, a diff or a comment."""
    return _OUTPUT.match(line) is not None


def line_prefix(line: str, end: int) -> Prefix | None:
    """Return what stands before `end` if it is only signs of Markdown and the like."""
    return _scan_prefix(line[:end]) if end <= WINDOW else None


@lru_cache(maxsize=512)
def _scan_prefix(text: str) -> Prefix | None:
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
            bracket = value
        position = token.end()
    return Prefix(level, emphasis if not struck else "", bracket, done, struck)


def inline_prefix(before: str) -> Prefix:
    """Return the signs right before a marker that stands within a line."""
    signs = before[len(before.rstrip(_OPENING)) :]
    bracket = next((sign for sign in signs if sign in CLOSING), "")
    if not bracket and before.rstrip("*_").endswith("("):
        bracket = "("
    return Prefix(emphasis=signs.strip("[【（~"), bracket=bracket, struck="~~" in signs)


def bare_text(before: str) -> str:
    """Return the text before a marker without the emphasis and emoji that belong to it."""
    text = before.rstrip(_OPENING)
    return text if text.isascii() else _EMOJI_TAIL.sub("", text)


def starts_clause(before: str, bare: str) -> bool:
    """Return whether a marker begins a sentence or a part of one, or is set off by its signs."""
    return len(bare) < len(before) or _CLAUSE_START.search(bare[-12:]) is not None


def is_ticked(line: str) -> bool:
    """Return whether a line is an item of a list that is marked as done."""
    return _TICKED.match(line) is not None


def opens_anew(title: str) -> bool:
    """Return whether a marker after `title`, with no sign between, begins another ticket."""
    said = title[-WINDOW:].casefold().split()
    return len(said) > 1 and said[-1] not in phrases("LEADING") and not title.endswith(")")


def mentions_another(line: str, end: int) -> bool:
    """Return whether a text names the words, as `TODO: and FIXME: comments`, and is no ticket."""
    return _ANOTHER.match(line, end) is not None


def is_joined(before: str, bare: str) -> bool:
    """Return whether a marker is a part of a longer word, or a comment in code."""
    signs = before[len(bare) :]
    if bare and not _ADJACENT.match(bare[-1]) and (not signs or signs[0] == "_"):
        return True
    if bare[-1:] == "(" and bare[-2:-1].isalnum():  # a call
        return True
    return bool(_CODE_COMMENT.search(bare[-12:]))


def is_only_mentioned(bare: str, following: str, *, clause_start: bool) -> bool:
    """Return whether the words around a marker deny it, tell that it is done, or speak of it."""
    if _EXAMPLE.search(bare[-20:]):
        return True
    last = _CLAUSE_END.split(bare)[-1].casefold().replace("’", "'").split()[-3:]
    if any(word.endswith("n't") for word in last) or phrases("NEGATION").intersection(last):
        return True
    if phrases("FINISHED").intersection(last):
        return True
    if clause_start:
        return False
    if last and last[-1].strip("*_") in phrases("MENTION"):
        return True
    return _MENTION_AFTER.match(following.lstrip()) is not None
