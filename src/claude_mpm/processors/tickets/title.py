"""The title of a ticket, cleaned, and the priority in it."""

from __future__ import annotations

from claude_mpm.patterns import lazy_pattern
from claude_mpm.processors.tickets.markdown import EMOJI

_WRAPPERS = dict(zip("\"'“‘„«「『", "\"'”’“»」』", strict=True))
_TRAILING = ".,;:…。，；：、"
_TRAILING_WORD = lazy_pattern(
    r"[\s(\[]*(?:[-–—/|+&•*_→>=]+|\b(?:and|also|plus|but|then|und|et|y))$"
)
_CLOSING_HASHES = lazy_pattern(r" #+$")  # of a heading
_SEVERITY_TAIL = lazy_pattern(
    rf"\s(?:{EMOJI}+\s*[*_]*[(\[]?|[(\[])(?P<word>CRITICAL|HIGH|MEDIUM|LOW|BLOCKER|URGENT)"
    r"(?: (?:SEVERITY|PRIORITY))?[)\]]?[*_]*$"
)
_PRIORITIES = {
    **dict.fromkeys(("critical", "urgent", "blocker", "severe", "p0"), "critical"),
    **dict.fromkeys(("high", "major", "important", "p1"), "high"),
    **dict.fromkeys(("medium", "normal", "moderate", "med", "p2"), "medium"),
    **dict.fromkeys(("low", "minor", "trivial", "p3", "p4"), "low"),
}
_WORD = lazy_pattern(r"[a-z0-9]+")


def priority_of(text: str) -> str:
    """Return the priority that `text` begins to speak of: low, medium, high, critical or ""."""
    for word in _WORD.findall(text[:80].lower())[:4]:
        if word in _PRIORITIES:
            return _PRIORITIES[word]
    return ""


def split_severity(text: str) -> tuple[str, str]:
    """Return `text` without a severity in capitals at its end ("🔴 HIGH"), and its priority."""
    cut = max(0, len(text) - 60)
    match = _SEVERITY_TAIL.search(text[cut:])
    if match is None:
        return text, ""
    return text[: cut + match.start()].rstrip(), priority_of(match["word"])


def clean_title(text: str, *, another_follows: bool = False) -> str:
    """Return `text` as a title: one line, no wrapping quotes or bold, no trailing `.,;:`.

    With `another_follows`, the next ticket is on the same line: what joins them goes as well.
    """
    title = _CLOSING_HASHES.sub("", " ".join(text.split())).removeprefix("[ ] ")
    for _ in range(8):  # each round uncovers at most one more layer of signs
        before = title
        title = title.rstrip(_TRAILING + " \\")
        if another_follows:
            title = _without_joint(title)
        title = _unwrapped(title)
        if title == before:
            break
    return title


def _without_joint(title: str) -> str:
    cut = max(0, len(title) - 20)
    match = _TRAILING_WORD.search(title[cut:])
    title = title[: cut + match.start()] if match else title
    return title.rstrip(" ([")


def _unwrapped(title: str) -> str:
    closing = _WRAPPERS.get(title[:1])
    if closing and len(title) > 1 and title[-1] == closing:
        inner = title[1:-1]
        if closing not in inner and title[0] not in inner:
            return inner.strip()
    for sign in ("***", "**", "__"):
        if title.startswith(sign) and title.endswith(sign) and len(title) > 2 * len(sign):
            inner = title[len(sign) : -len(sign)]
            return title if sign in inner else inner.strip()
    return title
