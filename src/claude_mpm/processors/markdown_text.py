"""What a line of Markdown is, as far as the finders of tickets and delegations need it."""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import NamedTuple

Span = tuple[int, int]

_FENCE = re.compile(r"[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*+(`{3,}|~{3,})([^\n]*)")
_FENCE_END = re.compile(r"[ \t]*(`{3,}|~{3,})[ \t]*")
_TOKEN = re.compile(r"`+|[\"“”«»「」『』]")
_CLOSING_QUOTE = {'"': '"', "“": "”", "«": "»", "「": "」", "『": "』"}
_QUOTE = re.compile(r"[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*+>")
_HEADING = re.compile(r" {0,3}#{1,6}[ \t]")
# A heading of finished work starts or ends with the verdict: "Fixed Issues", "Bugs Fixed".
_DONE_WORD = r"(?:fixed|resolved|completed|complete|done|finished|closed|implemented|solved)"
_DONE_HEADING = re.compile(
    rf"[\W\d_]*[✅✔☑✓]|[\W\d_]*(?:what was |already )?{_DONE_WORD}(?!-)\b", re.IGNORECASE
)
_DONE_TAIL = re.compile(
    rf"\b(?<!be )(?<!not )(?<!yet )(?<!get ){_DONE_WORD}[\s\W_]*$|[✅✔☑✓]", re.IGNORECASE
)


class FenceTracker:
    """Tells line by line whether text is inside a fenced code block."""

    def __init__(self) -> None:
        self._fence = ""

    def feed(self, line: str) -> bool:
        """Return whether `line` (without its line break) is code or a fence of code.

        A fence of any indentation counts, also behind a list sign; an unclosed one lasts to the
        end. A closing fence has the sign of the opening one and at least its length.
        """
        if "```" not in line and "~~~" not in line:
            return bool(self._fence)
        if self._fence:
            end = _FENCE_END.fullmatch(line)
            if end and end[1].startswith(self._fence):
                self._fence = ""
            return True
        start = _FENCE.match(line)
        if start is None or (start[1][0] == "`" and "`" in start[2]):
            return False
        self._fence = start[1]
        return True


class BlockTracker:
    """Tells line by line whether text is code, a quotation, a diff or a table."""

    def __init__(self) -> None:
        self._fences = FenceTracker()
        self._in_diff = False
        self._in_table = False
        self.under_done_heading = False

    def feed(self, line: str) -> bool:
        """Return whether `line` (without its line break) is something else than prose."""
        if self._fences.feed(line):
            return True
        if self._in_diff or line.startswith(("@@ ", "diff --git ")):
            self._in_diff = line.startswith(("@@ ", "+", "-", " ", "\\", "diff ", "index "))
            if self._in_diff:
                return True
        if "|" in line or self._in_table:
            if _is_table_rule(line):
                self._in_table = True
            self._in_table = self._in_table and "|" in line
            if self._in_table or line.lstrip()[:1] == "|":
                return True
        if line[:4].lstrip()[:1] == "#" and _HEADING.match(line):
            self.under_done_heading = _is_done_heading(line)
        return ">" in line[:80] and _QUOTE.match(line) is not None


def _is_table_rule(line: str) -> bool:
    return "--" in line and "|" in line and not line.strip(" \t|:-")


def _is_done_heading(line: str) -> bool:
    text = line.lstrip(" #")
    return bool(_DONE_HEADING.match(text) or _DONE_TAIL.search(text[-80:]))


class _Tokens(NamedTuple):
    """Back-tick runs and quotation marks of a line, and where each kind occurs last."""

    marks: list[tuple[str, int]]
    last: dict[str, int]


def _tokens(line: str) -> _Tokens:
    marks = [(match[0], match.start()) for match in _TOKEN.finditer(line)]
    return _Tokens(marks, dict(marks))


def protected_spans(line: str) -> list[Span]:
    """Return where `line` has inline code and quotations, in order and without overlap.

    A sign that is not closed on the line protects nothing. Runs in time linear to the line.
    """
    if not any(sign in line for sign in '`"“«「『'):
        return []
    spans: list[Span] = []
    tokens = _tokens(line)
    opened, wanted = 0, ""
    for text, start in tokens.marks:
        if wanted:
            if text == wanted:
                spans.append((opened, start + len(text)))
                wanted = ""
            continue
        closing = text if text[0] == "`" else _CLOSING_QUOTE.get(text, "")
        if closing and tokens.last.get(closing, -1) > start:
            opened, wanted = start, closing
    return spans


def is_protected(spans: list[Span], position: int) -> bool:
    """Return whether `position` lies in one of `spans`, the result of `protected_spans`."""
    index = bisect_right(spans, (position, position)) - 1
    return index >= 0 and position < spans[index][1]
