"""Inputs made of others: text cut, glued and peppered; JSON with values that nobody expects."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from random import Random

# What has broken readers before: numbers beyond 64 bits, digits that are none, half a character.
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**30, -(10**30), 1e308, -1e308, 0.5,
    "", " ", "0", "²", "9" * 5000, "\ud800", "\x00", "\n", "../x", "0001-01-01T00:00:00",
    "9999-12-31T23:59:59", "TODO: mend [high] #x", "null", [], {}, [[]], [{}], {"": {}}, [None],
)  # fmt: skip
_BYTES = (b"\n", b"\r", b"\0", b"\xff", b"\xc3", b"\xe2\x80\xa8", b"{", b"}", b'"', b"\\", b"=")
LONGEST = 1 << 16


def mutate(
    data: bytes, random: Random, seeds: tuple[bytes, ...], tokens: tuple[bytes, ...]
) -> bytes:
    """Return another input."""
    for _ in range(random.choice((1, 1, 2, 3, 6))):
        change = random.choice((_json_line, _json_line, _json_line, _pieces, _lines, _peppered))
        data = change(data, random, seeds, tokens)
    return data[:LONGEST]


def _json_line(
    data: bytes, random: Random, seeds: tuple[bytes, ...], tokens: tuple[bytes, ...]
) -> bytes:
    """Change one value in one line of JSON."""
    lines = data.split(b"\n")
    number = random.randrange(len(lines))
    head, brace, rest = lines[number].partition(b"{")
    try:
        value = json.loads(brace + rest)
    except (ValueError, RecursionError):
        return _peppered(data, random, seeds, tokens)
    lines[number] = head + json.dumps(_changed(value, random)).encode()
    return b"\n".join(lines)


def _changed(value: Any, random: Random) -> Any:
    if isinstance(value, dict) and value and random.random() < 0.95:
        key = random.choice(list(value))
        if random.random() < 0.1:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: _changed(value[key], random)}
    if isinstance(value, list) and value and random.random() < 0.8:
        place = random.randrange(len(value))
        return [*value[:place], _changed(value[place], random), *value[place + 1 :]]
    if random.random() < 0.05:
        return _deep(random.choice((20, 200, 900)))
    return random.choice(VALUES)


def _deep(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def _pieces(
    data: bytes, random: Random, seeds: tuple[bytes, ...], _tokens: tuple[bytes, ...]
) -> bytes:
    """Cut a piece out, double it, or put a piece of another input in its place."""
    start = random.randrange(len(data) + 1)
    end = min(len(data), start + random.choice((1, 2, 8, 64, 1000)))
    other = random.choice(seeds)
    begin = random.randrange(len(other) + 1)
    piece = random.choice((b"", 2 * data[start:end], other[begin : begin + 200]))
    return data[:start] + piece + data[end:]


def _lines(
    data: bytes, random: Random, seeds: tuple[bytes, ...], _tokens: tuple[bytes, ...]
) -> bytes:
    """Put a line of another input somewhere, or take one out."""
    lines = data.split(b"\n")
    place = random.randrange(len(lines) + 1)
    if random.random() < 0.3:
        return b"\n".join(lines[:place] + lines[place + 1 :])
    line = random.choice(random.choice(seeds).split(b"\n"))
    return b"\n".join([*lines[:place], line, *lines[place:]])


def _peppered(
    data: bytes, random: Random, _seeds: tuple[bytes, ...], tokens: tuple[bytes, ...]
) -> bytes:
    place = random.randrange(len(data) + 1)
    piece = random.choice(_BYTES + tokens)
    return data[:place] + piece + data[place + random.choice((0, 0, 1, len(piece))) :]
