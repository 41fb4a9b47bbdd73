"""Which releases were tried, and what they write; `make releases` writes both down."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from claude_mpm.capabilities.facts import FLOOR, Version, parse_version


class Release(msgspec.Struct, frozen=True):
    """One release that was tried.

    Args:
        version: of Claude Code.
        wheel: of `claude-agent-sdk` that brings it.
        facts: the names of what its probe has found.
        results: of each group of tests, as in "40 of 40".
    """

    version: str
    wheel: str
    facts: tuple[str, ...] = ()
    results: dict[str, str] = {}


class Releases(msgspec.Struct, frozen=True):
    """What `releases.json` holds.

    Args:
        tried_on: the day, as YYYY-MM-DD.
        releases: oldest first.
        messages: the fields of each message that was seen, by its type with its subtype.
    """

    tried_on: str = ""
    releases: tuple[Release, ...] = ()
    messages: dict[str, frozenset[str]] = {}


class _Newest(msgspec.Struct):
    newest: str = ""


FILE = Path(__file__).with_name("releases.json")


@cache
def newest_tried() -> Version:
    """Return the newest release that was tried; this is asked for at each start."""
    found = msgspec.json.decode(FILE.read_bytes(), type=_Newest).newest
    return parse_version(found) or FLOOR


@cache
def read_releases() -> Releases:
    """Return all that is known of the releases that were tried."""
    return msgspec.json.decode(FILE.read_bytes(), type=Releases)


def written_down(releases: Releases) -> bytes:
    """Return what `releases.json` holds; the newest stands apart, to be found at once."""
    newest = releases.releases[-1].version if releases.releases else ""
    fields: dict[str, Any] = {"newest": newest, **msgspec.to_builtins(releases, order="sorted")}
    return msgspec.json.format(msgspec.json.encode(fields), indent=1) + b"\n"
