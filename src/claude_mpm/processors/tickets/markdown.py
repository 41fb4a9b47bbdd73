"""What a line of Markdown is, as far as the finders of tickets and delegations need it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_mpm.patterns import lazy_pattern
from claude_mpm.processors.tickets.state import may_be_section, section_of

if TYPE_CHECKING:
    from collections.abc import Sequence

# Inline code and quotations within a line, which show words and do not say them. No sign is read
# twice in vain, so that this is linear to the line.
PROTECTED = lazy_pattern(
    r"(?<!`)(`{1,16})(?!`).+?(?<!`)\1(?!`)|\"[^\"]*\"|“[^“”]*”|«[^«»]*»|「[^「」]*」|『[^『』]*』"
)
# One sign of an emoji, as a class of a regular expression.
EMOJI = (
    "[\u2190-\u21ff\u2300-\u27bf\u2900-\u297f\u2b00-\u2bff\u3030\u303d\u3297\u3299\ufe0f\u200d"
    "\u20e3\U0001f000-\U0001faff]"
)

_FENCE = lazy_pattern(r"[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*+(`{3,}|~{3,})([^\n]*)")
_FENCE_END = lazy_pattern(r"[ \t]*(`{3,}|~{3,})[ \t]*")
_QUOTE = lazy_pattern(r"[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)*+>")
_HEADING = lazy_pattern(r" {0,3}#{1,6}[ \t]")
_UNDERLINE = lazy_pattern(r" {0,3}(?:-{3,}|={3,})\s*")
_LONGEST_LABEL = 60  # characters
_BULLETS = r"[-*+•◦▪–]\s|\d{1,3}[.)]\s|\[[ xX]\]\s"
_LABEL = lazy_pattern(rf".*[:：]|(?!{_BULLETS})[^:：]*[^:：.!]")
_LIST_ITEM = lazy_pattern(_BULLETS + "|[☐☑☒✓✔✅]")
_ENTRY = lazy_pattern(r"\w+\s?[:：]\s?\S")
# Comments of code and of Markdown that go over several lines: how they begin, how they end.
_COMMENTS = {"/*": "*/", "<!--": "-->", "{-": "-}", "--[[": "]]", '"""': '"""', "'''": "'''"}
# Claude Code's own screen, copied into a text: the call of a tool, its result, and boxes.
_CALL = lazy_pattern(
    r"[⏺●]\s+(?:[\w.-]+ - [\w.-]+ \(MCP\)|[A-Z][\w.:-]*)\((?![^()\n]{0,80}\)\s?[:：])"
)
_BOXES = frozenset("│┃║╭╰┌└├┏┗╔╚")
_OPENING_SIGNS = _BOXES | {"⎿", "⏺", "●", *(begin[0] for begin in _COMMENTS)}
_RESULT_INDENT = 3
_DIFF = ("@@ ", "diff --git ")
_DIFF_LINES = ("@@ ", "+", "-", " ", "\\", "diff ", "index ")

# Without any of these, lines begin and end no block. A single sign is looked for far faster.
_BLOCK_SIGNS = (
    ("`", "```"), ("~", "~~~"), ("|", "|"), ("#", "#"), ("@", "@@ "), ("-", "diff --git "),
    ("*", "/*"), ("<", "<!--"), ("{", "{-"), ("[", "--[["), ('"', '"""'), ("'", "'''"),
    ("⎿", "⎿"), ("⏺", "⏺"), ("●", "●"),
)  # fmt: skip


class BlockTracker:
    """Tells line by line whether text is code, a quotation, a diff, a table or a copied screen."""

    __slots__ = ("_above", "_block", "_end", "_heading", "_label", "_label_indent")

    def __init__(self) -> None:
        self._block = ""  # which kind of block the last line was part of
        self._end = ""  # what closes it, if it is a fence or a comment
        self._above = ""  # the last line of prose
        self._heading = ""
        self._label = ""
        self._label_indent = 0

    @property
    def section(self) -> str:
        """What the heading or label above says of the work below it, as `section_of` has it."""
        return self._label or self._heading

    def is_unmoved_by(self, text: str, lines: Sequence[str]) -> bool:
        """Return whether we are in no block, and the lines of `text` begin none."""
        if self._block or self.section:
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
        if self._block and self._goes_on(line, text):
            return True
        self._block = self._begun_by(line, text)
        if self._block:
            return True
        self._note_section(line, text)
        return ">" in line[:80] and _QUOTE.match(line) is not None

    def _goes_on(self, line: str, text: str) -> bool:
        """Return whether the open block contains `line`, and note where it closes the block."""
        if self._block == "result":
            return not text or len(line) - len(text) >= _RESULT_INDENT
        if self._block == "diff":
            return line.startswith(_DIFF_LINES)
        if self._block == "fence":
            closing = _FENCE_END.fullmatch(line)
            closes = closing is not None and closing[1].startswith(self._end)
        elif self._block == "comment":
            closes = self._end in text
        else:
            return self._block == "table" and "|" in line
        self._block = "" if closes else self._block
        return True

    def _begun_by(self, line: str, text: str) -> str:
        """Return which kind of block `line` begins or, as a box or a row, is; "" for prose.

        A fence of any indentation counts, also behind a list sign; an unclosed one lasts to the
        end. A closing fence has the sign of the opening one and at least its length.
        """
        if text[:1] in _OPENING_SIGNS:
            if text[0] == "⎿" or _CALL.match(text):
                return "result"
            if text[0] in _BOXES:
                return "box"
            for begin, end in _COMMENTS.items():
                if text.startswith(begin) and end not in text[len(begin) :]:
                    self._end = end
                    return "comment"
        fence = _FENCE.match(line) if "```" in line or "~~~" in line else None
        if fence and (fence[1][0] == "~" or "`" not in fence[2]):
            self._end = fence[1]
            return "fence"
        if line.startswith(_DIFF):
            return "diff"
        if "|" not in line:
            return ""
        if "--" in line and not line.strip(" \t|:-"):
            return "table"
        return "row" if text[0] == "|" else ""

    def _note_section(self, line: str, text: str) -> None:
        """Note the heading or label that a line of prose is, and where the label above ends."""
        above, self._above = self._above, text
        indent = len(line) - len(text)
        if text[:1] == "#" and _HEADING.match(line):
            self._heading, self._label = section_of(text.lstrip(" #"), heading=True), ""
        elif above and _UNDERLINE.fullmatch(line) and not _LIST_ITEM.match(above):
            self._heading, self._label = section_of(above, heading=True), ""
        elif label := _label_of(line):
            self._label, self._label_indent = label, indent
        elif text and indent <= self._label_indent and not _LIST_ITEM.match(text):
            # Below a label stands a list, or lines of one form: "TODO: one", "TODO: two".
            goes_on = above and not _LIST_ITEM.match(above) and _ENTRY.match(text)
            self._label = self._label if goes_on else ""


def _label_of(line: str) -> str:
    """Return what a line says of the work below it, where it is a label: "Fixed:", "Erledigt"."""
    if len(line) > _LONGEST_LABEL or not may_be_section(line):
        return ""
    return section_of(line, heading=False) if _LABEL.fullmatch(line.strip(" \t\r*_")) else ""
