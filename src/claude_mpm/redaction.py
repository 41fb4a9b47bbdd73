"""Taking secrets out of what is logged, shown, indexed or exported; the journal stays whole."""

from __future__ import annotations

import binascii
import hashlib
import re
from collections import Counter
from functools import cache
from math import ceil, log2
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from claude_mpm.patterns import lazy_pattern

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MARK = "[redacted]"
_LEAST = 8  # characters; what is shorter would be taken out of ordinary words
_SHORTEST = 6  # characters of a value that its name says to be secret
_RANDOM, _LONGEST_KEY = 32, 512  # characters of what is known by being random; more is data
_AWS = 40  # characters of a secret key of theirs, which has no other form
_BITS = 4.2  # of entropy for each character; random base64 of that length has 4.6
_DEEPEST = 100  # levels of a value
_SHAPE = 12  # bytes of a secret that its shape is made of: two bits each

# --- values that are secret by the name of their variable -----------------------------------

_NAMED = (
    r"PASS(?:W(?:OR)?D|PHRASE|CODE)?|PWD|SECRET|TOKEN|KEY|CREDENTIAL|COOKIE|DSN|AUTH|DATABASE_URL"
)
_SECRET_NAME = lazy_pattern(rf"(?:{_NAMED})S?(?![A-Z])")
_PLACE_NAME = lazy_pattern(r"^(?:OLD|INIT_)?PWD$|_(?:SOCK|FILE|PATH|DIR)$")
_PLACE = lazy_pattern(r"~?/[^\s:]*\.[^\s:]*")  # a path: no base64 has a point in it
# One word, or one number: it would be taken out of prose that says something else.
_WORD = lazy_pattern(r"[^\W\d_]{,15}|[\d.,:+-]{,15}|true|false")

# --- what is secret by its form ---------------------------------------------------------------

