"""What a line of Markdown is, as far as the finders of tickets and delegations need it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

Span = tuple[int, int]

# One sign of an emoji, as a class of a regular expression.
EMOJI = (
    "[\u2190-\u21ff\u2300-\u27bf\u2900-\u297f\u2b00-\u2bff\u3030\u303d\u3297\u3299\ufe0f\u200d"
    "\u20e3\U0001f000-\U0001faff]"
)

_FENCE = re.compile(r"[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*+(`{3,}|~{3,})([^\n]*)")
_FENCE_END = re.compile(r"[ \t]*(`{3,}|~{3,})[ \t]*")
_TOKEN = re.compile(r"`+|[\"“«「『]")
# Each length of back-tick signs is searched for at most once in vain; this bounds the lengths.
_LONGEST_CODE_SIGN = 16
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

    @property
    def inside(self) -> bool:
        """Whether a fence is open."""
        return bool(self._fence)

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


# Without any of these, lines begin and end no block. A single sign is looked for far faster.
_BLOCK_SIGNS = (
    ("`", "```"), ("~", "~~~"), ("|", "|"), ("#", "#"), ("@", "@@ "), ("-", "diff --git "),
)  # fmt: skip


class BlockTracker:
    """Tells line by line whether text is code, a quotation, a diff or a table."""

    def __init__(self) -> None:
        self._fences = FenceTracker()
        self._in_diff = False
        self._in_table = False
        self.under_done_heading = False

    def is_unmoved_by(self, text: str) -> bool:
        """Return whether we are in no block, and `text`, of any number of lines, begins none."""
        if self._in_diff or self._in_table or self._fences.inside:
            return False
        # A loop is twice as fast as all() here.
        for sign, whole in _BLOCK_SIGNS:  # noqa: SIM110
            if sign in text and whole in text:
                return False
        return True

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


def protected_spans(line: str) -> Iterator[Span]:
    """Yield where `line` has inline code and quotations, in order and without overlap.

    A sign that is not closed on the line protects nothing. Runs in time linear to the line.
    """
    unclosed: set[str] = set()
    position = 0
    while match := _TOKEN.search(line, position):
        opening, position = match[0], match.end()
        if opening in unclosed:
            continue
        end = _closing_end(line, opening, position)
        if end < 0:
            unclosed.add(opening)
        else:
            yield match.start(), end
            position = end


def _closing_end(line: str, opening: str, position: int) -> int:
    """Return where what `opening` opens ends on the line, or -1."""
    if opening[0] != "`":
        return line.find(_CLOSING_QUOTE[opening], position) + 1 or -1
    if len(opening) > _LONGEST_CODE_SIGN:
        return -1
    closing = re.compile(rf"(?<!`){opening}(?!`)").search(line, position)
    return closing.end() if closing else -1
