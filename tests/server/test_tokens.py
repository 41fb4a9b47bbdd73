"""Tokens: made once, kept hashed, limited, and revoked at once."""

from __future__ import annotations

import json
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest

from claude_mpm.errors import LaunchError
from claude_mpm.link.far import FarFailed, LinkCut
from claude_mpm.server.quota import ByteQuota
from claude_mpm.server.tokens import TokenLimits, Tokens
from claude_mpm.testing.subject import until
from claude_mpm.wire.remote import InputMessage
from served import raw, reason, say

if TYPE_CHECKING:
    from pathlib import Path

    from served import Served


def test_a_token_is_shown_once_and_kept_hashed(served: Served) -> None:
    token = served.token("ann", "--sessions", "3", "--idle", "60")
    file = served.state / "tokens.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    kept = file.read_text()
    secret = token.rpartition("_")[2]
    assert len(secret) == 64
    assert secret not in kept
    assert secret not in served("token", "list") + served("token", "list", "--json")
    (listed,) = json.loads(served("token", "list", "--json"))
    assert (listed["name"], listed["id"]) == ("ann", token.split("_")[1])
    assert listed["limits"] == {
        "sessions": 3,
        "message_bytes": 16 << 20,
        "rate": 200.0,
        "idle": 60.0,
    }
    assert "ann" in served("token", "list")


def test_of_several_tokens_that_are_made_and_revoked_at_once_none_is_lost(tmp_path: Path) -> None:
    names = [f"name-{number}" for number in range(8)]
    at_once = threading.Barrier(len(names))

    def change(name: str) -> str:
        tokens = Tokens(tmp_path)  # as each process has its own
        at_once.wait()
        tokens.add(name, TokenLimits())
        tokens.revoke(name)
        return tokens.add(name, TokenLimits())

    with ThreadPoolExecutor(len(names)) as pool:
        made = list(pool.map(change, names))
    tokens = Tokens(tmp_path)
    assert [getattr(tokens.find(token), "name", None) for token in made] == names


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("add", "ann"), "there is a token 'ann' already"),
        (("add", "anonymous"), "there is a token 'anonymous' already"),
        (("add", "a/b"), "cannot be a token's name"),
        (("add", "bob", "--sessions", "0"), "no such limit"),
        (("add", "bob", "--rate", "-1"), "no such limit"),
        (("revoke", "bob"), "no token is named 'bob'"),
    ],
)
def test_what_cannot_be_is_refused(served: Served, words: tuple[str, ...], why: str) -> None:
    served.token("ann")
    assert why in served("token", *words, status=2)


def test_a_revoked_token_ends_the_connections_that_stand(served: Served) -> None:
    token, other = served.token("ann"), served.token("bob")
    served.start()
    silent, stays = served.connect("mine", token), served.connect("mine", other)
    served("token", "revoke", "ann")
    with pytest.raises(FarFailed, match="the token was revoked"):
        silent.receive()  # it has said nothing, and hears it anyway
    with pytest.raises(FarFailed, match="the token is wrong, or was revoked"):
        served.connect("mine", token)
    assert stays.ask(InputMessage(do="beat")).id
    for connection in (silent, stays):
        connection.close()


def test_a_session_of_a_revoked_token_ends(served: Served) -> None:
    token = served.token("ann")
    served.start()
    claude = served.program("cat", token=token, linger=0.2)
    claude.start_or_raise()
    served("token", "revoke", "ann")
    assert claude.process.wait(60) is not None
    assert "the token was revoked" in "".join(
        path.read_text() for path in (served.state.parent / "near").rglob("host.log")
    )


def test_a_file_of_tokens_that_others_can_read_lets_nobody_in(served: Served) -> None:
    token = served.token("ann")
    served.start()
    (served.state / "tokens.json").chmod(0o644)
    with pytest.raises(LinkCut, match="cannot read its tokens"):
        served.connect("mine", token)
    assert "chmod 600" in served("token", "list", status=1)


def test_no_more_sessions_than_allowed(served: Served) -> None:
    token = served.token("ann", "--sessions", "1")
    served.start()
    first, second = (served.program("cat", token=token) for _ in range(2))
    first.start_or_raise()
    with pytest.raises(LaunchError, match="1 sessions of 'ann' run already, of 1"):
        second.start_or_raise()
    first.stop()
    second.start_or_raise()
    second.send_input("hello")
    assert second.get_output(60) == "hello"