_KEYS = (
    r"sk-(?:ant|or|lf|proj|admin|svcacct)-[A-Za-z0-9_-]{16,}",  # Anthropic, OpenAI and others
    r"sk-(?=[a-z]*[A-Z0-9])[A-Za-z0-9]{16,}",
    r"gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|gl[a-z]{2,6}-[A-Za-z0-9_-]{20,}",
    r"glpat-[A-Za-z0-9_-]{16,}",
    r"A(?:KIA|SIA)[A-Z0-9]{16}(?![A-Za-z0-9])",  # AWS
    r"AIza[A-Za-z0-9_-]{30,}|ya29\.[A-Za-z0-9_-]{20,}|GOCSPX-[A-Za-z0-9_-]{20,}",  # Google
    r"xox(?:e\.xox)?[abceoprs]-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{10,}",  # Slack
    r"npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{30,}|hf_[A-Za-z0-9]{30,}|dckr_pat_[A-Za-z0-9_-]{16,}",
    r"[rs]k_(?:live|test)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9+/=]{16,}",  # Stripe
    r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",  # SendGrid
    r"do[opr]_v1_[a-f0-9]{32,}|hv[bsr]\.[A-Za-z0-9_-]{20,}|shp(?:at|ca|pa|ss)_[A-Za-z0-9]{16,}",
    r"mpm_[A-Za-z0-9]{6,}_[A-Za-z0-9]{32,}",  # claude-mpm's own
    r"eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){1,3}\.[A-Za-z0-9_-]{4,}",  # a JSON Web Token
)
# One of these is in each of them; to look for these takes a tenth of the time.
_SIGNS = (
    "sk-", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "gl", "AKIA", "ASIA", "AIza",
    "ya29.", "GOCSPX-", "xox", "xapp-", "npm_", "pypi-", "hf_", "dckr_pat_", "k_live_", "k_test_",
    "whsec_", "SG.", "_v1_", "hvb.", "hvs.", "hvr.", "shpat_", "shpca_", "shppa_", "shpss_", "mpm_",
    "eyJ",
)  # fmt: skip
_BEGIN = r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-----"
_HEAD = r"(?:Proc-Type|DEK-Info|Version|Comment|Hash|Charset|MessageID): [^\r\n\\]*"
_BLOCKS = (
    # To its end; its lines may have been joined, or their ends written as \n.
    rf"{_BEGIN}(?:(?:\s|\\[rn])++(?:{_HEAD}|[A-Za-z0-9+/=]+))*+(?:\s|\\[rn])*"
    r"-----END [A-Z0-9 ]{0,30}-----",
    # Or, where that is missing, to the first line that is no base64.
    rf"{_BEGIN}(?:(?:\r?\n)++(?:{_HEAD}|[A-Za-z0-9+/=]+)(?=\r?\n|\Z))*+",
)
# User and password of a URL, up to the last @ before a character that no password has.
_USER = (
    r"(?<=://)(?:[^\s/:@\"'`<>]*:(?!\d{1,5}[/?#])(?:(?!://)[^\s\"'`<>?#]){1,256}(?<!/)"
    r"|[A-Za-z0-9_-]{20,64})(?=@)"
)
_HOOKS = (
    r"(?<=hooks\.slack\.com)/(?:services|workflows|triggers)/[\w/+-]{8,}"
    r"|(?<=/api/webhooks)/\d+/[\w-]{20,}"
)
# A name that says it, and what is assigned to it; the value is looked at once more.
_VALUE = r"(?P<value>[^\s\"'`,;<>(){}\[\]|\\]{6,512})(?![(\[])"
_PASSES = ("password", "passwd", "passphrase", "passcode", "pass", "pwd")
_OTHERS = ("secret", "token", "credential", "cookie", "dsn", "auth")
_KINDS_OF_KEY = (
    "api", "access", "account", "secret", "private", "encryption", "signing", "master", "client",
    "service",
)  # fmt: skip
_FLAG = (
    r"--(?:[a-z]{1,16}-){0,3}(?P<name>passw(?:or)?d|passphrase|token|secret|api-key)[ ]" + _VALUE
)
_AUTHORIZED = (
    r"(?P<name>(?i:\b(?:Bearer|Basic|Authorization[\"']?[ \t]{0,3}[:=][ \t]{0,3}[\"']?"
    r"(?:(?:Bearer|Basic|Digest|Token|ApiKey)\b)?)))[ \t]{0,3}(?P<value>[A-Za-z0-9._~+/=-]{8,4096})"
)
_NAMES = lazy_pattern(r"[A-Za-z]+|[vV]?\d{1,3}|")  # the parts of what is a name and no key
_PARTS = lazy_pattern(r"[-_./:+@]")
_RUN = r"(?<![A-Za-z0-9+/_=-])[A-Za-z0-9+/_-]{32,}+={0,2}(?![A-Za-z0-9])"
# What a record is known by; without it, it would be another's, or nobody's.
_IDENTITY = frozenset({"session", "key", "prompts", "framework"})


class Fingerprint(msgspec.Struct, frozen=True):
    """The fingerprint of a secret, by which it is recognized later with the key.

    Args:
        length: in bytes of UTF-8.
        digest: a keyed hash of the secret.
        shape: a coarse image of its beginning, masked by the key: what does not look so need not
            be hashed. Empty in records of older releases, which had no key: they are passed over.
    """

    length: int
    digest: str
    shape: str = ""


def secrets_of(environ: Mapping[str, str]) -> list[str]:
    """Return the values of an environment that are secret by their names, the longest first.

    Of a URL with a password it is the password, whatever the name. What is short, or one word of
    prose, is no secret that could be looked for.
    """
    found: set[str] = set()
    for name, value in environ.items():
        found.update(each for each in (_password(value),) if each)
        upper = name.upper()
        if _SECRET_NAME.search(upper) and not _PLACE_NAME.search(upper):
            found.add(value)
    return sorted(filter(_can_be_secret, found), key=len, reverse=True)


def _password(value: str) -> str:
    """Return the password in a URL; empty if there is none."""
    if "://" not in value:
        return ""
    try:
        return urlsplit(value).password or ""
    except ValueError:  # no URL after all
        return ""


def _can_be_secret(value: str) -> bool:
    return len(value) >= _LEAST and not _WORD.fullmatch(value) and not _PLACE.fullmatch(value)


def fingerprints(secrets: Iterable[str], key: bytes) -> list[Fingerprint]:
    """Return what is kept of secrets, as they are and in base64."""
    forms = (form for secret in secrets for form in _forms_of(secret))
    return [_fingerprint(form, key) for form in dict.fromkeys(forms)]


