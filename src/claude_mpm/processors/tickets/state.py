"""Whether the words of a ticket say that it is done, or that there is nothing to do."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from claude_mpm.patterns import lazy_pattern
from claude_mpm.processors.tickets import words

CHECK_SIGNS = "✅✔☑✓"

# Signs that set off the last words of a title: "… — fixed in 1.2", "… → done".
_SEPARATOR = lazy_pattern(r"\s-{1,3}\s|\s*[—–]\s*|\s*(?:→|=>|->)\s*|[;；]\s*")
_SENTENCE_END = lazy_pattern(r"[.!?]\s+|[。！？]")
_IN_BRACKETS = lazy_pattern(r"[(\[（【]([^()\[\]（）【】]{1,200})[)\]）】]")
_CHECKED = lazy_pattern(rf"[\s*_]*(?:[{CHECK_SIGNS}]|\[[xX]\]\s)")
_ENDS_CHECKED = lazy_pattern(rf"[{CHECK_SIGNS}]\ufe0f?[\s)\]]*$")
# Chinese and Japanese say it at the end of a word: "已更新", "対応済み".
_BECAME_DONE = lazy_pattern(
    r"(?:已[\u4e00-\u9fff]{1,3}|[\u4e00-\u9fff\u30a0-\u30ff]済み?)[了。）)]?$"
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
_LONGEST_LABEL = 60  # characters
_SIGNS = " \t*_`~!.,;:–—"
_SIGNS_AT_BEGIN = lazy_pattern(r"^[\W\d_]+")
_SIGNS_AT_END = lazy_pattern(r"[\W\d_]+$")
_LETTERS = lazy_pattern(r"[^\W\d_]+")
_GLUED = "\u3040"  # the first letter of the scripts that have no blanks between words
_TO_BE_DONE = (["be"], ["not"], ["yet"], ["get"], ["nicht"], ["noch"], ["pas"], ["non"], ["не"])


@cache
def word_set(text: str) -> frozenset[str]:
    """Return the words of one line of the table."""
    return frozenset(map(_plain, text.split(",")))


def says_done(text: str) -> bool:
    """Return whether `text`, a remark on a ticket, begins by saying that the work is done.

    It may go on with when, where or by whom: "fixed in 1.2 (by Ann)", "erledigt am 3.5.".
    """
    if _CHECKED.match(text) or _BECAME_DONE.search(text[-80:]):
        return True
    rest = _after_done(text)
    if rest is None:
        return False
    return not rest[:1].isalpha() or rest.split()[0].strip(".,;:") in word_set(words.AFTER_DONE)


def is_done_alone(text: str) -> bool:
    """Return whether `text` says that the work is done, and nothing else."""
    rest = _after_done(text)
    return rest is not None and not any(map(str.isalpha, rest))


def section_of(text: str, *, heading: bool) -> str:
    """Return what a heading or a label says of the work below it.

    That is "done" for all of it, "defects done" ("Fixed bugs"), "about done" for a heading that
    only begins or ends so ("Fixed in the parser"), and "" for all other.
    """
    rest, said = _SIGNS_AT_BEGIN.sub("", _plain(text)), set()
    while rest:
        cuts = ((name, _cut(rest, name, glued=True)) for name in _SECTION)
        name, left = next((cut for cut in cuts if cut[1] is not None), ("", None))
        if left is None:
            break
        said.add(name)
        rest = _SIGNS_AT_BEGIN.sub("", left)
    if not rest and not said.isdisjoint(_SECTION[:2]):
        return "defects done" if "DEFECT" in said else "done"
    return "about done" if heading and _begins_or_ends_done(text) else ""


def names_a_section(text: str) -> bool:
    """Return whether a line without a colon is still a label: "Behobene Fehler"."""
    if (
        len(text) > _LONGEST_LABEL
        or text[-1:] in ".!"
        or text.lstrip()[:1] not in _section_starts()
        or not _ends_as_a_section(text)
    ):
        return False
    return section_of(text, heading=False) == "defects done"


def _ends_as_a_section(text: str) -> bool:
    """Return whether a line may be such a label, by its last word, as hardly any line is."""
    found = _LETTERS.findall(_plain(text))
    return bool(found) and (found[-1] in _section_ends() or found[-1][-1] >= _GLUED)


def _begins_or_ends_done(text: str) -> bool:
    """Return whether the first or the last words of a heading say that what follows is done."""
    if _after_done(text) is not None or any(sign in text for sign in CHECK_SIGNS):
        return True
    words_left = _SIGNS_AT_END.sub("", _plain(text)[-80:])
    if not words_left.endswith(_phrases("DONE")):
        return False
    for phrase in _phrases("DONE"):
        if words_left.endswith(phrase):
            before = words_left.removesuffix(phrase)
            return not before[-1:].isalnum() and before.split()[-1:] not in _TO_BE_DONE
    return False


def field_says_done(key: str, value: str) -> bool:
    """Return whether a line "key: value" below a ticket says that it is done."""
    if _plain(key) in word_set(words.STATUS):
        return says_done(value)
    if not value or not is_done_alone(key):
        return False
    return _plain(value).rstrip(".") not in word_set(words.NOT_YET)


def is_finished(title: str) -> bool:
    """Return whether a title says itself that the work is done."""
    if _CHECKED.match(title) or _STRUCK.fullmatch(title[:500]) or _ENDS_CHECKED.search(title[-60:]):
        return True
    tail = title[-200:].rstrip(" .,;:*_")
    sentences = {title[:200], _SENTENCE_END.split(tail)[-1]}
    if any(map(_is_done_sentence, sentences)) or _BECAME_DONE.search(tail):
        return True
    return any(map(says_done, _remarks(title, tail)))


def is_no_title(title: str) -> bool:
    """Return whether a cleaned title names nothing: `none`, a placeholder, a bare reference."""
    if not any(map(str.isalpha, title)):
        return True
    if len(title) > 400:
        return False
    text = _plain(title)
    return (
        text in word_set(words.PLACEHOLDER)
        or _says_none(text)
        or _NO_WORDS.fullmatch(title.strip("*_`() ")) is not None
        or _REFERENCES.fullmatch((_cut(text, "SEE") or title).lstrip(_SIGNS).strip()) is not None
    )


def _says_none(text: str) -> bool:
    """Return whether `text` says that there is nothing: "no known bugs", "derzeit keine"."""
    rest = _cut(_cut_all(text, "BESIDE_NONE"), "NONE")
    if rest is None:
        return False
    rest = rest.lstrip(_SIGNS)
    _, _, others = rest.partition(" ")
    if any(_cut(others, name) is not None for name in _NOUNS):  # "no critical bugs"
        rest = others
    return not any(map(str.isalnum, _cut_all(rest, *_NOUNS, "BESIDE_NONE")))


def _is_done_sentence(text: str) -> bool:
    """Return whether a sentence says only that something is done: "Fixed in 1.2."."""
    rest = _after_done(text)
    if rest is None:
        return False
    if not any(map(str.isalpha, rest)) or _DONE_TO.match(text):
        return True
    first, _, others = rest.partition(" ")
    return first in word_set(words.AFTER_DONE) and _VERSION.match(others) is not None


def _remarks(title: str, tail: str) -> list[str]:
    """Return the parts of a title that remark on it: in brackets at an end, set off at the end."""
    inside = [match for match in _IN_BRACKETS.finditer(tail) if match.end() == len(tail)]
    inside += filter(None, [_IN_BRACKETS.match(title[:200].lstrip(" *_"))])
    comma = re.split(r", |，|、", tail)[1:][-1:]
    return [
        *(match[1] for match in inside),
        *_SEPARATOR.split(tail)[1:][-1:],
        *filter(_is_done_sentence, comma),
    ]


def _after_done(text: str) -> str | None:
    """Return what follows "fixed" and its like at the beginning of `text`; None without."""
    text = _SIGNS_AT_BEGIN.sub("", _plain(text))
    rest = _cut(_cut_all(text, "BEFORE_DONE"), "DONE")
    return rest.lstrip(" *_`~!") if rest else rest


def _cut(text: str, name: str, *, glued: bool = False) -> str | None:
    """Return `text` without a phrase of that line of the table at its beginning; None without.

    With `glued`, words of scripts that have no blanks between them count too.
    """
    if text[:1] not in _first_letters(name):  # as hardly any text is, and this runs often
        return None
    phrases = _phrases(name)
    if not text.startswith(phrases):
        return None
    for phrase in phrases:
        rest = text[len(phrase) :]
        if not text.startswith(phrase):
            continue
        if not (rest[:1].isalnum() or rest[:1] == "-") or (glued and phrase[-1] >= _GLUED):
            return rest
    return None


def _cut_all(text: str, *names: str) -> str:
    """Return `text` without all phrases of those lines of the table at its beginning."""
    for name in names:
        while (rest := _cut(text, name)) is not None:
            text = rest.lstrip(_SIGNS)
    return text


def _plain(text: str) -> str:
    text = unicodedata.normalize("NFC", text).casefold().replace("’", "'")
    return " ".join(text.split()).strip(_SIGNS + '()"“”')


@cache
def _section_starts() -> frozenset[str]:
    """Return the letters that such a label can begin with, large and small."""
    first = _first_letters("DONE") | _first_letters("DEFECT")
    return frozenset(first | {letter.upper() for letter in first})


@cache
def _section_ends() -> frozenset[str]:
    """Return the last words of all phrases of which such a label is made."""
    return frozenset(_LETTERS.findall(phrase)[-1] for name in _SECTION for phrase in _phrases(name))


@cache
def _first_letters(name: str) -> frozenset[str]:
    """Return what the phrases of a line of the table begin with."""
    return frozenset(phrase[0] for phrase in _phrases(name))


@cache
def _phrases(name: str) -> tuple[str, ...]:
    """Return the words and phrases of a line of the table, the longest first."""
    line: str | dict[str, str] = getattr(words, name)
    found = line.split(",") if isinstance(line, str) else ",".join(line.values()).split(",")
    return tuple(sorted({_plain(each) for each in found}, key=len, reverse=True))
