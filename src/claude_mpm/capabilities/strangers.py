"""Counting what a build writes that none did which was tried; it is passed over, never fatal."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from claude_mpm.capabilities.releases import read_releases
from claude_mpm.journal.cursor import read_lines
from claude_mpm.validation import NOT_JSON

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from claude_mpm.journal.exchange import ExchangeFile

# How much of a journal is looked at, from its end, in bytes.
MOST_READ = 64 << 20
_MOST_NAMED = 1000  # different ones in one count; a name is as hostile as all that Claude writes
_LONGEST = 80  # characters of a name
# What is known to come, though no test brings it about; their fields are not counted.
_RARE = frozenset(
    (
        "auth_status", "conversation_reset", "keep_alive", "prompt_suggestion", "rate_limit_event",
        "system/compact_boundary", "system/host_state", "system/informational",
        "system/model_fallback", "system/model_refusal_no_fallback", "system/notification",
        "system/session_title_changed", "system/thinking_tokens", "system/turn_preempted",
        "tool_progress",
    )
)  # fmt: skip
_KINDS = ("system", "result", "control_request")
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode


class _Request(msgspec.Struct):
    subtype: str = ""


_decode_request = msgspec.json.Decoder(_Request).decode


def count_strangers(lines: Iterable[bytes]) -> dict[str, int]:
    """Count what is not known in lines of the `stream-json` wire, the most frequent first.

    An unknown message counts by its name, as in "system/new_thing", an unknown field of a known one
    by both, as in "result.new_field". What is no JSON is counted elsewhere.
    """
    known = read_releases().messages
    found: Counter[str] = Counter()
    for line in lines:
        for name in _strangers_in(line, known):
            if name in found or len(found) < _MOST_NAMED:
                found[name] += 1
    return dict(found.most_common())


def strangers_of(journal: ExchangeFile) -> dict[str, int]:
    """Count what is not known in a journal of the `stream-json` wire; of a long one, in its end."""
    size = journal.size()
    begin = max(0, size - MOST_READ)
    lines = (line.data for line in read_lines(journal, begin) if line.offset > begin or not begin)
    return count_strangers(lines)


def _strangers_in(line: bytes, known: Mapping[str, frozenset[str]]) -> Iterator[str]:
    try:
        fields = _decode(line)
        name = name_of(fields)
    except NOT_JSON:
        return
    if name in _RARE:
        return
    if name not in known:
        yield name[:_LONGEST]
        return
    for field in fields.keys() - known[name]:
        yield f"{name}.{field}"[:_LONGEST]


def name_of(fields: Mapping[str, msgspec.Raw]) -> str:
    """Return the name of a message: its type, with its subtype where that says what it is.

    Raises:
        msgspec.DecodeError: it has no type.
    """
    kind = _decode_text(fields.get("type", msgspec.Raw(b"0")))
    if kind not in _KINDS:
        return kind
    if kind == "control_request":
        subtype = _decode_request(fields.get("request", msgspec.Raw(b"{}"))).subtype
    else:
        subtype = _decode_text(fields.get("subtype", msgspec.Raw(b'""')))
    return f"{kind}/{subtype}" if subtype else kind


def fields_of(lines: Iterable[bytes]) -> dict[str, set[str]]:
    """Return the fields of each message in lines of the wire, by its name."""
    found: dict[str, set[str]] = {}
    for line in lines:
        try:
            fields: dict[str, Any] = _decode(line)
            found.setdefault(name_of(fields), set()).update(fields)
        except NOT_JSON:
            continue
    return found