def _forms_of(secret: str) -> Iterator[bytes]:
    """Yield a secret, and what of it stands in the base64 of a text that has it anywhere."""
    data = secret.encode("utf-8", "surrogatepass")
    yield data
    for before in range(3):
        whole = binascii.b2a_base64(bytes(before) + data, newline=False)
        inner = whole[ceil(before * 4 / 3) : (before + len(data)) * 4 // 3]
        if len(inner) >= _LEAST:
            yield inner
            yield inner.translate(bytes.maketrans(b"+/", b"-_"))


class Redactor:
    """Replaces secrets in text by a mark.

    Args:
        known: fingerprints of a session's own secrets.
        key: with which they were made.
        secrets: secrets themselves, where they are at hand.
    """

    __slots__ = ("_key", "_known", "_plain")

    def __init__(
        self, known: Iterable[Fingerprint] = (), key: bytes = b"", secrets: Iterable[str] = ()
    ) -> None:
        self._key = key
        self._known: dict[tuple[int, bytes], set[str]] = {}
        for each in known:
            if key and each.shape:
                shape = _masked(each.shape.encode(), each.digest, key)
                self._known.setdefault((each.length, shape), set()).add(each.digest)
        self._plain = [form for secret in secrets for form in _forms_of(secret)]

    def text(self, text: str) -> str:
        """Return the text without secrets; it takes time in proportion to the text's length."""
        if len(text) < _SHORTEST:
            return text
        if self._known or self._plain:
            text = self._without_known(text)
        return _without_forms(text)

    def record(self, record: msgspec.Struct) -> msgspec.Struct:
        """Return a record, such as a ticket, without secrets in any of its texts."""
        changed: dict[str, object] = {}
        for name in _texts_of(type(record)):
            value = getattr(record, name)
            if not value:  # as most are
                continue
            texts = isinstance(value, tuple)
            clean = tuple(map(self.text, value)) if texts else self.value(value)
            if clean != value:
                changed[name] = clean
        return msgspec.structs.replace(record, **changed) if changed else record

    def value(self, value: Any, depth: int = _DEEPEST) -> Any:
        """Return what was decoded from JSON without secrets in any of its texts.

        Args:
            depth: how many levels are left; what is nested deeper becomes a text.
        """
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict | list) and not depth:
            return self.text(msgspec.json.encode(value).decode())
        if isinstance(value, dict):
            parts = value.items()
            return {self.text(str(name)): self._part(name, part, depth) for name, part in parts}
        return [self.value(each, depth - 1) for each in value] if isinstance(value, list) else value

    def _part(self, name: object, value: Any, depth: int) -> Any:
        """Return a value without what its name says to be secret, too."""
        if isinstance(value, str) and "\n" not in value:
            before = f"{name}="
            return self.text(before + value).removeprefix(before)
        return self.value(value, depth - 1)

    def _without_known(self, text: str) -> str:
        data = text.encode("utf-8", "surrogatepass")
        spans = sorted(self._spans(data))
        if not spans:
            return text
        parts, end = [], 0
        for first, last in spans:
            if first >= end:
                parts += [data[end:first], MARK.encode()]
            end = max(end, last)
        return b"".join([*parts, data[end:]]).decode("utf-8", "surrogatepass")

    def _spans(self, data: bytes) -> Iterator[tuple[int, int]]:
        """Yield where secrets begin and end."""
        for form in self._plain:
            for at in _occurrences(data, form):
                yield at, at + len(form)
        if not self._known:
            return
        coarse = data.translate(_classes(self._key))
        for (length, shape), digests in self._known.items():
            for at in _occurrences(coarse, shape):
                if _digest(data[at : at + length], self._key) in digests:
                    yield at, at + length


def _occurrences(data: bytes, part: bytes) -> Iterator[int]:
    at = data.find(part)
    while at >= 0:
        yield at
        at = data.find(part, at + 1)


def _fingerprint(secret: bytes, key: bytes) -> Fingerprint:
    digest = _digest(secret, key)
    shape = _masked(secret[:_SHAPE].translate(_classes(key)), digest, key)
    return Fingerprint(len(secret), digest, shape.decode())


def _digest(secret: bytes, key: bytes) -> str:
    return hashlib.blake2b(secret, key=key, digest_size=16).hexdigest()


@cache
def _classes(key: bytes) -> bytes:
    """Return to which of four classes, "0" to "3", each byte belongs: nobody else knows it."""
    return bytes(0x30 | each & 3 for each in hashlib.shake_256(b"classes" + key).digest(256))


