"""Whether the words of a ticket say that it is done, or that there is nothing to do."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from claude_mpm.patterns import lazy_pattern
from claude_mpm.processors.tickets import words

CHECK_SIGNS = "✅✔☑☒✓"

# Signs that set off the last words of a title: "… — fixed in 1.2", "… → done".
_SEPARATOR = lazy_pattern(
    rf"\s-{{1,3}}\s|\s*[—–]\s*|\s*(?:→|=>|->)\s*|[;；]\s*|[{CHECK_SIGNS}]\ufe0f?\s*"
)
_CLAUSE_END = lazy_pattern(r"[.!?,:]\s+|[。！？，、：]")
_IN_BRACKETS = r"[(\[（【]([^()\[\]（）【】]{1,200})[)\]）】]"
_BEGINS_IN_BRACKETS = lazy_pattern(r"[\s*_]*" + _IN_BRACKETS)
_ENDS_IN_BRACKETS = lazy_pattern(_IN_BRACKETS + "$")
_CHECKED = lazy_pattern(rf"[\s*_]*(?:[{CHECK_SIGNS}]|\[[xX]\]\s)")
_ENDS_CHECKED = lazy_pattern(rf"[{CHECK_SIGNS}]\ufe0f?[\s)\]]*$")
# Chinese and Japanese say it at the end of a word: "已更新", "対応済み". "已存在" only exists.
_BECAME_DONE = lazy_pattern(
    r"(?:已(?![知存经經过過失损損断])[\u4e00-\u9fff]{1,3}|(?!未)[\u4e00-\u9fff\u30a0-\u30ff]済み?)"
    r"[了。）)]?$"
)
_STRUCK = lazy_pattern(r"[\s*_]*~~[^~]+~~[\s*_.,;:]*")
_VERSION = lazy_pattern(
    r"(?:\S+\s+){0,2}?(?:\#?v?\d|[0-9a-f]{7,40}\b|commit|pr\b|version|release|this|(?:the )?last)"
)
# "Fixed the parser" is done, "Complete the parser" is to be done.
_DONE_TO = lazy_pattern(
    r"[\s*_]*(?:(?:already|now) )*(?:done|\w+ed) (?:already|the|a|an|this|that|these|both|all)\b",
    re.IGNORECASE,
)
_REFERENCE = (
    r"(?:[\w.-]+/[\w.-]+)?\#\d+|[A-Z][A-Z0-9_]*-\d+|<?https?://\S+|!\d+"
    r"|!?\[[^\[\]]*\](?:\([^()\s]*\)|\[[^\[\]]*\])"
)
_REFERENCES = lazy_pattern(
    rf"(?:(?:issue|bug|ticket|pr|task) )?(?:{_REFERENCE})"
    rf"(?:(?:, | and |,? ?& ?| )(?:{_REFERENCE}))*+",
    re.IGNORECASE,
)
_NO_WORDS = lazy_pattern(r"<[^<>]*>|\{[^{}]*\}|\[[^\[\]]*\]|[\W\d_]*|(?:→|[-=]>).*")
_NOUNS = ("DEFECT", "WORK")
_SECTION = ("DONE", "DONE_SECTION", *_NOUNS, "BEFORE_DONE", "AFTER_DONE", "BESIDE_SECTION")
_SIGNS_OF_LABEL = " \t\r*_#:：()[]【】0123456789"
_SIGNS = " \t*_`~!.,;:–—"
_SIGNS_AT_BEGIN = lazy_pattern(r"^[\W\d_]+")
_LETTERS = lazy_pattern(r"[^\W\d_]+")
_GLUED = "\u3040"  # the first letter of the scripts that have no blanks between words
_TO_BE_DONE = frozenset({"be", "not", "yet", "get", "nicht", "noch", "pas", "non", "не"})


def says_done(text: str) -> bool:
    """Return whether `text`, a remark on a ticket, begins by saying that the work is done.

    It may go on with when, where or by whom: "fixed in 1.2 (by Ann)", "erledigt am 3.5.".
    """
    if _CHECKED.match(text) or _BECAME_DONE.search(text[-80:]):
        return True
    rest = _after_done(text)
    if rest is None:
        return False
    return not rest[:1].isalpha() or rest.split()[0].strip(".,;:") in phrases("AFTER_DONE")


def section_of(text: str, *, heading: bool) -> str:
    """Return what a heading or a label says of the work below it.

    That is "done" for all of it, "defects done" ("Fixed bugs"), "about done" for a heading that
    only begins or ends so ("Fixed in the parser"), and "" for all other.
    """
    rest, said = _cut_all(_plain(text), *_SECTION)
    if not rest and not said.isdisjoint(_SECTION[:2]):
        return "defects done" if "DEFECT" in said else "done"
    return "about done" if heading and _begins_or_ends_done(text) else ""


def may_be_section(text: str) -> bool:
    """Return whether a line may be a label over done work, by its last word, as hardly any is."""
    last = text.rstrip(_SIGNS_OF_LABEL).rpartition(" ")[2].lstrip(_SIGNS_OF_LABEL)
    return last != "" and (last[-1] >= _GLUED or last.casefold() in _section_ends())


def _begins_or_ends_done(text: str) -> bool:
    """Return whether the first or the last words of a heading say that what follows is done."""
    if _after_done(text) is not None or any(sign in text for sign in CHECK_SIGNS):
        return True
    *before, last = ["", *_LETTERS.findall(_plain(text))]
    return last in phrases("DONE") and before[-1] not in _TO_BE_DONE


def field_says_done(key: str, value: str) -> bool:
    """Return whether a line "key: value" below a ticket says that it is done."""
    if _plain(key) in phrases("STATUS"):
        return says_done(value)
    return bool(value) and _after_done(key) == "" and _plain(value) not in phrases("NOT_YET")


def is_finished(title: str) -> bool:
    """Return whether a title says itself that the work is done."""
    if _CHECKED.match(title) or _STRUCK.fullmatch(title[:500]) or _ENDS_CHECKED.search(title[-60:]):
        return True
    tail = title[-200:].rstrip(" .,;:*_")
    clauses = (title[:200], _CLAUSE_END.split(tail)[-1])
    if any(map(_is_done_clause, clauses)) or _BECAME_DONE.search(tail):
        return True
    brackets = (_BEGINS_IN_BRACKETS.match(title[:200]), _ENDS_IN_BRACKETS.search(tail))
    remarks = [match[1] for match in brackets if match] + _SEPARATOR.split(tail)[1:][-1:]
    return any(map(says_done, remarks))


def is_no_title(title: str) -> bool:
    """Return whether a cleaned title names nothing: `none`, a placeholder, a bare reference."""
    if not any(map(str.isalpha, title)):
        return True
    if len(title) > 400:
        return False
    text = _plain(title)
    return (
        text in phrases("PLACEHOLDER")
        or _says_none(text)
        or _NO_WORDS.fullmatch(title.strip("*_`() ")) is not None
        or _REFERENCES.fullmatch((_cut(text, "SEE") or title).lstrip(_SIGNS).strip()) is not None
    )


def _says_none(text: str) -> bool:
    """Return whether `text` says that there is nothing: "no known bugs", "derzeit keine"."""
    rest, said = _cut_all(text, "BESIDE_NONE", "NONE", *_NOUNS)
    if rest and said.isdisjoint(_NOUNS):  # "no critical bugs"
        rest, nouns = _cut_all(rest.partition(" ")[2], *_NOUNS, "BESIDE_NONE")
        rest = rest if nouns.intersection(_NOUNS) else text
    return "NONE" in said and not rest


def _is_done_clause(text: str) -> bool:
    """Return whether a sentence says only that something is done: "Fixed in 1.2."."""
    rest = _after_done(text)
    if rest is None:
        return False
    if not rest or _DONE_TO.match(text):
        return True
    first, _, others = rest.partition(" ")
    return first in phrases("AFTER_DONE") and _VERSION.match(others) is not None


def _after_done(text: str) -> str | None:
    """Return what follows "fixed" and its like at the beginning of `text`; None without."""
    rest = _cut(_cut_all(_plain(text), "BEFORE_DONE")[0], "DONE")
    if rest is None:
        return None
    return rest.lstrip(" *_`~!") if any(map(str.isalpha, rest)) else ""


def _cut_all(text: str, *names: str) -> tuple[str, set[str]]:
    """Return `text` without all phrases of those lines of the table at its beginning, and whose."""
    said: set[str] = set()
    while text := _SIGNS_AT_BEGIN.sub("", text):
        cuts = ((name, _cut(text, name)) for name in names)
        name, rest = next((cut for cut in cuts if cut[1] is not None), ("", None))
        if rest is None:
            break
        text = rest
        said.add(name)
    return text, said


def _cut(text: str, name: str) -> str | None:
    """Return `text` without the longest phrase of that line at its beginning; None without.

    Words of scripts that have no blanks between them end anywhere.
    """
    known = phrases(name)
    for length in _lengths(name).get(text[:1], ()):
        phrase = text[:length]
        if phrase in known:
            rest = text[len(phrase) :]
            if phrase[-1] >= _GLUED or not (rest[:1].isalnum() or rest[:1] == "-"):
                return rest
    return None


def _plain(text: str) -> str:
    text = unicodedata.normalize("NFC", text).casefold().replace("’", "'")
    return " ".join(text.split()).strip(_SIGNS + '()"“”')


@cache
def _section_ends() -> frozenset[str]:
    """Return the last words of all phrases of which such a label is made."""
    return frozenset(phrase.split()[-1] for name in _SECTION for phrase in phrases(name))


@cache
def _lengths(name: str) -> dict[str, list[int]]:
    """Return the lengths of the phrases of a line of the table, by first letter, longest first."""
    lengths: dict[str, set[int]] = {}
    for phrase in phrases(name):
        lengths.setdefault(phrase[0], set()).add(len(phrase))
    return {letter: sorted(found, reverse=True) for letter, found in lengths.items()}


@cache
def phrases(name: str) -> frozenset[str]:
    """Return the words and phrases of a line of the table."""
    line: str | dict[str, str] = getattr(words, name)
    return frozenset(
        _plain(word.replace("~", ending))
        for language, text in (line if isinstance(line, dict) else {"": line}).items()
        for word in text.split(",")
        for ending in (words.ENDINGS[language] if "~" in word else ("",))
    )
