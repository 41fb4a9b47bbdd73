"""What a place says around an answer is no part of it, wherever it says it."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from claude_mpm import MPMOrchestrator
from claude_mpm.environments.base import Environment
from claude_mpm.environments.docker import Docker
from claude_mpm.environments.engine import Engine
from claude_mpm.environments.ssh import SSH
from claude_mpm.errors import LaunchError
from claude_mpm.link.answer import MarkedOutput

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SECONDS = 60.0
LONG = "head -c 100000 /dev/zero | tr '\\0' x"
CHATTER = {
    "three lines": ("echo Welcome; echo 'last login: today'; echo", ":"),
    "no newline": ("printf 'Have a nice day'", ":"),
    "long": (LONG, ":"),
    "long lines": (f"{LONG} | fold -w 80", ":"),
    "behind": (":", "echo; echo 'Good bye'"),
    "behind, no newline": (":", "printf bye"),
    "around": (f"printf 'state /nowhere'; {LONG}", f"printf ok; {LONG}; echo ok"),
    "like an answer": (
        r"printf 'folder /nowhere\nok\npid 1 1\nexit 0\n'",
        r"printf 'ok\nexit 7\n'",
    ),
    "a mark": (r"printf '\n\036%s\n' 00000000000000000000000000000000", r"printf '\036'"),
}


class Chatty(Environment):
    """A place with a command in front that speaks before and behind what it runs."""

    name = "chatty"

    def __init__(self, home: Path, before: str, behind: str = ":") -> None:
        self._home = home
        self._script = f'{before}; "$@"; status=$?; {behind}; exit $status'

    def wrap(self, argv: Sequence[str]) -> list[str]:
        return ["env", f"HOME={self._home}", "sh", "-c", self._script, "chatty", *argv]


@pytest.fixture(params=list(CHATTER.values()), ids=list(CHATTER))
def chatty(request: pytest.FixtureRequest, tmp_path: Path) -> Chatty:
    (tmp_path / "far").mkdir()
    return Chatty(tmp_path / "far", *request.param)


def test_an_answer_is_what_the_command_has_printed(chatty: Chatty) -> None:
    for script in ("echo one; echo two", "printf three", ":", LONG, r"printf '\n\036\n\036'"):
        told = subprocess.run(["sh", "-c", script], capture_output=True, check=True).stdout
        assert chatty.run(["sh", "-c", script]) == told
    assert chatty.run(["cat"], data=b"\0\xff\x1e") == b"\0\xff\x1e"
    with pytest.raises(LaunchError, match="chatty: it broke"):
        chatty.run(["sh", "-c", "echo it broke; exit 3"])
    with pytest.raises(LaunchError, match="chatty: the command ended with status 3"):
        chatty.run(["sh", "-c", "exit 3"])


def test_a_session_is_as_in_a_place_that_is_silent(
    chatty: Chatty, stand_in: Path, tmp_path: Path
) -> None:
    with MPMOrchestrator(environment=chatty) as claude:
        for number in range(3):
            turn = claude.ask(f"say {number}", timeout=SECONDS).check()
            assert turn.text == f"Claude heard: say {number}"
        folder = claude.store.folder(claude.session_id)
    journal = folder.journal.path.read_bytes()
    assert b"Welcome" not in journal
    assert b"xxxx" not in journal
    assert folder.read_meta().session_id == claude.session_id
    assert not list((tmp_path / "far/.local/state/claude-mpm/far").iterdir())


_ENGINE = """#!/bin/sh
[ "$1" != fails ] || { echo "Error: no such image" >&2; exit 1; }
printf "true 0123"
"""


def test_an_engine_elsewhere_is_understood(chatty: Chatty, tmp_path: Path) -> None:
    engine = tmp_path / "engine"
    engine.write_text(_ENGINE)
    engine.chmod(0o755)
    assert Engine(str(engine), chatty).run("container", "inspect") == "true 0123"
    with pytest.raises(LaunchError, match="there is no image it"):
        Engine(str(engine), chatty).run("fails", subject="it")
    with pytest.raises(LaunchError, match="there is no command no-such-engine there"):
        Engine("no-such-engine", chatty).run("ps")
    assert Docker(container="web", engine=str(engine), inside=chatty).expected() == {
        "container": "0123"
    }


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'This account is currently not available.'; exit 1", "currently not available"),
        ("echo 'Choose: 1) mail 2) quit'; exit 0", r"Choose: 1\) mail"),
        ("echo nice; echo 'disk full' >&2; exit 1", "disk full"),
        ("exit 0", "does not run commands"),
        ("exit 9", "ended with status 9"),
    ],
)
def test_a_place_that_runs_nothing_is_quoted(tmp_path: Path, script: str, said: str) -> None:
    place = Chatty(tmp_path, script)
    with pytest.raises(LaunchError, match=f"chatty: .*{said}"):
        place.run(["true"])


class ChattySSH(SSH):
    """A host that greets without a newline, as a start-up file does."""

    def __init__(self, home: Path) -> None:
        super().__init__("host", install=True)
        self._place = Chatty(home, "printf '/usr/bin/welcome\n/opt/greeting'", "echo /usr/bin/bye")

    def wrap(self, argv: Sequence[str]) -> list[str]:
        return self._place.wrap(argv)


def test_a_greeting_is_not_taken_for_a_claude_or_for_a_host(tmp_path: Path, stand_in: Path) -> None:
    host = ChattySSH(tmp_path / "home")
    assert host.find_claude("sh").endswith("bin/sh")
    installed = tmp_path / "home/.local/share/claude-mpm/claude"
    installed.parent.mkdir(parents=True)
    installed.write_text("#!/bin/sh\n")
    installed.chmod(0o755)
    assert host.find_claude("claude-that-is-not-there") == str(installed)
    assert host.expected() == {"host": os.uname().nodename, "uid": str(os.getuid())}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1 << 20])
def test_an_answer_in_pieces_is_the_same(size: int) -> None:
    answer = MarkedOutput()
    nonce = answer.nonce.encode()
    inner = b"one\n\x1etwo\x1e" + nonce[:5] + b"\n\n"
    whole = b"hello\n\n\x1e" + nonce + b"\n" + inner + b"\x1e" + nonce + b" 3\nbye\x1e" + nonce
    found = [answer.feed(whole[at : at + size]) for at in range(0, len(whole), size)]
    assert b"".join(found) == inner
    assert answer.status == 3
    assert answer.before == b"hello\n"
