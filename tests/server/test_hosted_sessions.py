"""Sessions on a server: they outlive it, and its clients go on where they were."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from claude_mpm.environments.remote import Remote
from claude_mpm.errors import LaunchError, UsageError
from claude_mpm.journal.layout import SessionFolder
from claude_mpm.link.far import FarFailed, LinkCut
from claude_mpm.testing import Stall
from claude_mpm.testing.processes import processes
from claude_mpm.testing.subject import until
from claude_mpm.wire.remote import InputMessage
from command import SECONDS, wait_until_gone

if TYPE_CHECKING:
    from pathlib import Path

    from claude_mpm.testing import ScriptedModel
    from served import Served


def session_of(served: Served) -> SessionFolder:
    (path,) = served.sessions()
    return SessionFolder(path)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_server_may_be_started_again_in_the_middle_of_a_turn(
    served: Served, model: ScriptedModel, tmp_path: Path, signum: int
) -> None:
    token = served.token()
    served.start()
    model.on("slowly", "The first half.", Stall(), " The second half.")
    environ = model.environment(tmp_path / "near-home")
    claude = served.claude(token=token, environ=environ, linger=SECONDS)
    with claude:
        turn = claude.ask("Please go slowly.")
        model.wait_for_stall()
        pids = session_of(served).pids()
        assert pids is not None
        assert served.stop(signum) == (0 if signum == signal.SIGTERM else -signum)
        os.kill(pids[1], 0)  # it is there still
        model.release()
        served.restart()
        assert turn.wait(SECONDS).check().text == "The first half. The second half."
        assert claude.ask("and now?").check().text == "Claude heard: and now?"
    assert len(model.requests) == 2
    wait_until_gone(pids)
    assert served.sessions() == []


def test_clients_are_told_that_the_server_is_being_stopped(served: Served) -> None:
    token = served.token()
    served.start()
    with served.program("echo hello; cat", token=token, linger=SECONDS) as claude:
        assert claude.get_output(SECONDS) == "hello"
        name = session_of(served).path.name.rpartition(".")[0]
        asking, following = served.connect(name, token), served.connect(name, token, follow=0)
        first = following.receive()
        assert getattr(first, "journal", b"") == b"hello\n"
        assert served.stop() == 0
        for connection in (asking, following):
            with pytest.raises(LinkCut, match="being stopped; its sessions stay"):
                while True:  # it also says now and then that there is nothing new
                    connection.receive()
            connection.close()
        served.restart()
        claude.send_input("again")
        assert claude.get_output(SECONDS) == "again"


def test_a_message_that_comes_twice_is_given_to_claude_once(served: Served) -> None:
    token = served.token()
    served.start()
    with served.program("cat", token=token) as claude:
        name = session_of(served).path.name.rpartition(".")[0]
        for message in (b"one\n", b"one\n", b"another\n"):
            connection = served.connect(name, token)
            connection.ask(InputMessage(do="put", name="000777"), message)
            connection.close()
        connection = served.connect(name, token)
        connection.ask(InputMessage(do="put", name="000778"), b"two\n")
        connection.close()
        assert [claude.get_output(SECONDS) for _ in range(2)] == ["one", "two"]


@pytest.mark.parametrize(
    ("question", "why"),
    [
        (InputMessage(do="put", name="../x"), "no name of a message"),
        (InputMessage(do="put", name="inbox/000001"), "no name of a message"),
        (InputMessage(do="put", name="000005", offset=7), "does not follow"),
        (InputMessage(do="fetch", name="../../tokens.json"), "no file that can be fetched"),
        (InputMessage(do="fetch", name="meta.json"), "no file that can be fetched"),
        (InputMessage(do="fetch", name="environ"), "no file that can be fetched"),
        (InputMessage(do="signal", signal=0), "there is no signal 0"),
        (InputMessage(do="signal", signal=-1), "there is no signal -1"),
        (InputMessage(do="signal", signal=99), "there is no signal 99"),
        (InputMessage(do="remove"), "the session runs"),
        (InputMessage(do="hold"), "belongs on a connection that carries a journal"),
        (InputMessage(do="start"), "nothing that a session can be started with"),
    ],
)
def test_what_is_not_for_clients_is_refused_and_the_connection_goes_on(
    served: Served, question: InputMessage, why: str
) -> None:
    token = served.token()
    served.start()
    with served.program("cat", token=token):
        connection = served.connect(session_of(served).path.name.rpartition(".")[0], token)
        with pytest.raises(FarFailed, match=why):
            connection.ask(question, b"data" if question.do == "put" else b"")
        state = connection.ask(InputMessage(do="state")).state
        assert state is not None
        assert state.claude
        connection.close()


def test_a_journal_cannot_be_followed_from_where_it_has_not_come_to(served: Served) -> None:
    token = served.token()
    served.start()
    with served.program("cat", token=token):
        connection = served.connect(session_of(served).path.name.rpartition(".")[0], token, 1 << 40)
        with pytest.raises(FarFailed, match="and none at"):
            connection.receive()
        connection.close()


def test_the_servers_own_command_sees_and_ends_what_it_hosts(
    served: Served, tmp_path: Path
) -> None:
    token = served.token()
    served.start()
    claude = served.program("cat", token=token)
    claude.start_or_raise()
    folder = session_of(served)
    assert folder.read_meta().environment == "local"
    pids = folder.pids()
    assert pids is not None
    # A host's shell that was just forked, and is no other program yet, can miss SIGTERM.
    until(lambda: processes()[pids[1]].command.startswith("/bin/sh -c"), "the program never runs")
    os.kill(pids[1], signal.SIGTERM)
    assert claude.process.wait(SECONDS) == 143


def test_a_host_that_is_killed_leaves_nothing_on_the_server(served: Served) -> None:
    token = served.token()
    served.start()
    script = "sleep 12345 & setsid sleep 12345 & echo begun; cat"
    claude = served.program(script, token=token)
    claude.start_or_raise()
    assert claude.get_output(SECONDS) == "begun"
    folder = session_of(served)
    pids = folder.pids()
    assert pids is not None
    mark = f"CLAUDE_MPM_FOLDER={folder.path}"
    belonging = [each.pid for each in processes().values() if mark in each.environ]
    assert len(belonging) >= 3
    os.kill(pids[0], signal.SIGKILL)
    claude.send_input("still here")
    assert claude.get_output(SECONDS) == "still here"
    claude.stop()
    assert claude.process.wait(SECONDS) == 137
    wait_until_gone(belonging)
    assert served.sessions() == []


def test_a_start_without_a_server_says_so_at_once(served: Served) -> None:
    address = served.start("--anonymous")
    served.stop()
    claude = served.program("cat", address)
    with pytest.raises(LaunchError, match=f"remote: {address}: Connection refused"):
        claude.start_or_raise()


@pytest.mark.parametrize("address", ["", "host", "host:", ":1", "host:port"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="give host:port"):
        Remote(address)


def test_a_token_comes_from_the_environment_and_does_not_go_to_claude(
    served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    token = served.token()
    served.start()
    monkeypatch.setenv("CLAUDE_MPM_REMOTE_TOKEN", token)
    with served.program("env; echo over; cat") as claude:
        lines = iter(lambda: claude.get_output(SECONDS), "over")
        assert not [line for line in lines if line is None or token in line]
        session = claude.session_id
    near = tmp_path / "near" / "sessions" / session
    holding = {path.name for path in near.iterdir() if token.encode() in _bytes(path)}
    assert holding == {"link.json"}
    assert (near / "link.json").stat().st_mode & 0o077 == 0


def test_a_token_in_a_file_is_not_written_down(served: Served, tmp_path: Path) -> None:
    token = served.token()
    file = tmp_path / "token"
    file.touch(0o600)
    file.write_text(f"{token}\n")
    served.start()
    with served.program("cat", token_file=str(file)) as claude:
        claude.send_input("hello")
        assert claude.get_output(SECONDS) == "hello"
    near = tmp_path / "near"
    assert not [path for path in near.rglob("*") if token.encode() in _bytes(path)]


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""