def _masked(shape: bytes, digest: str, key: bytes) -> bytes:
    """Mask a shape so that it tells nothing without the key, or take the mask off."""
    mask = hashlib.shake_256(b"mask" + key + digest.encode()).digest(len(shape))
    return bytes(each ^ noise & 3 for each, noise in zip(shape, mask, strict=True))


def _without_forms(text: str) -> str:
    """Return a text without what is secret by its form, or by the name it is assigned to."""
    if "-----BEGIN" in text:
        text = _compiled(*_BLOCKS).sub(MARK, text)
    if "://" in text:
        text = _compiled(_USER).sub(MARK, text)
    if "hooks" in text:
        text = _compiled(_HOOKS).sub(f"/{MARK}", text)
    for sign in _SIGNS:  # a loop is twice as fast as any() here
        if sign in text:
            text = _compiled(rf"(?<![A-Za-z0-9])(?:{'|'.join(_KEYS)})").sub(MARK, text)
            break
    if "=" in text or ":" in text or "--" in text:
        text = _compiled(_assigned()).sub(_without_value, text)
        text = _compiled(_FLAG).sub(_without_value, text)
    if "uthorization" in text.lower() or "earer" in text or "asic" in text:
        text = _compiled(_AUTHORIZED).sub(_without_authority, text)
    return _compiled(_RUN).sub(_without_run, text) if len(text) >= _RANDOM else text


@cache
def _compiled(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns))


@cache
def _assigned() -> str:
    """Return the pattern of a name that says it is secret, with its value.

    The usual ways to write a name, one by one: to pass over the case of letters is slow.
    """
    key = f"(?:{_spellings(*_KINDS_OF_KEY)})[ _-]?(?:{_spellings('key')})|_key|_KEY"
    name = f"(?P<name>(?:{_spellings(*_PASSES, *_OTHERS)}|{key})[sS]?)"
    return rf"{name}\\?[\"']?[ \t]{{0,3}}(?:=>|:=|[:=])[ \t]{{0,3}}\\?[\"']?{_VALUE}"


def _spellings(*words: str) -> str:
    return "|".join(form for word in words for form in (word, word.upper(), word.capitalize()))


def _without_value(found: re.Match[str]) -> str:
    value = found["value"]
    passes = found["name"].lower().startswith(_PASSES)
    if (
        MARK in value
        or value.startswith(("$", "*", "%", "//"))
        or len(value) < _SHORTEST + (not passes)
    ):
        return found[0]
    return found[0][: -len(value)] + MARK if _is_mixed(value) else found[0]


def _is_mixed(value: str) -> bool:
    """Return whether a value is mixed as no name is, of letters and digits, or of signs."""
    if not any(map(str.isdigit, value)):
        return any(sign in value for sign in "!#^*?~") and any(map(str.isupper, value))
    return not all(map(_NAMES.fullmatch, _PARTS.split(value.rstrip("=.!?"))))


def _without_authority(found: re.Match[str]) -> str:
    value = found["value"]
    named = found["name"].lower().startswith("authorization")
    if not (_is_mixed(value) or value.endswith("=") or (named and len(value) >= 2 * _LEAST)):
        return found[0]
    return found[0][: -len(value)] + MARK


def _without_run(found: re.Match[str]) -> str:
    """Redact a long string that is random enough to be a key; a hash in hex is not redacted."""
    run = found[0]
    kinds = (str.isupper, str.islower, str.isdigit)
    if len(run) > _LONGEST_KEY or not all(any(map(kind, run)) for kind in kinds):
        return run
    few = sum(map(str.isdigit, run)) < 3 and len(run) != _AWS
    if few or re.search(r"[a-z]{8}|[A-Z]{14}", run):
        return run
    counts = Counter(run).values()
    entropy = -sum(n / len(run) * log2(n / len(run)) for n in counts)
    return MARK if entropy > _BITS else run


@cache
def _texts_of(record: type[msgspec.Struct]) -> tuple[str, ...]:
    """Return the names of the fields that hold text."""
    fields = (field for field in msgspec.structs.fields(record) if field.name not in _IDENTITY)
    return tuple(field.name for field in fields if field.type in (str, tuple[str, ...], Any))
