"""What a line of Markdown is, as far as the finders of tickets and delegations need it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from claude_mpm.patterns import lazy_pattern
from claude_mpm.processors.tickets.state import names_a_section, section_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Span = tuple[int, int]

# One sign of an emoji, as a class of a regular expression.
EMOJI = (
    "[\u2190-\u21ff\u2300-\u27bf\u2900-\u297f\u2b00-\u2bff\u3030\u303d\u3297\u3299\ufe0f\u200d"
    "\u20e3\U0001f000-\U0001faff]"
)

_FENCE = lazy_pattern(r"[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*+(`{3,}|~{3,})([^\n]*)")
_FENCE_END = lazy_pattern(r"[ \t]*(`{3,}|~{3,})[ \t]*")
_TOKEN = lazy_pattern(r"`+|[\"“«「『]")
# Each length of back-tick signs is searched for at most once in vain; this bounds the lengths.
_LONGEST_CODE_SIGN = 16
_CLOSING_QUOTE = {'"': '"', "“": "”", "«": "»", "「": "」", "『": "』"}
_QUOTE = lazy_pattern(r"[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*+>")
_HEADING = lazy_pattern(r" {0,3}#{1,6}[ \t]")
# A line that may be a label over what is done: "Fixed:".
_COLONS = frozenset(":：")
_LONGEST_LABEL = 60
_LIST_ITEM = lazy_pattern(r"[-*+•◦▪–]\s|\d{1,3}[.)]\s|[☐☑☒✓✔✅]|\[[ xX]\]\s")
# Comments of code and of Markdown that go over several lines: how they begin, how they end.
_COMMENTS = {"/*": "*/", "<!--": "-->", "{-": "-}", "--[[": "]]", '"""': '"""', "'''": "'''"}
# Claude Code's own screen, copied into a text: the call of a tool, its result, and boxes.
_CALL = lazy_pattern(
    r"[⏺●]\s+(?:[\w.-]+ - [\w.-]+ \(MCP\)|[A-Z][\w.:-]*)\((?![^()\n]{0,80}\)\s?[:：])"
)
_RESULT_SIGN = "⎿"
_BOXES = frozenset("│┃║╭╰┌└├┏┗╔╚")
_OPENING_SIGNS = _BOXES | {_RESULT_SIGN, "⏺", "●", *(begin[0] for begin in _COMMENTS)}
_RESULT_INDENT = 3


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
    ("*", "/*"), ("<", "<!--"), ("{", "{-"), ("[", "--[["), ('"', '"""'), ("'", "'''"),
    ("⎿", "⎿"), ("⏺", "⏺"), ("●", "●"),
)  # fmt: skip


class BlockTracker:
    """Tells line by line whether text is code, a quotation, a diff, a table or a copied screen.

    Attributes:
        section: what the heading or label above says, as `section_of` has it.
    """

    def __init__(self) -> None:
        self._fences = FenceTracker()
        self._in_diff = False
        self._in_table = False
        self._in_result = False
        self._comment = ""
        self._heading = ""
        self._label = ""
        self._label_indent = 0

    @property
    def section(self) -> str:
        """What the heading or the label above the line says of the work below it."""
        return self._label or self._heading

    def is_unmoved_by(self, text: str, lines: Sequence[str]) -> bool:
        """Return whether we are in no block, and the lines of `text` begin none."""
        if self._in_diff or self._in_table or self._in_result or self._fences.inside:
            return False
        if self._comment or self._label:
            return False
        # A loop is twice as fast as all() here.
        for sign, whole in _BLOCK_SIGNS:
            if sign in text and whole in text:
                return False
        # Most lines are too long for a label, and a call for each would take as long as all else.
        short = [line for line in lines if len(line) <= _LONGEST_LABEL]
        return not any(map(_label_of, short))

    def feed(self, line: str) -> bool:
        """Return whether `line` (without its line break) is something else than prose."""
        text = line.lstrip()
        if (self._in_result or self._comment or text[:1] in _OPENING_SIGNS) and (
            not self._fences.inside and (self._is_screen(line, text) or self._is_comment(text))
        ):
            return True
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
        self._note_section(line)
        return ">" in line[:80] and _QUOTE.match(line) is not None

    def _is_screen(self, line: str, text: str) -> bool:
        """Return whether `line` is of a copied screen: the call or result of a tool, a box."""
        if text.startswith(_RESULT_SIGN) or _CALL.match(text):
            self._in_result = True
        elif self._in_result and text and len(line) - len(text) < _RESULT_INDENT:
            self._in_result = False
        return self._in_result or text[:1] in _BOXES

    def _is_comment(self, text: str) -> bool:
        """Return whether a line is part of a comment that goes over several lines."""
        if self._comment:
            if self._comment in text:
                self._comment = ""
            return True
        for begin, end in _COMMENTS.items():
            if text.startswith(begin) and end not in text[len(begin) :]:
                self._comment = end
                return True
        return False

    def _note_section(self, line: str) -> None:
        if line[:4].lstrip()[:1] == "#" and _HEADING.match(line):
            self._heading, self._label = section_of(line.lstrip(" #"), heading=True), ""
            return
        text = line.lstrip()
        indent = len(line) - len(text)
        if self._label and text and indent <= self._label_indent and not _LIST_ITEM.match(text):
            self._label = ""
        if label := _label_of(line):
            self._label, self._label_indent = label, indent


def _label_of(line: str) -> str:
    """Return what a line says of the work below it, where it is a label: "Fixed:"."""
    if len(line) > _LONGEST_LABEL:
        return ""
    text = line.rstrip("*_ \t\r")
    if text[-1:] in _COLONS and text:
        return section_of(text[:-1], heading=False)
    return "defects done" if names_a_section(line) else ""


def _is_table_rule(line: str) -> bool:
    return "--" in line and "|" in line and not line.strip(" \t|:-")


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
