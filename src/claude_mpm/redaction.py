"""Taking secrets out of what is logged, kept in the index or exported; the journal stays whole."""

from __future__ import annotations

import hashlib
import re
from functools import cache, partial
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MARK = "[redacted]"
_LEAST = 8  # characters; what is shorter would be taken out of ordinary words
_SPACE = re.compile(r"\s")
_SECRET_NAMES = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH", re.IGNORECASE)
# Keys that are known by their form.
_FORMS = (
    r"sk-[A-Za-z0-9_-]{16,}",  # Anthropic, OpenAI
    r"gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}",
    r"A(?:KIA|SIA)[A-Z0-9]{16}",  # AWS
    r"AIza[\w-]{30,}|ya29\.[\w-]{20,}",  # Google
    r"xox[abeoprs]-[\w-]{10,}",  # Slack
    r"npm_[A-Za-z0-9]{30,}|pypi-[\w-]{30,}|hf_[A-Za-z0-9]{30,}",
    r"[rs]k_(?:live|test)_[A-Za-z0-9]{16,}",  # Stripe
    r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}",  # a JSON Web Token
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    r"(?<=://)[^\s/:@]+:[^\s/@]+(?=@)",  # user and password in a URL
)
# One of these is in each of them. To look for these takes a tenth of the time.
_SIGNS = (
    "sk-", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "AKIA", "ASIA", "AIza",
    "ya29.", "xox", "npm_", "pypi-", "hf_", "k_live_", "k_test_", "eyJ", "-----BEGIN", "://",
)  # fmt: skip
# What a record is known by; without it, it would be another's, or nobody's.
_IDENTITY = frozenset({"session", "key", "prompts", "framework"})


class Fingerprint(msgspec.Struct, frozen=True):
    """What is kept of a secret so that it is recognised later: enough to know it, not to tell it.

    Args:
        length: in characters.
        digest: a hash of salt and secret.
        solid: whether there is no white space in it, so that it need not be looked for in prose.
    """

    length: int
    digest: str
    solid: bool = False


def secrets_of(environ: Mapping[str, str]) -> list[str]:
    """Return the values of an environment whose names say that they are secret."""
    named = (value for name, value in environ.items() if _SECRET_NAMES.search(name))
    return sorted({value for value in named if len(value) >= _LEAST}, key=len, reverse=True)


def fingerprints(secrets: Iterable[str], salt: str) -> list[Fingerprint]:
    """Return what is kept of secrets."""
    return [
        Fingerprint(len(secret), _digest(secret, salt), not _SPACE.search(secret))
        for secret in secrets
    ]


class Redactor:
    """Replaces secrets in text by a mark.

    Args:
        known: fingerprints of the session's own secrets.
        salt: theirs.
    """

    def __init__(self, known: Iterable[Fingerprint] = (), salt: str = "") -> None:
        self._salt = salt
        self._known: dict[tuple[int, bool], set[str]] = {}
        for each in known:
            self._known.setdefault((each.length, each.solid), set()).add(each.digest)

    def text(self, text: str) -> str:
        """Return the text without secrets."""
        if len(text) < _LEAST:
            return text
        for (length, solid), digests in sorted(self._known.items(), reverse=True):
            if solid:
                clean = partial(self._word, length=length, digests=digests)
                text = _words(length).sub(clean, text)
            else:
                text = self._without(text, length, digests)
        for sign in _SIGNS:
            if sign in text:
                return _forms().sub(MARK, text)
        return text

    def record(self, record: msgspec.Struct) -> msgspec.Struct:
        """Return a record, such as a ticket, without secrets in any of its texts."""
        changed: dict[str, object] = {}
        for name in _texts_of(type(record)):
            value = getattr(record, name)
            clean = self.text(value) if isinstance(value, str) else tuple(map(self.text, value))
            if clean != value:
                changed[name] = clean
        return msgspec.structs.replace(record, **changed) if changed else record

    def _word(self, found: re.Match[str], length: int, digests: set[str]) -> str:
        return self._without(found[0], length, digests)

    def _without(self, text: str, length: int, digests: set[str]) -> str:
        start = 0
        while start + length <= len(text):
            if _digest(text[start : start + length], self._salt) in digests:
                text = text[:start] + MARK + text[start + length :]
                start += len(MARK)
            else:
                start += 1
        return text


def _digest(secret: str, salt: str) -> str:
    return hashlib.sha256(f"{salt}\0{secret}".encode("utf-8", "replace")).hexdigest()[:32]


@cache
def _forms() -> re.Pattern[str]:
    return re.compile("|".join(_FORMS), re.DOTALL)


@cache
def _words(length: int) -> re.Pattern[str]:
    """Return what finds the words that can hold a secret of so many characters."""
    return re.compile(rf"(?<!\S)\S{{{length},}}")


@cache
def _texts_of(record: type[msgspec.Struct]) -> tuple[str, ...]:
    """Return the names of the fields that hold text."""
    fields = (field for field in msgspec.structs.fields(record) if field.name not in _IDENTITY)
    return tuple(field.name for field in fields if field.type in (str, tuple[str, ...]))