def test_no_more_connections_than_its_sessions_need(served: Served) -> None:
    token = served.token("ann", "--sessions", "1")
    served.start()
    with (
        ExitStack() as connections,
        pytest.raises(LinkCut, match="this token has 14 connections already"),
    ):
        for _ in range(100):
            connections.enter_context(closing(served.connect("mine", token)))
    until(lambda: "gone" in served.log, "the server did not hear that they are closed")
    served.connect("mine", served.token("bob")).close()


def test_no_longer_message_than_allowed(served: Served) -> None:
    token = served.token("ann", "--message-bytes", "5000")
    served.start()
    claude = served.program("cat", token=token)
    claude.start_or_raise()
    claude.send_input("x" * 5000)
    claude.send_input("x" * 4999)
    assert claude.get_output(60) == "x" * 4999
    near = (served.state.parent / "near").rglob("host.log")
    assert "a message of 5001 bytes is longer than 5000" in "".join(p.read_text() for p in near)


def test_no_more_records_of_conversations_than_allowed() -> None:
    quota = ByteQuota(TokenLimits(message_bytes=1 << 20))
    assert all(quota.keep(f"-work/{n}.jsonl", 1 << 20) for n in range(64))
    assert not quota.keep("-work/further.jsonl", 0)
    assert quota.keep("-work/0.jsonl", 1 << 20)  # it takes the place of the one before


def test_who_sends_faster_than_allowed_is_read_more_slowly(served: Served) -> None:
    token = served.token("ann", "--rate", "10")
    served.start()
    connections = [served.connect("mine", token) for _ in range(2)]
    began = time.monotonic()
    for connection in connections:
        for _ in range(20):
            connection.ask(InputMessage(do="beat"))
    # Ten a second, over all connections, after twenty at once.
    assert time.monotonic() - began > 1.5
    for connection in connections:
        connection.close()


def test_who_says_nothing_for_longer_than_allowed_is_sent_away(served: Served) -> None:
    token = served.token("ann", "--idle", "0.3")
    served.start()
    connection = served.connect("mine", token)
    with pytest.raises(LinkCut, match=r"there was no message for 0\.3 seconds"):
        connection.receive()
    connection.close()


def test_one_token_does_not_see_the_sessions_of_another(served: Served) -> None:
    ann, bob = served.token("ann"), served.token("bob")
    served.start()
    with served.program("cat", token=ann) as claude:
        claude.send_input("hello")
        assert claude.get_output(60) == "hello"
        (folder,) = served.sessions()
        session = folder.name.rpartition(".")[0]
        stranger = served.connect(session, bob)
        for question in (
            InputMessage(do="state"),
            InputMessage(do="put", name="000009"),
            InputMessage(do="fetch", name="out.jsonl"),
            InputMessage(do="signal", signal=9),
            InputMessage(do="remove"),
        ):
            try:
                assert stranger.ask(question).data == b""
            except FarFailed as refused:
                assert "no such session" in str(refused)
        stranger.close()
        # The whole name of the folder is a name under the stranger's own token.
        for name in (session, folder.name):
            follower = served.connect(name, bob, follow=0)
            with pytest.raises(FarFailed, match="no such session"):
                follower.receive()
            follower.close()
        claude.send_input("still here")
        assert claude.get_output(60) == "still here"


def test_claudes_of_different_tokens_share_no_settings(served: Served) -> None:
    ann, bob = served.token("ann"), served.token("bob", "--claude-config", "/tmp/of-bob")
    served.start()
    found = []
    for token in (ann, bob):
        with served.program('echo "$CLAUDE_CONFIG_DIR"; cat', token=token) as claude:
            found.append(claude.get_output(60))
    assert found == [str(served.state / "clients" / ann.split("_")[1] / "claude"), "/tmp/of-bob"]


def test_nothing_secret_is_in_the_log(served: Served) -> None:
    token = served.token("ann")
    served.start("-v")
    with served.program("cat", token=token) as claude:
        claude.send_input("a very private prompt")
        assert claude.get_output(60) == "a very private prompt"
    reason(say(served.address, {"type": "init", "token": token + "x"}))
    reason(say(served.address, b'{"type":"' + token.encode() + b'"}\n'))
    reason(say(served.address, b'{"type":"init","token":["' + token.encode() + b'"]}\n'))
    with raw(served.address):
        pass
    served.stop()
    assert "client ann" in served.log
    assert token.rpartition("_")[2] not in served.log
    assert "private" not in served.log
