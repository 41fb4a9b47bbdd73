"""Sessions of other machines on the page: at once from what is known, never waiting for a place."""

from __future__ import annotations

import json
import socket
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from claude_mpm.fleet.elsewhere import PlaceSeen, SessionElsewhere
from claude_mpm.testing.subject import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from opened_page import OpenedPage

EVIL = "<img src=x onerror=alert(1)> \u202e\x1b[2J"


@pytest.fixture
def silent(home: Path, page: OpenedPage) -> Iterator[PlaceSeen]:
    """A place that takes connections and says nothing, and what it has said before."""
    session = SessionElsewhere(
        place="hung", session="c41b77d0-1", key="k", state="working", seen_at=time.time() - 300,
        prompt=EVIL, cwd="/srv/api",
    )  # fmt: skip
    seen = PlaceSeen(place="hung", sessions=(session,), seen_at=session.seen_at)
    folder = page.state / "elsewhere"
    page.state.mkdir(mode=0o700, exist_ok=True)
    folder.mkdir(mode=0o700)
    (folder / "hung.json").write_bytes(msgspec.json.encode(seen))
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        address = json.dumps(f"127.0.0.1:{server.getsockname()[1]}")
        settings = home / ".config" / "claude-mpm" / "settings.toml"
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text(
            '[places.hung]\norchestrator = "remote"\n[places.hung.options]\n'
            f'address = {address}\ntls = false\ntoken = "hidden-token"\n'
        )
        yield seen


@pytest.mark.usefixtures("silent")
def test_what_is_known_is_given_at_once_while_a_place_hangs(page: OpenedPage) -> None:
    page.start()
    token = page.token()
    reply = page.call("GET", "/api/elsewhere", token)
    assert reply.json["looking"] and not reply.json["places"][0]["reason"]
    (row,) = reply.json["sessions"]
    assert (row["session"], row["place"], row["state"]) == ("c41b77d0-1", "hung", "working")
    assert "\x1b" not in row["prompt"]

    # Nobody else waits for it.
    def is_answered_meanwhile() -> bool:
        before = page.call("GET", "/api/elsewhere", token).json["looking"]
        assert page.call("GET", "/api/sessions", token).json["sessions"] == []
        return bool(before and page.call("GET", "/api/elsewhere", token).json["looking"])

    until(is_answered_meanwhile, "the list of sessions waits for the place that hangs")

    found: dict[str, Any] = {}

    def is_named() -> bool:
        found.update(page.call("GET", "/api/elsewhere", token).json)
        return bool(found["places"][0]["reason"])

    until(is_named, "the place that hangs was never named")
    assert found["places"][0]["reason"] == "no answer in 2 s"
    assert [each["session"] for each in found["sessions"]] == ["c41b77d0-1"]
    assert "hidden-token" not in json.dumps(found)
